"""Jobs that lie ahead at a worker that still runs another: what becomes of them when something ends early."""

import pytest

from policies import Aging, StrictPriority
from scheduler._core.states import PoolState
from scheduler._errors import PoolBroken, WorkerDied


@pytest.fixture(params=[StrictPriority(), Aging(seconds_per_level=1000.0)], ids=["levels", "keys"])
def worker(request, by_hand, group):
    """A worker that runs a job and holds another one ahead, which has a second to settle."""
    hand = by_hand(group("cpu", announces=True, prefetch=4), ordering=request.param)
    (slot,) = hand.pool("cpu-1").all_slots
    hand.tell("ready", slot, "cpu-1/1")
    hand.submit("runs")
    hand.submit("ahead", deadline=1.0)
    hand.core.fill(slot, 2, hand.now)
    hand.take()
    return hand, slot


def test_a_worker_that_begins_what_has_expired_meanwhile_is_told_to_stop(worker):
    """Its slot would be lost for as long as a call runs that nobody waits for."""
    hand, slot = worker
    hand.advance(1.0)
    hand.core.outcome(slot, None, None, 0.5, hand.now)
    stops = list(hand.core.left.stops)
    hand.take()

    assert ("EXPIRED", [(slot, 1)], "expired") == (hand.state("ahead"), stops, slot.interrupted)


def test_something_urgent_that_becomes_due_goes_before_what_lies_ahead(worker):
    """A delay says when a job may start, and not that everybody who came meanwhile goes first."""
    hand, slot = worker
    hand.submit("urgent", priority=0, delay=0.5)
    hand.now = 0.5
    hand.core.advance(hand.now)
    recalls = list(hand.core.left.recalls)
    hand.take()

    assert [slot] == recalls


def test_a_pool_that_is_cordoned_gives_back_what_its_workers_have_not_begun(worker):
    """Who cordons a pool wants it to take nothing more; what lies ahead has not been taken yet."""
    hand, slot = worker
    hand.core.cordon(hand.pool("cpu-1"), hand.now)
    recalls = list(hand.core.left.recalls)
    hand.take()

    assert [slot] == recalls


def test_a_pool_in_quarantine_gives_back_what_its_workers_have_not_begun(by_hand, group):
    """It lies behind a call that may never return."""
    hand = by_hand(group("cpu", announces=True, prefetch=4, stuck_after=2.0))
    (slot,) = hand.pool("cpu-1").all_slots
    hand.tell("ready", slot, "cpu-1/1")
    hand.submit("hangs", run_timeout=1.0)
    hand.submit("ahead")
    hand.core.fill(slot, 2, hand.now)
    hand.advance(1.0)
    recalls = []
    while hand.pool("cpu-1").state is not PoolState.QUARANTINED:
        hand.now = hand.core.next_deadline()
        hand.core.advance(hand.now)
        recalls = list(hand.core.left.recalls)
        hand.take()

    assert [slot] == recalls


def test_what_lay_ahead_in_a_group_that_can_run_nothing_any_more_fails(worker):
    """It would wait for ever in a line that nobody serves."""
    hand, slot = worker
    hand.tell("pool_failed", hand.pool("cpu-1"), OSError("gone"), "workers die")
    hand.tell("lost", slot, WorkerDied("killed"), [hand.jobs["ahead"]])

    assert ("FAILED", PoolBroken) == (hand.state("ahead"), type(hand.jobs["ahead"].outcome))


def test_what_comes_back_from_a_worker_while_nothing_is_tried_again_is_cancelled(worker):
    """The scheduler closes and has given up the others that waited: it would be the only one left, for ever."""
    hand, slot = worker
    hand.core.retrying = False
    hand.core.take_back(slot, list(slot.ahead), hand.now)
    hand.take()

    assert ("CANCELLED", "job 2 was cancelled: the scheduler closed") == (
        hand.state("ahead"),
        str(hand.jobs["ahead"].outcome),
    )
