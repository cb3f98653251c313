"""Jobs under limits in any order of stimuli, beside a reference that knows limits by their definition."""

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
    FairShare,
    FixedBackoff,
    LeastLoaded,
    ShedLowest,
    StrictPriority,
)
from scheduler._core.books import Left
from scheduler._core.core import Core
from scheduler._core.invariants import check
from scheduler._core.job import Job, JobOptions
from scheduler._core.limits import Limit
from scheduler._core.pool_table import GroupRecord, Slot
from scheduler._core.states import JobState
from scheduler._errors import QueueFull

LIMITS = (
    (Limit(tenant="*", concurrency=1),),
    (Limit(tenant="*", concurrency=2), Limit(tag="x", concurrency=3)),
    (Limit(tenant="a", concurrency=2), Limit(tag="x", rate=0.5, burst=2)),
    (Limit(tenant="*", rate=1.0, burst=2), Limit(tag="io", concurrency=2)),
    (Limit(tenant="*", concurrency=2), Limit(tenant="a", rate=2.0), Limit(tag="x", concurrency=2, rate=4.0)),
)
#: Tokens come by at most this share of one too early.
ROUNDING = 1e-6
TENANTS = ("a", "a", "b", "c", None)
TAGS = (frozenset(), frozenset({"x"}), frozenset({"x"}), frozenset({"io"}))
RETRIES = (None, None, FixedBackoff(delay=1.0, attempts_max=3))
numbers = st.integers(0, 50)


