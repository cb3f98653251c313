"""A hundred seeds of the storm, ten a test: what a mutant is shown of it. Not part of the suite, which plays more."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_seeds_of_the_storm(first):
    """A change that no example shows may show when much comes together."""
    from storm.play import play  # noqa: PLC0415 - the mutant is imported where a test can fail of it

    for seed in range(first, first + 10):
        assert play(seed).caught is None
