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

import enum
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from itertools import islice
from typing import Any

import attrs

from ._core import events
from ._core.capacity import JOBS_PER_TURN
from ._core.job import Job
from ._core.pool_table import Slot
from ._core.states import RUNNING, SUCCEEDED, JobState
from ._core.statistics import Statistics
from ._current import local
from ._driver import Driver
from ._errors import JobInterrupted

#: Seconds an idle worker gets to leave before its thread is counted as abandoned. Arbitrary.
_LEAVE_WITHIN = 1.0
#: The same in a pool that has a worker which was given up before: enough for its idle neighbours.
_STUCK_LEAVE_WITHIN = 0.05


_log = logging.getLogger("two-tier-scheduler.stopping")


class Phase(enum.Enum):
    """How far closing has come."""

    RUNNING = "running"
    REFUSING = "refusing"
    FINISHING = "finishing"
    CANCELLING = "cancelling"
    KILLING = "killing"
    CLOSED = "closed"


@attrs.frozen(kw_only=True)
class UnfinishedJob:
    """A job that closing ended before it could finish by itself."""

    job_id: int
    name: str
    #: Where it was when it was given up.
    state: JobState
    attempt: int
    worker: str | None
    #: "cancelled" before it ran, "interrupted" while it ran, "abandoned" with its thread, or
    #: "closing" for the job that closed the scheduler.
    fate: str


@attrs.frozen(kw_only=True)
class ShutdownReport:
    """What became of everything when the scheduler closed."""

    #: The final ledger.
    statistics: Statistics
    #: Every job that did not finish by itself, by id.
    unfinished: tuple[UnfinishedJob, ...]
    #: Workers whose threads were left behind.
    abandoned_workers: tuple[str, ...]
    #: The last phase that had anything to do.
    phase: Phase
    #: Seconds from the first request to the end.
    duration: float

    @property
    def complete(self) -> bool:
        """Whether every job finished by itself."""
        return not self.unfinished

    def __str__(self) -> str:
        ledger = self.statistics
        lines = [
            f"closed in {self.duration:.2f} s after {self.phase.value}: {ledger.submitted} submitted = "
            f"{ledger.succeeded} succeeded + {ledger.failed} failed + {ledger.cancelled} cancelled + "
            f"{ledger.expired} expired + {ledger.shed} shed"
            + (f" + {ledger.running} running" if ledger.running else "")
        ]
        shown = self.unfinished[:10]
        for job in shown:
            where = f" in {job.worker}" if job.worker else ""
            lines.append(f"  job {job.job_id} ({job.name}) was {job.state.value}{where}: {job.fate}")
        if len(self.unfinished) > len(shown):
            lines.append(f"  … and {len(self.unfinished) - len(shown)} more")
        if self.abandoned_workers:
            lines.append(f"  abandoned workers: {', '.join(self.abandoned_workers)}")
        return "\n".join(lines)


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
        self._noted: dict[Job, UnfinishedJob] = {}
        self._closers: set[Slot] = set()
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
        slot, core = local.slot, self._driver.core
        inside = slot is not None and (slot.job is not None or slot.held)
        if slot is not None and inside and (slot.pool in core.pools or slot in core.caller_slots):
            self._closers.add(slot)
            self._changed.set()
        self._done.wait()

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

    def perform(self) -> None:
        """Go through the phases. One thread does this, once."""
        driver = self._driver
        with _guard:
            if driver.closing is not self:  # an interrupt kept this closing from beginning
                return
            self.phase = Phase.REFUSING
        try:
            last = self._phases()
            statistics = driver.turn(driver.core.statistics)
            # A job that was asked to stop and succeeded all the same did finish.
            unfinished = [note for job, note in self._noted.items() if job.state is not SUCCEEDED]
            self.report = ShutdownReport(
                statistics=statistics,
                unfinished=tuple(sorted(unfinished, key=lambda note: note.job_id)),
                abandoned_workers=tuple(driver.abandoned),
                phase=last,
                duration=time.monotonic() - self._started_at,
            )
        finally:
            self._enter(Phase.CLOSED)
            with _guard:
                self._done.set()
                callbacks, self._when_done = self._when_done, []
            for callback in callbacks:
                callback()

    def _phases(self) -> Phase:
        driver = self._driver
        self._enter(Phase.REFUSING)
        driver.refuse()
        if driver.core.paused:
            driver.turn(driver.core.resume)
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
            # Closers come without a signal (a job that closes ends nothing), hence the cap.
            self._changed.wait(min(left, 0.05 if self._closers else threading.TIMEOUT_MAX))

    def _idle_now(self, now: float) -> bool:
        core = self._driver.core
        if core.idle or self._only_closers():
            return True
        self._driver.when_idle(self._changed.set)
        return False

    def _only_closers(self) -> bool:
        if not self._closers:
            return False
        return all(job.state is RUNNING and job.slot in self._closers for job in self._driver.core.alive())

    def _cancel_those_that_wait(self, *, named: bool) -> None:
        """Cancel every job that does not run, so many a turn that nobody waits long for the lock.

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
            waiting = (job for job in core.alive() if job.state is not RUNNING and not job.lies_ahead)
            batch = list(islice(waiting, JOBS_PER_TURN))
            for job in batch:
                if named:
                    self._note(job, "cancelled")
                    error = JobInterrupted(f"job {job.id} was cancelled: the scheduler closed")
                    core.cancel(job, now, error)
                else:
                    core.cancel(job, now, CancelledError())
            return bool(batch)

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
                    "its thread was left behind"
                )
                core.abandon(slot, error, now)

    def _note(self, job: Job, fate: str) -> None:
        place = job.slot
        self._noted[job] = UnfinishedJob(
            job_id=job.id,
            name=getattr(job, "name", str(job.id)),
            state=job.state,
            attempt=job.attempt,
            worker=None if place is None else place.worker,
            fate=fate,
        )

    def _stop_pools(self) -> None:
        driver = self._driver
        pools = list(driver.core.pools)

        def drain(now: float) -> None:
            for pool in pools:
                driver.core.drain_for_good(pool, now)

        driver.turn(drain)
        # Who was abandoned has had its time: its pool is not waited for again.
        stuck_pools = {slot.pool for pool in pools for slot in pool.all_slots if slot.overdue}
        until = time.monotonic() + _LEAVE_WITHIN
        for pool in pools:
            if any(slot.pool is pool for slot in self._closers):
                pool.runner.drain()  # its worker leaves when the job that closes has returned
                continue
            patience = _STUCK_LEAVE_WITHIN if pool in stuck_pools else until - time.monotonic()
            try:
                stuck = pool.runner.stop(max(0.0, patience))
            except Exception:
                _log.exception("pool %s raised when it was stopped", pool.pool_id)
                continue
            driver.abandoned += [pool.all_slots[index].worker for index in stuck]


#: Reentrant: a finaliser may begin a closing while this thread begins another.
_guard = threading.RLock()


def closing_of(driver: Driver) -> Closing:
    """Return the driver's closing, beginning it if need be.

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
        name = f"two-tier-scheduler-{driver.name}-closing"
        threading.Thread(target=closing.perform, name=name, daemon=True).start()
    except RuntimeError:  # no thread to be had: the caller does it
        assert closing is not None
        closing.perform()
    except BaseException:  # an interrupt: the next one to ask begins anew
        if closing is not None and closing.phase is Phase.RUNNING:
            driver.closing = None
        raise
    return closing
