"""What the core holds, and the small things that every part of it needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from policies.breaker import CircuitBreaker
from policies.budget import RetryBudget
from policies.contracts import AdmissionPolicy, OrderingPolicy, RoutingPolicy, Uniform
from policies.ordering import FairShare, StrictPriority

from .._errors import DeadlineExceeded, PoolBroken
from . import events
from .autoscaler import Scaled
from .budgets import Budgets
from .dispatcher import Dispatcher
from .front_queue import FrontQueue
from .gate import Gate
from .job import Ended, Job, JobOptions, Line
from .keys import Keys
from .limits import Limit
from .parking import Lots
from .pool_table import GroupRecord, Loan, PoolRecord, PoolTable, Slot
from .retrier import Guard, Retrier
from .shares import Shares
from .slowness import Slowness, Stopwatch
from .states import RUNNING, JobState, PoolState
from .statistics import Ledger
from .timers import TimerKind, Timers


@attrs.define(eq=False)
class Left:
    """What a turn leaves behind beside its answer, for whoever took the turn to act on."""

    #: Slots that were bound and whose call is to be run.
    starts: list[Slot] = attrs.Factory(list)
    #: The one of them that is being handed over, and its job: the slot may have another one soon after.
    handing: tuple[Slot, Job] | None = None
    #: Slots whose attempt has been asked to stop, and that attempt's number.
    stops: list[tuple[Slot, int]] = attrs.Factory(list)
    #: Slots whose jobs ahead are to be taken back: something more urgent waits.
    recalls: list[Slot] = attrs.Factory(list)
    #: Pools that are on the books and are to be opened.
    opens: list[PoolRecord] = attrs.Factory(list)
    #: Hedges: slots that were bound beside those of their jobs, and the call to be run there.
    hedges: list[tuple[Slot, Any]] = attrs.Factory(list)
    #: Jobs that reached a terminal state other than by succeeding.
    settled: list[Job] = attrs.Factory(list)
    #: What is let go of only after the lock, for its finalisers are anybody's code.
    dropped: list[object] = attrs.Factory(list)
    #: Jobs that were let in from the door, or whose submitters are to look again.
    admitted: list[Job] = attrs.Factory(list)
    #: Pools that have run their last job.
    stopped: list[PoolRecord] = attrs.Factory(list)
    #: Policies that raised or answered nonsense: the question and the error.
    policy_failures: list[tuple[str, BaseException]] = attrs.Factory(list)
    #: Policies that took long: the question, the policy, seconds, and how many answers did.
    slow_policies: list[tuple[str, str, float, int]] = attrs.Factory(list)
    #: Facts, while somebody observes; with each an error that is still to be put into words, or None.
    events: list[tuple[events.Event, BaseException | None]] = attrs.Factory(list)
    #: What is to be said in the log, as a warning.
    warnings: list[str] = attrs.Factory(list)
    #: When the core needs `advance` next.
    when: float = math.inf


class Books:
    """The front queue, the timers, the pools, the ledger, the mechanisms, and what a turn leaves behind."""

    def __init__(
        self,
        groups: Iterable[GroupRecord],
        *,
        capacity: int,
        admission: AdmissionPolicy,
        ordering: OrderingPolicy,
        routing: RoutingPolicy,
        uniform: Uniform,
        limits: Iterable[Limit] = (),
        breakers: Iterable[CircuitBreaker] = (),
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self.now = 0.0
        #: Which policies take long; `stopwatch` returns seconds, None measures nothing.
        self.slowness = Slowness(stopwatch, self.policy_slow)
        #: Who has had how much; None unless the ordering answers weights.
        self.shares = Shares(self, self._weigh) if hasattr(ordering, "weight") else None
        #: Limits by tenant and tag, and whom they keep waiting.
        self.lots = Lots(limits, self, breakers)
        few_keys = getattr(ordering, "few_keys", False)
        self.queue = FrontQueue(capacity, few_keys=few_keys, lots=self.lots, shares=self.shares)
        self.timers = Timers()
        #: Who is alive under which key.
        self.keys = Keys()
        self.pools = PoolTable()
        for group in groups:
            self.pools.groups[group.name] = group
        self.ledger = Ledger()
        self.gate = Gate(admission, self.queue, self.policy_failed)
        self.dispatcher = Dispatcher(routing, uniform, self.policy_failed, lambda: self.now, self.slowness)
        for group in self.pools.groups.values():
            group.decay = getattr(self.dispatcher.routing(group), "run_time_decay", None)
        #: Whether any routing policy looks at how long jobs run.
        self.keeps_run_times = any(group.decay is not None for group in self.pools.groups.values())
        #: What has been paid into retry budgets and taken out.
        self.budgets = Budgets()
        self.retrier = Retrier(uniform, self.policy_failed, self.guard, self.retry_refused, self.slowness)
        self._order_by(ordering)
        self.paused = False
        #: False once closing has begun to cancel: a failure is then final.
        self.retrying = True
        #: How long attempts have lately run, for those that may be hedged.
        self.recent: dict[Any, Any] = {}
        #: Jobs that run in a submitter's own thread, by the slot made for them.
        self.caller_slots: dict[Slot, Job] = {}
        self.caller = PoolRecord(
            pool_id="caller",
            group=GroupRecord(name="caller", index=-1, slots=0),
            slots=0,
            state=PoolState.CORDONED,
            started_at=0.0,
        )
        self._begin_to_scale(admission)
        #: How many jobs lie ahead, in all slots.
        self.ahead = 0
        self.observed = False
        #: Whether the turn left anything behind but the answer of its method.
        self.dirty = False
        self.left = Left()

    def _order_by(self, ordering: OrderingPolicy) -> None:
        self.ordering = ordering
        #: A job is born with its priority as key, which saves asking the default ordering.
        self.key_is_priority = type(ordering) in (StrictPriority, FairShare)
        #: What the ordering is timed with, None for one that is known to be quick.
        self.key_watch = self.slowness.stopwatch_for(ordering)

    def _begin_to_scale(self, admission: AdmissionPolicy) -> None:
        #: The groups that scale by themselves, by name.
        self.scaled = {
            group.name: Scaled(group, group.scaling)
            for group in self.pools.groups.values()
            if group.scaling is not None
        }
        #: They are all at rest, and nobody looks at them until a job comes.
        self.scaling_rests = bool(self.scaled)
        #: Seconds between two decisions on what has waited too long; 0 when the policy sheds nothing by itself.
        self.shed_interval: float = (
            getattr(admission, "interval", 0.0) if hasattr(admission, "too_long") else 0.0
        )
        #: Somebody rests until a job comes, and is then to be woken.
        self.dozing = self.scaling_rests or self.shed_interval > 0
        #: Calls that have outlived their limit, by when they count as stuck: number, slot, job, attempt.
        self.overdue: list[tuple[float, int, Slot, Job | None, int]] = []

    def _key(self, job: Job) -> float:
        """Return a job's key, as the ordering answers it."""
        if self.key_is_priority:
            return job.options.priority
        watch = self.key_watch
        began = 0.0 if watch is None else watch()
        try:
            key = float(self.ordering.key(job))
            if math.isnan(key):  # it compares false with everything
                raise ValueError("key() must return a number that can be ordered, not NaN")
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.policy_failed("ordering", self.ordering, error, "priority, then arrival")
            key = job.options.priority
        if watch is not None:
            self.slowness.took("ordering", self.ordering, began, watch())
        return key

    def _weigh(self, job: Job) -> float:
        """Return the weight of a job's tenant, as the ordering answers it; asked once for each tenant."""
        return self.slowness.time("ordering", self.ordering, self._weight, job)

    def _weight(self, job: Job) -> float:
        try:
            weight = float(self.ordering.weight(job))  # type: ignore[attr-defined]
            if not 0 < weight < math.inf:
                raise ValueError(f"weight() must return a finite number above 0, not {weight}")
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.policy_failed("ordering", self.ordering, error, "weight 1.0")
            return 1.0
        return weight

    def running(self) -> Iterator[Job]:
        """Iterate over the jobs that run now, those in their submitter's own thread included."""
        for pool in self.pools:
            yield from pool.running()
        for slot, job in self.caller_slots.items():
            if slot.job is job and job.slot is slot and job.state is RUNNING:
                yield job

    def move(self, job: Job, state: JobState) -> None:
        """Change a job's state, if that is a legal move."""
        self.check_move(job, state)
        job.state = state

    def check_move(self, job: Job, state: JobState) -> None:
        """Raise unless a job may go from its state to `state`."""
        if state not in job.state.moves:
            raise AssertionError(f"job {job.id}: {job.state.name} → {state.name} is no legal move")

    def _ended(self, job: Job, error: BaseException, now: float) -> Ended:
        """Return the record of the attempt that a job ends now."""
        slot = job.slot
        assert slot is not None
        return job.attempt, slot.pool_id, slot.worker, job.started_at, now, error

    def broken(self, groups: Sequence[GroupRecord | Loan]) -> PoolBroken:
        """Return the error of a job that no pool will ever take."""
        names = ", ".join(repr(group.name) for group in groups)
        cause = groups[0].broken
        error = PoolBroken(
            f"no pool of group {names} can run anything any more ({groups[0].why_broken}); "
            "mend its initializer and make a new scheduler"
        )
        error.__cause__ = cause
        return error

    def expired(self, job: Job) -> DeadlineExceeded:
        """Return the error of a job whose deadline has passed."""
        return DeadlineExceeded(
            f"job {job.id} did not settle within deadline={job.options.deadline} s; it was {job.state.value}"
        )

    def stop_if_empty(self, pool: PoolRecord, now: float) -> None:
        """Let a pool go that takes nothing any more and has run its last job."""
        if pool.in_use or pool not in pool.group.pools:
            return
        if pool.state is PoolState.DRAINING:
            self.pools.move(pool, PoolState.STOPPED)
        elif pool.state not in (PoolState.FAILED_TO_START, PoolState.STOPPED):
            return
        self.left.stopped.append(pool)
        self.dirty = True
        self.pools.forget(pool)
        if self.observed:
            self.emit(events.PoolStopped(time=now, pool=pool.pool_id))

    def policy_failed(self, question: str, policy: object, error: BaseException, fallback: str) -> None:
        """Note that a policy raised or answered nonsense, and what happened instead."""
        self.left.policy_failures.append((question, error))
        self.dirty = True
        if self.observed:
            self.emit(
                events.PolicyFailed(
                    time=self.now,
                    question=question,
                    policy=type(policy).__name__,
                    error="",
                    fallback=fallback,
                ),
                error,
            )

    def policy_slow(self, question: str, policy: str, seconds: float, calls: int) -> None:
        """Note that a policy took long to answer."""
        self.left.slow_policies.append((question, policy, seconds, calls))
        self.dirty = True
        if self.observed:
            self.emit(
                events.PolicySlow(
                    time=self.now, question=question, policy=policy, seconds=seconds, calls=calls
                )
            )

    def guard(self, value: object) -> Guard:
        """Return the record of a budget or a breaker; raise TypeError or ValueError if there is none."""
        if isinstance(value, RetryBudget):
            return self.budgets.of(value)
        if not isinstance(value, CircuitBreaker):
            raise TypeError(f"held_for() takes a RetryBudget or a CircuitBreaker, not {value!r}")
        record = self.lots.breakers.get(value)
        if record is None:
            known = ", ".join(map(repr, self.lots.breakers)) or "none"
            raise ValueError(
                f"{value!r} is not one of this scheduler's breakers, which are {known}; "
                "give the same value to Scheduler(breakers=[...])"
            )
        return record

    def line_for(self, options: JobOptions, *, coroutine: bool) -> Line | None:
        """Return the line of jobs like this, or None when no group may take them."""
        for guard in options.guards:
            self.guard(guard)  # two budgets of one name are refused here, and a breaker that nobody knows
        groups = self.pools.places(options.priority, options.tags, coroutine=coroutine)
        return self.queue.line(groups, self.lots.of(options, groups), options.tenant) if groups else None

    def retry_refused(self, job: Job, by: str) -> None:
        """Note that a job fails though its policy would have had another attempt."""
        if self.observed:
            self.emit(events.RetryRefused(time=self.now, job_id=job.id, attempt=job.attempt, by=by))

    def arm(self, when: float, kind: TimerKind, job: Job) -> None:
        """Arm a timer, and have the driver look at its alarm if that would ring too late."""
        if self.timers.arm(when, kind, job):
            self.dirty = True

    def let_go(self, job: Job, now: float) -> None:
        """Forget what a job that has settled was waited for."""
        self.timers.disarm(job)

    def emit(self, event: events.Event, error: BaseException | None = None) -> None:
        """Note an event; asked only while somebody observes.

        The text of `error` is anybody's code, and becomes the event's only outside the turn: `worded`.
        """
        self.left.events.append((event, error))
        self.dirty = True


def worded(fact: tuple[events.Event, BaseException | None]) -> events.Event:
    """Return an event with the text of its error. Outside every lock."""
    event, error = fact
    return event if error is None else attrs.evolve(event, error=describe(error))  # type: ignore[call-arg]


def describe(error: BaseException | None) -> str:
    """Return the type and the text of an error, whatever its ``__str__`` does."""
    if error is None:
        return "unknown"
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return f"{type(error).__name__} (whose text cannot be had)"
