"""Who waits for a handle and how that is told; and the one who speaks up when nobody did."""

from __future__ import annotations

from _thread import allocate_lock
from typing import Any

from pools.logs import log_of

from ._core.states import CANCELLED, SUCCEEDED

_log = log_of("two-tier-scheduler.handle")


class Watcher:
    """One thread that waits for one handle."""

    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self.lock.acquire()

    def wake(self) -> None:
        """Wake the thread; doing so twice is harmless."""
        try:  # noqa: SIM105  `suppress` would cost a microsecond of every round trip
            self.lock.release()
        except RuntimeError:
            pass


class Late(list[Any]):
    """The watchers of a handle that had settled when one of them came: that one has seen it, and is not told again.

    The race: (1) a job settles under the lock; (2) `concurrent.futures.wait` looks under the lock, counts it as
    done, and puts its watcher here; (3) whoever settled it tells the watchers, without the lock. Told of this job as
    well, `wait` would return early and `as_completed` raise KeyError. So at (2) the list is replaced by one that
    knows who came before; (3) finds the list of before, or that.
    """

    __slots__ = ("due",)

    def __init__(self, watchers: list[Any]) -> None:
        super().__init__(watchers)
        #: Who came before it settled.
        self.due = tuple(watchers)


def herald(news: tuple[Any, Any]) -> None:
    """Tell somebody who waits through `concurrent.futures` that a handle has settled."""
    watcher, handle = news
    state = handle.state
    if state is SUCCEEDED:
        watcher.add_result(handle)
    elif state is CANCELLED:
        watcher.add_cancelled(handle)
    else:
        watcher.add_exception(handle)


#: Stands where an `Unretrieved` would, once somebody has looked.
RETRIEVED = object()


class Unretrieved:
    """Logs a failure when the handle that held it is dropped unread, as asyncio does.

    A separate object, so that only failed jobs pay for a finaliser.
    """

    __slots__ = ("error", "job_id", "name")

    def __init__(self, job_id: int, name: str, error: BaseException) -> None:
        self.job_id = job_id
        self.name = name
        self.error: BaseException | None = error

    def __del__(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            _log.error(
                "job %s (%s) failed and nobody retrieved its exception",
                self.job_id,
                self.name,
                exc_info=error,
            )
