"""The autoscaler meets loads of every kind: it is fast enough, cheap enough, calm, and loses nothing."""

import attrs
import pytest
import scenarios
from scenarios import TARGET, best_fixed, play

from policies import QueueDelay, SquareRootStaffing, TargetUtilization

POLICIES = [QueueDelay(), TargetUtilization(), SquareRootStaffing()]
each_policy = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)

CALM = [
    scenarios.step(),
    scenarios.ramp(length=60.0),
    scenarios.steady(busy=13.0, length=60.0),
    scenarios.hanging(),
    scenarios.failing(),
    scenarios.failing_start_up(every_second=True),
    scenarios.failing_start_up(every_second=False),
    scenarios.held_by_a_lock(),
]
BURSTS = [scenarios.bursts(every=4.0), scenarios.bursts(every=10.0), scenarios.bursts(every=40.0, count=6)]


def _named(scenario):
    return scenario.name


@each_policy
@pytest.mark.parametrize("start_up", [0.01, 0.5, 3.0])
def test_ten_times_the_load_is_met_within_three_start_ups_and_a_second(policy, start_up):
    """A scaler that is still opening pools when the burst is over only costs money."""
    outcome = play(scenarios.step(start_up=start_up, length=80.0), policy)

    assert outcome.back_under(TARGET, since=20.0) <= 3 * start_up + 1


@each_policy
def test_a_day_costs_less_than_the_best_fixed_size_with_the_same_waits(policy):
    """If the best constant in hindsight were cheaper, nobody should scale."""
    day = scenarios.day(days=1, length=160.0)
    outcome = play(day, policy)
    fixed = best_fixed(day, outcome.quantile(0.99))

    assert outcome.slot_seconds <= 0.9 * fixed.slot_seconds
    assert (0, 0) == (outcome.reversals, outcome.taken_back)


@each_policy
@pytest.mark.parametrize("scenario", CALM + BURSTS, ids=_named)
def test_no_change_is_undone_within_a_stable_window_and_no_job_is_lost(scenario, policy):
    """Opening or taking back what was just drained, and draining what was just opened, is what users switch off."""
    outcome = play(scenario, policy)

    assert (0, 0, 0) == (outcome.regretted, outcome.returned, outcome.lost)
    assert outcome.at_the_end == scenario.min_pools


@each_policy
def test_a_pool_is_not_drained_shortly_before_a_burst_that_could_be_foreseen(policy):
    """Who has seen bursts every 40 s should not drain at second 38, whatever the dice of the load do in between."""
    for seed in (2, 3):
        outcome = play(attrs.evolve(scenarios.bursts(every=40.0, count=6), seed=seed), policy)

        assert [at for at in outcome.returned_at if at > 45.0] == []
        assert outcome.additions > outcome.most  # they did go in between


@each_policy
def test_a_group_has_shrunk_within_seventeen_stable_windows_of_the_last_job(policy):
    """What was learned from a train of bursts must not keep its pools when there are no more of them."""
    train = scenarios.bursts(every=10.0)
    outcome = play(train, policy)
    last = max(at for at, _ in outcome.pools)

    assert last - train.length <= 17 * outcome.stable_length + 5.0


@pytest.mark.parametrize("busy", [30.0, 45.0])
def test_the_probability_of_waiting_is_the_one_that_was_asked_for(busy):
    """Square-root staffing is a promise with a number in it, and the number must come out."""
    load = attrs.evolve(scenarios.steady(busy=busy, slots=1, length=300.0), start_up=0.05)
    outcome = play(load, SquareRootStaffing(p_wait=0.2))

    assert outcome.waited_share(since=100.0) == pytest.approx(0.2, abs=0.05)


@each_policy
def test_pools_full_of_jobs_that_hang_are_replaced(policy):
    """Without it, a job that hangs takes its slot away for good, and a few of them take the whole group."""
    outcome = play(scenarios.hanging(), policy)

    assert outcome.quarantined >= 1
    assert outcome.quantile(0.99) < 1.0


@each_policy
def test_pools_that_do_not_help_are_drained_and_a_group_of_processes_is_suggested(policy):
    """Threads that wait for the interpreter's lock only get in each other's way."""
    outcome = play(scenarios.held_by_a_lock(), policy)
    effects = [decision.effect or "" for decision in outcome.explanation.decisions]

    assert any("did not help" in effect and "ProcessPool" in effect for effect in effects)
    assert outcome.at_the_end == 1


@each_policy
def test_the_books_are_true_all_the_while(policy):
    """The figures of a run with broken books would mean nothing."""
    outcome = play(scenarios.step(length=45.0), policy, check_every=20)

    assert outcome.lost == 0
