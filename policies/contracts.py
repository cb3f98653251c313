"""What a policy may look at, and what it answers: the nouns of every plug-in.

A policy is a frozen value with one method named for its question. It keeps no memory (that is in the
argument), rolls no dice of its own (they are handed in), reads no clock and writes to no view.
Nothing has to be inherited or registered: whatever has the method is a policy.

======================  =============  ==========================================================
question                policy         answer
======================  =============  ==========================================================
who goes first?         ordering       ``key(job)``: a number, lower is sooner; and, if tenants share,
                                       ``weight(job)``: a number, more is more
may it come in?         admission      ``admit(job, queue)``: an `Admission`, asked when it is full
which pool?             routing        ``choose(job, pools, uniform)``: one of ``pools``
again, and when?        retry          ``retry_after(failure, uniform)``: seconds, or None
more pools or fewer?    scaling        ``scale(load)``: an `Advice`
======================  =============  ==========================================================

A policy that raises never loses a job: the scheduler falls back and emits `PolicyFailed`.
The views are Protocols that the scheduler's live records satisfy, so a decision allocates nothing.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import attrs


class Uniform(Protocol):
    """The dice: a seeded source of chance."""

    def random(self) -> float:
        """Return a number in [0, 1)."""


class JobView(Protocol):
    """What a policy may know of a job. All times are seconds on the scheduler's clock."""

    @property
    def id(self) -> int:
        """The job's number, from 1 in order of submission; 0 until it is admitted."""

    @property
    def priority(self) -> int:
        """Lower is sooner."""

    @property
    def tags(self) -> frozenset[str]:
        """The labels that say which groups may take it."""

    @property
    def tenant(self) -> str | None:
        """Whom it was submitted for."""

    @property
    def deadline(self) -> float | None:
        """When it must have settled; None if it has no deadline."""

    @property
    def affinity(self) -> str | None:
        """What it has in common with others that had better run in the same pool."""

    @property
    def submitted_at(self) -> float:
        """When it was submitted."""

    @property
    def waiting_since(self) -> float:
        """When it last joined the front queue."""


class PoolView(Protocol):
    """What a policy may know of a pool."""

    @property
    def pool_id(self) -> str:
        """The pool's id, never reused."""

    @property
    def slots(self) -> int:
        """How many attempts it can run at once; never changes."""

    @property
    def in_use(self) -> int:
        """How many of its slots are not free."""

    @property
    def load(self) -> float:
        """Slots in use ÷ slots."""

    @property
    def last_chosen(self) -> int:
        """The number of the last choice that fell on this pool, counted over all; 0 before the first."""

    @property
    def run_time_ewma(self) -> float:
        """Seconds that jobs here have lately run at most, fading; 0 when nothing is known of it.

        Kept only for a policy that has a `run_time_decay`.
        """


class QueueView(Protocol):
    """What a policy may know of the front queue."""

    @property
    def held(self) -> int:
        """How many jobs the bound counts: waiting, delayed and backing off."""

    @property
    def capacity(self) -> int:
        """How many it may hold."""


class FailureView(Protocol):
    """What a retry policy may know of a failed attempt."""

    @property
    def attempt(self) -> int:
        """The number of the attempt that failed, 1 for the first."""

    @property
    def error(self) -> BaseException:
        """What it raised."""

    @property
    def elapsed(self) -> float:
        """Seconds since the first attempt started."""

    @property
    def last_delay(self) -> float | None:
        """Seconds of the backoff before this attempt; None before the first retry."""

    @property
    def rejected(self) -> bool:
        """Whether it returned, and `retry_if_result` said no: `error` then has the `value`."""

    def held_for(self, guard: object) -> float:
        """Return for how many seconds `guard`, a `RetryBudget` or `CircuitBreaker`, allows no further attempt; 0 if it does.

        What answers 0 and is followed by a retry is charged for that; one that it keeps waiting asks again then.
        """


