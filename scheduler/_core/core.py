"""The one mutator: a method per stimulus, a small answer per method, time as an argument.

`MainPath` holds what every job passes; here is what happens beside it: time, asking jobs to stop,
pools that come and go, and the snapshot of it all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from types import MappingProxyType

from .._errors import JobInterrupted, QueueTimeout, RunTimeout
from . import events
from .books import describe
from .job import Job, Line
from .main_path import MainPath
from .pool_table import GroupRecord, PoolRecord, Slot
from .states import BACKING_OFF, CANCELLED, DELAYED, EXPIRED, FAILED, RUNNING, WAITING, PoolState
from .statistics import PoolStatistics, Statistics
from .timers import Timer, TimerKind

#: Timers handled in one turn; what is left is due at once in the next (law 5). Arbitrary.
TIMERS_PER_TURN = 256

#: The same for jobs that are ended many at once. `_stopping` keeps to it too.
JOBS_PER_TURN = 256


class Core(MainPath):
    """The whole scheduler without a clock, a thread or a lock.

    A turn is one call of one method. After it, when it is `dirty`, the caller takes what it `left`.
    """

    #: The job whose timer is being handled: an interrupt must not lose it between two places.
    _in_hand: Job | None = None

    # Stopping jobs

    def cancel(self, job: Job, now: float, outcome: BaseException) -> bool:
        """Settle a job that does not run as CANCELLED; return whether it is CANCELLED now."""
        self.now = now
        if job.state in (WAITING, DELAYED, BACKING_OFF):
            self.settle(job, CANCELLED, outcome, now)
        return job.state is CANCELLED

    def interrupt(self, job: Job, reason: str, now: float) -> bool:
        """Ask a running job to stop, cancel one that does not run; return whether either was done."""
        self.now = now
        if job.state is RUNNING and job.slot is not None:
            job.slot.interrupted = reason
            return True
        return self.cancel(job, now, JobInterrupted(f"job {job.id} was interrupted: {reason}"))

    def abandon(self, slot: Slot, error: BaseException, now: float) -> None:
        """Give up on the attempt in `slot`: its job settles, its worker is counted as overdue."""
        self.now = now
        job = slot.job
        if job is not None and job.slot is slot:
            self.end_attempt(job, error, now)
            self.settle(job, CANCELLED, error, now)

    def would_deadlock(self, line: Line) -> bool:
        """Whether a job of this line could never start because every slot waits for another job.

        Cost: O(slots); asked only when a job waits for a job.
        """
        pools = [pool for group in line.groups for pool in group.pools]
        return bool(pools) and all(slot.blocked for pool in pools for slot in pool.all_slots)

    # Time

    def next_deadline(self) -> float:
        """Return when `advance` is needed next, infinity if never."""
        return self.timers.next_deadline()

    def advance(self, now: float) -> None:
        """Handle what is due, at most TIMERS_PER_TURN of it."""
        self.now = now
        for _ in range(TIMERS_PER_TURN):
            timer = self.timers.first_due(now)
            if timer is None:
                return
            self._in_hand = timer.job
            self.timers.remove(timer)
            self._due(timer, now)
            self._in_hand = None

    def _due(self, timer: Timer, now: float) -> None:
        job, kind, options = timer.job, timer.kind, timer.job.options
        if kind is TimerKind.DELAY or kind is TimerKind.BACKOFF:
            if kind is TimerKind.DELAY:
                job.arrival = self.ledger.renumber()
            self.move(job, WAITING)
            self.queue.held -= 1
            job.waiting_since = now
            if kind is TimerKind.DELAY:
                job.key = self._key(job)
            slot = self._join(job, now)
            if slot is not None:
                self.left.starts.append(slot)
                self.dirty = True
            if self.gate.door:
                self._open_door(now)
        elif kind is TimerKind.QUEUE_TIMEOUT:
            self.settle(
                job,
                EXPIRED,
                QueueTimeout(
                    f"job {job.id} waited {options.queue_timeout} s without starting; "
                    "raise queue_timeout=, its priority, or the number of pools"
                ),
                now,
            )
        elif kind is TimerKind.RUN_TIMEOUT:
            self._run_timeout(job, now)
        else:
            expired = self.expired(job)
            if job.state is RUNNING:
                self._outlive(job, expired, now)
                self.end_attempt(job, expired, now)
            self.settle(job, EXPIRED, expired, now)

    def _run_timeout(self, job: Job, now: float) -> None:
        place = job.slot
        assert place is not None
        error = RunTimeout(
            f"attempt {job.attempt} of job {job.id} ran longer than run_timeout={job.options.run_timeout} s "
            f"in {place.worker}; a thread cannot be killed, so the worker stays busy until the call returns"
        )
        asked = place.interrupted is not None
        delay = None if asked else self.retry_delay(job, error, now)
        self._outlive(job, error, now)
        if delay is not None:
            self.back_off(job, error, delay, now)
        else:
            self.end_attempt(job, error, now)
            self.settle(job, FAILED, error, now)

    def _outlive(self, job: Job, error: BaseException, now: float) -> None:
        """Ask the attempt to stop; its worker keeps the slot until the call returns."""
        assert job.slot is not None
        job.slot.interrupted = str(error)
        if self.observed:
            self.emit(events.JobOverdue(time=now, job_id=job.id, attempt=job.attempt, worker=job.slot.worker))

    # Pools come and go

    def make_pool(self, group: GroupRecord, now: float) -> PoolRecord:
        """Return the record of one more pool of `group`, not yet on the books; its id is taken."""
        return self.pools.make(group, now)

    def add_pool(self, pool: PoolRecord, now: float) -> None:
        """Put a new pool on the books, STARTING; it takes jobs from `pool_up` on."""
        self.now = now
        self.pools.add(pool)
        if self.observed:
            name = pool.group.name
            self.emit(events.PoolAdded(time=now, pool=pool.pool_id, group=name, slots=pool.slots))

    def pool_up(self, pool: PoolRecord, now: float) -> None:
        """Let a pool that is STARTING or CORDONED take jobs, and give it what waits."""
        self.now = now
        if self.observed and pool.state is PoolState.CORDONED:
            self.emit(events.PoolUncordoned(time=now, pool=pool.pool_id))
        self.pools.move(pool, PoolState.ACCEPTING)
        if pool.group.broken is not None:  # a new pool makes it whole
            pool.group.broken = None
            for line in pool.group.lines:
                line.look()
        self.dispatch(now)

    def cordon(self, pool: PoolRecord, now: float) -> None:
        """Let a pool take no more jobs until it is told otherwise."""
        self.now = now
        self.pools.move(pool, PoolState.CORDONED)
        if self.observed:
            self.emit(events.PoolCordoned(time=now, pool=pool.pool_id))

    def drain(self, pool: PoolRecord, now: float) -> None:
        """Let a pool take no more jobs, finish what it runs, and go."""
        self.now = now
        self.pools.move(pool, PoolState.DRAINING)
        if self.observed:
            running = sum(1 for _ in pool.running())
            self.emit(events.PoolDraining(time=now, pool=pool.pool_id, running=running))
        self.stop_if_empty(pool, now)

    def drain_for_good(self, pool: PoolRecord, now: float) -> None:
        """Drain a pool because the scheduler closes, whatever its state."""
        if pool.state in (PoolState.STARTING, PoolState.ACCEPTING, PoolState.CORDONED):
            self.drain(pool, now)

    def pool_failed(self, pool: PoolRecord, error: BaseException, now: float) -> bool:
        """Take a pool out for good; when it was its group's last, fail the jobs only that group takes.

        Returns whether `fail_some` has more of them to fail.
        """
        self.now = now
        if pool.state in (PoolState.FAILED_TO_START, PoolState.STOPPED, PoolState.DRAINING):
            return False
        self.pools.move(pool, PoolState.FAILED_TO_START)
        if self.observed:
            self.emit(events.PoolFailed(time=now, pool=pool.pool_id, error=describe(error)))
        group = pool.group
        if not group.capacity_pools():
            group.broken = error
            for line in group.lines:
                line.look()
        self.stop_if_empty(pool, now)
        return self.fail_some(now)

    def fail_some(self, now: float) -> bool:
        """Fail jobs that no pool will ever take, at most JOBS_PER_TURN; return whether any are left."""
        self.now = now
        room = JOBS_PER_TURN
        for line in self.queue.lines.values():
            if line.broken:
                for job in list(islice(line, room)):
                    self.settle(job, FAILED, self.broken(line.groups), now)
                    room -= 1
                if line.best is not None:
                    return True
        return False

    def pause(self, now: float) -> None:
        """Start nothing until `resume`."""
        self.now = now
        self.paused = True

    def resume(self, now: float) -> None:
        """Dispatch again after a pause."""
        self.now = now
        self.paused = False
        self.dispatch(now)

    def dispatch(self, now: float) -> None:
        """Start waiting jobs as long as any of them has a free slot. Cost: O(lines) a start."""
        if self.paused:
            return
        lines = self.queue.lines.values()
        while (line := self.dispatcher.first_startable(lines)) is not None:
            job = line.pop()
            assert job is not None
            slot = self.dispatcher.take_slot(job.line, job)
            assert slot is not None
            self.queue.held -= 1
            self._start(job, slot, now)
            self.left.starts.append(slot)
            self.dirty = True
        if self.gate.door:
            self._open_door(now)

    def mend(self, torn: Job | None = None, unsure: Job | None = None) -> None:
        """Make the books true again after an interrupt tore a turn.

        The truth is where jobs are: counts are made anew from it. `torn` was never submitted; `unsure`
        may be in no place at all, and is put into the one its state names. Cost: O(jobs alive).
        """
        for pool in self.pools:
            for slot in pool.all_slots:
                if slot.job is not None and slot.job is torn:
                    slot.job = None
            pool.free[:] = [slot for slot in reversed(pool.all_slots) if slot.job is None and not slot.held]
        for group in self.pools.groups.values():
            accepting = [pool for pool in group.pools if pool.state is PoolState.ACCEPTING]
            group.free = sum(len(pool.free) for pool in accepting)
        self.queue.mend(torn)
        self.timers.mend(torn)
        callers = self.caller_slots.items()
        self.caller_slots = {slot: job for slot, job in callers if slot.job is job and job is not torn}
        if torn is not None:
            self.left.settled = [job for job in self.left.settled if job is not torn]
            self.left.starts = [slot for slot in self.left.starts if slot.job is not None]
            self.gate.door = deque(job for job in self.gate.door if job is not torn)
        alive = list(self.alive())
        for job in (unsure, self._in_hand):
            if job is not None and not job.state.settled and job not in alive:
                self._place(job)
                alive.append(job)
        self._in_hand = None
        self.queue.held = sum(job.state is not RUNNING for job in alive)
        self.ledger.balance(alive=len(alive))
        for pool in list(self.pools):
            self.stop_if_empty(pool, self.now)
        self.dispatch(self.now)
        self.dirty = True

    def _place(self, job: Job) -> None:
        if job.state is WAITING:
            job.line.push_back(job)
        else:
            kind = TimerKind.DELAY if job.state is DELAYED else TimerKind.BACKOFF
            self.arm(self.now, kind, job)

    # The snapshot

    def statistics(self, now: float) -> Statistics:
        """Return one consistent snapshot. Cost: O(lines + slots + delayed jobs)."""
        ledger = self.ledger
        delayed = sum(timer.job.state is DELAYED for timer in self.timers if timer.kind is TimerKind.DELAY)
        backing_off = sum(timer.kind is TimerKind.BACKOFF for timer in self.timers)
        waits, run_times = {}, {}
        for group in (*self.pools.groups.values(), self.caller.group):
            for priority, meter in group.meters.items():
                key = (priority, group.name)
                waits[key], run_times[key] = meter.freeze()
        return Statistics(
            time=now,
            submitted=ledger.submitted,
            delayed=delayed,
            waiting=len(self.queue),
            backing_off=backing_off,
            running=sum(1 for _ in self.running()),
            succeeded=ledger.succeeded,
            failed=ledger.failed,
            cancelled=ledger.cancelled,
            expired=ledger.expired,
            shed=ledger.shed,
            rejected=ledger.rejected,
            retries=ledger.retries,
            late=ledger.late,
            capacity=self.queue.capacity,
            waits=MappingProxyType(waits),
            run_times=MappingProxyType(run_times),
            pools=self.pool_statistics(),
        )

    def pool_statistics(self) -> tuple[PoolStatistics, ...]:
        """Return every pool that has not stopped, in the order the groups were declared."""
        return tuple(
            PoolStatistics(
                pool_id=pool.pool_id,
                group=pool.group.name,
                slots=pool.slots,
                in_use=pool.in_use,
                state=pool.state,
                started_at=pool.started_at,
                overdue=sum(slot.overdue for slot in pool.all_slots),
            )
            for pool in self.pools
        )

    @property
    def idle(self) -> bool:
        """Whether every job has settled and nobody stands at the door."""
        return self.ledger.submitted == self.ledger.settled and not self.gate.door

    def running(self) -> Iterator[Job]:
        """Iterate over the jobs that run now, those in their submitter's own thread included."""
        for pool in self.pools:
            yield from pool.running()
        for slot, job in self.caller_slots.items():
            if slot.job is job and job.slot is slot and job.state is RUNNING:
                yield job

    def alive(self) -> Iterator[Job]:
        """Iterate over every job that has not settled. Cost: O(jobs)."""
        yield from self.running()
        yield from self.queue
        for timer in self.timers:
            if timer.kind in (TimerKind.DELAY, TimerKind.BACKOFF):
                yield timer.job
