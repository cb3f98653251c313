"""Retry budgets: what is paid in and out, what an empty one does to a job, and what is refused beforehand."""

import math
import pickle

import attrs
import pytest

from policies import Budgeted, ExponentialBackoff, Failure, FixedBackoff, RetryBudget
from pools import InlinePool
from scheduler import RetryBudgetExhausted, Scheduler, VirtualClock
from scheduler._core.budgets import BudgetRecord

AT_ONCE = FixedBackoff(delay=0.0, attempts_max=10)


def record(**settings):
    return BudgetRecord(RetryBudget(**{"reserve_per_second": 0.0} | settings))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"name": ""}, TypeError, "name=.*must be a non-empty string"),
        ({"ttl": 0}, ValueError, "ttl=.*must be more than 0"),
        ({"ttl": math.inf}, ValueError, "ttl=.*must be finite"),
        ({"ratio": -0.1}, ValueError, "ratio=.*must be at least 0"),
        ({"reserve_per_second": True}, TypeError, "reserve_per_second=.*must be a number"),
        ({"ratio": 0, "reserve_per_second": 0}, ValueError, "never pays for a retry; use NoRetry"),
    ],
)
def test_a_bad_budget_is_told_what_is_wrong(given, error, message):
    """Whoever reads the message should know what to write instead."""
    with pytest.raises(error, match=message):
        RetryBudget(**given)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((FixedBackoff, RetryBudget()), TypeError, r"policy=.*method retry_after\(\)"),
        ((FixedBackoff(), 0.2), TypeError, "budget=.*must be a RetryBudget, not 0.2"),
        ((FixedBackoff(), RetryBudget(), "park"), ValueError, "must be one of 'fail', 'wait', not 'park'"),
    ],
)
def test_a_budget_is_put_around_a_policy_or_refused(arguments, error, message):
    """A mistake should be told where it is written, not at the first failure in the night."""
    with pytest.raises(error, match=message):
        Budgeted(*arguments)


def test_a_budget_is_a_frozen_value():
    """It is shared between submitters, and printed in logs and errors."""
    policy = Budgeted(FixedBackoff(), RetryBudget(name="api", ratio=0.5), when_empty="wait")

    assert policy == pickle.loads(pickle.dumps(policy))
    assert hash(policy) == hash(attrs.evolve(policy))


def test_a_policy_sees_the_budget_in_its_argument():
    """A policy has no memory: what is left is told, so that one failure can be asked about in a test."""
    budget = RetryBudget()
    empty = Failure(1, OSError(), held={budget: 3.0})
    fails, waits = Budgeted(AT_ONCE, budget), Budgeted(AT_ONCE, budget, "wait")
    patient = Budgeted(FixedBackoff(delay=5.0), budget, "wait")

    assert [0.0, None, 3.0, 5.0] == [
        fails.retry_after(Failure(1, OSError()), None),
        fails.retry_after(empty, None),
        waits.retry_after(empty, None),
        patient.retry_after(empty, None),
    ]


def test_five_first_attempts_pay_for_one_retry():
    """That is the whole point: retries are a part of the work, whatever fails."""
    budget = record(ratio=0.2)
    for _ in range(4):
        budget.deposit(0.0)
    assert budget.held_for(0.0) > 0
    budget.deposit(0.0)
    assert budget.held_for(0.0) == 0
    budget.take(0.0)
    assert budget.held_for(0.0) > 0


@pytest.mark.parametrize("ratio", [0.1, 0.2, 0.3, 0.07, 0.29, 1.0, 3.0])
def test_rounding_costs_no_retry_and_gives_none(ratio):
    """A tenth is no binary number, and a budget that never quite reaches one would be a bug nobody finds."""
    budget = record(ratio=ratio)
    for _ in range(100):
        budget.deposit(0.0)
    taken = 0
    while budget.held_for(0.0) == 0:
        budget.take(0.0)
        taken += 1

    assert taken == round(100 * ratio)


def test_a_deposit_is_forgotten_after_its_time_to_live():
    """What happened long ago says nothing of how much the other side can bear now."""
    budget = record(ratio=1.0, ttl=10.0)
    budget.deposit(0.0)

    assert [1.0, 1.0, 0.0, 0.0] == [
        budget.balance(now) for now in (5.0, math.nextafter(10.0, 0.0), 10.0, 1e9)
    ]


def test_a_withdrawal_is_forgotten_too():
    """Else the reserve, once spent, would be spent for ever."""
    budget = record(ratio=0.0, reserve_per_second=0.2, ttl=10.0)
    budget.take(3.5)
    budget.take(3.5)

    assert [0.0, 0.0, 2.0] == [budget.balance(now) for now in (3.5, 12.9, 13.0)]


@pytest.mark.parametrize("ttl", [10.0, 1.0, 0.7, 1e-3, 1 / 3, 7e7])
def test_who_asks_again_when_told_to_is_not_told_the_same_moment_again(ttl):
    """A wait that does not lead into the next slot, by rounding, would be an endless loop."""
    budget = record(ratio=1.0, ttl=ttl)
    now, moments = ttl * 0.05, set()
    for _ in range(200):
        held = budget.held_for(now)
        assert 0 < held <= ttl / 10 * (1 + 1e-9)
        now += held
        moments.add(now)

    assert len(moments) == 200


