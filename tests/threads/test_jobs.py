"""What a job sees of itself, when it starts, and what its limits do on real threads."""

import contextvars
import logging
import threading

import pytest

from policies import Aging, FixedBackoff
from pools import ThreadPool
from scheduler import (
    DeadlineExceeded,
    JobInterrupted,
    JobLogFilter,
    JobProgressed,
    JobState,
    PoolGroup,
    Priority,
    QueueTimeout,
    RunTimeout,
    SchedulerError,
    WorkerReturned,
    current_job,
)
from scheduler.testing import RecordedEvents, VirtualClock

variable = contextvars.ContextVar("variable", default="default")


def test_a_job_knows_its_id_attempt_pool_and_worker(open_scheduler):
    """A log line without them cannot be joined with anything."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1)))

    def who():
        job = current_job()
        return job.id, job.attempt, job.pool, job.worker, threading.current_thread().name

    handle = s.submit(who)

    assert (handle.id, 1, "io-1", "io-1/1", "two-tier-scheduler-io-1/1") == handle.result(20)


def test_each_attempt_knows_its_number(open_scheduler):
    """A job that does something else the second time asks which time it is."""
    s = open_scheduler(1)
    numbers = []

    def fails():
        numbers.append(current_job().attempt)
        raise OSError

    handle = s.with_options(retry=FixedBackoff(delay=0.001, attempts_max=3)).submit(fails)

    assert isinstance(handle.exception(20), OSError)
    assert [1, 2, 3] == numbers


def test_outside_a_job_there_is_no_current_job(open_scheduler):
    """An answer for the wrong thread would be worse than an error that says what to do."""
    s = open_scheduler(1)
    s.submit(int).result(20)
    with pytest.raises(SchedulerError, match="outside a job"):
        current_job()

    def in_a_thread_of_its_own():
        errors = []

        def ask():
            try:
                current_job()
            except SchedulerError as error:
                errors.append(str(error))

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        return errors

    (error,) = s.submit(in_a_thread_of_its_own).result(20)
    assert "pass it what current_job() returned" in error


def test_a_callback_is_outside_the_job(open_scheduler, gate):
    """The job has settled when its callbacks run: there is nothing left to interrupt."""
    s = open_scheduler(1)
    seen = []

    def callback(_):
        try:
            seen.append(current_job())
        except SchedulerError:
            seen.append(None)

    handle = s.submit(gate.stop_here)
    handle.add_done_callback(callback)
    gate.open()
    s.drain(20)
    s.submit(int).result(20)

    assert [None] == seen


def test_an_interrupted_job_learns_of_it_and_may_stop(open_scheduler, gate):
    """A thread cannot be killed: the token is all there is, so it must work."""
    s = open_scheduler(1)

    def works():
        job = current_job()
        before = job.interrupted
        gate.stop_here()
        after = job.interrupted
        job.raise_if_interrupted()
        return before, after

    handle = s.submit(works)
    gate.await_arrival()
    assert handle.interrupt("the client hung up")
    gate.open()

    with pytest.raises(JobInterrupted, match=rf"job {handle.id} was interrupted: the client hung up"):
        handle.result(20)
    assert JobState.CANCELLED is handle.state
    assert 1 == s.statistics().cancelled


def test_the_token_of_one_job_is_not_seen_by_the_next(open_scheduler, gate):
    """The slot is the same, the request was for somebody else."""
    s = open_scheduler(1)
    handle = s.submit(gate.stop_here)
    following = s.submit(lambda: current_job().interrupted)
    gate.await_arrival()
    handle.interrupt()
    gate.open()

    assert following.result(20) is False


def test_a_job_that_does_not_listen_ends_as_it_likes(open_scheduler, gate):
    """To be asked to stop is no reason to lose a result that is there."""
    s = open_scheduler(1)
    handle = s.submit(gate.stop_here, "done all the same")
    gate.await_arrival()
    assert handle.interrupt()
    gate.open()

    assert "done all the same" == handle.result(20)


def test_an_interrupted_job_is_not_retried(open_scheduler, gate):
    """Who asks a job to stop does not want it to begin again."""
    s = open_scheduler(1)

    def fails():
        gate.stop_here()
        raise OSError

    handle = s.with_options(retry=FixedBackoff(delay=0.001)).submit(fails)
    gate.await_arrival()
    handle.interrupt()
    gate.open()

    assert isinstance(handle.exception(20), OSError)
    assert 1 == len(handle.attempts)


def test_a_job_knows_how_long_it_has_left(open_scheduler):
    """A job that passes its own limit on to a socket must know it."""
    s = open_scheduler(1, clock=VirtualClock())

    def left():
        return current_job().remaining()

    assert s.submit(left).result(20) is None
    assert 5.0 == s.with_options(run_timeout=5.0).submit(left).result(20)
    assert 3.0 == s.with_options(run_timeout=5.0, deadline=3.0).submit(left).result(20)


def test_progress_is_seen_by_the_handle_and_by_observers(open_scheduler):
    """A progress bar is drawn by somebody else, on another thread."""
    s = open_scheduler(1)
    events = RecordedEvents()
    s.subscribe(events)

    def works():
        for done in range(3):
            current_job().progress(done, 2)

    handle = s.submit(works)
    handle.result(20)
    s.drain(20)
    s.submit(int).result(20)

    assert (2, 2) == handle.progress
    told = [(e.job_id, e.attempt, e.done, e.total) for e in events.wait_for(JobProgressed, 3)]
    assert [(handle.id, 1, done, 2) for done in range(3)] == told


def test_context_variables_of_the_submitter_are_carried_into_the_job(open_scheduler):
    """Request ids, translations and transactions live in context variables; the stock executor loses them."""
    s = open_scheduler(1)
    variable.set("mine")
    handle = s.submit(variable.get)
    variable.set("changed since")

    assert "mine" == handle.result(20)
    assert "changed since" == s.submit(variable.get).result(20)


def test_what_a_job_sets_is_seen_by_nobody_else(open_scheduler):
    """Neither the next job on the worker nor the submitter nor a second attempt."""
    s = open_scheduler(1)
    variable.set("mine")
    seen = []

    def sets():
        seen.append(variable.get())
        variable.set("the job's")
        if len(seen) == 1:
            raise OSError

    s.with_options(retry=FixedBackoff(delay=0.001)).submit(sets).result(20)
    context = contextvars.Context()

    assert ["mine"] == seen[:1]
    assert "mine" == variable.get()
    assert "default" == context.run(s.submit, variable.get).result(20)


def test_the_log_filter_puts_job_attempt_and_worker_on_records(open_scheduler):
    """One line in a million is found by its job, not by its time."""
    s = open_scheduler(1)
    records = []
    log = logging.getLogger("test-two-tier.jobs")
    log.propagate = False

    class Handler(logging.Handler):
        def emit(self, record):
            records.append((record.getMessage(), record.job_id, record.attempt, record.worker))

    handler = Handler()
    handler.addFilter(JobLogFilter())
    log.addHandler(handler)
    handle = s.submit(log.warning, "inside")
    handle.result(20)
    log.warning("outside")
    log.removeHandler(handler)

    assert [("inside", handle.id, 1, "thread-1/1"), ("outside", "-", "-", "-")] == records


def test_priorities_hold_until_a_job_starts(open_scheduler, gate):
    """Late binding: an urgent job that comes last, with everything queued, is the next to start."""
    s = open_scheduler(1)
    order = []
    s.submit(gate.stop_here)
    gate.await_arrival()
    for priority in (Priority.BULK, Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.CRITICAL, 15, -3):
        for number in range(3):
            s.with_options(priority=priority).submit(order.append, (int(priority), number))
    gate.open()
    s.drain(20)

    assert sorted(order) == order
    assert 21 == len(order)


def test_equals_start_in_order_of_arrival(open_scheduler, gate):
    """First come, first served is the only fairness everybody understands."""
    for ordering in (None, Aging()):
        s = open_scheduler(1, ordering=ordering, clock=VirtualClock())
        order = []
        blocker = s.submit(gate.stop_here)
        gate.await_arrival()
        for number in range(100):
            s.submit(order.append, number)
        gate.open()
        blocker.result(20)
        s.drain(20)

        assert list(range(100)) == order


def test_a_job_that_backs_off_holds_no_slot_and_keeps_its_place(open_scheduler, gates):
    """A retry that sleeps in a worker is what people run from."""
    clock = VirtualClock()
    s = open_scheduler(1, clock=clock)
    visits, order = [], []

    def fails_once():
        visits.append(1)
        if len(visits) == 1:
            raise OSError
        order.append("retried")

    handle = s.with_options(retry=FixedBackoff(delay=10.0)).submit(fails_once)
    assert 7 == s.submit(int, 7).result(20)
    assert JobState.BACKING_OFF is handle.state
    assert 0 == s.pools()[0].in_use or s.drain(0) is False

    gate = gates()
    s.submit(gate.stop_here)
    gate.await_arrival()
    later = s.submit(order.append, "later")
    clock.advance(10.0)
    assert JobState.WAITING is handle.state
    gate.open()
    handle.result(20)
    later.result(20)

    assert ["retried", "later"] == order
    assert 1 == s.statistics().retries


def test_run_timeout_settles_the_handle_while_the_worker_stays_busy(open_scheduler, gate, eventually):
    """A thread cannot be killed: the caller is told in time, and the slot is not promised to anybody."""
    clock = VirtualClock()
    s = open_scheduler(1, clock=clock)
    events = RecordedEvents()
    s.subscribe(events)
    tokens = []

    def hangs():
        job = current_job()
        gate.stop_here()
        tokens.append(job.interrupted)

    handle = s.with_options(run_timeout=5.0).submit(hangs)
    gate.await_arrival()
    waiting = s.submit(int, 7)
    clock.advance(5.0)

    with pytest.raises(
        RunTimeout, match=rf"attempt 1 of job {handle.id} ran longer than run_timeout=5.0 s in thread-1/1"
    ):
        handle.result(0)
    (pool,) = s.pools()
    assert (1, 1) == (pool.in_use, pool.overdue)
    assert not waiting.done()
    assert 0 == s.statistics().running

    gate.open()
    assert 7 == waiting.result(20)
    eventually(lambda: s.pools()[0].in_use == 0)
    assert [True] == tokens
    assert 0 == s.pools()[0].overdue
    assert 1 == s.statistics().late
    events.wait_for(WorkerReturned)
    told = [type(event).__name__ for event in events.events]
    assert told.index("JobOverdue") < told.index("JobSettled") < told.index("WorkerReturned")


def test_a_retry_after_run_timeout_runs_beside_the_overdue_worker(open_scheduler, gate):
    """The next attempt needs a slot of its own; the late outcome of the first must not count."""
    clock = VirtualClock()
    s = open_scheduler(2, clock=clock)
    visits = []

    def hangs_once():
        visits.append(1)
        return gate.stop_here("first") if len(visits) == 1 else "second"

    handle = s.with_options(run_timeout=5.0, retry=FixedBackoff(delay=1.0)).submit(hangs_once)
    gate.await_arrival()
    clock.advance(5.0)
    clock.advance(1.0)

    assert "second" == handle.result(20)
    gate.open()
    assert s.drain(20)
    first, second = handle.attempts
    assert isinstance(first.error, RunTimeout)
    assert first.worker != second.worker
    assert "second" == handle.result(0)


def test_run_timeout_works_on_the_systems_clock(open_scheduler, gate):
    """With a virtual clock nobody needs the alarm; here it must ring."""
    s = open_scheduler(1)
    handle = s.with_options(run_timeout=0.01).submit(gate.stop_here)

    assert isinstance(handle.exception(20), RunTimeout)
    gate.open()
    assert 7 == s.submit(int, 7).result(20)


def test_queue_timeout_expires_a_job_that_did_not_start(open_scheduler, gate):
    """An answer nobody waits for any more should not be computed."""
    s = open_scheduler(1)
    s.submit(gate.stop_here)
    gate.await_arrival()
    ran = []
    handle = s.with_options(queue_timeout=0.01).submit(ran.append, 1)

    assert isinstance(handle.exception(20), QueueTimeout)
    assert JobState.EXPIRED is handle.state
    gate.open()
    s.drain(20)
    assert [] == ran


def test_deadline_bounds_everything_from_submit_to_settle(open_scheduler, gate):
    """Waiting, running or backing off: at the deadline the caller is told."""
    clock = VirtualClock()
    s = open_scheduler(1, clock=clock)
    bound = s.with_options(deadline=5.0)
    running = bound.submit(gate.stop_here)
    gate.await_arrival()
    waiting = bound.submit(int)
    delayed = bound.with_options(delay=60.0).submit(int)
    clock.advance(5.0)

    for handle in (running, waiting, delayed):
        with pytest.raises(DeadlineExceeded, match=rf"job {handle.id} did not settle within deadline=5.0 s"):
            handle.result(0)
    assert 3 == s.statistics().expired
    gate.open()


def test_a_delayed_job_starts_when_it_is_due_and_not_before(open_scheduler):
    """And it queues up behind those who came before it was due."""
    clock = VirtualClock()
    s = open_scheduler(1, clock=clock)
    handle = s.with_options(delay=60.0).submit(int, 7)
    clock.advance(59.9)
    assert JobState.DELAYED is handle.state
    clock.advance(0.1)

    assert 7 == handle.result(20)


def test_a_wall_clock_that_jumps_changes_nothing(open_scheduler, monkeypatch):
    """Daylight saving, NTP and a laptop's sleep move `time.time`, not our delays."""
    jumps = iter(range(10**9))
    monkeypatch.setattr("time.time", lambda: next(jumps) * -86400.0)
    s = open_scheduler(1)

    assert 7 == s.with_options(delay=0.01, deadline=60.0, run_timeout=60.0).submit(int, 7).result(20)
