"""The contract of a drain, under every fault and by whoever asks: nothing is lost, and the pool goes.

A pool that drains takes nothing more, gives back what has not started, finishes what runs, and is gone.
"""

import os
import signal
import threading
import time
from pathlib import Path

import process_jobs as jobs
import pytest

from policies import FixedBackoff
from pools import ProcessPool, ThreadPool
from scheduler import JobState, PoolBroken, PoolGroup, PoolState, RunTimeout, WorkerDied
from scheduler.testing import check_invariants

STABLE = 2.0
AGAIN = FixedBackoff(delay=0.01, attempts_max=2)


class Files:
    """Names of files by which jobs in processes say that they run, and are let go on."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, name):
        return str(self.folder / name)

    def touch(self, name):
        (self.folder / name).touch()

    def pid(self, name):
        return int(Path(self(name)).read_text())


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


@pytest.fixture(params=["by hand", "by scaling"])
def drain(request, clock):
    """Return a function that has a pool drained, by a user and by the autoscaler."""

    def begin(s, wanted, pool_id):
        if request.param == "by hand":
            report = s.drain_pool(pool_id, timeout=0)
            assert not report.drained
        else:
            wanted.pools, wanted.pool = len(s.pools()) - 1, pool_id
            clock.advance(6 * STABLE)
        assert PoolState.DRAINING is state(s, pool_id)

    return begin


def state(s, pool_id):
    return next((pool.state for pool in s.pools() if pool.pool_id == pool_id), PoolState.STOPPED)


def assert_gone(s, pool_id, eventually):
    eventually(lambda: state(s, pool_id) is PoolState.STOPPED, f"the end of {pool_id}")
    eventually(
        lambda: not any(f"-{pool_id}/" in t.name for t in threading.enumerate()), "that of its threads"
    )
    check_invariants(s)


def assert_alive(s, clock):
    """Every job runs, in whatever pools there are."""
    handles = [s.submit(jobs.square, n) for n in range(20)]
    clock.advance(1.0)
    assert [n * n for n in range(20)] == [handle.result(20) for handle in handles]


def held_in_process(s, files, eventually, name, **options):
    """Start a job in a process and wait until it runs."""
    handle = s.with_options(**options).submit(jobs.note_pid_and_wait, files(name), files("go"))
    eventually(Path(files(name)).exists, "the start of a job")
    return handle, handle.attempts[0].pool if handle.attempts else handle.slot.pool_id


def test_a_worker_that_is_killed_while_its_pool_drains_costs_only_its_attempt(
    grown, drain, clock, files, eventually
):
    """The pool must not come back to life for the sake of its dead worker, nor its job be lost."""
    s, wanted = grown(ProcessPool(1))
    handle, pool_id = held_in_process(s, files, eventually, "pid", retry=AGAIN)
    drain(s, wanted, pool_id)

    os.kill(files.pid("pid"), signal.SIGKILL)

    assert_gone(s, pool_id, eventually)
    files.touch("go")
    clock.advance(1.0)
    handle.result(20)
    first, second = handle.attempts
    assert isinstance(first.error, WorkerDied)
    assert (pool_id, None) == (first.pool, second.error)
    assert pool_id != second.pool
    assert_alive(s, clock)


def test_a_neighbour_of_a_worker_that_is_killed_while_its_pool_drains_finishes(
    grown, drain, clock, files, eventually
):
    """What runs in a draining pool is finished, whatever happens beside it."""
    s, wanted = grown(ProcessPool(2))
    held = [held_in_process(s, files, eventually, f"pid-{n}") for n in range(4)]
    pool_id = held[0][1]
    mine = [n for n, (_, pool) in enumerate(held) if pool == pool_id]
    drain(s, wanted, pool_id)

    os.kill(files.pid(f"pid-{mine[0]}"), signal.SIGKILL)
    assert isinstance(held[mine[0]][0].exception(20), WorkerDied)
    files.touch("go")

    for n, (handle, _) in enumerate(held):
        assert n == mine[0] or isinstance(handle.result(20), int)
    assert_gone(s, pool_id, eventually)
    assert_alive(s, clock)


def test_a_job_that_hangs_in_a_process_does_not_keep_its_pool_from_going(
    grown, drain, clock, files, eventually
):
    """Its limit kills it, and with that the pool is empty."""
    s, wanted = grown(ProcessPool(1, kill_after=0.05))
    handle = s.with_options(run_timeout=100).submit(jobs.ignore_sigterm_and_wait, files("up"), files("never"))
    eventually(Path(files("up")).exists, "the start of the job")
    pool_id = handle.slot.pool_id
    drain(s, wanted, pool_id)

    clock.advance(100)

    assert isinstance(handle.exception(20), RunTimeout)
    assert_gone(s, pool_id, eventually)
    assert_alive(s, clock)


def test_a_job_that_hangs_in_a_thread_keeps_its_pool_until_it_returns_and_is_named(
    grown, drain, clock, gate, eventually, in_thread
):
    """A thread cannot be killed: the pool waits for it, out of everybody's way, and then goes."""
    s, wanted = grown(ThreadPool(1))
    handle = s.with_options(run_timeout=100).submit(gate.stop_here)
    gate.await_arrival()
    pool_id = handle.slot.pool_id
    drain(s, wanted, pool_id)
    report = s.drain_pool(pool_id, timeout=0)
    assert (False, (handle.id,)) == (report.drained, report.running)

    clock.advance(100)

    assert isinstance(handle.exception(20), RunTimeout)
    assert PoolState.DRAINING is state(s, pool_id)
    assert_alive(s, clock)
    waiting = in_thread(s.drain_pool, pool_id)
    gate.open()
    assert waiting.result().drained
    assert_gone(s, pool_id, eventually)


