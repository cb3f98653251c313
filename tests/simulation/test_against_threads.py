"""The simulator and the threaded driver take the same decisions."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from policies import Aging, FixedBackoff, LeastLoaded, Pack, StrictPriority
from pools import ThreadPool
from scheduler import PoolGroup, Scheduler
from scheduler.simulation import Simulator
from scheduler.testing import VirtualClock

#: (priority, tags, run time in seconds, attempts that fail). No two things happen at one moment:
#: what comes first then is the simulator's choice, and chance under threads.
JOBS = [
    (20, "io", 3.01, 0),
    (20, "cpu", 1.02, 0),
    (10, "io", 2.05, 1),
    (40, "io", 1.11, 0),
    (0, "cpu", 4.23, 0),
    (20, "io", 1.47, 2),
    (30, "cpu", 2.53, 0),
    (10, "io", 1.59, 0),
    (20, "cpu", 3.61, 1),
    (0, "io", 2.67, 0),
]
GROUPS = (PoolGroup("io", ThreadPool(1), min_pools=2), PoolGroup("cpu", ThreadPool(2), dedicated=True))

Decision = tuple[int, int, str]


def simulated(**settings: Any) -> list[Decision]:
    """Return the starts in order: job, attempt, pool."""
    simulator = Simulator(*GROUPS, retry=FixedBackoff(delay=2.0), **settings)
    jobs = [
        simulator.submit(run_time, at=0.0, fails=fails, priority=priority, tags=tags)
        for priority, tags, run_time, fails in JOBS
    ]
    simulator.run()
    attempts = [(a.started_at, job.id, a.number, a.pool) for job in jobs for a in job.attempts]
    return [(job, number, pool) for _, job, number, pool in sorted(attempts)]


class Stage:
    """Real threads on a virtual clock: a job ends when its time has come, not before."""

    def __init__(self, **settings: Any) -> None:
        self.clock = VirtualClock()
        self.scheduler = Scheduler(*GROUPS, clock=self.clock, retry=FixedBackoff(delay=2.0), **settings)
        self._changed = threading.Condition()
        self._ends: list[tuple[float, int, threading.Event]] = []

    def job(self, index: int, run_time: float, failures: list[int]) -> None:
        """Run until the clock says so, then fail as often as told."""
        end = threading.Event()
        with self._changed:
            self._ends.append((self.clock.now() + run_time, index, end))
            self._changed.notify_all()
        end.wait(10)
        if failures[0]:
            failures[0] -= 1
            raise OSError("expected")

    def play(self) -> list[Decision]:
        """Submit everything at time 0 and move the clock from end to end."""
        handles = [
            self.scheduler.with_options(priority=priority, tags=tags).submit(
                self.job, index, run_time, [fails]
            )
            for index, (priority, tags, run_time, fails) in enumerate(JOBS)
        ]
        while not all(handle.done() for handle in handles):
            with self._changed:
                running = self.scheduler.statistics().running
                assert self._changed.wait_for(lambda n=running: len(self._ends) >= n, 10)
                moments = [when for when, _, _ in self._ends]
            moments.append(self.scheduler._driver.core.next_deadline())
            self.clock.advance(max(0.0, min(moments) - self.clock.now()))
            for when, index, end in sorted(self._ends, key=lambda entry: entry[:2]):
                if when <= self.clock.now():
                    attempts = len(handles[index].attempts)
                    self._ends.remove((when, index, end))
                    end.set()
                    self._wait_for_end(handles[index], attempts)
        starts = [(a.started_at, h.id, a.number, a.pool) for h in handles for a in h.attempts]
        self.scheduler.shutdown()
        return [(job, number, pool) for _, job, number, pool in sorted(starts)]

    def _wait_for_end(self, handle: Any, attempt: int) -> None:
        """Wait until the attempt is over in the books."""
        over = threading.Event()
        while handle.attempts[attempt - 1].ended_at is None:
            over.wait(0.001)


@pytest.mark.parametrize("ordering", [StrictPriority(), Aging(seconds_per_level=0.05)])
@pytest.mark.parametrize("routing", [LeastLoaded(), Pack()])
def test_threads_start_the_same_jobs_in_the_same_order_as_the_simulator(ordering: Any, routing: Any):
    """What is planned in virtual time must be what happens in production."""
    expected = simulated(ordering=ordering, routing=routing)

    actual = Stage(ordering=ordering, routing=routing).play()

    assert expected == actual
