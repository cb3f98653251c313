"""A dead letter in plain, bounded text: for people and log shippers, whatever the user's objects do.

Nothing here raises because of somebody's ``__repr__``, and no text is longer than its bound.
"""

from __future__ import annotations

import reprlib
import traceback
from typing import Any

from ._core.books import describe
from ._core.job import Attempt
from ._handle import name_of
from ._letters import DeadLetter

#: Characters of one argument, of one error's text, and of one traceback, of which the end tells most.
ARGUMENT, ERROR, TRACEBACK = 200, 2_000, 20_000

#: Whole numbers that every reader of JSON takes as they are.
_EXACT = 2**53

#: Arguments of one call that are shown; what is beyond is counted.
ARGUMENTS = 50


class _Repr(reprlib.Repr):
    """`reprlib`, which does not make a long text of long bytes only to cut it."""

    def __init__(self) -> None:
        super().__init__()
        self.maxother = self.maxstring = self.maxlong = ARGUMENT

    def repr_bytes(self, value: bytes | bytearray, _level: int) -> str:
        text = repr(value[: ARGUMENT + 1])
        return text if len(text) <= ARGUMENT else _cut(text, ARGUMENT)

    repr_bytearray = repr_bytes


_repr = _Repr()


def shown(letter: DeadLetter) -> dict[str, Any]:
    """Return a letter as what JSON can say."""
    args = [_argument(value) for value in letter.args[:ARGUMENTS]]
    kwargs = {_cut(str.__str__(name), ARGUMENT): _argument(value) for name, value in _some(letter.kwargs)}
    return {
        "job_id": letter.job_id,
        "name": _cut(letter.name, ARGUMENT),
        "function": _cut(_function(letter.function), ARGUMENT),
        "args": args,
        "kwargs": kwargs,
        "arguments_left_out": len(letter.args) + len(letter.kwargs) - len(args) - len(kwargs),
        "error": _cut(describe(letter.error), ERROR),
        "traceback": _traceback(letter.error),
        "attempts": [_attempt(attempt) for attempt in letter.attempts],
        "options": {name: _option(value) for name, value in letter.options.items()},
        "submitted_at": letter.submitted_at,
        "failed_at": letter.failed_at,
        "unix_time": letter.unix_time,
    }


def _some(kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(kwargs.items())[:ARGUMENTS]


def _attempt(attempt: Attempt) -> dict[str, Any]:
    error = attempt.error
    return {
        "number": attempt.number,
        "pool": attempt.pool,
        "worker": attempt.worker,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "error": None if error is None else _cut(describe(error), ERROR),
        "traceback": None if error is None else _traceback(error),
    }


def _argument(value: object) -> str:
    try:
        return _cut(_repr.repr(value), ARGUMENT)
    except Exception as error:
        return f"<a {_kind(value)} whose repr raises {type(error).__name__}>"


def _option(value: Any) -> Any:
    if value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < _EXACT):
        return value
    if isinstance(value, str):
        return _cut(str(value), ARGUMENT)
    if isinstance(value, frozenset):
        return sorted(value)
    return _argument(value)


def _function(function: object) -> str:
    try:
        return f"{getattr(function, '__module__', None) or type(function).__module__}.{name_of(function)}"
    except Exception:
        return name_of(function)


def _kind(value: object) -> str:
    return _cut(type(value).__name__, ARGUMENT)


def _traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.TracebackException.from_exception(error).format())
    except Exception:
        return _cut(describe(error), ERROR)
    return text if len(text) <= TRACEBACK else "… " + text[-TRACEBACK:]


def _cut(text: str, bound: int) -> str:
    return text if len(text) <= bound else text[:bound] + "…"
