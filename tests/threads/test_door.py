"""Block: submitters that wait for room, one behind the other, and wake for every reason there is."""

import threading

import pytest

from policies import Block, CallerRuns, Reject, ShedLowest
from scheduler import JobShed, Priority, QueueFull, SchedulerClosed, current_job
from scheduler.testing import check_invariants


@pytest.fixture
def full(open_scheduler, gate):
    """Return a function that makes a scheduler whose only worker is busy and whose queue is full."""

    def make(admission=None, capacity=1):
        s = open_scheduler(1, capacity=capacity, admission=admission)
        s.submit(gate.stop_here, "first")
        gate.await_arrival()
        for n in range(capacity):
            s.submit(int, n)
        return s

    return make


def at_door(s):
    return len(s._driver.core.gate.door)


def test_submitters_are_served_in_the_order_in_which_they_came(full, gate, in_thread, eventually):
    """Whoever has waited is not overtaken by somebody who has just come."""
    s = full()
    order = []
    submitting = []
    for number in range(8):
        submitting.append(in_thread(s.submit, order.append, number))
        eventually(lambda number=number: at_door(s) == number + 1)
    gate.open()

    for thread in submitting:
        thread.result().result(20)
    assert list(range(8)) == order
    check_invariants(s)


def test_a_newcomer_does_not_slip_past_those_at_the_door(full, gate, in_thread, eventually):
    """Room that appears belongs to whoever stands there, not to the next call of submit."""
    s = full()
    order = []
    waiting = in_thread(s.submit, order.append, "waited")
    eventually(lambda: at_door(s) == 1)
    gate.open()
    waiting.result().result(20)
    s.submit(order.append, "came later").result(20)

    assert ["waited", "came later"] == order


def test_after_its_timeout_a_submitter_is_told_that_the_queue_is_full(full, gate):
    """A bounded wait, with the limit and the remedy in the message."""
    s = full(Block(timeout=0.01))

    with pytest.raises(QueueFull, match=r"stayed at capacity=1 for 0.01 s; .*raise capacity="):
        s.submit(int)

    assert 0 == at_door(s)
    assert 1 == s.statistics().rejected
    gate.open()
    assert s.drain(20)
    assert 2 == s.statistics().submitted == s.statistics().succeeded


def test_a_submitter_that_gives_up_does_not_hold_up_those_behind_it(full, gate, in_thread, eventually):
    """A place in the row that nobody fills must close up."""
    s = full(Block(timeout=0.2))
    first = in_thread(s.submit, int, 1)
    eventually(lambda: at_door(s) == 1)
    first.join(20)
    second = in_thread(s.submit, int, 2)
    eventually(lambda: at_door(s) == 1)
    gate.open()

    assert 2 == second.result().result(20)
    with pytest.raises(QueueFull):
        first.result()


def test_closing_wakes_everybody_at_the_door(full, gate, in_thread, eventually):
    """Sixteen threads that wait for room that will never come."""
    s = full()
    submitting = [in_thread(s.submit, int) for _ in range(16)]
    eventually(lambda: at_door(s) == 16)

    s.shutdown(wait=False)

    for thread in submitting:
        with pytest.raises(SchedulerClosed, match="cannot schedule new futures"):
            thread.result()
    gate.open()
    report = s.close()
    assert (2, 16) == (report.statistics.submitted, report.statistics.rejected)


def test_cancelling_a_waiting_job_makes_room(full, gate, in_thread, eventually):
    """Room is room, whoever made it."""
    s = full()
    victim = next(iter(s._driver.core.queue))
    waiting = in_thread(s.submit, int, 7)
    eventually(lambda: at_door(s) == 1)

    assert victim.cancel()

    handle = waiting.result()
    gate.open()
    assert 7 == handle.result(20)


def test_many_submitters_and_a_small_queue_lose_nothing(open_scheduler, in_thread):
    """Every wake-up at the door is a race between room, timeouts and those who come."""
    s = open_scheduler(2, capacity=2)
    submitting = [in_thread(lambda: [s.submit(int, n) for n in range(500)]) for _ in range(8)]

    handles = [handle for thread in submitting for handle in thread.result()]

    assert list(range(500)) * 8 == [handle.result(20) for handle in handles]
    assert s.drain(20)
    check_invariants(s)
    assert 4000 == s.statistics().succeeded


def test_many_submitters_with_short_patience_add_up(open_scheduler, in_thread):
    """Whoever gives up at the very moment room appears is either in or out, and counted as that."""
    s = open_scheduler(1, capacity=1, admission=Block(timeout=0.0005))

    def submit_many():
        handles = []
        refused = 0
        for n in range(300):
            try:
                handles.append(s.submit(threading.Event().wait, 0.0004 * (n % 3)))
            except QueueFull:
                refused += 1
        return handles, refused

    outcomes = [thread.result() for thread in [in_thread(submit_many) for _ in range(4)]]

    handles = [handle for some, _ in outcomes for handle in some]
    for handle in handles:
        handle.result(20)
    assert s.drain(20)
    ledger = s.statistics()
    assert len(handles) == ledger.succeeded == ledger.submitted
    assert sum(refused for _, refused in outcomes) == ledger.rejected
    check_invariants(s)


def test_reject_tells_at_once(full, gate):
    """Load that is shed at the door costs the least."""
    s = full(Reject())

    with pytest.raises(QueueFull, match=r"holds 1 jobs and capacity=1"):
        s.submit(int)
    gate.open()


def test_shed_lowest_evicts_the_job_that_would_start_last(full, gate):
    """The evicted one is told by name; the newcomer takes its place."""
    s = full(ShedLowest())
    victim = next(iter(s._driver.core.queue))

    urgent = s.with_options(priority=Priority.HIGH).submit(int, 7)

    with pytest.raises(JobShed, match=rf"job {victim.id} \(priority 20\) was evicted"):
        victim.result(0)
    with pytest.raises(QueueFull):
        s.with_options(priority=Priority.BULK).submit(int)
    gate.open()
    assert 7 == urgent.result(20)
    assert (1, 1) == (s.statistics().shed, s.statistics().rejected)


def test_caller_runs_slows_the_submitter_down_by_just_that_job(full, gate):
    """Back-pressure without waiting: the job runs here and now."""
    s = full(CallerRuns())

    handle = s.submit(lambda: (threading.current_thread(), current_job().worker))

    assert (threading.current_thread(), "caller") == handle.result(0)
    assert "caller" == handle.attempts[0].worker
    gate.open()


def test_a_failing_caller_run_job_does_not_raise_in_submit(full, gate):
    """Its error belongs to its handle, as everywhere."""
    s = full(CallerRuns())

    handle = s.submit(int, "x")

    assert isinstance(handle.exception(0), ValueError)
    gate.open()
