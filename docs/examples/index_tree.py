"""Index a tree of real files: read, digest and compress each, and answer look-ups all along.

Three kinds of jobs share one scheduler. Reads (NORMAL) go to the pools tagged "io", which are threads; what
they read is hashed and compressed by follow-up jobs (LOW) in those tagged "cpu", which are processes; look-ups
in the index built so far (HIGH) share the threads with the reads. Every fiftieth read fails the first time and is retried.
The threads scale by themselves, from one pool to several and back; to the processes a pool is added by hand
at one third of the files, and drained again at two thirds.

Each read waits a little first, as it would for a disk over a network: `--latency 0` is the disk that is here.

The same code then runs on a `ThreadPoolExecutor`, for comparison. Ctrl-C stops in bounded time.

    python docs/examples/index_tree.py [FOLDER] [--slots N] [--pools N] [--limit N] [--latency S] [--no-compare]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import sysconfig
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import cycle
from pathlib import Path

from _shown import Progress, ms, shown_progress, table

from policies import FixedBackoff, QueueDelay
from pools import ProcessPool, ThreadPool
from scheduler import (
    CurrentJob,
    Event,
    JobStarted,
    JobState,
    PoolGroup,
    Priority,
    Scheduler,
    SchedulerError,
    current_job,
)

READ_MAX = 32 * 2**20  # bytes of one file; the rest of a giant is left out
LEVEL = 3  # of compression: the default takes twice the time
WINDOW = 1_000  # files in flight, so that a tree of any size fits into memory
LOOK_UP_EVERY = 0.004  # seconds
FLAKY_EVERY = 50  # reads
TARGET = 0.05  # seconds that reads may wait before a pool of threads is added
GROWTH = 3  # pools of threads beyond those there are to begin with
CALM = 20.0  # seconds in which those are expected to be gone again, when all is done

KINDS = {"io": "threads", "cpu": "processes"}

Entry = tuple[int, int, str]  # bytes, compressed bytes, SHA-256


class Tree:
    """One indexing of the files: three executors, and the index they fill.

    It is written for any `concurrent.futures.Executor`, so that two kinds can be compared.
    """

    def __init__(self, reading: Executor, digesting: Executor, looking_up: Executor, latency: float) -> None:
        self.reading, self.digesting, self.looking_up = reading, digesting, looking_up
        self.latency = latency
        self.index: dict[str, Entry] = {}
        self.unreadable = 0
        self.answered_within: list[float] = []

    def run(self, paths: list[str], progress: Progress, steps: Mapping[int, Callable[[], object]]) -> float:
        """Index all `paths` and return the seconds it took; `steps` are done at a number of files."""
        ended = threading.Event()
        asking = threading.Thread(target=self._ask_all_along, args=(paths, ended), daemon=True)
        began = time.perf_counter()
        asking.start()
        flying: deque[tuple[str, Future[Future[Entry] | None]]] = deque()
        try:
            for number, path in enumerate(paths):
                if len(flying) == WINDOW:
                    self._await(*flying.popleft())
                flying.append((path, self.reading.submit(self._read, number, path)))
                if number in steps:
                    steps[number]()
                progress(number - len(flying), len(self.answered_within))
            while flying:
                self._await(*flying.popleft())
                progress(len(paths) - len(flying), len(self.answered_within))
            return time.perf_counter() - began
        finally:
            ended.set()

    def _await(self, path: str, read: Future[Future[Entry] | None]) -> None:
        try:
            digested = read.result()
        except OSError:
            self.unreadable += 1
        else:
            if digested is not None:
                self.index[path] = digested.result()

    def _read(self, number: int, path: str) -> Future[Entry] | None:
        """Read one file and submit the follow-up job; the retry policy sees any OSError."""
        job = this_job()
        if job is not None and job.attempt == 1 and number % FLAKY_EVERY == 0:
            raise OSError(f"{path}: not at the first attempt")
        time.sleep(self.latency)
        with open(path, "rb") as file:  # noqa: PTH123  a Path for each file would be most of the time
            data = file.read(READ_MAX)
        try:
            return self.digesting.submit(digest, data)
        except RuntimeError:  # closed meanwhile: this file will not be in the index
            return None

    def _ask_all_along(self, paths: list[str], ended: threading.Event) -> None:
        """Ask for one path after the other, whether or not the last answer has come."""
        for path in cycle(paths):
            if ended.wait(LOOK_UP_EVERY):
                return
            try:
                self.looking_up.submit(self._look_up, path, time.perf_counter())
            except RuntimeError:  # closed meanwhile
                return

    def _look_up(self, path: str, asked: float) -> Entry | None:
        entry = self.index.get(path)
        self.answered_within.append(time.perf_counter() - asked)
        return entry


def digest(data: bytes) -> Entry:
    """Hash and compress. It knows nothing of schedulers: in a process it can be killed, and need not be asked."""
    return len(data), len(zlib.compress(data, LEVEL)), hashlib.sha256(data).hexdigest()


def this_job() -> CurrentJob | None:
    """Return the job that the calling thread runs; a plain executor's work knows of none."""
    try:
        return current_job()
    except SchedulerError:
        return None


