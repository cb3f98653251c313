"""An alarm that rings late, because the machine slept or was busy: much is due at once, in an order of its own."""

import pytest

from policies import CircuitBreaker, FixedBackoff


@pytest.mark.parametrize(
    "options", [{"delay": 1.0}, {"retry": FixedBackoff(delay=1.0)}], ids=["delay", "backoff"]
)
def test_a_job_whose_deadline_is_over_as_well_does_not_start(by_hand, options):
    """After the machine had slept, a call ran for a job that was already too late, and kept its slot busy."""
    hand = by_hand()
    hand.submit("late", deadline=2.0, **options)
    if "retry" in options:
        hand.finish("late", OSError("it failed"))
    started = list(hand.started)
    hand.advance(60.0)

    assert (started, ["late"]) == (hand.started, hand.settled)
    assert "EXPIRED" == hand.jobs["late"].state.name


def test_what_is_overdue_is_no_later_than_what_fails_fast(by_hand, monkeypatch):
    """With more timers due than one turn takes, I9 was told to be broken while jobs failed at an open breaker."""
    monkeypatch.setattr("scheduler._core.core.TIMERS_PER_TURN", 1)
    monkeypatch.setattr("scheduler._core.capacity.JOBS_PER_TURN", 1)
    breaker = CircuitBreaker(tag="io", window=1, calls_min=1, open_for=5.0, when_open="fail")
    hand = by_hand(breakers=[breaker])
    hand.submit("fails", tags=["io"])
    hand.submit("waits", tags=["io"])
    hand.submit("waits too", tags=["io"])
    for name in ("first", "second", "third"):
        hand.submit(name, tags=["io"], delay=1.0)
    hand.now = 2.0
    hand.finish("fails", OSError("it failed"))
    hand.advance(0.0)
    while hand.core.next_deadline() <= hand.now:
        hand.advance(0.0)

    assert ["fails", "waits", "waits too", "first", "second", "third"] == sorted(
        hand.settled, key=list(hand.jobs).index
    )
