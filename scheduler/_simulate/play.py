"""One load through one configuration in virtual time, measured as it goes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import attrs

from .._config import Config
from .._core.job import JobOptions, Line
from .._core.pool_table import DECISIONS_KEPT, PoolRecord, Slot
from .._core.states import SUCCEEDED
from .._core.statistics import Statistics
from .._errors import ConfigError, NoEligiblePool
from .._options import Options, checked
from .._simulated_job import SimulatedJob
from ..simulation import Simulator
from .tally import Batches, Series, Tally
from .traces import Arrival, Kind

#: Run times below this count as this much in a slowdown, lest it grow without bound (Feitelson et al. 1997).
SHORTEST_S = 1e-3
#: Arrivals between two looks at the clock of who watches. Arbitrary.
LOOK_EVERY = 1024


class Load(Protocol):
    """Jobs as they come: a log, or an arrival process."""

    name: str

    def share(self) -> float:
        """Return how much has come, from 0 to 1."""

    def __iter__(self) -> Iterator[Arrival]:
        """Iterate over the jobs, anew each time."""


class _Decisions(deque[Any]):
    """The last decisions about a group; counts all of them by what was done."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__(maxlen=DECISIONS_KEPT)
        self._counts = counts

    def append(self, decision: Any, /) -> None:
        """Remember a decision, and count it."""
        self._counts[decision.action] += 1
        super().append(decision)


@attrs.define
class Measures:
    """What is measured of a run while it goes on."""

    classes: dict[int, Tally] = attrs.Factory(dict)
    batches: Batches = attrs.Factory(Batches)
    depth: Series = attrs.Factory(Series)
    #: Pools on the books, by group.
    pools: dict[str, Series] = attrs.Factory(dict)
    decisions: Counter[str] = attrs.Factory(Counter)


def counted(measures: Measures) -> deque[Any]:
    """Return a memory of decisions that counts them."""
    return _Decisions(measures.decisions)


class MeasuredJob(SimulatedJob):
    """A job that knows as which of all it came, from 1; those that were turned away count."""

    __slots__ = ("number",)

    def __init__(self, options: JobOptions, line: Line, run_time: float, number: int) -> None:
        super().__init__(options, line, run_time, 0)
        self.number = number


class MeasuredSimulator(Simulator):
    """A simulator whose arrivals are of many kinds, and that measures each job."""

    measures: Measures | None = None
    #: The stream of arrivals has ended: the run ends with the last job.
    _all_came = False
    #: Whether somebody has had enough; asked now and then.
    enough: Callable[[], bool] | None = None
    #: It has been asked lately. Where jobs are few and far between, the steps between them are counted instead.
    asked = False
    _ends = 0

    def measure(self) -> Measures:
        """Begin to measure."""
        measures = self.measures = Measures()
        for group in self.core.pools.groups.values():
            measures.pools[group.name] = Series(len(group.pools))
            group.decisions = counted(measures)
        return measures

    def arrive(self, arrivals: Iterable[Arrival]) -> None:
        """Let jobs of all kinds come from one stream."""
        self._next_of(self._of_kinds(arrivals))

    def _of_kinds(self, arrivals: Iterable[Arrival]) -> Iterator[tuple[float, SimulatedJob]]:
        known: dict[Kind, tuple[JobOptions, Line]] = {}
        for number, (at, run_time, kind) in enumerate(arrivals, 1):
            found = known.get(kind)
            if found is None:
                settings = checked(
                    self._options, Options(priority=kind.priority, tenant=kind.tenant, tags=kind.tags)
                )
                found = known[kind] = settings, self._line(settings)
            yield at, MeasuredJob(*found, run_time, number)
        self._all_came = True

    def _arrive(self, job: SimulatedJob, jobs: Any, now: float) -> None:
        super()._arrive(job, jobs, now)
        assert self.measures is not None
        held, depth = self.core.queue.held, self.measures.depth
        if held != depth.value:
            depth.note(now, held)

    def _start(self, slot: Slot, job: Any, now: float) -> None:
        super()._start(slot, job, now)
        measures = self.measures
        assert measures is not None
        if job.attempt == 1 and job.slot is slot:  # not a hedge of it
            waited = now - job.submitted_at
            priority = job.options.priority
            tally = measures.classes.get(priority)
            if tally is None:
                tally = measures.classes[priority] = Tally()
            tally.waited(waited)
            measures.batches.of(job.number).waited(waited)
        held, depth = self.core.queue.held, measures.depth
        if held != depth.value:
            depth.note(now, held)

    def _finish(self, ended: tuple[Slot, Any, int], now: float) -> None:
        job = ended[1]
        before = job.state
        super()._finish(ended, now)
        if job.state is SUCCEEDED is not before:  # the first of its calls that comes back
            run_time = max(job.run_time, SHORTEST_S)
            above_one = max(0.0, (now - job.submitted_at - run_time) / run_time)
            measures = self.measures
            assert measures is not None
            measures.classes[job.options.priority].slowed(above_one)
            measures.batches.of(job.number).slowed(above_one)
        if self._all_came:
            self._ends += 1
            if self.core.idle or (self._ends % LOOK_EVERY == 0 and self.enough is not None and self.enough()):
                self.stop()

    def _now_and_then(self) -> None:
        if self.enough is not None and not self.asked and self.enough():
            self.stop()
        self.asked = False

    def _open(self, pool: PoolRecord) -> None:
        super()._open(pool)
        self._count(pool)

    def _after_turn(self) -> None:
        stopped = self.core.left.stopped
        super()._after_turn()
        for pool in stopped:
            self._count(pool)
        if self._all_came and self.core.idle:
            self.stop()

    def _count(self, pool: PoolRecord) -> None:
        if self.measures is not None:
            self.measures.pools[pool.group.name].note(self.now, len(pool.group.pools))


