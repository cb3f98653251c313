"""Waiting for oneself is detected and said, not hung in silence."""

import threading

import pytest

from policies import CallerRuns
from pools import InlinePool, ThreadPool
from scheduler import PoolGroup, Priority, WouldDeadlock


def test_waiting_for_a_job_behind_oneself_in_the_only_slot_is_said(open_scheduler):
    """The classic of nested submits: the inner job can never start."""
    s = open_scheduler(1)

    def outer():
        inner = s.submit(int, 7)
        with pytest.raises(
            WouldDeadlock, match=r"job 1 in thread-1/1 waits for job 2, which cannot start.*add a slot"
        ):
            inner.result()
        return inner

    assert 7 == s.submit(outer).result(20).result(20)


def test_waiting_for_its_exception_or_with_a_timeout_is_no_silent_hang_either(open_scheduler):
    """Every way of waiting is watched; one with a limit may run into it."""
    s = open_scheduler(1)

    def outer():
        inner = s.submit(int, 7)
        with pytest.raises(WouldDeadlock):
            inner.exception()
        with pytest.raises(TimeoutError):
            inner.result(0.01)
        return inner

    assert 7 == s.submit(outer).result(20).result(20)


def test_all_slots_waiting_for_inner_jobs_is_said_to_the_last(open_scheduler):
    """With four slots it takes four: the last one to wait closes the ring."""
    s = open_scheduler(4)
    together = threading.Barrier(4)

    def outer():
        together.wait(20)
        inner = s.submit(int, 7)
        together.wait(20)
        try:
            return inner.result()
        except WouldDeadlock:
            return "said"

    outcomes = [handle.result(20) for handle in [s.submit(outer) for _ in range(4)]]

    assert "said" in outcomes
    assert {7, "said"} >= set(outcomes)


def test_nested_jobs_with_a_slot_to_spare_just_work(open_scheduler):
    """A guard that cries wolf would forbid what works today."""
    s = open_scheduler(2)

    def outer():
        return s.submit(int, 7).result()

    assert [7] * 200 == [s.submit(outer).result(20) for _ in range(200)]


def test_an_inner_job_in_a_group_of_its_own_just_works(open_scheduler):
    """The remedy that the message names."""
    s = open_scheduler(
        PoolGroup("outer", ThreadPool(slots=1)), PoolGroup("inner", ThreadPool(slots=1), dedicated=True)
    )

    def outer():
        return s.with_options(tags="inner").submit(int, 7).result()

    assert 7 == s.submit(outer).result(20)


def test_a_borrower_cannot_count_on_the_slot_that_is_kept(open_scheduler):
    """It is free, and yet nobody will ever run an ordinary job in it."""
    s = open_scheduler(PoolGroup("high", ThreadPool(slots=2), reserve_for=Priority.HIGH, lends=True, keep=1))

    def outer():
        inner = s.submit(int, 7)
        with pytest.raises(WouldDeadlock):
            inner.result()
        return inner

    assert 7 == s.submit(outer).result(20).result(20)


def test_a_borrower_that_waits_for_an_urgent_job_just_works(open_scheduler):
    """The kept slot is there for exactly that one."""
    s = open_scheduler(PoolGroup("high", ThreadPool(slots=2), reserve_for=Priority.HIGH, lends=True, keep=1))

    def outer():
        return s.with_options(priority=Priority.HIGH).submit(int, 7).result()

    assert [7] * 100 == [s.submit(outer).result(20) for _ in range(100)]


def test_a_borrower_behind_another_borrower_just_works(open_scheduler):
    """Two slots are lent and one is kept, so the inner job has a place."""
    s = open_scheduler(PoolGroup("high", ThreadPool(slots=3), reserve_for=Priority.HIGH, lends=True, keep=1))

    assert [7] * 100 == [s.submit(lambda: s.submit(int, 7).result()).result(20) for _ in range(100)]


def test_submitting_to_a_full_queue_from_the_only_slot_is_said(open_scheduler):
    """The room it waits for would be made by itself."""
    s = open_scheduler(1, capacity=1)

    def outer():
        inner = s.submit(int, 7)
        with pytest.raises(
            WouldDeadlock, match=r"job 1 submits to a full front queue \(capacity=1\).*raise capacity="
        ):
            s.submit(int, 8)
        return inner

    assert 7 == s.submit(outer).result(20).result(20)
    assert s.drain(20)
    assert 2 == s.statistics().submitted == s.statistics().succeeded


def test_a_job_of_another_scheduler_may_wait(open_scheduler):
    """Its slot is not one of those that this scheduler's jobs need."""
    one, other = open_scheduler(1), open_scheduler(1)

    assert 7 == one.submit(lambda: other.submit(int, 7).result()).result(20)


def test_with_caller_runs_a_nested_submit_never_waits(open_scheduler):
    """The other remedy that the message names."""
    s = open_scheduler(1, capacity=1, admission=CallerRuns())

    def outer():
        return [s.submit(int, n) for n in range(5)][1:]

    assert [1, 2, 3, 4] == [handle.result(20) for handle in s.submit(outer).result(20)]


def test_waiting_inside_an_inline_pool_is_said(open_scheduler):
    """There is one slot and one thread, and both are busy waiting."""
    s = open_scheduler(PoolGroup("here", InlinePool()))

    def outer():
        inner = s.submit(int, 7)
        with pytest.raises(WouldDeadlock):
            inner.result()
        return inner

    assert 7 == s.submit(outer).result(0).result(0)


def test_a_slot_that_waits_for_another_group_does_not_make_a_deadlock(open_scheduler, gates):
    """It comes back when that job is done; "every slot waits" is not enough to say that none ever will."""
    s = open_scheduler(
        PoolGroup("outer", ThreadPool(slots=2)), PoolGroup("inner", ThreadPool(slots=1), dedicated=True)
    )
    inner, started = gates(), threading.Event()

    def waits_for_the_other_group():
        handle = s.with_options(tags="inner").submit(inner.stop_here, 1)
        inner.await_arrival()
        started.set()
        return handle.result()

    def waits_for_its_own_group():
        handle = s.submit(int, 7)
        inner.open()
        return handle.result()

    first = s.submit(waits_for_the_other_group)
    assert started.wait(20)
    while not any(slot.waits_for for slot in s._driver.core.pools.find("outer-1").all_slots):
        pass

    assert 7 == s.submit(waits_for_its_own_group).result(20)
    assert 1 == first.result(20)


def test_jobs_that_run_and_wait_for_each_other_are_told(open_scheduler):
    """A ring of two has no slot to blame, and hangs all the same."""
    s = open_scheduler(2)
    handles, both = [], threading.Barrier(2)

    def waits_for(other):
        both.wait(20)
        try:
            return handles[other].result()
        except WouldDeadlock as error:
            return str(error)

    s.pause()
    handles += [s.submit(waits_for, 1), s.submit(waits_for, 0)]
    s.resume()
    outcomes = {handle.result(20) for handle in handles}

    assert 1 == len(outcomes)  # one was told, and its answer is the other's
    assert "which cannot go on" in outcomes.pop()
