"""A room that outgrows its budget holds a second idea."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = sorted(
    path.relative_to(ROOT).as_posix()
    for package in ("scheduler", "pools", "policies")
    for path in (ROOT / package).rglob("*.py")
)

LINES_PER_FILE = 400
LINES_PER_FUNCTION = 60

#: What may be longer, how long, and why: ("path.py" or "path.py:function", lines, reason).
ALLOWANCES: tuple[tuple[str, int, str], ...] = ()


def _budget(name, otherwise):
    return next((lines for what, lines, _ in ALLOWANCES if what == name), otherwise)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_stays_small_enough_to_read_at_once(room):
    """A reader holds one idea at a time."""
    lines = len((ROOT / room).read_text(encoding="utf-8").splitlines())

    assert lines <= _budget(room, LINES_PER_FILE), f"{room} has {lines} lines"


@pytest.mark.parametrize("room", ROOMS)
def test_a_function_fits_on_a_screen(room):
    """What cannot be seen whole is changed without being understood."""
    tree = ast.parse((ROOT / room).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    too_long = {
        f"{room}:{f.name}": lines
        for f in functions
        if (lines := f.end_lineno - f.lineno + 1) > _budget(f"{room}:{f.name}", LINES_PER_FUNCTION)
    }

    assert {} == too_long


def test_each_allowance_is_still_needed():
    """An allowance nobody uses invites the next one."""
    names = {what.partition(":")[0] for what, _, _ in ALLOWANCES}

    assert set() == names - set(ROOMS)
