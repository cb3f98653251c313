"""Looking at groups and changing them: when somebody looks, what is done, and what is left behind for the driver."""

import itertools
import math
import sys

import pytest

from policies import FixedBackoff, FixedPools, Pack, QueueDelay
from policies.contracts import Advice
from pools import ThreadPool
from scheduler import PoolGroup
from scheduler._core.elastic import QUIET
from scheduler._core.events import ScalingDecided
from scheduler._core.invariants import check
from scheduler._core.lulls import SHOWN
from scheduler.simulation import Simulator


@pytest.fixture
def elastic(by_hand, group, says):
    """Make a core with one group of two slots a pool that scales as the test says; `says` is its policy."""

    def make(wanted=None, *, pools=1, capacity=100, observed=True, **settings):
        policy = settings.pop("policy", None) or says(wanted)
        known = {"slots": 2, "max_pools": 9, "scaling": policy}
        hand = by_hand(
            group("io", **known | settings), pools=pools, routing=Pack(), capacity=capacity, observed=observed
        )
        hand.says = policy
        hand.scaled = hand.core.scaled.get("io")
        return hand

    return make


def look(hand, times=1):
    """Let time pass until somebody has looked."""
    for _ in range(times):
        when = hand.core.next_deadline()
        assert when < math.inf, "nobody looks any more"
        hand.advance(when - hand.now)


def until_rest(hand, most=2000):
    """Let time pass until nothing is due any more; return how often something was."""
    for turn in range(most):
        when = hand.core.next_deadline()
        if when == math.inf:
            return turn
        hand.advance(when - hand.now)
    raise AssertionError("it never comes to rest")


def busy(hand, count=2):
    """Let jobs run, so that somebody looks."""
    for number in range(count):
        hand.submit(f"busy {hand.now} {number}")


def states(hand):
    return {pool.pool_id: pool.state.name for pool in hand.core.pools}


def actions(hand, group="io"):
    return [decision.action for decision in hand.core.pools.groups[group].decisions]


# When somebody looks


def test_a_group_at_rest_arms_no_timer(elastic):
    """A process that does nothing should not wake up twenty times a second."""
    assert (True, math.inf) == (elastic(5).core.dozing, elastic(5).core.next_deadline())


@pytest.mark.parametrize("options", [{}, {"deadline": 99.0}])
def test_a_job_wakes_it(elastic, options):
    """A job that starts at once may be the first of ten thousand."""
    hand = elastic()
    hand.submit("a", **options)

    assert (False, True) == (hand.core.dozing, hand.core.next_look() < 1.0)


def test_a_delayed_job_wakes_it_when_it_is_due_and_not_before(elastic):
    """Until then there is nothing to see."""
    hand = elastic()
    hand.submit("a", delay=60.0)
    until_rest_of_submit = hand.core.next_look()
    while hand.core.next_look() < math.inf:
        look(hand)
    hand.advance(60.0 - hand.now)

    assert until_rest_of_submit < 60.0 <= hand.core.next_look() < math.inf


def test_a_retry_wakes_it(elastic):
    """It backs off for an hour, and then there is load."""
    hand = elastic()
    hand.submit("a", retry=FixedBackoff(delay=3600.0))
    hand.finish("a", OSError())
    while hand.core.next_look() < math.inf:
        look(hand)
    hand.advance(3600.0)

    assert hand.core.next_look() < math.inf


def test_a_job_let_in_from_the_door_wakes_it(elastic, group, says, by_hand):
    """It was submitted long before, and nobody looked at it while it stood there."""
    hand = by_hand(group("io"), group("cpu", scaling=says(), max_pools=2), capacity=1)
    hand.submit("runs", tags={"io"})
    hand.submit("fills the queue", tags={"io"})
    hand.tell("cordon", hand.pool("cpu-1"))
    hand.submit("at the door", tags={"cpu"})
    while hand.core.next_look() < math.inf:
        look(hand)
    hand.finish("runs")

    assert ("WAITING", True) == (hand.state("at the door"), hand.core.next_look() < math.inf)


