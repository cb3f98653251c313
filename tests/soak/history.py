"""What happened, as lines in files: written while it happens, read when all is over.

A record is one line: a letter, whose it is, a moment of the system's monotonic clock, which all processes share,
and what else there is to say. Every process has a file of its own, opened to append, and every record is one
`write`: so a process that is killed leaves whole records, and at worst the beginning of a last one.

| letter | who writes it | says |
|---|---|---|
| S | submitter, before `submit` | group, priority, attempts that are allowed, marks |
| A | submitter, after it | the id of the job |
| R | submitter, after it | refused, with the error |
| B, E | the job's own function, first and last thing | which run of the function; how it ended |
| C | submitter | `cancel()` returned True |
| D | the handle's done-callback | id, state, error, and the attempts that the handle tells |
| O | the submitter, from `result()` | value or error |
| L | submitter | `statistics()`, between two moments |
| G | submitter | blocks of memory that Python has allocated |
| F | a nemesis | a fault, and what it was done to |
| M | anybody | a fact about the whole run |
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

#: Kept at import: what the clock shim does later to the `time` module does not reach this.
now = time.monotonic

#: Where the files are to be; worker processes inherit it.
FOLDER = "SOAK_HISTORY"


class Record(NamedTuple):
    """One line."""

    letter: str
    whose: str
    at: float
    rest: tuple[str, ...]


class Pen:
    """Appends records to the file of this process. Cost: 4 µs. Threads: any, for each write is one line."""

    def __init__(self) -> None:
        self._place: tuple[int, str] | None = None
        self._file = -1

    def write(self, letter: str, whose: object, *rest: object, at: float | None = None) -> float:
        """Append one record and return its moment."""
        moment = now() if at is None else at
        line = "\t".join([letter, str(whose), f"{moment:.6f}", *map(str, rest)])
        os.write(self._opened(), line.encode() + b"\n")
        return moment

    def _opened(self) -> int:
        place = os.getpid(), os.environ[FOLDER]
        if self._place != place:  # also in a forked child
            path = Path(place[1]) / f"{place[0]}.log"
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._place = place
        return self._file


pen = Pen()


def parsed(lines: Iterable[str]) -> Iterator[Record]:
    """Read records; raises ValueError on a line that is none."""
    for line in lines:
        letter, whose, at, *rest = line.rstrip("\n").split("\t")
        if len(letter) != 1:
            raise ValueError(f"not a record: {line[:100]!r}")
        yield Record(letter, whose, float(at), tuple(rest))


def read(folder: Path) -> tuple[list[Record], int]:
    """Return all records of a folder, and how many last lines were torn by a kill."""
    records: list[Record] = []
    torn = 0
    for path in sorted(folder.glob("*.log")):
        text = path.read_text(encoding="utf-8")
        whole, newline, tail = text.rpartition("\n")
        torn += bool(tail)
        if newline:
            records += parsed(whole.split("\n"))
    return records, torn


def attempts_told(attempts: Iterable[object]) -> str:
    """Return a handle's attempts as one word: number:started:ended:error, joined by commas."""
    return ",".join(
        f"{a.number}:{a.started_at:.6f}:{'' if a.ended_at is None else f'{a.ended_at:.6f}'}:"  # type: ignore[attr-defined]
        f"{'' if a.error is None else type(a.error).__name__}"  # type: ignore[attr-defined]
        for a in attempts
    )
