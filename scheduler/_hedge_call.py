"""The call of a hedge: a second run of an attempt, in another slot than the job's own."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any

from ._current import inside, local


class Again:
    """The call of a hedge: a job's, in another slot than the job's own. Satisfies `pools.contract.Call`."""

    __slots__ = ("args", "attempt", "context", "function", "job_id", "kwargs", "slot")

    def __init__(self, job: Any, slot: Any) -> None:
        self.slot, self.attempt, self.job_id = slot, job.attempt, job.id
        self.function: Callable[..., object] = job.function
        self.args, self.kwargs = job.args, job.kwargs or {}
        self.context = Context() if job.context is None else job.context.copy()  # the first is in it

    def run(self) -> object:
        """Run the call here, in a context of its own."""
        function, args = self.enter()
        try:
            return function(*args)
        except BaseException:
            del self, function, args  # see `JobHandle.run`
            raise

    def enter(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        """Begin to run the call here; see `JobHandle.enter`."""
        self.slot.begun = self.attempt
        local.slot = self.slot
        return partial(self.context.run, self.function, *self.args, **self.kwargs), ()

    def start(self) -> object:
        """Call the function in the context that the caller is in."""
        self.slot.begun = self.attempt
        inside.set((self.slot, self.job_id, self.attempt))
        return self.function(*self.args, **self.kwargs)
