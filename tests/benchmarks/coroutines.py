"""Coroutines beside a bare asyncio loop with a semaphore: no-ops, and a hundred thousand that sleep."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from harness import Figure, compared, quartiles

from pools import AsyncioPool
from scheduler import Scheduler

SLOTS = 1_000
#: Seconds that the coroutines sleep which do.
NAP = 0.01
CAPACITY = 2_000


async def no_op() -> None:
    """Do nothing: what is left is what the scheduler costs."""


async def nap() -> None:
    """Sleep."""
    await asyncio.sleep(NAP)


def no_ops(quick: bool) -> Iterator[Figure]:
    """Submit no-op coroutines from the main thread, then ask for every result."""
    jobs = 5_000 if quick else 20_000
    yield compared(
        f"no-op coroutine, {SLOTS:,} slots, submit to all results",
        lambda: _ours(no_op, jobs),
        lambda: asyncio.run(_bare(no_op, jobs)),
        pairs=3 if quick else 9,
        unit="µs",
        peer_name="create_task + Semaphore",
        must=2.0,
        aim=1.2,
    )


def naps(quick: bool) -> Iterator[Figure]:
    """Many coroutines that sleep: time a job, slots in use, and memory while no handle is kept."""
    jobs = 10_000 if quick else 100_000
    figure = compared(
        f"{jobs:,} coroutines that sleep {NAP} s, {SLOTS:,} slots",
        lambda: _ours(nap, jobs),
        lambda: asyncio.run(_bare(nap, jobs)),
        pairs=3,
        unit="µs",
        peer_name="create_task + Semaphore",
        must=2.0,
        aim=1.2,
    )
    yield figure
    used = _slots_in_use(jobs)
    yield Figure(
        name="the same: slots in use while any job waits",
        ours=statistics.median(used),
        unit="slots",
        judged=statistics.median(used),
        spread=quartiles(used),
        must=SLOTS,
        aim=SLOTS,
        more_is_better=True,
    )
    ours, peers = _peak(lambda: _let_go(jobs)), _peak(lambda: asyncio.run(_bare(nap, jobs)))
    yield Figure(
        name=f"the same: peak memory, capacity={CAPACITY:,}, no handle kept",
        ours=ours,
        peer=peers,
        peer_name="create_task + Semaphore",
        unit="MB",
        judged=ours / peers,
    )


def _ours(function: Callable[[], Any], jobs: int) -> float:
    """Return the microseconds a job."""
    with Scheduler(AsyncioPool(slots=SLOTS)) as scheduler:
        began = time.perf_counter()
        handles = [scheduler.submit(function) for _ in range(jobs)]
        for handle in handles:
            handle.result()
        took = time.perf_counter() - began
    return took / jobs * 1e6


async def _bare(function: Callable[[], Any], jobs: int) -> float:
    semaphore = asyncio.Semaphore(SLOTS)

    async def bounded() -> Any:
        async with semaphore:
            return await function()

    began = time.perf_counter()
    running = [asyncio.create_task(bounded()) for _ in range(jobs)]
    for one in running:
        await one
    return (time.perf_counter() - began) / jobs * 1e6


def _slots_in_use(jobs: int) -> list[float]:
    """Return how many slots were in use, looked at a hundred times a second while jobs waited."""
    used: list[float] = []
    with Scheduler(AsyncioPool(slots=SLOTS), capacity=CAPACITY) as scheduler:
        submitted: Future[None] = Future()

        def submit() -> None:
            for _ in range(jobs):
                scheduler.submit(nap)
            submitted.set_result(None)

        threading.Thread(target=submit).start()
        while not submitted.done():
            time.sleep(0.01)
            snapshot = scheduler.statistics()
            if snapshot.waiting:
                used.append(snapshot.pools[0].in_use)
    return used


def _let_go(jobs: int) -> None:
    """Submit jobs and keep no handle: what waits is bounded by the capacity, and submitting by what ends."""
    with Scheduler(AsyncioPool(slots=SLOTS), capacity=CAPACITY) as scheduler:
        for _ in range(jobs):
            scheduler.submit(nap)


def _peak(program: Callable[[], object]) -> float:
    """Return the megabytes that a program needed at most."""
    tracemalloc.start()
    try:
        program()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
