"""Turns of the core beside the main path: limits, stopping jobs, pools that come and go, mending."""

import math
import random

import pytest

from policies import Block, CallerRuns, FixedBackoff, LeastLoaded, ShedLowest, StrictPriority
from scheduler._core.capacity import JOBS_PER_TURN
from scheduler._core.core import TIMERS_PER_TURN, Core
from scheduler._core.deadlock import is_stuck
from scheduler._core.events import JobStarted
from scheduler._core.invariants import InvariantBroken, check
from scheduler._core.job import Job, JobOptions
from scheduler._core.limits import Limit
from scheduler._core.states import JobState, PoolState
from scheduler._core.timers import TimerKind
from scheduler._errors import (
    DeadlineExceeded,
    JobInterrupted,
    PoolBroken,
    QueueTimeout,
    RunTimeout,
    SchedulerError,
)

# Limits


def test_a_delayed_job_starts_when_it_is_due(by_hand):
    """delay= postpones the first start, and only that."""
    hand = by_hand()
    hand.submit("a", delay=5.0)
    before = hand.state("a")
    hand.advance(5.0)

    assert ("DELAYED", [("a", 1, "io-1/1")]) == (before, hand.started)


def test_a_delayed_job_arrives_when_it_is_due(by_hand):
    """Counted from its submission, a job delayed by an hour would overtake everybody."""
    hand = by_hand()
    hand.submit("running")
    hand.submit("delayed", delay=5.0)
    hand.submit("waits all along")
    hand.advance(5.0)
    hand.finish("running")

    assert ["running", "waits all along"] == hand.names


def test_jobs_due_at_once_arrive_in_order_of_submission(by_hand):
    """Equal moments have an order too."""
    hand = by_hand()
    for name in "abc":
        hand.submit(name, delay=5.0)
    hand.advance(60.0)
    hand.finish("a")
    hand.finish("b")

    assert list("abc") == hand.names


def test_queue_timeout_bounds_the_wait_before_the_first_start(by_hand):
    """An answer that nobody waits for any more should not be computed."""
    hand = by_hand()
    hand.submit("running")
    hand.submit("a", queue_timeout=1.0)
    hand.advance(1.0)

    assert ("EXPIRED", QueueTimeout) == (hand.state("a"), type(hand.jobs["a"].outcome))


def test_queue_timeout_counts_from_when_the_job_is_due(by_hand):
    """delay= is a wish of the caller's and no waiting."""
    hand = by_hand()
    hand.submit("running")
    hand.submit("a", delay=5.0, queue_timeout=1.0)
    hand.advance(5.5)

    assert "WAITING" == hand.state("a")


def test_queue_timeout_is_over_once_the_job_has_started(by_hand):
    """It bounds the wait, not the run, and not the wait of a retry."""
    hand = by_hand()
    hand.submit("a", queue_timeout=1.0, retry=FixedBackoff(delay=1.0))
    hand.advance(0.5)
    hand.finish("a", OSError())
    hand.submit("running")
    hand.advance(60.0)

    assert "WAITING" == hand.state("a")


@pytest.mark.parametrize("where", ["DELAYED", "WAITING", "RUNNING", "BACKING_OFF"])
def test_a_deadline_ends_a_job_wherever_it_is(by_hand, where):
    """deadline= is everything from submit to settle: the one limit a caller can count on."""
    hand = by_hand()
    if where == "WAITING":
        hand.submit("running")
    hand.submit("a", deadline=1.0, delay=9.0 * (where == "DELAYED"), retry=FixedBackoff(delay=9.0))
    if where == "BACKING_OFF":
        hand.finish("a", OSError())
    before = hand.state("a")
    hand.advance(1.0)

    assert (where, "EXPIRED", DeadlineExceeded, ["a"]) == (
        before,
        hand.state("a"),
        type(hand.jobs["a"].outcome),
        hand.settled,
    )


def test_a_deadline_leaves_no_second_start_behind(by_hand):
    """A job that has expired must not come back from its backoff."""
    hand = by_hand()
    hand.submit("a", deadline=1.0, retry=FixedBackoff(delay=1.0))
    hand.finish("a", OSError())
    hand.advance(60.0)

    assert (["a"], math.inf) == (hand.names, hand.core.next_deadline())


