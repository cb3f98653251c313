"""A handle is a real future: whatever takes one of the standard library's takes one of ours."""

import asyncio
import concurrent.futures
import contextlib
import gc
import inspect
import logging
import os
import pickle
import signal
import threading
import traceback
import weakref

import pytest

from policies import FixedBackoff
from scheduler import JobHandle, JobInterrupted, JobState

FIRST = concurrent.futures.FIRST_COMPLETED
FIRST_EXCEPTION = concurrent.futures.FIRST_EXCEPTION


class Oops(Exception):
    pass


def oops(text="oops"):
    raise Oops(text)


def test_a_handle_is_a_future_and_the_scheduler_an_executor(open_scheduler):
    """Libraries ask with isinstance before they accept either."""
    s = open_scheduler(1)

    handle = s.submit(int)

    assert isinstance(handle, concurrent.futures.Future)
    assert isinstance(handle, JobHandle)
    assert isinstance(s, concurrent.futures.Executor)
    assert isinstance(s.with_options(priority=1), concurrent.futures.Executor)


def test_wait_tells_who_is_done_and_who_is_not(open_scheduler, gate):
    """The standard's `wait` reaches into a future's private parts; ours must be where it looks."""
    s = open_scheduler(2)
    slow = s.submit(gate.stop_here)
    fast = [s.submit(int) for _ in range(10)]

    done, not_done = concurrent.futures.wait([slow, *fast], timeout=20, return_when=FIRST)
    assert done
    assert slow in not_done
    done, not_done = concurrent.futures.wait(fast, timeout=20)
    assert (set(fast), set()) == (done, not_done)
    gate.open()
    assert {slow} == concurrent.futures.wait([slow], timeout=20).done


def test_wait_returns_at_the_first_exception(open_scheduler, gates):
    """FIRST_EXCEPTION is asked of a future by a method of the waiter's that only failures call."""
    s = open_scheduler(2)
    gate, failing = gates(), gates()
    slow = s.submit(gate.stop_here)

    def fail():
        failing.stop_here()
        oops()

    failed = s.submit(fail)
    failing.open()

    done, not_done = concurrent.futures.wait([slow, failed], timeout=20, return_when=FIRST_EXCEPTION)

    assert ({failed}, {slow}) == (done, not_done)
    assert isinstance(failed.exception(), Oops)


def test_as_completed_yields_every_handle_once_as_it_settles(open_scheduler, gates):
    """Whatever way a job ends (done before, later, failed, cancelled), it comes out, and once."""
    s = open_scheduler(2)
    blockers = [gates(), gates()]
    before = s.submit(int)
    before.result(20)
    running = [s.submit(blocker.stop_here) for blocker in blockers]
    for blocker in blockers:
        blocker.await_arrival()
    waiting = s.submit(int)
    failing = s.submit(oops)
    stopped = s.submit(int)
    everything = [before, *running, waiting, failing, stopped]

    completed = concurrent.futures.as_completed(everything, timeout=20)
    order = [next(completed)]
    stopped.cancel()
    order.append(next(completed))
    blockers[1].open()
    order.append(next(completed))
    blockers[0].open()
    order += completed

    assert [before, stopped, running[1]] == order[:3]
    assert len(everything) == len(order)
    assert set(everything) == set(order)
    failing.exception()


def test_handles_of_ours_and_futures_of_theirs_wait_together(open_scheduler):
    """Programs change executors one call at a time."""
    s = open_scheduler(1)
    with concurrent.futures.ThreadPoolExecutor(1) as theirs:
        mixed = [s.submit(int), theirs.submit(int), s.submit(int)]

        assert set(mixed) == concurrent.futures.wait(mixed, timeout=20).done
        assert set(mixed) == set(concurrent.futures.as_completed(mixed, timeout=20))


