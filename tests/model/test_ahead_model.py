"""Slots whose workers come and go and hold jobs ahead, beside a reference that knows where every job is."""

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

from policies import Block, FairShare, FixedBackoff, LeastLoaded, StrictPriority
from scheduler._core.books import Left
from scheduler._core.core import Core
from scheduler._core.invariants import check
from scheduler._core.job import Job, JobOptions
from scheduler._core.limits import Limit
from scheduler._core.lines import order
from scheduler._core.pool_table import GroupRecord
from scheduler._core.states import JobState, PoolState

SLOTS, PREFETCH = 2, 4
LIMITS = (
    (),
    (),
    (Limit(tenant="*", concurrency=2), Limit(tag="cpu", rate=4.0, burst=6)),
    (Limit(tenant="gold", concurrency=1),),
)
RETRIES = (None, None, FixedBackoff(delay=1.0, attempts_max=3))


class Worker:
    """What a slot's worker really holds: the first it has begun, and what is unread behind it."""

    def __init__(self):
        self.up, self.jobs, self.read = False, [], []


class AheadMachine(RuleBasedStateMachine):
    """The pool's side is played here, as a real one may play it; the core must agree on every job's place."""

    @initialize(
        prefetch=st.sampled_from([0, 2, PREFETCH]),
        threads=st.booleans(),
        ordering=st.sampled_from([StrictPriority(), FairShare(weights={"gold": 3})]),
        limits=st.sampled_from(LIMITS),
    )
    def begin(self, prefetch, threads, ordering, limits):
        groups = [
            GroupRecord(
                name="cpu",
                index=0,
                slots=SLOTS,
                tags=frozenset({"cpu"}),
                announces=True,
                prefetch=prefetch * SLOTS,
            )
        ]
        if threads:
            groups.append(GroupRecord(name="io", index=1, slots=1, tags=frozenset({"io"})))
        self.core = Core(
            groups,
            capacity=50,
            admission=Block(),
            ordering=ordering,
            routing=LeastLoaded(),
            uniform=random.Random(7),
            limits=limits,
        )
        self.core.observed = True
        self.now, self.depth = 0.0, prefetch
        self.jobs, self.settled, self.workers, self.owed = [], {}, {}, []
        self.attempts = {}
        for group in groups:
            self.add_pool_of(group)

    def add_pool_of(self, group):
        pool = self.core.make_pool(group, self.now)
        self.core.add_pool(pool, self.now)
        if group.announces:
            self.workers.update({slot: Worker() for slot in pool.all_slots})
        else:
            self.core.pool_up(pool, self.now)
        self.take()

    # What a driver does after a turn

    def take(self):
        left, self.core.left = self.core.left, Left()
        for slot in left.starts:
            self.given(slot, [slot.job])
        for job in left.settled:
            assert job not in self.settled, "a job settled twice"
            self.settled[job] = job.state
        self.owed += left.recalls

    def given(self, slot, jobs):
        if slot in self.workers:
            worker = self.workers[slot]
            assert worker.up or not jobs, "a call was given to a slot without a worker"
            worker.jobs += jobs
        for job in jobs:
            assert sum(job in self.current(other) for other in self.workers) <= 1, "a job is at two workers"

    def current(self, slot):
        """The jobs of a slot's worker, without one that outlived its limit and may have been started anew."""
        jobs = self.workers[slot].jobs
        return jobs[1:] if slot.overdue else jobs

    def cpu(self, condition=lambda _worker: True):
        return [
            slot
            for slot, worker in self.workers.items()
            if condition(worker) and slot.pool in self.core.pools
        ]

    # Stimuli

    @rule(
        priority=st.sampled_from([0, 10, 20, 20, 20, 30]),
        retry=st.sampled_from(RETRIES),
        limits=st.sampled_from([{}, {}, {}, {"deadline": 2.0}, {"queue_timeout": 1.0}, {"run_timeout": 1.0}]),
        tag=st.sampled_from(["cpu", "cpu", "cpu", None]),
        tenant=st.sampled_from(["gold", "tin", None]),
    )
    def submit(self, priority, retry, limits, tag, tenant):
        tags = frozenset({tag} if tag else ())
        options = JobOptions(priority=priority, retry=retry, tags=tags, tenant=tenant, **limits)
        groups = self.core.pools.groups.values()
        line = self.core.queue.line(
            tuple(group for group in groups if group.takes(priority, options.tags, coroutine=False)),
            self.core.lots.of(options),
            tenant,
        )
        if self.core.queue.held >= 50:
            return
        job = Job(options, line)
        self.jobs.append(job)
        slot = self.core.submit(job, self.now)
        if slot is not None:
            self.given(slot, [job])
        self.take()

    @precondition(lambda self: self.cpu(lambda worker: not worker.up))
    @rule(number=st.integers(0, 9))
    def ready(self, number):
        slots = self.cpu(lambda worker: not worker.up)
        slot = slots[number % len(slots)]
        self.workers[slot].up = True
        jobs = list(self.core.ready(slot, f"{slot.pool.pool_id}/{slot.index + 1}", self.now))
        self.given(slot, jobs)
        self.take()

    @precondition(lambda self: self.cpu(lambda worker: worker.jobs))
    @rule(
        number=st.integers(0, 9),
        ended=st.integers(1, 3),
        errors=st.lists(st.booleans(), min_size=3, max_size=3),
        leave=st.booleans(),
    )
    def exchange(self, number, ended, errors, leave):
        """Some of a slot's jobs return, in order, and it asks for as many as it may hold."""
        slots = self.cpu(lambda worker: worker.jobs)
        slot = slots[number % len(slots)]
        worker = self.workers[slot]
        for failed in errors[: min(ended, len(worker.jobs))]:
            returned = worker.jobs.pop(0)
            assert slot.job is returned, "the books have another job at the head of the slot"
            self.core.outcome(slot, 7, OSError("x") if failed else None, 0.01, self.now)
        want = 0 if leave and not worker.jobs else max(0, 1 + self.depth - len(worker.jobs))
        behind = worker.jobs[-1:]
        jobs = list(self.core.fill(slot, want, self.now))
        assert len(jobs) <= want
        if self.core.shares is None:
            assert [order(job) for job in jobs] == sorted(order(job) for job in jobs), "given out of order"
        assert not behind or not jobs or slot.job is not jobs[0]
        if want == 0 and not worker.jobs:
            worker.up = False
        self.given(slot, jobs)
        self.take()

    @precondition(lambda self: self.cpu(lambda worker: worker.up))
    @rule(number=st.integers(0, 9), between=st.booleans())
    def lost(self, number, between):
        """A worker dies: what it had begun fails, what it had not comes back."""
        slots = self.cpu(lambda worker: worker.up)
        slot = slots[number % len(slots)]
        worker = self.workers[slot]
        jobs, worker.jobs, worker.up = worker.jobs, [], False
        begun = jobs and not between
        before = {job: job.attempt for job in jobs}
        running = None if slot.overdue else slot.job
        self.core.lost(slot, OSError("died") if begun else None, jobs[1:] if begun else jobs, self.now)
        for job in jobs[1:] if begun else jobs:
            if not job.state.settled and job.state is JobState.WAITING and not job.lies_ahead:
                assert job.attempt == before[job] - (job is running), "a job that never began paid an attempt"
        self.take()

    @precondition(lambda self: self.owed)
    @rule(read=st.integers(0, 2))
    def recall(self, read):
        """Do what a turn asked for; the worker may have begun some of it just before."""
        self.take_back(self.owed.pop(0), read)
        self.core.dispatch(self.now)
        self.take()

    @precondition(lambda self: self.cpu(lambda worker: len(worker.jobs) > 1))
    @rule(number=st.integers(0, 9), read=st.integers(0, 2))
    def overrun(self, number, read):
        slots = self.cpu(lambda worker: len(worker.jobs) > 1)
        self.take_back(slots[number % len(slots)], read)
        self.core.dispatch(self.now)
        self.take()

    def take_back(self, slot, read=0):
        worker = self.workers[slot]
        kept = 1 + read
        back, worker.jobs = worker.jobs[kept:], worker.jobs[:kept]
        worker.read = list(worker.jobs)
        attempts = [job.attempt for job in back]
        self.core.take_back(slot, back, self.now)
        assert attempts == [job.attempt for job in back], "a recall cost an attempt"

    @precondition(lambda self: self.jobs)
    @rule(number=st.integers(0, 60), how=st.sampled_from(["cancel", "interrupt"]), read=st.integers(0, 2))
    def stop(self, number, how, read):
        job = self.jobs[number % len(self.jobs)]
        fetched = job.lies_ahead
        if fetched:
            self.take_back(job.slot, read)
        if how == "cancel":
            self.core.cancel(job, self.now, RuntimeError("cancelled"))
        else:
            self.core.interrupt(job, "enough", self.now)
        if fetched:  # as `Desk` does: its neighbours came back too
            self.core.dispatch(self.now)
        self.take()

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 2.0]))
    def advance(self, seconds):
        self.now += seconds
        self.core.advance(self.now)
        self.take()

    @rule(
        action=st.sampled_from(
            ["pause", "resume", "resume", "cordon", "uncordon", "uncordon", "add", "mend", "mend"]
        )
    )
    def operate(self, action):
        if action == "mend":
            self.core.mend()
        elif action == "pause":
            self.core.pause(self.now)
        elif action == "resume":
            self.core.resume(self.now)
        else:
            pools = [pool for pool in self.core.pools if pool.group.announces]
            if action == "add" and len(pools) < 3:
                self.add_pool_of(pools[0].group)
            for pool in pools:
                if action == "cordon" and pool.state is PoolState.ACCEPTING:
                    self.core.cordon(pool, self.now)
                    break
                if action == "uncordon" and pool.state is PoolState.CORDONED:
                    self.core.pool_up(pool, self.now)
                    break
        self.take()

    # Always

    @invariant()
    def the_books_are_true(self):
        if hasattr(self, "core"):
            check(self.core)

    @invariant()
    def every_job_is_where_its_worker_has_it(self):
        """I1 from outside: the pool's truth and the books name the same jobs in the same order."""
        for slot, worker in getattr(self, "workers", {}).items():
            if slot.pool not in self.core.pools:
                continue
            booked = [job for job in (slot.job, *slot.ahead) if job is not None]
            assert booked == worker.jobs, f"{slot.worker} has {worker.jobs}, the books say {booked}"
            assert slot.down == (not worker.up)

    @invariant()
    def nobody_is_at_a_worker_and_in_line(self):
        if hasattr(self, "core"):
            waiting = set(self.core.queue)
            assert not waiting & {job for slot in self.workers for job in self.current(slot)}

    @invariant()
    def a_settled_job_stays_settled(self):
        for job, state in getattr(self, "settled", {}).items():
            assert job.state is state

    @invariant()
    def attempts_are_numbered_without_gaps(self):
        for job in getattr(self, "jobs", ()):
            numbers = [attempt.number for attempt in job.all_attempts()]
            assert numbers == list(range(1, len(numbers) + 1))

    @invariant()
    def whatever_lies_ahead_of_something_more_urgent_is_owed_a_recall(self):
        """I8 across the line and the workers: an inversion never goes unnoticed."""
        if not hasattr(self, "core") or self.core.paused or self.core.shares is not None:
            return
        for line in self.core.queue.lines.values():
            head = line.peek()
            for slot, worker in self.workers.items():
                if head is None or slot.pool.group not in line.groups or slot in self.owed:
                    continue
                late = [job for job in slot.ahead if order(job) > order(head) and job not in worker.read]
                assert not late or head.attempt or self.returned(head)

    def returned(self, head):
        """Whether others came after a job: it may have come back into line, which recalls nothing."""
        return head.arrival < max((job.arrival for job in self.jobs), default=0)


PHASES = [phase for phase in Phase if os.environ.get("SHRINK") or phase not in (Phase.shrink, Phase.explain)]
SETTINGS = settings(
    phases=PHASES,
    max_examples=int(os.environ.get("EXAMPLES", "200")),
    stateful_step_count=60,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


@pytest.mark.usefixtures("untraced")
@pytest.mark.timeout(600)
def test_what_lies_ahead_is_in_one_place_whatever_happens():
    """A job that is at a worker and in line runs twice; one that is at neither never runs."""
    faulthandler.cancel_dump_traceback_later()
    run_state_machine_as_test(AheadMachine, settings=SETTINGS)
