"""Plays the stimuli of a run; then lets all faults stop, and sees that everything settles."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import attrs
from storm.closing import Closing
from storm.judge import Caught
from storm.stimuli import Spec, Stimulus
from storm.story import stimuli_of
from storm.tearing import Torn, struck_at
from storm.turns import REFUSALS, StormJob, waits_at_door
from storm.weather import SOONER, Weather, weather

from scheduler._core import capacity, shedding
from scheduler._core import core as core_room
from scheduler._core.deadlock import is_stuck
from scheduler._core.events import Event, PoolCordoned
from scheduler._core.job import JobOptions
from scheduler._core.pool_table import PoolRecord, Slot
from scheduler._core.standing import standing
from scheduler._core.states import JobState, PoolState
from scheduler._options import checked
from scheduler._recording import RecordingCore
from scheduler.testing import Replay, replay

#: Virtual seconds within which everything has settled once faults have stopped. The most that was needed is
#: printed by ``make storm``.
SETTLES_WITHIN = 120.0

#: Virtual seconds after which no breaker of a storm is open any more.
BREAKERS_PASS = 4.0

Watch = Callable[[Any, list[Event]], object]


class World(Closing):
    """One run: the core, its pools, and everybody who wants something of them."""

    def play(self, given: Iterable[Stimulus]) -> None:
        """Give every stimulus at its time, then let the faults stop. Raises `Caught`."""
        for group in self.weather.groups:
            for _ in range(group.min_pools + self.weather.extra_pools):
                self._put_up(self._make(group.name))
        for stimulus in given:
            self._until(stimulus.at)
            getattr(self, f"do_{stimulus.what}")(stimulus.number, *stimulus.given)
        self._let_faults_stop()
        self._probe()
        self._nothing_is_left()

    def _until(self, moment: float) -> None:
        while self.next_step() < moment:
            self.step()
        self.now = max(self.now, moment)

    # Jobs

    def do_submit(self, number: int, spec: Spec) -> None:
        if self.closing:
            return
        options = checked(JobOptions(), spec.options)
        line = self.turn(lambda: self.core.line_for(options, coroutine=spec.coroutine))
        if line is None:
            return
        job = self.jobs[number] = StormJob(options, line, number, spec)
        job.policies = (options.retry, *(group.retry for group in self.weather.groups))
        self.arrives(job)

    def arrives(self, job: StormJob) -> None:
        """Let a job be submitted, for the first time or again after it waited beside another."""
        if self.closing or (job.joined is not None and job.joined.id):
            job.refused = job.joined is None or not job.joined.id
            return
        job.joined = None
        try:
            answer: Any = self.turn(lambda: self._taken(job))
        except REFUSALS:
            job.refused = True
            return
        if isinstance(answer, Slot):
            self.given(answer, job)
        elif isinstance(answer, StormJob):
            job.joined = answer
            if answer.state is JobState.BACKING_OFF:
                self.joined_backing_off.append(answer)
        if waits_at_door(answer) or (job.joined is not None and not job.joined.id):
            patience, _ = self.core.gate.patience(job)
            if patience < math.inf:
                self.later(patience, self._loses_patience, job, work=False)

    def _taken(self, job: StormJob) -> Any:
        key = job.options.key
        if key is None:
            torn_at = None if self.calm else job.spec.torn_at
            return self.core.submit(job, self.now) if torn_at is None else self._torn(job, torn_at)
        others = self.core.keys.of(key) if job.options.on_conflict == "replace" else ()
        return self._fetched(others, lambda: self.core.submit_keyed(job, self.now))

    def _fetched(self, jobs: Iterable[Any], act: Callable[[], Any]) -> Any:
        """Do something about jobs that are taken back first where they lie ahead, as the desk does."""
        ahead = [job for job in jobs if job.lies_ahead and isinstance(job.slot, Slot)]
        for job in ahead:
            self.take_back(job.slot)
        try:
            return act()
        finally:
            if ahead:
                self.core.dispatch(self.now)

    def _torn(self, job: StormJob, line: int) -> Any:
        """Submit a job, and be struck by an exception on the way: then it was never submitted."""
        try:
            with struck_at(line):
                return self.core.submit(job, self.now)
        except Torn:
            self.core.mend(torn=job)
            job.refused = True
            self.torn.add("full" if self.core.queue.held >= self.core.queue.capacity else "room")
            self.torn |= {pool.state.name for pool in self.core.pools}
            del self.jobs[job.serial]
            self.judge.forgets(job.id)
            return None

    def _loses_patience(self, job: StormJob) -> None:
        if not job.id and not job.refused and (job.joined is None or not job.joined.id):
            job.refused = True
            self.turn(lambda: self.core.leave_door(job, self.now, "no room in time"))

    def _some_job(self, number: int) -> StormJob | None:
        job = self.jobs.get(number)
        if job is None or not job.id:
            return None
        job.asked_to_stop = True
        return job

    def do_cancel(self, _: int, number: int) -> None:
        job = self._some_job(number)
        if job is None:
            return

        def cancel() -> Any:
            return self._fetched([job], lambda: self.core.cancel(job, self.now, CancelledError()))

        if self.turn(cancel) != (job.state is JobState.CANCELLED):
            raise Caught("one end", f"cancel() of job {job.id} lied", job.id)

    def do_interrupt(self, _: int, number: int) -> None:
        job = self._some_job(number)
        if job is not None:
            self._interrupt(job)

    def _interrupt(self, job: StormJob) -> None:
        def interrupt() -> Any:
            return self._fetched([job], lambda: self.core.interrupt(job, "enough", self.now))

        self.turn(interrupt)

    def meddled(self, job_id: int) -> None:
        """Interrupt a job, as an observer does that has just heard of its start."""
        for job in self.jobs.values():
            if job.id == job_id:
                self.meddled_with = True
                job.asked_to_stop = True
                self._interrupt(job)

    def do_look(self, _: int, __: int) -> None:
        for job in self.jobs.values():
            if job.id:
                self.turn(lambda job=job: str(standing(self.core, job, self.now)))
        for group in self.core.pools.groups.values():
            self.turn(lambda group=group: str(self.core.explain(group, self.now)))

    def do_wait_for(self, _: int, slot: int, number: int) -> None:
        """Have a call wait for a job without a limit, unless that would be for ever."""
        calls, job = list(self.calls.values()), self.jobs.get(number)
        if not calls or job is None or job.refused:
            return
        call = calls[slot % len(calls)]
        call.slot.waits_for = job
        stuck = self.turn(lambda: is_stuck(job, self.core.queue, self.core.timers))
        if stuck:
            call.slot.waits_for = None
            self.would_deadlock += 1
        own = job.slot is call.slot and not job.state.settled
        if (own and not stuck) or (stuck and job.state.settled):
            raise Caught("who waits for ever", f"{job.id} is {job.state.name}: {stuck}", job.id)

    # Operators

    def _pool(self, number: int, *states: PoolState) -> PoolRecord | None:
        able = [pool for pool in self.core.pools if pool.state in states]
        return able[number % len(able)] if able else None

    def do_drain(self, _: int, number: int) -> None:
        states = (PoolState.ACCEPTING, PoolState.CORDONED, PoolState.STARTING)
        pool = self._pool(number, *states, PoolState.QUARANTINED, PoolState.DRAINING)
        if pool is None:
            return
        if pool.state is PoolState.DRAINING:
            self.turn(lambda: self.core.keep_no_longer(pool, self.now))
        elif pool.state not in states or pool.group.capacity_pools() > pool.group.min_pools:
            self.turn(lambda: self.core.drain(pool, self.now))

    def do_cordon(self, _: int, number: int) -> None:
        pool = self._pool(number, PoolState.ACCEPTING)
        if pool is not None:
            self.turn(lambda: self.core.cordon(pool, self.now))

    def do_uncordon(self, _: int, number: int) -> None:
        pool = self._pool(number, PoolState.CORDONED)
        if pool is not None:
            self.turn(lambda: self.core.pool_up(pool, self.now))

    def do_add_pool(self, _: int, number: int, seconds: float | None) -> None:
        groups = self.weather.groups
        if self.closing or len(list(self.core.pools)) > 8:
            return
        pool = self._make(groups[number % len(groups)].name)
        if seconds is not None:  # else its recipe raises, and it never comes onto the books
            self.later(seconds, self._put_up, pool)

    def _make(self, name: str) -> PoolRecord:
        return self.turn(lambda: self.core.make_pool(self.core.pools.groups[name], self.now))

    def _put_up(self, pool: PoolRecord) -> None:
        if self.closing or pool.group.full:
            return

        def put_up() -> None:
            self.core.add_pool(pool, self.now)
            if not pool.group.announces:
                self.core.pool_up(pool, self.now)

        self.turn(put_up)
        self.equip(pool)

    def do_pause(self, _: int, __: int) -> None:
        if not self.closing:
            self.judge.pauses(paused=True)
            self.turn(lambda: self.core.pause(self.now))

    def do_resume(self, _: int, __: int) -> None:
        self.judge.pauses(paused=False)
        self.turn(lambda: self.core.resume(self.now))

    def do_close(self, _: int, finish_within: float, cancel_within: float) -> None:
        self.closes(finish_within, cancel_within)

    # Faults

    def do_break_pool(self, _: int, number: int) -> None:
        pool = self._pool(number, PoolState.ACCEPTING, PoolState.DRAINING, PoolState.CORDONED)
        if pool is not None:
            self.broken(pool)

    def do_kill_worker(self, _: int, number: int) -> None:
        slots = [slot for pool in self.core.pools for slot in pool.all_slots if slot.job is not None]
        if not slots:
            return
        slot = slots[number % len(slots)]
        call = self.calls.get(slot)
        if slot in self.workers:
            self.dies(slot)
        elif call is not None:
            self._deliver(call, None, self.blamed(slot, call.job))

    def do_outage(self, _: int, __: int) -> None:
        self.failing = True

    def do_recovery(self, _: int, __: int) -> None:
        self.failing = False

    def do_clock_step(self, _: int, seconds: float, asleep: bool) -> None:
        if asleep:
            self.sleep(seconds)
        self.now += seconds
        self.stepped.add(self.now)
        if self.weather.limits or self.weather.breakers or self.weather.small_turns:
            self.judge.late.add(self.now)
        self.turn(lambda: self.core.advance(self.now))

    def do_block_loop(self, _: int, number: int, seconds: float) -> None:
        pool = self._pool(number, PoolState.ACCEPTING)
        if pool is not None:
            self.turn(lambda: self.core.lagged(pool, seconds, self.now))

    def do_mend(self, _: int, __: int) -> None:
        self.turn(self.core.mend)

    # Calm

    def _let_faults_stop(self) -> None:
        """Let nothing fail any more, and have operators undo what they did; then all must settle."""
        self.calm, self.failing, began = True, False, self.now
        self._observers.add(self._uncordon)  # what was cordoned in quarantine is again when it is released
        for pool in list(self.core.pools):
            self.turn(lambda pool=pool: self.core.lagged(pool, 0.0, self.now))
            if pool.state is PoolState.CORDONED:
                self.turn(lambda pool=pool: self.core.pool_up(pool, self.now))
        for call in list(self.calls.values()):
            self.later(1.0, self.returns, call)
        for slot, worker in list(self.workers.items()):
            if worker.jobs:
                self._run_first(slot, worker)
        self.do_resume(0, 0)
        if not self.closing:
            for group in self.core.pools.groups.values():
                while group.capacity_pools() < group.min_pools and group.scaling is None:
                    self._put_up(self._make(group.name))
        self._until_idle(began)

    def _uncordon(self, event: Event) -> None:
        if isinstance(event, PoolCordoned):
            self.later(0.0, self.do_uncordon, 0, 0)

    def _until_idle(self, began: float) -> None:
        while not self.core.idle:
            when = self.next_step()
            if when > began + SETTLES_WITHIN:
                alive = [f"{job.id} ({job.state.name})" for job in self.core.alive()]
                story = f"{SETTLES_WITHIN:g} s after all faults stopped, at {self.now} s, jobs {', '.join(alive)} are alive"
                raise Caught("liveness", story, *[job.id for job in self.core.alive()])
            self.step()
        self.settled_after = max(self.settled_after, self.now - began)
        while self.heap and self.heap[0][0] < began + 2 * SETTLES_WITHIN:  # what was given up returns
            self.step()

    settled_after = 0.0

    def _probe(self) -> None:
        """See that every group still runs jobs."""
        if self.closing:
            return
        if self.weather.breakers:
            self._until(self.now + BREAKERS_PASS)
        for number, group in enumerate(self.weather.groups):
            self._until_it_accepts(group.name)
            options = {"priority": 0, "tags": {group.name}, "name": "probe"}
            coroutine = self.core.pools.groups[group.name].coroutines
            self.do_submit(-1 - number, Spec(options=options, runs=(0.25,), coroutine=coroutine))
            self._until_idle(self.now)
            job = self.jobs[-1 - number]
            if job.state is not JobState.SUCCEEDED:
                story = f"job {job.id}, which nothing disturbs, is {job.state.name}: {job.outcome}"
                raise Caught("liveness", story, job.id)

    def _until_it_accepts(self, name: str) -> None:
        """Wait for a group whose last pool broke, and that waits itself before it opens another one."""
        pools, until = self.core.pools.groups[name].pools, self.now + SETTLES_WITHIN
        while not any(pool.state is PoolState.ACCEPTING for pool in pools):
            if self.next_step() > until:
                raise Caught(
                    "liveness", f"{SETTLES_WITHIN:g} s later group {name} has no pool that takes jobs"
                )
            self.step()

    def _nothing_is_left(self) -> None:
        """See that nothing of all these jobs is kept anywhere."""
        core = self.core
        left = {
            "calls": len(self.calls),
            "timers": len(core.timers),
            "jobs in the front queue": core.queue.held + len(core.queue),
            "submitters at the door": len(core.gate.door),
            "keys": len(core.keys),
            "slots of callers": len(core.caller_slots),
            "jobs ahead": core.ahead,
            "slots in use": sum(pool.in_use for pool in core.pools),
            "limits held": sum(record.held for record in core.lots.records()),
            "charges": len(core.shares.charges) if core.shares is not None else 0,
        }
        kept = {name: count for name, count in left.items() if count}
        if kept:
            raise Caught("nothing is left behind", f"when everything has settled, there are {kept}")
        self.judge.verdict([job for job in self.jobs.values() if job.id], closed=self.closing)


@attrs.frozen
class Played:
    """What came of a run."""

    world: World
    caught: Caught | None
    #: What became of the run's recording when it was played again, if one was made.
    replayed: Replay | None = None

    @property
    def digest(self) -> str:
        """Return what is equal when two runs were."""
        text = "\n".join(map(repr, self.world.events))
        return hashlib.sha256(f"{text}\n{self.caught}".encode()).hexdigest()[:16]


def play(
    drawn: Weather | int,
    given: Iterable[Stimulus] | None = None,
    *,
    watch: Watch | None = None,
    record: Path | None = None,
) -> Played:
    """Play a seed, or a weather with stimuli that were made of one; record it, perhaps, and play that again."""
    air = weather(drawn) if isinstance(drawn, int) else drawn
    world = World(air, watch, record)
    numbers = _numbers(air)
    before, silent = [getattr(room, name) for room, name, _ in numbers], logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # what is logged of observers and policies that raise is meant to be
    try:
        for room, name, number in numbers:
            setattr(room, name, number)
        world.play(stimuli_of(air) if given is None else given)
        replayed = None if record is None else _replayed(world, record)
    except Caught as caught:
        return Played(world, caught)
    finally:
        logging.disable(silent)
        for (room, name, _), value in zip(numbers, before, strict=True):
            setattr(room, name, value)
    return Played(world, None, replayed)


def _replayed(world: World, record: Path) -> Replay:
    """Play again what a run recorded, with the bounds that the core still has."""
    core = world.core
    assert isinstance(core, RecordingCore)
    if core.notes.tape.on:
        core.end_recording(world.now)
    return replay(record)


def _numbers(air: Weather) -> list[tuple[Any, str, int]]:
    """Return the core's bounds as this run has them: so that turns are seen that have no room for everything."""
    room = 2 if air.small_turns else 256
    bounds = (core_room, "TIMERS_PER_TURN"), (capacity, "JOBS_PER_TURN"), (shedding, "JOBS_PER_TURN")
    numbers = [(module, name, room) for module, name in bounds]
    for feature in air.features:
        numbers += SOONER.get(feature, ())
    return numbers
