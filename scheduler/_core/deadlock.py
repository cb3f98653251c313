"""Whether a job that waits for a job would wait for ever.

A wait without a limit is for ever if nothing that it needs can move by itself. A job that runs needs its own
slot to go on; one that does not, any slot of its line; one at the door, any start that takes room in the
front queue. A group that lends does so only while more than what it keeps is free, so one slot more than
that must be able to move. A slot that stands still needs what the job needs that it waits for. If nobody reached from there
can go on by itself, nobody ever will: one slot that is free, or computes, or waits with a limit, and the
answer is no. (A waits-for graph in which nobody escapes: Holt 1972, for resources of several units.)

What somebody outside may still do (cancel, add a pool) is not foreseen: nobody may count on it. A group that
scales by itself and has room will grow for what waits, and is no reason to give up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .front_queue import FrontQueue
from .job import Job, Line
from .pool_table import Loan, Slot
from .timers import TimerKind, Timers

_BEFORE_START = (TimerKind.DELAY, TimerKind.BACKOFF)


def is_stuck(job: Job, queue: FrontQueue, timers: Timers) -> bool:
    """Whether waiting for `job` would be for ever. Cost: O(slots reached); asked only by jobs that wait."""
    awaited = [job]
    seen: set[object] = {job}
    for thing in awaited:  # which grows meanwhile
        places = _places(thing, queue, timers)
        if places is None:
            return False
        for place in places:
            if place in seen:
                continue
            seen.add(place)
            for slots, keep in _slots(place):
                able = 0
                for slot in slots:
                    following = (slot.pool.standstill or slot).waits_for
                    if following is None:
                        able += 1
                        if able > keep:
                            return False
                    elif following not in seen:
                        seen.add(following)
                        awaited.append(following)
    return True


def _places(job: Job, queue: FrontQueue, timers: Timers) -> tuple[Slot | Line, ...] | None:
    """Return where a job can go on; None if it has, or will by itself."""
    if job.state.settled:
        return None
    if isinstance(job.slot, Slot):
        return (job.slot,)
    lines: list[Line] = [job.line]
    if not job.id:  # at the door
        if any(timer.kind not in _BEFORE_START for timer in timers):  # somebody's limit will make room
            return None
        lines += [line for line in queue.lines.values() if line.best is not None]
        lines += [timer.job.line for timer in timers]
    groups = [group for line in lines for group in line.groups]
    if not any(group.pools for group in groups) or any(group.grows for group in groups):
        return None  # a pool may come
    return tuple(lines)


def _slots(place: Slot | Line) -> Iterator[tuple[Iterable[Slot], int]]:
    """Iterate over the slots of a place, with how many of them must stay free."""
    if isinstance(place, Slot):
        yield (place,), 0
        return
    for group in place.groups:
        keep = group.keep if isinstance(group, Loan) else 0
        yield (slot for pool in group.pools for slot in pool.all_slots), keep
