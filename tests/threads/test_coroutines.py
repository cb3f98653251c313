"""Coroutines are jobs like any other: one queue, one ledger, one way to stop."""

import asyncio
import contextlib
import contextvars
import functools
import gc
import logging
import sys
import threading
import time
import traceback

import pytest

from policies import FixedBackoff
from pools import AsyncioPool, CallAbandoned, InlinePool, ThreadPool
from pools.testing import Harness, SampleCall
from scheduler import (
    CancelledFromWithin,
    JobInterrupted,
    JobLogFilter,
    JobState,
    NoEligiblePool,
    PoolBroken,
    PoolGroup,
    Priority,
    RunTimeout,
    SchedulerError,
    ShutdownReport,
    WouldDeadlock,
    current_job,
)

word = contextvars.ContextVar("word", default="none")


class Pause:
    """A place in a coroutine where it stays until the test lets it on, from any thread."""

    def __init__(self):
        self.reached = threading.Event()
        self._loop = self._event = None

    async def here(self, value=None):
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()
        self.reached.set()
        await self._event.wait()
        return value

    def await_arrival(self):
        assert self.reached.wait(20), "nobody came"

    def open(self):
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._event.set)


@pytest.fixture
def pauses():
    """Return a function that makes pauses; all end with the test."""
    made = []

    def make():
        made.append(Pause())
        return made[-1]

    yield make
    for pause in made:
        pause.open()


@pytest.fixture
def pause(pauses):
    """Return one pause."""
    return pauses()


@pytest.fixture
def coroutines(open_scheduler):
    """Return a scheduler with one asyncio pool of two slots."""
    return open_scheduler(PoolGroup("net", AsyncioPool(slots=2)))


async def double(number):
    await asyncio.sleep(0)
    return 2 * number


# What is a coroutine, and where it goes


class Client:
    async def get(self, number):
        return await double(number)

    async def __call__(self, number):
        return await double(number)

    @classmethod
    async def make(cls, number):
        return await double(number)

    @staticmethod
    async def ask(number):
        return await double(number)


@pytest.mark.parametrize(
    "function",
    [
        double,
        Client().get,
        Client(),
        Client.make,
        Client.ask,
        functools.partial(double),
        functools.partial(Client().get),
        functools.partial(functools.partial(double)),
    ],
    ids=lambda function: type(function).__name__,
)
def test_whatever_is_a_coroutine_function_runs_on_the_loop(coroutines, function):
    """A user thinks of `async def`, not of how it is wrapped."""
    assert 14 == coroutines.submit(function, 7).result(20)


def test_arguments_reach_a_coroutine_as_they_were_given(coroutines):
    """Options of the job and arguments of the function never mix."""

    async def job(*args, **kwargs):
        return args, kwargs

    assert ((1, 2), {"priority": 3}) == coroutines.submit(job, 1, 2, priority=3).result(20)


def test_a_plain_function_goes_to_threads_and_a_coroutine_to_the_loop(open_scheduler):
    """One scheduler for both, and no choosing by hand."""
    s = open_scheduler(ThreadPool(slots=1), AsyncioPool(slots=1))

    async def where():
        return current_job().worker

    assert "asyncio-1/1" == s.submit(where).result(20)
    assert "thread-1/1" == s.submit(lambda: current_job().worker).result(20)


def test_a_plain_function_that_makes_an_awaitable_goes_where_its_tag_says(open_scheduler):
    """Only its caller knows that a lambda around a coroutine is one."""
    s = open_scheduler(ThreadPool(slots=1), PoolGroup("net", AsyncioPool(slots=1)))
    to_net = s.with_options(tags={"net"})

    def as_future(number):
        future = asyncio.get_running_loop().create_future()
        future.set_result(number)
        return future

    assert 14 == to_net.submit(lambda: double(7)).result(20)
    assert 7 == to_net.submit(as_future, 7).result(20)
    assert 7 == to_net.submit(lambda: s.submit(abs, -7)).result(20)  # a handle can be awaited


def test_a_plain_function_that_makes_no_awaitable_is_refused_through_its_handle(coroutines):
    """It blocked the loop while it ran; the sentence must say what to do instead."""

    def plain():
        return 3

    handle = coroutines.with_options(tags={"net"}).submit(plain)

    with pytest.raises(
        TypeError, match=r"plain\(\) returned 3, which cannot be awaited, in worker net-1/1.*async def"
    ):
        handle.result(20)
    assert JobState.FAILED is handle.state


def test_a_tag_that_threads_offer_too_sends_plain_functions_to_them(open_scheduler):
    """A shared tag must not send blocking functions to a loop by chance."""
    s = open_scheduler(
        PoolGroup("net", AsyncioPool(slots=1), tags={"eu"}), PoolGroup("io", ThreadPool(slots=1), tags={"eu"})
    )

    assert 3 == s.with_options(tags={"eu"}).submit(abs, -3).result(20)
    assert 6 == s.with_options(tags={"eu"}).submit(double, 3).result(20)