def test_a_pool_that_a_user_waits_for_is_not_taken_back(grown, gate, clock, in_thread, eventually):
    """Scaling may change its mind about a pool that it drains itself; whoever asked for its end would wait for ever."""
    s, wanted = grown(ThreadPool(1))
    handle = s.submit(gate.stop_here)
    gate.await_arrival()
    pool_id = wanted.pool = handle.slot.pool_id
    wanted.pools = 1
    clock.advance(6 * STABLE)
    assert not s.drain_pool(pool_id, timeout=0).drained

    wanted.pools = 2
    clock.advance(6 * STABLE)

    assert PoolState.DRAINING is state(s, pool_id)
    assert 3 == len(s.pools())
    waiting = in_thread(s.drain_pool, pool_id)
    gate.open()
    assert waiting.result().drained


def bad_once(gate, good):
    """Return an initializer that stops at the gate and raises in the start after so many, and only there."""
    starts = []

    def initialize():
        starts.append(1)
        if len(starts) == good + 1:
            gate.stop_here()
            raise OSError("no connection left")

    return initialize


@pytest.mark.parametrize("returns", [False, True], ids=["it goes", "the load returns"])
def test_a_thread_whose_initializer_fails_while_its_pool_drains_loses_no_job(
    grown, drain, clock, gates, eventually, returns, caplog
):
    """A pool that drains and breaks must go; taken back it would take jobs that nobody ever runs."""
    starting, running = gates(), gates()
    s, wanted = grown(ThreadPool(2, initializer=bad_once(starting, 2)), pools=2)
    s.cordon_pool("g-1")
    first = s.submit(running.stop_here, "first")
    running.await_arrival()
    second = s.with_options(retry=AGAIN).submit(jobs.square, 7)
    starting.await_arrival()
    s.uncordon_pool("g-1")
    assert {"g-2"} == {first.slot.pool_id, second.slot.pool_id}
    drain(s, wanted, "g-2")

    starting.open()
    eventually(lambda: second.state is JobState.BACKING_OFF, "the end of the attempt that could not start")
    clock.advance(0.02)
    if returns:
        wanted.pools = 2
        clock.advance(STABLE)

    assert 49 == second.result(20)
    assert isinstance(second.attempts[0].error, PoolBroken)
    assert_alive(s, clock)
    running.open()
    assert "first" == first.result(20)
    assert_gone(s, "g-2", eventually)
    assert_alive(s, clock)


