"""Pools come and go, and what waits meets the slots that they bring."""

from __future__ import annotations

from itertools import islice
from typing import Any

from . import events
from .full_queue import FullQueue
from .job import Job
from .pool_table import GroupRecord, PoolRecord
from .retrier import give_cause
from .states import FAILED, PoolState

#: Jobs that are ended many at once, in one turn (law 5). Arbitrary. `_stopping` keeps to it too.
JOBS_PER_TURN = 256


#: What stays unless it is drained, and what goes by itself.
_STAYS = (PoolState.STARTING, PoolState.ACCEPTING, PoolState.CORDONED, PoolState.QUARANTINED)
_GOES = (PoolState.FAILED_TO_START, PoolState.STOPPED, PoolState.DRAINING, PoolState.QUARANTINED)


class Capacity(FullQueue):
    """Adds pools, cordons and drains them, and dispatches."""

    def make_pool(self, group: GroupRecord, now: float) -> PoolRecord:
        """Return the record of one more pool of `group`, not yet on the books; its id is taken."""
        return self.pools.make(group, now)

    def add_pool(self, pool: PoolRecord, now: float) -> None:
        """Put a new pool on the books, STARTING; it takes jobs from `pool_up` on."""
        self.now = now
        self.pools.add(pool)
        self.added(pool, now)

    def added(self, pool: PoolRecord, now: float) -> None:
        """Tell observers of a pool that has come onto the books."""
        if self.observed:
            name = pool.group.name
            self.emit(events.PoolAdded(time=now, pool=pool.pool_id, group=name, slots=pool.slots))

    def pool_up(self, pool: PoolRecord, now: float) -> None:
        """Let a pool that is STARTING or CORDONED take jobs, and give it what waits."""
        self.now = now
        if pool.state is PoolState.STARTING and pool.group.name in self.scaled:
            scaled = self.scaled[pool.group.name]
            if pool.group.announces:  # a worker is up; of others one hears when they run their first call
                scaled.started(now)
            scaled.flow.started_up(now - pool.started_at)
        pool.idle_since = now
        pool.released = False
        if self.observed and pool.state is not PoolState.STARTING:
            self.emit(events.PoolUncordoned(time=now, pool=pool.pool_id))
        self.pools.move(pool, PoolState.ACCEPTING)
        if pool.group.broken is not None:  # a new pool makes it whole
            pool.group.broken = None
            pool.group.look()
        self.dispatch(now)

    def cordon(self, pool: PoolRecord, now: float) -> None:
        """Let a pool take no more jobs until it is told otherwise."""
        self.now = now
        self.pools.move(pool, PoolState.CORDONED)
        self._empty(pool)
        if self.observed:
            self.emit(events.PoolCordoned(time=now, pool=pool.pool_id))

    def drain(self, pool: PoolRecord, now: float, *, released: bool = False) -> None:
        """Let a pool take no more jobs, finish what it runs, and go; `released` if it may be taken back."""
        self.now = now
        pool.released = released
        self.pools.move(pool, PoolState.DRAINING)
        self._empty(pool)
        if self.observed:
            running = sum(1 for _ in pool.running())
            self.emit(events.PoolDraining(time=now, pool=pool.pool_id, running=running))
        self.stop_if_empty(pool, now)

    def _empty(self, pool: PoolRecord) -> None:
        """Have everything taken back that its workers have not begun."""
        for slot in pool.all_slots:
            if slot.ahead:
                self.left.recalls.append(slot)
                self.dirty = True

    def drain_for_good(self, pool: PoolRecord, now: float) -> None:
        """Drain a pool because the scheduler closes, whatever its state."""
        if pool.state in _STAYS:
            self.drain(pool, now)

    def pool_failed(self, pool: PoolRecord, error: BaseException, why: str, now: float) -> bool:
        """Take a pool out for good; when it was its group's last, fail the jobs only that group takes.

        `why` is the error in words. Returns whether `fail_some` has more of them to fail.
        """
        self.now = now
        pool.released = False  # whether it drains or not, it must not be taken back
        if pool.state in _GOES:
            return False
        if pool.group.name in self.scaled:
            self.scaled[pool.group.name].start_failed(now, pool.started_at)
            if self.dozing:
                self.wake(now)
        self.pools.move(pool, PoolState.FAILED_TO_START)
        if self.observed:
            self.emit(events.PoolFailed(time=now, pool=pool.pool_id, error=why))
        group = pool.group
        if not group.capacity_pools():
            group.broken, group.why_broken = error, why
            group.look()
        self.stop_if_empty(pool, now)
        return self.fail_some(now)

    def fail_some(self, now: float) -> bool:
        """Fail jobs that no pool will ever take, at most JOBS_PER_TURN; return whether any are left."""
        self.now = now
        room = JOBS_PER_TURN
        for line in self.queue.lines.values():
            if line.broken:
                for job in list(islice(line, room)):
                    self.settle(job, FAILED, self.broken(line.groups), now)
                    room -= 1
                if len(line):
                    return True
        return False

    def fail_held(self, now: float) -> None:
        """End jobs that are parked where nobody is to wait, at most JOBS_PER_TURN; the others in the next turn."""
        self.now = now
        room = JOBS_PER_TURN
        failing = self.lots.failing  # which grows meanwhile: who settles may let somebody in
        while failing and room:
            line = failing[0]
            record = None if line.where is None else line.where.record
            if record is None or not record.fails or record.has_room(now):
                failing.remove(line)
                continue
            for job in list(islice(line, room)):
                self.settle(job, FAILED, self._held_back(job, record, now), now)
                room -= 1
        self.dirty = True

    def _held_back(self, job: Job, record: Any, now: float) -> BaseException:
        """Return the error of a job that is not to wait: the one it failed with before, if it did."""
        error: BaseException = record.refuse(now)
        last: BaseException | None = job.extra[-1] if job.attempt and job.extra is not None else None
        if last is None:
            return error
        give_cause(last, error)
        return last

    def pause(self, now: float) -> None:
        """Start nothing until `resume`; what lies ahead is taken back."""
        self.now = now
        self.paused = True
        if self.ahead:
            for pool in self.pools:
                self._empty(pool)

    def resume(self, now: float) -> None:
        """Dispatch again after a pause."""
        self.now = now
        self.paused = False
        self.dispatch(now)

    def dispatch(self, now: float) -> None:
        """Start waiting jobs as long as any of them has a free slot. Cost: O(lines) a start."""
        if self.paused:
            return
        if self.lots.limits:
            self.lots.accrue(now)
        lines = self.queue.lines.values()
        while (line := self.dispatcher.first_startable(lines)) is not None:
            job = line.pop()
            assert job is not None
            self._bind(job, now)
        if self.gate.door:
            self._open_door(now)

    def _bind(self, job: Job, now: float) -> None:
        slot = self.dispatcher.take_slot(job.line, job)
        assert slot is not None
        self.queue.held -= 1
        self._start(job, slot, now)
        self.left.starts.append(slot)
        self.dirty = True

    def meet(self, now: float) -> None:
        """Let jobs whose limits have room again meet the slots that are free, and overtake what lies ahead.

        Where slots are free nobody else can start: all who could have. Cost: O(log lines) a start.
        """
        if self.dozing:
            self.wake(now)
        self.lots.accrue(now)
        woken, self.lots.woken = self.lots.woken, []
        if not self.paused:
            bundle = woken[0].bundle if woken else None
            if any(line.bundle is not bundle for line in woken):
                self.dispatch(now)
            elif bundle is not None:
                while self.dispatcher.has_slot(bundle) and (job := bundle.pop()) is not None:
                    self._bind(job, now)
        if self.ahead:
            for line in woken:
                head = line.peek()
                if head is not None:
                    self.overtake(head)
