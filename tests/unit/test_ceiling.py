"""Trials of fewer pools: when one begins, what it measures, and what it never does."""

import pytest

from policies import Pack, QueueDelay
from policies.contracts import Load
from pools import ThreadPool
from scheduler import PoolGroup
from scheduler._core import events
from scheduler._core.ceiling import TRIAL_MAX, Ceiling
from scheduler._core.effect import COMPLETIONS_MIN, Effect
from scheduler._core.flow import STABLE_MIN, Flow
from scheduler.simulation import Simulator


class Counted(Flow):
    """A flow whose attempts the test counts."""

    __slots__ = ("count",)

    @property
    def ended(self):
        """Return what the test says."""
        return self.count


@pytest.fixture
def ceiling():
    """Return what a group knows that grew from one pool of two slots to six, nothing being known before."""
    flow = Counted()
    flow.count = 0
    known = Ceiling(flow)
    known.grow_from(a_load(1, at=0.0))
    assert (0, 2) == (known.growth.known, known.growth.slots)
    assert known.measure(a_load(6, at=1.0), kills=False, leaving=False, failing=False) is None
    return known


def a_load(pools=6, *, at, **known):
    settings = {"waiting": 100, "in_use": 2 * pools, "run_time": 0.01, "deviation": 0.0, "min_pools": 1}
    return Load(group="io", time=at, pool_slots=2, pools=pools, slots=2 * pools, **settings | known)


def measure(ceiling, ended, load, *, leaving=False, failing=False):
    ceiling.flow.count = ended
    return ceiling.measure(load, kills=False, leaving=leaving, failing=failing)


def a_trial(ceiling):
    """Let jobs wait for a stable window, so that one pool is tried; return what was said."""
    return measure(ceiling, 100, a_load(at=1.0 + STABLE_MIN))


def test_jobs_that_go_on_waiting_lead_to_a_trial_of_the_pools_there_were(ceiling):
    """What was not measured before is measured afterwards."""
    said = a_trial(ceiling)
    load = a_load(at=3.1)

    assert "too few jobs had ended before; so it goes back to 1 pool for a while, to measure that" in said
    assert "to measure the gain of more than 1 pool" == ceiling.lowers(load)
    assert (1, "it is being measured how much 1 pool can do") == ceiling.caps(load, 6)


def test_long_jobs_wait_longer_for_a_trial(ceiling):
    """A trial takes a fifth of the time that jobs have waited: of 20 jobs of 0.5 s in two slots, it takes 5 s."""
    slow = {"run_time": 0.5, "in_use": 12}
    early, late = (measure(ceiling, 100, a_load(at=at, **slow)) for at in (1.0 + 24.9, 1.0 + 25.0))

    assert early is None
    assert "goes back to 1 pool" in late


def test_a_trial_ends_when_enough_jobs_have_ended_in_fewer_pools(ceiling):
    """From then on it is known what they can do, and what is opened next is compared with that."""
    a_trial(ceiling)
    for pools, at, leaving in ((5, 3.1, True), (1, 3.2, True)):
        assert measure(ceiling, 110, a_load(pools, at=at), leaving=leaving) is None
    measure(ceiling, 200, a_load(1, at=4.0))
    measure(ceiling, 200 + COMPLETIONS_MIN - 1, a_load(1, at=4.5))
    assert (1, True) == (ceiling.pools, ceiling.trial)
    measure(ceiling, 200 + COMPLETIONS_MIN, a_load(1, at=5.0))
    assert (None, False) == (ceiling.pools, ceiling.trial)
    ceiling.grow_from(a_load(1, at=5.0))

    assert (COMPLETIONS_MIN / 1.0, COMPLETIONS_MIN, False) == (
        ceiling.growth.rate,
        ceiling.growth.known,
        ceiling.growth.rough,
    )


def test_what_was_found_is_compared_with_the_next_growth_only_at_once(ceiling):
    """A minute later the jobs may be others, and the windows know more."""
    a_trial(ceiling)
    measure(ceiling, 200, a_load(1, at=4.0))
    measure(ceiling, 300, a_load(1, at=5.0))
    measure(ceiling, 310, a_load(1, at=6.0))
    ceiling.grow_from(a_load(1, at=6.0))

    assert 0 == ceiling.growth.known


def test_a_trial_ends_at_once_when_nobody_waits_any_more(ceiling):
    """What is not needed need not be measured."""
    a_trial(ceiling)
    measure(ceiling, 120, a_load(3, at=3.5, waiting=0))

    assert (None, None) == (ceiling.lowers(a_load(3, at=3.5)), ceiling.caps(a_load(3, at=3.5), 6))


def test_a_trial_ends_in_any_case(ceiling):
    """A pool that hangs while it drains must not hold the group down for ever."""
    a_trial(ceiling)
    end = 1.0 + STABLE_MIN + TRIAL_MAX * STABLE_MIN

    assert ceiling.lowers(a_load(2, at=end - 0.01)) is not None
    assert ceiling.lowers(a_load(2, at=end)) is None