@pytest.mark.parametrize(
    ("groups", "tags", "function", "said"),
    [
        ([ThreadPool(slots=1)], set(), double, "no group runs coroutine functions"),
        ([AsyncioPool(slots=1)], set(), abs, "every group runs coroutine functions only"),
        (
            [AsyncioPool(slots=1), ThreadPool(slots=1)],
            {"thread"},
            double,
            "no group that runs coroutine functions",
        ),
    ],
)
def test_a_job_that_no_group_may_take_is_refused_with_the_reason(
    open_scheduler, groups, tags, function, said
):
    """At submit, where the mistake is, and not in a handle that nobody reads."""
    s = open_scheduler(*groups)

    with pytest.raises(NoEligiblePool, match=said):
        s.with_options(tags=tags).submit(function, 1)


def test_map_with_a_coroutine_function_gives_results_in_order(coroutines):
    """What works with functions works with coroutines; chunks are harmless."""
    assert [0, 2, 4, 6] == list(coroutines.map(double, range(4), chunksize=2))
    assert [0, 2, 4, 6] == list(coroutines.map(double, range(4), buffersize=1))


# What holds inside


def test_each_job_has_its_own_asyncio_task_and_its_submitters_context(coroutines):
    """Libraries key their state by task and by context variables."""

    async def job():
        before = word.get()
        word.set("mine")
        await asyncio.sleep(0)
        return before, word.get(), asyncio.current_task()

    word.set("outer")
    try:
        first, second = coroutines.submit(job).result(20), coroutines.submit(job).result(20)
    finally:
        word.set("none")

    assert ("outer", "mine") == first[:2] == second[:2]
    assert first[2] is not second[2]
    assert "net-1/" in first[2].get_name()


def test_an_attempt_does_not_see_what_the_one_before_set(coroutines):
    """A retry starts from what the submitter had, or the second attempt would differ from the first."""
    seen = []

    async def job():
        seen.append(word.get())
        word.set("from the first attempt")
        if len(seen) == 1:
            raise OSError("once")

    coroutines.with_options(retry=FixedBackoff(delay=0.001)).submit(job).result(20)

    assert ["none", "none"] == seen


def test_current_job_is_right_in_each_of_many_coroutines_and_in_their_children(open_scheduler):
    """They share one thread, and a thread-local would mix them up."""
    s = open_scheduler(AsyncioPool(slots=50))

    async def child():
        await asyncio.sleep(0)
        return current_job().id

    async def job():
        mine = current_job().id
        async with asyncio.TaskGroup() as group:
            children = [group.create_task(child()) for _ in range(3)]
        in_thread = await asyncio.to_thread(lambda: current_job().id)
        await asyncio.sleep(0)
        return {mine, current_job().id, in_thread, *(task.result() for task in children)}

    handles = [s.submit(job) for _ in range(100)]

    assert [{handle.id} for handle in handles] == [handle.result(20) for handle in handles]


def test_what_outlives_its_job_is_in_no_job(coroutines):
    """Its slot runs another job by then, whose id would be a lie."""
    left, answers = [], []

    async def straggler(event):
        await event.wait()
        try:
            answers.append(current_job().id)
        except SchedulerError:
            answers.append("outside")

    async def job():
        event = asyncio.Event()
        left.append((event, asyncio.create_task(straggler(event))))
        await asyncio.sleep(0)

    async def later():
        event, task = left[0]
        event.set()
        await task

    coroutines.submit(job).result(20)
    coroutines.submit(later).result(20)

    assert ["outside"] == answers


def test_a_job_in_a_thread_is_itself_though_a_coroutine_submitted_it(open_scheduler):
    """Contexts are handed on from job to job, and what stands in them with them."""
    s = open_scheduler(ThreadPool(slots=1), AsyncioPool(slots=1))

    async def outer():
        return current_job().id, await s.submit(lambda: current_job().id), current_job().id

    handle = s.submit(outer)
    mine, inner, again = handle.result(20)

    assert handle.id == mine == again != inner


def test_an_inline_job_inside_a_coroutine_is_itself(open_scheduler):
    """It runs on the loop's thread, in the middle of another job."""
    s = open_scheduler(PoolGroup("here", InlinePool()), PoolGroup("net", AsyncioPool(slots=1)))

    async def outer():
        inner = s.submit(lambda: current_job().worker).result(0)
        return inner, current_job().worker

    assert ("here-1/1", "net-1/1") == s.submit(outer).result(20)


def test_log_records_carry_the_coroutines_job(coroutines, caplog):
    """A log in which all coroutines look alike is of no use."""
    logger, records = logging.getLogger("test-of-coroutines"), []
    handler = logging.Handler()
    handler.emit = records.append
    handler.addFilter(JobLogFilter())
    logger.addHandler(handler)

    async def job():
        await asyncio.sleep(0)
        logger.warning("from inside")

    try:
        handle = coroutines.submit(job)
        handle.result(20)
    finally:
        logger.removeHandler(handler)

    assert [(handle.id, 1)] == [(record.job_id, record.attempt) for record in records]
    assert records[0].worker.startswith("net-1/")


