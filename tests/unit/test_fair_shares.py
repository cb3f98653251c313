"""The accounts of fair shares: what is charged, given back, measured and forgotten."""

from types import SimpleNamespace

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import FairShare, FixedBackoff, Reject, ShedLowest
from scheduler._core.accounts import UNKNOWN, Share
from scheduler._core.fair_line import FairLine
from scheduler._core.invariants import InvariantBroken, check
from scheduler._core.job import Job, JobOptions
from scheduler._core.limits import Limit
from scheduler._core.parking import Lots
from scheduler._core.shares import BRIEF, RESTING_MAX, Shares
from scheduler._core.states import CANCELLED, RUNNING
from scheduler._errors import JobInterrupted, QueueFull


def account(hand, tenant):
    return next(share for share in hand.core.shares if share.tenant == tenant)


def had(hand, tenant):
    """Return what a tenant is charged: seconds that were measured, seconds that are guessed."""
    share = account(hand, tenant)
    return share.done, share.pending


@pytest.fixture
def fair(by_hand):
    """Make a core with two slots, all accounts empty: ``fair(weights=…)``."""

    def make(*groups, weights=None, **settings):
        return by_hand(*groups, ordering=FairShare(weights=weights or {}), **settings)

    return make


def test_tenants_take_turns(fair):
    """The tenant that came with a thousand jobs must not be first a thousand times."""
    hand = fair()
    for name in ("a1", "a2", "a3", "b1", "b2"):
        hand.submit(name, tenant=name[0])
    for name in ("a1", "b1", "a2", "b2"):
        hand.now += 1
        hand.finish(name)

    assert ["a1", "b1", "a2", "b2", "a3"] == hand.names


def test_who_comes_late_begins_where_those_are_who_wait(fair):
    """Where who was served last stands is behind them: a newcomer would be first however little is left for others."""
    hand = fair()
    for name in ("a1", "b1", "a2"):
        hand.submit(name, tenant=name[0])
    hand.now += 9.0
    hand.finish("a1")
    hand.submit("c1", tenant="c")
    hand.finish("b1")
    hand.finish("a2")

    assert ["a1", "b1", "a2", "c1"] == hand.names


def test_jobs_without_a_tenant_are_a_tenant_too(fair):
    """Whoever names no tenant must neither be favoured nor forgotten."""
    hand = fair()
    for name in ("n1", "n2", "b1"):
        hand.submit(name, tenant=None if name[0] == "n" else "b")
    hand.now += 1
    hand.finish("n1")

    assert ["n1", "b1"] == hand.names


def test_a_guess_is_charged_until_the_run_time_is_measured(fair):
    """Nobody knows beforehand how long a job takes, but a slot must be charged from its start."""
    hand = fair()
    hand.submit("a1", tenant="a")
    guessed = had(hand, "a")
    hand.now += 0.25
    hand.submit("a2", tenant="a")
    hand.finish("a1")

    assert ((0.0, UNKNOWN), (0.25, 0.25)) == (guessed, had(hand, "a"))


def test_a_tenant_of_which_nothing_is_known_is_taken_to_be_like_the_others(fair, group):
    """With a guess of its own, its first jobs would be too dear or too cheap by any factor."""
    hand = fair(group("io", slots=3))
    hand.submit("a1", tenant="a")
    hand.now += 8.0
    hand.finish("a1")
    hand.submit("b1", tenant="b")

    assert (0.0, 8.0) == had(hand, "b")


@pytest.fixture
def brief(fair, group):
    """A core with four slots in which tenants a and b are known to have brief jobs, and a has 100 that wait."""
    hand = fair(group("io", slots=4))
    for name in ("a first", "b first"):
        hand.submit(name, tenant=name[0])
        hand.now += 0.0001
        hand.finish(name)
    for number in range(100):
        hand.submit(f"a{number}", tenant="a")
    return hand


def test_brief_jobs_are_charged_when_they_have_ended(brief):
    """Nobody minds who has a millisecond first, and a charge for each would cost more than the job."""
    before = had(brief, "a")
    for name in brief.names[2:6]:
        brief.now += 0.0001
        brief.finish(name)

    assert {} == brief.core.shares.charges
    assert (0.0, 4) == (before[1], len(brief.names[2:6]))
    assert pytest.approx(before[0] + 0.0001 + 0.0002 + 0.0003 + 0.0004) == had(brief, "a")[0]


