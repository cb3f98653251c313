"""What a line of jobs under limits does beside what its kind does, and how such lines are kept by their heads."""

from __future__ import annotations

from functools import cache
from heapq import heapify, heappop, heappush
from typing import Any, Protocol

from .job import Job, Line
from .limits import LimitRecord

#: Stale entries a heap may hold beside as many as it has lines. Arbitrary.
_STALE_MAX = 32


class LimitedLine(Line, Protocol):
    """A line of jobs under limits."""

    #: The `parking.Bundle` it belongs to.
    bundle: Any
    #: Where its head may be found; None while nobody waits.
    where: Heads | None
    #: The arrival of the head that was put there last.
    shown: int

    def blocker(self, now: float) -> LimitRecord | None:
        """Return the first limit that has no room, or None."""


class Heads:
    """Lines by their heads: a heap in which stale entries stay until they surface, or outnumber the others.

    One line alone is no heap.
    """

    __slots__ = ("_heap", "only", "record", "size")

    def __init__(self, record: LimitRecord | None) -> None:
        #: The limit at which these lines are parked; None for open ones.
        self.record = record
        self.size = 0
        #: The line that is alone here and in no heap.
        self.only: LimitedLine | None = None
        self._heap: list[tuple[float, int, LimitedLine]] = []

    def add(self, line: LimitedLine) -> None:
        """Take in a line in which somebody waits. Cost: O(log n)."""
        self.size += 1
        if self.size == 1:
            self._heap.clear()
            self.only = line
        elif self.only is not None:
            alone, self.only = self.only, None
            self.show(alone)
        self.show(line)

    def remove(self, line: LimitedLine) -> None:
        """Let a line go. Cost: O(1)."""
        self.size -= 1
        if self.only is line:
            self.only = None

    def show(self, line: LimitedLine) -> None:
        """Put a line that belongs here at the place of its head. Cost: O(log n)."""
        head = line.peek()
        assert head is not None
        line.shown = head.arrival
        if self.only is not None:
            return
        heappush(self._heap, (head.key, head.arrival, line))
        if len(self._heap) > 2 * self.size + _STALE_MAX:
            self._heap = [entry for entry in dict.fromkeys(self._heap) if self._current(entry)]
            heapify(self._heap)

    def first(self) -> LimitedLine | None:
        """Return the line whose head is first, or None. Cost: O(log n) amortised."""
        if self.only is not None:
            return self.only
        heap = self._heap
        while heap:
            entry = heap[0]
            line = entry[2]
            if self._current(entry):
                head = line.peek()
                if head is not None and head.arrival == entry[1]:
                    return line
                heappop(heap)
                if head is not None:
                    self.show(line)
                    heap = self._heap
            else:
                heappop(heap)
        return None

    def _current(self, entry: tuple[float, int, LimitedLine]) -> bool:
        return entry[2].where is self and entry[2].shown == entry[1]


class Limited:
    """What a line under limits does beside what its kind does: it tells its bundle of every new head."""

    __slots__ = ()

    def blocker(self: Any, now: float) -> LimitRecord | None:
        """Return the first limit that has no room, or None. Cost: O(limits of the line)."""
        for record in self.limits:
            if record.held >= record.concurrency or now < record.ready_at:
                return record  # type: ignore[no-any-return]
        return None

    def push(self: Any, job: Job) -> None:
        """Add a waiting job behind its equals."""
        super().push(job)  # type: ignore[misc]
        if self.peek() is job:
            self.bundle.headed(self, worse=False)

    def push_back(self: Any, job: Job) -> None:
        """Add a job that was here before, at its old place."""
        super().push_back(job)  # type: ignore[misc]
        if self.peek() is job:
            self.bundle.headed(self, worse=False)

    def pop(self: Any) -> Job | None:
        """Remove and return the job that is next, or None; whoever pops takes from the limits."""
        job: Job | None = super().pop()  # type: ignore[misc]
        if self.best is None:
            self.bundle.headed(self, worse=False)
        elif self.where is not None and self.where.only is None:
            self.where.show(self)  # `Lots.hold` passes on what room is left
        return job

    def discard(self: Any, job: Job) -> None:
        """Forget a job whose state has already left WAITING."""
        super().discard(job)  # type: ignore[misc]
        self.bundle.headed(self, worse=True)


@cache
def limited(kind: type[Any]) -> type[Any]:
    """Return the kind of line that does what `kind` does, under limits."""
    slots = {"__slots__": ("__weakref__", "bundle", "limits", "shown", "where")}
    return type(f"Limited{kind.__name__}", (Limited, kind), slots)
