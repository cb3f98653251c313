"""Hedged jobs in any order of stimuli: one outcome each, that of the first call to return with a value."""

import faulthandler
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

from policies import Block, FairShare, FixedBackoff, Hedge, LeastLoaded, RetryBudget, StrictPriority
from scheduler._core.books import Left
from scheduler._core.core import Core
from scheduler._core.invariants import check
from scheduler._core.job import Job, JobOptions
from scheduler._core.limits import Limit
from scheduler._core.pool_table import GroupRecord, Slot
from scheduler._core.states import JobState

HEDGE = Hedge(quantile=0.5, samples_min=1, budget=RetryBudget(name="h", ratio=1.0, reserve_per_second=5.0))
numbers = st.integers(0, 50)


class HedgingMachine(RuleBasedStateMachine):
    """Two groups with slots to spare, so that hedges start."""

    @initialize(
        limits=st.sampled_from([(), (Limit(tenant="*", concurrency=3),)]),
        ordering=st.sampled_from([StrictPriority(), FairShare()]),
    )
    def begin(self, limits, ordering):
        groups = [GroupRecord(name="io", index=0, slots=4), GroupRecord(name="web", index=1, slots=2)]
        self.core = Core(
            groups,
            capacity=50,
            admission=Block(),
            ordering=ordering,
            routing=LeastLoaded(),
            uniform=random.Random(7),
            limits=limits,
        )
        self.now, self.jobs, self.calls, self.outcomes, self.told = 0.0, [], [], {}, []
        self.hedges = 0
        for group in self.core.pools.groups.values():
            self.open(group)

    def open(self, group):
        pool = self.core.make_pool(group, self.now)
        self.core.add_pool(pool, self.now)
        self.core.pool_up(pool, self.now)

    def take(self):
        left, self.core.left = self.core.left, Left()
        self.calls += [(slot, slot.job, slot.attempt) for slot in left.starts]
        for slot, job in left.hedges:
            assert slot.job is job
            assert slot is not job.slot
            self.calls.append((slot, job, slot.attempt))
            self.hedges += 1
        self.told += left.settled

    @rule(
        count=st.integers(1, 3),
        tenant=st.sampled_from(["a", "b", None]),
        retry=st.sampled_from([None, FixedBackoff(delay=0.5, attempts_max=3)]),
        run_timeout=st.sampled_from([None, None, 2.0]),
        deadline=st.sampled_from([None, None, 3.0]),
    )
    def submit(self, count, tenant, retry, run_timeout, deadline):
        options = JobOptions(
            tenant=tenant, retry=retry, run_timeout=run_timeout, deadline=deadline, hedge=HEDGE
        )
        for _ in range(count):
            groups = tuple(self.core.pools.groups.values())
            job = Job(options, self.core.queue.line(groups, self.core.lots.of(options, groups), tenant))
            self.jobs.append(job)
            slot = self.core.submit(job, self.now)
            if isinstance(slot, Slot):
                self.calls.append((slot, job, slot.attempt))
            self.take()

    @precondition(lambda self: self.calls)
    @rule(which=st.lists(numbers, min_size=1, max_size=4), fails=st.booleans())
    def finish(self, which, fails):
        for number in which:
            if not self.calls:
                return
            slot, job, attempt = self.calls.pop(number % len(self.calls))
            assert slot.job is job
            hedge = job.extra.hedge if job.extra else None
            live = slot in (job.slot, hedge) and attempt == job.attempt and not job.state.settled
            asked = slot.interrupted is not None
            value = object()
            self.core.finish(slot, value, OSError("it failed") if fails else None, self.now)
            if live and not fails and not (asked and slot is hedge):
                assert (job.state, job.outcome) == (JobState.SUCCEEDED, value)
            if not live and job.state is JobState.SUCCEEDED:
                assert job.outcome is not value
            following = self.core.refill(slot, self.now)
            if following is not None:
                self.calls.append((slot, following, slot.attempt))
            self.take()

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0]))
    def advance(self, seconds):
        self.now += seconds
        self.core.advance(self.now)
        self.take()

    @precondition(lambda self: self.jobs)
    @rule(number=numbers, act=st.sampled_from(["cancel", "interrupt"]))
    def stop(self, number, act):
        job = self.jobs[number % len(self.jobs)]
        if act == "cancel":
            self.core.cancel(job, self.now, RuntimeError("cancelled"))
        else:
            self.core.interrupt(job, "the test says so", self.now)
        self.take()

    @rule(action=st.sampled_from(["pause", "resume", "resume", "mend", "drain", "open"]))
    def operate(self, action):
        group = self.core.pools.groups["io"]
        if action == "mend":
            self.core.mend()
        elif action == "open":
            self.open(group)
        elif action == "drain":
            for pool in list(group.pools)[:-1]:
                self.core.drain_for_good(pool, self.now)
        else:
            getattr(self.core, action)(self.now)
        self.take()

    @invariant()
    def the_books_are_true(self):
        if hasattr(self, "core"):
            check(self.core)

    @invariant()
    def a_job_settles_once_and_runs_at_most_twice(self):
        if not hasattr(self, "core"):
            return
        for job in self.jobs:
            if job.state.settled:
                assert self.outcomes.setdefault(job, (job.state, job.outcome)) == (job.state, job.outcome)
            assert self.told.count(job) <= 1
            hedge = job.extra.hedge if job.extra else None
            going = [slot for slot, owner, _ in self.calls if owner is job and slot in (job.slot, hedge)]
            assert len(going) <= 1 + (hedge is not None)
        assert self.core.statistics(self.now).hedges == self.hedges


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
def test_a_hedged_job_has_one_outcome_whatever_happens():
    """A job that runs twice and settles twice, or never, would be worse than one that is slow."""
    faulthandler.cancel_dump_traceback_later()
    run_state_machine_as_test(HedgingMachine, settings=SETTINGS)
