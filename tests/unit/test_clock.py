"""Clocks: seconds that never go back, by the system's hand or by the test's."""

import math
import threading

import pytest

from scheduler._clock import SystemClock, VirtualClock


def test_the_system_clock_never_goes_back():
    """Every limit is a difference of two readings."""
    clock = SystemClock()
    readings = [clock.now() for _ in range(1000)]

    assert sorted(readings) == readings


def test_virtual_time_stands_still_until_it_is_moved():
    """A test that depends on how long it takes is no test."""
    clock = VirtualClock(start=5.0)

    assert [5.0, 5.0] == [clock.now(), clock.now()]


def test_virtual_time_moves_by_just_what_it_is_told():
    """Two advances of one second are two seconds."""
    clock = VirtualClock()
    clock.advance(1.0)
    clock.advance(1.5)

    assert 2.5 == clock.now()


def test_virtual_time_stops_at_every_moment_at_which_something_is_due():
    """Whatever a due timer starts must see the moment it was due, not the end of the jump."""
    clock, due, seen = VirtualClock(), [1.0, 2.5, 4.0], []

    def bell():
        seen.append(clock.now())
        while due and due[0] <= clock.now():
            due.pop(0)
        return due[0] if due else math.inf

    clock.attach(bell)
    clock.advance(3.0)

    assert ([0.0, 1.0, 2.5], 3.0, [4.0]) == (seen, clock.now(), due)


def test_virtual_time_rings_what_is_due_now_without_moving():
    """advance(0) is how a test lets a backoff of no seconds end."""
    clock, due = VirtualClock(), [0.0]

    def bell():
        due.clear()
        return math.inf

    clock.attach(bell)
    clock.advance(0.0)

    assert ([], 0.0) == (due, clock.now())


def test_virtual_time_never_goes_back_for_a_bell_that_is_late():
    """What was due in the past is due now."""
    clock, answers = VirtualClock(start=10.0), [3.0, math.inf]
    clock.attach(lambda: answers.pop(0))
    clock.advance(1.0)

    assert 11.0 == clock.now()


def test_several_bells_ring_in_order_of_time():
    """Two schedulers in one test share one time."""
    clock, seen = VirtualClock(), []

    def bell(name, due):
        def ring():
            while due and due[0] <= clock.now():
                seen.append((name, due.pop(0)))
            return due[0] if due else math.inf

        return ring

    clock.attach(bell("a", [1.0, 4.0]))
    clock.attach(bell("b", [2.0, 3.0]))
    clock.advance(5.0)

    assert [("a", 1.0), ("b", 2.0), ("b", 3.0), ("a", 4.0)] == seen


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf, -0.001])
def test_time_does_not_move_by_nonsense(seconds):
    """Infinity would ring for ever, and a negative step would break every difference."""
    clock = VirtualClock()
    with pytest.raises(ValueError, match="advance"):
        clock.advance(seconds)

    assert 0.0 == clock.now()


def test_a_bell_that_raises_does_not_keep_the_clock():
    """One test's mistake must not hang the next one's advance()."""
    clock, answers = VirtualClock(), [ZeroDivisionError, None]

    def bell():
        if answers.pop(0):
            raise ZeroDivisionError
        return math.inf

    clock.attach(bell)
    with pytest.raises(ZeroDivisionError):
        clock.advance(1.0)
    clock.advance(1.0)

    assert 1.0 == clock.now()


def test_time_moved_by_what_rings_does_not_hang():
    """A job in an InlinePool that lets its own time pass is the natural way to model a run time."""
    clock, seen, due = VirtualClock(), [], [1.0]

    def bell():
        if due and due[0] <= clock.now():
            due.pop()
            clock.advance(5.0)
            seen.append(clock.now())
        return due[0] if due else math.inf

    clock.attach(bell)
    patient = threading.Thread(target=clock.advance, args=(2.0,), daemon=True)
    patient.start()
    patient.join(5.0)

    assert (False, [6.0]) == (patient.is_alive(), seen)
