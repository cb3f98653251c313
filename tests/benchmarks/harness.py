"""Measure two programs in turns, and say how one compares with the other.

A machine is faster in one minute than in the next, and a pair of threads may settle on one core or on
two. So both programs run in pairs, each time anew, first one first and then the other; what is told is
the median of the ratios within the pairs, with the quartiles around it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from statistics import median, quantiles

import attrs

Trial = Callable[[], float]


@attrs.frozen(kw_only=True)
class Figure:
    """One line of the table."""

    name: str
    #: Medians, in `unit`; a peer's unit may differ when it is a limit and not a peer.
    ours: float
    unit: str
    peer: float | None = None
    #: What `peer` is.
    peer_name: str = ""
    #: The number that is judged (a ratio, or `ours` itself), with its quartiles over the pairs.
    judged: float | None = None
    spread: tuple[float, float] | None = None
    must: float | None = None
    aim: float | None = None
    more_is_better: bool = False

    @property
    def verdict(self) -> str:
        """Return "aim met", "must met", "MISSED", "not yet" for an aim alone, or nothing without limits."""
        if self.judged is None:
            return ""
        sign = -1 if self.more_is_better else 1
        for word, limit in (("aim met", self.aim), ("must met", self.must)):
            if limit is not None and sign * self.judged <= sign * limit:
                return word
        if self.must is not None:
            return "MISSED"
        return "" if self.aim is None else "not yet"


def alternate(ours: Trial, peers: Trial, pairs: int) -> tuple[list[float], list[float]]:
    """Run both programs `pairs` times in turns, the first of a pair being the second of the next."""
    results: dict[Trial, list[float]] = {ours: [], peers: []}
    for number in range(pairs):
        for trial in (ours, peers) if number % 2 == 0 else (peers, ours):
            gc.collect()
            results[trial].append(trial())
    return results[ours], results[peers]


def compared(
    name: str,
    ours: Trial,
    peers: Trial,
    *,
    pairs: int,
    unit: str,
    peer_name: str = "ThreadPoolExecutor",
    must: float | None = None,
    aim: float | None = None,
) -> Figure:
    """Return the figure of a program beside its peer's."""
    mine, theirs = alternate(ours, peers, pairs)
    ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
    return Figure(
        name=name,
        ours=median(mine),
        peer=median(theirs),
        peer_name=peer_name,
        unit=unit,
        judged=median(ratios),
        spread=quartiles(ratios),
        must=must,
        aim=aim,
    )


def quartiles(numbers: Sequence[float]) -> tuple[float, float] | None:
    """Return the lower and the upper quartile, None for fewer than three numbers."""
    if len(numbers) < 3:
        return None
    lower, _, upper = quantiles(numbers, n=4, method="inclusive")
    return lower, upper


def percentile(numbers: Sequence[float], share: float) -> float:
    """Return the number that `share` of the numbers do not exceed."""
    return sorted(numbers)[min(len(numbers) - 1, int(share * len(numbers)))]


def no_op() -> None:
    """Do nothing: what is left is what the scheduler costs."""
