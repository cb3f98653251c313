"""What happens to living schedulers at interpreter exit, when they are dropped, and after a fork.

At exit every scheduler finishes what it has, as the standard executors do. Python's own hook for that
stops their threads first; so ours is registered after it, and hooks run last in, first out. The
function is private (python/cpython#86128): without it, `atexit` serves, which comes late but works
because our workers are daemonic.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401  its hook must be registered before ours
import os
import threading
import weakref

from . import _lock
from ._alarm import stand_in
from ._driver import Driver
from ._stopping import STAND_IN_EVERY, closing_of

_drivers: weakref.WeakSet[Driver] = weakref.WeakSet()


def watch(driver: Driver) -> None:
    """Finish this driver's jobs at exit, and refuse clearly in a forked child."""
    _drivers.add(driver)


def dropped(driver: Driver) -> None:
    """Let a driver whose scheduler was dropped finish what it has and go; never blocks."""
    if not driver.forked:
        closing_of(driver)


def _at_exit() -> None:
    for closing in [closing_of(driver) for driver in list(_drivers) if not driver.forked]:
        while not closing.wait(min(STAND_IN_EVERY, stand_in())):
            pass


def _after_fork_in_child() -> None:
    _lock.after_fork()
    for driver in list(_drivers):
        driver.after_fork()


_register = getattr(threading, "_register_atexit", atexit.register)
_register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
