"""Time until one job answers, and until an urgent one starts behind many others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from statistics import median

from harness import Figure, alternate, compared, no_op, percentile, quartiles

from scheduler import Priority, Scheduler

THREADS = 4
URGENT_EVERY = 0.005  # seconds


def round_trip(quick: bool) -> Iterator[Figure]:
    """Submit one job and wait for its result, again and again."""
    trips = 500 if quick else 2_000
    yield compared(
        "round trip of one job, p50",
        lambda: _round_trip(Scheduler(THREADS), trips),
        lambda: _round_trip(ThreadPoolExecutor(THREADS), trips),
        pairs=5 if quick else 21,
        unit="µs",
        must=1.0,
        aim=0.7,
    )


def _round_trip(executor: Executor, trips: int) -> float:
    """Return the median in microseconds, after a tenth for warming up."""
    took = []
    with executor:
        for _ in range(trips + trips // 10):
            began = time.perf_counter()
            executor.submit(no_op).result()
            took.append(time.perf_counter() - began)
    return median(took[trips // 10 :]) * 1e6


def urgent(quick: bool) -> Iterator[Figure]:
    """Submit an urgent job every few milliseconds behind thousands that take one millisecond each."""
    jobs = 2_000 if quick else 10_000

    def ours() -> float:
        scheduler = Scheduler(THREADS)
        return _urgent(scheduler, scheduler.with_options(priority=Priority.HIGH), jobs)

    def peers() -> float:
        executor = ThreadPoolExecutor(THREADS)
        return _urgent(executor, executor, jobs)

    mine, theirs = alternate(ours, peers, 2 if quick else 5)
    yield Figure(
        name=f"urgent job behind {jobs:,} of 1 ms, time to start, p99",
        ours=median(mine),
        unit="ms",
        peer=median(theirs),
        peer_name="ThreadPoolExecutor",
        judged=median(mine),
        spread=quartiles(mine),
        must=5.0,
        aim=2.0,
    )


def _urgent(executor: Executor, hurried: Executor, jobs: int) -> float:
    """Return the 99th percentile in milliseconds."""
    waited: list[float] = []

    def note(submitted: float) -> None:
        waited.append(time.perf_counter() - submitted)

    with executor:
        backlog = [executor.submit(time.sleep, 0.001) for _ in range(jobs)]
        while not backlog[-THREADS * 10].done():  # the last have nothing behind which to wait
            hurried.submit(note, time.perf_counter())
            time.sleep(URGENT_EVERY)
        wait(backlog)
    return percentile(waited, 0.99) * 1e3
