"""Limits over long stretches of virtual time."""

import random
from bisect import bisect_right

from policies import Aging
from pools import ThreadPool
from scheduler import JobStarted, Limit, Priority
from scheduler.simulation import Simulator


def test_a_rate_holds_over_every_window_and_is_used_up():
    """More than burst + rate × time would be no limit, and less would be slots for nothing."""
    simulator = Simulator(ThreadPool(slots=50), limits=[Limit(tenant="a", rate=5.0, burst=8)], check_every=50)
    dice, starts = random.Random(1), []
    simulator.observe(lambda event: isinstance(event, JobStarted) and starts.append(event.time))
    simulator.source(((n / 10, dice.expovariate(1.0)) for n in range(5000)), tenant="a")
    simulator.run()

    for first, at in enumerate(starts):
        for seconds in (0.0, 1.0, 7.3, 60.0):
            last = bisect_right(starts, at + seconds)
            assert last - first <= 8 + 5.0 * seconds + 1e-6
    assert 5000 / 5 - 2 <= starts[-1] <= 5000 / 5 + 0.5


def test_a_greedy_tenant_leaves_slots_to_others():
    """That is what a limit is for: the others wait as if it were not there."""

    def wait(limits):
        simulator = Simulator(ThreadPool(slots=8), limits=limits, check_every=100)
        for _ in range(2000):
            simulator.submit(1.0, tenant="greedy")
        others = [simulator.submit(0.5, at=n, tenant="modest") for n in range(1, 100)]
        simulator.run()
        return max(job.waited for job in others)

    assert wait([]) > 50.0
    assert wait([Limit(tenant="greedy", concurrency=6)]) == 0.0


def test_ten_thousand_tenants_that_all_wait_start_in_order_and_soon():
    """Order within what may start, whatever the number of lines; and no scan over all of them a start."""
    simulator = Simulator(
        ThreadPool(slots=4),
        ordering=Aging(seconds_per_level=1.0),
        limits=[Limit(tenant="*", concurrency=1), Limit(tag="thread", concurrency=3)],
    )
    started = []
    simulator.observe(lambda event: isinstance(event, JobStarted) and started.append(event.job_id))
    for number in range(20_000):
        simulator.submit(1.0, tenant=str(number % 10_000), tags="thread", priority=Priority.NORMAL)
    simulator.run()

    assert started == list(range(1, 20_001))


def test_equal_runs_are_equal_with_limits():
    """What happened once must be found again from its seed (I12)."""

    def run():
        simulator = Simulator(
            ThreadPool(slots=4),
            limits=[Limit(tenant="*", concurrency=2), Limit(tag="thread", rate=3.0)],
            seed=3,
        )
        events, dice = [], random.Random(5)
        simulator.observe(lambda event: events.append(repr(event)))
        for number in range(500):
            tags = "thread" if number % 3 else ()
            simulator.submit(
                dice.random(), at=number * 0.05, tenant="abc"[number % 3], tags=tags, fails=number % 2
            )
        simulator.run()
        return events

    assert run() == run()
