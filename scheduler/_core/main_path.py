"""The main path of a job, and every way off it.

submit → admit → wait → route → start → finish → (back off → wait) → settle

The three methods that every job passes, `submit`, `finish` and `refill`, are the hot path: what only
some jobs need stands behind one test there. The rest of the file is for clarity, not for speed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from policies.contracts import Admission

from .._errors import JobInterrupted
from . import events
from .hedging import Hedging
from .job import Extra, Job, Line
from .pool_table import Slot
from .retrier import REJECTED, budgets_of
from .shares import INSTANT
from .states import (
    BACKING_OFF,
    CANCELLED,
    DELAYED,
    EXPIRED,
    FAILED,
    RUNNING,
    SUCCEEDED,
    WAITING,
    JobState,
    PoolState,
)
from .statistics import FOLD_AT
from .timers import BACKOFF, RUN_TIMEOUT, TimerKind

_ACCEPTING = PoolState.ACCEPTING


class MainPath(Hedging, ABC):
    """The steps of a job, from submit to settle."""

    def submit(self, job: Job, now: float) -> Slot | Admission | None:
        """Take a new job.

        Returns the slot it starts in, None when it waits, BLOCK when it stands at the door.
        Raises QueueFull when it is turned away and PoolBroken when no pool will ever take it.
        Cost: O(1) while every slot is busy, O(pools) when one is free.
        """
        self.now = job.submitted_at = now
        if self.dozing:
            self.wake(now)
        line = job.line
        options = job.options
        queue = self.queue
        if (
            line.best is None
            and not options.delay
            and not self.paused
            and not (line.limits and self._no_room(line, now))
        ):
            slot = self.dispatcher.take_slot(line, job)
            if slot is not None:
                self._admit(job, now)
                if options.deadline is not None:
                    self.arm(now + options.deadline, TimerKind.DEADLINE, job)
                self._start(job, slot, now)
                return slot
        if line.broken:
            raise self.broken(line.groups)
        if queue.held >= queue.capacity:
            return self._full(job, now)
        self._admit(job, now)
        if not options.plain:
            return self._enter(job, now)
        queue.held += 1
        line.push(job)
        if self.ahead and line.peek() is job:
            self.overtake(job)
        return None

    def _admit(self, job: Job, now: float) -> None:
        ledger = self.ledger
        job.id = job.arrival = ledger.numbers = ledger.numbers + 1
        job.waiting_since = now
        if not self.key_is_priority:
            job.key = self._key(job)
        if self.observed:
            options = job.options
            self.emit(
                events.JobSubmitted(time=now, job_id=job.id, priority=options.priority, name=options.name)
            )

    def _enter(self, job: Job, now: float) -> Slot | None:
        """Let an admitted job with limits wait, be delayed, or start."""
        options = job.options
        if options.deadline is not None:
            due = job.submitted_at + options.deadline
            if due <= now:  # it stood at the door past its deadline, and must not start
                self.queue.held += 1
                job.line.push(job)
                self.settle(job, EXPIRED, self.expired(job), now)
                return None
            self.arm(due, TimerKind.DEADLINE, job)
        if options.delay:
            job.state = DELAYED
            self.queue.held += 1
            self.arm(now + options.delay, TimerKind.DELAY, job)
            return None
        return self._join(job, now)

    def _join(self, job: Job, now: float) -> Slot | None:
        """Start a job of state WAITING if it may, else let it wait."""
        if self.dozing:
            self.wake(now)
        if job.options.queue_timeout is not None and job.attempt == 0:
            since = now if job.options.delay else job.submitted_at  # it may have stood at the door
            self.arm(since + job.options.queue_timeout, TimerKind.QUEUE_TIMEOUT, job)
        line = job.line
        if line.best is None and not self.paused and not (line.limits and self._no_room(line, now)):
            slot = self.dispatcher.take_slot(line, job)
            if slot is not None:
                self._start(job, slot, now)
                return slot
        self.queue.held += 1
        if job.attempt:
            line.push_back(job)
        else:
            line.push(job)
        if line.broken:
            self.settle(job, FAILED, self.broken(line.groups), now)
        elif self.ahead and line.peek() is job:
            self.overtake(job)
        return None

    def _no_room(self, line: Line, now: float) -> bool:
        """Whether a job that comes to a line under limits must wait there, after who waited for a token that has come."""
        if self.lots.next_token() <= now:
            self.meet(now)
        return line.best is not None or line.blocker(now) is not None  # type: ignore[attr-defined]

    def _start(self, job: Job, slot: Slot, now: float) -> None:
        line = job.line
        shares = self.shares
        if line.taken is not job and job.slot is not slot:  # else it held its limits when it left its line
            if line.limits:
                self.lots.hold(line, now)
            if shares is not None:
                line.pass_by(job)  # type: ignore[attr-defined]  # where tenants share, every line has one
        # No call up to the blank line: an interrupt (Ctrl-C) leaves all of it or nothing.
        job.state = RUNNING
        job.slot = slot
        job.started_at = now
        job.attempt += 1
        slot.job = job
        slot.attempt = job.attempt
        slot.begun = 0
        slot.interrupted = None
        line.taken = None

        if shares is not None and job in shares.charges:
            shares.began(job, now)
        options = job.options
        group = slot.pool.group
        meter = slot.meter = group.meters[options.priority]
        waits = meter.waits
        waits.append(now - job.waiting_since)
        if len(waits) >= FOLD_AT:
            meter.fold()
        if (options.budgets or group.budgets) and job.attempt == 1:
            self.budgets.deposit(budgets_of(options, group), now)
        if not options.untimed:
            if options.queue_timeout is not None:
                self.timers.disarm(job, TimerKind.QUEUE_TIMEOUT)
            if options.run_timeout is not None:
                self.arm(now + options.run_timeout, TimerKind.RUN_TIMEOUT, job)
            if options.hedge is not None:
                self.hedge_later(job, slot, now)
        if self.observed:
            self.emit(
                events.JobStarted(
                    time=now,
                    job_id=job.id,
                    attempt=job.attempt,
                    pool=slot.pool.pool_id,
                    worker=slot.worker,
                    waited=now - job.waiting_since,
                )
            )

    def finish(self, slot: Slot, value: object, error: BaseException | None, now: float) -> None:
        """Take the outcome of what ran in `slot`; the slot is then held until `refill`. Cost: O(1)."""
        self.now = now
        job = slot.job
        if job is None or job.slot is not slot:
            if job is None or error is not None or job.extra is None or job.extra.hedge is not slot:
                self._late(job, slot, now)
                return
            self.hedge_won(job, slot)
        seconds = now - job.started_at
        slot.meter.runs.append(seconds)
        shares = self.shares
        if shares is not None:
            # Of brief attempts, nearly all only add up: the account is reckoned when the tag moves.
            share = job.line.share  # type: ignore[attr-defined]  # where tenants share, every line has one
            share.done = done = share.done + (seconds or INSTANT)
            share.ended = ended = share.ended + 1
            if done >= share.step or ended == share.came or (share.charged and job in shares.charges):
                shares.ended(share, job, seconds)
        if error is not None:
            self._failed(job, slot, error, now, rejected=value is REJECTED)
            slot.job = None
            if job.line.limits and (self.lots.release(job.line) or self.gate.door):
                self._room_came(now)
            return
        # No call up to the blank line, see `_start`. The outcome comes before the state, because
        # `JobHandle.result` reads both without the lock.
        job.outcome = value
        job.ended_at = now
        job.state = SUCCEEDED
        self.ledger.succeeded += 1
        slot.job = None

        if job.line.limits:
            line, lots = job.line, self.lots
            if lots.breakers:
                lots.judge(job, None, now)
            for record in line.counted:  # type: ignore[attr-defined]  # as `Lots.release` does
                record.held -= 1
            if lots.parked or self.gate.door:
                lots.look(line)
                self._room_came(now)
        if self.keeps_run_times and (decay := slot.pool.group.decay) is not None:
            slot.pool.observe(seconds, now, decay)
        if self.observed:
            self.emit(events.JobSettled(time=now, job_id=job.id, state=SUCCEEDED, attempts=job.attempt))
        if not job.options.untimed:
            self.let_go(job, now)

    def _room_came(self, now: float) -> None:
        """Let those start that waited for what a call gave back of its limits."""
        if self.lots.woken:
            self.meet(now)
        if self.gate.door:
            self._open_door(now)

    def refill(self, slot: Slot, now: float) -> Job | None:
        """Give a held slot its next job, or free it. Cost: O(lines of the group)."""
        self.now = now
        pool = slot.pool
        if pool.state is _ACCEPTING:
            group = pool.group
            if not self.paused:
                lines = group.lines
                job = lines[0].pop() if len(lines) == 1 else self.dispatcher.take_job(group)
                if job is not None or (
                    group.loan is not None and (job := self.dispatcher.lend(group.loan)) is not None
                ):
                    self.queue.held -= 1
                    self._start(job, slot, now)
                    if self.gate.door:
                        self._open_door(now)
                    return job
            pool.free.append(slot)
            group.free += 1
            if self.gate.door:
                self._open_door(now)
            return None
        if pool is self.caller:
            del self.caller_slots[slot]
            return None
        pool.free.append(slot)
        self.stop_if_empty(pool, now)
        return None

    def _failed(self, job: Job, slot: Slot, error: BaseException, now: float, *, rejected: bool) -> None:
        if slot.interrupted is not None:
            if self.lots.breakers:
                self.lots.pass_over(job)
            self.settle(job, CANCELLED if isinstance(error, JobInterrupted) else FAILED, error, now)
            return
        if self.lots.breakers:
            self.lots.judge(job, error, now)
        if job.options.hedge is not None and self.hedge_takes_over(job):
            return
        if job.options.run_timeout is not None:
            self.timers.disarm(job, RUN_TIMEOUT)
        delay = self.retry_delay(job, slot, error, now, rejected=rejected)
        if delay is None:
            self.settle(job, FAILED, error, now)
        else:
            self.back_off(job, error, delay, now)

    def retry_delay(
        self, job: Job, slot: Slot, error: BaseException, now: float, *, rejected: bool = False
    ) -> float | None:
        """Return seconds until the next attempt of a job that failed in `slot`, or None when that is final."""
        return self.retrier.ask(job, slot, error, now, rejected=rejected) if self.retrying else None

    def back_off(self, job: Job, error: BaseException, delay: float, now: float) -> None:
        """Let a job whose attempt failed wait for its next one; it holds no slot and keeps its key."""
        if job.options.hedge is not None:
            self.drop_hedge(job, "its attempt was given up")
            self.timers.disarm(job, TimerKind.HEDGE)
        extra = job.extra
        if extra is None:
            extra = job.extra = Extra()
        ended = self._ended(job, error, now)
        # No call up to the blank line, see `_start`.
        extra.last_delay = delay
        extra += ended
        job.slot = None
        job.state = BACKING_OFF
        self.queue.held += 1
        self.ledger.retries += 1

        if self.timers.arm(now + delay, BACKOFF, job):
            self.dirty = True
        if self.observed:
            self.emit(
                events.JobRetrying(time=now, job_id=job.id, attempt=job.attempt, delay=delay, error=""), error
            )

    def end_attempt(self, job: Job, error: BaseException, now: float) -> None:
        """Write the current attempt into the job's history and let go of its slot."""
        extra = job.more()
        extra += self._ended(job, error, now)
        job.slot = None

    def _late(self, job: Job | None, slot: Slot, now: float) -> None:
        """Drop the outcome of an attempt that was given up before, or of a hedge that failed."""
        slot.job = None
        if job is not None and job.extra is not None and job.extra.hedge is slot:
            job.extra.hedge = None
        if slot.stuck:
            slot.stuck = False
            if self.dozing:  # its slot is free again, and may be one too many
                self.wake(now)
        self.ledger.late += 1
        if self.shares is not None:
            self.shares.returned_late(slot, now)
        if self.observed and job is not None:
            self.emit(events.WorkerReturned(time=now, job_id=job.id, worker=slot.worker))
        if job is not None and job.line.limits:
            self.lots.release(job.line)
            self._room_came(now)

    def settle(
        self, job: Job, state: JobState, outcome: object, now: float, *, open_door: bool = True
    ) -> None:
        """Bring a job to a terminal state, wherever it is. Cost: O(log n)."""
        before = job.state
        self.check_move(job, state)
        self.left.settled.append(job)
        self.dirty = True
        ledger = self.ledger
        # No call up to the blank line, see `_start`. The outcome comes before the state, see `finish`.
        job.outcome = outcome
        job.ended_at = now
        job.state = state
        if state is FAILED:
            ledger.failed += 1
        elif state is CANCELLED:
            ledger.cancelled += 1
        elif state is EXPIRED:
            ledger.expired += 1
        else:
            ledger.shed += 1
        waited = before is not RUNNING and (before is not WAITING or job.slot is None)
        if waited:  # and did not lie ahead
            self.queue.held -= 1

        if waited and before is WAITING:
            job.line.discard(job)
        if self.observed:
            self.emit(events.JobSettled(time=now, job_id=job.id, state=state, attempts=job.attempt))
        self.let_go(job, now)
        if open_door and self.gate.door:
            self._open_door(now)

    @abstractmethod
    def meet(self, now: float) -> None:
        """Let jobs whose limits have room again meet the slots that are free: `Capacity`."""

    @abstractmethod
    def overtake(self, job: Job) -> None:
        """Have those taken back that lie ahead and would start later than the first of its line: `Ahead`."""

    @abstractmethod
    def wake(self, now: float) -> None:
        """Look at the groups that scale again, because a job has come: `Elastic`."""

    @abstractmethod
    def _full(self, job: Job, now: float) -> Slot | Admission | None:
        """Decide on a job that finds the front queue full: `FullQueue`."""

    @abstractmethod
    def _open_door(self, now: float) -> None:
        """Let in whom there is room for: `FullQueue`."""
