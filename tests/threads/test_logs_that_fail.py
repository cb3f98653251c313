"""A log whose disk is full: what its handler raises harms no job, no worker and no scheduler (I14)."""

import logging

import pytest

from pools import AsyncioPool, InlinePool, ThreadPool
from pools.logs import log_of
from scheduler import PoolGroup

PATIENCE = 20.0


class FullDisk(logging.Handler):
    """Raises on every record, unlike the standard library's handlers, and counts them."""

    def __init__(self, error):
        super().__init__()
        self.error, self.records = error, 0

    def emit(self, record):
        self.records += 1
        raise self.error


@pytest.fixture(params=[OSError(28, "No space left on device"), SystemExit(1)], ids=["OSError", "SystemExit"])
def full_disk(request, monkeypatch):
    """The log of the whole library raises, for one test."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger = logging.getLogger("two-tier-scheduler")
    handler = FullDisk(request.param)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def raises(_handle):
    raise ValueError("a callback raises")


async def coroutine(number):
    return number


@pytest.mark.parametrize("pool", [ThreadPool(slots=1), AsyncioPool(slots=1)], ids=["thread", "coroutine"])
def test_a_callback_whose_error_cannot_be_logged_costs_no_worker(open_scheduler, full_disk, pool, eventually):
    """The worker reports a callback's error in the middle of a hand-over: it ended there, and its slot with it."""
    scheduler = open_scheduler(PoolGroup("only", pool))
    function = coroutine if isinstance(pool, AsyncioPool) else abs
    scheduler.pause()
    handles = [scheduler.submit(function, number) for number in range(3)]
    for handle in handles:
        handle.add_done_callback(raises)
    scheduler.resume()

    assert [0, 1, 2] == [handle.result(PATIENCE) for handle in handles]
    eventually(lambda: full_disk.records >= 3)


def test_a_callback_on_a_settled_job_whose_error_cannot_be_logged_harms_not_its_caller(
    open_scheduler, full_disk
):
    """`add_done_callback` promises that what the callback raises is logged, and never raised."""
    handle = open_scheduler(InlinePool()).submit(abs, 1)

    handle.add_done_callback(raises)

    assert full_disk.records == 1


def test_an_observer_whose_error_cannot_be_logged_harms_no_job(open_scheduler, full_disk, eventually):
    """What an observer raised on is told on whichever thread caused it: that of a submitter, or of a worker."""
    scheduler = open_scheduler(ThreadPool(slots=1))
    unsubscribe = scheduler.subscribe(raises)

    handles = [scheduler.submit(abs, number) for number in range(3)]

    assert [0, 1, 2] == [handle.result(PATIENCE) for handle in handles]
    eventually(lambda: full_disk.records > 3, "the news")
    unsubscribe()


class Broken:
    """An ordering policy that raises."""

    few_keys = True

    def key(self, job):
        raise ValueError("no order")


def test_a_policy_whose_error_cannot_be_logged_stops_nobody(open_scheduler, full_disk):
    """It is told after the turn; an error there was owed again by every later turn, and each of them raised it."""
    scheduler = open_scheduler(ThreadPool(slots=1), ordering=Broken())

    assert [0, 1, 2] == [scheduler.submit(abs, number).result(PATIENCE) for number in range(3)]
    assert full_disk.records


def test_a_log_shows_on_standard_error_what_its_handler_raised(full_disk, monkeypatch, capsys):
    """Who configured a log that fails finds out as from the standard library: unless `raiseExceptions` is off."""
    monkeypatch.setattr(logging, "raiseExceptions", True)

    log_of("two-tier-scheduler.pools").warning("something")

    assert type(full_disk.error).__name__ in capsys.readouterr().err


def test_a_log_names_the_line_that_logs(caplog):
    """The wrapper is not whom a reader of the log looks for."""
    log_of("two-tier-scheduler.pools").warning("number %d", 1)

    assert [(record.funcName, record.message) for record in caplog.records] == [
        ("test_a_log_names_the_line_that_logs", "number 1")
    ]
