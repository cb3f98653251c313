"""How many calls may lie ahead: the rule itself, without a process."""

import math

import pytest

from pools._process_ahead import AHEAD_MAX, AHEAD_SECONDS, Estimate


def learnt(*runs, hand_off=0.0003, depth_max=AHEAD_MAX):
    estimate = Estimate(depth_max)
    estimate.hand_off = hand_off
    for seconds in runs:
        estimate.ran([seconds])
    return estimate


def test_nothing_lies_ahead_before_anything_is_known():
    """A first call may take hours; its neighbours must not have been promised to the same worker."""
    estimate = Estimate(AHEAD_MAX)

    assert (0, 0.0, math.inf) == (estimate.depth, estimate.inversion_bound, estimate.run_time)


@pytest.mark.parametrize("seconds", [0.0021, 0.01, 1.0, 3600.0])
def test_nothing_lies_ahead_of_long_calls(seconds):
    """They hide the hand-off by themselves, and a wait behind one is felt."""
    assert 0 == learnt(seconds, hand_off=1.0).depth


def test_as_many_as_hide_the_hand_off_twice():
    """Fewer leave the worker idle, more wait where their priority does not count."""
    assert [12, 6, 2, 1] == [learnt(run, hand_off=0.0003).depth for run in (0.00005, 0.0001, 0.0003, 0.001)]


@pytest.mark.parametrize("run", [1e-6, 1e-5, 1e-4, 5e-4, 1e-3, 1.9e-3])
@pytest.mark.parametrize("hand_off", [0.0, 1e-5, 1e-3, 1.0])
def test_never_more_than_so_much_time_lies_ahead(run, hand_off):
    """The bound on an inversion is a time, whatever was measured."""
    estimate = learnt(run, hand_off=hand_off)

    assert estimate.depth * run <= AHEAD_SECONDS
    assert estimate.depth <= AHEAD_MAX
    assert estimate.inversion_bound <= AHEAD_SECONDS + AHEAD_MAX * 1e-5


def test_one_long_run_counts_at_once_and_is_forgotten_slowly():
    """Calls that are sometimes long must not have others queue up behind them in between."""
    estimate = learnt(0.0001, 0.0001)
    shallow = estimate.depth
    estimate.ran([0.0001, 0.05, 0.0001])
    assert 0 == estimate.depth
    for _ in range(10):
        estimate.ran([0.0001])
    assert 0 == estimate.depth
    for _ in range(200):
        estimate.ran([0.0001])

    assert shallow == estimate.depth > 0


def test_many_runs_at_once_teach_as_much_as_one_by_one():
    """Outcomes come in batches; how they were cut must not matter."""
    one_by_one, at_once = learnt(0.01), learnt(0.01)
    for _ in range(20):
        one_by_one.ran([0.001])
    at_once.ran([0.001] * 20)

    assert one_by_one.run_time == pytest.approx(at_once.run_time)


def test_a_hand_off_that_took_long_for_other_reasons_counts_little():
    """A machine that was asleep says nothing of the price of a message."""
    estimate = learnt(0.0001)
    estimate.travelled(60.0)

    assert estimate.hand_off < 0.001


def test_prefetch_0_is_0_whatever_is_measured():
    """It is a promise, not a hint."""
    assert 0 == learnt(1e-6, hand_off=1.0, depth_max=0).depth
    assert 3 == learnt(1e-6, hand_off=1.0, depth_max=3).depth