def test_a_turn_of_brief_jobs_lasts_no_longer_than_what_is_brief(brief):
    """A tenant that is served several times running must not be served for longer than anybody would notice."""
    for number in range(100):
        brief.submit(f"b{number}", tenant="b")
    seconds = {"a": 0.0, "b": 0.0}
    for number in range(150):
        name = brief.names[2 + number]
        brief.now += 0.0001
        brief.finish(name)
        seconds[name[0]] = had(brief, name[0])[0]
        if number > 10:
            assert abs(seconds["a"] - seconds["b"]) < 2 * BRIEF + 4 * 0.0004


def test_a_brief_guess_that_was_far_too_low_is_found_by_looking_around(brief):
    """A tenant whose jobs turn from microseconds to hours must not start one after the other meanwhile."""
    for number in range(3):
        brief.submit(f"b{number}", tenant="b")
    brief.now += 1.0
    brief.finish(brief.names[2])

    assert "b0" == brief.names[-1]
    assert had(brief, "a")[1] >= 2 * 3 * 1.0


def next_of(hand):
    """Let the job that started last end a brief time later; return the one that got its slot."""
    hand.now += 0.0001
    hand.finish(hand.names[-1])
    return hand.names[-1]


def test_a_turn_of_brief_jobs_is_remembered_until_something_ends_it(brief):
    """Nobody looks for whose turn it is meanwhile: that is what makes sharing cheap, so it must be in force here."""
    for number in range(30):
        brief.submit(f"b{number}", tenant="b")
    (line,) = brief.core.lots.bundles
    turns = []
    for _ in range(40):
        next_of(brief)
        turns.append(line.open.turn and line.open.turn.share.tenant)

    assert {"a", "b"} <= set(turns)
    assert turns.count(None) < 20


@pytest.mark.parametrize(("priority", "first"), [(0, True), (30, False)])
def test_a_tenants_more_urgent_job_goes_first_in_the_middle_of_its_turn(brief, priority, first):
    """A turn that goes on unlooked at must not go on with the wrong job."""
    next_of(brief)
    next_of(brief)
    turn = brief.core.lots.bundles[0].open.turn
    brief.submit("new", tenant="a", priority=priority)

    assert turn is not None
    assert first == (next_of(brief) == "new")


def test_a_job_that_comes_back_goes_first_in_the_middle_of_a_turn(fair, group):
    """A retry has kept its place in line, whoever goes on unlooked at."""
    hand = fair(group("io", slots=4))
    hand.submit("a first", tenant="a")
    hand.now += 0.0001
    hand.finish("a first")
    retry = FixedBackoff(delay=0.0001, attempts_max=2)
    for number in range(20):
        hand.submit(f"a{number}", tenant="a", retry=retry)
    hand.finish("a0", OSError())
    next_of(hand)
    turn = hand.core.lots.bundles[0].open.turn
    hand.advance(0.0002)

    assert turn is not None
    assert "a0" == next_of(hand)


def test_a_brief_turn_ends_where_its_limit_has_no_room(fair, group):
    """Whoever goes on unlooked at must not go on beyond what it may have."""
    hand = fair(group("io", slots=4), limits=[Limit(tenant="a", concurrency=2)])
    for name in ("a first", "b first"):
        hand.submit(name, tenant=name[0])
        hand.now += 0.0001
        hand.finish(name)
    for number in range(20):
        hand.submit(f"a{number}", tenant="a")
        hand.submit(f"b{number}", tenant="b")
    most = 0
    while hand.calls:
        most = max(most, sum(name[0] == "a" for name, _ in hand.calls))
        hand.now += 0.0001
        hand.finish(next(iter(hand.calls))[0])

    assert 2 == most
    assert 42 == len(hand.names)


@given(
    st.floats(1e-6, 1e-3), st.integers(1, 200), st.one_of(st.none(), st.floats(1e-6, 10.0)), st.integers(0, 5)
)
def test_run_times_learnt_together_count_as_if_one_after_the_other(seconds, count, known, before):
    """What is brief is averaged many at a time, and the average must not depend on how many."""
    together = Share("a", 1, 1.0, guess=known)
    for _ in range(before):
        together.done, together.ended = together.done + 0.5, together.ended + 1
        together.learn()
    one_by_one = attrs.evolve(together)
    for _ in range(count):
        for share in (together, one_by_one):
            share.done, share.ended = share.done + seconds, share.ended + 1
        one_by_one.learn()
    together.learn()

    assert pytest.approx(one_by_one.guess, rel=1e-6) == together.guess