@attrs.frozen
class Failure:
    """A failed attempt, as retry policies see it; also for tests of such policies.

    `held` says of budgets and breakers for how many seconds they allow no further attempt; the others allow it.
    """

    attempt: int
    error: BaseException
    elapsed: float = 0.0
    last_delay: float | None = None
    rejected: bool = False
    held: Mapping[Any, float] | None = attrs.field(default=None, kw_only=True, eq=False, repr=False)

    def held_for(self, guard: object) -> float:
        """Return for how many seconds `guard` allows no further attempt; 0 if it does."""
        return 0.0 if self.held is None else self.held.get(guard, 0.0)


@attrs.frozen(kw_only=True)
class Window:
    """What a group did in a stretch of time that ends now. Times are seconds."""

    #: How long it really is; 0 when nothing has been measured yet.
    seconds: float = 0.0
    #: Jobs that came to wait or started: starts, and the growth of what waits.
    arrivals: int = 0
    #: Attempts that started.
    starts: int = 0
    #: Attempts that ended.
    completions: int = 0
    #: Mean and standard deviation of how long those ran; 0 when none ended.
    run_time: float = 0.0
    deviation: float = 0.0
    #: At every look, the job that had waited longest had waited at least so long. Jobs of some priority always
    #: wait that long, however soon others start; one that comes back for another attempt is not counted.
    least_wait: float = 0.0
    #: Slots in use, on the mean.
    in_use: float = 0.0
    #: Every look found jobs waiting, and so no slot that they may use free.
    saturated: bool = False

    @property
    def arrival_rate(self) -> float:
        """Arrivals a second."""
        return self.arrivals / self.seconds if self.seconds else 0.0

    @property
    def completion_rate(self) -> float:
        """Completions a second."""
        return self.completions / self.seconds if self.seconds else 0.0


@attrs.frozen(kw_only=True)
class Load:
    """What a scaling policy may know of one group at one moment. Times are seconds.

    The windows are as long as the group's own times make sense of: the panic window twice the mean run time
    (0.2 s to 30 s); the stable window fifty times the mean run time, or ten start-up times if that is longer
    (2 s to 600 s).
    """

    group: str
    #: On the scheduler's clock.
    time: float
    #: Slots of one pool.
    pool_slots: int
    #: Pools that run or will: starting, accepting and cordoned.
    pools: int
    #: How many of them are still starting.
    starting: int = 0
    draining: int = 0
    quarantined: int = 0
    min_pools: int = 1
    max_pools: int | None = None
    #: Slots of accepting pools, and how many of them are in use.
    slots: int = 0
    in_use: int = 0
    #: Jobs that wait and that this group may take.
    waiting: int = 0
    #: The same by priority, the most urgent first.
    waiting_by_priority: tuple[tuple[int, int], ...] = ()
    #: How long the job that has waited longest has waited.
    oldest_wait: float = 0.0
    #: For every accepting pool, how long all its slots have been free; 0 while one is in use.
    idle: tuple[tuple[str, float], ...] = ()
    stable: Window = Window()
    panic: Window = Window()
    #: The run time of an attempt, as far as it is known: of the stable window, or what was last known.
    run_time: float = 0.0
    deviation: float = 0.0
    #: From the decision to open a pool until it takes jobs, as measured.
    start_up: float = 0.0
    #: Since the group last opened, drained or took back a pool.
    since_change: float = 0.0
    #: The load was lately twice what the group can do: nothing is drained.
    panicking: bool = False

    def offered(self, window: Window) -> float:
        """Return how many slots the load of a window keeps busy: arrival rate × run time, or what is in use if that is more.

        Little's law; before anything has ended, what is in use is all there is to know.
        """
        return max(window.arrival_rate * self.run_time, window.in_use)

    def pools_for(self, slots: float) -> int:
        """Return how many pools have at least so many slots."""
        return max(0, math.ceil(slots / self.pool_slots - 1e-9))

    def add(self, pools: int, reason: str, formula: str = "", *, panic: bool = False) -> Advice:
        """Advise to open so many more pools; `panic` when the load is a multiple of what the group can do."""
        return Advice(pools=self.pools + pools, reason=reason, formula=formula, panic=panic)

    def drain(
        self,
        reason: str,
        formula: str = "",
        *,
        pool: str | None = None,
        to: int | None = None,
    ) -> Advice:
        """Advise to drain one pool: `pool`, or whichever is idlest; `to` is how few would be enough."""
        pools = self.pools - 1 if to is None else to
        return Advice(pools=pools, reason=reason, formula=formula, pool=pool)

    def hold(self, reason: str = "", formula: str = "") -> Advice:
        """Advise to leave things as they are."""
        return Advice(pools=self.pools, reason=reason, formula=formula)

    def toward(self, pools: int, reason: str, formula: str = "", *, panic: bool = False) -> Advice:
        """Advise to have so many pools, whatever that takes."""
        if pools > self.pools:
            return self.add(pools - self.pools, reason, formula, panic=panic)
        if pools < self.pools:
            return self.drain(reason, formula, to=pools)
        return self.hold(reason, formula)


