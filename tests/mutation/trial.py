"""One mutant on trial: a process of its own with bounds on time and memory, in which tests run until one fails."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import attrs
import hypothesis
import hypothesis.stateful
import pytest

ROOT = Path(__file__).parents[2]
BUILD = ROOT / ".build" / "mutation"

#: Options of pytest: no plug-in that a single process does not need; slow tests are left out by pyproject.toml.
OPTIONS = ["-q", "--no-header", "-p", "no:xdist", "-p", "no:cov", "-o", f"cache_dir={BUILD / 'cache'}"]
OPTIONS += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
#: What a process ends with when the fault is ours and not a mutant's.
BROKEN = 97
#: Bytes of address space of a process.
MEMORY = 2 * 2**30
#: A test is ended after so many times its own seconds and so many more, of processor time; of the wall clock, which
#: is shared with others, after ten times as much.
PATIENCE, GRACE = 20.0, 5.0

A = TypeVar("A")
B = TypeVar("B")


@attrs.frozen
class Verdict:
    """What became of a mutant. `by` names the test that failed, or what ended it."""

    killed: bool
    by: str
    tests: int


def bound(item: pytest.Item, seconds: float) -> None:
    """Have a test end the process when it takes much longer than ever."""
    limit = GRACE + PATIENCE * seconds
    item.add_marker(pytest.mark.timeout(10 * limit, method="thread"), append=False)
    signal.setitimer(signal.ITIMER_PROF, limit)  # the signal ends the process


class _Order:
    """Runs the chosen tests in the given order, each within its time; remembers the first that fails."""

    def __init__(self, chosen: dict[str, float], note: Callable[[str], object]) -> None:
        self._places = {test: place for place, test in enumerate(chosen)}
        self._chosen, self._note = chosen, note

    def pytest_collection_modifyitems(self, items):
        items[:] = sorted(
            (item for item in items if item.nodeid in self._places),
            key=lambda item: self._places[item.nodeid],
        )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item):
        self._note(item.nodeid)
        bound(item, self._chosen[item.nodeid])
        return (yield)


def module_of(path: Path) -> str:
    """Return the name under which a file of the packages is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


class _Changed(importlib.machinery.SourceFileLoader):
    """Loads a module from other source than its file has."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname):
        return compile(self._source, self.path, "exec", dont_inherit=True)


class _Finder:
    """Finds the one changed module; all others are found as ever."""

    def __init__(self, path: Path, source: str) -> None:
        self._name = module_of(path)
        self._loader = _Changed(self._name, str(path), source)

    def find_spec(self, name, path=None, target=None):
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._loader.path, loader=self._loader)


def prepare() -> None:
    """Make a process fit for tests: quiet, repeatable, bounded. Models play twenty examples, and none is shrunk."""
    os.environ.update(CI="1", EXAMPLES="20", HYPOTHESIS_STORAGE_DIRECTORY=str(BUILD / "hypothesis"))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hypothesis.settings.register_profile(
        "mutation", phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate)
    )
    hypothesis.settings.load_profile("mutation")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))


def judge(given: tuple[Path, str, list[dict[str, float]]]) -> tuple[int, str]:
    """Run rounds of tests against a file with other source; return pytest's status and the last test that began."""
    path, source, rounds = given
    status, last = 0, "import"

    def note(test: str) -> None:
        nonlocal last
        last = test
        print(test, flush=True)

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.meta_path.insert(0, _Finder(path, source))
    for chosen in rounds:
        files = list(dict.fromkeys(test.partition("::")[0] for test in chosen))
        status = status or int(pytest.main([*OPTIONS, "-x", *files], plugins=[_Order(chosen, note)]))
    return status, last


def in_child(workers: int, work: Callable[[A], B], given: Iterable[A]) -> Iterator[B]:
    """Yield what ``work`` answers for each, each in a process forked for it. Raises when one ends without an answer."""
    for answer, said in each_in_child(workers, work, given, lambda _: 3600.0):
        if answer is None:
            raise SystemExit(f"a process ended without an answer:\n{said[-3000:]}")
        yield answer


def each_in_child(
    workers: int, work: Callable[[A], B], given: Iterable[A], limit: Callable[[A], float]
) -> Iterator[tuple[B | None, str]]:
    """Yield, in order, what ``work`` answers for each, or None if it ended without or beyond its limit; and its output."""
    BUILD.mkdir(parents=True, exist_ok=True)
    waiting: list[_Child] = []
    for each in given:
        while sum(child.runs() for child in waiting) >= workers:
            time.sleep(0.02)
        while waiting and not waiting[0].runs():
            yield waiting.pop(0).answer()
        waiting.append(_Child(work, each, limit(each)))
    while waiting:
        while waiting[0].runs():
            time.sleep(0.02)
        yield waiting.pop(0).answer()


class _Child:
    """A forked process with a group of its own, its output in a file, its answer in another."""

    numbers = 0

    def __init__(self, work: Callable[[Any], Any], given: Any, limit: float) -> None:
        _Child.numbers += 1
        name = f"{os.getpid()}-{_Child.numbers}"
        self._output, self._answer = BUILD / f"{name}.out", BUILD / f"{name}.json"
        self._ended, self._broken, self._until = False, False, time.monotonic() + limit
        self._pid = os.fork()
        if not self._pid:
            self._work(work, given)

    def _work(self, work, given):
        try:
            os.setpgid(0, 0)
            output = os.open(self._output, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
            for number in (1, 2):
                os.dup2(output, number)
            prepare()
            self._answer.write_text(json.dumps(work(given)))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(BROKEN)

    def runs(self) -> bool:
        if not self._ended:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._ended = pid != 0
            self._broken = self._ended and os.waitstatus_to_exitcode(status) == BROKEN
            if not self._ended and time.monotonic() > self._until:
                os.killpg(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                self._ended = True
        return not self._ended

    def answer(self) -> tuple[Any, str]:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # what tests have started and left
            os.killpg(self._pid, signal.SIGKILL)
        said = self._output.read_text(errors="replace") if self._output.exists() else ""
        if self._broken and "MemoryError" not in said:
            raise SystemExit(f"a trial could not be made:\n{said[-3000:]}")
        answer = json.loads(self._answer.read_text()) if self._answer.exists() else None
        self._output.unlink(missing_ok=True)
        self._answer.unlink(missing_ok=True)
        return answer, said


def limit_of(rounds: Iterable[dict[str, float]]) -> float:
    """Return the seconds of wall clock after which a trial is ended whatever it does."""
    return 120.0 + 10.0 * sum(sum(chosen.values()) for chosen in rounds)