def test_a_run_timeout_settles_the_job_and_keeps_the_worker(by_hand):
    """A thread cannot be killed: the caller goes on, the slot stays busy and is reported."""
    hand = by_hand()
    hand.submit("a", run_timeout=1.0)
    hand.submit("b")
    hand.advance(1.0)

    assert ("FAILED", RunTimeout, ["a"], 1) == (
        hand.state("a"),
        type(hand.jobs["a"].outcome),
        hand.names,
        len(hand.told("JobOverdue")),
    )


def test_a_run_timeout_sets_the_token_of_the_attempt(by_hand):
    """A job that polls its token can end what nobody waits for."""
    hand = by_hand()
    hand.submit("a", run_timeout=1.0)
    hand.advance(1.0)

    assert "run_timeout=1.0" in hand.calls["a", 1].interrupted


def test_the_worker_of_an_overdue_job_is_used_again_when_it_returns(by_hand):
    """A slot that is never given back is a pool that shrinks."""
    hand = by_hand()
    hand.submit("a", run_timeout=1.0)
    hand.submit("b")
    hand.advance(1.0)
    hand.finish("a", value="too late")

    assert (["a", "b"], 1, ["WorkerReturned"]) == (
        hand.names,
        hand.statistics().late,
        [type(event).__name__ for event in hand.told("WorkerReturned")],
    )


def test_the_token_of_one_attempt_does_not_stop_the_next(by_hand):
    """A new job in a slot must not find its predecessor's token."""
    hand = by_hand()
    hand.submit("a")
    hand.interrupt("a")
    hand.finish("a", JobInterrupted())
    hand.submit("b")

    assert hand.calls["b", 1].interrupted is None


def test_a_job_that_ends_in_time_leaves_no_timer(by_hand):
    """A million jobs with deadlines must not fill the memory until those pass."""
    hand = by_hand()
    hand.submit("a", run_timeout=9.0, queue_timeout=9.0, deadline=9.0)
    hand.finish("a")

    assert 0 == len(hand.core.timers)


def test_a_turn_handles_a_bounded_number_of_timers(by_hand):
    """A million timers at once must not hold the lock for seconds; the rest is due at once."""
    hand = by_hand(capacity=10_000, observed=False)
    for number in range(TIMERS_PER_TURN + 5):
        hand.submit(f"{number}", delay=1.0)
    hand.advance(1.0)
    left = len(hand.core.timers)
    next_due = hand.core.next_deadline()
    hand.advance(0.0)

    assert (5, 1.0, 0) == (left, next_due, len(hand.core.timers))


# Stopping jobs


def test_cancel_settles_a_job_that_does_not_run(by_hand):
    """As a Future: only before it runs."""
    hand = by_hand()
    hand.submit("running")
    hand.submit("waiting")
    hand.submit("delayed", delay=1.0)
    answers = [hand.cancel(name) for name in ("running", "waiting", "delayed")]

    assert ([False, True, True], ["RUNNING", "CANCELLED", "CANCELLED"]) == (
        answers,
        [hand.state(name) for name in ("running", "waiting", "delayed")],
    )


def test_cancelling_twice_is_true_twice_and_settles_once(by_hand):
    """Two who cancel the same job are both right."""
    hand = by_hand()
    hand.submit("running")
    hand.submit("a")

    assert ([True, True], ["a"]) == ([hand.cancel("a"), hand.cancel("a")], hand.settled)


def test_cancelling_a_job_that_has_ended_changes_nothing(by_hand):
    """A settled job never changes."""
    hand = by_hand()
    hand.submit("a")
    hand.finish("a", value=3)

    assert (False, "SUCCEEDED", 3) == (hand.cancel("a"), hand.state("a"), hand.jobs["a"].outcome)


def test_interrupt_asks_a_running_job_and_waits_for_its_answer(by_hand):
    """A thread cannot be killed, so the job goes on until it listens."""
    hand = by_hand()
    hand.submit("a")
    answer = hand.interrupt("a", "enough")

    assert (True, "RUNNING", "enough") == (answer, hand.state("a"), hand.calls["a", 1].interrupted)


