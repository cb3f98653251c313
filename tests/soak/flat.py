"""What a process holds, sampled from outside, and whether it grows.

The rule: over the second half of the samples, the Theil-Sen slope (the median of the slopes of all pairs, which a
few outliers do not move: Theil 1950, Sen 1968) of the lowest of each twenty, times the length of that half, is at most
an allowance. The lowest, for pools that are opened come and go, and what has leaked stays. File descriptors are compared
at equal numbers of child processes only, for each of those has eleven. And after closing, threads, children and file
descriptors are back at what they were before the scheduler was made.
"""

from __future__ import annotations

import itertools
import os
import statistics
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
#: Growth over half a run that counts as flat: so much, or this share of the median, whichever is more.
ALLOWED = {"threads": 6.0, "children": 2.0, "files": 8.0, "memory": 6.0}
SHARE = 0.05
#: Samples of which the lowest counts.
WINDOW = 20
#: Fewer samples than this in the second half say nothing about a slope.
SAMPLES_MIN = 6 * WINDOW


class Sample(NamedTuple):
    """What a process held at a moment: `memory` is resident, in MiB; children are of any depth."""

    at: float
    threads: int
    children: int
    files: int
    memory: float


def children_of(pid):
    """Return the processes below this one, of any depth."""
    family = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue  # it has ended
        family[parent].append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += family[each]
    return found[1:]


def files_of(pid):
    """Return the numbers of the file descriptors that are open in a process."""
    return [int(name) for name in os.listdir(f"/proc/{pid}/fd")]  # noqa: PTH208  their names are asked for


def kinds_of_files(pid):
    """Return how many of each kind are open, to tell what has leaked."""
    kinds = Counter()
    for number in files_of(pid):
        try:
            kinds[str(Path(f"/proc/{pid}/fd/{number}").readlink()).split(":", maxsplit=1)[0]] += 1
        except OSError:
            continue
    return dict(kinds)


def sample(pid, at):
    """Look at a process; raises OSError when it has ended."""
    resident = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return Sample(
        at,
        len(list(Path(f"/proc/{pid}/task").iterdir())),
        len(children_of(pid)),
        len(files_of(pid)),
        resident * _PAGE / 2**20,
    )


def theil_sen(points):
    """Return the median slope of all pairs of (x, y). Cost: O(n²)."""
    slopes = [(d - b) / (c - a) for (a, b), (c, d) in itertools.combinations(points, 2) if c > a]
    return statistics.median(slopes) if slopes else 0.0


class Growth(NamedTuple):
    """How much something grew over the second half, what that half's median is, and how much may be."""

    what: str
    grown: float
    median: float
    allowed: float

    @property
    def flat(self):
        """Whether it keeps to the rule; shrinking is no offence."""
        return self.grown <= self.allowed


def growths(samples):
    """Judge each quantity over the second half of the samples; nothing when there are too few."""
    half = samples[len(samples) // 2 :]
    if len(half) < SAMPLES_MIN:
        return []
    length = half[-1].at - half[0].at
    answer = []
    for what, allowed in ALLOWED.items():
        points = [(each.at, float(getattr(each, what))) for each in half]
        median = statistics.median(y for _, y in points)
        slope = slope_beside_children(half) if what == "files" else theil_sen(floor_of(points))
        answer.append(Growth(what, slope * length, median, max(allowed, SHARE * median)))
    return answer


def slope_beside_children(samples):
    """Return the median slope of files of all pairs of samples with equally many child processes. Cost: O(n²)."""
    slopes = [
        (after.files - before.files) / (after.at - before.at)
        for before, after in itertools.combinations(samples, 2)
        if after.at > before.at and after.children == before.children
    ]
    return statistics.median(slopes) if slopes else 0.0


def floor_of(points):
    """Return the lowest point of each window, in the window's middle."""
    windows = [points[at : at + WINDOW] for at in range(0, len(points) - WINDOW + 1, WINDOW)]
    return [(window[WINDOW // 2][0], min(y for _, y in window)) for window in windows]


def not_flat(samples):
    """Return a sentence for each quantity that grows."""
    return [
        f"{g.what} grew by {g.grown:.1f} over the second half (median {g.median:.1f}, allowed {g.allowed:.1f})"
        for g in growths(samples)
        if not g.flat
    ]


def not_back(before, after):
    """Return a sentence for each count that did not come back to what it was."""
    return [
        f"{what} were {getattr(before, what)} before, and {getattr(after, what)} after closing"
        for what in ("threads", "children", "files")
        if getattr(after, what) > getattr(before, what)
    ]