def files_below(folder: str, *, without: str | None) -> Iterator[str]:
    """Yield the regular files below `folder`; what cannot be listed is left out."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != without)
        for name in sorted(names):
            path = os.path.join(where, name)  # noqa: PTH118  as above
            if os.path.isfile(path):  # noqa: PTH113  opening a pipe would wait for ever
                yield path


def warm_up(paths: list[str]) -> None:
    """Read all files, so that neither of two runs pays for a cold disk."""
    for path in paths:
        with suppress(OSError):
            Path(path).read_bytes()


def report(scheduler: Scheduler, tree: Tree, attempts: Counter[str]) -> None:
    """Print what became of every job; `attempts` counts them by worker."""
    ledger = scheduler.statistics()
    counts = {state: getattr(ledger, state.value) for state in JobState}
    shown = {state.value: count for state, count in counts.items() if count or state.settled}
    table(("submitted", "=", *shown), (ledger.submitted, "=", *shown.values()))
    adds_up = "adds up" if sum(counts.values()) == ledger.submitted else "DOES NOT ADD UP"
    print(f"  The ledger {adds_up}; {ledger.retries:,} retries, {tree.unreadable:,} files cannot be read.")
    waits = [(priority.name, ledger.wait(priority=priority)) for priority in Priority]
    table(
        ("wait by priority", "jobs", "p50", "p99"),
        *((name, w.count, ms(w.quantile(0.5)), ms(w.quantile(0.99))) for name, w in waits if w.count),
    )
    pools: dict[str, list[int]] = {}
    for worker in sorted(attempts):
        pools.setdefault(worker.split("/")[0], []).append(attempts[worker])
    table(
        ("attempts by pool", "in", "number", "by worker"),
        *(
            (pool, KINDS[pool.split("-")[0]], sum(each), "  ".join(f"{count:,}" for count in each))
            for pool, each in pools.items()
        ),
    )


def calm_down(scheduler: Scheduler, pools: int) -> None:
    """Wait a moment for the pools that are not needed any more to be drained."""
    until = time.monotonic() + CALM
    while time.monotonic() < until and sum(pool.group == "io" for pool in scheduler.pools()) > pools:
        time.sleep(0.05)


def report_scaling(scheduler: Scheduler, began: float) -> None:
    """Print when and why the threads scaled, and what that did."""
    decisions = [decision for decision in scheduler.explain("io").decisions if decision.pools]
    print("\n  when     pools  what and why" if decisions else "\n  The threads did not need to scale.")
    for decision in decisions:
        what = f"{decision.action} {' '.join(decision.pools)}: {decision.reason}"
        print(f"  {decision.time - began:5.2f} s  {decision.before:5}  {what}")
        if decision.effect:
            print(f"                  it gave {decision.effect}")


def index_with_scheduler(
    paths: list[str], slots: int, pools: int, latency: float
) -> tuple[Tree, float] | None:
    """Index with a scheduler and print the report; return None when it was stopped by Ctrl-C."""
    scheduler = Scheduler(
        PoolGroup(
            "io",
            ThreadPool(slots=slots),
            min_pools=pools,
            max_pools=pools + GROWTH,
            scaling=QueueDelay(target=TARGET),
        ),
        PoolGroup("cpu", ProcessPool(slots=min(slots, os.cpu_count() or 1)), min_pools=pools),
        retry=FixedBackoff(delay=0.01, attempts_max=3, retry_on=OSError),
    )
    tree = Tree(
        reading=scheduler.with_options(priority=Priority.NORMAL, tags="io", name="read"),
        digesting=scheduler.with_options(priority=Priority.LOW, tags="cpu", name="digest"),
        looking_up=scheduler.with_options(priority=Priority.HIGH, name="look up"),
        latency=latency,
    )
    attempts: Counter[str] = Counter()

    def count(event: Event) -> None:
        if isinstance(event, JobStarted):
            attempts[event.worker] += 1

    scheduler.subscribe(count)
    added: list[str] = []
    began = scheduler.statistics().time

    def grow() -> None:
        added.append(scheduler.add_pool("cpu"))
        print("added pool", *added, flush=True)

    def shrink() -> None:
        for pool in added:
            scheduler.drain_pool(pool)
        print("drained pool", *added, flush=True)

    steps = {len(paths) // 3: grow, len(paths) * 2 // 3: shrink}
    try:
        with shown_progress(len(paths), "two-tier scheduler") as progress:
            seconds = tree.run(paths, progress, steps)
        calm_down(scheduler, pools)
        scheduler.close()
    except KeyboardInterrupt:
        print("\nstopping ...", flush=True)
        print(scheduler.close(finish_within=0.5, cancel_within=0.5))
        return None
    report(scheduler, tree, attempts)
    report_scaling(scheduler, began)
    return tree, seconds


def index_with_executor(paths: list[str], threads: int, latency: float) -> tuple[Tree, float]:
    """Index with the standard library's executor."""
    with ThreadPoolExecutor(threads) as executor:
        tree = Tree(executor, executor, executor, latency)
        try:
            with shown_progress(len(paths), "ThreadPoolExecutor") as progress:
                return tree, tree.run(paths, progress, {})
        except KeyboardInterrupt:
            executor.shutdown(cancel_futures=True)
            raise


