"""The core under every stimulus in any order, beside a reference that a child could read."""

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
    Aging,
    Block,
    CallerRuns,
    DecorrelatedJitter,
    EarliestDeadline,
    ExponentialBackoff,
    FairShare,
    FirstMatch,
    FixedBackoff,
    LeastLoaded,
    Pack,
    PeakEwma,
    Reject,
    RoundRobin,
    ScheduleBackoff,
    ShedLowest,
    StrictPriority,
    TwoRandomChoices,
)
from scheduler._core.books import Left
from scheduler._core.core import Core
from scheduler._core.invariants import check
from scheduler._core.job import Job, JobOptions
from scheduler._core.limits import Limit
from scheduler._core.pool_table import GroupRecord, Slot
from scheduler._core.states import INITIAL, POOL_TRANSITIONS, TRANSITIONS, JobState, PoolState
from scheduler._errors import JobInterrupted, PoolBroken, QueueFull


class Reference:
    """Who starts next, by a plain list and `min`: what the front queue must agree with."""

    def __init__(self, key, limits):
        self.key, self.waiting, self.delayed, self.arrivals = key, [], [], 0
        self.limits, self.running, self.starts, self.now = limits, {}, [], 0.0

    def admitted(self, job, now):
        self.arrivals += 1
        if job.options.delay:
            self.delayed.append((now + job.options.delay, self.arrivals, job))
        else:
            self.arrives(job, now)

    def arrives(self, job, now):
        job.rank = (self.key(job.options, job.submitted_at, now), self.arrivals)
        self.waiting.append(job)

    def time_is(self, now, admitted):
        due = sorted(entry for entry in self.delayed if entry[0] <= now)
        self.delayed = [entry for entry in self.delayed if entry[0] > now]
        joining = [job for _, _, job in due if not job.state.settled]
        assert joining == sorted(joining, key=lambda job: job.arrival), "a delay that ended first came second"
        # A delay that ends and a place that falls free at one moment: which comes first is the core's to say.
        for job in sorted([*joining, *admitted], key=lambda job: job.arrival):
            if job in joining:
                self.arrivals += 1
                self.arrives(job, now)
            else:
                self.admitted(job, now)

    def look_again(self, jobs):
        self.waiting = [job for job in jobs if job.state is JobState.WAITING and job.id]

    def starts_in(self, slot, job):
        """An attempt holds its limits until its call returns, whatever became of the job meanwhile."""
        if (slot, slot.attempt) not in self.running:
            assert self.has_room(job), f"job {job.id} started beyond its limits"
            self.running[slot, slot.attempt] = job
            self.starts.append((self.now, job))

    def has_room(self, job):
        """By the definition of a token bucket: never more than the burst and what time has brought since."""
        for limit in self.limits:
            name = limit.name_for(job.options)
            if name is None:
                continue
            alike = [other for other in self.running.values() if limit.name_for(other.options) == name]
            if limit.concurrency is not None and len(alike) >= limit.concurrency:
                return False
            starts = [when for when, other in self.starts if limit.name_for(other.options) == name]
            burst = limit.burst or max(1, math.ceil(limit.rate or 1))
            for number, when in enumerate(reversed(starts), start=1):
                if limit.rate is not None and number + 1 > burst + limit.rate * (self.now - when) + 1e-6:
                    return False
        return True

    def next_to_borrow(self, loan):
        """Who gets a slot that `loan` could give away: nobody, while a job waits that is urgent enough."""
        return None if self.next_for([loan.group]) else self.next_for([loan])

    def next_for(self, groups):
        able = [
            job
            for job in self.waiting
            if any(group in job.line.groups for group in groups) and self.has_room(job)
        ]
        return min(able, key=lambda job: job.rank, default=None)

    def started(self, job, groups):
        """Check a job that a dispatch started while these groups had a free slot."""
        expected = self.next_for(groups)
        assert job is expected, f"job {job.id} started, job {expected and expected.id} was next"

    def goes_before(self, job, other):
        """Tell whether one of two that wait for the same slot surely has the first turn."""
        return job.rank < other.rank

    def refused(self, options, waiting, now):
        """Check that a newcomer was rightly turned away for these."""
        rank = (self.key(options, now, now), math.inf)
        assert all(other.rank < rank for other in waiting), "a job that would start later was kept"

    def shed(self, job, newcomer, waiting, now):
        """Check that one was rightly evicted for a newcomer."""
        assert job is max(waiting, key=lambda other: other.rank), "not the last one was shed"
        rank = (self.key(newcomer.options, now, now), math.inf)
        assert job.rank > rank, "a job was shed for one that would start later"