@pytest.mark.parametrize(
    ("error", "state"), [(JobInterrupted("it did"), "CANCELLED"), (OSError(), "FAILED"), (None, "SUCCEEDED")]
)
def test_an_interrupted_job_ends_as_it_says(by_hand, error, state):
    """Who finishes in spite of being asked has finished."""
    hand = by_hand()
    hand.submit("a")
    hand.interrupt("a")
    hand.finish("a", error)

    assert state == hand.state("a")


def test_interrupt_cancels_a_job_that_does_not_run(by_hand):
    """There is nothing to ask, and the caller wants it gone."""
    hand = by_hand()
    hand.submit("running")
    hand.submit("a")

    assert (True, "CANCELLED", JobInterrupted) == (
        hand.interrupt("a"),
        hand.state("a"),
        type(hand.jobs["a"].outcome),
    )


def test_an_abandoned_job_settles_and_its_slot_stays_busy(by_hand):
    """Closing names every unfinished job, and lies about no thread."""
    hand = by_hand()
    hand.submit("a")
    hand.tell("abandon", hand.calls["a", 1], JobInterrupted("left behind"))

    assert ("CANCELLED", 1, True) == (
        hand.state("a"),
        hand.pool("io-1").in_use,
        hand.pool("io-1").all_slots[0].overdue,
    )


def test_an_abandoned_attempt_ends_with_the_error_of_who_gave_it_up(by_hand):
    """The report of a stop names every attempt that it cut off, and why."""
    hand, error = by_hand(), JobInterrupted("left behind")
    hand.submit("a")
    hand.tell("abandon", hand.calls["a", 1], error)
    (attempt,) = hand.jobs["a"].extra.attempts()

    assert error is attempt.error


def test_abandoning_twice_settles_once(by_hand):
    """Two ways to give up a worker may meet."""
    hand = by_hand()
    hand.submit("a")
    for _ in range(2):
        hand.tell("abandon", hand.calls["a", 1], JobInterrupted("left behind"))

    assert ["a"] == hand.settled


# A job that waits for a job


def test_a_wait_on_ones_own_full_pool_is_seen(by_hand, group):
    """The hang everybody meets once must be said."""
    hand = by_hand(group("io", slots=2))
    hand.submit("a")
    hand.submit("b")
    hand.submit("inner")
    seen = []
    for name in "ab":
        hand.calls[name, 1].waits_for = hand.jobs["inner"]
        seen.append(is_stuck(hand.jobs["inner"], hand.core.queue, hand.core.timers))

    assert [False, True] == seen


def test_a_slot_that_waits_for_a_job_that_runs_elsewhere_is_no_deadlock(by_hand, group):
    """The job elsewhere ends by itself, and with it the wait."""
    hand = by_hand(group("io"), group("cpu"))
    hand.submit("slow", tags={"cpu"})
    hand.submit("outer", tags={"io"})
    hand.submit("inner", tags={"io"})
    hand.calls["outer", 1].waits_for = hand.jobs["slow"]

    assert not is_stuck(hand.jobs["inner"], hand.core.queue, hand.core.timers)

    hand.calls["slow", 1].waits_for = hand.jobs["inner"]
    assert is_stuck(hand.jobs["inner"], hand.core.queue, hand.core.timers)


def test_a_job_that_waits_for_one_behind_its_own_limit_is_stuck(by_hand, group):
    """A free slot is no help where the limit is held by who waits."""
    hand = by_hand(group("io", slots=3), limits=[Limit(tenant="a", concurrency=1)])
    hand.submit("outer", tenant="a")
    hand.submit("other")
    hand.submit("inner", tenant="a")
    seen = [is_stuck(hand.jobs["inner"], hand.core.queue, hand.core.timers)]
    hand.calls["outer", 1].waits_for = hand.jobs["inner"]
    seen.append(is_stuck(hand.jobs["inner"], hand.core.queue, hand.core.timers))

    assert [False, True] == seen


