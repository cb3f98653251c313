"""Recorded loads: a log is read as a stream of arrivals, and rows that make no sense are counted.

Formats: Standard Workload Format (Chapin et al. 1999, ``.swf``), CSV with a header, JSON lines; each also ``.gz``.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import math
import reprlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush, heappushpop
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import attrs

from policies.installed import near

from .._core.job import Priority

#: A row may stand so many rows after its place by arrival: logs are often written when jobs end.
WINDOW = 1_000
#: Bad rows that are shown; all are counted.
SHOWN = 10

FIELDS = ("arrival", "run_time", "priority", "tenant", "tags")
#: The 18 columns of the Standard Workload Format, by its documentation.
SWF = (
    *("job", "submit", "wait", "run_time", "processors", "cpu_time", "memory"),
    *("requested_processors", "requested_time", "requested_memory", "status", "user", "group"),
    *("executable", "queue", "partition", "preceding", "think_time"),
)


class TraceError(ValueError):
    """A load that cannot be read."""


class BadRowError(TraceError):
    """The first bad row, where none is let pass."""


class Kind(NamedTuple):
    """What jobs of one class have in common."""

    priority: int = Priority.NORMAL.value
    tenant: str | None = None
    tags: frozenset[str] = frozenset()


#: When, for how many seconds, and what kind of job.
Arrival = tuple[float, float, Kind]


class BadRow(NamedTuple):
    """A row that was left out."""

    line: int
    why: str


@attrs.frozen
class Column:
    """Where a field stands, and what its numbers are multiplied by."""

    name: str
    factor: float = 1.0


def columns(text: str) -> dict[str, Column]:
    """Return the column map of ``arrival=TIMESTAMP,run_time=tokens*0.01``; raise TraceError."""
    found = {}
    for part in filter(None, text.split(",")):
        field, equals, name = (piece.strip() for piece in part.partition("="))
        if not equals or not name or field not in FIELDS:
            raise TraceError(
                f"--columns has {part!r}; write FIELD=COLUMN, for example arrival=TIMESTAMP{near(field, FIELDS)}"
            )
        name, times, factor = name.partition("*")
        if times and field not in FIELDS[:2]:
            raise TraceError(f"--columns {field}: only arrival and run_time can be multiplied")
        found[field] = Column(
            name.strip(), _number(factor, f"--columns {field}: the factor") if times else 1.0
        )
    return found


class Trace:
    """The jobs of a log, the first of which comes at time 0.

    Iterating reads the file anew; at most `WINDOW` rows are held. With `strict` the first bad row raises
    BadRowError. Raises TraceError for a file that is no such log, OSError for one that cannot be opened.
    """

    def __init__(
        self, path: Path, chosen: Mapping[str, Column] | None = None, *, strict: bool = False
    ) -> None:
        self.path, self.strict = path, strict
        self.name = path.name
        self._gz = path.suffix.lower() == ".gz"
        self._format = path.with_suffix("").suffix.lower() if self._gz else path.suffix.lower()
        if self._format not in (".swf", ".csv", ".jsonl", ".ndjson", ".json"):
            raise TraceError(
                f"{path.name}: the kind of log is told by its ending, which must be .swf, .csv or .jsonl, "
                "or one of them and .gz"
            )
        if not path.is_file():
            if path.exists():
                raise TraceError(
                    f"{path}: is no plain file; save it first, for each configuration reads it anew"
                )
            raise TraceError(
                f"{path}: there is no such file; a made-up load is written poisson:rate=20,run_time=0.1"
            )
        self._chosen = dict(chosen or {})
        self._kinds: dict[Any, Kind] = {}
        self._raw: Any = None
        self._size = max(1, path.stat().st_size)
        self.good = self.bad = 0
        #: The first of the bad rows.
        self.first_bad: list[BadRow] = []

    def share(self) -> float:
        """Return how much of the file has been read, from 0 to 1."""
        return 0.0 if self._raw is None or self._raw.closed else float(self._raw.tell()) / self._size

    def __iter__(self) -> Iterator[Arrival]:
        self.good = self.bad = 0
        self.first_bad = []
        with contextlib.ExitStack() as stack:
            binary: IO[bytes] = stack.enter_context(self.path.open("rb"))
            self._raw = binary
            if self._gz:
                binary = cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=self._raw)))
            lines = io.TextIOWrapper(binary, "utf-8-sig", errors="replace", newline="")
            try:
                yield from self._from_zero(self._sorted(self._parsed(lines)))
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise TraceError(f"{self.name}: cannot be unpacked to its end: {error}") from error
        if not self.good:
            told = "".join(f"; line {row.line}: {row.why}" for row in self.first_bad[:1])
            raise TraceError(
                f"{self.name}: there is no job in it, and bad rows: {self.bad:,}{told}; say what stands where with --columns"
            )

    # Rows, one after the other

    def _parsed(self, lines: Iterator[str]) -> Iterator[tuple[float, int, float, Kind]]:
        """Yield arrival, line, run time and kind of each row that makes sense."""
        rows, fields = self._swf(lines) if self._format == ".swf" else self._others(lines)
        for line, raw in rows:
            try:
                at, run_time, kind = fields(raw)
            except (ValueError, IndexError, OverflowError) as error:
                self._bad(line, "has too few columns" if isinstance(error, IndexError) else str(error))
            else:
                yield at, line, run_time, kind

    def _bad(self, line: int, why: str) -> None:
        if self.strict:
            raise BadRowError(
                f"{self.name}, line {line}: {why}; without --strict such rows are counted and left out"
            )
        self.bad += 1
        if len(self.first_bad) < SHOWN:
            self.first_bad.append(BadRow(line, why))

    def _sorted(self, rows: Iterable[tuple[float, int, float, Kind]]) -> Iterator[tuple[float, float, Kind]]:
        """Yield rows by arrival, if none stands more than `WINDOW` rows after its place."""
        window: list[tuple[float, int, float, Kind]] = []
        last = -math.inf
        for row in rows:
            if row[0] < last:
                self._bad(
                    row[1],
                    f"arrives {last - row[0]:g} s before a row that stands more than {WINDOW:,} rows above; "
                    "sort the file by arrival",
                )
            elif len(window) < WINDOW:
                heappush(window, row)
            else:
                last, _, run_time, kind = heappushpop(window, row)
                yield last, run_time, kind
        heapify(window)
        while window:
            at, _, run_time, kind = heappop(window)
            yield at, run_time, kind

    def _from_zero(self, rows: Iterable[tuple[float, float, Kind]]) -> Iterator[Arrival]:
        began: float | None = None
        for at, run_time, kind in rows:
            if began is None:
                began = at
            self.good += 1
            yield at - began, run_time, kind

    # Formats

    def _swf(self, lines: Iterator[str]) -> tuple[Iterator[tuple[int, Any]], Callable[[Any], Arrival]]:
        places = {name: place for place, name in enumerate(SWF)}
        chosen = {"arrival": Column("submit"), "run_time": Column("run_time"), **self._chosen}
        fields = self._fields({field: self._place(c, places) for field, c in chosen.items()}, chosen)
        rows = (
            (number, line)
            for number, line in enumerate(lines, 1)
            if not line.lstrip().startswith(";") and line.strip()
        )
        return rows, lambda line: fields(line.split())

    def _others(self, lines: Iterator[str]) -> tuple[Iterator[tuple[int, Any]], Callable[[Any], Arrival]]:
        chosen = {field: Column(field) for field in FIELDS} | self._chosen
        if self._format != ".csv":
            fields = self._fields({field: column.name for field, column in chosen.items()}, chosen)
            numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
            return numbered, lambda line: fields(_JsonRow(_object(line)))
        reader = csv.reader(lines)
        places = {name.strip(): place for place, name in enumerate(next(reader, []))}
        needed = {
            field: self._place(column, places)
            for field, column in chosen.items()
            if field in FIELDS[:2] or field in self._chosen or column.name in places
        }
        fields = self._fields(needed, chosen)

        def checked(row: Any) -> Arrival:
            if isinstance(row, csv.Error):
                raise ValueError(f"is no CSV: {row}")  # noqa: TRY004  bad rows are ValueErrors
            return fields(row)

        return ((reader.line_num, row) for row in _rows(reader) if row), checked

    def _place(self, column: Column, places: Mapping[str, int]) -> int:
        if column.name not in places:
            raise TraceError(
                f"{self.name}: there is no column {column.name!r}{near(column.name, places)}; "
                "say which is which: --columns arrival=COLUMN,run_time=COLUMN"
            )
        return places[column.name]

    def _fields(self, keys: Mapping[str, Any], chosen: Mapping[str, Column]) -> Callable[[Any], Arrival]:
        """Return what makes an arrival of a row."""
        at_key, at_factor = keys["arrival"], chosen["arrival"].factor
        run_key, run_factor = keys["run_time"], chosen["run_time"].factor
        rest = tuple(keys.get(field) for field in FIELDS[2:])
        kinds = self._kinds

        def fields(row: Any) -> Arrival:
            try:  # nearly always
                at, run_time = float(row[at_key]), float(row[run_key])
            except (TypeError, ValueError, OverflowError):
                at, run_time = _moment(row[at_key]), _number(row[run_key], "run_time")
            at *= at_factor
            run_time *= run_factor
            if not (-math.inf < at < math.inf and 0 <= run_time < math.inf):
                _refuse(at, run_time)
            values = tuple(None if key is None else row[key] for key in rest)
            try:
                return at, run_time, kinds[values]
            except KeyError:
                kind = kinds[values] = _kind(*values)
            return at, run_time, kind

        return fields


class _JsonRow(dict[str, Any]):
    """An object of a line; what it lacks is None, and whatever it has can be looked up, as itself and as nothing else."""

    def __missing__(self, key: str) -> None:
        return None

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if isinstance(value, dict | bool):
            return json.dumps(value)
        return " ".join(map(str, value)) if isinstance(value, list) else value


def _object(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("is no JSON object")  # noqa: TRY004  bad rows are ValueErrors
    return found


def _rows(reader: Any) -> Iterator[list[str] | csv.Error]:
    """Yield the rows of a CSV, and the error of one that is none."""
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield error


def _refuse(at: float, run_time: float) -> None:
    """Raise ValueError that says which of the two is out of bounds."""
    if not math.isfinite(at):
        raise ValueError(f"arrival is {at}, not a finite number")
    if run_time < 0:
        raise ValueError(f"run_time is {run_time:g}, below 0")
    raise ValueError(f"run_time is {run_time}, not a finite number")


def _number(value: Any, what: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError):
        missing = value is None or value == ""
        raise ValueError(
            f"has no {what}" if missing else f"{what} is {reprlib.repr(value)}, not a number"
        ) from None
    if not math.isfinite(number):
        raise ValueError(f"{what} is {number}, not a finite number")
    return number


def _moment(value: Any) -> float:
    """Return seconds of a number or an ISO 8601 date, which is in UTC unless it says otherwise."""
    if isinstance(value, str) and ("T" in value or ":" in value):
        try:
            when = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(
                f"arrival is {reprlib.repr(value)}, neither seconds nor an ISO 8601 date"
            ) from None
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return _number(value, "arrival")


def _kind(priority: Any, tenant: Any, tags: Any) -> Kind:
    return Kind(
        Kind().priority if priority in (None, "") else priority_of(priority),
        None if tenant in (None, "") else str(tenant),
        frozenset(str(tags).split()) if tags else frozenset(),
    )


def priority_of(value: Any) -> int:
    """Return a priority by its name or number; raise ValueError."""
    text = str(value).strip().upper().removesuffix(".0")  # as a table of numbers with gaps writes it
    if text in Priority.__members__:
        return Priority[text].value
    try:
        return int(text)
    except ValueError:
        names = ", ".join(Priority.__members__)
        raise ValueError(
            f"priority is {reprlib.repr(value)}, neither an integer nor one of {names}"
        ) from None
