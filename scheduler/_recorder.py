"""How a scheduler begins to be recorded: what makes its core a recorded one, and the first line of the file."""

from __future__ import annotations

import os
import platform
import reprlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ._group import PoolGroup
from ._notes import Notes, answers_of
from ._plain import is_pure, plain
from ._recording import Dice, parts
from ._tape import Tape

#: What the core knows of a pool's recipe.
TRAITS = ("slots", "prefetch", "runs_coroutines", "dedicated", "announces", "kills")


class Recorder:
    """What makes a scheduler's core a recorded one. Raises TypeError for what is no path."""

    def __init__(self, path: str | os.PathLike[str], bytes_max: int, seed: int | None) -> None:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"Scheduler(record=) must be a path or None, not {reprlib.repr(path)}")
        self._tape, self._seed = Tape(path, bytes_max), seed
        self._notes = Notes(self._tape)

    @property
    def parts(self) -> dict[str, Any]:
        """What `make_core` is to make the core of."""
        return parts(self._notes, Dice(self._seed))

    def begin(
        self, groups: Sequence[PoolGroup], settings: Mapping[str, Any], *, name: str, now: float
    ) -> None:
        """Write who is recorded, and what makes it decide as it does; raise OSError if that cannot be."""
        header = {
            "scheduler": name,
            "python": platform.python_version(),
            "began": [now, time.time()],
            "seed": self._seed,
            "settings": {key: plain(value) for key, value in settings.items()},
            "groups": [_group(group) for group in groups],
        }
        self._tape.begin(header)


def _group(group: PoolGroup) -> dict[str, Any]:
    settings = {field.name: plain(getattr(group, field.name)) for field in attrs.fields(PoolGroup)}
    if group.retry is not None and not is_pure(group.retry):
        settings["retry"] = answers_of(group.retry)
    settings["pool"] = {trait: getattr(group.pool, trait) for trait in TRAITS}
    return settings