def test_a_tenants_priorities_hold_between_jobs_under_different_limits(fair):
    """A tenant's own order is its own, whatever limits its jobs are under."""
    hand = fair(limits=[Limit(tag="io", concurrency=2)])
    hand.submit("run", tenant="a")
    for name, priority, tags in (("late", 30, ()), ("soon", 10, ("io",)), ("next", 20, ()), ("first", 0, ())):
        hand.submit(name, tenant="a", priority=priority, tags=tags)
    for _ in range(4):
        hand.now += 1.0
        hand.finish(hand.names[-1])

    assert ["run", "first", "soon", "next", "late"] == hand.names


def test_a_failed_attempt_is_charged(fair):
    """It has used the slot as well as any."""
    hand = fair()
    hand.submit("a1", tenant="a", retry=FixedBackoff(delay=1.0, attempts_max=2))
    hand.submit("b1", tenant="b")
    hand.now += 3.0
    hand.finish("a1", OSError())
    first = had(hand, "a")
    hand.advance(1.0)
    hand.submit("b2", tenant="b")
    hand.finish("b1")
    hand.now += 2.0
    hand.submit("a2", tenant="a")
    hand.finish("b2")
    hand.now += 2.0
    hand.finish("a1", OSError())

    assert ((3.0, 0.0), 5.0) == (first, had(hand, "a")[0])


def test_a_call_that_outlives_its_limit_is_charged_until_it_returns(fair, group):
    """A tenant whose jobs ignore their limits occupies slots, and must not do so for nothing."""
    hand = fair(group("io", slots=2))
    hand.submit("a1", tenant="a", run_timeout=1.0)
    hand.submit("a2", tenant="a")
    hand.advance(1.0)
    settled, still = hand.state("a1"), had(hand, "a")[1]
    hand.now += 9.0
    hand.finish("a1")

    assert ("FAILED", 2 * UNKNOWN, 10.0) == (settled, still, had(hand, "a")[0])


def test_a_retry_beside_its_overdue_call_is_charged_beside_it(fair, group):
    """The job then has two slots, and pays for two."""
    hand = fair(group("io", slots=2))
    hand.submit("a1", tenant="a", run_timeout=1.0, retry=FixedBackoff(delay=0.0, attempts_max=2))
    hand.advance(1.0)
    hand.advance(0.0)
    slots = len(hand.core.shares.charges)
    hand.now += 0.5
    hand.finish("a1", attempt=2)
    hand.now += 0.5
    hand.submit("a2", tenant="a")
    hand.finish("a1", attempt=1)

    assert (2, 0.5 + 2.0) == (slots, had(hand, "a")[0])


def test_an_abandoned_slot_stays_charged(fair):
    """Closing gives up on a slot, and the books must still add up."""
    hand = fair()
    hand.submit("a1", tenant="a")
    slot = hand.jobs["a1"].slot
    hand.core.abandon(slot, JobInterrupted("left behind"), hand.now)
    hand.take()

    assert [slot] == list(hand.core.shares.charges)


@pytest.fixture
def ahead(fair, group):
    """A worker that runs a1 and holds a2 and b1 ahead."""
    hand = fair(group("cpu", announces=True, prefetch=4))
    (slot,) = hand.pool("cpu-1").all_slots
    for name in ("a1", "a2", "b1"):
        hand.submit(name, tenant=name[0])
    hand.core.ready(slot, "cpu-1/1", hand.now)
    hand.core.fill(slot, 3, hand.now)
    hand.take()
    return hand, slot


def test_what_lies_ahead_is_charged_and_what_is_taken_back_is_not(ahead):
    """A recall costs no attempt, so it costs no share either."""
    hand, slot = ahead
    before = (had(hand, "a"), had(hand, "b"))
    hand.core.take_back(slot, [hand.jobs["a2"]], hand.now)
    hand.take()

    assert ((0.0, 2.0), (0.0, 1.0), (0.0, 1.0)) == (*before, had(hand, "a"))


def test_a_job_that_was_taken_back_is_next_among_its_tenants(ahead):
    """It keeps its place."""
    hand, slot = ahead
    hand.submit("a3", tenant="a")
    hand.core.take_back(slot, [hand.jobs["b1"], hand.jobs["a2"]], hand.now)
    hand.take()
    started = hand.core.fill(slot, 3, hand.now)

    assert ["b1", "a2", "a3"] == [job.options.name for job in started]