def test_a_job_that_is_taken_back_wakes_it(by_hand, group, says):
    """It returns to its line by no submit, and would wait there unseen."""
    cpu = group("cpu", announces=True, prefetch=4)
    hand = by_hand(cpu, group("io", scaling=says(), max_pools=2), pools=0)
    pool = hand.core.make_pool(hand.core.pools.groups["cpu"], 0.0)
    hand.core.add_pool(pool, 0.0)
    slot = pool.all_slots[0]
    hand.tell("ready", slot, "cpu-1/1")
    hand.submit("runs")
    hand.submit("ahead")
    hand.core.fill(slot, 2, 0.0)
    while hand.core.next_look() < math.inf:
        hand.advance(1.0)
        if hand.core.next_look() < math.inf and not list(hand.core.queue):
            hand.core.scaling_rests = True  # a minimum that is not there keeps it awake
            break
    hand.core.doze_if_all_rest()
    hand.tell("take_back", slot, [hand.jobs["ahead"]])

    assert hand.core.next_look() < math.inf


def test_it_looks_as_long_as_something_runs(elastic):
    """The jobs that run now may be followed by others."""
    hand = elastic()
    hand.submit("a")
    look(hand, 50)
    hand.finish("a")

    assert until_rest(hand) < 5


def test_a_policy_that_never_drains_does_not_tick_for_ever(elastic):
    """More than the minimum is kept by many policies, on purpose or not."""
    hand = elastic(pools=3)
    hand.submit("a")
    hand.finish("a")
    turns = until_rest(hand)

    assert 10 < turns < 400
    assert hand.now >= QUIET * hand.scaled.flow.stable_length


def test_a_policy_that_drains_late_is_given_its_time(elastic):
    """At rest too early, three pools would be paid for all night."""
    hand = elastic(policy=QueueDelay(), pools=3)
    hand.submit("a")
    hand.finish("a")
    until_rest(hand)

    assert ["io-1"] == list(states(hand))


def test_a_call_that_is_stuck_for_ever_does_not_keep_it_awake(elastic):
    """One thread that hangs must not cost twenty looks a second for the rest of the process's life."""
    hand = elastic(stuck_after=1.0, slots=4)
    hand.submit("hangs", run_timeout=1.0)
    hand.advance(1.0)
    hand.advance(1.0)

    assert until_rest(hand) < 5


def test_a_pause_is_not_looked_at(elastic):
    """What waits behind a pause is no load, and a look at it is for nothing."""
    hand = elastic(9)
    hand.tell("pause")
    for number in range(9):
        hand.submit(f"{number}")
    turns = until_rest(hand)
    hand.tell("resume")

    assert (True, [], True) == (turns < 5, hand.opening, hand.core.next_look() < math.inf)


def test_a_pause_is_not_taken_for_a_growth_that_did_not_help(elastic):
    """Nothing ends during a pause; once, that was blamed on the new pool."""
    hand = elastic()
    number = 0
    for _ in range(60):
        for _ in range(4):
            hand.submit(f"{number}", run_timeout=900.0)
            number += 1
        hand.advance(0.05)
        for name, _ in list(hand.calls):
            hand.finish(name)
    hand.says.says = 2
    look(hand, 2)
    hand.says.says = None
    for pool_id in list(hand.opening):
        hand.up(pool_id)
    assert hand.scaled.ceiling.growth is not None
    look(hand, 2)
    hand.tell("pause")
    hand.advance(600.0)
    hand.tell("resume")

    assert hand.scaled.ceiling.growth is None
    look(hand, 3)
    assert hand.scaled.ceiling.pools is None


def test_groups_of_a_fixed_size_cost_nothing(by_hand, group):
    """Who does not scale must not pay for it."""
    hand = by_hand(group("io"))
    hand.submit("a")

    assert ({}, False, math.inf) == (hand.core.scaled, hand.core.dozing, hand.core.next_deadline())


def test_fixed_pools_are_not_even_asked():
    """The policy exists to be written down."""
    assert PoolGroup("io", ThreadPool(slots=1), max_pools=4, scaling=FixedPools()).scales is None


# What is done


