"""A pool without threads: the caller runs the call. For tests, doctests and examples."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from .contract import Call, Front, PoolStopped, Traits, check_slots


@attrs.frozen
class InlinePool(Traits):
    """The recipe of a pool whose calls run in whichever thread starts them.

    The declared exception to promise P2: ``submit`` returns when the job has run, if a slot was free.
    With one slot, a job submitted by a job waits until the outer one has returned.
    """

    slots: int = attrs.field(default=1)

    @slots.validator
    def _check_slots(self, attribute: object, value: object) -> None:
        check_slots("InlinePool", value)

    def open(self, pool_id: str, front: Front) -> _Inline:
        """Open a pool."""
        return _Inline(pool_id, front)


class _Inline:
    """A live pool that borrows its callers."""

    #: ``run`` runs the call itself; pools that do not say so do not.
    inline = True

    def __init__(self, pool_id: str, front: Front) -> None:
        self._pool_id = pool_id
        self._deliver = front.deliver
        self._draining = False

    def run(self, slot: int, call: Call) -> None:
        """Run `call`, and whatever the slot is given after it, before returning."""
        if self._draining:
            raise PoolStopped(f"pool {self._pool_id} takes no more calls")
        following: Call | None = call
        del call
        while following is not None:
            value: object = None
            failure: BaseException | None = None
            try:
                value = following.run()
            except BaseException as error:
                below = error.__traceback__.tb_next if error.__traceback__ else None
                failure = BaseException.with_traceback(error, below)
            following = self._deliver(slot, value, failure)

    def holds(self, slot: int, call: Call) -> bool:
        """False: what ``run`` accepts has returned when it does."""
        return False

    def interrupt(self, slot: int, still: Callable[[], bool]) -> None:
        """Do nothing: the call reads of it in ``current_job()``, or not."""

    def drain(self) -> None:
        """Take no more calls."""
        self._draining = True

    def stop(self, timeout: float | None) -> tuple[int, ...]:
        """Take no more calls; a call that runs is some caller's own business."""
        self.drain()
        return ()
