"""Scaling policies by themselves: what they advise of one load, and how they say why."""

import attrs
import pytest

from policies import QueueDelay, SquareRootStaffing, TargetUtilization
from policies.contracts import Load, Window


def busy_with(slots, *, lately=None, pools=3, waiting=0):
    """Return a load that has kept so many slots busy, and lately so many, with pools of four slots and jobs of 0.1 s."""

    def window(seconds, busy):
        came = int(busy * seconds / 0.1)
        return Window(
            seconds=seconds,
            arrivals=came,
            starts=came,
            completions=came,
            run_time=0.1,
            deviation=0.1,
            least_wait=0.0,
            in_use=float(busy),
        )

    return Load(
        group="group",
        time=100.0,
        pool_slots=4,
        pools=pools,
        starting=0,
        max_pools=None,
        slots=4 * pools,
        waiting=waiting,
        idle=(),
        stable=window(60.0, slots),
        panic=window(6.0, slots if lately is None else lately),
        run_time=0.1,
        deviation=0.1,
        start_up=0.5,
        since_change=60.0,
    )


@pytest.mark.parametrize("policy", [TargetUtilization(), SquareRootStaffing()])
def test_twice_the_load_of_a_moment_is_panic_and_a_steady_one_is_not(policy):
    """In a panic nothing is drained, so a burst must be told from noise."""
    steady, sudden = policy.scale(busy_with(8)), policy.scale(busy_with(8, lately=80))

    assert (False, True) == (steady.panic, sudden.panic)
    assert 20 <= sudden.pools


@pytest.mark.parametrize("policy", [TargetUtilization(), SquareRootStaffing()])
def test_a_policy_says_what_it_saw_and_by_which_formula(policy):
    """`explain()` shows it to whoever asks why a pool was opened."""
    sudden = policy.scale(busy_with(8, lately=80))

    assert "the load rose suddenly" in sudden.reason
    assert "= 80.0 busy" in sudden.formula
    assert "÷ 4 a pool; seen were 8.0 ± 0.2 busy, lately 80.0 ± 1.8" in sudden.formula


def test_square_root_staffing_keeps_a_margin_that_grows_with_the_root():
    """R + β√R: a hundred busy slots need a smaller part beside them than four."""
    policy = SquareRootStaffing(p_wait=0.2)
    few, many = (policy.scale(busy_with(busy, pools=1)).pools * 4 for busy in (4, 400))

    assert 1.06 == pytest.approx(policy.beta, abs=0.01)
    assert 4 + policy.beta * 2 - 2 < few < 4 + policy.beta * 2 + 6
    assert 400 + policy.beta * 20 - 8 < many < 400 + policy.beta * 20 + 8


def test_what_waits_is_worked_off_beside_the_load():
    """A queue that stands still at the target utilization would stand for ever."""
    without, with_it = (
        TargetUtilization().scale(attrs.evolve(busy_with(8), waiting=count)).pools for count in (0, 6000)
    )

    assert without < with_it


def test_advice_keeps_the_reason_and_the_formula_that_it_is_given():
    """A policy of one's own says why in its own words, whichever way it goes."""
    load = busy_with(8)
    told = [load.add(2, "why", "how"), load.toward(5, "why", "how")]

    assert [(5, "why", "how")] * 2 == [(advice.pools, advice.reason, advice.formula) for advice in told]


@pytest.mark.parametrize("idle", [0, -1.0, float("nan"), True, "1"])
def test_how_long_a_pool_must_be_idle_is_a_sensible_number_or_none(idle):
    """Zero would drain what has just become free, and NaN never anything."""
    assert QueueDelay(idle=None) == QueueDelay()
    with pytest.raises((TypeError, ValueError), match=r"idle.* must be"):
        QueueDelay(idle=idle)


def test_a_window_in_which_nothing_was_seen_says_nothing():
    """It is what the first look has; anything else in it would be taken for a load."""
    assert not any(attrs.astuple(Window()))


def test_an_advice_without_a_formula_shows_none():
    """What stands there is printed as a computation."""
    assert ["", "a ÷ b"] == [busy_with(4).hold("enough", *formula).formula for formula in ((), ("a ÷ b",))]