def test_timeouts_and_groups_of_asyncio_work_inside(coroutines):
    """They rest on `current_task` and on counting cancellations."""

    async def job():
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out", asyncio.current_task().cancelling()

    assert ("timed out", 0) == coroutines.submit(job).result(20)


def test_a_group_that_fails_inside_fails_its_job_and_nothing_else(coroutines):
    """An exception group is an error like any other."""

    async def fails():
        raise OSError("in a child")

    async def job():
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            group.create_task(asyncio.Event().wait())

    with pytest.raises(ExceptionGroup) as caught:
        coroutines.submit(job).result(20)
    assert [OSError] == [type(error) for error in caught.value.exceptions]
    assert 14 == coroutines.submit(double, 7).result(20)


def test_progress_and_remaining_time_are_told_from_a_coroutine(coroutines):
    """A long download is what progress is for."""

    async def job():
        current_job().progress(1, 2)
        return current_job().remaining()

    handle = coroutines.with_options(run_timeout=100).submit(job)

    assert 0 < handle.result(20) <= 100
    assert (1, 2) == handle.progress


def test_a_coroutine_awaits_other_jobs_on_threads_and_loops(open_scheduler):
    """Fanning out from a coroutine is the pattern that one queue for both is for."""
    s = open_scheduler(ThreadPool(slots=2), AsyncioPool(slots=2))

    async def outer():
        handles = [s.submit(abs, -n) for n in range(10)]
        return await asyncio.gather(*handles, s.submit(double, 4))

    assert [*range(10), 8] == s.submit(outer).result(20)


# Errors


def test_a_jobs_own_error_arrives_as_itself_with_its_own_traceback(coroutines):
    """The first line below `result()` must be the user's own."""

    async def deep():
        raise ValueError("deep down")

    async def job():
        await asyncio.sleep(0)
        await deep()

    def not_a_coroutine():
        raise ValueError("before awaiting")

    for submitter, function, names in (
        (coroutines, job, ["job", "deep"]),
        (coroutines.with_options(tags="net"), not_a_coroutine, ["not_a_coroutine"]),
    ):
        handle = submitter.submit(function)
        error = handle.exception(20)
        assert type(error) is ValueError
        assert names == [frame.name for frame in traceback.extract_tb(error.__traceback__)]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, BaseException])
def test_whatever_a_coroutine_raises_ends_in_its_handle(coroutines, kind):
    """Asyncio lets two of these out of its loop; here the loop belongs to others, too."""

    async def job():
        await asyncio.sleep(0)
        raise kind("mine")

    with pytest.raises(kind, match="mine"):
        coroutines.submit(job).result(20)
    assert 14 == coroutines.submit(double, 7).result(20)


def test_an_exit_in_a_child_of_a_job_does_not_end_the_loop(coroutines, pause, caplog):
    """Asyncio raises it out of `run_forever`; the other jobs on the loop must not notice."""
    neighbour = coroutines.submit(pause.here, "unharmed")
    pause.await_arrival()

    async def exits():
        raise SystemExit("in a child")

    async def job():
        child = asyncio.create_task(exits())
        await asyncio.wait([child])
        return type(child.exception())

    assert SystemExit is coroutines.submit(job).result(20)
    pause.open()
    assert "unharmed" == neighbour.result(20)
    assert "something on the event loop of pool net-1 raised" in caplog.text


def test_a_job_that_stops_its_loop_stops_nothing(coroutines):
    """The loop is the pool's, and others are on it."""

    async def job():
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        return "went on"

    assert "went on" == coroutines.submit(job).result(20)


def test_a_failed_coroutine_is_retried_like_any_job(coroutines):
    """Retry policies know nothing of coroutines, and need not."""
    attempts = []

    async def job():
        attempts.append(current_job().attempt)
        if len(attempts) < 3:
            raise OSError("again")
        return "done"

    handle = coroutines.with_options(retry=FixedBackoff(delay=0.001)).submit(job)

    assert "done" == handle.result(20)
    assert [1, 2, 3] == attempts


# Stopping


def test_an_interrupted_coroutine_settles_as_cancelled(coroutines, pause):
    """It ends with asyncio's CancelledError, which would look like the waiter's own cancellation."""
    handle = coroutines.submit(pause.here)
    pause.await_arrival()

    assert handle.interrupt("the user left")
    with pytest.raises(JobInterrupted, match="the user left") as caught:
        handle.result(20)
    assert JobState.CANCELLED is handle.state
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert 14 == coroutines.submit(double, 7).result(20)


def test_a_coroutine_may_clean_up_and_is_waited_for(open_scheduler, pauses):
    """Closing a connection takes a round trip, and cutting it off leaks the connection."""
    s = open_scheduler(AsyncioPool(slots=1))
    running, cleaning = pauses(), pauses()

    async def job():
        try:
            await running.here()
        finally:
            await cleaning.here()

    handle = s.submit(job)
    running.await_arrival()
    handle.interrupt()
    cleaning.await_arrival()
    assert handle.running()
    assert 1 == s.pools()[0].in_use
    cleaning.open()

    with pytest.raises(JobInterrupted):
        handle.result(20)


