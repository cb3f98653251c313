"""The driver makes the core real: it submits jobs to it and delivers outcomes.

Theory of operation
    There is no dispatcher thread. ``submit`` hands the job over itself when a slot is free; a worker
    that reports an outcome takes its slot's next job in the same turn.

Guarantees
    - A worker is woken only with a job already bound to its slot.
    - A handle settles, and its waiters register, under the same lock: no wake-up is lost.
    - A job with done-callbacks keeps its slot until they have run, so that nobody is promised a worker
      that is busy with somebody's callback.
    - A ``submit`` torn by an exception of the interpreter's (Ctrl-C) has not happened: its job was never
      submitted, or it is started properly before the exception goes on.
"""

from __future__ import annotations

import contextlib
import math
import time
from _thread import allocate_lock
from asyncio import CancelledError as AsyncioCancelled
from typing import Any

from policies.contracts import Admission
from pools.contract import Call, CallAbandoned, Deliver, WorkerGone

from ._core.books import Left, describe
from ._core.deadlock import is_stuck
from ._core.pool_table import PoolRecord, Slot
from ._core.retrier import REJECTED
from ._core.states import RUNNING, SUCCEEDED
from ._current import holds_loop, local
from ._desk import bounded, go_on
from ._errors import (
    CancelledFromWithin,
    JobInterrupted,
    PoolBroken,
    QueueFull,
    SchedulerClosed,
    SchedulerError,
    WorkerDied,
    WouldDeadlock,
)
from ._handle import JobHandle
from ._hedge_call import Again
from ._judging import judged, judges
from ._keyed import Keyed, Take
from ._turn import INSIDE, INSIDE_TORN, OUTSIDE, reentered

_BLOCK = Admission.BLOCK  # see `_core.states` on the price of looking a member up

#: The frame of ours in a traceback, where the call ran in this process.
_RUNS = (JobHandle.run.__code__, Again.run.__code__)


