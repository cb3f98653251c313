"""When a worker process is retired: after so many calls, at an age, or when it holds too much memory."""

from __future__ import annotations

import math
import os
import random
import reprlib
import time
from contextlib import suppress

import attrs

from .contract import check_seconds


@attrs.frozen(kw_only=True)
class Recycle:
    """When a worker process is retired, between two calls, and replaced by a fresh one.

    After so many `jobs`, at an `age` of so many seconds, or once it holds `rss` bytes of memory; None: never
    for that reason. Each worker's limits are drawn from the upper fifth below these, so that not all
    are replaced at once.
    """

    jobs: int | None = None
    age: float | None = None
    rss: int | None = None

    def __attrs_post_init__(self) -> None:
        for name in ("jobs", "rss"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"Recycle({name}=) must be a positive integer, not {reprlib.repr(value)}")
        if self.age is not None:
            check_seconds("Recycle(age=)", self.age, above_zero=True)
        if self.rss is not None and memory_of(os.getpid()) is None:
            raise ValueError("Recycle(rss=) needs psutil on this system: install two-tier-scheduler[process]")

    def limits(self) -> Limits:
        """Return the limits of one more worker."""
        return Limits(self)


class Limits:
    """One worker's limits, and how far it is."""

    def __init__(self, recycle: Recycle) -> None:
        share = random.uniform(0.8, 1.0)
        self._jobs = math.inf if recycle.jobs is None else max(1, round(recycle.jobs * share))
        self._until = math.inf if recycle.age is None else time.monotonic() + recycle.age * share
        self._rss = recycle.rss
        self._look_at = 0.0
        self.reached = False

    @property
    def left(self) -> float:
        """How many more calls it may run."""
        return self._jobs

    def over(self, pid: int | None, jobs: int) -> bool:
        """Count `jobs` more, and return whether the worker is to go. Memory is looked at ten times a second."""
        self._jobs -= jobs
        now = time.monotonic()
        if self._jobs <= 0 or now >= self._until:
            self.reached = True
        if self._rss is not None and now >= self._look_at and pid is not None:
            self._look_at = now + 0.1
            self.reached = self.reached or (memory_of(pid) or 0) >= self._rss
        return self.reached


def memory_of(pid: int) -> int | None:
    """Return the bytes of memory a process holds, None where that cannot be told."""
    with suppress(OSError, ValueError), open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123  ten times a second
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    with suppress(Exception):
        import psutil  # noqa: PLC0415  an extra

        return int(psutil.Process(pid).memory_info().rss)
    return None
