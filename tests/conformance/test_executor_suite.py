"""CPython's own Executor suite, on the interpreter that runs these tests; ``make conformance`` runs it on all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).with_name("run.py")
MISSING = 77


def run(*arguments):
    """Run the suite's runner and return what became of it."""
    return subprocess.run(
        [sys.executable, RUNNER, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )


def test_the_stdlib_tests_of_executors_and_futures_pass_on_this_library():
    """All that CPython asks of a thread pool and of a future holds here, as this interpreter's own tests ask it."""
    done = run()
    last_line = done.stdout.strip().rpartition("\n")[2]
    if done.returncode == MISSING:
        pytest.skip(last_line)
    assert done.returncode == 0, done.stdout
    assert "0 failures, 0 errors" in last_line
    assert int(last_line.split(": ")[1].split()[0]) >= 50, "most of the suite is missing"
