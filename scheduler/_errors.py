"""Every exception of the scheduler, in one hierarchy.

A message names the thing, the limit and the remedy.
Where Python already has a word for the situation, the class is that word too
(``TimeoutError``, ``CancelledError``, ``BrokenExecutor``), so existing ``except`` clauses keep working.
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, CancelledError


class SchedulerError(Exception):
    """The root of everything this library raises on purpose."""


def tears(error: BaseException) -> bool:
    """Whether an exception may have come between any two steps of ours, as an interrupt does."""
    return not isinstance(error, Exception) or isinstance(error, RecursionError | MemoryError)


class QueueFull(SchedulerError):
    """The front queue is at capacity and the admission policy turned the job away."""


class DuplicateJob(SchedulerError):
    """A job of the same ``key`` is alive, and ``on_conflict="reject"`` says that one is enough.

    `key` is the key, `job_id` the living job's id, None while that one stands at the door.
    """

    key: str = ""
    job_id: int | None = None


class SchedulerClosed(SchedulerError, RuntimeError):
    """The scheduler takes no more jobs; the text contains "cannot schedule new futures"."""


class NoEligiblePool(SchedulerError, ValueError):
    """No group may take the job; the text names the tags that exist."""


class RunTimeout(SchedulerError, TimeoutError):
    """One attempt ran longer than ``run_timeout`` seconds."""


class QueueTimeout(SchedulerError, TimeoutError):
    """The job waited longer than ``queue_timeout`` seconds for its first start."""


class DeadlineExceeded(SchedulerError, TimeoutError):
    """The job did not settle within ``deadline`` seconds of its submission."""


class ResultRejected(SchedulerError):
    """The call returned what the retry policy's `retry_if_result` rejects, and there is no further attempt.

    `value` is what it returned. When the function itself raised, its error is the cause.
    """

    value: object = None


class JobShed(SchedulerError):
    """The job was accepted and later evicted by the admission policy."""


class JobInterrupted(SchedulerError, CancelledError):
    """The job was asked to stop, by ``interrupt()`` or by a closing scheduler, and did."""


class CancelledFromWithin(SchedulerError):
    """A coroutine ended with ``asyncio.CancelledError``, its cause, though nobody had asked the job to stop.

    An error of its own, because whoever awaits the handle would take the bare one for its own cancellation.
    """


class WorkerDied(SchedulerError):
    """The worker that ran the attempt ended without delivering an outcome; a retry policy may answer it.

    `worker` is its id, `phase` what it was doing ("unpickling the call", "running", "pickling the result"),
    `exitcode` as `multiprocessing` tells it (−9: killed by signal 9), `stderr` the last lines it wrote there.
    """

    worker: str = ""
    phase: str = "running"
    exitcode: int | None = None
    stderr: str = ""


class RetryBudgetExhausted(SchedulerError):
    """No further attempt was made because the retry budget was empty; the cause of the job's own last error."""


class BreakerOpen(SchedulerError):
    """A circuit breaker was open: the job did not run, or no further attempt was made (then the cause of its error)."""


class PoolBroken(SchedulerError, BrokenExecutor):
    """A pool can run nothing any more, for example because its initializer raised."""


class WouldDeadlock(SchedulerError, RuntimeError):
    """A job waits for a job that cannot start before it, because every slot waits likewise."""


class RecordingError(SchedulerError, ValueError):
    """A recording cannot be read, or what it was made of cannot be made again."""


class ConfigError(SchedulerError, ValueError):
    """A configuration makes no scheduler; the text names each key that is wrong, and the file.

    `key` is the first of them, such as ``groups[1].pool.slots`` (empty if the file cannot be read at all), and
    `problems` has them all, each with what is wrong with it.
    """

    key: str = ""
    problems: tuple[tuple[str, str], ...] = ()