class FairReference(Reference):
    """Whose turn it is, read from every account: the heaps must agree with a walk over all jobs."""

    def next_for(self, groups):
        able = [
            job
            for job in self.waiting
            if any(group in job.line.groups for group in groups) and self.has_room(job)
        ]
        able = [job for job in able if not self.comes_behind(job, able)]
        for job in able:
            self.charge_outlived(job.line)
        return min(able, key=lambda job: job.line.place(job), default=None)

    def comes_behind(self, job, able):
        """Tell whether a job is parked behind one that has room: one is open, and others begin where it is, see I16."""
        record = job.line.where and job.line.where.record
        return record and any(
            record in other.line.limits and not other.line.where.record
            for other in able
            if other.line.bundle is job.line.bundle
        )

    def charge_outlived(self, flow):
        """Charge who runs longer than was guessed, as the scheduler does before it decides."""
        shares = flow.bundle.shares
        if shares.clock.now >= shares.look_at:
            shares.look_around()
        while flow.share.outlived_at <= shares.clock.now and shares.look(flow.share):
            pass

    def started(self, job, groups):
        # What others were charged in the same turn is not known any more; of its tenant it was the first.
        assert any(group in job.line.groups for group in groups)
        own = [other for other in self.waiting if other.tenant == job.tenant and other.line is job.line]
        assert job is min(own, key=lambda other: other.rank), "a tenant's jobs started out of order"

    def goes_before(self, job, other):
        # Between tenants their accounts decide, and what these were before the start is not known any more.
        return job.tenant == other.tenant and job.rank < other.rank

    def backlog(self, tenant, waiting):
        return sum(job.tenant == tenant for job in waiting) / FAIR.weight(JobOptions(tenant=tenant))

    def refused(self, options, waiting, now):
        newcomer = ModelJob(options, None)
        newcomer.rank = (options.priority, math.inf)
        own = [job for job in waiting if job.tenant == options.tenant]
        assert all(job.rank < newcomer.rank for job in own), "a tenant's job was kept that would start later"
        backlog = self.backlog(options.tenant, [*waiting, newcomer])
        assert all(self.backlog(job.tenant, waiting) <= backlog for job in waiting), "others had more waiting"

    def shed(self, job, newcomer, waiting, now):
        own = [other for other in waiting if other.tenant == job.tenant]
        assert job is max(own, key=lambda other: other.rank), "not the last one of a tenant was shed"
        backlog = self.backlog(job.tenant, [*waiting, newcomer])
        tenants = {other.tenant for other in [*waiting, newcomer]}
        most = max(self.backlog(tenant, [*waiting, newcomer]) for tenant in tenants)
        assert backlog == most, "a tenant gave up a job while another had more waiting"


class ModelJob(Job):
    """A job with room for what the reference and the histories want to remember."""

    __slots__ = ("rank", "times_settled", "verdict")

    def __init__(self, options, line):
        super().__init__(options, line)
        self.rank, self.times_settled, self.verdict = (math.inf, 0), 0, None


FAIR = FairShare(weights={"gold": 3})
KEYS = {
    StrictPriority(): lambda options, _submitted, _joined: options.priority,
    Aging(seconds_per_level=0.1): lambda options, _submitted, joined: joined + options.priority * 0.1,
    EarliestDeadline(patience=2.0): lambda options, submitted, joined: (
        joined + 2.0 if options.deadline is None else submitted + options.deadline
    ),
    FAIR: lambda options, _submitted, _joined: options.priority,
}
TENANTS = (None, "gold", "tin")
ADMISSIONS = (Block(), Reject(), ShedLowest(), CallerRuns())
RETRIES = (
    None,
    FixedBackoff(delay=1.0),
    FixedBackoff(delay=0.0, attempts_max=2),
    ExponentialBackoff(),
    FirstMatch({OSError: ScheduleBackoff([0.0, 2.0, 0.5])}, otherwise=DecorrelatedJitter(elapsed_max=5.0)),
)
LIMITS = (
    (),
    (),
    (Limit(tenant="*", concurrency=1),),
    (Limit(tenant="gold", concurrency=2), Limit(tag="x", rate=0.5, burst=2)),
    (Limit(tenant="*", rate=1.0), Limit(tag="io", concurrency=1)),
    (Limit(tenant="*", concurrency=1), Limit(tenant="gold", rate=2.0), Limit(tag="x", concurrency=2)),
)
TAGS = (frozenset(), frozenset(), frozenset({"io"}), frozenset({"x"}), frozenset({"cpu"}))