def test_a_job_that_waits_for_itself_is_stuck(by_hand, group):
    """The shortest of all circles."""
    hand = by_hand(group("io", slots=2))
    hand.submit("a")
    hand.calls["a", 1].waits_for = hand.jobs["a"]

    assert is_stuck(hand.jobs["a"], hand.core.queue, hand.core.timers)


def test_a_free_pool_elsewhere_is_no_deadlock(by_hand, group):
    """Any group that may take the inner job may save it."""
    hand = by_hand(group("io"), group("cpu"))
    hand.submit("a", tags={"io"})
    hand.tell("pause")
    hand.submit("inner")
    hand.calls["a", 1].waits_for = hand.jobs["inner"]

    assert not is_stuck(hand.jobs["inner"], hand.core.queue, hand.core.timers)


def test_a_group_without_pools_is_no_deadlock(by_hand, group):
    """A pool may be added any time."""
    hand = by_hand(group("io"), pools=0)
    hand.submit("a")

    assert not is_stuck(hand.jobs["a"], hand.core.queue, hand.core.timers)


# Pools come and go


def test_a_new_pool_starts_what_waits(by_hand):
    """Capacity that is added must be used at once."""
    hand = by_hand()
    for name in "abc":
        hand.submit(name)
    hand.add_pool("io")

    assert [("a", 1, "io-1/1"), ("b", 1, "io-2/1")] == hand.started


def test_a_pool_that_is_starting_takes_nothing(by_hand, group):
    """Its workers are not there yet."""
    hand = by_hand(group("io"), pools=0)
    hand.core.add_pool(hand.core.make_pool(hand.core.pools.groups["io"], 0.0), 0.0)
    hand.submit("a")

    assert ([], "WAITING") == (hand.started, hand.state("a"))


def test_a_cordoned_pool_starts_nothing_and_finishes_what_it_runs(by_hand):
    """Cordoning is how one looks at a sick pool without losing its work."""
    hand = by_hand()
    hand.submit("a")
    hand.tell("cordon", hand.pool("io-1"))
    hand.submit("b")
    hand.finish("a")

    assert (["a"], "SUCCEEDED", "WAITING", PoolState.CORDONED) == (
        hand.names,
        hand.state("a"),
        hand.state("b"),
        hand.pool("io-1").state,
    )


def test_an_uncordoned_pool_starts_what_waits(by_hand):
    """Nothing else would ever wake it."""
    hand = by_hand()
    hand.tell("cordon", hand.pool("io-1"))
    hand.submit("a")
    hand.tell("pool_up", hand.pool("io-1"))

    assert (["a"], 1) == (hand.names, len(hand.told("PoolUncordoned")))


def test_a_draining_pool_starts_nothing(by_hand):
    """A pool that is asked to go and takes one more job never goes."""
    hand = by_hand()
    hand.submit("a")
    hand.submit("b")
    hand.tell("drain", hand.pool("io-1"))
    hand.finish("a")

    assert (["a"], ["io-1"], "WAITING") == (hand.names, hand.stopped, hand.state("b"))


def test_an_idle_pool_that_drains_has_stopped_at_once(by_hand):
    """There is nothing to wait for."""
    hand = by_hand()
    hand.tell("drain", hand.pool("io-1"))

    assert (["io-1"], None) == (hand.stopped, hand.pool("io-1"))


def test_a_draining_pool_stops_when_its_last_job_ends(by_hand, group):
    """Not before, or that job is lost; not later, or nobody is told."""
    hand = by_hand(group("io", slots=2))
    hand.submit("a")
    hand.submit("b")
    hand.tell("drain", hand.pool("io-1"))
    hand.finish("b")
    before = list(hand.stopped)
    hand.finish("a")

    assert ([], ["io-1"]) == (before, hand.stopped)


def test_a_draining_pool_waits_for_its_overdue_worker(by_hand):
    """The job has settled, and its call still runs."""
    hand = by_hand()
    hand.submit("a", run_timeout=1.0)
    hand.advance(1.0)
    hand.tell("drain", hand.pool("io-1"))
    before = list(hand.stopped)
    hand.finish("a")

    assert ([], ["io-1"]) == (before, hand.stopped)