def test_a_coroutine_that_ends_well_though_it_was_asked_to_stop_has_succeeded(coroutines, pause):
    """What it returns was worth computing; a thread's job is treated likewise."""

    async def job():
        try:
            await pause.here()
        except asyncio.CancelledError:
            return "saved what there was"

    handle = coroutines.submit(job)
    pause.await_arrival()
    handle.interrupt()

    assert "saved what there was" == handle.result(20)


def test_a_run_timeout_cancels_and_the_slot_is_back_at_once(open_scheduler, pause, clock):
    """The loop goes on, and the next job must not wait for one that nobody waits for."""
    s = open_scheduler(AsyncioPool(slots=1), clock=clock)
    cancelled = threading.Event()

    async def job():
        try:
            await pause.here()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    handle = s.with_options(run_timeout=1.0).submit(job)
    pause.await_arrival()
    clock.advance(1.0)
    with pytest.raises(RunTimeout):
        handle.result(20)

    assert 14 == s.submit(double, 7).result(20)
    assert cancelled.is_set()
    assert 0 == s.pools()[0].overdue


def test_a_coroutine_that_swallows_its_cancellation_is_reported_as_overdue(open_scheduler, pauses, clock):
    """Its slot is taken, and somebody must be able to see why."""
    s = open_scheduler(AsyncioPool(slots=1), clock=clock)
    first, second = pauses(), pauses()

    async def job():
        with contextlib.suppress(asyncio.CancelledError):
            await first.here()
        await second.here()

    handle = s.with_options(run_timeout=1.0).submit(job)
    first.await_arrival()
    clock.advance(1.0)
    with pytest.raises(RunTimeout):
        handle.result(20)
    second.await_arrival()

    assert (1, 1) == (s.pools()[0].overdue, s.pools()[0].in_use)
    following = s.submit(double, 7)
    second.open()
    assert 14 == following.result(20)
    assert 0 == s.pools()[0].overdue
    assert 1 == s.statistics().late


def test_a_coroutine_stopped_before_its_first_step_never_runs(open_scheduler):
    """As asyncio has it; and its outcome must come all the same."""
    s = open_scheduler(AsyncioPool(slots=2))
    ran, blocked, gate = [], threading.Event(), threading.Event()

    async def blocks():
        blocked.set()
        gate.wait(20)

    async def job():
        ran.append(1)

    s.submit(blocks)
    assert blocked.wait(20)
    handle = s.submit(job)
    assert handle.interrupt()
    gate.set()

    with pytest.raises(JobInterrupted):
        handle.result(20)
    assert [] == ran


@pytest.mark.parametrize("how", ["raises", "cancels itself", "awaits what is cancelled"])
def test_a_cancellation_that_nobody_asked_for_is_a_failure_of_its_own_kind(coroutines, how):
    """The bare CancelledError would look, in a loop that awaits the handle, like its own cancellation."""

    async def job():
        if how == "raises":
            raise asyncio.CancelledError("by hand")
        if how == "cancels itself":
            asyncio.current_task().cancel()
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    handle = coroutines.submit(job)

    with pytest.raises(CancelledFromWithin, match="nobody interrupted it") as caught:
        handle.result(20)
    assert JobState.FAILED is handle.state
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)

    async def outside():
        with pytest.raises(CancelledFromWithin):
            await coroutines.submit(job)
        return asyncio.current_task().cancelling()

    assert 0 == asyncio.run(outside())


def test_a_stray_cancellation_can_be_retried(coroutines):
    """A connection pool that cancelled its waiters is a failure like a refused connection."""
    attempts = []

    async def job():
        attempts.append(1)
        if len(attempts) == 1:
            raise asyncio.CancelledError
        return "done"

    assert "done" == coroutines.with_options(retry=FixedBackoff(delay=0.001)).submit(job).result(20)


def test_cancelling_every_asyncio_task_on_the_loop_loses_no_job(open_scheduler):
    """A job may do so; those that had not taken a step yet would otherwise never be delivered."""
    s = open_scheduler(AsyncioPool(slots=8))

    async def job():
        for running in asyncio.all_tasks() - {asyncio.current_task()}:
            running.cancel()
        await asyncio.sleep(0)

    handles = [s.submit(job) for _ in range(500)]

    assert all(
        handle.exception(20) is None or isinstance(handle.exception(), CancelledFromWithin)
        for handle in handles
    )


def test_an_interrupt_that_comes_too_late_hits_no_other_job(open_scheduler):
    """The slot has another job by then; P9, driven hard."""
    s = open_scheduler(AsyncioPool(slots=2))
    stopped = []

    async def job():
        await asyncio.sleep(0)

    for _ in range(300):
        handle, neighbour = s.submit(job), s.submit(job)
        handle.interrupt()
        neighbour.result(20)
        stopped.append(handle.exception(20) if not handle.cancelled() else "cancelled")

    assert {None, "cancelled"} >= set(stopped)
    assert s.drain(20)


