"""What every policy around another one hands on of it: how often, how long, and what it says of values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .contracts import FailureView, RetryPolicy


class Wrapping:
    """A retry policy around `policy`, which decides on all that this one does not."""

    __slots__ = ()

    policy: RetryPolicy

    @property
    def attempts_max(self) -> int | None:
        """What the wrapped policy says."""
        return getattr(self.policy, "attempts_max", None)

    @property
    def retry_if_result(self) -> Callable[[Any], object] | None:
        """What the wrapped policy says."""
        return getattr(self.policy, "retry_if_result", None)

    def in_time(self, failure: FailureView, delay: float) -> bool:
        """Whether the wrapped policy lets an attempt begin after such a wait; one that does not say does."""
        ask = getattr(self.policy, "in_time", None)
        return ask is None or bool(ask(failure, delay))

    def _guarded(
        self, failure: FailureView, delay: float | None, guard: object, *, waits: bool
    ) -> float | None:
        """Return the wait that the wrapped policy answered, as far as a guard allows it."""
        held = 0.0 if delay is None else failure.held_for(guard)
        if delay is None or held <= 0:
            return delay
        wait = max(delay, held)
        return wait if waits and self.in_time(failure, wait) else None
