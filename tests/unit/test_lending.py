"""Reserved groups that lend: others use what the urgent leave, but never the last slots."""

import pytest

from policies import Aging
from pools import ThreadPool
from scheduler import NoEligiblePool, PoolGroup, Priority
from scheduler.simulation import Simulator


@pytest.fixture
def lending(by_hand, group):
    """One open slot, and four that are reserved of which three are lent."""
    return by_hand(group("io"), group("high", slots=4, reserve_for=10, keep=1))


def submit(hand, priority, *names):
    for name in names:
        hand.submit(name, priority=priority)


def in_group(hand, name):
    return sum(worker.startswith(name) for _, _, worker in hand.started)


def test_what_is_reserved_and_not_needed_is_lent_all_but_the_kept(lending):
    """A reserve that stands idle beside a queue is paid for twice."""
    submit(lending, 20, *"abcdef")

    assert ["io-1/1", "high-1/1", "high-1/2", "high-1/3"] == [worker for _, _, worker in lending.started]


def test_an_urgent_job_finds_the_kept_slot_at_once(lending):
    """What is lent comes back only when a job ends, so something must be there now."""
    submit(lending, 20, *"abcdef")
    lending.submit("urgent", priority=10)

    assert ("urgent", 1, "high-1/4") == lending.started[-1]


def test_slots_that_come_back_go_to_the_urgent_first(lending):
    """The reserve belongs to them; lending must never make one wait behind an ordinary job."""
    submit(lending, 20, *"abcdef")
    submit(lending, 10, "urgent 1", "urgent 2")
    lending.finish("b")

    assert ["urgent 1", "urgent 2"] == lending.names[4:]


def test_a_borrower_comes_next_only_when_more_is_free_than_is_kept(lending):
    """The slot that an urgent job leaves is the kept one again; the next to fall free can be lent."""
    submit(lending, 20, *"abcdef")
    lending.submit("urgent", priority=10)
    lending.finish("urgent")
    kept = lending.names[5:]
    lending.finish("b")

    assert ([], ["e"]) == (kept, lending.names[5:])


def test_an_urgent_job_borrows_nothing_and_still_spills_over(lending):
    """It has a right to its reserve, all of it, and to the open slots beside."""
    submit(lending, 10, *"abcdef")

    assert ["high-1"] * 4 + ["io-1"] == [worker.split("/")[0] for _, _, worker in lending.started]


def test_the_urgent_keep_their_reserve_whatever_the_ordering_says(by_hand, group):
    """Ageing may put an old ordinary job before a fresh urgent one, but not into its reserve."""
    hand = by_hand(group("high", slots=2, reserve_for=10, keep=1), ordering=Aging(seconds_per_level=0.01))
    submit(hand, 20, "running", "old")
    hand.now = 100.0
    submit(hand, 10, "urgent 1", "urgent 2")
    hand.finish("running")

    assert ["running", "urgent 1", "urgent 2"] == hand.names


def test_after_a_pause_nobody_borrows_while_an_urgent_job_waits(by_hand, group):
    """Dispatching many at once must come to the same as one after the other."""
    hand = by_hand(group("high", slots=3, reserve_for=10, keep=1), ordering=Aging(seconds_per_level=0.01))
    hand.tell("pause")
    submit(hand, 20, "old 1", "old 2")
    hand.now = 100.0
    submit(hand, 10, "urgent")
    hand.tell("resume")

    assert ["urgent", "old 1"] == hand.names


def test_a_group_that_keeps_nothing_lends_everything(by_hand, group):
    """Then the reserve is only an order of use: urgent first, at the price of a wait for the slot."""
    hand = by_hand(group("high", slots=2, reserve_for=10, keep=0))
    submit(hand, 20, "a", "b")

    assert ["a", "b"] == hand.names


def test_a_new_pool_brings_slots_to_lend(by_hand, group):
    """What waits must start as soon as there is more than is kept."""
    hand = by_hand(group("high", slots=1, reserve_for=10, keep=1))
    submit(hand, 20, "a")
    before = list(hand.names)
    hand.add_pool("high")

    assert ([], ["a"]) == (before, hand.names)


