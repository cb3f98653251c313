"""The jobs of a recording under another configuration: what would have been.

Arrivals, options, run times, errors and what users cancelled are as recorded; who starts when, and where, and
what is tried again is decided anew. An attempt that there was not runs as long as the job's last one, a job that
never ran as long as the others on average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from .._config import Config
from .._core.job import JobOptions, Line
from .._core.pool_table import Slot
from .._errors import ConfigError, NoEligiblePool, RecordingError
from .._recorded import ASIDE, SENSELESS, File, Values
from .._stand_in import ErrorKinds
from .play import LOOK_EVERY, MeasuredJob, MeasuredSimulator, Played

_ACTS = ("cancel", "interrupt")


@attrs.define(eq=False)
class Recorded:
    """A job as it was recorded. Times are seconds since the recording began."""

    number: int
    at: float
    options: JobOptions
    coroutine: bool
    #: By attempt: how long its call ran, and what it failed with, if it did.
    tries: dict[int, tuple[float, BaseException | None]] = attrs.Factory(dict)
    #: It was another job's handle: one of its key was alive.
    joined: bool = False
    #: What a user asked for, and when: "cancel" or "interrupt".
    acts: list[tuple[float, str]] = attrs.Factory(list)

    def attempt(self, number: int, otherwise: float) -> tuple[float, BaseException | None]:
        """Return how long an attempt runs, and what it fails with; `otherwise` are the seconds of one that is not known."""
        if not self.tries:
            return otherwise, None
        return self.tries.get(number) or self.tries[max(self.tries)]


class _Reading:
    """Follows jobs through the lines of a recording."""

    def __init__(self, file: File) -> None:
        self.file, self.values = file, Values(file)
        self.errors = ErrorKinds()
        self.jobs: list[Recorded] = []
        self._options: dict[int, JobOptions] = {}
        self._coroutine: dict[int, bool] = {}
        self._by_id: dict[int, Recorded] = {}
        #: By slot: who runs there, which attempt, since when.
        self._runs: dict[str, tuple[Recorded, int, float]] = {}
        self._closing = False
        self._now = 0.0

    def read(self, look: Callable[[], bool] | None) -> list[Recorded]:
        """Return the jobs in the order in which they came."""
        for number, line in self.file.lines():
            if line[0] == "end" or (look is not None and number % LOOK_EVERY == 0 and look()):
                break
            try:
                self._line(*line)
            except RecordingError:
                raise
            except SENSELESS as error:
                raise self.file.wrong(number, error) from error
        now = self._now
        for job, attempt, since in self._runs.values():  # longer than that, but how long nobody knows
            job.tries.setdefault(attempt, (now - since, None))
        return self.jobs

    def _aside(self, kind: str, number: int, said: Any, coroutine: bool = False) -> None:
        if kind == "options":
            self._options[number] = self.values.options(said)
        elif kind == "class":
            self.errors.add(number, said)
        else:
            self._coroutine.setdefault(number, coroutine)

    def _line(self, kind: str, *said: Any) -> None:
        if kind in ASIDE:
            self._aside(kind, *said)
        elif kind != "recording":
            self._now = said[0] - self.file.began
            self._stimulus(kind, self._now, list(said[1:-1]), said[-1])

    def _stimulus(self, kind: str, now: float, given: list[Any], effects: list[Any]) -> None:
        if kind in ("submit", "submit_keyed"):
            self._submit(now, *given[:3])
        elif kind in ("finish", "outcome", "lost"):
            answer = next((tuple(each[1:]) for each in effects if each[0] == "answer"), None)
            self._ended(now, given[0], given[1], answer, given[2] if kind == "outcome" else None)
        elif kind == "stop_scaling":
            self._closing = True
        elif kind in _ACTS and not self._closing and given[0] in self._by_id:
            self._by_id[given[0]].acts.append((now, kind))
        for effect in effects:
            if effect[0] == "admit":
                self._by_id[effect[2]] = self.jobs[effect[1] - 1]
            elif effect[0] == "join":
                self.jobs[-1].joined = True
            elif effect[0] in ("start", "hedge"):
                self._started(now, *effect[1:])

    def _submit(self, now: float, job_id: int, options: int, line: int) -> None:
        coroutine = self._coroutine.get(line, False)
        job = Recorded(len(self.jobs) + 1, now, self._options[options], coroutine)
        self.jobs.append(job)
        if job_id:
            self._by_id[job_id] = job

    def _started(self, now: float, job_id: int, slot: str, attempt: int = 0) -> None:
        if attempt:
            self._runs[slot] = self._by_id[job_id], attempt, now
        else:  # a hedge: the attempt beside it says how long that would have taken
            self._runs.pop(slot, None)

    def _ended(self, now: float, slot: str, said: Any, answer: Any, seconds: float | None) -> None:
        run = self._runs.get(slot)
        if run is None or (said is None and seconds is None and now < run[2]):
            return
        job, attempt, since = self._runs.pop(slot)
        error = self.errors.outcome(said, answer)[1]
        job.tries[attempt] = (now - since if seconds is None else seconds), error


def recorded_jobs(file: File, look: Callable[[], bool] | None = None) -> list[Recorded]:
    """Return the jobs of a recording, until ``look()`` says that it is enough."""
    return _Reading(file).read(look)


class _RecordedJob(MeasuredJob):
    """A job that runs as a recorded one did."""

    __slots__ = ("recorded",)

    def __init__(self, options: JobOptions, line: Line, recorded: Recorded) -> None:
        super().__init__(options, line, 0.0, recorded.number)
        self.recorded = recorded


class _WhatIf(MeasuredSimulator):
    """A simulator of recorded jobs."""

    #: Seconds that a job runs of which nothing is known.
    otherwise = 0.0

    def come(self, jobs: list[Recorded]) -> None:
        """Let recorded jobs arrive, and their users act."""
        ran = [seconds for job in jobs for seconds, _ in job.tries.values()]
        self.otherwise = sum(ran) / len(ran) if ran else 0.0
        self._next_of(self._come(jobs))

    def _come(self, jobs: list[Recorded]) -> Iterator[tuple[float, Any]]:
        lines: dict[tuple[int, bool], tuple[JobOptions, Line]] = {}
        for recorded in jobs:
            asked = id(recorded.options), recorded.coroutine
            if asked not in lines:
                lines[asked] = self._options_and_line(recorded)
            job = _RecordedJob(*lines[asked], recorded)
            for when, kind in recorded.acts:
                act = self.cancel if kind == "cancel" else self.interrupt
                self.at(max(when, self.now), lambda act=act, job=job: job.id and act(job))  # type: ignore[misc]
            yield recorded.at, job
        self._all_came = True

    def _options_and_line(self, recorded: Recorded) -> tuple[JobOptions, Line]:
        options = recorded.options
        if not options.own_retry:  # the scheduler's policy decides on it, and this is another scheduler
            options = attrs.evolve(options, retry=self._options.retry)
        if not recorded.coroutine:
            return options, self._line(options)
        line = self.core.line_for(options, coroutine=True)
        if line is None:
            raise NoEligiblePool("no group runs coroutine functions; add one, such as an AsyncioPool")
        return options, line

    def _start(self, slot: Slot, job: Any, now: float) -> None:
        job.run_time = job.recorded.attempt(job.attempt, self.otherwise)[0]
        super()._start(slot, job, now)

    def _error_of(self, job: Any, attempt: int) -> BaseException | None:
        error: BaseException | None = job.recorded.attempt(attempt, self.otherwise)[1]
        return error


def what_if(
    file: File,
    config: Config,
    *,
    name: str,
    seed: int = 0,
    start_up: float = 0.0,
    look: Callable[[float, float], bool] | None = None,
) -> tuple[Played, int]:
    """Run the jobs of a recording through a configuration; return what was measured, and how many had never run.

    Raises RecordingError, ConfigError, NoEligiblePool, OSError.
    """
    try:
        simulator = _WhatIf.from_config(config, seed=seed, start_up=start_up)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {error}") from error
    measures = simulator.measure()
    interrupted = False

    def enough(share: float, now: float) -> bool:
        nonlocal interrupted
        interrupted = look is not None and look(share, now)
        return interrupted

    jobs = recorded_jobs(file, lambda: enough(file.share(), 0.0))
    simulator.enough = lambda: enough(1.0, simulator.now)
    try:
        simulator.come(jobs)
        statistics = simulator.run()
    except NoEligiblePool as error:
        raise NoEligiblePool(f"{name} has no pools for a job of {file.path}: {error}") from error
    played = Played(
        name=name,
        measures=measures,
        statistics=statistics,
        slots={group.name: group.slots for group in simulator.core.pools.groups.values()},
        interrupted=interrupted,
    )
    return played, sum(not (job.tries or job.joined) for job in jobs)
