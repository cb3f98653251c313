"""What happens to a job that finds the front queue full."""

from __future__ import annotations

import reprlib

import attrs

from .checks import number
from .contracts import Admission, AdmissionPolicy, JobView, QueueView


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


@attrs.frozen(kw_only=True)
class CoDel:
    """Shed what has waited too long, while a queue stands; at a full queue, do as `otherwise` says (default `Block`).

    A queue that comes and goes is a burst, and harmless. One that never empties is overload: everybody
    waits, and nobody is served better for it. It stands when within `interval` seconds (default 1) the job
    that had waited longest of some priority had always waited more than `target` seconds (default 0.1). Then
    jobs of that priority that have waited twice the target end with `JobShed`, the least urgent first.

    Nichols and Jacobson, "Controlling Queue Delay" (2012), in the form that Facebook gave it for requests
    (folly's `Codel`). Set `target` to a tenth of what your callers have patience for, and `interval` to the
    longest wait that is still normal.
    """

    target: float = attrs.field(default=0.1, validator=number(above=0))
    interval: float = attrs.field(default=1.0, validator=number(above=0))
    otherwise: AdmissionPolicy = attrs.field(factory=Block)

    @otherwise.validator
    def _has_answer(self, attribute: attrs.Attribute[AdmissionPolicy], value: object) -> None:
        if isinstance(value, type) or not callable(getattr(value, "admit", None)):
            raise TypeError(
                f"CoDel(otherwise=) must be an admission policy such as Block(), not {reprlib.repr(value)}"
            )

    @property
    def timeout(self) -> float | None:
        """Seconds that a submitter waits for room, as `otherwise` says."""
        timeout: float | None = getattr(self.otherwise, "timeout", None)
        return timeout

    def admit(self, job: JobView, queue: QueueView) -> Admission:
        """Return what `otherwise` returns."""
        return self.otherwise.admit(job, queue)

    def too_long(self, least_wait: float) -> float | None:
        """Return after how many seconds a job is shed, None while no queue stands."""
        return 2 * self.target if least_wait > self.target else None
