"""One thread that sleeps until something is due; it exists only while a timer is armed.

From Python 3.12 on there is no thread to be had once the interpreter exits, though jobs still back off or reach
their limits then. Whoever waits there for the schedulers to end stands in: see `stand_in`.
"""

from __future__ import annotations

import contextlib
import math
import threading
from _thread import allocate_lock
from collections.abc import Callable

from pools.logs import log_of

_log = log_of("two-tier-scheduler.driver")

#: Seconds it sleeps at least, so that a thousand timers a millisecond do not wake it a thousand times.
REST = 0.0005
#: Seconds after which what raised is rung for again. Arbitrary.
RETRY = 1.0

#: Alarms that got no thread because the interpreter exits, and when they are due.
_orphans: dict[Alarm, float] = {}


def stand_in() -> float:
    """Ring the alarms that are due and have no thread; return the seconds until the next one is, at least 0.

    Called again and again at interpreter exit, by one thread. Infinity: none is set.
    """
    for alarm in list(_orphans):
        alarm.ring_if_due()
    return max(0.0, min((when - alarm.now() for alarm, when in list(_orphans.items())), default=math.inf))


def at_exit(error: BaseException) -> bool:
    """Whether it tells that the interpreter exits and gives no threads any more: it has no type of its own."""
    return isinstance(error, RuntimeError) and "at interpreter shutdown" in str(error)


class Alarm:
    """Rings `bell` at the times it asked for; the bell answers when it wants to be rung next.

    Threads: `set` may be called from any thread, never under the scheduler's lock.
    """

    def __init__(self, bell: Callable[[], float], now: Callable[[], float], name: str) -> None:
        self._bell = bell
        #: The time that it goes by.
        self.now = now
        self._name = name
        self._guard = threading.Lock()
        #: When the thread wakes; infinity while there is none.
        self._when = math.inf
        #: Released to wake the thread. Not an event: an interrupt (Ctrl-C) in its Python code leaves it locked.
        self._kick = allocate_lock()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def set(self, when: float) -> None:
        """Ring at `when` or earlier. Cost: a comparison when it would ring before that anyway."""
        if when >= self._when:
            return
        try:
            self._arm(when)
        except RuntimeError as error:
            if not at_exit(error):
                raise
            _orphans[self] = min(when, _orphans.get(self, math.inf))

    def _arm(self, when: float) -> None:
        with self._guard:
            if when >= self._when or self._stopped:
                return
            try:
                self._when = when
                self._wake()
                if self._thread is None:
                    self._thread = threading.Thread(target=self._watch, name=self._name, daemon=True)
                    self._thread.start()
            except BaseException:  # an interrupt: whoever comes next sets it again
                self._when = math.inf
                self._thread = None
                raise

    def ring_if_due(self) -> None:
        """Ring in the calling thread, if this alarm has none of its own and is due."""
        with self._guard:
            if _orphans.get(self, math.inf) > self.now():
                return
            del _orphans[self]
        following = self._ring()
        if following < math.inf:
            self.set(following)

    def stop(self, timeout: float | None = None) -> None:
        """Ring no more, and wait for the thread unless this is it."""
        with self._guard:
            self._stopped = True
            self._when = -math.inf
            self._wake()
            _orphans.pop(self, None)
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # it has been told already
            self._kick.release()

    def _watch(self) -> None:
        """Sleep and ring until nothing is armed.

        The race and why no timer is lost: (1) the bell answers "nothing armed"; (2) another thread
        arms a timer and calls `set` before this one has noted it; (3) `set` finds ``_when`` still at
        the old, earlier time only if it was reset under the guard, which is why the thread resets it
        to infinity *before* it asks the bell.
        """
        with self._guard:
            if self._thread is not threading.current_thread():  # its start was interrupted, and undone
                return
        while True:
            self._kick.acquire(False)
            pause = self._when - self.now()
            if pause > 0:
                self._kick.acquire(True, min(max(pause, REST), threading.TIMEOUT_MAX))
            with self._guard:
                if self._stopped:
                    self._thread = None
                    return
                if self._when > self.now():
                    continue
                self._when = math.inf
            following = self._ring()
            with self._guard:
                self._when = min(self._when, following)
                if self._when == math.inf and not self._stopped:
                    self._thread = None
                    return

    def _ring(self) -> float:
        try:
            return self._bell()
        except Exception:  # a bug of ours; without this thread no timer would ever be handled again
            _log.exception("the alarm %s raised; it goes on", self._name)
            return self.now() + RETRY
