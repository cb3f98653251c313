"""When a worker is retired, without a worker."""

import os

import pytest

import pools._process_recycle as recycle
from pools import Recycle


def test_limits_are_drawn_from_the_upper_fifth():
    """Jitter, so that not all workers are away at the same moment; never more than was asked for."""
    drawn = {Recycle(jobs=1000).limits().left for _ in range(200)}

    assert len(drawn) > 20
    assert 800 <= min(drawn) <= max(drawn) <= 1000


def test_jobs_are_counted_as_they_end():
    """A worker may run exactly as many as its limit says."""
    limits = Recycle(jobs=1).limits()
    assert 1 == limits.left

    assert limits.over(None, 1)
    assert limits.reached


def test_age_is_told_by_the_clock(monkeypatch):
    """A leak of time, such as a stale connection, has nothing to do with the number of jobs."""
    now = [100.0]
    monkeypatch.setattr(recycle.time, "monotonic", lambda: now[0])
    limits = Recycle(age=10.0).limits()
    now[0] += 7.9
    assert not limits.over(None, 1)
    now[0] += 2.2

    assert limits.over(None, 1)


def test_memory_is_looked_at_ten_times_a_second_at_most(monkeypatch):
    """Reading it costs more than a small job does."""
    now, asked = [100.0], []
    monkeypatch.setattr(recycle.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(recycle, "memory_of", lambda pid: asked.append(pid) or 2**20)
    limits = Recycle(rss=2**21).limits()
    asked.clear()
    for _ in range(100):
        assert not limits.over(7, 1)
        now[0] += 0.01

    assert 9 <= len(asked) <= 11
    monkeypatch.setattr(recycle, "memory_of", lambda _pid: 2**21)
    now[0] += 1.0
    assert limits.over(7, 1)


def test_no_limit_is_never_reached():
    """`Recycle()` recycles nothing."""
    limits = Recycle().limits()

    assert not limits.over(os.getpid(), 10**9)


def test_the_memory_of_a_process_that_is_gone_is_unknown():
    """It may have ended between two looks."""
    assert (recycle.memory_of(os.getpid()) or 0) > 0
    assert recycle.memory_of(2**22 + 1) is None


@pytest.mark.parametrize("limit", [{"jobs": 0}, {"jobs": 1.5}, {"jobs": True}, {"rss": -1}, {"rss": "1G"}])
def test_senseless_counts_are_refused(limit):
    """A limit that is never or always reached is a mistake to be told at once."""
    with pytest.raises(ValueError, match=r"Recycle\((jobs|rss)=\) must be a positive integer"):
        Recycle(**limit)


@pytest.mark.parametrize(("age", "kind"), [(0, ValueError), (-1.0, ValueError), ("1h", TypeError)])
def test_senseless_ages_are_refused(age, kind):
    """The same for seconds."""
    with pytest.raises(kind, match=r"Recycle\(age=\)"):
        Recycle(age=age)
