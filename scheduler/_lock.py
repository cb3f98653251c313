"""The lock around a turn, and why it spins.

Under the GIL, a blocking ``lock.acquire()`` that meets a held lock hands the lock to a thread that then
waits for the GIL; from then on every acquisition is a thread switch, and the convoy never dissolves.
Draining 100,000 no-op jobs took 1.6 µs a job with one worker and 6.9 µs with four when they blocked,
and 1.7 and 1.4 µs when they did what stands here. ``make bench`` has a line that shows it coming back.

It is sound because a turn never blocks: its holder can only have been descheduled, and giving up the
GIL is exactly what lets it finish. On a free-threaded build the same loop was no slower than blocking.

The lock is reentrant for two reasons. ``concurrent.futures.wait`` holds the condition of every future
at once, and here all handles of a scheduler share this lock as theirs. And a signal handler or a
finaliser may interrupt a turn on its own thread: with a plain lock that is a silent hang, with this
one it is noticed (`Driver` marks a turn in progress) and answered.

The loop itself stands where it is used, in `Driver.submit` and `Driver.deliverer`: a call would cost more
than the lock.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

#: The lock that whoever takes several schedulers' locks takes first; gone with the last that knows it.
_first: weakref.ref[Any] | None = None
_guard = threading.Lock()


def as_condition(lock: Any) -> Any:
    """Return what `concurrent.futures` may take as the condition of every handle of one scheduler.

    It takes the conditions of many futures in the order of their ids, so that two threads never hold what
    the other wants. Here the futures of one scheduler share a lock, and with two schedulers that order
    means nothing: hence one lock above all. That is the lock of the first scheduler, which therefore is
    its own condition: nearly every program has but one, and a lock made in C is ten times as fast.
    """
    global _first  # noqa: PLW0603  there is one order of locks in a process
    with _guard:
        above = None if _first is None else _first()
        if above is None:
            _first = weakref.ref(lock)
            return lock
    return SharedCondition(above, lock)


def after_fork() -> None:
    """Begin anew in a forked child, where the first lock may be held by a thread that stayed behind."""
    global _first, _guard
    _first, _guard = None, threading.Lock()


class SharedCondition:
    """The lock of a scheduler that is not the first, taken after that of the first."""

    __slots__ = ("_above", "_enter", "_leave")

    def __init__(self, above: Any, lock: Any) -> None:
        self._above = above
        self._enter, self._leave = lock.acquire, lock.release

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock above all, then this one, as a lock does."""
        if self._above.acquire(blocking, timeout):
            if self._enter(blocking, timeout):
                return True
            self._above.release()
        return False

    def release(self) -> None:
        """Let go of both."""
        self._leave()
        self._above.release()

    def __enter__(self) -> bool:
        # Of one future only, and no other is asked for meanwhile: the order does not matter.
        entered: bool = self._enter()
        return entered

    def __exit__(self, *exception: object) -> None:
        self._leave()
