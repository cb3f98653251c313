"""Errors that come from where nobody looks: no stack, a class that forbids assignments, a thread that is refused."""

import sys
import threading
from dataclasses import dataclass

import pytest

from policies import FixedBackoff
from pools import InlinePool, ThreadPool
from scheduler import JobState, PoolGroup, Scheduler, VirtualClock
from scheduler.testing import check_invariants

#: Frames left on the stack when submit is called; beyond the last, it gets through.
HEADROOMS = range(60)


@dataclass(frozen=True)
class Frozen(Exception):
    """Its instances take no assignment, not even of a traceback."""

    key: str


class Untraceable(Exception):
    """An error that will not be given a traceback."""

    def with_traceback(self, trace):
        raise RuntimeError("not mine")


def depth():
    """Return how many frames are on the stack."""
    frame, count = sys._getframe(), 0
    while frame is not None:
        frame, count = frame.f_back, count + 1
    return count


def with_headroom(frames, function):
    """Call ``function()`` with only so many frames left."""

    def descend(left):
        return descend(left - 1) if left > 0 else function()

    return descend(sys.getrecursionlimit() - depth() - frames)


@pytest.mark.parametrize("options", [{}, {"deadline": 60.0, "run_timeout": 50.0, "queue_timeout": 40.0}])
@pytest.mark.parametrize("busy", [False, True], ids=["free", "busy"])
def test_a_submit_without_stack_leaves_the_scheduler_whole(open_scheduler, in_thread, gates, options, busy):
    """A runaway recursion that submits on its way left the lock taken, and every thread waited for ever."""
    for frames in HEADROOMS:
        s = open_scheduler(1)
        gate = gates()
        if busy:
            s.submit(gate.stop_here)
            gate.await_arrival()
        submit = s.with_options(**options).submit

        def torn(frames=frames, submit=submit):
            try:
                return with_headroom(frames, lambda: submit(int, 3))
            except RecursionError:
                return None

        handle = in_thread(torn).result()
        gate.open()

        assert 7 == s.submit(int, 7).result(10)
        assert s.drain(10)
        check_invariants(s)
        assert s.statistics().submitted == s.statistics().succeeded
        if handle is not None:
            assert 3 == handle.result(10)
        s.close()
    assert handle is not None


def test_other_calls_without_stack_leave_the_scheduler_whole(open_scheduler, in_thread):
    """Asking for statistics at the end of a recursion must not end the scheduler."""
    s = open_scheduler(2)
    for frames in HEADROOMS:

        def torn(frames=frames):
            try:
                return with_headroom(frames, s.statistics)
            except RecursionError:
                return None

        in_thread(torn).result()
        assert 7 == s.submit(int, 7).result(10)
    check_invariants(s)
    assert in_thread(torn).result() is not None


@pytest.mark.parametrize("error", [Frozen("k"), Untraceable("u")], ids=["frozen", "untraceable"])
@pytest.mark.parametrize("pool", [ThreadPool(slots=1), InlinePool()], ids=["thread", "inline"])
def test_an_error_whose_class_forbids_assignments_reaches_its_handle(open_scheduler, pool, error):
    """Its traceback could not be trimmed: the worker died, and the handle never settled."""
    s = open_scheduler(pool)

    def fail():
        raise error

    assert error is s.submit(fail).exception(10)
    assert 7 == s.submit(int, 7).result(10)


def test_a_retry_policy_that_fails_is_the_cause_at_the_root(open_scheduler):
    """The job's own error may have a cause already, and its class may forbid another."""

    class Policy:
        def retry_after(self, failure, uniform):
            raise SystemExit("policy")

    s = open_scheduler(1, retry=Policy())

    def fail():
        raise Frozen("k") from OSError("root")

    error = s.submit(fail).exception(10)

    assert (Frozen("k"), "root") == (error, str(error.__cause__))
    assert isinstance(error.__cause__.__cause__, SystemExit)
    assert 7 == s.submit(int, 7).result(10)


class Faulty(ThreadPool):
    """A pool whose first delivery raises when it is done."""

    def open(self, pool_id, front):
        pool = super().open(pool_id, front)
        once = iter([True])

        def deliver(slot, value, error):
            following = front.deliver(slot, value, error)
            if next(once, False):
                raise LookupError("a bug of ours")
            return following

        pool._deliver = deliver
        return pool


def test_a_delivery_that_raises_costs_no_worker(open_scheduler, caplog):
    """Whatever escapes the scheduler in a worker's thread, the next job must find the worker there."""
    s = open_scheduler(PoolGroup("io", Faulty(1)))

    assert [1, 2, 3] == [s.submit(int, number).result(10) for number in (1, 2, 3)]
    assert "could not deliver" in caplog.text


