"""A closing in virtual time, by the same numbered steps as `scheduler._stopping` takes them."""

from __future__ import annotations

from typing import Any

from storm.hands import Hands
from storm.judge import Caught

from scheduler._core.states import PoolState
from scheduler._errors import JobInterrupted


class Closing(Hands):
    """Closes, and sees that it ends in bounded time whatever jobs do (I15)."""

    phase = "running"
    #: What was still alive when it was given up.
    abandoned = 0

    def closes(self, finish_within: float, cancel_within: float) -> None:
        """Begin to close."""
        if self.closing:
            return
        self.closing, self.phase = True, "finishing"
        self.turn(self._refuse)
        self.turn(self._open_everything)
        self.later(finish_within, self._cancel, cancel_within, work=False)

    def _refuse(self) -> None:
        self.core.stop_scaling()
        for job in list(self.core.gate.door):
            self.core.leave_door(job, self.now, "the scheduler closes")

    def _open_everything(self) -> None:
        for pool in self.core.pools:
            if pool.state is PoolState.CORDONED:
                self.core.pool_up(pool, self.now)
        self.judge.pauses(paused=False)
        self.core.resume(self.now)

    def _cancel(self, within: float) -> None:
        if not self.core.idle:
            self.phase = "cancelling"
            self.turn(self._begin_to_cancel)
            while self.turn(self._cancel_one):
                pass
            self.judge.pauses(paused=False)
            self.turn(lambda: self.core.resume(self.now))
            self.turn(self._interrupt_all)
        self.later(within, self._give_up, work=False)

    def _begin_to_cancel(self) -> None:
        self.judge.pauses(paused=True)
        self.core.pause(self.now)
        for pool in self.core.pools:
            for slot in pool.all_slots:
                self.take_back(slot)
        self.core.retrying = False

    def _cancel_one(self) -> bool:
        job = self.core.last_to_start()
        if job is not None:
            self.core.cancel(job, self.now, JobInterrupted(f"job {job.id} was cancelled: closing"))
        return job is not None

    def _interrupt_all(self) -> None:
        for job in list(self.core.running()):
            self.core.interrupt(job, "the scheduler is closing", self.now)

    def _give_up(self) -> None:
        if not self.core.idle:
            self.phase = "killing"
            self.turn(self._abandon_all)
        if not self.core.idle:
            alive: list[Any] = [job.id for job in self.core.alive()]
            raise Caught("I15", f"jobs {alive} are alive after the closing gave up everything", *alive)
        self.phase = "closed"
        self.turn(self._drain_all)

    def _abandon_all(self) -> None:
        slots = [slot for pool in self.core.pools for slot in pool.all_slots]
        for slot in (*slots, *self.core.caller_slots):
            if slot.job is not None and slot.job.slot is slot:
                self.abandoned += 1
                self.core.abandon(slot, JobInterrupted("left behind"), self.now)

    def _drain_all(self) -> None:
        for pool in list(self.core.pools):
            self.core.drain_for_good(pool, self.now)
