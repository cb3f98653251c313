"""How many calls may lie ahead of the one that a worker runs: bounded by time, not by number.

A worker that has nothing ahead stands still while its outcome travels and the next call comes back. As
many short calls as fill that time hide it. More would only wait where their priority does not count. So
what is learnt is how long a call runs and what a message costs beyond that.

One long run makes the estimate long at once, and it comes down by and by (peak EWMA, as Finagle's load
balancer): so nothing lies ahead of long calls, and next to nothing of those that are sometimes long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

#: Calls ahead in one slot, at most. Measured: what hides the hand-off of calls that do nothing.
AHEAD_MAX = 127
#: Seconds of estimated work that may lie ahead in a slot: less than a person or a peer notices.
AHEAD_SECONDS = 0.002
#: A new measurement's share of the estimate.
_SHARE = 1 / 8
#: Seconds below which runs are taken as equal: the clock and the call itself.
_SHORTEST = 1e-6
#: Seconds that a worker needs from the end of one call to the start of the next.
_BETWEEN = 3e-6


class Estimate:
    """What one slot has learnt. Not thread-safe for writing; one attribute at a time for reading."""

    __slots__ = ("_depth_max", "hand_off", "run_time")

    def __init__(self, depth_max: int) -> None:
        self._depth_max = depth_max
        #: Seconds a call runs; infinity before the first has returned.
        self.run_time = math.inf
        #: Seconds that a message there and one back take.
        self.hand_off = 0.0

    def ran(self, runs: Sequence[float]) -> None:
        """Learn from the seconds of some runs, whose order does not matter."""
        known, longest = self.run_time, max(runs)
        if longest > known or known == math.inf:
            self.run_time = max(_SHORTEST, longest)
        else:
            share = _SHARE if len(runs) == 1 else 1 - (1 - _SHARE) ** len(runs)
            self.run_time = max(_SHORTEST, known + (sum(runs) / len(runs) - known) * share)

    def travelled(self, seconds: float) -> None:
        """Learn what a call took beyond its run that found its worker idle."""
        self.hand_off += (min(seconds, AHEAD_SECONDS) - self.hand_off) * _SHARE

    @property
    def depth(self) -> int:
        """How many calls may lie ahead: what is run while messages travel, twice, for they travel unevenly."""
        if not self._depth_max:
            return 0
        hides = math.ceil(2 * self.hand_off / self.run_time)
        return min(hides, int(AHEAD_SECONDS / self.run_time), self._depth_max)

    @property
    def inversion_bound(self) -> float:
        """Seconds that an urgent call may wait behind what lies ahead."""
        depth = self.depth
        return depth * (self.run_time + _BETWEEN) if depth else 0.0
