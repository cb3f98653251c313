"""Calls that ignore their limits: when their pool is taken out of routing, what replaces it, and how it goes."""

import math

import pytest

from policies import CallerRuns, FixedBackoff


@pytest.fixture
def hang(by_hand, group):
    """Make a core whose group has four slots and a grace of 2 s, and let some calls outlive their limit of 1 s."""

    def make(stuck=0, **settings):
        pools = settings.pop("pools", 1)
        hand = by_hand(group("io", **{"slots": 4, "stuck_after": 2.0} | settings), pools=pools)
        for number in range(stuck):
            hand.submit(f"hangs {number}", run_timeout=1.0)
        hand.advance(1.0)
        hand.advance(2.0)
        return hand

    return make


def states(hand):
    return {pool.pool_id: pool.state.name for pool in hand.core.pools}


def capacity(hand):
    return hand.core.pools.groups["io"].capacity_pools()


def test_a_pool_is_quarantined_when_too_few_of_its_slots_are_left(hang):
    """With stuck_share=0.5, two of four left are enough, one is not."""
    assert [{"io-1": "ACCEPTING"}, {"io-1": "QUARANTINED", "io-2": "STARTING"}] == [
        states(hang(2)),
        states(hang(3)),
    ]


def test_a_pool_that_somebody_cordoned_comes_back_from_quarantine_cordoned(hang):
    """An operator's word holds until the operator takes it back, whatever hung meanwhile."""
    hand = hang(replacements_max=0)
    for number in range(4):
        hand.submit(f"{number}", run_timeout=1.0)
    hand.core.cordon(hand.pool("io-1"), hand.now)
    hand.advance(1.0)
    hand.advance(2.0)
    quarantined = states(hand)
    for number in range(4):
        hand.finish(f"{number}")

    assert ({"io-1": "QUARANTINED"}, {"io-1": "CORDONED"}) == (quarantined, states(hand))


@pytest.mark.parametrize(("share", "stuck", "state"), [(1.0, 1, "QUARANTINED"), (0.0, 4, "ACCEPTING")])
def test_the_share_is_the_users(hang, share, stuck, state):
    """From "one that hangs is too many" to "never"."""
    assert state == states(hang(stuck, stuck_share=share))["io-1"]


def test_a_call_is_stuck_only_after_the_grace(hang):
    """Whoever polls its token every second is not stuck, only slow."""
    hand = hang()
    for number in range(4):
        hand.submit(f"{number}", run_timeout=1.0)
    hand.advance(1.0)
    hand.advance(1.99)
    for number in range(4):
        hand.finish(f"{number}")
    hand.advance(1.0)

    assert ({"io-1": "ACCEPTING"}, 0, math.inf) == (
        states(hand),
        hand.pool("io-1").stuck,
        hand.core.next_deadline(),
    )


def test_without_a_grace_nothing_is_ever_stuck(hang):
    """stuck_after=None is for work that is known to be slow to stop."""
    hand = hang(4, stuck_after=None)
    hand.advance(1e6)

    assert ({"io-1": "ACCEPTING"}, math.inf) == (states(hand), hand.core.next_deadline())


def test_pools_that_can_kill_are_never_quarantined(hang):
    """There is nothing to wait for: the worker is killed and replaced."""
    assert {"io-1": "ACCEPTING"} == states(hang(4, kills=True))


def test_an_attempt_that_returned_and_another_that_hangs_are_not_confused(hang):
    """The grace of the first must not end that of the second in the same slot."""
    hand = hang(slots=1)
    hand.submit("a", run_timeout=1.0)
    hand.advance(1.0)
    hand.finish("a")
    hand.submit("b", run_timeout=1.0)
    hand.advance(1.0)
    hand.advance(1.5)  # the grace of a

    assert ("ACCEPTING", 0) == (states(hand)["io-1"], hand.pool("io-1").stuck)


def test_a_retried_job_is_stuck_where_it_hangs_and_runs_elsewhere(hang):
    """The job goes on; the worker does not."""
    hand = hang(slots=1, pools=2)
    hand.submit("a", run_timeout=1.0, retry=FixedBackoff(delay=0.0))
    hand.advance(1.0)
    hand.advance(0.0)
    hand.finish("a", attempt=2)
    hand.advance(2.0)

    assert ("SUCCEEDED", 1) == (hand.state("a"), len(hand.told("PoolQuarantined")))


