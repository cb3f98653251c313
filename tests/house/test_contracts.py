"""The floor plan holds: who may import whom is decided in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_imports_keep_to_the_floor_plan():
    """One upward import is cheap to undo today and out of reach in a year."""
    pytest.importorskip("importlinter", reason="a development tool")

    ran = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--cache-dir", ".build/import-linter"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
