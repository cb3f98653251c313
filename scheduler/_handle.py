"""The caller's end of a job: a `concurrent.futures.Future` without the furniture.

A stock future costs 0.8 µs, most of it for a condition and two lists that most futures never need.
A handle is the job's own record (one object, not two), and borrows its scheduler's lock as condition:

- Where it settles: in the core, under the lock of the turn. There is no moment in which the ledger
  says one thing and the handle another.
- Who waits: a watcher is added under that lock, and only to a handle that has not settled; whoever
  settles it notifies the watchers after letting go of the lock. So no wake-up can be lost.
- `concurrent.futures.wait` and `as_completed` reach for ``_condition``, ``_waiters`` and ``_state``;
  they find the shared lock, a list made on first use, and the state in the standard's words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextvars import Context
from functools import partial
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from pools.logs import log_of

from ._core.job import Attempt, Job, JobOptions, Line
from ._core.standing import Standing
from ._core.states import CANCELLED, RUNNING, SUCCEEDED, WAITING
from ._current import inside, local
from ._hedge_call import Again
from ._relay import Relay
from ._watching import RETRIEVED, Late, Unretrieved, Watcher

T = TypeVar("T")

_log = log_of("two-tier-scheduler.handle")


class Keeper(Protocol):
    """Whoever settles a handle: what the handle asks of its driver."""

    condition: Any
    lock: Any
    forked: bool
    heralds: Relay[tuple[Any, JobHandle[Any]]]

    def wait(self, handle: JobHandle[Any], timeout: float | None) -> None:
        """Block until the handle has settled; raise TimeoutError after `timeout` seconds."""

    def watched_from_outside(self, handle: JobHandle[Any]) -> None:
        """Say it when a job watches a handle and would wait for ever."""

    def watch(self, handle: JobHandle[Any], callback: Callable[[Any], object]) -> bool:
        """Register a done-callback; return False when the handle has already settled."""

    def cancel(self, handle: JobHandle[Any]) -> bool:
        """Cancel the job unless it runs."""

    def interrupt(self, handle: JobHandle[Any], reason: str) -> bool:
        """Ask the job to stop."""

    def history(self, handle: JobHandle[Any]) -> tuple[Attempt, ...]:
        """Return the job's attempts."""

    def explain(self, handle: JobHandle[Any]) -> Standing:
        """Return how the job stands."""

    def wait_inside(self, handle: JobHandle[Any]) -> Generator[Any, None, Any]:
        """Await the handle in a coroutine that is, or belongs to, a job."""


