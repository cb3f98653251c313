"""What is measured of very many jobs keeps its figures, and stays small."""

import random

import pytest

from scheduler._simulate.tally import BATCH, BATCHES, SPANS, Batches, Series, Tally

pytestmark = pytest.mark.usefixtures("untraced")


def test_a_tally_knows_the_largest_exactly_and_the_rest_by_bucket():
    """The worst wait is what somebody complains of, and 9 % beside it is beside the point."""
    dice = random.Random(1)
    waits = [dice.expovariate(1) for _ in range(5_000)]
    tally = Tally()
    for wait in waits:
        tally.waited(wait)
        tally.slowed(wait * 10)

    assert max(waits) == tally.longest_wait
    assert 1 + max(waits) * 10 == tally.highest_slowdown
    assert sum(waits) / 5_000 == pytest.approx(tally.wait.mean)
    assert sorted(waits)[4_949] == pytest.approx(tally.wait.quantile(0.99), rel=0.1)
    assert sorted(waits)[2_499] * 10 == pytest.approx(tally.slowdown.quantile(0.5), rel=0.1)


def test_batches_hold_the_same_jobs_however_many_come():
    """Two runs of one load are compared batch by batch, so a batch must mean the same in both."""
    batches = Batches()
    for number in range(1, 100_001):
        batches.of(number).waited(float(number))

    assert BATCHES // 2 <= len(batches.tallies) <= BATCHES
    for place, tally in enumerate(batches.tallies[:-1]):
        assert batches.size == tally.wait.count
        assert batches.size * (place + 0.5) + 0.5 == pytest.approx(tally.wait.mean)
    assert 100_000 == sum(tally.wait.count for tally in batches.tallies)
    assert 0 == batches.size % BATCH


def test_a_late_job_goes_to_the_batch_that_it_came_in():
    """Jobs start out of order, the least urgent long after those that came behind them."""
    batches = Batches()
    for number in (10_000, 1, 5_000):
        batches.of(number).waited(1.0)

    counts = [tally.wait.count for tally in batches.tallies]
    assert [1, 1, 1] == [count for count in counts if count]
    assert 1 == counts[0] == counts[-1]


def test_batches_of_two_sizes_can_be_made_equal():
    """A configuration that turned jobs away, or was interrupted, has seen fewer of them."""
    few, many = Batches(), Batches()
    for number in range(1, 2_001):
        few.of(number).waited(1.0)
    for number in range(1, 20_001):
        many.of(number).waited(1.0)

    few.as_wide_as(many.size)

    assert few.size == many.size
    assert 2_000 == sum(tally.wait.count for tally in few.tallies)
    assert few.size == few.tallies[0].wait.count


def test_a_series_keeps_every_peak_in_little_memory():
    """A queue that stood for one second in a week is what the drawing is looked at for."""
    dice, now, values = random.Random(1), 0.0, []
    series = Series()
    for _ in range(20_000):
        now += dice.expovariate(1)
        values.append((now, dice.randrange(100)))
        series.note(*values[-1])

    points = series.points()

    assert len(points) <= SPANS
    assert (0, max(value for _, value in values)) == (series.least, series.most)
    for began, top in points[:-1]:
        inside = [value for at, value in values if began <= at < began + series.width]
        before = [value for at, value in values if at < began][-1:] or [0]
        assert max(inside + before) == top


def test_a_peak_is_not_drawn_until_the_end_when_nothing_changes_any_more():
    """A queue that was empty for the last hour must not look as if somebody had waited through it."""
    series = Series(1)
    series.note(10.0, 7)
    series.note(12.0, 2)
    width = series.width

    points = series.points(1000.0)

    assert 7 == max(top for _, top in points)
    assert {2} == {top for began, top in points if began > 12.0 + width}
    assert 1000.0 - series.width <= points[-1][0] <= 1000.0
    assert series.area(1000.0) == 10 + 7 * 2 + 2 * 988


def test_the_area_under_a_series_is_exact():
    """What is paid is this area, whatever the drawing leaves out."""
    series = Series(2)
    series.note(10.0, 5)
    series.note(12.0, 1)

    assert 2 * 10 + 5 * 2 + 1 * 3 == series.area(15.0)
    assert 2 * 10 + 5 * 2 == series.area(11.0)
