"""A group that scales under every stimulus: policies that say anything, pools that start late or never, hung calls."""

import faulthandler
import math
import os
import random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from policies import (
    Block,
    FixedBackoff,
    LeastLoaded,
    Pack,
    QueueDelay,
    SquareRootStaffing,
    StrictPriority,
    TargetUtilization,
)
from policies.contracts import Advice
from scheduler._core.books import Left
from scheduler._core.core import Core
from scheduler._core.invariants import check
from scheduler._core.job import Job, JobOptions
from scheduler._core.pool_table import GroupRecord, Slot
from scheduler._core.states import PoolState

SLOTS = 2
ACCEPTING, STARTING, DRAINING = PoolState.ACCEPTING, PoolState.STARTING, PoolState.DRAINING
ALIVE = (STARTING, ACCEPTING, PoolState.CORDONED, PoolState.QUARANTINED)


class Scripted:
    """A policy that says what it was last told to say."""

    def __init__(self):
        self.says = 0

    def scale(self, load):
        if isinstance(self.says, Exception):
            raise self.says
        if isinstance(self.says, tuple):
            return Advice(pools=load.pools + self.says[0], pool=self.says[1], panic=self.says[2])
        return self.says


POLICIES = {
    "scripted": Scripted,
    "delay": lambda: QueueDelay(target=0.1),
    "impatient": lambda: QueueDelay(target=0.001, idle=0.01),
    "utilization": TargetUtilization,
    "staffing": SquareRootStaffing,
}
NONSENSE = (None, 3, 1.5, "more", ValueError("it raised"), Advice(pools=math.nan), Advice(pools="two"))


class World:
    """A core and what its driver would keep. Stimuli name things by number, so that they can be given again."""

    def __init__(self, policy, routing, least, most, replacements, share):
        self.policy = POLICIES[policy]()
        self.io = GroupRecord(
            name="io",
            index=0,
            slots=SLOTS,
            tags=frozenset({"io"}),
            min_pools=least,
            max_pools=most,
            scaling=self.policy,
            stuck_after=1.0,
            stuck_share=share,
            replacements_max=replacements,
        )
        self.fixed = GroupRecord(
            name="fixed",
            index=1,
            slots=1,
            tags=frozenset({"fixed"}),
            stuck_after=1.0,
            replacements_max=replacements,
        )
        self.core = Core(
            [self.io, self.fixed],
            capacity=100,
            admission=Block(),
            ordering=StrictPriority(),
            routing=routing,
            uniform=random.Random(7),
        )
        self.core.observed = True
        self.now, self.closed = 0.0, False
        self.jobs, self.calls, self.starting, self.trace = [], [], [], []
        self.seen, self.by_user, self.times_settled = {}, set(), {}
        for group in (*[self.io] * least, self.fixed):
            self.add_pool(group.name)
        self.take()

    def give(self, stimulus, *arguments):
        """Give one stimulus, take what it left, and compare what was done with what was said of it."""
        before = Seen(self)
        by_hand = getattr(self, stimulus)(*arguments)
        left = self.take()
        self.trace.append((stimulus, self.now, *before.compare(self, stimulus, by_hand or set(), left)))
        check(
            self.core
        )  # a stimulus too: its snapshot folds the meters, and floats are then summed in other groups

    def take(self):
        left, self.core.left = self.core.left, Left()
        self.core.dirty = False
        self.calls += [(slot, slot.attempt) for slot in left.starts]
        self.starting += left.opens
        for job in left.settled:
            self.times_settled[job] = self.times_settled.get(job, 0) + 1
        for pool in self.core.pools:
            known = self.seen.setdefault(pool.pool_id, pool)
            assert known is pool, "an id was used again"
        return left

    # Jobs

    def submit(self, options):
        groups = [
            g for g in (self.io, self.fixed) if g.takes(options.priority, options.tags, coroutine=False)
        ]
        line = self.core.queue.line(tuple(groups))
        if self.closed or line.broken or self.core.queue.held >= self.core.queue.capacity:
            return
        self.jobs.append(Job(options, line))
        answer = self.core.submit(self.jobs[-1], self.now)
        if isinstance(answer, Slot):
            self.calls.append((answer, answer.attempt))

    def finish(self, number, error):
        slot, _ = self.calls.pop(number % len(self.calls))
        self.core.finish(slot, "value", error, self.now)
        if self.core.refill(slot, self.now) is not None:
            self.calls.append((slot, slot.attempt))

    def cancel(self, number):
        if self.jobs:
            self.core.cancel(self.jobs[number % len(self.jobs)], self.now, RuntimeError("cancelled"))

    # Time

    def advance(self, seconds):
        self.now += seconds
        self.core.advance(self.now)

    def advance_to_what_is_due(self):
        when = self.core.next_deadline()
        if when < math.inf:
            self.now = max(self.now, when)
            self.core.advance(self.now)

    # Pools

    def add_pool(self, name):
        group = self.core.pools.groups[name]
        if group.full or self.closed or (name == "fixed" and group.capacity_pools() > 2):
            return None
        pool = self.core.make_pool(group, self.now)
        self.core.add_pool(pool, self.now)
        self.core.pool_up(pool, self.now)
        return {pool.pool_id}

    def up(self, number):
        if self.starting:
            pool = self.starting.pop(number % len(self.starting))
            if pool.state is STARTING:
                self.core.pool_up(pool, self.now)

    def fails(self, number):
        if self.starting:
            pool = self.starting.pop(number % len(self.starting))
            self.core.pool_failed(pool, ValueError("initializer"), "initializer", self.now)

    def breaks(self, number):
        self.on_pool(number, (ACCEPTING, DRAINING), self.core.pool_failed, ValueError("broken"), "broken")

    def drain(self, number):
        def drain(pool, now):
            if pool.state is DRAINING:
                self.core.keep_no_longer(pool, now)
            elif pool.group.capacity_pools() > pool.group.min_pools or pool.state is PoolState.QUARANTINED:
                self.core.drain(pool, now)
            else:
                return
            self.by_user.add(pool)

        return self.on_pool(number, (*ALIVE, DRAINING), drain)

    def cordon(self, number):
        def cordon(pool, now):
            self.core.cordon(pool, now)
            self.by_user.add(pool)

        return self.on_pool(number, (ACCEPTING,), cordon)

    def uncordon(self, number):
        def uncordon(pool, now):
            self.by_user.discard(pool)
            self.core.pool_up(pool, now)

        return self.on_pool(number, (PoolState.CORDONED,), uncordon)

    def on_pool(self, number, states, act, *arguments):
        able = [pool for pool in self.core.pools if pool.state in states]
        if not able:
            return None
        pool = able[number % len(able)]
        act(pool, *arguments, self.now)
        return {pool.pool_id}

    def pause(self):
        if not self.closed:
            self.core.pause(self.now)

    def resume(self):
        self.core.resume(self.now)

    def says(self, advice):
        if isinstance(self.policy, Scripted):
            self.policy.says = advice

    def mend(self):
        self.core.mend()

    def close(self):
        """As `Closing` does it: scale no more, open everything, run on."""
        self.closed = True
        self.core.stop_scaling()
        for pool in list(self.core.pools):
            if pool.state is PoolState.CORDONED:
                self.core.pool_up(pool, self.now)
        self.core.resume(self.now)
        self.by_user = {pool for pool in self.by_user if pool.state is DRAINING}