@attrs.frozen(kw_only=True)
class Advice:
    """How many pools a scaling policy would have, and why; made by `Load.add`, `drain` and `hold`."""

    pools: int
    reason: str = ""
    #: The computation with its numbers, for who wants to check it.
    formula: str = ""
    #: The pool to drain, if that matters.
    pool: str | None = None
    panic: bool = False


class Admission(enum.Enum):
    """What to do with a job that finds the front queue full."""

    #: The submitter waits for room, at most the policy's ``timeout`` seconds.
    BLOCK = "block"
    #: ``submit`` raises `QueueFull`.
    REJECT = "reject"
    #: The job that would start last is evicted with `JobShed`; if that is the newcomer, it is rejected.
    SHED_LOWEST = "shed_lowest"
    #: The submitting thread runs the job itself.
    CALLER_RUNS = "caller_runs"


class OrderingPolicy(Protocol):
    """Decides who goes first."""

    @property
    def few_keys(self) -> bool:
        """Whether many jobs share a key, as with plain priorities; decides only what waiting costs."""

    def key(self, job: JobView) -> float:
        """Return the job's key, computed once when it first joins the queue; lower starts sooner."""


class SharingPolicy(OrderingPolicy, Protocol):
    """Decides who goes first, and what part of the slots each tenant gets.

    An ordering with the method ``weight`` has tenants take turns: while several of them wait, the seconds
    that their attempts run are in proportion to their weights. ``key`` then orders the jobs of one tenant.
    """

    def weight(self, job: JobView) -> float:
        """Return the weight of the job's tenant: finite and above 0, and one for all jobs of a tenant.

        It is asked when the tenant is first seen, and again if it has been forgotten since.
        Only ratios matter; what is below 1e-9 or above 1e9 counts as these.
        """


class AdmissionPolicy(Protocol):
    """Decides what happens to a job that finds the front queue full."""

    def admit(self, job: JobView, queue: QueueView) -> Admission:
        """Return the way out."""


PoolViewT = TypeVar("PoolViewT", bound=PoolView)


class RoutingPolicy(Protocol):
    """Decides which of several pools of a group gets a job.

    One that has an attribute `run_time_decay`, more than 0 seconds, is shown a `PoolView.run_time_ewma`
    that fades with this time constant; for all others it is not kept, which saves its price.

    One whose class itself has an attribute `ranks_by` is not asked in a group of very many pools, but found out:
    it chooses the pool with the least ``"in_use"`` or ``"last_chosen"``, or with ``""`` just the first; in each case
    the first on a tie.
    """

    def choose(self, job: JobView, pools: Sequence[PoolViewT], uniform: Uniform) -> PoolViewT:
        """Return one of `pools`, which are in the order they were opened.

        Each is of the same group, may take the job and has a free slot; there are at least two.
        """


class RetryPolicy(Protocol):
    """Decides whether a failed job gets another attempt, and how long it backs off.

    One that has an attribute `retry_if_result`, a function of a returned value, has the attempt fail for which it
    says yes; the scheduler reads the attribute when it is given the policy. `attempts_max` and a method
    ``in_time(failure, delay)`` are for policies that wrap this one: see `policies.FirstMatch`.
    """

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        """Return seconds to wait before the next attempt, or None to give up."""


class ScalingPolicy(Protocol):
    """Decides how many pools a group should have; the scheduler's rules decide how far that is followed."""

    def scale(self, load: Load) -> Advice:
        """Return ``load.add(n, why)``, ``load.drain(why)`` or ``load.hold(why)``."""
