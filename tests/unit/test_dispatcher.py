"""The dispatcher: which job for a slot, which slot for a job, bound only when a slot is free."""

import math

import attrs
import pytest

from policies import Aging, FixedBackoff, LeastLoaded, Pack


def test_a_job_starts_at_once_when_a_slot_is_free(by_hand):
    """Nobody waits beside a free worker."""
    hand = by_hand()
    hand.submit("a")

    assert [("a", 1, "io-1/1")] == hand.started


def test_a_freed_slot_takes_the_most_urgent_job(by_hand):
    """The order of the queue is the order of starts."""
    hand = by_hand()
    for name, priority in (("running", 20), ("normal", 20), ("bulk", 40), ("high", 10)):
        hand.submit(name, priority=priority)
    for name in ("running", "high", "normal"):
        hand.finish(name)

    assert ["running", "high", "normal", "bulk"] == hand.names


def test_equal_priorities_start_in_order_of_arrival(by_hand):
    """Fairness among equals is arrival."""
    hand = by_hand()
    for name in "abcd":
        hand.submit(name)
    for name in "abc":
        hand.finish(name)

    assert list("abcd") == hand.names


def test_ageing_lets_waiting_make_up_for_priority(by_hand):
    """A job at LOW starts in the end, however many at HIGH arrive."""
    hand = by_hand(ordering=Aging(seconds_per_level=1.0))
    hand.submit("running")
    hand.submit("low", priority=30)
    hand.now = 19.0
    hand.submit("high in time", priority=10)
    hand.now = 21.0
    hand.submit("high too late", priority=10)
    for name in ("running", "high in time", "low"):
        hand.finish(name)

    assert ["running", "high in time", "low", "high too late"] == hand.names


def test_a_full_group_does_not_block_another(by_hand, group):
    """One queue in front of two pools is worth having only if neither waits for the other."""
    hand = by_hand(group("io"), group("cpu", dedicated=True))
    for name, tag in (("a", "cpu"), ("b", "cpu"), ("c", "io")):
        hand.submit(name, tags={tag})

    assert [("a", 1, "cpu-1/1"), ("c", 1, "io-1/1")] == hand.started


def test_a_slot_takes_the_first_of_all_lines_it_serves(by_hand, group):
    """Jobs that name a tag and jobs that do not compete by key, not by line."""
    hand = by_hand(group("io"), group("spare"), pools=0)
    hand.add_pool("io")
    hand.submit("running", tags={"io"})
    hand.submit("plain", priority=20)
    hand.submit("tagged", priority=10, tags={"io"})
    hand.submit("plain and urgent", priority=0)
    for name in ("running", "plain and urgent", "tagged"):
        hand.finish(name)

    assert ["running", "plain and urgent", "tagged", "plain"] == hand.names


def test_equals_in_two_lines_start_in_order_of_arrival(by_hand, group):
    """Which tags a job names must not decide who was first."""
    hand = by_hand(group("io"), group("spare"), pools=0)
    hand.add_pool("io")
    hand.submit("running")
    hand.submit("delayed and tagged", tags={"io"}, delay=1.0)
    hand.submit("plain")
    hand.submit("tagged", tags={"io"})
    hand.advance(1.0)
    for name in ("running", "plain", "tagged"):
        hand.finish(name)

    assert ["running", "plain", "tagged", "delayed and tagged"] == hand.names


def test_a_reserved_group_starts_only_what_is_urgent_enough(by_hand, group):
    """A reserve that anybody may use is no reserve."""
    hand = by_hand(group("io"), group("reserve", reserve_for=10))
    for name, priority in (("a", 20), ("b", 20), ("c", 10)):
        hand.submit(name, priority=priority)

    assert [("a", 1, "io-1/1"), ("c", 1, "reserve-1/1")] == hand.started


def test_least_loaded_spreads_jobs_over_pools(by_hand, group):
    """The default keeps every pool as idle as it can be."""
    hand = by_hand(group("io", slots=2), pools=2, routing=LeastLoaded())
    for name in "abc":
        hand.submit(name)

    assert ["io-1/1", "io-2/1", "io-1/2"] == [worker for _, _, worker in hand.started]


def test_pack_fills_the_first_pool_first(by_hand, group):
    """Whole pools must fall idle, or capacity can never shrink."""
    hand = by_hand(group("io", slots=2), pools=2, routing=Pack())
    for name in "abc":
        hand.submit(name)

    assert ["io-1/1", "io-1/2", "io-2/1"] == [worker for _, _, worker in hand.started]


def test_the_slot_freed_last_is_used_first(by_hand, group):
    """Its caches are the warmest, and the others can sleep on."""
    hand = by_hand(group("io", slots=3))
    for name in "abc":
        hand.submit(name)
    for name in "acb":
        hand.finish(name)
    hand.submit("d")

    assert ("d", 1, "io-1/2") == hand.started[-1]


