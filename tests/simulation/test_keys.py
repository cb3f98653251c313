"""Keys in virtual time: the same rule as under threads, and a long run that never has two of a key."""

import random

import pytest

from policies import FixedBackoff, Reject
from pools import ThreadPool
from scheduler import JobSettled, JobStarted
from scheduler.simulation import Simulator


def test_a_simulated_job_that_joins_says_which_one():
    """It is none of its own, and a plan that counts it twice is wrong."""
    simulator = Simulator(ThreadPool(slots=2), check_every=1)
    first = simulator.submit(1.0, key="k")
    second = simulator.submit(1.0, at=0.5, key="k")
    third = simulator.submit(1.0, at=1.5, key="k")
    ledger = simulator.run()

    assert (first, None) == (second.joined, third.joined)
    assert (2, 0) == (ledger.succeeded, ledger.rejected)


def test_a_simulated_job_that_is_rejected_is_counted():
    """The ledger says what users were told."""
    simulator = Simulator(ThreadPool(slots=2), check_every=1)
    simulator.submit(1.0, key="k")
    simulator.submit(1.0, at=0.5, key="k", on_conflict="reject")

    assert (1, 1) == (simulator.run().submitted, simulator.statistics().rejected)


@pytest.mark.parametrize("patience", [0.25, 5.0])
def test_who_would_join_one_at_the_door_joins_it_or_comes_in_itself(patience):
    """Whatever becomes of that one."""
    simulator = Simulator(ThreadPool(slots=1), capacity=1, check_every=1)
    simulator.submit(1.0)
    simulator.submit(1.0)
    at_door = simulator.submit(1.0, key="k", deadline=patience)
    joins = simulator.submit(1.0, at=0.1, key="k")
    ledger = simulator.run()

    came_in = bool(at_door.id)
    assert (patience > 1.0) == came_in
    assert (at_door if came_in else None) is (joins.joined if came_in else None)
    assert came_in == (joins.id == 0)
    assert 3 == ledger.submitted


@pytest.mark.usefixtures("untraced")
def test_over_a_long_run_two_of_a_key_never_run_at_once():
    """The whole promise, under load, with failures, few slots and a queue that is full."""
    simulator = Simulator(
        ThreadPool(slots=4),
        capacity=8,
        admission=Reject(),
        retry=FixedBackoff(delay=0.2, attempts_max=3),
        check_every=20,
    )
    keys, alive, dice = {}, {}, random.Random(5)

    def observe(event):
        if isinstance(event, JobStarted):
            key = keys.get(event.job_id)
            assert alive.setdefault(key, event.job_id) == event.job_id or key is None
        elif isinstance(event, JobSettled):
            for key in [key for key, job_id in alive.items() if job_id == event.job_id]:
                del alive[key]

    jobs = []

    def arrive(at):
        for job in jobs:
            keys[job.id] = job.options.key
        jobs[:] = [
            simulator.submit(
                dice.expovariate(1.0),
                fails=dice.randrange(4),
                key=dice.choice("abcdef"),
                on_conflict=dice.choice(["join", "reject", "replace", "replace"]),
            )
            for _ in range(2)
        ]

    simulator.observe(observe)
    for n in range(1500):
        simulator.at(n * 0.3, lambda n=n: arrive(n))
    ledger = simulator.run()

    assert ledger.cancelled > 100
    assert ledger.submitted == ledger.succeeded + ledger.failed + ledger.cancelled
    assert 0 == len(simulator.core.keys)
