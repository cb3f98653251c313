"""What hedges do for the slowest, and what they cost, in virtual time."""

import random

import pytest

from policies import Hedge, RetryBudget
from pools import ThreadPool
from scheduler.simulation import Simulator

JOBS = 4000


def latencies(hedge, slots=16):
    """Return the sorted times of jobs of which one call in fifty takes thirty times as long, and the statistics."""
    dice = random.Random(11)
    simulator = Simulator(ThreadPool(slots=slots), seed=1, check_every=500)

    def run_time():
        return dice.uniform(0.08, 0.12) * (30 if dice.random() < 0.02 else 1)

    jobs = [simulator.submit(run_time, at=n * 0.02, hedge=hedge) for n in range(JOBS)]
    now = simulator.run()
    return sorted(job.ended_at - job.submitted_at for job in jobs), now


@pytest.mark.usefixtures("untraced")
def test_the_slowest_are_ten_times_as_fast_for_a_few_calls_more(record_property):
    """The p99 is what a page made of a hundred calls waits for (Dean and Barroso, 2013)."""
    alone, _ = latencies(None)
    hedged, now = latencies(Hedge())
    p99 = JOBS * 99 // 100
    numbers = f"p99 {alone[p99]:.2f} s alone, {hedged[p99]:.2f} s hedged, {now.hedges / JOBS:.1%} more calls"
    print(numbers)
    record_property("hedging", numbers)

    assert alone[p99] > 2.5
    assert hedged[p99] < 0.3
    assert now.hedges < 0.1 * JOBS
    assert 0.01 * JOBS < now.hedges_won
    assert now.budgets[0].withdrawn == now.hedges


@pytest.mark.usefixtures("untraced")
def test_a_service_that_is_slow_for_everybody_does_not_get_everything_twice():
    """What is long is measured by what was lately normal, and the budget bounds the rest."""
    budget = RetryBudget(name="h", ratio=0.02, reserve_per_second=0.0)
    simulator = Simulator(ThreadPool(slots=50))
    for number in range(2000):
        run_time = 0.1 if number < 1000 else 0.5
        simulator.submit(run_time, at=number * 0.02, hedge=Hedge(budget=budget))
    now = simulator.run()

    assert 0 < now.hedges <= 0.02 * 2000
    assert now.succeeded == 2000
