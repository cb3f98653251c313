"""The laws of policies, executable: run them against your own.

A test of a policy is one line: ``check_retry_policy(MyBackoff(attempts_max=5))``.
Each check raises AssertionError that names the law and the input that breaks it.

====================  ================================================================================
every policy is       a value: equal to itself, hashable, picklable, and its repr evaluates back
every answer is       total (no input raises), sensible (what the contract says) and pure (the same
                      arguments and dice give the same answer, in whatever order they are asked)
every argument is     only looked at: a policy writes to no view and keeps nothing of what it saw
====================  ================================================================================
"""

from __future__ import annotations

import builtins
import math
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from operator import attrgetter
from typing import Any

import attrs

from . import _samples as samples
from .contracts import (
    Admission,
    AdmissionPolicy,
    Advice,
    Failure,
    Load,
    OrderingPolicy,
    RetryPolicy,
    RoutingPolicy,
    ScalingPolicy,
)

__all__ = [
    "check_admission_policy",
    "check_ordering_policy",
    "check_retry_policy",
    "check_routing_policy",
    "check_scaling_policy",
]

#: The last attempt a retry policy is asked about; far beyond where ``2.0 ** n`` overflows.
ATTEMPTS_MAX = 10_000

#: Attempts around which growing waits are known to break.
_MILESTONES = (1, 2, 3, 7, 62, 63, 64, 1022, 1023, 1024, 1025, ATTEMPTS_MAX)


def check_retry_policy(policy: RetryPolicy, *, names: Mapping[str, object] | None = None) -> None:
    """Raise AssertionError unless `policy` keeps every law of a retry policy.

    It is asked about attempts 1…10,000, about errors of every kind and values that were rejected, while budgets
    and breakers allow nothing, and with dice that fall to either end. If it says `attempts_max` or `elapsed_max`,
    it must keep them; `retry_if_result` must be a function or None. `names` are those its repr needs beside its
    own module, this package and the builtins.

    A policy that was given functions is equal, hashable and picklable, and its repr evaluates back, as far as
    that is true of them: give it functions of a module, and their names. Cost: 0.1 s.
    """
    _check_method(policy, "retry_after")
    _check_judge(policy)
    attempts = [_Case((Failure(n, samples.ERRORS[0]),), _Dice(n)) for n in range(1, ATTEMPTS_MAX + 1)]
    corners = [
        _Case((Failure(attempt, error, elapsed, last_delay),), dice)
        for attempt, error, elapsed, last_delay, dice in product(
            _MILESTONES, samples.ERRORS, (0.0, 1e9), (None, 0.0, 1e9), _ENDS
        )
    ]
    rejected = [
        _Case((Failure(attempt, error, 1.0, 1.0, rejected=True),), dice)
        for attempt, error, dice in product(_MILESTONES, samples.REJECTED, _ENDS)
    ]
    held = [
        _Case((Failure(attempt, samples.ERRORS[0], held=samples.HELD),), dice)
        for attempt, dice in product(_MILESTONES, _ENDS)
    ]
    cases = [*attempts, *corners, *rejected, *held]
    _check_limits(policy, cases, _check_answers(policy, policy.retry_after, cases, _seconds_or_none))
    _check_value(policy, names)


def check_ordering_policy(policy: OrderingPolicy, *, names: Mapping[str, object] | None = None) -> None:
    """Raise AssertionError unless `policy` keeps every law of an ordering policy; `names` as above.

    If it has a method ``weight``, that is checked too.
    """
    _check_method(policy, "key")
    _require(isinstance(policy.few_keys, bool), policy, "few_keys is a bool", repr(policy.few_keys))
    jobs = samples.jobs()
    _check_answers(policy, policy.key, [_Case((job,)) for job in jobs], _finite)
    weight = getattr(policy, "weight", None)
    if weight is not None:
        _check_method(policy, "weight")
        _check_answers(policy, weight, [_Case((job,)) for job in jobs], _above_zero)
        for tenant in {job.tenant for job in jobs}:
            weights = {weight(job) for job in jobs if job.tenant == tenant}
            story = f"{tenant!r} has {sorted(weights)}"
            _require(len(weights) == 1, policy, "one weight for all jobs of a tenant", story)
    _check_value(policy, names)


def check_admission_policy(policy: AdmissionPolicy, *, names: Mapping[str, object] | None = None) -> None:
    """Raise AssertionError unless `policy` keeps every law of an admission policy; `names` as above."""
    _check_method(policy, "admit")
    timeout = getattr(policy, "timeout", None)
    _require(_seconds_or_none(timeout), policy, "timeout is seconds ≥ 0 or None", repr(timeout))
    queues = [
        samples.Queue(held=1, capacity=1),
        samples.Queue(held=10_000, capacity=10_000),
        samples.Queue(held=12, capacity=8),
    ]
    cases = [_Case((job, queue)) for job, queue in product(samples.jobs(), queues)]
    _check_answers(policy, policy.admit, cases, _an_admission)
    _check_value(policy, names)


