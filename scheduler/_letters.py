"""Jobs that have failed for good, as long as somebody may want them: with their calls, errors and attempts.

A letter is taken in the turn in which its job settles, so nobody sees a FAILED job without its letter. Nothing
of the user's is called there: a letter only refers to what the job refers to, and what the bound pushes out
is handed to the turn's `Left`, to be let go of after the lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from ._core.books import Left
from ._core.job import Attempt, Job, JobOptions
from ._core.states import FAILED
from ._handle import JobHandle, name_of


@attrs.frozen(kw_only=True, eq=False)
class DeadLetter:
    """A job that ended FAILED: everything needed to look at it, and to run it again.

    It keeps alive what it names: the function, the arguments, and the frames of every error's traceback.
    Two letters are equal only if they are the same; ``repr`` does not show the arguments.
    """

    job_id: int
    function: Callable[..., Any] = attrs.field(repr=False)
    args: tuple[Any, ...] = attrs.field(repr=False)
    kwargs: dict[str, Any] = attrs.field(repr=False)
    _asked: JobOptions = attrs.field(repr=False)
    #: Why it failed: the error of its last attempt, or why it will never have one.
    error: BaseException = attrs.field(repr=False)
    #: Every attempt, oldest first, each with its worker, times and error.
    attempts: tuple[Attempt, ...] = attrs.field(repr=False)
    #: Seconds on the scheduler's clock.
    submitted_at: float
    failed_at: float
    #: When it failed, in seconds since 1970.
    unix_time: float

    @property
    def name(self) -> str:
        """The name given with the options, else the function's."""
        return self._asked.name or name_of(self.function)

    @property
    def options(self) -> dict[str, Any]:
        """What `with_options` takes to submit it as it was: priority, tags, limits, retry, tenant, key and so on."""
        options = {name: getattr(self._asked, name) for name in _OPTIONS}
        if (
            not self._asked.own_retry
        ):  # it was the group's or the scheduler's, and whoever takes it decides anew
            del options["retry"]
        return options


class Letters:
    """The newest letters, at most `bound`. Everything is called under the scheduler's lock."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.dropped = 0
        #: By job id, oldest first.
        self.kept: dict[int, DeadLetter] = {}
        #: Ids of those that are just being submitted again.
        self.leaving: set[int] = set()

    def take(self, settled: Iterable[Job], left: Left) -> None:
        """Take a letter of each job that has failed. Inside a turn. Cost: 4 µs each."""
        for job in settled:
            if job.state is FAILED and isinstance(job, JobHandle) and job.function is not None:
                self.kept[job.id] = _letter(job)
                while len(self.kept) > self.bound:
                    left.dropped.append(self.kept.pop(next(iter(self.kept))))
                    self.dropped += 1

    def claim(self, job_id: int) -> DeadLetter:
        """Return a letter that the caller alone is about to submit again, or discard."""
        if job_id not in self.kept:
            raise KeyError(f"there is no dead letter of job {job_id}; dropped so far: {self.dropped}")
        if job_id in self.leaving:
            raise KeyError(f"the dead letter of job {job_id} is just being submitted again")
        self.leaving.add(job_id)
        return self.kept[job_id]

    def keep(self, job_id: int) -> None:
        """Leave a letter that was claimed where it is."""
        self.leaving.discard(job_id)

    def remove(self, job_id: int) -> DeadLetter | None:
        """Remove a letter and return it, or None if it is gone."""
        self.leaving.discard(job_id)
        return self.kept.pop(job_id, None)


def _letter(job: JobHandle[Any]) -> DeadLetter:
    return DeadLetter(
        job_id=job.id,
        function=job.function,  # type: ignore[arg-type]
        args=job.args,
        kwargs=job.kwargs or {},
        asked=job.options,
        error=job.outcome,
        attempts=job.all_attempts(),
        submitted_at=job.submitted_at,
        failed_at=job.ended_at or 0.0,
        unix_time=time.time(),
    )


_OPTIONS = tuple(f.name for f in attrs.fields(JobOptions) if f.init and f.name != "own_retry")