def test_a_thread_that_the_system_refuses_costs_no_job_and_no_pool(open_scheduler, gates, monkeypatch):
    """With two workers alive, one that cannot be had is no reason to fail everything, or anything."""
    s = open_scheduler(3)
    held = [gates() for _ in range(2)]
    for gate in held:
        s.submit(gate.stop_here)
        gate.await_arrival()
    start, refused = threading.Thread.start, []

    def refuse(thread):
        if thread.name.endswith("thread-1/3") and not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    third = s.submit(int, 3)

    assert 1 == len(refused)
    assert JobState.WAITING is third.state
    assert 1 == s.pools()[0].down
    held[0].open()
    assert 3 == third.result(10)
    assert 1 == len(third.attempts)
    held[1].open()
    s.drain(10)
    assert [4, 5, 6] == [s.submit(int, n).result(10) for n in (4, 5, 6)]
    assert 0 == s.pools()[0].down


def test_submitters_who_are_all_let_in_to_a_broken_group_return(open_scheduler, in_thread, gate):
    """Each that failed at once let the next one in, inside itself: at 300 the stack was full and all hung."""

    def initialize():
        gate.stop_here()
        raise ValueError("no licence")

    s = open_scheduler(PoolGroup("io", ThreadPool(1, initializer=initialize)), capacity=1)
    first = s.submit(int)
    gate.await_arrival()
    second = s.submit(int)
    submitters = [in_thread(lambda: s.submit(int).exception(20)) for _ in range(400)]
    while len(s._driver.core.gate.door) < 400:
        submitters[0].join(0.001)
    gate.open()

    assert {"PoolBroken"} == {type(one.result()).__name__ for one in submitters}
    assert all(handle.exception(20) for handle in (first, second))


@pytest.mark.parametrize("limit", ["deadline", "queue_timeout"])
def test_a_limit_of_the_job_bounds_its_wait_at_the_door(open_scheduler, gate, limit):
    """A deadline counts from submit: a submitter that stands before a full queue must come back."""
    s = open_scheduler(1, capacity=1)
    s.submit(gate.stop_here)
    s.submit(int)

    with pytest.raises(Exception, match=f"raise capacity= or {limit}=") as caught:
        s.with_options(**{limit: 0.05}).submit(int)
    assert "QueueFull" == type(caught.value).__name__
    gate.open()
    assert 1 == s.close().statistics.rejected


def test_what_an_error_says_is_asked_outside_the_lock(open_scheduler):
    """The text of an error is anybody's code; under the lock it holds up everybody."""
    owned = []

    class Nosy(Exception):
        def __str__(self):
            owned.append(s._driver.owned())
            return "nosy"

    def initialize():
        raise Nosy

    s = open_scheduler(1, retry=None)
    s.subscribe(lambda _event: None)

    def fail():
        raise Nosy

    s.with_options(retry=FixedBackoff(delay=0.0, attempts_max=2)).submit(fail).exception(10)
    broken = open_scheduler(PoolGroup("io", ThreadPool(1, initializer=initialize)))
    broken.submit(int).exception(10)

    assert owned
    assert not any(owned)


def test_an_observer_that_was_subscribed_twice_is_unsubscribed_once(open_scheduler, eventually):
    """Two components may share a function; one that leaves must not silence the other."""
    s = open_scheduler(1)
    heard = []
    s.subscribe(heard.append)
    observer = heard.append
    first, _second = s.subscribe(observer), s.subscribe(observer)
    first()
    s.submit(int).result(10)
    s.drain(10)

    eventually(lambda: 2 * 3 <= len(heard), "the news")
    assert 2 * 3 == len(heard)


def test_an_ordering_policy_needs_only_its_one_method(open_scheduler):
    """Whatever has the method is a policy."""

    class Backwards:
        def key(self, job):
            return -job.priority

    s = open_scheduler(1, ordering=Backwards())
    s.pause()
    order = []
    for priority in (1, 3, 2):
        s.with_options(priority=priority).submit(order.append, priority)
    s.resume()
    s.drain(10)

    assert [3, 2, 1] == order


def test_a_scheduler_with_a_clock_that_stands_still_can_be_left(in_thread):
    """A job that waits for a moment which never comes must not keep its scheduler."""

    def leave():
        with Scheduler(1, clock=VirtualClock()) as s:
            handle = s.with_options(delay=5.0).submit(int)
        return handle.state

    assert JobState.CANCELLED is in_thread(leave).result()
