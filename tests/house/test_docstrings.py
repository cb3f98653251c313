"""Every public thing says what it is, and every test says why it matters."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("scheduler", "pools", "policies")

#: The docstring stands where the thing was first defined.
SAID_ELSEWHERE = {"overload", "override", "setter", "deleter"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _said_elsewhere(function):
    names = {getattr(d, "id", getattr(d, "attr", None)) for d in function.decorator_list}
    return bool(names & SAID_ELSEWHERE)


def _public(node, qualified=""):
    """Yield the public classes and functions below ``node`` with their names; private doors are not opened."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef) and not child.name.startswith("_"):
            yield f"{qualified}{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from _public(child, f"{qualified}{child.name}.")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_thing_has_a_docstring(package):
    """The reference pages are made of docstrings, and so is a reader's first minute in a room."""
    silent = []
    for path in sorted((ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        things = [("", tree), *_public(tree)]
        silent += [
            f"{path.relative_to(ROOT)} {name}".strip()
            for name, node in things
            if not ast.get_docstring(node) and not (isinstance(node, Function) and _said_elsewhere(node))
        ]

    assert [] == silent


def test_every_test_says_why_it_matters():
    """A test that fails in three years must tell its reader what was at stake."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, Function) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]

    assert [] == silent
