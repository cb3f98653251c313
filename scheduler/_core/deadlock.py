"""Whether a job that waits for a job would wait for ever.

A wait without a limit is for ever if nothing that it needs can move by itself. A job that runs needs its own
slot to go on; one that does not, any slot of its line and, of each limit without room, any slot that holds
it; one at the door, any start that takes room in the front queue. A group that lends does so only while more than what it keeps is free, so one slot more than
that must be able to move. A slot that stands still needs what the job needs that it waits for. If nobody reached from there
can go on by itself, nobody ever will: one slot that is free, or computes, or waits with a limit, and the
answer is no. (A waits-for graph in which nobody escapes: Holt 1972, for resources of several units.)

What somebody outside may still do (cancel, add a pool) is not foreseen: nobody may count on it. A group that
scales by itself and has room will grow for what waits, and is no reason to give up.
"""

from __future__ import annotations

from collections.abc import Iterator

from .bundle import Bundle
from .front_queue import FrontQueue
from .job import Job, Line
from .limits import LimitRecord
from .pool_table import Loan, Slot
from .timers import TimerKind, Timers

#: Timers that make no room when they are due.
_NO_ROOM = (TimerKind.DELAY, TimerKind.BACKOFF, TimerKind.HEDGE)


#: Slots of which more than so many must be able to move.
Lot = tuple[tuple[Slot, ...], int]


def is_stuck(job: Job, queue: FrontQueue, timers: Timers) -> bool:
    """Whether waiting for `job` would be for ever. Cost: O(slots reached); asked only by jobs that wait."""
    awaited = [job]
    needs: dict[Job, list[list[Lot]]] = {}
    moving: set[Job] = set()
    for thing in awaited:  # which grows meanwhile
        ways = _ways(thing, queue, timers)
        if ways is None or all(any(_moves(lot, moving) for lot in lots) for lots in ways):
            moving.add(thing)
            if thing is job:
                return False
            continue
        needs[thing] = ways
        for slot in dict.fromkeys(slot for lots in ways for slots, _ in lots for slot in slots):
            following = _follows(slot)
            if following is not None and following not in needs and following not in moving:
                awaited.append(following)
    before = -1
    while before < len(moving):  # until nobody else can go on because somebody can
        before = len(moving)
        for thing, ways in needs.items():
            if all(any(_moves(lot, moving) for lot in lots) for lots in ways):
                moving.add(thing)
    return job not in moving


def _follows(slot: Slot) -> Job | None:
    """Return the job that a slot waits for; None if it goes on by itself."""
    return (slot.pool.standstill or slot).waits_for


def _moves(lot: Lot, moving: set[Job]) -> bool:
    slots, keep = lot
    able = 0
    for slot in slots:
        following = _follows(slot)
        if following is None or following in moving:
            able += 1
            if able > keep:
                return True
    return False


def _ways(job: Job, queue: FrontQueue, timers: Timers) -> list[list[Lot]] | None:
    """Return what a job needs to go on, one lot of each list; None if it has, or will by itself."""
    places = _places(job, queue, timers)
    if places is None:
        return None
    ways: list[list[Lot]] = [[lot for place in dict.fromkeys(places) for lot in _lots(place)]]
    if job.id and not isinstance(job.slot, Slot):
        full = [record for record in job.line.limits if record.held >= record.concurrency]
        ways += [[(held, 0)] for record in full if (held := _holders(record, queue)) is not None]
    return ways


def _holders(record: LimitRecord, queue: FrontQueue) -> tuple[Slot, ...] | None:
    """Return the slots whose calls hold a limit; None if some lie ahead, or run elsewhere, and may give it back."""
    slots = dict.fromkeys(slot for bundle in queue.lots.bundles for lot, _ in _lots(bundle) for slot in lot)
    holders = tuple(slot for slot in slots if slot.job is not None and record in slot.job.line.limits)
    return holders if len(holders) == record.held else None


def _places(job: Job, queue: FrontQueue, timers: Timers) -> tuple[Slot | Line, ...] | None:
    """Return where a job can go on; None if it has, or will by itself."""
    if job.state.settled:
        return None
    if isinstance(job.slot, Slot):
        return (job.slot,)
    if job.extra is not None and job.extra.behind is not None:  # one of its key must settle first
        return _places(job.extra.behind, queue, timers)
    lines: list[Line] = [job.line]
    if not job.id:  # at the door
        if any(timer.kind not in _NO_ROOM for timer in timers):  # somebody's limit will make room
            return None
        lines += [line for line in queue.lines.values() if len(line)]
        lines += [timer.job.line for timer in timers]
    groups = [group for line in lines for group in line.groups]
    if not any(group.pools for group in groups) or any(group.grows for group in groups):
        return None  # a pool may come
    return tuple(lines)


def _lots(place: Slot | Line | Bundle) -> Iterator[Lot]:
    """Iterate over the slots of a place, with how many of them must stay free."""
    if isinstance(place, Slot):
        yield (place,), 0
        return
    for group in place.groups:
        keep = group.keep if isinstance(group, Loan) else 0
        yield tuple(slot for pool in group.pools for slot in pool.all_slots), keep
