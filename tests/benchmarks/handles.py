"""What a handle costs: the memory of a waiting job, and the time to wait for many."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed, wait
from functools import partial

from harness import Figure, compared, no_op

from scheduler import Scheduler

THREADS = 4

Handles = list[Future[None]]
Make = Callable[[], Executor]

_Scheduler: Make = partial(Scheduler, THREADS)
_ThreadPoolExecutor: Make = partial(ThreadPoolExecutor, THREADS)


def memory(quick: bool) -> Iterator[Figure]:
    """Let many jobs wait, and ask how much more memory Python uses."""
    jobs = 20_000 if quick else 200_000
    yield compared(
        f"memory of a waiting job, {jobs:,} waiting",
        lambda: _memory(Scheduler(THREADS), jobs),
        lambda: _memory(ThreadPoolExecutor(THREADS), jobs),
        pairs=1 if quick else 3,
        unit="bytes",
        must=0.4,
        aim=0.2,
    )


def _memory(executor: Executor, jobs: int) -> float:
    """Return bytes a job; the list that holds the handles is not counted, the handles are."""
    with executor:
        gate = _close_gate(executor)
        handles: list[object] = [None] * jobs
        tracemalloc.start()
        for number in range(jobs):
            handles[number] = executor.submit(no_op)
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        gate.set()
    return used / jobs


def waiting(quick: bool) -> Iterator[Figure]:
    """`concurrent.futures.wait` and `as_completed` over many handles, settled before or meanwhile."""
    jobs = 1_000 if quick else 10_000
    ways: dict[str, Callable[[Handles], object]] = {
        "wait": wait,
        "as_completed": lambda handles: list(as_completed(handles)),
    }
    for kind, measure in (("settled", _over_settled), ("that settle meanwhile", _over_settling)):
        for name, way in ways.items():
            yield compared(
                f"{name} over {jobs:,} handles {kind}, a handle",
                partial(measure, _Scheduler, way, jobs),
                partial(measure, _ThreadPoolExecutor, way, jobs),
                pairs=5 if quick else 15,
                unit="µs",
                must=1.0,
                aim=0.5,
            )
    yield compared(
        f"wait(timeout=0) over {jobs:,} handles that wait, a handle",
        partial(_over_waiting, _Scheduler, jobs),
        partial(_over_waiting, _ThreadPoolExecutor, jobs),
        pairs=5 if quick else 15,
        unit="µs",
    )


def _over_settled(make: Make, way: Callable[[Handles], object], jobs: int) -> float:
    """Return microseconds a handle."""
    with make() as executor:
        handles = [executor.submit(no_op) for _ in range(jobs)]
    began = time.perf_counter()
    way(handles)
    return (time.perf_counter() - began) / jobs * 1e6


def _over_waiting(make: Make, jobs: int) -> float:
    """Return microseconds a handle for beginning to wait and giving up."""
    with make() as executor:
        gate = _close_gate(executor)
        handles = [executor.submit(no_op) for _ in range(jobs)]
        began = time.perf_counter()
        wait(handles, timeout=0)
        took = time.perf_counter() - began
        gate.set()
    return took / jobs * 1e6


def _over_settling(make: Make, way: Callable[[Handles], object], jobs: int) -> float:
    """Return microseconds a handle from the moment at which the jobs may run."""
    with make() as executor:
        gate = _close_gate(executor)
        handles = [executor.submit(no_op) for _ in range(jobs)]
        opened = 0.0

        def open_once_somebody_waits() -> None:
            nonlocal opened
            while not handles[0]._waiters or not handles[-1]._waiters:
                time.sleep(0.001)
            time.sleep(0.01)
            opened = time.perf_counter()
            gate.set()

        opener = threading.Thread(target=open_once_somebody_waits)
        opener.start()
        way(handles)
        took = time.perf_counter() - opened
        opener.join()
    return took / jobs * 1e6


def _close_gate(executor: Executor) -> threading.Event:
    """Keep every worker busy until the event is set."""
    gate = threading.Event()
    inside = threading.Barrier(THREADS + 1)

    def stand() -> None:
        inside.wait()
        gate.wait()

    for _ in range(THREADS):
        executor.submit(stand)
    inside.wait()
    return gate
