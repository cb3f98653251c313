"""The file of a recording: lines of JSON, as many as there is room for, and never a reason to fail.

The first line says what was recorded of whom; each other line is one stimulus, in the order of turns, with
what the core did then. A replay needs the beginning: so at the bound it is the newest that is not written. The
last line says why the recording ended; without one, the process ended first, and up to a second is missing.

Lines are gathered and written some at a time, by whoever comes by with the lock in his hand: no thread, and
no wait for the disk beyond what the system's own buffers ask for.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

#: The format that is written, and the only one that is read.
VERSION = 1
#: A quarter of a million jobs, or somewhat more.
BYTES_MAX = 64 * 1024 * 1024
#: Less would not hold the first line.
BYTES_MIN = 64 * 1024
#: Bytes that are gathered before they are written, and seconds after which what there is is written. Arbitrary.
_GATHERED = 64 * 1024
_WITHIN = 1.0
#: What is kept for the last line.
_LAST_LINE = 512


class Tape:
    """Takes lines until it is full, or fails, or is told that it is over. Threads: under the scheduler's lock."""

    def __init__(self, path: str | os.PathLike[str], bytes_max: int) -> None:
        self.path = Path(path)
        self._bytes_max = bytes_max
        self._file: Any = None
        self._owner = os.getpid()
        self._lines: list[str] = []
        self._gathered = self._written = 0
        self._write_at = 0.0
        #: Who is told, in words, why a recording ended early; and that it has ended.
        self.tell: Callable[[str], None] = _nothing
        self.over: Callable[[], None] = _nothing
        #: Whether lines are taken.
        self.on = False

    def begin(self, header: Mapping[str, Any]) -> None:
        """Open the file and write the first line; raise OSError if that cannot be.

        A file that is there already, perhaps of the run that crashed, is kept under its name and ``.old``.
        """
        if self.path.is_file() and self.path.stat().st_size:
            self.path.replace(f"{self.path}.old")
        # Without a buffer of Python's: after a fork both processes would write it.
        self._file = self.path.open("wb", buffering=0)
        self.on = True
        self.put(json.dumps(["recording", VERSION, header]) + "\n", 0.0)

    def put(self, line: str, now: float) -> None:
        """Take a line, which ends in a line feed and is ASCII."""
        size = self._gathered = self._gathered + len(line)
        if self._written + size > self._bytes_max - _LAST_LINE:
            self._gathered -= len(line)
            self.end("bound", now)
            self.tell(
                f"the recording {self.path} has ended: it is full (record_bytes_max={self._bytes_max}); "
                "the scheduler goes on"
            )
            return
        self._lines.append(line)
        if size > _GATHERED or now > self._write_at:
            self._write(now)

    def end(self, why: str, now: float, counts: Mapping[str, int] | None = None) -> None:
        """Write the last line and close the file."""
        if self.on:
            self._lines.append(json.dumps(["end", now, why, dict(counts or {})]) + "\n")
            self._write(now)
            self._close()

    def _write(self, now: float) -> None:
        lines, self._lines = self._lines, []
        self._written += self._gathered
        self._gathered = 0
        self._write_at = now + _WITHIN
        if os.getpid() != self._owner:
            return
        data = memoryview("".join(lines).encode("ascii"))
        try:
            while data:
                data = data[self._file.write(data) or 0 :]
        except OSError as error:
            self._close()
            self.tell(
                f"the recording {self.path} has ended: {error.strerror or error}; the scheduler goes on"
            )

    def _close(self) -> None:
        self.on = False
        self._lines = []
        with contextlib.suppress(OSError):  # what was to be said has been said
            self._file.close()
        self.over()


def text(value: object) -> str:
    """Return a value as JSON, in ASCII."""
    return json.dumps(value)


def shortened(given: str, most: int = 200) -> str:
    """Return so much of a text as is written down."""
    return given if len(given) <= most else f"{given[:most]}…"


def _nothing(*_said: object) -> None:
    return