class LimitsMachine(RuleBasedStateMachine):
    """Two groups of several slots, so that slots are free while limits have no room."""

    @initialize(
        limits=st.sampled_from(LIMITS),
        ordering=st.sampled_from(
            [StrictPriority(), Aging(seconds_per_level=0.125), FairShare(weights={"a": 2})]
        ),
        admission=st.sampled_from([Block(), Block(), CallerRuns(), ShedLowest()]),
        capacity=st.sampled_from([4, 50, 50]),
    )
    def begin(self, limits, ordering, admission, capacity):
        self.core = Core(
            [
                GroupRecord(name="io", index=0, slots=4, tags=frozenset({"io", "x"})),
                GroupRecord(name="cpu", index=1, slots=3, tags=frozenset({"cpu", "x"}), reserve_for=20),
            ],
            capacity=capacity,
            admission=admission,
            ordering=ordering,
            routing=LeastLoaded(),
            uniform=random.Random(7),
            limits=limits,
        )
        self.limits, self.now = limits, 0.0
        self.jobs, self.calls, self.starts, self.held = [], [], [], []
        for group in self.core.pools.groups.values():
            pool = self.core.make_pool(group, self.now)
            self.core.add_pool(pool, self.now)
            self.core.pool_up(pool, self.now)

    # The reference: limits by their definition

    def names(self, job):
        for limit in self.limits:
            name = limit.name_for(job.options)
            if name is not None:
                yield limit, name

    def has_room(self, job):
        for limit, name in self.names(job):
            running = sum(limit.name_for(other.options) == name for _, other in self.calls)
            if limit.concurrency is not None and running >= limit.concurrency:
                return False
            starts = [when for when, other in self.starts if limit.name_for(other.options) == name]
            burst = limit.burst or max(1, math.ceil(limit.rate or 1))
            for number, when in enumerate(reversed(starts), start=2):
                if limit.rate is not None and number > burst + limit.rate * (self.now - when) + ROUNDING:
                    return False
        return True

    def started(self, slot, job):
        assert self.has_room(job), f"job {job.id} started beyond its limits"
        self.calls.append((slot, job))
        self.starts.append((self.now, job))

    def waiting(self):
        return [job for job in self.jobs if job.state is JobState.WAITING and job.id]

    def first(self, groups):
        """Return who is next by key and arrival; by fair shares only that somebody is, see `fits`."""
        able = [job for job in self.waiting() if set(groups) & set(job.line.groups) and self.has_room(job)]
        return min(able, key=lambda job: (job.key, job.arrival), default=None)

    def take(self, *, in_order=True):
        """Check what a turn started: whoever waits on has no room, or no slot, or comes later."""
        left, self.core.left = self.core.left, Left()
        for slot in left.starts:
            self.started(slot, slot.job)
        for slot in left.starts if in_order and self.core.shares is None else ():
            job = slot.job
            if job in left.admitted or job.attempt > 1:
                continue
            better = self.first([slot.pool.group])
            if better in left.admitted:  # after the start
                continue
            assert better is None or (better.key, better.arrival) > (job.key, job.arrival), self.tell(better)

    def fits(self, job, expected):
        """Whether this job could be the one that starts; whose turn it is by fair shares, other tests see."""
        return job is expected or None not in (job, expected, self.core.shares)

    # Stimuli

    @rule(
        wishes=st.lists(
            st.tuples(
                st.sampled_from([0, 10, 20, 20, 30]),
                st.sampled_from(TENANTS),
                st.sampled_from(TAGS),
                st.sampled_from(RETRIES),
            ),
            min_size=1,
            max_size=8,
        ),
        delay=st.sampled_from([0.0, 0.0, 0.0, 0.5]),
        run_timeout=st.sampled_from([None, None, 1.0]),
    )
    def submit(self, wishes, delay, run_timeout):
        for priority, tenant, tags, retry in wishes:
            options = JobOptions(
                priority=priority,
                tenant=tenant,
                tags=tags,
                retry=retry,
                delay=delay,
                run_timeout=run_timeout,
            )
            groups = self.core.pools.groups.values()
            able = tuple(group for group in groups if group.takes(priority, tags, coroutine=False))
            job = Job(options, self.core.queue.line(able, self.core.lots.of(options), options.tenant))
            self.jobs.append(job)
            due = self.core.next_deadline() <= self.now
            try:
                slot = self.core.submit(job, self.now)
            except QueueFull:
                self.jobs.remove(job)
                self.take(in_order=not due)
                continue
            self.take(in_order=not due)  # who waited for a token that has come starts before a newcomer
            if isinstance(slot, Slot):
                # One without limits asks for no token, so it does not see one before the alarm rings.
                first = self.first([slot.pool.group]) if job.line.limits else None
                assert first is None or slot.pool.pool_id == "caller", (
                    f"newcomer {job.id} overtook one that had room: {self.tell(first)}"
                )
                self.started(slot, job)

    @precondition(lambda self: self.calls)
    @rule(
        which=st.lists(numbers, min_size=1, max_size=4),
        error=st.sampled_from([None, None, OSError]),
        refill=st.sampled_from([True, True, False]),
    )
    def finish(self, which, error, refill):
        for number in which:
            if self.calls:
                slot, _ = self.calls.pop(number % len(self.calls))
                slot.held = True
                self.core.finish(slot, "value", error and error("it failed"), self.now)
                self.take()
                if refill or slot.pool.pool_id == "caller":
                    self.refill_slot(slot)
                else:
                    self.held.append(slot)

    @precondition(lambda self: self.held)
    @rule(number=numbers)
    def refill(self, number):
        self.refill_slot(self.held.pop(number % len(self.held)))

    def refill_slot(self, slot):
        expected = None
        if slot.pool.pool_id != "caller" and not self.core.paused:
            expected = self.first([slot.pool.group])
        slot.held = False
        due = self.core.next_deadline() <= self.now  # it takes effect when the alarm rings
        job = self.core.refill(slot, self.now)
        assert due or self.fits(job, expected), (
            f"job {job and job.id} got the slot, {expected and expected.id} was next"
        )
        if job is not None:
            self.started(slot, job)
        self.take()

    @precondition(lambda self: self.jobs)
    @rule(which=st.lists(numbers, min_size=1, max_size=3))
    def cancel(self, which):
        for number in which:
            known = self.waiting() or [job for job in self.jobs if job.id]
            if known:
                self.core.cancel(known[number % len(known)], self.now, RuntimeError("cancelled"))
                self.take()

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 3.0]))
    def advance(self, seconds):
        self.now += seconds
        self.core.advance(self.now)
        self.take(in_order=False)
        assert self.core.next_deadline() > self.now

    @rule()
    def wait_for_the_next_deadline(self):
        when = self.core.next_deadline()
        if when < math.inf:  # a token comes a hair before the moment it is due, see ROUNDING
            self.advance(max(0.0, math.ceil(when * 64) / 64 - self.now))

    @rule(seconds=st.sampled_from([0.25, 1.0]))
    def time_passes_before_the_alarm_rings(self, seconds):
        self.now += seconds

    @rule(action=st.sampled_from(["pause", "resume", "resume", "mend"]))
    def operate(self, action):
        if action == "mend":
            self.core.mend()
        else:
            getattr(self.core, action)(self.now)
        self.take(in_order=False)

    # Always

    @invariant()
    def the_books_are_true(self):
        if hasattr(self, "core"):
            check(self.core)

    @invariant()
    def nobody_with_room_waits_beside_a_free_slot(self):
        if not hasattr(self, "core") or self.core.paused:
            return
        due = self.core.next_deadline() <= self.now
        for job in self.waiting():
            if any(group.free for group in job.line.groups):
                assert due or not self.has_room(job), self.tell(job)

    def tell(self, job):
        """Return in words what the books say of a job."""
        where = job.line.where
        at = where and (where.record.whose if where.record else "open")
        return f"at {self.now} (core: {self.core.now}) job {job.id} is at {at}; {job.line.limits}"

    @invariant()
    def limited_counts_those_without_room(self):
        if hasattr(self, "core"):
            parked = sum(not self.has_room(job) for job in self.waiting())
            assert self.core.statistics(self.now).limited == parked


PHASES = [phase for phase in Phase if os.environ.get("SHRINK") or phase not in (Phase.shrink, Phase.explain)]
SETTINGS = settings(
    phases=PHASES,
    max_examples=int(os.environ.get("EXAMPLES", "100")),
    stateful_step_count=60,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


@pytest.mark.usefixtures("untraced")
@pytest.mark.timeout(600)
def test_limits_hold_and_nobody_with_room_waits_whatever_happens():
    """A limit that is exceeded breaks somebody's service; a job with room that waits is a slot for nothing."""
    faulthandler.cancel_dump_traceback_later()
    run_state_machine_as_test(LimitsMachine, settings=SETTINGS)
