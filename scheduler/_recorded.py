"""A recording as it is read: its lines, and the values that they say make the scheduler."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from pools.contract import Front, Pool

from ._core.job import JobOptions
from ._errors import RecordingError
from ._group import PoolGroup
from ._plain import Answers, UnknownError, made
from ._recorder import TRAITS
from ._tape import VERSION

#: Lines that are about the recording itself.
ASIDE = ("options", "class", "line")
#: What a line raises that is JSON and makes no sense.
SENSELESS = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError)


@attrs.frozen
class RecordedPool:
    """What is known of a pool's recipe; it opens nothing."""

    slots: int
    prefetch: int = 0
    runs_coroutines: bool = False
    dedicated: bool = False
    announces: bool = False
    kills: bool = False

    def open(self, pool_id: str, front: Front) -> Pool:
        """Raise TypeError: only its numbers were recorded."""
        raise TypeError(f"pool {pool_id} was recorded, and opens only in a replay")


class File:
    """A recording that is read. Raises RecordingError for what is none, OSError for what cannot be read."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        #: The last line was not written to its end.
        self.torn = False
        self._size = max(1, self.path.stat().st_size)
        self._read = 0
        first = next(iter(self.lines()), (0, None))[1]
        if not isinstance(first, list) or first[:1] != ["recording"]:
            raise RecordingError(f"{self.path}, line 1 begins no recording of a scheduler")
        if first[1] != VERSION:
            raise RecordingError(
                f"{self.path} is a recording of format {first[1]}, and this version reads format {VERSION}"
            )
        self.header: Mapping[str, Any] = first[2]

    @property
    def began(self) -> float:
        """The moment of the recording's first line."""
        began: float = self.header["began"][0]
        return began

    def share(self) -> float:
        """Return how much has been read, from 0 to 1."""
        return self._read / self._size

    def wrong(self, number: int, error: Exception) -> RecordingError:
        """Return the error of a line that is JSON and yet makes no sense."""
        return RecordingError(
            f"{self.path}, line {number} makes no sense to this version: {type(error).__name__}: {error}"
        )

    def lines(self) -> Iterator[tuple[int, list[Any]]]:
        """Iterate over the lines and their numbers; one at the end that is torn is left out."""
        with self.path.open("rb") as file:
            self._read = 0
            for number, line in enumerate(file, 1):
                self._read += len(line)
                try:
                    read = json.loads(line)
                    yield number, read
                except ValueError as error:
                    if not line.endswith(b"\n") and next(file, None) is None:
                        self.torn = True
                        return
                    what = "is no line of a recording" if number > 1 else "begins no recording of a scheduler"
                    raise RecordingError(f"{self.path}, line {number} {what}") from error


class Values:
    """Makes again what a recording says of policies and options. Raises RecordingError for what cannot be made."""

    def __init__(self, file: File) -> None:
        self.file = file
        #: What retry policies are to answer that are not asked again, the next first.
        self.answers: list[Any] = []

    def settings(self) -> dict[str, Any]:
        """Return what the scheduler was made of, beside its groups."""
        settings = self.file.header["settings"].items()
        return {name: self._value(value, f"{name}=") for name, value in settings}

    def groups(self) -> list[PoolGroup]:
        """Return its groups, with pools that open nothing."""
        return [self._group(group) for group in self.file.header["groups"]]

    def options(self, said: Mapping[str, Any]) -> JobOptions:
        """Return the options of a job."""
        return JobOptions(**{name: self._value(value, f"{name}=") for name, value in said.items()})

    def _group(self, given: Mapping[str, Any]) -> PoolGroup:
        others = {key: value for key, value in given.items() if key not in ("name", "pool")}
        name = given["name"]
        settings = {key: self._value(value, f"PoolGroup({name!r}, {key}=)") for key, value in others.items()}
        return PoolGroup(name, RecordedPool(**{trait: given["pool"][trait] for trait in TRAITS}), **settings)

    def _value(self, data: Any, what: str) -> Any:
        if isinstance(data, dict) and "answers" in data:
            return Answers(tuple(map(made, data["guards"])), self.answers)
        try:
            return made(data)
        except UnknownError as error:
            raise RecordingError(
                f"{self.file.path} was recorded with {what} that cannot be made again: {error}; make it a value of "
                "attrs in a module that can be imported, or play the recording with another --config"
            ) from error
