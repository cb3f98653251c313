"""What closing reports: how far it came, and every job that it ended."""

from __future__ import annotations

import enum

import attrs

from ._core.states import JobState
from ._core.statistics import Statistics


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
