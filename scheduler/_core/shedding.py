"""Adaptive shedding: ends jobs that have waited too long while a queue stands, the least urgent first.

Only for an admission policy that asks for it with a method ``too_long(least_wait)``. Some times in each of
its intervals the heads of what waits are looked at. The least age of a priority's head over an interval is
the least time that a job of that priority had to wait in it: nothing is counted on the hot path.
"""

from __future__ import annotations

import math

from .._errors import JobShed
from .capacity import JOBS_PER_TURN
from .elastic import Elastic
from .job import Job, Line
from .states import SHED

#: Looks in an interval, and intervals without anybody waiting after which nobody looks.
LOOKS, QUIET = 4, 3

#: The least age of the head of each level in every look since an interval began; None before the first.
Ages = dict[tuple[Line, int], float]


class Shedding(Elastic):
    """Looks at the heads of what waits, and sheds."""

    #: When to look next, and when the interval is over; infinity while nobody looks.
    _shed_at = _judge_at = math.inf
    _ages: Ages | None = None
    _quiet = 0

    def wake(self, now: float) -> None:
        """Begin to look again, because a job has come."""
        super().wake(now)
        if self.shed_interval and self._shed_at == math.inf:
            self._begin_interval(now)
            self.dirty = True
        self.doze_if_all_rest()

    def doze_if_all_rest(self) -> None:
        """Have `wake` called when a job comes, if anybody rests."""
        self.dozing = self.scaling_rests or (self.shed_interval > 0 and self._shed_at == math.inf)

    def next_shed(self) -> float:
        """Return when `shed` is needed next, infinity while nobody looks."""
        return self._shed_at

    def shed(self, now: float) -> None:
        """Look at the heads, and shed at the end of an interval.

        Cost: O(lines × priorities), and O(log n) for each job shed, at most JOBS_PER_TURN of them.
        """
        self._shed_at = now + self.shed_interval / LOOKS
        if self.paused:  # what waits for `resume` is no overload
            self._begin_interval(now)
            return
        ages: Ages = {}
        for line in self.queue.lines.values():
            for priority, _, since in line.levels():
                level = (line, priority)
                if since is not None and (self._ages is None or level in self._ages):
                    age = now - since
                    ages[level] = age if self._ages is None else min(age, self._ages[level])
        self._ages = ages
        if now < self._judge_at:
            return
        if self._shed_lowest(now):
            self._shed_at = self._judge_at = now  # there are more
            return
        self._quiet = 0 if ages else self._quiet + 1
        self._begin_interval(now)
        if self._quiet >= QUIET:
            self._shed_at = self._judge_at = math.inf
            self.doze_if_all_rest()

    def _begin_interval(self, now: float) -> None:
        self._ages = None
        self._shed_at, self._judge_at = now + self.shed_interval / LOOKS, now + self.shed_interval

    def _shed_lowest(self, now: float) -> bool:
        """Shed of the least urgent priority of which a queue stands; return whether there are more of them."""
        standing = [
            (level[1], level[0], limit)
            for level in self._ages or ()
            if (limit := self.slowness.time("admission", self.gate.policy, self._limit, level))
        ]
        if not standing:
            return False
        priority, line, limit = max(standing, key=_priority)
        late: list[Job] = []
        for job in line.oldest(priority):
            if now - job.waiting_since > limit:
                late.append(job)
            elif not job.attempt:  # who came later has not waited so long either
                break
            if len(late) == JOBS_PER_TURN:
                break
        for job in late:
            error = JobShed(
                f"job {job.id} (priority {priority}) was shed: it had waited {now - job.waiting_since:.3g} s, and "
                f"others for all of the last {self.shed_interval:g} s; add pools, or allow longer waits in "
                f"{self.gate.policy!r}"
            )
            self.settle(job, SHED, error, now)
        return len(late) == JOBS_PER_TURN

    def _limit(self, level: tuple[Line, int]) -> float | None:
        assert self._ages is not None
        try:
            limit: float | None = self.gate.policy.too_long(self._ages[level])  # type: ignore[attr-defined]
            if limit is not None and not limit > 0:
                raise ValueError(f"too_long() must return seconds > 0 or None, not {limit!r}")
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.policy_failed("admission", self.gate.policy, error, "shed nothing")
            return None
        return limit


def _priority(standing: tuple[int, Line, float]) -> int:
    return standing[0]
