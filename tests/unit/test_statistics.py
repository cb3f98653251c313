"""Statistics: what is counted adds up, and what is measured is right to within a bucket."""

import pytest

from policies import FixedBackoff, Reject
from scheduler._core.statistics import BOUNDS, EMPTY, FOLD_AT, Histogram, Ledger, Meter, merged
from scheduler._errors import QueueFull


def seen(*seconds):
    meter = Meter()
    meter.waits.extend(seconds)
    return meter.freeze()[0]


def test_an_empty_histogram_answers_zero():
    """A dashboard asks before the first job has run."""
    assert (0, 0.0, 0.0) == (EMPTY.count, EMPTY.mean, EMPTY.quantile(0.99))


def test_the_mean_is_exact():
    """Buckets are for quantiles; a sum needs no rounding."""
    assert 2.0 == seen(1.0, 2.0, 3.0).mean


@pytest.mark.parametrize("value", [2e-6, 1e-3, 0.0123, 1.0, 59.9, 86_400.0])
def test_a_quantile_is_right_to_within_one_bucket(value):
    """The documented error is a promise: nine per cent, at any size."""
    assert 1.0 <= seen(value).quantile(0.5) / value < 2 ** (1 / 8) * 1.000001


def test_quantiles_follow_the_ranks():
    """p50 and p99 of a hundred known waits are known."""
    histogram = seen(*([0.001] * 50 + [1.0] * 49 + [100.0]))
    found = [histogram.quantile(share) for share in (0.0, 0.5, 0.51, 0.99, 1.0)]

    assert [0.001, 0.001, 1.0, 1.0, 100.0] == pytest.approx(found, rel=0.095)


def test_quantiles_never_fall_as_the_share_grows():
    """A p99 below a p50 would make every other figure doubtful."""
    histogram = seen(*(0.0001 * number**3 for number in range(1, 200)))
    found = [histogram.quantile(share / 50) for share in range(51)]

    assert sorted(found) == found


@pytest.mark.parametrize("share", [-0.1, 1.1, 99])
def test_a_share_outside_zero_and_one_is_refused(share):
    """quantile(99) is the mistake everybody makes once."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        seen(1.0).quantile(share)


@pytest.mark.parametrize("value", [0.0, 1e-9, 1e-6, 1e6, 1e12])
def test_no_time_is_too_short_or_too_long_to_be_counted(value):
    """A clock's resolution may be zero, and a job may run for a month."""
    assert (1, 1) == (seen(value).count, sum(seen(value).buckets))


def test_a_time_on_a_bound_is_counted_once():
    """Bounds belong to one bucket: bisecting from both sides must agree."""
    assert len(BOUNDS) == sum(seen(*BOUNDS).buckets)


def test_histograms_add_up():
    """The waits of all priorities are the sum of the waits of each."""
    together = seen(0.1, 0.2, 7.0)

    assert together == seen(0.1, 0.2) + seen(7.0) == merged([seen(0.1), seen(0.2), seen(7.0)])


def test_folding_in_parts_counts_the_same():
    """When a meter folds is nobody's business."""
    meter = Meter()
    for second in (3.0, 1.0, 2.0):
        meter.runs.append(second)
        meter.fold()

    assert Histogram(count=3, total=6.0, buckets=seen(1.0, 2.0, 3.0).buckets) == meter.freeze()[1]


def test_freezing_twice_gives_the_same():
    """Looking must not change what is seen."""
    meter = Meter()
    meter.waits.append(1.0)

    assert meter.freeze() == meter.freeze()


def test_a_meter_never_holds_more_than_it_may_before_it_folds(by_hand):
    """Ten million jobs must not leave ten million floats."""
    hand = by_hand(observed=False)
    for number in range(FOLD_AT + 10):
        hand.submit(f"{number}")
        hand.finish(f"{number}")
    meter = hand.core.pools.groups["io"].meters[20]

    assert (True, FOLD_AT + 10) == (len(meter.waits) < FOLD_AT, hand.statistics().wait().count)


