"""How long to wait before the next attempt: a family of frozen values, one formula each.

Every wait is finite and at least 0 at any attempt, with any dice. `n` is the number of the attempt that
failed, 1 for the first. Jitter spreads jobs that failed together: without it they come back together.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import attrs

from .checks import number, numbers, one_of, whole
from .contracts import FailureView, Uniform
from .retry import Backoff

_GOLDEN = (1 + math.sqrt(5)) / 2
#: The last Fibonacci number that rounding gives exactly in a float.
_EXACT_UP_TO = 70


@attrs.frozen(kw_only=True)
class FixedBackoff(Backoff):
    """Wait `delay` seconds after every failure."""

    delay: float = attrs.field(default=1.0, validator=number(at_least=0))

    def _delay(self, failure: FailureView, uniform: Uniform) -> float:
        return self.delay


@attrs.frozen(kw_only=True)
class LinearBackoff(Backoff):
    """Wait `step` seconds longer after each failure: ``min(ceiling, initial + step × (n − 1))``."""

    initial: float = attrs.field(default=1.0, validator=number(at_least=0))
    step: float = attrs.field(default=1.0, validator=number(at_least=0))
    ceiling: float = attrs.field(default=30.0, validator=number(above=0))

    def _delay(self, failure: FailureView, uniform: Uniform) -> float:
        return min(self.ceiling, self.initial + float(self.step) * (failure.attempt - 1))


@attrs.frozen(kw_only=True)
class ExponentialBackoff(Backoff):
    """Wait `base` times as long after each failure, or by chance less, as `jitter` says.

    With ``bound = min(ceiling, initial × base^(n−1))`` seconds: ``"full"`` is anything in ``[0, bound)``,
    ``"equal"`` at least half of the bound, ``"none"`` all of it. Full jitter finishes a crowd of jobs with the fewest attempts (AWS Architecture Blog, "Exponential Backoff And
    Jitter", 2015); equal jitter never comes back at once.
    """

    initial: float = attrs.field(default=0.1, validator=number(above=0))
    ceiling: float = attrs.field(default=30.0, validator=number(above=0))
    base: float = attrs.field(default=2.0, validator=number(at_least=1))
    jitter: Literal["full", "equal", "none"] = attrs.field(
        default="full", validator=one_of("full", "equal", "none")
    )

    def _delay(self, failure: FailureView, uniform: Uniform) -> float:
        bound = min(self.ceiling, self.initial * power(self.base, failure.attempt - 1))
        if self.jitter == "full":
            return uniform.random() * bound
        return bound if self.jitter == "none" else bound / 2 + uniform.random() * (bound / 2)


@attrs.frozen(kw_only=True)
class DecorrelatedJitter(Backoff):
    """Wait by chance between `initial` and three times the last wait, at most `ceiling` seconds.

    ``min(ceiling, U(initial, 3 × last))``, where the first `last` is `initial`: it grows like an exponential, but
    jobs that failed together part from the first wait on, and never meet again (the same source, 2015).
    """

    initial: float = attrs.field(default=0.1, validator=number(above=0))
    ceiling: float = attrs.field(default=30.0, validator=number(above=0))

    def _delay(self, failure: FailureView, uniform: Uniform) -> float:
        initial, last = self.initial, failure.last_delay
        # What somebody else made longer (a server that said when) counts as the ceiling.
        last = initial if last is None else max(initial, min(last, self.ceiling))
        return min(self.ceiling, initial + uniform.random() * (3 * last - initial))


@attrs.frozen(kw_only=True)
class FibonacciBackoff(Backoff):
    """Wait the sum of the last two waits: ``min(ceiling, initial × F(n))``, that is 1, 1, 2, 3, 5, 8 … times `initial`.

    It grows by 1.6 each time, more gently than doubling.
    """

    initial: float = attrs.field(default=1.0, validator=number(above=0))
    ceiling: float = attrs.field(default=60.0, validator=number(above=0))

    def _delay(self, failure: FailureView, uniform: Uniform) -> float:
        number_n = power(_GOLDEN, failure.attempt) / math.sqrt(5)  # Binet
        if failure.attempt <= _EXACT_UP_TO:
            number_n = round(number_n)
        return min(self.ceiling, self.initial * number_n)


@attrs.frozen(kw_only=True)
class PolynomialBackoff(Backoff):
    """Wait ``min(ceiling, initial × n^exponent)`` seconds: 1, 16, 81, 256 … as Sidekiq and River do, for days if need be.

    `jitter` is the part by which chance makes a wait longer or shorter: 0.1 is ±10 %, River's. What it gives is at
    most `ceiling` too.
    """

    initial: float = attrs.field(default=1.0, validator=number(above=0))
    exponent: float = attrs.field(default=4, validator=number(at_least=0))
    ceiling: float = attrs.field(default=86_400.0, validator=number(above=0))
    jitter: float = attrs.field(default=0.0, validator=number(at_least=0, at_most=1))

    def _delay(self, failure: FailureView, uniform: Uniform) -> float:
        wait = self.initial * power(failure.attempt, self.exponent)
        if not self.jitter:
            return min(self.ceiling, wait)
        # Its longest is the ceiling: to cut what is above would bring many back at the same moment.
        wait = min(self.ceiling / (1 + self.jitter), wait)
        return min(self.ceiling, wait * (1 + self.jitter * (2 * uniform.random() - 1)))


def _as_delays(delays: Any) -> Any:
    """Return the waits as a tuple; leave nonsense to the validator."""
    return tuple(delays) if isinstance(delays, list | range) else delays


@attrs.frozen
class ScheduleBackoff(Backoff):
    """Wait what the list says: ``ScheduleBackoff([1, 5, 30])`` seconds after the first, second and third failure.

    Each entry is one more attempt, so `attempts_max` is one more than there are entries, unless given: a lower
    one leaves the end of the list out, with a higher one the last wait repeats.
    """

    delays: tuple[float, ...] = attrs.field(converter=_as_delays, validator=numbers(at_least=0))
    attempts_max: int = attrs.field(kw_only=True, validator=whole(at_least=1))

    @attempts_max.default
    def _one_for_each(self) -> int:
        given: object = self.delays  # not yet checked
        return len(given) + 1 if isinstance(given, tuple) else 1

    def _delay(self, failure: FailureView, uniform: Uniform) -> float:
        return float(self.delays[min(failure.attempt, len(self.delays)) - 1])


def power(base: float, exponent: float) -> float:
    """Return ``base^exponent`` for a base of at least 1, infinity where a float ends. Cost: 0.1 µs."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return math.inf
