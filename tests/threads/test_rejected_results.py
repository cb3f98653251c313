"""Values that a retry policy rejects: an attempt that failed, whichever pool it ran in, and judged outside the lock."""

import contextlib
import pickle

import process_jobs
import pytest

from policies import Block, CallerRuns, FixedBackoff, NoRetry, ScheduleBackoff
from pools import AsyncioPool, InlinePool, ProcessPool, ThreadPool
from scheduler import JobState, PolicyFailed, PoolGroup, ResultRejected, RunTimeout
from scheduler.testing import RecordedEvents

TWICE = ScheduleBackoff([0, 0])


async def coroutine(value):
    return value


def only(pool):
    return PoolGroup("here", pool, dedicated=False)


POOLS = {
    "inline": (only(InlinePool()), process_jobs.identity),
    "threads": (only(ThreadPool(1)), process_jobs.identity),
    "coroutines": (only(AsyncioPool(1)), coroutine),
    "processes": (only(ProcessPool(1)), process_jobs.identity),
}
everywhere = pytest.mark.parametrize("where", [*POOLS, "caller"])


@pytest.fixture
def opened(open_scheduler, gate):
    """Return a function that opens a scheduler and tells how to run ``identity(value)`` somewhere in it."""

    def make(where):
        in_caller = where == "caller"
        group, function = POOLS["threads" if in_caller else where]
        s = open_scheduler(
            group, capacity=1 if in_caller else 100, admission=CallerRuns() if in_caller else Block()
        )

        def submit(value, retry):
            if in_caller:  # the slot and the queue are taken
                s.submit(gate.stop_here)
                s.submit(int)
            handle = s.with_options(retry=retry).submit(function, value)
            gate.open()
            return handle

        return s, submit

    return make


@everywhere
def test_a_rejected_value_is_tried_again(opened, where):
    """Half of all clients return a 503 instead of raising it."""
    seen = []

    def rejects(value):
        seen.append(value)
        return len(seen) < 3

    _, submit = opened(where)
    handle = submit("busy", ScheduleBackoff([0, 0], retry_on=ConnectionError, retry_if_result=rejects))

    assert "busy" == handle.result(20)
    assert ("caller" if where == "caller" else "here-1") == handle.attempts[0].pool
    errors = [attempt.error for attempt in handle.attempts]
    assert [ResultRejected, ResultRejected, type(None)] == [*map(type, errors)]
    assert ["busy", "busy"] == [error.value for error in errors[:2]]
    assert ["busy"] * 3 == seen


@everywhere
def test_a_value_that_is_rejected_to_the_end_fails_the_job(opened, where):
    """The caller must not take it for a success, and may still want to look at it."""
    s, submit = opened(where)
    handle = submit("busy", FixedBackoff(delay=0, attempts_max=2, retry_if_result="busy".__eq__))

    with pytest.raises(
        ResultRejected, match=r"attempt 2 of job \d+ returned what .* FixedBackoff rejects; it is in .value"
    ):
        handle.result(20)
    assert ("busy", None) == (handle.exception().value, handle.exception().__cause__)
    assert (JobState.FAILED, 1) == (handle.state, s.statistics().failed)


@everywhere
def test_a_function_that_raises_fails_the_job_and_keeps_the_value(opened, where):
    """Nobody knows what the value is worth, and running the call again would not tell either."""

    def rejects(value):
        return value.status >= 500

    s, submit = opened(where)
    events = RecordedEvents()
    s.subscribe(events)
    handle = submit("a string", FixedBackoff(delay=0, retry_if_result=rejects))

    with pytest.raises(ResultRejected, match="could not be asked about"):
        handle.result(20)
    error = handle.exception()
    assert ("a string", AttributeError, 1) == (error.value, type(error.__cause__), len(handle.attempts))
    s.drain(20)
    assert ["retry"] == [event.question for event in events.wait_for(PolicyFailed)]


@everywhere
def test_the_function_is_called_without_the_lock(opened, where, in_thread):
    """It is the user's code: it may take a second, or wait for somebody who asks the scheduler something."""
    s, submit = opened(where)
    asked = []

    def rejects(value):
        asked.append(in_thread(s.statistics).result().running)
        return False

    assert "fine" == submit("fine", FixedBackoff(retry_if_result=rejects)).result(20)
    assert 1 == len(asked)


@pytest.mark.parametrize("cause", [None, ValueError("of the inner function")])
def test_a_rejection_that_a_call_raises_is_an_error_like_any_other(open_scheduler, cause):
    """A job that asks for another one's result passes its error on, and must not be taken for that one."""
    s, events, inner = open_scheduler(only(InlinePool())), RecordedEvents(), ResultRejected("of another job")
    inner.__cause__ = cause
    s.subscribe(events)

    def raises():
        raise inner

    handles = [
        s.with_options(retry=FixedBackoff(delay=0, attempts_max=2, retry_on=kind)).submit(raises)
        for kind in (ConnectionError, ResultRejected)
    ]

    assert [inner, inner] == [handle.exception(20) for handle in handles]
    assert [1, 2] == [len(handle.attempts) for handle in handles]
    assert [] == events.of(PolicyFailed)


