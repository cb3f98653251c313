"""Races with the end of a scheduler, and of what it gives up."""

import strands
from staging import (
    CLOSING,
    DRIVER,
    LOOP,
    balanced,
    coroutines,
    echo,
    finished,
    scenario,
    together,
    unless_closed,
)

from scheduler import JobState, Scheduler


@scenario(CLOSING)
def jobs_come_as_the_scheduler_closes():
    s = Scheduler(1)
    submitted, now = together(
        lambda: [unless_closed(lambda n=n: s.submit(int, n)) for n in range(3)], lambda: finished(s)
    )
    values = [handle.result() for handle in submitted if handle is not None]
    assert list(range(len(values))) == values
    assert now.succeeded == len(values)


@scenario(CLOSING)
def jobs_come_as_the_scheduler_gives_up_what_runs():
    s = Scheduler(1)
    submitted, report = together(
        lambda: [unless_closed(lambda n=n: s.submit(int, n)) for n in range(2)],
        lambda: s.close(finish_within=0, cancel_within=0),
    )
    assert not [handle for handle in submitted if handle is not None and not handle.done()]
    assert balanced(report.statistics).submitted == balanced(s.statistics()).submitted


@scenario(CLOSING)
def two_close_at_once_and_so_does_a_job():
    s = Scheduler(2)
    inside = s.submit(s.close)
    reports = together(s.close, s.close)
    inside.result()
    assert reports[0] is reports[1] is inside.result()
    balanced(s.statistics())
    assert () == reports[0].abandoned_workers


@scenario(CLOSING)
def a_callback_submits_as_the_scheduler_closes():
    s = Scheduler(1)
    later = []
    handle = s.submit(int, 1)
    handle.add_done_callback(lambda _: later.append(unless_closed(lambda: s.submit(int, 2))))
    finished(s, handle)
    assert 1 == len(later)
    assert later[0] is None or 2 == later[0].result()


@scenario(CLOSING)
def a_scheduler_is_closed_in_a_callback():
    s = Scheduler(1)
    handle, reports, told = s.submit(int, 1), [], strands.Event()

    def close(_handle):
        reports.append(s.close())
        told.set()

    together(lambda: handle.add_done_callback(close), handle.result)
    other = s.close()
    told.wait()
    assert [other] == reports
    assert () == other.unfinished
    assert strands.monotonic() <= 101, "a callback that closes is not waited for long"
    balanced(s.statistics())


@scenario(CLOSING)
def a_scheduler_is_dropped_as_its_job_runs():
    s = Scheduler(1)
    handle = s.submit(int, 1)
    other = s.submit(int, 2)
    del s
    assert [1, 2] == [handle.result(), other.result()]


@scenario(CLOSING, horizon=0.5)
def what_does_not_run_is_cancelled_as_it_starts():
    s = Scheduler(1)
    handles = [s.submit(strands.sleep, 0.01) for _ in range(3)]
    report = s.close(finish_within=0.01, cancel_within=1.0)
    balanced(report.statistics)
    assert not [handle for handle in handles if not handle.done()]
    named = {job.job_id for job in report.unfinished}
    assert {h.id for h in handles if h.state is JobState.CANCELLED} <= named
    assert not {h.id for h in handles if h.state is JobState.SUCCEEDED} & named


@scenario((*DRIVER, "scheduler._stopping"))
def a_submitter_at_the_door_meets_the_closing():
    s = Scheduler(1, capacity=1)
    submitted, now = together(
        lambda: [unless_closed(lambda n=n: s.submit(int, n)) for n in range(3)], lambda: finished(s)
    )
    assert now.succeeded == len([handle for handle in submitted if handle is not None])


@scenario((*LOOP, "scheduler._stopping"))
def coroutines_come_as_the_scheduler_closes():
    s = coroutines()
    submitted, now = together(
        lambda: [unless_closed(lambda n=n: s.submit(echo, n)) for n in range(3)], lambda: finished(s)
    )
    assert now.succeeded == len([handle for handle in submitted if handle is not None])


@scenario((*LOOP, "scheduler._stopping"))
def coroutines_come_as_the_scheduler_gives_up_what_runs():
    s = coroutines()
    submitted, report = together(
        lambda: [unless_closed(lambda n=n: s.submit(echo, n)) for n in range(2)],
        lambda: s.close(finish_within=0, cancel_within=0),
    )
    assert not [handle for handle in submitted if handle is not None and not handle.done()]
    balanced(report.statistics)
