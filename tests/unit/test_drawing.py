"""Drawings: ticks that people count in, and lines that stay inside."""

import re

import pytest

from scheduler._simulate.drawing import HEIGHT, WIDTH, Curve, decades, drawn, in_one_unit, ticks, time_ticks


@pytest.mark.parametrize("most", [0.3, 1, 2, 4, 7, 12, 99, 100, 101, 18_335, 1e9])
def test_counts_have_few_round_whole_ticks(most):
    """Half a pool on an axis makes a reader doubt the rest."""
    found = ticks(most)

    assert 2 <= len(found) <= 11
    assert found[0] == 0
    assert found[-1] >= most
    assert all(tick == int(tick) for tick in found) or most < 1


@pytest.mark.parametrize("most", [1e-5, 0.5, 3, 61, 180, 3_600, 90_000, 1e6, 1e8, 1e11])
def test_moments_have_few_ticks(most):
    """Words that lie on each other cannot be read."""
    found = time_ticks(most)

    assert 1 <= len(found) <= 8
    assert found[-1] <= most


def test_an_axis_of_time_has_one_unit():
    """60 s, 2 min, 3 min makes a reader count."""
    words = in_one_unit(180)

    assert ["0", "1 min", "2.5 min"] == [words(0), words(60), words(150)]


@pytest.mark.parametrize("most", [0.0, 1e-5, 1e-3, 0.7, 1.0, 5_000.0])
def test_powers_of_ten_reach_as_far_as_the_waits(most):
    """A line that leaves the drawing hides the longest waits."""
    found = decades(most)

    assert len(found) >= 2
    assert found[-1] >= most


@pytest.mark.parametrize("tail", [True, False])
@pytest.mark.parametrize(
    "points", [[(0.0, 0.0)], [(0.0, 100.0), (1e-6, 3.0), (12.0, 0.0)], [(5.0, 7.0), (9.0, 1.0)], []]
)
def test_lines_stay_inside(tail, points):
    """An SVG cuts off what leaves its frame, without a word."""
    text = drawn(
        "A <title>", [Curve("one", points, dashed=True)], up=str, tail=tail, mark=3.0 if tail else None
    )

    assert 'aria-label="A &lt;title&gt;"' in text
    for path in re.findall(r' d="([^"]*)"', text):
        for kind, numbers in re.findall(r"([MHV])([-\d. e]+)", path):
            values = [float(number) for number in numbers.split()]
            limits = [WIDTH, HEIGHT] if kind == "M" else [WIDTH] if kind == "H" else [HEIGHT]
            assert all(0 <= value <= limit for value, limit in zip(values, limits, strict=True)), path
