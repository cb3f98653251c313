"""What every test stands on: nothing survives a test, and Hypothesis knows the machine is busy."""

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

    Only for tests whose lines smaller tests cover too.
    """
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)