def test_pools_are_opened_by_the_driver_and_counted_at_once(elastic):
    """While a pool starts, the next look must not open another for the same jobs."""
    hand = elastic(3)
    busy(hand)
    look(hand, 5)

    assert (["io-2", "io-3"], ["add"]) == (hand.opening, actions(hand))
    assert {"io-1": "ACCEPTING", "io-2": "STARTING", "io-3": "STARTING"} == states(hand)


def test_the_start_up_time_is_measured(elastic):
    """From it come the windows, and the wait after a failure."""
    hand = elastic(2)
    busy(hand)
    look(hand)
    hand.advance(3.0)
    hand.up("io-2")

    assert pytest.approx(3.0, abs=0.1) == hand.scaled.flow.start_up


def drained(elastic, *, run_timeout=900.0, **settings):
    """Return a core that is draining one of its two pools, in which a job runs."""
    hand = elastic(1, pools=2, **settings)
    for number in range(3):
        hand.submit(f"{number}", run_timeout=run_timeout)
    hand.says.pool = hand.calls["2", 1].pool_id
    for number in range(2):
        hand.finish(f"{number}")
    for _ in range(200):
        if "drain" in actions(hand):
            return hand, hand.says.pool
        look(hand)
    raise AssertionError("nothing was drained")


def test_a_pool_that_drains_is_taken_back_before_another_is_opened(elastic):
    """It is warm, and paid for until its last job ends anyway."""
    hand, pool_id = drained(elastic)
    hand.says.says = 3
    look(hand)

    assert ("ACCEPTING", ["io-3"], ["drain", "take back", "add"]) == (
        states(hand)[pool_id],
        hand.opening,
        actions(hand),
    )


def idle_and_drained(elastic):
    """Return a core that has just drained one of its two pools, which runs nothing."""
    hand = elastic(1, pools=2)
    busy(hand, 1)
    for _ in range(200):
        if "DRAINING" in states(hand).values():
            return hand
        look(hand)
    raise AssertionError("nothing was drained")


def test_an_idle_pool_that_drains_is_kept_for_a_stable_window_and_no_longer(elastic):
    """A burst that comes a moment too late must find it warm, and nobody must pay for it for ever."""
    hand = idle_and_drained(elastic)
    began, stable = hand.now, hand.scaled.flow.stable_length
    while len(states(hand)) == 2:
        assert hand.now <= began + stable
        look(hand)

    assert hand.now >= began + stable


def test_an_idle_pool_that_drains_is_taken_back_before_another_is_opened(elastic):
    """It is there, and warm."""
    hand = idle_and_drained(elastic)
    hand.says.says = 2
    look(hand)

    assert ({"ACCEPTING"}, []) == (set(states(hand).values()), hand.opening)


def test_an_idle_pool_that_drains_goes_at_once_when_somebody_drains_it_by_hand(elastic):
    """Whoever takes a pool out waits for it, and not for a load that may return."""
    hand = idle_and_drained(elastic)
    (pool,) = [pool for pool in hand.core.pools if pool.state.name == "DRAINING"]
    hand.tell("keep_no_longer", pool)

    assert [pool.pool_id] == hand.stopped


def test_an_idle_pool_that_drains_goes_at_once_when_the_scheduler_closes(elastic):
    """Closing waits for every pool, and must not wait for one that is only kept."""
    hand = idle_and_drained(elastic)
    hand.core.stop_scaling()
    hand.take()

    assert 1 == len(hand.stopped)


def test_a_pool_that_a_user_drains_is_not_taken_back(elastic):
    """drain_pool() waits for it to go, and would wait for ever."""
    hand = elastic(2, pools=2)
    hand.submit("a")
    used = hand.calls["a", 1].pool_id
    hand.tell("drain", hand.pool(used))
    look(hand)

    assert ("DRAINING", ["io-3"]) == (states(hand)[used], hand.opening)


def test_a_pool_that_was_taken_back_and_is_then_drained_by_a_user_stays_so(elastic):
    """What was allowed once is not allowed for good."""
    hand, pool_id = drained(elastic)
    hand.says.says = 2
    look(hand)
    hand.tell("drain", hand.pool(pool_id))
    look(hand)

    assert ("DRAINING", ["io-3"]) == (states(hand)[pool_id], hand.opening)