def test_an_outcome_from_a_process_is_charged_with_the_time_it_ran_there(ahead):
    """Waiting at the worker behind another job is nobody's run time."""
    hand, slot = ahead
    hand.now += 5.0
    hand.core.outcome(slot, None, None, 0.5, hand.now)
    hand.take()

    assert 0.5 == had(hand, "a")[0]


def test_a_job_that_settles_where_it_lies_ahead_is_charged_until_the_worker_is_rid_of_it(ahead):
    """Its deadline has passed, and the worker may have begun it just then."""
    hand, slot = ahead
    hand.core.settle(hand.jobs["a2"], CANCELLED, RuntimeError(), hand.now)
    for _ in ("a1", "b1"):
        hand.core.outcome(slot, None, None, 0.5, hand.now)
    hand.take()
    overdue = list(hand.core.shares.charges)[-1]
    hand.now += 1.0
    hand.core.outcome(slot, None, None, 1.0, hand.now)
    hand.take()

    assert (slot, {}) == (overdue, hand.core.shares.charges)


def test_something_urgent_takes_back_its_own_tenants_jobs_that_lie_ahead(ahead):
    """Within a tenant a priority holds until the start, at a worker process too."""
    hand, slot = ahead
    hand.submit("later", tenant="a", priority=30)
    core = hand.core
    before = list(core.left.recalls)
    job = Job(JobOptions(name="urgent", tenant="a", priority=0), hand.jobs["a1"].line)
    core.submit(job, hand.now)

    assert ([], [slot]) == (before, core.left.recalls)


def test_a_lower_weight_makes_every_second_dearer(fair):
    """That is all that a weight is."""
    hand = fair(weights={"a": 4})
    hand.submit("a1", tenant="a")
    hand.submit("b1", tenant="b")
    hand.now += 2.0
    hand.finish("a1")

    assert (0.5, 2.0) == (account(hand, "a").finish, account(hand, "b").finish)


def test_a_tenant_in_two_lines_has_one_account(fair, group):
    """Else whoever spreads its jobs over more tags gets more."""
    hand = fair(group("io"), group("cpu"))
    hand.submit("a1", tenant="a", tags={"io"})
    hand.submit("b1", tenant="b", tags={"cpu"})
    for name in ("a2", "b2"):
        hand.submit(name, tenant=name[0])
    hand.submit("a3", tenant="a", tags={"cpu"})
    hand.now += 1.0
    hand.finish("a1")
    hand.now += 0.5
    hand.finish("b1")

    assert ["a1", "b1", "a2", "b2"] == hand.names


@attrs.frozen
class Weights:
    """Answers whatever it was told."""

    answer: object
    few_keys: bool = True

    def key(self, job):
        return job.priority

    def weight(self, job):
        return self.answer / 1


@pytest.mark.parametrize("answer", [0, -1, float("nan"), float("inf"), None, "3"])
def test_a_weight_that_is_nonsense_counts_as_one_and_is_told(by_hand, answer):
    """A policy that answers nonsense must cost its tenant neither its jobs nor its turn."""
    hand = by_hand(ordering=Weights(answer))
    hand.submit("a1", tenant="a")

    assert (1.0, ["ordering"]) == (account(hand, "a").weight, hand.policy_failures)
    assert ["weight 1.0"] == [event.fallback for event in hand.told("PolicyFailed")]


@pytest.mark.parametrize("answer", [5e-324, 1e308, 10**300])
def test_the_smallest_and_the_largest_weight_keep_the_books_finite(by_hand, answer):
    """Infinity minus infinity is no number, and would put every line out of order."""
    hand = by_hand(ordering=Weights(answer))
    for name in ("a1", "a2", "b1"):
        hand.submit(name, tenant=name[0])
    hand.now += 1e6
    hand.finish("a1")

    assert 0 < account(hand, "b").finish < float("inf")


# Who has to go


def test_shedding_takes_from_the_tenant_with_the_most_waiting(fair):
    """The flood is cut where it comes from."""
    hand = fair(capacity=4, admission=ShedLowest())
    for name in ("run", "a1", "a2", "a3", "b1"):
        hand.submit(name, tenant=name[0])
    hand.submit("b2", tenant="b")

    assert ["a3"] == hand.settled