def groups(keep=None):
    """Return an open group, one for the urgent that may lend, and a dedicated one."""
    return [
        GroupRecord(name="io", index=0, slots=1, tags=frozenset({"io"})),
        GroupRecord(name="fast", index=1, slots=2, tags=frozenset({"fast", "x"}), reserve_for=10, keep=keep),
        GroupRecord(name="cpu", index=2, slots=1, tags=frozenset({"cpu", "x"}), dedicated=True),
    ]


class World:
    """A core and what its driver would keep.

    Stimuli name jobs, calls and pools by number, so that the same stimuli can be given to a second core.
    """

    def __init__(self, ordering, admission, routing, capacity, keep, limits):
        self.core = Core(
            groups(keep),
            capacity=capacity,
            admission=admission,
            ordering=ordering,
            routing=routing,
            uniform=random.Random(7),
            limits=limits,
        )
        self.core.observed = True
        self.now = 0.0
        self.jobs, self.calls, self.held, self.pools = [], [], [], []
        self.reference = (FairReference if ordering is FAIR else Reference)(KEYS[ordering], limits)
        self.trace = []

    def give(self, stimulus, *arguments):
        """Give one stimulus, check its decisions against the reference, and write down the answer."""
        answer = getattr(self, stimulus)(*arguments)
        answer = answer.worker if isinstance(answer, Slot) else answer
        self.trace.append((stimulus, self.now, answer, *self.take()))

    def take(self):
        left, self.core.left = self.core.left, Left()
        self.calls += [(slot, slot.attempt) for slot in left.starts]
        for slot in left.starts:
            self.reference.starts_in(slot, slot.job)
        for job in left.settled:
            job.times_settled += 1
        self.pools = [pool for pool in self.pools if pool not in left.stopped]
        self.reference.look_again(self.jobs)
        assert [] == left.policy_failures
        return (
            [(slot.job.id, slot.attempt, slot.worker) for slot in left.starts],
            [(job.id, job.state) for job in left.settled],
            [job.id for job in left.admitted],
            [pool.pool_id for pool in left.stopped],
            [repr(fact) for fact in left.events],
        )

    def hears_of(self, admitted):
        for job in admitted:
            self.reference.admitted(job, self.now)

    def started_in_order(self, free):
        """Check the jobs that a dispatch started: each was the first that had a free slot just then."""
        for slot in self.core.left.starts:
            able = [group for group in free if free[group]]
            able += [
                group.loan
                for group in free
                if group.loan and free[group] > group.keep and not self.reference.next_for([group])
            ]
            self.reference.started(slot.job, able)
            self.reference.waiting.remove(slot.job)
            self.reference.starts_in(slot, slot.job)
            free[slot.pool.group] -= 1

    # Jobs

    def submit(self, options):
        eligible = self.core.pools.places(options.priority, options.tags, coroutine=False)
        if not eligible:
            return "nobody"
        job = ModelJob(options, self.core.queue.line(eligible, self.core.lots.of(options), options.tenant))
        self.jobs.append(job)
        waiting = list(self.reference.waiting)
        try:
            slot = self.core.submit(job, self.now)
        except (QueueFull, PoolBroken) as refusal:
            self.jobs.remove(job)
            if isinstance(refusal, QueueFull) and isinstance(self.core.gate.policy, ShedLowest):
                self.reference.refused(options, waiting, self.now)
            return type(refusal).__name__
        shed = [other for other in self.core.left.settled if other.state is JobState.SHED]
        for other in shed:
            self.reference.shed(other, job, waiting, self.now)
        if isinstance(slot, Slot):
            self.calls.append((slot, slot.attempt))
            group = slot.pool.group
            in_turn = self.reference.next_for([group]) is None
            if group.loan in job.line.groups:
                in_turn = in_turn and self.reference.next_for([group.loan]) is None
                assert group.free >= group.keep, "a slot was lent that the group keeps"
            assert in_turn or slot.worker == "caller", (
                "a newcomer overtook a job that waits for the same slot"
            )
            self.reference.starts_in(slot, job)
        else:
            assert slot is None or job in self.core.gate.door
        self.hears_of([job] * bool(job.id) + self.core.left.admitted)
        return slot and getattr(slot, "worker", slot)

    def finish(self, number, error, refill):
        slot, attempt = self.calls.pop(number % len(self.calls))
        slot.held = True
        free = {group: group.free for group in self.core.pools.groups.values()}
        del self.reference.running[slot, attempt]
        self.core.finish(slot, "value", error, self.now)
        self.held.append(slot)
        self.after_dispatch(free)
        if not refill and slot.worker != "caller":
            return None
        self.take()
        return self.refill(-1)

    def refill(self, number):
        slot = self.held.pop(number % len(self.held) if number >= 0 else -1)
        slot.held = False
        pool = slot.pool
        takes = pool.state is PoolState.ACCEPTING and not self.core.paused
        expected = self.reference.next_for([pool.group]) if takes else None
        loan = pool.group.loan
        if takes and expected is None and loan and pool.group.free >= loan.keep:
            expected = self.reference.next_to_borrow(loan)
        job = self.core.refill(slot, self.now)
        assert job is expected, f"job {job and job.id} got the slot, job {expected and expected.id} was next"
        if job is not None:
            self.calls.append((slot, slot.attempt))
            self.reference.starts_in(slot, job)
        self.hears_of(self.core.left.admitted)
        return job and job.id

    def cancel(self, number):
        job = self.some_job(number)
        answer = job and self.core.cancel(job, self.now, RuntimeError("cancelled"))
        self.hears_of(self.core.left.admitted)
        return answer

    def interrupt(self, number):
        job = self.some_job(number)
        answer = job and self.core.interrupt(job, "enough", self.now)
        self.hears_of(self.core.left.admitted)
        return answer

    def give_up_at_the_door(self, number):
        job = self.core.gate.door[number % len(self.core.gate.door)]
        self.core.leave_door(job, self.now, "no room in time")
        self.jobs.remove(job)

    def abandon(self, number):
        slot, _ = self.calls[number % len(self.calls)]
        self.core.abandon(slot, JobInterrupted("left behind"), self.now)
        self.hears_of(self.core.left.admitted)

    def some_job(self, number):
        known = [job for job in self.jobs if job.id]
        return known[number % len(known)] if known else None

    # Time

    def advance(self, seconds):
        self.now += seconds
        self.reference.now = self.now
        before = list(self.reference.waiting)
        self.core.advance(self.now)
        self.reference.time_is(self.now, self.core.left.admitted)
        for slot in self.core.left.starts:
            self.reference.starts_in(slot, slot.job)
        for slot in self.core.left.starts:
            passed_over = [
                job
                for job in before
                if job.state is JobState.WAITING
                and slot.pool.group in job.line.groups
                and job.attempt == 0
                and self.reference.has_room(job)
                # Tokens may come to both at once.
                and (slot.job not in before or self.reference.goes_before(job, slot.job))
            ]
            assert [] == passed_over, "a timer's job overtook one that waited for the same slot"

    # Pools

    def add_pool(self, name):
        group = self.core.pools.groups[name]
        if group.capacity_pools() < 3:
            self.pools.append(self.core.make_pool(group, self.now))
            self.core.add_pool(self.pools[-1], self.now)

    def pool_up(self, number):
        self.dispatching(lambda pool: self.core.pool_up(pool, self.now), number)

    def cordon(self, number):
        self.with_pool(number, PoolState.CORDONED, lambda pool: self.core.cordon(pool, self.now))

    def drain(self, number):
        self.with_pool(number, PoolState.DRAINING, lambda pool: self.core.drain(pool, self.now))

    def pool_failed(self, number):
        def fail(pool):
            self.core.pool_failed(pool, ValueError("initializer"), "initializer", self.now)
            self.hears_of(self.core.left.admitted)

        self.with_pool(number, PoolState.FAILED_TO_START, fail)

    def with_pool(self, number, state, act):
        able = [pool for pool in self.pools if state in POOL_TRANSITIONS[pool.state]]
        if able:
            act(able[number % len(able)])

    def dispatching(self, act, number):
        able = [pool for pool in self.pools if pool.state in (PoolState.STARTING, PoolState.CORDONED)]
        if not able:
            return
        pool = able[number % len(able)]
        free = {group: group.free for group in self.core.pools.groups.values()}
        free[pool.group] += len(pool.free)
        act(pool)
        self.after_dispatch(free)

    def mend(self):
        free = {group: group.free for group in self.core.pools.groups.values()}
        self.core.mend()
        self.after_dispatch(free)

    def pause(self):
        self.core.pause(self.now)

    def resume(self):
        free = {group: group.free for group in self.core.pools.groups.values()}
        self.core.resume(self.now)
        self.after_dispatch(free)

    def after_dispatch(self, free):
        admitted = set(self.core.left.admitted)
        starts = self.core.left.starts
        self.core.left.starts = [slot for slot in starts if slot.job not in admitted]
        self.started_in_order(free)
        self.core.left.starts = starts
        self.hears_of(self.core.left.admitted)


