"""What every test stands on: nothing survives a test, and Hypothesis knows the machine is busy."""

import contextlib
import gc
import multiprocessing
import os
import sys
import threading
import time

import hypothesis
import pytest

#: A worker that was told to stop ends within milliseconds; the rest is for a loaded machine.
PATIENCE = 5.0

# Time limits for single examples measure the neighbours. On a build machine every run repeats the last one.
hypothesis.settings.register_profile(
    "house", deadline=None, print_blob=True, derandomize=bool(os.environ.get("CI"))
)
hypothesis.settings.load_profile("house")


def _workers():
    """Return the threads and child processes of ours that are alive."""
    threads = (t for t in threading.enumerate() if t.name.startswith("two-tier-scheduler"))
    return [*threads, *multiprocessing.active_children()]


def _survivors(known):
    """Return those that are not in ``known`` and do not end while we wait."""
    if not any(worker not in known for worker in _workers()):
        return []
    gc.collect()  # a scheduler that was dropped, not closed, ends its threads when it is collected
    give_up = time.monotonic() + PATIENCE
    for worker in _workers():
        if worker not in known and worker is not threading.current_thread():
            with contextlib.suppress(ValueError):  # a process whose shepherd has just closed it
                worker.join(max(0.0, give_up - time.monotonic()))
    return [worker for worker in _workers() if worker not in known]


@pytest.fixture(autouse=True)
def _nothing_stays_behind():
    """Fail a test that leaves a thread or a child behind: the next test would run beside it."""
    known = _workers()
    yield
    left = _survivors(known)
    assert not left, f"left behind: {left}"


@pytest.fixture(autouse=True, scope="session")
def _nothing_stays_at_all():
    """Fail the run when a fixture that several tests share left a thread or a child behind."""
    yield
    left = _survivors([])
    assert not left, f"left behind by the whole run: {left}"


@pytest.fixture
def untraced():
    """Let a test of very many jobs run without the coverage tracer, which makes it six times as slow.

    Threads that the test starts are not traced either. Only for tests whose lines smaller tests cover too.
    """
    tracer, threads_tracer = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]  # it takes None, whatever its stub says
    yield
    sys.settrace(tracer)
    threading.settrace(threads_tracer)


class Books:
    """Takes snapshots of a scheduler for as long as a test runs; the first wrong one fails the test.

    In every snapshot what was submitted is the sum of where jobs are and how they ended, no pool has
    other slots than it had before, and no group more pools than it may have.
    """

    def __init__(self, scheduler):
        self.snapshots = 0
        #: Every pool ever seen, with its slots.
        self.slots = {}
        #: The most pools seen at once that took jobs or were about to, by group.
        self.most = {}
        self._scheduler = scheduler
        self._limits = {group.name: group.max_pools for group in scheduler.groups}
        self._enough = threading.Event()
        self._error = None
        self._thread = threading.Thread(target=self._watch, name="test-books", daemon=True)
        self._thread.start()

    def look(self):
        """Take one snapshot and judge it."""
        now = self._scheduler.statistics()
        alive = now.delayed + now.waiting + now.backing_off + now.running
        ended = now.succeeded + now.failed + now.cancelled + now.expired + now.shed
        assert now.submitted == alive + ended, now
        counts = {}
        for pool in now.pools:
            assert self.slots.setdefault(pool.pool_id, pool.slots) == pool.slots, pool
            assert 0 <= pool.in_use + pool.down <= pool.slots, pool
            if pool.state.value in ("starting", "accepting", "cordoned"):
                counts[pool.group] = counts.get(pool.group, 0) + 1
        for group, count in counts.items():
            limit = self._limits[group]
            assert limit is None or count <= limit, now.pools
            self.most[group] = max(count, self.most.get(group, 0))
        self.snapshots += 1
        return now

    def close(self):
        """Take the last snapshot; raise what was wrong with any."""
        self._enough.set()
        self._thread.join(PATIENCE)
        if self._error is not None:
            raise self._error
        self.look()

    def _watch(self):
        try:
            while not self._enough.wait(0.002):
                self.look()
        except BaseException as error:
            self._error = error


@pytest.fixture
def keep_books():
    """Return a function that watches a scheduler's snapshots until the test ends."""
    with contextlib.ExitStack() as stack:

        def keep(scheduler):
            return stack.enter_context(contextlib.closing(Books(scheduler)))

        yield keep
