"""A coroutine that blocks its loop blocks every other one there: it is found, and named."""

import asyncio
import logging
import threading

import pytest

import pools._asyncio_watch
from pools import AsyncioPool
from pools._asyncio_watch import LoopWatch
from scheduler import PoolGroup, current_job

PATIENCE = 20.0


@pytest.fixture
def warnings_of_pools():
    """Collect what the pools log of the places that block here, and tell when the first warning has come.

    On a busy machine the loop may be late for other reasons too, and that is told as well.
    """
    logger, records, warned = logging.getLogger("two-tier-scheduler.pools"), [], threading.Event()

    class Collector(logging.Handler):
        def emit(self, record):
            if record.levelno >= logging.WARNING and "in wait_here_for" in record.getMessage():
                records.append(record)
                warned.set()

    collector = Collector()
    logger.addHandler(collector)
    yield records, warned
    logger.removeHandler(collector)


def wait_here_for(event):
    return event.wait(PATIENCE)


def test_a_coroutine_that_blocks_the_loop_is_named_with_its_stack(open_scheduler, warnings_of_pools):
    """Everybody's latency is its fault, and nothing but its stack says whose."""
    records, warned = warnings_of_pools
    s = open_scheduler(PoolGroup("net", AsyncioPool(slots=2, lag_limit=0.2)))

    async def blocks_the_loop():
        return wait_here_for(warned), current_job().worker  # no sooner than the warning has come

    told, worker = s.submit(blocks_the_loop).result(PATIENCE)

    assert told
    text = records[0].getMessage()
    assert f"asyncio task {worker} has held up the event loop of pool net-1" in text
    assert "in blocks_the_loop" in text
    assert "in wait_here_for" in text
    assert "_take_in" not in text
    assert "asyncio.to_thread" in text


def test_one_long_block_is_one_warning(open_scheduler, warnings_of_pools, eventually):
    """A log that repeats itself twenty times a second hides what else went wrong."""
    records, warned = warnings_of_pools
    s = open_scheduler(PoolGroup("net", AsyncioPool(slots=2, lag_limit=0.1)))
    seen = []

    async def blocks_the_loop():
        wait_here_for(warned)
        # Ten more looks of the watcher find it here: the lag that it tells of grows.
        eventually(lambda: s.pools()[0].loop_lag > 0.5)
        seen.extend(records)

    s.submit(blocks_the_loop).result(PATIENCE)

    assert 1 == len(seen)


def test_the_lag_is_told_while_the_loop_is_still_blocked_and_is_forgotten(
    open_scheduler, eventually, monkeypatch
):
    """Whoever looks at the statistics because everything hangs must see where."""
    monkeypatch.setattr(pools._asyncio_watch, "REMEMBERED", 0.02)
    s = open_scheduler(PoolGroup("net", AsyncioPool(slots=2, lag_limit=0.01)))
    gate, blocked = threading.Event(), threading.Event()

    async def blocks_the_loop():
        blocked.set()
        gate.wait(PATIENCE)

    handle = s.submit(blocks_the_loop)
    assert blocked.wait(PATIENCE)
    eventually(lambda: s.pools()[0].loop_lag > 0.05, "a lag")
    gate.set()
    handle.result(PATIENCE)

    eventually(lambda: s.pools()[0].loop_lag == 0.0, "an end of the lag")
    assert s.statistics().pools[0].loop_lag == 0.0


def test_a_blocking_callback_is_found_too(open_scheduler, warnings_of_pools):
    """Done-callbacks run on the loop's thread, which their authors forget."""
    records, warned = warnings_of_pools
    s = open_scheduler(PoolGroup("net", AsyncioPool(slots=1, lag_limit=0.2)))
    done = threading.Event()

    def slow_callback(_handle):
        wait_here_for(warned)
        done.set()

    s.pause()
    s.submit(asyncio.sleep, 0).add_done_callback(slow_callback)
    s.resume()

    assert done.wait(PATIENCE)
    assert "in slow_callback" in records[0].getMessage()


def test_an_asyncio_task_beside_the_jobs_is_found_too(open_scheduler, warnings_of_pools):
    """What a job started may block when the job itself does not."""
    records, warned = warnings_of_pools
    s = open_scheduler(PoolGroup("net", AsyncioPool(slots=1, lag_limit=0.2)))

    async def child_that_blocks():
        wait_here_for(warned)

    async def job():
        await asyncio.create_task(child_that_blocks(), name="a child")

    s.submit(job).result(PATIENCE)

    assert "asyncio task a child has held up" in records[0].getMessage()
    assert "in child_that_blocks" in records[0].getMessage()


def test_while_nothing_runs_nothing_ticks(open_scheduler, eventually, monkeypatch):
    """An idle service must not wake its processor a hundred times a second."""
    watches = []

    class Watch(LoopWatch):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            watches.append(self)

    monkeypatch.setattr("pools.asyncio_pool.LoopWatch", Watch)
    monkeypatch.setattr(pools._asyncio_watch, "REMEMBERED", 0.01)
    s = open_scheduler(AsyncioPool(slots=1, lag_limit=0.02))

    for _ in range(2):  # it falls asleep and wakes again
        s.submit(asyncio.sleep, 0.001).result(PATIENCE)
        (watch,) = watches
        eventually(lambda: watch.due is None and watch._asleep, "sleep")  # noqa: B023  waited for here
    s.close()

    assert not watch._thread.is_alive()


def test_a_loop_that_only_starves_is_no_coroutines_fault(open_scheduler, eventually, caplog):
    """Other threads keep the interpreter, and a warning would send its reader after the wrong thing."""
    caplog.set_level(logging.INFO, logger="two-tier-scheduler.pools")
    s = open_scheduler(AsyncioPool(slots=1))
    watch = []

    async def job():
        running = LoopWatch(asyncio.get_running_loop(), "net-1", 0.1, None)
        watch.append(running)
        await asyncio.sleep(0)

    s.submit(job).result(PATIENCE)

    def told():
        watch[0]._warn(0.2)
        return "nothing on it is at fault" in caplog.records[-1].getMessage()

    eventually(told, "a loop that waits for its selector")
    assert logging.INFO == caplog.records[-1].levelno


def test_without_a_limit_nobody_watches(open_scheduler):
    """A pool of a thousand short jobs may do without."""
    s = open_scheduler(PoolGroup("net", AsyncioPool(slots=1, lag_limit=None)))

    s.submit(asyncio.sleep, 0.001).result(PATIENCE)

    assert [] == [thread.name for thread in threading.enumerate() if thread.name.endswith("net-1-watch")]


def test_without_a_thread_to_be_had_jobs_run_unwatched(open_scheduler, monkeypatch):
    """A watcher is a comfort; a job is the point."""
    start = threading.Thread.start

    def refuse_watchers(thread):
        if thread.name.endswith("-watch"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_watchers)
    s = open_scheduler(AsyncioPool(slots=1))

    assert s.submit(asyncio.sleep, 0.001, "ran").result(PATIENCE) == "ran"
