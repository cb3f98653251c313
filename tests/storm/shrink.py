"""Makes a failing run small: drops stimuli, then options of jobs, then what is special about the weather.

Delta debugging (A. Zeller, R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002): halves
first, then smaller pieces. What is left out is left out for good while the same law is still broken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from storm.play import Played, play
from storm.stimuli import Spec, Stimulus
from storm.story import stimuli_of
from storm.weather import Recipe, Weather, weather

#: Runs that shrinking may take: some seconds.
TRIES = 600


@attrs.define
class Shrunk:
    """The smallest run found that breaks the same law."""

    weather: Weather
    stimuli: list[Stimulus]
    law: str
    tries: int = 0

    @property
    def played(self) -> Played:
        return play(self.weather, self.stimuli)

    def still(self, air: Weather, stimuli: Sequence[Stimulus]) -> bool:
        """Whether a smaller run breaks the law too; then it is the one from now on."""
        if self.tries >= TRIES:
            return False
        self.tries += 1
        caught = play(air, stimuli).caught
        if caught is None or caught.law != self.law:
            return False
        self.weather, self.stimuli = air, list(stimuli)
        return True


def shrunk(seed: int) -> Shrunk | None:
    """Return the small run of a seed that fails, None if it does not."""
    air = weather(seed)
    caught = play(seed).caught
    if caught is None:
        return None
    small = Shrunk(air, stimuli_of(air), caught.law)
    again = True
    while again and small.tries < TRIES:
        before = (small.weather, list(small.stimuli))
        _drop_stimuli(small)
        _drop_options(small)
        _calm_down(small)
        again = before != (small.weather, small.stimuli)
    return small


def _drop_stimuli(small: Shrunk) -> None:
    size = max(1, len(small.stimuli) // 2)
    while size:
        place = 0
        while place < len(small.stimuli):
            fewer = small.stimuli[:place] + small.stimuli[place + size :]
            if not small.still(small.weather, fewer):
                place += size
        size //= 2


def _drop_options(small: Shrunk) -> None:
    for place, stimulus in enumerate(list(small.stimuli)):
        if stimulus.what != "submit":
            continue
        for change in _simpler(stimulus.given[0]):
            spec = small.stimuli[place].given[0]
            simple = small.stimuli[place]._replace(given=(change(spec),))
            small.still(small.weather, [*small.stimuli[:place], simple, *small.stimuli[place + 1 :]])


def _simpler(spec: Spec) -> list[Callable[[Spec], Spec]]:
    def without(name: str) -> Callable[[Spec], Spec]:
        return lambda spec: attrs.evolve(
            spec, options={key: value for key, value in spec.options.items() if key != name}
        )

    plain = Spec(options={})
    changes = [without(name) for name in spec.options if name != "key"]
    for name in ("torn_at", "callbacks", "asked", "fates", "runs"):
        value = getattr(plain, name)
        changes.append(lambda spec, name=name, value=value: attrs.evolve(spec, **{name: value}))
    return changes


def _calm_down(small: Shrunk) -> None:
    calm = Weather(seed=0, features=(), groups=())
    for field in attrs.fields(Weather):
        if field.name not in ("seed", "features", "groups"):
            small.still(attrs.evolve(small.weather, **{field.name: getattr(calm, field.name)}), small.stimuli)
    for place in range(len(small.weather.groups) - 1, -1, -1):
        groups = small.weather.groups
        if len(groups) > 1:
            small.still(
                attrs.evolve(small.weather, groups=groups[:place] + groups[place + 1 :]), small.stimuli
            )


def brief(value: Any) -> str:
    """Return a value as it would be written, without what is as ever."""
    if isinstance(value, Stimulus):
        given = ", ".join(map(brief, value.given))
        return f"at {value.at:g} no. {value.number}: {value.what}({given})"
    if isinstance(value, tuple):
        return f"({', '.join(map(brief, value))})"
    if isinstance(value, dict):
        return ", ".join(f"{key}={brief(each)}" for key, each in sorted(value.items()))
    if isinstance(value, frozenset):
        return repr(set(value)) if len(value) == 1 else str(sorted(value))
    if not attrs.has(type(value)) or isinstance(value, type):
        return repr(value)
    told = [
        f"{field.alias}={brief(getattr(value, field.name))}"
        for field in attrs.fields(type(value))
        if field.init and field.repr and getattr(value, field.name) != field.default
    ]
    name = "pool" if isinstance(value, Recipe) else type(value).__name__
    return f"{name}({', '.join(told)})"


def story(small: Shrunk) -> str:
    """Return what happens in a small run, in words: the weather, the stimuli, the events of the jobs involved."""
    played = small.played
    assert played.caught is not None
    about = set(played.caught.about)
    events = played.world.events
    if about and len(events) > 60:
        events = [event for event in events if getattr(event, "job_id", None) in about | {None}]
    lines = [
        f"{played.caught}",
        "",
        f"The scheduler, after shrinking ({small.tries} runs):",
        f"  {brief(attrs.evolve(small.weather, features=()))}",
        "What happens from outside, in virtual seconds:",
        *(f"  {brief(stimulus)}" for stimulus in small.stimuli),
        "What was told" + (f" of jobs {sorted(about)} and pools:" if about else ":"),
        *(f"  {event}" for event in events),
    ]
    return "\n".join(lines)