def check_routing_policy(policy: RoutingPolicy, *, names: Mapping[str, object] | None = None) -> None:
    """Raise AssertionError unless `policy` keeps every law of a routing policy; `names` as above."""
    _check_method(policy, "choose")
    decay = getattr(policy, "run_time_decay", None)
    fades = decay is None or (_finite(decay) and decay > 0)
    _require(fades, policy, "run_time_decay is seconds > 0, or None", repr(decay))
    dice = (*_ENDS, *map(_Dice, range(8)))
    cases = [
        _Case((job, pools), throw)
        for job, pools, throw in product(samples.jobs()[:2], samples.pool_lists(), dice)
    ]
    _check_answers(policy, policy.choose, cases, _one_of_the_pools)
    _check_rank(policy)
    _check_value(policy, names)


def _check_rank(policy: RoutingPolicy) -> None:
    """Raise unless a policy that says what it ranks pools by chooses the least of it, the first on a tie."""
    ranks_by = vars(type(policy)).get("ranks_by")
    if ranks_by is None:
        return
    law = 'ranks_by is "in_use", "last_chosen" or ""'
    _require(ranks_by in ("in_use", "last_chosen", ""), policy, law, repr(ranks_by))
    of_one_group = (pools for pools in samples.pool_lists() if len({pool.slots for pool in pools}) == 1)
    for job, pools in product(samples.jobs()[:2], of_one_group):
        least = min(pools, key=attrgetter(ranks_by)) if ranks_by else pools[0]
        chosen = policy.choose(job, pools, _Dice(1))
        _require(chosen is least, policy, f"it chooses the least {ranks_by or 'recent'} pool", f"{chosen!r}")


def check_scaling_policy(policy: ScalingPolicy, *, names: Mapping[str, object] | None = None) -> None:
    """Raise AssertionError unless `policy` keeps every law of a scaling policy; `names` as above.

    It is asked about groups that are idle, busy, flooded, just opened, starting and stuck. Cost: 0.1 s.
    """
    _check_method(policy, "scale")
    _check_answers(policy, policy.scale, [_Case((load,)) for load in samples.loads()], _an_advice)
    _check_value(policy, names)


# What is asked


