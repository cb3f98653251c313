"""What is due, and when next: delays, backoffs and limits.

A heap of timers by time. A timer is removed when its reason goes, so that a million jobs that end long before
their deadline leave nothing behind. Hardly anybody walks over them, which is what a sorted list would be for.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Any, NamedTuple

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


#: As attributes of their class they would cost 57 ns each time, see `states`.
BACKOFF, DELAY, RUN_TIMEOUT = TimerKind.BACKOFF, TimerKind.DELAY, TimerKind.RUN_TIMEOUT


class Timer(NamedTuple):
    """One armed timer; `number` makes every timer unique and keeps equal times in arming order."""

    when: float
    number: int
    kind: TimerKind
    job: Job


#: Makes a timer by C alone: `Timer(...)` would take twice as long.
_new: Any = tuple.__new__


class Timers:
    """Armed timers by time: a heap in which those that were removed stay until they surface, or are the majority.

    Cost: arm O(log n), 0.4 µs; disarm and next O(1), amortised. A timer is one object that the garbage collector sees.
    """

    __slots__ = ("_armed", "_heap", "_number", "_of_job")

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        #: Those that are armed: the one of a job, or a tuple of several.
        self._of_job: dict[Job, Timer | tuple[Timer, ...]] = {}
        #: How many these are.
        self._armed = 0
        self._number = 0

    def arm(self, when: float, kind: TimerKind, job: Job) -> bool:
        """Remember that `job` needs `kind` at `when`; return whether that is before anything else is due."""
        self._number = number = self._number + 1
        timer: Timer = _new(Timer, (when, number, kind, job))
        heap, of_job = self._heap, self._of_job
        others = of_job.get(job)
        of_job[job] = timer if others is None else (*_each(others), timer)
        self._armed += 1
        # The head may be a removed one: whoever wakes at its time then sees how late the others are.
        first = not heap or when < heap[0][0]
        heappush(heap, timer)
        return first

    def disarm(self, job: Job, kind: TimerKind | None = None) -> None:
        """Forget the job's timer of this kind, or all of them."""
        armed = self._of_job.get(job)
        if armed is not None:
            for timer in _each(armed):
                if kind is None or timer.kind is kind:
                    self.remove(timer)

    def first_due(self, now: float) -> Timer | None:
        """Return the earliest timer that is due, or None."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            timer = heap[0]
            if self._is_armed(timer):
                return timer
            heappop(heap)
        return None

    def _is_armed(self, timer: Timer) -> bool:
        armed = self._of_job.get(timer.job)
        return armed is timer or (type(armed) is tuple and timer in armed)

    def remove(self, timer: Timer) -> None:
        """Remove one armed timer."""
        heap = self._heap
        armed = self._of_job[timer.job]
        if armed is timer:
            del self._of_job[timer.job]
        else:  # in one step: an interrupt (Ctrl-C) must not take the others with it
            left = tuple(other for other in _each(armed) if other is not timer)
            self._of_job[timer.job] = left if len(left) > 1 else left[0]
        self._armed -= 1
        if heap[0] is timer:
            heappop(heap)
        elif len(heap) > 2 * self._armed + _STALE_MAX:
            self._heap = sorted(self)

    def mend(self, torn: Job | None) -> None:
        """Lay the timers anew without those of the job of a torn turn or of a settled one."""
        for job in list(self._of_job):
            if job is torn or job.state.settled:
                del self._of_job[job]
        self._heap = sorted(self)
        self._armed = len(self._heap)

    def next_deadline(self) -> float:
        """Return the time of the earliest timer, infinity when none is armed."""
        heap = self._heap
        while heap:
            if self._is_armed(heap[0]):
                return heap[0].when
            heappop(heap)
        return math.inf

    def __len__(self) -> int:
        return self._armed

    def __iter__(self) -> Iterator[Timer]:
        """Iterate over the armed timers, the earliest first. Cost: O(n log n)."""
        return iter(sorted([timer for armed in self._of_job.values() for timer in _each(armed)]))


def _each(armed: Timer | tuple[Timer, ...]) -> tuple[Timer, ...]:
    """Return the timers of a job, of which one stands alone."""
    return (armed,) if isinstance(armed, Timer) else armed
