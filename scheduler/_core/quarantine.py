"""Quarantine and replace: what happens to a pool in which calls ignore their limits.

A thread cannot be killed. A call that goes on long after its attempt was given up is *stuck*, and its slot
is abandoned capacity: shown in the statistics and told as an event, until the call returns. When too few
slots of a pool are left, the pool is taken out of routing and a fresh one of the same size takes its place.

The states: ACCEPTING or CORDONED → QUARANTINED when fewer than `stuck_share` of the slots are not stuck, and
at the first of them where it blocks the event loop on which all the others run; QUARANTINED → DRAINING when the
last stuck call has returned, from where it goes as every pool goes; or → ACCEPTING if nothing has taken its
place (→ CORDONED if somebody had cordoned it). A quarantined pool does not count against the limits of its group once it is replaced, so its replacement
fits in. No more than `replacements_max` are replaced at a time, or calls that hang would eat the
machine; the others are when one of those is released. A pool that would not be replaced is quarantined only
when no slot of it is left: before that, it is better than none.

A pool that drains is not quarantined. With a call that is stuck it is not taken back, and nobody waits for it.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush

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
        heappush(self.overdue, (now + grace, self._watched, slot, slot.job, slot.attempt))
        self.dirty = True

    _watched = 0

    def next_stuck(self) -> float:
        """Return when the next call may count as stuck, infinity if none."""
        return self.overdue[0][0] if self.overdue else math.inf

    def find_stuck(self, now: float) -> None:
        """Mark the calls whose grace is over, and quarantine their pools. Cost: O(calls that are due)."""
        while self.overdue and self.overdue[0][0] <= now:
            _, _, slot, job, attempt = heappop(self.overdue)
            pool = slot.pool
            returned = not slot.overdue or slot.job is not job or slot.attempt != attempt
            if returned or slot.stuck or pool not in pool.group.pools:
                continue
            slot.stuck = True
            if self.observed:
                self.emit(events.WorkerStuck(time=now, pool=pool.pool_id, worker=slot.worker))
            self._judge(pool, now)

    def _judge(self, pool: PoolRecord, now: float) -> None:
        """Quarantine a pool that has too few slots left."""
        if pool.state is PoolState.DRAINING:
            pool.released = False
        elif pool.state in (PoolState.ACCEPTING, PoolState.CORDONED):
            stuck = pool.stuck
            left = 0 if _stands_still(pool) else pool.slots - stuck
            few = left < pool.group.stuck_share * pool.slots
            if stuck and few and (not left or self._replaces(pool.group)):
                self._quarantine(pool, now)

    def _replaces(self, group: GroupRecord) -> bool:
        return group.replaced_pools() < group.replacements_max

    def watch_again(self, now: float) -> None:
        """Make good what a torn turn may have left undone. Cost: O(slots)."""
        watched = {(slot.worker, job, attempt) for _, _, slot, job, attempt in self.overdue}
        heapify(self.overdue)
        for pool in list(self.pools):
            for slot in pool.all_slots:
                slot.stuck = slot.stuck and slot.overdue
                known = slot.stuck or pool.group.kills or (slot.worker, slot.job, slot.attempt) in watched
                if slot.overdue and not known:
                    self.watch_stuck(slot, now)
            self._judge(pool, now)
        for group in self.pools.groups.values():
            self._replace_more(group, now)

    def _quarantine(self, pool: PoolRecord, now: float) -> None:
        group = pool.group
        before, replaces = group.capacity_pools(), self._replaces(group)
        pool.cordoned = pool.state is PoolState.CORDONED
        self.pools.move(pool, PoolState.QUARANTINED)
        self._empty(pool)
        replacement = self.open_pool(group, now, instead_of=pool) if replaces else None
        stuck = pool.stuck
        if self.observed:
            self.emit(
                events.PoolQuarantined(
                    time=now,
                    pool=pool.pool_id,
                    stuck=stuck,
                    slots=pool.slots,
                    replacement=None if replacement is None else replacement.pool_id,
                )
            )
        reason = (
            f"{stuck} of {pool.slots} workers of {pool.pool_id} are stuck in calls that ignore "
            f"their limit by more than {group.stuck_after:g} s"
        )
        if _stands_still(pool):
            reason += "; its event loop stands still, and with it every slot"
        limit = None
        if replacement is None:
            limit = (
                f"{group.replaced_pools()} pools are replaced and replacements_max={group.replacements_max}"
            )
        self._write(
            replacement, "hold" if replacement is None else "replace", group, before, reason, now, limit
        )

    def _write(
        self,
        pool: PoolRecord | None,
        action: str,
        group: GroupRecord,
        before: int,
        reason: str,
        now: float,
        limited_by: str | None = None,
    ) -> None:
        group.decisions.append(
            Decision(
                time=now,
                group=group.name,
                action=action,
                pools=() if pool is None else (pool.pool_id,),
                before=before,
                wanted=before,
                reason=reason,
                limited_by=limited_by,
            )
        )

    def _release(self, pool: PoolRecord, now: float) -> None:
        """Let a pool go in which nothing is stuck any more; take it back if nothing has taken its place."""
        group = pool.group
        if pool.replaced:
            self.drain(pool, now)
            self._replace_more(group, now)
            return
        if pool.cordoned:  # by somebody who has not taken that back
            self.cordon(pool, now)
            return
        before = group.capacity_pools()
        self._write(pool, "take back", group, before, "nothing in it is stuck any more", now)
        self.pool_up(pool, now)

    def _replace_more(self, group: GroupRecord, now: float) -> None:
        """Replace quarantined pools that there was no replacement for, as far as there is now."""
        for pool in list(group.pools):
            if pool.state is PoolState.QUARANTINED and not pool.replaced:
                if not self._replaces(group):
                    return
                before = group.capacity_pools()
                fresh = self.open_pool(group, now, instead_of=pool)
                self._write(fresh, "replace", group, before, f"{pool.pool_id} may be replaced at last", now)

    def open_pool(
        self, group: GroupRecord, now: float, *, instead_of: PoolRecord | None = None
    ) -> PoolRecord:
        """Put one more pool on the books, STARTING, and leave it to be opened for real."""
        pool = self.make_pool(group, now)
        self.left.opens.append(pool)  # first, or an interrupt would leave a pool that nobody opens: `mend`
        self.dirty = True
        # No call up to the blank line, see `MainPath._start`.
        if instead_of is not None:
            instead_of.replaced = True
        group.pools.append(pool)

        self.added(pool, now)
        return pool

    def stop_if_empty(self, pool: PoolRecord, now: float) -> None:
        """Let a pool go that takes nothing any more and has run its last job; release one that is not stuck any more."""
        if pool.state is PoolState.QUARANTINED and not pool.stuck:
            self._release(pool, now)
            return
        super().stop_if_empty(pool, now)


def _stands_still(pool: PoolRecord) -> bool:
    """Whether what is stuck here blocks the event loop: that was late by the whole grace."""
    grace = pool.group.stuck_after
    return grace is not None and 0 < pool.loop_lag >= grace