def test_only_jobs_that_suit_the_group_borrow(by_hand, group):
    """Lending bends the priority, not the tags."""
    hand = by_hand(group("io"), group("gpu", reserve_for=10, slots=2, keep=0, dedicated=True))
    submit(hand, 20, "plain 1", "plain 2")
    hand.submit("tagged", priority=20, tags={"gpu"})

    assert ["plain 1", "tagged"] == hand.names


def test_borrowers_start_by_key_whatever_their_tags(by_hand, group):
    """Jobs with and without a tag stand in two lines, and the loan serves both."""
    hand = by_hand(group("high", slots=1, reserve_for=10, keep=0))
    submit(hand, 20, "running", "plain")
    hand.submit("tagged", priority=15, tags={"high"})
    for name in ("running", "tagged"):
        hand.finish(name)

    assert ["running", "tagged", "plain"] == hand.names


def test_a_borrowers_job_fails_with_the_group_that_would_lend(by_hand, group):
    """A job that nobody will ever run must be told, and must be taken again when a pool comes."""
    hand = by_hand(group("high", slots=2, reserve_for=10, keep=1))
    submit(hand, 20, "running", "waits")
    hand.tell("pool_failed", hand.pool("high-1"), ValueError("no"), "no")

    assert "FAILED" == hand.state("waits")
    hand.add_pool("high")
    submit(hand, 20, "later")
    assert "RUNNING" == hand.state("later")


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"lends": True}, ValueError, r"lends=True and is open to all; say with reserve_for="),
        ({"lends": 1, "reserve_for": 10}, TypeError, r"lends=\) must be True or False, not 1"),
        ({"keep": 2}, ValueError, r"keep=2 and lends nothing; add lends=True"),
        ({"lends": True, "reserve_for": 10, "keep": -1}, ValueError, r"keep=\) must be at least 0"),
        ({"lends": True, "reserve_for": 10, "keep": 1.0}, TypeError, r"keep=\) must be an integer"),
        (
            {"lends": True, "reserve_for": 10, "keep": 4, "min_pools": 2},
            ValueError,
            r"keep=4 and, with min_pools=2, only 4 slots, so that it would lend none; lower keep=",
        ),
    ],
)
def test_lending_that_contradicts_itself_is_refused(settings, kind, message):
    """A group that lends nothing looks from outside like a scheduler that hangs."""
    with pytest.raises(kind, match=message):
        PoolGroup("high", ThreadPool(slots=2), **settings)


def test_one_group_can_keep_a_slot_for_the_urgent():
    """The commonest wish needs no second group: everybody may use all but one slot."""
    simulator = Simulator(
        PoolGroup("io", ThreadPool(slots=4), reserve_for=Priority.HIGH, lends=True), check_every=1
    )
    ordinary = [simulator.submit(10.0, at=0.0) for _ in range(6)]
    urgent = simulator.submit(1.0, at=1.0, priority=Priority.HIGH)
    simulator.run()

    assert (0.0, 3) == (urgent.waited, sum(job.waited == 0 for job in ordinary))


def test_a_group_that_does_not_lend_is_still_no_place_for_others():
    """Lending is asked for, never assumed."""
    simulator = Simulator(PoolGroup("io", ThreadPool(slots=4), reserve_for=Priority.HIGH))

    with pytest.raises(NoEligiblePool, match="reserved for more urgent jobs"):
        simulator.submit(1.0)


def test_jobs_that_borrow_are_a_reason_to_open_another_pool():
    """With one group for all, most of its load may be borrowers, and it must grow for them too."""
    simulator = Simulator(
        PoolGroup("io", ThreadPool(slots=2), max_pools=3, reserve_for=Priority.HIGH, lends=True),
        check_every=1,
    )
    for number in range(100):
        simulator.submit(1.0, at=number * 0.1)
    most = []
    for second in range(1, 30):
        simulator.at(float(second), lambda: most.append(len(simulator.pools())))
    simulator.run()

    assert 3 == max(most)
