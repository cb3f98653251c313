"""A fixed number of worker processes, each looked after by a thread of its own.

What a person asks of processes and gets from nobody else together: one hung call is killed and the others
go on, a worker that dies fails its own call alone and is replaced, priorities hold because next to nothing
waits at a worker, and one call costs little.
"""

from __future__ import annotations

import multiprocessing
import reprlib
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from ._process_ahead import AHEAD_MAX
from ._process_line import WHOLE_MESSAGES
from ._process_recycle import Recycle
from ._process_shepherd import Shepherd, Terms
from ._process_wire import dumps
from .contract import Call, Front, check_seconds, check_slots


def _start_methods() -> list[str]:
    return multiprocessing.get_all_start_methods()


def _default_start_method() -> str:
    return "forkserver" if "forkserver" in _start_methods() else "spawn"


@attrs.frozen
class ProcessPool:
    """The recipe of a pool of `slots` worker processes. Runs plain functions that compute.

    `start_method` is "forkserver" where there is one, else "spawn"; "fork" only when asked for.
    `initializer` is called with `initargs` in every worker before its first call; when it raises, the
    pool is broken. `prefetch` bounds the calls ahead in each slot: None for as many as hide the price of
    a message and are done in 2 ms, 0 for none. `recycle` says when a worker is retired. A call that is to
    be stopped gets SIGTERM, and after `kill_after` seconds SIGKILL, with all that it started.

    A function, its arguments and its value are pickled; lambdas and closures with cloudpickle.
    """

    slots: int = attrs.field()
    start_method: str = attrs.field(factory=_default_start_method, kw_only=True)
    initializer: Callable[..., object] | None = attrs.field(default=None, kw_only=True)
    initargs: tuple[Any, ...] = attrs.field(default=(), kw_only=True, converter=tuple)
    prefetch_max: int | None = attrs.field(default=None, kw_only=True, alias="prefetch")
    recycle: Recycle | None = attrs.field(default=None, kw_only=True)
    kill_after: float = attrs.field(default=0.3, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_slots("ProcessPool", self.slots)
        if self.start_method not in _start_methods():
            known = ", ".join(map(repr, _start_methods()))
            raise ValueError(f"ProcessPool(start_method=) must be one of {known}, not {self.start_method!r}")
        initializer: object = self.initializer
        if initializer is not None and not callable(initializer):
            raise TypeError(f"ProcessPool(initializer=) must be callable, not {reprlib.repr(initializer)}")
        ahead: object = self.prefetch_max
        if ahead is not None and (
            isinstance(ahead, bool) or not isinstance(ahead, int) or not 0 <= ahead <= AHEAD_MAX
        ):
            raise ValueError(
                f"ProcessPool(prefetch=) must be None or a number of calls from 0 to {AHEAD_MAX}, not {reprlib.repr(ahead)}"
            )
        recycle: object = self.recycle
        if recycle is not None and not isinstance(recycle, Recycle):
            raise TypeError(
                f"ProcessPool(recycle=) must be a Recycle(jobs=, age=, rss=), not {reprlib.repr(recycle)}"
            )
        check_seconds("ProcessPool(kill_after=)", self.kill_after)

    @property
    def ahead_max(self) -> int:
        """How many calls may lie ahead in one slot. 0 where the system cannot give them back unread."""
        if not WHOLE_MESSAGES:
            return 0
        return AHEAD_MAX if self.prefetch_max is None else self.prefetch_max

    @property
    def prefetch(self) -> int:
        """How many calls a pool may hold beyond its slots."""
        return self.ahead_max * self.slots

    @property
    def runs_coroutines(self) -> bool:
        """False."""
        return False

    @property
    def dedicated(self) -> bool:
        """True: a job must ask for processes, because not every call can be sent to one."""
        return True

    @property
    def announces(self) -> bool:
        """True: a slot takes calls once its process is up."""
        return True

    @property
    def kills(self) -> bool:
        """True: a process can be killed."""
        return True

    def open(self, pool_id: str, front: Front) -> _Processes:
        """Open a pool; its processes start at once, and its slots take calls as they come up.

        Raises what pickling the initializer raises, and RuntimeError in a worker process that is just importing
        the main module.
        """
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise RuntimeError(
                "a worker process imports the main module again, and there a ProcessPool was opened: "
                'put the code that starts a Scheduler under  if __name__ == "__main__":'
            )
        if self.start_method == "fork":
            warnings.warn(
                "ProcessPool(start_method='fork') copies a process in which threads run, with whatever locks "
                "they hold; 'forkserver' and 'spawn' do not",
                RuntimeWarning,
                stacklevel=2,
            )
        return _Processes(self, pool_id, front)


class _Processes:
    """A live pool of processes."""

    def __init__(self, recipe: ProcessPool, pool_id: str, front: Front) -> None:
        self._front = front
        self._guard = threading.Lock()
        self._said_broken = False
        terms = Terms(
            context=multiprocessing.get_context(recipe.start_method),
            initializer=dumps((recipe.initializer, recipe.initargs)),
            ahead_max=recipe.ahead_max,
            kill_after=recipe.kill_after,
            recycle=recipe.recycle,
            broken=self._broken,
        )
        self._shepherds = [Shepherd(terms, pool_id, slot, front) for slot in range(recipe.slots)]
        try:
            for shepherd in self._shepherds:
                shepherd.thread.start()
        except BaseException:  # an interrupt, or no thread to be had: nobody will ever drain this pool
            for shepherd in self._shepherds:
                shepherd.leave()
            raise

    def run(self, slot: int, call: Call) -> None:
        """Start `call` in `slot`. Cost: 4 µs here; the rest is the shepherd's."""
        self._shepherds[slot].run(call)

    def holds(self, slot: int, call: Call) -> bool:
        """Whether `call` was handed to the slot's worker and has not returned yet."""
        return self._shepherds[slot].holds(call)

    def interrupt(self, slot: int, still: Callable[[], bool]) -> None:
        """Stop the worker for what runs there: SIGTERM, then SIGKILL."""
        self._shepherds[slot].interrupt(still)

    def recall(self, slot: int) -> Sequence[Call]:
        """Return what lies ahead in `slot` and has not started."""
        return self._shepherds[slot].recall()

    @property
    def inversion_bound(self) -> float:
        """Seconds that an urgent call may wait behind what lies ahead: the worst of the slots."""
        return max(shepherd.inversion_bound for shepherd in self._shepherds)

    def drain(self) -> None:
        """Take no more calls; workers go as soon as they have nothing to do."""
        for shepherd in self._shepherds:
            shepherd.leave()

    def stop(self, timeout: float | None) -> tuple[int, ...]:
        """Drain, wait up to `timeout` seconds, then kill; return the slots whose worker survived that."""
        self.drain()
        until = None if timeout is None else time.monotonic() + timeout
        self._join(until)
        for shepherd in self._shepherds:
            if shepherd.thread.is_alive():
                shepherd.kill()
        self._join(time.monotonic() + _KILLED_WITHIN)
        return tuple(slot for slot, shepherd in enumerate(self._shepherds) if shepherd.thread.is_alive())

    def _join(self, until: float | None) -> None:
        for shepherd in self._shepherds:
            if shepherd.thread is not threading.current_thread():
                shepherd.thread.join(None if until is None else max(0.0, until - time.monotonic()))

    def _broken(self, error: BaseException) -> None:
        with self._guard:
            first, self._said_broken = not self._said_broken, True
        if first:
            self._front.broken(error)
            self.drain()


#: Seconds in which a killed process must be gone; one that is not hangs in the kernel.
_KILLED_WITHIN = 5.0
