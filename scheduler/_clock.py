"""Where ``now`` comes from: seconds that never go back."""

from __future__ import annotations

import math
import reprlib
import threading
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """A source of seconds that never go back; what they count from does not matter."""

    def now(self) -> float:
        """Return the current time in seconds."""


class SystemClock:
    """The system's monotonic clock: steps of the wall clock do not touch it. The default."""

    now = staticmethod(time.monotonic)

    def __repr__(self) -> str:
        return "SystemClock()"


class VirtualClock:
    """A clock moved by hand, for tests: delays, backoffs and limits elapse at once and in order.

    Threads: `advance` may be called from any thread, one at a time.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._moving = threading.RLock()  # what rings may let time pass itself
        self._bells: list[Callable[[], float]] = []

    def now(self) -> float:
        """Return the current virtual time in seconds."""
        return self._now

    def attach(self, bell: Callable[[], float]) -> None:
        """Ring `bell` whenever time has moved; it answers when it wants to be rung next."""
        self._bells.append(bell)

    def advance(self, seconds: float) -> None:
        """Move time on, stopping at every moment at which something is due."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"advance() takes finite seconds ≥ 0, not {reprlib.repr(seconds)}")
        with self._moving:
            target = self._now + seconds
            while True:
                due = min([bell() for bell in self._bells], default=math.inf)
                if due > target:
                    break
                self._now = max(self._now, due)
            self._now = max(self._now, target)

    def __repr__(self) -> str:
        return f"VirtualClock({self._now})"
