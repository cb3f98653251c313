"""Plots: short scenes that lead up to what chance alone would hardly bring together.

A plot is a few stimuli around one moment. What comes of it depends on all that goes on beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from storm.dice import Dice
from storm.stimuli import Spec
from storm.weather import Weather

#: Seconds after the plot's moment, what happens, and its arguments; a number below 0 is that of an own job.
Scene = tuple[float, str, tuple[Any, ...]]
Plot = Callable[[Dice, Weather], Iterator[Scene]]

#: By name: which features a plot needs, and the plot.
PLOTS: dict[str, tuple[tuple[str, ...], Plot]] = {}


def plot(*needs: str) -> Callable[[Plot], Plot]:
    """Let a plot happen in runs with these features."""

    def note(tell: Plot) -> Plot:
        PLOTS[tell.__name__] = needs, tell
        return tell

    return note


def plots_of(weather: Weather) -> list[Plot]:
    """Return the plots that a run may have."""
    return [tell for needs, tell in PLOTS.values() if set(needs) <= set(weather.features)]


def _job(tag: str = "io", **more: Any) -> tuple[Spec]:
    options = {"tags": frozenset({tag}), **more.pop("options", {})}
    return (Spec(options=options, **more),)


@plot("processes")
def something_lies_ahead(dice: Dice, weather: Weather) -> Iterator[Scene]:
    """Short jobs fill the processes; then their pool is shut, breaks, or something more urgent comes."""
    yield 0.0, "add_pool", (1, 0.0)
    for _ in range(10):
        limits = {"deadline": dice.one_of((0.3, 0.5, 0.75))} if dice.chance(0.3) else {}
        yield 0.0, "submit", _job("cpu", options={"priority": 20, **limits}, runs=(0.25,))
    what = dice.one_of(("drain", "drain", "cordon", "kill_worker", "break_pool", "pause", "mend", "submit"))
    for _ in range(3):
        moment = dice.one_of((0.25, 0.3, 0.5, 0.55))
        given = _job("cpu", options={"priority": 0}) if what == "submit" else (dice.below(12),)
        yield moment, what, given
    yield 1.0, "resume", (0,)


@plot("stuck")
def a_call_gets_stuck(dice: Dice, weather: Weather) -> Iterator[Scene]:
    """Calls that ignore their limit, in pools that are cordoned, drained, closed, or told of a blocked loop."""
    tags = [group.name for group in weather.groups if group.name != "cpu"]
    for _ in range(3):
        yield (
            0.0,
            "submit",
            _job(
                dice.one_of(tags),
                options={"priority": 0, "run_timeout": 0.125},
                runs=(dice.one_of((1.0, 2.0, None)),),
                asked="ignores",
            ),
        )
    what = dice.one_of(
        ("cordon", "cordon", "drain", "block_loop", "close" if "close" in weather.features else "drain")
    )
    given: dict[str, tuple[Any, ...]] = {"close": (2.0, 0.5), "block_loop": (0, 1.0)}
    for number in range(3):
        yield 0.0, what, given.get(what, (number,))
    yield 2.0, "uncordon", (0,)


@plot("hedge")
def a_hedge_in_trouble(dice: Dice, weather: Weather) -> Iterator[Scene]:
    """Quick jobs, then slow ones that are hedged, while pools drain or break."""
    options = {"priority": 0, "hedge": weather.hedge}
    for _ in range(4):
        yield 0.0, "submit", _job(options=options, runs=(0.0,))
    for _ in range(2):
        fates = dice.one_of((("value",), ("error", "value"), ("value", "error")))
        yield (
            0.125,
            "submit",
            _job(options=options, runs=(1.0, dice.one_of((0.25, 1.5))), fates=fates),
        )
    yield 0.125, "add_pool", (0, 0.0)
    for number in range(2):
        yield (
            dice.one_of((0.125, 0.5, 1.0)),
            dice.one_of(("drain", "interrupt", "kill_worker")),
            (-1 - number,),
        )


@plot("clock")
def everybody_oversleeps(dice: Dice, weather: Weather) -> Iterator[Scene]:
    """Jobs with limits of all kinds wait when the clock makes a step."""
    tag = dice.one_of(("io", "x"))
    fates = dice.one_of((("value",), ("error", "error", "value")))
    for _ in range(8):
        limit = dice.one_of(("deadline", "queue_timeout", "delay", "delay"))
        options = {"priority": dice.one_of((10, 30)), limit: dice.one_of((1.0, 2.0))}
        if limit == "delay":
            options["deadline"] = options["delay"] + 0.5
        yield 0.0, "submit", _job(tag, options=options, runs=(1.0,), fates=fates)
    yield dice.one_of((0.5, 1.25)), "clock_step", (dice.one_of((2.0, 8.0)), dice.chance(0.5))


@plot("operator")
def a_pool_drains_in_a_crowd(dice: Dice, weather: Weather) -> Iterator[Scene]:
    """Jobs that fail, expire or are cancelled while pools drain and the front queue is full."""
    group = dice.below(len(weather.groups))
    yield 0.0, "add_pool", (group, 0.0)
    for _ in range(6):
        options: dict[str, Any] = {"retry": dice.one_of(weather.retries), "priority": dice.one_of((0, 20))}
        if "keys" in weather.features:
            options |= {"key": dice.one_of(("a", "b")), "on_conflict": dice.one_of(("join", "replace"))}
        fates = dice.one_of((("error", "value"), ("error",)))
        yield 0.0, "submit", _job(weather.groups[group].name, options=options, runs=(0.5,), fates=fates)
    for number in range(3):
        yield dice.one_of((0.25, 0.5)), dice.one_of(("drain", "drain", "kill_worker")), (number,)
    for _ in range(3):
        yield 0.5, "submit", _job(weather.groups[group].name, runs=(1.0,))


@plot("measured")
def a_group_grows(dice: Dice, weather: Weather) -> Iterator[Scene]:
    """More jobs than the pools can run, which take longer once there are more pools, or do not."""
    later = dice.one_of((0.25, 0.25, 0.75, 1.0))
    for number in range(48):
        yield 0.0, "submit", _job(runs=(0.25 if number < 12 else later,))
    yield dice.one_of((1.0, 2.0, 4.0)), dice.one_of(("look", "look", "drain", "pause", "outage")), (0,)
    for what in ("resume", "recovery"):
        yield 5.0, what, (0,)


@plot("measured")
def a_backlog_meets_a_fresh_group(dice: Dice, weather: Weather) -> Iterator[Scene]:
    """Jobs of which none has ended when the group grows; so nothing is known, and fewer pools are tried."""
    for _ in range(16):
        for _ in range(4):
            yield 0.0, "submit", _job(runs=(dice.one_of((0.75, 1.0)),))
        yield (
            0.75,
            dice.one_of(("look", "look", "look", "look", "look", "drain", "kill_worker", "pause")),
            (0,),
        )
        yield 0.25, "resume", (0,)


@plot("breaker")
def a_breaker_half_opens(dice: Dice, weather: Weather) -> Iterator[Scene]:
    """An outage opens a breaker; when its time has come, something else happens too."""
    for _ in range(4):
        yield 0.0, "submit", _job("x", options={"priority": 0}, runs=(0.125,), fates=("error", "value"))
    back = weather.breakers[0].open_for
    for _ in range(3):
        yield 0.5, "submit", _job("x", options={"retry": weather.retries[-1]}, runs=(1.0,), fates=("error",))
    what = dice.one_of(("clock_step", "clock_step", "drain", "cordon", "mend"))
    given = (dice.one_of((0.5, 2.0)), dice.chance(0.5)) if what == "clock_step" else (dice.below(12),)
    yield back + dice.one_of((0.125, 0.5, 0.75)), what, given


@plot("close")
def a_close_with_much_to_do(dice: Dice, weather: Weather) -> Iterator[Scene]:
    """More jobs than fit, some of them slow to stop, and then a close."""
    for _ in range(8):
        tag = dice.one_of(weather.groups).name
        asked = dice.one_of(("obeys", "ignores"))
        yield 0.0, "submit", _job(tag, options={"priority": 10}, runs=(0.5, 4.0), asked=asked)
    yield dice.one_of((0.0, 0.5)), "close", (dice.one_of((0.0, 1.0)), 0.5)
    yield dice.one_of((0.0, 0.5)), dice.one_of(("break_pool", "kill_worker", "mend")), (dice.below(12),)
