"""Coroutines in one event loop, on one thread.

Whoever starts a call puts it into the inbox and wakes the loop, unless a wake-up is under way already: a
wake-up costs more than the rest of the hand-over, so a burst of calls pays for one. On the loop's thread
every call becomes an asyncio task of its own. A task that ends delivers the outcome itself, gets the slot's
next call in return and puts it into the same inbox, without leaving the thread.

Requests to stop a call travel through the inbox too, behind the call they are about. ``still()`` is asked on
the loop's thread, where calls end: no other call can have taken the slot between the answer and the cancel.

Assumptions: as for threads, no call is run in a slot whose outcome is outstanding. The thread is daemonic and
starts with the first call.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import reprlib
import threading
from _thread import allocate_lock, get_ident
from asyncio import AbstractEventLoop, CancelledError, Task
from collections import deque
from collections.abc import Callable
from contextvars import Context
from types import CoroutineType
from typing import Any, ClassVar

import attrs

from ._asyncio_loop import PAUSE, StartNow, close, not_awaitable, serve, starter
from ._asyncio_watch import LoopWatch
from .contract import Call, CallAbandoned, Front, PoolStopped, Traits, check_seconds, check_slots

_THREAD_PREFIX = "two-tier-scheduler-"
#: Calls begun in one go, if so many are there, before the loop looks after its sockets and timers. Arbitrary.
_AT_ONCE = 64


@attrs.frozen
class AsyncioPool(Traits):
    """The recipe of a pool of `slots` coroutines on one event loop, in a thread of its own.

    Runs ``async def`` functions, and plain ones that return an awaitable where the job names a tag of the
    group. Each call is an asyncio task in the submitter's context: ``asyncio.timeout``, ``TaskGroup`` and
    context variables work. A call that is to stop is cancelled; it may catch CancelledError and clean up.

    `loop_factory` makes the loop (None: ``asyncio.new_event_loop``), for example ``uvloop.new_event_loop``;
    when it raises, the pool is broken. `lag_limit` is how many seconds the loop may be held up before a
    warning tells by what (None: never). A slot costs next to nothing: thousands are fine.
    """

    runs_coroutines: ClassVar[bool] = True

    slots: int = attrs.field()
    loop_factory: Callable[[], AbstractEventLoop] | None = attrs.field(default=None, kw_only=True)
    lag_limit: float | None = attrs.field(default=0.1, kw_only=True)

    @slots.validator
    def _check_slots(self, attribute: object, value: object) -> None:
        check_slots("AsyncioPool", value)

    @loop_factory.validator
    def _check_loop_factory(self, attribute: object, value: object) -> None:
        if value is not None and not callable(value):
            raise TypeError(f"AsyncioPool(loop_factory=) must be callable, not {reprlib.repr(value)}")

    @lag_limit.validator
    def _check_lag_limit(self, attribute: object, value: object) -> None:
        if value is not None:
            check_seconds("AsyncioPool(lag_limit=)", value, above_zero=True)

    def open(self, pool_id: str, front: Front) -> _Coroutines:
        """Open a pool; its loop starts when it is first needed."""
        return _Coroutines(self, pool_id, front)


class _Coroutines:
    """A live pool of coroutines."""

    def __init__(self, recipe: AsyncioPool, pool_id: str, front: Front) -> None:
        self._recipe = recipe
        self._pool_id = pool_id
        self._front = front
        self._deliver = front.deliver
        self._names = [f"{pool_id}/{slot + 1}" for slot in range(recipe.slots)]
        #: Slots whose call is to be begun, and slots with a question whether their call is to be cancelled.
        self._inbox: deque[tuple[int, Callable[[], bool] | None]] = deque()
        #: A look into the inbox is under way: nobody else need wake the loop.
        self._woken = False
        #: Calls that have not been taken in.
        self._fresh: dict[int, Call] = {}
        #: Calls that have. Whoever takes one out, which only one can, owes its outcome.
        self._calls: dict[int, Call] = {}
        #: Calls that have been taken in, or that slots got for their last outcome, to be begun.
        self._following: deque[tuple[int, Call]] = deque()
        #: Asyncio tasks under way, by slot.
        self._running: list[Task[None] | None] = [None] * recipe.slots
        #: Requests to stop a call that has yet to begin.
        self._stops: dict[int, Callable[[], bool]] = {}
        self._draining = False
        self._ended = False
        #: Why nothing can run here.
        self._error: BaseException | None = None
        self._hiring = allocate_lock()
        self._thread: threading.Thread | None = None
        self._loop: AbstractEventLoop | None = None
        self._start_now: StartNow
        self._watch: LoopWatch | None = None
        #: What the loop's own business runs in, not in whichever context woke it.
        self._context = Context()
        #: The thread of the loop, by `threading.get_ident`: who blocks that, blocks every coroutine here.
        self.loop_thread: int | None = None

    # From any thread

    def run(self, slot: int, call: Call) -> None:
        """Start `call` in `slot`. Cost: 0.3 µs, and 5 µs more when the loop sleeps; the first time a thread."""
        if self._draining:
            raise PoolStopped(f"pool {self._pool_id} takes no more calls")
        self._fresh[slot] = call
        self._inbox.append((slot, None))
        if not self._woken:
            self._wake()

    def holds(self, slot: int, call: Call) -> bool:
        """Whether `call` was accepted and has not returned yet."""
        if self._fresh.get(slot) is call:
            self._inbox.append((slot, None))  # the interrupt may have come before this was done
            self._wake()
            return True
        return self._calls.get(slot) is call

    def interrupt(self, slot: int, still: Callable[[], bool]) -> None:
        """Cancel the asyncio task of `slot` if it is ``still`` the one, soon and on its own thread."""
        if self._thread is not None:
            self._inbox.append((slot, still))
            if not self._woken:
                self._wake()

    def drain(self) -> None:
        """Take no more calls; the loop ends as soon as it has none."""
        self._draining = True
        # The thread looks at the flag after it has set the loop, so one of the two sees the other.
        if self._loop is not None:
            self._wake()

    def stop(self, timeout: float | None) -> tuple[int, ...]:
        """Drain, and wait up to `timeout` seconds for the loop to end; return the slots still in use then.

        Their calls get an error here. They are cancelled, and the loop ends without waiting for them long.
        """
        self.drain()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return ()
        thread.join(timeout)
        if not thread.is_alive():
            return ()
        self._ended = True
        stuck = self._give_up()
        self._wake()
        for slot in stuck:
            self._deliver(slot, None, CallAbandoned(f"worker {self._names[slot]} would not stop"))
        return tuple(stuck)

    def _give_up(self) -> list[int]:
        """Take every call off the books; whoever does owes its outcome."""
        owed = {slot for slot in list(self._fresh) if self._fresh.pop(slot, None) is not None}
        owed |= {slot for slot in list(self._calls) if self._calls.pop(slot, None) is not None}
        return sorted(owed)

    def _wake(self) -> None:
        """Have the loop look into the inbox.

        The race and why nothing is left lying: a caller first puts its call down, then looks at the flag;
        the loop first takes the flag down, then looks for calls. One of the two sees the other.
        """
        self._woken = True
        loop = self._loop
        if loop is None:
            self._hire()
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended
            if self.loop_thread == get_ident():
                loop.call_soon(self._take_in, context=self._context)
            else:
                loop.call_soon_threadsafe(self._take_in, context=self._context)

    def _hire(self) -> None:
        with self._hiring:
            if self._thread is not None:
                return
            claim = allocate_lock()
            thread = threading.Thread(
                target=self._work, args=(claim,), name=f"{_THREAD_PREFIX}{self._pool_id}", daemon=True
            )
            self._thread = thread
            try:
                thread.start()
            except RuntimeError as error:  # the system gives no more threads
                failure: BaseException = error
            except BaseException:  # an interrupt: see `holds`
                if claim.acquire(False):
                    self._thread = None
                raise
            else:
                return
        self._break(failure, begun=False)

    # On the loop's thread

    def _work(self, claim: Any) -> None:
        if not claim.acquire(False):
            return
        loop = None
        try:
            if self._error is None:
                loop = (self._recipe.loop_factory or asyncio.new_event_loop)()
                if not isinstance(loop, AbstractEventLoop):
                    raise TypeError(
                        "AsyncioPool(loop_factory=) must return an event loop, not " + reprlib.repr(loop)
                    )
        except BaseException as error:
            self._break(error)
            return
        if loop is None:
            self._break(None)
            return
        self.loop_thread = get_ident()
        if self._recipe.lag_limit is not None:
            self._watch = LoopWatch(
                loop, self._pool_id, self._recipe.lag_limit, getattr(self._front, "lagged", None)
            )
        self._start_now = starter(loop)
        loop.call_soon(self._take_in, context=self._context)
        self._loop = loop
        try:
            serve(loop, lambda: self._ended, self._pool_id)
        except BaseException as error:  # a job has closed it
            self._break(error)
        self._end(loop)

    def _take_in(self) -> None:
        """Begin what is to be begun, and cancel what is to be cancelled."""
        inbox, following = self._inbox, self._following
        for _ in range(len(inbox)):
            slot, still = inbox.popleft()
            if still is not None:
                self._cancel(slot, still)
                continue
            call = self._fresh.get(slot)
            if call is not None:
                self._calls[slot] = call  # first, see `holds`
                self._fresh.pop(slot, None)
                following.append((slot, call))  # not begun at once: its stop may lie behind it
        call, watch = None, self._watch
        if watch is not None and watch.due is None and self._calls:
            watch.begin(self._calls)  # first: what blocks may do so at its first step
        for _ in range(max(len(following), _AT_ONCE)):
            if not following:
                break
            self._begin(*following.popleft())
        self._woken = False
        if self._ended or (self._draining and not self._calls and not inbox):
            self._ended = True
            asyncio.get_running_loop().stop()
        elif inbox or following:
            self._wake()

    def _begin(self, slot: int, call: Call) -> None:
        """Make `call` an asyncio task, in a copy of its context: another attempt may be in the original."""
        if self._stops and self._to_stop(slot):
            self._finish(slot, None, CancelledError())
            return
        context = call.context
        context = Context() if context is None else context.copy()
        loop = self._loop
        assert loop is not None
        if loop.get_task_factory() is not None:
            self._begin_by_factory(loop, slot, call, context)
            return
        running = self._start_now(self._run(slot, call), self._names[slot], context)
        if not running.done():  # else it has begun and ended
            self._running[slot] = running

    def _begin_by_factory(self, loop: AbstractEventLoop, slot: int, call: Call, context: Context) -> None:
        """Begin a call where the user has set a factory of asyncio tasks."""
        body = self._run(slot, call, paused=True)
        # Up to its first pause, so that a cancellation before its first step arrives where it is caught.
        body.send(None)
        try:
            running = loop.create_task(body, name=self._names[slot], context=context)
        except BaseException as error:
            if self._calls.pop(slot, None) is call:
                body.close()  # which finds that somebody else owes the outcome
                self._calls[slot] = call
                self._finish(slot, None, error)
            return
        if not running.done():
            self._running[slot] = running

    async def _run(self, slot: int, call: Call, *, paused: bool = False) -> None:
        value: object = None
        failure: BaseException | None = None
        awaitable: Any = None
        try:
            if paused:
                await PAUSE
            try:
                awaitable = call.start()
            except BaseException as error:
                # Without this frame, so that one frame of the call's own comes first, as it does below.
                below = error.__traceback__.tb_next if error.__traceback__ else None
                failure = BaseException.with_traceback(error, below)
            else:
                if type(awaitable) is not CoroutineType and not inspect.isawaitable(awaitable):
                    raise not_awaitable(self._names[slot], call.function, awaitable)
                value = await awaitable
        except BaseException as error:
            failure = error
        del call, awaitable
        self._running[slot] = None
        self._finish(slot, value, failure)
        del value, failure

    def _finish(self, slot: int, value: object, failure: BaseException | None) -> None:
        if self._calls.pop(slot, None) is None:
            return  # given up by `stop`
        following = self._deliver(slot, value, failure)
        if following is not None:
            self._calls[slot] = following
            self._following.append((slot, following))
        elif not self._draining or self._calls:
            return
        if not self._woken:
            self._wake()

    def _cancel(self, slot: int, still: Callable[[], bool]) -> None:
        if not still():
            return
        running = self._running[slot]
        if running is None:
            self._stops[slot] = still  # whoever begins this call is a step behind whoever stops it
        else:
            running.cancel()

    def _to_stop(self, slot: int) -> bool:
        still = self._stops.pop(slot, None)
        return still is not None and still()

    # Its end

    def _break(self, error: BaseException | None, *, begun: bool = True) -> None:
        """Say once that nothing can run here, and end every call that there is; those that cannot have begun go back."""
        if self._error is None and error is not None:
            self._error = error
            self._front.broken(error)
        while True:
            for slot in () if begun else list(self._fresh):
                call = self._fresh.pop(slot, None)
                if call is not None:
                    self._front.lost(slot, None, (call,))
            for slot in self._give_up() if begun else ():
                abandoned = CallAbandoned(f"worker {self._names[slot]} could not start")
                abandoned.__cause__ = self._error
                if self._deliver(slot, None, abandoned) is not None:
                    raise AssertionError("a broken pool was given another call")
            self._thread = self._loop = self.loop_thread = None
            self._woken = False
            if not self._fresh:  # in this order, see `_wake`
                return
            self._woken = True

    def _end(self, loop: AbstractEventLoop) -> None:
        if self._watch is not None:
            self._watch.end()
        if not loop.is_closed():
            self.loop_thread = None
            close(loop, self._pool_id)
