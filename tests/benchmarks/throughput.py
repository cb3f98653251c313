"""Time per job: no-op jobs, a deep queue, many groups and priorities, the lock, and the bare floor."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from threading import RLock
from typing import Any
from unittest import mock

from harness import Figure, compared, no_op

from policies import FixedBackoff
from pools import ThreadPool
from scheduler import PoolGroup, Priority, Scheduler

THREADS = 4
EIGHT_PRIORITIES = range(0, 80, 10)


def no_ops(quick: bool) -> Iterator[Figure]:
    """Submit no-op jobs from one thread, then ask for every result."""
    jobs = 10_000 if quick else 50_000
    yield compared(
        "no-op job, 4 threads, submit to all results",
        lambda: submit_to_results(Scheduler(THREADS), jobs),
        lambda: submit_to_results(ThreadPoolExecutor(THREADS), jobs),
        pairs=3 if quick else 9,
        unit="µs",
        must=0.4,
        aim=0.25,
    )


def retries(quick: bool) -> Iterator[Figure]:
    """Jobs that all fail twice, beside three plain successes for each of them."""
    jobs = 10_000 if quick else 100_000
    yield compared(
        "a job that fails twice and is retried",
        lambda: _fail_twice(jobs),
        lambda: 3 * submit_to_results(Scheduler(THREADS), 3 * jobs),
        pairs=3 if quick else 5,
        unit="µs",
        peer_name="three plain jobs",
        must=2.5,
        aim=2.0,
    )


def _fail_twice(jobs: int) -> float:
    """Return the microseconds a job whose first two attempts raise; between them it backs off."""
    policy = FixedBackoff(delay=0.01, attempts_max=3)
    with Scheduler(THREADS, retry=policy) as scheduler:
        began = time.perf_counter()
        handles = [scheduler.submit(_raise_as_often, [None, None]) for _ in range(jobs)]
        for handle in handles:
            handle.result()
        took = time.perf_counter() - began
        assert scheduler.statistics().retries == 2 * jobs
    return took / jobs * 1e6


def _raise_as_often(left: list[None]) -> None:
    if left:
        left.pop()
        raise OSError


def floor(quick: bool) -> Iterator[Figure]:
    """Hand functions to four threads through a `SimpleQueue`: no results, no handles, nothing else."""
    jobs = 10_000 if quick else 50_000
    yield compared(
        "the same beside the bare floor",
        lambda: submit_to_results(Scheduler(THREADS), jobs),
        lambda: _bare_floor(jobs),
        pairs=3 if quick else 9,
        unit="µs",
        peer_name="SimpleQueue, no results",
        aim=10,
    )


def submit_to_results(executor: Executor, jobs: int) -> float:
    """Return the microseconds a job."""
    with executor:
        began = time.perf_counter()
        handles = [executor.submit(no_op) for _ in range(jobs)]
        for handle in handles:
            handle.result()
        took = time.perf_counter() - began
    return took / jobs * 1e6


def _bare_floor(jobs: int) -> float:
    calls: SimpleQueue[object] = SimpleQueue()

    def work() -> None:
        while (call := calls.get()) is not None:
            call()  # type: ignore[operator]

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    for _ in range(jobs):
        calls.put(no_op)
    for _ in threads:
        calls.put(None)
    for thread in threads:
        thread.join()
    return (time.perf_counter() - began) / jobs * 1e6


def crowded(quick: bool) -> Iterator[Figure]:
    """Two groups, eight priorities, four submitting threads, against one of each."""
    jobs = 10_000 if quick else 50_000
    yield compared(
        "2 groups, 8 priorities, 4 submitting threads",
        lambda: _crowd(jobs, THREADS, EIGHT_PRIORITIES, groups=2),
        lambda: _crowd(jobs, 1, [Priority.NORMAL], groups=1),
        pairs=3 if quick else 9,
        unit="µs",
        peer_name="1 group, 1 priority, 1 thread",
        must=1.5,
        aim=1.1,
    )


def _crowd(jobs: int, threads: int, priorities: range | list[Priority], groups: int) -> float:
    """Return the microseconds a job until the last result; the number of slots is always the same."""
    pool = ThreadPool(slots=THREADS // groups)
    with Scheduler(*(PoolGroup(f"group-{n}", pool) for n in range(groups))) as scheduler:
        submitters = [scheduler.with_options(priority=priority) for priority in priorities]
        start = threading.Barrier(threads + 1)
        end = threading.Barrier(threads + 1)

        def submit() -> None:
            start.wait()
            cycle = itertools.islice(itertools.cycle(submitters), jobs // threads)
            handles = [submitter.submit(no_op) for submitter in cycle]
            for handle in handles:
                handle.result()
            end.wait()

        for _ in range(threads):
            threading.Thread(target=submit).start()
        start.wait()
        began = time.perf_counter()
        end.wait()
        took = time.perf_counter() - began
    return took / jobs * 1e6


def depth(quick: bool) -> Iterator[Figure]:
    """Cost of a job with a million waiting, against a thousand."""
    deep = 100_000 if quick else 1_000_000
    yield compared(
        f"submit, run and settle with {deep:,} waiting",
        lambda: _at_depth(deep, 10_000 if quick else 50_000),
        lambda: _at_depth(1_000, 10_000 if quick else 50_000),
        pairs=3 if quick else 5,
        unit="µs",
        peer_name="with 1,000 waiting",
        must=1.5,
        aim=1.1,
    )


def _at_depth(waiting: int, jobs: int) -> float:
    """Return the microseconds a job while each job submits its own successor: the depth stays."""
    scheduler = Scheduler(THREADS)
    submitters = itertools.cycle([scheduler.with_options(priority=priority) for priority in Priority])
    number = itertools.count()
    warm, end = jobs // 10, jobs // 10 + jobs
    marks: dict[int, float] = {}
    ended = threading.Event()

    def step() -> None:
        mine = next(number)
        if mine in (warm, end):
            marks[mine] = time.perf_counter()
            if mine == end:
                ended.set()
        if mine < end:
            next(submitters).submit(step)

    scheduler.pause()
    for _ in range(waiting):
        next(submitters).submit(step)
    scheduler.resume()
    ended.wait()
    scheduler.drain()
    scheduler.shutdown()
    return (marks[end] - marks[warm]) / jobs * 1e6


def convoy(quick: bool) -> Iterator[Figure]:
    """Drain waiting no-op jobs under the spinning lock, and under one that blocks."""
    jobs = 20_000 if quick else 100_000
    for workers in (1, 2, 4, 8):
        yield compared(
            f"drain no-op jobs, {workers} worker{'s' if workers > 1 else ''}, spinning lock",
            partial(_drain, workers, jobs),
            partial(_drain_blocking, workers, jobs),
            pairs=3 if quick else 5,
            unit="µs",
            peer_name="blocking lock",
        )


class _BlockingLock:
    """A reentrant lock that waits even when it is asked to try."""

    def __init__(self) -> None:
        lock: Any = RLock()
        block: Callable[[], bool] = lock.acquire
        self.acquire: Callable[..., bool] = lambda *_: block()
        self.release: Callable[[], None] = lock.release
        self._is_owned: Callable[[], bool] = lock._is_owned

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def _drain_blocking(workers: int, jobs: int) -> float:
    with mock.patch("scheduler._turn.RLock", _BlockingLock):
        return _drain(workers, jobs)


def _drain(workers: int, jobs: int) -> float:
    """Return the microseconds a job from the first start to the last end."""
    with Scheduler(workers) as scheduler:
        scheduler.pause()
        for _ in range(jobs):
            scheduler.submit(no_op)
        began = time.perf_counter()
        scheduler.resume()
        scheduler.drain()
        return (time.perf_counter() - began) / jobs * 1e6