def test_draining_for_good_passes_over_what_already_goes(by_hand):
    """Closing drains every pool, whatever an operator has done to it before."""
    hand = by_hand()
    hand.submit("a")
    pool = hand.pool("io-1")
    for _ in range(2):
        hand.tell("drain_for_good", pool)

    assert PoolState.DRAINING is pool.state


def test_the_last_pool_that_fails_takes_its_jobs_with_it(by_hand):
    """A job that no pool can ever run must say so instead of waiting for ever."""
    hand = by_hand()
    hand.tell("cordon", hand.pool("io-1"))
    hand.submit("a")
    hand.tell("pool_failed", hand.pool("io-1"), ValueError("initializer"), "initializer")

    assert ("FAILED", PoolBroken) == (hand.state("a"), type(hand.jobs["a"].outcome))


def test_a_broken_group_fails_its_jobs_so_many_a_turn(by_hand):
    """A turn that fails a million jobs would keep every other group waiting for seconds."""
    hand = by_hand(capacity=10_000)
    hand.tell("cordon", hand.pool("io-1"))
    for number in range(2 * JOBS_PER_TURN + 1):
        hand.submit(number)
    answers = [hand.tell("pool_failed", hand.pool("io-1"), ValueError("initializer"), "initializer")]
    failed = [hand.statistics().failed]
    while answers[-1]:
        answers.append(hand.tell("fail_some"))
        failed.append(hand.statistics().failed)

    assert [True, True, False] == answers
    assert [JOBS_PER_TURN, 2 * JOBS_PER_TURN, 2 * JOBS_PER_TURN + 1] == failed


def test_a_pool_that_fails_beside_another_takes_no_job_with_it(by_hand):
    """The other one can run them."""
    hand = by_hand(pools=2)
    for name in "abc":
        hand.submit(name)
    hand.tell("pool_failed", hand.pool("io-2"), ValueError("initializer"), "initializer")

    assert "WAITING" == hand.state("c")


def test_a_job_that_another_group_may_take_outlives_a_failed_group(by_hand, group):
    """Only jobs that nobody can run are given up."""
    hand = by_hand(group("io"), group("spare"))
    for name in "abc":
        hand.submit(name)
    hand.tell("pool_failed", hand.pool("io-1"), ValueError("initializer"), "initializer")

    assert "WAITING" == hand.state("c")


def test_submitting_to_a_broken_group_is_refused_at_once(by_hand):
    """The sentence must name the group and what was raised."""
    hand = by_hand()
    hand.submit("before")
    hand.tell("pool_failed", hand.pool("io-1"), ValueError("no licence"), "ValueError: no licence")
    with pytest.raises(PoolBroken, match=r"'io'.*no licence"):
        hand.submit("a")

    assert 1 == hand.statistics().submitted


def test_a_job_with_new_tags_for_a_broken_group_is_refused_too(by_hand):
    """Found by the model: the first job with these tags waited for ever."""
    hand = by_hand()
    hand.tell("pool_failed", hand.pool("io-1"), ValueError("no licence"), "ValueError: no licence")

    with pytest.raises(PoolBroken):
        hand.submit("a")


@pytest.mark.parametrize("where", ["DELAYED", "BACKING_OFF"])
def test_a_job_that_is_not_due_yet_does_not_wait_for_a_broken_group(by_hand, where):
    """It would come back to a queue that nobody serves, and wait for ever."""
    hand = by_hand()
    hand.submit("a", delay=1.0 * (where == "DELAYED"), retry=FixedBackoff(delay=1.0))
    if where == "BACKING_OFF":
        hand.finish("a", OSError())
    before = hand.state("a")
    hand.tell("pool_failed", hand.pool("io-1"), ValueError("no licence"), "ValueError: no licence")
    hand.advance(1.0)

    assert (where, "FAILED", PoolBroken) == (before, hand.state("a"), type(hand.jobs["a"].outcome))


def test_a_retry_does_not_wait_for_a_group_that_broke_while_it_ran(by_hand):
    """An initializer that raises fails the attempt too, and PoolBroken is an Exception like any other."""
    hand = by_hand()
    hand.submit("a", retry=FixedBackoff(delay=1.0))
    hand.tell("pool_failed", hand.pool("io-1"), ValueError("no licence"), "ValueError: no licence")
    hand.finish("a", PoolBroken("no licence"))
    hand.advance(1.0)

    assert "FAILED" == hand.state("a")