def comparison(ours: tuple[Tree, float], theirs: tuple[Tree, float]) -> None:
    """Print the two runs beside each other."""
    rows = []
    for name, (tree, seconds) in (("two-tier scheduler", ours), ("ThreadPoolExecutor", theirs)):
        answered = sorted(tree.answered_within) or [0.0]
        p50, p99 = answered[len(answered) // 2], answered[len(answered) * 99 // 100]
        rows.append((name, f"{seconds:.2f} s", len(tree.answered_within), ms(p50), ms(p99)))
    table(("", "wall time", "look-ups", "answered p50", "p99"), *rows)


def main() -> int:
    """Index a folder and print what happened; return the exit code."""
    parser = argparse.ArgumentParser(description="Index a tree of files.")
    parser.add_argument("folder", nargs="?", help="default: the running Python's own library")
    parser.add_argument("--slots", type=int, default=4, help="slots of each pool")
    parser.add_argument("--pools", type=int, default=1, help="pools of each of the two groups")
    parser.add_argument("--limit", type=int, help="index at most so many files")
    parser.add_argument("--latency", type=float, default=0.01, help="seconds each read waits first")
    parser.add_argument("--no-compare", action="store_true", help="leave ThreadPoolExecutor out")
    options = parser.parse_args()
    folder = options.folder or sysconfig.get_path("stdlib")
    paths = list(files_below(folder, without=None if options.folder else "site-packages"))[: options.limit]
    print(f"{len(paths):,} files below {folder}; Ctrl-C stops", flush=True)
    if not options.no_compare:
        warm_up(paths)
    ours = index_with_scheduler(paths, options.slots, options.pools, options.latency)
    if ours is None:
        return 130
    if not options.no_compare:
        # As many threads as the scheduler had while it had most, and one for each process.
        threads = options.slots * (options.pools + GROWTH) + 2 * (os.cpu_count() or 1)
        comparison(ours, index_with_executor(paths, threads, options.latency))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
