"""How many pools, if their number is fixed: the fewest that keep the 99th percentile of the wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .play import Played
from .report import p99

#: More pools are not tried.
POOLS_MAX = 1024


def fixed(config: Mapping[str, Any], group: str, pools: int) -> dict[str, Any]:
    """Return a configuration in which a group has so many pools, for good."""
    changed = []
    for table in config["groups"]:
        if table["name"] == group:
            table = {key: value for key, value in table.items() if key != "scaling"}  # noqa: PLW2901
            table["min_pools"] = table["max_pools"] = pools
        changed.append(table)
    return {**config, "groups": changed}


def fewest(
    play: Callable[[Mapping[str, Any], int], Played], config: Mapping[str, Any], group: str, target: float
) -> Played | None:
    """Return the run with the fewest fixed pools of a group whose p99 wait is at most `target`, None if there is none.

    Doubles until it is met, then halves. ``play(config, pools)`` plays one; an interrupted run is returned at once.
    """
    low, pools = 0, 1
    best: Played | None = None
    while best is None or best.interrupted or pools - low > 1:
        tried = (low + pools) // 2 if best is not None else pools
        played = play(fixed(config, group, tried), tried)
        if played.interrupted:
            return played
        if p99(played) <= target:
            best, pools = played, tried
        elif best is not None:
            low = tried
        elif pools >= POOLS_MAX:
            return None
        else:
            low, pools = pools, min(2 * pools, POOLS_MAX)
    return best
