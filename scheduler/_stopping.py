"""How a scheduler ends, as a numbered argument.

A closing goes through its phases in one direction, on a thread of its own; whoever asked waits for it,
and may be interrupted without harm. Callers that come later join the same closing and can only
tighten its deadlines.

1. REFUSING: ``submit`` raises, submitters at the door wake. From here on no job comes in, so the number
   of jobs alive only falls.
2. FINISHING: everything runs as usual until no job is alive or deadline 1 has passed.
3. CANCELLING: what does not run is cancelled and can start no more; what runs is asked to stop, and a
   failure is final. So only jobs that ignore the request are alive when deadline 2 has passed.
4. KILLING: what still runs is given up: its handle settles, its thread is counted as abandoned. A
   thread cannot be killed; it is daemonic and does not keep the process.
5. CLOSED: no job is alive; pools are stopped, the alarm is silent, the report is the ledger.

Every phase but FINISHING without a deadline ends in bounded time, so ``close`` does.
A job (or callback) that closes its own scheduler is not waited for: that would be waiting for itself.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import attrs

from pools.logs import log_of

from ._alarm import stand_in
from ._core import events
from ._core.capacity import JOBS_PER_TURN
from ._core.job import Job
from ._core.pool_table import PoolRecord, Slot
from ._core.states import BACKING_OFF, DELAYED, RUNNING, SUCCEEDED, WAITING, PoolState
from ._current import holds_loop, slot_here
from ._driver import Driver
from ._errors import JobInterrupted, WouldDeadlock
from ._handle import name_of
from ._report import Phase, ShutdownReport, UnfinishedJob

#: Seconds an idle worker gets to leave before its thread is counted as abandoned. Arbitrary.
_LEAVE_WITHIN = 1.0
#: Seconds between two looks of whoever stands in for alarms that got no thread: nobody tells it. Arbitrary.
STAND_IN_EVERY = 0.02
#: The same in a pool that has a worker which was given up before: enough for its idle neighbours.
_STUCK_LEAVE_WITHIN = 0.05


_log = log_of("two-tier-scheduler.stopping")


class Closing:
    """One closing of one driver. Threads: any number may wait for it and tighten it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._done = threading.Event()
        self._when_done: list[Callable[[], object]] = []
        self._changed = threading.Event()
        self._started_at = time.monotonic()
        self._finish_at = math.inf
        self._cancel_at = math.inf
        self._cancel_waiting = False
        self._noted: dict[Job, tuple[UnfinishedJob, object]] = {}
        self._closers: set[Slot] = set()
        #: No thread was to be had for it, and perhaps none for alarms.
        self._without_thread = False
        self.phase = Phase.RUNNING
        self.report: ShutdownReport | None = None

    def tighten(
        self, *, finish_within: float | None, cancel_within: float | None, cancel_waiting: bool
    ) -> None:
        """Bring the deadlines forward; None leaves them as they are."""
        now = time.monotonic()
        if finish_within is not None:
            self._finish_at = min(self._finish_at, now + finish_within)
            if cancel_within is not None:
                self._cancel_at = min(self._cancel_at, now + finish_within + cancel_within)
        self._cancel_waiting = self._cancel_waiting or cancel_waiting
        self._changed.set()

    def wait_for_end(self) -> None:
        """Wait for the end; a job or callback that does so is not itself waited for."""
        slot, core = slot_here(), self._driver.core
        known = slot is not None and (slot.pool in core.pools or slot in core.caller_slots)
        others = known and holds_loop(slot) and self._driver.turn(lambda _now: self._others_than(slot))
        if slot is not None and others:
            raise WouldDeadlock(
                f"the scheduler is closing, but a job in {slot.worker} may not wait for that on its event "
                "loop's own thread: others need the loop; use `await asyncio.to_thread(scheduler.close)`"
            )
        self.let_close(slot)
        self._done.wait()

    def _others_than(self, slot: Slot | None) -> bool:
        return any(job.slot is not slot for job in self._driver.core.alive())

    def let_close(self, slot: Slot | None) -> None:
        """Take note that whoever keeps this slot busy waits for the closing, which must not wait for it."""
        core = self._driver.core
        if slot is not None and (slot.pool in core.pools or slot in core.caller_slots):
            self._closers.add(slot)
            self._changed.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; return whether it has come."""
        return self._done.wait(timeout)

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call `callback` at the end, at once if it has come."""
        with _guard:
            if not self._done.is_set():
                self._when_done.append(callback)
                return
        callback()

    def perform(self, *, without_thread: bool = False) -> None:
        """Go through the phases. One thread does this, once: a caller's, when there was no other to be had."""
        driver = self._driver
        self._without_thread = without_thread
        with _guard:
            if driver.closing is not self:  # an interrupt kept this closing from beginning
                return
            self.phase = Phase.REFUSING
        try:
            last = self._phases()
            statistics = driver.turn(driver.core.statistics)
            # A job that was asked to stop and succeeded all the same did finish.
            # Named here, not in the turn: a function's name may be anybody's code.
            unfinished = [
                note if note.name else attrs.evolve(note, name=name_of(known))
                for job, (note, known) in self._noted.items()
                if job.state is not SUCCEEDED
            ]
            self.report = ShutdownReport(
                statistics=statistics,
                unfinished=tuple(sorted(unfinished, key=lambda note: note.job_id)),
                abandoned_workers=tuple(driver.abandoned),
                phase=last,
                duration=time.monotonic() - self._started_at,
            )
        finally:
            try:
                self._enter(Phase.CLOSED)
                driver.observers.wait(_LEAVE_WITHIN, max(self._finish_at, time.monotonic() + _LEAVE_WITHIN))
            finally:
                with _guard:
                    self._done.set()
                    callbacks, self._when_done = self._when_done, []
                for callback in callbacks:
                    try:
                        callback()
                    except Exception:
                        _log.exception("a callback of the closing raised")

    def _phases(self) -> Phase:
        driver = self._driver
        self._enter(Phase.REFUSING)
        driver.refuse()
        driver.turn(self._open_everything)
        self._enter(Phase.FINISHING)
        last = Phase.FINISHING
        if not self._wait_idle(lambda: self._finish_at):
            self._enter(Phase.CANCELLING)
            last = Phase.CANCELLING
            self._cancel_those_that_wait(named=True)
            driver.turn(self._interrupt_all)
            if not self._wait_idle(lambda: max(self._cancel_at, self._finish_at)):
                self._enter(Phase.KILLING)
                last = Phase.KILLING
                driver.turn(self._abandon_all)
        for slot in self._closers:
            if slot.job is not None and slot.job.state is RUNNING:
                self._note(slot.job, "closing")
        self._stop_pools()
        driver.stop_alarm()
        return last

    def _open_everything(self, now: float) -> None:
        """Let everything run that can: what waits behind a pause or a cordon would wait for ever.

        So would what waits for a clock that is moved by hand: it is cancelled.
        """
        core = self._driver.core
        for pool in core.pools:
            if pool.state is PoolState.CORDONED:
                core.pool_up(pool, now)
        core.resume(now)
        if self._driver.virtual:
            core.retrying = False
            for job in [job for job in core.alive() if _needs_time(job)]:
                self._note(job, "cancelled")
                error = JobInterrupted(
                    f"job {job.id} was cancelled: the scheduler closed and its clock stands still"
                )
                core.cancel(job, now, error)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        core = self._driver.core
        if core.observed:
            self._driver.turn(lambda now: core.emit(events.SchedulerClosing(time=now, phase=phase.value)))

    def _wait_idle(self, deadline: Any) -> bool:
        """Wait until only jobs that themselves close are alive; deadlines may move meanwhile."""
        while True:
            self._changed.clear()
            if self._cancel_waiting:
                self._cancel_waiting = False
                self._cancel_those_that_wait(named=False)
            if self._driver.turn(self._idle_now):
                return True
            left = deadline() - time.monotonic()
            if left <= 0:
                return False
            if self._without_thread:
                left = min(left, stand_in(), STAND_IN_EVERY)
            # Closers come without a signal (a job that closes ends nothing), hence the cap.
            self._changed.wait(min(left, 0.05 if self._closers else threading.TIMEOUT_MAX))

    def _idle_now(self, now: float) -> bool:
        core = self._driver.core
        if self._closers:
            self._cancel_those_behind_closers(now)
        if core.idle or self._only_closers():
            return True
        self._driver.when_idle(self._changed.set)
        return False

    def _only_closers(self) -> bool:
        if not self._closers:
            return False
        return all(job.state is RUNNING and job.slot in self._closers for job in self._driver.core.alive())

    def _cancel_those_behind_closers(self, now: float) -> None:
        """Cancel who may start only when a job that waits for this closing has settled."""
        core = self._driver.core
        for job in list(core.alive()):
            before = None if job.extra is None else job.extra.behind
            if before is not None and before.state is RUNNING and before.slot in self._closers:
                self._note(job, "cancelled")
                told = f"job {job.id} was cancelled: job {before.id} of its key closes the scheduler"
                core.cancel(job, now, JobInterrupted(told))

    def _cancel_those_that_wait(self, *, named: bool) -> None:
        """Cancel every job that does not run, the last first, so many a turn that nobody waits long for the lock.

        Nothing starts in between, or a job would run because it stood far back. `named` puts them into the report.
        """
        driver = self._driver

        def begin(now: float) -> None:
            driver.core.pause(now)
            for pool in driver.core.pools:
                for slot in pool.all_slots:
                    driver.take_back(slot, now)
                    if named:
                        for job in slot.ahead:  # its worker has begun it
                            self._note(job, "cancelled")
            # What fails from now on has failed; not before, or who is taken back would be cancelled without a note.
            driver.core.retrying = driver.core.retrying and not named

        def cancel_some(now: float) -> bool:
            core = driver.core
            for _ in range(JOBS_PER_TURN):
                job = core.last_to_start()
                if job is None:
                    return False
                if named:
                    self._note(job, "cancelled")
                    error = JobInterrupted(f"job {job.id} was cancelled: the scheduler closed")
                    core.cancel(job, now, error)
                else:
                    core.cancel(job, now, CancelledError())
            return True

        driver.turn(begin)
        while driver.turn(cancel_some):
            pass
        driver.turn(driver.core.resume)

    def _interrupt_all(self, now: float) -> None:
        core = self._driver.core
        for job in list(core.running()):
            if job.slot not in self._closers:
                self._note(job, "interrupted")
                core.interrupt(job, "the scheduler is closing", now)

    def _abandon_all(self, now: float) -> None:
        core = self._driver.core
        slots = [slot for pool in core.pools for slot in pool.all_slots]
        for slot in (*slots, *core.caller_slots):
            job = slot.job
            if job is not None and slot not in self._closers and job.slot is slot:
                self._note(job, "abandoned")
                error = JobInterrupted(
                    f"job {job.id} was still running in {slot.worker} when the scheduler closed; "
                    f"its {'coroutine' if slot.pool.group.coroutines else 'thread'} was left behind"
                )
                core.abandon(slot, error, now)

    def _note(self, job: Job, fate: str) -> None:
        place = job.slot
        known = getattr(job, "function", None)
        self._noted[job] = (
            UnfinishedJob(
                job_id=job.id,
                name=job.options.name or "",
                state=job.state,
                attempt=job.attempt,
                worker=None if place is None else place.worker,
                fate=fate,
            ),
            known,
        )

    def _stop_pools(self) -> None:
        driver = self._driver

        def drain(now: float) -> list[PoolRecord]:
            pools = list(driver.core.pools)
            for pool in pools:
                driver.core.drain_for_good(pool, now)
            return pools

        pools = driver.turn(drain)
        # Who was abandoned has had its time: its pool is not waited for again.
        stuck_pools = {slot.pool for pool in pools for slot in pool.all_slots if slot.overdue}
        until = time.monotonic() + _LEAVE_WITHIN
        for pool in pools:
            if any(slot.pool is pool for slot in self._closers):
                pool.runner.drain()  # its worker leaves when the job that closes has returned
                driver.abandoned += [slot.worker for slot in pool.all_slots if slot.overdue]
                continue
            patience = _STUCK_LEAVE_WITHIN if pool in stuck_pools else until - time.monotonic()
            if pool.runner is None:  # it is just being opened, and drained then
                continue
            try:
                stuck = pool.runner.stop(max(0.0, patience))
            except Exception:
                _log.exception("pool %s raised when it was stopped", pool.pool_id)
                continue
            # Who came to wait for this closing meanwhile goes when it has ended.
            left = [slot for slot in map(pool.all_slots.__getitem__, stuck) if slot not in self._closers]
            driver.abandoned += [slot.worker for slot in left]


