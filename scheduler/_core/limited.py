"""What a line of jobs under limits does beside what its kind does, and how such lines are kept by their heads.

Where tenants share, the place of a head moves without the head: it comes later when its tenant is charged for
a job elsewhere, which is seen when the line surfaces, and sooner when something is given back, which the
line is told at once. And a line that was parked while others got on has saved nothing up: when it is opened,
it begins where they have got to. That is the `Lag` of the limit that held it and not its own, so that those
who are held by one limit together stay fair to each other.
"""

from __future__ import annotations

from functools import cache
from heapq import heapify, heappop, heappush
from typing import Any, Protocol

from .accounts import Flow
from .fair_line import FairLine
from .job import Job, Line
from .limits import LimitRecord

#: Stale entries a heap may hold beside as many as it has lines. Arbitrary.
_STALE_MAX = 32


class Lag:
    """How far those under one limit have fallen behind others by it, in virtual seconds, where tenants share."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0


class LimitedLine(Line, Protocol):
    """A line of jobs under limits."""

    #: The `parking.Bundle` it belongs to.
    bundle: Any
    #: Where its head may be found; None while nobody waits.
    where: Heads | None
    #: The place of the head that was put there last.
    shown: tuple[float, ...]

    def blocker(self, now: float) -> LimitRecord | None:
        """Return the first limit that has no room, or None."""

    def reopened(self, record: LimitRecord) -> None:
        """Take note that it was parked at this limit, and is about to be opened again."""


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
        self._heap: list[tuple[tuple[float, ...], LimitedLine]] = []

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
        line.shown = line.place(head)
        if self.only is not None:
            return
        heappush(self._heap, (line.shown, line))
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
            line = entry[1]
            if not self._current(entry):
                heappop(heap)
                continue
            head = line.peek()
            if head is not None and line.place(head) == entry[0]:
                return line
            heappop(heap)
            if head is not None:
                self.show(line)
                heap = self._heap
        return None

    def _current(self, entry: tuple[tuple[float, ...], LimitedLine]) -> bool:
        return entry[1].where is self and entry[1].shown == entry[0]


class Limited:
    """What a line under limits does beside what its kind does: it tells its bundle of every new head."""

    __slots__ = ()

    def blocker(self: Any, now: float) -> LimitRecord | None:
        """Return the first limit that has no room, or None. Cost: O(limits of the line)."""
        for record in self.limits:
            if record.held >= record.concurrency or now < record.ready_at:
                return record  # type: ignore[no-any-return]
        return None

    def reopened(self, record: LimitRecord) -> None:
        """Take note that it was parked at this limit: nothing, where jobs are ordered by key and arrival."""

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


class FairlyLimited(Limited):
    """What a line of flows under limits does beside: lines stay fair to each other."""

    __slots__ = ()

    @property
    def lag(self: Any) -> float:
        """Virtual seconds between tags here and those that lines are compared by."""
        return sum(lag.seconds for lag in self.lags)  # type: ignore[no-any-return]

    def place(self: Any, job: Job) -> tuple[float, ...]:
        """Return what lines are compared by: the tenant's tag, and what the line has fallen behind by its limits."""
        tag, *rest = FairLine.place(self, job)
        return (tag + self.lag, *rest)

    def reopened(self: Any, record: LimitRecord) -> None:
        """Begin where those have got to whom this limit did not hold."""
        head = self.peek()
        level = self.around(record)
        if head is not None and level is not None:
            self.lags[self.limits.index(record)].seconds += max(0.0, level - self.place(head)[0])

    def pop(self: Any) -> Job | None:
        """Remove and return the job that is next, or None; whoever pops takes from the limits."""
        job = super().pop()
        if job is not None:
            self.bundle.served = self
        return job

    def pass_by(self: Any, job: Job) -> Flow:
        """Return the flow of a job that starts without having waited here."""
        flow = FairLine.pass_by(self, job)
        self.bundle.served = self
        return flow

    def retag(self: Any, flow: Flow) -> None:
        """Put a flow whose tag has fallen where it belongs, and the line with it."""
        FairLine.retag(self, flow)
        if self.where is not None and self.where.only is None:
            self.where.show(self)

    def forget(self: Any, tenant: str | None) -> None:
        """Forget the flow of a tenant, in which nobody waits, and hold it nowhere: lines under limits are to go too."""
        FairLine.forget(self, tenant)
        if self._last is not None and self._last.share.tenant == tenant:
            self._last = None
        if not self.flows:
            self._heap.clear()

    def level(self: Any, apart: LimitRecord | None = None) -> float | None:
        """Return how far the lines of its bundle have got."""
        return self.bundle.level(apart)  # type: ignore[no-any-return]

    def reached(self: Any) -> float | None:
        """Return how far this line has got, as lines are compared."""
        level = FairLine.level(self)
        return None if level is None else level + self.lag

    def reached_last(self: Any) -> float | None:
        """Return how far the flow has got that was served last."""
        flow = self._last
        return None if flow is None else flow.share.reached(self._shares.clock.now) + flow.lag + self.lag

    def _catch_up(self: Any, flow: Flow, *, alone: bool = False) -> None:
        level = self.reached() if self.best is not None else self.level() if alone else self.around()
        if level is not None:
            flow.lag = max(flow.lag, level - self.lag - flow.share.finish)


@cache
def limited(kind: type[Any]) -> type[Any]:
    """Return the kind of line that does what `kind` does, under limits."""
    fair = issubclass(kind, FairLine)
    names = ("__weakref__", "bundle", "limits", "shown", "where", *(("lags",) if fair else ()))
    return type(f"Limited{kind.__name__}", (FairlyLimited if fair else Limited, kind), {"__slots__": names})
