"""Hedges on the real scheduler: exactly one outcome, whoever comes first, and the other one is told."""

import asyncio
import threading

import pytest

from policies import FixedBackoff, Hedge, RetryBudget
from pools import AsyncioPool, ThreadPool
from scheduler import PoolGroup, current_job

EAGER = Hedge(quantile=0.5, samples_min=3, budget=RetryBudget(name="eager", reserve_per_second=1000.0))


def warmed(scheduler, **options):
    """Return a submitter whose jobs are hedged at once, nearly: some have run in no time."""
    for handle in [scheduler.submit(int) for _ in range(5)]:
        handle.result()
    return scheduler.with_options(hedge=EAGER, **options)


def hedge_once(began, clock):
    """Let it become time for the hedge when the attempt is there, lest the hedge come first."""
    assert began.wait(20)
    clock.advance(1.0)


def test_the_hedge_answers_for_an_attempt_that_hangs(open_scheduler, clock, eventually):
    """That is what it is for; and the one that hangs is told to stop, in its own token."""
    scheduler = open_scheduler(PoolGroup("io", ThreadPool(slots=3)), clock=clock)
    calls, began, stopped, patience = [], threading.Event(), threading.Event(), threading.Event()

    def work():
        calls.append(current_job())
        if len(calls) == 1:
            began.set()
            while not current_job().interrupted:
                patience.wait(0.001)
            stopped.set()
            return "too late"
        return current_job().worker

    told = []
    handle = warmed(scheduler).submit(work)
    handle.add_done_callback(told.append)
    hedge_once(began, clock)
    worker = handle.result(timeout=20)

    assert stopped.wait(20)
    assert [1, 1] == [call.attempt for call in calls]
    assert worker == calls[1].worker != calls[0].worker
    eventually(lambda: told == [handle], "the notice")  # results are there before callbacks are called
    assert [worker] == [attempt.worker for attempt in handle.attempts]
    assert (1, 1) == (scheduler.statistics().hedges, scheduler.statistics().hedges_won)


def test_both_return_at_once_and_one_counts(open_scheduler):
    """The two deliver under one lock, each believing to be first: one outcome, one notice, no slot lost."""
    scheduler = open_scheduler(PoolGroup("io", ThreadPool(slots=2)))
    submitter, told = warmed(scheduler), []
    for number in range(50):
        both = threading.Barrier(2)

        def work(both=both, number=number):
            both.wait(20)
            return number, current_job().worker

        handle = submitter.submit(work)
        handle.add_done_callback(lambda handle: told.append(handle.result()[0]))
        answer, worker = handle.result(timeout=20)
        assert number == answer
        assert worker == handle.attempts[-1].worker
        while scheduler.pools()[0].in_use:  # the loser has yet to come back
            threading.Event().wait(0)

    assert list(range(50)) == sorted(told)
    now = scheduler.statistics()
    assert (50, 50, 55) == (now.hedges, now.late, now.succeeded)


@pytest.mark.parametrize("wins", [0, 1])
def test_coroutines_are_hedged_and_the_loser_is_cancelled(open_scheduler, wins):
    """In an event loop the loser ends at its next await."""
    scheduler = open_scheduler(PoolGroup("web", AsyncioPool(slots=3)))
    submitter = scheduler.with_options(hedge=EAGER)
    ended, began = [], []

    async def quick():
        return None

    async def work():
        number = len(began)
        began.append(number)
        try:
            while number != wins or len(began) < 2:  # noqa: ASYNC110  until it is cancelled
                await asyncio.sleep(0)
            return number
        finally:
            ended.append(number)

    for handle in [scheduler.submit(quick) for _ in range(5)]:
        handle.result(timeout=20)
    assert wins == submitter.submit(work).result(timeout=20)
    while scheduler.pools()[0].in_use:
        threading.Event().wait(0)
    assert [0, 1] == sorted(ended)


def test_a_hedge_that_returns_what_the_policy_rejects_does_not_win(open_scheduler, clock):
    """A value that would have failed the attempt must not make it succeed because it came from the hedge."""
    scheduler = open_scheduler(PoolGroup("io", ThreadPool(slots=2)), clock=clock)
    calls, began, hedge_is_back = [], threading.Event(), threading.Event()

    def work():
        calls.append(None)
        if len(calls) > 1:
            return None
        began.set()
        while scheduler.statistics().late == 0:
            hedge_is_back.wait(0.001)
        return "from the first"

    retry = FixedBackoff(delay=0.0, retry_if_result=lambda value: value is None)
    handle = warmed(scheduler, retry=retry).submit(work)
    hedge_once(began, clock)

    assert "from the first" == handle.result(timeout=20)
    assert (1, 0) == (len(handle.attempts), scheduler.statistics().hedges_won)
