"""What scaling costs: an evaluation of many groups, and a job of a scheduler that scales."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import cycle, islice
from statistics import median

import throughput
from harness import Figure, compared, no_op, quartiles

from policies import FairShare
from pools import ThreadPool
from scheduler import Limit, PoolGroup, Scheduler
from scheduler.simulation import Simulator

GROUPS, POOLS, SLOTS = 100, 50, 2

#: So wide that they hold up nobody: what is left is what asking them costs.
LIMITS = [Limit(tenant="*", concurrency=1_000), Limit(tenant="a", rate=1e6, burst=1_000_000)]


def evaluation(quick: bool) -> Iterator[Figure]:
    """One look at every one of 100 groups of 50 pools each, with jobs that run and jobs that wait."""
    took = _looks(20 if quick else 200)
    yield Figure(
        name=f"evaluation of {GROUPS} groups × {POOLS} pools",
        ours=median(took),
        unit="ms",
        judged=median(took),
        spread=quartiles(took),
        must=5.0,
        aim=2.0,
    )


def _looks(count: int) -> list[float]:
    """Return how many milliseconds of the processor each of so many evaluations took, every group being due."""
    names = [f"group-{number}" for number in range(GROUPS)]
    simulator = Simulator(
        *(
            PoolGroup(name, ThreadPool(slots=SLOTS), min_pools=POOLS, max_pools=2 * POOLS, dedicated=True)
            for name in names
        )
    )
    for name in names:
        for number in range(SLOTS * POOLS + 5):
            simulator.submit(1e6 + number, at=0.0, tags=name)
    core = simulator.core
    simulator.run(until=0.0)
    took = []
    for look in range(1, count + 1):
        now = look * 0.04  # before any of them would open a pool that the next look then finds
        for scaled in core.scaled.values():
            scaled.due = now
        began = time.process_time()
        core.scale(now)
        took.append((time.process_time() - began) * 1e3)
    return took


def scaled(quick: bool) -> Iterator[Figure]:
    """No-op jobs through a group that may scale, beside one that may not."""
    jobs = 10_000 if quick else 50_000
    yield compared(
        "submit → all results, a group that scales",
        lambda: throughput.submit_to_results(Scheduler(_group(max_pools=4)), jobs),
        lambda: throughput.submit_to_results(Scheduler(_group(max_pools=1)), jobs),
        pairs=3 if quick else 9,
        unit="µs",
        peer_name="the same group, fixed",
        must=1.4,
        aim=1.1,
    )


def everything(quick: bool) -> Iterator[Figure]:
    """No-op jobs of two tenants with scaling, fair shares and limits on, beside the plain scheduler."""
    jobs = 10_000 if quick else 50_000
    yield compared(
        "scaling, fair shares and limits on",
        lambda: _two_tenants(
            Scheduler(_group(max_pools=4), ordering=FairShare(weights={"a": 2}), limits=LIMITS), jobs
        ),
        lambda: _two_tenants(Scheduler(_group(max_pools=1)), jobs),
        pairs=3 if quick else 9,
        unit="µs",
        peer_name="the same jobs, none of them",
        must=1.4,
        aim=1.2,
    )


def limits(quick: bool) -> Iterator[Figure]:
    """No-op jobs of two tenants, one under one limit and one under two, beside the plain scheduler."""
    jobs = 10_000 if quick else 50_000
    yield compared(
        "limits alone",
        lambda: _two_tenants(Scheduler(_group(max_pools=1), limits=LIMITS), jobs),
        lambda: _two_tenants(Scheduler(_group(max_pools=1)), jobs),
        pairs=3 if quick else 9,
        unit="µs",
        peer_name="the same jobs, none of them",
        must=1.3,
        aim=1.2,
    )


def _two_tenants(scheduler: Scheduler, jobs: int) -> float:
    """Return the microseconds a job, submitted for one tenant and the other in turn."""
    with scheduler:
        submitters = cycle([scheduler.with_options(tenant=tenant).submit for tenant in "ab"])
        began = time.perf_counter()
        handles = [submit(no_op) for submit in islice(submitters, jobs)]
        for handle in handles:
            handle.result()
        return (time.perf_counter() - began) / jobs * 1e6


def _group(max_pools: int) -> PoolGroup:
    return PoolGroup("io", ThreadPool(slots=throughput.THREADS), max_pools=max_pools)
