"""Large groups are ranked: the pool that is found is the one that the policy would have chosen among all."""

import random

import pytest

from policies import LeastLoaded, Pack, RoundRobin
from pools import ThreadPool
from scheduler import PoolGroup
from scheduler._assembly import make_core
from scheduler._core.job import Job, JobOptions
from scheduler._core.pool_table import PoolState
from scheduler._core.ranking import RANKED_FROM, FreeList
from scheduler._recorded import RecordedPool
from scheduler.simulation import Simulator

POLICIES = (LeastLoaded(), Pack(), RoundRobin())
POOLS = RANKED_FROM + 5


def ranked_core(routing, recipe):
    """Return a core whose group has enough pools to be ranked, and those pools."""
    core = make_core(
        [PoolGroup("many", recipe, min_pools=POOLS, max_pools=2 * POOLS)],
        capacity=1000,
        admission=None,
        ordering=None,
        routing=routing,
        seed=1,
    )
    group = core.pools.groups["many"]
    group.scaling = None
    for _ in range(POOLS):
        core.add_pool(core.make_pool(group, 0.0), 0.0)
    return core, group


def started(core):
    """Forget what the core has left for a driver."""
    core.left.starts.clear()


class Meddling:
    """Does random things to a core of pools whose workers come and go."""

    def __init__(self, core, group, dice):
        self.core, self.group, self.dice = core, group, dice
        self.options = JobOptions()
        self.line = core.line_for(self.options, coroutine=False)
        self.now = 0.0

    def slot(self, *, down):
        slots = [s for pool in self.group.pools for s in pool.all_slots if s.down is down]
        return self.dice.choice(slots) if slots else None

    def submit(self):
        self.core.submit(Job(self.options, self.line), self.now)

    def finish(self):
        slot = self.slot(down=False)
        if slot is not None and slot.job is not None:
            self.core.outcome(slot, None, None, 0.1, self.now)
            self.core.fill(slot, 1, self.now)

    def ready(self):
        slot = self.slot(down=True)
        if slot is not None:
            self.core.ready(slot, slot.worker, self.now)

    def lose(self):
        slot = self.slot(down=False)
        if slot is not None:
            self.core.lost(slot, RuntimeError("died"), (), self.now)

    def retire(self):
        slot = self.slot(down=False)
        if slot is not None and slot.job is not None:
            self.core.outcome(slot, None, None, 0.1, self.now)
            self.core.fill(slot, 0, self.now)

    def cordon(self):
        pool = self.dice.choice(self.group.pools)
        if pool.state is PoolState.ACCEPTING:
            self.core.cordon(pool, self.now)

    def uncordon(self):
        pool = self.dice.choice(self.group.pools)
        if pool.state is PoolState.CORDONED:
            self.core.pool_up(pool, self.now)

    def drain(self):
        pool = self.dice.choice(self.group.pools)
        if len(self.group.pools) > RANKED_FROM and pool.state is PoolState.ACCEPTING:
            self.core.drain(pool, self.now)

    def add(self):
        if len(self.group.pools) < POOLS:
            self.core.add_pool(self.core.make_pool(self.group, self.now), self.now)

    def tear(self):
        job = Job(self.options, self.line)
        self.core.submit(job, self.now)
        if self.group.ranking is not None:
            self.group.ranking.first()  # it is noted that there is one slot less
        self.core.mend(torn=job)

    def step(self):
        self.now += 0.01
        often = [self.submit] * 8 + [self.finish] * 16 + [self.ready] * 16 + [self.uncordon] * 4
        self.dice.choice(
            [*often, self.lose, self.retire, self.cordon, self.uncordon, self.drain, self.add, self.tear]
        )()
        started(self.core)


@pytest.mark.parametrize("routing", POLICIES, ids=lambda policy: type(policy).__name__)
@pytest.mark.parametrize("seed", range(3))
def test_the_pool_that_is_found_is_the_one_that_a_look_at_each_would_find(routing, seed):
    """A rank that is out of date sends every job to the wrong pool, and nothing else would show it."""
    core, group = ranked_core(routing, RecordedPool(slots=2, announces=True))
    meddling = Meddling(core, group, random.Random(seed))
    looks = 0
    for _ in range(1000):
        meddling.step()
        candidates = [pool for pool in group.pools if pool.free and pool.state is PoolState.ACCEPTING]
        if group.ranking is not None and candidates:
            assert group.ranking.first() is routing.choose(None, candidates, None)
            looks += 1
    assert looks > 300


class AsIs:
    """Chooses as another policy does, and says nothing of how."""

    def __init__(self, policy):
        self.choose = policy.choose


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_runs_are_the_same_with_ranks_and_without(policy):
    """To be faster is allowed, to decide otherwise is not."""

    def starts(routing):
        simulator = Simulator(PoolGroup("many", ThreadPool(slots=2), min_pools=30, routing=routing))
        dice, now, started = random.Random(7), 0.0, []
        simulator.observe(lambda event: started.append(getattr(event, "worker", None)))
        for _ in range(800):
            now += dice.expovariate(40)
            simulator.submit(dice.expovariate(1.0), at=now)
        simulator.run()
        return started

    assert starts(policy) == starts(AsIs(policy))


def test_a_policy_made_of_a_ranked_one_is_asked():
    """Whoever derives a policy from one of ours and chooses otherwise must be heard."""

    class LastOpened(LeastLoaded):
        def choose(self, job, pools, uniform):
            return pools[-1]

    core, group = ranked_core(LastOpened(), ThreadPool(slots=2))
    for pool in list(group.pools):
        core.pool_up(pool, 0.0)
    options = JobOptions()

    slot = core.submit(Job(options, core.line_for(options, coroutine=False)), 0.0)

    assert slot.pool is group.pools[-1]
    assert group.ranking is None


def test_what_nobody_can_rank_by_is_asked():
    """A word that is misspelled in somebody's policy must not break every start."""

    class Misspelled:
        ranks_by = "in_us"

        def choose(self, job, pools, uniform):
            return pools[3]

    core, group = ranked_core(Misspelled(), ThreadPool(slots=2))
    for pool in list(group.pools):
        core.pool_up(pool, 0.0)
    options = JobOptions()

    slot = core.submit(Job(options, core.line_for(options, coroutine=False)), 0.0)

    assert slot.pool is group.pools[3]


def test_small_groups_keep_plain_lists():
    """A group of a few pools is the usual one, and must not pay for large ones."""
    core, group = ranked_core(LeastLoaded(), ThreadPool(slots=1))
    for pool in group.pools[: RANKED_FROM - 1]:
        core.pool_up(pool, 0.0)
    del group.pools[RANKED_FROM - 1 :]
    options = JobOptions()

    core.submit(Job(options, core.line_for(options, coroutine=False)), 0.0)

    assert not any(isinstance(pool.free, FreeList) for pool in group.pools)
