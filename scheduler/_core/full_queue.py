"""What happens at a full front queue: the verdict, the door, and who is let in when there is room."""

from __future__ import annotations

import math

from policies.contracts import Admission

from .._errors import JobShed, QueueFull
from . import events
from .job import Job
from .main_path import MainPath
from .pool_table import Slot
from .states import SHED
from .timers import TimerKind


class FullQueue(MainPath):
    """Does what the gate's policy says, and minds the door."""

    _opening_door = _door_again = False

    def _full(self, job: Job, now: float) -> Admission | Slot | None:
        verdict = self.slowness.time("admission", self.gate.policy, self.gate.judge, job)
        options = job.options
        limits = job.line.limits
        if verdict is Admission.BLOCK or (
            verdict is Admission.CALLER_RUNS
            and (self.starts_later(job) or (limits and job.line.blocker(now) is not None))  # type: ignore[attr-defined]
        ):
            self.gate.door.append(job)  # nobody runs a job before its time, or beyond its limits
            return Admission.BLOCK
        if verdict is Admission.CALLER_RUNS:
            slot = Slot(pool=self.caller, index=0, worker="caller")
            self._admit(job, now)
            if options.deadline is not None:
                self.arm(now + options.deadline, TimerKind.DEADLINE, job)
            self._start(job, slot, now)
            self.caller_slots[slot] = job
            if self.lots.woken:  # it took one token of two, and who was parked may have the other
                self.meet(now)
            return slot
        if verdict is Admission.SHED_LOWEST:
            job.waiting_since = now
            job.key, job.arrival = self._key(job), self.ledger.numbers + 1
            victim = self.gate.victim(job)
            if victim is not None:
                error = JobShed(
                    f"job {victim.id} (priority {victim.priority}) was evicted from the full front queue "
                    f"(capacity={self.queue.capacity}) by a job of priority {job.priority}; "
                    "raise capacity= or submit it again later"
                )
                self.settle(victim, SHED, error, now, open_door=False)  # its place is this job's
                self._admit(job, now)
                entered = self._enter(job, now)
                if self.lots.woken:
                    self.meet(now)
                return entered
        self.reject(job, now, "the front queue is full")
        raise QueueFull(
            f"the front queue holds {self.queue.held} jobs and capacity={self.queue.capacity}; "
            "submit again later, raise capacity=, or choose another admission policy"
        )

    def starts_later(self, job: Job) -> bool:
        """Whether a job may not start when it comes: it has a delay, or one of its key is before it."""
        return bool(job.options.delay) or self.keys.before(job) is not None

    def reject(self, job: Job, now: float, reason: str) -> None:
        """Count a job that was turned away."""
        self.ledger.rejected += 1
        if self.observed:
            options = job.options
            self.emit(
                events.JobRejected(time=now, priority=options.priority, name=options.name, reason=reason)
            )

    def next_at_door(self) -> float:
        """Return when a token comes that alone keeps somebody at the door, infinity if never. Cost: O(door)."""
        if self.paused:
            return math.inf
        return min((self._token_for(job) for job in self.gate.door), default=math.inf)

    def _token_for(self, job: Job) -> float:
        line = job.line
        moments: list[float] = [record.ready_at for record in line.limits if record.interval]
        if (
            not moments
            or line.best is not None
            or self.starts_later(job)
            or not self.dispatcher.has_slot(line)
        ):
            return math.inf
        if any(record.held >= record.concurrency for record in line.limits):
            return math.inf
        return max(moments)

    def leave_door(self, job: Job, now: float, reason: str) -> None:
        """Turn a job away that still stands at the door, or beside one that does."""
        if job in self.gate.door:
            self.gate.door.remove(job)
            self.keys.leave(job)
            self._wake_companions(job)
            self.reject(job, now, reason)
        elif self.keys.stop_waiting(job):
            self.reject(job, now, reason)

    def _wake_companions(self, job: Job) -> None:
        """Have those look again that wait beside a job that leaves the door."""
        companions = self.keys.companions(job)
        if companions:
            self.left.admitted += companions
            self.dirty = True

    def _open_door(self, now: float) -> None:
        """Let in whom there is room for, in order, and anybody who can start at once.

        One that settles at once makes room and asks to open the door again: that is for the next round.
        """
        if self._opening_door:
            self._door_again = True
            return
        self._opening_door = True
        try:
            self._door_again = True
            while self._door_again and self.gate.door:
                self._door_again = False
                self._let_in(now)
        finally:
            self._opening_door = False

    def _let_in(self, now: float) -> None:
        door = self.gate.door
        for job in list(door):
            line = job.line
            startable = line.best is None and not self.paused and self.dispatcher.has_slot(line)
            if startable and line.limits:
                startable = not self._no_room(line, now)
            if self.queue.held >= self.queue.capacity and not (startable and not self.starts_later(job)):
                if not any(group.free for group in self.pools.groups.values()):
                    return
                continue
            door.remove(job)
            self._admit(job, now)
            slot = self._enter(job, now)
            if slot is not None:
                self.left.starts.append(slot)
            self.left.admitted.append(job)
            self._wake_companions(job)
            self.dirty = True
