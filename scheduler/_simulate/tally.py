"""What is measured of very many jobs in little memory: waits, slowdowns, and how something changed with time."""

from __future__ import annotations

from .._core.statistics import EMPTY, FOLD_AT, Histogram, Meter

#: Spans in which a series is kept; when they are full, neighbours are thrown together.
SPANS = 512
#: Batches of jobs are kept between half as many and so many (Schmeiser 1982: few and large ones cover best).
BATCHES = 24
#: Jobs of a batch in the beginning; means of smaller ones are too alike from one to the next.
BATCH = 128


class Tally:
    """Waits and slowdowns of some jobs: histograms, and the largest of each.

    A slowdown is (wait + run time) ÷ run time. What is counted is the part above 1, so that 1 is exact.
    """

    __slots__ = ("_meter", "_slowdowns", "_waits", "highest_slowdown", "longest_wait")

    def __init__(self) -> None:
        self._meter = Meter()
        self._waits = self._slowdowns = EMPTY
        self.longest_wait = 0.0
        self.highest_slowdown = 1.0

    def waited(self, seconds: float) -> None:
        """Count a wait."""
        waits = self._meter.waits
        waits.append(seconds)
        if len(waits) >= FOLD_AT:
            self._fold()

    def slowed(self, above_one: float) -> None:
        """Count a slowdown, less 1."""
        slowdowns = self._meter.runs
        slowdowns.append(above_one)
        if len(slowdowns) >= FOLD_AT:
            self._fold()

    def _fold(self) -> None:
        meter = self._meter
        self.longest_wait = max(self.longest_wait, *meter.waits, 0.0)
        self.highest_slowdown = max(self.highest_slowdown, 1 + max(meter.runs, default=0.0))
        meter.fold()

    def frozen(self) -> tuple[Histogram, Histogram]:
        """Return the waits, and the slowdowns less 1."""
        self._fold()
        waits, slowdowns = self._meter.freeze()
        return self._waits + waits, self._slowdowns + slowdowns

    def absorb(self, other: Tally) -> None:
        """Count what `other` has counted, too."""
        waits, slowdowns = other.frozen()
        self._waits += waits
        self._slowdowns += slowdowns
        self.longest_wait = max(self.longest_wait, other.longest_wait)
        self.highest_slowdown = max(self.highest_slowdown, other.highest_slowdown)

    @property
    def wait(self) -> Histogram:
        """The waits so far, in seconds."""
        return self.frozen()[0]

    @property
    def slowdown(self) -> Histogram:
        """The slowdowns so far, less 1."""
        return self.frozen()[1]


class Batches:
    """Jobs by arrival in batches of equal size, which grow with their number.

    Where a job belongs depends on its number alone, so the batches of two runs of one load hold the same jobs.
    """

    def __init__(self) -> None:
        self.size = BATCH
        self.tallies: list[Tally] = []

    def of(self, number: int) -> Tally:
        """Return the batch of the job with this number, which counts from 1."""
        place = (number - 1) // self.size
        tallies = self.tallies
        while place >= BATCHES:
            self._halve()
            place = (number - 1) // self.size
        while place >= len(tallies):
            tallies.append(Tally())
        return tallies[place]

    def _halve(self) -> None:
        for place in range(0, len(self.tallies) - 1, 2):
            self.tallies[place].absorb(self.tallies[place + 1])
        del self.tallies[1::2]
        self.size *= 2

    def as_wide_as(self, size: int) -> None:
        """Make batches at least as large as `size`."""
        while self.size < size:
            self._halve()


class Series:
    """The highest value in each of at most `SPANS` spans of time of equal length; its mean, least and most."""

    __slots__ = ("_area", "_edge", "_since", "_top", "least", "most", "tops", "value", "width")

    def __init__(self, value: int = 0) -> None:
        #: Seconds of a span.
        self.width = 1e-3
        #: The highest value of each span that has ended.
        self.tops: list[int] = []
        self.value = self.least = self.most = self._top = value
        self._edge = self.width
        self._area = self._since = 0.0

    def note(self, now: float, value: int) -> None:
        """Take note of the value that holds from now on. Cost: 0.2 µs."""
        if now >= self._edge:
            self._roll(now)
        self._area += self.value * (now - self._since)
        self._since = now
        self.value = value
        if value > self._top:
            self._top = value
            self.most = max(self.most, value)
        elif value < self.least:
            self.least = value

    def _roll(self, now: float) -> None:
        while now >= self.width * SPANS:
            self.tops.append(self._top)
            self.tops += [self.value] * (-len(self.tops) % 2)
            self.tops = [max(pair) for pair in zip(self.tops[::2], self.tops[1::2], strict=True)]
            self._top = self.tops.pop()
            self.width *= 2
        place = int(now / self.width)
        if place > len(self.tops):
            self.tops.append(self._top)
            self.tops += [self.value] * (place - len(self.tops))
            self._top = self.value
        self._edge = (place + 1) * self.width

    def area(self, until: float) -> float:
        """Return the sum of value × seconds until then."""
        return self._area + self.value * max(0.0, until - self._since)

    def points(self, until: float = 0.0) -> list[tuple[float, int]]:
        """Return when each span began and the highest value in it, of the spans up to that moment."""
        if until >= self._edge:  # the last value holds until then: its span does not
            self._roll(until)
        return [(place * self.width, top) for place, top in enumerate([*self.tops, self._top])]
