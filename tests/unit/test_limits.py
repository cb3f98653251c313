"""Limits by themselves: what may be asked for, what is left, and who is looked at."""

import math

import attrs
import pytest

from policies import CallerRuns
from pools import ThreadPool
from scheduler import Limit, Scheduler
from scheduler._core.invariants import check
from scheduler._core.job import Job, JobOptions
from scheduler._core.limits import LimitRecord, held_back
from scheduler.simulation import Simulator


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, ValueError, "exactly one of tenant= and tag=, not neither"),
        (
            {"tenant": "a", "tag": "x", "rate": 1.0},
            ValueError,
            "tenant='a' and tag='x'; make one Limit for each",
        ),
        ({"tenant": "a"}, ValueError, "tenant='a'.* limits nothing; give concurrency="),
        ({"tag": "*", "rate": 1.0}, ValueError, "only tenant='\\*' means each by itself"),
        ({"tenant": 7, "rate": 1.0}, TypeError, "tenant=.*must be a non-empty string, not 7"),
        ({"tag": "", "rate": 1.0}, TypeError, "tag=.*must be a non-empty string, not ''"),
        ({"tenant": "a", "concurrency": 0}, ValueError, "concurrency=.*must be at least 1, not 0"),
        ({"tenant": "a", "concurrency": True}, TypeError, "concurrency=.*must be an integer, not True"),
        ({"tenant": "a", "rate": 0}, ValueError, "rate=.*must be more than 0, not 0"),
        ({"tenant": "a", "rate": math.inf}, ValueError, "rate=.*must be finite, not inf"),
        ({"tenant": "a", "rate": 5e-324}, ValueError, "too small; give at least 1e-300"),
        ({"tenant": "a", "rate": 1.0, "burst": 0}, ValueError, "burst=.*must be at least 1, not 0"),
        (
            {"tenant": "a", "concurrency": 1, "burst": 2},
            ValueError,
            "has no rate; give rate= too, or drop burst=",
        ),
    ],
)
def test_a_bad_limit_is_told_what_is_wrong(given, error, message):
    """Whoever reads the message should know what to write instead."""
    with pytest.raises(error, match=message):
        Limit(**given)


@pytest.mark.parametrize("given", [Limit(tenant="a", rate=1.0), 7, [7], [Limit], "ab"])
def test_limits_must_be_a_list_of_limits(given):
    """A single Limit, or its class, is the slip of the pen that is easiest to make."""
    with pytest.raises(TypeError, match=r"limits= must be a list of Limit\(...\) values"):
        Scheduler(1, limits=given)


def test_a_limit_is_a_frozen_value():
    """It is shared between schedulers, and printed in logs."""
    limit = Limit(tenant="a", concurrency=2, rate=1.5)

    assert limit == eval(repr(limit), {"Limit": Limit})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        limit.rate = 2.0


def test_a_token_is_there_once_an_interval_and_saved_up_to_the_burst():
    """The bucket of the textbook, without a clock that ticks."""
    record = LimitRecord.of(Limit(tenant="a", rate=4.0, burst=3), "a")
    taken = []
    for now in (0.0, 0.0, 0.0, 0.0, 0.25, 0.25, 0.5, 10.0, 10.0, 10.0, 10.0):
        taken.append(record.has_room(now))
        if taken[-1]:
            record.take_token(now)

    assert [True, True, True, False, True, False, True, True, True, True, False] == taken
    assert record.ready_at == pytest.approx(10.25)


@pytest.mark.parametrize(("rate", "burst"), [(0.5, 1), (1.0, 1), (2.5, 3), (100.0, 100)])
def test_a_burst_is_by_default_what_a_second_brings(rate, burst):
    """A rate alone should do what one expects of "so many a second"."""
    record = LimitRecord.of(Limit(tag="x", rate=rate), "x")
    taken = 0
    while record.has_room(0.0):
        record.take_token(0.0)
        taken += 1

    assert burst == taken


