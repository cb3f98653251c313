"""The simulator against queueing theory and against itself."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from policies import Aging, ExponentialBackoff, Pack
from pools import ThreadPool
from scheduler import Priority
from scheduler._group import PoolGroup
from scheduler.simulation import Simulator
from scheduler.testing import RecordedEvents

SERVERS = 4


def erlang_c_mean_wait(servers: int, arrival_rate: float, mean_service: float) -> float:
    """Return the mean wait in an M/M/c queue (Erlang 1917), by the stable recursion for Erlang B."""
    offered = arrival_rate * mean_service
    blocked = 1.0
    for server in range(1, servers + 1):
        blocked = offered * blocked / (server + offered * blocked)
    load = offered / servers
    waits = blocked / (1 - load * (1 - blocked))
    return waits * mean_service / (servers - offered)


class Poisson:
    """Poisson arrivals with exponential run times, and what was really drawn."""

    def __init__(self, rate: float, jobs: int, seed: int) -> None:
        self.rate, self.jobs = rate, jobs
        self.last = self.total = 0.0
        self._dice = random.Random(seed)

    def __iter__(self) -> Iterator[tuple[float, float]]:
        for _ in range(self.jobs):
            self.last += self._dice.expovariate(self.rate)
            run_time = self._dice.expovariate(1.0)
            self.total += run_time
            yield self.last, run_time


@pytest.mark.parametrize(("load", "jobs"), [(0.5, 150_000), (0.7, 200_000), (0.9, 400_000)])
def test_the_mean_wait_is_that_of_erlang_c(load: float, jobs: int):
    """If the simulator disagreed with the one queue everybody can solve, no plan could rest on it.

    The formula is evaluated at the rates that were drawn, which removes most of the sampling noise.
    """
    arrivals = Poisson(load * SERVERS, jobs, seed=1)
    simulator = Simulator(PoolGroup("one", ThreadPool(2), min_pools=2), routing=Pack())
    simulator.source(arrivals)

    measured = simulator.run().wait().mean
    expected = erlang_c_mean_wait(SERVERS, jobs / arrivals.last, arrivals.total / jobs)

    assert expected == pytest.approx(measured, rel=0.03)


def busy_day(seed: int) -> list[tuple[type, float, object]]:
    """Return everything that happened on a day with retries, limits, pools that come and go."""
    simulator = Simulator(
        PoolGroup("a", ThreadPool(2), max_pools=4),
        PoolGroup("b", ThreadPool(1), tags={"b"}, dedicated=True),
        ordering=Aging(),
        retry=ExponentialBackoff(attempts_max=4),
        capacity=50,
        seed=seed,
        check_every=1,
    )
    recorded = RecordedEvents()
    simulator.observe(recorded)
    simulator.source(Poisson(3.0, 300, seed), priority=Priority.LOW)
    simulator.source(Poisson(0.5, 50, seed + 1), priority=Priority.HIGH, run_timeout=2.0)
    for at in range(0, 60, 3):
        simulator.submit(0.5, at=at, fails=2, tags="b", deadline=30.0)
        simulator.submit(0.5, at=at, delay=1.0, queue_timeout=4.0)
    simulator.at(10.0, lambda: simulator.add_pool("a", start_up=2.0))
    simulator.at(50.0, lambda: simulator.drain_pool("a-1"))
    simulator.run()
    return [(type(event), event.time, event) for event in recorded.events]


def test_equal_arguments_give_equal_runs():
    """A run that cannot be repeated cannot be debugged (invariant I12)."""
    first, second, other = busy_day(1), busy_day(1), busy_day(2)

    assert first == second
    assert first != other


def test_every_job_of_a_busy_day_is_accounted_for():
    """The ledger must add up whatever happens in between."""
    kinds = {kind.__name__ for kind, _, _ in busy_day(3)}

    assert kinds >= {"JobRetrying", "JobOverdue", "PoolAdded", "PoolDraining", "PoolStopped", "JobSettled"}
