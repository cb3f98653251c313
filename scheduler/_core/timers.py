"""What is due, and when next: delays, backoffs and limits.

A heap of timers by time. A timer is removed when its reason goes, so that a million jobs that end long before
their deadline leave nothing behind. Hardly anybody walks over them, which is what a sorted list would be for.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from .job import Job

#: Removed timers that may be kept beside as many as are armed. Arbitrary.
_STALE_MAX = 64


class TimerKind(enum.Enum):
    """Why a timer was armed."""

    DELAY = "delay"
    BACKOFF = "backoff"
    QUEUE_TIMEOUT = "queue_timeout"
    RUN_TIMEOUT = "run_timeout"
    DEADLINE = "deadline"
    HEDGE = "hedge"


class Timer(NamedTuple):
    """One armed timer; `number` makes every timer unique and keeps equal times in arming order."""

    when: float
    number: int
    kind: TimerKind
    job: Job


class Timers:
    """Armed timers by time: a heap in which those that were removed stay until they surface, or are the majority.

    Cost: arm O(log n), 0.5 µs; disarm and next O(1), amortised.
    """

    __slots__ = ("_alive", "_heap", "_number", "_of_job")

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        #: Those that are armed, by number.
        self._alive: dict[int, Timer] = {}
        self._of_job: dict[Job, tuple[Timer, ...]] = {}
        self._number = 0

    def arm(self, when: float, kind: TimerKind, job: Job) -> None:
        """Remember that `job` needs `kind` at `when`."""
        self._number += 1
        timer = self._alive[self._number] = Timer(when, self._number, kind, job)
        self._of_job[job] = (*self._of_job.get(job, ()), timer)
        heappush(self._heap, timer)

    def disarm(self, job: Job, kind: TimerKind | None = None) -> None:
        """Forget the job's timer of this kind, or all of them."""
        for timer in self._of_job.get(job, ()):
            if kind is None or timer.kind is kind:
                self.remove(timer)

    def first_due(self, now: float) -> Timer | None:
        """Return the earliest timer that is due, or None."""
        return self._heap[0] if self.next_deadline() <= now else None

    def remove(self, timer: Timer) -> None:
        """Remove one armed timer."""
        del self._alive[timer.number]
        others = self._of_job.pop(timer.job)
        if len(others) > 1:
            self._of_job[timer.job] = tuple(other for other in others if other is not timer)
        if len(self._heap) > 2 * len(self._alive) + _STALE_MAX:
            self._heap = sorted(self._alive.values())

    def mend(self, torn: Job | None) -> None:
        """Lay the timers anew without those of the job of a torn turn or of a settled one."""
        self._alive = {
            number: timer
            for number, timer in self._alive.items()
            if timer.job is not torn and not timer.job.state.settled
        }
        self._heap = sorted(self._alive.values())
        self._of_job = {}
        for timer in self._heap:
            self._of_job[timer.job] = (*self._of_job.get(timer.job, ()), timer)

    def next_deadline(self) -> float:
        """Return the time of the earliest timer, infinity when none is armed."""
        heap = self._heap
        while heap:
            if heap[0].number in self._alive:
                return heap[0].when
            heappop(heap)
        return math.inf

    def __len__(self) -> int:
        return len(self._alive)

    def __iter__(self) -> Iterator[Timer]:
        """Iterate over the armed timers, the earliest first. Cost: O(n log n)."""
        return iter(sorted(self._alive.values()))