def test_a_pool_that_broke_while_it_drained_is_not_taken_back(elastic):
    """It can run nothing any more, and every job given to it would fail."""
    hand, pool_id = drained(elastic)
    hand.fails(pool_id)
    hand.says.says = 2
    look(hand)

    assert ("DRAINING", ["io-3"]) == (states(hand)[pool_id], hand.opening)


def test_a_pool_that_drains_with_a_stuck_call_is_not_waited_for(elastic):
    """It may never go; once, no pool was drained after that any more."""
    hand, pool_id = drained(elastic, run_timeout=5.0, stuck_after=1.0)
    hand.advance(max(0.0, 5.0 - hand.now))
    hand.advance(1.0)
    hand.submit("keeps it awake", run_timeout=9e9)
    hand.says.says = 3
    look(hand)
    seen = states(hand)[pool_id]
    for other in list(hand.opening):
        hand.up(other)
    hand.says.says, hand.says.pool = 1, None
    for _ in range(400):
        look(hand)

    assert ("DRAINING", 3) == (seen, actions(hand).count("drain"))


def test_a_decision_keeps_what_the_policy_saw_computed_and_said(elastic):
    """A record without its inputs and its formula cannot be checked by whoever doubts it."""
    hand = elastic(Advice(pools=7, reason="jobs wait", formula="13 ÷ 2 a pool"), max_pools=3)
    busy(hand, 3)
    look(hand)
    decision = hand.core.pools.groups["io"].decisions[-1]

    assert ("add", 1, 7) == (decision.action, decision.before, decision.wanted)
    assert ("jobs wait", "13 ÷ 2 a pool", "max_pools=3") == (
        decision.reason,
        decision.formula,
        decision.limited_by,
    )
    assert (1, 1, ((20, 1),), 2) == (
        decision.load.pools,
        decision.load.waiting,
        decision.load.waiting_by_priority,
        decision.load.in_use,
    )
    assert 0 < hand.now == decision.load.oldest_wait == decision.time
    told = next(event for event in hand.events if isinstance(event, ScalingDecided))
    assert (decision.group, decision.formula, decision.candidates, decision.load) == (
        told.group,
        told.formula,
        told.candidates,
        told.load,
    )
    assert "computed: 13 ÷ 2 a pool" in str(hand.core.explain(hand.core.pools.groups["io"], hand.now))


def test_a_drain_names_every_pool_that_could_have_gone(elastic):
    """Why this one, is the first question."""
    hand, pool_id = drained(elastic)
    decision = hand.core.pools.groups["io"].decisions[-1]

    assert (("io-1", "io-2"), (pool_id,)) == (
        tuple(pool for pool, _, _ in decision.candidates),
        decision.pools,
    )


def test_the_least_busy_pool_goes_and_of_those_the_newest(elastic):
    """The oldest is the warmest."""
    hand = elastic(2, pools=3)
    hand.submit("a")
    while "drain" not in actions(hand):
        look(hand)

    assert ("io-3",) == hand.core.pools.groups["io"].decisions[-1].pools


def test_a_rule_that_keeps_something_from_happening_is_told_once(elastic):
    """Twenty times a second would push everything else out of the record."""
    hand = elastic(0)
    busy(hand)
    look(hand, 50)

    assert (["hold"], "min_pools=1", 1) == (
        actions(hand),
        hand.core.pools.groups["io"].decisions[-1].limited_by,
        len(hand.told("ScalingDecided")),
    )


def test_an_addition_says_what_kept_it_from_being_larger(elastic):
    """Nine were wanted, and four may come at once."""
    hand = elastic(12)
    busy(hand)
    look(hand, 20)
    first, second = hand.core.pools.groups["io"].decisions

    assert (4, 4) == (len(first.pools), len(second.pools))
    assert ("at most 4 more pools within 0.20 s", "max_pools=9") == (first.limited_by, second.limited_by)


def test_a_failing_policy_is_told_and_the_group_stays_as_it_is(elastic):
    """Its bug is its author's; the jobs are everybody's."""
    hand = elastic(RuntimeError("it raised"))
    busy(hand)
    look(hand, 3)

    assert (["scaling"] * 3, {"io-1": "ACCEPTING"}) == (hand.policy_failures, states(hand))


