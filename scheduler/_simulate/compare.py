"""Two runs of one load side by side: paired differences by batches of jobs, with confidence intervals.

Both runs get the same jobs at the same moments (common random numbers), so what chance did to one it did to the
other, and the difference of a batch tells more than the batches themselves. The interval is Student's, over the
differences of batches of equal size in order of arrival (batch means: Law and Kelton, Simulation Modeling and
Analysis, chapters 9 and 11).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from statistics import NormalDist, correlation, fmean, stdev

import attrs

from .play import Played
from .tally import Tally

#: Fewer pairs say nothing.
PAIRS_MIN = 10
#: What is a mean over batches in every column: a quantile of all jobs is no mean of theirs.
OF_A_BATCH = "p99 of a batch"


@attrs.frozen
class Difference:
    """The second run less the first, and half the width of its 95 % confidence interval."""

    what: str
    first: float
    second: float
    #: Mean over the batches.
    difference: float
    #: None when there are too few batches to tell.
    half_width: float | None

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.half_width is not None and abs(self.difference) > self.half_width


@attrs.frozen
class Comparison:
    """All that is compared, and over how many batches of how many jobs."""

    differences: tuple[Difference, ...]
    batches: int
    jobs: int


def compared(first: Played, second: Played) -> Comparison:
    """Return the differences between two runs of one load, over the batches that are whole in both."""
    ones, others = first.measures.batches, second.measures.batches
    ones.as_wide_as(others.size)
    others.as_wide_as(ones.size)
    pairs = list(_pairs(first, second))
    measures: tuple[tuple[str, Callable[[Tally], float]], ...] = (
        ("mean wait", lambda tally: tally.wait.mean),
        (OF_A_BATCH, lambda tally: min(tally.wait.quantile(0.99), tally.longest_wait)),
        ("mean slowdown", lambda tally: 1 + tally.slowdown.mean),
    )
    every = first.every, second.every
    return Comparison(
        tuple(_difference(what, of, every, pairs) for what, of in measures), len(pairs), ones.size
    )


def _pairs(first: Played, second: Played) -> Iterator[tuple[Tally, Tally]]:
    """Yield the batches that may be compared, but for the last, which is smaller.

    Jobs that a configuration turns away, sheds or lets expire have no wait, and are missing from its batch. After
    an interrupt, so are jobs that had not started yet: then only batches count of which all have.
    """
    ones, others = first.measures.batches, second.measures.batches
    cut_short = first.interrupted or second.interrupted
    for one, other in zip(ones.tallies[:-1], others.tallies[:-1], strict=False):
        started, its = one.wait.count, other.wait.count
        if started == its == ones.size or (not cut_short and started and its):
            yield one, other


def _difference(
    what: str, of: Callable[[Tally], float], every: tuple[Tally, Tally], pairs: list[tuple[Tally, Tally]]
) -> Difference:
    values = [(of(one), of(other)) for one, other in pairs]
    differences = [other - one for one, other in values]
    half = None
    if len(values) >= PAIRS_MIN:
        half = student(len(values) - 1) * stdev(differences) / math.sqrt(len(values)) * _alike(differences)
    first, second = map(of, every)
    if what == OF_A_BATCH and values:
        first, second = map(fmean, zip(*values, strict=True))
    return Difference(what, first, second, fmean(differences) if values else second - first, half)


def _alike(values: list[float]) -> float:
    """Return how many times wider an interval must be because each batch resembles the one before.

    A queue that stands at the end of a batch stands at the beginning of the next. Their correlation r makes the
    variance of the mean (1 + r) ÷ (1 − r) times as large (a process of first order; Steiger et al. 2005).
    """
    before, after = values[:-1], values[1:]
    if len(set(before)) < 2 or len(set(after)) < 2:
        return 1.0
    likeness = min(max(0.0, correlation(before, after)), 0.8)
    return math.sqrt((1 + likeness) / (1 - likeness))


def student(freedom: int) -> float:
    """Return the 97.5 % point of Student's t, to 0.3 % from 4 degrees on (Abramowitz and Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(0.975)
    terms: tuple[float, ...] = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / freedom**power for power, term in enumerate(terms, 1))
