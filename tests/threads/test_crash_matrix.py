"""A worker process may end in every way at every moment: its own call fails, nobody else's does, the pool lives."""

import asyncio
import contextlib
import os
import sys
import threading

import process_jobs as jobs
import pytest

from pools import AsyncioPool, ProcessPool, ThreadPool
from scheduler import PoolBroken, PoolGroup, RunTimeout, WorkerDied, WorkerLost

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts on /proc, rlimits and signals")

#: What ends the process, and how that is told.
DEATHS = {"exit": 7, "segfault": -11, "kill": -9}
#: What only raises.
ERRORS = {"raise": jobs.Boom, "memory": MemoryError}
#: Seconds after which a call that ignores SIGTERM is stopped.
LIMIT = 0.3

CALLS = {
    "unpickling the call": lambda how: (jobs.ignore, jobs.OnUnpickle(how)),
    "running": lambda how: (jobs.crash, how),
    "pickling the result": lambda how: (jobs.return_on_pickle, how),
}


@pytest.fixture
def cpu(open_scheduler):
    """Return a function that opens a scheduler of so many worker processes, without limits or with."""

    def make(slots, **recipe):
        return open_scheduler(
            PoolGroup("cpu", ProcessPool(slots, kill_after=0.1, **recipe), dedicated=False),
            check_invariants=True,
        )

    return make


def neighbours(s, count):
    return [s.submit(jobs.square, number) for number in range(count)]


def assert_unharmed(s, handles):
    """Every one of them has run, once."""
    assert [number * number for number in range(len(handles))] == [h.result(20) for h in handles]
    assert {1} >= {len(handle.attempts) for handle in handles}


def assert_alive(s, slots):
    """Every slot runs calls again."""
    assert [n * n for n in range(4 * slots)] == list(s.map(jobs.square, range(4 * slots), timeout=20))


@pytest.mark.parametrize("crowded", [False, True], ids=["alone", "among neighbours"])
@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize("phase", CALLS)
@pytest.mark.parametrize("how", [*DEATHS, *ERRORS, "ignore"])
def test_a_call_that_ends_its_worker_harms_nobody_else(cpu, how, phase, slots, crowded):
    """One SIGKILL fails half of the innocent in the standard library's pool, and leaves it unusable."""
    s = cpu(slots)
    if crowded:
        neighbours(s, 40)[-1].result(20)  # so that calls lie ahead
    before = neighbours(s, 15 * crowded)
    culprit = s.with_options(run_timeout=LIMIT if how == "ignore" else 20.0).submit(*CALLS[phase](how))
    after = neighbours(s, 15 * crowded)

    error = culprit.exception(30)
    if how in DEATHS:
        assert isinstance(error, WorkerDied)
        assert (phase, DEATHS[how]) == (error.phase, error.exitcode)
        assert f"while {phase}" in str(error)
    elif how in ERRORS:
        assert isinstance(error, ERRORS[how])
        if phase != "running":
            assert any(phase in remark for remark in error.__notes__)
    else:
        assert isinstance(error, RunTimeout)
    assert_unharmed(s, before)
    assert_unharmed(s, after)
    assert_alive(s, slots)


@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize("how", list(DEATHS))
def test_a_worker_that_dies_between_two_calls_is_replaced_and_nobody_fails(cpu, how, slots, eventually):
    """Nobody was running: nobody may fail, and the slot must come back."""
    s = cpu(slots)
    lost = []
    s.subscribe(lambda event: lost.append(event) if isinstance(event, WorkerLost) else None)
    s.submit(jobs.crash_later, how, 0.05).result(20)
    eventually(lambda: lost, "the worker's end")

    assert_alive(s, slots)
    eventually(lambda: not any(pool.down for pool in s.pools()), "the replacement")
    assert [None] == [event.error for event in lost]
    assert 0 == s.statistics().failed


@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize("where", ["pickling the call", "unpickling the result"])
def test_what_raises_on_our_side_fails_one_job(cpu, where, slots):
    """Pickling runs anybody's code in the scheduler's own process, where nothing may die of it."""
    s = cpu(slots)
    before = neighbours(s, 15)
    if where == "pickling the call":
        culprit = s.submit(jobs.ignore, jobs.OnPickle("raise"))
    else:
        culprit = s.submit(jobs.return_on_unpickle, "raise")
    after = neighbours(s, 15)

    error = culprit.exception(20)
    assert isinstance(error, jobs.Boom)
    assert any(where in remark for remark in error.__notes__)
    assert_unharmed(s, before)
    assert_unharmed(s, after)
    assert_alive(s, slots)


