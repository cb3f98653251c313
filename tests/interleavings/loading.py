"""Puts the strands' locks, events, threads and time into the modules under test, and takes them out again."""

import _thread
import concurrent.futures._base
import contextlib
import importlib
import pkgutil
import sys
import threading
import time

import strands

import pools
import scheduler
import scheduler._clock
import scheduler._exit
import scheduler._linger
import scheduler._lock

_LOCK, _RLOCK = type(threading.Lock()), type(threading.RLock())

#: What modules hold under whatever name, and what stands there instead.
_REPLACED = {
    id(threading): strands.THREADING,
    id(time): strands.TIME,
    id(_thread.allocate_lock): strands.Lock,
    id(threading.Lock): strands.Lock,
    id(threading.RLock): strands.RLock,
    id(threading.Event): strands.Event,
    id(threading.Thread): strands.Thread,
    id(time.monotonic): strands.monotonic,
    id(time.sleep): strands.sleep,
}


def _modules():
    for package in (scheduler, pools):
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            if not found.name.endswith("__main__") and "_process" not in found.name:
                yield importlib.import_module(found.name)
    yield concurrent.futures._base


class Loom:
    """Every module that is to be woven, as it is and as it should be."""

    def __init__(self):
        self._changes = []
        #: Schedulers of the rest of the process, and the first lock of theirs.
        self._known, self._first = set(), None
        #: Locks that modules made for themselves: these are new in every world.
        self._locks = []
        for module in _modules():
            for name, value in list(vars(module).items()):
                if id(value) in _REPLACED:
                    self._changes.append((module, name, value, _REPLACED[id(value)]))
                elif type(value) in (_LOCK, _RLOCK) and module is not concurrent.futures._base:
                    made = strands.Lock if type(value) is _LOCK else strands.RLock
                    self._locks.append((module, name, value, made))
        clock = scheduler._clock.SystemClock
        self._changes.append((clock, "now", clock.__dict__["now"], staticmethod(strands.monotonic)))
        self._changes.append((scheduler._linger, "_worth_it", scheduler._linger._worth_it, False))

    @contextlib.contextmanager
    def set_up(self):
        """Replace what is to be replaced, for as long as schedules run."""
        self._known = set(scheduler._exit._drivers)
        self._first = scheduler._lock._first
        for place, name, _, instead in self._changes:
            setattr(place, name, instead)
        try:
            yield
        finally:
            for place, name, value, _ in self._changes:
                setattr(place, name, value)
            for module, name, value, _ in self._locks:
                setattr(module, name, value)
            scheduler._lock._first = self._first

    def renew(self):
        """Give a new world the locks that modules made for themselves."""
        for module, name, _, made in self._locks:
            setattr(module, name, made())
        scheduler._lock._first = None

    def forget(self):
        """Let nobody close the schedulers of a world that is over."""
        for driver in [driver for driver in scheduler._exit._drivers if driver not in self._known]:
            driver.forked = True
            scheduler._exit._drivers.discard(driver)


def line_tracer(modules, line):
    """Return a function that has its thread call ``line(frame)`` before each line of these modules, or None."""
    files = {importlib.import_module(name).__file__ for name in modules}
    if not files:
        return None

    def local(frame, event, _arg):
        if event == "line":
            line(frame)
        return local

    def trace(frame, _event, _arg):
        return local if frame.f_code.co_filename in files else None

    return lambda: sys.settrace(trace)
