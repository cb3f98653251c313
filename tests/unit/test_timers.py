"""Timers: what is due comes in order, and what is disarmed never comes."""

import math

from scheduler._core.job import Job, JobOptions
from scheduler._core.timers import TimerKind, Timers

DELAY, DEADLINE, RUN = TimerKind.DELAY, TimerKind.DEADLINE, TimerKind.RUN_TIMEOUT


def a_job():
    return Job(JobOptions(), None)


def armed(*entries):
    timers, jobs = Timers(), []
    for when, kind in entries:
        jobs.append(a_job())
        timers.arm(when, kind, jobs[-1])
    return timers, jobs


def pop_due(timers, now):
    """Take the earliest timer that is due, as the core does."""
    timer = timers.first_due(now)
    if timer is not None:
        timers.remove(timer)
    return timer


def test_nothing_is_due_when_nothing_is_armed():
    """The alarm thread sleeps for ever on infinity, and must not be woken for nothing."""
    timers = Timers()

    assert (math.inf, None, 0) == (timers.next_deadline(), pop_due(timers, 1e9), len(timers))


def test_timers_come_in_order_of_time():
    """A deadline handled after a later one has been late."""
    timers, jobs = armed((3.0, DELAY), (1.0, DELAY), (2.0, DELAY))

    assert [jobs[1], jobs[2], jobs[0]] == [pop_due(timers, 9.0).job for _ in jobs]


def test_equal_times_come_in_the_order_in_which_they_were_armed():
    """Jobs delayed to the same moment keep their order of submission."""
    timers, jobs = armed((1.0, DELAY), (1.0, DELAY), (1.0, DELAY))

    assert jobs == [pop_due(timers, 1.0).job for _ in jobs]


def test_a_timer_is_due_at_its_moment_and_not_before():
    """Off by one comparison here would have the alarm ring in a loop until the moment has passed."""
    timers, jobs = armed((1.0, DELAY))

    assert (None, jobs[0]) == (pop_due(timers, math.nextafter(1.0, 0.0)), pop_due(timers, 1.0).job)


def test_the_next_deadline_is_that_of_the_earliest_timer():
    """The alarm is set to it, so a later answer would make every limit late."""
    timers, jobs = armed((3.0, DELAY), (1.0, DEADLINE))
    seen = [timers.next_deadline()]
    timers.disarm(jobs[1])
    seen.append(timers.next_deadline())

    assert [1.0, 3.0] == seen


def test_arming_says_whether_that_is_before_anything_else():
    """The alarm is told only then: a yes too few and it sleeps too long, one too many for each timer costs a turn."""
    timers, job = Timers(), a_job()

    assert [True, False, True, False] == [timers.arm(when, DELAY, job) for when in (3.0, 5.0, 2.0, 2.0)]


def test_one_job_may_have_several_timers_and_lose_any_of_them():
    """A run, a deadline and a hedge of one job are armed at once."""
    timers, job = Timers(), a_job()
    for when, kind in ((1.0, RUN), (2.0, DEADLINE), (3.0, TimerKind.HEDGE)):
        timers.arm(when, kind, job)
    timers.disarm(job, DEADLINE)

    assert [RUN, TimerKind.HEDGE] == [pop_due(timers, 9.0).kind for _ in range(2)]
    assert (0, {}) == (len(timers), timers._of_job)


def test_disarming_one_kind_leaves_the_others():
    """A job that starts in time has met its queue_timeout, and still has a deadline."""
    timers, (job, _) = armed((1.0, RUN), (5.0, DELAY))
    timers.arm(2.0, DEADLINE, job)
    timers.disarm(job, RUN)

    assert [DEADLINE, DELAY] == [timer.kind for timer in timers]


def test_disarming_a_job_leaves_nothing_of_it_behind():
    """A million jobs that end long before their deadline must not stay in memory until then."""
    timers, jobs = armed((1.0, RUN), (2.0, DEADLINE))
    timers.arm(3.0, DEADLINE, jobs[0])
    for job in jobs:
        timers.disarm(job)

    assert (0, {}) == (len(timers), timers._of_job)


def test_a_timer_that_came_leaves_nothing_behind():
    """What has rung is over."""
    timers, _ = armed((1.0, DELAY))
    pop_due(timers, 1.0)

    assert (0, {}) == (len(timers), timers._of_job)


def test_disarming_what_was_never_armed_is_harmless():
    """Every settled job is disarmed, whether it had a limit or not."""
    timers, _ = armed((1.0, DELAY))
    timers.disarm(a_job())
    timers.disarm(a_job(), DEADLINE)

    assert 1 == len(timers)
