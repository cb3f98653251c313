"""A recording that is played again, and measured as a simulated run is: so that both can stand side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from .._core.pool_table import Slot
from .._core.states import SUCCEEDED
from .._recorded import File
from .._replay import Player, Replay, ReplayedCore
from .play import LOOK_EVERY, SHORTEST_S, Measures, Played, counted
from .tally import Series, Tally


class MeasuredCore(ReplayedCore):
    """A replayed core whose jobs are measured."""

    measures: Measures

    def measure(self) -> Measures:
        """Begin to measure."""
        measures = self.measures = Measures()
        for group in self.pools.groups.values():
            measures.pools[group.name] = Series(0)
            group.decisions = counted(measures)
        return measures

    def _start(self, job: Any, slot: Slot, now: float) -> None:
        super()._start(job, slot, now)
        if job.attempt == 1 and not job.waited:
            job.waited = True
            waited = now - job.submitted_at
            self.measures.classes.setdefault(job.options.priority, Tally()).waited(waited)
            self.measures.batches.of(job.number).waited(waited)

    def finish(self, slot: Slot, value: object, error: BaseException | None, now: float) -> None:
        """Take the outcome of what ran in a slot."""
        job: Any = slot.job
        before = job and job.state
        super().finish(slot, value, error, now)
        if job is not None and job.state is SUCCEEDED is not before:
            self._slowed(job, now)

    def _slowed(self, job: Any, now: float) -> None:
        run_time = max(now - job.started_at, SHORTEST_S)
        above_one = max(0.0, (now - job.submitted_at - run_time) / run_time)
        self.measures.classes[job.options.priority].slowed(above_one)
        self.measures.batches.of(job.number).slowed(above_one)


class MeasuredPlayer(Player):
    """Plays a recording and measures it."""

    kind = MeasuredCore
    core: MeasuredCore

    def __init__(self, file: File) -> None:
        super().__init__(file)
        self.measures = self.core.measure()
        self.now = file.began

    def after(self, now: float) -> None:
        """Take note of the queue and the pools."""
        super().after(now)
        self.now = now
        held, moment = self.core.queue.held, now - self.file.began
        if held != self.measures.depth.value:
            self.measures.depth.note(moment, held)
        for name, series in self.measures.pools.items():
            pools = len(self.core.pools.groups[name].pools)
            if pools != series.value:
                series.note(moment, pools)


def played_again(
    file: File, *, name: str, look: Callable[[float, float], bool] | None = None
) -> tuple[Replay, Played]:
    """Play a recording, and return what became of it and what was measured.

    ``look(share, now)`` is called now and then and says whether to stop. Raises RecordingError, OSError.
    """
    player = MeasuredPlayer(file)
    asked = 0
    interrupted = False

    def enough(now: float) -> bool:
        nonlocal asked, interrupted
        asked += 1
        if asked % LOOK_EVERY == 0 and look is not None:
            interrupted = look(file.share(), now - file.began)
        return interrupted

    replay = player.play(enough)
    statistics = player.core.statistics(player.now)
    played = Played(
        name=name,
        measures=player.measures,
        statistics=attrs.evolve(statistics, time=player.now - file.began),
        slots={group.name: group.slots for group in player.core.pools.groups.values()},
        interrupted=interrupted,
    )
    return replay, played


def told(replay: Replay) -> str:
    """Return in words what became of a replay."""
    ends = {
        "closed": "the recording ends where the scheduler had closed",
        "bound": "the recording ends where it was full",
        "interrupt": "the recording ends where an interrupt tore a turn",
        "bug": "the recording ends with an error of the recorder",
        "": "the recording ends without a last line: the process ended first",
    }
    how = ends.get(replay.ended, replay.ended) + (", in the middle of one" if replay.torn else "")
    count = f"{replay.stimuli:,} stimuli, {replay.jobs:,} jobs"
    if replay.divergence is None:
        return f"the same decisions as recorded ({count}); {how}"
    return f"NOT the same decisions as recorded, after {count}: {replay.divergence}"
