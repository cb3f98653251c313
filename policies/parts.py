"""What a policy is made of, however it is wrapped: so that the scheduler finds the budgets and breakers in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import attrs

T = TypeVar("T")

#: How deep policies may be wrapped in each other and still be looked into. Arbitrary.
_DEPTH_MAX = 16


def parts_of(policy: object, kinds: type[T] | tuple[type[T], ...]) -> tuple[T, ...]:
    """Return everything of these kinds that a policy names, each once. Cost: O(what it is made of)."""
    return tuple(dict.fromkeys(_found(policy, kinds, _DEPTH_MAX)))


def _found(thing: object, kinds: type[Any] | tuple[type[Any], ...], depth: int) -> Iterator[Any]:
    if isinstance(thing, kinds):
        yield thing
    elif depth:
        for part in _parts(thing):
            yield from _found(part, kinds, depth - 1)


def _parts(thing: object) -> Iterator[object]:
    """Iterate over the fields of a value, the values of a mapping, the items of a list."""
    if isinstance(thing, Mapping):
        yield from thing.values()
    elif isinstance(thing, tuple | list):
        yield from thing
    elif attrs.has(type(thing)):
        fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(type(thing))  # type: ignore[arg-type]
        for field in fields:
            yield getattr(thing, field.name, None)
    elif hasattr(thing, "retry_after") and not isinstance(thing, type):
        yield from getattr(thing, "__dict__", {}).values()
