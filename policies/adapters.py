"""Retry rules of other libraries, as policies: nothing of theirs sleeps, and no slot is held meanwhile.

tenacity's own objects are called as tenacity calls them, with a view of the failure that has what they read;
stamina's arguments make its formula. Neither library is imported here.

Measured on CPython 3.11 with tenacity 9.2, µs an answer, where `ExponentialBackoff` takes 0.4:

=====================================================================================  ====
``from_tenacity(stop=stop_after_attempt(9), wait=wait_fixed(1))``                      0.65
the same with two stops, ``wait_exponential_jitter`` and ``retry_if_exception_type``   1.8
``like_stamina(on=OSError)``                                                           0.55
=====================================================================================  ====
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from .backoff import power
from .checks import names_of, number, optional, predicate
from .contracts import FailureView, RetryPolicy, Uniform
from .retry import Backoff

# tenacity


@attrs.define
class _Outcome:
    """What an attempt came to, as tenacity sees it: a future that is done."""

    error: BaseException | None
    value: object = None

    @property
    def failed(self) -> bool:
        """Whether it raised."""
        return self.error is not None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error."""
        return self.error

    def result(self, timeout: float | None = None) -> object:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value


@attrs.define
class _CallState:
    """One attempt, as tenacity's `RetryCallState` shows it; the call itself is not for policies to see."""

    outcome: _Outcome
    attempt_number: int = 1
    seconds_since_start: float = 0.0
    #: The last wait; tenacity has the sum.
    idle_for: float = 0.0
    upcoming_sleep: float = 0.0
    start_time: float = 0.0
    outcome_timestamp: float = 0.0
    retry_object: object = None
    next_action: object = None
    fn: object = None
    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] = attrs.Factory(dict)


Asks = Callable[[Any], Any]