def test_many_threads_wait_for_the_same_handles(open_scheduler, gate, in_thread):
    """Waiters share one lock; whoever takes it twice or forgets it stops all of them."""
    s = open_scheduler(2)
    handles = [s.submit(gate.stop_here), *[s.submit(int, n) for n in range(100)]]
    waiters = [in_thread(concurrent.futures.wait, handles, 20) for _ in range(8)]
    waiters += [in_thread(lambda: set(concurrent.futures.as_completed(handles, 20))) for _ in range(4)]
    waiters += [in_thread(handle.result, 20) for handle in handles[1:5]]
    gate.open()

    for waiter in waiters[:8]:
        assert set(handles) == waiter.result().done
    for waiter in waiters[8:12]:
        assert set(handles) == waiter.result()
    assert [0, 1, 2, 3] == [waiter.result() for waiter in waiters[12:]]


def test_result_gives_up_after_its_timeout_and_says_what_the_job_is_doing(open_scheduler, gate):
    """`TimeoutError` alone leaves a reader asking: which job, how long, and where is it?"""
    s = open_scheduler(1)
    running = s.submit(gate.stop_here)
    gate.await_arrival()
    waiting = s.submit(int)

    with pytest.raises(TimeoutError, match=rf"job {running.id} did not settle within 0\.01 s; it is running"):
        running.result(0.01)
    with pytest.raises(TimeoutError, match=rf"job {waiting.id} .* it is waiting"):
        waiting.exception(0)


@pytest.mark.parametrize("timeout", [0, -1, 0.0, 1e-9])
def test_a_timeout_of_nothing_does_not_wait(open_scheduler, gate, timeout):
    """`result(0)` is how one asks without waiting; a deadline already passed gives a negative timeout."""
    s = open_scheduler(1)
    handle = s.submit(gate.stop_here)

    with pytest.raises(TimeoutError):
        handle.result(timeout)


def test_an_endless_timeout_is_no_limit(open_scheduler):
    """`math.inf` and a century are what people write for "as long as it takes"."""
    s = open_scheduler(1)

    assert 7 == s.submit(int, 7).result(float("inf"))
    assert 7 == s.submit(int, 7).result(1e12)


def test_a_jobs_exception_comes_out_as_itself_with_the_place_it_was_raised(open_scheduler):
    """An error without its traceback, or wrapped in another, is searched for in the wrong place."""
    s = open_scheduler(1)
    error = Oops("the very one")

    def deep():
        raise error

    handle = s.submit(deep)

    with pytest.raises(Oops) as raised:
        handle.result(20)
    assert error is raised.value is handle.exception()
    assert "deep" == traceback.extract_tb(raised.value.__traceback__)[-1].name
    frames = [frame.name for frame in traceback.extract_tb(handle.exception().__traceback__)]
    assert "_work" not in frames
    assert "run" not in frames


@pytest.mark.parametrize("kwargs", [{}, {"left": 2}])
def test_a_failed_attempt_keeps_the_frames_of_the_job_and_none_of_ours(open_scheduler, kwargs):
    """A frame refers to its caller's: ours would stay as long as the error, and be walked over all that time."""
    s = open_scheduler(1)

    def fail(once, left=2):
        if len(once) < left:
            once.append(None)
            raise Oops
        return 7

    handle = s.with_options(retry=FixedBackoff(delay=0.0)).submit(fail, [], **kwargs)
    assert 7 == handle.result(20)
    places = [attempt.error.__traceback__ for attempt in handle.attempts[:-1]]

    assert [("fail", None)] * 2 == [(place.tb_frame.f_code.co_name, place.tb_next) for place in places]
    # The worker's, which is there anyway, and the same for both.
    assert 1 == len({place.tb_frame.f_back for place in places})
    assert "_work" == places[0].tb_frame.f_back.f_code.co_name


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, BaseException])
def test_no_exception_of_a_job_kills_its_worker(open_scheduler, kind):
    """`sys.exit()` in a job must neither end the process nor cost a slot: it ends up in the handle."""
    s = open_scheduler(1)

    def leave():
        raise kind("bye")

    handle = s.submit(leave)

    assert kind is type(handle.exception(20))
    with pytest.raises(kind):
        handle.result()
    assert JobState.FAILED is handle.state
    worker = s.submit(lambda: threading.current_thread().name).result(20)
    assert worker.endswith(handle.attempts[0].worker)


