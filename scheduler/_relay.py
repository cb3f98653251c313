"""Hands things on in order, one thread at a time and outside every lock.

Whoever brings something while another thread is handing on leaves it with that thread. So many workers
that settle jobs at once do not stand in line for the lock of somebody who waits for all of them.

The one that hands on has work of its own, and others may bring things faster than they are told. So after
its patience it leaves what others have brought to a thread made for that, which ends when there is no more.
What it has brought itself it tells itself: where there is one thread, there is never a second.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Relay(Generic[T]):
    """Calls `tell` with everything that was put in. Threads: every method, from any thread.

    `patience` is for how many seconds a thread tells what others have brought, and `name` that of the thread that
    then goes on.
    """

    __slots__ = ("_giver", "_name", "_outbox", "_own", "_patience", "_relief", "_relieved", "_tell", "put")

    def __init__(self, tell: Callable[[T], object], patience: float = math.inf, name: str = "") -> None:
        self._tell = tell
        self._patience, self._name = patience, name
        self._outbox: deque[T] = deque()
        #: Held by the thread that hands out.
        self._giver = threading.RLock()
        #: How many of those that are queued the giver tells in any case: it has brought the last of them itself.
        self._own = 0
        #: The last thread that took over, and whether it is at it still.
        self._relief: threading.Thread | None = None
        self._relieved = False
        #: Queue a thing for the next `hand_out`, of whichever thread.
        self.put = self._outbox.append

    def hand_out(self) -> None:
        """Tell what is queued, unless another thread (or an outer frame of this one) is at it.

        The race and why it loses nothing: (1) A finds the outbox empty and is about to leave; (2) B queues
        a thing, finds A still handing out, and leaves; (3) A lets go; (4) A looks at the outbox once more
        *after* letting go, and finds B's thing. `_go_on` ends in the same way.
        """
        giver, outbox = self._giver, self._outbox
        if not outbox or self._relieved:
            return
        if giver._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001
            self._own = len(outbox)
            return
        until, brought = time.monotonic() + self._patience, len(outbox)
        try:
            while outbox and giver.acquire(blocking=False):
                self._own, brought = brought, 0
                while outbox:
                    if self._own <= 0 and time.monotonic() >= until:
                        if self._relieve():
                            giver.release()
                            return
                        until = math.inf
                    self._own -= 1
                    self._tell(outbox.popleft())
                giver.release()
        except BaseException:  # an interrupt
            if giver._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001
                giver.release()
            raise

    def wait_for_relief(self, patience: float, until: float) -> None:
        """Wait for the thread that took over, if one did, until the monotonic time `until`.

        No longer than it tells something every `patience` seconds: what it calls may never return.
        """
        relief, left = self._relief, -1
        if relief is threading.current_thread():
            return
        while relief is not None and relief.is_alive() and len(self._outbox) != left:
            left, seconds = len(self._outbox), until - time.monotonic()
            if seconds <= 0:
                return
            relief.join(min(patience, seconds))

    def _relieve(self) -> bool:
        """Have a thread of its own tell the rest; return whether one was to be had. The caller is the giver."""
        relief = threading.Thread(target=self._go_on, name=self._name, daemon=True)
        try:
            self._relieved = True  # from here on nobody else takes what is left
            relief.start()
        except BaseException as error:
            self._relieved = False
            if isinstance(error, RuntimeError):  # the system refuses, or the interpreter exits
                return False
            raise
        self._relief = relief
        return True

    def _go_on(self) -> None:
        """Tell what is queued, once the giver has left."""
        more = True
        while more:
            try:
                self._relieved = True
                with self._giver:
                    while self._outbox:
                        self._tell(self._outbox.popleft())
            finally:
                self._relieved = False
            more = bool(self._outbox)
