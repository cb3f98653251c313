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

An outcome travels as two arguments, ``value`` and ``error``, one of which is None: an object for it
would cost more than the rest of the hand-off.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol


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

    def run(self) -> object:
        """Run it here and now, in the submitter's context, and return its value or raise its error."""


class Deliver(Protocol):
    """How a pool reports an outcome and gets the next call for the same slot."""

    def __call__(self, slot: int, value: object, error: BaseException | None) -> Call | None:
        """Take the outcome of what ran in `slot`; return the next call for it, or None to park."""


class Broken(Protocol):
    """How a pool says that it can run nothing any more."""

    def __call__(self, error: BaseException) -> None:
        """Take the reason."""


class Pool(Protocol):
    """A fixed number of slots behind one mechanism, live."""

    def run(self, slot: int, call: Call) -> None:
        """Start `call` in `slot`, which is free and stays taken until its outcome is delivered."""

    def holds(self, slot: int, call: Call) -> bool:
        """Return whether ``run`` accepted `call` in `slot` and it has not returned yet.

        Asked after an interrupt (Ctrl-C) in ``run``: an answer too few and the job never runs, one too
        many and it runs twice. A worker lets go of a call after it has run and before it is delivered.
        """

    def drain(self) -> None:
        """Take no more calls; let the workers go as soon as they have nothing to do."""

    def stop(self, timeout: float | None) -> tuple[int, ...]:
        """Wait up to `timeout` seconds (None: for ever) for the workers to go.

        Returns the slots whose worker would not; an error has been delivered for their calls.
        """


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

    def open(self, pool_id: str, deliver: Deliver, broken: Broken) -> Pool:
        """Open a pool with workers named ``<pool_id>/1``, ``<pool_id>/2`` and so on."""


class PoolStopped(Exception):
    """A pool was asked to run a call after ``drain`` or ``stop``."""


class CallAbandoned(Exception):
    """The pool stopped while the call was running; its worker was left behind."""


def check_slots(kind: str, slots: object) -> None:
    """Raise unless `slots` is a positive integer."""
    if isinstance(slots, bool) or not isinstance(slots, int):
        raise TypeError(f"{kind}(slots=) must be a positive integer, not {reprlib.repr(slots)}")
    if slots < 1:
        raise ValueError(f"{kind}(slots=) must be at least 1, not {slots}")
