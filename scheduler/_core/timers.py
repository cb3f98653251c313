"""What is due, and when next: delays, backoffs and limits.

One `SortedList` of timers by time. A timer is removed when its reason goes, so that a million jobs
that end long before their deadline leave nothing behind.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from typing import NamedTuple

from sortedcontainers import SortedList

from .job import Job


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
    """Armed timers by time. Cost: arm and disarm O(log n), next O(1)."""

    __slots__ = ("_armed", "_number", "_of_job")

    def __init__(self) -> None:
        self._armed: SortedList[Timer] = SortedList()
        self._of_job: dict[Job, list[Timer]] = {}
        self._number = 0

    def arm(self, when: float, kind: TimerKind, job: Job) -> None:
        """Remember that `job` needs `kind` at `when`."""
        self._number += 1
        timer = Timer(when, self._number, kind, job)
        self._armed.add(timer)
        self._of_job.setdefault(job, []).append(timer)

    def disarm(self, job: Job, kind: TimerKind | None = None) -> None:
        """Forget the job's timer of this kind, or all of them."""
        for timer in self._of_job.get(job, ())[:]:
            if kind is None or timer.kind is kind:
                self.remove(timer)

    def first_due(self, now: float) -> Timer | None:
        """Return the earliest timer that is due, or None."""
        if not self._armed or self._armed[0].when > now:
            return None
        timer: Timer = self._armed[0]
        return timer

    def remove(self, timer: Timer) -> None:
        """Remove one armed timer."""
        self._armed.remove(timer)
        self._forget(timer)

    def _forget(self, timer: Timer) -> None:
        armed = self._of_job[timer.job]
        armed.remove(timer)
        if not armed:
            del self._of_job[timer.job]

    def mend(self, torn: Job | None) -> None:
        """Lay the timers anew without those of the job of a torn turn or of a settled one."""
        kept = [timer for timer in self._armed if timer.job is not torn and not timer.job.state.settled]
        self._armed = SortedList(kept)
        self._of_job = {}
        for timer in self._armed:
            self._of_job.setdefault(timer.job, []).append(timer)

    def next_deadline(self) -> float:
        """Return the time of the earliest timer, infinity when none is armed."""
        when: float = self._armed[0].when if self._armed else math.inf
        return when

    def __len__(self) -> int:
        return len(self._armed)

    def __iter__(self) -> Iterator[Timer]:
        return iter(self._armed)