def _asks(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    where = f"from_tenacity({attribute.name}=)"
    if isinstance(value, type) or not callable(value):
        raise TypeError(
            f"{where} must be an object of tenacity's, such as stop_after_attempt(3), not {value!r}"
        )
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(type(value).__call__):
        raise TypeError(
            f"{where} must answer at once, and {value!r} makes a coroutine; use its plain counterpart"
        )


@attrs.frozen(kw_only=True)
class TenacityRetry:
    """What `from_tenacity` makes."""

    stop: Asks = attrs.field(validator=_asks)
    wait: Asks | None = attrs.field(default=None, validator=optional(_asks))
    retry: Asks | None = attrs.field(default=None, validator=optional(_asks))

    @property
    def retry_if_result(self) -> Callable[[Any], object] | None:
        """Tenacity's `retry` itself, if it may say yes to a returned value."""
        return None if self.retry is None or _only_errors(self.retry) else self._rejects

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        """Return seconds to wait, or None: asks `retry`, then `wait`, then `stop`, in tenacity's order."""
        error = failure.error
        elapsed = failure.elapsed
        state = _CallState(
            _Outcome(None, getattr(error, "value", None)) if failure.rejected else _Outcome(error),
            attempt_number=failure.attempt,
            seconds_since_start=elapsed,
            outcome_timestamp=elapsed,
            idle_for=failure.last_delay or 0.0,
        )
        again = isinstance(error, Exception) if self.retry is None else failure.rejected or self.retry(state)
        if not again:
            return None
        state.upcoming_sleep = 0.0 if self.wait is None else self.wait(state)
        return None if self.stop(state) else state.upcoming_sleep

    def _rejects(self, value: object) -> bool:
        return self.retry is not None and bool(self.retry(_CallState(_Outcome(None, value))))


def _only_errors(retry: object) -> bool:
    """Whether a `retry` of tenacity's, all parts of it, says yes to errors alone; of a function nobody knows."""
    parts = getattr(retry, "retries", ())
    if parts:
        return all(map(_only_errors, parts))
    kinds = {kind.__name__ for kind in type(retry).__mro__}
    return "retry_if_exception" in kinds and "retry_unless_exception_type" not in kinds


def from_tenacity(*, stop: Asks, wait: Asks | None = None, retry: Asks | None = None) -> RetryPolicy:
    """Return tenacity's `stop`, `wait` and `retry` as one retry policy.

    ``from_tenacity(stop=stop_after_attempt(5), wait=wait_exponential(max=30))``. Without `wait` there is none;
    without `retry` every `Exception` is tried again, as in tenacity. Functions of the call state do too.

    They see the number of the attempt, its outcome, the seconds since the first start (the waits included) and the
    upcoming wait; ``idle_for`` is the last wait alone, and there is no ``fn`` and no ``retry_object``. tenacity's
    ``before``, ``after`` and ``sleep`` have no place here: subscribe to events. ``retry_if_result`` and its like work,
    also in ``|`` and ``&``; they and functions of yours are asked about every value that comes back.

    Not pure where tenacity is not: its random waits roll dice of their own, so that the same seed gives
    other waits, and an incident cannot be replayed. Its objects compare by identity, and so does the policy.
    """
    return TenacityRetry(stop=stop, wait=wait, retry=retry)


# stamina


@attrs.frozen(kw_only=True)
class StaminaBackoff(Backoff):
    """What `like_stamina` makes."""

    wait_initial: float = attrs.field(validator=number(at_least=0))
    wait_max: float = attrs.field(validator=number(at_least=0))
    wait_jitter: float = attrs.field(validator=number(at_least=0))
    wait_exp_base: float = attrs.field(validator=number(at_least=1))
    #: Answers whether, or with seconds (a number or a timedelta) also how long.
    hook: Callable[[Any], Any] | None = attrs.field(
        default=None, validator=optional(predicate), repr=names_of
    )

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        """Return seconds to wait before the next attempt, or None to give up."""
        delay = super().retry_after(failure, uniform)
        if self.hook is None or delay is None:
            return delay
        said = self.hook(failure.error)
        if isinstance(said, bool):
            return delay if said else None
        told = _seconds(said)
        return told if self.in_time(failure, told) else None

    def _delay(self, failure: FailureView, uniform: Uniform) -> float:
        grown = 0.0
        if self.wait_initial:
            grown = self.wait_initial * power(self.wait_exp_base, failure.attempt - 1)
        return min(self.wait_max, grown + uniform.random() * self.wait_jitter)


def like_stamina(
    *,
    on: type[Exception] | tuple[type[Exception], ...] | Callable[[Any], Any],
    attempts: int | None = 10,
    timeout: Any = 45.0,
    wait_initial: Any = 0.1,
    wait_max: Any = 5.0,
    wait_jitter: Any = 1.0,
    wait_exp_base: float = 2,
) -> RetryPolicy:
    """Return a policy made of the arguments of ``stamina.retry``, with its defaults.

    The wait before attempt *n + 1* is ``min(wait_max, wait_initial × wait_exp_base^(n−1) + U(0, wait_jitter))``
    seconds. `on` is an exception class, a tuple of them, or a function of the error that answers True, False, or
    seconds to wait instead. No attempt begins later than `timeout` seconds after the first start (there, a
    last wait may go beyond it). None for `attempts` or `timeout` means no limit. Durations are seconds or timedeltas.

    Pure, unlike the original: the dice are the scheduler's.
    """
    hook: Any = on if callable(on) and not isinstance(on, type) else None
    if hook is None and not isinstance(on, type | tuple):
        raise TypeError(
            f"like_stamina(on=) must be an exception class, a tuple of them or a function, not {on!r}"
        )
    return StaminaBackoff(
        attempts_max=sys.maxsize if attempts is None else attempts,
        elapsed_max=None if timeout is None else _seconds(timeout),
        retry_on=(Exception,) if hook else on,
        wait_initial=_seconds(wait_initial),
        wait_max=_seconds(wait_max),
        wait_jitter=_seconds(wait_jitter),
        wait_exp_base=wait_exp_base,
        hook=hook,
    )


def _seconds(duration: Any) -> Any:
    """Return a timedelta as seconds, and anything else as it is."""
    return duration.total_seconds() if hasattr(duration, "total_seconds") else duration
