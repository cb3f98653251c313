"""What a group has lately done, in two windows: the numbers that a scaling policy looks at.

Nothing is counted for it on the hot path: a look reads what the meters and the lines have counted anyway,
and a window is the difference of two looks. The windows are multiples of the group's own run time and start-up time,
because what is sudden for jobs of an hour is stale for jobs of 10 ms.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from policies.contracts import Window

from .pool_table import GroupRecord
from .states import PoolState

_ACCEPTING = PoolState.ACCEPTING

#: Window lengths in mean run times and in start-up times, and the seconds between which they stay. Fifty run
#: times are what it takes to know a rate to a few percent; ten start-ups are worth waiting for before a pool goes.
#: What is sudden has nothing to do with how long a pool takes to start: one that starts slowly is needed the sooner.
PANIC_RUNS, PANIC_MIN, PANIC_MAX = 2.0, 0.2, 30.0
STABLE_RUNS, STABLE_START_UPS, STABLE_MIN, STABLE_MAX = 50.0, 10.0, 2.0, 600.0
#: Looks per panic window, and the seconds between two looks.
LOOKS, TICK_MIN, TICK_MAX = 4, 0.05, 1.0
#: Looks kept of the stable window; the others in it are summed up.
_COARSE = 64
#: The share of a new start-up time in what is remembered of them. Arbitrary.
_NEW = 0.5


class Look(NamedTuple):
    """What could be seen at one moment, and what the time since the look before was like."""

    time: float
    started: int
    ended: int
    run_total: float
    run_squares: float
    waiting: int
    in_use: float
    oldest: float
    saturated: bool


_IN_USE, _OLDEST, _SATURATED = map(attrgetter, ("in_use", "oldest", "saturated"))


class Flow:
    """The looks at one group. Cost of a look: O(priorities); of a window: O(looks in it), at most about 64."""

    __slots__ = (
        "_coarse",
        "_fine",
        "_since",
        "deviation",
        "in_use",
        "run_time",
        "slots",
        "start_up",
    )

    def __init__(self) -> None:
        self._fine: deque[Look] = deque()
        self._coarse: deque[Look] = deque()
        #: Looks since the last coarse one.
        self._since: list[Look] = []
        self.run_time = self.deviation = self.start_up = 0.0
        #: Slots in use at the last look, and slots there were.
        self.in_use = self.slots = 0

    @property
    def ended(self) -> int:
        """Attempts that had ended at the last look."""
        return self._fine[-1].ended if self._fine else 0

    @property
    def panic_length(self) -> float:
        """Seconds of the panic window."""
        return min(max(PANIC_RUNS * self.run_time, PANIC_MIN), PANIC_MAX)

    @property
    def stable_length(self) -> float:
        """Seconds of the stable window."""
        units = max(STABLE_RUNS * self.run_time, STABLE_START_UPS * self.start_up)
        return min(max(units, STABLE_MIN), STABLE_MAX)

    @property
    def tick(self) -> float:
        """Seconds from one look to the next."""
        return min(max(self.panic_length / LOOKS, TICK_MIN), TICK_MAX)

    def started_up(self, seconds: float) -> None:
        """Take note of how long a pool took to start."""
        self.start_up = seconds if not self.start_up else _NEW * seconds + (1 - _NEW) * self.start_up

    def look(self, group: GroupRecord, now: float, waiting: int, oldest: float) -> None:
        """Look at the group; `oldest` is how long the job has waited that has waited longest."""
        started = ended = 0
        run_total = run_squares = 0.0
        for meter in group.meters.values():
            meter.fold()
            started += meter.started
            ended += meter.ended
            run_total += meter.run_total
            run_squares += meter.run_squares
        self.in_use, self.slots = in_use, _ = usage(group)
        look = Look(
            time=now,
            started=started,
            ended=ended,
            run_total=run_total,
            run_squares=run_squares,
            waiting=waiting,
            in_use=in_use,
            oldest=oldest,
            saturated=waiting > 0,  # no job waits beside a slot that it may use (I7)
        )
        self._fine.append(look)
        _trim(self._fine, now - self.panic_length)
        self._since.append(look)
        if not self._coarse or now - self._coarse[-1].time >= self.stable_length / _COARSE:
            self._coarse.append(_summed(self._since))
            self._since.clear()
        _trim(self._coarse, now - self.stable_length)

    def panic(self) -> Window:
        """Return the panic window, up to the last look."""
        return _window(list(self._fine))

    def stable(self) -> Window:
        """Return the stable window, up to the last look; remember its run time."""
        window = _window([*self._coarse, *self._since])
        if window.completions:
            self.run_time, self.deviation = window.run_time, window.deviation
        return window

    def forget(self) -> None:
        """Begin anew after a time without looks."""
        self._fine.clear()
        self._coarse.clear()
        self._since.clear()


def usage(group: GroupRecord) -> tuple[int, int]:
    """Return the slots in use, and the slots there are, in the group's accepting pools. Cost: O(pools)."""
    slots = 0
    for pool in group.pools:
        if pool.state is _ACCEPTING:
            slots += pool.slots - pool.down
    return slots - group.free, slots


def _trim(looks: deque[Look], since: float) -> None:
    """Drop looks from before the window, but for the one that its beginning is measured from."""
    while len(looks) > 2 and looks[1].time <= since:
        looks.popleft()


def _summed(looks: Sequence[Look]) -> Look:
    return looks[-1]._replace(
        in_use=sum(look.in_use for look in looks) / len(looks),
        oldest=min(look.oldest for look in looks),
        saturated=all(look.saturated for look in looks),
    )


def _window(looks: Sequence[Look]) -> Window:
    if len(looks) < 2:
        return Window()
    first, last = looks[0], looks[-1]
    ended = last.ended - first.ended
    mean = (last.run_total - first.run_total) / ended if ended else 0.0
    square = (last.run_squares - first.run_squares) / ended if ended else 0.0
    later = looks[1:]
    return Window(
        seconds=last.time - first.time,
        arrivals=max(0, last.started - first.started + last.waiting - first.waiting),
        starts=last.started - first.started,
        completions=ended,
        run_time=mean,
        deviation=math.sqrt(max(0.0, square - mean * mean)),
        least_wait=min(map(_OLDEST, later)),
        in_use=sum(map(_IN_USE, later)) / len(later),
        saturated=all(map(_SATURATED, later)),
    )