def test_shedding_turns_the_flood_itself_away(fair):
    """Nobody's job is evicted for one of a tenant that has more waiting."""
    hand = fair(capacity=3, admission=ShedLowest())
    for name in ("run", "a1", "a2", "b1"):
        hand.submit(name, tenant=name[0])
    with pytest.raises(QueueFull):
        hand.submit("a3", tenant="a")

    assert [] == hand.settled


def test_a_tenant_may_replace_its_own_lowest(fair):
    """Within its own part of the queue, a tenant's priorities count."""
    hand = fair(capacity=3, admission=ShedLowest())
    for name in ("run", "a1", "a2", "b1"):
        hand.submit(name, tenant=name[0])
    hand.submit("a3", tenant="a", priority=0)

    assert ["a2"] == hand.settled


def test_shedding_measures_backlogs_by_weight(fair):
    """Whoever has three shares of the slots has three shares of the queue."""
    hand = fair(capacity=4, admission=ShedLowest(), weights={"a": 3})
    for name in ("run", "a1", "a2", "b1", "b2"):
        hand.submit(name, tenant=name[0])
    hand.submit("a3", tenant="a")

    assert ["b2"] == hand.settled


def test_the_last_to_start_is_one_of_the_tenant_that_waits_most(fair):
    """A closing that gives up names it first."""
    hand = fair(capacity=9)
    for name in ("run", "a1", "a2", "a3", "b1"):
        hand.submit(name, tenant=name[0])

    assert hand.jobs["a3"] is hand.core.last_to_start()


def test_a_newcomer_that_is_turned_away_leaves_no_account_for_ever(fair):
    """A thousand strangers at a full queue must not be remembered each."""
    hand = fair(capacity=1, admission=Reject())
    for name in ("run", "wait"):
        hand.submit(name, tenant="a")
    for number in range(50):
        with pytest.raises(QueueFull):
            hand.submit(f"s{number}", tenant=f"stranger {number}")

    assert 1 == len(hand.core.shares)


def test_a_stranger_that_a_shedding_queue_turns_away_leaves_no_account_for_ever(fair):
    """It was asked for its weight, and must be forgotten all the same."""
    hand = fair(capacity=1, admission=ShedLowest())
    for name in ("run", "wait"):
        hand.submit(name, tenant="a")
    for number in range(50):
        with pytest.raises(QueueFull):
            hand.submit(f"s{number}", tenant=f"stranger {number}", priority=40)

    assert 1 == len(hand.core.shares)


# Memory


@pytest.mark.usefixtures("untraced")
def test_a_hundred_thousand_tenants_that_came_and_went_are_forgotten(fair):
    """A tenant may be a customer, and a service lives longer than its customers stay."""
    hand = fair(observed=False)
    queue, groups = hand.core.queue, tuple(hand.core.pools.groups.values())
    for number in range(100_000):
        hand.now += 0.001
        line = queue.line(groups, (), str(number))
        slot = hand.core.submit(Job(JobOptions(tenant=str(number)), line), hand.now)
        hand.now += 0.001
        hand.core.finish(slot, None, None, hand.now)
        hand.core.refill(slot, hand.now)

    assert (True, True) == (len(hand.core.shares) <= 4, len(line.bundle.known) <= 4)


@pytest.mark.usefixtures("untraced")
def test_tenants_that_others_have_not_caught_up_with_are_forgotten_beyond_a_bound(fair):
    """With an endless stream of new tenants the line never gets on, and memory must be bounded all the same."""
    hand = fair(observed=False, capacity=10**6)
    queue, groups = hand.core.queue, tuple(hand.core.pools.groups.values())

    def submit(tenant):
        return hand.core.submit(Job(JobOptions(tenant=tenant), queue.line(groups, (), tenant)), hand.now)

    slot = submit("first")
    for number in range(3 * RESTING_MAX):
        submit(str(number))
    for _ in range(3 * RESTING_MAX):
        hand.now += 1.0
        hand.core.finish(slot, None, None, hand.now)
        hand.core.refill(slot, hand.now)

    assert len(hand.core.shares) <= RESTING_MAX + 2


def test_a_tenant_that_still_owes_is_not_forgotten(fair, group):
    """Else a pause after every burst would wipe the slate clean."""
    hand = fair(group("io", slots=3))
    for name in ("a1", "a2", "b1", "b2", "b3", "b4"):
        hand.submit(name, tenant=name[0])
    hand.now += 10.0
    hand.finish("a1")
    hand.finish("a2")

    assert (20.0, 0.0) == had(hand, "a")


# The heap


