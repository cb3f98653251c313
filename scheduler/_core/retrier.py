"""Again, and when? Asks the job's retry policy and believes only sensible answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from policies.checks import is_finite
from policies.contracts import Failure, RetryPolicy, Uniform

from .job import Job
from .pool_table import Slot

#: Stands for the value of an attempt that returned, and whose error is a rejection. A call may also raise an
#: error of that class, another job's, and that is a failure like any other.
REJECTED = object()


class Retrier:
    """Turns a failed attempt into seconds of backoff, or into an end."""

    __slots__ = ("_policy_failed", "_uniform")

    def __init__(
        self,
        uniform: Uniform,
        policy_failed: Callable[[str, object, BaseException, str], None],
    ) -> None:
        self._uniform = uniform
        self._policy_failed = policy_failed

    def ask(self, job: Job, slot: Slot, error: BaseException, now: float, *, rejected: bool) -> float | None:
        """Return seconds to back off after what failed in `slot`, or None to give up.

        `rejected` says that it returned, and that the error is what became of its value. A policy that raises,
        or answers nonsense, gives up; its error becomes the cause of the job's.
        """
        policy = policy_of(job, slot)
        if policy is None:
            return None
        if rejected and error.__cause__ is not None:  # its function raised: the value may be a success
            self._policy_failed("retry", policy, error.__cause__, "give up")
            return None
        extra = job.extra
        first_start = job.started_at
        if extra is not None and extra.first_started_at is not None:
            first_start = extra.first_started_at
        failure = Failure(
            attempt=job.attempt,
            error=error,
            elapsed=now - first_start,
            last_delay=None if extra is None else extra.last_delay,
            rejected=rejected,
        )
        try:
            delay = policy.retry_after(failure, self._uniform)
            if delay is not None and not (is_finite(delay) and delay >= 0):
                raise ValueError(f"retry_after() must return seconds ≥ 0 or None, not {delay!r}")
            return None if delay is None else float(delay)
        except KeyboardInterrupt:
            raise
        except BaseException as broken:
            give_cause(error, broken)
            self._policy_failed("retry", policy, broken, "give up")
            return None


def policy_of(job: Job, slot: Slot) -> RetryPolicy | None:
    """Return who decides on what failed in a slot: the job's own policy, the group's, or the scheduler's."""
    options = job.options
    of_group = None if options.own_retry else slot.pool.group.retry
    return options.retry if of_group is None else of_group


def give_cause(error: BaseException, cause: BaseException) -> None:
    """Make `cause` the cause of an error, or of its first cause; by C alone, for its class may forbid it."""
    seen = {id(cause)}
    while error.__cause__ is not None and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__
    if id(error) not in seen:
        _cause.__set__(error, cause)


_cause: Any = BaseException.__dict__["__cause__"]
