"""What users need to test code that uses the scheduler.

`VirtualClock` makes delays, backoffs and limits elapse at once: ``Scheduler(clock=VirtualClock())``.
With `pools.InlinePool`, ``submit`` has run the job when it returns. `RecordedEvents` is an observer that
remembers. `check_invariants` raises unless the books of a living scheduler are true. `replay` plays again what
``Scheduler(record=...)`` wrote, and says whether the decisions are the same.
"""

from __future__ import annotations

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
    """An observer that remembers: ``scheduler.subscribe(recorded := RecordedEvents())``."""

    def __init__(self) -> None:
        #: Every event so far, in order.
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Remember one event."""
        self.events.append(event)

    def of(self, kind: type[EventT]) -> list[EventT]:
        """Return the events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]


def check_invariants(scheduler: Scheduler) -> None:
    """Raise InvariantBroken, naming the invariant, unless the scheduler's state is consistent.

    Holds the scheduler's lock for O(jobs alive).
    """
    driver = scheduler._driver  # noqa: SLF001  this room belongs to the same package
    driver.turn(lambda _now: check(driver.core))
