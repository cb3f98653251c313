"""Errors that stand for those that were recorded: of the same class where it is at hand, or called like it.

Nothing is imported for them: a class that a policy may ask for is at hand once the policy has been made.
"""

from __future__ import annotations

import sys
from concurrent.futures import CancelledError
from typing import Any

from ._core.retrier import REJECTED


class ErrorKinds:
    """The classes of errors in one recording, by number."""

    def __init__(self) -> None:
        self._kinds: dict[int, type[BaseException]] = {}

    def add(self, number: int, places: list[str]) -> None:
        """Take note of a class and its bases, the nearest first."""
        self._kinds[number] = _kind(places)

    def outcome(self, said: Any, answer: tuple[Any, ...] | None) -> tuple[object, BaseException | None]:
        """Return a value and an error for what was written of an outcome.

        `answer` is what a retry policy made of it that may not be asked again.
        """
        if said is None:
            return None, None
        number, text, rejected = said
        error = _made(self._kinds[number], text)
        if answer is not None:
            BaseException.__setattr__(error, "recorded_answer", answer)
        return (REJECTED if rejected else None), error

    def cancelled(self) -> BaseException:
        """Return the error of a job that was cancelled."""
        return CancelledError()


def _kind(places: list[str]) -> type[BaseException]:
    name = places[0].rpartition(".")[2].rpartition(":")[2]
    for place in places:
        module, _, path = place.partition(":")
        found: Any = sys.modules.get(module)
        for part in path.split("."):
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(found, BaseException):
            return found if place is places[0] else type(name, (found,), {})
    return type(name, (Exception,), {})


def _made(kind: type[BaseException], text: str) -> BaseException:
    """Return an error of a kind without its ``__init__``, which may ask for anything."""
    try:
        error: BaseException = kind.__new__(kind, text)
    except Exception:
        return Exception(text)
    return error
