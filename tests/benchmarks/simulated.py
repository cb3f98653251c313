"""How many jobs a second the simulator takes through the same core."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from statistics import median

from harness import Figure, quartiles

from pools import ThreadPool
from scheduler import PoolGroup
from scheduler.simulation import Simulator

SLOTS = 4
LOAD = 0.9


def simulator(quick: bool) -> Iterator[Figure]:
    """A stream of random arrivals and run times at load 0.9 on four slots."""
    jobs = 20_000 if quick else 200_000
    rates = [_rate(jobs, seed) for seed in range(3 if quick else 5)]
    yield Figure(
        name=f"simulator, {jobs:,} jobs at load {LOAD}",
        ours=median(rates),
        unit="jobs/s",
        judged=median(rates),
        spread=quartiles(rates),
        must=100_000,
        aim=300_000,
        more_is_better=True,
    )


def _rate(jobs: int, seed: int) -> float:
    """Return jobs a second; throwing the dice is not counted."""
    dice = random.Random(seed)
    now, arrivals = 0.0, []
    for _ in range(jobs):
        now += dice.expovariate(LOAD * SLOTS)
        arrivals.append((now, dice.expovariate(1.0)))
    simulated = Simulator(PoolGroup("modelled", ThreadPool(slots=SLOTS)), seed=seed)
    simulated.source(arrivals)
    began = time.perf_counter()
    statistics = simulated.run()
    took = time.perf_counter() - began
    assert statistics.succeeded == jobs
    return jobs / took
