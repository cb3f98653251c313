"""Two policies for two-tier-scheduler. It imports `policies` alone, and knows nothing of the scheduler."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from policies import FailureView, JobView, Uniform
from policies.checks import number, whole

__all__ = ["TagsFirst", "TwoSpeeds"]


@attrs.frozen(kw_only=True)
class TwoSpeeds:
    """Try again quickly a few times, for what was only a hiccup; then slowly, for what is down.

    The first `quick_attempts` retries wait `quick` seconds, all others between half of `slow` seconds and all
    of it. `attempts_max` counts every attempt, the first one included.
    """

    quick: float = attrs.field(default=0.2, validator=number(at_least=0))
    quick_attempts: int = attrs.field(default=2, validator=whole(at_least=0))
    slow: float = attrs.field(default=60.0, validator=number(at_least=0))
    attempts_max: int = attrs.field(default=10, validator=whole(at_least=1))

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        """Return seconds to wait before the next attempt, or None to give up."""
        if failure.attempt >= self.attempts_max:
            return None
        if failure.attempt <= self.quick_attempts:
            return self.quick
        return self.slow * (0.5 + 0.5 * uniform.random())


def _as_tags(tags: str | Iterable[str]) -> frozenset[str]:
    return frozenset({tags} if isinstance(tags, str) else tags)


@attrs.frozen(kw_only=True)
class TagsFirst:
    """Start jobs that carry one of these tags before all others; among each kind, by priority."""

    tags: frozenset[str] = attrs.field(default=frozenset(), converter=_as_tags)

    @property
    def few_keys(self) -> bool:
        """True: there are twice as many keys as priorities in use."""
        return True

    def key(self, job: JobView) -> float:
        """Return the job's priority, far lower where a tag says so."""
        return job.priority - (1e12 if self.tags & job.tags else 0.0)
