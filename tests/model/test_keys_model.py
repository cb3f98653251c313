"""Keys under every stimulus in any order, beside a reference that keeps one list a key."""

import os
import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from policies import Block, CallerRuns, FairShare, FixedBackoff, Pack, Reject, ShedLowest, StrictPriority
from scheduler._core.books import Left
from scheduler._core.core import Core
from scheduler._core.invariants import check
from scheduler._core.job import Job, JobOptions
from scheduler._core.limits import Limit
from scheduler._core.pool_table import GroupRecord, Slot
from scheduler._core.states import CANCELLED, RUNNING
from scheduler._errors import DuplicateJob, PoolBroken, QueueFull

KEYS = ("a", "b", None)
keys = st.sampled_from(["a", "a", "b", None])
conflicts = st.sampled_from(["join", "reject", "replace", "replace"])
retries = st.sampled_from([None, FixedBackoff(delay=1.0, attempts_max=2)])
numbers = st.integers(0, 50)


def living(jobs):
    return [job for job in jobs if not job.state.settled]


class KeysMachine(RuleBasedStateMachine):
    """Jobs with few keys come, run, fail, back off, expire, are cancelled and let in at the door."""

    @initialize(
        capacity=st.sampled_from([1, 2, 20]),
        admission=st.sampled_from([Block(), Block(), Reject(), ShedLowest(), CallerRuns()]),
        ordering=st.sampled_from([StrictPriority(), FairShare()]),
        limits=st.sampled_from([(), (Limit(tag="io", concurrency=1),)]),
        slots=st.integers(1, 2),
    )
    def begin(self, capacity, admission, ordering, limits, slots):
        group = GroupRecord(name="io", index=0, slots=slots, tags=frozenset({"io"}))
        self.core = Core(
            [group],
            capacity=capacity,
            admission=admission,
            ordering=ordering,
            routing=Pack(),
            uniform=random.Random(7),
            limits=limits,
        )
        self.now = 0.0
        self.calls, self.beside, self.started_behind = [], {}, []
        #: The reference: who came in, or stands at the door, under each key, in the order in which they came.
        self.of_key = {key: [] for key in KEYS}
        pool = self.core.make_pool(group, self.now)
        self.core.add_pool(pool, self.now)
        self.core.pool_up(pool, self.now)
        self.take()

    def take(self):
        left, self.core.left = self.core.left, Left()
        for slot in left.starts:
            self.starts(slot)
        assert [] == left.policy_failures
        for job in left.admitted:
            if job in self.beside:
                self.looks_again(job)
            else:
                assert job.id, "somebody was told to come in, and is not in"

    def starts(self, slot):
        job = slot.job
        self.calls.append((slot, slot.attempt))
        if job.options.key is not None:
            others = [other for other in living(self.of_key[job.options.key]) if other is not job]
            ran = [other for other in others if other.id and other.id < job.id]
            assert [] == ran, f"job {job.id} started beside an older one of its key"

    def looks_again(self, job):
        other = self.beside.pop(job)
        if not other.id:  # it was turned away: who waited beside it comes by itself
            self.come(job)

    # Coming

    @rule(wishes=st.lists(st.tuples(keys, conflicts, retries), min_size=1, max_size=6))
    def submit_some(self, wishes):
        for key, on_conflict, retry in wishes:
            self.submit(key=key, on_conflict=on_conflict, retry=retry)

    @rule(
        key=keys,
        on_conflict=conflicts,
        retry=retries,
        priority=st.sampled_from([10, 20]),
        delay=st.sampled_from([0.0, 0.0, 1.0]),
        deadline=st.sampled_from([None, 2.0]),
        queue_timeout=st.sampled_from([None, 1.0]),
        tags=st.sampled_from([frozenset(), frozenset({"io"})]),
        tenant=st.sampled_from([None, "gold"]),
    )
    def submit_with_limits(self, **options):
        self.submit(**options)

    def submit(self, **options):
        asked = JobOptions(**options)
        eligible = self.core.pools.places(asked.priority, asked.tags, coroutine=False)
        line = self.core.queue.line(eligible, self.core.lots.of(asked), asked.tenant)
        self.come(Job(asked, line))

    def come(self, job):
        key, conflict = job.options.key, job.options.on_conflict
        before = living(self.of_key[key])
        states = {other: other.state for other in before}
        ledger = self.core.statistics(self.now)
        refusal = answer = None
        try:
            take = self.core.submit if key is None else self.core.submit_keyed
            answer = take(job, self.now)
        except (QueueFull, PoolBroken, DuplicateJob) as error:
            refusal = error
        if key is not None and before and conflict == "join":
            assert answer is before[-1], "it did not join the newest one"
            if not answer.id:
                self.beside[job] = answer
        elif key is not None and before and conflict == "reject":
            assert isinstance(refusal, DuplicateJob), "it was not rejected"
            assert (key, before[-1].id or None) == (refusal.key, refusal.job_id)
        else:
            assert not isinstance(refusal, DuplicateJob)
            assert answer is None or not isinstance(answer, Job), "it joined a job that it had not asked for"
            if key is not None:
                self.replaced(before, states, refusal)
            if refusal is None:
                self.of_key[key].append(job)
                if isinstance(answer, Slot):
                    self.starts(answer)
        if refusal is not None:
            assert self.core.statistics(self.now).submitted - ledger.submitted in (0, len(states))
        self.take()

    def replaced(self, before, states, refusal):
        """Check that what waited has been cancelled, and what ran has been left alone."""
        for other in before:
            if states[other] is RUNNING:
                assert other.state is RUNNING, "a job that ran was not left to run"
            else:
                assert refusal is None, "a job was cancelled for one that was then refused"
                assert other.state is CANCELLED
                assert "replaced" in str(other.outcome)

    # Going

    @precondition(lambda self: self.calls)
    @rule(number=numbers, fails=st.booleans())
    def finish(self, number, fails):
        slot, attempt = self.calls.pop(number % len(self.calls))
        if slot.job is None and slot.attempt == attempt:
            return
        self.core.finish(slot, "value", OSError("it failed") if fails else None, self.now)
        job = self.core.refill(slot, self.now)
        if job is not None:
            self.starts(slot)
        self.take()

    @rule(number=numbers, how=st.sampled_from(["cancel", "interrupt"]))
    def stop(self, number, how):
        known = [job for jobs in self.of_key.values() for job in living(jobs) if job.id]
        if known:
            job = known[number % len(known)]
            if how == "cancel":
                self.core.cancel(job, self.now, RuntimeError("cancelled"))
            else:
                self.core.interrupt(job, "enough", self.now)
            self.take()

    @rule(number=numbers)
    def give_up(self, number):
        waiting = [*self.core.gate.door, *self.beside]
        if waiting:
            job = waiting[number % len(waiting)]
            self.core.leave_door(job, self.now, "no room in time")
            self.beside.pop(job, None)
            if job in self.of_key[job.options.key]:
                self.of_key[job.options.key].remove(job)
            self.take()

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0]))
    def advance(self, seconds):
        self.now += seconds
        self.core.advance(self.now)
        self.take()

    @rule()
    def mend(self):
        self.core.mend()
        self.take()

    @rule()
    def pause_and_resume(self):
        if self.core.paused:
            self.core.resume(self.now)
        else:
            self.core.pause(self.now)
        self.take()

    # What is true after every step

    @invariant()
    def the_core_agrees_with_the_reference_and_with_itself(self):
        if not hasattr(self, "core"):
            return
        check(self.core)
        for key in KEYS[:-1]:
            assert living(self.of_key[key]) == list(self.core.keys.of(key))
            assert len(living(self.of_key[key])) <= 2

    @invariant()
    def nobody_waits_beside_a_job_that_has_left_the_door(self):
        if hasattr(self, "core"):
            assert set(self.beside.values()) <= set(self.core.gate.door)

    def teardown(self):
        """Let everything end: nobody may be left waiting for a key."""
        if not hasattr(self, "core"):
            return
        self.core.resume(self.now)
        self.take()
        for _ in range(300):
            if self.calls:
                self.finish(0, False)
            else:
                self.advance(1.0)
            if self.core.idle and not self.calls:
                break
        assert self.core.idle, "somebody waits for ever"
        assert (0, {}, []) == (len(self.core.keys), self.beside, list(self.core.gate.door))
        assert all(job.state.settled for jobs in self.of_key.values() for job in jobs)


@pytest.mark.usefixtures("untraced")
def test_a_key_has_one_job_that_may_run_under_any_stimuli():
    """Two that run at once, or one that waits for ever, is what keys are there to prevent."""
    run_state_machine_as_test(
        KeysMachine,
        settings=settings(
            max_examples=int(os.environ.get("EXAMPLES", "100")),
            stateful_step_count=30,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
        ),
    )