def test_a_failed_handle_is_freed_without_the_collector(open_scheduler):
    """A traceback that holds the handle that holds the traceback keeps a crawler's pages for minutes."""
    s = open_scheduler(1)
    gc.collect()
    gc.disable()
    try:
        handle = s.submit(oops)
        with contextlib.suppress(Oops):
            handle.result(20)
        gone = weakref.ref(handle)
        s.submit(int).result(20)
        del handle

        assert gone() is None
    finally:
        gc.enable()


def test_a_worker_keeps_nothing_of_a_finished_job(open_scheduler):
    """P8: arguments and results are freed when the caller lets go of them, not at the next job."""

    class Big:
        pass

    s = open_scheduler(1)
    argument = Big()
    gone = [weakref.ref(argument)]
    handle = s.submit(lambda _: Big(), argument)
    gone.append(weakref.ref(handle.result(20)))
    s.drain(20)
    del argument, handle
    gc.collect()

    assert [None, None] == [reference() for reference in gone]


def test_await_gives_the_result(open_scheduler):
    """In async code nobody wants to know that a handle is not a coroutine."""
    s = open_scheduler(2)

    async def main():
        return await s.submit(int, 7), await asyncio.gather(
            *[_as_coroutine(s.submit(int, n)) for n in range(50)]
        )

    assert (7, list(range(50))) == asyncio.run(main())


async def _as_coroutine(handle):
    return await handle


def test_await_raises_what_the_job_raised(open_scheduler):
    """The error must pass from thread to loop as itself."""
    s = open_scheduler(1)

    async def main():
        await s.submit(oops, "in a thread")

    with pytest.raises(Oops, match="in a thread"):
        asyncio.run(main())


def test_await_of_a_cancelled_job_is_cancelled(open_scheduler, gate):
    """In asyncio there is a CancelledError of its own, and only that one means cancellation to a loop."""
    s = open_scheduler(1)
    s.submit(gate.stop_here)
    handle = s.submit(int)

    async def main():
        asyncio.get_running_loop().call_soon(handle.cancel)
        with pytest.raises(asyncio.CancelledError):
            await handle

    asyncio.run(main())
    gate.open()


def test_cancelling_the_awaiting_coroutine_cancels_a_job_that_waits(open_scheduler, gate):
    """A client that hangs up should not leave its jobs in the queue."""
    s = open_scheduler(1)
    s.submit(gate.stop_here)
    handle = s.submit(int)

    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_as_coroutine(handle), 0.01)

    asyncio.run(main())
    gate.open()
    assert handle.cancelled()


def test_wrap_future_and_run_in_executor_work(open_scheduler):
    """The two doors through which asyncio code reaches executors today."""
    s = open_scheduler(2)

    async def main():
        loop = asyncio.get_running_loop()
        return (
            await asyncio.wrap_future(s.submit(int, 7)),
            await loop.run_in_executor(s, int, 8),
            await loop.run_in_executor(s.with_options(priority=1), int, 9),
        )

    assert (7, 8, 9) == asyncio.run(main())


def test_a_loop_that_closed_before_the_job_settled_harms_nobody(open_scheduler, gate):
    """The callback that tells the loop comes too late; it must cost neither the worker nor the outcome."""
    s = open_scheduler(1)
    handle = s.submit(gate.stop_here, 7)

    async def main():
        asyncio.wrap_future(handle)
        gate.await_arrival()

    asyncio.run(main())
    gate.open()

    assert 7 == handle.result(20)
    assert 8 == s.submit(int, 8).result(20)


