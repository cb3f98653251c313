"""An exception of the interpreter's, as Ctrl-C is one, at a given line of the core."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import scheduler._core

_CORE = str(Path(scheduler._core.__file__).parent)


class Torn(KeyboardInterrupt):
    """Strikes in the middle of a turn."""


@contextmanager
def struck_at(line: int) -> Iterator[None]:
    """Raise `Torn` before the line of the core that is the so manieth to run, if so many do."""
    left = line

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(_CORE):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Torn
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
