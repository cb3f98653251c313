"""Jobs under circuit breakers in any order of stimuli, beside a reference that knows breakers by their definition."""

import faulthandler
import math
import os
import random

import attrs
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
    CircuitBreaker,
    FairShare,
    FixedBackoff,
    LeastLoaded,
    ShedLowest,
    StrictPriority,
    WithBreaker,
)
from scheduler import BreakerOpen
from scheduler._core.books import Left
from scheduler._core.core import Core
from scheduler._core.invariants import check
from scheduler._core.job import Job, JobOptions
from scheduler._core.limits import Limit
from scheduler._core.pool_table import GroupRecord, Slot
from scheduler._core.states import JobState
from scheduler._errors import QueueFull

SMALL = {"window": 3, "calls_min": 2, "open_for": 2.0, "probes": 2}
OF_TAG = CircuitBreaker(tag="x", **SMALL)
OF_NAME = CircuitBreaker(name="n", **(SMALL | {"probes": 1}), fail_on=OSError)
OF_GROUP = CircuitBreaker(group="cpu", **(SMALL | {"open_for": 1.0, "probes": 3}))
FAILS = CircuitBreaker(tag="x", when_open="fail", **SMALL)
BREAKERS = ((OF_TAG,), (OF_TAG, OF_NAME), (OF_TAG, OF_NAME, OF_GROUP), (FAILS, OF_NAME))
LIMITS = ((), (), (Limit(tenant="*", concurrency=1),), (Limit(tag="x", rate=4.0, burst=2),))
numbers = st.integers(0, 50)


@attrs.define
class Reference:
    """One breaker as its docstring tells it."""

    breaker: CircuitBreaker
    phase: str = "closed"
    since: float = -math.inf
    verdicts: list = attrs.Factory(list)
    #: Attempts that started half-open, but those that ended without a verdict.
    probes: int = 0

    @property
    def until(self):
        return self.since + self.breaker.open_for

    def turn(self, phase, now):
        self.phase, self.since, self.verdicts, self.probes = phase, now, [], 0

    def started(self, now):
        if self.phase == "open":
            assert now >= self.until, f"a job started under the open {self.breaker}"
            self.turn("half-open", now)
        self.probes += self.phase == "half-open"

    def ended_without_a_verdict(self, started_at):
        self.probes -= self.phase == "half-open" and started_at >= self.since

    def ended(self, error, started_at, now):
        if self.phase == "open" or started_at < self.since:
            return
        breaker = self.breaker
        self.verdicts.append(isinstance(error, breaker.fail_on))
        if self.phase == "closed":
            last = self.verdicts[-breaker.window :]
            if len(last) >= breaker.calls_min and sum(last) >= len(last) * breaker.failure_ratio:
                self.turn("open", now)
        elif len(self.verdicts) == breaker.probes:
            bad = sum(self.verdicts) >= breaker.probes * breaker.failure_ratio
            self.turn("open" if bad else "closed", now)


