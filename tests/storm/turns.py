"""Turns in virtual time: what the real driver does around the core, without its lock and its threads.

A step is one turn of the core. After each, every invariant is checked, the judge and the marks hear the events,
and what the turn left behind is done: at once what the turn's own thread does, as steps of their own at the same
moment what other threads may come before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import Any, TypeVar

from storm.judge import Caught, Judge
from storm.plugins import WATCH
from storm.stimuli import Spec
from storm.weather import Weather

from policies.contracts import Admission
from scheduler._assembly import make_core
from scheduler._core.books import Left, describe
from scheduler._core.core import Core
from scheduler._core.events import Event, JobStarted
from scheduler._core.invariants import InvariantBroken, check
from scheduler._core.job import Job, JobOptions, Line
from scheduler._core.pool_table import PoolRecord, Slot
from scheduler._errors import DuplicateJob, PoolBroken, QueueFull
from scheduler._observers import Observers
from scheduler._recorder import Recorder
from scheduler._tape import BYTES_MAX

T = TypeVar("T")

#: Turns that a run may take. What goes on beyond is a scheduler that is busy with nothing.
STEPS_MAX = 20_000

#: What a submit may raise: answers, not faults.
REFUSALS = (QueueFull, PoolBroken, DuplicateJob)

Entry = tuple[float, int, bool, Callable[..., object], tuple[Any, ...]]


class StormJob(Job):
    """A job that knows what is to become of its attempts."""

    __slots__ = (
        "asked_to_stop",
        "hedged",
        "joined",
        "policies",
        "refused",
        "serial",
        "spec",
        "times_settled",
    )

    def __init__(self, options: JobOptions, line: Line, serial: int, spec: Spec) -> None:
        super().__init__(options, line)
        self.serial, self.spec = serial, spec
        self.asked_to_stop = self.hedged = self.refused = False
        self.joined: StormJob | None = None
        self.policies: tuple[Any, ...] = ()
        self.times_settled = 0


class Turns:
    """A core, its time, and those who watch."""

    def __init__(
        self,
        weather: Weather,
        watch: Callable[[Any, list[Event]], object] | None = None,
        record: Path | None = None,
    ) -> None:
        WATCH.seconds = 0.0
        self.weather = weather
        settings: dict[str, Any] = {
            "capacity": weather.capacity,
            "admission": weather.admission,
            "ordering": weather.ordering,
            "routing": weather.routing,
            "limits": weather.limits,
            "breakers": weather.breakers,
        }
        recorder = None if record is None else Recorder(record, BYTES_MAX, weather.seed)
        self.core: Core = make_core(
            weather.groups,
            **settings,
            seed=weather.seed,
            stopwatch=WATCH,
            **({} if recorder is None else recorder.parts),
        )
        if recorder is not None:
            recorder.begin(weather.groups, settings, name="storm", now=0.0)
        self.core.observed = True
        self.now, self.steps, self.number = 0.0, 0, 0
        self.heap: list[Entry] = []
        self.jobs: dict[int, StormJob] = {}
        self.by_id: dict[int, StormJob] = {}
        self.judge = Judge()
        self.events: list[Event] = []
        self.calm = self.closing = False
        #: Slots that were asked for what lies ahead there, and have not answered yet.
        self.owed: list[Slot] = []
        #: For the marks: when the clock has stepped, and what else was unusual.
        self.stepped: set[float] = set()
        self.joined_backing_off: list[StormJob] = []
        self.meddled_with = False
        self.would_deadlock = 0
        #: What was the case when a submit was torn.
        self.torn: set[str] = set()
        self._watch = watch
        self._observers = Observers("storm")
        self._started = 0
        if weather.raising:
            self._observers.add(_raises)
        self._observers.add(self.events.append)
        if weather.meddles:
            self._observers.add(self._meddle)

    # Time

    def later(self, seconds: float, deed: Callable[..., object], *given: Any, work: bool = True) -> None:
        """Do something after so many seconds; `work` stands still while the machine sleeps."""
        self.number += 1
        heappush(self.heap, (self.now + seconds, self.number, work, deed, given))

    def sleep(self, seconds: float) -> None:
        """Let the clock make a step while nothing goes on."""
        self.heap = [
            (when + seconds * work, number, work, deed, given)
            for when, number, work, deed, given in self.heap
        ]
        heapify(self.heap)

    def next_step(self) -> float:
        """Return when something happens next, infinity for never."""
        return min(self.core.next_deadline(), self.heap[0][0] if self.heap else math.inf)

    def step(self) -> None:
        """Let happen what happens next."""
        due, deadline = self.heap[0][0] if self.heap else math.inf, self.core.next_deadline()
        alarm = deadline < due or (deadline == due and self.weather.seed % 2)
        self.now = max(self.now, min(due, deadline))
        if alarm:
            self.turn(lambda: self.core.advance(self.now))
        else:
            _, _, _, deed, given = heappop(self.heap)
            deed(*given)

    # Turns

    def turn(self, body: Callable[[], T]) -> T:
        """Take one turn; raise `Caught` when it breaks a law, and what a submit may raise."""
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Caught("liveness", f"after {STEPS_MAX} turns at {self.now} s it still does something")
        refusal = None
        try:
            answer = body()
        except REFUSALS as error:
            refusal = error
        except Caught:
            raise
        except Exception as error:
            raise Caught(f"no {type(error).__name__}", describe(error)[:300]) from error
        self._conclude()
        if refusal is not None:
            raise refusal
        return answer

    def _conclude(self) -> None:
        core = self.core
        try:
            if core.lots.failing:
                core.fail_held(core.now)
            self._check()
        except InvariantBroken as error:
            law, _, story = str(error).partition(": ")
            raise Caught(law, story) from error
        except Exception as error:
            raise Caught(f"no {type(error).__name__}", describe(error)[:300]) from error
        core.dirty = False
        left, core.left = core.left, Left()
        self.owed += left.recalls
        self._heard(left)
        self._act(left)

    def _check(self) -> None:
        """Check every invariant; and every sixteenth time take the snapshot, which is dear, and must never raise."""
        check(self.core)
        if self.steps % 16 == 0:
            self.core.statistics(self.core.now)

    def _heard(self, left: Left) -> None:
        for job in left.settled:
            job.times_settled += 1  # type: ignore[attr-defined]
            if job.times_settled > 1:  # type: ignore[attr-defined]
                raise Caught("I5", f"job {job.id} settled twice", job.id)
        if not left.events:
            return
        before = len(self.events)
        # Without their errors' texts: those are nobody's law, and name objects by their addresses.
        self._observers.put([(event, None) for event, _ in left.events])
        self._observers.hand_out()
        fresh = self.events[before:]
        if len(fresh) != len(left.events):
            raise Caught("I14", f"{len(left.events)} events were told and {len(fresh)} heard")
        for event in fresh:
            self.judge.hears(event)
        self.judge.torn.clear()
        if self._watch is not None:
            self._watch(self, fresh)

    def _act(self, left: Left) -> None:
        for job in left.admitted:
            if not job.id:  # the one beside which it stood has left the door
                self.later(0.0, self.arrives, job)
        for slot in left.starts:
            self.given(slot, slot.job)
        for slot, job in left.hedges:
            job.hedged = True
            self.given(slot, job)
        for slot, attempt in left.stops:
            self.later(0.0, self.stop, slot, attempt, slot.job)
        for slot in left.recalls:
            self.later(0.0, self.recall, slot)
        for pool in left.opens:
            self.open(pool)
        for pool in left.stopped:
            self.gone(pool)

    def _meddle(self, event: Event) -> None:
        if isinstance(event, JobStarted) and not self.calm:
            self._started += 1
            if self._started % self.weather.meddles == 0:
                self.later(0.0, self.meddled, event.job_id)

    # What those below do

    def arrives(self, job: Any) -> None:
        """Let a job be submitted."""
        raise NotImplementedError

    def meddled(self, job_id: int) -> None:
        """Do what an observer has thought of."""
        raise NotImplementedError

    def given(self, slot: Slot, job: Any) -> None:
        """Run a job that was bound to a slot."""
        raise NotImplementedError

    def stop(self, slot: Slot, attempt: int, job: Any) -> None:
        """Ask an attempt to stop."""
        raise NotImplementedError

    def recall(self, slot: Slot) -> None:
        """Take back what lies ahead in a slot."""
        raise NotImplementedError

    def open(self, pool: PoolRecord) -> None:
        """Make a pool real that is on the books."""
        raise NotImplementedError

    def gone(self, pool: PoolRecord) -> None:
        """Forget a pool that has stopped."""
        raise NotImplementedError


def _raises(event: Event) -> None:
    raise ZeroDivisionError("an observer is broken")


def waits_at_door(answer: object) -> bool:
    """Whether a submit was answered by the door."""
    return isinstance(answer, Admission)
