"""Routing: the group by spill-over order, the pool by the group's policy, and what policies are shown."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Affinity, LeastLoaded, Pack, PeakEwma, RoundRobin, TwoRandomChoices
from pools import ThreadPool
from scheduler import PoolGroup
from scheduler._assembly import make_core


@attrs.frozen
class View:
    """A pool as policies see it."""

    pool_id: str = "io-1"
    in_use: int = 0
    last_chosen: int = 0
    run_time_ewma: float = 0.0
    slots: int = 8

    @property
    def load(self):
        return self.in_use / self.slots


@attrs.frozen
class Wanting:
    """A job with an affinity."""

    affinity: str | None


class Dice:
    """Dice that fall as they are told."""

    def __init__(self, *faces):
        self.faces = list(faces)

    def random(self):
        return self.faces.pop(0)


def workers(hand):
    return [worker for _, _, worker in hand.started]


def pools_of(hand):
    return [worker.split("/")[0] for worker in workers(hand)]


# Which group: spill-over


def test_the_first_group_declared_is_filled_before_the_next(by_hand, group):
    """What spills over is what the first group cannot take, whatever routing does inside the groups."""
    hand = by_hand(group("own", slots=2), group("cloud", slots=2), routing=LeastLoaded())
    for name in "abc":
        hand.submit(name)

    assert ["own-1/1", "own-1/2", "cloud-1/1"] == workers(hand)


def test_spilling_ends_as_soon_as_the_first_group_has_room_again(by_hand, group):
    """The second group is paid for by the job."""
    hand = by_hand(group("own"), group("cloud"))
    hand.submit("a")
    hand.submit("b")
    hand.finish("a")
    hand.finish("b")
    hand.submit("c")

    assert ["own-1", "cloud-1", "own-1"] == pools_of(hand)


def test_urgent_jobs_use_their_reserve_before_what_everybody_may_use(by_hand, group):
    """An urgent job in a general slot, beside a free reserved one, would keep an ordinary job waiting."""
    hand = by_hand(group("io"), group("high", reserve_for=10), group("critical", reserve_for=0))
    for name in "abc":
        hand.submit(name, priority=0)
    hand.submit("d", priority=20)
    hand.finish("c")

    assert ["critical-1", "high-1", "io-1", "io-1"] == pools_of(hand)


def test_the_tags_of_a_job_do_not_change_the_order_of_groups(by_hand, group):
    """Jobs with and without a tag must agree on which group is first, or they fill two at once."""
    hand = by_hand(group("a", tags=frozenset({"x"})), group("b", tags=frozenset({"x"})))
    hand.submit("tagged", tags={"x"})
    hand.submit("plain")

    assert ["a-1", "b-1"] == pools_of(hand)


# Which policy


@pytest.mark.parametrize(
    ("settings", "of_scheduler", "expected"),
    [
        ({}, None, LeastLoaded()),
        ({"max_pools": 1}, None, LeastLoaded()),
        ({"min_pools": 2, "max_pools": 2}, None, LeastLoaded()),
        ({"max_pools": 4}, None, Pack()),
        ({"max_pools": 4}, RoundRobin(), RoundRobin()),
        ({"routing": RoundRobin()}, None, RoundRobin()),
        ({"routing": RoundRobin(), "max_pools": 4}, Pack(), RoundRobin()),
    ],
)
def test_a_group_is_routed_by_its_own_policy_or_the_schedulers_or_what_suits_it(
    settings, of_scheduler, expected
):
    """Only a group that shrinks needs idle pools; the others may spread as they do now."""
    core = make_core(
        [PoolGroup("io", ThreadPool(slots=2), **settings)],
        capacity=1,
        admission=None,
        ordering=None,
        routing=of_scheduler,
        seed=0,
    )

    assert expected == core.dispatcher.routing(core.pools.groups["io"])


def test_two_groups_may_be_routed_differently(by_hand, group):
    """One that scales packs while one that does not spreads, in the same scheduler."""
    hand = by_hand(
        group("packed", slots=2, routing=Pack(), dedicated=True),
        group("spread", slots=2, routing=LeastLoaded(), dedicated=True),
        pools=2,
    )
    for name in "ab":
        hand.submit(f"packed {name}", tags={"packed"})
        hand.submit(f"spread {name}", tags={"spread"})

    assert ["packed-1", "spread-1", "packed-1", "spread-2"] == pools_of(hand)


@pytest.mark.parametrize("routing", [Pack, 3, "pack"])
def test_a_groups_routing_that_is_no_policy_is_refused(routing):
    """Every choice of it would fail, and each time the first pool would be taken."""
    with pytest.raises(TypeError, match=r"routing= must be"):
        PoolGroup("io", ThreadPool(slots=1), routing=routing)


# Round robin


def test_round_robin_gives_each_pool_a_turn(by_hand, group):
    """Equal shares, whatever finishes first."""
    hand = by_hand(group("io", slots=9), pools=3, routing=RoundRobin())
    for number in range(9):
        hand.submit(f"{number}")
        hand.finish(f"{number}")

    assert ["io-1", "io-2", "io-3"] * 3 == pools_of(hand)


def test_a_pool_that_joins_a_round_gets_one_turn_and_not_all_that_it_missed(by_hand, group):
    """A count of starts would send everything to the newcomer until it has caught up."""
    hand = by_hand(group("io", slots=9), pools=2, routing=RoundRobin())
    for number in range(6):
        hand.submit(f"{number}")
    hand.add_pool("io")
    for name in "abcd":
        hand.submit(name)

    assert ["io-3", "io-1", "io-2", "io-3"] == pools_of(hand)[6:]


def test_a_full_pool_keeps_its_turn(by_hand, group):
    """It was passed over because it could take nothing, and is the first when it can."""
    hand = by_hand(group("io", slots=1), pools=3, routing=RoundRobin())
    for name in "abc":
        hand.submit(name)
    hand.finish("c")
    hand.submit("d")
    hand.finish("a")
    hand.finish("b")
    hand.submit("e")

    assert ["io-1", "io-2", "io-3", "io-3", "io-1"] == pools_of(hand)


# Two random choices


@pytest.mark.parametrize(
    ("faces", "expected"),
    [((0.0, 0.0), 1), ((0.0, 0.99), 2), ((0.99, 0.0), 2), ((0.99, 0.99), 2), ((0.5, 0.0), 1)],
)
def test_two_random_choices_looks_at_two_different_pools(faces, expected):
    """Two looks at one pool are no choice; the loads are 3, 2 and 1 of 8."""
    pools = [View(in_use=3), View(in_use=2), View(in_use=1)]

    assert pools[expected] is TwoRandomChoices().choose(None, pools, Dice(*faces))


def test_two_random_choices_never_takes_the_fullest_pool():
    """It can only be compared with one that is emptier: that is what the second look is worth."""
    pools = [View(in_use=number) for number in range(4)]
    faces = [number / 20 for number in range(20)]
    chosen = Counter(TwoRandomChoices().choose(None, pools, Dice(a, b)).in_use for a in faces for b in faces)

    assert chosen[3] == 0
    assert chosen[0] > chosen[1] > chosen[2] > 0


# Peak EWMA


def slow_and_fast(by_hand, group, routing):
    """Run a slow job in io-1 and a fast one in io-2, in two pools of eight."""
    hand = by_hand(group("io", slots=8, routing=routing), pools=2)
    hand.submit("slow")
    hand.submit("fast")
    hand.now = 1.0
    hand.finish("fast")
    hand.now = 4.0
    hand.finish("slow")
    return hand


def test_peak_ewma_prefers_the_faster_pool_until_it_is_as_costly(by_hand, group):
    """A pool four times as fast should have four times as much to do, not half."""
    hand = slow_and_fast(by_hand, group, PeakEwma(decay=1000.0))
    for name in "abcdef":
        hand.submit(name)

    assert ["io-2", "io-2", "io-2", "io-2", "io-1", "io-2"] == pools_of(hand)[2:]


def test_peak_ewma_counts_a_peak_at_once_and_forgets_it_slowly(by_hand, group):
    """One slow answer is a warning; a hundred fast ones are needed to make it good, or time."""
    hand = slow_and_fast(by_hand, group, PeakEwma(decay=10.0))
    pool = hand.pool("io-1")
    at_peak = pool.run_time_ewma
    hand.now = 14.0
    hand.submit("look")

    assert (4.0, pytest.approx(4.0 / 2.718281828)) == (at_peak, pool.run_time_ewma)


def test_a_pool_is_tried_again_when_its_peak_has_faded(by_hand, group):
    """Without fading, one slow job would keep a pool from ever showing that it is well again."""
    hand = by_hand(group("io", slots=4, routing=PeakEwma(decay=1.0)), pools=2)
    hand.submit("slow")
    hand.now = 60.0
    hand.finish("slow")
    for second in range(1, 12):
        hand.now = 60.0 + second
        hand.submit(f"{second}")
        hand.now += 0.5
        hand.finish(f"{second}")

    assert "io-2" == pools_of(hand)[1]
    assert "io-1" in pools_of(hand)[2:]


def test_an_unknown_pool_is_tried_with_one_job_at_a_time():
    """It may be the one that hangs: a new pool must not get the whole burst before its first answer."""
    known, unknown = View("known", run_time_ewma=2.0, in_use=5), View("unknown")

    assert unknown is PeakEwma().choose(None, [known, unknown], None)
    assert known is PeakEwma().choose(None, [known, attrs.evolve(unknown, in_use=1)], None)


def test_a_failure_says_nothing_of_how_fast_a_pool_is(by_hand, group):
    """A pool that fails everything at once would otherwise look like the best of all."""
    hand = by_hand(group("io", routing=PeakEwma()), pools=2)
    hand.submit("fails")
    hand.now = 0.001
    hand.finish("fails", OSError())

    assert 0.0 == hand.pool("io-1").run_time_ewma


def test_run_times_are_kept_only_for_a_policy_that_looks_at_them(by_hand, group):
    """Everybody else must not pay for it."""
    without = slow_and_fast(by_hand, group, LeastLoaded())
    inside = slow_and_fast(by_hand, group, Affinity(otherwise=PeakEwma()))

    assert (False, 0.0) == (without.core.keeps_run_times, without.pool("io-1").run_time_ewma)
    assert (True, 4.0) == (inside.core.keeps_run_times, inside.pool("io-1").run_time_ewma)


@pytest.mark.parametrize("decay", [0, -1.0, float("inf"), "10", True])
def test_a_policy_with_a_senseless_decay_is_refused(decay):
    """It would be divided by it in every turn, under the lock."""

    @attrs.frozen
    class Own:
        run_time_decay: object

        def choose(self, job, pools, uniform):
            return pools[0]

    with pytest.raises((TypeError, ValueError), match=r"Own\(\)\.run_time_decay= must be"):
        make_core(
            [PoolGroup("io", ThreadPool(slots=1))],
            capacity=1,
            admission=None,
            ordering=None,
            routing=Own(decay),
            seed=0,
        )


# Affinity

KEYS = [f"user-{number}" for number in range(400)]


def homes(ids, keys=KEYS):
    """Return where each key is at home among pools of these ids."""
    pools = [View(pool_id) for pool_id in ids]
    return {key: Affinity().choose(Wanting(key), pools, None).pool_id for key in keys}


ids = st.lists(st.integers(1, 60), min_size=3, max_size=12, unique=True).map(
    lambda numbers: [f"io-{number}" for number in numbers]
)


@given(ids=ids)
def test_a_pool_that_goes_moves_only_its_own_keys(ids):
    """All keys would move with `hash(key) % pools`, and every cache would be cold at once."""
    before, after = homes(ids), homes(ids[:-1])

    assert {key for key in KEYS if before[key] != after[key]} == {
        key for key in KEYS if before[key] == ids[-1]
    }


@given(ids=ids)
def test_a_pool_that_comes_takes_about_its_share_of_the_keys(ids):
    """One pool of n should get a share of 1/n: within five standard deviations, of a fair coin for each key."""
    before, after = homes(ids[:-1]), homes(ids)
    moved = [key for key in KEYS if before[key] != after[key]]
    share = 1 / len(ids)
    deviation = (len(KEYS) * share * (1 - share)) ** 0.5

    assert {ids[-1]} == {after[key] for key in moved} | {ids[-1]}
    assert abs(len(moved) - len(KEYS) * share) < 5 * deviation


@given(ids=ids, key=st.text())
def test_the_order_of_the_pools_does_not_matter(ids, key):
    """Pools come and go, so their order in the list says nothing."""
    assert homes(ids, [key]) == homes(ids[::-1], [key])


def test_a_key_has_the_same_home_in_every_process():
    """A program that is started again finds its files where it left them."""
    code = "import test_routing; print(list(test_routing.homes(['io-1', 'io-2', 'io-3']).values()))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert seen == {repr(list(homes(["io-1", "io-2", "io-3"]).values()))}


def test_jobs_of_one_key_meet_in_one_pool_and_others_go_as_told(by_hand, group):
    """That is what the option is for; a job without a key must not be tied to anything."""
    hand = by_hand(group("io", slots=9), pools=4, routing=Affinity(otherwise=RoundRobin()))
    for number in range(8):
        hand.submit(f"{number}", affinity="user-42")
    for name in "abcd":
        hand.submit(name)

    assert 1 == len(set(pools_of(hand)[:8]))
    assert 4 == len(set(pools_of(hand)[8:]))


def test_a_job_does_not_wait_for_its_pool_while_another_is_free(by_hand, group):
    """Best effort: an idle slot helps more than a warm one."""
    hand = by_hand(group("io", slots=1), pools=2, routing=Affinity())
    hand.submit("a", affinity="user-42")
    hand.submit("b", affinity="user-42")

    assert {"io-1", "io-2"} == set(pools_of(hand))


@pytest.mark.parametrize("otherwise", [Pack, None, 3])
def test_an_affinity_needs_a_policy_for_the_rest(otherwise):
    """A class instead of a value is the slip everybody makes once."""
    with pytest.raises(TypeError, match=r"Affinity\(otherwise=\) must be an object with a method choose"):
        Affinity(otherwise=otherwise)


def test_affinity_asks_for_no_run_times_where_the_policy_within_does_not():
    """A policy from another package need not know of run times at all."""

    class First:
        def choose(self, job, pools, uniform):
            return pools[0]

    assert [None, 0.5] == [
        Affinity(otherwise=inner).run_time_decay for inner in (First(), PeakEwma(decay=0.5))
    ]