class BreakersMachine(RuleBasedStateMachine):
    """Two groups of several slots, so that slots are free while breakers are open."""

    @initialize(
        breakers=st.sampled_from(BREAKERS),
        limits=st.sampled_from(LIMITS),
        ordering=st.sampled_from([StrictPriority(), Aging(seconds_per_level=0.125), FairShare()]),
        admission=st.sampled_from([Block(), CallerRuns(), ShedLowest()]),
        capacity=st.sampled_from([4, 50, 50]),
    )
    def begin(self, breakers, limits, ordering, admission, capacity):
        self.core = Core(
            [
                GroupRecord(name="io", index=0, slots=4, tags=frozenset({"io", "x"})),
                GroupRecord(name="cpu", index=1, slots=3, tags=frozenset({"cpu", "x"})),
            ],
            capacity=capacity,
            admission=admission,
            ordering=ordering,
            routing=LeastLoaded(),
            uniform=random.Random(7),
            limits=limits,
            breakers=breakers,
        )
        self.references = {record: Reference(breaker) for breaker, record in self.core.lots.breakers.items()}
        self.limits, self.now, self.jobs, self.calls = limits, 0.0, [], []
        for group in self.core.pools.groups.values():
            pool = self.core.make_pool(group, self.now)
            self.core.add_pool(pool, self.now)
            self.core.pool_up(pool, self.now)

    # The reference

    def over(self, job):
        return [self.references[record] for record in job.line.limits if record in self.references]

    def started(self, slot, job, admitted=()):
        for reference in self.over(job):
            reference.started(self.now)
        self.calls.append((slot, job))
        if self.core.shares is None and job.attempt == 1 and slot.pool.pool_id != "caller":
            place = job.key, job.arrival
            ahead = [other for other in job.line if (other.key, other.arrival) < place]
            # Not one that came in the same turn, after the start.
            ahead = [other for other in ahead if other not in admitted and other.waiting_since < self.now]
            assert not ahead, f"job {job.id} started before {ahead[0].id} of its own line"

    def take(self):
        if self.core.lots.failing:
            self.core.fail_held(self.now)
        left, self.core.left = self.core.left, Left()
        for slot in left.starts:
            self.started(slot, slot.job, left.admitted)

    # Stimuli

    @rule(
        wishes=st.lists(
            st.tuples(
                st.sampled_from([0, 20, 20, 30]),
                st.sampled_from([frozenset(), frozenset({"x"}), frozenset({"x"}), frozenset({"cpu"})]),
                st.sampled_from(["n", None]),
                st.sampled_from(["a", None]),
                st.sampled_from([None, None, "fixed", "fail", "wait"]),
            ),
            min_size=1,
            max_size=8,
        ),
        delay=st.sampled_from([0.0, 0.0, 0.0, 0.5]),
    )
    def submit(self, wishes, delay):
        first = next(iter(self.core.lots.breakers))
        fixed = FixedBackoff(delay=0.5, attempts_max=3)
        policies = {None: None, "fixed": fixed}
        policies |= {word: WithBreaker(fixed, first, word) for word in ("fail", "wait")}
        for priority, tags, name, tenant, retry in wishes:
            options = JobOptions(
                priority=priority, tags=tags, name=name, tenant=tenant, retry=policies[retry], delay=delay
            )
            groups = self.core.pools.groups.values()
            able = tuple(group for group in groups if group.takes(priority, tags, coroutine=False))
            job = Job(options, self.core.queue.line(able, self.core.lots.of(options, able), tenant))
            self.jobs.append(job)
            try:
                slot = self.core.submit(job, self.now)
            except QueueFull:
                self.jobs.remove(job)
                slot = None
            if isinstance(slot, Slot):
                self.started(slot, job)
            self.take()

    @precondition(lambda self: self.calls)
    @rule(
        which=st.lists(numbers, min_size=1, max_size=4),
        error=st.sampled_from([None, OSError, OSError, ValueError]),
        interrupt=st.sampled_from([False, False, False, True]),
    )
    def finish(self, which, error, interrupt):
        for number in which:
            if not self.calls:
                return
            slot, job = self.calls.pop(number % len(self.calls))
            outcome = error and error("it failed")
            if interrupt:
                self.core.interrupt(job, "the test says so", self.now)
            for reference in self.over(job):
                if interrupt and error:
                    reference.ended_without_a_verdict(job.started_at)
                else:
                    reference.ended(outcome, job.started_at, self.now)
            self.core.finish(slot, "value", outcome, self.now)
            self.take()
            following = self.core.refill(slot, self.now)
            if following is not None:
                self.started(slot, following)
            self.take()

    @precondition(lambda self: self.jobs)
    @rule(number=numbers)
    def cancel(self, number):
        job = self.jobs[number % len(self.jobs)]
        if job.id:
            self.core.cancel(job, self.now, RuntimeError("cancelled"))
            self.take()

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 3.0]))
    def advance(self, seconds):
        self.now += seconds
        self.core.advance(self.now)
        self.take()
        assert self.core.next_deadline() > self.now

    @rule()
    def wait_for_the_next_deadline(self):
        when = self.core.next_deadline()
        if when < math.inf:
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
        self.take()

    # Always

    @invariant()
    def the_books_are_true(self):
        if hasattr(self, "core"):
            check(self.core)

    @invariant()
    def every_breaker_is_where_its_definition_puts_it(self):
        for record, reference in getattr(self, "references", {}).items():
            assert (reference.phase, reference.since) == (record.phase.value, record.since), reference
            if reference.phase == "half-open":
                assert reference.probes <= reference.breaker.probes, f"too many probes of {reference}"

    @invariant()
    def nobody_waits_beside_a_free_slot_when_no_breaker_holds_him(self):
        if not hasattr(self, "core") or self.core.paused or self.limits:
            return
        if self.core.next_deadline() <= self.now:
            return
        for job in self.jobs:
            if job.state is JobState.WAITING and job.id and any(group.free for group in job.line.groups):
                assert any(self.holds(reference) for reference in self.over(job)), f"job {job.id} waits"

    def holds(self, reference):
        if reference.phase == "half-open":
            return reference.probes >= reference.breaker.probes
        return reference.phase == "open" and self.now < reference.until

    @invariant()
    def nobody_waits_where_jobs_are_to_fail(self):
        due = hasattr(self, "core") and self.core.next_deadline() <= self.core.now  # some are to fail next
        for job in getattr(self, "jobs", ()):
            if job.state is JobState.WAITING and job.id and not due:
                where = job.line.where if job.line.limits else None
                assert not (where and where.record and where.record.fails)
            if job.state is JobState.FAILED and not job.attempt:
                assert isinstance(job.outcome, BreakerOpen)


PHASES = [phase for phase in Phase if os.environ.get("SHRINK") or phase not in (Phase.shrink, Phase.explain)]
SETTINGS = settings(
    phases=PHASES,
    max_examples=int(os.environ.get("EXAMPLES", "30")),
    stateful_step_count=50,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


@pytest.mark.usefixtures("untraced")
@pytest.mark.timeout(600)
def test_breakers_hold_and_let_through_as_defined_whatever_happens():
    """A breaker that lets through too much is none; one that never lets through again is an outage of its own."""
    faulthandler.cancel_dump_traceback_later()
    run_state_machine_as_test(BreakersMachine, settings=SETTINGS)
