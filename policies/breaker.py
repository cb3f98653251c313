"""When to leave somebody alone: a circuit breaker counts failures, and lets nothing through while there are too many.

A breaker is a frozen value; what it has seen is kept by the scheduler, and so is who waits for it.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs

from .checks import as_tuple, error_types, has_method, names_of, number, one_of, whole
from .contracts import FailureView, RetryPolicy, Uniform
from .wrapped import Wrapping


def _text(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not (value is None or (isinstance(value, str) and value)):
        raise TypeError(f"CircuitBreaker({attribute.name}=) must be a non-empty string, not {value!r}")


@attrs.frozen(kw_only=True)
class CircuitBreaker:
    """Keep jobs from starting while too many attempts fail; let a few through later, to see.

    Exactly one of these says whose jobs: `name` (the option of that name), `tag`, or `group` (every job that
    only this group may take). It opens when of the last `window` attempts, and of at least `calls_min`,
    the share `failure_ratio` has failed with one of `fail_on`; other errors are answers. After `open_for`
    seconds it is half-open: `probes` attempts may start, and when so many have ended, it closes or
    opens again by the same ratio. Meanwhile jobs wait in the front queue, or with ``when_open="fail"`` they fail
    at once with `BreakerOpen`. Give it to ``Scheduler(breakers=)``.
    Numbers and terms as in resilience4j. Raises TypeError and ValueError that name the setting.
    """

    name: str | None = attrs.field(default=None, validator=_text)
    tag: str | None = attrs.field(default=None, validator=_text)
    group: str | None = attrs.field(default=None, validator=_text)
    failure_ratio: float = attrs.field(default=0.5, validator=number(above=0))
    window: int = attrs.field(default=100, validator=whole(at_least=1))
    calls_min: int = attrs.field(default=100, validator=whole(at_least=1))
    open_for: float = attrs.field(default=60.0, validator=number(above=0))
    probes: int = attrs.field(default=10, validator=whole(at_least=1))
    when_open: Literal["park", "fail"] = attrs.field(default="park", validator=one_of("park", "fail"))
    fail_on: tuple[type[BaseException], ...] = attrs.field(
        default=(Exception,), converter=as_tuple, validator=error_types, repr=names_of
    )

    def __attrs_post_init__(self) -> None:
        given = [self.name, self.tag, self.group]
        if sum(word is not None for word in given) != 1:
            raise ValueError(
                "CircuitBreaker() takes exactly one of name=, tag= and group=, "
                f"not name={self.name!r}, tag={self.tag!r} and group={self.group!r}; make one for each"
            )
        if self.failure_ratio > 1:
            raise ValueError(
                f"CircuitBreaker(failure_ratio=) must be at most 1, not {self.failure_ratio}; 0.5 is half of all"
            )
        if self.calls_min > self.window:
            raise ValueError(
                f"CircuitBreaker(calls_min={self.calls_min}) is more than window={self.window}, so it would "
                "never open; raise window= or lower calls_min="
            )

    @property
    def whose(self) -> str:
        """Whose jobs these are, in words."""
        if self.name is not None:
            return f"name {self.name!r}"
        return f"group {self.group!r}" if self.tag is None else f"tag {self.tag!r}"


def _a_breaker(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, CircuitBreaker):
        where = f"{type(instance).__name__}({attribute.name}=)"
        raise TypeError(f"{where} must be a CircuitBreaker, not {value!r}")


@attrs.frozen
class WithBreaker(Wrapping):
    """Retry as `policy` says, but not while `breaker` is open.

    Then the job fails with its own last error, whose cause is a `BreakerOpen`; or with
    ``when_open="wait"`` it backs off until the breaker lets somebody through. The breaker must be one of
    ``Scheduler(breakers=)``. Raises TypeError and ValueError that name the argument.
    """

    policy: RetryPolicy = attrs.field(validator=has_method("retry_after"))
    breaker: CircuitBreaker = attrs.field(validator=_a_breaker)
    when_open: Literal["fail", "wait"] = attrs.field(default="fail", validator=one_of("fail", "wait"))

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        """Return seconds to wait before the next attempt, or None to give up. Pure."""
        delay = self.policy.retry_after(failure, uniform)
        return self._guarded(failure, delay, self.breaker, waits=self.when_open == "wait")