class Seen:
    """What there was before a stimulus, to be compared with what there is after it."""

    def __init__(self, world):
        self.states = {pool: pool.state for pool in world.core.pools}
        self.capacity = {group: group.capacity_pools() for group in (world.io, world.fixed)}
        self.decisions = {group: list(group.decisions) for group in (world.io, world.fixed)}
        self.panic_until = {name: scaled.panic_until for name, scaled in world.core.scaled.items()}
        self.calls = set(world.calls)
        #: Groups in which a pool that goes by itself still runs something.
        self.leaving = {
            pool.group.name
            for pool in world.core.pools
            if pool.state is DRAINING and pool.released and pool.in_use > pool.stuck
        }

    def compare(self, world, stimulus, by_hand, left):
        for slot, _ in set(world.calls) - self.calls:
            quarantined = self.states.get(slot.pool) is PoolState.QUARANTINED
            taken_back = slot.pool.state is PoolState.ACCEPTING
            assert not quarantined or taken_back, "a quarantined pool started a job"
        decided = [each for group in (world.io, world.fixed) for each in self.fresh(group)]
        self.limits_hold(world, stimulus, decided)
        self.decisions_agree_with_events(by_hand, decided, [event for event, _ in left.events])
        self.drains_were_allowed(decided)
        return (
            [(slot.job.id, slot.attempt, slot.worker) for slot in left.starts],
            [(job.id, job.state) for job in left.settled],
            [pool.pool_id for pool in (*left.opens, *left.stopped)],
            [question for question, _ in left.policy_failures],
            [repr(event) for event, _ in left.events],
            [str(decision) for decision in decided],
        )

    def fresh(self, group):
        known = set(map(id, self.decisions[group]))
        # One that was measured is another record of the same moment.
        times = {(each.time, each.action, each.pools) for each in self.decisions[group]}
        return [
            each
            for each in group.decisions
            if id(each) not in known and (each.time, each.action, each.pools) not in times
        ]

    def limits_hold(self, world, stimulus, decided):
        for group, before in self.capacity.items():
            now = group.capacity_pools()
            acted = {each.action for each in decided if each.group == group.name}
            if now > before and acted & {"add", "take back"}:
                assert group.max_pools is None or now <= group.max_pools, "scaling went above the maximum"
            if "drain" in acted:
                assert now >= group.min_pools, "scaling went below the minimum"
                assert any(pool.state is ACCEPTING for pool in group.pools), "nobody takes jobs any more"
            if stimulus in ("advance", "finish", "submit", "mend") and not acted & {
                "add",
                "take back",
                "drain",
            }:
                assert now == before, "the number of pools changed, and nobody decided that"
            alive = sum(pool.state in ALIVE for pool in group.pools)
            assert group.max_pools is None or alive <= group.max_pools + group.replacements_max

    def decisions_agree_with_events(self, by_hand, decided, events):
        def told(kind):
            return {event.pool for event in events if type(event).__name__ == kind} - by_hand

        def done(*actions):
            return {pool for each in decided for pool in each.pools if each.action in actions}

        released = {pool.pool_id for pool, state in self.states.items() if state is PoolState.QUARANTINED}
        assert told("PoolAdded") == done("add", "replace")
        if not any(type(event).__name__ == "SchedulerClosing" for event in events):
            assert told("PoolDraining") - released == done("drain")
        assert done("take back") <= told("PoolUncordoned") | by_hand

    def drains_were_allowed(self, decided):
        drains = [each for each in decided if each.action == "drain"]
        assert len(drains) == len({each.group for each in drains}), "two removals at a time"
        for each in drains:
            moving = each.load.starting or each.group in self.leaving
            assert not moving, "a removal while another pool moves"
            undone = "did not help" in each.reason or "to measure the gain" in each.reason
            assert undone or each.time >= self.panic_until[each.group], "a removal in panic"


