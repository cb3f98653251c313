"""What lies ahead: jobs that a worker holds beyond the one it runs, to hide the price of a message.

A job that lies ahead has left the front queue and has not started: its state is WAITING, its `slot` says
where it lies, and it is in no line. It starts when the outcome of the job before it is taken. Until then
it can be taken back, to its old place in line and at no cost to its attempts. How many may lie ahead is
the pool's to measure; that something more urgent takes them back is decided here.

Slots of such pools come and go with their workers: *down* until a worker is announced, and again once it
is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from .._errors import JobInterrupted
from . import events
from .job import Job
from .pool_table import NOTHING_AHEAD, PoolRecord, Slot
from .shedding import Shedding
from .states import CANCELLED, EXPIRED, FAILED, WAITING, PoolState
from .timers import TimerKind


class Ahead(Shedding):
    """Exchanges several outcomes for several jobs, takes back what has not started, follows workers."""

    #: The job that is between two places: an interrupt must not lose it there.
    _in_hand: Job | None = None

    def ready(self, slot: Slot, worker: str, now: float) -> Sequence[Job]:
        """Take note that a slot has a worker, and give it its first job. Cost: as `refill`."""
        self.now = now
        pool = slot.pool
        if pool not in pool.group.pools:
            return ()
        slot.worker = worker
        if slot.down:
            slot.down = False
            pool.down -= 1
        if self.observed:
            self.emit(events.WorkerStarted(time=now, pool=pool.pool_id, worker=worker))
        if pool.state is PoolState.STARTING:
            self.pool_up(pool, now)
        return self.fill(slot, 1, now)

    def outcome(
        self, slot: Slot, value: object, error: BaseException | None, seconds: float, now: float
    ) -> Job | None:
        """Take the outcome of the slot's first job, which ran `seconds`; start the one behind it.

        Returns the job when it settled by succeeding, for whoever tells its waiters.
        """
        job = slot.job
        if job is not None and job.slot is slot:
            job.started_at = now - seconds
        self.finish(slot, value, error, now)
        self._start_next(slot, now)
        return job if job is not None and error is None and job.slot is slot else None

    def fill(self, slot: Slot, want: int, now: float) -> Sequence[Job]:
        """Give a slot at most `want` more jobs, behind those it has; free it when it has none.

        A slot that wants none and has none is down. Cost: O(lines of the group) a job.
        """
        self.now = now
        pool = slot.pool
        jobs: list[Job] = []
        if slot.job is None:
            if not want:
                self._down(slot)
                self.stop_if_empty(pool, now)
                return ()
            job = self.refill(slot, now)
            if job is None:
                return ()
            jobs.append(job)
        if pool.state is not PoolState.ACCEPTING or self.paused:
            return jobs
        lines = pool.group.lines
        only = lines[0] if len(lines) == 1 else None
        while len(jobs) < want:
            job = self.dispatcher.take_job(pool.group) if only is None else only.pop()
            if job is None:
                break
            self._lay_ahead(job, slot)
            jobs.append(job)
        if self.gate.door:
            self._open_door(now)
        return jobs

    def lost(self, slot: Slot, error: BaseException | None, unstarted: Iterable[Job], now: float) -> None:
        """Take note that a slot has lost its worker.

        `error` is the outcome of the job that it was running; what it never began goes back to its line.
        """
        self.now = now
        worker, pool = slot.worker, slot.pool
        self.take_back(slot, unstarted, now)
        if error is not None and slot.job is not None:
            self.finish(slot, None, error, now)
        self._down(slot)
        if self.observed:
            self.emit(events.WorkerLost(time=now, pool=pool.pool_id, worker=worker, error=None), error)
        self.stop_if_empty(pool, now)
        self.dispatch(now)

    def lagged(self, pool: PoolRecord, seconds: float, now: float) -> None:
        """Take note of how late a pool's event loop has lately been at worst."""
        self.now = now
        pool.loop_lag = seconds

    def overtake(self, job: Job) -> None:
        """Have those taken back that lie ahead and would start later than `job`, the first of its line. Cost: O(slots)."""
        overtakes = job.line.overtakes
        full = [record for record in job.line.limits if not record.has_room(self.now)]
        pools: Iterable[PoolRecord] = (pool for group in job.line.groups for pool in group.pools)
        if full:  # no slot would help it, only what holds these limits
            pools = self.pools
        for pool in pools:
            for slot in pool.all_slots:
                ahead = slot.ahead
                helps = not full or any(record in other.line.limits for record in full for other in ahead)
                if ahead and helps and overtakes(job, ahead):
                    self.left.recalls.append(slot)
                    self.dirty = True

    def take_back(self, slot: Slot, jobs: Iterable[Job], now: float) -> None:
        """Return jobs that the slot's worker never began to their places in line.

        No attempt is charged. While closing cancels what does not run, they are cancelled instead.
        """
        self.now = now
        for job in jobs:
            if slot.job is job:
                slot.job = None
                if job.line.limits:
                    self.lots.release(job.line, token=True)
                if job.slot is not slot:  # it outlived its limit, and was given up before
                    if self.shares is not None:
                        self.shares.returned_late(slot, now)
                    continue
                self.timers.disarm(job, TimerKind.RUN_TIMEOUT)
                job.attempt -= 1
                job.state = WAITING
            elif job in slot.ahead:
                self._in_hand = job
                slot.ahead.remove(job)
                self.ahead -= 1
                if job.line.limits:
                    self.lots.release(job.line, token=True)
                if job.state.settled:
                    if self.shares is not None:
                        self.shares.taken_back(job)
                    continue
            else:
                continue
            job.slot = None
            if self.shares is not None:
                self.shares.taken_back(job)
            self.ledger.recalled += 1
            self._wait_again(job, now)
            self._in_hand = None

    def _wait_again(self, job: Job, now: float) -> None:
        if self.dozing:
            self.wake(now)
        self.queue.held += 1
        job.line.push_back(job)
        options = job.options
        if options.queue_timeout is not None and not job.attempt:  # it may be over, see `Core._due`
            self.timers.disarm(job, TimerKind.QUEUE_TIMEOUT)
            self.arm(job.waiting_since + options.queue_timeout, TimerKind.QUEUE_TIMEOUT, job)
        if not self.retrying:
            error = JobInterrupted(f"job {job.id} was cancelled: the scheduler closed")
            self.settle(job, CANCELLED, error, now)
        elif job.line.broken:
            self.settle(job, FAILED, self.broken(job.line.groups), now)

    def _lay_ahead(self, job: Job, slot: Slot) -> None:
        if slot.ahead is NOTHING_AHEAD:
            slot.ahead = deque()
        # No call up to the blank line, see `MainPath._start`.
        job.slot = slot
        job.line.taken = None
        self.queue.held -= 1
        self.ahead += 1

        slot.ahead.append(job)

    def _start_next(self, slot: Slot, now: float) -> None:
        """Start what lies ahead first: the worker has begun it."""
        if not slot.ahead:
            return
        job = slot.ahead.popleft()
        self.ahead -= 1
        if job.state.settled:  # its deadline passed just then: the worker is overdue with it
            slot.job = job
            slot.attempt = job.attempt + 1
            slot.interrupted = EXPIRED.value
            job.slot = None
            if self.shares is not None:
                self.shares.outlived(job, slot, now)
            self.left.stops.append((slot, slot.attempt))
            self.dirty = True
            return
        self._start(job, slot, now)

    def _down(self, slot: Slot) -> None:
        if not slot.down:
            pool = slot.pool
            if slot in pool.free:
                pool.free.remove(slot)
                if pool.state is PoolState.ACCEPTING:
                    pool.group.free -= 1
            slot.down = True
            pool.down += 1
            if pool.group.ranking is not None:
                pool.group.ranking.stale = True
