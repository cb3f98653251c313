"""Is it a success? Asks a retry policy's `retry_if_result` about a value, outside every lock.

Asked on the thread that takes the outcome over, for jobs whose policy has such a function and for no others:
`JobOptions.judges`, and the same of a group. What is rejected then goes the way of every failure.
"""

from __future__ import annotations

from threading import current_thread, main_thread

from ._core.job import Job
from ._core.pool_table import GroupRecord, Slot
from ._core.retrier import policy_of
from ._errors import ResultRejected


def judges(group: GroupRecord) -> bool:
    """Whether a group has a retry policy that looks at what calls return."""
    return getattr(group.retry, "retry_if_result", None) is not None


def judged(job: Job, slot: Slot, value: object) -> ResultRejected | None:
    """Return the error of an attempt whose value its policy rejects, or None; `REJECTED` then takes the value's place.

    When the function raises, nobody knows what the value is worth: the error is the rejection's cause, and the
    retrier gives up. Ctrl-C goes on to the main thread, and leaves the value as it is.
    """
    policy = policy_of(job, slot)
    rejects = getattr(policy, "retry_if_result", None)
    hedge = None if job.extra is None else job.extra.hedge
    if rejects is None or (job.slot is not slot and hedge is not slot):  # the attempt was given up before
        return None
    cause: BaseException | None = None
    try:
        if not rejects(value):
            return None
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and current_thread() is main_thread():
            raise
        below = error.__traceback__ and error.__traceback__.tb_next  # a frame of ours would keep the value
        cause = BaseException.with_traceback(error, below)
    said = "rejects" if cause is None else "could not be asked about"
    rejected = ResultRejected(
        f"attempt {job.attempt + job.lies_ahead} of job {job.id} returned what retry_if_result of "
        f"{type(policy).__name__} {said}; it is in .value"
    )
    rejected.value, rejected.__cause__ = value, cause
    return rejected