def test_a_delayed_job_counts_as_one_submission():
    """It gets a second number when it is due, and is still one job."""
    ledger = Ledger()
    ledger.numbers += 1
    ledger.renumber()

    assert 1 == ledger.submitted


def test_the_room_of_the_front_queue_is_told_beside_what_is_in_it(by_hand):
    """How full it is, is the first thing that an alert asks."""
    assert 5 == by_hand(capacity=5).core.statistics(0.0).capacity


def test_every_job_is_in_the_ledger_exactly_once(by_hand, group):
    """The sentence that adds up is what an operator believes."""
    hand = by_hand(group("io", slots=2), capacity=5, admission=Reject())
    hand.submit("succeeds")
    hand.submit("fails")
    hand.finish("succeeds")
    hand.finish("fails", OSError())
    hand.submit("running")
    hand.submit("retries", retry=FixedBackoff(delay=9.0))
    hand.finish("retries", OSError())
    hand.submit("running too")
    hand.submit("cancelled")
    hand.cancel("cancelled")
    hand.submit("expires", queue_timeout=1.0)
    hand.advance(1.0)
    hand.submit("delayed", delay=9.0)
    hand.submit("waits")
    hand.submit("waits too")
    hand.submit("and so does this")
    with pytest.raises(QueueFull):
        hand.submit("rejected")
    now = hand.statistics()

    assert (11, 1, 3, 1, 2, 1, 1, 1, 1, 0, 1, 1) == (
        now.submitted,
        now.delayed,
        now.waiting,
        now.backing_off,
        now.running,
        now.succeeded,
        now.failed,
        now.cancelled,
        now.expired,
        now.shed,
        now.rejected,
        now.retries,
    )


def test_waits_are_kept_by_priority_and_group(by_hand, group):
    """An average over urgent and bulk work hides exactly what one looks for."""
    hand = by_hand(group("io"), group("cpu", dedicated=True))
    hand.submit("a", priority=10, tags={"io"})
    hand.submit("b", priority=20, tags={"cpu"})
    hand.submit("c", priority=10, tags={"cpu"})
    hand.now = 4.0
    hand.finish("b")
    now = hand.statistics()

    assert (3, 2, 2, 1, 0, 4.0) == (
        now.wait().count,
        now.wait(priority=10).count,
        now.wait(group="cpu").count,
        now.wait(priority=10, group="cpu").count,
        now.wait(priority=99).count,
        now.wait(priority=10, group="cpu").total,
    )


def test_a_retry_waits_from_the_end_of_its_backoff(by_hand):
    """The backoff is the policy's wish and not the queue's fault."""
    hand = by_hand()
    hand.submit("a", retry=FixedBackoff(delay=100.0))
    hand.finish("a", OSError())
    hand.advance(100.0)

    assert 0.0 == hand.statistics().wait().total


def test_run_times_count_every_attempt(by_hand):
    """A failed attempt has used a slot as much as one that succeeded."""
    hand = by_hand()
    hand.submit("a", retry=FixedBackoff(delay=0.0))
    hand.now = 2.0
    hand.finish("a", OSError())
    hand.advance(0.0)
    hand.now = 5.0
    hand.finish("a")

    assert (2, 5.0) == (hand.statistics().run_time().count, hand.statistics().run_time().total)


def test_pools_report_their_load_and_their_overdue_workers(by_hand, group):
    """A thread that does not come back is the operator's business."""
    hand = by_hand(group("io", slots=3))
    hand.submit("a")
    hand.submit("b", run_timeout=1.0)
    hand.advance(1.0)
    (pool,) = hand.statistics().pools

    assert ("io-1", "io", 3, 2, 1) == (pool.pool_id, pool.group, pool.slots, pool.in_use, pool.overdue)


def test_a_snapshot_cannot_be_changed(by_hand):
    """What one observer does to it must not reach the next."""
    hand = by_hand()
    hand.submit("a")
    now = hand.statistics()

    with pytest.raises(TypeError):
        now.waits[20, "io"] = EMPTY
