"""The harness stands beside the tests."""

import logging
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _untraced(untraced):
    """Every thread of a schedule has a tracer of its own."""


@pytest.fixture(autouse=True)
def _quiet():
    """A schedule that fails is unwound, and the code under test would tell of that in the log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
