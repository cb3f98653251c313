"""What happens to a job that finds the front queue full."""

from __future__ import annotations

import attrs

from .checks import number
from .contracts import Admission, JobView, QueueView


@attrs.frozen
class Block:
    """Let the submitter wait for room, for at most `timeout` seconds (None: as long as it takes).

    The default. Waiting submitters are served in order of arrival, and all of them wake with
    `SchedulerClosed` when the scheduler closes. After `timeout`, ``submit`` raises `QueueFull`.
    """

    timeout: float | None = attrs.field(default=None, validator=attrs.validators.optional(number(at_least=0)))

    def admit(self, job: JobView, queue: QueueView) -> Admission:
        """Return BLOCK."""
        return Admission.BLOCK


@attrs.frozen
class Reject:
    """Turn the newcomer away: ``submit`` raises `QueueFull`."""

    def admit(self, job: JobView, queue: QueueView) -> Admission:
        """Return REJECT."""
        return Admission.REJECT


@attrs.frozen
class ShedLowest:
    """Make room by evicting the waiting job that would start last; its handle raises `JobShed`.

    A newcomer that would itself start last is turned away with `QueueFull`.
    """

    def admit(self, job: JobView, queue: QueueView) -> Admission:
        """Return SHED_LOWEST."""
        return Admission.SHED_LOWEST


@attrs.frozen
class CallerRuns:
    """Let the submitting thread run the job itself, which slows it down by just that much.

    The job overtakes what waits, and a pause of the pools does not stop it: the submitter never blocks.
    It is reported with the worker id ``caller``. Only a job with a delay waits for room, as with `Block`.
    """

    def admit(self, job: JobView, queue: QueueView) -> Admission:
        """Return CALLER_RUNS."""
        return Admission.CALLER_RUNS
