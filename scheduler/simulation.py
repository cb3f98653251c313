"""The same core in virtual time, with modelled pools: for tests, for docs, for planning capacity.

A simulated job has a run time instead of a function. Everything else (lines, keys, admission, routing,
retries, limits, pools that come and go, the ledger) is the code that runs in production, driven by a heap
of events instead of by threads. Equal arguments give equal runs, to the last digit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from typing import Any, Self, Unpack

import attrs

from policies.breaker import CircuitBreaker
from policies.contracts import AdmissionPolicy, OrderingPolicy, RetryPolicy, RoutingPolicy
from pools.contract import PoolRecipe

from ._assembly import DEFAULT_CAPACITY, as_groups, make_core, why_not_eligible
from ._config import Config, configured
from ._core.books import Left, worded
from ._core.core import Core
from ._core.decisions import Explanation
from ._core.events import Event
from ._core.invariants import check
from ._core.job import JobOptions, Line
from ._core.limits import Limit
from ._core.pool_table import PoolRecord, Slot
from ._core.standing import Standing, standing
from ._core.states import PoolState
from ._core.statistics import PoolStatistics, Statistics
from ._errors import DuplicateJob, JobInterrupted, NoEligiblePool, QueueFull
from ._group import PoolGroup
from ._options import Options, check_retry, check_seconds, checked
from ._simulated_job import Fails, RunTime, SimulatedFailure, SimulatedJob

__all__ = ["SimulatedFailure", "SimulatedJob", "Simulator"]

#: At one moment, what ends comes before what is decided, and that before what arrives.
_FINISH, _ACTION, _ARRIVAL = 0, 1, 2
#: Steps, of some 10 µs each, between two looks of whoever watches a run. Arbitrary.
_NOW_AND_THEN = 8192
#: What only a real scheduler has: the same file serves both.
_ONLY_REAL = ("check_invariants", "clock", "dead_letters", "name", "record", "record_bytes_max")


class Simulator:
    """A scheduler in virtual time.

    Takes the groups and policies of `Scheduler`; of a pool's recipe only ``slots`` counts.
    `start_up` is how many seconds a pool that scaling opens takes to start, or a function of its id that says
    so, None for one that fails. `slowdown` says how many times longer an attempt runs that starts as one of so
    many in its group, for work whose throughput does not grow with the slots.
    `check_every` checks all invariants every so many events (0: never). A submitter that finds the
    queue full under `Block` waits at the door in virtual time; with `CallerRuns` the job is counted
    as run by its caller, at once.

    Cost: about 5 µs a job; memory is bounded by the jobs alive.
    """

    def __init__(
        self,
        *groups: PoolGroup | PoolRecipe | int,
        capacity: int = DEFAULT_CAPACITY,
        admission: AdmissionPolicy | None = None,
        ordering: OrderingPolicy | None = None,
        routing: RoutingPolicy | None = None,
        retry: RetryPolicy | None = None,
        limits: Iterable[Limit] = (),
        breakers: Iterable[CircuitBreaker] = (),
        seed: int = 0,
        check_every: int = 0,
        start_up: float | Callable[[str], float | None] = 0.0,
        slowdown: Callable[[int], float] | None = None,
    ) -> None:
        pool_groups = as_groups(groups)
        self.core: Core = make_core(
            pool_groups,
            capacity=capacity,
            admission=admission,
            ordering=ordering,
            routing=routing,
            seed=seed,
            limits=limits,
            breakers=breakers,
        )
        self.now = 0.0
        self._options = JobOptions(retry=check_retry(retry))
        self._lines: dict[JobOptions, Line] = {}
        self._heap: list[tuple[float, int, int, Any]] = []
        self._number = 0
        self._stopped = False
        self._deadline_moved = True
        self._check_every = check_every
        self._start_up = start_up
        self._slowdown = slowdown
        self._observers: list[Callable[[Event], object]] = []
        for group in pool_groups:
            for _ in range(group.min_pools):
                self.add_pool(group.name)

    @classmethod
    def from_config(cls, config: Config, /, **overrides: Any) -> Self:
        """Return the simulator of what ``Scheduler.from_config`` makes of the same mapping or TOML file."""
        return configured(cls, config, overrides, _ONLY_REAL)

    # What happens, and when

    def submit(
        self, run_time: RunTime, *, at: float | None = None, fails: Fails = 0, **options: Unpack[Options]
    ) -> SimulatedJob:
        """Let a job arrive at time `at` (default: now) and run for `run_time` seconds an attempt.

        A `run_time` that is a function is called for each attempt. Its first `fails` attempts fail, or those of which ``fails(attempt)`` says so when they end. Raises what `Scheduler.with_options` raises for bad options.
        """
        if not callable(run_time):
            check_seconds("run_time", run_time)
        settings = checked(self._options, options)
        job = SimulatedJob(settings, self._line(settings), run_time, fails)
        self._push(self._moment(at), _ARRIVAL, (job, None))
        return job

    def source(self, arrivals: Iterable[tuple[float, float]], **options: Unpack[Options]) -> None:
        """Let jobs arrive from a stream of ``(at, run_time)`` in seconds, `at` never decreasing.

        The stream is read as time goes on, one arrival ahead: it may be endless if `run` is bounded.
        """
        settings = checked(self._options, options)
        line = self._line(settings)
        self._next_of(self._jobs(arrivals, settings, line))

    def at(self, time: float, action: Callable[[], object]) -> None:
        """Call `action` at a moment of virtual time; it may call anything here."""
        self._push(self._moment(time), _ACTION, action)

    def observe(self, observer: Callable[[Event], object]) -> None:
        """Call ``observer(event)`` for every event from now on."""
        self._observers.append(observer)
        self.core.observed = True

    def run(self, until: float | None = None) -> Statistics:
        """Let time pass until nothing is left to happen, or until that moment, or `stop`; return the statistics."""
        heap, core = self._heap, self.core
        steps = 0
        self._stopped = False
        # Without these, the next deadline changes only in turns that leave something behind.
        restless = bool(core.scaled or core.shed_interval or core.lots.limits)
        self._deadline_moved = True
        while not self._stopped:
            if restless or self._deadline_moved:
                self._deadline_moved = False
                deadline = core.next_deadline()
            timers_first = not heap or deadline < heap[0][0]
            if timers_first:  # it may have been disarmed, which nobody told
                deadline = core.next_deadline()
                timers_first = not heap or deadline < heap[0][0]
            when = deadline if timers_first else heap[0][0]
            if when == float("inf") or (until is not None and when > until):
                break
            self.now = when
            if timers_first:
                core.advance(when)
                self._deadline_moved = True
            else:
                _, kind, _, what = heappop(heap)
                if kind == _FINISH:
                    self._finish(what, when)
                elif kind == _ARRIVAL:
                    self._arrive(what[0], what[1], when)
                else:
                    what()
            if core.dirty:
                self._after_turn()
            steps += 1
            if steps % _NOW_AND_THEN == 0:
                self._now_and_then()
            if self._check_every and steps % self._check_every == 0:
                check(core)
        if until is not None and not self._stopped:
            self.now = max(self.now, until)
        return self.statistics()

    def _now_and_then(self) -> None:
        """Do nothing: for who wants to be asked, some times a second of real time, whether this is to go on."""

    def stop(self) -> None:
        """Let `run` return after what happens just now; it may be called again, and goes on from there."""
        self._stopped = True

    # Acting at the present moment

    def cancel(self, job: SimulatedJob) -> bool:
        """Cancel a job unless it runs; return whether it is cancelled."""
        error = JobInterrupted(f"job {job.id} was cancelled")
        return self._acted(self.core.cancel(job, self.now, error))

    def interrupt(self, job: SimulatedJob, reason: str = "interrupt() was called") -> bool:
        """Ask a job to stop: a simulated one that runs does so at once."""
        slot = job.slot
        asked = self.core.interrupt(job, reason, self.now)
        if asked and isinstance(slot, Slot) and slot.job is job:
            self.core.finish(slot, None, JobInterrupted(reason), self.now)
            self._refill(slot, self.now)
        return self._acted(asked)

    def add_pool(self, group: str, *, start_up: float = 0.0) -> str:
        """Open one more pool of `group`, which takes jobs after `start_up` seconds; return its id."""
        pool = self.core.make_pool(self.core.pools.groups[group], self.now)
        self.core.add_pool(pool, self.now)
        if start_up:
            self.at(self.now + start_up, lambda: self._up(pool))
        else:
            self._up(pool)
        self._acted(True)
        return pool.pool_id

    def drain_pool(self, pool_id: str) -> None:
        """Let a pool take no more jobs, finish what it runs, and go."""
        pool = self._pool(pool_id)
        if pool.state is PoolState.DRAINING:
            self.core.keep_no_longer(pool, self.now)
        else:
            self.core.drain(pool, self.now)
        self._acted(True)

    def cordon_pool(self, pool_id: str) -> None:
        """Let a pool take no more jobs until `uncordon_pool`."""
        self.core.cordon(self._pool(pool_id), self.now)

    def uncordon_pool(self, pool_id: str) -> None:
        """Let a cordoned pool take jobs again."""
        self.core.pool_up(self._pool(pool_id), self.now)
        self._acted(True)

    # Seeing

    def statistics(self) -> Statistics:
        """Return one consistent snapshot; times are virtual seconds."""
        return self.core.statistics(self.now)

    def explain(self, group: str) -> Explanation:
        """Return the last decisions about a group's pools, with reasons."""
        return self.core.explain(self.core.pools.groups[group], self.now)

    def standing(self, job: SimulatedJob) -> Standing:
        """Return why a job is where it is, as ``JobHandle.explain`` does."""
        return standing(self.core, job, self.now)

    def pools(self) -> tuple[PoolStatistics, ...]:
        """Return every pool that has not stopped."""
        return self.core.pool_statistics()

    # How

    def _moment(self, at: float | None) -> float:
        if at is None:
            return self.now
        check_seconds("at", at)
        if at < self.now:
            raise ValueError(f"at={at!r} is in the past: virtual time is {self.now}")
        return at

    def _push(self, when: float, kind: int, what: object) -> None:
        self._number += 1
        heappush(self._heap, (when, kind, self._number, what))

    def _line(self, options: JobOptions) -> Line:
        if options.key is not None:  # or every key would be remembered for good
            options = attrs.evolve(options, key=None)
        line = self._lines.get(options)
        if line is None:
            found = self.core.line_for(options, coroutine=False)
            if found is None:
                raise NoEligiblePool(why_not_eligible(self.core, options, coroutine=False))
            line = self._lines[options] = found
        return line

    def _pool(self, pool_id: str) -> PoolRecord:
        pool = self.core.pools.find(pool_id)
        if pool is None:
            raise ValueError(f"there is no pool {pool_id!r}")
        return pool

    def _jobs(
        self, arrivals: Iterable[tuple[float, float]], options: JobOptions, line: Line
    ) -> Iterator[tuple[float, SimulatedJob]]:
        last = self.now
        for at, run_time in arrivals:
            if not (last <= at < float("inf") and 0 <= run_time < float("inf")):
                raise ValueError(f"source() got ({at!r}, {run_time!r}) after time {last!r}")
            last = at
            yield at, SimulatedJob(options, line, run_time, 0)

    def _next_of(self, jobs: Iterator[tuple[float, SimulatedJob]]) -> None:
        for at, job in jobs:
            self._push(at, _ARRIVAL, (job, jobs))
            return

    def _arrive(
        self, job: SimulatedJob, jobs: Iterator[tuple[float, SimulatedJob]] | None, now: float
    ) -> None:
        if jobs is not None:
            self._next_of(jobs)
        if job.joined is not None and job.joined.id:  # beside which it stood at the door
            return
        take = self.core.submit if job.options.key is None else self.core.submit_keyed
        try:
            slot = take(job, now)
        except (QueueFull, DuplicateJob):
            return
        if isinstance(slot, Slot):
            self._start(slot, job, now)
        elif isinstance(slot, SimulatedJob):
            job.joined = slot
        elif slot is not None:
            seconds, _ = self.core.gate.patience(job)
            if seconds < float("inf"):
                self._push(now + seconds, _ACTION, lambda: self._turn_away(job))

    def _turn_away(self, job: SimulatedJob) -> None:
        """Have a submitter leave the door, if it still stands there."""
        self._acted(True)
        self.core.leave_door(job, self.now, "no room in time")
        self._acted(True)

    def _start(self, slot: Slot, job: Any, now: float) -> None:
        self._number += 1
        run_time = job.run_time() if callable(job.run_time) else job.run_time
        if self._slowdown is not None:
            run_time *= self._slowdown(sum(pool.in_use for pool in slot.pool.group.pools))
        heappush(self._heap, (now + run_time, _FINISH, self._number, (slot, job, job.attempt)))

    def _open(self, pool: PoolRecord) -> None:
        seconds = self._start_up(pool.pool_id) if callable(self._start_up) else self._start_up
        self._push(self.now + (seconds or 0.0), _ACTION, lambda: self._opened(pool, failed=seconds is None))

    def _opened(self, pool: PoolRecord, *, failed: bool) -> None:
        if pool.state is not PoolState.STARTING:
            return
        if failed:
            error = SimulatedFailure(f"pool {pool.pool_id} failed to start")
            more = self.core.pool_failed(pool, error, str(error), self.now)
            while more:
                more = self.core.fail_some(self.now)
        else:
            self._up(pool)

    def _up(self, pool: PoolRecord) -> None:
        """Let a new pool take jobs: at once, or worker by worker if it is one that announces them."""
        if not pool.group.announces:
            self.core.pool_up(pool, self.now)
            return
        for slot in pool.all_slots:
            for job in self.core.ready(slot, slot.worker, self.now):
                self._start(slot, job, self.now)

    def _finish(self, ended: tuple[Slot, SimulatedJob, int], now: float) -> None:
        slot, job, attempt = ended
        if slot.job is not job or slot.attempt != attempt:
            return  # it was interrupted before
        self.core.finish(slot, None, self._error_of(job, attempt), now)
        self._refill(slot, now)

    def _error_of(self, job: Any, attempt: int) -> BaseException | None:
        """Return what an attempt fails with that ends, None if it succeeds."""
        fails = job.fails(attempt) if callable(job.fails) else attempt <= job.fails
        return SimulatedFailure(f"attempt {attempt} failed") if fails else None

    def _refill(self, slot: Slot, now: float) -> None:
        following = self.core.refill(slot, now)
        if following is not None:
            self._start(slot, following, now)

    def _after_turn(self) -> None:
        core = self.core
        if core.lots.failing:
            core.fail_held(self.now)
        core.dirty = bool(core.lots.failing)
        self._deadline_moved = True
        left, core.left = core.left, Left()
        for slot in left.starts:
            self._start(slot, slot.job, self.now)
        for job in left.admitted:
            if not job.id:  # the one beside which it stood has left the door
                self._push(self.now, _ARRIVAL, (job, None))
        for slot, job in left.hedges:
            self._start(slot, job, self.now)
        for pool in left.opens:
            self._open(pool)
        for event in map(worded, left.events):
            for observer in self._observers:
                observer(event)

    def _acted(self, answer: bool) -> bool:
        if self.core.dirty:
            self._after_turn()
        return answer
