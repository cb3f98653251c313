"""Hedges: when a second attempt starts, whichever returns first, and what it may cost."""

import pytest

from policies import Budgeted, FairShare, FixedBackoff, Hedge, RetryBudget
from pools import InlinePool
from scheduler import Scheduler
from scheduler._core.limits import Limit

RICH = RetryBudget(name="rich", reserve_per_second=100.0)
AFTER_ONE_SECOND = Hedge(samples_min=10, budget=RICH)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"quantile": 1.0}, ValueError, r"quantile=\) must be between 0 and 1, not 1.0; 0.95 is usual"),
        ({"quantile": 0}, ValueError, "quantile=.*must be more than 0"),
        ({"samples_min": 0}, ValueError, "samples_min=.*must be at least 1"),
        ({"budget": 0.1}, TypeError, "RetryBudget"),
    ],
)
def test_a_bad_hedge_is_told_what_is_wrong(given, error, message):
    """Whoever reads the message should know what to write instead."""
    with pytest.raises(error, match=message):
        Hedge(**given)


def test_the_option_takes_a_hedge_and_nothing_else():
    """`hedge=True` would look right and do nothing."""
    with (
        Scheduler(InlinePool()) as scheduler,
        pytest.raises(TypeError, match=r"hedge= must be a policies.Hedge"),
    ):
        scheduler.with_options(hedge=True)


@pytest.fixture
def hedging(by_hand, group):
    """Make a core with four slots in which ten jobs have run one second, and one more runs for 1.1 s."""

    def make(hedge=AFTER_ONE_SECOND, slots=4, **settings):
        options = settings.pop("options", {})
        hand = by_hand(group("io", slots=slots), **settings)
        for number in range(10):
            hand.submit(str(number), hedge=hedge)
            hand.now += 1.0
            hand.finish(str(number))
        hand.submit("a", hedge=hedge, **options)
        hand.advance(1.1)
        return hand

    return make


def hedge_of(hand, name="a"):
    return hand.jobs[name].extra and hand.jobs[name].extra.hedge


def deliver(hand, slot, error=None, value=None):
    hand.core.finish(slot, value, error, hand.now)
    hand.core.refill(slot, hand.now)
    hand.take()


def test_a_job_that_runs_longer_than_most_gets_a_second_attempt(hedging):
    """The slow ones are what a user waits for."""
    hand = hedging()
    slot = hedge_of(hand)

    assert slot is not None
    assert slot is not hand.jobs["a"].slot
    assert [(1, slot.worker)] == [(event.attempt, event.worker) for event in hand.told("JobHedged")]
    now = hand.statistics()
    assert (1, 1, 2, 0) == (now.running, now.hedges, now.pools[0].in_use, now.pools[0].overdue)


def test_nobody_is_hedged_before_enough_is_known(hedging):
    """Nine run times say nothing of what is long."""
    assert hedge_of(hedging(Hedge(samples_min=11, budget=RICH))) is None


def test_the_hedge_wins_and_the_first_is_asked_to_stop(hedging):
    """The first answer is the answer; the other attempt must not use its slot for longer than need be."""
    hand = hedging()
    job, slot, first = hand.jobs["a"], hedge_of(hand), hand.jobs["a"].slot
    hand.core.finish(slot, "from the hedge", None, hand.now)
    stops = list(hand.core.left.stops)
    hand.core.refill(slot, hand.now)
    hand.take()
    deliver(hand, first, value="too late")

    assert ("SUCCEEDED", "from the hedge", slot) == (hand.state("a"), job.outcome, job.slot)
    assert ([(first, 1)], "its hedge was faster") == (stops, first.interrupted)
    now = hand.statistics()
    assert (11, 1, 1, 0) == (now.succeeded, now.hedges_won, now.late, now.pools[0].in_use)
    assert [(1, slot.worker)] == [(attempt.number, attempt.worker) for attempt in job.all_attempts()]


def test_the_first_wins_and_the_hedge_is_asked_to_stop(hedging):
    """As above, the other way round."""
    hand = hedging()
    job, slot = hand.jobs["a"], hedge_of(hand)
    hand.finish("a", value="from the first")
    overdue = hand.statistics().pools[0].overdue
    deliver(hand, slot, value="too late")

    assert ("SUCCEEDED", "from the first", 1) == (hand.state("a"), job.outcome, overdue)
    assert "the attempt was faster than its hedge" == slot.interrupted
    assert (0, 1, 0) == (
        hand.statistics().hedges_won,
        hand.statistics().late,
        hand.statistics().pools[0].in_use,
    )


def test_a_hedge_that_fails_is_forgotten(hedging):
    """It was extra; the attempt itself may still succeed."""
    hand = hedging()
    deliver(hand, hedge_of(hand), OSError("the hedge"))
    between = hand.state("a")
    hand.finish("a", value="done")

    assert ("RUNNING", "SUCCEEDED") == (between, hand.state("a"))


