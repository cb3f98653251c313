"""The desk: what handles, jobs and schedulers ask for beside submitting and delivering."""

from __future__ import annotations

import asyncio
import contextlib
import math
import reprlib
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from threading import RLock
from typing import Any

from pools.logs import log_of

from ._core import events
from ._core.deadlock import is_stuck
from ._core.job import Attempt, JobOptions
from ._core.pool_table import PoolRecord, Slot
from ._core.standing import Standing, standing
from ._core.states import RUNNING
from ._current import current_slot, holds_loop, slot_here
from ._errors import SchedulerError, WouldDeadlock
from ._handle import JobHandle
from ._linger import LINGER, linger
from ._observers import Observer
from ._recording import RecordingCore
from ._turn import Turns, reentered
from ._watching import Watcher

_log = log_of("two-tier-scheduler.driver")

#: CPython's words, which programs look for.
REFUSAL = "cannot schedule new futures after shutdown"


class Desk(Turns):
    """Answers questions, registers waiters, passes on requests to stop."""

    # What handles ask for

    def wait(self, handle: JobHandle[Any], timeout: float | None) -> None:
        """Block until the handle has settled; raise TimeoutError after `timeout` seconds."""
        if self.forked and not handle.state.settled:
            raise SchedulerError(f"job {handle.id} belongs to the parent process, which alone can settle it")
        if timeout is not None and timeout != timeout:  # noqa: PLR0124  not a number
            raise ValueError(f"timeout= must be seconds or None, not {timeout!r}")
        inside = self.inside()
        patient = timeout is None or timeout > LINGER
        if patient and inside is None and handle.state is RUNNING and linger(handle):
            return
        watcher = Watcher()
        with self.lock:
            if self._busy:
                raise reentered()
            if handle.state.settled:
                return
            if inside is not None and timeout is None:
                self._stand_still(inside, handle)
            handle.watched_by(watcher)
        try:
            woken = (
                watcher.lock.acquire() if timeout is None else watcher.lock.acquire(True, bounded(timeout))
            )
        finally:
            if inside is not None:
                go_on(inside)
        if not woken:
            with self.lock:
                handle.forget(watcher)
            if not handle.state.settled:
                raise TimeoutError(
                    f"job {handle.id} did not settle within {timeout} s; it is {handle.state.value}"
                )

    def inside(self) -> Slot | None:
        """Return the slot of this scheduler that cannot go on while the calling thread waits, or None."""
        slot = slot_here()
        return None if slot is None or slot.pool not in self.core.pools else slot

    def _stand_still(self, inside: Slot, handle: JobHandle[Any], *, awaits: bool = False) -> None:
        """Note that a slot waits for a job without a limit; raise if it would for ever. Under the lock."""
        inside.waits_for = handle
        if not awaits and holds_loop(inside):
            inside.pool.standstill = inside
        if is_stuck(handle, self.core.queue, self.core.timers):
            loop = inside.pool.standstill is inside
            go_on(inside)
            raise WouldDeadlock(_said(inside, handle, loop=loop))

    def watched_from_outside(self, handle: JobHandle[Any]) -> None:
        """Say it when a job begins to wait for a handle in a way that cannot tell how long it will.

        `concurrent.futures.wait`, `as_completed` and a child that awaits look at a handle and then wait by
        themselves, perhaps with a limit: so this is a warning.
        """
        if handle.state.settled:
            return
        if self.forked:
            raise SchedulerError(f"job {handle.id} belongs to the parent process, which alone can settle it")
        inside = self.inside()
        if inside is None:
            return
        with self.lock:
            before, inside.waits_for = inside.waits_for, handle
            stuck = is_stuck(handle, self.core.queue, self.core.timers)
            inside.waits_for = before
        if stuck:
            _log.warning("%s", _said(inside, handle, loop=False))

    def wait_inside(self, handle: JobHandle[Any]) -> Generator[Any, None, Any]:
        """Await the handle in a coroutine that is, or belongs to, a job."""
        inside = current_slot()
        running = asyncio.current_task()
        # Only a job's own asyncio task, which has its worker's name: while a child waits, the job may go on.
        if inside is None or running is None or running.get_name() != inside.worker:
            self.watched_from_outside(handle)
            return (yield from asyncio.wrap_future(handle).__await__())
        with self.lock:
            if not handle.state.settled and inside.pool in self.core.pools:
                self._stand_still(inside, handle, awaits=True)
        try:
            return (yield from asyncio.wrap_future(handle).__await__())
        finally:
            go_on(inside)

    def watch(self, handle: JobHandle[Any], callback: Callable[[Any], object]) -> bool:
        """Register a done-callback; return False when the handle has already settled."""
        if self.forked and not handle.state.settled:
            raise SchedulerError(f"job {handle.id} belongs to the parent process, which alone can settle it")
        with self.lock:
            if self._busy:
                raise reentered()
            if handle.state.settled:
                return False
            if handle.callbacks is None:
                handle.callbacks = []
            handle.callbacks.append(callback)
            return True

    def cancel(self, handle: JobHandle[Any]) -> bool:
        """Cancel the job unless it runs."""

        def cancel(now: float) -> bool:
            fetched = self.fetch(handle, now)
            done = self.core.cancel(handle, now, CancelledError())
            if fetched:
                self.core.dispatch(now)
            return done

        return self.turn(cancel)

    def interrupt(self, handle: JobHandle[Any], reason: str) -> bool:
        """Ask the job to stop."""

        def interrupt(now: float) -> bool:
            fetched = self.fetch(handle, now)
            done = self.core.interrupt(handle, reason, now)
            if fetched:
                self.core.dispatch(now)
            return done

        return self.turn(interrupt)

    def fetch(self, handle: Any, now: float) -> bool:
        """Take a job back that lies ahead at a worker, if it can be had; return whether one was asked. Inside a turn.

        Its neighbours come back too, and are to be dispatched once the job itself is out of the way.
        """
        slot = handle.slot
        if handle.lies_ahead and isinstance(slot, Slot):
            self.take_back(slot, now)
            return True
        return False

    def history(self, handle: JobHandle[Any]) -> tuple[Attempt, ...]:
        """Return the job's attempts, oldest first."""
        with self.lock:
            if self._busy:
                raise reentered()
            attempts = handle.all_attempts()
        return attempts  # noqa: RET504  not from within: the lock is let go before the value is handed out

    def explain(self, handle: JobHandle[Any]) -> Standing:
        """Return how the job stands."""
        return self.turn(lambda now: standing(self.core, handle, now))

    def progressed(self, job: Any, attempt: int, done: float, total: float | None) -> None:
        """Note how far a job is and tell observers."""

        def note(now: float) -> None:
            job.more().progress = (done, total)
            if self.core.observed:
                self.core.emit(
                    events.JobProgressed(time=now, job_id=job.id, attempt=attempt, done=done, total=total)
                )

        self.turn(note)

    def seconds_left(self, job: Any, slot: Slot) -> float | None:
        """Return the seconds the attempt has left, 0 once it is over, None when it has no limit."""
        bound: Any = slot.job
        if bound is not job or slot.overdue:
            return 0.0
        ends = []
        if job.options.run_timeout is not None:
            ends.append(job.started_at + job.options.run_timeout)
        if job.options.deadline is not None:
            ends.append(job.submitted_at + job.options.deadline)
        return max(0.0, min(ends) - self.now()) if ends else None

    # Lines, observers

    def line_for(self, options: JobOptions, *, coroutine: bool) -> Any:
        """Return the line of jobs like this, or None when no group may take them."""
        self.judging = self.judging or options.judges
        return self.turn(lambda _now: self.core.line_for(options, coroutine=coroutine))

    def wait_drained(
        self, pool: PoolRecord, timeout: float | None
    ) -> tuple[bool, tuple[int, ...], tuple[str, ...]]:
        """Wait until a draining pool has stopped; return whether it has, what still runs there, and who is overdue."""
        inside = self.inside()  # in a done-callback, too: the pool keeps the slot for that
        drained = threading.Event()

        def register(_now: float) -> bool:
            if pool in self.core.pools:
                self._draining.setdefault(pool, []).append(drained.set)
                return True
            return False

        def running(_now: float) -> tuple[bool, tuple[int, ...], tuple[str, ...]]:
            if pool not in self.core.pools:
                return True, (), ()
            if drained.set in self._draining.get(pool, ()):
                self._draining[pool].remove(drained.set)
            overdue = tuple(slot.worker for slot in pool.all_slots if slot.overdue)
            return False, tuple(job.id for job in pool.running()), overdue

        if self.turn(register) and (inside is None or inside.pool is not pool):
            drained.wait(timeout)
        return self.turn(running)

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Let `observer` hear of every event; return the function that ends it."""
        if not callable(observer):
            raise TypeError(f"subscribe() takes a callable, not {reprlib.repr(observer)}")

        def add(_now: float) -> None:
            self.observers.add(observer)
            self.core.observed = True

        def remove(_now: float) -> None:
            self.observers.remove(observer)
            self.core.observed = bool(self.observers)

        def unsubscribe() -> None:
            try:
                self.turn(remove)
            except BaseException:  # an interrupt: once more
                self.turn(remove)
                raise

        try:
            self.turn(add)
        except BaseException:  # an interrupt: nobody could unsubscribe the observer
            self.turn(remove)
            raise
        return unsubscribe

    # Ending

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Call `callback` (which must not block) in the turn in which no job is alive. Inside a turn."""
        self._idle_watchers.append(callback)

    def wait_idle(self, timeout: float | None) -> bool:
        """Wait until no job is alive but the calling one; return whether that was so in time."""
        if self.forked:
            raise SchedulerError(self.refusing)
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        inside = self.inside()
        mine = None if inside is None else inside.job
        changed = threading.Event()

        def idle(_now: float) -> bool:
            changed.clear()
            if all(job is mine for job in self.core.alive()) and not self.core.gate.door:
                return True
            if changed.set not in self._idle_watchers:
                self._idle_watchers.append(changed.set)
            return False

        while True:
            if self.turn(idle):
                return True
            if timeout is None and holds_loop(inside):
                raise WouldDeadlock(
                    f"job {mine.id if mine else '?'} waits for every other job on its event loop's own thread, "
                    "and those on that loop could not go on; use `await asyncio.to_thread(scheduler.drain)`"
                )
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            changed.wait(min(left, threading.TIMEOUT_MAX if mine is None else 0.05))

    def refuse(self, reason: str = REFUSAL) -> None:
        """Take no more jobs; submitters at the door wake with SchedulerClosed."""

        def turn_away(now: float) -> None:
            self.refusing = self.refusing or reason
            self.core.stop_scaling()
            for job in list(self.core.gate.door):
                self.core.leave_door(job, now, reason)

        self.turn(turn_away)
        for waiter in list(self._door.values()):
            with contextlib.suppress(RuntimeError):  # it was woken before
                waiter.release()

    def after_fork(self) -> None:
        """Make the driver of a forked child refuse clearly: its threads stayed with the parent."""
        self.lock = RLock()
        self._acquire, self._release = self.lock.acquire, self.lock.release
        self._busy = False
        self.forked = True
        self.refusing = (
            "cannot schedule new futures in a forked child: the scheduler's threads stayed with the "
            "parent process; make a new Scheduler in the child"
        )

    def stop_alarm(self) -> None:
        """Ring no more, and end the recording if there is one: the scheduler has closed."""
        self._alarm.stop(timeout=1.0)
        if isinstance(self.core, RecordingCore):
            self.turn(self.core.end_recording)


def go_on(inside: Slot) -> None:
    """Note that a slot waits no more."""
    inside.waits_for = None
    if inside.pool.standstill is inside:
        inside.pool.standstill = None


def _said(inside: Slot, handle: JobHandle[Any], *, loop: bool) -> str:
    """Return in words that a slot would wait for a job for ever."""
    who = f"job {inside.job.id} in {inside.worker}" if inside.job else f"a callback in {inside.worker}"
    if inside.job is handle:
        return f"{who} waits for itself"
    if loop:
        return (
            f"{who} waits for job {handle.id}, which needs the event loop of pool {inside.pool_id}, and that "
            "would be kept waiting; write `await handle`"
        )
    return (
        f"{who} waits for job {handle.id}, which cannot {'go on' if handle.state is RUNNING else 'start'}: "
        "every slot it may use waits likewise; add a slot or a pool, or give the inner job a group of its own"
    )


def bounded(timeout: float | None) -> float:
    """Return a timeout as `lock.acquire` wants it: -1 for ever, never negative or too large."""
    if timeout is None or timeout == math.inf:
        return -1
    return min(max(0.0, timeout), _TIMEOUT_MAX)


_TIMEOUT_MAX = 365 * 86400.0
