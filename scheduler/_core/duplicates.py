"""One job of a key at a time: what a newcomer does that finds another alive.

*join*: it is the living one, whose handle it gets. *reject*: it is turned away. *replace*: the latest wins.
What waits under its key is cancelled, wherever it waits, and gives it its place; what runs is left to run,
retries included, and the newcomer is DELAYED until that has settled.

The rule is kept in the turn in which a job comes, so of two that come at once one is first, and the other
finds it. A job at the door is found too, though it may yet be turned away: who would join it waits beside it.
"""

from __future__ import annotations

import math

from policies.contracts import Admission

from .._errors import DuplicateJob, JobInterrupted
from .ahead import Ahead
from .job import Job
from .pool_table import Slot
from .states import CANCELLED, DELAYED, EXPIRED, RUNNING, WAITING
from .timers import DELAY, TimerKind


class Duplicates(Ahead):
    """Takes jobs that have a key, and lets go of keys."""

    def submit_keyed(self, job: Job, now: float) -> Job | Slot | Admission | None:
        """Take a new job that has a key, as `submit`; return the living one of that key if it joins that.

        One without an id stands at the door; who would join it stays beside it until it leaves that, and then
        asks again. Raises DuplicateJob, and what `submit` raises. Cost: 1 µs beside `submit`.
        """
        living = self.keys.of(job.options.key)
        if living and job.options.on_conflict == "join":
            if not living[-1].id:
                self.keys.wait_beside(living[-1], job)
            return living[-1]
        if living and job.options.on_conflict == "reject":
            self.now = now
            self.reject(job, now, "a job of its key is alive")
            raise _duplicate(living[-1])
        try:
            if living:
                return self._replace(living, job, now)
            self.keys.enter(job)
            return self.submit(job, now)
        except BaseException:
            self.keys.leave(job)
            raise

    def _replace(self, living: tuple[Job, ...], job: Job, now: float) -> Slot | Admission | None:
        self.now = job.submitted_at = now
        if job.line.broken:  # before anybody is cancelled for it
            raise self.broken(job.line.groups)
        door, freed, place = self.gate.door, False, None
        for other in reversed(living):  # or the one behind would start
            if not other.id:
                place = door.index(other)
                self._let_in_to_cancel(other, now)
            elif other.state is RUNNING or other.lies_ahead:
                continue
            else:
                freed = True
            self.settle(other, CANCELLED, _replaced(other), now, open_door=False)
        self.keys.enter(job)
        answer: Slot | Admission | None
        if freed or (place is None and self.queue.held < self.queue.capacity):
            self._admit(job, now)  # into a place that was freed for it, however full the queue may be
            answer = self._enter(job, now)
        elif place is None:
            answer = self._full(job, now)
        else:
            door.insert(place, job)
            answer = Admission.BLOCK
        if self.lots.woken:
            self.meet(now)
        if door:  # the newcomer may start where those before it could not
            self._open_door(now)
        return answer

    def _let_in_to_cancel(self, job: Job, now: float) -> None:
        """Admit a job that stands at the door, so that its submitter gets a handle to be told by."""
        self.gate.door.remove(job)
        self._admit(job, now)
        self.queue.held += 1
        job.line.push(job)
        self.left.admitted += [job, *self.keys.companions(job)]

    # Behind one that runs

    def _enter(self, job: Job, now: float) -> Slot | None:
        """Let an admitted job wait, be delayed, or start; behind the one of its key that runs, if one does."""
        options = job.options
        if options.delay or self.keys.before(job) is None:
            return super()._enter(job, now)
        if options.deadline is not None:
            self.arm(max(now, job.submitted_at + options.deadline), TimerKind.DEADLINE, job)
        job.state = DELAYED
        self.queue.held += 1
        self._hold(job, now)
        return None

    def _hold(self, job: Job, now: float) -> None:
        """Keep a DELAYED job until the one before it has settled."""
        options = job.options
        job.more().behind = self.keys.before(job)
        self.arm(math.inf, TimerKind.DELAY, job)
        if options.queue_timeout is not None:
            since = now if options.delay else job.submitted_at
            self.arm(since + options.queue_timeout, TimerKind.QUEUE_TIMEOUT, job)

    def come_due(self, job: Job, kind: TimerKind, now: float) -> None:
        """Let a job start or wait whose delay or backoff is over; one whose deadline is over too must not start."""
        if job.options.deadline is not None and job.submitted_at + job.options.deadline <= now:
            self.settle(job, EXPIRED, self.expired(job), now)
            return
        delayed = kind is DELAY
        if delayed:
            if self.keys.before(job) is not None:
                self._hold(job, now)
                return
            job.arrival = self.ledger.renumber()
        self.check_move(job, WAITING)
        job.state = WAITING
        self.queue.held -= 1
        job.waiting_since = now
        if delayed:
            job.key = self._key(job)
        slot = self._join(job, now)
        if slot is not None:
            self.left.starts.append(slot)
            self.dirty = True
        if self.gate.door:
            self._open_door(now)

    def let_go(self, job: Job, now: float) -> None:
        """Forget a settled job's timers and key, and let the one go on that waited behind it."""
        super().let_go(job, now)
        if job.options.key is None:
            return
        if job.extra is not None:
            job.extra.behind = None
        following = self.keys.leave(job)
        if following is not None:
            self._go_on(following, now)

    def _go_on(self, job: Job, now: float) -> None:
        extra = job.extra
        if not job.id:  # it stands at the door, and nothing but the other may have kept it there
            self._open_door(now)
            return
        if extra is None or extra.behind is None:  # its own delay is not over
            return
        before, self._in_hand = self._in_hand, job
        extra.behind = None
        self.timers.disarm(job, TimerKind.DELAY)
        self.come_due(job, TimerKind.DELAY, now)
        self._in_hand = before

    def mend_keys(self, alive: list[Job]) -> None:
        """Make good what a torn turn may have done to keys. Cost: O(jobs alive)."""
        self.left.admitted += self.keys.mend(alive, self.gate.door)
        for job in alive:
            if job.extra is not None and job.extra.behind is not None and self.keys.before(job) is None:
                self._go_on(job, self.now)


def _replaced(job: Job) -> JobInterrupted:
    return JobInterrupted(
        f"job {job.id} was replaced by a newer job of its key {job.options.key!r} (on_conflict='replace')"
    )


def _duplicate(living: Job) -> DuplicateJob:
    key = living.options.key
    where = f"job {living.id} is {living.state.value}" if living.id else "one stands at the door"
    error = DuplicateJob(
        f"a job of key {key!r} is alive: {where}; submit with on_conflict='join' to get its handle, "
        "with 'replace' to supersede it, or under another key"
    )
    error.key, error.job_id = key or "", living.id or None
    return error
