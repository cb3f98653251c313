"""Why a job is where it is: every state has words, and the estimate is arithmetic."""

import pytest

from policies import Aging, CircuitBreaker, FixedBackoff
from scheduler import Limit
from scheduler._core.standing import standing


def told(hand, name):
    """Return what is said of a job now."""
    return standing(hand.core, hand.jobs[name], hand.now)


def test_a_job_that_waits_is_told_what_is_ahead_of_it_and_for_how_long(by_hand):
    """'Why is my job not running?' is the question a scheduler must be able to answer."""
    hand = by_hand()
    hand.submit("first")
    hand.advance(2.0)
    hand.finish("first")
    for name, priority in (("running", 20), ("urgent", 10), ("equal", 20), ("asked", 20), ("later", 30)):
        hand.submit(name, priority=priority)
    asked = told(hand, "asked")

    assert (2, pytest.approx(6.0)) == (asked.ahead, asked.estimate)
    assert "all 1 slots of 'io' are in use and 2 start before it; it starts in about 6 s" in str(asked)


@pytest.mark.parametrize("settings", [{}, {"ordering": Aging()}], ids=["levels", "keys"])
def test_the_next_one_knows_that_it_is(by_hand, settings):
    """Both kinds of line count the jobs before one."""
    hand = by_hand(**settings)
    for name in ("running", "next", "after"):
        hand.submit(name)

    assert (0, 1) == (told(hand, "next").ahead, told(hand, "after").ahead)
    assert "it is the next to start" in str(told(hand, "next"))


def test_without_any_run_time_there_is_no_estimate(by_hand):
    """An invented number is worse than none."""
    hand = by_hand()
    hand.submit("running")
    hand.submit("waits")

    assert told(hand, "waits").estimate is None


def test_a_pause_is_named_first_and_nothing_is_estimated(by_hand):
    """Nobody knows when somebody will resume."""
    hand = by_hand()
    hand.submit("first")
    hand.finish("first")
    hand.core.pause(hand.now)
    hand.submit("waits")

    assert "paused, until resume()" in told(hand, "waits").reasons[0]
    assert told(hand, "waits").estimate is None


def test_pools_that_take_nothing_are_named_with_their_states(by_hand):
    """A cordoned pool is easily forgotten."""
    hand = by_hand()
    hand.tell("cordon", hand.pool("io-1"))
    hand.submit("waits")

    assert "no pool of 'io' takes jobs: they are cordoned" in str(told(hand, "waits"))


def test_every_other_state_has_words(by_hand):
    """The question is asked of any handle, at any time."""
    hand = by_hand()
    hand.submit("runs", retry=FixedBackoff(delay=3.0))
    hand.submit("delayed", delay=5.0)
    hand.advance(1.0)
    running, delayed = str(told(hand, "runs")), str(told(hand, "delayed"))
    hand.finish("runs", error=ValueError("once"))
    backing_off = str(told(hand, "runs"))
    hand.advance(3.0)
    hand.finish("runs")
    hand.core.cancel(hand.jobs["delayed"], hand.now, RuntimeError())

    assert running == "job 1 is running: attempt 1 has run for 1 s in io-1/1"
    assert delayed == "job 2 is delayed: its delay is over in 4 s"
    assert backing_off == "job 1 is backing off: attempt 1 failed, and the next one is 3 s away"
    assert "job 1 is succeeded: it ended less than 1 ms ago, after 2 attempts" == str(told(hand, "runs"))
    assert "without having started" in str(told(hand, "delayed"))


def test_who_stands_at_the_door_is_told_so(by_hand):
    """It has no place in line yet."""
    hand = by_hand(capacity=1)
    for name in ("runs", "waits", "outside"):
        hand.submit(name)

    assert "stands at the door: the front queue holds capacity=1 jobs" in str(told(hand, "outside"))


def test_a_job_that_may_borrow_a_slot_can_be_asked_about(by_hand, group):
    """explain() raised AttributeError for whoever waits for a slot that is only lent."""
    hand = by_hand(group("io"), group("fast", slots=2, reserve_for=10, keep=0))
    for name, priority in (("first", 20), ("urgent", 0), ("borrows", 20), ("waits", 20)):
        hand.submit(name, priority=priority)
        hand.advance(1.0)
    hand.finish("urgent")
    hand.submit("urgent again", priority=0)
    hand.submit("asked", priority=20)

    assert told(hand, "asked").estimate is not None


