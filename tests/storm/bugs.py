"""Known bugs, put back: what the storm must catch. Each is a patch of the core, and where it comes from.

Those with a commit stood in the product once and were mended; the others are what somebody might write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from scheduler._core.accounts import Share
from scheduler._core.ahead import Ahead
from scheduler._core.capacity import Capacity
from scheduler._core.duplicates import Duplicates
from scheduler._core.front_queue import FrontQueue
from scheduler._core.hedging import Hedging
from scheduler._core.job import Job
from scheduler._core.lines import KeyLine
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
    before = [owner.__dict__[attribute] for owner, attribute, _ in patches]
    for owner, attribute, wrong in patches:
        setattr(owner, attribute, wrong)
    try:
        yield
    finally:
        for (owner, attribute, _), right in zip(patches, before, strict=True):
            setattr(owner, attribute, right)


def _nothing(*_: Any) -> None:
    """Do nothing, where something was to be done."""


@bug("a job that backs off takes its slot with it")
def a_retry_keeps_its_slot() -> list[Patch]:
    right = MainPath.refill

    def refill(self: Any, slot: Any, now: float) -> Job | None:
        ended = (job.extra.attempts() for job in self.alive() if job.extra is not None)
        if any(attempts and attempts[-1].worker == slot.worker for attempts in ended):
            return None
        return right(self, slot, now)

    return [(MainPath, "refill", refill)]


@bug("a job that is cancelled stays in its line, and starts later")
def a_cancelled_job_stays_in_line() -> list[Patch]:
    return [(KeyLine, "discard", _nothing)]


@bug("a pool that drains, or is cordoned, does not ask back what lies ahead in it")
def a_drain_forgets_what_lies_ahead() -> list[Patch]:
    return [(Capacity, "_empty", _nothing)]


@bug("explain() of a job that may borrow a slot raises AttributeError")
def a_loan_has_no_meters() -> list[Patch]:
    def meters(self: Any) -> Any:
        raise AttributeError("'Loan' object has no attribute 'meters'")

    return [(Loan, "meters", property(meters))]


@bug("a job starts when its delay or backoff ends, though its deadline has passed as well")
def a_deadline_is_looked_at_late() -> list[Patch]:
    right = Duplicates.come_due

    def come_due(self: Any, job: Any, kind: Any, now: float) -> None:
        submitted_at = job.submitted_at
        job.submitted_at = now  # so that none has passed
        right(self, job, kind, now)
        job.submitted_at = submitted_at

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
    return [(Hedging, "drop_hedge", _nothing)]


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


@bug("a submit that is torn leaves its job in the front queue")
def a_torn_submit_stays() -> list[Patch]:
    right = FrontQueue.mend

    def mend(self: Any, torn: Any) -> None:
        right(self, None)

    return [(FrontQueue, "mend", mend)]


@bug("a tenant whose account changes keeps the turn")
def a_turn_outlives_its_reason() -> list[Patch]:
    return [(Share, "end_turn", _nothing)]
