"""Stalls threads at random where functions begin: what a busy machine does now and then, a hundred times a test.

A pytest plugin, used by ``make stalls``. Each test runs as often as ``TIMES`` says, each time with other stalls: few
long ones or many short ones, in the scheduler, the pools, the standard library's `threading` and the test itself; jobs
are stalled more often than the rest. A test that fails here has taken for granted who comes first.

Not in the core: a turn is stalled where it begins, with the lock held, and inside it nobody else could see it.
"""

import os
import random
import sys
import threading
import time
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
#: Files whose functions are stalled: those that begin so, but for the core's.
_PLACES = (
    *(f"{HOUSE}{os.sep}{part}{os.sep}" for part in ("scheduler", "pools", "tests")),
    threading.__file__,
)
_CORE = f"{os.sep}_core{os.sep}"
#: What share of calls is stalled, and for how many seconds at most.
_MODES = ((0.001, 0.1), (0.003, 0.02), (0.005, 0.05), (0.02, 0.003), (0.1, 0.0005))
#: The same share for functions of the test that other threads call: its jobs, callbacks and observers.
_SHARES_OF_JOBS = (0.0, 0.1, 0.5)
#: Seconds of stalls a test, of all its threads together: far below what tests wait before they give up.
BUDGET = 4.0


class Stalls:
    """Stalls the threads that are started, and the one that starts it, until it is stopped."""

    def __init__(self, seed):
        self._random = random.Random(seed).random
        self.share, self.longest = random.Random(seed).choice(_MODES)
        self.share_of_jobs = random.Random(seed).choice(_SHARES_OF_JOBS)
        self._left = BUDGET
        self._chosen = {}

    def __repr__(self):
        return f"{self.share:.1%} of calls and {self.share_of_jobs:.0%} of jobs for up to {self.longest} s"

    def start(self):
        threading.setprofile(self._on)
        sys.setprofile(self._on)

    def stop(self):
        self._left = 0.0  # threads that are still there keep the profiler
        sys.setprofile(None)
        threading.setprofile(None)

    def _on(self, frame, event, _argument):
        if event != "call" or self._left <= 0.0:
            return
        file = frame.f_code.co_filename
        chosen = self._chosen.get(file)
        if chosen is None:
            chosen = self._chosen[file] = file.startswith(_PLACES) and _CORE not in file
        if not chosen:
            return
        of_test = file.startswith(_PLACES[2]) and threading.current_thread() is not threading.main_thread()
        if self._random() < (self.share_of_jobs if of_test else self.share):
            began = time.monotonic()
            time.sleep(self._random() * self.longest)
            self._left -= time.monotonic() - began  # far longer than asked for while others spin for a lock


def pytest_generate_tests(metafunc):
    metafunc.fixturenames.append("_time")
    metafunc.parametrize("_time", range(int(os.environ.get("TIMES", "1"))))


@pytest.fixture
def _time():
    """Let each test run that often."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    item.stalls = Stalls(random.SystemRandom().getrandbits(32))
    item.stalls.start()
    try:
        return (yield)
    finally:
        item.stalls.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.failed and hasattr(item, "stalls"):
        report.sections.append(("stalled", repr(item.stalls)))
    return report