def _needs_time(job: Job) -> bool:
    """Whether a job that does not run may wait for a moment to come."""
    rated = job.state is WAITING and any(record.interval for record in job.line.limits)
    behind = job.extra is not None and job.extra.behind is not None
    return rated or (job.state in (DELAYED, BACKING_OFF) and not behind)


#: Reentrant: a finaliser may begin a closing while this thread begins another.
_guard = threading.RLock()


def closing_of(driver: Driver, *, to_wait: bool = False) -> Closing:
    """Return the driver's closing, beginning it if need be; `to_wait` for its end, the caller's slot is noted first.

    The thread is started outside the guard: a finaliser that runs in it before it has reported itself
    started may close another scheduler, and would wait for the guard for ever.
    """
    closing: Closing | None = None
    try:
        with _guard:
            if driver.closing is not None:
                begun: Closing = driver.closing
                return begun
            closing = driver.closing = Closing(driver)
            if to_wait and not holds_loop(slot_here()):
                closing.let_close(slot_here())
        name = f"two-tier-scheduler-{driver.name}-closing"
        threading.Thread(target=closing.perform, name=name, daemon=True).start()
    except RuntimeError:  # no thread to be had: the caller does it
        assert closing is not None
        closing.perform(without_thread=True)
    except BaseException:  # an interrupt: the next one to ask begins anew
        if closing is not None and closing.phase is Phase.RUNNING:
            driver.closing = None
        raise
    return closing
