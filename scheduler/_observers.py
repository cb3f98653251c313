"""The people who listen. One that raises is logged and goes on listening; it never harms a job."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable

from ._core.events import Event

Observer = Callable[[Event], object]

_log = logging.getLogger("two-tier-scheduler.observers")


class Observers:
    """Hands events to observers, in order, one thread at a time and outside every lock.

    Whoever brings events while another thread is handing some out leaves its own with that thread.
    """

    def __init__(self) -> None:
        self._observers: tuple[Observer, ...] = ()
        self._outbox: deque[Event] = deque()
        #: Held by the thread that hands out.
        self._giver = threading.RLock()

    def add(self, observer: Observer) -> None:
        """Let `observer` hear of every event from now on."""
        self._observers = (*self._observers, observer)

    def remove(self, observer: Observer) -> None:
        """Let `observer` hear of nothing more; removing it twice is harmless."""
        self._observers = tuple(other for other in self._observers if other is not observer)

    def __bool__(self) -> bool:
        return bool(self._observers)

    def put(self, events: Iterable[Event]) -> None:
        """Queue events; called under the scheduler's lock, so that their order is that of the facts."""
        self._outbox.extend(events)

    def hand_out(self) -> None:
        """Deliver what is queued, unless another thread (or an outer frame of this one) is at it.

        The race and why it loses nothing: (1) A finds the outbox empty and is about to leave;
        (2) B queues an event, finds A still handing out, and leaves; (3) A lets go; (4) A looks at the
        outbox once more *after* letting go, and finds B's event.
        """
        giver = self._giver
        if not self._outbox or giver._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001
            return
        try:
            while self._outbox and giver.acquire(blocking=False):
                while self._outbox:
                    self._tell(self._outbox.popleft())
                giver.release()
        except BaseException:  # an interrupt
            if giver._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001
                giver.release()
            raise

    def _tell(self, event: Event) -> None:
        for observer in self._observers:
            try:
                observer(event)
            except BaseException as error:
                _log.exception("observer %s raised on %s", _name(observer), type(event).__name__)
                # Even SystemExit must not take a worker with it; but Ctrl-C belongs to the main thread.
                main = threading.current_thread() is threading.main_thread()
                if isinstance(error, KeyboardInterrupt) and main:
                    raise


def _name(observer: object) -> str:
    try:
        return str(getattr(observer, "__qualname__", type(observer).__qualname__))
    except Exception:
        return "whose name cannot be had"
