"""The one mutator: a method per stimulus, a small answer per method, time as an argument.

`MainPath` holds what every job passes, `Capacity` pools that come and go, `Ahead` what their workers hold;
here is what happens beside them: time, asking jobs to stop, and the snapshot of it all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from types import MappingProxyType

from .._errors import JobInterrupted, QueueTimeout, RunTimeout
from . import events
from .duplicates import Duplicates
from .job import Job, Line
from .pool_table import Slot
from .states import BACKING_OFF, CANCELLED, DELAYED, EXPIRED, FAILED, RUNNING, WAITING, PoolState
from .statistics import PoolStatistics, Statistics
from .timers import BACKOFF, DELAY, Timer, TimerKind

#: Timers handled in one turn; what is left is due at once in the next (law 5). Arbitrary.
TIMERS_PER_TURN = 256


class Core(Duplicates):
    """The whole scheduler without a clock, a thread or a lock.

    A turn is one call of one method. After it, when it is `dirty`, the caller takes what it `left`.
    """

    # Stopping jobs

    def cancel(self, job: Job, now: float, outcome: BaseException) -> bool:
        """Settle a job that does not run as CANCELLED; return whether it is CANCELLED now."""
        self.now = now
        if job.state in (WAITING, DELAYED, BACKING_OFF) and not job.lies_ahead:
            self.settle(job, CANCELLED, outcome, now)
        if self.lots.woken:  # it may have been taken back for this
            self.meet(now)
        return job.state is CANCELLED

    def interrupt(self, job: Job, reason: str, now: float) -> bool:
        """Ask a running job to stop, cancel one that does not run; return whether either was done."""
        self.now = now
        if job.state is RUNNING and job.slot is not None:
            job.slot.interrupted = reason
            self._stop(job)
            self.drop_hedge(job, reason)
            return True
        return self.cancel(job, now, JobInterrupted(f"job {job.id} was interrupted: {reason}"))

    def abandon(self, slot: Slot, error: BaseException, now: float) -> None:
        """Give up on `slot`: its job settles, its worker is counted as overdue; what lies ahead is cancelled."""
        self.now = now
        for ahead in tuple(slot.ahead):
            if not ahead.state.settled:
                self.settle(ahead, CANCELLED, error, now)
        job = slot.job
        if job is not None and job.slot is slot:
            if self.shares is not None:
                self.shares.outlived(job, slot, job.started_at)
            self.end_attempt(job, error, now)
            self.settle(job, CANCELLED, error, now)

    def _stop(self, job: Job) -> None:
        """Have the pool stop the attempt, as far as it can."""
        assert isinstance(job.slot, Slot)
        self.left.stops.append((job.slot, job.attempt))
        self.dirty = True

    # Time

    def next_deadline(self) -> float:
        """Return when `advance` is needed next, infinity if never."""
        when = min(self.timers.next_deadline(), self.next_look(), self.next_stuck(), self.next_shed())
        if self.lots.limits:
            if self.lots.failing:
                return min(when, self.now)
            when = min(when, self.lots.next_token())
            if self.gate.door:
                when = min(when, self.next_at_door())
        return when

    def advance(self, now: float) -> None:
        """Handle what is due, at most TIMERS_PER_TURN of it."""
        self.now = now
        if self.lots.limits:
            if self.lots.next_token() <= now:
                self.meet(now)
            if self.gate.door:
                self._open_door(now)
        timers, lots = self.timers, self.lots
        for _ in range(TIMERS_PER_TURN):
            timer = timers.first_due(now)
            if timer is None:
                break
            job = self._in_hand = timer.job
            timers.remove(timer)
            if timer.kind is BACKOFF and (job.extra is None or not job.extra.owes):
                self.come_due(job, BACKOFF, now)
            else:
                self._due(timer, now)
            self._in_hand = None
            if lots.woken:
                self.meet(now)
        if self.next_stuck() <= now:
            self.find_stuck(now)
        if self.next_look() <= now:
            self.scale(now)
        if self.next_shed() <= now:
            self.shed(now)

    def _due(self, timer: Timer, now: float) -> None:
        job, kind, options = timer.job, timer.kind, timer.job.options
        if job.lies_ahead and isinstance(job.slot, Slot):
            # Have it back, if it can be had: what has not started must not start now. Its wait is over when
            # it is back in line, for only then it surely never ran; its deadline is over at once.
            self.left.recalls.append(job.slot)
            self.dirty = True
            if kind is TimerKind.QUEUE_TIMEOUT:
                return
        if kind is TimerKind.BACKOFF and job.extra is not None and job.extra.owes:
            held = self.retrier.pay(job, now)
            if held:
                self.arm(now + held, TimerKind.BACKOFF, job)
                return
        if kind is TimerKind.DELAY or kind is TimerKind.BACKOFF:
            self.come_due(job, kind, now)
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
        elif kind is TimerKind.HEDGE:
            self.hedge(job, now)
        else:
            expired = self.expired(job)
            if job.state is RUNNING:
                self._outlive(job, expired, now)
                self.end_attempt(job, expired, now)
            self.settle(job, EXPIRED, expired, now)

    def _run_timeout(self, job: Job, now: float) -> None:
        place = job.slot
        assert isinstance(place, Slot)
        error = RunTimeout(
            f"attempt {job.attempt} of job {job.id} ran longer than run_timeout={job.options.run_timeout} s "
            f"in {place.worker}; "
            + (
                "its worker was killed and is replaced"
                if place.pool.group.kills
                else "it was asked to stop, and its worker stays busy until the call returns"
            )
        )
        asked = place.interrupted is not None
        if self.lots.breakers and not asked:
            self.lots.judge(job, error, now, returned=False)
            self.lots.look(job.line)
        delay = None if asked else self.retry_delay(job, place, error, now)
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
        self._stop(job)
        if isinstance(job.slot, Slot) and not job.slot.pool.group.kills:
            self.watch_stuck(job.slot, now)
        if self.shares is not None and isinstance(job.slot, Slot):
            self.shares.outlived(job, job.slot, job.started_at)
        if self.observed:
            self.emit(events.JobOverdue(time=now, job_id=job.id, attempt=job.attempt, worker=job.slot.worker))

    def mend(self, torn: Job | None = None, unsure: Job | None = None) -> None:
        """Make the books true again after an interrupt tore a turn.

        The truth is where jobs are: counts are made anew from it. `torn` was never submitted; `unsure`
        may be in no place at all, and is put into the one its state names. Cost: O(jobs alive).
        """
        for pool in self.pools:
            for slot in pool.all_slots:
                if slot.job is not None and slot.job is torn:
                    slot.job = None
            pool.released = pool.released and pool.state is PoolState.DRAINING
            pool.free[:] = [
                slot
                for slot in reversed(pool.all_slots)
                if slot.job is None and not slot.held and not slot.down
            ]
        for group in self.pools.groups.values():
            accepting = [pool for pool in group.pools if pool.state is PoolState.ACCEPTING]
            group.free = sum(len(pool.free) for pool in accepting)
        self.lots.recount(self._holding(torn))
        self.queue.mend(torn)
        self.timers.mend(torn)
        callers = self.caller_slots.items()
        self.caller_slots = {slot: job for slot, job in callers if slot.job is job and job is not torn}
        # What was about to end has not ended, and will be here again when it does.
        self.left.settled = [job for job in self.left.settled if job is not torn and job.state.settled]
        if torn is not None:
            self.left.starts = [slot for slot in self.left.starts if slot.job is not None]
            self.gate.door = deque(job for job in self.gate.door if job is not torn)
        alive = list(self.alive())
        for job in (unsure, self._in_hand):
            if job is not None and not job.state.settled and job not in alive:
                self._place(job)
                alive.append(job)
        self._in_hand = None
        self.ahead = sum(len(slot.ahead) for pool in self.pools for slot in pool.all_slots)
        self.queue.held = sum(job.state is not RUNNING and not job.lies_ahead for job in alive)
        self.ledger.balance(alive=len(alive))
        if self.shares is not None:
            self.shares.mend(self.charged())
        on_books = set(self.pools)
        self.left.opens = [pool for pool in self.left.opens if pool in on_books]
        self.watch_again(self.now)
        for pool in list(self.pools):
            self.stop_if_empty(pool, self.now)
        self.look_anew(self.now)
        self.mend_keys([job for job in alive if job is not torn])
        self.dispatch(self.now)
        self.dirty = True

    def _holding(self, torn: Job | None) -> Iterator[Line]:
        """Iterate over the lines of the jobs that hold their limits, once for each."""
        slots = (slot for pool in self.pools for slot in pool.all_slots)
        for slot in (*slots, *self.caller_slots):
            for job in (slot.job, *slot.ahead):
                if job is not None and job is not torn:
                    yield job.line

    def _place(self, job: Job) -> None:
        if job.state is WAITING:
            job.slot = None
            job.line.push_back(job)
        else:
            kind = TimerKind.DELAY if job.state is DELAYED else TimerKind.BACKOFF
            self.arm(self.now, kind, job)

    # The snapshot

    def whereabouts(self) -> tuple[int, int, int, int]:
        """Return how many jobs are delayed, wait, back off and run. Cost: O(lines + slots + delayed jobs)."""
        delayed = backing_off = 0
        for timer in self.timers:
            if timer.kind is DELAY:
                delayed += timer.job.state is DELAYED
            elif timer.kind is BACKOFF:
                backing_off += 1
        waiting = len(self.queue) + sum(job.lies_ahead for job in self._ahead())
        return delayed, waiting, backing_off, sum(1 for _ in self.running())

    def statistics(self, now: float) -> Statistics:
        """Return one consistent snapshot. Cost: O(lines + slots + delayed jobs)."""
        ledger = self.ledger
        delayed, waiting, backing_off, running = self.whereabouts()
        waits, run_times = {}, {}
        for group in (*self.pools.groups.values(), self.caller.group):
            for priority, meter in group.meters.items():
                key = (priority, group.name)
                waits[key], run_times[key] = meter.freeze()
        return Statistics(
            time=now,
            submitted=ledger.submitted,
            delayed=delayed,
            waiting=waiting,
            backing_off=backing_off,
            running=running,
            succeeded=ledger.succeeded,
            failed=ledger.failed,
            cancelled=ledger.cancelled,
            expired=ledger.expired,
            shed=ledger.shed,
            rejected=ledger.rejected,
            retries=ledger.retries,
            late=ledger.late,
            recalled=ledger.recalled,
            hedges=ledger.hedges,
            hedges_won=ledger.hedges_won,
            limited=self.lots.limited(now),
            capacity=self.queue.capacity,
            waits=MappingProxyType(waits),
            run_times=MappingProxyType(run_times),
            pools=self.pool_statistics(),
            budgets=self.budgets.statistics(now),
            breakers=tuple(record.statistics(now) for record in self.lots.breakers.values()),
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
                stuck=pool.stuck,
                down=pool.down,
                ahead=sum(len(slot.ahead) for slot in pool.all_slots),
                inversion_bound=pool.inversion_bound,
                loop_lag=pool.loop_lag,
            )
            for pool in self.pools
        )

    @property
    def idle(self) -> bool:
        """Whether every job has settled and nobody stands at the door."""
        return self.ledger.submitted == self.ledger.settled and not self.gate.door

    def last_to_start(self) -> Job | None:
        """Return the job that would start last of those that do not run, None if there is none. Cost: O(lines)."""
        worst = self.queue.worst()
        if worst is not None:
            return worst
        return next((t.job for t in self.timers if t.kind in (TimerKind.DELAY, TimerKind.BACKOFF)), None)

    def charged(self) -> Iterator[Job | Slot]:
        """Iterate over what tenants are charged for: jobs that run or lie ahead, slots whose call is overdue."""
        yield from self.running()
        for pool in self.pools:
            for slot in pool.all_slots:
                yield from slot.ahead
                if slot.job is not None and slot.job.slot is not slot:  # overdue, or a hedge
                    yield slot
        yield from (slot for slot in self.caller_slots if slot.overdue)

    def _ahead(self) -> Iterator[Job]:
        if self.ahead:
            for pool in self.pools:
                for slot in pool.all_slots:
                    yield from (job for job in slot.ahead if not job.state.settled)

    def alive(self) -> Iterator[Job]:
        """Iterate over every job that has not settled. Cost: O(jobs)."""
        yield from self.running()
        yield from self.queue
        yield from self._ahead()
        for timer in self.timers:
            if timer.kind in (TimerKind.DELAY, TimerKind.BACKOFF):
                yield timer.job