def test_nobody_is_let_in_from_the_door_to_a_broken_group(by_hand):
    """The failure of the waiting jobs makes room, and who came in by it waited for ever."""
    hand = by_hand(capacity=1)
    hand.submit("running")
    hand.submit("waiting")
    hand.submit("at the door")
    hand.tell("pool_failed", hand.pool("io-1"), ValueError("no licence"), "ValueError: no licence")
    hand.finish("running")

    assert ("FAILED", "FAILED") == (hand.state("waiting"), hand.state("at the door"))


def test_a_new_pool_makes_a_broken_group_whole(by_hand):
    """A pool that accepts jobs beside a group that refuses them is a contradiction."""
    hand = by_hand()
    hand.submit("before")
    hand.finish("before")
    hand.tell(
        "pool_failed", hand.pool("io-1"), ValueError("no licence today"), "ValueError: no licence today"
    )
    hand.add_pool("io")
    hand.submit("a")
    hand.submit("b")

    assert (["before", "a"], "WAITING") == (hand.names, hand.state("b"))


def test_a_failed_pool_goes_when_its_last_job_ends(by_hand, group):
    """Its other workers may still be at work."""
    hand = by_hand(group("io", slots=2))
    hand.submit("a")
    hand.tell("pool_failed", hand.pool("io-1"), ValueError("initializer"), "initializer")
    before = list(hand.stopped)
    hand.finish("a")

    assert ([], ["io-1"], "SUCCEEDED") == (before, hand.stopped, hand.state("a"))


# Pause and resume


def test_a_paused_scheduler_starts_nothing_and_admits(by_hand):
    """What runs goes on; what comes waits."""
    hand = by_hand()
    hand.submit("a")
    hand.tell("pause")
    hand.submit("b")
    hand.finish("a")
    hand.advance(1.0)

    assert (["a"], "SUCCEEDED", "WAITING") == (hand.names, hand.state("a"), hand.state("b"))


@pytest.mark.parametrize("options", [{"delay": 1.0}, {"deadline": 9.0}, {"queue_timeout": 9.0}])
def test_a_paused_scheduler_starts_no_job_with_limits_either(by_hand, options):
    """There are several ways to a slot, and a pause must close them all."""
    hand = by_hand()
    hand.tell("pause")
    hand.submit("a", **options)
    hand.advance(1.0)

    assert ([], "WAITING") == (hand.names, hand.state("a"))


def test_resume_uses_every_slot_that_fell_free(by_hand, group):
    """Work conservation holds again from the first turn on."""
    hand = by_hand(group("io", slots=2))
    hand.submit("a")
    hand.tell("pause")
    for name in "bcd":
        hand.submit(name)
    hand.finish("a")
    hand.tell("resume")

    assert ["a", "b", "c"] == hand.names


# Mending


class StopIt(KeyboardInterrupt):
    """What Ctrl-C is, raised at a chosen place."""


class Interrupting:
    """A routing policy in which Ctrl-C falls."""

    def __init__(self):
        self.armed = False

    def choose(self, job, pools, uniform):
        if self.armed:
            self.armed = False
            raise StopIt
        return pools[0]


def test_a_job_whose_submit_was_torn_was_never_submitted(by_hand, group):
    """The caller saw an exception and has no handle, so there must be no job."""
    routing = Interrupting()
    hand = by_hand(group("io"), pools=2, routing=routing)
    routing.armed = True
    with pytest.raises(StopIt):
        hand.submit("torn")
    hand.core.mend(hand.jobs["torn"])
    hand.take()
    hand.submit("a")
    hand.submit("b")

    assert (["a", "b"], 2) == (hand.names, hand.statistics().submitted)


