"""Plays a recording to a fresh core and compares what it does with what was recorded.

The fresh core is a recorded one too: what it writes is what is compared, word for word. The clock stands where
each line says, dice fall as they fell, and retry policies that cannot be asked again answer as they did.
At the first difference the replay ends, for what comes behind it is an answer to other questions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from ._assembly import make_core
from ._core.books import Left
from ._core.job import Job, JobOptions
from ._core.pool_table import PoolRecord, Slot
from ._errors import RecordingError
from ._notes import Notes
from ._recorded import ASIDE, SENSELESS, File, Values
from ._recording import Dice, RecordingCore
from ._stand_in import ErrorKinds


@attrs.frozen(kw_only=True)
class Divergence:
    """Where a replay did something else than what was recorded."""

    #: Of the file, and seconds since the recording began.
    line: int
    time: float
    #: What came from outside, what the core had then done, and what it did in the replay.
    stimulus: str
    recorded: tuple[str, ...]
    replayed: tuple[str, ...]

    def __str__(self) -> str:
        said = [" ".join(each) or "nothing" for each in ((self.recorded), (self.replayed))]
        return (
            f"line {self.line}, {self.time:.6f} s after the beginning, at {self.stimulus}: "
            f"recorded {said[0]}; replayed {said[1]}"
        )


@attrs.frozen(kw_only=True)
class Replay:
    """What became of a recording that was played again."""

    stimuli: int
    jobs: int
    #: The first difference; None if there is none.
    divergence: Divergence | None
    #: Why the recording ended: "closed", "bound", "interrupt", "bug"; empty when the process ended first.
    ended: str
    #: The last line was not written to its end, and was left out.
    torn: bool = False


class ReplayedJob(Job):
    """A job without a call."""

    __slots__ = ("name", "number", "waited")

    def __init__(self, options: JobOptions, line: Any, number: int, name: str | None) -> None:
        super().__init__(options, line)
        #: As which of all it was submitted, from 1; and what its function was called.
        self.number, self.name = number, name
        #: Its wait has been counted: one that is taken back starts again.
        self.waited = False


class Heard:
    """Takes what the replayed core writes, and keeps what it did at the last stimulus."""

    def __init__(self) -> None:
        self.on = True
        self.effects: list[Any] | None = None
        self.tell: Callable[[str], None]
        self.over: Callable[[], None]

    def put(self, line: str, now: float) -> None:
        """Take a line."""
        read = json.loads(line)
        if read[0] not in ASIDE:
            self.effects = read[-1]

    def take(self) -> list[Any]:
        """Return what the core did since the last call."""
        effects, self.effects = self.effects or [], None
        return effects

    def end(self, why: str, now: float, counts: Mapping[str, int] | None = None) -> None:
        """Take no note."""


class LoadedDice(Dice):
    """Dice that fall as they fell; when that is not known, as a seed says."""

    def __init__(self) -> None:
        super().__init__(0)
        self.known: list[float] = []

    def throw(self) -> float:
        """Return the next throw."""
        return self.known.pop(0) if self.known else super().throw()


class ReplayedCore(RecordingCore):
    """A core that remembers by name whom stimuli are about."""

    def __init__(self, *args: Any, **named: Any) -> None:
        self.jobs: dict[int, Job] = {}
        self.known_pools: dict[str, PoolRecord] = {}
        super().__init__(*args, **named)

    def _admit(self, job: Job, now: float) -> None:
        super()._admit(job, now)
        self.jobs[job.id] = job

    def give_up(self, error: BaseException) -> None:
        """Raise what went wrong."""
        raise error

    def pool(self, pool_id: str) -> PoolRecord:
        """Return the pool of this name; raise KeyError if there never was one."""
        found = self.known_pools.get(pool_id) or self.pools.find(pool_id)
        if found is None:
            raise KeyError(f"there is no pool {pool_id}")
        return found

    def slot(self, word: str) -> Slot:
        """Return the slot of this name; raise LookupError if there is none."""
        pool_id, _, index = word.rpartition("/")
        if pool_id == "caller":
            return next(slot for slot, said in self.notes.callers.items() if json.loads(said) == word)
        return self.pool(pool_id).all_slots[int(index)]


def _is_torn(line: Any) -> bool:
    """Whether an interrupt tore this turn: where it struck was not recorded, so what it did cannot be compared."""
    effects = line[-1] if isinstance(line, list) and line and line[0] not in ASIDE else None
    return isinstance(effects, list) and [["torn"]] == [
        each[:1] for each in effects[-1:] if isinstance(each, list)
    ]


class Player:
    """Plays one recording."""

    kind: type[ReplayedCore] = ReplayedCore

    def __init__(self, file: File) -> None:
        self.file, self.values = file, Values(file)
        self.errors = ErrorKinds()
        self.dice, self.heard = LoadedDice(), Heard()
        self.core = self._core()
        self.submitted = self.stimuli = 0
        self.ended = ""
        self._options: dict[int, JobOptions] = {}
        self._lines: dict[int, Any] = {}
        self._at_door: dict[int, Job] = {}

    def _core(self) -> ReplayedCore:
        notes = self.dice.notes = Notes(self.heard)
        kind = partial(self.kind, notes=notes)
        settings = self.values.settings()
        core = make_core(self.values.groups(), **settings, seed=None, kind=kind, uniform=self.dice)
        assert isinstance(core, ReplayedCore)
        return core

    # Playing

    def play(self, look: Callable[[float], bool] | None = None) -> Replay:
        """Play everything, or until ``look(now)`` says that it is enough; return what became of it."""
        divergence = None
        for number, line in self.file.lines():
            if _is_torn(line):
                self.ended = "interrupt"
                break
            try:
                divergence = self._line(number, line)
                enough = line[0] == "end" or (look is not None and line[0] not in ASIDE and look(line[1]))
            except RecordingError:
                raise
            except SENSELESS as error:
                raise self.file.wrong(number, error) from error
            if divergence is not None or enough:
                break
        return Replay(
            stimuli=self.stimuli,
            jobs=self.submitted,
            divergence=divergence,
            ended=self.ended,
            torn=self.file.torn,
        )

    def _line(self, number: int, line: list[Any]) -> Divergence | None:
        if line[0] == "recording":
            return None
        if line[0] in ASIDE:
            self._aside(*line)
            return None
        self.stimuli += 1
        return self._end(number, *line[1:]) if line[0] == "end" else self._step(number, line)

    def _aside(self, kind: str, number: int, said: Any, coroutine: bool = False) -> None:
        if kind == "options":
            self._options[number] = self.values.options(said)
        elif kind == "class":
            self.errors.add(number, said)
        else:
            line = self.core.line_for(self._options[said], coroutine=coroutine)
            self._lines.setdefault(number, line)

    def _step(self, number: int, line: list[Any]) -> Divergence | None:
        kind, now, *given, effects = line
        self.dice.known = [each[1] for each in effects if each[0] == "dice"]
        self.values.answers[:] = [each[1:] for each in effects if each[0] == "answer"]
        self.heard.take()
        failed: list[Any] = []
        try:
            (getattr(self, f"_{kind}") if kind in _STIMULI else self._simply)(
                now, *given, effects=effects, kind=kind
            )
        except (RecordingError, KeyboardInterrupt):
            raise
        except Exception as error:
            if not any(each[0] == "raise" for each in effects):
                failed = [["raise", f"{type(error).__name__}: {error}"]]
        replayed = self.heard.take() or failed
        self.after(now)
        return None if replayed == effects else self._differs(number, now, kind, given, effects, replayed)

    def after(self, now: float) -> None:
        """Look at the core between two stimuli; drop what it has left for a driver."""
        self.core.left = Left()

    def _differs(
        self, number: int, now: float, kind: str, given: Any, effects: list[Any], replayed: list[Any]
    ) -> Divergence:
        return Divergence(
            line=number,
            time=now - self.file.began,
            stimulus=f"{kind}({', '.join(map(json.dumps, given))})",
            recorded=tuple(map(json.dumps, effects)),
            replayed=tuple(map(json.dumps, replayed)),
        )

    def _end(self, number: int, now: float, why: str, counts: Mapping[str, int]) -> Divergence | None:
        self.ended = why
        replayed = {name: getattr(self.core.ledger, name) for name in counts}
        if replayed == counts:
            return None
        return self._differs(number, now, "end", [why], [dict(counts)], [replayed])

    # Stimuli

    def _submit(
        self, now: float, job_id: int, options: int, line: int, name: str | None, *, effects: Any, kind: str
    ) -> None:
        self.submitted += 1
        job = self.job(self._options[options], self._lines[line], name)
        if ["door"] in effects:
            self._at_door[self.submitted] = job
        getattr(self.core, kind)(job, now)
        if job.id != job_id:
            raise AssertionError(f"it has the id {job.id}, not {job_id}")

    _submit_keyed = _submit

    def job(self, options: JobOptions, line: Any, name: str | None) -> ReplayedJob:
        """Return the job of a submit."""
        return ReplayedJob(options, line, self.submitted, name)

    def error(self, said: Any, effects: Any) -> tuple[Any, BaseException | None]:
        """Return a value and an error like those that were recorded."""
        answers = [tuple(each[1:]) for each in effects if each[0] == "answer"]
        return self.errors.outcome(said, answers[0] if answers else None)

    def _finish(self, now: float, slot: str, said: Any, *, effects: Any, kind: str) -> None:
        self.core.finish(self.core.slot(slot), *self.error(said, effects), now)

    def _outcome(self, now: float, slot: str, said: Any, seconds: float, *, effects: Any, kind: str) -> None:
        self.core.outcome(self.core.slot(slot), *self.error(said, effects), seconds, now)

    def _lost(self, now: float, slot: str, said: Any, ids: list[int], *, effects: Any, kind: str) -> None:
        self.core.lost(self.core.slot(slot), self.error(said, effects)[1], self._jobs(ids), now)

    def _abandon(self, now: float, slot: str, said: Any, *, effects: Any, kind: str) -> None:
        self.core.abandon(self.core.slot(slot), self.error(said, effects)[1], now)

    def _take_back(self, now: float, slot: str, ids: list[int], **_said: Any) -> None:
        self.core.take_back(self.core.slot(slot), self._jobs(ids), now)

    def _jobs(self, ids: list[int]) -> list[Job]:
        return [self.core.jobs[job_id] for job_id in ids]

    def _refill(self, now: float, slot: str, **_said: Any) -> None:
        self.core.refill(self.core.slot(slot), now)

    def _ready(self, now: float, slot: str, worker: str, **_said: Any) -> None:
        self.core.ready(self.core.slot(slot), worker, now)

    def _fill(self, now: float, slot: str, want: int, **_said: Any) -> None:
        self.core.fill(self.core.slot(slot), want, now)

    def _cancel(self, now: float, job: int, **_said: Any) -> None:
        self.core.cancel(self.core.jobs[job], now, self.errors.cancelled())

    def _interrupt(self, now: float, job: int, reason: str, **_said: Any) -> None:
        self.core.interrupt(self.core.jobs[job], reason, now)

    def _leave_door(self, now: float, number: int, reason: str, **_said: Any) -> None:
        self.core.leave_door(self._at_door.pop(number), now, reason)

    def _make_pool(self, now: float, group: str, **_said: Any) -> None:
        pool = self.core.make_pool(self.core.pools.groups[group], now)
        self.core.known_pools[pool.pool_id] = pool

    def _pool_failed(self, now: float, pool: str, said: Any, *, effects: Any, kind: str) -> None:
        error = self.error(said, effects)[1]
        assert error is not None
        self.core.pool_failed(self.core.pool(pool), error, str(said[1]), now)

    def _lagged(self, now: float, pool: str, seconds: float, **_said: Any) -> None:
        self.core.lagged(self.core.pool(pool), seconds, now)

    def _stop_scaling(self, now: float, **_said: Any) -> None:
        self.core.stop_scaling()

    def _retrying(self, now: float, value: bool, **_said: Any) -> None:
        self.core.retrying = value

    def _simply(self, now: float, *pools: str, kind: str, **_said: Any) -> None:
        """Call a method that takes a pool and the moment, or the moment alone."""
        if kind not in _SIMPLE:
            raise RecordingError(
                f"{self.file.path} has a stimulus {kind!r}, which this version does not know"
            )
        getattr(self.core, kind)(*map(self.core.pool, pools), now)


#: Stimuli that are more than a call with a pool, or with the moment alone.
_STIMULI = (
    "abandon",
    "cancel",
    "fill",
    "finish",
    "interrupt",
    "lagged",
    "leave_door",
    "lost",
    "make_pool",
    "outcome",
    "pool_failed",
    "ready",
    "refill",
    "retrying",
    "stop_scaling",
    "submit",
    "submit_keyed",
    "take_back",
)
_SIMPLE = (
    "add_pool",
    "advance",
    "cordon",
    "dispatch",
    "drain",
    "drain_for_good",
    "fail_held",
    "fail_some",
    "keep_no_longer",
    "pause",
    "pool_up",
    "resume",
)


def replay(path: str | Path) -> Replay:
    """Play the recording in a file again, and return whether the scheduler decided as it did.

    Raises RecordingError for what is no recording, or needs what cannot be made again, OSError for what cannot
    be read. Cost: 25 µs a job.
    """
    return Player(File(path)).play()
