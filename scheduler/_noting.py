"""A core that notes what it decides: who starts where, what is tried again, which pools come and go."""

from __future__ import annotations

from typing import Any

from ._core.core import Core
from ._core.job import Job
from ._core.pool_table import PoolRecord, Slot
from ._core.retrier import policy_of
from ._core.states import JobState
from ._notes import Notes
from ._tape import text


class NotingCore(Core):
    """A core that notes what it decides. That a job succeeds is no decision: it is told so."""

    def __init__(self, *args: Any, notes: Notes, **named: Any) -> None:
        self.notes = notes
        super().__init__(*args, **named)

    def _admit(self, job: Job, now: float) -> None:
        super()._admit(job, now)
        if self.notes.at_door:
            number = self.notes.at_door.pop(job, None)
            if number is not None:
                self.notes.effects.append(f'["admit",{number},{job.id}]')

    def _start(self, job: Job, slot: Slot, now: float) -> None:
        super()._start(job, slot, now)
        notes = self.notes
        if slot.pool is self.caller:
            notes.callers[slot] = f'"caller/{job.id}"'
        notes.effects.append(f'["start",{job.id},{notes.slot(slot)},{job.attempt}]')

    def _lay_ahead(self, job: Job, slot: Slot) -> None:
        super()._lay_ahead(job, slot)
        self.notes.effects.append(f'["ahead",{job.id},{self.notes.slot(slot)}]')

    def _begin_hedge(self, job: Job, now: float) -> None:
        super()._begin_hedge(job, now)
        slot = job.more().hedge
        self.notes.effects.append(f'["hedge",{job.id},{self.notes.slot(slot)}]')

    def hedge_won(self, job: Job, slot: Slot) -> None:
        """Let a hedge that returned with a value be the job's attempt."""
        super().hedge_won(job, slot)
        self.notes.effects.append(f'["hedge_won",{job.id}]')

    def retry_delay(
        self, job: Job, slot: Slot, error: BaseException, now: float, *, rejected: bool = False
    ) -> float | None:
        """Return seconds until the next attempt of a job that failed, or None."""
        notes = self.notes
        before = len(notes.effects)
        delay = super().retry_delay(job, slot, error, now, rejected=rejected)
        policy = policy_of(job, slot)
        if policy is not None and self.retrying and notes.tape.on and not notes.is_pure(policy):
            del notes.effects[before:]  # the dice it threw: they are in its answer
            asked: list[Any] = []
            if not (rejected and error.__cause__ is not None):  # then it was not asked itself
                asked = [getattr(each, "budget", None) or each.breaker for each in self.retrier.asked]  # type: ignore[attr-defined]
            notes.answer(policy, delay, asked)
        return delay

    def back_off(self, job: Job, error: BaseException, delay: float, now: float) -> None:
        """Let a job whose attempt failed wait for its next one."""
        super().back_off(job, error, delay, now)
        self.notes.effects.append(f'["retry",{job.id},{delay!r}]')

    def settle(
        self, job: Job, state: JobState, outcome: object, now: float, *, open_door: bool = True
    ) -> None:
        """Bring a job to a terminal state."""
        self.notes.effects.append(f'["settle",{job.id},"{state.name}"]')
        super().settle(job, state, outcome, now, open_door=open_door)

    def reject(self, job: Job, now: float, reason: str) -> None:
        """Count a job that was turned away."""
        super().reject(job, now, reason)
        self.notes.effects.append('["reject"]')

    def open_pool(self, *args: Any, **named: Any) -> PoolRecord:
        """Put one more pool on the books."""
        pool = super().open_pool(*args, **named)
        self.notes.effects.append(f'["open",{self.notes.pool(pool)}]')
        return pool

    def _quarantine(self, pool: PoolRecord, now: float) -> None:
        self.notes.effects.append(f'["quarantine",{self.notes.pool(pool)}]')
        super()._quarantine(pool, now)

    def _decided(self, scaled: Any, action: str, pools: Any, order: Any, load: Any, *rest: Any) -> None:
        super()._decided(scaled, action, pools, order, load, *rest)
        names = text([pool.pool_id for pool in pools])
        said = f'["scale",{text(load.group)},"{action}",{names},{text(order.advice.pools)}]'
        self.notes.effects.append(said)
