"""Made-up loads: arrival processes drawn from seeded dice, said in one line of text."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import attrs

from policies.installed import near

from .traces import Arrival, Kind, TraceError, priority_of

#: Jobs of a load that says neither `jobs` nor `length`. Arbitrary.
JOBS = 10_000

Settings = dict[str, float]
#: From settings and dice, the moments at which jobs come.
Process = Callable[[Settings, random.Random], Iterator[float]]


def _poisson(given: Settings, dice: random.Random) -> Iterator[float]:
    now, rate = 0.0, given["rate"]
    while True:
        now += dice.expovariate(rate)
        yield now


def _pareto(given: Settings, dice: random.Random) -> Iterator[float]:
    """Gaps of a Pareto distribution whose mean is 1/rate: clumps and silences of every length."""
    now, alpha = 0.0, given["alpha"]
    least = (alpha - 1) / (alpha * given["rate"])
    while True:
        now += least * dice.paretovariate(alpha)
        yield now


def _thinned(rate: Callable[[float], float], most: float, dice: random.Random) -> Iterator[float]:
    """Poisson arrivals whose rate changes, by thinning (Lewis and Shedler 1979)."""
    now = 0.0
    while True:
        now += dice.expovariate(most)
        if dice.random() * most < rate(now):
            yield now


def _day(given: Settings, dice: random.Random) -> Iterator[float]:
    low, high, period = given["low"], given["high"], given["period"]

    def rate(now: float) -> float:
        return low + (high - low) * (1 - math.cos(2 * math.pi * now / period)) / 2

    return _thinned(rate, max(low, high), dice)


def _bursts(given: Settings, dice: random.Random) -> Iterator[float]:
    low, high, every, lasts = given["low"], given["high"], given["every"], given["lasts"]
    return _thinned(lambda now: high if now % every < lasts else low, max(low, high), dice)


#: Each process: its settings with their defaults (None: it must be said), and what draws it.
PROCESSES: dict[str, tuple[dict[str, float | None], Process]] = {
    "poisson": ({"rate": None}, _poisson),
    "pareto": ({"rate": None, "alpha": 1.5}, _pareto),
    "day": ({"low": None, "high": None, "period": 86_400.0}, _day),
    "bursts": ({"low": None, "high": None, "every": 60.0, "lasts": 5.0}, _bursts),
}
#: What every process takes.
_COMMON: dict[str, float | None] = {"run_time": None, "cv": 1.0, "jobs": math.inf, "length": math.inf}


@attrs.define
class Synthetic:
    """A made-up load; iterating draws it anew from the same dice, so it is the same each time."""

    name: str
    process: Process
    settings: Settings
    mix: tuple[tuple[Kind, float], ...]
    seed: int
    #: Jobs drawn so far, and the moment of the last.
    good: int = 0
    now: float = 0.0

    def share(self) -> float:
        """Return how much of the load has come, from 0 to 1."""
        return max(self.good / self.settings["jobs"], self.now / self.settings["length"])

    def __iter__(self) -> Iterator[Arrival]:
        # Dice of their own for run times and kinds: another rate leaves the jobs as they are.
        moments = self.process(self.settings, random.Random(f"{self.seed} arrivals"))
        run_times = _run_times(self.settings, random.Random(f"{self.seed} run times"))
        kinds, weights = zip(*self.mix, strict=True)
        dice = random.Random(f"{self.seed} kinds")
        jobs, length = self.settings["jobs"], self.settings["length"]
        self.good = 0
        for at, run_time in zip(moments, run_times, strict=False):
            if self.good >= jobs or at >= length:
                return
            self.good += 1
            self.now = at
            yield at, run_time, kinds[0] if len(kinds) == 1 else dice.choices(kinds, weights)[0]


def _run_times(given: Settings, dice: random.Random) -> Iterator[float]:
    """Yield run times of this mean and coefficient of variation: 0 is constant, 1 exponential, else lognormal."""
    mean, spread = given["run_time"], given["cv"]
    if spread == 0 or mean == 0:
        while True:
            yield mean
    if spread == 1:
        while True:
            yield dice.expovariate(1 / mean)
    sigma = math.sqrt(math.log1p(spread * spread))
    while True:
        yield dice.lognormvariate(math.log(mean) - sigma * sigma / 2, sigma)


def synthetic(text: str, seed: int) -> Synthetic:
    """Return the load of ``poisson:rate=20,run_time=0.1``; raise TraceError naming what is wrong."""
    name, _, rest = text.partition(":")
    if name not in PROCESSES:
        raise TraceError(f"there is no arrival process {name!r}{near(name, PROCESSES)}")
    own, process = PROCESSES[name]
    known = {**own, **_COMMON}
    given: Settings = {}
    mix: tuple[tuple[Kind, float], ...] = ((Kind(), 1.0),)
    tags: frozenset[str] = frozenset()
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key == "mix":
            mix = _mix(value)
        elif key == "tags":
            tags = frozenset(filter(None, value.split("+")))
        elif key not in known:
            raise TraceError(f"{name} has no setting {key!r}{near(key, (*known, 'mix', 'tags'))}")
        else:
            given[key] = _value(f"{name}: {key}", value)
    missing = [key for key, default in known.items() if default is None and key not in given]
    if missing:
        raise TraceError(
            f"{name} needs {' and '.join(missing)}: write {name}:" + ",".join(f"{key}=…" for key in missing)
        )
    settings = {key: given.get(key, default or 0.0) for key, default in known.items()}
    if "jobs" not in given and "length" not in given:
        settings["jobs"] = JOBS
    _check(name, settings)
    kinds = tuple((kind._replace(tags=tags), weight) for kind, weight in mix)
    return Synthetic(text, process, settings, kinds, seed)


def _check(name: str, given: Settings) -> None:
    may_be_zero = ("run_time", "cv", "low")
    for key, value in given.items():
        if value < 0 or (value == 0 and key not in may_be_zero):
            raise TraceError(
                f"{name}: {key} must be {'at least' if key in may_be_zero else 'above'} 0, not {value:g}"
            )
    if given.get("alpha", 2.0) <= 1:
        raise TraceError(f"{name}: alpha must be above 1, or gaps have no mean; it is {given['alpha']:g}")
    if max(given.get("high", 1.0), given.get("low", 0.0)) <= 0:
        raise TraceError(f"{name}: high must be above 0, or nobody comes")


def _value(what: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise TraceError(f"{what} must be a number, not {text!r}") from None
    if not math.isfinite(value):
        raise TraceError(f"{what} must be finite, not {text}")
    return value


def _mix(text: str) -> tuple[tuple[Kind, float], ...]:
    """Return the kinds and weights of ``HIGH:1+NORMAL:3``."""
    parts = []
    for part in text.split("+"):
        priority, _, weight = part.partition(":")
        try:
            kind = Kind(priority_of(priority))
        except ValueError as error:
            raise TraceError(f"mix={text}: {error}; write mix=HIGH:1+NORMAL:3") from None
        parts.append((kind, _value(f"mix: the weight of {priority}", weight or "1")))
        if parts[-1][1] <= 0:
            raise TraceError(f"mix: the weight of {priority} must be above 0, not {parts[-1][1]:g}")
    return tuple(parts)
