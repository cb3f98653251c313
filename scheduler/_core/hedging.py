"""Hedges: a second attempt beside one that takes long, in a slot that nobody else can use.

Theory of operation
    An attempt and its hedge are one attempt: same number, same limits of time, one outcome. The job's `slot`
    is that of the attempt; the hedge's slot is bound to the same job and stands in `Extra.hedge`. All else
    sees in it what it sees in the slot of a call that outlived its attempt: in use, charged to the tenant,
    holding the limits, and its outcome is nobody's.

    The hedge returns first with a value: the two slots change places, and the job succeeds as ever. With an
    error: it is forgotten. The attempt returns first with a value: the hedge is asked to stop. With an error:
    the hedge goes on in its place. When the attempt is given up, for whatever reason, so is the hedge.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from . import events
from .books import Books
from .job import Job
from .pool_table import Slot
from .states import RUNNING, SUCCEEDED
from .statistics import BOUNDS, Meter
from .timers import TimerKind

#: Run times that make a generation; a quantile is of the last one to two of them, so that it is recent. Arbitrary.
_GENERATION = 1000
#: A quantile is computed again when so many more have ended, as a part of those it was of. Arbitrary.
_FRESH = 0.05


class Recent:
    """A quantile of run times that ended lately. Cost: 20 µs each time that 5 % more have ended, else O(1)."""

    __slots__ = ("_counted", "_newer", "_older", "_seconds", "_seen")

    def __init__(self, meter: Meter) -> None:
        self._older = self._newer = ([0] * (len(BOUNDS) + 1), 0)
        self._seen, self._counted = -1, 0
        self._seconds: float | None = None

    def quantile(self, meter: Meter, share: float, samples_min: int) -> float | None:
        """Return the seconds that `share` of them did not exceed, None while there are too few."""
        seen = meter.ended + len(meter.runs)
        if seen - self._seen > self._counted * _FRESH or seen < self._seen:
            self._seen = seen
            self._look(meter, share, samples_min)
        return self._seconds

    def _look(self, meter: Meter, share: float, samples_min: int) -> None:
        meter.fold()
        counts, ended = meter.run_counts(), meter.ended
        if ended - self._newer[1] >= max(_GENERATION, samples_min):
            self._older, self._newer = self._newer, (counts, ended)
        before, ended_before = self._older
        self._counted = ended - ended_before
        self._seconds = None
        if self._counted < samples_min:
            return
        rank, below = share * self._counted, 0
        for bucket, count in enumerate(counts):
            below += count - before[bucket]
            if below >= rank:
                self._seconds = BOUNDS[min(bucket, len(BOUNDS) - 1)]
                return


class Hedging(Books, ABC):
    """Starts hedges, and ends either of the two."""

    def hedge_later(self, job: Job, slot: Slot, now: float) -> None:
        """Have it looked at whether an attempt that starts is to be hedged, when it has run for long."""
        hedge = job.options.hedge
        if hedge is None or any(group.announces for group in job.line.groups) or slot.pool is self.caller:
            return  # processes take calls back by name, and a hedge has none
        recent = self.recent.get((slot.meter, hedge))
        if recent is None:
            recent = self.recent[slot.meter, hedge] = Recent(slot.meter)
        seconds = recent.quantile(slot.meter, hedge.quantile, hedge.samples_min)
        if seconds is not None:
            self.arm(now + seconds, TimerKind.HEDGE, job)

    def hedge(self, job: Job, now: float) -> None:
        """Start a hedge of an attempt that has run for long, if there is a slot, and the budget pays."""
        first, hedge = job.slot, job.options.hedge
        if job.state is not RUNNING or not isinstance(first, Slot) or first.interrupted is not None:
            return
        if job.extra is not None and job.extra.hedge is not None:
            return
        line = job.line
        room = not line.limits or line.blocker(now) is None  # type: ignore[attr-defined]
        may = hedge is not None and room and not self.paused and self.retrying
        if not (may and self.dispatcher.has_slot(line)):
            self.arm(
                now + max(now - job.started_at, 1e-3), TimerKind.HEDGE, job
            )  # later, and ever more rarely
            return
        assert hedge is not None
        budget = self.budgets.of(hedge.budget)
        if budget.held_for(now):
            return
        budget.take(now)
        self._begin_hedge(job, now)

    def _begin_hedge(self, job: Job, now: float) -> None:
        slot = self.dispatcher.take_slot(job.line, job)
        assert slot is not None
        if job.line.limits:
            self.lots.hold(job.line, now)
        call, extra = job.again(slot), job.more()
        self.left.hedges.append((slot, call))
        # No call up to the blank line, see `MainPath._start`.
        slot.job = job
        slot.attempt = job.attempt
        slot.begun = 0
        slot.interrupted = None
        extra.hedged_at = now
        extra.hedge = slot

        slot.meter = slot.pool.group.meters[job.options.priority]
        self.ledger.hedges += 1
        self.dirty = True
        if self.shares is not None:
            self.shares.hedged(job, slot, now)
        if self.observed:
            self.emit(
                events.JobHedged(
                    time=now,
                    job_id=job.id,
                    attempt=job.attempt,
                    pool=slot.pool.pool_id,
                    worker=slot.worker,
                )
            )

    def hedge_won(self, job: Job, slot: Slot) -> None:
        """Let a hedge that returned with a value be the job's attempt, and ask the other to stop."""
        first = job.slot
        assert isinstance(first, Slot)
        self._change_places(job, first, slot)
        self.ledger.hedges_won += 1
        self._lost(job, first, "its hedge was faster")
        self.left.settled.append(job)  # whoever delivers this does not know of it
        self.dirty = True

    def hedge_takes_over(self, job: Job) -> bool:
        """Let the hedge go on in the place of an attempt that failed; return whether there is one."""
        extra = job.extra
        if extra is None or extra.hedge is None:
            return False
        slot = extra.hedge
        if self.shares is not None:
            self.shares.passed_on(job, slot)
        job.slot, job.started_at, extra.hedge = slot, extra.hedged_at, None
        return True

    def _change_places(self, job: Job, first: Slot, slot: Slot) -> None:
        extra = job.more()
        if self.shares is not None:
            self.shares.outlived(job, first, job.started_at)
            self.shares.passed_on(job, slot)
        job.slot, job.started_at, extra.hedge = slot, extra.hedged_at, None

    def let_go(self, job: Job, now: float) -> None:
        """Do what comes after a job has settled: its hedge is not needed any more."""
        super().let_go(job, now)
        if job.options.hedge is not None:
            won = job.state is SUCCEEDED
            self.drop_hedge(
                job, "the attempt was faster than its hedge" if won else "its attempt was given up"
            )

    def drop_hedge(self, job: Job, why: str) -> None:
        """Ask a job's hedge to stop, if it has one."""
        extra = job.extra
        if extra is None or extra.hedge is None:
            return
        slot, extra.hedge = extra.hedge, None
        if slot.job is job:
            self._lost(job, slot, why)

    def _lost(self, job: Job, slot: Slot, why: str) -> None:
        slot.interrupted = why
        self.left.stops.append((slot, slot.attempt))
        self.dirty = True
        if not slot.pool.group.kills:
            self.watch_stuck(slot, self.now)

    @abstractmethod
    def watch_stuck(self, slot: Slot, now: float) -> None:
        """Look later whether the call in `slot` is stuck: `Quarantine`."""
