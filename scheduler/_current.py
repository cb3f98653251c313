"""What a running job can know of itself: ``current_job()``, and a logging filter that uses it.

The slot a thread works for is kept in a thread-local: a worker thread serves one slot for life, so
this costs 50 ns a job, where a context variable in the job's own copied context would cost 250.
Many coroutines share one thread, so a job that is a coroutine has its slot in its context, where the asyncio
tasks and threads that it starts with that context find it, too. Contexts outlive jobs and are handed on to
others; so what stands there is no job (which would be kept alive) but says which one it was.
"""

from __future__ import annotations

import logging
import threading
from contextvars import ContextVar
from typing import Any, Protocol

from ._core.job import Job
from ._core.pool_table import Slot
from ._errors import JobInterrupted, SchedulerError


class Reporter(Protocol):
    """Whoever wants to hear of progress."""

    def progressed(self, job: Any, attempt: int, done: float, total: float | None) -> None:
        """Take the progress of one attempt."""

    def seconds_left(self, job: Any, slot: Slot) -> float | None:
        """Return the seconds the attempt has left, None when it has no limit."""


class _Local(threading.local):
    slot: Slot | None = None
    #: The slot that this thread looks after and whose jobs run elsewhere, while it may run their done-callbacks.
    tended: Slot | None = None


#: The slot this thread works for; set by every attempt.
local = _Local()


#: The slot whose coroutine this context belongs to, the id of its job, and the attempt.
inside: ContextVar[tuple[Slot, int, int] | None] = ContextVar("two-tier-scheduler-job", default=None)


def current_slot() -> Slot | None:
    """Return the slot whose job this thread or coroutine runs, or None outside a job.

    Between two jobs a thread's slot may be bound to the next one already, whose call has not begun.
    """
    slot = local.slot
    if slot is not None and slot.job is not None and slot.begun == slot.attempt:
        return slot
    mark = inside.get()
    if mark is not None:
        slot, job_id, attempt = mark
        if slot.job is not None and slot.job.id == job_id and slot.attempt == attempt:
            return slot
    return None


def slot_here() -> Slot | None:
    """Return the slot that cannot go on while this thread waits: of its job, or of that job's done-callbacks."""
    slot = local.slot
    if slot is not None and (slot.held or (slot.job is not None and slot.begun == slot.attempt)):
        return slot
    mark = inside.get()
    if mark is not None:
        slot, job_id, attempt = mark
        if slot.attempt == attempt and (slot.held if slot.job is None else slot.job.id == job_id):
            return slot
    return local.tended


def holds_loop(slot: Slot | None) -> bool:
    """Return whether a job in `slot` that waits on this thread keeps a whole event loop waiting."""
    if slot is None or not slot.pool.group.coroutines:
        return False
    thread: int | None = getattr(slot.pool.runner, "loop_thread", None)
    return thread == threading.get_ident()


class CurrentJob:
    """One attempt, seen from inside. Threads: may be handed to threads that the job starts."""

    __slots__ = ("_job", "_slot", "attempt")

    def __init__(self, job: Job, slot: Slot) -> None:
        self._job = job
        self._slot = slot
        #: The number of this attempt, 1 for the first.
        self.attempt = slot.attempt

    @property
    def id(self) -> int:
        """The job's id."""
        return self._job.id

    @property
    def pool(self) -> str:
        """The pool this attempt runs in."""
        return self._slot.pool_id

    @property
    def worker(self) -> str:
        """The worker this attempt runs in, such as ``io-2/3``."""
        return self._slot.worker

    @property
    def interrupted(self) -> bool:
        """Whether this attempt has been asked to stop, or is over. Cost: 0.2 µs; poll it freely."""
        return self._reason() is not None

    def raise_if_interrupted(self) -> None:
        """Raise JobInterrupted if this attempt has been asked to stop, or is over."""
        reason = self._reason()
        if reason is not None:
            raise JobInterrupted(f"job {self._job.id} was interrupted: {reason}")

    def _reason(self) -> str | None:
        slot = self._slot
        if slot.job is not self._job or slot.attempt != self.attempt:
            return f"attempt {self.attempt} is over"
        return slot.interrupted

    def remaining(self) -> float | None:
        """Return the seconds until ``run_timeout`` or ``deadline``, at least 0; None without either."""
        return _reporter(self._job).seconds_left(self._job, self._slot)

    def progress(self, done: float, total: float | None = None) -> None:
        """Tell how far the job is; observers and ``handle.progress`` see it."""
        _reporter(self._job).progressed(self._job, self.attempt, done, total)

    def __repr__(self) -> str:
        return f"<CurrentJob {self.id} attempt {self.attempt} in {self.worker}>"


def _reporter(job: Any) -> Reporter:
    reporter: Reporter = job.driver
    return reporter


def current_job() -> CurrentJob:
    """Return the job that the calling thread or coroutine runs.

    Raises SchedulerError outside a job. Threads that a job starts itself are outside: hand them the
    object. Asyncio tasks that a coroutine starts are inside, and so is what it hands to
    ``asyncio.to_thread``. Cost: 0.3 µs; keep the result when you poll it.
    """
    slot = current_slot()
    if slot is None or slot.job is None:
        raise SchedulerError(
            "current_job() was called outside a job; inside a thread that a job started, "
            "pass it what current_job() returned in the job"
        )
    return CurrentJob(slot.job, slot)


class JobLogFilter(logging.Filter):
    """Puts ``job_id``, ``attempt`` and ``worker`` on every log record; ``-`` outside a job.

    Attach it to a handler: ``handler.addFilter(JobLogFilter())``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the three attributes and let the record pass."""
        slot = current_slot()
        if slot is None or slot.job is None:
            record.job_id = record.attempt = record.worker = "-"
        else:
            record.job_id, record.attempt, record.worker = slot.job.id, slot.attempt, slot.worker
        return True
