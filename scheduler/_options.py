"""Checks what users hand in, and says what is wrong with it: the thing, the limit and the remedy."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Literal, TypedDict

import attrs

from policies.checks import is_finite
from policies.contracts import RetryPolicy
from policies.hedge import Hedge
from policies.retry import NoRetry

from ._core.job import JobOptions

_CO_COROUTINE = inspect.CO_COROUTINE


#: What a job does that finds another alive under its key.
_CONFLICTS = ("join", "reject", "replace")


class Options(TypedDict, total=False):
    """What ``with_options`` takes. All durations are seconds."""

    priority: int
    tags: str | Iterable[str]
    run_timeout: float | None
    queue_timeout: float | None
    deadline: float | None
    delay: float
    retry: RetryPolicy | None
    tenant: str | None
    affinity: str | None
    hedge: Hedge | None
    name: str | None
    key: str | None
    on_conflict: Literal["join", "reject", "replace"]


def checked(base: JobOptions, given: Options) -> JobOptions:
    """Return `base` with what was given; raise TypeError or ValueError naming what is wrong."""
    changes: dict[str, Any] = dict(given)
    unknown = changes.keys() - Options.__annotations__.keys()
    if unknown:
        known = ", ".join(sorted(Options.__annotations__))
        raise TypeError(f"with_options() has no option {min(unknown)!r}; it takes {known}")
    if "priority" in changes:
        changes["priority"] = check_priority("priority", changes["priority"])
    if "tags" in changes:
        changes["tags"] = check_tags(changes["tags"])
    for name in ("run_timeout", "queue_timeout", "deadline"):
        if changes.get(name) is not None:
            check_seconds(name, changes[name], above_zero=True)
    if "delay" in changes:
        check_seconds("delay", changes["delay"])
    if "retry" in changes:
        changes["retry"] = check_retry(changes["retry"])
        changes["own_retry"] = True  # "never" is an answer too: no group overrides it
    if changes.get("hedge") is not None and not isinstance(changes["hedge"], Hedge):
        raise TypeError(f"hedge= must be a policies.Hedge or None, not {reprlib.repr(changes['hedge'])}")
    for name in ("tenant", "affinity", "name", "key"):
        if changes.get(name) is not None and not isinstance(changes[name], str):
            raise TypeError(f"{name}= must be a string or None, not {reprlib.repr(changes[name])}")
    if "on_conflict" in changes and changes["on_conflict"] not in _CONFLICTS:
        given_answer = reprlib.repr(changes["on_conflict"])
        raise ValueError(f"on_conflict= must be 'join', 'reject' or 'replace', not {given_answer}")
    return attrs.evolve(base, **changes)


def check_priority(name: str, value: object) -> int:
    """Return an integer priority."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"{name}= must be an integer (lower is sooner), such as Priority.HIGH, not {reprlib.repr(value)}"
        )
    return int(value)  # a plain one, see `JobOptions.priority`


def check_tags(value: object) -> frozenset[str]:
    """Return the tags; a string is one tag."""
    if isinstance(value, str):
        return frozenset({value})
    if not isinstance(value, Iterable):
        raise TypeError(f"tags= must be a string or strings, not {reprlib.repr(value)}")
    tags = list(value)
    for tag in tags:
        if not isinstance(tag, str):
            raise TypeError(f"tags= must be strings, not {reprlib.repr(tag)}")
    return frozenset(tags)


def check_seconds(name: str, value: object, *, above_zero: bool = False) -> float:
    """Return finite seconds, not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}= must be seconds, a number, not {reprlib.repr(value)}")
    if not is_finite(value) or value < 0 or (above_zero and value == 0):
        limit = "more than 0" if above_zero else "at least 0"
        raise ValueError(f"{name}= must be finite seconds, {limit}, not {reprlib.repr(value)}")
    return value


def check_retry(value: Any, where: str = "retry") -> RetryPolicy | None:
    """Return a retry policy, None for the one that never retries."""
    if value is None or isinstance(value, NoRetry):
        return None
    need_method(where, value, "retry_after")
    rejects = getattr(value, "retry_if_result", None)
    if rejects is not None and not callable(rejects):
        raise TypeError(
            f"{where}={type(value).__name__}().retry_if_result must be a function of the returned value or None, "
            f"not {reprlib.repr(rejects)}"
        )
    policy: RetryPolicy = value
    return policy


def need_method(name: str, policy: object, method: str) -> None:
    """Raise unless `policy` is an object (not a class) with this method."""
    if isinstance(policy, type):
        raise TypeError(
            f"{name}= must be a policy, not the class {policy.__name__}; write {policy.__name__}()"
        )
    if not callable(getattr(policy, method, None)):
        raise TypeError(f"{name}= must be an object with a method {method}(), not {reprlib.repr(policy)}")


def is_coroutine_function(function: object) -> bool:
    """Return whether calling `function` makes a coroutine. Cost: 0.1 µs for plain functions."""
    kind = type(function)
    if kind is FunctionType:
        return bool(function.__code__.co_flags & _CO_COROUTINE)  # type: ignore[attr-defined]
    if kind is BuiltinFunctionType or kind is type:
        return False
    if kind is MethodType:
        return is_coroutine_function(function.__func__)  # type: ignore[attr-defined]
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(kind.__call__)


def check_whole(where: str, value: object, *, at_least: int) -> int:
    """Return an integer (not a bool) that is not too small."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{where} must be an integer, not {reprlib.repr(value)}")
    if value < at_least:
        raise ValueError(f"{where} must be at least {at_least}, not {value}")
    return value