def test_callbacks_run_in_order_in_the_thread_that_settles_the_job(open_scheduler, gate):
    """Their order is the only one a user can rely on."""
    s = open_scheduler(1)
    calls = []
    handle = s.submit(gate.stop_here)
    for number in range(5):
        handle.add_done_callback(
            lambda done, number=number: calls.append((number, done, threading.current_thread().name))
        )
    gate.open()
    s.drain(20)
    s.submit(int).result(20)

    assert [0, 1, 2, 3, 4] == [number for number, _, _ in calls]
    assert {handle} == {done for _, done, _ in calls}
    assert all(name.endswith("thread-1/1") for _, _, name in calls)


def test_a_callback_on_a_settled_handle_is_called_at_once(open_scheduler):
    """As with every future: too late is not never."""
    s = open_scheduler(1)
    handle = s.submit(int)
    handle.result(20)
    calls = []

    handle.add_done_callback(lambda _: calls.append(threading.current_thread()))

    assert [threading.current_thread()] == calls


@pytest.mark.parametrize("kind", [Oops, SystemExit, KeyboardInterrupt])
def test_a_callback_that_raises_is_logged_and_harms_nobody(open_scheduler, gate, caplog, kind):
    """I14: the job's outcome, the callbacks after it and the worker stay as they were."""
    s = open_scheduler(1)
    calls = []

    def bad(_):
        raise kind("in a callback")

    handle = s.submit(gate.stop_here, 7)
    handle.add_done_callback(bad)
    handle.add_done_callback(calls.append)
    gate.open()

    assert 7 == handle.result(20)
    assert 8 == s.submit(int, 8).result(20)
    assert [handle] == calls
    assert [f"exception calling callback for job {handle.id}"] == [
        record.getMessage() for record in caplog.records
    ]


def test_a_callback_may_submit(open_scheduler):
    """Chains of jobs are written with callbacks; a slot is free for the next link."""
    s = open_scheduler(1)
    done = threading.Event()
    chain = []

    def link(handle):
        chain.append(handle.result())
        if len(chain) < 50:
            s.submit(int, len(chain)).add_done_callback(link)
        else:
            done.set()

    s.submit(int, 0).add_done_callback(link)

    assert done.wait(20)
    assert list(range(50)) == chain


def _unretrieved(caplog):
    return [r for r in caplog.records if "nobody retrieved its exception" in r.getMessage()]


def test_a_failure_that_is_read_as_soon_as_it_is_seen_counts_as_read(open_scheduler, in_thread, caplog):
    """A reader may see that a job has settled before its worker has noted that nobody has looked: a false alarm."""
    scheduler = open_scheduler(1)
    driver = scheduler._driver
    note = driver._settled

    def read_first(job):
        assert isinstance(in_thread(job.exception).result(), ZeroDivisionError)
        note(job)

    driver._settled = read_first
    handle = scheduler.submit(divmod, 1, 0)
    concurrent.futures.wait([handle], timeout=20)
    scheduler.close()
    del handle, driver._settled
    gc.collect()

    assert [] == _unretrieved(caplog)


def test_a_failure_that_nobody_retrieves_is_logged_once_when_the_handle_is_dropped(open_scheduler, caplog):
    """Errors pass silently when fire-and-forget jobs fail; asyncio taught everybody to expect a line."""
    s = open_scheduler(1)
    handle = s.with_options(name="the forgotten one").submit(oops, "lost")
    s.drain(20)
    s.submit(int).result(20)
    assert [] == _unretrieved(caplog)
    job_id = handle.id
    del handle
    gc.collect()

    records = _unretrieved(caplog)
    assert [f"job {job_id} (the forgotten one) failed and nobody retrieved its exception"] == [
        record.getMessage() for record in records
    ]
    assert logging.ERROR == records[0].levelno
    assert Oops is records[0].exc_info[0]


def _by_result(handle):
    with pytest.raises(Oops):
        handle.result()


def _by_await(handle):
    with pytest.raises(Oops):
        asyncio.run(_as_coroutine(handle))


