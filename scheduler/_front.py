"""What one pool knows of the scheduler: where it delivers, and what it says of its workers.

``deliver`` is the driver's hot path and stands there. Here is what pools use whose workers come and go
and whose messages cost: several outcomes for several calls in one turn, and calls that are taken back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from pools.contract import Call, Deliver, Outcome

from ._core.pool_table import PoolRecord, Slot
from ._core.retrier import REJECTED
from ._current import local
from ._desk import Desk
from ._judging import judged

Blame = Callable[[BaseException, Slot], BaseException]


class PoolFront:
    """Satisfies `pools.contract.Front` for one pool. Threads: every method, from any thread."""

    def __init__(
        self,
        desk: Desk,
        pool: PoolRecord,
        deliver: Deliver,
        broken: Callable[[BaseException], None],
        blame: Blame,
    ) -> None:
        self._desk = desk
        self._slots = pool.all_slots
        self._pool = pool
        self._blame = blame
        self.deliver = deliver
        self._say_broken = broken
        #: Set once the pool is on the books, or will not be: its workers may be faster than that.
        self.opened = threading.Event()

    def broken(self, error: BaseException) -> None:
        """Hear that the pool can run nothing any more, and why."""
        self.opened.wait()
        self._say_broken(error)

    def ready(self, slot: int, worker: str) -> Sequence[Call]:
        """Hear that `slot` has a worker, so named; return its first call, if one waits."""
        self.opened.wait()
        calls: Any = self._desk.turn(lambda now: self._desk.core.ready(self._slots[slot], worker, now))
        return calls  # type: ignore[no-any-return]

    def exchange(self, slot: int, outcomes: Sequence[Outcome], want: int) -> Sequence[Call]:
        """Take the outcomes of the slot's first calls, in order; return at most `want` more.

        Cost: 2 µs and 1.5 µs a call. Where a job has done-callbacks, they run before the slot is given more.
        """
        bound, core = self._slots[slot], self._desk.core
        if self._desk.judging:
            outcomes = self._judged(bound, outcomes)
        called_back: list[Any] = []
        outer, local.tended = local.tended, bound

        def take(now: float) -> tuple[list[Any], Any]:
            self._pool.inversion_bound = getattr(self._pool.runner, "inversion_bound", 0.0)
            succeeded: list[Any] = []
            for value, error, seconds in outcomes:
                job: Any = bound.job
                if error is not None:
                    error = self._blame(error, bound)  # noqa: PLW2901
                if core.outcome(bound, value, error, seconds, now) is not None:
                    succeeded.append(job)
                if job is not None and job.callbacks is not None:
                    called_back.append(job)
            if called_back:
                bound.held = bound.job is None
                return succeeded, None
            bound.recalls_known = bound.recalls
            return succeeded, core.fill(bound, want, now)

        try:
            succeeded, calls = self._desk.turn(take)
            for job in succeeded:
                job.forget_call()
                job.notify()
        finally:
            local.tended = outer
        if calls is None:

            def fill(now: float) -> Any:
                bound.held = False
                bound.recalls_known = bound.recalls
                return core.fill(bound, want, now)

            calls = self._desk.turn(fill)
        return calls  # type: ignore[no-any-return]

    def missed(self, slot: int) -> bool:
        """Whether what the last `exchange` gave was wanted back before the pool held it. Without the lock."""
        bound = self._slots[slot]
        return bound.recalls != bound.recalls_known

    def _judged(self, bound: Slot, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """Return outcomes with an error for each value that is rejected. Not under the lock.

        What has an outcome was begun, so nobody takes it back meanwhile: the first jobs here stay the first.
        """
        with self._desk.lock:
            jobs = [bound.job, *bound.ahead][: len(outcomes)]
        after = list(outcomes)
        for number, job in enumerate(jobs):
            value, error, seconds = after[number]
            if job is not None and error is None and (error := judged(job, bound, value)) is not None:
                after[number] = REJECTED, error, seconds
        return after

    def lost(self, slot: int, error: BaseException | None, unstarted: Sequence[Call]) -> None:
        """Hear that the slot has no worker any more until it is ``ready`` again."""
        bound = self._slots[slot]

        def lose(now: float) -> None:
            blamed = None if error is None else self._blame(error, bound)
            self._desk.core.lost(bound, blamed, unstarted, now)  # type: ignore[arg-type]

        outer, local.tended = local.tended, bound
        try:
            self._desk.turn(lose)
        finally:
            local.tended = outer

    def recall(self, slot: int) -> None:
        """Take back what lies ahead in `slot`, by way of ``Pool.recall``."""
        self._desk.recall(self._slots[slot])

    def lagged(self, seconds: float) -> None:
        """Hear how late the pool's event loop has lately been at worst."""
        self._desk.turn(lambda now: self._desk.core.lagged(self._pool, seconds, now))
