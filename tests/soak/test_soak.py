"""A soak of seconds, so that the long one still runs when it is needed; `make soak` runs that."""

import sys
from pathlib import Path

import pytest
import run

pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux", reason="counts on /proc, on signals to workers and on prlimit"
    ),
    pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device"),
]


def test_a_short_soak_has_nothing_to_complain_about(tmp_path):
    """Real threads, processes and coroutines, plagued from inside and outside, and judged by what they wrote down."""
    report = run.soak(tmp_path / "soak", seconds=1.0, seed=11, pace=0.5, bound=2.0)

    assert {} == report["complaints"]
    assert report["numbers"]["starts"] > 30
    assert report["numbers"]["faults"]
    assert (tmp_path / "soak" / "soak.svg").exists()
