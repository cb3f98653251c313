"""What every race needs: its threads, its end, and the oracle that all share."""

import asyncio
import concurrent.futures
import contextlib

import strands
from exploring import Scenario
from looping import CooperativeLoop

from pools import AsyncioPool
from scheduler import (
    PoolGroup,
    Scheduler,
    SchedulerClosed,
)
from scheduler.testing import check_invariants

DRIVER = ("scheduler._driver", "scheduler._turn", "scheduler._desk")
THREADS = (*DRIVER, "pools.thread_pool")
HANDLES = (*DRIVER, "scheduler._handle", "scheduler._watching", "scheduler._relay")
CLOSING = (*DRIVER, "scheduler._stopping", "pools.thread_pool")
TIMERS = (*DRIVER, "scheduler._alarm")
OPENING = ("scheduler._opening", "scheduler._turn", "scheduler._stopping", "pools.thread_pool")
LOOP = (*DRIVER, "pools.asyncio_pool", "pools._asyncio_loop")

SCENARIOS = []


def scenario(modules=(), **options):
    """Add a scenario with this body."""

    def add(body):
        SCENARIOS.append(Scenario(body, modules, **options))
        return body

    return add


def together(*functions):
    """Call each function in a thread of its own, the last one here; return when all have."""
    values = {}

    def call(index):
        values[index] = functions[index]()

    threads = [strands.Thread(target=call, args=(n,), name=f"caller {n}") for n in range(len(functions) - 1)]
    for thread in threads:
        thread.start()
    call(len(functions) - 1)
    for thread in threads:
        thread.join()
    return [values.get(n) for n in range(len(functions))]


def finished(scheduler, *handles):
    """Close a scheduler without a limit, and judge what it says it did; return its statistics."""
    check_invariants(scheduler)
    report = scheduler.close(finish_within=None)
    assert () == report.unfinished
    assert () == report.abandoned_workers
    assert not [handle for handle in handles if not handle.done()]
    return balanced(report.statistics)


def balanced(now):
    """Check that every job that was submitted has ended, once; return the statistics."""
    ended = now.succeeded + now.failed + now.cancelled + now.expired + now.shed
    assert 0 == now.delayed + now.waiting + now.backing_off + now.running, now
    assert now.submitted == ended, now
    return now


def unless_closed(submit):
    """Return what `submit` returns, or None when the scheduler is closed."""
    with contextlib.suppress(SchedulerClosed):
        return submit()


def error_of(handle):
    """Return what `exception` returns, or the CancelledError that it raises."""
    try:
        return handle.exception()
    except concurrent.futures.CancelledError as error:
        return error


def coroutines(slots=2):
    """Return a scheduler whose jobs are coroutines on a loop that is woven, too."""
    pool = AsyncioPool(slots=slots, loop_factory=CooperativeLoop, lag_limit=None)
    return Scheduler(PoolGroup("aio", pool, dedicated=False))


async def echo(value):
    """Return a value after one round of the loop."""
    await asyncio.sleep(0)
    return value
