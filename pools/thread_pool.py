"""A fixed number of threads, each parked on a lock of its own.

A worker runs a call, delivers its outcome and gets the next call for its slot in return; when there is
none it parks. Whoever starts a call in a free slot puts it down and releases the worker's lock, so a
worker is only ever woken with work in hand. Threads are made when their slot is first used.

Assumptions: the scheduler never runs a call in a slot whose outcome is outstanding, and drains a pool
only when all its slots are free. Threads are daemonic, because one that never returns must not keep
the process; at interpreter exit the scheduler waits for the others first.
"""

from __future__ import annotations

import contextlib
import reprlib
import threading
import time
from _thread import allocate_lock
from collections.abc import Callable
from typing import Any

import attrs

from .contract import Call, CallAbandoned, Front, PoolStopped, Traits, check_slots
from .logs import log_of

_log = log_of("two-tier-scheduler.pools")

_THREAD_PREFIX = "two-tier-scheduler-"


@attrs.frozen
class ThreadPool(Traits):
    """The recipe of a pool of `slots` threads. Runs plain functions that wait for something.

    `initializer` is called with `initargs` in every worker before its first call; when it raises, the
    pool is broken. A running call cannot be killed, only asked to stop.
    """

    slots: int = attrs.field()
    initializer: Callable[..., object] | None = attrs.field(default=None, kw_only=True)
    initargs: tuple[Any, ...] = attrs.field(default=(), kw_only=True, converter=tuple)

    @slots.validator
    def _check_slots(self, attribute: object, value: object) -> None:
        check_slots("ThreadPool", value)

    @initializer.validator
    def _check_initializer(self, attribute: object, value: object) -> None:
        if value is not None and not callable(value):
            raise TypeError(f"ThreadPool(initializer=) must be callable, not {reprlib.repr(value)}")

    def open(self, pool_id: str, front: Front) -> _Threads:
        """Open a pool; its threads start when they are first needed."""
        return _Threads(self, pool_id, front)


class _Worker:
    """One thread and what it is given."""

    __slots__ = ("abandoned", "call", "claim", "parked", "thread")

    def __init__(self) -> None:
        self.call: Call | None = None
        #: Held by the worker for as long as it has nothing to wake up for.
        self.parked = allocate_lock()
        self.parked.acquire()
        self.thread: threading.Thread | None = None
        #: Taken once: by the thread as it begins, or by whoever takes it off the books before that.
        self.claim = allocate_lock()
        self.abandoned = False