@pytest.mark.parametrize("returns", [False, True], ids=["it goes", "the load returns"])
def test_a_process_that_cannot_be_replaced_while_its_pool_drains_loses_no_job(
    grown, drain, clock, files, eventually, returns, caplog
):
    """The same where it is the replacement of a killed worker that does not come up."""
    s, wanted = grown(ProcessPool(2, initializer=jobs.initialize_so_often, initargs=(files("starts"), 4)))
    held = [held_in_process(s, files, eventually, f"pid-{n}", retry=AGAIN) for n in range(4)]
    pool_id = held[0][1]
    mine = [n for n, (_, pool) in enumerate(held) if pool == pool_id]
    drain(s, wanted, pool_id)
    os.kill(files.pid(f"pid-{mine[0]}"), signal.SIGKILL)
    eventually(lambda: "can run nothing any more" in caplog.text, "word of the failure")
    (record,) = (pool for pool in s._driver.core.pools if pool.pool_id == pool_id)
    eventually(lambda: not record.released, "the books to know of it")

    if returns:
        wanted.pools = 2
        clock.advance(STABLE)
    assert PoolState.DRAINING is state(s, pool_id)
    files.touch("go")
    clock.advance(1.0)

    for handle, _ in held:
        handle.result(20)
    assert_gone(s, pool_id, eventually)
    wanted.pools = 1  # what is opened in its place cannot start either
    assert_alive(s, clock)


@pytest.mark.parametrize("kind", ["threads", "processes"])
@pytest.mark.parametrize("fault", [None, "killed", "hangs"])
def test_closing_in_the_middle_of_a_drain_ends_both(
    grown, drain, clock, files, eventually, in_thread, kind, fault
):
    """Two that end the same pool must not wait for each other, whatever its worker does meanwhile."""
    s, wanted = grown({"threads": ThreadPool(1), "processes": ProcessPool(1, kill_after=0.05)}[kind])
    handle, pool_id = held_in_process(s, files, eventually, "pid")
    drain(s, wanted, pool_id)
    drained = in_thread(s.drain_pool, pool_id)
    closing = in_thread(lambda: s.close(finish_within=20 if fault != "hangs" else 0, cancel_within=0))
    if fault == "killed" and kind == "processes":
        os.kill(files.pid("pid"), signal.SIGKILL)
    elif fault != "hangs":
        files.touch("go")
    report = closing.result()
    drained.result()
    files.touch("go")

    assert (1 if fault == "hangs" else 0) == len(report.unfinished)
    assert handle.done()
    ledger = report.statistics
    assert ledger.submitted == ledger.succeeded + ledger.failed + ledger.cancelled
    assert [] == [p for p in s.pools() if p.state is not PoolState.DRAINING]


def test_a_pool_that_is_just_being_opened_when_the_scheduler_closes_leaves_nobody(
    open_scheduler, clock, gate, in_thread, eventually
):
    """Opening takes time, and closing does not wait for ever: who comes too late must turn round at the door."""

    class Slow:
        """A recipe whose second pool takes as long to open as the test wants."""

        def __init__(self, recipe):
            self._recipe, self._opened = recipe, 0

        def __getattr__(self, name):
            return getattr(self._recipe, name)

        def open(self, pool_id, front):
            self._opened += 1
            if self._opened > 1:
                gate.stop_here()
            return self._recipe.open(pool_id, front)

    s = open_scheduler(PoolGroup("g", Slow(ProcessPool(1)), max_pools=2, dedicated=False), clock=clock)
    s.submit(int).result(20)  # its worker is up: while one starts, no other is opened for what waits
    handles = [s.submit(time.sleep, 0.05) for _ in range(20)]
    opening = in_thread(clock.advance, 1.0)
    gate.await_arrival()

    report = s.close(finish_within=20)
    gate.open()
    opening.result()

    assert report.complete
    assert {None} == {handle.exception(0) for handle in handles}
    eventually(lambda: not any(t.name.startswith("two-tier-scheduler-g-") for t in threading.enumerate()))
