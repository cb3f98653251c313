"""What is counted, and the frozen answers of ``statistics()``.

Histograms have fixed logarithmic buckets, eight to an octave (each 9 % wide), from 1 µs to 3 days.
A histogram is 2.5 kB, whatever it has seen.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from operator import mul

import attrs

from .states import PoolState

#: Starts after which a meter's lists are folded; 64 kB at most. Arbitrary.
FOLD_AT = 1024

_FLOOR_S = 1e-6
_PER_OCTAVE = 8
_OCTAVES = 38  # 1 µs × 2^38 is just over three days
#: Upper bounds of the buckets, in seconds; what is longer goes to one bucket more.
BOUNDS: tuple[float, ...] = tuple(
    _FLOOR_S * 2.0 ** (step / _PER_OCTAVE) for step in range(_OCTAVES * _PER_OCTAVE + 1)
)


@attrs.frozen(kw_only=True)
class Histogram:
    """How long something took, in seconds, over all that was seen.

    Quantiles are right to within one bucket, 9 % of their value.
    """

    count: int
    total: float
    buckets: tuple[int, ...] = attrs.field(repr=False)

    @property
    def mean(self) -> float:
        """Return the exact mean in seconds, 0 when nothing was seen."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """Return the time that `share` (0…1) of what was seen did not exceed, in seconds."""
        if not 0 <= share <= 1:
            raise ValueError(f"quantile() takes a share between 0 and 1, not {share!r}")
        if not self.count:
            return 0.0
        rank, seen = share * self.count, 0
        for bucket, count in enumerate(self.buckets):
            seen += count
            if count and seen >= rank:
                return BOUNDS[min(bucket, len(BOUNDS) - 1)]
        return BOUNDS[-1]

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(
            count=self.count + other.count,
            total=self.total + other.total,
            buckets=tuple(map(int.__add__, self.buckets, other.buckets)),
        )


EMPTY = Histogram(count=0, total=0.0, buckets=(0,) * (len(BOUNDS) + 1))


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """Return one histogram of everything that was seen by any of these."""
    return sum(histograms, start=EMPTY)


class Meter:
    """Waits and run times of one priority in one group, being counted.

    The hot path only appends to two lists; `fold` sorts them into the buckets every `FOLD_AT` starts.
    Sorting a thousand floats and bisecting them at the bounds costs a fifth of bisecting the bounds
    for each of them. Whoever appends to `waits` calls `fold` when it has grown to `FOLD_AT`.
    """

    __slots__ = (
        "_run_buckets",
        "_wait_buckets",
        "_wait_total",
        "ended",
        "run_squares",
        "run_total",
        "runs",
        "started",
        "waits",
    )

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.runs: list[float] = []
        self._wait_buckets = [0] * (len(BOUNDS) + 1)
        self._run_buckets = [0] * (len(BOUNDS) + 1)
        self._wait_total = 0.0
        #: What has been folded: attempts that started and that ended, and the sums of how long those ran.
        self.started = self.ended = 0
        self.run_total = self.run_squares = 0.0

    def fold(self) -> None:
        """Count what the lists hold, and empty them. Cost: 0.13 µs an entry."""
        waits, runs = self.waits, self.runs
        if waits:
            waits.sort()
            self.started += len(waits)
            self._wait_total += _count(waits, self._wait_buckets)
        if runs:
            runs.sort()
            self.ended += len(runs)
            self.run_squares += sum(map(mul, runs, runs))
            self.run_total += _count(runs, self._run_buckets)

    def run_counts(self) -> list[int]:
        """Return how many run times have been folded into each bucket."""
        return list(self._run_buckets)

    def freeze(self) -> tuple[Histogram, Histogram]:
        """Return the waits and the run times so far."""
        self.fold()
        waits, runs = tuple(self._wait_buckets), tuple(self._run_buckets)
        return (
            Histogram(count=sum(waits), total=self._wait_total, buckets=waits),
            Histogram(count=sum(runs), total=self.run_total, buckets=runs),
        )


def _count(seconds: list[float], buckets: list[int]) -> float:
    """Add sorted `seconds` to the buckets, empty the list, and return its sum."""
    total = sum(seconds)
    below = 0
    while below < len(seconds):
        bucket = bisect_right(BOUNDS, seconds[below])
        upto = bisect_left(seconds, BOUNDS[bucket], below) if bucket < len(BOUNDS) else len(seconds)
        buckets[bucket] += upto - below
        below = upto
    seconds.clear()
    return total


class Ledger:
    """The account of every job: what came in and how it ended.

    Where jobs are *now* is not counted here but read off the places that hold them, so that the sum
    (invariant I2) is a check and not a tautology.
    """

    __slots__ = (
        "cancelled",
        "expired",
        "failed",
        "hedges",
        "hedges_won",
        "late",
        "numbers",
        "recalled",
        "rejected",
        "renumbered",
        "retries",
        "shed",
        "succeeded",
    )

    def __init__(self) -> None:
        #: Numbers given out: one to every submission, one more to a delayed job that became due.
        self.numbers = self.renumbered = 0
        self.rejected = self.retries = self.late = self.recalled = self.hedges = self.hedges_won = 0
        self.succeeded = self.failed = self.cancelled = self.expired = self.shed = 0

    @property
    def submitted(self) -> int:
        """How many jobs have been admitted."""
        return self.numbers - self.renumbered

    def renumber(self) -> int:
        """Return the next number, for a job that arrives now though it was submitted before."""
        self.numbers += 1
        self.renumbered += 1
        return self.numbers

    def balance(self, *, alive: int) -> None:
        """Make `submitted` what is alive and what has settled."""
        self.renumbered = self.numbers - alive - self.settled

    @property
    def settled(self) -> int:
        """How many jobs have reached a terminal state."""
        return self.succeeded + self.failed + self.cancelled + self.expired + self.shed


@attrs.frozen(kw_only=True)
class PoolStatistics:
    """One pool at one moment. `in_use` counts slots that are not free, overdue workers included."""

    pool_id: str
    group: str
    slots: int
    in_use: int
    state: PoolState
    started_at: float
    #: Workers busy with an attempt that has outlived its limit.
    overdue: int = 0
    #: Those of them that are abandoned: they ignore their limit for longer than the group's `stuck_after`.
    stuck: int = 0
    #: Slots without a worker: not started yet, or being replaced.
    down: int = 0
    #: Jobs that its workers hold beyond those they run.
    ahead: int = 0
    #: Seconds that an urgent job may wait behind those, as measured; 0 where nothing lies ahead.
    inversion_bound: float = 0.0
    #: Seconds by which its event loop was late at worst in the last 5 to 10 seconds; 0 where there is no loop.
    loop_lag: float = 0.0


@attrs.frozen(kw_only=True)
class BudgetStatistics:
    """One retry budget at one moment. The counts are of all time."""

    name: str
    #: Retries that it can pay for now.
    balance: float
    #: First attempts that paid in.
    deposited: int
    #: Retries that it paid for.
    withdrawn: int
    #: Jobs that failed because it was empty.
    refused: int


@attrs.frozen(kw_only=True)
class BreakerStatistics:
    """One circuit breaker at one moment. `state` is closed, open or half-open."""

    #: Whose jobs it is about, in words.
    breaker: str
    state: str
    #: The attempts that it judges by now, and how many of them failed.
    calls: int
    failed: int
    #: How often it has opened.
    opened: int
    #: When it lets the next jobs through; None unless it is open.
    until: float | None


@attrs.frozen(kw_only=True)
class Statistics:
    """One consistent snapshot of the whole scheduler.

    ``submitted`` is the sum of the nine counts that follow it, in every snapshot (invariant I2).
    Histograms are keyed by ``(priority, group)``.
    """

    time: float
    submitted: int
    delayed: int
    waiting: int
    backing_off: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    expired: int
    shed: int
    #: Turned away at the gate; not among `submitted`.
    rejected: int
    retries: int
    #: Outcomes that arrived after their attempt had been given up, and were dropped.
    late: int
    #: Jobs that were given to a worker, not begun, and taken back; no attempt was charged.
    recalled: int
    #: Of the waiting jobs, those that a `Limit` or a breaker keeps from starting now.
    limited: int = 0
    capacity: int
    waits: Mapping[tuple[int, str], Histogram] = attrs.field(repr=False)
    run_times: Mapping[tuple[int, str], Histogram] = attrs.field(repr=False)
    pools: tuple[PoolStatistics, ...]
    #: Second attempts beside one that took long, and how many of them returned first with a value.
    hedges: int = 0
    hedges_won: int = 0
    #: Every retry budget that a job has named.
    budgets: tuple[BudgetStatistics, ...] = ()
    #: Every circuit breaker.
    breakers: tuple[BreakerStatistics, ...] = ()

    def wait(self, *, priority: int | None = None, group: str | None = None) -> Histogram:
        """Return the waits of one priority, of one group, of both, or of all jobs."""
        return _select(self.waits, priority, group)

    def run_time(self, *, priority: int | None = None, group: str | None = None) -> Histogram:
        """Return the run times of one priority, of one group, of both, or of all jobs."""
        return _select(self.run_times, priority, group)


def _select(
    histograms: Mapping[tuple[int, str], Histogram], priority: int | None, group: str | None
) -> Histogram:
    return merged(
        histogram
        for (its_priority, its_group), histogram in histograms.items()
        if priority in (None, its_priority) and group in (None, its_group)
    )
