"""Which pool? Matches waiting jobs with free slots.

Both directions are late binding: a job is matched only when a slot is free. First comes the group, by the
order in which they stand in the job's line; then a pool of that group, by the group's routing policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from policies.contracts import RoutingPolicy, Uniform

from .job import Job, Line
from .pool_table import GroupRecord, Loan, PoolRecord, Slot
from .ranking import RANKED_FROM, RANKS_BY, Ranking
from .slowness import Slowness
from .states import PoolState

_ACCEPTING = PoolState.ACCEPTING


class Dispatcher:
    """Finds a slot for a job, and a job for a slot."""

    __slots__ = ("_choices", "_moment", "_policy_failed", "_routing", "_slowness", "_uniform")

    def __init__(
        self,
        routing: RoutingPolicy,
        uniform: Uniform,
        policy_failed: Callable[[str, object, BaseException, str], None],
        moment: Callable[[], float],
        slowness: Slowness,
    ) -> None:
        self._routing = routing
        self._uniform = uniform
        self._policy_failed = policy_failed
        self._moment = moment
        self._slowness = slowness
        self._choices = 0

    def has_slot(self, line: Line) -> bool:
        """Whether a job of this line could start now. Cost: O(groups of the line)."""
        return any(group.free for group in line.groups)

    def take_slot(self, line: Line, job: Job) -> Slot | None:
        """Take a free slot for `job` of `line`, or return None.

        Of the first group that has one, in the pool that routing chooses. Cost: O(groups of the line)
        when none is free; O(pools of the group) when one is, or O(log pools) where they are ranked.
        """
        for group in line.groups:
            if group.free:
                pools = group.pools
                pool = pools[0] if len(pools) == 1 else self._route(job, pools)
                pool.group.free -= 1  # not `group.free`: that may be a loan
                pool.touched = True
                slot: Slot = pool.free.pop()
                return slot
        return None

    def _route(self, job: Job, pools: list[PoolRecord]) -> PoolRecord:
        self._choices += 1
        if len(pools) >= RANKED_FROM:
            first = self._first_ranked(pools[0].group)
            if first is not None:
                first.last_chosen = self._choices
                return first
        pools = [pool for pool in pools if pool.free and pool.state is _ACCEPTING]
        pool = pools[0] if len(pools) == 1 else self._choose(job, pools)
        pool.last_chosen = self._choices
        return pool

    def _first_ranked(self, group: GroupRecord) -> PoolRecord | None:
        """Return the pool that the group's policy ranks first, or None if it ranks by nothing that is known."""
        ranking: Ranking | None = group.ranking
        if ranking is None:
            ranks_by = vars(type(self.routing(group))).get(
                "ranks_by"
            )  # its own: not what a base class ranks by
            if ranks_by not in RANKS_BY:
                return None
            ranking = group.ranking = Ranking(group, ranks_by)
        return ranking.first()

    def _choose(self, job: Job, pools: list[PoolRecord]) -> PoolRecord:
        group = pools[0].group
        routing = self.routing(group)
        if group.decay is not None:
            for pool in pools:
                pool.observe(0.0, self._moment(), group.decay)
        watch = self._slowness.stopwatch_for(routing)
        began = 0.0 if watch is None else watch()
        try:
            pool = routing.choose(job, tuple(pools), self._uniform)
            if not any(pool is candidate for candidate in pools):
                raise ValueError(f"choose() must return one of the pools it was given, not {pool!r}")
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._policy_failed("routing", routing, error, "the first pool that fits")
            pool = pools[0]
        if watch is not None:
            self._slowness.took("routing", routing, began, watch())
        return pool

    def routing(self, group: GroupRecord) -> RoutingPolicy:
        """Return the policy that chooses among the pools of a group."""
        return self._routing if group.routing is None else group.routing

    def take_job(self, group: GroupRecord) -> Job | None:
        """Take the job that is next for a slot of `group`, or return None. Cost: O(lines of the group)."""
        line = self._first(group.lines)
        return None if line is None else line.pop()

    def lend(self, loan: Loan) -> Job | None:
        """Take the job that is next to borrow a slot which nobody else wants and which is not counted as free.

        Cost: O(lines of the loan).
        """
        if loan.group.free < loan.keep:  # with this one it would have no more than it keeps
            return None
        line = self._first(loan.lines)
        return None if line is None else line.pop()

    def first_startable(self, lines: Iterable[Line]) -> Line | None:
        """Return the line whose head is next among those that have a free slot, or None."""
        return self._first(line for line in lines if self.has_slot(line))

    def _first(self, lines: Iterable[Line]) -> Line | None:
        first: Line | None = None
        place: tuple[float, ...] | None = None
        for line in lines:
            head = line.peek()
            if head is not None and (place is None or line.place(head) < place):
                first, place = line, line.place(head)
        return first
