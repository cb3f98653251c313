"""What the checks of `pools.testing` make a pool run: functions, and the same as coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from .contract import Call


class SampleCall:
    """A call as pools are given them. Satisfies `pools.contract.Call`."""

    def __init__(self, function: Callable[..., object], *args: Any) -> None:
        self.function = function
        self.args = args
        self.kwargs: dict[str, Any] = {}
        self.context = None

    def run(self) -> object:
        """Call the function."""
        return self.function(*self.args, **self.kwargs)

    def enter(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        """Return the function and its arguments."""
        return partial(self.function, **self.kwargs), self.args

    def start(self) -> object:
        """Call the function; it returns an awaitable."""
        return self.function(*self.args, **self.kwargs)


class Held:
    """A call that says that it has started, and returns "finished" once it is released."""

    def __init__(self, patience: float) -> None:
        self.call: Call = SampleCall(self.hold)
        #: Seconds to wait for its start, and after which it returns though nobody released it.
        self.patience = patience
        #: Where it ran, by `threading.get_ident`; None before it has, or where that means nothing.
        self.thread: int | None = None
        self._started = threading.Event()
        self._released = threading.Event()

    def hold(self) -> object:
        """Be the call."""
        self.thread = threading.get_ident()
        self._started.set()
        self._released.wait(self.patience)
        return "finished"

    def started(self) -> bool:
        """Wait for its start; return whether it came in time."""
        return self._started.wait(self.patience)

    def release(self) -> None:
        """Let it return."""
        self._released.set()


class Samples:
    """What a pool under test is made to run. `patience` is how many seconds anything may take."""

    def __init__(self, patience: float = 10.0) -> None:
        self.patience = patience

    def value(self, value: object) -> Call:
        """Return a call that returns `value`."""
        return SampleCall(_give, value)

    def error(self, error: BaseException) -> Call:
        """Return a call that raises `error`."""
        return SampleCall(_raise, error)

    def held(self) -> Held:
        """Return a call that waits to be released."""
        return Held(self.patience)


class CoroutineSamples(Samples):
    """The same, as coroutines."""

    def value(self, value: object) -> Call:
        """Return a call that returns `value`, having let others go first."""
        return SampleCall(_give_later, value)

    def error(self, error: BaseException) -> Call:
        """Return a call that raises `error`, having let others go first."""
        return SampleCall(_raise_later, error)

    def held(self) -> Held:
        """Return a call that awaits its release."""
        return _HeldCoroutine(self.patience)


class _HeldCoroutine(Held):
    async def hold(self) -> object:
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()
        self.thread = threading.get_ident()
        self._started.set()
        if not self._released.is_set():
            await asyncio.wait_for(self._event.wait(), self.patience)
        return "finished"

    def release(self) -> None:
        self._released.set()
        if self._started.is_set():
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._event.set)


def _give(value: object) -> object:
    return value


def _raise(error: BaseException) -> None:
    raise error


async def _give_later(value: object) -> object:
    await asyncio.sleep(0)
    return value


async def _raise_later(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error
