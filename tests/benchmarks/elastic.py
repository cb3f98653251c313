"""A group that scales, by the system's clock: how soon a load that rises tenfold waits no longer than it should.

A job's wait is told by the quarter of a second in which it was submitted: those that came in the first
moments wait for pools that were opened after them, and what is asked is from when on nobody does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from statistics import median

from harness import Figure, percentile, quartiles

from policies import QueueDelay
from pools import ThreadPool
from scheduler import PoolGroup, Scheduler

TARGET = 0.1  # seconds, the policy's default
JOB = 0.02  # seconds: two of four slots are busy before the step, and twenty after
BEFORE, RATE, FACTOR = 2.5, 100.0, 10
BUCKET = 0.25


def step(quick: bool) -> Iterator[Figure]:
    """Submit jobs that sleep at a rate, then at ten times that."""
    trials = [_step(4.0) for _ in range(2 if quick else 5)]
    recovered = [seconds for seconds, _, _ in trials]
    start_up = max(start_up for _, start_up, _ in trials)
    yield Figure(
        name=f"load × {FACTOR} on threads that scale: p99 of the wait under {TARGET} s again after",
        ours=median(recovered),
        unit="s",
        peer=3 * start_up + 1.0,
        peer_name="3 start-ups + 1 s",
        judged=median(recovered),
        spread=quartiles(recovered),
        must=3 * start_up + 1.0,
    )
    worst = [wait for _, _, wait in trials]
    yield Figure(
        name="the same, worst p99 of any quarter of a second",
        ours=median(worst),
        unit="s",
        judged=median(worst),
        spread=quartiles(worst),
    )


def _step(after: float) -> tuple[float, float, float]:
    """Return the seconds from the step to the end of the last bucket that waited too long, the start-up, the worst p99."""
    waits: dict[int, list[float]] = {}
    group = PoolGroup("io", ThreadPool(slots=4), max_pools=10, scaling=QueueDelay(target=TARGET))

    def job(bucket: int, submitted: float) -> None:
        waits.setdefault(bucket, []).append(time.perf_counter() - submitted)
        time.sleep(JOB)

    with Scheduler(group) as scheduler:
        began, submitted = time.perf_counter(), 0
        while (now := time.perf_counter() - began) < BEFORE + after:
            due = RATE * (min(now, BEFORE) + FACTOR * max(0.0, now - BEFORE))
            bucket = math.floor((now - BEFORE) / BUCKET)
            while submitted < due:
                scheduler.submit(job, bucket, time.perf_counter())
                submitted += 1
            time.sleep(0.002)
        scheduler.drain()
        start_up = max(d.load.start_up for d in scheduler.explain("io").decisions if d.load is not None)
    p99 = {bucket: percentile(each, 0.99) for bucket, each in waits.items() if bucket >= 0}
    late = [bucket for bucket, wait in p99.items() if wait > TARGET]
    return (max(late) + 1) * BUCKET if late else 0.0, start_up, max(p99.values())