def test_the_hedge_goes_on_for_an_attempt_that_fails(hedging):
    """A second attempt runs already: to start a third would be a waste."""
    hand = hedging(options={"retry": FixedBackoff(delay=0.0, attempts_max=2)})
    job, slot = hand.jobs["a"], hedge_of(hand)
    hand.finish("a", OSError("the first"))
    between = hand.state("a"), job.attempt, job.slot
    deliver(hand, slot, value="from the hedge")

    assert (("RUNNING", 1, slot), "SUCCEEDED") == (between, hand.state("a"))
    assert 0 == hand.statistics().retries


def test_both_fail_and_the_job_is_retried_once(hedging):
    """An attempt and its hedge are one attempt: they cost one."""
    hand = hedging(options={"retry": FixedBackoff(delay=0.0, attempts_max=2)})
    slot = hedge_of(hand)
    hand.finish("a", OSError("the first"))
    deliver(hand, slot, OSError("the hedge"))
    hand.advance(0.0)
    hand.finish("a", OSError("the last"))

    assert ("FAILED", 2) == (hand.state("a"), hand.jobs["a"].attempt)
    assert [1, 2] == [attempt.number for attempt in hand.jobs["a"].all_attempts()]


@pytest.mark.parametrize("what", ["run_timeout", "deadline", "interrupt"])
def test_whatever_ends_the_attempt_ends_its_hedge(hedging, what):
    """A hedge that goes on for a job that has settled works for nobody."""
    options = {} if what == "interrupt" else {what: 2.0}
    hand = hedging(options=options)
    slot = hedge_of(hand)
    if what == "interrupt":
        hand.interrupt("a")
        assert slot.interrupted is not None, "it must not win meanwhile"
        hand.finish("a", OSError())
    else:
        hand.advance(1.0)

    assert hand.jobs["a"].state.settled
    assert slot.interrupted is not None
    assert slot.overdue
    deliver(hand, slot, value="too late")
    assert hand.jobs["a"].outcome is not None


def test_a_hedge_takes_no_slot_that_somebody_waits_for(hedging):
    """Under load a hedge would delay others by more than it helps, and the load would grow by itself."""
    hand = hedging(slots=1)
    hand.submit("waits")
    hand.advance(10.0)

    assert hedge_of(hand) is None
    hand.finish("a")
    assert "RUNNING" == hand.state("waits")


def test_a_slot_that_comes_free_later_is_used_later(hedging):
    """A job that hangs for a minute should be hedged in that minute, and not be looked at a thousand times."""
    hand = hedging(slots=2, options={})
    assert hedge_of(hand) is not None
    deliver(hand, hedge_of(hand), OSError())
    assert hand.core.next_deadline() == float("inf")

    hand = hedging(slots=1)
    hand.add_pool("io")
    hand.advance(1.2)
    assert hedge_of(hand) is not None


def test_the_budget_pays_for_hedges(hedging):
    """A service that is slow for everybody must not get everything twice."""
    poor = RetryBudget(name="poor", ratio=0.01, reserve_per_second=0.0)
    hand = hedging(Hedge(samples_min=10, budget=poor))

    assert (None, 11, 0) == (
        hedge_of(hand),
        hand.statistics().budgets[0].deposited,
        hand.statistics().budgets[0].withdrawn,
    )


def test_a_limit_holds_for_hedges(hedging):
    """Two calls where one is allowed break what the limit protects."""
    hand = hedging(limits=[Limit(tenant="t", concurrency=1)], options={"tenant": "t"})

    assert hedge_of(hand) is None


def test_hedges_hold_their_limit_and_are_charged_to_their_tenant(hedging):
    """A tenant whose jobs run twice has had twice as much."""
    hand = hedging(limits=[Limit(tenant="t", concurrency=2)], options={"tenant": "t"}, ordering=FairShare())
    record = hand.jobs["a"].line.limits[0]
    slot, first = hedge_of(hand), hand.jobs["a"].slot
    both = record.held
    deliver(hand, slot, value="from the hedge")
    one = record.held
    deliver(hand, first, value="too late")

    assert (2, 1, 0) == (both, one, record.held)
    assert {} == hand.core.shares.charges


def test_a_torn_turn_loses_no_hedge(hedging):
    """An interrupt has the books counted anew, and a hedge stands in them like any call."""
    hand = hedging(options={"tenant": "t"}, ordering=FairShare())
    slot = hedge_of(hand)
    hand.core.mend()
    hand.take()
    deliver(hand, slot, value="from the hedge")

    assert "SUCCEEDED" == hand.state("a")


def test_a_retry_is_hedged_by_its_own_run_time(hedging):
    """What is left of the alarm of the attempt before must not ring for the next one."""
    budgeted = Budgeted(FixedBackoff(delay=0.0), RICH)
    hand = hedging(slots=1, options={"retry": budgeted})
    hand.finish("a", OSError())
    hand.advance(0.0)
    hand.add_pool("io")
    hand.advance(0.5)
    early = hedge_of(hand)
    hand.advance(0.7)

    assert early is None
    assert hedge_of(hand) is not None
