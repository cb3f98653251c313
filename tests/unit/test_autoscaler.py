"""The rules that no scaling policy can break, one by one."""

import math

import pytest

from policies.contracts import Advice, Load, Window
from scheduler._core.autoscaler import BATCH_MIN, RETRY_MAX, RETRY_MIN, Scaled
from scheduler._core.effect import Effect, Verdict
from scheduler._core.lulls import UNKNOWN, Lulls
from scheduler._core.pool_table import GroupRecord

STABLE, PANIC = 2.0, 0.2  # of a group of which nothing is known yet
MEMORY = UNKNOWN * STABLE


@pytest.fixture
def scaled(says):
    """Make a group that scales as the policy of the test says."""

    def make(wanted=None, **settings):
        return Scaled(GroupRecord(name="io", index=0, slots=2, **settings), says(wanted))

    return make


def a_load(pools, *, at=1000.0, **known):
    settings = {"min_pools": 1, "max_pools": 100, "idle": tuple((f"io-{n}", 0.0) for n in range(pools))}
    return Load(group="io", time=at, pool_slots=2, pools=pools, slots=2 * pools, **settings | known)


def decide(scaled, load):
    failures = []
    order = scaled.decide(load, lambda *failure: failures.append(failure))
    return order, failures


def rule_for(scaled, load):
    order, _ = decide(scaled, load)
    return order.add, order.drain, order.rule


def test_what_the_policy_wants_is_done_where_no_rule_forbids_it(scaled):
    """The rules limit a policy; they are none."""
    assert [(2, False, None), (0, True, None), (0, False, None)] == [
        rule_for(scaled(3), a_load(1)),
        rule_for(scaled(1), a_load(2)),
        rule_for(scaled(2), a_load(2)),
    ]


# 1. Limits


def test_rule_1_no_more_pools_than_the_maximum(scaled):
    """max_pools= is what the user pays for at most."""
    order, _ = decide(scaled(5), a_load(2, max_pools=3))

    assert (1, "max", "max_pools=3") == (order.add, order.rule, order.limited_by)


def test_rule_1_pools_that_start_count(scaled):
    """Or every look would open another one until the first is up."""
    assert (0, False, "max") == rule_for(scaled(9), a_load(3, starting=3, max_pools=3))


def test_rule_1_no_fewer_pools_than_the_minimum(scaled):
    """min_pools= is what the user wants to have whatever happens."""
    order, _ = decide(scaled(0), a_load(2, min_pools=2))

    assert (False, "min", "min_pools=2") == (order.drain, order.rule, order.limited_by)


@pytest.mark.parametrize("wanted", [None, 0, -7])
def test_rule_1_fewer_than_the_minimum_are_made_up_for_whatever_is_wanted(scaled, wanted):
    """A pool that broke is not what the user asked for."""
    assert (2, False, None) == rule_for(scaled(wanted), a_load(1, min_pools=3))


class Spiteful:
    """Raises whatever is asked of it."""

    def _raise(self, *_):
        raise ZeroDivisionError("on purpose")

    __bool__ = __eq__ = __format__ = __str__ = _raise
    __hash__ = None

    def __repr__(self):
        return "Spiteful()"


@pytest.mark.parametrize(
    "nonsense",
    [
        ValueError("it raised"),
        3.5,
        "more",
        [object],
        Advice(pools=True),
        Advice(pools=1.5),
        Advice(pools=math.nan),
        Advice(pools=3, reason=None),
        Advice(pools=3, formula=Spiteful()),
        Advice(pools=1, pool=Spiteful()),
        Advice(pools=3, panic=Spiteful()),
        pytest.param(Advice(pools=10**5000), id="too many to be written down"),
    ],
    ids=repr,
)
def test_a_policy_that_fails_or_answers_nonsense_holds(scaled, nonsense):
    """A mistake in a plugin must not stop the clock of everybody else."""
    order, failures = decide(scaled(nonsense), a_load(2))

    assert (0, False, ["scaling"], "the policy failed") == (
        order.add,
        order.drain,
        [failure[0] for failure in failures],
        order.advice.reason,
    )


