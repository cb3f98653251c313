"""A process that is short of file descriptors, and one that holds on to errors: neither loses more of them."""

import contextlib
import multiprocessing
import os
import socket
import sys
from pathlib import Path

import process_jobs as jobs
import pytest

from pools import ProcessPool
from pools._process_line import Line
from scheduler import PoolGroup, WorkerDied

resource = pytest.importorskip("resource", reason="there are no limits on files here")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")

PATIENCE = 20.0


def open_files():
    return {int(path.name) for path in Path("/proc/self/fd").iterdir()}


@pytest.fixture
def only_so_many():
    """Return a context in which no more than so many files can be opened beside those that are."""

    @contextlib.contextmanager
    def limit(spare):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = [number for number in range(max(open_files()) + 1) if number not in open_files()]
        fillers = [os.dup(0) for _ in free]  # the limit is on the number, and they are given from below
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_files()) + 1 + spare, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for filler in fillers:
                os.close(filler)

    return limit


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_worker_that_there_are_no_files_for_leaves_none_open(only_so_many, method):
    """Each of its steps may be the one for which there is none; else a shortage would make itself worse by retries."""
    context = multiprocessing.get_context(method)
    hear, wake = socket.socketpair()
    with hear, wake:
        first = Line(context, "first", hear)  # whatever stays for good is there then
        first.end(PATIENCE, now=True)
        first.close()
        before, spare, started = open_files(), 0, None
        while started is None:
            with only_so_many(spare), contextlib.suppress(OSError):
                started = Line(context, "tried", hear)
            if started is None:
                assert before == open_files(), f"with {spare} to spare"
            spare += 1
        started.end(PATIENCE, now=True)
        started.close()

    assert spare > 12
    assert before - {hear.fileno(), wake.fileno()} >= open_files()


def test_a_killed_worker_is_gone_when_it_is_let_go_of_however_busy_the_machine():
    """Patience of kill_after, 0.3 s, was too short under load: a zombie stayed, and two files, until the next start."""
    hear, wake = socket.socketpair()
    with hear, wake:
        before = open_files()
        line = Line(multiprocessing.get_context("spawn"), "killed", hear)
        pid = line.process.pid

        assert line.end(0.0, now=True) == -9

        line.close()
        assert before == open_files()
        assert not Path(f"/proc/{pid}").exists()


@pytest.fixture
def cpu(open_scheduler):
    """A scheduler with one worker process."""
    return open_scheduler(PoolGroup("cpu", ProcessPool(slots=1), dedicated=False))


def test_an_error_that_is_kept_keeps_nothing_of_the_worker_it_came_from(cpu):
    """Its traceback had our frames as callers: every kept error kept a worker's files, and other calls' values."""
    pytest.importorskip("tblib")
    error = cpu.submit(jobs.fail, "kept").exception(PATIENCE)
    frame, callers = error.__traceback__.tb_frame, []
    while frame is not None:
        callers.append(frame.f_code.co_name)
        frame = frame.f_back

    assert not {"_settle", "_serve", "_tend", "error_of"} & set(callers)


def test_the_files_of_a_dead_worker_are_closed_when_it_is_buried(cpu):
    """They were when its process object was collected, and an error that was raised while it was read keeps that."""
    cpu.submit(jobs.pid).result(PATIENCE)
    before, kept = len(open_files()), []

    for _ in range(2):
        kept.append(cpu.submit(jobs.return_on_unpickle, "raise").exception(PATIENCE))
        assert isinstance(cpu.submit(jobs.crash, "exit").exception(PATIENCE), WorkerDied)
    cpu.submit(jobs.pid).result(PATIENCE)

    assert [jobs.Boom] * 2 == [type(error) for error in kept]
    assert before == len(open_files())


def test_workers_that_start_at_the_same_time_do_not_take_each_others_files(only_so_many, in_thread):
    """One asked whether there were enough, another took them, and the first lost two in the standard library."""
    hear, wake = socket.socketpair()
    started = []

    def start():
        with contextlib.suppress(OSError):
            started.append(Line(multiprocessing.get_context("forkserver"), "tried", hear))

    with hear, wake:
        before = open_files()
        for spare in (100, *range(20, 32)):  # with plenty first: what stays for good is there then
            with only_so_many(spare):
                for attempt in [in_thread(start) for _ in range(3)]:
                    attempt.result()
            for line in started:
                line.end(PATIENCE, now=True)
                line.close()
            started.clear()
            before = open_files() if spare == 100 else before
            assert len(before) >= len(open_files()), f"with {spare} to spare"