numbers = st.integers(0, 50)
seconds = st.sampled_from([0.5, 1.0, 3.0])
limits = st.none() | st.none() | seconds
priorities = st.sampled_from([0, 10, 10, 20, 20, 30]) | st.integers(-3, 60)

#: What an operator does, and how often.
OPERATIONS = [
    *["add_pool"] * 4,
    "add_pool_slowly",
    *["pool_up"] * 4,
    *["cordon"] * 2,
    *["drain"] * 2,
    "pool_failed",
    "mend",
]


class CoreMachine(RuleBasedStateMachine):
    """Every stimulus is a rule; the invariants are checked after each of them."""

    @initialize(
        ordering=st.sampled_from(list(KEYS)),
        admission=st.sampled_from(ADMISSIONS),
        routing=st.sampled_from([LeastLoaded(), Pack(), RoundRobin(), TwoRandomChoices(), PeakEwma()]),
        capacity=st.sampled_from([1, 2, 3, 6, 20]),
        keep=st.sampled_from([None, None, 0, 1, 2]),
        pools=st.lists(st.sampled_from(["io", "fast", "cpu"]), max_size=3),
        limits=st.sampled_from(LIMITS),
    )
    def begin(self, ordering, admission, routing, capacity, keep, pools, limits):
        self.policies = (ordering, admission, routing, capacity, keep, limits)
        self.world = World(*self.policies)
        self.stimuli = []
        self.clock = 0.0
        for name in ["io", *pools]:
            self.give("add_pool", name)
            self.give("pool_up", 0)

    def give(self, *stimulus):
        self.stimuli.append(stimulus)
        self.world.give(*stimulus)

    # Jobs

    @rule(
        wishes=st.lists(
            st.tuples(priorities, st.sampled_from(TAGS), st.sampled_from(RETRIES), st.sampled_from(TENANTS)),
            max_size=5,
        )
    )
    def submit_some(self, wishes):
        for priority, tags, retry, tenant in wishes:
            self.give("submit", JobOptions(priority=priority, tags=tags, retry=retry, tenant=tenant))

    @rule(
        priority=priorities,
        tags=st.sampled_from(TAGS),
        delay=st.just(0.0) | seconds,
        run_timeout=limits,
        queue_timeout=limits,
        deadline=limits,
        retry=st.sampled_from(RETRIES),
        tenant=st.sampled_from(TENANTS),
    )
    def submit_with_limits(self, **options):
        self.give("submit", JobOptions(**options))

    @rule(priority=priorities, tags=st.sampled_from(TAGS), delay=seconds)
    def submit_for_later(self, **options):
        self.give("submit", JobOptions(**options))

    @precondition(lambda self: self.world.calls)
    @rule(
        number=numbers, error=st.sampled_from([None, OSError, OSError, JobInterrupted]), refill=st.booleans()
    )
    def finish(self, number, error, refill):
        self.give("finish", number, error and error("it failed"), refill)

    @rule(
        priority=priorities,
        ordinary=st.integers(2, 6),
        delay=st.sampled_from([0.5, 1.0]),
        tags=st.sampled_from(TAGS),
    )
    def submit_around_one_for_later(self, priority, ordinary, delay, tags):
        self.give("submit", JobOptions(priority=priority, tags=tags, delay=delay))
        for _ in range(ordinary):
            self.give("submit", JobOptions(priority=priority, tags=tags))
        self.give("advance", delay)

    @precondition(lambda self: self.world.calls)
    @rule(numbers=st.lists(numbers, min_size=1, max_size=4))
    def finish_some(self, numbers):
        for number in numbers:
            if self.world.calls:
                self.give("finish", number, None, True)

    @precondition(lambda self: self.world.held)
    @rule(number=numbers)
    def refill(self, number):
        self.give("refill", number)

    @rule(number=numbers, how=st.sampled_from(["cancel", "cancel", "interrupt"]))
    def stop(self, number, how):
        self.give(how, number)

    @precondition(lambda self: self.world.calls)
    @rule(number=numbers, sure=st.integers(0, 2))
    def abandon(self, number, sure):
        if not sure:
            self.give("abandon", number)

    @precondition(lambda self: self.world.core.gate.door)
    @rule(number=numbers)
    def give_up_at_the_door(self, number):
        self.give("give_up_at_the_door", number)

    # Time

    @rule(seconds=st.sampled_from([0.0, 0.125, 0.5, 1.0, 1.0, 3.0]))
    def advance(self, seconds):
        self.give("advance", seconds)

    # Pools

    @rule(number=numbers, action=st.sampled_from(OPERATIONS))
    def operate(self, number, action):
        if action == "add_pool":
            self.give("add_pool", ("io", "fast", "cpu")[number % 3])
            self.give("pool_up", -1)
        elif action == "add_pool_slowly":
            self.give("add_pool", ("io", "fast", "cpu")[number % 3])
        elif action == "mend":
            self.give("mend")
        else:
            self.give(action, number)

    @rule(sure=st.integers(0, 3))
    def pause_or_resume(self, sure):
        if self.world.core.paused:
            self.give("resume")
        elif not sure:
            self.give("pause")

    # What is true after every step

    @invariant()
    def every_invariant_of_a_state(self):
        if hasattr(self, "world"):
            check(self.world.core)

    @invariant()
    def i5_a_settled_job_never_changes_and_settles_once(self):
        for job in self.jobs():
            if not job.state.settled:
                assert job.verdict is None
                continue
            verdict = (job.state, job.outcome, job.ended_at, job.attempt, job.all_attempts())
            assert job.verdict in (None, verdict)
            assert job.times_settled == (job.state is not JobState.SUCCEEDED)
            job.verdict = verdict

    @invariant()
    def i9_now_never_goes_back(self):
        if hasattr(self, "world"):
            assert self.clock <= self.world.core.now <= self.world.now
            self.clock = self.world.core.now

    @invariant()
    def i13_attempts_are_numbered_and_within_the_limit(self):
        for job in self.jobs():
            attempts = [attempt.number for attempt in job.all_attempts()]
            assert attempts == list(range(1, job.attempt + 1))
            assert job.attempt <= (1 if job.options.retry is None else job.options.retry.attempts_max)

    @invariant()
    def nobody_is_kept_at_the_door_of_a_queue_with_room(self):
        if hasattr(self, "world") and self.world.core.gate.door:
            assert self.world.core.queue.held >= self.world.core.queue.capacity

    @invariant()
    def no_job_with_room_in_its_limits_waits_beside_a_free_slot(self):
        if hasattr(self, "world") and not self.world.core.paused:
            for job in self.world.reference.waiting:
                if any(group.free for group in job.line.groups):
                    assert not self.world.reference.has_room(job)

    @invariant()
    def no_job_waits_for_groups_that_are_all_broken(self):
        for job in self.jobs():
            broken = all(group.broken is not None for group in job.line.groups)
            assert not (broken and job.state is JobState.WAITING and job.id)

    def jobs(self):
        return self.world.jobs if hasattr(self, "world") else []

    def teardown(self):
        """Replay: the same stimuli and the same dice give the same answers (I12)."""
        if hasattr(self, "world"):
            again = World(*self.policies)
            for stimulus in self.stimuli:
                again.give(*stimulus)
            assert self.world.trace == again.trace


