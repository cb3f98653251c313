"""Again, and when? Asks the job's retry policy and believes only sensible answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import attrs

from policies.budget import RetryBudget
from policies.checks import is_finite
from policies.contracts import RetryPolicy, Uniform

from .._errors import SchedulerError
from .job import Job, JobOptions
from .pool_table import GroupRecord, Slot
from .slowness import SLOW, Slowness, Stopwatch

#: Stands for the value of an attempt that returned, and whose error is a rejection. A call may also raise an
#: error of that class, another job's, and that is a failure like any other.
REJECTED = object()


class Guard(Protocol):
    """What may keep a job from another attempt: the record of a budget or of a breaker."""

    #: In words, "budget 'a'".
    whose: str

    def held_for(self, now: float) -> float:
        """Return for how many seconds it allows no further attempt; 0 if it does."""

    def take(self, now: float) -> None:
        """Charge it for an attempt."""

    def refuse(self, now: float) -> SchedulerError:
        """Count an attempt that is not made because of it, and return the error that says so."""


@attrs.define(eq=False)
class Asked:
    """A `FailureView` whose policy may ask guards; who is asked is remembered. Not frozen, which is twice as fast."""

    attempt: int
    error: BaseException
    elapsed: float
    last_delay: float | None
    rejected: bool
    retrier: Retrier = attrs.field(repr=False)
    now: float = attrs.field(repr=False)

    def held_for(self, guard: object) -> float:
        """Return for how many seconds `guard` allows no further attempt; 0 if it does."""
        return self.retrier.held_for(guard, self.now)


class Retrier:
    """Turns a failed attempt into seconds of backoff, or into an end."""

    __slots__ = ("_asked", "_guard", "_last", "_policy_failed", "_refused", "_slowness", "_uniform", "_watch")

    def __init__(
        self,
        uniform: Uniform,
        policy_failed: Callable[[str, object, BaseException, str], None],
        guard: Callable[[object], Guard],
        refused: Callable[[Job, str], None],
        slowness: Slowness,
    ) -> None:
        self._uniform = uniform
        self._policy_failed = policy_failed
        self._guard = guard
        self._refused = refused
        self._slowness = slowness
        #: What the policy has asked about the failure at hand, and what that answered.
        self._asked: dict[Guard, float] = {}
        #: The policy asked last, and what it is timed with: None for one that is known to be quick.
        self._last: RetryPolicy | None = None
        self._watch: Stopwatch | None = None

    def ask(self, job: Job, slot: Slot, error: BaseException, now: float, *, rejected: bool) -> float | None:
        """Return seconds to back off after what failed in `slot`, or None to give up.

        `rejected` says that it returned, and that the error is what became of its value. A policy that raises,
        or answers nonsense, gives up; its error becomes the cause of the job's.
        """
        policy = policy_of(job, slot)
        if policy is None:
            return None
        if rejected and error.__cause__ is not None:  # its function raised: the value may be a success
            self._policy_failed("retry", policy, error.__cause__, "give up")
            return None
        extra = job.extra
        first_start = job.started_at if extra is None or not len(extra) else extra.first_started_at
        last_delay = None if extra is None else extra.last_delay
        # By position, which is faster by a third of all there is here.
        failure = Asked(job.attempt, error, now - first_start, last_delay, rejected, self, now)
        if self._asked:
            self._asked = {}
        if policy is not self._last:  # "quick" may take as long as the answer
            self._watch = None if getattr(policy, "quick", False) else self._slowness.stopwatch
            self._last = policy
        watch = self._watch
        began = 0.0 if watch is None else watch()
        try:
            delay = policy.retry_after(failure, self._uniform)
            if delay is not None and not (type(delay) is float and 0 <= delay < math.inf):
                delay = _seconds(delay, policy)
        except KeyboardInterrupt:
            raise
        except BaseException as broken:
            give_cause(error, broken)
            self._policy_failed("retry", policy, broken, "give up")
            delay, self._asked = None, {}  # nobody is charged
        if watch is not None and (ended := watch()) - began > SLOW:
            self._slowness.took("retry", policy, began, ended)
        if self._asked:
            self._heed(job, error, now, retries=delay is not None)
        return delay

    @property
    def asked(self) -> tuple[Guard, ...]:
        """The guards that the last policy asked about the last failure."""
        return tuple(self._asked)

    def held_for(self, guard: object, now: float) -> float:
        """Answer a policy for how many seconds a guard allows no further attempt."""
        record = self._guard(guard)
        held = self._asked.get(record)
        if held is None:
            held = self._asked[record] = record.held_for(now)
        return held

    def _heed(self, job: Job, error: BaseException, now: float, *, retries: bool) -> None:
        """Charge the guards that were asked, remember to ask them again, or say which refused."""
        holding = [guard for guard, held in self._asked.items() if held > 0]
        if retries and holding:
            job.more().owes = tuple(self._asked)
        elif retries:
            for guard in self._asked:
                guard.take(now)
        elif holding:
            give_cause(error, holding[0].refuse(now))
            self._refused(job, holding[0].whose)

    def pay(self, job: Job, now: float) -> float:
        """Charge what a job owes for the attempt that is due; return for how many seconds it must wait on, or 0."""
        extra = job.more()
        held: float = max(guard.held_for(now) for guard in extra.owes)
        if held <= 0:
            for guard in extra.owes:
                guard.take(now)
            extra.owes = ()
        return held


def _seconds(answer: Any, policy: RetryPolicy) -> float:
    """Return an answer of a policy as a float; raise an error that names the method if it is no seconds."""
    try:
        if is_finite(answer) and answer >= 0:
            return float(answer)
        kind: type[Exception] = ValueError
    except TypeError:  # no number at all
        kind = TypeError
    raise kind(f"{type(policy).__name__}.retry_after() must return seconds ≥ 0 or None, not {answer!r}")


def policy_of(job: Job, slot: Slot) -> RetryPolicy | None:
    """Return who decides on what failed in a slot: the job's own policy, the group's, or the scheduler's."""
    options = job.options
    of_group = None if options.own_retry else slot.pool.group.retry
    return options.retry if of_group is None else of_group


def budgets_of(options: JobOptions, group: GroupRecord) -> tuple[RetryBudget, ...]:
    """Return what the first attempt of a job pays into that starts in a group: what `policy_of` may ask there."""
    if options.own_retry or group.retry is None:
        return options.budgets
    hedged = () if options.hedge is None else (options.hedge.budget,)
    return tuple(dict.fromkeys((*group.budgets, *hedged)))


def give_cause(error: BaseException, cause: BaseException) -> None:
    """Make `cause` the cause of an error, or of its first cause; by C alone, for its class may forbid it.

    A refusal replaces an earlier one: an error that is raised again and again must not grow by each.
    """
    seen = {id(cause)}
    while error.__cause__ is not None and id(error) not in seen:
        if isinstance(cause, SchedulerError) and type(error.__cause__) is type(cause):
            break
        seen.add(id(error))
        error = error.__cause__
    if id(error) not in seen:
        _cause.__set__(error, cause)


_cause: Any = BaseException.__dict__["__cause__"]
