"""Known bugs, put back: what the storm must catch. Each is a patch of the core, and where it comes from.

Those with a commit stood in the product once and were mended; the others are what somebody might write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from scheduler._core import main_path
from scheduler._core.ahead import Ahead
from scheduler._core.capacity import Capacity
from scheduler._core.core import Core
from scheduler._core.duplicates import Duplicates
from scheduler._core.hedging import Hedging
from scheduler._core.job import Job
from scheduler._core.lines import KeyLine, LevelLine
from scheduler._core.main_path import MainPath
from scheduler._core.pool_table import Loan, PoolTable
from scheduler._core.states import RUNNING, PoolState
from scheduler._core.timers import Timers

Patch = tuple[Any, str, Any]

#: By name: what is wrong, and the patches that make it so.
BUGS: dict[str, tuple[str, Callable[[], list[Patch]]]] = {}


def bug(what: str) -> Callable[[Callable[[], list[Patch]]], Callable[[], list[Patch]]]:
    """Remember a bug under the name of its function."""

    def note(patches: Callable[[], list[Patch]]) -> Callable[[], list[Patch]]:
        BUGS[patches.__name__] = what, patches
        return patches

    return note


@contextmanager
def put_back(name: str) -> Iterator[None]:
    """Let the core have a bug for a while."""
    patches = BUGS[name][1]()
    before = [getattr(owner, attribute) for owner, attribute, _ in patches]
    for owner, attribute, wrong in patches:
        setattr(owner, attribute, wrong)
    try:
        yield
    finally:
        for (owner, attribute, _), right in zip(patches, before, strict=True):
            setattr(owner, attribute, right)


@bug("a job that backs off takes its slot with it")
def a_retry_keeps_its_slot() -> list[Patch]:
    right = MainPath.refill

    def refill(self: Any, slot: Any, now: float) -> Job | None:
        if any(job.extra and job.extra.history and job.extra.history[-1][2] == slot.worker for job in self.alive()):
            return None
        return right(self, slot, now)

    return [(MainPath, "refill", refill)]


@bug("a job that is cancelled stays in its line, and starts later")
def a_cancelled_job_stays_in_line() -> list[Patch]:
    return [(kind, "discard", lambda self, job: None) for kind in (LevelLine, KeyLine)]


@bug("a pool that drains, or is cordoned, does not ask back what lies ahead in it")
def a_drain_forgets_what_lies_ahead() -> list[Patch]:
    return [(Capacity, "_empty", lambda self, pool: None)]


@bug("1888eea: a pool that broke while it drained is taken back when there is more to do")
def a_broken_pool_is_taken_back() -> list[Patch]:
    right = Capacity.pool_failed

    def pool_failed(self: Any, pool: Any, *more: Any) -> bool:
        released = pool.released
        answer = right(self, pool, *more)
        pool.released = released and pool.state is PoolState.DRAINING
        return answer

    return [(Capacity, "pool_failed", pool_failed)]


@bug("who takes one of two tokens leaves a parked job beside a free slot (CallerRuns)")
def a_token_is_left_lying() -> list[Patch]:
    right = main_path.MainPath._no_room

    def no_room(self: Any, line: Any, now: float) -> bool:
        return bool(line.best is not None or line.blocker(now) is not None) if self.now else right(self, line, now)

    return [(MainPath, "_no_room", no_room)]


@bug("a neighbour that was taken back with a cancelled job waits beside a free slot")
def nobody_dispatches_what_was_fetched() -> list[Patch]:
    from play import World

    def fetched(self: Any, jobs: Any, act: Any) -> Any:
        for job in jobs:
            if job.lies_ahead:
                self.take_back(job.slot)
        return act()

    return [(World, "_fetched", fetched)]


@bug("explain() of a job that may borrow a slot raises AttributeError")
def a_loan_has_no_meters() -> list[Patch]:
    def meters(self: Any) -> Any:
        raise AttributeError("'Loan' object has no attribute 'meters'")

    return [(Loan, "meters", property(meters))]


@bug("a job starts when its delay ends after its deadline")
def a_deadline_is_looked_at_late() -> list[Patch]:
    right = Duplicates.come_due

    def come_due(self: Any, job: Any, kind: Any, now: float) -> None:
        deadline, job.submitted_at = job.submitted_at, now
        try:
            right(self, job, kind, now)
        finally:
            job.submitted_at = deadline

    return [(Duplicates, "come_due", come_due)]


@bug("a job that settles keeps its timers")
def timers_outlive_their_job() -> list[Patch]:
    right = Timers.disarm

    def disarm(self: Any, job: Any, kind: Any = None) -> None:
        if kind is not None:
            right(self, job, kind)

    return [(Timers, "disarm", disarm)]


@bug("the loser of a hedge is not asked to stop, and its place in the job is kept")
def a_loser_is_forgotten() -> list[Patch]:
    return [(Hedging, "drop_hedge", lambda self, job, why: None)]


@bug("an attempt that was taken back is still charged")
def a_recall_costs_an_attempt() -> list[Patch]:
    right = Ahead.take_back

    def take_back(self: Any, slot: Any, jobs: Any, now: float) -> None:
        running = slot.job
        right(self, slot, jobs, now)
        if running is not None and running.state is not RUNNING and running.slot is None:
            running.attempt += 1

    return [(Ahead, "take_back", take_back)]


@bug("a pool that leaves ACCEPTING keeps its free slots in the group's count")
def free_slots_are_counted_twice() -> list[Patch]:
    def move(self: Any, pool: Any, state: Any) -> None:
        pool.state = state
        if state is PoolState.ACCEPTING:
            pool.group.free += len(pool.free)

    return [(PoolTable, "move", move)]


@bug("a closing cancels what waits, and lets failures be tried again")
def a_close_goes_on_retrying() -> list[Patch]:
    return [(Core, "retrying", property(lambda self: True, lambda self, value: None))]
