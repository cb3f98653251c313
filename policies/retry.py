"""Again? After which failures, how often and for how long: what all backoffs share, and a policy made of several.

How long to wait is one method of each family: `backoff`. A policy that wraps another may pass on what that
one has to say beside its answer: ``attempts_max``, ``retry_if_result`` and ``in_time``.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import attrs

from .checks import (
    as_tuple,
    error_kinds,
    has_method,
    names_of,
    number,
    optional,
    predicate,
    true_or_false,
    whole,
)
from .contracts import FailureView, RetryPolicy, Uniform

#: What an error is matched by: its class, or a function of it.
Kind = type[BaseException] | Callable[[Any], object]

#: Errors that `story` tells at most: an answer is given under the scheduler's lock. Arbitrary.
STORY_MAX = 1000


@attrs.frozen
class NoRetry:
    """Give up at the first failure. The default."""

    @property
    def attempts_max(self) -> int:
        """One."""
        return 1

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        """Return None."""
        return None


@attrs.frozen(kw_only=True)
class Backoff:
    """What all backoffs share: how often, for how long, and after which failures.

    `retry_on` and `give_up_on` are an exception class, a function of the error that says yes or no, or a tuple
    of these; `give_up_on` comes first. They look at the error itself; with `by_cause`, also at what it was
    raised from and, in an exception group, at its members, and one that fits is enough. An error that is no
    `Exception` (an interrupt) is always matched by itself alone.

    A function of yours runs under the scheduler's lock: it looks and is quick. When it raises, the job fails
    with its own error, and the function's is the cause. A policy with functions can be compared, hashed and
    pickled as far as they can.

    A family of your own is one more frozen value with a method ``_delay``.
    """

    #: Attempts in all, the first one included.
    attempts_max: int = attrs.field(default=3, validator=whole(at_least=1))
    #: Seconds from the first start in which attempts may begin: one that would have to wait longer is not made.
    elapsed_max: float | None = attrs.field(default=None, validator=optional(number(above=0)))
    #: What is worth another attempt; anything else is final.
    retry_on: tuple[Kind, ...] = attrs.field(
        default=(Exception,), converter=as_tuple, validator=error_kinds, repr=names_of
    )
    #: What is not, though `retry_on` says so.
    give_up_on: tuple[Kind, ...] = attrs.field(
        default=(), converter=as_tuple, validator=error_kinds, repr=names_of
    )
    by_cause: bool = attrs.field(default=False, validator=true_or_false)
    #: Says which returned values are no success: the attempt then counts as failed, whatever `retry_on` says.
    #: It runs without the lock, on the thread that takes the outcome over.
    retry_if_result: Callable[[Any], object] | None = attrs.field(
        default=None, validator=optional(predicate), repr=names_of
    )

    @property
    def quick(self) -> bool:
        """No function of somebody else's is called: the scheduler need not time the answers."""
        return all(isinstance(kind, type) for kind in (*self.retry_on, *self.give_up_on))

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        """Return seconds to wait before the next attempt, or None to give up. Pure. Cost: 0.4 µs; `by_cause` 1 µs more."""
        if failure.attempt >= self.attempts_max or not self._worth(failure):
            return None
        delay = self._delay(failure, uniform)
        return delay if self.in_time(failure, delay) else None

    def in_time(self, failure: FailureView, delay: float) -> bool:
        """Whether an attempt after such a wait would still begin within `elapsed_max`."""
        return self.elapsed_max is None or failure.elapsed + delay <= self.elapsed_max

    def _worth(self, failure: FailureView) -> bool:
        if failure.rejected:
            return True
        error, by_cause = failure.error, self.by_cause
        if self.give_up_on and fits(error, self.give_up_on, by_cause=by_cause):
            return False
        return fits(error, self.retry_on, by_cause=by_cause)

    def _delay(self, failure: FailureView, uniform: Uniform) -> float:
        raise NotImplementedError


def fits(error: BaseException, kinds: Iterable[Kind], *, by_cause: bool = False) -> bool:
    """Whether an error is one of `kinds`; by cause, whether anything in its story is."""
    if by_cause and isinstance(error, Exception):
        return any(fits(each, kinds) for each in islice(story(error), STORY_MAX))
    for kind in kinds:
        fitting = isinstance(error, kind) if isinstance(kind, type) else kind(error)
        if fitting:
            return True
    return False


