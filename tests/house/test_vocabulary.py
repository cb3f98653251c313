"""One word per idea: a job is a job, a pool is a pool."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("scheduler", "pools", "policies")

#: Names that asyncio gave its own tasks; ours are jobs.
OF_ASYNCIO = {"Task", "TaskGroup", "all_tasks", "create_task", "current_task", "get_task_factory"}


def _identifiers(path):
    """Yield every name that the file defines or uses, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for field in ("name", "id", "attr", "arg", "asname"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield name, getattr(node, "lineno", 0)


def _words(identifier):
    """Split snake_case and CamelCase into lower-case words."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)]


def _places(package, wrong):
    return [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for name, line in _identifiers(path)
        if wrong(name)
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_of_ours_is_called_a_task(package):
    """asyncio, Dask and Celery own that word, and each means something else by it."""
    assert [] == _places(
        package, lambda name: name not in OF_ASYNCIO and {"task", "tasks"} & set(_words(name))
    )


def test_no_pool_is_called_an_executor():
    """The scheduler is an Executor, a pool is not: it never sees a Future."""
    assert [] == [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sorted((ROOT / "pools").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and "executor" in _words(node.name)
    ]
