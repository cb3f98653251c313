"""How asyncio tasks begin on one event loop, and how the loop ends."""

from __future__ import annotations

import asyncio
import contextlib
import reprlib
import sys
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from .logs import log_of

_log = log_of("two-tier-scheduler.pools")

#: Seconds that what is left on a loop gets to heed its cancellation. Arbitrary.
_GRACE = 0.5


class _Pause:
    """Awaited first by a coroutine that somebody else will begin: a cancellation then finds it begun."""

    def __await__(self) -> Any:  # a Generator for type checkers; made in C, it needs but one `next`
        return iter((None,))


PAUSE = _Pause()


StartNow = Callable[[Coroutine[Any, Any, None], str, Context], Task[None]]


def starter(loop: AbstractEventLoop) -> StartNow:
    """Return a function that makes an asyncio task of which the first step has been taken.

    It must not be called from within another one. It saves the loop a round, and a job 1 µs.
    """
    if sys.version_info >= (3, 12):
        return lambda body, name, context: Task(body, loop=loop, name=name, context=context, eager_start=True)

    # A task asks its loop to call its first step soon; here what it asks for is called at once. This relies
    # on how Python 3.11 does it, which will not change any more.
    steps: list[Callable[[], object]] = []
    soon = loop.call_soon

    def take(step: Callable[..., object], *args: Any, context: Context | None = None) -> object:
        if steps or args:  # a finaliser's, which ran in between
            return soon(step, *args, context=context)
        steps.append(step)
        return None

    def start_now(body: Coroutine[Any, Any, None], name: str, context: Context) -> Task[None]:
        loop.call_soon = take  # type: ignore[method-assign,assignment]
        try:
            running = Task(body, loop=loop, name=name, context=context)
        finally:
            del loop.call_soon
        context.run(steps.pop())
        return running

    return start_now


def not_awaitable(worker: str, function: object, value: object) -> TypeError:
    """Return the error of a plain function that was sent to a loop and made nothing that it could run."""
    name = getattr(function, "__qualname__", None) or reprlib.repr(function)
    return TypeError(
        f"{name}() returned {reprlib.repr(value)}, which cannot be awaited, in worker {worker}, which runs "
        "coroutines; make it `async def`, or submit it without the tag of that group so that a thread runs it"
    )


def serve(loop: AbstractEventLoop, ended: Callable[[], bool], pool_id: str) -> None:
    """Run a loop until it has ``ended()``, whatever is raised or stopped on it; raise when it was closed."""
    while not ended():
        try:
            loop.run_forever()
        except BaseException as error:  # a child of a job raised SystemExit, of which its parent learns, too
            if loop.is_closed():
                raise
            _log.error("something on the event loop of pool %s raised; it goes on", pool_id, exc_info=error)


def close(loop: AbstractEventLoop, pool_id: str) -> None:
    """Cancel what is left on a loop that does not run, and close it. On its own thread.

    Takes half a second at most, but for threads of ``asyncio.to_thread``, which can only be waited for.
    """
    left = asyncio.all_tasks(loop)
    for running in left:
        running.cancel()
    if left:
        with contextlib.suppress(BaseException):
            loop.run_until_complete(asyncio.wait(left, timeout=_GRACE))
    for running in asyncio.all_tasks(loop):
        _log.warning("asyncio task %s on pool %s would not be cancelled", running.get_name(), pool_id)
        running._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001  that has been told
        with contextlib.suppress(BaseException):
            running.get_coro().close()
    for closing in (loop.shutdown_asyncgens, loop.shutdown_default_executor):
        try:
            loop.run_until_complete(closing())
        except BaseException as error:
            _log.error("the event loop of pool %s did not end cleanly", pool_id, exc_info=error)
    loop.close()
