"""Adaptive shedding: what has waited too long while a queue stands, the least urgent first."""

import math

import attrs
import pytest

from policies import Aging, Block, CoDel, Reject
from pools import InlinePool
from scheduler import PoolGroup, Scheduler
from scheduler._core.capacity import JOBS_PER_TURN
from scheduler._core.shedding import QUIET
from scheduler._errors import JobShed, QueueFull

TARGET, INTERVAL = 0.1, 1.0


def crowd(by_hand, jobs, **settings):
    """Return a hand with one slot, taken by a job that does not end, and `jobs` by name and priority that wait."""
    hand = by_hand(admission=settings.pop("admission", CoDel(target=TARGET, interval=INTERVAL)), **settings)
    hand.submit("running")
    for name, priority in jobs.items():
        hand.submit(name, priority=priority)
    return hand


def pass_time(hand, seconds, step=0.05):
    """Let time go on, look by look."""
    for _ in range(round(seconds / step)):
        hand.advance(step)


def test_a_queue_that_stands_for_an_interval_is_shed(by_hand):
    """A job that nobody has patience for any more only makes the next one late as well."""
    hand = crowd(by_hand, {"first": 20, "second": 20})
    pass_time(hand, 3 * INTERVAL)

    assert ["SHED", "SHED"] == [hand.state("first"), hand.state("second")]
    assert hand.statistics().shed == 2


def test_the_error_of_a_shed_job_says_how_long_it_waited_and_what_to_do(by_hand):
    """The caller must learn that it was overload, not a bug."""
    hand = crowd(by_hand, {"late": 20})
    pass_time(hand, 3 * INTERVAL)

    with pytest.raises(
        JobShed, match=r"had waited .* s, .* all of the last 1 s; add pools, or .*CoDel\(target"
    ):
        raise hand.jobs["late"].outcome


def test_a_queue_that_empties_once_in_an_interval_is_a_burst_and_kept(by_hand):
    """Bursts are what a queue is for."""
    hand = crowd(by_hand, {"waits": 20})
    running, following = "running", "waits"
    for number in range(20):
        pass_time(hand, 0.5)
        hand.finish(running)
        running, following = following, f"job-{number}"
        pass_time(hand, 0.3)
        hand.submit(following, priority=20)

    assert hand.statistics().shed == 0


def test_a_queue_whose_head_was_young_once_in_an_interval_does_not_stand(by_hand):
    """The least wait decides, not the last: one late look at a queue that is served would shed what it serves."""
    hand = crowd(by_hand, {"old": 20})
    pass_time(hand, 0.7, step=0.01)
    hand.finish("running")
    hand.submit(
        "behind", priority=20
    )  # young at the look of 0.75 s, and at that of 1 s older than is allowed
    pass_time(hand, 0.35, step=0.01)

    assert "WAITING" == hand.state("behind")
    pass_time(hand, 2 * INTERVAL)
    assert "SHED" == hand.state("behind")


def test_the_least_urgent_are_shed_first(by_hand):
    """Nobody urgent goes while there is somebody who can."""
    hand = crowd(by_hand, {"high": 10, "bulk": 40, "low": 30})
    shed = []
    while len(shed) < 3 and hand.now < 20:
        pass_time(hand, 0.05)
        shed += [name for name in hand.settled if name not in shed]

    assert ["bulk", "low", "high"] == shed


def test_who_has_not_waited_twice_the_target_is_kept(by_hand):
    """Shedding ends the queue that stands, not everything that waits."""
    hand = crowd(by_hand, {"old": 20})
    pass_time(hand, 0.9)
    hand.submit("new", priority=20)
    pass_time(hand, 0.2)

    assert ["SHED", "WAITING"] == [hand.state("old"), hand.state("new")]


def test_a_pause_is_no_overload(by_hand):
    """Whoever pauses for an hour of repair wants the jobs afterwards."""
    hand = crowd(by_hand, {"waits": 20})
    hand.core.pause(hand.now)
    pass_time(hand, 5 * INTERVAL)

    assert hand.state("waits") == "WAITING"


def test_a_standing_queue_under_aging_is_shed_by_its_heads(by_hand):
    """With keys of their own, only the head of the line is known to wait."""
    hand = crowd(by_hand, {"first": 20, "second": 20}, ordering=Aging())
    pass_time(hand, 4 * INTERVAL)

    assert ["SHED", "SHED"] == [hand.state("first"), hand.state("second")]


def test_many_are_shed_in_many_turns(by_hand):
    """A turn is bounded, or everybody waits for the lock."""
    count = JOBS_PER_TURN + 10
    hand = crowd(by_hand, {f"job-{number}": 20 for number in range(count)}, capacity=count)
    shed = []
    while len(shed) < 2 and hand.now < 5:
        hand.advance(0 if shed else 0.05)
        shed += [hand.statistics().shed] if hand.statistics().shed not in (0, *shed) else []

    assert [JOBS_PER_TURN, count] == shed


def test_nobody_looks_while_nothing_waits_and_a_job_wakes_it(by_hand):
    """An idle scheduler must not wake up four times a second."""
    hand = by_hand(admission=CoDel(target=TARGET, interval=INTERVAL))
    before = hand.core.next_deadline()
    hand.submit("running")
    woken = hand.core.next_deadline()
    pass_time(hand, (QUIET + 1) * INTERVAL)

    assert (math.inf, 0.25, math.inf) == (before, woken, hand.core.next_deadline())
    assert hand.core.dozing


def test_at_a_full_queue_the_other_policy_decides(by_hand):
    """Shedding by sojourn and a bound by number are two things."""
    hand = crowd(by_hand, {"waits": 20}, admission=CoDel(otherwise=Reject()), capacity=1)

    with pytest.raises(QueueFull):
        hand.submit("late")


def test_the_patience_at_the_door_is_that_of_the_other_policy():
    """`Block(timeout=)` must keep its word inside."""
    assert (2.5, None) == (CoDel(otherwise=Block(2.5)).timeout, CoDel(otherwise=Reject()).timeout)


@attrs.frozen
class Broken:
    """A policy that raises when it is asked what is too long."""

    interval: float = 1.0

    def admit(self, job, queue):
        return Block().admit(job, queue)

    def too_long(self, least_wait):
        raise RuntimeError("no idea")


@attrs.frozen
class Never(Broken):
    """A policy that answers nonsense."""

    def too_long(self, least_wait):
        return -1


@pytest.mark.parametrize("policy", [Broken(), Never()])
def test_a_policy_that_fails_sheds_nothing_and_is_told_of(by_hand, policy):
    """A bug in a policy must not end jobs."""
    hand = crowd(by_hand, {"waits": 20}, admission=policy)
    pass_time(hand, 2 * INTERVAL)

    assert ("WAITING", "admission") == (hand.state("waits"), hand.policy_failures[0])


def test_a_policy_that_sheds_without_an_interval_is_refused_at_once():
    """An AttributeError from the depths would name neither the policy nor the remedy."""

    class NoInterval:
        def admit(self, job, queue):
            return Block().admit(job, queue)

        def too_long(self, least_wait):
            return None

    with pytest.raises(TypeError, match=r"NoInterval\(\), which sheds: interval= must be seconds"):
        Scheduler(PoolGroup("io", InlinePool()), admission=NoInterval())


def test_codel_checks_what_it_wraps():
    """A class instead of a value is the commonest slip."""
    with pytest.raises(TypeError, match=r"CoDel\(otherwise=\) must be an admission policy such as Block\(\)"):
        CoDel(otherwise=Reject)
