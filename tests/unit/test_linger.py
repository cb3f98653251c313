"""Looking before sleeping: short, and only where it can help."""

import itertools
import threading
import time

import pytest

import scheduler._desk
import scheduler._linger
from scheduler import Scheduler
from scheduler._linger import LINGER, linger


class Looks:
    """Settles at the n-th look."""

    def __init__(self, settles_at):
        self.looks = 0
        self.settles_at = settles_at

    def done(self):
        self.looks += 1
        return self.looks >= self.settles_at


@pytest.fixture
def lingering(monkeypatch):
    """Note who is lingered for, on a machine of any size."""
    noted = []

    def note(handle):
        noted.append(handle)
        return linger(handle)

    monkeypatch.setattr(scheduler._linger, "_worth_it", True)
    monkeypatch.setattr(scheduler._desk, "linger", note)
    return noted


def test_what_settles_meanwhile_needs_no_sleep(lingering, monkeypatch):
    """That is all the gain there is."""
    monkeypatch.setattr(scheduler._linger, "monotonic", itertools.repeat(0.0).__next__)
    assert linger(handle := Looks(3))
    assert 3 == handle.looks


def test_what_takes_longer_is_slept_for(lingering):
    """A second of looking would be a second of heat."""
    before = time.monotonic()
    assert not linger(Looks(10**9))
    assert LINGER <= time.monotonic() - before


@pytest.mark.parametrize("lacking", ["_worth_it", "_checksum"])
def test_with_one_core_or_without_zlib_nobody_lingers(lacking, monkeypatch):
    """There the waiter only keeps the job from running."""
    monkeypatch.setattr(scheduler._linger, lacking, None)
    assert not linger(handle := Looks(1))
    assert 0 == handle.looks


def test_a_result_is_lingered_for_only_while_the_job_runs_and_there_is_time(lingering):
    """A job that waits its turn, or a caller that only looks, gains nothing by it."""
    gate, started = threading.Event(), threading.Event()

    def run():
        started.set()
        gate.wait(20)
        return 7

    with Scheduler(1) as s:
        running, waiting = s.submit(run), s.submit(int)
        assert started.wait(20)
        for handle, timeout in ((waiting, 0.001), (running, 0), (running, LINGER / 2)):
            with pytest.raises(TimeoutError):
                handle.result(timeout)
        assert [] == lingering

        with pytest.raises(TimeoutError):
            running.result(0.001)
        assert [running] == lingering
        gate.set()
        assert 7 == running.result(20)


def test_a_job_that_waits_for_another_does_not_linger(lingering):
    """Its worker must be known as blocked at once, or a deadlock would not be seen."""
    gate, started = threading.Event(), threading.Event()

    def inner():
        started.set()
        gate.wait(20)

    with Scheduler(2) as s:
        running = s.submit(inner)
        assert started.wait(20)
        outer = s.submit(lambda: running.exception(0.001))
        gate.set()
        outer.exception(20)

    assert running not in lingering