def test_routing_is_asked_only_about_pools_with_a_free_slot(by_hand, group):
    """A policy that had to look for free slots would be a dispatcher."""
    seen = []

    class Watches:
        def choose(self, job, pools, uniform):
            seen.append([(pool.pool_id, pool.in_use < pool.slots) for pool in pools])
            return pools[0]

    hand = by_hand(group("io"), pools=3, routing=Watches())
    hand.tell("cordon", hand.pool("io-2"))
    hand.submit("a")
    hand.submit("b")

    assert [[("io-1", True), ("io-3", True)]] == seen


def test_dispatch_after_a_pause_starts_the_most_urgent_first(by_hand, group):
    """A pause must not turn the queue around."""
    hand = by_hand(group("io", slots=2))
    hand.tell("pause")
    for name, priority in (("low", 30), ("high", 10), ("normal", 20)):
        hand.submit(name, priority=priority)
    hand.tell("resume")

    assert ["high", "normal"] == hand.names


# Orderings and routings that fail


@attrs.frozen
class Ordering:
    """Answers always the same, or raises it."""

    answer: object
    few_keys: bool = True

    def key(self, job):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("few_keys", [True, False])
@pytest.mark.parametrize(
    "answer", [ZeroDivisionError("no answer"), None, "soon", math.nan, 10**400, [object], 1j, ()], ids=repr
)
def test_an_ordering_that_fails_leaves_priority_and_arrival(by_hand, answer, few_keys):
    """NaN compares false with everything: one such key and the line is nobody's order any more."""
    hand = by_hand(ordering=Ordering(answer, few_keys))
    for name, priority in (("running", 20), ("a", 30), ("b", 10), ("c", 20), ("d", 10)):
        hand.submit(name, priority=priority)
    for name in ("running", "b", "d", "c"):
        hand.finish(name)

    assert (["running", "b", "d", "c", "a"], {"ordering"}) == (hand.names, set(hand.policy_failures))


@attrs.frozen
class Routing:
    """Answers what it is told to, given the pools."""

    answer: object

    def choose(self, job, pools, uniform):
        return self.answer(pools)


def _raises(pools):
    raise ZeroDivisionError("no answer")


def _empties(pools):
    del pools[:]
    raise ZeroDivisionError("no answer")


class EqualToAll:
    """What a mock answers when it is compared."""

    __hash__ = None

    def __eq__(self, other):
        return True


@pytest.mark.parametrize(
    "answer",
    [
        _raises,
        lambda _: None,
        lambda _: 0,
        lambda pools: pools[0].pool_id,
        lambda pools: pools.pop() and None,
        lambda _: EqualToAll(),
        _empties,
    ],
    ids=["raises", "None", "index", "id", "pops", "equal to all", "empties"],
)
def test_a_routing_that_fails_leaves_the_first_pool_that_fits(by_hand, group, answer):
    """A job must start in some pool, whatever somebody's policy does."""
    hand = by_hand(group("io"), pools=3, routing=Routing(answer))
    hand.submit("a")

    assert ([("a", 1, "io-1/1")], ["routing"]) == (hand.started, hand.policy_failures)


def test_a_pool_that_was_not_offered_is_no_answer(by_hand, group):
    """A policy that keeps pools from earlier would send jobs to one that is full."""
    kept = []

    def first_ever(pools):
        kept.extend(pools)
        return kept[0]

    hand = by_hand(group("io"), pools=3, routing=Routing(first_ever))
    hand.submit("a")
    hand.submit("b")

    assert (["io-1/1", "io-2/1"], ["routing"]) == (
        [worker for _, _, worker in hand.started],
        hand.policy_failures,
    )


def test_a_failing_policy_is_told_to_observers_by_name(by_hand, group):
    """Somebody has to mend it, and needs its name, its error and what happened instead."""
    hand = by_hand(group("io"), pools=2, routing=Routing(_raises))
    hand.submit("a")

    assert [("routing", "Routing", "ZeroDivisionError: no answer", "the first pool that fits")] == [
        (event.question, event.policy, event.error, event.fallback) for event in hand.told("PolicyFailed")
    ]


def test_a_retried_job_keeps_its_place_before_later_equals(by_hand):
    """One failure must not cost the whole wait again."""
    hand = by_hand()
    hand.submit("fails", retry=FixedBackoff(delay=1.0))
    hand.submit("b")
    hand.submit("c")
    hand.finish("fails", OSError())
    hand.advance(1.0)
    hand.finish("b")

    assert ["fails", "b", "fails"] == hand.names
