"""Whether a job that waits for a job would wait for ever.

A wait without a limit is for ever if nothing it depends on can move by itself: every job reached from it
either runs in a slot that waits likewise, or cannot start because every slot that may take it does. One
slot that is free, or computes, or waits with a limit, and the answer is no. (A waits-for graph in which
nobody escapes: Holt 1972, for reusable resources with several units.)

What somebody outside may still do (cancel, add a pool) is not foreseen: nobody may count on it.
"""

from __future__ import annotations

from collections.abc import Iterable

from .job import Job
from .pool_table import PoolTable, Slot
from .states import RUNNING


class Door:
    """What a submitter waits for that stands at the door without a limit."""


DOOR = Door()


def is_stuck(target: Job | Door, pools: PoolTable) -> bool:
    """Whether waiting for `target` would be for ever. Cost: O(slots reached); asked only by jobs that wait."""
    seen: set[int] = set()
    ahead: list[Job | Door] = [target]
    while ahead:
        thing = ahead.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        slots = _slots(thing, pools)
        if slots is None:
            return False
        for slot in slots:
            waits_for = slot.waits_for
            if waits_for is None or not (slot.job is not None or slot.held):
                return False
            ahead.append(waits_for)
    return True


def _slots(thing: Job | Door, pools: PoolTable) -> Iterable[Slot] | None:
    """Return the slots that must all be stuck for `thing` to be; None if it can move by itself."""
    if isinstance(thing, Door):
        return [slot for pool in pools for slot in pool.all_slots] or None
    if thing.state.settled:
        return None
    if thing.state is RUNNING:
        return (thing.slot,) if isinstance(thing.slot, Slot) else None
    return [slot for group in thing.line.groups for pool in group.pools for slot in pool.all_slots] or None
