"""Pools as the core sees them: slots, load, and the life-cycle of each.

A pool here is a record; what really runs belongs to the driver. Slots are objects that live as long
as their pool, so that binding a job to one allocates nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

import attrs

from policies.budget import RetryBudget
from policies.contracts import RetryPolicy, RoutingPolicy, ScalingPolicy

from .job import Job, Line
from .states import POOL_TRANSITIONS, RUNNING, PoolState
from .statistics import Meter

_NOWHERE = Meter()

# Enum members by attribute cost more than all else in a loop over pools.
_STARTING, _ACCEPTING, _CORDONED = PoolState.STARTING, PoolState.ACCEPTING, PoolState.CORDONED
_QUARANTINED = PoolState.QUARANTINED

#: Decisions that a group remembers. Arbitrary.
DECISIONS_KEPT = 64

#: What lies ahead in a slot in which nothing ever did; never written to.
NOTHING_AHEAD: deque[Job] = deque()


@attrs.define(eq=False)
class Slot:
    """The right to run one attempt in one pool.

    A slot is *free* (on its pool's free list), *bound* (``job`` is running here) or *held*: its
    worker is still busy with something that is no attempt any more, a call that outlived its limit
    or the done-callbacks of the job that just settled. It is *down* while it has no worker.
    """

    pool: PoolRecord
    index: int
    worker: str
    job: Job | None = None
    #: Where the attempt bound here is counted.
    meter: Meter = _NOWHERE
    #: The attempt bound here; `job.attempt` may have moved on when the call outlived its limit.
    attempt: int = 0
    #: Why the attempt was asked to stop; None while it was not.
    interrupted: str | None = None
    #: The attempt whose call the worker has picked up.
    begun: int = 0
    #: The worker runs the done-callbacks of the job that settled here.
    held: bool = False
    #: The job that the call here, or a callback, waits for without a limit; at the door, the one it submits.
    waits_for: Job | None = None
    #: There is no worker here now, and no call can be given to it.
    down: bool = False
    #: The call here has outlived its attempt by so long that the slot counts as abandoned.
    stuck: bool = False
    #: Jobs that the worker holds beyond the one it runs, in the order in which it will start them.
    ahead: deque[Job] = NOTHING_AHEAD
    #: How often the pool was asked to give these back, and how often that was when it was last given some.
    recalls: int = 0
    recalls_known: int = 0

    @property
    def pool_id(self) -> str:
        """The pool this slot belongs to."""
        return self.pool.pool_id

    @property
    def overdue(self) -> bool:
        """Whether the call bound here has outlived its attempt."""
        job = self.job
        return job is not None and job.slot is not self and (job.extra is None or job.extra.hedge is not self)


@attrs.define(eq=False)
class PoolRecord:
    """One pool; satisfies `policies.contracts.PoolView`."""

    pool_id: str
    group: GroupRecord
    slots: int
    state: PoolState
    started_at: float
    all_slots: tuple[Slot, ...] = ()
    #: Free slots, last freed on top: its worker's caches are the warmest.
    free: list[Slot] = attrs.Factory(list)
    #: How many of the slots have no worker now.
    down: int = 0
    #: Seconds that an urgent job may wait behind what lies ahead here, as the pool measures it.
    inversion_bound: float = 0.0
    #: Seconds by which its event loop has lately been late at worst, as the pool measures it.
    loop_lag: float = 0.0
    #: The number of the last choice that fell on this pool.
    last_chosen: int = 0
    #: Seconds that jobs here have lately run at most, fading, as of `_ewma_at`.
    run_time_ewma: float = 0.0
    _ewma_at: float = 0.0
    #: Whose job keeps the pool's event loop waiting, so that nothing in it goes on.
    standstill: Slot | None = None
    #: A slot was taken since somebody looked, and since when none has been in use.
    touched: bool = False
    idle_since: float = 0.0
    #: It drains because there was less to do, and may be taken back when there is more; until when it is kept for that.
    released: bool = False
    kept_until: float = -math.inf
    #: It is quarantined, and another pool has taken its place.
    replaced: bool = False
    #: It was cordoned when it was quarantined, and is again when it is released.
    cordoned: bool = False
    #: What runs the calls; the core passes it on and never looks at it.
    runner: Any = None

    @property
    def in_use(self) -> int:
        """How many slots are taken: not free, and not without a worker."""
        return self.slots - len(self.free) - self.down

    @property
    def load(self) -> float:
        """Slots in use ÷ slots."""
        return self.in_use / self.slots

    @property
    def stuck(self) -> int:
        """How many slots are abandoned: their calls ignore their limits."""
        return sum(slot.stuck for slot in self.all_slots)

    def observe(self, seconds: float, now: float, decay: float) -> None:
        """Take note of a run time; 0 lets what is known fade. Peaks count at once (Finagle's peak EWMA)."""
        kept = math.exp(-max(now - self._ewma_at, 0.0) / decay)
        self.run_time_ewma = max(seconds, self.run_time_ewma * kept + seconds * (1.0 - kept))
        self._ewma_at = now

    def running(self) -> Iterator[Job]:
        """Iterate over the jobs whose current attempt runs here."""
        for slot in self.all_slots:
            if slot.job is not None and slot.job.slot is slot and slot.job.state is RUNNING:
                yield slot.job


@attrs.define(eq=False)
class GroupRecord:
    """Pools opened from one recipe, and what they may take."""

    name: str
    index: int
    slots: int
    tags: frozenset[str] = frozenset()
    reserve_for: int | None = None
    #: Free slots that are never lent to jobs less urgent; None: the group lends none at all.
    keep: int | None = None
    dedicated: bool = False
    coroutines: bool = False
    #: Slots take calls only once their worker has been announced.
    announces: bool = False
    #: An attempt that is asked to stop is stopped, whatever it does.
    kills: bool = False
    #: How many calls a pool may hold beyond its slots.
    prefetch: int = 0
    min_pools: int = 1
    max_pools: int | None = None
    #: Opens and drains pools by itself; None when that is done by hand alone.
    scaling: ScalingPolicy | None = None
    #: Seconds beyond its limit after which a call counts as stuck, None for never.
    stuck_after: float | None = None
    #: A pool in which a smaller share of the slots is left is quarantined, and at most so many are replaced.
    stuck_share: float = 0.5
    replacements_max: int = 2
    #: Which of its pools; None: as the dispatcher is told.
    routing: RoutingPolicy | None = None
    #: Decides on failures here of jobs without a policy of their own; None: as the scheduler's does.
    retry: RetryPolicy | None = None
    #: What the first attempts of such jobs pay into.
    budgets: tuple[RetryBudget, ...] = ()
    #: Seconds in which run times fade that the routing policy looks at; None if it does not.
    decay: float | None = None
    pools: list[PoolRecord] = attrs.Factory(list)
    #: Its pools as its routing policy ranks them; None while they are few, or it ranks them by nothing.
    ranking: Any = None
    #: The lines these pools may take from.
    lines: list[Line] = attrs.Factory(list)
    #: What it is to those it lends to.
    loan: Loan | None = attrs.field(init=False)
    #: Free slots in accepting pools, so that a submit to a saturated scheduler need not look.
    free: int = 0
    #: Waits and run times by priority.
    meters: defaultdict[int, Meter] = attrs.Factory(lambda: defaultdict(Meter))
    #: Why the group can run nothing for ever; its jobs fail with it.
    broken: BaseException | None = None
    #: The same in words.
    why_broken: str = ""
    opened: int = 0
    #: The last decisions about its pools, oldest first.
    decisions: deque[Any] = attrs.Factory(lambda: deque(maxlen=DECISIONS_KEPT))

    def __attrs_post_init__(self) -> None:
        self.loan = None if self.keep is None else Loan(self, self.keep)

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Its place in the spill-over order: the narrowest reserve first, then as declared."""
        return False, math.inf if self.reserve_for is None else self.reserve_for, self.index

    def takes(self, priority: int, tags: frozenset[str], *, coroutine: bool) -> bool:
        """Whether a job like this may run here."""
        urgent = self.reserve_for is None or priority <= self.reserve_for
        return urgent and self.suits(tags, coroutine=coroutine)

    def suits(self, tags: frozenset[str], *, coroutine: bool) -> bool:
        """Whether a job like this could run here if it were urgent enough."""
        if coroutine != self.coroutines or not tags <= self.tags:
            return False
        return bool(tags) or not self.dedicated

    def look(self) -> None:
        """Have every line that these pools take from see again whether anybody can still run its jobs."""
        for line in (*self.lines, *(self.loan.lines if self.loan is not None else ())):
            line.look()

    def capacity_pools(self) -> int:
        """How many pools count against the group's limits: those that run or may run again.

        A quarantined one does until another has taken its place.
        """
        counted = 0
        for pool in self.pools:
            state = pool.state
            if state is _ACCEPTING or state is _STARTING or state is _CORDONED:
                counted += 1
            elif state is _QUARANTINED:
                counted += not pool.replaced
        return counted

    def quarantined_pools(self) -> int:
        """How many pools are out of routing because of calls that are stuck."""
        return sum(pool.state is _QUARANTINED for pool in self.pools)

    def replaced_pools(self) -> int:
        """How many of those have been replaced, outside of the limits."""
        return sum(pool.state is _QUARANTINED and pool.replaced for pool in self.pools)

    @property
    def grows(self) -> bool:
        """Whether pools are opened by themselves, and one more may be."""
        return self.scaling is not None and not self.full

    @property
    def full(self) -> bool:
        """Whether no more pools may be opened."""
        return self.max_pools is not None and self.capacity_pools() >= self.max_pools


@attrs.define(eq=False)
class Loan:
    """A reserved group as those see it that it lends to: a group with fewer free slots.

    Nobody borrows while a job waits that is urgent enough, nor ever the last `keep` free slots.
    """

    group: GroupRecord
    keep: int
    #: The lines of those who borrow.
    lines: list[Line] = attrs.Factory(list)

    @property
    def free(self) -> int:
        """How many slots may be borrowed now. Cost: O(lines of the group)."""
        group = self.group
        if group.free <= self.keep or any(line.best is not None for line in group.lines):
            return 0
        return group.free - self.keep

    @property
    def index(self) -> int:
        """What a line that borrows is told by from one that need not."""
        return -1 - self.group.index

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Its place in the spill-over order: behind every group that takes the job by right."""
        return True, 0, self.group.index

    @property
    def name(self) -> str:
        """The group's name."""
        return self.group.name

    @property
    def pools(self) -> list[PoolRecord]:
        """The group's pools."""
        return self.group.pools

    @property
    def meters(self) -> defaultdict[int, Meter]:
        """As of the group: what is borrowed is counted where it runs."""
        return self.group.meters

    @property
    def grows(self) -> bool:
        """Whether the lender opens pools by itself, and one more may be."""
        return self.group.grows

    @property
    def announces(self) -> bool:
        """As of the group."""
        return self.group.announces

    @property
    def full(self) -> bool:
        """As of the group: for the sake of those who borrow, it may grow."""
        return self.group.full

    @property
    def broken(self) -> BaseException | None:
        """Why the group can run nothing for ever."""
        return self.group.broken

    @property
    def why_broken(self) -> str:
        """The same in words."""
        return self.group.why_broken

    def takes(self, priority: int, tags: frozenset[str], *, coroutine: bool) -> bool:
        """Whether a job like this may run here, but only as a borrower."""
        group = self.group
        return group.suits(tags, coroutine=coroutine) and not group.takes(priority, tags, coroutine=coroutine)


class PoolTable:
    """Every group and its pools. Ids are never reused."""

    __slots__ = ("groups",)

    def __init__(self) -> None:
        self.groups: dict[str, GroupRecord] = {}

    def make(self, group: GroupRecord, now: float) -> PoolRecord:
        """Return the record of one more pool of `group`, STARTING, with all its slots free."""
        group.opened += 1
        pool = PoolRecord(
            pool_id=f"{group.name}-{group.opened}",
            group=group,
            slots=group.slots,
            state=PoolState.STARTING,
            started_at=now,
            idle_since=now,
        )
        names = (f"{pool.pool_id}/{index + 1}" for index in range(group.slots))
        pool.all_slots = tuple(Slot(pool=pool, index=i, worker=name) for i, name in enumerate(names))
        if group.announces:
            pool.down = pool.slots
            for slot in pool.all_slots:
                slot.down = True
        else:
            pool.free = list(reversed(pool.all_slots))
        return pool

    def add(self, pool: PoolRecord) -> None:
        """Put a pool on the books."""
        pool.group.pools.append(pool)

    def move(self, pool: PoolRecord, state: PoolState) -> None:
        """Change a pool's state, keeping the group's count of free slots true."""
        if state not in POOL_TRANSITIONS[pool.state]:
            raise AssertionError(f"pool {pool.pool_id}: {pool.state.name} → {state.name} is no legal move")
        if pool.state is PoolState.ACCEPTING:
            pool.group.free -= len(pool.free)
        pool.state = state
        if state is PoolState.ACCEPTING:
            pool.group.free += len(pool.free)
            if (ranking := pool.group.ranking) is not None:
                ranking.stale = True

    def find(self, pool_id: str) -> PoolRecord | None:
        """Return the pool with this id, or None."""
        return next((pool for pool in self if pool.pool_id == pool_id), None)

    def forget(self, pool: PoolRecord) -> None:
        """Drop a pool that has stopped; its id is never used again."""
        pool.group.pools.remove(pool)

    def places(
        self, priority: int, tags: frozenset[str], *, coroutine: bool
    ) -> tuple[GroupRecord | Loan, ...]:
        """Return every group that takes a job like this, and every loan it may be given."""
        places: list[GroupRecord | Loan] = list(self.groups.values())
        places += [group.loan for group in self.groups.values() if group.loan is not None]
        return tuple(place for place in places if place.takes(priority, tags, coroutine=coroutine))

    def __iter__(self) -> Iterator[PoolRecord]:
        for group in self.groups.values():
            yield from group.pools
