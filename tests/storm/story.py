"""All that happens in a run: what chance drew, and plots in between, in the order of time."""

from __future__ import annotations

from storm.dice import Dice
from storm.plots import plots_of
from storm.stimuli import Stimulus, stimuli
from storm.weather import Weather

#: The share of runs with a plot, and of those the share with another one.
PLOTTED = 0.6


def stimuli_of(weather: Weather) -> list[Stimulus]:
    """Return every stimulus of a run, in order."""
    drawn, dice = stimuli(weather), Dice(3 * weather.seed + 2)
    number = len(drawn)
    for tell in plots_of(weather):
        if not dice.chance(PLOTTED / len(plots_of(weather)) * 2):
            continue
        begin, first = drawn[dice.below(len(drawn))].at, number
        for after, what, given in tell(dice, weather):
            own = tuple(first - 1 - each if isinstance(each, int) and each < 0 else each for each in given)
            drawn.append(Stimulus(begin + after, number, what, own))
            number += 1
    return sorted(drawn, key=_at)


def _at(stimulus: Stimulus) -> tuple[float, int]:
    return stimulus.at, stimulus.number
