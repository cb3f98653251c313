"""Again, and when: frozen values that look at one failure and answer seconds, or None to give up.

Every family shares `attempts_max` (the first attempt included) and `retry_on`; a new family is one
more frozen value with a ``_delay``. No wait overflows, at any attempt number.
"""

from __future__ import annotations

import attrs

from .checks import as_tuple, class_names, error_types, number, whole
from .contracts import FailureView, Uniform

#: Doublings after which every wait has reached its ceiling; keeps ``2.0 ** n`` finite.
_DOUBLINGS_MAX = 1000


@attrs.frozen
class NoRetry:
    """Give up at the first failure. The default."""

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        """Return None."""
        return None


@attrs.frozen(kw_only=True)
class _Backoff:
    """What all backoffs share: how often, and after which errors."""

    #: Attempts in all, the first one included.
    attempts_max: int = attrs.field(default=3, validator=whole(at_least=1))
    #: Exception classes worth another attempt; anything else is final.
    retry_on: tuple[type[BaseException], ...] = attrs.field(
        default=(Exception,), converter=as_tuple, validator=error_types, repr=class_names
    )

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        """Return seconds to wait before the next attempt, or None to give up. Pure."""
        if failure.attempt >= self.attempts_max or not isinstance(failure.error, self.retry_on):
            return None
        return self._delay(failure, uniform)

    def _delay(self, failure: FailureView, uniform: Uniform) -> float:
        raise NotImplementedError


@attrs.frozen(kw_only=True)
class FixedBackoff(_Backoff):
    """Wait `delay` seconds after every failure."""

    delay: float = attrs.field(default=1.0, validator=number(at_least=0))

    def _delay(self, failure: FailureView, uniform: Uniform) -> float:
        return self.delay


@attrs.frozen(kw_only=True)
class ExponentialBackoff(_Backoff):
    """Wait twice as long after each failure, with full jitter.

    The wait before attempt *n + 1* is uniform in ``[0, min(ceiling, initial × 2^(n−1)))`` seconds:
    full jitter spreads retries that failed together (AWS Architecture Blog, "Exponential Backoff
    And Jitter", 2015).
    """

    initial: float = attrs.field(default=0.1, validator=number(above=0))
    ceiling: float = attrs.field(default=30.0, validator=number(above=0))

    def _delay(self, failure: FailureView, uniform: Uniform) -> float:
        doublings = min(failure.attempt - 1, _DOUBLINGS_MAX)
        return uniform.random() * min(self.ceiling, self.initial * 2.0**doublings)