class JobHandle(Job, Future[T]):
    """The caller's end of a job: a future with an id, a state and its attempts.

    Everything that takes a `concurrent.futures.Future` takes a handle; it can also be awaited.
    Made by ``submit``, never by hand.

    Threads: every method may be called from any thread. Cost: 350 bytes while it waits.
    """

    __slots__ = ("_condition", "args", "callbacks", "context", "driver", "function", "kwargs", "watchers")

    def __init__(  # does not call Future's: that would make the furniture
        self,
        options: JobOptions,
        line: Line,
        driver: Keeper,
        function: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        context: Context | None,
    ) -> None:
        # `Job.__init__`, written again: calling it would cost a tenth of a submit.
        self.id = self.arrival = self.attempt = 0
        self.key = options.priority
        self.options = options
        self.line = line
        self.state = WAITING
        self.ended_at = self.slot = self.outcome = self.extra = None
        self.driver = driver
        self._condition = driver.condition
        self.function: Callable[..., T] | None = function
        self.args = args
        self.kwargs = kwargs
        self.context = context
        self.watchers: list[Any] | None
        self.callbacks: list[Callable[[Any], object]] | None
        self.watchers = self.callbacks = None

    # Asking

    def done(self) -> bool:
        """Return whether the job has settled."""
        return self.state.settled

    def running(self) -> bool:
        """Return whether an attempt runs now."""
        return self.state is RUNNING

    def cancelled(self) -> bool:
        """Return whether the job was cancelled or stopped when asked to."""
        return self.state is CANCELLED

    def result(self, timeout: float | None = None) -> T:
        """Return the job's value, waiting up to `timeout` seconds (None: as long as it takes).

        Raises the job's own exception as itself, TimeoutError when time is up, CancelledError when
        the job was cancelled, WouldDeadlock when called in a job for one that cannot start before it.
        """
        if self.state is not SUCCEEDED:
            if not self.state.settled:
                self.driver.wait(self, timeout)
            if self.state is not SUCCEEDED:
                self._retrieved()
                try:
                    raise self.outcome
                finally:
                    del self  # or the traceback keeps the handle, and the handle the traceback
        value: T = self.outcome
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the job's exception, None if it succeeded, waiting as `result` does.

        Raises TimeoutError and CancelledError as `result` does.
        """
        if not self.state.settled:
            self.driver.wait(self, timeout)
        self._retrieved()
        if self.state is CANCELLED:
            try:
                raise self.outcome
            finally:
                del self  # see `result`
        return None if self.state is SUCCEEDED else self.outcome

    def _retrieved(self) -> None:
        noted = None if self.extra is None else self.extra.unretrieved
        if noted is None and self.state is not CANCELLED:
            with self.driver.lock:  # whoever settled it may just be about to note that nobody has looked
                noted = self.more().unretrieved
                if noted is None:
                    self.more().unretrieved = RETRIEVED
        if isinstance(noted, Unretrieved):
            noted.error = None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The job's attempts so far, oldest first; the last one may still run."""
        return self.driver.history(self)

    @property
    def progress(self) -> tuple[float, float | None] | None:
        """What the job last told with ``current_job().progress(done, total)``."""
        return None if self.extra is None else self.extra.progress

    @property
    def name(self) -> str:
        """The name given with the options, else the function's; a settled job has let go of that."""
        return self.options.name or (f"job {self.id}" if self.function is None else name_of(self.function))

    def explain(self) -> Standing:
        """Return why the job is where it is, and by estimate for how long; ``print`` it to read that.

        Cost: O(pools), and O(n) in the jobs of its priority that wait. Threads: any.
        """
        return self.driver.explain(self)

    # Stopping

    def cancel(self) -> bool:
        """Cancel the job unless it runs or has settled; return whether it is cancelled.

        A job that backs off between two attempts does not run, and is cancelled.
        """
        return self.driver.cancel(self)

    def interrupt(self, reason: str | None = None) -> bool:
        """Ask a running job to stop, cancel one that does not run; return whether either was done.

        In a thread, the job learns of it through ``current_job()``: a thread cannot be killed.
        """
        return self.driver.interrupt(self, reason or "interrupt() was called")

    # Waiting

    def add_done_callback(self, fn: Callable[[JobHandle[T]], object]) -> None:
        """Call ``fn(handle)`` once the job has settled, at once if it has.

        It is called in the thread that settles the job. What it raises is logged.
        """
        if not self.driver.watch(self, fn):
            try:
                fn(self)
            except Exception:
                _log.exception("exception calling callback for job %s", self.id)

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the result in an event loop; cancelling the waiting coroutine cancels the job.

        Raises WouldDeadlock in a job, as `result` does.
        """
        if inside.get() is not None and not self.state.settled:
            return self.driver.wait_inside(self)
        if local.slot is not None:  # in an event loop of a job's own, in a thread
            self.driver.watched_from_outside(self)
        return asyncio.wrap_future(self).__await__()

    # What concurrent.futures.wait, as_completed and asyncio reach for

    if TYPE_CHECKING:  # typeshed's `as_completed` takes only what shows these as plain attributes
        _condition: Any
        _waiters: list[Any]
        _state: str
    else:

        @property
        def _waiters(self) -> list[Any]:
            if self.watchers is None:
                self.watchers = []
            if self.state.settled and type(self.watchers) is list:
                self.watchers = Late(self.watchers)
            if local.slot is not None or self.driver.forked:
                self.driver.watched_from_outside(self)
            return self.watchers

        @property
        def _state(self) -> str:
            return self.state.standard

    def _get_snapshot(self) -> tuple[bool, bool, T | None, BaseException | None]:
        """Return done, cancelled, value and error at one moment; newer Pythons ask for it."""
        state = self.state
        if not state.settled:
            return False, False, None, None
        self._retrieved()
        if state is CANCELLED:
            return True, True, None, None
        return (True, False, self.outcome, None) if state is SUCCEEDED else (True, False, None, self.outcome)

    def set_running_or_notify_cancel(self) -> bool:
        """Raise: only its scheduler settles a job."""
        self._hands_off()

    def set_result(self, result: T) -> None:
        """Raise: only its scheduler settles a job."""
        self._hands_off()

    def set_exception(self, exception: BaseException | None) -> None:
        """Raise: only its scheduler settles a job."""
        self._hands_off()

    def _hands_off(self) -> NoReturn:
        raise RuntimeError(f"job {self.id} is settled by its scheduler alone; use a Future of your own")

    # What the driver reaches for

    def run(self) -> object:
        """Run the call here, in a context of its own. Satisfies `pools.contract.Call`."""
        function, args = self.enter()
        try:
            return function(*args)
        except BaseException:
            del self, function, args  # the error's traceback keeps this frame, and it these
            raise

    def enter(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        """Begin to run the call here, in a context of its own; return what to call, made in C, with what."""
        slot = self.slot
        if slot is not None:
            slot.begun = self.attempt
            local.slot = slot  # type: ignore[assignment]
        context = self.context
        if context is None:
            context = Context()
        elif self.attempt > 1:
            context = context.copy()  # an earlier attempt may still be in it
        if self.kwargs is None:
            return context.run, (self.function,) + self.args  # noqa: RUF005  a star would take twice as long
        return partial(context.run, self.function, *self.args, **self.kwargs), ()  # type: ignore[arg-type]

    def start(self) -> object:
        """Call the function in the context that the caller is in. Satisfies `pools.contract.Call`."""
        slot = self.slot
        if slot is not None:
            slot.begun = self.attempt
            inside.set((slot, self.id, self.attempt))  # type: ignore[arg-type]
        function = self.function
        assert function is not None
        if self.kwargs is None:
            return function(*self.args)
        return function(*self.args, **self.kwargs)

    def again(self, slot: Any) -> object:
        """Return the call of a hedge of this job in `slot`, which outlives what the handle knows of it."""
        return Again(self, slot)

    def watched_by(self, watcher: Watcher) -> None:
        """Add a watcher; under the lock."""
        if self.watchers is None:
            self.watchers = []
        self.watchers.append(watcher)

    def forget(self, watcher: Watcher) -> None:
        """Remove a watcher whose time is up; under the lock."""
        assert self.watchers is not None
        self.watchers.remove(watcher)

    def forget_call(self) -> None:
        """Let go of the function and its arguments: they are not needed any more."""
        self.function = self.args = self.kwargs = self.context = None  # type: ignore[assignment]

    def notify(self) -> None:
        """Wake who waits for the settled job and run its callbacks, outside the lock."""
        watchers = self.watchers
        if watchers:
            heralds = self.driver.heralds
            for watcher in watchers.due if type(watchers) is Late else tuple(watchers):
                if type(watcher) is Watcher:
                    watcher.wake()
                else:
                    heralds.put((watcher, self))
            heralds.hand_out()
        self.call_back()

    def call_back(self) -> None:
        """Run the callbacks, each once; what they raise is logged and changes nothing."""
        callbacks = self.callbacks
        while callbacks:
            callback = callbacks[0]
            del callbacks[0]
            try:
                callback(self)
            except BaseException as error:
                # Even SystemExit must not take a worker with it; but Ctrl-C belongs to the main thread, and no
                # callback is to blame for it.
                if isinstance(error, KeyboardInterrupt) and current_thread() is main_thread():
                    raise
                _log.exception("exception calling callback for job %s", self.id)

    def __repr__(self) -> str:
        return f"<JobHandle {self.id} {self.state.value} priority={self.options.priority}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"job {self.id}'s handle belongs to its process and cannot be pickled")


def name_of(function: object) -> str:
    """Return what to call a function, whatever its attributes do."""
    try:
        name = getattr(function, "__qualname__", None) or type(function).__qualname__
        return str(name)
    except Exception:
        return "a callable whose name cannot be had"