def test_awaiting_a_handle_from_a_job_and_being_interrupted_cancels_what_was_awaited(open_scheduler, pause):
    """Cancelling the waiting coroutine cancels the job that it waits for, inside jobs, too."""
    s = open_scheduler(ThreadPool(slots=1), AsyncioPool(slots=1))
    gate, started = threading.Event(), threading.Event()

    def hold():
        started.set()
        gate.wait(20)

    s.submit(hold)
    assert started.wait(20)
    inner, waiting = [], threading.Event()

    async def outer():
        inner.append(s.submit(abs, -1))
        asyncio.get_running_loop().call_soon(waiting.set)
        await inner[0]

    handle = s.submit(outer)
    assert waiting.wait(20)
    handle.interrupt()
    with pytest.raises(JobInterrupted):
        handle.result(20)
    assert inner[0].cancelled()
    gate.set()


# Closing


def test_closing_cancels_coroutines_and_names_them(open_scheduler, pause):
    """A service that stops must say what it cut off."""
    s = open_scheduler(AsyncioPool(slots=1))
    handle = s.submit(pause.here)
    pause.await_arrival()

    report = s.close(finish_within=0, cancel_within=20)

    assert isinstance(report, ShutdownReport)
    assert [(handle.id, "interrupted")] == [(job.job_id, job.fate) for job in report.unfinished]
    assert () == report.abandoned_workers
    assert JobState.CANCELLED is handle.state


def test_closing_leaves_behind_a_coroutine_that_will_not_stop(open_scheduler, pauses, caplog):
    """Bounded time, whatever jobs do (I15); and no thread, no pending-task warning afterwards."""
    s = open_scheduler(AsyncioPool(slots=1))
    first = pauses()

    async def job():
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await first.here()

    handle = s.submit(job)
    first.await_arrival()
    report = s.close(finish_within=0, cancel_within=0.02)

    assert ("asyncio-1/1",) == report.abandoned_workers
    assert [(handle.id, "abandoned")] == [(job.job_id, job.fate) for job in report.unfinished]
    with pytest.raises(JobInterrupted, match="its coroutine was left behind"):
        handle.result(0)


def test_closing_does_not_wait_for_a_loop_that_is_blocked(open_scheduler):
    """A coroutine that sleeps the wrong way must not keep the process."""
    s = open_scheduler(AsyncioPool(slots=2))
    blocked, gate = threading.Event(), threading.Event()

    async def blocks():
        blocked.set()
        gate.wait(20)

    handles = [s.submit(blocks), s.submit(double, 1)]
    assert blocked.wait(20)
    report = s.close(finish_within=0, cancel_within=0.02)
    gate.set()

    assert 2 == len(report.unfinished)
    assert [True, True] == [handle.cancelled() for handle in handles]


def test_nothing_of_a_loop_is_left_when_its_pool_is_gone(open_scheduler, caplog):
    """Warnings are errors here: an unclosed loop or a destroyed pending task would fail the test."""
    s = open_scheduler(AsyncioPool(slots=2))
    states = []

    async def background():
        try:
            await asyncio.Event().wait()
        finally:
            states.append("cancelled")

    async def generator():
        try:
            yield 1
            yield 2
        finally:
            states.append("generator closed")

    kept = []

    async def job():
        kept.append(asyncio.create_task(background()))
        agen = generator()
        kept.append(agen)
        await anext(agen)
        await asyncio.to_thread(int)

    s.submit(job).result(20)
    report = s.close()
    kept.clear()
    gc.collect()

    assert report.complete
    assert ["cancelled", "generator closed"] == sorted(states)
    assert [] == [thread.name for thread in threading.enumerate() if "two-tier" in thread.name]
    assert "pending" not in caplog.text


def test_a_drained_pool_finishes_its_coroutines_and_goes(open_scheduler, pause):
    """Capacity shrinks by whole pools, and what runs there is not cut off."""
    s = open_scheduler(PoolGroup("net", AsyncioPool(slots=1), min_pools=2))
    s.add_pool("net")
    handle = s.submit(pause.here, "finished")
    pause.await_arrival()
    pool_id = handle.attempts[0].pool

    assert not s.drain_pool(pool_id, timeout=0.01).drained
    pause.open()

    assert "finished" == handle.result(20)
    assert s.drain_pool(pool_id, timeout=20).drained if pool_id in [p.pool_id for p in s.pools()] else True


def test_a_dropped_scheduler_lets_its_loop_go():
    """Nobody closes it; the fixture that looks for threads is the judge."""
    import scheduler  # noqa: PLC0415  by name, so that nothing here keeps it

    handle = scheduler.Scheduler(AsyncioPool(slots=1)).submit(double, 7)

    assert 14 == handle.result(20)


def test_closing_from_a_coroutine_in_a_thread_does_not_wait_for_that_coroutine(open_scheduler):
    """The remedy that the message below names."""
    s = open_scheduler(AsyncioPool(slots=2))
    reports = []

    async def job():
        reports.append(await asyncio.to_thread(s.close))

    handle = s.submit(job)
    s.close()
    handle.result(20)

    assert "closing" == reports[0].unfinished[0].fate