def test_a_job_that_was_about_to_start_is_not_lost_by_an_interrupt(by_hand, group):
    """Ctrl-C in resume() must lose nobody: the job had left the queue and was in no slot yet."""
    routing = Interrupting()
    hand = by_hand(group("io"), pools=2, routing=routing)
    hand.tell("pause")
    hand.submit("a")
    hand.submit("b")
    routing.armed = True
    with pytest.raises(StopIt):
        hand.tell("resume")
    hand.core.mend(None)
    hand.take()

    assert ({"a", "b"}, 2) == (set(hand.names), hand.statistics().submitted)


def test_a_job_that_becomes_due_is_not_lost_by_an_interrupt(by_hand, group):
    """The same between its timer and its slot."""
    routing = Interrupting()
    hand = by_hand(group("io"), pools=2, routing=routing)
    hand.submit("a", delay=1.0)
    routing.armed = True
    with pytest.raises(StopIt):
        hand.advance(1.0)
    hand.core.mend(None)
    hand.take()
    hand.advance(1.0)

    assert (["a"], 1) == (hand.names, hand.statistics().submitted)


@pytest.mark.parametrize("options", [{}, {"delay": 1.0}, {"deadline": 1.0, "queue_timeout": 1.0}])
def test_mending_takes_a_torn_job_from_wherever_it_is(by_hand, options):
    """An interrupt falls between any two instructions, the last ones of a submit too."""
    hand = by_hand()
    hand.submit("running")
    hand.submit("waiting")
    hand.submit("torn", **options)
    hand.core.mend(hand.jobs["torn"])
    hand.take()
    hand.finish("running")
    hand.finish("waiting")
    hand.advance(60.0)

    assert (["running", "waiting"], 2, 0) == (
        hand.names,
        hand.statistics().submitted,
        len(hand.core.timers),
    )


def test_mending_a_whole_core_changes_nothing(by_hand, group):
    """Mending happens in a panic, and often nothing was torn."""
    hand = by_hand(group("io", slots=2), capacity=4)
    hand.submit("a", retry=FixedBackoff(delay=9.0))
    hand.finish("a", OSError())
    for number, options in enumerate(({}, {"run_timeout": 9.0}, {}, {"delay": 9.0}, {"priority": 0}, {})):
        hand.submit(f"{number}", **options)
    before = (hand.statistics(), list(hand.core.queue), list(hand.core.gate.door))
    hand.core.mend(None)

    assert before == (hand.statistics(), list(hand.core.queue), list(hand.core.gate.door))


def test_a_core_that_nobody_watches_makes_no_events(group):
    """They would cost as much as the turn itself."""
    core = a_core(group("io"))
    core.add_pool(core.make_pool(core.pools.groups["io"], 0.0), 0.0)
    core.pool_up(core.pools.find("io-1"), 0.0)

    assert [] == core.left.events


def test_a_job_that_its_caller_lost_is_counted_where_it_runs_now(by_hand):
    """Its submitter is still busy with an attempt that nobody waits for."""
    hand = by_hand(capacity=1, admission=CallerRuns())
    hand.submit("runs")
    hand.submit("waits")
    hand.submit("a", run_timeout=1.0, retry=FixedBackoff(delay=1.0, retry_on=(RunTimeout,)))
    hand.advance(1.0)
    for name in ("runs", "waits"):
        hand.finish(name)
    hand.advance(1.0)

    assert ("RUNNING", ["a"]) == (hand.state("a"), [job.options.name for job in hand.core.running()])


# The checks can fail


def a_core(group):
    return Core(
        [group],
        capacity=9,
        admission=Block(),
        ordering=StrictPriority(),
        routing=LeastLoaded(),
        uniform=random.Random(0),
    )


def lost_slot(core):
    core.pools.find("io-1").free.pop()


def doubled_count(core):
    core.ledger.succeeded += 1


def miscounted_queue(core):
    core.queue.held += 1


def job_in_two_places(core):
    (job,) = core.queue
    core.timers.arm(9.0, TimerKind.BACKOFF, job)


def slot_free_twice(core):
    pool = core.pools.find("io-1")
    pool.free.append(pool.all_slots[0])


def idle_beside_work(core):
    core.pools.find("io-1").state = PoolState.STARTING
    pool = core.make_pool(core.pools.groups["io"], 0.0)
    core.add_pool(pool, 0.0)
    core.pools.move(pool, PoolState.ACCEPTING)


