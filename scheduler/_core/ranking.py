"""The pools of a large group in the order in which its routing policy would choose them.

Only for a policy that declares ``ranks_by`` (see `policies.contracts.RoutingPolicy`): to find its pool then costs
O(log pools) instead of a look at each.

A heap of pools, in which each stands with a number that may be too low but never too high: when one comes to
the top whose number has grown meanwhile, it sinks to its place. So a slot that is taken tells nobody. One that
is freed lowers a number: the free list of a pool says so itself. In groups of few pools, where a look at each
is faster, free lists are plain lists, and nobody pays for any of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush, heapreplace
from operator import attrgetter
from typing import Any, SupportsIndex

from .pool_table import GroupRecord, PoolRecord, Slot
from .states import PoolState

#: Pools from which on a group is ranked: there both ways take the same time.
RANKED_FROM = 12

#: What a policy may rank by; one that names anything else is asked as ever.
RANKS_BY = ("", "in_use", "last_chosen")

_ACCEPTING = PoolState.ACCEPTING
_Entry = tuple[Any, int, PoolRecord]


class FreeList(list[Slot]):
    """The free slots of a pool that is ranked. Says so when there is one more."""

    __slots__ = ("number", "place", "pool", "ranking")

    def __init__(self, slots: Iterable[Slot], ranking: Ranking, pool: PoolRecord) -> None:
        super().__init__(slots)
        self.ranking, self.pool = ranking, pool
        #: Its place among the pools of its group.
        self.place = 0
        #: With what it stands in the heap, None if it does not.
        self.number: Any = None

    def append(self, slot: Slot, /) -> None:
        """Add a slot that has become free."""
        list.append(self, slot)
        self.ranking.lowered(self)

    def __setitem__(self, key: SupportsIndex | slice, value: Any, /) -> None:
        """Replace slots: nothing is known any more."""
        list.__setitem__(self, key, value)
        self.ranking.stale = True


class Ranking:
    """The ranked pools of one group. Cost: O(log pools) a choice; O(pools) after one has come."""

    __slots__ = ("_heap", "_number_of", "group", "stale")

    def __init__(self, group: GroupRecord, ranks_by: str) -> None:
        self.group = group
        self._number_of: Callable[[PoolRecord], Any] = attrgetter(ranks_by) if ranks_by else _same
        self._heap: list[_Entry] = []
        #: A pool has come, or slots have changed in another way than by being taken and freed.
        self.stale = True

    def first(self) -> PoolRecord | None:
        """Return the accepting pool with a free slot that is to be chosen, or None."""
        if self.stale:
            self._rank_anew()
        heap, number_of = self._heap, self._number_of
        while heap:
            number, place, pool = heap[0]
            free: Any = pool.free
            if number != free.number:  # it stands elsewhere too, and once is enough
                heappop(heap)
            elif not free or pool.state is not _ACCEPTING:
                free.number = None
                heappop(heap)
            elif (grown := number_of(pool)) != number:
                free.number = grown
                heapreplace(heap, (grown, place, pool))
            else:
                return pool
        return None

    def lowered(self, free: FreeList) -> None:
        """Take note that a pool has one more free slot."""
        number = self._number_of(free.pool)
        if free.number is None or number < free.number:
            free.number = number
            heappush(self._heap, (number, free.place, free.pool))
            if len(self._heap) > 4 * len(self.group.pools):
                self.stale = True

    def _rank_anew(self) -> None:
        self.stale = False
        self._heap = []
        for place, pool in enumerate(self.group.pools):
            free = pool.free
            if not isinstance(free, FreeList) or free.ranking is not self:
                free = pool.free = FreeList(free, self, pool)
            free.place, free.number = place, None
            if free and pool.state is _ACCEPTING:
                free.number = self._number_of(pool)
                self._heap.append((free.number, place, pool))
        heapify(self._heap)


def _same(_pool: PoolRecord) -> int:
    return 0
