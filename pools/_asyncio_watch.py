"""Watches one event loop: how late it is, and by what it is held up.

While calls run, a timer of the loop's own ticks and notes how late it came; a thread beside the loop looks
whether the next tick is overdue, and by what. While none run, the timer does not tick and the thread sleeps.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from _thread import get_ident
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sized
from contextvars import Context
from pathlib import Path

from .logs import log_of

_log = log_of("two-tier-scheduler.pools")

#: Seconds for which a lag is remembered: between the first number and twice that. Arbitrary.
REMEMBERED = 5.0
#: Seconds between two warnings about one loop, at least. Arbitrary.
_QUIET = 1.0
#: Lags below this, in seconds, are the timer's own. What is told is rounded to it.
_NOISE = 0.001

_MACHINERY = (asyncio.events.__file__, str(Path(__file__).parent))


class LoopWatch:
    """Tells how late a loop is, and warns of what holds it up. Made and begun on the loop's own thread."""

    def __init__(
        self, loop: AbstractEventLoop, pool_id: str, limit: float, tell: Callable[[float], object] | None
    ) -> None:
        self._loop = loop
        self._loop_thread = get_ident()
        self._pool_id = pool_id
        self._limit = limit = min(limit, 86400.0)  # what threads can wait for has an end
        #: Seconds between two ticks.
        self._period = limit / 4
        #: What blocks for `limit` makes the tick late by that less the seconds to the tick: by this at least.
        self._late_by = limit - self._period
        self._tell = tell
        self._busy: Sized = ()
        #: When the next tick is due, in seconds of `time.monotonic`; None while none is.
        self.due: float | None = None
        self._worst = 0.0
        self._worst_before = 0.0
        self._remembered_since = time.monotonic()
        self._told = 0.0
        self._warned_of: float | None = None
        self._quiet_until = 0.0
        self._ended = False
        self._asleep = False
        self._bell = threading.Event()
        self._thread: threading.Thread | None = None
        self._context = Context()

    # On the loop's thread

    def begin(self, busy: Sized) -> None:
        """Tick until `busy` is empty. Cost: 1 µs; the first time a thread."""
        self._busy = busy
        self._tick_later()
        if self._thread is None:
            name = f"two-tier-scheduler-{self._pool_id}-watch"
            thread = threading.Thread(target=self._watch, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads: the timer alone still tells the lag
                return
            self._thread = thread
        elif self._asleep:
            self._bell.set()

    def end(self) -> None:
        """Watch no more."""
        self._ended = True
        self._bell.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _tick_later(self) -> None:
        self.due = time.monotonic() + self._period
        self._loop.call_later(self._period, self._tick, context=self._context)

    def _tick(self) -> None:
        assert self.due is not None
        self._worst = max(self._worst, time.monotonic() - self.due)
        if self._busy:
            self._tick_later()
        else:
            self.due = None

    # On a thread of its own

    def _watch(self) -> None:
        while not self._ended:
            self._look()
            if self.due is None and not self._told:
                self._sleep()
            # While nothing runs there is a lag to be forgotten, which can wait.
            self._bell.wait(self._patience())
            if not self._ended:
                self._bell.clear()

    def _sleep(self) -> None:
        # The race: `begin` first sets when it is due, then looks whether this sleeps; here it is the other way.
        self._bell.clear()
        self._asleep = True
        if self.due is None and not self._ended:
            self._bell.wait()
        self._asleep = False

    def _patience(self) -> float:
        """Return seconds until the tick is late enough for a look."""
        due = self.due
        if due is None or due == self._warned_of:
            return self._limit if due is not None else min(1.0, REMEMBERED)
        return max(due + self._late_by - time.monotonic(), 0.001)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._remembered_since > REMEMBERED:
            self._worst_before, self._worst, self._remembered_since = self._worst, 0.0, now
        due = self.due
        late = 0.0 if due is None else max(0.0, now - due)
        if late >= self._late_by and due != self._warned_of and now >= self._quiet_until:
            self._warned_of = due
            self._warn(late)
        lag = max(self._worst, self._worst_before, late)
        lag = round(lag, 3) if lag >= _NOISE else 0.0
        if lag != self._told:
            self._told = lag
            if self._tell is not None:
                self._tell(lag)

    def _warn(self, late: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  the documented way to see a thread
        # All frames before a look at any: the thread goes on meanwhile.
        frames = [] if frame is None else list(traceback.walk_stack(frame))
        stack = traceback.StackSummary.extract(reversed(frames))
        del frame, frames
        try:
            running = asyncio.current_task(self._loop)
        except RuntimeError:
            running = None
        if running is None and (not stack or stack[-1].name in ("select", "_work")):
            _log.info(
                "the event loop of pool %s is %.3f s late, and nothing on it is at fault: other threads keep the "
                "interpreter busy, or the machine is",
                self._pool_id,
                late,
            )
            return
        self._quiet_until = time.monotonic() + _QUIET
        _log.warning(
            "%s has held up the event loop of pool %s for %.3f s (lag_limit=%s), and every coroutine on it; "
            "move what blocks to a thread: await asyncio.to_thread(...), or a ThreadPool group. It is here:\n%s",
            "a callback" if running is None else f"asyncio task {running.get_name()}",
            self._pool_id,
            late,
            self._limit,
            "".join(_of_the_user(stack).format()).rstrip(),
        )


def _of_the_user(stack: traceback.StackSummary) -> traceback.StackSummary:
    """Return the part of a stack below the machinery that called it."""
    last = max(
        (place for place, entry in enumerate(stack) if entry.filename.startswith(_MACHINERY)), default=-1
    )
    return traceback.StackSummary.from_list(stack[last + 1 :] or stack)