@attrs.frozen(kw_only=True)
class Played:
    """What one configuration made of one load."""

    name: str
    measures: Measures
    statistics: Statistics
    #: Slots of a pool, by group.
    slots: Mapping[str, int]
    interrupted: bool

    @property
    def length(self) -> float:
        """Virtual seconds until the last job settled, or until it was interrupted."""
        return self.statistics.time

    @property
    def every(self) -> Tally:
        """Waits and slowdowns of all classes together."""
        tally = Tally()
        for each in self.measures.classes.values():
            tally.absorb(each)
        return tally

    @property
    def slot_seconds(self) -> dict[str, float]:
        """What is paid, by group: every slot from the moment its pool is opened until it is gone."""
        pools = self.measures.pools.items()
        return {name: self.slots[name] * series.area(self.length) for name, series in pools}

    @property
    def paid(self) -> float:
        """Slot-seconds of all groups together."""
        return sum(self.slot_seconds.values())


def play(
    load: Load,
    config: Config,
    *,
    name: str = "",
    seed: int = 0,
    start_up: float = 0.0,
    faster: float = 1.0,
    look: Callable[[float, float], bool] | None = None,
) -> Played:
    """Run a load through a configuration; ``look(share, now)`` is called now and then and says whether to stop.

    Times of the load are divided by `faster`. Raises what reading the load raises, ConfigError, NoEligiblePool.
    """
    try:
        simulator = MeasuredSimulator.from_config(config, seed=seed, start_up=start_up)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {error}") from error
    measures = simulator.measure()
    interrupted = False

    def enough() -> bool:
        nonlocal interrupted
        interrupted = look is not None and look(load.share(), simulator.now)
        return interrupted

    def arrivals() -> Iterator[Arrival]:
        until = LOOK_EVERY
        for number, (at, run_time, kind) in enumerate(load):
            if number == until:
                until += LOOK_EVERY
                simulator.asked = True
                if enough():
                    simulator.stop()
                    return
            yield at / faster, run_time / faster, kind

    simulator.enough = enough
    try:
        simulator.arrive(arrivals())
        statistics = simulator.run()
    except NoEligiblePool as error:
        whose = name or "the configuration"
        raise NoEligiblePool(f"{whose} has no pools for a job of {load.name}: {error}") from error
    groups = simulator.core.pools.groups.values()
    return Played(
        name=name,
        measures=measures,
        statistics=statistics,
        slots={group.name: group.slots for group in groups},
        interrupted=interrupted,
    )
