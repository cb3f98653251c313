"""Validators that say the name, the limit and what was given."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any

import attrs

#: What attrs calls with the new value, its attribute and what was given.
Validator = Callable[[Any, Any, Any], None]


def number(
    *, at_least: float | None = None, above: float | None = None, at_most: float | None = None
) -> Validator:
    """Return an attrs validator for a finite real number (not a bool) within the limits."""

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
        if at_most is not None and value > at_most:
            raise ValueError(f"{where} must be at most {at_most}, not {reprlib.repr(value)}")

    return check


def numbers(*, at_least: float) -> Validator:
    """Return an attrs validator for a tuple of at least one finite number, each within the limit."""
    check_one = number(at_least=at_least)

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, tuple) or not value:
            where = f"{type(instance).__name__}({attribute.name}=)"
            raise TypeError(f"{where} must be a list of at least one number, not {reprlib.repr(value)}")
        for each in value:
            check_one(instance, attribute, each)

    return check


def whole(*, at_least: int) -> Validator:
    """Return an attrs validator for an integer (not a bool) within the limit."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        where = f"{type(instance).__name__}({attribute.name}=)"
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{where} must be an integer, not {reprlib.repr(value)}")
        if value < at_least:
            raise ValueError(f"{where} must be at least {at_least}, not {reprlib.repr(value)}")

    return check


def has_method(method: str) -> Validator:
    """Return an attrs validator for an object (not a class) with this method."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, type) or not callable(getattr(value, method, None)):
            where = f"{type(instance).__name__}({attribute.name}=)"
            raise TypeError(f"{where} must be an object with a method {method}(), not {reprlib.repr(value)}")

    return check


def optional(check: Validator) -> Validator:
    """Return an attrs validator that also takes None."""

    def check_unless_none(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is not None:
            check(instance, attribute, value)

    return check_unless_none


def one_of(*words: str) -> Validator:
    """Return an attrs validator for one of a few words."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, str) or value not in words:
            where = f"{type(instance).__name__}({attribute.name}=)"
            known = ", ".join(map(repr, words))
            raise ValueError(f"{where} must be one of {known}, not {reprlib.repr(value)}")

    return check


def true_or_false(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Check that `value` is True or False."""
    if not isinstance(value, bool):
        where = f"{type(instance).__name__}({attribute.name}=)"
        raise TypeError(f"{where} must be True or False, not {reprlib.repr(value)}")


def predicate(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Check that `value` is a function that says yes or no: a callable that is no class."""
    if isinstance(value, type) or not callable(value):
        where = f"{type(instance).__name__}({attribute.name}=)"
        raise TypeError(f"{where} must be a function that says yes or no, not {reprlib.repr(value)}")


def error_kinds(
    instance: object, attribute: attrs.Attribute[Any], value: object, *, functions: bool = True
) -> None:
    """Check that `value` is a tuple of exception classes and functions of an error, or of classes alone."""
    known = isinstance(value, tuple) and all(
        issubclass(kind, BaseException) if isinstance(kind, type) else functions and callable(kind)
        for kind in value
    )
    if not known:
        where = f"{type(instance).__name__}({attribute.name}=)"
        function = ", or functions of an error" if functions else ""
        raise TypeError(
            f"{where} must be an exception class or a tuple of them{function}, not {reprlib.repr(value)}"
        )


def error_types(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Check that `value` is a tuple of exception classes."""
    error_kinds(instance, attribute, value, functions=False)


def is_finite(value: float) -> bool:
    """Return whether `value` is finite as a float; an integer may be too large for one."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def names_of(things: object) -> str:
    """Return classes and functions, one or a tuple, as one would write them, so that a policy's repr evaluates back."""
    if isinstance(things, tuple):
        names = ", ".join(map(names_of, things))
        return f"({names},)" if len(things) == 1 else f"({names})"
    if isinstance(things, type | FunctionType | BuiltinFunctionType):
        return things.__qualname__
    return repr(things)


def as_tuple(value: object) -> object:
    """Let one exception class, or one function, stand for a tuple of one."""
    return (value,) if callable(value) else value
