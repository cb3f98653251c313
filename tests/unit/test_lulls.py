"""When a pool may go, by what was wanted when and how often the load came back."""

import math

import pytest

from scheduler._core.lulls import INTERVALS, SHOWN, SHOWN_MAX, UNKNOWN, Lulls

STABLE = 5.0
LENGTH = 1.0  # of a burst


def wanted(*changes):
    """Return the lulls of a group that wanted so many pools from then on; the last counts at its time alone."""
    lulls = Lulls()
    for (at, pools), (until, _) in zip(changes, [*changes[1:], changes[-1]], strict=True):
        lulls.want(pools, at, STABLE)
        lulls.want(pools, until, STABLE)
    return lulls


def bursts(*starts, pools=3):
    """Return the lulls of a group that wants one pool, and more of them in each of these bursts."""
    changes = [(0.0, 1)]
    for start in starts:
        changes += [(start, pools), (start + LENGTH, 1)]
    return wanted(*changes, (starts[-1] + LENGTH + 0.1, 1))


def kept_until(lulls, pools, since, *, stable=STABLE):
    """Return for how long after `since` the last of the pools is kept without a break."""
    ticks = 0
    while lulls.keeps(pools, since + ticks / 100, stable) is not None:
        ticks += 1
    return ticks / 100


def test_a_pool_that_is_wanted_does_not_go():
    """Whoever asks about it while all are wanted has made a mistake."""
    assert wanted((0.0, 3), (1.0, 3)).keeps(3, 1e9, STABLE) is not None


def test_a_pool_that_was_never_wanted_may_go_at_once():
    """Somebody opened it by hand, and nothing speaks for it."""
    assert wanted((0.0, 1), (1.0, 1)).keeps(3, 1.0, STABLE) is None


def test_a_pool_goes_after_the_group_did_without_it_for_long_enough():
    """How often the load returns is not known after one burst; the pool is kept longer then."""
    assert pytest.approx(UNKNOWN * STABLE, abs=0.02) == kept_until(bursts(50.0), 3, 51.0)


def test_a_group_that_knows_how_often_the_load_returns_waits_no_longer_than_needed():
    """Forty seconds between two bursts are forty seconds to save slots in."""
    assert pytest.approx(SHOWN * STABLE, abs=0.02) == kept_until(bursts(50.0, 90.0), 3, 91.0)


def test_nothing_goes_shortly_before_the_load_is_due():
    """A pool drained a moment before the burst is opened again a moment after: the reversal to be avoided."""
    lulls = bursts(50.0, 90.0)
    answers = {at: lulls.keeps(3, at, STABLE) is not None for at in (114.9, 115.1, 130.0, 139.9, 140.1)}

    # Due at 130, or a quarter of forty seconds sooner or later; a stable window before that nothing goes any more.
    assert {114.9: False, 115.1: True, 130.0: True, 139.9: True, 140.1: False} == answers


def test_it_says_what_it_expects():
    """Who asks why a pool is still there must not have to guess."""
    assert "the load rose to 2 pools 35.00 s ago, and has done so every 40.00 s" == bursts(50.0, 90.0).keeps(
        3, 125.0, STABLE
    )


def test_a_smaller_burst_may_be_followed_by_a_larger_one():
    """What was needed every other time would be drained a moment before it is needed."""
    lulls = bursts(50.0, 90.0, pools=2)
    for pools, at in ((4, 100.0), (4, 101.0), (1, 101.1)):
        lulls.want(pools, at, STABLE)

    assert (True, False) == (
        lulls.keeps(4, 125.0, STABLE) is not None,
        lulls.keeps(5, 125.0, STABLE) is not None,
    )


def test_a_lull_shorter_than_a_stable_window_is_none():
    """Nothing could have gone in it, and eight of them would push out the intervals that count."""
    changes = [(float(second), 3 - 2 * (second % 2)) for second in range(50, 71)]
    lulls = wanted((0.0, 1), *changes, (71.0, 1))

    assert pytest.approx(UNKNOWN * STABLE, abs=0.02) == kept_until(lulls, 3, 71.0)


def test_only_the_last_intervals_count():
    """A load that has changed its habits must not be waited for at its old times for ever."""
    starts = [50.0, 75.0]
    for _ in range(INTERVALS):
        starts.append(starts[-1] + 200.0)
    known, forgotten = bursts(*starts[:-1]), bursts(*starts)

    assert (True, False) == tuple(
        lulls.keeps(3, start + 24.0, STABLE) is not None
        for lulls, start in ((known, starts[-2]), (forgotten, starts[-1]))
    )


def test_no_pool_is_kept_for_ever_whatever_is_expected():
    """When the load is gone for good, the group must have shrunk within a time that can be stated."""
    starts = [50.0]
    for every in (9.0, 15.0, 24.0, 38.0, 60.0, 79.0):
        starts.append(starts[-1] + every)

    lulls, end = bursts(*starts), starts[-1] + LENGTH
    assert SHOWN_MAX * STABLE - 1 < kept_until(lulls, 3, end) <= SHOWN_MAX * STABLE + 0.02
    assert all(lulls.keeps(3, end + SHOWN_MAX * STABLE + later, STABLE) is None for later in (0.1, 5.0, 40.0))


def test_the_window_counts_as_long_as_it_has_been_since_the_pool_was_wanted():
    """Short jobs that come after long ones shorten the window, and say nothing about when the long ones return."""
    lulls = bursts(50.0)

    assert (UNKNOWN * STABLE, UNKNOWN * 2 * STABLE) == tuple(
        pytest.approx(kept_until(lulls, 3, 51.0, stable=stable), abs=0.02)
        for stable in (STABLE / 10, 2 * STABLE)
    )


def test_what_is_remembered_is_bounded():
    """A service runs for years."""
    lulls = Lulls()
    for burst in range(100):
        for pools, at in ((9, 40.0), (1, 41.0), (1, 60.0)):
            lulls.want(pools, burst * 100 + at, STABLE)

    assert (8, 9, INTERVALS + 1) == (
        len(lulls._left),
        len(lulls._rises),
        max(map(len, lulls._rises.values())),
    )
    assert math.isfinite(lulls.wanted)