def test_many_who_are_sent_away_come_back_one_after_the_other():
    """A hundred thousand that ask again at one moment would be a storm of their own."""
    budget = record(ratio=1.0, ttl=10.0)
    waits = [budget.held_for(0.0) for _ in range(5000)]

    assert waits == sorted(waits)
    assert (waits[255], waits[256], waits[-1]) == (1.0, 2.0, 10.0)


def test_an_empty_budget_fails_a_job_with_its_own_last_error(by_hand):
    """The caller's `except ConnectionError` must go on working, and the log must say why there was no retry."""
    hand, error = by_hand(), ConnectionError("reset")
    budget = RetryBudget(name="api", ratio=0.5, reserve_per_second=0.0)
    hand.submit("a", retry=Budgeted(AT_ONCE, budget))
    hand.finish("a", error)

    assert ("FAILED", error) == (hand.state("a"), hand.jobs["a"].outcome)
    assert type(error.__cause__) is RetryBudgetExhausted
    assert "retry budget 'api' is empty: 0 retries in the last 10 s, beside 1 first attempts" in str(
        error.__cause__
    )
    assert [(hand.jobs["a"].id, 1, "budget 'api'")] == [
        (event.job_id, event.attempt, event.by) for event in hand.told("RetryRefused")
    ]


def test_an_error_that_is_raised_again_and_again_does_not_grow(by_hand):
    """A cached exception object would keep every refusal of the night alive."""
    hand, error = by_hand(), ConnectionError("reset")
    policy = Budgeted(AT_ONCE, RetryBudget(ratio=0.001, reserve_per_second=0.0))
    error.__cause__ = OSError("why")
    for name in "abc":
        hand.submit(name, retry=policy)
        hand.finish(name, error)

    assert type(error.__cause__) is OSError
    assert type(error.__cause__.__cause__) is RetryBudgetExhausted
    assert error.__cause__.__cause__.__cause__ is None


def test_what_the_policy_itself_gives_up_is_not_blamed_on_the_budget(by_hand):
    """A wrong cause sends people looking in the wrong place."""
    hand, error = by_hand(), ValueError("bad input")
    budget = RetryBudget(ratio=0.001, reserve_per_second=0.0)
    hand.submit("a", retry=Budgeted(FixedBackoff(retry_on=OSError), budget))
    hand.finish("a", error)

    assert (None, []) == (error.__cause__, hand.told("RetryRefused"))


def test_a_job_waits_for_the_budget_when_asked_to(by_hand):
    """Work that must be done in the end should wait for better times, and hold no slot."""
    hand = by_hand()
    budget = RetryBudget(name="api", ratio=0.5, reserve_per_second=0.0)
    policy = Budgeted(AT_ONCE, budget, when_empty="wait")
    hand.submit("a", retry=policy)
    hand.finish("a", OSError())
    hand.advance(1.0)
    early = hand.state("a"), hand.statistics().budgets[0].balance
    hand.submit("b", retry=policy)
    hand.finish("b")
    hand.advance(0.5)
    still = hand.state("a")
    hand.advance(0.5)

    assert (("BACKING_OFF", 0.5), "BACKING_OFF", "RUNNING") == (early, still, hand.state("a"))
    assert 0.0 == hand.statistics().budgets[0].balance


def test_a_job_that_waits_for_the_budget_still_has_its_deadline(by_hand):
    """A wait without an end would be a lost job."""
    hand = by_hand()
    policy = Budgeted(AT_ONCE, RetryBudget(ratio=0.001, reserve_per_second=0.0), when_empty="wait")
    hand.submit("a", retry=policy, deadline=30.0)
    hand.finish("a", OSError())
    for _ in range(40):
        hand.advance(1.0)

    assert "EXPIRED" == hand.state("a")


def test_only_first_attempts_pay_in(by_hand):
    """If retries paid for retries, a storm would feed itself."""
    hand = by_hand()
    policy = Budgeted(AT_ONCE, RetryBudget(ratio=1.0, reserve_per_second=10.0))
    hand.submit("a", retry=policy)
    for _ in range(3):
        hand.finish("a", OSError())
        hand.advance(0.0)

    told = hand.statistics().budgets[0]
    assert (1, 3, 98.0) == (told.deposited, told.withdrawn, told.balance)


def test_a_budget_deep_in_a_policy_is_found_and_charged(by_hand):
    """Policies are put together; a budget that is forgotten in a wrapper would pay for everything."""

    @attrs.frozen
    class Either:
        parts: tuple[object, ...]

        def retry_after(self, failure, uniform):
            return self.parts[0]["other"].retry_after(failure, uniform)

        def __hash__(self):
            return 1

    hand = by_hand()
    inner = Budgeted(AT_ONCE, RetryBudget(name="deep", ratio=1.0, reserve_per_second=0.0))
    hand.submit("a", retry=Either(({"other": inner},)))
    for _ in range(2):
        hand.finish("a", OSError())
        hand.advance(0.0)

    told = hand.statistics().budgets[0]
    assert ("FAILED", 1, 1, 1) == (hand.state("a"), told.deposited, told.withdrawn, told.refused)


