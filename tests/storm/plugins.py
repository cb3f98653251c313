"""Policies that somebody else wrote, badly: they raise, lie, answer nonsense, or take long.

All of them are values, and what they answer follows from what they look at alone, so that a run can be repeated.
"""

from __future__ import annotations

import math
from typing import Any

import attrs

from policies import Admission, Advice, CircuitBreaker


class Stopwatch:
    """What policies are timed with: it moves only when one of them says that it took long."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


#: One for all runs of a process, set back at the beginning of each.
WATCH = Stopwatch()

#: Nobody has given this one to a scheduler.
UNKNOWN = CircuitBreaker(tag="unknown")


def _deed(number: int) -> str:
    """Return what a bad policy does about what bears this number."""
    return ("right", "raise", "lie", "right", "slow", "nonsense")[number % 6]


def _raise_or_dawdle(deed: str) -> None:
    if deed == "raise":
        raise ZeroDivisionError("the plug-in is broken")
    if deed == "slow":
        WATCH.seconds += 1.0


@attrs.frozen
class BadOrdering:
    """Its keys are sometimes no numbers."""

    def key(self, job: Any) -> float:
        deed = _deed(job.priority + int(8 * job.submitted_at))
        _raise_or_dawdle(deed)
        answers: dict[str, Any] = {"lie": math.nan, "nonsense": "first"}
        return answers.get(deed, job.priority)  # type: ignore[no-any-return]


@attrs.frozen
class BadSharing:
    """Its weights are sometimes no weights."""

    def key(self, job: Any) -> float:
        return job.priority  # type: ignore[no-any-return]

    def weight(self, job: Any) -> float:
        deed = _deed(len(job.tenant or "") + job.priority)
        _raise_or_dawdle(deed)
        answers: dict[str, Any] = {"lie": -1.0, "nonsense": None}
        return answers.get(deed, 2.0)  # type: ignore[no-any-return]


@attrs.frozen
class BadAdmission:
    """It answers what nobody asked."""

    def admit(self, job: Any, queue: Any) -> Any:
        deed = _deed(job.priority + queue.held)
        _raise_or_dawdle(deed)
        return {"lie": Admission.SHED_LOWEST, "nonsense": "yes"}.get(deed, Admission.REJECT)


@attrs.frozen
class BadShedding:
    """It sheds, and says nonsense about how long is too long."""

    interval: float = 0.5

    def admit(self, job: Any, queue: Any) -> Admission:
        return Admission.BLOCK

    def too_long(self, least_wait: float) -> float | None:
        deed = _deed(int(16 * least_wait))
        _raise_or_dawdle(deed)
        return {"lie": 0.0, "nonsense": math.nan}.get(deed, 0.25 if least_wait > 0.25 else None)


@attrs.frozen
class BadRouting:
    """It returns pools that it was not offered."""

    def choose(self, job: Any, pools: Any, uniform: Any) -> Any:
        deed = _deed(job.priority + pools[0].last_chosen)
        _raise_or_dawdle(deed)
        return {"lie": None, "nonsense": job}.get(deed, pools[-1])


@attrs.frozen
class BadRetry:
    """Its delays are sometimes no delays, and it asks guards that the scheduler does not know."""

    attempts_max: int = 4

    def retry_after(self, failure: Any, uniform: Any) -> float | None:
        if failure.attempt >= self.attempts_max:
            return None
        deed = _deed(failure.attempt + int(8 * failure.elapsed))
        _raise_or_dawdle(deed)
        if deed == "lie":
            return failure.held_for(UNKNOWN)  # type: ignore[no-any-return]
        return -1.0 if deed == "nonsense" else 0.5


@attrs.frozen
class Moods:
    """A scaling policy that follows a script: from which second on it wants how many pools, or what else it does."""

    script: tuple[tuple[float, int | str], ...]

    def scale(self, load: Any) -> Any:
        mood: int | str = 1
        for since, wanted in self.script:
            if since > load.time:
                break
            mood = wanted
        if isinstance(mood, int):
            return Advice(pools=mood, reason="so it stands in the script", panic=mood > 4)
        _raise_or_dawdle(mood)
        return {"lie": Advice(pools=math.nan), "nonsense": 7}.get(mood, load.hold("slow"))  # type: ignore[arg-type]