def test_of_two_groups_that_could_help_the_first_that_may_grows(by_hand, group, says):
    """Both would grow for the same jobs."""
    first = group("a", slots=1, tags=frozenset({"x"}), scaling=QueueDelay(), max_pools=2)
    second = group("b", slots=1, tags=frozenset({"x"}), scaling=QueueDelay(), max_pools=3)
    hand = by_hand(first, second)
    for number in range(20):
        hand.submit(f"{number}", tags={"x"})
    while not hand.opening:
        look(hand)
    look(hand, 20)  # "a" is as large as it may be, but not up yet
    only_first = list(hand.opening)
    hand.up("a-2")
    while not hand.opening:
        look(hand)

    assert (["a-2"], "b") == (only_first, hand.opening[0][0])


def test_a_wish_of_one_look_keeps_its_pools_as_long_as_any_other(elastic):
    """A policy that wavers would open and drain in turn: it is what was wanted that counts, not what there was."""
    hand = elastic(3)
    busy(hand)
    look(hand)
    hand.says.says = 1
    for pool_id in list(hand.opening):
        hand.up(pool_id)
    since = hand.now
    while "drain" not in actions(hand):
        look(hand)

    assert hand.now - since >= SHOWN * hand.scaled.flow.stable_length


def test_what_was_taken_back_is_measured_too(elastic):
    """Written beside an older addition, the effect would explain the wrong one."""
    hand, _ = drained(elastic)
    hand.says.says = 2
    look(hand)
    hand.core._measured(hand.scaled, "it helped", hand.now)

    assert ["it helped"] == [
        d.effect for d in hand.core.pools.groups["io"].decisions if d.action == "take back"
    ]
    assert ["it helped"] == [event.effect for event in hand.told("ScalingMeasured")] or hand.take() is None


# Pools that do not start


def test_a_pool_that_fails_to_start_is_tried_again_later_and_later(elastic):
    """A recipe that is broken must not keep the machine busy."""
    hand = elastic(2)
    busy(hand)
    moments = []
    for _ in range(4):
        while not hand.opening:
            look(hand)
        moments.append(hand.now)
        hand.fails(hand.opening[0])
    waits = [later - earlier for earlier, later in itertools.pairwise(moments)]

    assert [pytest.approx(seconds, abs=0.2) for seconds in (1.0, 2.0, 4.0)] == waits
    assert (
        "pools failed to start 3 times in a row"
        in [d for d in hand.core.pools.groups["io"].decisions if d.action == "hold"][-1].limited_by
    )


def test_a_pool_that_breaks_with_its_first_call_counts_as_one_that_failed_to_start(elastic):
    """Threads hear of a broken initializer only then; once, a pool was opened and broken at every look."""
    hand = elastic(1)
    moments = []
    for _ in range(4):
        hand.fails(next(iter(states(hand))))
        while not hand.opening:
            look(hand)
        moments.append(hand.now)
        hand.up(hand.opening[0])
    waits = [later - earlier for earlier, later in itertools.pairwise(moments)]

    assert [pytest.approx(seconds, abs=0.2) for seconds in (2.0, 4.0, 8.0)] == waits


def test_a_group_that_lost_its_last_pool_gets_another_without_a_job(elastic):
    """min_pools= is a promise that does not wait for somebody to ask."""
    hand = elastic()
    hand.fails("io-1")
    while not hand.opening:
        look(hand)
    hand.up("io-2")
    hand.submit("a")

    assert ("RUNNING", 1.0) == (hand.state("a"), pytest.approx(hand.pool("io-2").started_at, abs=0.1))


def test_a_group_without_a_pool_sleeps_until_it_may_open_one(elastic):
    """There is nothing else to look at."""
    hand = elastic()
    looks = []
    for _ in range(6):
        hand.fails(next(iter(states(hand))))
        looks.append(0)
        while not hand.opening:
            look(hand)
            looks[-1] += 1

    assert (6, True) == (len(looks), max(looks) < 5)


# After a torn turn


class TornError(KeyboardInterrupt):
    """Ctrl-C, told from one of the person at the keyboard."""


