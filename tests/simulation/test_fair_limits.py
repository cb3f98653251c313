"""Fair shares and limits together: who is held by a limit leaves its slots to others, and saves nothing up."""

from random import Random

import pytest

from policies import FairShare
from pools import ThreadPool
from scheduler import Limit, PoolAdded, PoolGroup
from scheduler._core.standing import standing
from scheduler._core.states import JobState
from scheduler.simulation import Simulator

#: What the project promises.
WITHIN = 0.05


class Market:
    """Four slots, and tenants whose jobs arrive faster than they can run."""

    def __init__(self, *limits, weights=None, check_every=1009):
        self.simulator = Simulator(
            ThreadPool(slots=4),
            ordering=FairShare(weights=weights or {}),
            limits=limits,
            check_every=check_every,
        )
        self.dice = Random(7)
        self.jobs = {}

    def flood(self, tenant, mean, *, at=0.0, **options):
        """Submit 500 seconds of jobs whose run times are exponential, all at once."""
        for _ in range(int(500 / mean)):
            run_time = self.dice.expovariate(1 / mean)
            job = self.simulator.submit(run_time, at=at, tenant=tenant, **options)
            self.jobs.setdefault(tenant, []).append(job)

    def had(self, since, until):
        """Return the seconds of slots that each tenant had between two moments; all wait to the end."""
        self.simulator.run(until=until)
        waiting = {job.tenant for job in self.simulator.core.queue}
        assert waiting == set(self.jobs), "a share is owed only while everybody waits"
        return {tenant: self.seconds(tenant, since, until) for tenant in self.jobs}

    def seconds(self, tenant, since, until):
        spans = [
            (attempt.started_at, attempt.ended_at or until)
            for job in self.jobs[tenant]
            for attempt in job.attempts
        ]
        return sum(max(0.0, min(end, until) - max(start, since)) for start, end in spans)


@pytest.mark.parametrize("mean", [0.1, 1.0])
def test_a_limit_that_binds_gives_the_rest_to_the_other(mean):
    """Equal weights do not lift a limit, and what it keeps from one must not lie idle."""
    market = Market(Limit(tenant="a", concurrency=1))
    market.flood("a", mean)
    market.flood("b", 0.5)

    had = market.had(5, 100)

    assert had["a"] == pytest.approx(95, rel=0.02)
    assert had["b"] == pytest.approx(3 * 95, rel=0.01)


@pytest.mark.parametrize("mean", [0.1, 1.0])
@pytest.mark.parametrize(
    "limits",
    [
        [Limit(tenant="a", concurrency=4)],
        [Limit(tenant="a", concurrency=3)],
        [Limit(tenant="*", concurrency=4)],
        [Limit(tenant="*", concurrency=3)],
        [Limit(tenant="*", concurrency=4), Limit(tag="thread", concurrency=4)],
        [Limit(tenant="*", concurrency=3), Limit(tag="thread", rate=1000.0)],
    ],
    ids=str,
)
def test_a_limit_that_does_not_bind_changes_no_share(limits, mean):
    """Lines of their own must not make tenants count otherwise than in one line."""
    market = Market(*limits)
    market.flood("a", mean, tags="thread")
    market.flood("b", 0.5, tags="thread")

    had = market.had(5, 100)

    assert had["a"] + had["b"] == pytest.approx(4 * 95, rel=0.01)
    assert had["a"] / had["b"] == pytest.approx(1, rel=WITHIN)


@pytest.mark.parametrize("each", [[], [Limit(tenant="*", concurrency=4)]], ids=["one line", "a line each"])
def test_tenants_share_what_a_limit_leaves_them(each):
    """Whom one limit holds together, it must not hold longer than each other."""
    market = Market(Limit(tag="thread", concurrency=2), *each, weights={"a": 2})
    market.flood("a", 0.1, tags="thread")
    market.flood("b", 0.5, tags="thread")
    market.flood("c", 0.5)

    had = market.had(5, 100)

    assert had["a"] + had["b"] + had["c"] == pytest.approx(4 * 95, rel=0.01)
    assert had["a"] / had["b"] == pytest.approx(2, rel=WITHIN)
    assert had["c"] == pytest.approx(2 * 95, rel=WITHIN)


