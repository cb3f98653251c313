"""Which policies take long: they are asked under the lock, so one that takes a second holds up every job.

Nothing is done about it, for there is nobody to ask instead: the answer is used, and the policy is named. The
core reads no clock, so it is handed a stopwatch; without one, as in virtual time, nothing is measured.

Measured is what is asked rarely (retry, admission, scaling), and an ordering or a routing policy that is not
one of ours: those are on the hot path, look at a few numbers, and would pay a tenth of their time for it.
A pause of the garbage collector in the middle of an answer counts as the policy's, so one slow answer a
minute is not enough, unless it took very long.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from policies.ordering import Aging, EarliestDeadline, FairShare, StrictPriority
from policies.routing import LeastLoaded, Pack, PeakEwma, RoundRobin, TwoRandomChoices

#: Seconds beyond which an answer took long. Arbitrary: ours take a hundred thousandth of it.
SLOW = 0.1
#: Seconds beyond which one such answer is enough; else it takes two within QUIET. Arbitrary.
VERY_SLOW = 0.5
#: Seconds for which a policy that was named is not named again. Arbitrary.
QUIET = 60.0
#: Policies of the hot path that are known to be quick, and in which is nobody else's code.
QUICK = (
    StrictPriority,
    Aging,
    EarliestDeadline,
    FairShare,
    Pack,
    LeastLoaded,
    RoundRobin,
    TwoRandomChoices,
    PeakEwma,
)

P = ParamSpec("P")
T = TypeVar("T")
Stopwatch = Callable[[], float]


class Slowness:
    """Times policies and says which took long: `tell(question, policy, seconds, calls)`, once in a while."""

    __slots__ = ("_suspected", "_tell", "_told", "stopwatch")

    def __init__(self, stopwatch: Stopwatch | None, tell: Callable[[str, str, float, int], None]) -> None:
        #: What policies are timed with; None measures nothing.
        self.stopwatch = stopwatch
        self._tell = tell
        #: By question and policy: when an answer last took long.
        self._suspected: dict[tuple[str, str], float] = {}
        #: By question and policy: when it was last named, and slow answers since.
        self._told: dict[tuple[str, str], tuple[float, int]] = {}

    def stopwatch_for(self, policy: object) -> Stopwatch | None:
        """Return what a policy of the hot path is timed with, None if it is not."""
        return None if type(policy) in QUICK else self.stopwatch

    def time(
        self, question: str, policy: object, ask: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what `ask` answers, which asks `policy`. Cost: two readings of the stopwatch, 0.2 µs in all."""
        watch = self.stopwatch
        if watch is None:
            return ask(*args, **kwargs)
        began = watch()
        answer = ask(*args, **kwargs)
        self.took(question, policy, began, watch())
        return answer

    def took(self, question: str, policy: object, began: float, ended: float) -> None:
        """Take note that an answer was asked for at `began` and came at `ended`, by the stopwatch."""
        if ended - began <= SLOW:
            return
        name = type(policy).__name__
        before = self._suspected.get((question, name), -math.inf)
        self._suspected[question, name] = ended
        if ended - began <= VERY_SLOW and ended - before > QUIET:
            return
        told, calls = self._told.get((question, name), (None, 0))
        if told is not None and ended - told < QUIET:
            self._told[question, name] = told, calls + 1
            return
        self._told[question, name] = ended, 0
        self._tell(question, name, ended - began, calls + 1)
