"""A `JobHandle` without a scheduler, so that CPython's tests of `Future` can make one and settle it by hand."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, InvalidStateError

from scheduler._core.job import JobOptions
from scheduler._core.states import CANCELLED, FAILED, RUNNING, SUCCEEDED, WAITING
from scheduler._desk import Desk
from scheduler._handle import JobHandle

STATES = {
    "PENDING": WAITING,
    "RUNNING": RUNNING,
    "CANCELLED": CANCELLED,
    "CANCELLED_AND_NOTIFIED": CANCELLED,
    "FINISHED": SUCCEEDED,
}


class Lock:
    """What a handle shows as its condition: one test settles a future by hand, then notifies."""

    def __init__(self, handle):
        self.handle = handle
        self.lock = threading.RLock()

    def __enter__(self):
        return self.lock.__enter__()

    def __exit__(self, *error):
        return self.lock.__exit__(*error)

    def acquire(self):
        return self.lock.acquire()

    def release(self):
        self.lock.release()

    def notify_all(self):
        self.handle.notify()


class Keeper:
    """What a driver is to its handles, for one handle; waiting and watching are the driver's own code."""

    forked = False
    wait = Desk.wait
    watch = Desk.watch

    def __init__(self, handle):
        self.lock = Lock(handle)

    def cancel(self, handle):
        with self.lock:
            if handle.state is RUNNING or handle.state.settled:
                return handle.state is CANCELLED
            handle.outcome, handle.state = CancelledError(), CANCELLED
        handle.notify()
        return True


class StandaloneHandle(JobHandle):
    """A handle that can be made by hand and takes what a stock future takes.

    Asking, waiting and calling back are `JobHandle`'s. Only what a scheduler would do is done here, and
    only for writing: what `JobHandle` does not show, this does not show either.
    """

    def __init__(self):
        super().__init__(JobOptions(), None, Keeper(self), None, (), None, None)
        self.told = False  # the standard has two words for cancelled, a handle one state

    def set_result(self, result):
        self._settle(SUCCEEDED, result)

    def set_exception(self, exception):
        self._settle(FAILED, exception)

    def _settle(self, state, outcome):
        with self._condition:
            if self.state.settled:
                raise InvalidStateError(f"{self._state}: {self!r}")
            self.outcome, self.state = outcome, state
        self.notify()

    @property
    def _state(self):
        return "CANCELLED" if self.state is CANCELLED and not self.told else super()._state

    @_state.setter
    def _state(self, word):
        self.state = STATES[word]
        self.told = word == "CANCELLED_AND_NOTIFIED"
        if self.state is CANCELLED:
            self.outcome = CancelledError()

    @property
    def _result(self):
        return super()._result

    @_result.setter
    def _result(self, value):
        if value is not None:
            self.outcome = value

    @property
    def _exception(self):
        return super()._exception

    @_exception.setter
    def _exception(self, error):
        if error is not None:
            self.outcome, self.state = error, FAILED
