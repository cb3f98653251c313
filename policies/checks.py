"""Validators that say the name, the limit and what was given."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from typing import Any

import attrs


def number(*, at_least: float | None = None, above: float | None = None) -> Callable[[Any, Any, Any], None]:
    """Return an attrs validator for a finite real number (not a bool) within the limit."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        where = f"{type(instance).__name__}({attribute.name}=)"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{where} must be a number, not {reprlib.repr(value)}")
        if not is_finite(value):
            raise ValueError(f"{where} must be finite, not {reprlib.repr(value)}")
        if at_least is not None and value < at_least:
            raise ValueError(f"{where} must be at least {at_least}, not {reprlib.repr(value)}")
        if above is not None and value <= above:
            raise ValueError(f"{where} must be more than {above}, not {reprlib.repr(value)}")

    return check


def whole(*, at_least: int) -> Callable[[Any, Any, Any], None]:
    """Return an attrs validator for an integer (not a bool) within the limit."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        where = f"{type(instance).__name__}({attribute.name}=)"
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{where} must be an integer, not {reprlib.repr(value)}")
        if value < at_least:
            raise ValueError(f"{where} must be at least {at_least}, not {reprlib.repr(value)}")

    return check


def one_of(*words: str) -> Callable[[Any, Any, Any], None]:
    """Return an attrs validator for one of these words."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not any(value is word or value == word for word in words):
            where = f"{type(instance).__name__}({attribute.name}=)"
            raise ValueError(f"{where} must be {' or '.join(map(repr, words))}, not {reprlib.repr(value)}")

    return check


def has_method(method: str) -> Callable[[Any, Any, Any], None]:
    """Return an attrs validator for an object (not a class) with this method."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, type) or not callable(getattr(value, method, None)):
            where = f"{type(instance).__name__}({attribute.name}=)"
            raise TypeError(f"{where} must be an object with a method {method}(), not {reprlib.repr(value)}")

    return check


def error_types(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Check that `value` is a tuple of exception classes."""
    if not isinstance(value, tuple) or not all(
        isinstance(kind, type) and issubclass(kind, BaseException) for kind in value
    ):
        where = f"{type(instance).__name__}({attribute.name}=)"
        raise TypeError(f"{where} must be an exception class or a tuple of them, not {reprlib.repr(value)}")


def is_finite(value: float) -> bool:
    """Return whether `value` is finite as a float; an integer may be too large for one."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def class_names(classes: tuple[type, ...]) -> str:
    """Return a tuple of classes as one would write it, so that a policy's repr evaluates back."""
    names = ", ".join(kind.__qualname__ for kind in classes)
    return f"({names},)" if len(classes) == 1 else f"({names})"


def as_tuple(value: object) -> object:
    """Let one exception class stand for a tuple of one."""
    return (value,) if isinstance(value, type) else value