numbers = st.integers(0, 50)
priorities = st.sampled_from([0, 10, 20, 20, 20, 30])
limits = st.sampled_from(
    [
        {},
        {},
        {"run_timeout": 0.5},
        {"run_timeout": 0.5},
        {"deadline": 2.0},
        {"queue_timeout": 1.0},
        {"delay": 1.0},
    ]
)
retries = st.sampled_from([None, None, FixedBackoff(delay=0.3, attempts_max=3)])
tags = st.sampled_from([frozenset(), frozenset({"io"}), frozenset({"io"}), frozenset({"fixed"})])


class ElasticMachine(RuleBasedStateMachine):
    """Every stimulus is a rule; what scaling may do is checked after each of them."""

    @initialize(
        policy=st.sampled_from(["scripted", *POLICIES]),
        routing=st.sampled_from([Pack(), LeastLoaded()]),
        least=st.integers(1, 2),
        room=st.sampled_from([0, 1, 3, None]),
        replacements=st.integers(0, 2),
        share=st.sampled_from([0.5, 0.5, 1.0, 0.0]),
    )
    def begin(self, policy, routing, least, room, replacements, share):
        most = None if room is None else least + room
        self.settings = (policy, routing, least, most, replacements, share)
        self.world = World(*self.settings)
        self.stimuli = []

    def give(self, *stimulus):
        self.stimuli.append(stimulus)
        self.world.give(*stimulus)

    @rule(count=st.integers(1, 8), priority=priorities, tags=tags, retry=retries, limits=limits)
    def submit(self, count, limits, **options):
        for _ in range(count):
            self.give("submit", JobOptions(**options, **limits))

    @precondition(lambda self: self.world.calls)
    @rule(numbers=st.lists(numbers, min_size=1, max_size=6), error=st.sampled_from([None, None, OSError]))
    def finish(self, numbers, error):
        for number in numbers:
            if self.world.calls:
                self.give("finish", number, error and error("it failed"))

    @rule(number=numbers)
    def cancel(self, number):
        self.give("cancel", number)

    @rule(seconds=st.sampled_from([0.05, 0.2, 0.6, 1.1, 1.1, 3.0]))
    def advance(self, seconds):
        self.give("advance", seconds)

    @rule(times=st.integers(1, 12))
    def tick(self, times):
        for _ in range(times):
            self.give("advance_to_what_is_due")

    @rule()
    def jobs_hang(self):
        """Calls outlive their limits and the grace after it."""
        for _ in range(SLOTS + 1):
            self.give("submit", JobOptions(run_timeout=0.5))
        self.give("advance", 0.5)
        self.give("advance", 1.0)

    @rule(load=st.integers(2, 10), rounds=st.integers(1, 12))
    def a_while_of_load(self, load, rounds):
        """What policies measure must be more than one moment."""
        for _ in range(rounds):
            for _ in range(load):
                self.give("submit", JobOptions())
            self.give("advance", 0.05)
            for _ in range(min(load, len(self.world.calls))):
                self.give("finish", 0, None)

    @rule(
        pools=st.integers(-4, 9),
        pool=st.sampled_from([None, None, "io-1", "io-2", "nobody"]),
        panic=st.sampled_from([False, False, False, True]),
    )
    def advise(self, pools, pool, panic):
        self.give("says", (pools, pool, panic))

    @rule(nonsense=st.sampled_from(NONSENSE))
    def advise_nonsense(self, nonsense):
        self.give("says", nonsense)

    @precondition(lambda self: self.world.starting)
    @rule(number=numbers, how=st.sampled_from(["up", "up", "up", "up", "fails"]))
    def a_pool_has_started(self, number, how):
        self.give(how, number)

    @rule(number=numbers, how=st.sampled_from(["drain", "cordon", "uncordon", "uncordon", "breaks"]))
    def operate(self, number, how):
        self.give(how, number)

    @rule(name=st.sampled_from(["io", "fixed"]))
    def add_pool(self, name):
        self.give("add_pool", name)

    @rule(sure=st.integers(0, 2))
    def pause_or_resume(self, sure):
        if self.world.core.paused:
            self.give("resume")
        elif not sure:
            self.give("pause")

    @rule(sure=st.integers(0, 3))
    def mend(self, sure):
        if not sure:
            self.give("mend")

    @precondition(lambda self: len(self.stimuli) > 60 and not self.world.closed)
    @rule(sure=st.integers(0, 9))
    def close(self, sure):
        if not sure:
            self.give("close")

    @invariant()
    def what_a_user_took_out_is_not_taken_back(self):
        if hasattr(self, "world"):
            assert [] == [pool.pool_id for pool in self.world.by_user if pool.state is ACCEPTING]

    @invariant()
    def every_pool_that_starts_is_being_opened(self):
        if hasattr(self, "world"):
            starting = {pool for pool in self.world.core.pools if pool.state is STARTING}
            assert starting <= set(self.world.starting)

    @invariant()
    def nobody_waits_unseen(self):
        """A core that dozes would never open a pool for whoever waits."""
        if not hasattr(self, "world") or self.world.closed:
            return
        core = self.world.core
        waits = any(
            line.best is not None and self.world.io in line.groups for line in core.queue.lines.values()
        )
        assert core.paused or not waits or core.next_look() < math.inf

    @invariant()
    def a_job_settles_once(self):
        if hasattr(self, "world"):
            assert set(self.world.times_settled.values()) <= {1}

    def teardown(self):
        """Replay (I12), then let everything end: nobody may be lost, and nothing may go on ticking."""
        if not hasattr(self, "world"):
            return
        again = World(*self.settings)
        for stimulus in self.stimuli:
            again.give(*stimulus)
        assert self.world.trace == again.trace
        self.comes_to_rest()

    def comes_to_rest(self):
        world = self.world
        self.give("says", (0, None, False))
        self.give("resume")
        for turn in range(400):
            for number in range(len(world.core.pools.groups["io"].pools)):
                self.give("uncordon", number)
            while world.starting:
                self.give("up", 0)
            while world.calls:
                self.give("finish", 0, None)
            if world.core.next_deadline() == math.inf:
                break
            if turn < 50:
                self.give("advance_to_what_is_due")
            else:  # a stable window may last ten minutes, and a look comes every second
                self.give("advance", 60.0)
        if world.closed:
            for pool in list(world.core.pools):
                world.core.drain_for_good(pool, world.now)
            world.take()
            assert [] == list(world.core.pools), "a pool outlived the closing"
            return
        left = [job for job in world.jobs if not job.state.settled]
        gone = any(
            not any(pool.state is ACCEPTING for pool in group.pools) for group in (world.io, world.fixed)
        )
        assert gone or not left, f"{len(left)} jobs never ended"
        assert world.core.next_deadline() == math.inf, "it never comes to rest"
        assert world.io.capacity_pools() >= world.io.min_pools, "a group stayed below its minimum"


PHASES = [phase for phase in Phase if os.environ.get("SHRINK") or phase not in (Phase.shrink, Phase.explain)]

SETTINGS = settings(
    phases=PHASES,
    max_examples=int(os.environ.get("EXAMPLES", "30")),
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


@pytest.mark.usefixtures("untraced")
@pytest.mark.timeout(600)
def test_scaling_keeps_its_rules_under_any_stimuli():
    """A policy may say anything, and pools may do anything: no job is lost, no limit broken, no user overruled."""
    faulthandler.cancel_dump_traceback_later()  # see `test_core_model`
    run_state_machine_as_test(ElasticMachine, settings=SETTINGS)