def test_closing_on_the_loops_own_thread_is_refused_when_others_need_it(coroutines, pause):
    """They could not finish, and without a deadline the closing would never end."""
    neighbour = coroutines.submit(pause.here, "unharmed")
    pause.await_arrival()

    async def job():
        with pytest.raises(WouldDeadlock, match=r"asyncio.to_thread"):
            coroutines.shutdown()
        with pytest.raises(WouldDeadlock, match=r"asyncio.to_thread"):
            coroutines.drain()

    coroutines.submit(job).result(20)
    pause.open()
    assert "unharmed" == neighbour.result(20)


def test_a_coroutine_alone_may_close_its_scheduler(open_scheduler):
    """Nobody else needs the loop."""
    s = open_scheduler(AsyncioPool(slots=2))

    async def job():
        return s.close()

    report = s.submit(job).result(20)

    assert ["closing"] == [job.fate for job in report.unfinished]


# Waiting for oneself


def test_blocking_on_a_job_that_needs_the_same_loop_is_said(coroutines):
    """There are free slots, but the loop that would run it stands still."""

    async def outer():
        inner = coroutines.submit(double, 7)
        with pytest.raises(WouldDeadlock, match=r"event loop of pool net-1.*write `await handle`"):
            inner.result()
        return await inner

    assert 14 == coroutines.submit(outer).result(20)


def test_awaiting_a_job_behind_oneself_in_the_only_slot_is_said(open_scheduler):
    """The classic of nested submits, in asyncio's clothes."""
    s = open_scheduler(AsyncioPool(slots=1))

    async def outer():
        inner = s.submit(double, 7)
        with pytest.raises(WouldDeadlock, match="add a slot or a pool"):
            await inner
        return inner

    assert 14 == s.submit(outer).result(20).result(20)


def test_awaiting_is_no_deadlock_while_another_slot_waits_for_a_thread(open_scheduler, gate):
    """That one comes back when the thread is done: a guard that cries wolf forbids what works."""
    s = open_scheduler(ThreadPool(slots=1), AsyncioPool(slots=2))
    waiting = threading.Event()

    async def waits_for_a_thread():
        handle = s.submit(gate.stop_here, 1)
        asyncio.get_running_loop().call_soon(waiting.set)
        return await handle

    async def waits_for_a_coroutine():
        handle = s.submit(double, 7)
        asyncio.get_running_loop().call_soon(gate.open)
        return await handle

    first = s.submit(waits_for_a_thread)
    gate.await_arrival()
    assert waiting.wait(20)

    assert 14 == s.submit(waits_for_a_coroutine).result(20)
    assert 1 == first.result(20)


@pytest.mark.parametrize("beside", [(), (ThreadPool(slots=1),)], ids=["alone", "beside idle threads"])
def test_submitting_to_a_full_queue_from_the_loop_is_said(open_scheduler, beside):
    """The only loop would stand still until it makes room itself; idle threads cannot make it."""
    s = open_scheduler(AsyncioPool(slots=2), *beside, capacity=1)

    async def holds(event):
        await event.wait()

    async def outer():
        event = asyncio.Event()
        s.submit(holds, event)
        s.submit(double, 7)
        with pytest.raises(WouldDeadlock, match="full front queue"):
            s.submit(double, 8)
        event.set()

    s.submit(outer).result(20)
    assert s.drain(20)


def test_submitting_to_a_full_queue_from_the_loop_waits_where_threads_make_room(open_scheduler, gate):
    """It holds up the loop, but not for ever, and refusing would lose a job for nothing."""
    s = open_scheduler(ThreadPool(slots=1), AsyncioPool(slots=2), capacity=1)

    async def outer():
        s.submit(gate.stop_here)
        s.submit(abs, -1)  # fills the queue, and makes room when the thread is free
        threading.Timer(0.01, gate.open).start()
        return s.submit(double, 8)

    assert 16 == s.submit(outer).result(20).result(20)


# One order across kinds


def test_a_full_loop_never_holds_up_threads_nor_they_it(open_scheduler, pause, gate):
    """I7: no job waits while a pool that may take it has a free slot."""
    s = open_scheduler(ThreadPool(slots=1), AsyncioPool(slots=1))
    s.submit(pause.here)
    pause.await_arrival()
    behind = [s.submit(double, n) for n in range(20)]

    assert 3 == s.submit(abs, -3).result(20)
    assert 20 == s.statistics().waiting
    s.submit(gate.stop_here)
    gate.await_arrival()
    pause.open()
    assert [2 * n for n in range(20)] == [handle.result(20) for handle in behind]
    gate.open()


def test_priorities_hold_among_coroutines(open_scheduler, pause):
    """They wait in the front queue, never on the loop."""
    s = open_scheduler(AsyncioPool(slots=1))
    order = []

    async def job(name):
        order.append(name)

    s.submit(pause.here)
    pause.await_arrival()
    for priority in (Priority.BULK, Priority.NORMAL, Priority.CRITICAL, Priority.HIGH):
        s.with_options(priority=priority).submit(job, priority.name)
    pause.open()
    assert s.drain(20)

    assert ["CRITICAL", "HIGH", "NORMAL", "BULK"] == order


