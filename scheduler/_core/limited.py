"""What a line of jobs under limits does beside what its kind does, and how such lines are kept by their heads."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any, Protocol

from .job import Job, Line
from .limits import LimitRecord
from .lines import KeyLine, LevelLine

#: What a line knows beside what its kind does.
_NAMES = ("__weakref__", "bundle", "counted", "limits", "metered", "shown", "where")

#: Stale entries a heap may hold beside as many as it has lines. Arbitrary.
_STALE_MAX = 32


class LimitedLine(Line, Protocol):
    """A line in a bundle."""

    #: The `bundle.Bundle` it belongs to.
    bundle: Any
    #: Those of its limits that count who holds them, and those that are told of every start.
    counted: tuple[LimitRecord, ...]
    metered: tuple[LimitRecord, ...]
    #: Where its head may be found; None while nobody waits.
    where: Heads | None
    #: Its entry there that counts: the place of a head, no later than that of the head it has now, and the line.
    shown: tuple[Any, ...] | None

    def stands(self, entry: tuple[Any, ...]) -> bool:
        """Whether an entry says where its head is now."""

    def entry(self) -> tuple[Any, ...]:
        """Return the place of its head, and itself behind that."""

    def blocker(self, now: float) -> LimitRecord | None:
        """Return the first limit that has no room, or None."""

    def give_back(self, blocker: LimitRecord) -> None:
        """Give back what was taken from the limits before the one that turned out to have no room."""

    def reopened(self, record: LimitRecord) -> None:
        """Take note that it was parked at this limit, and is about to be opened again."""


class Heads:
    """Lines by their heads: a heap in which stale entries stay until they surface, or outnumber the others.

    The place of a head is put right when it surfaces, if it has become later, and at once (`show`) if sooner.
    One line alone is no heap.
    """

    __slots__ = ("heap", "only", "record", "size", "turn", "turn_until")

    def __init__(self, record: LimitRecord | None) -> None:
        #: The limit at which these lines are parked; None for open ones.
        self.record = record
        self.size = 0
        #: The line that is alone here and in no heap.
        self.only: LimitedLine | None = None
        #: Places end with an arrival, and two lines never hold the same job: they are never compared.
        self.heap: list[tuple[Any, ...]] = []
        #: The line that is known to be first until then, unless it is told otherwise (`FairLine.pop`); None: look.
        self.turn: Any = None
        self.turn_until = -math.inf

    def add(self, line: LimitedLine) -> None:
        """Take in a line in which somebody waits. Cost: O(log n)."""
        self.size += 1
        if self.size == 1:
            self.heap.clear()
            self.only = line
        elif self.only is not None:
            alone, self.only = self.only, None
            self.show(alone)
        self.show(line)

    def remove(self, line: LimitedLine) -> None:
        """Let a line go. Cost: O(1)."""
        self.size -= 1
        self.turn = None
        line.shown = None
        if self.only is line:
            self.only = None

    def show(self, line: LimitedLine) -> None:
        """Put a line that belongs here at the place of its head. Cost: O(log n)."""
        self.turn = None
        line.shown = line.entry()
        if self.only is not None:
            return
        heappush(self.heap, line.shown)
        if len(self.heap) > 2 * self.size + _STALE_MAX:
            self.heap = [entry for entry in self.heap if entry[-1].shown is entry]
            heapify(self.heap)

    def follow(self, line: LimitedLine) -> None:
        """Put the line that is first here at the place of its next head. Cost: O(log n)."""
        if self.only is None:
            line.shown = line.entry()
            heapreplace(self.heap, line.shown)

    def first(self) -> LimitedLine | None:
        """Return the line whose head is first, or None. Cost: O(log n) amortised."""
        if self.only is not None:
            return self.only
        heap = self.heap
        while heap:
            entry = heap[0]
            line: LimitedLine = entry[-1]
            if line.shown is not entry:
                heappop(heap)
            elif line.stands(entry):
                return line
            else:
                line.shown = line.entry()
                heapreplace(heap, line.shown)
        return None

    def firsts(self, most: int) -> list[LimitedLine]:
        """Return lines near the front, at most so many."""
        if self.only is not None:
            return [self.only]
        return [entry[-1] for entry in self.heap[:most] if entry[-1].shown is entry]


class Limited:
    """What a line under limits does beside what its kind does: it tells its bundle of every new head."""

    __slots__ = ()

    def put_under(self: Any, limits: tuple[LimitRecord, ...]) -> None:
        """Have its jobs under these limits, for ever."""
        self.limits = limits
        self.counted = tuple(record for record in limits if record.counts)
        self.metered = tuple(record for record in limits if record.interval)

    def give_back(self: Any, blocker: LimitRecord) -> None:
        """Give back what was taken from the limits before the one that turned out to have no room."""
        for record in self.counted:
            if record is blocker:
                return
            record.held -= 1

    def stands(self: Any, entry: tuple[Any, ...]) -> bool:
        """Whether an entry says where its head is now."""
        return entry[-2] == self.peek().arrival  # type: ignore[no-any-return]

    def entry(self: Any) -> tuple[Any, ...]:
        """Return the place of its head, and itself behind that."""
        head = self.peek()
        return head.key, head.arrival, self

    def blocker(self: Any, now: float) -> LimitRecord | None:
        """Return the first limit that has no room, or None. Cost: O(limits of the line)."""
        for record in self.limits:
            if record.held >= record.concurrency or now < record.ready_at:
                return record  # type: ignore[no-any-return]
        return None

    def reopened(self, record: LimitRecord) -> None:
        """Take note that it was parked at this limit: nothing, where jobs are ordered by key and arrival."""

    def _pop(self: Any, its_pop: Callable[[Any], Job | None]) -> Job | None:
        """Pop, and take the place of the next head; what room is left, the bundle passes on."""
        job = its_pop(self)
        if self.best is None:
            self.bundle.headed(self, worse=False)
        else:
            self.where.follow(self)
        return job

    def push_back(self: Any, job: Job) -> None:
        """Add a job that was here before, at its old place."""
        super().push_back(job)  # type: ignore[misc]
        if self.peek() is job:
            self.bundle.headed(self, worse=False)

    def discard(self: Any, job: Job) -> None:
        """Forget a job whose state has already left WAITING."""
        super().discard(job)  # type: ignore[misc]
        self.bundle.headed(self, worse=True)


class LimitedLevelLine(Limited, LevelLine):
    """Jobs under limits by few distinct keys. What it does for nearly every job is written out, without a call."""

    __slots__ = _NAMES

    def push(self: Any, job: Job) -> None:
        """Add a waiting job behind its equals. Cost: 0.1 µs; a new head O(log lines)."""
        before = self.best
        if before is not None and before.key == job.key:
            before.append(job)
            return
        LevelLine.push(self, job)
        if self.best is not before:
            self.bundle.headed(self, worse=False)

    def pop(self: Any) -> Job | None:
        """Remove and return the job that is next, or None; the bundle takes from the limits. Cost: O(log lines)."""
        run, where = self.best, self.where
        if run is None or run.returned or run.dead or len(run) == 1:
            return self._pop(LevelLine.pop)  # type: ignore[no-any-return]
        job: Job = run[0]
        self.taken = job
        run.popleft()
        if where.only is None:
            head = run[0]
            self.shown = entry = (head.key, head.arrival, self)
            heapreplace(where.heap, entry)
        return job


class LimitedKeyLine(Limited, KeyLine):
    """Jobs under limits by many distinct keys."""

    __slots__ = _NAMES

    def push(self: Any, job: Job) -> None:
        """Add a waiting job at the place its key and arrival give it."""
        before = self.best
        KeyLine.push(self, job)
        if self.best is not before:
            self.bundle.headed(self, worse=False)

    def pop(self: Any) -> Job | None:
        """Remove and return the job that is next, or None; the bundle takes from the limits."""
        return self._pop(KeyLine.pop)  # type: ignore[no-any-return]