def parked(limits, submissions):
    """Return a simulator in which jobs have come, and its jobs."""
    simulator = Simulator(ThreadPool(slots=8), limits=limits, check_every=1)
    jobs = [simulator.submit(1.0, **options) for options in submissions]
    simulator.run(until=0.0)
    return simulator, jobs


def test_what_holds_a_job_back_is_said_in_words():
    """Whoever asks why a job waits wants a sentence, not a state."""
    simulator, jobs = parked(
        [Limit(tenant="*", concurrency=2), Limit(tag="thread", rate=2.0, burst=2)],
        [{"tenant": "a"}] * 2 + [{"tags": "thread"}] * 3 + [{"tenant": "a", "tags": "thread"}],
    )

    assert held_back(jobs[0].line, 0.0) == ("limit of tenant 'a': 2 of 2 run",)
    assert held_back(jobs[4].line, 0.2) == ("rate of tag 'thread': next token in 0.3 s",)
    assert len(held_back(jobs[5].line, 0.0)) == 2
    assert held_back(jobs[4].line, 0.5) == ()
    assert simulator.statistics().limited == 2


def test_a_limit_of_each_tenant_leaves_jobs_without_one_alone():
    """Jobs without a tenant are not one tenant's."""
    simulator, _ = parked([Limit(tenant="*", concurrency=1)], [{}] * 4 + [{"tenant": "a"}] * 3)

    assert simulator.statistics().running == 5


def test_time_is_asked_for_only_while_somebody_waits_for_a_token():
    """An alarm that rings for nobody costs a wake-up a token."""
    simulator, jobs = parked([Limit(tenant="a", rate=0.1)], [{"tenant": "a"}] * 2)

    assert simulator.core.next_deadline() == 10.0
    simulator.cancel(jobs[1])
    assert simulator.core.next_deadline() == math.inf


def test_lines_and_limits_of_tenants_are_forgotten_with_them():
    """A service with a million users over the years must not remember each."""
    simulator = Simulator(ThreadPool(slots=1), limits=[Limit(tenant="*", concurrency=1)])
    core = simulator.core
    for number in range(1000):
        options = JobOptions(tenant=str(number))
        job = Job(options, core.queue.line(tuple(core.pools.groups.values()), core.lots.of(options)))
        slot = core.submit(job, float(number))
        core.finish(slot, None, None, float(number))
        core.refill(slot, float(number))
    del job

    assert len(core.lots.lines()) <= 1
    assert len(core.lots.records()) <= 1


def test_a_bucket_that_is_not_full_outlives_its_lines():
    """Or a tenant would get a fresh burst by making a new submitter."""
    simulator = Simulator(ThreadPool(slots=1), limits=[Limit(tenant="*", rate=1.0)])
    core = simulator.core

    def record():
        return core.lots.of(JobOptions(tenant="a"))[0]

    groups = tuple(core.pools.groups.values())
    slot = core.submit(Job(JobOptions(tenant="a"), core.queue.line(groups, (record(),))), 0.0)
    core.finish(slot, None, None, 0.0)
    core.refill(slot, 0.0)

    assert record().ready_at == 1.0


def test_jobs_without_limits_and_jobs_under_different_ones_start_in_one_order(by_hand):
    """Whether a job is under limits says nothing about when it came, nor how urgent it is."""
    hand = by_hand(limits=[Limit(tenant="a", concurrency=9), Limit(tenant="b", rate=1e6)])
    for name, tenant, priority in (
        ("run", None, 20), ("n1", None, 20), ("a1", "a", 20), ("b1", "b", 20), ("n2", None, 20), ("a2", "a", 20),
        ("b2", "b", 0), ("n3", None, 0), ("a3", "a", 30), ("a4", "a", 0),
    ):  # fmt: skip
        hand.submit(name, tenant=tenant, priority=priority)
    for _ in range(10):
        hand.finish(hand.names[-1])

    assert ["run", "b2", "n3", "a4", "n1", "a1", "b1", "n2", "a2", "a3"] == hand.names


