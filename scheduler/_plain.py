"""Values as plain data: what a recording says of policies, options and errors, so that they can be made again.

=====================  ========================================================================
what                   is written as
=====================  ========================================================================
None, bool, number     themselves; so are strings and lists
a tuple, a set         ``{"tuple": [...]}``, ``{"set": [...]}``
a mapping              ``{"map": [[key, value], ...]}``
an enumeration         ``{"member": "module:Class", "name": "NAME"}``
a class, a function    ``{"at": "module:name"}``
a value of attrs       ``{"made": "module:Class", "with": {setting: ...}}``
anything else          ``{"unknown": "its class"}``, which cannot be made again
=====================  ========================================================================

Nothing is pickled, and nothing is called when it is read but classes of attrs, with settings; modules that
are named are imported, as those are that a configuration names.
"""

from __future__ import annotations

import enum
import importlib
import sys
from collections.abc import Mapping
from typing import Any

import attrs

from policies.contracts import FailureView, Uniform

_qualname: Any = type.__dict__["__qualname__"]
_module: Any = type.__dict__["__module__"]

#: Where policies stand whose answers depend on nothing but what a recording holds.
_PURE = ("policies.backoff", "policies.retry", "policies.budget", "policies.breaker", "policies.hedge")


class UnknownError(Exception):
    """Something in a recording cannot be made again: what, and why."""


def place_of(cls: Any) -> str:
    """Return ``"module:Class"``, by C alone: what a metaclass makes of these names is anybody's code."""
    module = _module.__get__(cls)
    return f"{module if type(module) is str else '?'}:{_qualname.__get__(cls)}"


def plain(value: Any) -> Any:
    """Return a value as plain data."""
    if isinstance(value, enum.Enum):
        return {"member": place_of(type(value)), "name": value.name}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [plain(item) for item in value]}
    if isinstance(value, set | frozenset):
        return {"set": sorted((plain(item) for item in value), key=repr)}
    if isinstance(value, Mapping):
        return {"map": [[plain(key), plain(item)] for key, item in value.items()]}
    return _object(value)


def _object(value: Any) -> Any:
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        place = f"{value.__module__}:{value.__qualname__}"
        return {"at": place} if _found(place) is value else {"unknown": place}
    cls = type(value)
    place = place_of(cls)
    fields = attrs.fields(cls) if attrs.has(cls) else None
    if _found(place) is not cls or (fields is None and getattr(value, "__dict__", True)):
        return {"unknown": place}
    settings = {field.alias or field.name: getattr(value, field.name) for field in fields or () if field.init}
    return {"made": place, "with": {name: plain(item) for name, item in settings.items()}}


def made(data: Any) -> Any:
    """Return the value of plain data; raise `UnknownError` where that cannot be."""
    if isinstance(data, list):
        return [made(item) for item in data]
    if not isinstance(data, dict):
        return data
    if "tuple" in data:
        return tuple(map(made, data["tuple"]))
    if "set" in data:
        return frozenset(map(made, data["set"]))
    if "map" in data:
        return {made(key): made(item) for key, item in data["map"]}
    if "unknown" in data:
        raise UnknownError(
            f"{data['unknown']} was not written down: it is no value of attrs that can be imported"
        )
    place = data.get("member") or data.get("at") or data.get("made")
    found = _imported(str(place))
    if "member" in data:
        return found[data["name"]]
    return found if "at" in data else _with(found, str(place), data["with"])


def _with(found: Any, place: str, settings: Mapping[str, Any]) -> Any:
    if not isinstance(found, type) or not (attrs.has(found) or not settings):
        raise UnknownError(f"{place} is not the class that it was")
    try:
        return found(**{name: made(item) for name, item in settings.items()})
    except (TypeError, ValueError) as error:
        raise UnknownError(f"{place} cannot be made as it was: {error}") from error


def _imported(place: str) -> Any:
    module, _, path = place.partition(":")
    try:
        found = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (Exception, SystemExit) as error:
        raise UnknownError(f"{place} cannot be imported: {type(error).__name__}: {error}") from error
    return found


def _found(place: str) -> Any:
    """Return what stands at a place in a module that is imported and has a name of its own, or None."""
    module, _, path = place.partition(":")
    found: Any = None if module == "__main__" else sys.modules.get(module)
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


# Policies that are not asked again


def is_pure(policy: Any, depth: int = 16) -> bool:
    """Whether a retry policy answers by what a recording holds alone, and can be made again.

    Not if a function of somebody's looks at the error, or at what it was raised from: of an error there are its
    class and its text.
    """
    if policy is None or isinstance(policy, bool | int | float | str):
        return True
    if isinstance(policy, type):
        return _found(place_of(policy)) is policy
    if isinstance(policy, tuple):
        return all(is_pure(item, depth) for item in policy)
    if isinstance(policy, Mapping):
        return all(is_pure(item, depth) for entry in policy.items() for item in entry)
    if not depth or type(policy).__module__ not in _PURE or getattr(policy, "by_cause", False):
        return False
    fields = attrs.fields(type(policy))
    return all(is_pure(getattr(policy, field.name), depth - 1) for field in fields)


@attrs.frozen(eq=False)
class Answers:
    """Stands for a retry policy that is not asked again: gives the answers that were recorded.

    An answer is seconds or None, and which of the policy's guards it had asked before.
    """

    guards: tuple[Any, ...]
    #: What is to come, the next one first; shared by all of a replay.
    answers: list[tuple[float | None, list[int]]] = attrs.field(repr=False)

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        """Return what was answered; None when nothing was."""
        known = getattr(failure.error, "recorded_answer", None)
        delay, asked = self.answers.pop(0) if self.answers else known or (None, [])
        for index in asked:
            failure.held_for(self.guards[index])
        return delay
