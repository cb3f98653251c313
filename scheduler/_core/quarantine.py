"""Quarantine and replace: what happens to a pool in which calls ignore their limits.

A thread cannot be killed. A call that goes on long after its attempt was given up is *stuck*, and its slot
is abandoned capacity: shown in the statistics and told as an event, until the call returns. When too few
slots of a pool are left, the pool is taken out of routing and a fresh one of the same size takes its place.

The states: ACCEPTING or CORDONED → QUARANTINED when fewer than `stuck_share` of the slots are not stuck;
QUARANTINED → DRAINING when the last stuck call has returned; from there it goes as every pool goes.
A quarantined pool does not count against the limits of its group, so its replacement fits in; beyond
`replacements_max` of them it does, and is not replaced, or calls that hang would eat the machine.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush

from . import events
from .capacity import Capacity
from .decisions import Decision
from .pool_table import GroupRecord, PoolRecord, Slot
from .states import PoolState


class Quarantine(Capacity):
    """Watches calls that outlived their limit; quarantines pools, and releases them."""

    def watch_stuck(self, slot: Slot, now: float) -> None:
        """Look after the grace whether the call in `slot`, which has just outlived its limit, is stuck."""
        grace = slot.pool.group.stuck_after
        if grace is None or slot.pool is self.caller:
            return
        self._watched += 1
        heappush(self.overdue, (now + grace, self._watched, slot, slot.attempt))
        self.dirty = True

    _watched = 0

    def next_stuck(self) -> float:
        """Return when the next call may count as stuck, infinity if none."""
        return self.overdue[0][0] if self.overdue else math.inf

    def find_stuck(self, now: float) -> None:
        """Mark the calls whose grace is over, and quarantine their pools. Cost: O(calls that are due)."""
        while self.overdue and self.overdue[0][0] <= now:
            _, _, slot, attempt = heappop(self.overdue)
            pool = slot.pool
            if not slot.overdue or slot.attempt != attempt or pool not in pool.group.pools:
                continue
            slot.stuck = True
            if self.observed:
                self.emit(events.WorkerStuck(time=now, pool=pool.pool_id, worker=slot.worker))
            left = pool.slots - pool.stuck
            takes = pool.state in (PoolState.ACCEPTING, PoolState.CORDONED)
            if takes and left < pool.group.stuck_share * pool.slots:
                self._quarantine(pool, now)

    def _quarantine(self, pool: PoolRecord, now: float) -> None:
        group = pool.group
        before = group.capacity_pools()
        self.pools.move(pool, PoolState.QUARANTINED)
        self._empty(pool)
        replacement = None
        if group.quarantined_pools() <= group.replacements_max and not self.closing:
            replacement = self.open_pool(group, now)
        if self.observed:
            self.emit(
                events.PoolQuarantined(
                    time=now,
                    pool=pool.pool_id,
                    stuck=pool.stuck,
                    slots=pool.slots,
                    replacement=None if replacement is None else replacement.pool_id,
                )
            )
        group.decisions.append(
            Decision(
                time=now,
                group=group.name,
                action="hold" if replacement is None else "replace",
                pools=() if replacement is None else (replacement.pool_id,),
                before=before,
                wanted=before,
                reason=f"{pool.stuck} of {pool.slots} workers of {pool.pool_id} are stuck in calls that ignore "
                f"their limit by more than {group.stuck_after:g} s",
                limited_by=None
                if replacement is not None
                else f"{group.quarantined_pools()} pools are quarantined and replacements_max={group.replacements_max}",
            )
        )

    def open_pool(self, group: GroupRecord, now: float) -> PoolRecord:
        """Put one more pool on the books, STARTING, and leave it to be opened for real."""
        pool = self.make_pool(group, now)
        self.add_pool(pool, now)
        self.left.opens.append(pool)
        self.dirty = True
        return pool

    def stop_if_empty(self, pool: PoolRecord, now: float) -> None:
        """Let a pool go that takes nothing any more and has run its last job; release one that is not stuck any more."""
        if pool.state is PoolState.QUARANTINED and not pool.stuck:
            self.drain(pool, now)
            return
        super().stop_if_empty(pool, now)
