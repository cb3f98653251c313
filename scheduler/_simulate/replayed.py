"""``python -m scheduler simulate --replay``: what is asked for, played, and told."""

from __future__ import annotations

import argparse
from pathlib import Path

from .._errors import RecordingError
from .._recorded import File
from .compare import compared
from .play import Played
from .progress import Watch
from .recorded import played_again, told
from .report import Report
from .traces import TraceError
from .what_if import what_if


def replayed(given: argparse.Namespace, watch: Watch) -> Report:
    """Play a recording, and its jobs under another configuration if one is given.

    Raises TraceError for what does not go with it, and what playing raises.
    """
    _check(given)
    file = File(given.replay)
    configs = given.config or []
    watch.label = "as recorded"
    runs: list[Played] = []
    found: list[str] = []
    diverged = False
    try:
        replay, played = played_again(file, name="as recorded", look=watch.look)
        runs.append(played)
        found.append(told(replay))
        diverged = replay.divergence is not None
    except RecordingError as error:
        if not configs:
            raise
        found.append(f"not replayed: {error}")
    if configs and not diverged and not watch.interrupted:
        name = Path(configs[0]).name
        watch.label = name
        other, never_ran = what_if(
            file, configs[0], name=name, seed=given.seed, start_up=given.start_up, look=watch.look
        )
        runs.append(other)
        if never_ran:
            found.append(f"{never_ran:,} that never ran are given the mean run time of the others")
    return Report(
        load=str(given.replay),
        faster=1.0,
        start_up=given.start_up,
        target=given.target,
        runs=tuple(runs),
        comparison=compared(*runs) if len(runs) == 2 else None,
        found="; ".join(found),
        interrupted=watch.interrupted,
        diverged=diverged,
    )


def _check(given: argparse.Namespace) -> None:
    if (
        given.load is not None
        or given.columns
        or given.strict
        or given.fewest is not None
        or given.faster != 1.0
    ):
        raise TraceError(
            "--replay has its own load and its own times: leave out the load, --columns, --strict, --faster and --fewest"
        )
    if given.config is not None and len(given.config) > 1:
        raise TraceError(
            "--replay compares what was recorded with one other configuration: give --config once"
        )