def test_a_pause_ends_a_trial(ceiling):
    """Nothing ends in a pause, and that says nothing of the pools."""
    a_trial(ceiling)
    ceiling.forget_growth()

    assert (None, None, None) == (ceiling.growth, ceiling.found, ceiling.lowers(a_load(at=4.0)))


def test_there_is_no_other_trial_for_a_while(ceiling):
    """It costs capacity, and the second would find no more than the first."""
    a_trial(ceiling)
    ceiling.forget_growth()
    ceiling.growth = Effect(1, 2, opened=4.0, since=4.0, short=4.0)
    soon = measure(ceiling, 500, a_load(at=12.0))

    assert (True, None, None) == ("too few jobs" in soon, ceiling.pools, ceiling.growth)


def test_there_is_no_trial_while_pools_fail_to_start(ceiling):
    """The group would have more of them already, and could not get back those that it gave up."""
    assert measure(ceiling, 100, a_load(at=10.0), failing=True) is None
    assert ceiling.pools is None

    assert "goes back to 1 pool" in measure(ceiling, 110, a_load(at=10.1))


def test_there_is_no_trial_for_a_small_gain(ceiling):
    """Five pools instead of three: to tell that from noise would take a thousand jobs."""
    ceiling.growth = Effect(3, 6, opened=1.0, since=1.0, short=1.0)
    said = measure(ceiling, 500, a_load(5, at=50.0))

    assert (False, None) == ("goes back" in said, ceiling.pools)


def test_a_trial_keeps_min_pools(ceiling):
    """Rule 1 holds for the scheduler too."""
    measure(ceiling, 100, a_load(at=1.0 + 10 * STABLE_MIN, min_pools=2))

    assert 2 == ceiling.pools


@pytest.mark.parametrize(("deviation", "enough"), [(0.0, 20), (0.01, 26), (0.02, 64)])
def test_the_more_run_times_differ_the_more_must_end_until_it_is_known(ceiling, deviation, enough):
    """Their mean would else be that of a few lucky ones."""
    said = measure(ceiling, 100, a_load(at=100.0, deviation=deviation))

    assert ("goes back" in said, enough) == (True, ceiling.enough)


# In whole runs


def computing(busy):
    """Jobs that share one core."""
    return float(busy)


def a_backlog(jobs, run_time, slowdown):
    """Run jobs that come all at once to a fresh group; return what was said, the run's length and its reasons."""
    group = PoolGroup("io", ThreadPool(slots=2), max_pools=6, scaling=QueueDelay())
    run = Simulator(group, routing=Pack(), start_up=0.01, slowdown=slowdown)
    effects, ends = [], []
    run.observe(
        lambda event: effects.append(event.effect) if isinstance(event, events.ScalingMeasured) else None
    )
    run.observe(lambda event: ends.append(event.time) if isinstance(event, events.JobSettled) else None)
    run.source((0.0, run_time) for _ in range(jobs))
    run.run()
    reasons = [decision.reason for decision in run.explain("io").decisions]
    return effects, ends[-1], reasons


def test_a_backlog_of_short_jobs_that_compute_is_noticed_though_the_group_grew_at_once():
    """The first thing that a user tries: no throughput was known before, only the run times of some jobs."""
    effects, _, reasons = a_backlog(800, 0.02, computing)

    assert "it did not help, and is undone" in effects[0]
    assert "ProcessPool" in effects[0]
    assert "more than 1 pool did not help" in reasons


def test_a_backlog_of_long_jobs_that_compute_is_noticed_by_a_trial():
    """The group had grown before any of them had ended, so fewer pools are tried."""
    effects, _, reasons = a_backlog(1500, 0.3, computing)

    assert ["goes back to 1 pool", "did not help"] == [
        text for effect in effects for text in ("goes back to 1 pool", "did not help") if text in effect
    ]
    assert "to measure the gain of more than 1 pool" in reasons


def test_a_backlog_of_long_jobs_that_wait_keeps_its_pools_at_a_small_cost():
    """The counter-proof, and the price: twelve slots are needed, and for a moment there are two."""
    effects, length, reasons = a_backlog(3000, 0.3, None)

    assert "goes back to 1 pool" in effects[0]
    assert "6.22 × the throughput" in effects[1]
    assert "more than 1 pool did not help" not in reasons
    assert length <= 1.08 * 3000 * 0.3 / 12


def test_a_backlog_that_is_worked_off_soon_is_not_tried_with_fewer():
    """Whoever waits for a minute's work must not wait longer for the sake of a measurement."""
    effects, _, reasons = a_backlog(300, 0.3, None)

    assert not any("goes back" in effect for effect in effects)
    assert "to measure the gain of more than 1 pool" not in reasons