def gap_in_attempts(core):
    (job,) = core.queue
    job.attempt = 2


def order_turned_around(core):
    (job,) = core.queue
    late = Job(JobOptions(), job.line)
    late.arrival = -1
    job.line.push(late)


@pytest.mark.parametrize(
    ("break_it", "number"),
    [
        (job_in_two_places, "I1"),
        (doubled_count, "I2"),
        (lost_slot, "I3"),
        (slot_free_twice, "I3"),
        (gap_in_attempts, "I4"),
        (idle_beside_work, "I6|I7"),
        (order_turned_around, "I2|I8"),
        (miscounted_queue, "I11"),
    ],
)
def test_an_invariant_that_is_broken_is_named(group, break_it, number):
    """A check that cannot fail proves nothing about the cores that pass it."""
    core = a_core(group("io", slots=1))
    pool = core.make_pool(core.pools.groups["io"], 0.0)
    core.add_pool(pool, 0.0)
    core.pool_up(pool, 0.0)
    line = core.queue.line((pool.group,))
    for _ in range(2):
        core.submit(Job(JobOptions(), line), 0.0)
    check(core)
    if break_it is lost_slot:
        core.finish(pool.all_slots[0], None, None, 0.0)
        core.refill(pool.all_slots[0], 0.0)
        core.finish(pool.all_slots[0], None, None, 0.0)
        core.refill(pool.all_slots[0], 0.0)
    break_it(core)

    with pytest.raises(InvariantBroken, match=f"^({number}): "):
        check(core)


def test_the_message_of_every_limit_names_the_limit_and_the_remedy(by_hand):
    """Whoever reads it in a log at night has nothing else."""
    hand = by_hand()
    hand.submit("a", run_timeout=1.0)
    hand.submit("b", queue_timeout=2.0)
    hand.submit("c", deadline=3.0)
    hand.advance(9.0)
    errors = [hand.jobs[name].outcome for name in "abc"]

    assert [True] * 3 == [
        isinstance(error, TimeoutError | SchedulerError) and f"{limit} s" in str(error)
        for error, limit in zip(errors, ("run_timeout=1.0", "2.0", "deadline=3.0"), strict=True)
    ]


def test_a_job_that_was_about_to_be_shed_when_the_turn_was_torn_ends_once(by_hand):
    """It was on the list of those that ended, and had not: its callbacks would have run for nothing, and then again."""

    class Torn(list):
        def append(self, item):
            super().append(item)
            raise KeyboardInterrupt

    hand = by_hand(pools=1, capacity=1, admission=ShedLowest())
    hand.core.cordon(next(iter(hand.core.pools)), 0.0)
    hand.submit("victim", priority=30)
    hand.core.left.settled = Torn()
    with pytest.raises(KeyboardInterrupt):
        hand.submit("newcomer", priority=10)
    hand.core.mend(torn=hand.jobs["newcomer"])
    hand.take()
    told = list(hand.settled)
    hand.cancel("victim")

    assert ([], ["victim"]) == (told, hand.settled)


def test_a_torn_turn_forgets_none_of_those_that_had_ended_in_it(by_hand):
    """Whoever waits for them is told at the end of the turn, and would wait for ever."""
    hand = by_hand()
    hand.submit("ended")
    torn = Job(JobOptions(name="torn"), hand.jobs["ended"].line)
    hand.core.settle(hand.jobs["ended"], JobState.CANCELLED, RuntimeError("cancelled"), 0.0)
    hand.core.mend(torn=torn)

    assert [hand.jobs["ended"]] == hand.core.left.settled


def test_a_start_is_told_with_its_place_and_its_wait(by_hand):
    """Where a job ran is what one asks first when it failed there."""
    hand = by_hand()
    hand.submit("first")
    hand.now = 2.0
    hand.submit("second")
    hand.now = 3.0
    hand.finish("first")
    started = [event for event in hand.events if isinstance(event, JobStarted)]

    assert [("io-1", "io-1/1", 0.0), ("io-1", "io-1/1", 1.0)] == [
        (event.pool, event.worker, event.waited) for event in started
    ]
