"""Which tests run which lines, and how long each takes: measured once, then again for each test file that changes."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import attrs
import coverage
import pytest
from mutants import ROOMS, ROOT, Mutant
from trial import BUILD, OPTIONS, in_child

#: What mutants are shown. Left out is all that needs real threads or processes by design (tests/threads, stress,
#: interleavings, the soak, the contract of pools), what reads text (prose, house), and most of the storm.
SUITE = (
    "tests/unit",
    "tests/model",
    "tests/contract/test_policies.py",
    "tests/simulation",
    "tests/mutation/seeds.py",
)
#: How many files of tests are shown at once, before all others.
FIRST = 4
#: Seconds beyond which a test is left out, unless it is a model: with few examples these are quick enough.
QUICK = 0.25
MODELS = "tests/model"
#: Seconds up to which a test comes first, if it is near; what runs at import, by all tests, is shown to such alone.
BRIEF = 0.1
#: A change in one of these may change what any test runs.
SHARED = ("scheduler/**/*.py", "policies/*.py", "pools/*.py", "tests/**/conftest.py", "tests/storm/*.py")


class _Timed:
    """Notes how long each test takes; and, with a tracer, which lines it runs, `untraced` or not."""

    def __init__(self, quick: set[str] | None = None, tracer: coverage.Coverage | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []
        self._quick, self._tracer = quick, tracer

    def pytest_sessionstart(self):
        self._trace = sys.gettrace()

    def pytest_collection_modifyitems(self, items):
        if self._quick is not None:
            items[:] = [item for item in items if item.nodeid in self._quick]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        if self._tracer:
            self._tracer.switch_context(item.nodeid)
        began = time.process_time()
        answer = yield
        self.seconds[item.nodeid] = time.process_time() - began
        if self._tracer:
            self._tracer.switch_context("")
        return answer

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        if self._tracer:
            sys.settrace(self._trace)
        return (yield)

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.append(report.nodeid)


@attrs.define
class Suite:
    """The tests that mutants are shown."""

    #: Seconds of processor time a test takes.
    seconds: dict[str, float] = attrs.Factory(dict)
    #: By file and line, the tests that run it.
    lines: dict[str, dict[str, list[str]]] = attrs.Factory(dict)

    @property
    def files(self) -> list[str]:
        """Return the files of tests in which any are quick."""
        return list(dict.fromkeys(map(_file, self.seconds)))

    def at_import(self, mutant: Mutant) -> bool:
        """Whether the mutant's statement runs when its file is imported."""
        return "" in self._tests_of(mutant)

    def _tests_of(self, mutant: Mutant) -> set[str]:
        lines, span = self.lines.get(mutant.file, {}), range(min(mutant.span), max(mutant.span) + 1)
        return {test for line in span for test in lines.get(str(line), ())}

    def rounds(self, mutant: Mutant) -> list[list[str]]:
        """Return the tests that run the mutant's statement, in rounds that are collected one after the other.

        First come brief tests of the files that are most about this statement, then all the rest, cheapest first.
        What runs at import is shown to all brief tests.
        """
        lines, chosen = self.lines.get(mutant.file, {}), self._tests_of(mutant)
        if "" in chosen:
            chosen = {test for test, taken in self.seconds.items() if taken <= BRIEF}
            near = {test for found in lines.values() for test in found} & chosen
        else:
            near = chosen
        closest = self._closest(near)
        parts = [closest, chosen - closest]
        return [sorted(part, key=lambda test: (self.seconds[test], test)) for part in parts if part]

    def _closest(self, tests: set[str]) -> set[str]:
        """Return the brief tests of those files of which the largest parts are among these tests."""
        among, of_all = Counter(map(_file, tests)), Counter(map(_file, self.seconds))
        files = sorted(among, key=lambda file: (-among[file] / of_all[file], -among[file], file))[:FIRST]
        return {test for test in tests if _file(test) in files and self.seconds[test] <= BRIEF}

    def add(self, part: dict) -> None:
        """Take in what was measured of one file of tests."""
        self.seconds |= part["seconds"]
        for file, found in part["lines"].items():
            for line, tests in found.items():
                self.lines.setdefault(file, {}).setdefault(line, []).extend(tests)


def _file(test: str) -> str:
    return test.partition("::")[0]


def suite(workers: int) -> Suite:
    """Return what was measured of these tests and this code; measure what has changed."""
    shared, kept = _hash(*(path for pattern in SHARED for path in ROOT.glob(pattern))), BUILD / "tests"
    kept.mkdir(exist_ok=True)
    files = {file: kept / f"{Path(file).stem}-{_hash(ROOT / file, salt=shared)}.json" for file in _files()}
    missing = [file for file, path in files.items() if not path.exists()]
    if missing:
        print(
            f"Which tests run which lines: {len(missing)} files of tests, some minutes if all ...", flush=True
        )
    for file, part in zip(missing, in_child(workers, _measure, missing), strict=True):
        files[file].write_text(json.dumps(part))
    answer = Suite()
    for path in files.values():
        answer.add(json.loads(path.read_text()))
    return answer


def _hash(*paths: Path, salt: str = "") -> str:
    contents = b"".join(path.read_bytes() for path in sorted(set(paths)))
    return hashlib.sha256(salt.encode() + contents).hexdigest()[:16]


def _files() -> list[str]:
    found = [sorted((ROOT / place).glob("test_*.py")) or [ROOT / place] for place in SUITE]
    return [path.relative_to(ROOT).as_posix() for paths in found for path in paths]


def _measure(file: str) -> dict:
    """Measure a file of tests twice: the times without a tracer, then what the quick ones run."""
    seconds = next(in_child(1, _time, [file]))
    quick = {test: taken for test, taken in seconds.items() if taken <= QUICK or file.startswith(MODELS)}
    return {"seconds": quick, "lines": next(in_child(1, _cover, [(file, list(quick))])) if quick else {}}


def _time(file: str) -> dict[str, float]:
    timed = _Timed()
    pytest.main([*OPTIONS, file], plugins=[timed])
    if timed.failed:
        raise SystemExit(f"these fail without a mutant: {timed.failed}")
    return timed.seconds


def _cover(given: tuple[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    file, quick = given
    data = BUILD / f"coverage-{os.getpid()}"
    tracer = coverage.Coverage(data_file=str(data), config_file=False, include=[str(path) for path in ROOMS])
    tracer.start()
    pytest.main([*OPTIONS, file], plugins=[_Timed(set(quick), tracer)])
    tracer.stop()
    answer, found = {}, tracer.get_data()
    for room in found.measured_files():
        by_line = found.contexts_by_lineno(room)
        answer[Path(room).relative_to(ROOT).as_posix()] = {
            str(line): by_line[line] for line in sorted(by_line)
        }
    data.unlink(missing_ok=True)
    return answer