@attrs.define
class _Dice:
    """Chance that repeats itself: a linear congruential generator with Knuth's constants."""

    seed: int
    _state: int = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._state = self.seed

    def random(self) -> float:
        """Return a number in [0, 1)."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._state >> 11) / 2.0**53


@attrs.define
class _Loaded:
    """Dice that always fall the same way."""

    face: float

    def random(self) -> float:
        """Return the same number in [0, 1) as ever."""
        return self.face


@attrs.frozen
class _Case:
    """One question: the views and a way to throw the same dice again."""

    views: tuple[Any, ...]
    dice: _Dice | _Loaded | None = None

    def arguments(self) -> tuple[Any, ...]:
        """Return the arguments, with fresh lists and with dice as new."""
        views = tuple(list(view) if isinstance(view, list) else view for view in self.views)
        return views if self.dice is None else (*views, attrs.evolve(self.dice))

    def story(self) -> str:
        """Return the case in words; an error in it may have no text."""
        dice = "" if self.dice is None else f" with {self.dice!r}"
        try:
            return f"{', '.join(map(repr, self.views))}{dice}"
        except RuntimeError:
            failure = self.views[0]
            return f"attempt {failure.attempt} failed with {type(failure.error).__name__}{dice}"


#: The dice at either end of what they may show.
_ENDS: tuple[_Dice | _Loaded, ...] = (_Loaded(0.0), _Loaded(1.0 - 2.0**-53))


# The laws


def _check_judge(policy: RetryPolicy) -> None:
    rejects = getattr(policy, "retry_if_result", None)
    lawful = rejects is None or callable(rejects)
    _require(lawful, policy, "retry_if_result is a function or None", f"{rejects!r}")


def _check_limits(policy: RetryPolicy, cases: Sequence[_Case], answers: Iterable[Any]) -> None:
    """Whether it keeps the limits it names."""
    attempts_max, elapsed_max = (getattr(policy, name, None) for name in ("attempts_max", "elapsed_max"))
    for name, limit in (("attempts_max", attempts_max), ("elapsed_max", elapsed_max)):
        _require(limit is None or _finite(limit), policy, f"{name} is a number or None", f"{limit!r}")
    for case, answer in zip(cases, answers, strict=True):
        if answer is None:
            continue
        (failure,) = case.views
        few = attempts_max is None or failure.attempt < attempts_max
        early = elapsed_max is None or failure.elapsed + answer <= elapsed_max
        law = "attempts_max" if early else "elapsed_max"
        if not (few and early):
            raise AssertionError(_broken(policy, law, f"{case.story()} got {answer!r}"))


def _check_method(policy: object, method: str) -> None:
    _require(not isinstance(policy, type), policy, "it is a value, not a class", f"{policy!r}")
    _require(callable(getattr(policy, method, None)), policy, f"it has a method {method}()", f"{policy!r}")


def _check_value(policy: object, names: Mapping[str, object] | None) -> None:
    kind = type(policy)
    _require(_calmly(policy, "equal to itself", lambda: policy == policy), policy, "equal to itself")  # noqa: PLR0124
    _require(
        _calmly(policy, "hashable", lambda: hash(policy)) == hash(policy),
        policy,
        "hashable",
        "its hash changes",
    )
    copy = _calmly(policy, "picklable", lambda: pickle.loads(pickle.dumps(policy)))  # noqa: S301  its own
    _require(copy == policy and hash(copy) == hash(policy), policy, "picklable", f"it comes back as {copy!r}")
    # A test that defines its policy in a function has it nowhere in its module.
    module = vars(sys.modules[kind.__module__]) if kind.__module__ in sys.modules else {}
    known = {
        **vars(builtins),
        **vars(sys.modules["policies"]),
        **module,
        kind.__name__: kind,
        **(names or {}),
    }
    again = _calmly(policy, "its repr evaluates back", lambda: eval(repr(policy), known))  # noqa: S307  its own
    _require(again == policy, policy, "its repr evaluates back", f"{policy!r} gives {again!r}")


def _check_answers(
    policy: object,
    ask: Callable[..., object],
    cases: Sequence[_Case],
    sensible: Callable[..., bool],
) -> list[object]:
    before = repr(policy)
    answers = [_answer(policy, ask, case, sensible) for case in cases]
    # Backwards, so that memory of any kind shows.
    for case, answer in zip(reversed(cases), reversed(answers), strict=True):
        again = _answer(policy, ask, case, sensible)
        same = again is answer or again == answer
        if not same:
            story = f"{case.story()} got {answer!r}, then {again!r}"
            raise AssertionError(_broken(policy, "pure", story))
    _require(repr(policy) == before, policy, "frozen", f"it became {policy!r}")
    return answers


def _answer(policy: object, ask: Callable[..., object], case: _Case, sensible: Callable[..., bool]) -> object:
    arguments = case.arguments()
    seen = _looks(case.views)
    try:
        answer = ask(*arguments)
    except (attrs.exceptions.FrozenInstanceError, AttributeError) as error:
        writes = isinstance(error, attrs.exceptions.FrozenInstanceError)
        law = "it writes to no view" if writes else "total"
        raise AssertionError(_broken(policy, law, f"{case.story()} raised {error!r}")) from error
    except Exception as error:
        raise AssertionError(_broken(policy, "total", f"{case.story()} raised {error!r}")) from error
    untouched = _looks(case.views) == seen and list(arguments[: len(case.views)]) == list(case.views)
    if not untouched:
        raise AssertionError(_broken(policy, "it writes to no view", case.story()))
    if not sensible(answer, *arguments):
        raise AssertionError(_broken(policy, "sensible", f"{case.story()} got {answer!r}"))
    return answer


def _looks(views: Iterable[object]) -> list[object]:
    """Return what can be seen of the views, to compare with what is seen later."""
    looks: list[object] = []
    for view in views:
        if isinstance(view, Failure):
            error = view.error
            looks.append((error.args, dict(vars(error)), error.__cause__, error.__context__))
            looks.append((view.attempt, view.elapsed, view.last_delay))
        elif isinstance(view, list):
            looks.extend(attrs.astuple(pool) for pool in view)
        else:
            looks.append(attrs.astuple(view))  # type: ignore[arg-type]
    return looks


def _seconds_or_none(answer: object, *_: object) -> bool:
    return answer is None or (_finite(answer) and answer >= 0)  # type: ignore[operator]


def _finite(answer: object, *_: object) -> bool:
    return isinstance(answer, int | float) and not isinstance(answer, bool) and math.isfinite(answer)


def _above_zero(answer: object, *_: object) -> bool:
    return _finite(answer) and answer > 0  # type: ignore[operator]


def _an_admission(answer: object, *_: object) -> bool:
    return isinstance(answer, Admission)


def _an_advice(answer: object, load: Load) -> bool:
    """Whether it is a number of pools with, for a change, a reason."""
    if not isinstance(answer, Advice) or type(answer.pools) is not int or not 0 <= answer.pools < 2**63:
        return False
    if not type(answer.reason) is type(answer.formula) is str or type(answer.panic) is not bool:
        return False
    said = answer.reason != "" or answer.pools == load.pools
    return said and (answer.pool is None or answer.pool in dict(load.idle))


def _one_of_the_pools(answer: object, _job: object, pools: Sequence[object], _uniform: object) -> bool:
    return any(answer is pool for pool in pools)


def _calmly(policy: object, law: str, look: Callable[[], Any]) -> Any:
    try:
        return look()
    except Exception as error:
        raise AssertionError(_broken(policy, law, f"{type(error).__name__}: {error}")) from error


def _require(holds: bool, policy: object, law: str, story: str = "") -> None:
    if not holds:
        raise AssertionError(_broken(policy, law, story))


def _broken(policy: object, law: str, story: str) -> str:
    return f"{type(policy).__name__} breaks the law {law!r}: {story}"