def test_stuck_slots_are_counted_and_told(hang):
    """Abandoned capacity is a statistic and an event, never forgotten."""
    hand = hang(3)
    (pool, _) = hand.statistics().pools
    (told,) = hand.told("PoolQuarantined")

    assert (3, 3, 3, ("io-1", 3, 4, "io-2")) == (
        pool.stuck,
        pool.overdue,
        len(hand.told("WorkerStuck")),
        (told.pool, told.stuck, told.slots, told.replacement),
    )


def test_a_quarantined_pool_starts_nothing(hang):
    """I6: its free slot is as good as any, and is not to be trusted."""
    hand = hang(3)
    hand.submit("a")
    before = hand.state("a")
    hand.up("io-2")

    assert ("WAITING", ("a", 1, "io-2/1")) == (before, hand.started[-1])


def test_a_replacement_is_outside_of_the_maximum(hang):
    """Or a group at its maximum could never be helped."""
    hand = hang(3, max_pools=1)

    assert (1, {"io-1": "QUARANTINED", "io-2": "STARTING"}) == (capacity(hand), states(hand))


def test_the_pool_drains_when_the_last_stuck_call_has_returned(hang):
    """Two still hang: it would be quarantined again at once."""
    hand = hang(3)
    seen = []
    for number in range(3):
        hand.finish(f"hangs {number}")
        seen.append(states(hand).get("io-1"))

    assert (["QUARANTINED", "QUARANTINED", None], ["io-1"]) == (seen, hand.stopped)


def test_what_else_runs_in_a_released_pool_is_finished(hang):
    """It drains like every pool."""
    hand = hang(slots=4)
    hand.submit("runs on")
    for number in range(3):
        hand.submit(f"{number}", run_timeout=1.0)
    hand.advance(1.0)
    hand.advance(2.0)
    for number in range(3):
        hand.finish(f"{number}")
    draining = states(hand)["io-1"]
    hand.finish("runs on", value=7)

    assert ("DRAINING", 7, ["io-1"]) == (draining, hand.jobs["runs on"].outcome, hand.stopped)


def test_a_pool_that_was_cordoned_is_quarantined_too(hang):
    """Whoever uncordons it later would find it full of calls that hang."""
    hand = hang(slots=1)
    hand.submit("a", run_timeout=1.0)
    hand.tell("cordon", hand.pool("io-1"))
    hand.advance(1.0)
    hand.advance(2.0)

    assert "QUARANTINED" == states(hand)["io-1"]


def a_wave(hand, *names):
    """Let every accepting pool of one slot hang."""
    for name in names:
        hand.submit(name, run_timeout=1.0)
    hand.advance(1.0)
    hand.advance(2.0)


def hung_beyond_the_cap(hang, cap=1):
    """Two pools of one slot, one after the other, with `cap` replacements allowed at a time."""
    hand = hang(slots=1, replacements_max=cap)
    a_wave(hand, "first")
    for pool_id in list(hand.opening):
        hand.up(pool_id)
        a_wave(hand, "second")
    return hand


def test_no_more_than_the_cap_are_replaced(hang):
    """Or calls that hang would eat the machine, pool by pool."""
    hand = hung_beyond_the_cap(hang)
    (first, second) = hand.core.pools.groups["io"].decisions

    assert ({"io-1": "QUARANTINED", "io-2": "QUARANTINED"}, 1) == (states(hand), capacity(hand))
    assert (("replace", None), ("hold", "1 pools are replaced and replacements_max=1")) == (
        (first.action, first.limited_by),
        (second.action, second.limited_by),
    )


def test_a_pool_that_nothing_would_replace_keeps_its_last_slots(hang):
    """Few slots are better than none: beyond the cap, jobs go on in what is left until nothing is."""
    hand = hang(3, replacements_max=0)
    kept = states(hand)
    answer = hand.submit("goes on")
    hand.finish("goes on")
    hand.submit("the last", run_timeout=1.0)
    hand.advance(1.0)
    hand.advance(2.0)

    assert ({"io-1": "ACCEPTING"}, {"io-1": "QUARANTINED"}) == (kept, states(hand))
    assert "io-1" == answer.pool_id


def test_what_was_beyond_the_cap_is_replaced_when_another_returns(hang):
    """The group had one pool before it all, and has one again."""
    hand = hung_beyond_the_cap(hang)
    hand.submit("waits")
    hand.finish("first")

    assert (["io-3"], 1) == (hand.opening, capacity(hand))
    hand.up("io-3")
    assert ("waits", 1, "io-3/1") == hand.started[-1]
    told = [decision.action for decision in hand.core.pools.groups["io"].decisions]
    assert ["replace", "hold", "replace"] == told[:3]


