"""A job with a run time instead of a function, and the error of one that was told to fail."""

from __future__ import annotations

from collections.abc import Callable

from ._core.job import Attempt, Job, JobOptions, Line

__all__ = ["Fails", "RunTime", "SimulatedFailure", "SimulatedJob"]

#: How many of a job's attempts fail, or a function of an attempt's number that says whether it does.
Fails = int | Callable[[int], bool]

#: Seconds that an attempt runs, or a function that says so of each.
RunTime = float | Callable[[], float]


class SimulatedFailure(Exception):
    """The error of a simulated attempt that was told to fail."""


class SimulatedJob(Job):
    """A job with a run time instead of a function."""

    __slots__ = ("fails", "joined", "run_time")

    def __init__(self, options: JobOptions, line: Line, run_time: RunTime, fails: Fails) -> None:
        super().__init__(options, line)
        #: Seconds one attempt takes, or what says of each how many.
        self.run_time = run_time
        #: How many attempts fail before one succeeds, or what says of each whether it fails.
        self.fails = fails
        #: The living job of its key that it joined when it arrived; it is then none of its own.
        self.joined: SimulatedJob | None = None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The job's attempts so far, oldest first."""
        return self.all_attempts()

    @property
    def waited(self) -> float:
        """Seconds between joining the front queue and the last start."""
        return self.started_at - self.waiting_since
