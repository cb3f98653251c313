"""Hands things on in order, one thread at a time and outside every lock.

Whoever brings something while another thread is handing on leaves it with that thread. So many workers
that settle jobs at once do not stand in line for the lock of somebody who waits for all of them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Relay(Generic[T]):
    """Calls `tell` with everything that was put in. Threads: every method, from any thread."""

    __slots__ = ("_giver", "_outbox", "_tell", "put")

    def __init__(self, tell: Callable[[T], object]) -> None:
        self._tell = tell
        self._outbox: deque[T] = deque()
        #: Held by the thread that hands out.
        self._giver = threading.RLock()
        #: Queue a thing for the next `hand_out`, of whichever thread.
        self.put = self._outbox.append

    def hand_out(self) -> None:
        """Tell what is queued, unless another thread (or an outer frame of this one) is at it.

        The race and why it loses nothing: (1) A finds the outbox empty and is about to leave;
        (2) B queues a thing, finds A still handing out, and leaves; (3) A lets go; (4) A looks at the
        outbox once more *after* letting go, and finds B's thing.
        """
        giver, outbox = self._giver, self._outbox
        if not outbox or giver._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001
            return
        try:
            while outbox and giver.acquire(blocking=False):
                while outbox:
                    self._tell(outbox.popleft())
                giver.release()
        except BaseException:  # an interrupt
            if giver._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001
                giver.release()
            raise