@pytest.mark.parametrize("cap", [0, 1])
def test_a_pool_that_nothing_replaced_is_taken_back_when_nothing_in_it_is_stuck(hang, cap):
    """A fixed group once lost its only pool that way, and its jobs waited for ever."""
    hand = hung_beyond_the_cap(hang, cap)
    hand.submit("waits")
    hand.finish("second" if cap else "first")

    assert ("RUNNING", 1) == (hand.state("waits"), capacity(hand))


def test_no_pool_is_lost_by_a_quarantine_while_the_scheduler_closes(hang):
    """Closing finishes what waits, and needs pools to do it."""
    hand = hang(slots=1)
    hand.submit("hangs", run_timeout=1.0)
    hand.submit("waits")
    hand.core.stop_scaling()
    hand.advance(1.0)
    hand.advance(2.0)
    hand.up("io-2")

    assert "RUNNING" == hand.state("waits")


def test_a_pool_that_drains_is_not_quarantined(hang):
    """It is on its way out, and replacing it would add a pool that nobody asked for."""
    hand = hang(slots=1, pools=2)
    hand.submit("a", run_timeout=1.0)
    hand.tell("drain", hand.pool("io-1"))
    hand.advance(1.0)
    hand.advance(2.0)

    assert ({"io-1": "DRAINING", "io-2": "ACCEPTING"}, []) == (states(hand), hand.opening)


def test_a_user_may_drain_a_quarantined_pool(hang):
    """Whoever has found the bug wants it gone, not released."""
    hand = hang(3)
    hand.tell("drain", hand.pool("io-1"))
    for number in range(3):
        hand.finish(f"hangs {number}")

    assert (["io-1"], ["io-2"]) == (hand.stopped, hand.opening)


def test_the_submitters_own_thread_is_never_quarantined(by_hand, group):
    """It is nobody's pool."""
    hand = by_hand(group("io", stuck_after=1.0), capacity=1, admission=CallerRuns())
    for name in "abc":
        hand.submit(name, run_timeout=1.0)
    hand.advance(1.0)
    hand.advance(1.0)

    assert [("io-1",)] == [(event.pool,) for event in hand.told("PoolQuarantined")]


# After a torn turn


def test_mending_watches_again_whom_a_torn_turn_forgot(hang):
    """A call that nobody watches hangs unseen for ever."""
    hand = hang(slots=1)
    hand.submit("a", run_timeout=1.0)
    hand.advance(1.0)
    hand.core.overdue.clear()  # as if the turn had been torn between two steps
    hand.core.mend()
    hand.take()
    hand.advance(2.0)

    assert "QUARANTINED" == states(hand)["io-1"]


def test_mending_forgets_a_stuck_call_that_has_returned(hang):
    """Its slot is free again, and the pool would never be released."""
    hand = hang(slots=1, pools=1)
    hand.submit("a", run_timeout=1.0)
    hand.advance(1.0)
    hand.advance(2.0)
    hand.calls["a", 1].job = None
    hand.core.mend()
    hand.take()

    assert ["io-1"] == hand.stopped


def test_mending_quarantines_whom_a_torn_turn_only_marked(hang):
    """The mark and the move are two steps."""
    hand = hang(slots=1)
    hand.submit("a", run_timeout=1.0)
    hand.advance(1.0)
    hand.calls["a", 1].stuck = True
    hand.core.mend()
    hand.take()

    assert {"io-1": "QUARANTINED", "io-2": "STARTING"} == states(hand)


def test_a_stuck_call_whose_callbacks_run_still_holds_its_quarantine(hang):
    """With check_invariants=True a done-callback of a job that had been stuck was told that I6 is broken."""
    hand = hang(slots=1)
    hand.submit("hangs", run_timeout=1.0)
    hand.advance(1.0)
    hand.advance(2.0)
    slot = hand.calls["hangs", 1]
    hand.core.finish(slot, None, None, hand.now)
    slot.held = True
    hand.take()
    held = states(hand)["io-1"]
    slot.held = False
    hand.core.refill(slot, hand.now)
    hand.take()

    assert ("QUARANTINED", ["io-1"]) == (held, hand.stopped)
