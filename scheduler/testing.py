"""What users need to test code that uses the scheduler.

`VirtualClock` makes delays, backoffs and limits elapse at once: ``Scheduler(clock=VirtualClock())``.
With `pools.InlinePool`, ``submit`` has run the job when it returns. `RecordedEvents` is an observer that
remembers. `check_invariants` raises unless the books of a living scheduler are true. `replay` plays again what
``Scheduler(record=...)`` wrote, and says whether the decisions are the same.
"""

from __future__ import annotations

import threading
from typing import TypeVar

from ._clock import VirtualClock
from ._core.events import Event
from ._core.invariants import InvariantBroken, check
from ._replay import Divergence, Replay, replay
from ._scheduler import Scheduler

__all__ = [
    "Divergence",
    "InvariantBroken",
    "RecordedEvents",
    "Replay",
    "VirtualClock",
    "check_invariants",
    "replay",
]

EventT = TypeVar("EventT", bound=Event)


class RecordedEvents:
    """An observer that remembers: ``scheduler.subscribe(recorded := RecordedEvents())``. Threads: any."""

    def __init__(self) -> None:
        #: Every event so far, in order.
        self.events: list[Event] = []
        self._more = threading.Condition()

    def __call__(self, event: Event) -> None:
        """Remember one event."""
        with self._more:
            self.events.append(event)
            self._more.notify_all()

    def of(self, kind: type[EventT]) -> list[EventT]:
        """Return the events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def wait_for(self, kind: type[EventT], count: int = 1, timeout: float | None = 10.0) -> list[EventT]:
        """Return the events of one kind as soon as there are `count` of them.

        With threads, what happened is told a moment after it can be seen elsewhere, such as in a result.
        Raises TimeoutError after `timeout` seconds (None: never).
        """
        with self._more:
            if not self._more.wait_for(lambda: len(self.of(kind)) >= count, timeout):
                told, events = len(self.of(kind)), len(self.events)
                raise TimeoutError(
                    f"{told} of {count} {kind.__name__} came within {timeout} s, among {events} "
                    f"event{'s' * (events != 1)}"
                )
            return self.of(kind)


def check_invariants(scheduler: Scheduler) -> None:
    """Raise InvariantBroken, naming the invariant, unless the scheduler's state is consistent.

    Holds the scheduler's lock for O(jobs alive).
    """
    driver = scheduler._driver  # noqa: SLF001  this room belongs to the same package
    driver.turn(lambda _now: check(driver.core))