class Hand:
    """A fair line by itself, and what its jobs need of a core."""

    def __init__(self, weights=None):
        turn = SimpleNamespace(now=0.0, dirty=False, running=lambda: iter(self.runs))
        self.runs = []
        self.shares = Shares(turn, lambda job: (weights or {}).get(job.tenant, 1.0))
        self.line = FairLine((), Lots((), turn), self.shares)

    def push(self, tenant, arrival, key=20):
        """Let a job wait."""
        job = Job(JobOptions(tenant=tenant, priority=key), self.line.line((), tenant))
        job.key, job.arrival, job.waiting_since = key, arrival, float(arrival)
        job.line.push(job)


def test_entries_out_of_date_never_outnumber_those_that_count():
    """A tenant whose guess is always too high gets an entry with every job that ends."""
    hand = Hand()
    for number in range(20_000):
        hand.push("ab"[number % 2], number)
    hand.shares.guess = 1.0
    for number in range(9_000):
        job = hand.line.pop()
        job.state, job.started_at = RUNNING, float(number)
        hand.shares.began(job, float(number))
        share = job.line.share
        share.done, share.ended = share.done + 0.01, share.ended + 1
        hand.shares.ended(share, job, 0.01)

    assert len(hand.line.open.heap) <= 100


def test_walking_shows_tenants_in_turn():
    """Whoever reports what waits should report it as it will happen if every guess holds."""
    hand = Hand(weights={"a": 2.0})
    for arrival, tenant in enumerate("aaaabb"):
        hand.push(tenant, arrival)

    assert ["a", "b", "a", "a", "b", "a"] == [job.tenant for job in hand.line]
    assert 5 == hand.line.worst().arrival


# After an interrupt


def test_torn_accounts_are_made_anew_from_where_jobs_are(fair, group):
    """Ctrl-C in the middle of a turn must not cost a tenant its share, nor the books their truth."""
    hand = fair(group("io", slots=2))
    for name in ("a1", "a2", "a3", "b1", "b2"):
        hand.submit(name, tenant=name[0], run_timeout=5.0 if name == "a1" else None)
    hand.advance(5.0)
    shares = hand.core.shares
    shares.charges.popitem()
    account(hand, "a").came += 7
    account(hand, "b").finish = 1e9
    with pytest.raises(InvariantBroken):
        check(hand.core)
    hand.core.mend()
    hand.take()

    assert [2, 3] == [len(shares.charges), account(hand, "a").alive]
    hand.finish("a2")
    assert "b1" == hand.names[-1]


def test_what_runs_is_charged_after_an_interrupt_as_before(fair, group):
    """Another guess for it would shift the tenant against those that were charged meanwhile."""
    hand = fair(group("io", slots=2))
    for name in ("a1", "a2"):
        hand.submit(name, tenant="a")
    hand.now += 9.0
    hand.finish("a2")  # from now on a job of this tenant is taken to last longer
    before = had(hand, "a")
    hand.core.mend()
    hand.take()

    assert (9.0, UNKNOWN) == before == had(hand, "a")


# What others ask a line


def a_fair_line(*jobs, weights=None):
    """Return a line in which these jobs, (tenant, key) each, wait."""
    hand = Hand(weights)
    for arrival, (tenant, key) in enumerate(jobs):
        hand.push(tenant, arrival, key)
    return hand.line


@given(
    jobs=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([10, 20])), min_size=1, max_size=20),
    weights=st.fixed_dictionaries({"a": st.sampled_from([0.5, 1.0, 4.0])}),
    gone=st.integers(0, 5),
)
def test_how_many_start_before_a_job_is_its_place_in_the_walk(jobs, weights, gone):
    """`explain()` counts without walking, and must say what a walk would."""
    line = a_fair_line(*jobs, weights=weights)
    for _ in range(gone):
        line.pop()

    assert list(range(len(line))) == [line.before(job) for job in line]


def test_a_line_tells_what_waits_by_priority_and_since_when():
    """The autoscaler and CoDel look at priorities, whoever the tenants are."""
    line = a_fair_line(("a", 10), ("b", 20), ("a", 20), ("b", 10), ("b", 20))
    before = sorted(line.levels())
    line.pop()

    assert [(10, 2, 0.0), (20, 3, None)] == before
    assert [(10, 1, 3.0), (20, 3, 2.0)] == sorted(line.levels())
    assert [1, 2, 4] == sorted(job.arrival for job in line.oldest(20))
