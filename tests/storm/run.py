"""The storm: whole runs of the real core, each made by one seed, with faults of all kinds; then all must settle.

    python tests/storm/run.py [--seeds 10000 | --seeds 5000:6000] [--seed 17]

Ends with 0 when no law was broken and every coverage mark was reached, else with 1. A seed alone tells its story.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import attrs

sys.path.insert(0, str(Path(__file__).parents[1]))

from storm.marks import Marks
from storm.play import Caught, play
from storm.shrink import shrunk, story

#: From so many seeds on, a mark that is never reached fails the run.
ENOUGH = 3000
#: Failing seeds that are told, the first of them with its story.
TOLD = 10


@attrs.define
class Storm:
    """What came of many seeds."""

    seeds: int = 0
    steps: int = 0
    jobs: int = 0
    longest: float = 0.0
    failures: list[tuple[int, Caught]] = attrs.Factory(list)
    marks: Marks = attrs.Factory(Marks)

    def play(self, seed: int) -> None:
        """Play one more seed."""
        self.marks.begin()
        played = play(seed, watch=self.marks.watch)
        self.seeds += 1
        self.steps += played.world.steps
        self.jobs += len(played.world.jobs)
        self.longest = max(self.longest, played.world.settled_after)
        if played.caught is not None:
            self.failures.append((seed, played.caught))

    @property
    def missed(self) -> list[str]:
        """Return the marks that so many seeds should have reached."""
        return self.marks.missed if self.seeds >= ENOUGH else []


def storm(seeds: range, *, tell: bool = False) -> Storm:
    """Play many seeds."""
    all_of_it, began = Storm(), time.monotonic()
    for seed in seeds:
        all_of_it.play(seed)
        if tell and (all_of_it.seeds % 100 == 0 or all_of_it.seeds == len(seeds)):
            _progress(all_of_it, len(seeds), time.monotonic() - began)
    return all_of_it


def _progress(done: Storm, total: int, seconds: float) -> None:
    line = (
        f"{done.seeds} of {total} seeds, {done.jobs} jobs, {done.steps} turns, "
        f"{len(done.failures)} failed, {seconds:.0f} s"
    )
    if sys.stdout.isatty():
        print(f"\r{line}", end="" if done.seeds < total else "\n", flush=True)
    elif done.seeds % 1000 == 0 or done.seeds == total:
        print(line, flush=True)


def _tell(done: Storm) -> None:
    print("\nRuns in which each mark was reached:\n" + done.marks.table())
    print(
        f"\nThe longest that anything took to settle after the faults had stopped: {done.longest:g} virtual s"
    )
    for sentence in done.missed:
        print(f"\nNever reached: {sentence}")
    for seed, caught in done.failures[:TOLD]:
        print(f"\nSeed {seed}: {caught}\n  again: make storm SEED={seed}")
    if done.failures:
        _tell_story(done.failures[0][0])


def _tell_story(seed: int) -> bool:
    small = shrunk(seed)
    if small is None:
        print(f"Seed {seed} breaks no law.")
        return True
    print(f"\nThe story of seed {seed} (again: make storm SEED={seed}):\n\n{story(small)}")
    return False


def main(arguments: list[str]) -> int:
    """Play what was asked for."""
    parser = argparse.ArgumentParser(description="Whole runs of the core, each made by one seed.")
    parser.add_argument("--seeds", default="10000", help="how many, or from:to")
    parser.add_argument("--seed", type=int, help="one seed, with its story if it fails")
    asked = parser.parse_args(arguments)
    if asked.seed is not None:
        return 0 if _tell_story(asked.seed) else 1
    first, _, last = asked.seeds.rpartition(":")
    done = storm(range(int(first or 0), int(last)), tell=True)
    _tell(done)
    return 1 if done.failures or done.missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