@pytest.mark.parametrize(
    "limits", [[Limit(tenant="a", rate=0.5, burst=1)], [Limit(tenant="*", concurrency=1)]]
)
def test_nothing_is_saved_up_behind_a_limit(limits):
    """Who was held for a minute must not shut everybody out for the next one."""
    market = Market(*limits)
    market.flood("a", 0.5, tags="thread")
    for tenant in "bcde":
        market.flood(tenant, 0.5)

    had = market.had(60, 100)

    most = max(had[tenant] for tenant in "bcde")
    least = min(had[tenant] for tenant in "bcde")
    assert had["a"] <= most * (1 + WITHIN) + 1
    assert least == pytest.approx(most, rel=0.2)


@pytest.mark.parametrize("each", [[], [Limit(tenant="*", concurrency=3)]], ids=["one line", "a line each"])
def test_a_long_wait_for_a_limit_is_no_claim(each):
    """Whoever could not have used slots must not take them from others afterwards."""
    market = Market(Limit(tag="thread", concurrency=3), *each)
    for _ in range(3):
        market.simulator.submit(50.0, tenant="x", tags="thread")
    market.flood("a", 0.5, at=0.1, tags="thread")
    market.flood("b", 0.5, at=0.1)

    had = market.had(52, 72)

    assert had["a"] == pytest.approx(had["b"], rel=2 * WITHIN)


def test_a_job_without_room_tells_its_limit_where_tenants_share():
    """Whoever asks why a job waits must not be told of slots that would not help it."""
    market = Market(Limit(tenant="a", concurrency=1))
    jobs = [market.simulator.submit(10.0, tenant="a") for _ in range(3)]
    market.simulator.run(until=1.0)
    core = market.simulator.core

    assert core.statistics(1.0).limited == 2
    assert [JobState.RUNNING, JobState.WAITING, JobState.WAITING] == [job.state for job in core.alive()]
    waiting = next(iter(core.queue))
    assert standing(core, waiting, 1.0).reasons == ("limit of tenant 'a': 1 of 1 run",)
    assert len(jobs) == 3


def test_equal_runs_are_equal():
    """What happened once must be found again from its seed, whoever comes and goes and whoever looks (I12)."""

    def run(check_every):
        limits = [Limit(tenant="*", concurrency=2), Limit(tag="thread", concurrency=3, rate=20.0)]
        market = Market(*limits, check_every=check_every)
        for number in range(2000):
            market.simulator.submit(
                market.dice.expovariate(2.5),
                at=number * 0.11,
                tenant=str(market.dice.randrange(30)),
                tags="thread" if number % 3 else (),
                fails=number % 5 == 0,
            )
        events = []
        market.simulator.observe(lambda event: events.append(repr(event)))
        market.simulator.run()
        return events

    assert run(1009) == run(1009) == run(1)


def test_tenants_that_have_gone_leave_nothing_behind():
    """A line and a limit for each of a million tenants must not stay after they have gone."""
    market = Market(Limit(tenant="*", concurrency=2))
    for number in range(3000):
        market.simulator.submit(0.1, at=number * 0.1, tenant=str(number))
    market.simulator.run()
    core = market.simulator.core
    market.simulator._lines.clear()  # the submitter's own memory

    assert core.statistics(core.now).succeeded == 3000
    assert len(core.shares) < 50
    assert len(core.lots.lines()) < 50


def test_what_a_limit_holds_opens_no_pool():
    """A pool more would stand beside the jobs that may not start in it."""
    group = PoolGroup("io", ThreadPool(2), min_pools=1, max_pools=4)
    simulator = Simulator(
        group, ordering=FairShare(), limits=[Limit(tenant="a", concurrency=1)], check_every=100
    )
    for _ in range(100):
        simulator.submit(0.5, tenant="a")
    pools = []
    simulator.observe(lambda event: isinstance(event, PoolAdded) and pools.append(event.pool))
    simulator.run()

    assert len(pools) <= 1
    assert simulator.core.statistics(simulator.core.now).succeeded == 100