def test_a_policy_that_fails_does_not_keep_a_group_below_its_minimum(scaled):
    """Rule 1 is the scheduler's own."""
    assert 1 == decide(scaled(ValueError()), a_load(0))[0].add


def test_ctrl_c_in_a_policy_is_the_users(scaled):
    """An interrupt is no mistake of the policy's."""
    with pytest.raises(KeyboardInterrupt):
        decide(scaled(KeyboardInterrupt()), a_load(1))


# 2. Speed


def test_rule_2_four_pools_at_once_however_few_there_are(scaled):
    """Doubling from one would take too long, and fifty at once are a stampede."""
    order, _ = decide(scaled(50), a_load(1))

    assert (BATCH_MIN, "speed") == (order.add, order.rule)


def test_rule_2_as_many_as_there_are_where_there_are_many(scaled):
    """Doubling is fast enough from there on."""
    assert (10, False, "speed") == rule_for(scaled(50), a_load(10))


def test_rule_2_counts_what_was_added_within_the_panic_window(scaled):
    """Four at every look would be no limit."""
    group = scaled(50)
    group.changed(1000.0, grown=3)

    assert (1, False, "speed") == rule_for(group, a_load(4, at=1000.0 + PANIC / 2))


def test_rule_2_is_over_with_the_panic_window(scaled):
    """It is a speed, not a sum."""
    group = scaled(50)
    group.changed(1000.0, grown=4)

    assert (5, False, "speed") == rule_for(group, a_load(5, at=1000.0 + PANIC))


# 3. Failures


def test_rule_3_a_failed_start_is_followed_by_a_wait(scaled):
    """What failed a moment ago fails again."""
    group = scaled(3)
    group.start_failed(1000.0)
    order, _ = decide(group, a_load(1, at=1000.0 + RETRY_MIN / 2))

    assert (0, "failed", "pools failed to start once in a row; the next try is in 0.50 s") == (
        order.add,
        order.rule,
        order.limited_by,
    )


def test_rule_3_the_wait_doubles_up_to_a_minute(scaled):
    """A recipe that is broken for good must not keep the machine busy."""
    group, waits, now = scaled(3), [], 1000.0
    for _ in range(9):
        group.start_failed(now)
        waits.append(group.not_before - now)
        now = group.not_before

    assert [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, RETRY_MAX, RETRY_MAX, RETRY_MAX] == waits


def test_rule_3_the_wait_is_no_shorter_than_a_start(scaled):
    """Where a start takes ten seconds, one second is no pause."""
    group = scaled(3)
    group.flow.started_up(10.0)
    group.start_failed(1000.0)

    assert 1010.0 == group.not_before


def test_rule_3_forgets_failures_of_long_ago(scaled):
    """Two failures a day apart are not two in a row."""
    group = scaled(3)
    for at in (0.0, 1.0, 3.0, 86400.0):
        group.start_failed(at)

    assert (1, 86401.0) == (group.failures, group.not_before)


def test_rule_3_lets_pools_be_taken_back_that_drain(scaled):
    """They are up: nothing has to start."""
    group = scaled(5)
    group.start_failed(1000.0)

    assert (2, False, "failed") == rule_for(group, a_load(1, draining=2))


# 4. Going down


def test_rule_4_one_pool_at_a_time(scaled):
    """Two that still run something and are to go may have been one too many."""
    group = scaled(1)
    group.leaving = True
    order, _ = decide(group, a_load(5, draining=1))

    assert (False, "one") == (order.drain, order.rule)


def test_rule_4_nothing_is_drained_while_pools_start(scaled):
    """Nobody knows yet what they will do."""
    assert (0, False, "starting") == rule_for(scaled(1), a_load(3, starting=1))


def test_rule_4_the_highest_number_wanted_lately_counts(scaled):
    """A lull between two bursts is no reason to go."""
    group = scaled(5)
    decide(group, a_load(5))
    group.policy.says = 1
    before, after = (rule_for(group, a_load(5, at=1000.0 + MEMORY + d)) for d in (-0.01, 0.01))

    assert ((0, False, "stable"), (0, True, None)) == (before, after)


