"""A run of the simulator can be stopped and goes on as if it had not been."""

import random
from functools import partial

from policies import ExponentialBackoff, QueueDelay, ShedLowest
from pools import ThreadPool
from scheduler import PoolGroup
from scheduler.simulation import Simulator


def simulator(**group):
    """Return a simulator with jobs, some of which have limits."""
    made = Simulator(PoolGroup("io", ThreadPool(slots=2), **group), start_up=0.5)
    for number in range(300):
        made.submit(0.3, at=0.1 * number, run_timeout=0.2 if number % 7 == 0 else 5.0, priority=number % 3)
    return made


def test_a_stopped_run_goes_on_from_where_it_was():
    """Who looks at a run in the middle must not change it."""
    whole, parts = (simulator(max_pools=4, scaling=QueueDelay()) for _ in range(2))
    expected = whole.run()
    for moment in (1.0, 5.5, 20.0):
        parts.at(moment, parts.stop)

    seen = []
    while parts.now < 20.0:
        seen.append(parts.run().time)

    assert [1.0, 5.5, 20.0] == seen
    assert expected == parts.run()


def test_a_stopped_run_is_not_moved_on_to_its_end():
    """Time that has not passed must not be counted."""
    made = simulator()
    made.at(1.0, made.stop)

    assert 1.0 == made.run(until=10.0).time
    assert 10.0 == made.run(until=10.0).time


def test_a_limit_that_was_not_reached_moves_no_time():
    """A run that ends with the last limit, not with the last job, would be paid for longer than it lasts."""
    made = Simulator(2)
    made.submit(1.0, run_timeout=60.0, deadline=90.0)

    assert 1.0 == made.run().time


def test_limits_are_kept_when_nothing_else_happens():
    """A deadline is looked up when it may have moved, and here it moves while jobs only wait."""
    made = Simulator(1)
    made.submit(10.0, run_timeout=4.0)
    waits = made.submit(1.0, at=1.0, queue_timeout=2.0)
    made.at(1.5, lambda: made.submit(1.0, queue_timeout=0.25))
    statistics = made.run()

    assert 3.0 == waits.ended_at
    assert (2, 1) == (statistics.expired, statistics.failed)


class Restless(Simulator):
    """A simulator that looks up the next deadline before everything that happens."""

    _deadline_moved = property(lambda _: True, lambda *_: None)


def _played(kind, seed):
    """Return what a simulator of this kind makes of a load drawn from dice."""
    dice = random.Random(seed)
    chosen = {"capacity": 10, "admission": ShedLowest()} if seed % 3 == 0 else {}
    group = PoolGroup("io", ThreadPool(slots=2), min_pools=1 + seed % 3, stuck_after=0.3)
    made = kind(group, seed=seed, retry=ExponentialBackoff(attempts_max=3, initial=0.1), **chosen)
    now, jobs = 0.0, []
    for _ in range(200):
        now += dice.expovariate(12)
        limits = {
            name: dice.uniform(0.05, 3.0)
            for name in ("run_timeout", "queue_timeout", "deadline", "delay")
            if dice.random() < 0.2
        }
        run_time, fails = dice.expovariate(3), dice.choice((0, 0, 1, 5))
        jobs.append(made.submit(run_time, at=now, fails=fails, priority=dice.randrange(3), **limits))
        if dice.random() < 0.1:
            act = dice.choice((made.cancel, made.interrupt))
            made.at(now + dice.random(), partial(_if_there, act, dice.choice(jobs)))
    return made.run(), [(job.state, job.started_at, job.ended_at, job.attempt) for job in jobs]


def _if_there(act, job):
    if job.id:
        act(job)


def test_the_deadline_is_looked_up_often_enough():
    """It is not looked up before everything that happens, which must change nothing at all."""
    for seed in range(12):
        assert _played(Restless, seed) == _played(Simulator, seed), seed