def every_step(act):
    """Call `act` again and again, torn one step later each time; yield after each of them that was torn.

    A step is where an interrupt can come: when a function begins, and after one of C has returned.
    """
    for step in range(10_000):
        left = step

        def tear(frame, event, _argument):
            nonlocal left
            code = frame.f_code
            if event == "call" and ("_core" not in code.co_filename or code.co_name == "<genexpr>"):
                return
            if event in ("call", "c_return"):
                left -= 1
                if left < 0:
                    sys.setprofile(None)
                    raise TornError

        hand, stimulus = act()
        sys.setprofile(tear)
        try:
            stimulus()
        except TornError:
            sys.setprofile(None)
            yield hand
        else:
            sys.setprofile(None)
            return
        finally:
            sys.setprofile(None)


def whole(hand):
    """Mend, as the driver does, and look whether every pool that starts will be opened."""
    hand.core.mend()
    starting = {pool for pool in hand.core.pools if pool.state.name == "STARTING"}
    asked = list(hand.core.left.opens)
    assert len(asked) == len(set(asked))
    assert starting == set(asked)
    check(hand.core)
    hand.take()


def test_a_torn_addition_leaves_no_pool_that_nobody_opens(elastic):
    """It would start for ever, count as capacity, and keep every other pool from being drained."""

    def act():
        hand = elastic(3)
        busy(hand)
        hand.now = hand.core.next_deadline()
        return hand, lambda: hand.core.advance(hand.now)

    torn = 0
    for hand in every_step(act):
        torn += 1
        whole(hand)
        for _ in range(100):
            if len(states(hand)) == 3:
                break
            look(hand)
        assert 3 == len(states(hand))
    assert torn > 50


def test_a_torn_removal_is_whole_or_has_not_happened(elastic):
    """Half drained, a pool would neither take jobs nor go."""

    def act():
        hand = elastic(1, pools=2)
        hand.submit("a")
        hand.now = hand.core.next_deadline()
        return hand, lambda: hand.core.advance(hand.now)

    torn = 0
    for hand in every_step(act):
        torn += 1
        whole(hand)
        for _ in range(100):
            if 1 == len(states(hand)):
                break
            look(hand)
        assert {"io-1": "ACCEPTING"} == states(hand)
    assert torn > 50


def test_a_torn_quarantine_is_made_good(elastic):
    """The mark, the move and the replacement are three steps, and a pool must not be lost between them."""

    def act():
        hand = elastic(slots=1, stuck_after=1.0)
        hand.submit("hangs", run_timeout=1.0)
        hand.advance(1.0)
        hand.now = 2.0
        return hand, lambda: hand.core.find_stuck(2.0)

    torn = 0
    for hand in every_step(act):
        torn += 1
        whole(hand)
        hand.advance(1.0)  # whoever was not marked yet is watched anew
        assert ["QUARANTINED", "STARTING"] == list(
            states(hand).values()
        )  # one id may be lost, and is not used again
        assert 1 == hand.core.pools.groups["io"].capacity_pools()
    assert torn > 10


def test_a_torn_release_is_made_good(elastic):
    """The last stuck call returns only once."""

    def act():
        hand = elastic(slots=1, stuck_after=1.0, replacements_max=0)
        hand.submit("hangs", run_timeout=1.0)
        hand.advance(1.0)
        hand.advance(1.0)
        slot = hand.calls.pop(("hangs", 1))
        hand.core.finish(slot, None, None, hand.now)
        return hand, lambda: hand.core.refill(slot, hand.now)

    for hand in every_step(act):
        whole(hand)
        assert ["ACCEPTING"] == list(states(hand).values())


def test_mending_makes_it_look_again(elastic):
    """A torn turn may have torn the sleep as well."""
    hand = elastic()
    busy(hand)
    hand.scaled.due = math.inf
    hand.core.mend()

    assert hand.core.next_look() < math.inf


def test_closing_ends_the_scaling_and_nothing_else(elastic):
    """What was begun is finished: a pool that starts may be the one that what waits needs."""
    hand = elastic(3)
    busy(hand, 5)
    look(hand)
    hand.core.stop_scaling()
    hand.up("io-2")
    hand.up("io-3")

    assert (["io-1", "io-2", "io-3"], math.inf) == (list(states(hand)), hand.core.next_deadline())
    assert 5 == len(hand.started)