@pytest.mark.parametrize(
    "retrieve",
    [
        _by_result,
        _by_await,
        lambda handle: handle.exception(),
        lambda handle: handle.add_done_callback(lambda done: done.exception()),
    ],
    ids=["result", "await", "exception", "in a callback"],
)
def test_a_failure_that_somebody_retrieved_is_not_logged(open_scheduler, caplog, retrieve):
    """A line for an error that was handled teaches people to ignore the lines."""
    s = open_scheduler(1)
    handle = s.submit(oops)
    s.drain(20)

    retrieve(handle)
    del handle
    s.submit(int).result(20)
    gc.collect()

    assert [] == _unretrieved(caplog)


def test_a_cancelled_job_is_not_logged_as_a_failure(open_scheduler, gate, caplog):
    """Whoever cancels knows."""
    s = open_scheduler(1)
    s.submit(gate.stop_here)
    assert s.submit(int).cancel()
    gate.open()
    s.drain(20)
    gc.collect()

    assert [] == _unretrieved(caplog)


def test_a_job_that_succeeded_at_the_second_attempt_is_not_logged(open_scheduler, caplog):
    """The first error was dealt with: that is what the retry is for."""
    s = open_scheduler(1)
    visits = []

    def fails_once():
        visits.append(1)
        if len(visits) == 1:
            oops()

    s.with_options(retry=FixedBackoff(delay=0.001)).submit(fails_once)
    s.drain(20)
    gc.collect()

    assert [] == _unretrieved(caplog)


def test_cancelling_twice_is_cancelling(open_scheduler, gate):
    """The second call asks whether it is cancelled, and it is."""
    s = open_scheduler(1)
    s.submit(gate.stop_here)
    gate.await_arrival()
    handle = s.submit(int)

    assert handle.cancel()
    assert handle.cancel()
    assert handle.cancelled()
    assert handle.done()
    with pytest.raises(concurrent.futures.CancelledError):
        handle.result()
    gate.open()
    assert 1 == s.close().statistics.cancelled


def test_a_running_job_cannot_be_cancelled(open_scheduler, gate):
    """`cancel` has the Future's meaning: False means that it runs to its end."""
    s = open_scheduler(1)
    handle = s.submit(gate.stop_here, 7)
    gate.await_arrival()

    assert handle.running()
    assert not handle.cancel()
    gate.open()
    assert 7 == handle.result(20)
    assert not handle.cancel()
    assert not handle.cancelled()


def test_only_the_scheduler_settles_a_handle(open_scheduler):
    """`set_result` from outside would make the ledger lie."""
    s = open_scheduler(1)
    handle = s.submit(int)

    for meddle in (
        lambda: handle.set_result(1),
        lambda: handle.set_exception(Oops()),
        handle.set_running_or_notify_cancel,
    ):
        with pytest.raises(RuntimeError, match=rf"job {handle.id} is settled by its scheduler alone"):
            meddle()


def test_a_handle_cannot_be_pickled(open_scheduler):
    """It belongs to its process; a copy elsewhere would wait for ever."""
    s = open_scheduler(1)
    handle = s.submit(int)

    with pytest.raises(TypeError, match=rf"job {handle.id}'s handle belongs to its process"):
        pickle.dumps(handle)


def test_map_keeps_the_order_and_cancels_the_rest_when_it_is_closed(open_scheduler, gate):
    """A `break` in the loop over the results should not run ten thousand more jobs."""
    s = open_scheduler(1)

    def work(n):
        if n == 2:
            gate.stop_here()
        return n

    results = s.map(work, range(1000))
    assert [0, 1] == [next(results), next(results)]
    gate.await_arrival()
    results.close()
    gate.open()
    s.drain(20)

    assert 997 == s.statistics().cancelled


