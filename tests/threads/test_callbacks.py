"""What done-callbacks may ask for: they hold a slot, whoever runs them, and nobody may wait for himself."""

import asyncio
import threading
import time

import pytest

from policies import FixedPools
from pools import AsyncioPool, InlinePool, ProcessPool, ThreadPool
from scheduler import PoolGroup, WouldDeadlock

#: Recipes of a pool with one slot, and a job that succeeds or fails a little later, when it has its callback.
POOLS = {
    "threads": (ThreadPool(1), time.sleep),
    "processes": (ProcessPool(1, kill_after=0.1), time.sleep),
    "coroutines": (AsyncioPool(1), asyncio.sleep),
}
SECONDS = {"succeeds": 0.05, "fails": "x"}


@pytest.fixture(params=POOLS)
def called_back(request, open_scheduler):
    """Return a function that has a callback ask something of its scheduler, and returns the answer or the error."""
    pool, job = POOLS[request.param]
    s = open_scheduler(
        PoolGroup("g", pool, min_pools=1, max_pools=2, scaling=FixedPools(), dedicated=False),
        check_invariants=True,
    )

    def ask(question, *, how="succeeds", pools=1):
        for _ in range(pools - 1):
            s.add_pool("g")
        answers, asked = [], threading.Event()

        def callback(handle):
            try:
                answers.append(question(s, handle, job))
            except WouldDeadlock as error:
                answers.append(error)
            finally:
                asked.set()

        s.submit(job, 0).result(20)  # its worker is up
        s.pause()
        handle = s.submit(job, SECONDS[how])
        handle.add_done_callback(callback)
        s.resume()
        assert asked.wait(20), "the callback waits for ever"
        handle.exception(20)
        return s, handle, answers[0]

    return ask


@pytest.mark.parametrize("how", SECONDS)
def test_a_callback_may_drain_the_pool_that_its_job_ran_in(called_back, eventually, how):
    """It waited for ever: the pool keeps the slot until the callback, which waited for that, has returned."""

    def drain(s, handle, _job):
        return s.drain_pool(handle.attempts[0].pool)

    s, handle, report = called_back(drain, how=how, pools=2)

    assert (handle.attempts[0].pool, False, ()) == (report.pool_id, report.drained, report.running)
    eventually(lambda: report.pool_id not in [pool.pool_id for pool in s.pools()], "the end of the pool")


@pytest.mark.parametrize("how", SECONDS)
def test_a_callback_that_waits_for_a_job_which_needs_its_slot_is_told(called_back, how):
    """Callbacks of processes run in the thread that looks after the worker, and waited for ever."""
    _, _, answer = called_back(lambda s, _handle, job: s.submit(job, 0).result(), how=how)

    assert isinstance(answer, WouldDeadlock)
    assert "a callback in g-1/1" in str(answer)


def test_a_callback_that_closes_the_scheduler_is_not_waited_for(called_back):
    """With processes, closing waited for its own thread until it lost patience with the pool."""
    _, _, report = called_back(lambda s, *_: s.close(finish_within=15, cancel_within=1))

    assert report.complete
    assert report.duration < 3


def test_ctrl_c_in_a_callback_is_not_told_as_its_fault(open_scheduler, caplog):
    """Whoever presses it would read a traceback of code that has done nothing wrong."""
    s = open_scheduler(InlinePool())

    def interrupted(_handle):
        raise KeyboardInterrupt

    s.pause()
    handle = s.submit(int)
    handle.add_done_callback(interrupted)
    with pytest.raises(KeyboardInterrupt):
        s.resume()

    assert (0, []) == (handle.result(20), caplog.records)
