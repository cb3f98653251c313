"""Races of pools that are opened, drained and broken, of what lies ahead, and of coroutines."""

import concurrent.futures
import contextlib

from looping import CooperativeLoop
from pools_ahead import OneAhead
from staging import (
    DRIVER,
    LOOP,
    OPENING,
    THREADS,
    balanced,
    coroutines,
    echo,
    error_of,
    finished,
    scenario,
    together,
    unless_closed,
)

from pools import AsyncioPool, ThreadPool
from scheduler import JobInterrupted, PoolBroken, PoolGroup, Scheduler


@scenario(THREADS)
def a_pool_is_drained_as_its_worker_refills():
    s = Scheduler(PoolGroup("io", ThreadPool(slots=1), min_pools=2))
    s.add_pool("io")
    pool_id = s.pools()[0].pool_id
    _, handles = together(lambda: s.drain_pool(pool_id), lambda: [s.submit(int, n) for n in range(4)])
    assert [0, 1, 2, 3] == [handle.result() for handle in handles]
    assert pool_id not in [pool.pool_id for pool in s.pools()]
    assert 4 == finished(s).succeeded


@scenario(OPENING)
def a_pool_is_added_as_another_is_drained():
    s = Scheduler(PoolGroup("io", ThreadPool(slots=1), max_pools=2))
    s.add_pool("io")
    first = s.pools()[0].pool_id
    s.submit(int)

    def add():
        with contextlib.suppress(ValueError):
            s.add_pool("io")

    together(add, lambda: s.drain_pool(first), lambda: s.submit(int, 5).result())
    assert 1 <= len(s.pools()) <= 2
    assert 2 == finished(s).succeeded


@scenario(OPENING)
def a_pool_is_added_as_the_scheduler_closes():
    s = Scheduler(PoolGroup("io", ThreadPool(slots=1)))
    handle = s.submit(int, 5)
    unless = together(lambda: unless_closed(lambda: s.add_pool("io")), lambda: finished(s, handle))
    assert 1 == unless[1].succeeded


class Wants:
    """A scaling policy that wants two pools."""

    def scale(self, load):
        return load.toward(2, "the scenario says so")


@scenario(OPENING, horizon=0.5)
def the_autoscaler_opens_a_pool_as_the_scheduler_closes():
    s = Scheduler(PoolGroup("io", ThreadPool(slots=1), max_pools=2, scaling=Wants()))
    handles = [s.submit(int, n) for n in range(3)]
    together(lambda: unless_closed(lambda: s.submit(int)), lambda: finished(s, *handles))
    assert [0, 1, 2] == [handle.result() for handle in handles]


@scenario(THREADS)
def two_workers_cannot_start():
    def fail():
        raise OSError("no")

    s = Scheduler(PoolGroup("io", ThreadPool(slots=2, initializer=fail)))
    handles = [h for h in together(*(lambda: _unless_broken(lambda: s.submit(int)) for _ in range(3))) if h]
    for handle in handles:
        assert isinstance(handle.exception(), PoolBroken)
    balanced(s.close(finish_within=None).statistics)


@scenario(THREADS, threads_max=3)
def a_second_worker_is_not_to_be_had():
    s = Scheduler(2)
    first = s.submit(int, 0)
    handles = together(*(lambda n=n: s.submit(int, n) for n in (1, 2)))
    assert [0, 1, 2] == [handle.result() for handle in (first, *handles)]
    finished(s)


def _unless_broken(submit):
    with contextlib.suppress(PoolBroken):
        return submit()


def far(**options):
    """Return a group whose pools hold a call ahead."""
    return PoolGroup("far", OneAhead(slots=1), dedicated=False, **options)


@scenario(("scheduler._front", *DRIVER))
def a_call_ahead_is_cancelled_as_its_worker_asks_for_more():
    s = Scheduler(far(), check_invariants=True)
    handles = [s.submit(int, n) for n in range(3)]
    cancelled, _ = together(handles[2].cancel, handles[1].result)
    assert [0, 1] == [handle.result() for handle in handles[:2]]
    concurrent.futures.wait(handles)
    assert cancelled == handles[2].cancelled()
    finished(s)


@scenario(("scheduler._front", *DRIVER))
def an_urgent_job_comes_as_the_worker_is_given_one_ahead():
    s = Scheduler(far(), check_invariants=True)
    worker = next(iter(s._driver.core.pools)).runner
    begun = []
    handles = [s.submit(begun.append, n) for n in range(3)]
    urgent = s.with_options(priority=0).submit(begun.append, 9)
    ahead = handles[2].lies_ahead and not worker.holds_first(0, handles[2])
    concurrent.futures.wait([urgent, *handles])
    assert [0, 1, 2, 9] == sorted(begun)
    assert not ahead or begun.index(9) < begun.index(2), "it overtook nobody"
    finished(s)


@scenario(("scheduler._front", *OPENING), horizon=0.5)
def the_autoscaler_starts_a_worker_as_the_scheduler_closes():
    s = Scheduler(far(max_pools=2, scaling=Wants()))
    handles = [s.submit(int, n) for n in range(2)]
    together(lambda: unless_closed(lambda: s.submit(int)), lambda: finished(s, *handles))
    assert [0, 1] == [handle.result() for handle in handles]


@scenario(LOOP)
def a_coroutine_comes_as_the_loop_goes_to_sleep():
    s = coroutines()
    values = together(*(lambda n=n: [s.submit(echo, n).result() for _ in range(2)] for n in (1, 2)))
    assert [[1, 1], [2, 2]] == values
    assert 4 == finished(s).succeeded


@scenario(LOOP)
def a_coroutine_is_interrupted_as_the_next_takes_its_slot():
    s = coroutines(slots=1)
    first, second = s.submit(echo, 1), s.submit(echo, 2)
    together(first.interrupt, second.done)
    assert 2 == second.result()
    error = error_of(first)
    assert error is None or isinstance(error, JobInterrupted | concurrent.futures.CancelledError)
    finished(s)


@scenario(LOOP)
def a_coroutine_awaits_a_job_of_a_thread():
    pool = AsyncioPool(slots=1, loop_factory=CooperativeLoop, lag_limit=None)
    s = Scheduler(PoolGroup("aio", pool, dedicated=False), PoolGroup("io", ThreadPool(slots=1)))

    async def outer():
        return await s.submit(int, 4)

    assert [4, 5] == together(lambda: s.submit(outer).result(), lambda: s.submit(int, 5).result())
    finished(s)
