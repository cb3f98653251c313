"""A job, its options and its attempts.

The record is mutable and compared by identity; only the core writes to it.
Its fields are slots because hundreds of thousands of them may wait at once.
What only some jobs need (retries, progress) lives in `Extra`, made on first use.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from policies.breaker import CircuitBreaker
from policies.budget import RetryBudget
from policies.hedge import Hedge
from policies.parts import parts_of

from .states import SUCCEEDED, WAITING, JobState

if TYPE_CHECKING:
    from policies.contracts import RetryPolicy


class Priority(enum.IntEnum):
    """How urgent a job is; lower is sooner, as in ``nice`` and ``heapq``.

    Any integer is a priority. These five names are what most programs need.
    """

    CRITICAL = 0
    HIGH = 10
    NORMAL = 20
    LOW = 30
    BULK = 40


@attrs.frozen(kw_only=True)
class JobOptions:
    """What the caller asked for beside the call itself; shared by every job of one submitter.

    All durations are seconds; None means no limit.
    """

    #: A plain int: an IntEnum member hashes through Python code, four times as slowly.
    priority: int = Priority.NORMAL.value
    tags: frozenset[str] = frozenset()
    run_timeout: float | None = None
    queue_timeout: float | None = None
    deadline: float | None = None
    delay: float = 0.0
    retry: RetryPolicy | None = None
    tenant: str | None = None
    affinity: str | None = None
    hedge: Hedge | None = None
    name: str | None = None
    #: The job's own policy, which no group overrides; else `retry` is the scheduler's.
    own_retry: bool = False
    #: Its policy looks at what calls return.
    judges: bool = attrs.field(init=False, repr=False, eq=False)
    #: At most one job of a key waits; what a newcomer does that finds one alive: join, reject or replace.
    key: str | None = None
    on_conflict: str = "join"
    #: Nothing here needs a timer before the first start, or ever, nor has a key: the hot path asks only these.
    plain: bool = attrs.field(init=False, repr=False, eq=False)
    untimed: bool = attrs.field(init=False, repr=False, eq=False)
    #: What its first attempt pays into, unless a group's policy decides on it.
    budgets: tuple[RetryBudget, ...] = attrs.field(init=False, repr=False, eq=False)
    #: What its retry policy may ask: budgets and breakers.
    guards: tuple[RetryBudget | CircuitBreaker, ...] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        plain = self.queue_timeout is None and self.deadline is None and not self.delay and self.key is None
        object.__setattr__(self, "plain", plain)
        guards: tuple[RetryBudget | CircuitBreaker, ...] = ()
        if self.retry is not None:
            guards = parts_of(self.retry, (RetryBudget, CircuitBreaker))
        if self.hedge is not None:
            guards = tuple(dict.fromkeys((*guards, self.hedge.budget)))
        budgets = tuple(guard for guard in guards if isinstance(guard, RetryBudget))
        object.__setattr__(self, "guards", guards)
        object.__setattr__(self, "budgets", budgets)
        object.__setattr__(self, "untimed", plain and self.run_timeout is None and self.hedge is None)
        object.__setattr__(self, "judges", getattr(self.retry, "retry_if_result", None) is not None)


@attrs.frozen
class Attempt:
    """One execution of a job in one slot.

    Times are seconds on the scheduler's clock; ``ended_at`` is None while it runs.
    """

    number: int
    pool: str
    worker: str
    started_at: float
    ended_at: float | None = None
    error: BaseException | None = None


#: An attempt that has ended, as it is kept: an `Attempt` is made of it, for 1 µs, when somebody asks.
Ended = tuple[int, str, str, float, float, BaseException]
#: How many fields that are.
ENDED_FIELDS = 6


@attrs.define(eq=False)
class Extra(list[Any]):
    """What only some jobs carry.

    As a list it is the job's history: the fields of each `Ended`, oldest first, without the attempt that `Job.slot`
    describes. One object, because the garbage collector walks over every one that is kept.
    """

    #: Seconds of the last backoff, for policies that build on it.
    last_delay: float | None = None
    #: What its next attempt is still to be charged to, and waits for.
    owes: tuple[Any, ...] = ()
    #: The slot of the attempt's hedge, while both run, and when it was bound there.
    hedge: Any = None
    hedged_at: float = 0.0
    progress: tuple[float, float | None] | None = None
    #: The job of the same key that must settle before this one may start.
    behind: Job | None = None
    #: Held by a failed handle only; whoever drops it unread has it logged.
    unretrieved: object = None

    def __bool__(self) -> bool:
        """Return True: it is there, though no attempt may have ended."""
        return True

    @property
    def first_started_at(self) -> float:
        """When the first attempt of a job began that has had one."""
        began: float = self[3]
        return began

    def attempts(self) -> tuple[Attempt, ...]:
        """Return the attempts that have ended, oldest first."""
        return tuple(
            Attempt(*self[first : first + ENDED_FIELDS]) for first in range(0, len(self), ENDED_FIELDS)
        )


class Line(Protocol):
    """Jobs that the same groups may take, in the order in which they will start."""

    #: The groups that may take these jobs, and loans of groups that lend to them, in spill-over order.
    groups: tuple[Any, ...]
    #: What these jobs need room in before they start: `LimitRecord`s; nearly always none.
    limits: tuple[Any, ...]
    #: The job that was popped last, until it is bound to a slot: so an interrupt loses nothing.
    taken: Job | None

    @property
    def best(self) -> Any:
        """Anything but None while a job waits here."""

    @property
    def broken(self) -> bool:
        """No group of this line can run anything any more."""

    def look(self) -> None:
        """See again whether any group can still run these jobs."""

    def push(self, job: Job) -> None:
        """Add a waiting job behind its equals."""

    def push_back(self, job: Job) -> None:
        """Add a job that was here before, at the place its key and arrival give it."""

    def pop(self) -> Job | None:
        """Remove and return the job that is next, or None."""

    def peek(self) -> Job | None:
        """Return the job that is next, or None."""

    def worst(self) -> Job | None:
        """Return the job that would start last, or None."""

    def place(self, job: Job) -> tuple[float, ...]:
        """Return what the heads of lines are compared by."""

    def overtakes(self, job: Job, ahead: deque[Job]) -> bool:
        """Whether `job`, which waits here, goes before one of those that lie ahead in a slot."""

    def discard(self, job: Job) -> None:
        """Forget a job whose state has already left WAITING."""

    def levels(self) -> Iterator[tuple[int, int, float | None]]:
        """Iterate over the priorities: how many jobs wait, and since when the oldest has, None where that is not known."""

    def before(self, job: Job) -> int:
        """Return how many jobs wait here that start before `job`, which waits here or in another line."""

    def oldest(self, priority: int) -> Iterator[Job]:
        """Iterate over the waiting jobs of a priority, those that came first before the others."""

    def salvage(self) -> list[Job]:
        """Forget every job and return them, however torn the line is."""

    def in_order(self) -> bool:
        """Whether everybody stands where this kind of line puts them. Cost: O(n log n)."""

    def __len__(self) -> int:
        """Return how many jobs wait here."""

    def __iter__(self) -> Iterator[Job]:
        """Iterate over the waiting jobs in starting order."""


class Place(Protocol):
    """What a job knows of the slot it is bound to."""

    worker: str
    interrupted: str | None
    begun: int

    @property
    def pool_id(self) -> str:
        """The pool the slot belongs to."""


@attrs.define(eq=False, init=False)
class Job:
    """One call the user asked for; lives until it settles.

    The core reads and writes these fields and knows nothing of the call itself.
    `id` counts submissions from 1; `arrival` is the same number unless the job was delayed:
    then it is the moment it became due that counts, or a job delayed by an hour would overtake everybody.
    """

    id: int
    arrival: int
    key: float
    options: JobOptions
    line: Line
    state: JobState
    submitted_at: float
    waiting_since: float
    started_at: float
    ended_at: float | None
    #: The slot of the current or last attempt, or the one that the job lies ahead in; None before that
    #: and while an attempt that outlived its limit still occupies its slot.
    slot: Place | None
    #: How many attempts have started.
    attempt: int
    #: The value when SUCCEEDED, the error when settled otherwise, else None.
    outcome: Any
    extra: Extra | None

    def __init__(self, options: JobOptions, line: Line) -> None:
        self.id = self.arrival = self.attempt = 0
        self.key = options.priority
        self.options = options
        self.line = line
        self.state = WAITING
        self.submitted_at = self.waiting_since = self.started_at = 0.0
        self.ended_at = self.slot = self.outcome = self.extra = None

    @property
    def priority(self) -> int:
        """The priority the job was submitted with; lower is sooner."""
        return self.options.priority

    @property
    def tags(self) -> frozenset[str]:
        """The tags the job was submitted with."""
        return self.options.tags

    @property
    def tenant(self) -> str | None:
        """The tenant the job was submitted for."""
        return self.options.tenant

    @property
    def deadline(self) -> float | None:
        """When the job must have settled, on the scheduler's clock; None if it has no deadline."""
        seconds = self.options.deadline
        return None if seconds is None else self.submitted_at + seconds

    @property
    def affinity(self) -> str | None:
        """What the job has in common with others that had better run in the same pool."""
        return self.options.affinity

    @property
    def lies_ahead(self) -> bool:
        """Whether a worker holds the job beyond the one it runs: out of the front queue, and not started."""
        return self.state is WAITING and self.slot is not None

    def all_attempts(self) -> tuple[Attempt, ...]:
        """Return the attempts so far, oldest first."""
        ended = () if self.extra is None else self.extra.attempts()
        if self.slot is None or self.lies_ahead or self.attempt == len(ended):  # it settled as it lay ahead
            return ended
        settled = self.state.settled
        last = Attempt(
            number=self.attempt,
            pool=self.slot.pool_id,
            worker=self.slot.worker,
            started_at=self.started_at,
            ended_at=self.ended_at,
            error=self.outcome if settled and self.state is not SUCCEEDED else None,
        )
        return (*ended, last)

    def again(self, slot: Place) -> object:
        """Return the call of a hedge of this job in `slot`."""
        return self

    def more(self) -> Extra:
        """Return the job's `Extra`, making it on first use."""
        if self.extra is None:
            self.extra = Extra()
        return self.extra
