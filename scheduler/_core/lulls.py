"""When may a pool go? Remembers when each number of pools was last wanted, and when it was wanted anew before.

A drain is a reversal when the load returns within a stable window of it. No rule can exclude that, for nobody foresees
the first burst, but two make it rare: a pool goes only after the group has done without it for a while, and not
shortly before the load is due. The second is in small the histogram of idle times by which Shahrad et al. keep
functions warm (Serverless in the Wild, USENIX ATC 2020): the last few intervals between two rises.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise

#: Stable windows for which a group does without a pool before that goes, and if it has not been seen how often the
#: load returns.
SHOWN, UNKNOWN = 3.0, 4.0
#: The same while a larger share of the pools than `SHARE` is wanted all the time: a steady load and its noise.
STEADY = 2.0
#: Stable windows after which it goes whatever is expected.
SHOWN_MAX = 16.0
#: Intervals between rises that are remembered for each number of pools, and the share by which they differ.
INTERVALS, MARGIN = 8, 0.25
#: A rise to so large a share of the pools there are may be the beginning of one to all of them; and one that began
#: at a larger share of its own number is the noise of a steady load, and is not awaited.
SHARE = 0.5


class Lulls:
    """The numbers of pools that a group wanted. Cost of a look: O(1) amortised; memory: O(most pools there were)."""

    __slots__ = ("_left", "_rises", "_seen", "wanted")

    def __init__(self) -> None:
        #: The number of pools that was wanted at the last look, of those that there were.
        self.wanted = 0
        #: When that was, and how long the stable window was then.
        self._seen = (-math.inf, 0.0)
        #: When each larger number was last wanted, the smallest last; how long the stable window has been since, and
        #: the fewest that were wanted since (of the smaller numbers' before it, too).
        self._left: list[tuple[float, float, int]] = []
        #: When each number was wanted anew after a lull of a stable window or more.
        self._rises: dict[int, deque[float]] = {}

    def want(self, pools: int, now: float, stable: float) -> None:
        """Take note that so many pools are wanted, of those that there are; `stable` is the stable window's length."""
        while self.wanted > pools:
            self._left.append((*self._seen, pools))
            self.wanted -= 1
        fewest = self.wanted
        while self.wanted < pools:
            self.wanted += 1
            since, _, low = self._left.pop() if self._left else (-math.inf, 0.0, 0)
            fewest = min(fewest, low)
            if now - since >= stable and fewest <= SHARE * self.wanted:
                self._rises.setdefault(self.wanted, deque(maxlen=INTERVALS + 1)).append(now)
        if self._left:
            since, length, low = self._left[-1]
            self._left[-1] = since, length, min(low, fewest)
        self._seen = (now, stable)

    def keeps(self, pools: int, now: float, stable: float) -> str | None:
        """Return why the last of so many pools must not go yet, None if it may. Cost: O(most pools there were).

        The window counts as long as it has been since the pool was last wanted: short jobs that come after long
        ones say nothing about when the long ones return.
        """
        since, length = self._last(pools, stable)
        steady = self._fewest(pools) > SHARE * pools
        shown = (STEADY if steady else SHOWN) * length
        if now - since < shown:
            return f"{pools} pools were wanted within the last {shown:.2f} s"
        if now - since >= SHOWN_MAX * length:
            return None
        known = False
        for least, rises in self._rises.items():
            if least < SHARE * pools or len(rises) < 2:
                continue
            known = True
            every = _due(rises, now, length)
            if every is not None:
                return f"the load rose to {least} pools {now - rises[-1]:.2f} s ago, and has done so every {every:.2f} s"
        if not known and not steady and now - since < UNKNOWN * length:
            return f"{pools} pools were wanted within the last {UNKNOWN * length:.2f} s, and how often is not known yet"
        return None

    def _fewest(self, pools: int) -> int:
        """Return the fewest pools that were wanted since so many were."""
        higher = max(0, pools - self.wanted)
        return min((low for _, _, low in self._left[-higher:] if higher), default=self.wanted)

    def _last(self, pools: int, stable: float) -> tuple[float, float]:
        """Return when so many pools were last wanted, and how long the stable window has been since then."""
        higher = pools - self.wanted
        if higher <= 0:
            return math.inf, stable
        if higher > len(self._left):
            return -math.inf, stable
        since, length, low = self._left[-higher]
        length = max(length, stable)
        self._left[-higher] = since, length, low
        return since, length


def _due(rises: deque[float], now: float, length: float) -> float | None:
    """Return an interval after which the next rise comes within a stable window, None if there was none."""
    since = now - rises[-1]
    for before, after in pairwise(rises):
        every = after - before
        if every * (1 - MARGIN) - length <= since <= every * (1 + MARGIN):
            return every
    return None