def test_only_jobs_with_such_a_policy_are_asked_about(open_scheduler):
    """One picky submitter must not judge everybody else's values."""
    s, seen = open_scheduler(only(ThreadPool(2))), []
    picky = s.with_options(retry=FixedBackoff(retry_if_result=seen.append))
    handles = [
        submitter.submit(process_jobs.identity, number) for number, submitter in enumerate([s, picky] * 3)
    ]

    assert [*range(6)] == [handle.result(20) for handle in handles]
    assert [1, 3, 5] == sorted(seen)


@pytest.mark.parametrize("where", POOLS)
def test_a_groups_policy_judges_the_values_that_come_back_there(open_scheduler, where):
    """What a service returns when it is full is known where its pool is described."""
    group, function = POOLS[where]
    picky = PoolGroup(
        "here", group.pool, dedicated=False, retry=FixedBackoff(delay=0, retry_if_result="busy".__eq__)
    )
    s = open_scheduler(picky)
    handles = [
        submitter.submit(function, value)
        for submitter in (s, s.with_options(retry=TWICE), s.with_options(retry=NoRetry()))
        for value in ("busy", "fine")
    ]

    assert [3, 1, 1, 1, 1, 1] == [(handle.exception(20) and 3) or len(handle.attempts) for handle in handles]
    assert [3, 1, 1, 1, 1, 1] == [len(handle.attempts) for handle in handles]
    assert isinstance(handles[0].exception(), ResultRejected)


def test_values_of_calls_that_lay_ahead_are_each_judged_for_their_own_job(open_scheduler, always_ahead):
    """A worker process sends several outcomes at once, and a mix-up would fail somebody else's job."""
    always_ahead()
    s, judged = open_scheduler(only(ProcessPool(1)), check_invariants=True), []

    def rejects(value):
        judged.append(value)
        return value % 4 == 1

    picky = s.with_options(retry=FixedBackoff(delay=0, attempts_max=2, retry_if_result=rejects))
    handles = [(picky if number % 2 else s).submit(process_jobs.identity, number) for number in range(40)]

    for number, handle in enumerate(handles):
        error = handle.exception(20)
        assert number == (handle.result() if error is None else error.value)
        assert (error is not None) == (number % 4 == 1)
    twice = [number for number in range(1, 40, 2) for _ in range(1 + (number % 4 == 1))]
    assert twice == sorted(judged)


def test_a_value_that_came_too_late_is_not_judged(open_scheduler, gate, clock, eventually):
    """Its attempt was given up before: nobody wants it, and nothing may come of it."""
    s, seen = open_scheduler(only(ThreadPool(1)), clock=clock), []
    picky = s.with_options(run_timeout=1.0, retry=FixedBackoff(attempts_max=1, retry_if_result=seen.append))
    handle = picky.submit(gate.stop_here, "late")
    gate.await_arrival()
    clock.advance(1.0)
    gate.open()

    assert isinstance(handle.exception(20), RunTimeout)
    eventually(lambda: s.statistics().late == 1)
    assert [] == seen


def test_ctrl_c_in_the_function_leaves_the_value_as_it_is(open_scheduler):
    """The call has returned, and an interrupt is the main thread's business, not the job's."""
    s = open_scheduler(only(InlinePool()))

    def interrupted(_value):
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        s.with_options(retry=FixedBackoff(retry_if_result=interrupted)).submit(int)

    assert (1, 0) == (s.statistics().succeeded, s.statistics().running)


def test_an_interrupt_that_a_function_raises_on_a_worker_stays_there(open_scheduler):
    """It is no Ctrl-C there, and the worker must live to run the next job."""
    s = open_scheduler(only(ThreadPool(1)))

    def interrupted(_value):
        raise KeyboardInterrupt

    handle = s.with_options(retry=FixedBackoff(retry_if_result=interrupted)).submit(int)

    assert isinstance(handle.exception(20), ResultRejected)
    assert isinstance(handle.exception().__cause__, KeyboardInterrupt)
    assert s.submit(int).result(20) == 0


def test_a_done_callback_hears_of_the_last_attempt_only(open_scheduler, gate):
    """A value that was rejected is no outcome yet."""
    s, seen, heard = open_scheduler(only(ThreadPool(1))), [], []

    def rejects(value):
        seen.append(value)
        return len(seen) < 2

    handle = s.with_options(retry=FixedBackoff(delay=0, retry_if_result=rejects)).submit(
        gate.stop_here, "value"
    )
    handle.add_done_callback(lambda settled: heard.append(settled.result()))
    gate.open()

    assert "value" == handle.result(20)
    assert s.drain(20)
    assert ["value"] == heard


def test_a_rejection_can_be_pickled_with_its_value():
    """Errors travel to logs and other processes."""
    error = ResultRejected("attempt 1 of job 2")
    error.value = {"status": 503}
    copy = pickle.loads(pickle.dumps(error))

    assert ("attempt 1 of job 2", {"status": 503}) == (str(copy), copy.value)