def test_rule_4_nothing_goes_while_the_load_rises(scaled):
    """A policy that looks at means sees a burst last of all, and would drain in the middle of it."""
    rising, falling = (
        rule_for(scaled(1), a_load(2, in_use=used, stable=Window(in_use=2.0))) for used in (3, 2)
    )

    assert ((0, False, "pace"), (0, True, None)) == (rising, falling)


def test_rule_3_pools_that_were_started_together_fail_together(scaled):
    """Four pools refused at once say as much as one; eight seconds of waiting were for nothing."""
    group = scaled(3)
    for _ in range(4):
        group.start_failed(1000.0, 999.0)

    assert (1, 1000.0 + RETRY_MIN) == (group.failures, group.not_before)


def test_rule_3_a_success_shows_that_opening_works(scaled):
    """The last of a batch to fail does not speak for the others, which came up."""
    group = scaled(3)
    group.start_failed(1000.0, 999.0)
    group.started(1000.5)
    group.start_failed(1001.0, 1000.2)

    assert (0, -math.inf) == (group.failures, group.not_before)


def test_rule_4_never_in_panic(scaled):
    """What is needed twice over must not go, whatever the policy says a moment later."""
    group = scaled(2)
    group.policy.panic = True
    decide(group, a_load(2))
    group.policy.says, group.policy.panic = 1, False
    group.lulls = Lulls()
    inside, outside = (rule_for(group, a_load(2, at=1000.0 + at)) for at in (STABLE - 0.01, STABLE + 0.01))

    assert ((0, False, "panic"), (0, True, None)) == (inside, outside)


def test_rule_4_never_soon_after_an_addition(scaled):
    """That would be flapping."""
    group = scaled(1)
    group.changed(1000.0, grown=1)

    assert ["grown", None] == [
        rule_for(group, a_load(2, at=1000.0 + at))[2] for at in (STABLE - 0.01, STABLE)
    ]


def test_rule_4_drains_keep_a_distance(scaled):
    """What the last one did must be seen before the next."""
    group = scaled(1)
    group.changed(1000.0)

    assert ["pace", None] == [rule_for(group, a_load(3, at=1000.0 + at))[2] for at in (PANIC - 0.01, PANIC)]


def test_rule_4_never_one_of_the_last_that_take_jobs(scaled):
    """A pool that is cordoned counts, and runs nothing."""
    order, _ = decide(scaled(1), a_load(2, idle=(("io-1", 9.0),)))

    assert (False, "last", "only 1 pools take jobs, and min_pools=1") == (
        order.drain,
        order.rule,
        order.limited_by,
    )


# 5. What did not help


def run_time_of_the_others(group, ended):
    """Let so many attempts have ended, as the next look sees it."""
    meter = group.group.meters[20]
    meter.runs += [0.1] * ended
    group.flow.look(group.group, 911.0, 50, 5.0)


def measure(group, load, *, leaving=False):
    return group.ceiling.measure(load, kills=group.group.kills, leaving=leaving, failing=False)


def an_effect(**known):
    settings = {"pools": 2, "slots": 4, "rate": 40.0, "known": 400, "square": 0.0, "since": 0.0}
    return Effect(**settings | known)


def a_group_that_was_not_helped(scaled, *, kills=False):
    """Return a group that grew from 2 pools to 4 at 900 s and gained nothing, and what was said of it."""
    group = scaled(4, kills=kills)
    busy = {"waiting": 50, "run_time": 0.1, "deviation": 0.01, "in_use": 8}
    window = {"seconds": 10.0, "completions": 400, "run_time": 0.1, "deviation": 0.01, "saturated": True}
    before = a_load(2, at=900.0, panic=Window(**window), stable=Window(**window), **busy | {"in_use": 4})
    group.ceiling.grow_from(before)
    assert measure(group, a_load(4, at=901.0, starting=1, **busy)) is None
    assert measure(group, a_load(4, at=901.0, **busy)) is None
    run_time_of_the_others(group, 400)
    return group, measure(group, a_load(4, at=911.0, **busy))