class _Threads:
    """A live pool of threads."""

    def __init__(self, recipe: ThreadPool, pool_id: str, front: Front) -> None:
        self._recipe = recipe
        self._pool_id = pool_id
        self._front, self._deliver = front, front.deliver
        #: Slots that are down because the system would not give them a thread.
        self._unstaffed: list[int] = []
        self._broken: Callable[[BaseException], None] | None = front.broken
        self._workers: list[_Worker | None] = [None] * recipe.slots
        self._draining = False

    def run(self, slot: int, call: Call) -> None:
        """Start `call` in `slot`. Cost: 0.2 µs; the first time a thread."""
        worker = self._workers[slot]
        if self._draining:
            raise PoolStopped(f"pool {self._pool_id} takes no more calls")
        if worker is None:
            self._hire(slot, call)
            return
        worker.call = call
        try:
            worker.parked.release()
        except RuntimeError:  # it was drained since the look, which happens to calls that were given up
            raise PoolStopped(f"pool {self._pool_id} takes no more calls") from None

    def holds(self, slot: int, call: Call) -> bool:
        """Whether `call` was handed to the slot's worker and has not returned yet."""
        worker = self._workers[slot]
        return worker is not None and worker.call is call

    def interrupt(self, slot: int, still: Callable[[], bool]) -> None:
        """Do nothing: the call reads of it in ``current_job()``, or not."""

    def _hire(self, slot: int, call: Call) -> None:
        worker = _Worker()
        worker.call = call  # not among the thread's arguments, which it keeps for life
        worker.thread = threading.Thread(
            target=self._work,
            args=(worker, slot),
            name=f"{_THREAD_PREFIX}{self._pool_id}/{slot + 1}",
            daemon=True,
        )
        self._workers[slot] = worker
        try:
            worker.thread.start()
        except BaseException as error:
            if not worker.claim.acquire(False):  # it runs: what was interrupted is the wait for that
                raise
            self._workers[slot] = None  # without a thread it must not keep the slot
            if not isinstance(error, RuntimeError) or isinstance(error, RecursionError):
                raise
            # The system gives no more threads; it may later, and a worker that parks then tries again.
            if any(other is not None for other in self._workers):
                self._unstaffed.append(slot)
            else:
                self._say_broken(error)
            self._front.lost(slot, None, (call,))

    def _work(self, worker: _Worker, slot: int) -> None:
        if not worker.claim.acquire(False):
            return
        try:
            if self._recipe.initializer is not None:
                self._recipe.initializer(*self._recipe.initargs)
        except BaseException as error:
            self._break(slot, error)
            return
        deliver, park = self._deliver, worker.parked.acquire
        call = worker.call
        function: Any
        args: Any
        while True:
            while call is not None:
                value: object = None
                failure: BaseException | None = None
                try:
                    function, args = call.enter()
                    value = function(*args)
                except BaseException as error:
                    # Without this frame, or the traceback would keep the worker's variables.
                    failure = BaseException.with_traceback(error, _below(error))
                function = args = None
                worker.call = (
                    None  # not earlier, see `holds`; not later, for then the slot may have the next one
                )
                if worker.abandoned:
                    return
                try:
                    call = deliver(slot, value, failure)
                except BaseException:  # a bug, ours or a policy's: the next call must find its worker
                    _log.exception("worker %s/%d could not deliver an outcome", self._pool_id, slot + 1)
                    call = None
                del value, failure
            if self._draining and worker.call is None:  # else one was accepted before the drain
                return
            if self._unstaffed:
                self._staff()
            park()
            call = worker.call
            if call is None:
                return

    def _staff(self) -> None:
        """Try again to start a thread that the system would not give, now that another one has nothing to do."""
        slot = self._unstaffed.pop()
        for call in self._front.ready(slot, f"{self._pool_id}/{slot + 1}"):
            self._hire(slot, call)

    def _say_broken(self, error: BaseException) -> None:
        broken, self._broken = self._broken, None
        if broken is not None:
            broken(error)

    def _break(self, slot: int, error: BaseException) -> None:
        """Say once that nothing can run here, and end the call."""
        self._say_broken(error)
        abandoned = CallAbandoned(f"worker {self._pool_id}/{slot + 1} could not start")
        abandoned.__cause__ = error
        if self._deliver(slot, None, abandoned) is not None:
            raise AssertionError("a broken pool was given another call")

    def drain(self) -> None:
        """Take no more calls; parked workers leave now, the others when they are done."""
        if self._draining:
            return
        # The race and why every worker leaves: (1) the flag is set; (2) the locks are released.
        # A worker that looked at the flag before (1) has yet to park, and finds its lock released;
        # one that looks after (1) leaves. A lock already released means a call is on its way there,
        # after which the worker looks at the flag.
        self._draining = True
        for worker in self._workers:
            if worker is not None:
                with contextlib.suppress(RuntimeError):
                    worker.parked.release()

    def stop(self, timeout: float | None) -> tuple[int, ...]:
        """Drain, and wait up to `timeout` seconds for the workers; return the slots of the stuck.

        The outcome of a stuck worker arrives too late for its pool. The flag keeps it from being
        delivered twice but for a race of a few instructions, which the scheduler's lock decides.
        """
        self.drain()
        deadline = None if timeout is None else time.monotonic() + timeout
        stuck = []
        for slot, worker in enumerate(self._workers):
            if worker is None or worker.thread is None or worker.thread is threading.current_thread():
                continue
            worker.thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if worker.thread.is_alive():
                worker.abandoned = True
                stuck.append(slot)
        for slot in stuck:
            self._deliver(slot, None, CallAbandoned(f"worker {self._pool_id}/{slot + 1} would not stop"))
        return tuple(stuck)


def _below(error: BaseException) -> Any:
    traceback = error.__traceback__
    return None if traceback is None else traceback.tb_next