def story(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an error, the members of a group, and what each was raised from; each once."""
    seen: set[int] = set()
    to_tell = [error]
    while to_tell:
        each = to_tell.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        before = each.__cause__ if each.__suppress_context__ else each.__context__
        if before is not None:
            to_tell.append(before)
        if isinstance(each, BaseExceptionGroup):
            to_tell += reversed(each.exceptions)


Rule = tuple[type[BaseException] | tuple[type[BaseException], ...], RetryPolicy | None]


def _as_rules(rules: Mapping[Any, RetryPolicy | None] | Iterable[Rule]) -> Any:
    """Return rules in the order given, so that the policy is hashable; leave nonsense to the validator."""
    given: object = rules.items() if isinstance(rules, Mapping) else rules
    return tuple(given) if isinstance(given, Iterable) else given


def _check_rules(instance: object, attribute: attrs.Attribute[Any], rules: object) -> None:
    where = f"{type(instance).__name__}({attribute.name}=)"
    if not isinstance(rules, tuple) or not rules:
        raise TypeError(
            f"{where} must be a mapping of exception classes to retry policies, not {reprlib.repr(rules)}"
        )
    for rule in rules:
        if not isinstance(rule, tuple) or len(rule) != 2:
            raise TypeError(
                f"{where} must be pairs of exception classes and retry policies, not {reprlib.repr(rule)}"
            )
        kinds, policy = rule
        error_kinds(instance, attribute, as_tuple(kinds), functions=False)
        if policy is None:
            continue
        has_method("retry_after")(instance, attribute, policy)
        if getattr(policy, "retry_if_result", None) is not None:
            raise ValueError(
                f"{where} has a policy with retry_if_result= for {names_of(kinds)}, which would never be asked: "
                "values are for otherwise= alone to judge; give retry_if_result= there"
            )


def _rules_repr(rules: tuple[Rule, ...]) -> str:
    said = ", ".join(f"{names_of(kinds)}: {policy!r}" for kinds, policy in rules)
    return f"{{{said}}}"


@attrs.frozen
class FirstMatch:
    """Answer as the first policy whose exception class fits the error, in the order given; else as `otherwise`.

    ``FirstMatch({RateLimited: patient, ConnectionError: quick}, otherwise=NoRetry())``. A key is a class or a
    tuple of classes; a policy of None gives up, and so does `otherwise` when it is left out. Only the first that
    fits is asked, and its own ``retry_on`` must not say no. With `by_cause`, what an error was raised
    from, and the members of a group, fit too.

    Attempts are counted by the job as a whole, whatever they failed with: a policy with ``attempts_max=3`` gives
    up at the third failure, though the first two were another policy's. Values are for `otherwise` alone to
    judge, by its ``retry_if_result``; where `ResultRejected` has a policy of its own, that one decides on the wait.
    """

    rules: tuple[Rule, ...] = attrs.field(converter=_as_rules, validator=_check_rules, repr=_rules_repr)
    otherwise: RetryPolicy | None = attrs.field(
        default=None, kw_only=True, validator=optional(has_method("retry_after"))
    )
    by_cause: bool = attrs.field(default=False, kw_only=True, validator=true_or_false)

    @property
    def attempts_max(self) -> int | None:
        """Attempts that the most patient of the policies allows; None when one of them does not say."""
        policies = (*(policy for _, policy in self.rules), self.otherwise)
        known: list[Any] = [
            getattr(policy, "attempts_max", None) for policy in policies if policy is not None
        ]
        return None if None in known else max(known, default=1)

    @property
    def retry_if_result(self) -> Callable[[Any], object] | None:
        """What `otherwise` says of returned values."""
        return getattr(self.otherwise, "retry_if_result", None)

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        """Return what the first policy that fits answers. Cost: 0.15 µs a rule, beside its answer."""
        policy = self._policy(failure.error)
        return None if policy is None else policy.retry_after(failure, uniform)

    def in_time(self, failure: FailureView, delay: float) -> bool:
        """Whether the policy that fits lets an attempt begin after such a wait."""
        return in_time(self._policy(failure.error), failure, delay)

    def _policy(self, error: BaseException) -> RetryPolicy | None:
        for kinds, policy in self.rules:
            if fits(error, kinds if isinstance(kinds, tuple) else (kinds,), by_cause=self.by_cause):
                return policy
        return self.otherwise


def in_time(policy: RetryPolicy | None, failure: FailureView, delay: float) -> bool:
    """Whether a policy lets an attempt begin after such a wait; one that does not say does."""
    ask = getattr(policy, "in_time", None)
    return ask is None or bool(ask(failure, delay))