def test_never_more_coroutines_than_slots_and_never_fewer_while_some_wait(open_scheduler):
    """The pool keeps its slots full, and memory is bounded by the capacity of the queue."""
    slots, capacity, jobs = 50, 500, 5_000
    s = open_scheduler(AsyncioPool(slots=slots), capacity=capacity)
    gate = threading.Event()

    async def job():
        await asyncio.sleep(0.001)
        gate.wait(20)  # holds the loop, and with it every slot

    handles = [s.submit(job) for _ in range(slots + capacity)]
    seen = [s.statistics()]
    gate.set()
    for number in range(jobs):
        handles.append(s.submit(job))
        if number % 50 == 49:
            seen.append(s.statistics())
    for handle in handles:
        handle.result(60)

    assert {slots} == {snapshot.pools[0].in_use for snapshot in seen if snapshot.waiting}
    assert max(snapshot.waiting for snapshot in seen) == capacity
    assert (len(handles), 0) == (s.statistics().succeeded, s.statistics().waiting)


def test_a_coroutine_that_submits_its_successor_keeps_the_loop_fair(open_scheduler):
    """A chain of jobs that never pause must not starve the timers beside it."""
    s = open_scheduler(AsyncioPool(slots=2))
    end = threading.Event()

    async def step():
        if not end.is_set():
            s.submit(step)

    async def sleeper():
        await asyncio.sleep(0.01)
        end.set()

    s.submit(step)
    s.submit(sleeper).result(20)
    assert s.drain(20)


def test_done_callbacks_of_coroutines_run_before_their_slot_is_given_away(open_scheduler):
    """As for threads: nobody is promised a worker that is busy with somebody's callback."""
    s = open_scheduler(AsyncioPool(slots=1))
    story = []

    async def job(name):
        story.append(name)

    s.pause()
    first = s.submit(job, "first")
    first.add_done_callback(lambda _handle: story.append("callback"))
    second = s.submit(job, "second")
    s.resume()
    second.result(20)

    assert ["first", "callback", "second"] == story


def test_bursts_from_many_threads_wake_the_loop_and_lose_nothing(open_scheduler, in_thread):
    """Every wake-up that is saved is a chance to forget one."""
    s = open_scheduler(AsyncioPool(slots=3))

    def submit():
        return [s.submit(double, n).result(20) for n in range(200)]

    threads = [in_thread(submit) for _ in range(4)]

    assert [[2 * n for n in range(200)]] * 4 == [thread.result() for thread in threads]


# Loops


def test_a_factory_that_raises_breaks_the_pool_and_says_so(open_scheduler, caplog):
    """P7: jobs must not wait for ever for a loop that cannot be had."""

    def no_loop():
        raise OSError("no loop today")

    s = open_scheduler(AsyncioPool(slots=2, loop_factory=no_loop))
    handle = s.submit(double, 7)

    with pytest.raises(PoolBroken, match="no loop today"):
        handle.result(20)
    assert [logging.CRITICAL] == [r.levelno for r in caplog.records if r.levelno == logging.CRITICAL]
    with pytest.raises(PoolBroken):
        s.submit(double, 7)


def test_a_factory_that_makes_no_loop_breaks_the_pool(open_scheduler):
    """A forgotten `return` must not end in an AttributeError somewhere else."""
    s = open_scheduler(AsyncioPool(slots=1, loop_factory=lambda: None))

    with pytest.raises(PoolBroken, match="must return an event loop, not None"):
        s.submit(double, 7).result(20)


def test_no_thread_to_be_had_breaks_the_pool(open_scheduler, monkeypatch):
    """The call that needed it must come back, and not wait for ever."""
    s = open_scheduler(AsyncioPool(slots=1))

    def start(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        handle = s.submit(double, 7)

    with pytest.raises(PoolBroken, match="can't start new thread"):
        handle.result(20)


def test_another_kind_of_loop_runs_the_same_jobs(open_scheduler):
    """Uvloop is what services ask for first."""
    uvloop = pytest.importorskip("uvloop", reason="the uvloop extra")
    s = open_scheduler(AsyncioPool(slots=10, loop_factory=uvloop.new_event_loop))

    async def job(n):
        assert "uvloop" in type(asyncio.get_running_loop()).__module__
        assert current_job().worker == asyncio.current_task().get_name()
        return await double(n)

    assert [2 * n for n in range(200)] == list(s.map(job, range(200)))
    handle = s.submit(asyncio.sleep, 60)
    handle.interrupt()
    with pytest.raises(JobInterrupted):
        handle.result(20)


@pytest.mark.parametrize(
    "eager", [False, pytest.param(True, marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="3.12"))]
)
def test_the_users_own_factory_of_asyncio_tasks_is_used(open_scheduler, eager):
    """Tracing libraries set one."""
    made = []

    def loop_factory():
        loop = asyncio.new_event_loop()

        def make(loop, coroutine, **options):
            made.append(coroutine)
            return asyncio.Task(coroutine, loop=loop, **options, **({"eager_start": True} if eager else {}))

        loop.set_task_factory(make)
        return loop

    s = open_scheduler(AsyncioPool(slots=1, loop_factory=loop_factory))

    assert [0, 2, 4] == list(s.map(double, range(3)))
    assert 3 == len(made)


