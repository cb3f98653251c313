"""The people who listen. One that raises is logged and goes on listening; it never harms a job."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from pools.logs import log_of

from ._core.books import worded
from ._core.events import Event
from ._relay import Relay

Observer = Callable[[Event], object]

_log = log_of("two-tier-scheduler.observers")


#: Seconds after which a worker leaves what others have brought to a thread of its own, and turns to its next job, which
#: has been given to it already. Arbitrary: two thousand events, told quickly.
PATIENCE = 0.01


class Observers:
    """Hands events to observers, in order, one thread at a time and outside every lock."""

    def __init__(self, name: str) -> None:
        self._observers: tuple[Observer, ...] = ()
        self._relay = Relay(self._tell, PATIENCE, f"two-tier-scheduler-{name}-observers")
        #: Deliver what is queued.
        self.hand_out = self._relay.hand_out
        #: Wait for what a thread of its own tells, with a limit for each thing and one for all.
        self.wait = self._relay.wait_for_relief

    def add(self, observer: Observer) -> None:
        """Let `observer` hear of every event from now on."""
        self._observers = (*self._observers, observer)

    def remove(self, observer: Observer) -> None:
        """Let `observer` hear of things once less; one that is not there is no harm."""
        observers = self._observers
        for index, other in enumerate(observers):
            if other is observer:
                self._observers = observers[:index] + observers[index + 1 :]
                return

    def __bool__(self) -> bool:
        return bool(self._observers)

    def put(self, events: Iterable[tuple[Event, BaseException | None]]) -> None:
        """Queue events; called under the scheduler's lock, so that their order is that of the facts."""
        for event in events:
            self._relay.put(event)

    def _tell(self, fact: tuple[Event, BaseException | None]) -> None:
        event = worded(fact)
        for observer in self._observers:
            try:
                observer(event)
            except BaseException as error:
                # Even SystemExit must not take a worker with it; but Ctrl-C belongs to the main thread, and no
                # observer is to blame for it.
                main = threading.current_thread() is threading.main_thread()
                if isinstance(error, KeyboardInterrupt) and main:
                    raise
                _log.exception("observer %s raised on %s", _name(observer), type(event).__name__)


def _name(observer: object) -> str:
    try:
        return str(getattr(observer, "__qualname__", type(observer).__qualname__))
    except Exception:
        return "whose name cannot be had"