class Driver(Keyed):
    """One core, its lock, its clock and its pools. Threads: every method, from any thread."""

    # The hot path

    def submit(self, job: JobHandle[Any], take: Take | None = None) -> None:
        """Take a new job; run it, let it wait, or block until there is room. Cost: 0.7 µs.

        `take` is asked in the turn, instead of the core.
        """
        core = self.core
        slot: Slot | Admission | None = None
        left: Left | None = None
        held = inside = False
        if self.debts:
            self.pay()
        try:
            while not self._acquire(False):  # see `_lock`
                time.sleep(0)
            held = True
            if self._busy:
                raise reentered()
            self._busy = inside = True
            if self.refusing is not None:
                raise SchedulerClosed(self.refusing)
            slot = core.submit(job, self.now()) if take is None else take(job, self.now())
            if slot is _BLOCK:
                self._stand_at_door(job)
            if core.dirty:
                fresh = self.conclude()
                left, core.left = core.left, fresh
            self._busy = inside = held = False
            self._release()
            if slot is not None:
                if isinstance(slot, Admission):
                    if left is not None:  # who was replaced at the door must not wait for this job
                        self.act(left)
                        left = None
                    self._wait_at_door(job)
                elif slot.pool.runner is None:
                    self._run_in_caller(job, slot)
                else:
                    self.begin(slot, job)
            if left is not None:
                self.act(left)
        except BaseException as error:
            # There may be no stack left for a call of ours: note what is owed, and let go, by C alone.
            where = OUTSIDE
            if inside:
                where = INSIDE if isinstance(error, SchedulerError) else INSIDE_TORN
            self.debts.append((job, slot, left, error, where))
            if inside:
                self._busy = False
            if held or (self.lock._is_owned() and not self._busy):  # type: ignore[attr-defined]  # noqa: SLF001
                self._release()
            self.pay()
            raise

    def deliverer(self, pool: PoolRecord) -> Deliver:
        """Return the function through which a pool reports outcomes and gets calls."""
        slots, core, acquire, release = pool.all_slots, self.core, self._acquire, self._release
        finish, refill, now, sleep = core.finish, core.refill, self.now, time.sleep
        group_judges = judges(pool.group)

        def deliver(slot: int, value: object, error: BaseException | None) -> Call | None:
            bound = slots[slot]
            job: Any = bound.job
            following: Any = None
            left: Left | None = None
            if self.debts:
                self.pay()
            try:
                if error is not None:
                    error = self.blame(error, bound)
                elif self.judging and job is not None and (group_judges or job.options.judges):
                    error = judged(job, bound, value)
                    if error is not None:
                        value = REJECTED
                while not acquire(False):  # see `_lock`
                    sleep(0)
                self._busy = True
                if job is None:  # the pool gave this call up before: the slot is not its own any more
                    core.ledger.late += 1
                    self._busy = False
                    release()
                    return None
                moment = now()
                in_time = job.slot is bound
                finish(bound, value, error, moment)
                if job.callbacks is None:
                    following = refill(bound, moment)
                    if core.dirty or self._idle_watchers:
                        fresh = self.conclude()
                        left, core.left = core.left, fresh
                    self._busy = False
                    release()
                else:
                    following = self._call_back_and_refill(job, bound)
                if in_time and job.state is SUCCEEDED:
                    job.function = job.args = job.kwargs = job.context = None
                    if job.watchers:
                        job.notify()
                if left is not None:
                    self.act(left)
            except BaseException:
                self._mend_delivery(bound, job, left, value, error)
                raise
            return following  # type: ignore[no-any-return]

        return deliver

    def _call_back_and_refill(self, job: JobHandle[Any], slot: Slot) -> Any:
        """Finish a turn whose job has callbacks: run them while the slot is held, then refill it."""
        slot.held = True
        succeeded = job.state is SUCCEEDED and job.slot is slot
        fresh = self.conclude()
        left, self.core.left = self.core.left, fresh
        self._busy = False
        self._release()
        outer, local.tended = (
            local.tended,
            slot,
        )  # if the thread runs no jobs itself, nobody else would know what it holds up
        try:
            self.act(left)
            if succeeded:
                job.call_back()
        finally:
            local.tended = outer

        def refill(now: float) -> Any:
            slot.held = False
            return self.core.refill(slot, now)

        return self.turn(refill)

    def blame(self, error: BaseException, slot: Slot) -> BaseException:
        """Return the error as the caller should see it."""
        if isinstance(error, CallAbandoned):
            cause = error.__cause__
            if cause is not None and slot.begun != slot.attempt:  # its worker could not even start
                # Another worker of the pool may be about to say so: no call may be given to it meanwhile.
                self.pool_failed(slot.pool, cause)
                if slot.pool.group.broken is None:
                    broken = PoolBroken(
                        f"worker {slot.worker} could not start ({describe(cause)}); "
                        "mend its initializer or loop_factory and make a new scheduler"
                    )
                    broken.__cause__ = cause
                    return broken
            if slot.pool.group.broken is not None:
                return self.core.broken([slot.pool.group])
            if slot.interrupted is not None:
                job_id = slot.job.id if slot.job else "?"
                return JobInterrupted(f"job {job_id} was interrupted: {slot.interrupted}; {error}")
            died = WorkerDied(f"worker {slot.worker} ended without delivering an outcome: {error}")
            if isinstance(error, WorkerGone):
                died.worker, died.phase, died.exitcode, died.stderr = (
                    slot.worker,
                    error.phase,
                    error.exitcode,
                    error.stderr,
                )
            died.__cause__ = error.__cause__
            return died
        if isinstance(error, AsyncioCancelled) and slot.pool.group.coroutines:
            return self._blame_cancel(error, slot)
        traceback = error.__traceback__
        if traceback is not None and (traceback.tb_frame.f_code in _RUNS or slot.pool.group.coroutines):
            # Drop the frame of ours; whatever the class makes of assignments.
            BaseException.with_traceback(error, traceback.tb_next)
        return error

    def _blame_cancel(self, error: BaseException, slot: Slot) -> BaseException:
        """Return what became of a coroutine that ended by its cancellation: it must not look like its caller's."""
        job_id = slot.job.id if slot.job else "?"
        blamed: BaseException
        if slot.interrupted is not None:
            blamed = JobInterrupted(f"job {job_id} was interrupted: {slot.interrupted}")
        else:
            blamed = CancelledFromWithin(
                f"job {job_id} ended with asyncio.CancelledError though nobody interrupted it: it raised that, "
                "cancelled itself, or awaited something that was cancelled; catch it there"
            )
        blamed.__cause__ = error
        return blamed

    # Off the hot path of submit

    def _pay(self, job: Any, slot: Any, left: Left | None, error: BaseException, where: int) -> None:
        """Make a torn submit one that has not happened, or that has."""
        super()._pay(job, slot, None, error, where)
        if slot is _BLOCK:
            self._leave_door(job, "interrupted")
        elif slot is not None and where is OUTSIDE:
            if slot.pool.runner is None:
                self._finish_in_caller(job, slot, None, error)
            elif (
                slot.job is job and getattr(slot.pool.runner, "inline", False) and slot.begun == slot.attempt
            ):
                self._finish_inline(slot, error)
            else:
                self.ensure_begun(slot, job)
        if left is not None:
            self.act_again(left)

    def _finish_inline(self, slot: Slot, error: BaseException) -> None:
        """Settle a job whose outcome an interrupt took away between its call and its delivery."""

        def finish(now: float) -> None:
            self.core.finish(slot, None, error, now)
            self.core.mend()

        self.turn(finish)

    def _mend_delivery(
        self, slot: Slot, job: Any, left: Left | None, value: object, error: BaseException | None
    ) -> None:
        """Leave a delivery by an exception (Ctrl-C in an InlinePool): the outcome still counts."""

        def finish_again(now: float) -> None:
            slot.held = False
            if slot.job is not None and slot.job.state is RUNNING and slot.job.slot is slot:
                self.core.finish(slot, value, error, now)
            elif slot.job is job:
                slot.job = None
            self.core.mend(unsure=job)

        if self.owned():
            self._busy = False
            with contextlib.suppress(RuntimeError):
                self._release()
        self.turn(finish_again)
        if job is not None and job.state is SUCCEEDED:
            job.forget_call()
            job.notify()
        if left is not None:
            self.act_again(left)

    def _run_in_caller(self, job: JobHandle[Any], slot: Slot) -> None:
        outer = local.slot
        value: object = None
        failure: BaseException | None = None
        try:
            value = job.run()
            if job.options.judges:
                failure = judged(job, slot, value)
                value = value if failure is None else REJECTED
        except BaseException as error:
            failure = self.blame(error, slot)
        local.slot = outer
        self._finish_in_caller(job, slot, value, failure)

    def _finish_in_caller(
        self, job: JobHandle[Any], slot: Slot, value: object, error: BaseException | None
    ) -> None:
        def finish(now: float) -> None:
            if slot.job is job:
                self.core.finish(slot, value, error, now)
            if slot in self.core.caller_slots:
                self.core.refill(slot, now)

        self.turn(finish)
        if job.state is SUCCEEDED:
            job.forget_call()
            job.notify()

    def _stand_at_door(self, job: JobHandle[Any], beside: JobHandle[Any] | None = None) -> None:
        """Get ready to wait at the door, or beside another job that stands there. Inside a turn."""
        if job.id:  # it was let in at once
            return
        inside = self.inside()
        if inside is not None and self.core.gate.patience(job)[0] == math.inf:
            awaited = inside.waits_for = beside or job
            if holds_loop(inside):
                inside.pool.standstill = inside
            if is_stuck(awaited, self.core.queue, self.core.timers):
                go_on(inside)
                self.core.leave_door(job, self.now(), "it would deadlock")
                raise WouldDeadlock(
                    f"job {inside.job.id if inside.job else '?'} submits to a full front queue "
                    f"(capacity={self.core.queue.capacity}) and every slot that could make room waits likewise; "
                    "raise capacity=, add a pool, or use CallerRuns()"
                )
        waiter = allocate_lock()
        waiter.acquire()
        self._door[job] = waiter

    def _wait_at_door(self, job: JobHandle[Any], beside: JobHandle[Any] | None = None) -> None:
        """Block until the job is let in, or the one beside which it stands leaves the door.

        Raises QueueFull when time is up, SchedulerClosed on closing.
        """
        timeout, remedy = self.core.gate.patience(job)
        waiter = self._door.get(job)
        woken = waiter is None or waiter.acquire(True, bounded(timeout))
        self._leave_door(job, self.refusing or "no room in time")
        beside_left = beside is not None and (beside.id or woken)
        if not job.id and not beside_left:
            if self.refusing is not None:
                raise SchedulerClosed(self.refusing)
            raise QueueFull(
                f"the front queue stayed at capacity={self.core.queue.capacity} for {timeout} s; "
                f"submit again later, raise capacity= or {remedy}"
            )

    def _leave_door(self, job: JobHandle[Any], reason: str) -> None:
        inside = self.inside()
        if inside is not None:
            go_on(inside)
        self._door.pop(job, None)
        self.turn(lambda now: self.core.leave_door(job, now, reason))
