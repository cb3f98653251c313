"""The loads are shared with the benchmark that prints the table of scaling policies."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _untraced(untraced):
    """Simulations are of very many jobs, and each line of the core has smaller tests."""
