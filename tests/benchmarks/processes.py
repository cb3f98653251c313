"""Worker processes: what a call costs, how soon an urgent one starts, what a death or a hang does to the rest.

Peers start their workers by the same method, "forkserver" where there is one. As a program of its own,
``processes.py large ours``, this measures one large value in a fresh process, because a peak is never forgotten.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from statistics import median
from typing import Any

from harness import Figure, alternate, compared, no_op, percentile, quartiles

from pools import ProcessPool
from scheduler import PoolGroup, Priority, RunTimeout, Scheduler, WorkerDied, WorkerStarted

PROCESSES = 2
URGENT_EVERY = 0.005  # seconds
ELEMENTS = 25_000_000  # of eight bytes: 200 MB
METHOD = ProcessPool(1).start_method


def _scheduler(**recipe: Any) -> Scheduler:
    return Scheduler(PoolGroup("cpu", ProcessPool(PROCESSES, **recipe), dedicated=False), capacity=200_000)


def _executor() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context(METHOD))


def _warm_up(executor: Executor) -> None:
    wait([executor.submit(time.sleep, 0.05) for _ in range(2 * PROCESSES)])


def no_op_processes(quick: bool) -> Iterator[Figure]:
    """Submit no-op jobs from one thread, then ask for every result."""
    jobs = 5_000 if quick else 20_000
    yield compared(
        "no-op job, 2 processes, submit to all results",
        lambda: _submit_to_results(_scheduler(), jobs),
        lambda: _apply_to_results(jobs),
        pairs=3 if quick else 9,
        unit="µs",
        peer_name="multiprocessing.Pool",
        must=0.5,
        aim=0.3,
    )
    yield compared(
        "the same beside ProcessPoolExecutor",
        lambda: _submit_to_results(_scheduler(), jobs),
        lambda: _submit_to_results(_executor(), jobs // 5),
        pairs=3 if quick else 9,
        unit="µs",
        peer_name="ProcessPoolExecutor",
        must=0.25,
        aim=0.1,
    )


def _submit_to_results(executor: Executor, jobs: int) -> float:
    """Return the microseconds a job, once the workers are up."""
    with executor:
        _warm_up(executor)
        began = time.perf_counter()
        handles = [executor.submit(no_op) for _ in range(jobs)]
        for handle in handles:
            handle.result()
        return (time.perf_counter() - began) / jobs * 1e6


def _apply_to_results(jobs: int) -> float:
    with multiprocessing.get_context(METHOD).Pool(PROCESSES) as pool:
        pool.map(time.sleep, [0.05] * 2 * PROCESSES, 1)
        began = time.perf_counter()
        results = [pool.apply_async(no_op) for _ in range(jobs)]
        for result in results:
            result.get()
        return (time.perf_counter() - began) / jobs * 1e6


def round_trip_processes(quick: bool) -> Iterator[Figure]:
    """Submit one job to an idle pool and wait for its result, again and again."""
    trips = 300 if quick else 1_000
    yield compared(
        "round trip of one job to a process, p50",
        lambda: _round_trip(_scheduler(), trips),
        lambda: _round_trip(_executor(), trips),
        pairs=5 if quick else 11,
        unit="µs",
        peer_name="ProcessPoolExecutor",
        must=0.8,
        aim=0.5,
    )


def _round_trip(executor: Executor, trips: int) -> float:
    took = []
    with executor:
        _warm_up(executor)
        for _ in range(trips + trips // 10):
            began = time.perf_counter()
            executor.submit(no_op).result()
            took.append(time.perf_counter() - began)
    return median(took[trips // 10 :]) * 1e6


def urgent_processes(quick: bool) -> Iterator[Figure]:
    """Submit an urgent job every few milliseconds behind thousands that take one millisecond each."""
    jobs = 1_000 if quick else 10_000

    def ours() -> float:
        scheduler = _scheduler()
        return _urgent(scheduler, scheduler.with_options(priority=Priority.CRITICAL), jobs)

    def peers() -> float:
        executor = _executor()
        return _urgent(executor, executor, jobs)

    mine, theirs = alternate(ours, peers, 2 if quick else 5)
    yield Figure(
        name=f"urgent job behind {jobs:,} of 1 ms on 2 processes, time to start, p99",
        ours=median(mine),
        unit="ms",
        peer=median(theirs),
        peer_name="ProcessPoolExecutor",
        judged=median(mine),
        spread=quartiles(mine),
        must=8.0,
        aim=4.0,
    )


def _urgent(executor: Executor, hurried: Executor, jobs: int) -> float:
    """Return the 99th percentile in milliseconds."""
    submitted, started = [], []
    with executor:
        _warm_up(executor)
        backlog = [executor.submit(time.sleep, 0.001) for _ in range(jobs)]
        while not backlog[-PROCESSES * 10].done():  # the last have nothing behind which to wait
            submitted.append(time.time())
            started.append(hurried.submit(time.time))
            time.sleep(URGENT_EVERY)
        wait(backlog)
        waited = [handle.result() - at for handle, at in zip(started, submitted, strict=True)]
    return percentile(waited, 0.99) * 1e3


def sigkill(quick: bool) -> Iterator[Figure]:
    """Kill one of two workers with hundreds of jobs about."""
    if not hasattr(signal, "SIGKILL"):
        return
    trials = [_sigkill_ours() for _ in range(3 if quick else 9)]
    theirs = [_sigkill_peer() for _ in range(1 if quick else 3)]
    innocents = [float(failed) for failed, _ in trials]
    replaced = [seconds for _, seconds in trials]
    yield Figure(
        name="SIGKILL under load: innocent jobs failed of 400",
        ours=max(innocents),
        unit="jobs",
        peer=median(theirs),
        peer_name="ProcessPoolExecutor",
        judged=max(innocents),
        must=0,
        aim=0,
    )
    yield Figure(
        name="SIGKILL under load: replacement up, and all other jobs done",
        ours=median(replaced),
        unit="s",
        judged=median(replaced),
        spread=quartiles(replaced),
        must=0.5,
        aim=0.2,
    )


def _sigkill_ours() -> tuple[int, float]:
    """Return how many failed beside the one that was killed, and the seconds until the replacement was up."""
    up: list[float] = []
    with _scheduler() as scheduler:
        _warm_up(scheduler)
        victim = scheduler.submit(os.getpid).result()
        handles = [scheduler.submit(time.sleep, 0.001) for _ in range(400)]
        handles[50].result()
        scheduler.subscribe(
            lambda event: up.append(time.perf_counter()) if isinstance(event, WorkerStarted) else None
        )
        began = time.perf_counter()
        os.kill(victim, signal.SIGKILL)
        errors = [error for handle in handles if (error := handle.exception()) is not None]
        while not up:
            time.sleep(0.001)
        if scheduler.submit(abs, -7).result() != 7 or not all(isinstance(e, WorkerDied) for e in errors):
            raise AssertionError("the pool is not usable")
    return max(0, len(errors) - 1), up[0] - began


def _sigkill_peer() -> float:
    failed = 0
    with _executor() as executor:
        _warm_up(executor)
        victim = executor.submit(os.getpid).result()
        handles = [executor.submit(time.sleep, 0.001) for _ in range(400)]
        handles[50].result()
        os.kill(victim, signal.SIGKILL)
        failed = sum(isinstance(handle.exception(), BrokenProcessPool) for handle in handles)
    return max(0.0, failed - 1.0)


def hang(quick: bool) -> Iterator[Figure]:
    """Two jobs ignore SIGTERM and hang on two workers, with twenty behind them; the limit is one second."""
    if not hasattr(signal, "SIGKILL"):
        return
    took = [_hang() for _ in range(1 if quick else 5)]
    yield Figure(
        name="two jobs ignore SIGTERM, limit 1 s, 20 behind them: all done after",
        ours=median(took),
        unit="s",
        judged=median(took),
        spread=quartiles(took),
        must=2.5,
        aim=1.6,
    )


def _ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def _hang() -> float:
    with _scheduler() as scheduler:
        _warm_up(scheduler)
        began = time.perf_counter()
        stuck = [scheduler.with_options(run_timeout=1.0).submit(_ignore_sigterm) for _ in range(PROCESSES)]
        others = [scheduler.submit(abs, -1) for _ in range(20)]
        wait(stuck)
        for handle in others:
            handle.result()
        took = time.perf_counter() - began
        if not all(isinstance(handle.exception(), RunTimeout) for handle in stuck):
            raise AssertionError("a job that hangs was not stopped by its limit")
    return took


def large(quick: bool) -> Iterator[Figure]:
    """Send a 200 MB array to a worker and back: time, and the peak memory of all processes."""
    try:
        import numpy as np  # noqa: F401, PLC0415  optional
    except ImportError:
        return
    if not Path("/proc/self/status").exists():
        return
    mine: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    alternate(lambda: _large("ours", mine), lambda: _large("peer", theirs), 2 if quick else 5)
    for what, unit, scale in (("time", "ms", 1e3), ("peak memory of all processes", "MB", 1e-6)):
        key = "seconds" if unit == "ms" else "bytes"
        ratios = [one[key] / other[key] for one, other in zip(mine, theirs, strict=True)]
        yield Figure(
            name=f"200 MB array there and back, {what}",
            ours=median(one[key] for one in mine) * scale,
            unit=unit,
            peer=median(other[key] for other in theirs) * scale,
            peer_name="multiprocessing.Pool",
            judged=median(ratios),
            spread=quartiles(ratios),
            must=1.0,
            aim=0.6,
        )


def _large(who: str, found: list[dict[str, float]]) -> float:
    """Measure in a process of its own."""
    program = [sys.executable, __file__, "large", who]
    found.append(json.loads(subprocess.run(program, check=True, capture_output=True, text=True).stdout))
    return found[-1]["seconds"]


def _return(value: Any) -> Any:
    return value


def _measure_large(who: str) -> None:
    import numpy as np  # noqa: PLC0415  optional

    array = np.arange(ELEMENTS, dtype=np.float64)
    send: Callable[[Any], Any]
    if who == "ours":
        scheduler = _scheduler()
        send = lambda value: scheduler.submit(_return, value).result()  # noqa: E731
        _warm_up(scheduler)
    else:
        pool = multiprocessing.get_context(METHOD).Pool(PROCESSES)
        send = lambda value: pool.apply(_return, (value,))  # noqa: E731
        pool.map(time.sleep, [0.05] * 2 * PROCESSES, 1)
    send(array[:1000])
    took = []
    for _ in range(3):
        began = time.perf_counter()
        back = send(array)
        took.append(time.perf_counter() - began)
        if back[-1] != array[-1] or len(back) != len(array):
            raise AssertionError("what came back is not what was sent")
        del back
    print(json.dumps({"seconds": median(took), "bytes": sum(map(_peak, _family()))}), flush=True)
    os._exit(0)


def _family() -> list[int]:
    """Return this process and all that descend from it: workers, and what the start method needs."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has ended
            continue
    family = [os.getpid()]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


def _peak(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(1024.0 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__" and sys.argv[1:2] == ["large"]:
    _measure_large(sys.argv[2])