def test_a_job_that_comes_while_the_alarm_for_a_token_is_late_starts_when_it_rings():
    """It is first in a line whose token is there: had it been opened by itself, nobody would have started it."""
    simulator, (_, waiting) = parked([Limit(tenant="a", rate=1.0)], [{"tenant": "a"}] * 2)
    core = simulator.core
    urgent = Job(JobOptions(tenant="a", priority=0), waiting.line)

    assert core.submit(urgent, 1.5) is None
    assert core.next_deadline() <= 1.5
    core.advance(1.5)
    assert [urgent] == [slot.job for slot in core.left.starts]


def test_a_job_that_leaves_while_the_alarm_for_a_token_is_late_does_not_take_it_along():
    """Who stood behind it is next, and starts when the alarm rings."""
    simulator, (_, first, second) = parked([Limit(tenant="a", rate=1.0)], [{"tenant": "a"}] * 3)
    core = simulator.core
    core.cancel(first, 1.5, RuntimeError("cancelled"))
    if core.next_deadline() <= 1.5:
        core.advance(1.5)

    assert [second] == [slot.job for slot in core.left.starts]


def test_a_caller_that_runs_its_own_job_leaves_the_second_token_to_who_was_parked():
    """Two tokens have come and the alarm is late: who was parked is let out, and must meet the free slot at once."""
    simulator = Simulator(
        ThreadPool(slots=4), limits=[Limit(tenant="a", rate=1.0, burst=2)], capacity=1, admission=CallerRuns()
    )
    jobs = [simulator.submit(10.0, tenant="a") for _ in range(3)]
    simulator.run(until=0.0)
    core = simulator.core
    own = Job(JobOptions(tenant="a"), jobs[2].line)
    slot = core.submit(own, 2.5)
    check(core)

    assert slot.pool_id == "caller"
    assert [jobs[2]] == [bound.job for bound in core.left.starts]


def test_tokens_that_come_at_once_let_jobs_start_wherever_slots_are_free(by_hand, group):
    """Looking at the groups of the first alone would leave the others beside a free slot."""
    rates = [Limit(tenant=tenant, rate=1.0, burst=1) for tenant in "ab"]
    hand = by_hand(group("io", slots=2), group("cpu", slots=2), limits=rates)
    for number in (1, 2):
        hand.submit(f"a{number}", tenant="a", groups=("io",))
        hand.submit(f"b{number}", tenant="b", groups=("cpu",))
    before = list(hand.names)
    hand.advance(1.0)

    assert (["a1", "b1"], ["a1", "b1", "a2", "b2"]) == (before, hand.names)


def test_a_token_that_comes_while_scaling_rests_wakes_it(by_hand, group, says):
    """The job that starts then may be the first of many."""
    hand = by_hand(group("io", scaling=says(1), max_pools=2), limits=[Limit(tenant="a", rate=0.001, burst=1)])
    hand.submit("first", tenant="a")
    hand.finish("first")
    hand.submit("second", tenant="a")
    while hand.core.next_deadline() < 1000.0:
        hand.advance(hand.core.next_deadline() - hand.now)
    rested = hand.core.dozing
    hand.advance(hand.core.next_deadline() - hand.now)

    assert (["first", "second"], True, False) == (hand.names, rested, hand.core.dozing)


def test_a_job_without_room_at_its_second_limit_takes_nothing_from_its_first(by_hand, group):
    """A tenant whose limit counts jobs that never started is slowed down for good."""
    limits = [Limit(tenant="a", concurrency=1), Limit(tag="x", concurrency=1)]
    hand = by_hand(group("io", slots=2, tags=frozenset({"x"})), limits=limits)
    for name in ("first", "second"):
        hand.submit(name)
    hand.submit("b1", tenant="b", tags={"x"})
    hand.submit("a1", tenant="a", tags={"x"})
    hand.finish("first")
    hand.finish("second")
    hand.submit("a2", tenant="a")

    assert ["first", "second", "b1", "a2"] == hand.names
