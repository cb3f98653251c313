"""Mutants of the core and the policies: each a small change of one place, and tests must fail of it.

    python tests/mutation/run.py [--mutants 300] [--seed 1] [--only 'policies/*'] [--survivors] [--jobs 2]

Ends with 0 when each survivor is an accepted one (docs/explanation/mutants.md), else with 1.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

sys.path.insert(0, str(Path(__file__).parent))

import covering
import swapping
from mutants import ROOMS, ROOT, Mutant, mutants_of, mutated
from sampling import in_order, shares, wilson
from trial import BUILD, Verdict, each_in_child, judge, limit_of

#: Where each accepted survivor has a line that begins with its id.
PAGE = ROOT / "docs" / "explanation" / "mutants.md"
RESULTS = BUILD / "results.jsonl"

Trial = tuple[Mutant, str]
Take = Callable[[Mutant, Verdict], object]


def sample(mutants: int, seed: int, only: str, *, ids: set[str] | None = None) -> tuple[list[Trial], int]:
    """Return the mutants to try with their sources, and of how many they were drawn."""
    found = {
        path: mutants_of(path) for path in ROOMS if fnmatch.fnmatch(path.relative_to(ROOT).as_posix(), only)
    }
    counts = {str(path): len(those) for path, those in found.items()}
    drawn: list[Trial] = []
    if ids is not None:
        named = [mutant for those in found.values() for mutant in those if mutant.id in ids]
        drawn = [(mutant, source) for mutant in named if (source := mutated(mutant)) is not None]
        return drawn, sum(counts.values())
    for path, part in shares(counts, mutants or sum(counts.values())).items():
        drawn += _first_real(in_order(found[Path(path)], seed), part)
    return drawn, sum(counts.values())


def _first_real(mutants: list[Mutant], number: int) -> Iterator[Trial]:
    for mutant in mutants:
        if number and (source := mutated(mutant)) is not None:
            number -= 1
            yield mutant, source


def verdicts(trials: list[Trial], suite: covering.Suite, jobs: int, take: Take) -> None:
    """Try the mutants, `jobs` at a time, and hand on each with its verdict."""
    imported, swapped = [], []
    for mutant, source in trials:
        rounds = [{test: suite.seconds[test] for test in part} for part in suite.rounds(mutant)]
        path = ROOT / mutant.file
        code = swapping.changed(path, mutant.where, source)
        if not rounds:
            take(mutant, Verdict(False, "no test runs it", 0))
        elif code is None or suite.at_import(mutant):
            imported.append((mutant, (path, source, rounds)))
        else:
            swapped.append((mutant, (path, code, mutant.where, rounds)))
    # In this order: the second kind imports what the first must import anew.
    answers = each_in_child(jobs, judge, (given for _, given in imported), lambda given: limit_of(given[-1]))
    for (mutant, given), (answer, said) in zip(imported, answers, strict=True):
        take(mutant, _verdict(answer, said, sum(map(len, given[-1]))))
    waiting = iter(swapped)

    def next_one(answer: list | None, said: str) -> None:
        mutant, given = next(waiting)
        take(mutant, _verdict(answer, said, sum(map(len, given[-1]))))

    swapping.stage(jobs, [given for _, given in swapped], suite.files, next_one)


def _verdict(answer: list | None, said: str, tests: int) -> Verdict:
    if answer is None:
        began = [line for line in said.splitlines() if line.startswith("tests/")]
        return Verdict(True, f"time or memory: {began[-1] if began else 'import'}", tests)
    status, last = answer
    if status not in (0, 1, 2) and "ImportError while loading conftest" not in said:
        raise SystemExit(f"pytest ended with {status}:\n{said[-3000:]}")
    return Verdict(status != 0, "" if status == 0 else last, tests)


def accepted() -> set[str]:
    """Return the ids of the survivors that were looked at and accepted."""
    return (
        set(re.findall(r"^\| `([0-9a-f]{8})` ", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
        if PAGE.exists()
        else set()
    )


def _last_survivors() -> set[str]:
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    return {line["id"] for line in lines if not line["killed"]}


def _note(mutant: Mutant, verdict: Verdict) -> None:
    with RESULTS.open("a") as file:
        file.write(json.dumps({"id": mutant.id, **attrs.asdict(mutant), **attrs.asdict(verdict)}) + "\n")


def _score(what: str, done: list[tuple[Mutant, Verdict]]) -> str:
    killed = sum(verdict.killed for _, verdict in done)
    low, high = wilson(killed, len(done))
    return f"{what:20} {killed:5} of {len(done):5}  {killed / len(done):7.1%}  ({low:.1%} to {high:.1%})"


def tell(done: list[tuple[Mutant, Verdict]], known: set[str]) -> int:
    """Print the survivors and the score; return 1 if one of them was never accepted."""
    survivors = [(mutant, verdict) for mutant, verdict in done if not verdict.killed]
    new = [each for each in survivors if each[0].id not in known]
    print("\nSurvivors that nobody has accepted:" if new else "\nEach survivor is an accepted one.")
    for mutant, verdict in new:
        print(f"  {mutant}  [{verdict.by or f'{verdict.tests} tests'}]")
    print(f"\n{len(survivors) - len(new)} survivors are accepted: {PAGE.relative_to(ROOT)}\n\nKilled:")
    for kind in sorted({mutant.kind for mutant, _ in done}):
        print("  " + _score(kind, [each for each in done if each[0].kind == kind]))
    print("  " + _score("all", done))
    rest = [each for each in done if each[0].id not in known]
    if rest:
        print("  " + _score("without the accepted", rest))
    timed = sum(verdict.by.startswith("time or memory") for _, verdict in done)
    print(f"\nOf them {timed} by the limits of time or memory.")
    return 1 if new else 0


def main(arguments: list[str]) -> int:
    """Draw, try, tell."""
    parser = argparse.ArgumentParser(description="Mutants of the core and the policies.")
    parser.add_argument("--mutants", type=int, default=300, help="how many; 0 for all there are")
    parser.add_argument("--seed", type=int, default=1, help="which")
    parser.add_argument("--only", default="*", help="files: 'policies/*', '*/gate.py'")
    parser.add_argument("--ids", nargs="+", help="these alone")
    parser.add_argument("--survivors", action="store_true", help="those alone that survived the last time")
    parser.add_argument("--list", action="store_true", help="list what would be tried, and stop")
    parser.add_argument("--jobs", type=int, default=2, help="at a time")
    asked = parser.parse_args(arguments)
    os.nice(10)
    ids = set(asked.ids) if asked.ids else _last_survivors() if asked.survivors else None
    trials, population = sample(asked.mutants, asked.seed, asked.only, ids=ids)
    print(f"{len(trials)} of {population} mutants, seed {asked.seed}", flush=True)
    if asked.list:
        print("\n".join(str(mutant) for mutant, _ in trials))
        return 0
    BUILD.mkdir(parents=True, exist_ok=True)
    suite = covering.suite(asked.jobs)
    RESULTS.unlink(missing_ok=True)
    done: list[tuple[Mutant, Verdict]] = []

    def take(mutant: Mutant, verdict: Verdict) -> None:
        done.append((mutant, verdict))
        _note(mutant, verdict)
        if not verdict.killed or len(done) % 50 == 0:
            print(f"{len(done):5} {'' if verdict.killed else f'survived: {mutant}'}", flush=True)

    verdicts(trials, suite, asked.jobs, take)
    return tell(done, accepted())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