def test_a_pool_whose_worker_is_up_ends_a_row_of_failures(elastic):
    """Of processes one hears at once that they run, and the next failure is the first of another row."""
    hand = elastic(2, announces=True, pools=0)
    hand.core.look_anew(0.0)
    while not hand.opening:
        look(hand)
    hand.fails(hand.opening[0])
    before = hand.scaled.failures
    while not hand.opening:
        look(hand)
    hand.tell("ready", hand.pool(hand.opening[0]).all_slots[0], "io-2/1")

    assert (1, 0) == (before, hand.scaled.failures)


def test_nothing_needs_an_observer(elastic):
    """Events are made only while somebody listens; all else must not depend on it."""
    hand = elastic(2, slots=1, stuck_after=1.0, observed=False)
    hand.submit("hangs", run_timeout=1.0)
    look(hand)
    hand.up("io-2")
    hand.advance(max(0.0, 1.0 - hand.now))
    hand.advance(1.0)

    assert ({"io-1": "QUARANTINED", "io-2": "ACCEPTING", "io-3": "STARTING"}, []) == (
        states(hand),
        hand.events,
    )


def test_work_that_gains_nothing_from_more_slots_keeps_what_it_has():
    """Python that computes on threads: the growth is tried, measured, undone, and not tried again soon."""
    sim = Simulator(
        PoolGroup("io", ThreadPool(slots=2), max_pools=4), slowdown=lambda running: max(1.0, running / 2)
    )
    sim.source((number / 120, 0.02) for number in range(120 * 60))
    sim.run(until=60.0)
    decisions = sim.explain("io").decisions
    verdicts = [decision.effect for decision in decisions if decision.effect]

    assert verdicts
    assert all("it did not help, and is undone" in verdict for verdict in verdicts)
    assert "did not help, and are tried again" in decisions[-1].limited_by
    assert 1 == len(sim.pools())


def test_a_pause_in_the_middle_of_the_load_ends_the_looks(elastic):
    """Jobs that wait for `resume` are no reason to open pools."""
    hand = elastic(9)
    busy(hand, 5)
    hand.tell("pause")
    turns = until_rest(hand)

    assert (True, []) == (turns < 5, hand.opening)


def test_a_job_ends_the_quiet(elastic):
    """Counted from the last night, the patience with a policy that drains late would be over at once."""
    hand = elastic(pools=3)
    hand.submit("a")
    hand.finish("a")
    until_rest(hand)
    hand.submit("b")
    hand.finish("b")

    assert until_rest(hand) > 10


def test_the_distance_between_drains_is_told_once_and_not_between_all_of_them(elastic):
    """What it forbids happens at one of the next looks; that it was not allowed at once is part of the record."""
    hand = elastic(1, pools=4)
    hand.submit("a")
    while len(states(hand)) > 1:
        look(hand)

    assert ["drain", "hold", "drain", "drain"] == actions(hand)
    assert "one pool within 0.20 s" == hand.core.pools.groups["io"].decisions[1].limited_by


def test_a_pool_that_was_used_between_two_looks_was_not_idle(elastic):
    """Short jobs are over before anybody looks."""
    hand = elastic(pools=2)
    hand.submit("keeps it awake")
    hand.submit("fills its pool")
    look(hand, 5)
    hand.submit("short")
    used = hand.calls["short", 1].pool
    hand.finish("short")
    look(hand)

    assert (0, hand.now) == (used.in_use, used.idle_since)


def test_a_call_that_was_stuck_and_returns_wakes_it(by_hand, group, says):
    """It slept because what is stuck may stay for ever; the pool that is one too many would have stayed as long."""
    hand = by_hand(group("io", scaling=says(1), max_pools=3, stuck_after=1.0, stuck_share=0.0), pools=3)
    hand.submit("hangs", run_timeout=1.0)
    while hand.core.next_deadline() < math.inf:
        hand.advance(max(0.0, hand.core.next_deadline() - hand.now))
    asleep = hand.core.next_look() == math.inf
    hand.finish("hangs")

    assert (True, True) == (asleep, hand.core.next_look() < math.inf)