def test_a_factory_of_asyncio_tasks_that_raises_fails_the_job_alone(open_scheduler):
    """Somebody's tracer is broken; the slot must be free again."""
    failing = [True]

    def loop_factory():
        loop = asyncio.new_event_loop()

        def make(loop, coroutine, **options):
            if failing.pop() if failing else False:
                raise LookupError("the tracer")
            return asyncio.Task(coroutine, loop=loop, **options)

        loop.set_task_factory(make)
        return loop

    s = open_scheduler(AsyncioPool(slots=1, loop_factory=loop_factory))

    with pytest.raises(LookupError, match="the tracer"):
        s.submit(double, 7).result(20)
    assert 14 == s.submit(double, 7).result(20)


# The pool by itself


def test_a_stopped_pool_delivers_what_it_abandons_once_and_ends_its_loop():
    """P6 for several at a time, with one that swallows its cancellation."""
    stubborn, begun = [], threading.Semaphore(0)

    async def holds(swallow):
        try:
            begun.release()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stubborn.append(swallow)
            if swallow:
                await asyncio.Event().wait()

    with Harness(AsyncioPool(slots=2)) as harness:
        harness.run(0, SampleCall(holds, False))
        harness.run(1, SampleCall(holds, True))
        assert [begun.acquire(timeout=20) for _ in range(2)] == [True, True]
        assert (0, 1) == harness.pool.stop(0.01)
        assert () == harness.pool.stop(20)

    assert [0, 1] == [slot for slot, _, _ in harness.delivered]
    assert {CallAbandoned} == {type(error) for _, _, error in harness.delivered}
    assert [False, True] == sorted(stubborn)


def test_an_idle_pool_has_no_thread_before_its_first_call():
    """A group that nobody uses costs nothing."""
    with Harness(AsyncioPool(slots=2)) as harness:
        harness.pool.interrupt(0, lambda: True)
        assert [] == [thread.name for thread in threading.enumerate() if "check-1" in thread.name]
        assert () == harness.pool.stop(0)


def test_a_call_that_was_put_down_when_ctrl_c_came_is_begun_after_all(monkeypatch):
    """`holds` answers yes, so nobody else will begin it."""
    with Harness(AsyncioPool(slots=1)) as harness:
        call = SampleCall(double, 7)
        wake = type(harness.pool)._wake

        def interrupted(pool):
            monkeypatch.setattr(type(pool), "_wake", wake)
            raise KeyboardInterrupt

        monkeypatch.setattr(type(harness.pool), "_wake", interrupted)
        with pytest.raises(KeyboardInterrupt):
            harness.pool.run(0, call)
        assert harness.pool.holds(0, call)
        harness.wait_delivered(1, "P3")

    assert [(0, 14, None)] == harness.delivered


def test_a_stop_that_overtakes_the_call_it_is_about_still_stops_it():
    """Whoever starts a call may be a step behind whoever stops it."""
    ran = []

    async def job():
        ran.append(1)

    with Harness(AsyncioPool(slots=1)) as harness:
        harness.run(0, SampleCall(double, 7))
        harness.wait_delivered(1, "P3")
        harness.pool.interrupt(0, lambda: True)
        done = threading.Event()
        harness.pool._loop.call_soon_threadsafe(done.set)
        assert done.wait(20)
        harness.run(0, SampleCall(job))
        harness.wait_delivered(2, "P3")

    assert isinstance(harness.delivered[1][2], asyncio.CancelledError)
    assert [] == ran


def test_the_recipe_says_what_it_is_and_checks_what_it_is_given():
    """A recipe with a typo must fail where it is written."""
    recipe = AsyncioPool(slots=1000)

    assert (1000, 0, True, False, False, False) == (
        recipe.slots,
        recipe.prefetch,
        recipe.runs_coroutines,
        recipe.dedicated,
        recipe.announces,
        recipe.kills,
    )
    assert recipe == AsyncioPool(1000)
    for wrong, kind in (
        ({"slots": 0}, ValueError),
        ({"slots": "many"}, TypeError),
        ({"slots": 1, "loop_factory": 3}, TypeError),
        ({"slots": 1, "lag_limit": "soon"}, TypeError),
        ({"slots": 1, "lag_limit": True}, TypeError),
        ({"slots": 1, "lag_limit": 0}, ValueError),
    ):
        with pytest.raises(kind, match=r"AsyncioPool\("):
            AsyncioPool(**wrong)


def test_a_million_things_of_a_finished_coroutine_are_not_kept(coroutines):
    """P8 through the scheduler: a parked slot keeps neither arguments nor values."""
    import weakref  # noqa: PLC0415  here alone

    class Thing:
        pass

    async def job(thing):
        return thing

    thing = Thing()
    gone = weakref.ref(thing)
    handle = coroutines.submit(job, thing)
    assert handle.result(20) is thing
    del thing, handle
    end = time.monotonic() + 20
    while gone() is not None and time.monotonic() < end:
        gc.collect()

    assert gone() is None
