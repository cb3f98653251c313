"""A run of the simulator can be stopped and goes on as if it had not been."""

from policies import QueueDelay
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