def test_rule_5_what_did_not_help_is_undone(scaled):
    """More threads for work that holds the interpreter's lock cost, and gain nothing."""
    group, said = a_group_that_was_not_helped(scaled)
    order, _ = decide(group, a_load(4, at=912.0))

    assert "it did not help, and is undone" in said
    assert "ProcessPool" in said
    assert (True, "more than 2 pools did not help") == (order.drain, order.advice.reason)


def test_rule_5_nobody_is_told_to_use_processes_who_does(scaled):
    """Advice that was followed already is noise."""
    assert "ProcessPool" not in a_group_that_was_not_helped(scaled, kills=True)[1]


def test_rule_5_goes_before_the_stabilisation_and_panic(scaled):
    """What does not help is wanted all the more: waiting for that to end would be for ever."""
    group, _ = a_group_that_was_not_helped(scaled)
    group.panic_until = math.inf

    assert (0, True, None) == rule_for(group, a_load(4, at=912.0))


def test_rule_5_is_not_tried_again_for_a_while(scaled):
    """Or it would grow and shrink for ever."""
    group, _ = a_group_that_was_not_helped(scaled)
    order, _ = decide(group, a_load(2, at=912.0))

    assert (0, "effect") == (order.add, order.rule)
    assert "more than 2 pools did not help, and are tried again in 19.00 s" == order.limited_by
    assert (2, False, None) == rule_for(group, a_load(2, at=911.0 + 10 * STABLE))


def test_rule_5_the_while_doubles_up_to_an_hour(scaled, monkeypatch):
    """The same work will not get better for being tried often."""
    waits = []
    group, _ = a_group_that_was_not_helped(scaled)
    monkeypatch.setattr(Effect, "look", lambda *_: Verdict(False, "nothing"))
    for _ in range(10):
        waits.append(group.ceiling.lasts)
        group.ceiling.growth = an_effect()
        measure(group, a_load(4, at=911.0, waiting=1))

    assert [20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 3600.0, 3600.0] == waits


@pytest.mark.parametrize(("helped", "remembered"), [(True, 0.0), (None, 20.0)])
def test_rule_5_success_is_what_makes_it_forget(scaled, monkeypatch, helped, remembered):
    """Work changes; but what could not be measured says nothing."""
    group, _ = a_group_that_was_not_helped(scaled)
    monkeypatch.setattr(Effect, "look", lambda *_: Verdict(helped, "measured"))
    group.ceiling.growth = an_effect()
    said = measure(group, a_load(4, at=911.0, waiting=1))

    assert ("measured", None, remembered) == (said, group.ceiling.growth, group.ceiling.lasts)


def test_rule_5_never_leads_below_the_minimum(scaled):
    """Rule 1 holds for the scheduler too."""
    group, _ = a_group_that_was_not_helped(scaled)

    assert (0, False, None) == rule_for(group, a_load(4, at=912.0, min_pools=4))


def test_what_was_added_with_nobody_waiting_is_not_judged(scaled):
    """A throughput that nothing limits does not rise."""
    group = scaled(3)
    group.ceiling.grow_from(a_load(2))

    assert (None, None) == (group.ceiling.growth, measure(group, a_load(3)))


def test_a_further_addition_begins_the_measuring_anew(scaled):
    """Half of it would be measured without the new pool."""
    group, _ = a_group_that_was_not_helped(scaled)
    group.ceiling.growth = an_effect()
    group.ceiling.grow_from(a_load(3, waiting=5))

    assert math.inf == group.ceiling.growth.since


def test_what_was_worked_off_in_between_is_not_judged(scaled):
    """For a while nobody waited, and then the throughput is what comes in."""
    group, _ = a_group_that_was_not_helped(scaled)
    group.ceiling.growth = an_effect(since=900.0)
    measure(group, a_load(4, at=900.1, waiting=0, run_time=0.1))
    said = measure(group, a_load(4, at=911.0, waiting=9, run_time=0.1))

    assert (True, None) == (said is None or "worked off" in said, group.ceiling.growth)