@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize("how", ["raise", "memory", *DEATHS])
def test_an_initializer_that_fails_breaks_the_pool_and_says_so_once(cpu, how, slots, tmp_path, caplog):
    """Jobs that wait for workers which never come would wait for ever."""
    starts = tmp_path / "starts"
    s = cpu(slots, initializer=jobs.initialize_badly, initargs=(str(starts), how))
    handles = [s.submit(jobs.square, 1) for _ in range(3)] if not s._broken else []

    for handle in handles:
        error = handle.exception(30)
        assert isinstance(error, PoolBroken)
        assert handle.attempts == ()  # it never left the front queue
    critical = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert 1 == len(critical)
    tries = len(starts.read_text().split())
    assert 1 <= tries <= slots * (3 if how in DEATHS else 1)


def test_the_error_of_a_dead_worker_has_its_last_words(cpu):
    """Otherwise somebody has to reproduce the crash to learn of its cause."""
    s = cpu(1)
    error = s.submit(jobs.complain, "the disk is on fire").exception(20)

    assert (3, "the disk is on fire") == (error.exitcode, error.stderr)
    assert "the disk is on fire" in str(error)
    assert error.worker == "cpu-1/1"
    s.submit(jobs.square, 2).result(20)
    assert "cpu-1/1#2" == s.submit(jobs.complain, "again").exception(20).worker


def test_a_job_that_closes_every_file_costs_only_its_worker(cpu):
    """Programs that make daemons do that; both lines to the worker are gone then."""
    s = cpu(2)

    assert isinstance(s.submit(jobs.close_everything).exception(20), WorkerDied)
    assert_alive(s, 2)
    assert os.getpid() != s.submit(jobs.pid).result(20)


#: How a call may end where it shares our process: it must not end that.
HOWS = {"raise": jobs.Boom, "memory": MemoryError, "exit": SystemExit, "interrupt": KeyboardInterrupt}


def end(how):
    """End as badly as a call can that shares our process."""
    raise HOWS[how]("on purpose")


async def end_as_coroutine(how):
    await asyncio.sleep(0)
    end(how)


async def square_as_coroutine(number):
    await asyncio.sleep(0)
    return number * number


@pytest.mark.parametrize("crowded", [False, True], ids=["alone", "among neighbours"])
@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize("kind", ["threads", "coroutines"])
@pytest.mark.parametrize("how", HOWS)
def test_a_call_that_ends_badly_in_our_own_process_harms_nobody(open_scheduler, how, kind, slots, crowded):
    """The same matrix where workers share our process: their end is never ours, nor their neighbours'."""
    pool, bad, good = {
        "threads": (ThreadPool(slots), end, jobs.square),
        "coroutines": (AsyncioPool(slots), end_as_coroutine, square_as_coroutine),
    }[kind]
    s = open_scheduler(PoolGroup("own", pool), check_invariants=True)
    before = [s.submit(good, number) for number in range(15 * crowded)]
    culprit = s.submit(bad, how)
    after = [s.submit(good, number) for number in range(15 * crowded)]

    assert type(culprit.exception(20)) is HOWS[how]
    assert_unharmed(s, before)
    assert_unharmed(s, after)
    assert [n * n for n in range(4 * slots)] == list(s.map(good, range(4 * slots), timeout=20))


@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize("kind", ["threads", "coroutines"])
def test_a_call_that_ignores_its_limit_in_our_own_process_keeps_only_its_slot(
    open_scheduler, gate, eventually, clock, kind, slots
):
    """It can only be asked: its handle settles, its slot counts as overdue, and the others go on."""
    woken = threading.Event()

    async def ignore():
        gate.reached.set()
        while not woken.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.005)

    pool, bad, good = {
        "threads": (ThreadPool(slots), gate.stop_here, jobs.square),
        "coroutines": (AsyncioPool(slots), ignore, square_as_coroutine),
    }[kind]
    s = open_scheduler(PoolGroup("own", pool), clock=clock, check_invariants=True)
    culprit = s.with_options(run_timeout=1.0).submit(bad)
    gate.await_arrival()
    clock.advance(1.0)

    assert isinstance(culprit.exception(20), RunTimeout)
    assert 1 == s.pools()[0].overdue
    if slots > 1:
        assert [n * n for n in range(8)] == list(s.map(good, range(8), timeout=20))
    woken.set()
    gate.open()
    assert [n * n for n in range(8)] == list(s.map(good, range(8), timeout=20))
    eventually(lambda: 0 == s.pools()[0].overdue, "the return of the call")
