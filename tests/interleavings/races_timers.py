"""Races with the alarm: a timer rings while its job starts, ends or is cancelled."""

import concurrent.futures

import strands
from staging import TIMERS, error_of, finished, scenario, together

from policies import FixedBackoff
from scheduler import RunTimeout, Scheduler, current_job


@scenario(TIMERS, horizon=0.5)
def a_timer_is_armed_as_the_alarm_goes_to_sleep():
    s = Scheduler(2)
    delays = (0.02, 0.01, 0.015)
    handles = together(*(lambda d=d: s.with_options(delay=d).submit(int, 1) for d in delays))
    assert [1, 1, 1] == [handle.result() for handle in handles]
    assert strands.monotonic() < 100.5, "an alarm rang late"
    finished(s)


@scenario(TIMERS, horizon=0.05)
def a_sooner_timer_is_armed_as_the_alarm_goes_to_sleep():
    s = Scheduler(2)
    late = s.with_options(delay=5.0)
    late, soon = together(lambda: late.submit(int), lambda: s.with_options(delay=0.01).submit(int))
    soon.result()
    assert strands.monotonic() < 101, "the alarm slept on"
    late.cancel()
    finished(s)


@scenario(TIMERS)
def a_timer_is_armed_as_the_alarm_rings():
    s = Scheduler(1)

    def twice():
        s.with_options(delay=0.01).submit(int).result()
        s.with_options(delay=0.01).submit(int).result()

    together(twice, twice)
    assert strands.monotonic() < 100.1, "an alarm rang late"
    finished(s)


@scenario(TIMERS, horizon=0.5)
def a_delayed_job_is_cancelled_as_its_timer_rings():
    s, ran = Scheduler(1), []
    handle = s.with_options(delay=0.01).submit(ran.append, 1)
    cancelled, _ = together(handle.cancel, lambda: s.with_options(delay=0.01).submit(int).result())
    concurrent.futures.wait([handle])
    assert cancelled == handle.cancelled()
    finished(s)
    assert cancelled != bool(ran)


@scenario(TIMERS, horizon=0.5)
def a_job_backs_off_as_it_is_cancelled():
    s, ran = Scheduler(1), []

    def fail():
        ran.append(1)
        raise LookupError

    handle = s.with_options(retry=FixedBackoff(delay=0.01, attempts_max=3)).submit(fail)
    cancelled, error = together(handle.cancel, lambda: error_of(handle))
    assert cancelled == isinstance(error, concurrent.futures.CancelledError)
    finished(s)
    assert len(ran) == len(handle.attempts)
    assert cancelled or 3 == len(ran)


@scenario(TIMERS, horizon=0.5)
def a_job_returns_as_its_time_is_up():
    s = Scheduler(1)
    handle = s.with_options(run_timeout=0.01).submit(strands.sleep, 0.01)
    other = s.submit(lambda: current_job().interrupted)
    assert error_of(handle) is None or isinstance(error_of(handle), RunTimeout)
    assert other.result() is False
    finished(s)
