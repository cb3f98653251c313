"""The turn: the only room with a lock.

Every stimulus is one *turn*: take the lock, read the clock once, call the core, take what the turn left
behind, let go of the lock. Only then act: run calls, wake waiters, call callbacks, tell observers.
Nothing of the user's but policies is ever called under the lock.

An exception of the interpreter's (Ctrl-C, no stack, no memory) may tear a turn anywhere. What is then owed
is noted by steps that need no stack, and paid before the exception goes on: counts are made anew from
where jobs are, and what was left behind is done. A debt that cannot be paid, because there is no stack
for it or a second interrupt came, stays on the list, and whoever comes next pays it first.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from threading import RLock
from typing import Any, TypeVar

from pools.contract import PoolRecipe, PoolStopped
from pools.logs import log_of

from ._alarm import Alarm
from ._clock import Clock, VirtualClock
from ._core.books import Left
from ._core.core import Core
from ._core.invariants import check
from ._core.job import Job
from ._core.pool_table import PoolRecord, Slot
from ._core.states import CANCELLED, SUCCEEDED
from ._current import local
from ._errors import SchedulerError, tears
from ._handle import JobHandle
from ._judging import judges
from ._letters import Letters
from ._lock import as_condition
from ._observers import Observers
from ._relay import Relay
from ._watching import Unretrieved, herald

T = TypeVar("T")

_log = log_of("two-tier-scheduler.driver")

#: Where an exception struck: with the books in order, with the books torn, and after the turn.
INSIDE, INSIDE_TORN, OUTSIDE = range(3)


class Turns(ABC):
    """One core, its lock and its clock. Threads: every method, from any thread."""

    def __init__(
        self,
        core: Core,
        clock: Clock,
        recipes: dict[str, PoolRecipe],
        name: str,
        *,
        check_invariants: bool,
        dead_letters: int = 0,
    ) -> None:
        self.core = core
        self.name = name
        self.lock = RLock()
        self.now: Callable[[], float] = clock.now
        #: What `concurrent.futures` sees as the condition of every handle.
        self.condition = as_condition(self.lock)
        #: Who tells those that wait through `concurrent.futures`.
        self.heralds = Relay(herald)
        self.observers = Observers(name)
        #: Why submissions are refused; None while they are not.
        self.refusing: str | None = None
        #: Set in a child process after fork: the threads that would do anything are gone.
        self.forked = False
        #: The closing, once it has begun (`_stopping`).
        self.closing: Any = None
        #: Workers that would not stop; their threads are left behind.
        self.abandoned: list[str] = []
        self._acquire: Callable[[bool], bool] = self.lock.acquire
        self._release = self.lock.release
        #: Jobs that have failed, as far as somebody wants to have them.
        self.letters = Letters(dead_letters)
        self._recipes = recipes
        self._check_invariants = check_invariants
        #: A turn is being taken: seen True only by a frame that interrupted it on its own thread.
        self._busy = False
        #: What exceptions have torn and that is still to be made good: the arguments of `_pay`.
        self.debts: list[tuple[Any, Any, Left | None, BaseException, int]] = []
        self._door: dict[Job, Any] = {}
        #: Some policy looks at what calls return: never False again.
        self.judging = any(map(judges, core.pools.groups.values()))
        self._draining: dict[PoolRecord, list[Callable[[], None]]] = {}
        self._idle_watchers: list[Callable[[], None]] = []
        self._alarm = Alarm(self.ring, self.now, f"two-tier-scheduler-{name}-alarm")
        self.virtual = isinstance(clock, VirtualClock)
        if isinstance(clock, VirtualClock):
            clock.attach(self.ring)

    def pay(self) -> None:
        """Make good what exceptions have torn, as far as that can be done now; the rest is owed still.

        Called by whoever was interrupted and, should that have no stack left for it, by whoever comes next.
        """
        while self.debts:
            try:
                debt = self.debts.pop()
            except IndexError:  # another thread came between the look and this, and pays it
                return
            try:
                self._pay(*debt)
            except BaseException:
                self.debts.append(debt)
                raise

    def _pay(self, job: Any, slot: Any, left: Left | None, error: BaseException, where: int) -> None:
        if where is not OUTSIDE:

            def mend(_now: float) -> None:
                if where is INSIDE_TORN:
                    self.core.mend(torn=job)

            self.turn(mend)
        if left is not None:
            self.act_again(left)

    # The turn

    def turn(self, body: Callable[[float], T]) -> T:
        """Call ``body(now)`` as one turn, then act on what it left behind. Cost: 1 µs.

        The lock is held by a ``with`` on a lock made in C, which no interrupt can tear; waiting for it
        may block, which is why the hot path does this by hand (see `_lock`).
        """
        left: Left | None = None
        if self.debts:
            self.pay()
        try:
            with self.lock:
                if self._busy:
                    raise reentered()
                try:
                    self._busy = True
                    answer = body(self.now())
                    fresh = self.conclude()
                    left, self.core.left = self.core.left, fresh
                except BaseException as error:
                    self.debts.append((None, None, None, error, INSIDE_TORN if tears(error) else INSIDE))
                    raise
                finally:
                    self._busy = False
            self.act(left)
        except BaseException as error:
            if left is not None:
                self.debts.append((None, None, left, error, OUTSIDE))
            self.pay()
            raise
        return answer

    def conclude(self) -> Left:
        """End a turn, still under the lock; the caller swaps what was left for what is returned."""
        core = self.core
        if core.lots.failing:
            core.fail_held(core.now)
        if core.left.events:
            self.observers.put(core.left.events)
            core.left.events = []
        if core.left.settled and self.letters.bound:
            self.letters.take(core.left.settled, core.left)
        if self._check_invariants:
            check(core)
        if self._idle_watchers and core.idle:
            for tell in tuple(self._idle_watchers):
                tell()
            self._idle_watchers.clear()
        core.left.when = core.next_deadline()
        core.dirty = False
        return Left()

    def act(self, left: Left) -> None:
        """Do what the turn asked for, without the lock; what is done is taken off the list."""
        for owed in (left.admitted, left.starts, left.stops, left.recalls, left.settled, left.opens):
            owed.reverse()  # in order, and taking from the end is O(1)
        while left.admitted:
            waiter = self._door.pop(left.admitted[-1], None)
            if waiter is not None:
                waiter.release()
            left.admitted.pop()
        while left.starts:
            slot = left.starts[-1]
            job = slot.job
            assert job is not None
            left.handing = slot, job
            self.begin(slot, job)
            left.starts.pop()
        while left.hedges:
            self.begin(*left.hedges.pop())
        while left.stops:
            self._stop(*left.stops[-1])
            left.stops.pop()
        while left.recalls:
            self.recall(left.recalls[-1])
            left.recalls.pop()
        while left.settled:
            self._settled(left.settled[-1])  # type: ignore[arg-type]
            left.settled.pop()
        while left.opens:
            self.open(left.opens[-1])
            left.opens.pop()
        for question, error in left.policy_failures:
            _log.error("the %s policy failed; the scheduler fell back", question, exc_info=error)
        for slow in left.slow_policies:
            _log.warning(
                "the %s policy %s took %.3g s to answer, and every job waited for it; a policy must be quick, "
                "for it is asked under the scheduler's lock (%d such answers since this was last said)",
                *slow,
            )
        for warning in left.warnings:
            _log.warning("%s", warning)
        for pool in left.stopped:
            try:
                if (
                    pool.runner is not None
                ):  # else whoever opens it just now finds it gone, see `Opening.open`
                    pool.runner.drain()
            except Exception:
                _log.exception("pool %s raised when it was drained", pool.pool_id)
            for tell in self._draining.pop(pool, ()):
                tell()
        if left.when < math.inf and not self.virtual:
            self._alarm.set(left.when)
        self.observers.hand_out()

    def act_again(self, left: Left) -> None:
        """Do what an interrupt kept this thread from doing."""
        if left.starts and left.handing is not None and left.handing[0] is left.starts[-1]:
            self.ensure_begun(*left.handing)
            left.starts.pop()
        self.act(left)

    @abstractmethod
    def open(self, pool: PoolRecord) -> None:
        """Make a pool real that is on the books: `Opening`."""

    def begin(self, slot: Slot, job: Any) -> None:
        """Hand the job of a slot that was just bound to its pool, and come back to the job that called, if any."""
        outer = local.slot
        try:
            slot.pool.runner.run(slot.index, job)
        except PoolStopped:
            if not job.state.settled:
                raise
            # Else a closing gave the job up, and stopped its pool, before this thread came to hand it over.
        local.slot = outer

    def _stop(self, slot: Slot, attempt: int) -> None:
        """Have the pool stop an attempt, unless its call returns first."""
        job = slot.job

        def still() -> bool:
            return slot.job is job and slot.attempt == attempt and slot.interrupted is not None

        if job is not None:
            try:
                slot.pool.runner.interrupt(slot.index, still)
            except Exception:
                _log.exception("pool %s raised when it was asked to stop job %s", slot.pool.pool_id, job.id)

    def recall(self, slot: Slot) -> None:
        """Take back what lies ahead in a slot, and let whoever is first have the free slots."""

        def take_back(now: float) -> None:
            self.take_back(slot, now)
            self.core.dispatch(now)

        self.turn(take_back)

    def take_back(self, slot: Slot, now: float) -> None:
        """Take back what lies ahead in a slot, as far as its worker has not begun it. Inside a turn.

        The pool is asked under the lock, so that no outcome can be taken between its answer and the books.
        """
        if not slot.ahead:
            return
        slot.recalls += 1
        calls = slot.pool.runner.recall(slot.index)
        try:
            self.core.take_back(slot, calls, now)
        except Exception:
            raise
        except BaseException:  # an interrupt: the pool has let go of all of them
            self.core.mend()
            self.core.take_back(slot, calls, now)
            raise

    def ensure_begun(self, slot: Slot, job: Job) -> None:
        """Run a call whose hand-over was interrupted; a further interrupt is raised when that is done."""
        later: BaseException | None = None
        while True:
            try:
                if not self._in_hand(slot, job):
                    self.begin(slot, job)
                break
            except Exception:
                raise
            except BaseException as error:
                later = error
        if later is not None:
            raise later

    def _in_hand(self, slot: Slot, job: Job) -> bool:
        with self.lock:  # so that nobody refills the slot meanwhile
            if slot.job is not job:
                return True
            # In this order: a worker lets go of a call only after it has begun.
            return slot.pool.runner.holds(slot.index, job) or slot.begun == slot.attempt

    def _settled(self, job: JobHandle[Any]) -> None:
        """Tell the world of a job that settled other than by succeeding."""
        if not job.state.settled:  # an interrupt came before it could
            return
        if job.state is not CANCELLED and job.state is not SUCCEEDED:
            self._note_unretrieved(job)
        job.forget_call()
        job.notify()

    def _note_unretrieved(self, job: JobHandle[Any]) -> None:
        """Have it logged if nobody ever asks what became of a failed job."""
        name = job.name  # before the lock: it is anybody's code
        with self.lock:  # somebody may see that it has settled, and ask, before this
            if job.more().unretrieved is None:
                job.more().unretrieved = Unretrieved(job.id, name, job.outcome)

    # Time

    def ring(self) -> float:
        """Handle what is due and return when to ring again."""
        self.turn(self.core.advance)
        # A turn of its own: an inline job that the first one started may have armed another timer.
        return self.turn(lambda _now: self.core.next_deadline())

    def owned(self) -> bool:
        """Whether the calling thread holds the lock."""
        owned: bool = self.lock._is_owned()  # type: ignore[attr-defined]  # noqa: SLF001  as `Condition` does
        return owned


def reentered() -> SchedulerError:
    """Return the error of a call that interrupted a turn on its own thread."""
    return SchedulerError(
        "the scheduler was called by a signal handler or a finaliser that interrupted it in the middle of "
        "a turn; set an event there and act on it outside the handler"
    )
