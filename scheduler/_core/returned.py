"""Jobs that came back to their run: the next and the last by arrival, and any of them out again.

A heap of numbers beside a dictionary, because numbers are compared in C, and because neither makes an object
for a job that the garbage collector would have to look at.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from .job import Job

#: Numbers of jobs that have left that may be kept beside as many as are here. Arbitrary.
_STALE_MAX = 64


class Returned(dict[int, Job]):
    """Waiting jobs by arrival. Cost: put O(log n), 0.2 µs; drop O(log n), amortised; first O(1), last the first time O(n)."""

    __slots__ = ("_downwards", "upwards")

    def __init__(self) -> None:
        super().__init__()
        #: A heap of arrivals whose first is that of a job that is here; the others may have left.
        self.upwards: list[int] = []
        #: The same from the other end, negated; None until somebody asks for the last. Its first may have left, too.
        self._downwards: list[int] | None = None

    def put(self, job: Job) -> None:
        """Take in a job."""
        arrival = job.arrival
        self[arrival] = job
        heappush(self.upwards, arrival)
        downwards = self._downwards
        if downwards is not None:
            heappush(downwards, -arrival)
            if len(downwards) > 2 * len(self) + _STALE_MAX:
                self._downwards = None

    def drop(self, arrival: int) -> None:
        """Let a job go that is here."""
        del self[arrival]
        upwards = self.upwards
        while upwards and upwards[0] not in self:
            heappop(upwards)
        if not self:
            self._downwards = None
        elif len(upwards) > 2 * len(self) + _STALE_MAX:
            self.upwards, self._downwards = sorted(self), None

    def first(self) -> Job:
        """Return the job that came first, of at least one."""
        return self[self.upwards[0]]

    def last(self) -> Job:
        """Return the job that came last, of at least one."""
        downwards = self._downwards
        if downwards is None:
            downwards = self._downwards = [-arrival for arrival in self]
            heapify(downwards)
        while -downwards[0] not in self:
            heappop(downwards)
        return self[-downwards[0]]

    def in_order(self) -> list[Job]:
        """Return the jobs by arrival. Cost: O(n log n), O(n) where they came back in order."""
        return [self[arrival] for arrival in sorted(self)]
