"""How many pools help? Keeps what the measuring of additions found, and makes up for a measurement that is missing.

An addition that did not raise the throughput (`effect`) is undone, and not tried again for a while that doubles each
time. Sometimes that cannot be told: the group grew before enough jobs had ended to know what they gained. When jobs
have waited for a stable window nevertheless, the group goes back to the pools it had, what those end is measured,
then it may grow again, and that growth is judged like any other. Such a trial takes a fifth of the time that jobs
have waited, at most about, and there is none for another ten stable windows. Without it a backlog of jobs that
compute in Python would keep all its threads for ever, each slower than with fewer of them (ADR 34).
"""

from __future__ import annotations

import math

import attrs

from policies.contracts import Load

from . import effect
from .decisions import pools_in_words
from .effect import Effect
from .flow import Flow

#: Stable windows for which an addition that did not help is not tried again, and seconds at most.
REMEMBERED, REMEMBERED_MAX = 10.0, 3600.0
#: Jobs must have waited for so many times as long as a trial is likely to take.
TRIAL_EVERY = 5.0
#: Stable windows that a trial takes at most, and between two of them at least.
TRIAL_MAX, TRIAL_REST = 2.0, 10.0
#: There is none for less than so many times the pools: to tell a small gain takes too long. And the noise of what the
#: fewer pools end may be such a share of the gain that is asked for. Both arbitrary.
WIDER_MIN, SURE = 2.0, 0.75

_PROCESSES = "; if these jobs compute in Python, give them a group of processes: ProcessPool(slots=...)"


@attrs.define(eq=False)
class Ceiling:
    """What one group knows of the gain of its pools. Cost of a look: O(1)."""

    flow: Flow
    #: No more pools than that are opened until then; None while there is no such number.
    pools: int | None = None
    until: float = -math.inf
    #: How long it was the last time that an addition did not help, seconds.
    lasts: float = 0.0
    #: The growth that is being measured.
    growth: Effect | None = None
    #: Fewer pools are being tried: how many attempts must end there, how many had ended when the other pools were
    #: gone, and when that was.
    trial: bool = False
    enough: int = 0
    tried: tuple[int, float] | None = None
    #: What a trial found that has just ended: the next growth is compared with it.
    found: Effect | None = None
    #: No other trial before then.
    rests_until: float = -math.inf

    def forget_growth(self) -> None:
        """Measure nothing that began before now: there were no looks."""
        self.growth = self.found = None
        if self.trial:
            self._lift()

    def grow_from(self, load: Load) -> None:
        """Take note that pools are about to be added to help with what waits."""
        if not load.waiting:
            return
        if self.growth is None:
            self.growth = self.found or effect.before(load)
        else:
            self.growth.grow()

    def lowers(self, load: Load) -> str | None:
        """Return why there are too many pools, None if there are not."""
        if self.pools is not None and load.time >= self.until:
            self._lift()
        if self.pools is None or load.pools <= max(self.pools, load.min_pools):
            return None
        more = f"more than {pools_in_words(self.pools)}"
        return f"to measure the gain of {more}" if self.trial else f"{more} did not help"

    def caps(self, load: Load, goal: int) -> tuple[int, str] | None:
        """Return how many pools there may be if not so many, and why."""
        if self.pools is None or goal <= max(self.pools, load.min_pools):
            return None
        if self.trial:
            why = f"it is being measured how much {pools_in_words(self.pools)} can do"
        else:
            why = f"more than {pools_in_words(self.pools)} did not help, and are tried again in {self.until - load.time:.2f} s"
        return max(self.pools, load.min_pools), why

    def measure(self, load: Load, *, kills: bool, leaving: bool, failing: bool) -> str | None:
        """Go on measuring; return in words what the last additions did, when that is known.

        `kills` says that the group's calls run in processes, `leaving` that a pool which goes still runs something,
        `failing` that the last ones which were opened failed to start.
        """
        self.found = None
        if self.trial:
            self._try(load, leaving=leaving)
        growth, flow = self.growth, self.flow
        if growth is None or load.starting:
            return None
        verdict = growth.look(load, flow.ended, flow.panic_length, flow.stable_length)
        if verdict is None:
            return None
        patience = self._patience(growth, load) if verdict.untold else math.inf
        if patience < math.inf and (failing or load.time - growth.short < patience):
            return None
        self.growth = None
        if patience < math.inf:
            return self._begin_trial(growth, load, verdict.text)
        if verdict.helped is False:
            return self._undo(growth, load, verdict.text, kills=kills)
        if verdict.helped:
            self.lasts = 0.0
        return verdict.text

    def _lift(self) -> None:
        self.pools, self.trial, self.tried = None, False, None

    def _undo(self, growth: Effect, load: Load, text: str, *, kills: bool) -> str:
        seconds = max(REMEMBERED * self.flow.stable_length, 2 * self.lasts)
        self.lasts = min(seconds, REMEMBERED_MAX)
        self.pools, self.until = growth.pools, load.time + self.lasts
        return f"it did not help, and is undone: {text}" + ("" if kills else _PROCESSES)

    # Trials

    def _patience(self, growth: Effect, load: Load) -> float:
        """Return how long jobs must have waited before fewer pools are tried, infinity if that is of no use."""
        fewest = max(growth.pools, load.min_pools)
        if load.time < self.rests_until or load.pools < WIDER_MIN * fewest:
            return math.inf
        return TRIAL_EVERY * _enough(load, fewest) * load.run_time / (fewest * load.pool_slots)

    def _begin_trial(self, growth: Effect, load: Load, text: str) -> str:
        self.pools, self.trial, self.tried = max(growth.pools, load.min_pools), True, None
        self.enough = _enough(load, self.pools)
        self.until = load.time + TRIAL_MAX * self.flow.stable_length
        self.rests_until = self.until + TRIAL_REST * self.flow.stable_length
        return f"{text}; so it goes back to {pools_in_words(self.pools)} for a while, to measure that"

    def _try(self, load: Load, *, leaving: bool) -> None:
        """End the trial when it is known what the fewer pools end, or when nobody waits any more."""
        if not load.waiting:
            self._lift()
        elif self.pools is not None and load.pools <= self.pools and not leaving:
            self.tried = self.tried or (self.flow.ended, load.time)
            ended, seconds = self.flow.ended - self.tried[0], load.time - self.tried[1]
            late = load.time >= self.until and ended >= effect.COMPLETIONS_MIN
            if late or (ended >= self.enough and seconds >= self.flow.panic_length):
                self.found = effect.measured(load, ended, seconds)
                self._lift()


def _enough(load: Load, fewest: int) -> int:
    """Return how many jobs must end until it is known well enough how fast so few pools end them."""
    square = effect.relative_variance(load.deviation, load.run_time)
    noise = SURE * effect.SHARE * (load.pools / fewest - 1)
    return max(effect.COMPLETIONS_MIN, math.ceil((1 + square) * (2 / noise) ** 2))