#: Shrinking takes minutes, so a failure is first told as it was found; with SHRINK=1 it is made small.
PHASES = [phase for phase in Phase if os.environ.get("SHRINK") or phase not in (Phase.shrink, Phase.explain)]

SETTINGS = settings(
    phases=PHASES,
    max_examples=int(os.environ.get("EXAMPLES", "250")),
    stateful_step_count=50,
    deadline=None,
    report_multiple_bugs=False,  # one at a time is shrunk sooner
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


@pytest.mark.usefixtures("untraced")
@pytest.mark.timeout(600)
def test_the_core_keeps_every_invariant_under_any_stimuli():
    """A job that is lost, doubled or out of turn is found here before a user finds it."""
    # A failing example is shrunk for minutes; the watchdog's dump in the middle of it, taken without the GIL
    # while generators run, has crashed CPython 3.11.
    faulthandler.cancel_dump_traceback_later()
    run_state_machine_as_test(CoreMachine, settings=SETTINGS)


# The transition tables allow what is listed, and forbid the rest

LEGAL = """
DELAYED WAITING CANCELLED EXPIRED
WAITING RUNNING FAILED CANCELLED EXPIRED SHED
RUNNING BACKING_OFF WAITING SUCCEEDED FAILED CANCELLED EXPIRED
BACKING_OFF WAITING FAILED CANCELLED EXPIRED
"""
EVERY_MOVE = [(before, after) for before in JobState for after in JobState]


def legal(before, after):
    return any(
        before.name == first and after.name in others
        for first, *others in map(str.split, LEGAL.strip().splitlines())
    )


def a_core():
    """Return a core in which nothing has happened."""
    return Core(
        groups(),
        capacity=1,
        admission=Block(),
        ordering=StrictPriority(),
        routing=Pack(),
        uniform=random.Random(0),
    )


@pytest.mark.parametrize(("before", "after"), EVERY_MOVE, ids=lambda state: state.name)
def test_a_job_moves_only_as_the_table_says(before, after):
    """What the table does not list must be impossible, not only unusual."""
    core = a_core()
    job = Job(JobOptions(), core.queue.line(tuple(core.pools.groups.values())))
    job.state = before
    try:
        core.move(job, after)
    except AssertionError:
        moved = False
    else:
        moved = job.state is after

    assert legal(before, after) == moved


def test_a_refused_move_leaves_the_job_as_it_was():
    """A mistake in the core must not damage the job it was about to make it with."""
    core = a_core()
    job = Job(JobOptions(), core.queue.line(tuple(core.pools.groups.values())))
    job.state = JobState.SUCCEEDED
    with pytest.raises(AssertionError, match="SUCCEEDED → WAITING is no legal move"):
        core.move(job, JobState.WAITING)

    assert job.state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("before", "after"), [(a, b) for a in PoolState for b in PoolState], ids=lambda state: state.name
)
def test_a_pool_moves_only_as_the_table_says(before, after):
    """A stopped pool that takes a job again would lose it."""
    core = a_core()
    pool = core.make_pool(core.pools.groups["io"], 0.0)
    core.add_pool(pool, 0.0)
    pool.state = before
    try:
        core.pools.move(pool, after)
    except AssertionError:
        moved = False
    else:
        moved = True

    assert (after in POOL_TRANSITIONS[before]) == moved


def test_every_state_can_be_reached_and_every_job_can_end():
    """A state nobody can enter is a promise nobody keeps; one nobody can leave is a hang."""
    reached, ends = set(INITIAL), {state for state in JobState if state.settled}
    for _ in JobState:
        reached |= {after for before in reached for after in TRANSITIONS[before]}
        ends |= {before for before in JobState if TRANSITIONS[before] & ends}

    assert (set(JobState), set(JobState)) == (reached, ends)


def test_a_settled_state_has_no_way_out():
    """That is what settled means, and what every waiter relies on."""
    assert {state for state in JobState if not TRANSITIONS[state]} == {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.EXPIRED,
        JobState.SHED,
    }