def test_two_budgets_pay_both_or_neither(by_hand):
    """A retry that took from one and was refused by the other would have cost something for nothing."""
    hand = by_hand()
    rich, poor = RetryBudget(name="rich"), RetryBudget(name="poor", ratio=0.001, reserve_per_second=0.0)
    hand.submit("a", retry=Budgeted(Budgeted(AT_ONCE, rich), poor))
    hand.finish("a", OSError())

    assert {"rich": 0, "poor": 0} == {told.name: told.withdrawn for told in hand.statistics().budgets}


def test_one_name_with_two_settings_is_refused():
    """Which of the two holds would depend on who came first."""
    with Scheduler(InlinePool(), clock=VirtualClock()) as scheduler:
        scheduler.with_options(retry=Budgeted(AT_ONCE, RetryBudget(name="api")))
        scheduler.with_options(retry=Budgeted(FixedBackoff(), RetryBudget(name="api")))
        with pytest.raises(ValueError, match=r"two retry budgets are called 'api': RetryBudget\(.*ratio=0.5"):
            scheduler.with_options(retry=Budgeted(AT_ONCE, RetryBudget(name="api", ratio=0.5)))


def test_a_job_says_that_it_waits_for_a_budget():
    """A job that does nothing for minutes is the first thing anybody asks about."""
    clock = VirtualClock()
    budget = RetryBudget(name="api", ratio=0.001, reserve_per_second=0.0)
    with Scheduler(InlinePool(), clock=clock) as scheduler:
        patient = scheduler.with_options(retry=Budgeted(AT_ONCE, budget, when_empty="wait"))
        handle = patient.submit(int, "no number")
        told = str(handle.explain())
        handle.cancel()

    assert "waits for budget 'api', which is asked again then" in told


def test_a_guard_that_the_scheduler_does_not_know_gives_up(by_hand):
    """A policy that asks nonsense is contained like any other that is broken."""

    class Asks:
        def retry_after(self, failure, uniform):
            return failure.held_for("money")

    hand = by_hand()
    hand.submit("a", retry=Asks())
    hand.finish("a", OSError())

    assert ("FAILED", ["retry"]) == (hand.state("a"), hand.policy_failures)


def test_the_dice_of_the_policy_inside_are_the_schedulers(by_hand):
    """A wrapper that swallowed the jitter would bring back what failed together."""
    hand = by_hand()
    policy = Budgeted(ExponentialBackoff(initial=10.0), RetryBudget())
    hand.submit("a", retry=policy)
    hand.finish("a", OSError())

    assert 0 < hand.core.next_deadline() < 10.0


def test_what_wraps_a_policy_hands_on_what_it_says_of_itself():
    """A limit of time that is lost in a wrapper would have a job wait for hours for a budget."""

    @attrs.frozen
    class Hasty:
        attempts_max: int = 4

        def retry_after(self, failure, uniform):
            return 0.5

        def retry_if_result(self, value):
            return value is None

        def in_time(self, failure, delay):
            return delay <= 2.0

    waits = Budgeted(Hasty(), RetryBudget(), "wait")
    failure = Failure(1, OSError(), held={RetryBudget(): 1.5})

    assert (4, True) == (waits.attempts_max, waits.retry_if_result(None))
    assert [1.5, None] == [
        waits.retry_after(attrs.evolve(failure, held={RetryBudget(): held}), None) for held in (1.5, 2.5)
    ]
    assert Budgeted(AT_ONCE, RetryBudget()).in_time(failure, 1e9)


def test_first_attempts_pay_into_the_budget_of_their_groups_policy(by_hand, group):
    """A group's policy asks its own budget, and nobody else would fill that."""
    theirs, ours = RetryBudget(name="theirs"), RetryBudget(name="ours")
    hand = by_hand(
        group("io", slots=2, retry=Budgeted(FixedBackoff(), theirs), budgets=(theirs,)),
    )
    hand.submit("a", retry=Budgeted(FixedBackoff(), ours))
    hand.submit("b", retry=Budgeted(FixedBackoff(), ours), own_retry=True)
    paid = {budget.name: budget.deposited for budget in hand.core.statistics(hand.now).budgets}

    assert {"theirs": 1, "ours": 1} == paid


def test_a_budget_that_nobody_named_is_the_default_one():
    """Its name is in statistics, events and errors, and whoever names that one means the same."""
    assert RetryBudget(name="default") == RetryBudget()


def test_what_a_failure_holds_is_named():
    """It was added last, and by place it would be taken for something else."""
    with pytest.raises(TypeError, match="positional"):
        Failure(1, OSError(), 0.0, None, False, {})
