"""What routing changes, and what it does not, in virtual time."""

import random

from policies import Affinity, LeastLoaded, Pack, PeakEwma, RoundRobin, TwoRandomChoices
from pools import ThreadPool
from scheduler import PoolGroup, Priority
from scheduler.simulation import Simulator

ROUTINGS = [Pack(), LeastLoaded(), RoundRobin(), TwoRandomChoices(), PeakEwma(), Affinity()]


def half_load(routing, jobs=20_000, **options):
    """Run jobs at load 0.5 of four pools of four; return the idle share of moments, and the simulator."""
    dice = random.Random(1)
    simulator = Simulator(PoolGroup("io", ThreadPool(slots=4), min_pools=4), routing=routing)
    now = 0.0
    for number in range(jobs):
        now += dice.expovariate(8.0)
        simulator.submit(dice.expovariate(1.0), at=now, affinity=f"user-{number % 10}")
    looks = []
    for moment in range(10, int(now)):
        simulator.at(moment, lambda: looks.append(any(pool.in_use == 0 for pool in simulator.pools())))
    simulator.run()
    return sum(looks) / len(looks), simulator


def test_routing_changes_which_pools_are_idle_and_not_how_long_jobs_wait():
    """Finding 3 of the design: only packing makes whole pools idle, and it costs nobody a wait."""
    measured = {routing: half_load(routing) for routing in ROUTINGS}
    waits = {simulator.statistics().wait().mean for _, simulator in measured.values()}
    idle = {routing: share for routing, (share, _) in measured.items()}

    assert max(waits) - min(waits) < 1e-9
    assert idle[Pack()] > 0.7
    assert max(idle[routing] for routing in (LeastLoaded(), RoundRobin())) < 0.3


def test_lending_shortens_the_waits_of_others_and_not_those_of_the_urgent_by_much():
    """A bulkhead that lends is worth having only if both sides are better off than behind a wall."""

    def waits(**reserve):
        dice = random.Random(2)
        simulator = Simulator(
            PoolGroup("all", ThreadPool(slots=4)),
            PoolGroup("high", ThreadPool(slots=4), reserve_for=Priority.HIGH, **reserve),
            check_every=100,
        )
        now = 0.0
        for _ in range(20_000):
            now += dice.expovariate(5.0)
            urgent = dice.random() < 0.25
            priority = Priority.HIGH if urgent else Priority.NORMAL
            simulator.submit(dice.expovariate(1.0), at=now, priority=priority)
        statistics = simulator.run()
        return statistics.wait(priority=Priority.HIGH).mean, statistics.wait(priority=Priority.NORMAL).mean

    walled, lent = waits(), waits(lends=True, keep=1)

    assert lent[1] < walled[1] / 5
    assert lent[0] < 0.05
