"""Trials without an import: tests are collected once, and in each fork a function gets the mutant's code.

Nine of ten mutants change the body of one function. What else there is (constants, class bodies, decorators,
default values) does its work at import, and is tried in `trial.judge`.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from trial import MEMORY, OPTIONS, bound, each_in_child, in_child, limit_of, module_of, prepare

#: What is done with an answer (pytest's status and the last test that began, or None) and what was printed.
Take = Callable[[tuple[int, str] | None, str], object]
#: A file, the new code of a function in it, the function's name, and the tests in rounds.
Given = tuple[Path, CodeType, str, list[dict[str, float]]]


def changed(path: Path, where: str, source: str) -> CodeType | None:
    """Return the code of the function that a mutant changes.

    None if what it changes is done at import, or lies in a function that another one makes, maybe at import.
    """
    before = _code(_compiled(path, path.read_text(encoding="utf-8")), where.split("."))
    after = _code(compile(source, str(path), "exec", dont_inherit=True), where.split("."))
    return None if before is None or after is None or before == after else after


@lru_cache(maxsize=2)
def _compiled(path: Path, source: str) -> CodeType:
    return compile(source, str(path), "exec", dont_inherit=True)


def _code(code: CodeType, names: list[str]) -> CodeType | None:
    """Return the code of the function at the end of a way of names through classes, if each name is there once."""
    for place, name in enumerate(names):
        found = [each for each in code.co_consts if isinstance(each, CodeType) and each.co_name == name]
        if len(found) != 1:
            return None
        code = found[0]
        if "__qualname__" not in code.co_names:  # no class
            return code if place == len(names) - 1 else None
    return None


def _swap(path: Path, code: CodeType, where: str) -> None:
    thing: Any = sys.modules[module_of(path)]
    for name in where.split("."):
        thing = vars(thing)[name]
        thing = getattr(thing, "fget", None) or getattr(thing, "__func__", None) or thing
        if isinstance(thing, FunctionType):
            thing.__code__ = code
            return
    raise LookupError(f"{where} of {path} is no function")


class Stage:
    """A session of pytest that collects tests once, and forks for each trial."""

    def __init__(self, jobs: int, given: list[Given], take: Take) -> None:
        self._jobs, self._given, self._take = jobs, given, take
        self._failed = False

    def pytest_runtestloop(self, session):
        wanted = {test for *_, rounds in self._given for chosen in rounds for test in chosen}
        self._items = {item.nodeid: item for item in session.items if item.nodeid in wanted}
        halves = [list(self._items)[start :: self._jobs] for start in range(self._jobs)]
        for failing in in_child(self._jobs, self._control, halves):
            for test in failing:
                print(f"fails without a mutant, and is left out: {test}", flush=True)
                del self._items[test]
        for answer, said in each_in_child(
            self._jobs, self._judge, self._given, lambda given: limit_of(given[-1])
        ):
            self._take(answer, said)
        return True

    def pytest_runtest_logreport(self, report):
        self._failed |= report.failed

    def _control(self, tests: list[str]) -> list[str]:
        """Run tests without a mutant; return those that fail."""
        failing = []
        for test in tests:
            self._failed = False
            self._items[test].config.hook.pytest_runtest_protocol(item=self._items[test], nextitem=None)
            failing += [test] * self._failed
        return failing

    def _judge(self, given: Given) -> tuple[int, str]:
        path, code, where, rounds = given
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        _swap(path, code, where)
        chosen = [(test, seconds) for part in rounds for test, seconds in part.items() if test in self._items]
        items = [self._items[test] for test, _ in chosen]
        test = ""
        for (test, seconds), item, after in zip(chosen, items, [*items[1:], None], strict=True):
            print(test, flush=True)
            bound(item, seconds)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if self._failed:
                return 1, test
        return 0, test


def stage(jobs: int, given: list[Given], files: Iterable[str], take: Take) -> None:
    """Try mutants of functions, and hand on in order what came of each."""
    if given:
        prepare()
        status = pytest.main([*OPTIONS, "-s", *files], plugins=[Stage(jobs, given, take)])
        if status != 0:
            raise SystemExit(f"pytest ended with {status}")