def test_a_slot_that_is_kept_for_others_is_not_said_to_be_in_use(by_hand, group):
    """explain() said that all slots were in use, while everybody could see one that was free."""
    hand = by_hand(group("io"), group("fast", slots=3, reserve_for=10, keep=1))
    for name in ("one", "two", "three", "asked"):
        hand.submit(name)

    assert (
        "3 of 4 slots of 'io' and 'fast' are in use, 1 kept for jobs more urgent, and it is the next"
        in str(told(hand, "asked"))
    )


def test_a_slot_without_a_worker_is_not_said_to_be_in_use(by_hand, group):
    """The worker process that has just died runs nothing; that is why the job waits."""
    hand = by_hand(group("cpu", slots=2, announces=True))
    hand.core.ready(hand.pool("cpu-1").all_slots[0], "cpu-1/1", hand.now)
    hand.take()
    hand.submit("runs")
    hand.submit("asked")

    assert "1 of 2 slots of 'cpu' are in use, 1 without a worker just now, and it is the next" in str(
        told(hand, "asked")
    )


def test_a_group_of_which_no_pool_takes_jobs_is_named_beside_the_one_that_is_full(by_hand, group):
    """It was counted among those whose slots are all in use; nobody would look for the pool that is cordoned."""
    hand = by_hand(group("own"), group("rented"))
    hand.tell("cordon", hand.pool("rented-1"))
    for name in ("runs", "asked"):
        hand.submit(name)

    assert (
        "all 1 slots of 'own' are in use and it is the next to start",
        "no pool of 'rented' takes jobs: they are cordoned",
    ) == told(hand, "asked").reasons


LIMITED = {
    "rate": ({"rate": 2.0, "burst": 1}, 1.5, "next token in 0.5 s"),
    "burst": ({"rate": 2.0, "burst": 2}, 1.5, "next token in 0.5 s"),
    "concurrency": ({"concurrency": 1}, 9.0, "1 of 1 run"),
    "both": ({"rate": 2.0, "burst": 1, "concurrency": 2}, 3.0, "next token in 0.5 s"),
}


@pytest.mark.parametrize("name", LIMITED)
def test_the_estimate_waits_for_the_limit_and_not_only_for_a_slot(by_hand, group, name):
    """Beside 'next token in 0.5 s' it said 'it starts in about 0.03 s': slots are free, and of no use."""
    limit, seconds, words = LIMITED[name]
    hand = by_hand(group("io", slots=8), limits=[Limit(tenant="a", **limit)])
    hand.submit("first")
    hand.advance(3.0)
    hand.finish("first")
    count = 5 if name == "burst" else 4
    for number in range(count - 1):
        hand.submit(f"job {number}", tenant="a")
    hand.submit("asked", tenant="a")
    asked = told(hand, "asked")

    assert seconds == pytest.approx(asked.estimate)
    assert words in str(asked)
    assert f"{asked.ahead} start before it" in str(asked)


def test_those_are_ahead_that_wait_for_the_same_limit_in_another_line(by_hand, group):
    """A tag that all tenants share holds them in lines of their own, from which it lets them go in turn."""
    hand = by_hand(
        group("io", slots=8, tags={"db"}),
        limits=[Limit(tag="db", concurrency=1), Limit(tenant="*", concurrency=5)],
    )
    for tenant in "abcd":
        hand.submit(tenant, tenant=tenant, tags={"db"})
    hand.submit("urgent", tenant="e", tags={"db"}, priority=0)

    assert [1, 2, 3, 0] == [told(hand, name).ahead for name in ("b", "c", "d", "urgent")]


def test_a_breaker_makes_no_promise(by_hand, group):
    """Nobody knows whether it closes when it looks again."""
    hand = by_hand(group("io", slots=8), breakers=[CircuitBreaker(group="io", window=1, calls_min=1)])
    hand.submit("fails")
    hand.finish("fails", error=OSError())
    hand.submit("asked")

    assert told(hand, "asked").estimate is None
    assert "breaker" in str(told(hand, "asked"))
