"""What happens in a run, and when: a list of stimuli drawn before anything is played, so that it can be shrunk.

A stimulus names jobs by their number in the list, so that those that are left out change nothing for the others.
Times are virtual seconds and most of them eighths, so that much happens at the same moment.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import attrs
from storm.dice import Dice
from storm.weather import Weather

Fate = str  #: "value", "error", "bad" (a value that a policy rejects), "dies" (with its worker)


@attrs.frozen(kw_only=True)
class Spec:
    """One job: its options, and how its attempts behave; what is given for several goes round."""

    options: dict[str, Any]
    #: Seconds that each attempt runs, None for one that hangs.
    runs: tuple[float | None, ...] = (0.5,)
    fates: tuple[Fate, ...] = ("value",)
    #: What it does when it is asked to stop: "obeys", "ignores", or "succeeds" all the same.
    asked: str = "obeys"
    #: Its done-callbacks hold the slot for so many seconds; None without callbacks.
    callbacks: float | None = None
    coroutine: bool = False
    #: An exception of the interpreter's (Ctrl-C) strikes at this line of the core while it is submitted; None: none does.
    torn_at: int | None = None

    def run_time(self, number: int) -> float | None:
        """Return how long the attempt of this number runs."""
        return self.runs[number % len(self.runs)]

    def fate(self, number: int) -> Fate:
        """Return how the attempt of this number ends by itself."""
        return self.fates[number % len(self.fates)]


class Stimulus(NamedTuple):
    """Something from outside, at one moment."""

    at: float
    #: Its place in the list as it was drawn.
    number: int
    what: str
    given: tuple[Any, ...] = ()


#: What comes beside jobs: how often, and which feature it needs.
DEEDS: tuple[tuple[str, float, str | None], ...] = (
    ("cancel", 3.0, None),
    ("interrupt", 2.0, None),
    ("look", 1.0, None),
    ("mend", 1.0, None),
    ("drain", 4.0, "operator"),
    ("cordon", 2.0, "operator"),
    ("uncordon", 2.0, "operator"),
    ("add_pool", 3.0, "operator"),
    ("pause", 1.0, "operator"),
    ("resume", 2.0, "operator"),
    ("break_pool", 1.5, "failures"),
    ("kill_worker", 4.0, "failures"),
    ("outage", 3.0, "failures"),
    ("recovery", 2.0, "failures"),
    ("clock_step", 2.5, "clock"),
    ("block_loop", 1.5, "stuck"),
    ("close", 2.5, "close"),
    ("wait_for", 4.0, "waits"),
)

RUN_TIMES = (0.0, 0.125, 0.25, 0.5, 0.5, 1.0, 2.0)
PRIORITIES = (0, 10, 10, 20, 20, 20, 30, 40)


def stimuli(weather: Weather) -> list[Stimulus]:
    """Return what happens in the run of a seed."""
    dice = Dice(3 * weather.seed + 1)
    weights = {what: weight for what, weight, needs in DEEDS if needs in (None, *weather.features)}
    crowd, scales = "crowd" in weather.features, "scaling" in weather.features
    share_of_jobs = dice.one_of((0.5, 0.65, 0.8))
    gaps: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.125)
    if scales:  # whose windows take their time
        gaps = (0.0, 0.0, 0.5, 1.0, 3.0)
    elif not crowd:
        gaps = dice.one_of(((0.0, 0.0, 0.125, 0.5), (0.0, 0.125, 0.25, 1.0), (0.0, 0.0, 0.0, 0.5, 2.0)))
    made: list[Stimulus] = []
    jobs: list[int] = []
    now, length = 0.0, 8 + dice.below(dice.one_of((24, 40) if crowd else (10, 24, 40)))
    for number in range(length):
        now += dice.one_of(gaps)
        if not jobs or dice.chance(share_of_jobs):
            jobs.append(number)
            made.append(Stimulus(now, number, "submit", (_spec(dice, weather),)))
        else:
            what = dice.by_weight(weights)
            made.append(Stimulus(now, number, what, _given(dice, what, jobs)))
    return made


def _given(dice: Dice, what: str, jobs: list[int]) -> tuple[Any, ...]:
    if what in ("cancel", "interrupt"):
        return (jobs[-1 - dice.below(min(len(jobs), 8))],)
    if what == "wait_for":
        return dice.below(12), jobs[-1 - dice.below(min(len(jobs), 8))]
    if what == "clock_step":
        return dice.one_of((0.5, 2.0, 8.0, 100.0)), dice.chance(0.5)
    if what == "add_pool":
        return dice.below(12), dice.one_of((0.0, 0.0, 0.5, None))
    if what == "close":
        return dice.one_of((0.0, 1.0, 4.0)), dice.one_of((0.0, 0.5, 2.0))
    if what == "block_loop":
        return dice.below(12), dice.one_of((0.0, 1.0))
    return (dice.below(12),)


def _spec(dice: Dice, weather: Weather) -> Spec:
    on = weather.features
    tags = [(), (), (), ("x",), ("y",), *((group.name,) for group in weather.groups)]
    if weather.favourite is not None:
        tags += [(weather.favourite,)] * len(tags)
    options: dict[str, Any] = {"priority": dice.one_of(PRIORITIES), "tags": frozenset(dice.one_of(tags))}
    retry = dice.one_of(weather.retries)
    if retry is not None or dice.chance(0.5):
        options["retry"] = retry
    if "fair" in on or "limits" in on:
        options["tenant"] = dice.one_of((None, "gold", "gold", "tin"))
    if "timeouts" in on or "stuck" in on:
        options.update(_limits(dice))
    if weather.hedge is not None and dice.chance(0.7):
        options["hedge"] = weather.hedge
    if "keys" in on and dice.chance(0.5):
        options["key"] = dice.one_of(("a", "a", "b"))
        options["on_conflict"] = dice.one_of(("join", "replace", "replace", "reject"))
    if dice.chance(0.1):
        options["delay"] = dice.one_of((0.125, 0.5, 2.0))
    if "affinity" in on:
        options["affinity"] = dice.one_of((None, "a", "b", "c"))
    if "names" in on:
        options["name"] = dice.one_of((None, "call"))
    coroutine = "coroutines" in on and dice.chance(0.4)
    if coroutine and options["tags"] not in ({"x"}, {"aio"}):
        options["tags"] = frozenset()
    return Spec(
        options=options,
        coroutine=coroutine,
        torn_at=1 + dice.below(dice.one_of((20, 80))) if "tears" in on and dice.chance(0.3) else None,
        runs=_runs(dice, on),
        fates=_fates(dice, on),
        asked=dice.one_of(("obeys", "obeys", "ignores", "succeeds")),
        callbacks=dice.one_of((0.0, 0.25)) if "callbacks" in on and dice.chance(0.5) else None,
    )


def _limits(dice: Dice) -> dict[str, float]:
    limits = {}
    for name, share in (("run_timeout", 0.35), ("queue_timeout", 0.15), ("deadline", 0.2)):
        if dice.chance(share):
            limits[name] = dice.one_of((0.125, 0.5, 1.0, 2.0))
    return limits


def _runs(dice: Dice, on: tuple[str, ...]) -> tuple[float | None, ...]:
    runs: tuple[float | None, ...] = (0.0, 0.125) if "scaling" in on else RUN_TIMES
    if "brief" in on:
        runs = (0.0, 0.0, 0.0, 0.00025)
    hangs = (0.25 if "stuck" in on else 0.05) * (0.2 if "brief" in on else 1.0)
    return tuple(None if dice.chance(hangs) else dice.one_of(runs) for _ in range(2))


def _fates(dice: Dice, on: tuple[str, ...]) -> tuple[Fate, ...]:
    if "failures" not in on:
        return ("value",)
    return tuple(dice.one_of(("value", "value", "error", "error", "bad", "dies")) for _ in range(3))
