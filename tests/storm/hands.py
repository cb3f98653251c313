"""The pools' side of a run: calls in threads, and workers in processes that come, go, and hold calls ahead."""

from __future__ import annotations

from typing import Any

import attrs
from storm.judge import Caught
from storm.turns import StormJob, Turns

from scheduler._core.pool_table import PoolRecord, Slot
from scheduler._core.retrier import REJECTED
from scheduler._core.states import PoolState
from scheduler._errors import JobInterrupted, WorkerDied
from scheduler._judging import judged


class StormError(Exception):
    """An attempt failed because it was told to."""


@attrs.define(eq=False)
class Call:
    """What a thread runs."""

    job: StormJob
    slot: Slot
    #: Which of its attempts, counted from 0; a hedge is one of its own.
    number: int
    #: It has been asked to stop, and does.
    stops: bool = False


@attrs.define(eq=False)
class Worker:
    """What a process holds: first what it runs, behind it what lies ahead."""

    up: bool = False
    jobs: list[StormJob] = attrs.Factory(list)
    #: Counts what it began, so that an end that comes too late is told from the present one.
    turn: int = 0
    began_at: float = -1.0
    #: How many calls it has ended: it retires after some.
    ended: int = 0
    held: bool = False


class Hands(Turns):
    """Runs what the core starts."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.calls: dict[Slot, Call] = {}
        self.workers: dict[Slot, Worker] = {}
        self.failing = False
        self._opened = 0

    # What becomes of an attempt

    def outcome(self, job: StormJob, slot: Slot, number: int) -> tuple[Any, BaseException | None]:
        """Return how an attempt ends by itself."""
        fate = "value" if self.calm else "error" if self.failing else job.spec.fate(number)
        if fate == "error":
            return None, StormError(job.serial, number)
        if fate == "dies":
            return None, self.blamed(slot, job)
        value: Any = ("bad" if fate == "bad" else "value", job.serial, slot.attempt)
        error = judged(job, slot, value)
        return (value, None) if error is None else (REJECTED, error)

    def blamed(self, slot: Slot, job: StormJob) -> BaseException:
        """Return the error of a call whose worker is gone, as the driver words it."""
        if slot.pool.group.broken is not None:
            return self.core.broken([slot.pool.group])
        if slot.interrupted is not None:
            return JobInterrupted(f"job {job.id} was interrupted: {slot.interrupted}")
        return WorkerDied(f"worker {slot.worker} ended without delivering an outcome")

    def run_time(self, job: StormJob, number: int) -> float | None:
        """Return how long an attempt runs, None for one that hangs."""
        seconds = job.spec.run_time(number)
        return 0.5 if seconds is None and self.calm else seconds

    # Threads

    def given(self, slot: Slot, job: Any) -> None:
        """Run a job that was bound to a slot."""
        if slot in self.workers:
            self._read(slot, [job])
            return
        if slot in self.calls:
            raise Caught("one call a worker", f"{slot.worker} runs a call and got job {job.id}", job.id)
        if slot.pool is not self.core.caller and slot.pool not in slot.pool.group.pools:
            raise Caught("I6", f"{slot.worker} is gone and got job {job.id}", job.id)
        hedge = job.slot is not slot
        call = self.calls[slot] = Call(job, slot, slot.attempt - 1 + hedge)
        slot.begun = slot.attempt
        seconds = self.run_time(job, call.number)
        if seconds is not None:
            self.later(seconds, self.returns, call)

    def returns(self, call: Call) -> None:
        """Let a call end by itself, or as it was asked to."""
        if self.calls.get(call.slot) is not call:
            return
        job = call.job
        if call.stops and job.spec.asked == "obeys":
            why = call.slot.interrupted or "it had been asked to stop"
            self._deliver(call, None, JobInterrupted(f"job {job.id} was interrupted: {why}"))
        else:
            self._deliver(call, *self.outcome(job, call.slot, call.number))

    def _deliver(self, call: Call, value: Any, error: BaseException | None) -> None:
        slot, job, core = call.slot, call.job, self.core
        del self.calls[slot]
        slot.waits_for = None

        def deliver() -> Any:
            if slot.job is job:
                core.finish(slot, value, error, self.now)
            if slot.pool is core.caller:
                return core.refill(slot, self.now) if slot in core.caller_slots else None
            if job.spec.callbacks is not None:
                slot.held = True
                return None
            return core.refill(slot, self.now)

        following = self.turn(deliver)
        if following is not None:
            self.given(slot, following)
        if slot.held:
            self.later(job.spec.callbacks or 0.0, self._called_back, slot)

    def _called_back(self, slot: Slot) -> None:
        def refill() -> Any:
            slot.held = False
            return self.core.refill(slot, self.now)

        following = self.turn(refill)
        if following is not None:
            self.given(slot, following)

    # Processes

    def _read(self, slot: Slot, jobs: list[Any]) -> None:
        worker = self.workers[slot]
        if jobs and not worker.up:
            raise Caught("P1", f"{slot.worker} has no worker and got job {jobs[0].id}", jobs[0].id)
        idle = not worker.jobs
        worker.jobs += jobs
        if idle and jobs:
            self._run_first(slot, worker)

    def _run_first(self, slot: Slot, worker: Worker) -> None:
        worker.turn += 1
        worker.began_at = self.now
        job = worker.jobs[0]
        # One that lay ahead and has settled since runs as the attempt that it was going to be.
        slot.begun = slot.attempt
        seconds = self.run_time(job, max(0, slot.attempt - 1))
        if seconds is not None:
            self.later(seconds, self._exchange, slot, worker.turn)

    def _exchange(self, slot: Slot, turn: int) -> None:
        """Return the outcome of the first call, and ask for as many as may lie here."""
        worker = self.workers.get(slot)
        if worker is None or worker.turn != turn or not worker.up or not worker.jobs:
            return
        job = worker.jobs[0]
        if not self.calm and not self.failing and job.spec.fate(slot.attempt - 1) == "dies":
            self.dies(slot)
            return
        value, error = self.outcome(job, slot, slot.attempt - 1)
        began, core = worker.began_at, self.core
        worker.jobs.pop(0)
        worker.ended += 1
        worker.held = job.spec.callbacks is not None and not worker.jobs
        if worker.jobs and slot in self.owed:
            self.judge.keeps(worker.jobs[0].id)

        def exchange() -> Any:
            core.outcome(slot, value, error, self.now - began, self.now)
            slot.held = worker.held
            return () if worker.held else core.fill(slot, self._want(worker, slot), self.now)

        self._filled(slot, worker, self.turn(exchange))
        if worker.held:
            self.later(job.spec.callbacks or 0.0, self._fill, slot, worker)

    def _want(self, worker: Worker, slot: Slot) -> int:
        if not worker.jobs and worker.ended % 7 == 6:
            return 0  # it retires, and a fresh one comes
        group = slot.pool.group
        return max(0, 1 + group.prefetch // group.slots - len(worker.jobs))

    def _fill(self, slot: Slot, worker: Worker) -> None:
        def fill() -> Any:
            worker.held = slot.held = False
            return self.core.fill(slot, self._want(worker, slot), self.now)

        self._filled(slot, worker, self.turn(fill))

    def _filled(self, slot: Slot, worker: Worker, jobs: Any) -> None:
        if worker.jobs:  # it has begun what lay ahead
            self._run_first(slot, worker)
        if jobs:
            self._read(slot, list(jobs))
        if slot.down and worker.up:
            worker.up = False
            worker.ended = 0
            self.later(0.125, self.ready, slot)

    def ready(self, slot: Slot) -> None:
        """Let a worker be up."""
        worker = self.workers.get(slot)
        if worker is None or worker.up or slot.pool.state in (PoolState.FAILED_TO_START, PoolState.STOPPED):
            return
        worker.up = True
        name = f"{slot.pool.pool_id}/{slot.index + 1}"
        self._read(slot, list(self.turn(lambda: self.core.ready(slot, name, self.now))))

    def dies(self, slot: Slot) -> None:
        """Let a worker end: what it had begun fails, what it had not comes back."""
        worker = self.workers.get(slot)
        if worker is None or not worker.up or worker.held:
            return
        jobs, worker.jobs, worker.up = worker.jobs, [], False
        worker.turn += 1
        begun = bool(jobs) and worker.began_at != self.now
        error = self.blamed(slot, jobs[0]) if begun else None
        back = jobs[1:] if begun else jobs
        self.turn(lambda: self.core.lost(slot, error, back, self.now))
        self.later(0.25, self.ready, slot)

    # What both are asked

    def stop(self, slot: Slot, attempt: int, job: Any) -> None:
        """Ask an attempt to stop."""
        if job is None or slot.job is not job or slot.attempt != attempt or slot.interrupted is None:
            return
        call = self.calls.get(slot)
        if slot in self.workers:
            self.dies(slot)
        elif call is not None and job.spec.asked != "ignores":
            call.stops = True
            self.later(0.0625, self.returns, call)

    def recall(self, slot: Slot) -> None:
        """Take back what lies ahead in a slot, and let whoever is first have the free slots."""
        if slot in self.owed:
            self.owed.remove(slot)

        def recall() -> None:
            self.take_back(slot)
            self.core.dispatch(self.now)

        self.turn(recall)

    def take_back(self, slot: Slot) -> None:
        """Take back what lies ahead in a slot, as far as its worker has not begun it. Inside a turn."""
        worker = self.workers.get(slot)
        if not slot.ahead or worker is None:
            return
        slot.recalls += 1
        kept = 2 if worker.jobs[0].serial % 3 == 0 else 1
        back, worker.jobs = worker.jobs[kept:], worker.jobs[:kept]
        for job in worker.jobs[1:]:
            self.judge.keeps(job.id)
        self.core.take_back(slot, back, self.now)

    # Pools

    def start_up(self) -> float | None:
        """Return how long the next pool takes to start, None for one that fails."""
        if self.calm:
            return 0.25
        self._opened += 1
        return self.weather.start_ups[self._opened % len(self.weather.start_ups)]

    def open(self, pool: PoolRecord) -> None:
        """Make a pool real that is on the books, after a while."""
        seconds = self.start_up()
        self.later(0.5 if seconds is None else seconds, self._is_open, pool, seconds is not None)

    def _is_open(self, pool: PoolRecord, well: bool) -> None:
        if pool.state is not PoolState.STARTING or pool not in self.core.pools:
            return
        if not well and not self.calm:
            self.broken(pool)
            return
        self.equip(pool)
        if not pool.group.announces:
            self.turn(lambda: self.core.pool_up(pool, self.now))

    def equip(self, pool: PoolRecord) -> None:
        """Let the workers of a pool of processes start, one after the other."""
        if pool.group.announces:
            for slot in pool.all_slots:
                self.workers[slot] = Worker()
                self.later(0.125 * slot.index, self.ready, slot)

    def broken(self, pool: PoolRecord) -> None:
        """Let a pool say that it can run nothing any more; what it runs ends."""
        error = StormError(f"the initializer of {pool.pool_id} raised")
        more = self.turn(lambda: self.core.pool_failed(pool, error, str(error), self.now))
        while more:
            more = self.turn(lambda: self.core.fail_some(self.now))
        for slot in pool.all_slots:
            call = self.calls.get(slot)
            if call is not None:
                self._deliver(call, None, self.blamed(slot, call.job))
            self.dies(slot)

    def gone(self, pool: PoolRecord) -> None:
        """Forget a pool that has stopped."""
        for slot in pool.all_slots:
            worker = self.workers.pop(slot, None)
            if slot in self.calls or (worker is not None and worker.jobs):
                raise Caught("I6", f"{pool.pool_id} has stopped, and {slot.worker} runs something")
