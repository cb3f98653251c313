"""Fair shares on real threads, in seconds that the scheduler itself measured.

Each span is a hundred times the longest attempt and more: what runs just then may be unfair.
"""

import time
from concurrent.futures import wait

import pytest

from policies import FairShare
from pools import ThreadPool
from scheduler import PoolGroup, Scheduler

WITHIN = 0.05


class Load:
    """Jobs of two tenants that each occupy a slot for a while."""

    def __init__(self, scheduler):
        self.scheduler, self.handles = scheduler, {"a": [], "b": []}

    def add(self, tenant, number, run_time, **options):
        submitter = self.scheduler.with_options(tenant=tenant, **options)
        self.handles[tenant] += [submitter.submit(time.sleep, run_time) for _ in range(number)]

    def ratio(self):
        """Let b's jobs run, then cancel what a has left; return a's seconds ÷ b's while both waited."""
        self.scheduler.resume()
        for handle in self.handles["b"]:
            handle.result(60)
        for handle in self.handles["a"]:
            handle.cancel()
        wait(self.handles["a"], 60)
        attempts = {tenant: [a for h in self.handles[tenant] for a in h.attempts] for tenant in "ab"}
        until = min(max(attempt.started_at for attempt in attempts[tenant]) for tenant in "ab")
        had = {
            tenant: sum(max(0.0, min(a.ended_at, until) - a.started_at) for a in attempts[tenant])
            for tenant in "ab"
        }
        return had["a"] / had["b"]


@pytest.fixture
def load():
    """Make a paused scheduler with two tenants' jobs: ``load(weights, *groups)``."""
    schedulers = []

    def make(weights, *groups):
        schedulers.append(Scheduler(*(groups or (ThreadPool(4),)), ordering=FairShare(weights=weights)))
        schedulers[-1].pause()
        return Load(schedulers[-1])

    yield make
    for scheduler in schedulers:
        scheduler.shutdown(cancel_futures=True)


@pytest.mark.parametrize(("weights", "share"), [({}, 1), ({"a": 3}, 3)])
def test_a_hundred_times_the_jobs_get_their_share_and_no_more(load, weights, share):
    """What holds in virtual time must hold where threads decide when a job ends."""
    jobs = load(weights)
    jobs.add("a", 30_000, 0.01)
    jobs.add("b", 300, 0.01)

    assert jobs.ratio() == pytest.approx(share, rel=WITHIN)


def test_ten_times_the_run_time_gets_the_same_seconds(load):
    """Counting jobs instead of seconds would give ten to one."""
    jobs = load({})
    jobs.add("a", 200, 0.02)
    jobs.add("b", 2_000, 0.002)

    assert jobs.ratio() == pytest.approx(1, rel=WITHIN)


def test_a_group_of_ones_own_counts(load):
    """Three groups, one of which takes only one tenant's tag."""
    jobs = load(
        {},
        PoolGroup("one", ThreadPool(2)),
        PoolGroup("two", ThreadPool(2)),
        PoolGroup("own", ThreadPool(2), dedicated=True),
    )
    jobs.add("a", 1_500, 0.004, tags="own")
    jobs.add("a", 1_500, 0.004)
    jobs.add("b", 1_500, 0.004)

    assert jobs.ratio() == pytest.approx(1, rel=WITHIN)