def test_map_with_a_buffer_submits_no_more_than_that_ahead(open_scheduler):
    """An endless iterable can be mapped, and a slow reader does not fill the memory."""
    s = open_scheduler(1)
    taken = []

    def endless():
        n = 0
        while True:
            taken.append(n)
            yield n
            n += 1

    results = s.map(int, endless(), buffersize=3)
    assert 3 == len(taken)
    assert [0, 1, 2, 3, 4] == [next(results) for _ in range(5)]
    assert len(taken) <= 8
    results.close()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to a thread")
def test_ctrl_c_reaches_a_thread_that_waits_for_a_result(open_scheduler, gate):
    """A wait that cannot be interrupted makes people reach for `kill -9`."""
    s = open_scheduler(1)
    handle = s.submit(gate.stop_here)
    gate.await_arrival()
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        handle.result(20)
    timer.join()
    gate.open()

    assert handle.result(20) is None


SUBMITS_IN_A_HANDLER = """
import signal
from scheduler import JobHandle, Scheduler, SchedulerError

def handler(number, frame):
    try:
        outcomes.append(s.submit(int, 7))
    except SchedulerError as error:
        outcomes.append(error)
    signal.setitimer(signal.ITIMER_REAL, 0.0005)  # again, but never inside itself

outcomes = []
with Scheduler(1) as s:
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
    handles = []
    while len(handles) < 5000 or len(outcomes) < 20:
        handles.append(s.submit(int, len(handles)))
    signal.signal(signal.SIGALRM, signal.SIG_IGN)

    assert list(range(len(handles))) == [handle.result(20) for handle in handles]
    served = [outcome for outcome in outcomes if isinstance(outcome, JobHandle)]
    told = [str(outcome) for outcome in outcomes if isinstance(outcome, SchedulerError)]
    assert all(7 == handle.result(20) for handle in served)
    assert all("signal handler" in text for text in told), told
    assert len(outcomes) == len(served) + len(told)
    s.drain(20)
    assert len(handles) + len(served) == s.statistics().succeeded
print("done")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs signals")
def test_a_signal_handler_that_submits_is_served_or_told_why_not(run_script):
    """A handler may interrupt a submit on its own thread: it must not wait for itself.

    In a process of its own: the coverage tracer and the tests' own time limit do not stand such handlers.
    """
    done = run_script(SUBMITS_IN_A_HANDLER)

    assert ("done\n", "", 0) == (done.stdout, done.stderr, done.returncode)


def test_attempts_tell_where_and_when_a_job_ran(open_scheduler):
    """The first question after a failure: on which worker, at what time, with which error?"""
    s = open_scheduler(1)
    visits = []

    def fails_once():
        visits.append(1)
        if len(visits) == 1:
            oops("first")
        return 7

    handle = s.with_options(retry=FixedBackoff(delay=0.001)).submit(fails_once)
    handle.result(20)

    first, second = handle.attempts
    assert (1, 2) == (first.number, second.number)
    assert ("thread-1", "thread-1/1") == (first.pool, first.worker)
    assert isinstance(first.error, Oops)
    assert second.error is None
    assert first.started_at <= first.ended_at <= second.started_at <= second.ended_at


def test_interrupting_a_job_that_waits_cancels_it(open_scheduler, gate):
    """Whoever wants a job stopped does not care whether it has started."""
    s = open_scheduler(1)
    s.submit(gate.stop_here)
    gate.await_arrival()
    handle = s.submit(int)

    assert handle.interrupt("not needed any more")
    with pytest.raises(JobInterrupted, match="not needed any more"):
        handle.result(20)
    assert handle.cancelled()
    assert not handle.interrupt() or handle.cancelled()
    gate.open()


def test_a_handles_signature_is_that_of_a_future():
    """`result(timeout=…)` by keyword is what everybody writes."""
    for method in ("result", "exception", "cancel", "done", "running", "cancelled"):
        theirs = inspect.signature(getattr(concurrent.futures.Future, method))
        ours = inspect.signature(getattr(JobHandle, method))
        assert list(theirs.parameters) == list(ours.parameters)
