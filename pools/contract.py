"""What a pool promises, and the few words it shares with the scheduler.

A pool runs calls and reports outcomes. It never sees a priority, a retry or a job.

The promises, executable as `pools.testing.check_pool`:

P1  ``slots`` never changes.
P2  ``run`` never blocks and never runs the call in the caller (`InlinePool` is the declared exception).
P3  Each accepted call is delivered exactly once, from any thread.
P4  The slot is free before its outcome is visible.
P5  ``drain`` refuses new calls and finishes the accepted ones.
P6  ``stop`` returns within its timeout and delivers an error for every call it abandons.
P7  A pool that can run nothing any more says so once, through ``broken``, and never lies about free slots.
P8  A worker holds no reference to a finished call.

P9  ``interrupt`` never blocks and stops no other run than the one it is asked about.

An outcome travels as two arguments, ``value`` and ``error``, one of which is None: an object for it
would cost more than the rest of the hand-off.

Two shapes of pool fit. Where a slot is a thread's for life, ``Front.deliver`` is all there is: it takes an
outcome and returns the slot's next call. Where workers come and go and messages cost (processes), the
recipe says that it ``announces``: a slot takes calls from ``Front.ready`` on and until ``Front.lost``, and
``Front.exchange`` reports several outcomes and takes several calls in one turn. Calls then lie *ahead* in
a slot: sent, in order, and not started, for which they can be taken back.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any, ClassVar, Protocol


class Call(Protocol):
    """What a pool is given: a function and its arguments, nothing else."""

    @property
    def function(self) -> Callable[..., object]:
        """What to call, for pools that send the call elsewhere."""

    @property
    def args(self) -> tuple[Any, ...]:
        """Its positional arguments."""

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """Its keyword arguments."""

    @property
    def context(self) -> Context | None:
        """The submitter's context variables; None when there were none."""

    def run(self) -> object:
        """Run it here and now, in the submitter's context, and return its value or raise its error."""

    def enter(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        """Begin to run it here; return what to call with which arguments instead of `run`, and do so at once.

        For pools whose workers are threads: no frame of the call's lies beneath the function, for which every error
        that it raises would be dearer, and which would stay in memory as long as the error does.
        """

    def start(self) -> object:
        """Call the function in the context that the caller is in, and return what it returns: an awaitable.

        For pools that run coroutines, which make a context for each call from `context`.
        """


class Deliver(Protocol):
    """How a pool reports an outcome and gets the next call for the same slot."""

    def __call__(self, slot: int, value: object, error: BaseException | None) -> Call | None:
        """Take the outcome of what ran in `slot`; return the next call for it, or None to park."""


#: A value or an error (the other is None), and the seconds the call itself ran.
Outcome = tuple[object, BaseException | None, float]


class Front(Protocol):
    """What a pool knows of whoever feeds it. Threads: any, holding no lock that the pool's own methods take."""

    @property
    def deliver(self) -> Deliver:
        """Takes the outcome of what ran in a slot, and returns the slot's next call."""

    def broken(self, error: BaseException) -> None:
        """Hear that the pool can run nothing any more, and why."""

    def ready(self, slot: int, worker: str) -> Sequence[Call]:
        """Hear that `slot` has a worker, so named; return its first call, if one waits."""

    def exchange(self, slot: int, outcomes: Sequence[Outcome], want: int) -> Sequence[Call]:
        """Take the outcomes of the slot's first calls, in order; return at most `want` more for behind the others."""

    def missed(self, slot: int) -> bool:
        """Return whether what the last `exchange` gave was wanted back before the pool can have known of it.

        Asked once it holds these calls: it then asks for `recall`.
        """

    def lost(self, slot: int, error: BaseException | None, unstarted: Sequence[Call]) -> None:
        """Hear that the slot has no worker any more until it is ``ready`` again.

        `unstarted` is what it never began, which costs no attempt; `error` is the outcome of the call that
        it was running, None if it was running none.
        """

    def recall(self, slot: int) -> None:
        """Take back what lies ahead in `slot`, by way of ``Pool.recall``."""

    def lagged(self, seconds: float) -> None:
        """Hear how late the pool's event loop has lately been at worst; 0 when it was in time."""


class Pool(Protocol):
    """A fixed number of slots behind one mechanism, live."""

    def run(self, slot: int, call: Call) -> None:
        """Start `call` in `slot`, which is free and stays taken until its outcome is delivered."""

    def holds(self, slot: int, call: Call) -> bool:
        """Return whether ``run`` accepted `call` in `slot` and it has not returned yet.

        Asked after an interrupt (Ctrl-C) in ``run``: an answer too few and the job never runs, one too
        many and it runs twice. A worker lets go of a call after it has run and before it is delivered.
        """

    def interrupt(self, slot: int, still: Callable[[], bool]) -> None:
        """Stop what runs in `slot` as far as the mechanism can: not at all, by a request, by force.

        ``still()`` tells whether the run in question still is the one; ask it on the thread that delivers
        for the slot, right before acting, because the call may have returned meanwhile.
        """

    def drain(self) -> None:
        """Take no more calls; let the workers go as soon as they have nothing to do."""

    def stop(self, timeout: float | None) -> tuple[int, ...]:
        """Wait up to `timeout` seconds (None: for ever) for the workers to go.

        Returns the slots whose worker would not; an error has been delivered for their calls.
        """


class AheadPool(Pool, Protocol):
    """A pool that holds calls ahead; its recipe's ``prefetch`` is not 0."""

    @property
    def inversion_bound(self) -> float:
        """Seconds that an urgent call may wait behind what lies ahead, as measured."""

    def recall(self, slot: int) -> Sequence[Call]:
        """Return, in order, the calls ahead in `slot` that had not started and now never will. Never blocks."""


class PoolRecipe(Protocol):
    """How to open one more pool; a frozen value, such as ``ThreadPool(slots=8)``."""

    @property
    def slots(self) -> int:
        """How many calls one such pool runs at once."""

    @property
    def prefetch(self) -> int:
        """How many calls it may hold beyond its slots, to hide its hand-off."""

    @property
    def runs_coroutines(self) -> bool:
        """Whether it takes coroutine functions, and only those."""

    @property
    def dedicated(self) -> bool:
        """Whether its group takes only jobs that name one of its tags, unless told otherwise."""

    @property
    def announces(self) -> bool:
        """Whether a slot takes calls only once the pool has called ``ready`` for it."""

    @property
    def kills(self) -> bool:
        """Whether ``interrupt`` ends a call whatever it does."""

    def open(self, pool_id: str, front: Front) -> Pool:
        """Open a pool with workers named ``<pool_id>/1``, ``<pool_id>/2`` and so on.

        It returns soon, for timers wait for it when the autoscaler opens the pool; what takes long is done by the
        workers, and told by ``ready``, see `announces`.
        """


class Traits:
    """What a recipe says of its pools, as most would: the base of the recipes here. See `PoolRecipe`."""

    __slots__ = ()

    prefetch: ClassVar[int] = 0
    runs_coroutines: ClassVar[bool] = False
    dedicated: ClassVar[bool] = False
    announces: ClassVar[bool] = False
    kills: ClassVar[bool] = False


class PoolStopped(Exception):
    """A pool was asked to run a call after ``drain`` or ``stop``."""


class CallAbandoned(Exception):
    """The pool stopped while the call was running; its worker was left behind."""


class WorkerGone(CallAbandoned):
    """The worker died in the call, or was killed because of it."""

    def __init__(self, text: str, *, phase: str, exitcode: int | None, stderr: str) -> None:
        super().__init__(text)
        #: What it was doing.
        self.phase = phase
        #: As `multiprocessing` tells it: negative for a signal; None when it cannot be had.
        self.exitcode = exitcode
        #: The last lines that it wrote to its standard error.
        self.stderr = stderr


class RemoteError(Exception):
    """Stands for an exception that could not be sent: its text names the type and what that said."""


class RemoteTraceback(Exception):
    """The traceback of where an exception was raised in another process, as text: the exception's cause."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0] if self.args else ''}"


def each_of(function: Callable[..., object], *each: tuple[object, ...]) -> list[object]:
    """Call `function` with each tuple of arguments and return the values, as one call of a chunk.

    An error ends it, and carries as ``values_before`` the values that came before it.
    """
    values: list[object] = []
    for args in each:
        try:
            values.append(function(*args))
        except BaseException as error:
            with suppress(Exception):  # an exception may refuse attributes
                error.values_before = values  # type: ignore[attr-defined]
            raise
    return values


def check_slots(kind: str, slots: object) -> None:
    """Raise unless `slots` is a positive integer."""
    if isinstance(slots, bool) or not isinstance(slots, int):
        raise TypeError(f"{kind}(slots=) must be a positive integer, not {reprlib.repr(slots)}")
    if slots < 1:
        raise ValueError(f"{kind}(slots=) must be at least 1, not {slots}")


def check_seconds(name: str, value: object, *, above_zero: bool = False) -> None:
    """Raise unless `value` is finite seconds, not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be seconds, a number, not {reprlib.repr(value)}")
    if not 0 <= value < float("inf") or (above_zero and value == 0):
        limit = "more than 0" if above_zero else "at least 0"
        raise ValueError(f"{name} must be finite seconds, {limit}, not {reprlib.repr(value)}")
