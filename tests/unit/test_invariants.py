"""The invariants can fail: each is shown a state that breaks it, and must say so in its own words."""

import re

import pytest

from policies import CircuitBreaker, FairShare
from scheduler import Limit
from scheduler._core.invariants import InvariantBroken, check
from scheduler._core.states import BACKING_OFF, WAITING, PoolState
from scheduler._core.timers import TimerKind


def first_pool(hand):
    return next(iter(hand.core.pools))


def arm_for_settled(hand):
    hand.core.timers.arm(9.0, TimerKind.RUN_TIMEOUT, hand.jobs["done"])


def free_what_runs(hand):
    first_pool(hand).free.append(hand.jobs["runs"].slot)


def count_one_down(hand):
    first_pool(hand).down += 1


def count_one_free(hand):
    hand.core.pools.groups["io"].free += 1


def say_released(hand):
    first_pool(hand).released = True


def say(state):
    def act(hand):
        first_pool(hand).state = state

    return act


def change(job, state):
    def act(hand):
        hand.jobs[job].state = state

    return act


def set_group(**settings):
    def act(hand):
        for name, value in settings.items():
            setattr(hand.core.pools.groups["io"], name, value)

    return act


def shrink_the_queue(hand):
    hand.core.queue.capacity = -1  # two wait, and two places are allowed for what two slots may give back


def forget_the_key(hand):
    hand.core.keys.leave(hand.jobs["keyed"])


def let_both_of_a_key_start(hand):
    hand.submit("next", key="k", on_conflict="replace")
    check(hand.core)
    job = hand.jobs["next"]
    hand.core.timers.disarm(job, TimerKind.DELAY)
    job.state = WAITING
    job.line.push(job)


def wait_behind_a_stranger(hand):
    hand.jobs["keyed"].more().behind = hand.jobs["waits"]


def miscount_the_limit(hand):
    (record,) = [record for record in hand.core.lots.records() if record.held]
    record.held += 1


def tighten_the_limit(hand):
    (record,) = [record for record in hand.core.lots.records() if record.held]
    record.concurrency = 0


def miscount_the_breaker(hand):
    (record,) = hand.core.lots.breakers.values()
    record.failed += 1


def miscount_the_tenant(hand):
    next(share for share in hand.core.shares if share.tenant == "a").running += 1


def misplace_the_tenant(hand):
    hand.core.queue.worst()  # from now on tenants are ranked
    check(hand.core)
    next(share for share in hand.core.shares if share.rank is not None).waiting += 1


def begin_to_work_again(hand):
    hand.core.paused = False


BREAKER = CircuitBreaker(name="theirs")
CASES = [
    ({}, change("later", BACKING_OFF), "I1: job 5 has a timer of"),
    ({}, arm_for_settled, "I1: settled job 1 has an armed timer"),
    ({}, forget_the_key, "I1: a key has forgotten who is alive"),
    ({}, wait_behind_a_stranger, "I1: job 3 waits behind one that is not before it"),
    ({}, let_both_of_a_key_start, "I1: two jobs of key 'k' may run at once"),
    ({}, free_what_runs, "I3: io-1/1 is free and runs job 2"),
    ({}, count_one_down, "I3: io-1 counts 1 slots down, has 0"),
    ({}, count_one_free, "I3: group io counts 1 free slots, has 0"),
    ({}, say(PoolState.STARTING), "I6: io-1 is STARTING with 2 in use"),
    ({}, say(PoolState.QUARANTINED), "I6: io-1 is quarantined for nothing"),
    ({}, say_released, "I6: io-1 is ACCEPTING and may be taken back"),
    ({"paused": True}, begin_to_work_again, "I7: a job waits beside a free slot"),
    ({}, set_group(max_pools=0), "I10: group io has 1 pools"),
    ({}, set_group(slots=3), "I10: io-1 has 2 slots, not 3"),
    ({}, shrink_the_queue, "I11: 2 jobs exceed capacity -1"),
    ({"limits": [Limit(tenant="a", concurrency=9)]}, miscount_the_limit, "I16: tenant 'a' counts 2 holders and has 1"),
    ({"limits": [Limit(tenant="a", concurrency=9)]}, tighten_the_limit, "I16: 1 hold the limit of tenant 'a'"),
    ({"ordering": FairShare()}, misplace_the_tenant, "I8: tenant None has 1 waiting and is ranked by 2"),
    ({"ordering": FairShare()}, miscount_the_tenant, "I8: tenant 'a' has (0, 0, 1) and the account says (0, 1, 1)"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "break_it", "told"), CASES, ids=[told for _, _, told in CASES])
def test_a_broken_invariant_is_named_and_told_in_words(by_hand, group, settings, break_it, told):
    """A check that cannot fail proves nothing about all the cores that pass it."""
    paused = "paused" in settings
    hand = type(by_hand())(
        group("io", slots=2), **{key: settings[key] for key in settings if key != "paused"}
    )  # by_hand itself would check what is broken
    hand.submit("done")
    hand.finish("done")
    hand.core.paused = paused
    hand.submit("runs", tenant="a")
    hand.submit("keyed", key="k")
    hand.submit("waits")
    hand.submit("later", delay=9.0)
    check(hand.core)
    break_it(hand)

    with pytest.raises(InvariantBroken, match=re.escape(told)):
        check(hand.core)
