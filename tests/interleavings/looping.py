"""An event loop that sleeps in virtual time, and is woken without a socket."""

import asyncio

from weaving import world


class _Selector:
    """Nothing ever becomes ready here: the loop is woken by `wake`, or by time."""

    def __init__(self):
        self._queue, self._woken = [], False

    def wake(self):
        world().point("wakes a loop")
        self._woken = True
        world().wake(self._queue)

    def select(self, timeout=None):
        world().point("select")
        if not self._woken and (timeout is None or timeout > 0):
            world().block(self._queue, "sleeps in its event loop", timeout)
        self._woken = False
        return []

    def get_map(self):
        return {}

    def close(self):
        """Nothing is open."""


class CooperativeLoop(asyncio.SelectorEventLoop):
    """The standard library's loop, but for where it sleeps, what wakes it and what time it is."""

    def __init__(self):
        super().__init__(_Selector())

    def time(self):
        return world().now

    def _make_self_pipe(self):
        self._ssock = self._csock = None

    def _close_self_pipe(self):
        self._ssock = self._csock = None

    def _write_to_self(self):
        self._selector.wake()
