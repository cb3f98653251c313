"""Locks, events and threads that ask the world before each operation who goes on."""

import threading
import time
import types

from weaving import Abandoned, world


def _bounded(blocking, timeout):
    return None if timeout is None or timeout < 0 or timeout >= threading.TIMEOUT_MAX / 2 else timeout


class Lock:
    """A lock, as ``_thread.allocate_lock()`` and ``threading.Lock()`` make it."""

    def __init__(self):
        self._world = world()
        self.queue = []
        self._locked = False

    def taken(self):
        return self._locked

    def acquire(self, blocking=True, timeout=-1):
        world = self._world
        if world.over and _outside(world):
            return True
        world.point("acquire")
        deadline = None
        while self.taken():
            world.current.tried = self
            if not blocking:
                return False
            limit = _bounded(blocking, timeout)
            if limit is not None:
                deadline = world.now + limit if deadline is None else deadline
                limit = deadline - world.now
                if limit <= 0:
                    return False
            world.block(self.queue, "waits for a lock", limit)
        world.current.tried = None
        self._take()
        return True

    def release(self):
        world = self._world
        if world.over and _outside(world):
            return
        world.point("release")
        self._give()
        world.wake(self.queue)

    def locked(self):
        return self.taken()

    def _take(self):
        self._locked = True

    def _give(self):
        if not self._locked:
            raise RuntimeError("release unlocked lock")
        self._locked = False

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *exc_info):
        self.release()


class RLock(Lock):
    """A lock that its owner may take again."""

    def __init__(self):
        super().__init__()
        self._owner, self._count = None, 0

    def taken(self):
        return self._owner is not None and self._owner is not self._world.current

    def _take(self):
        self._owner = self._world.current
        self._count += 1

    def _give(self):
        if self._owner is not self._world.current:
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None

    def _is_owned(self):
        return self._owner is self._world.current


class Event:
    """An event; looking at it is a point, too."""

    def __init__(self):
        self._world = world()
        self._queue = []
        self._set = False

    def is_set(self):
        if not (self._world.over and _outside(self._world)):
            self._world.point("is_set")
        return self._set

    def set(self):
        if not (self._world.over and _outside(self._world)):
            self._world.point("set")
            self._set = True
            self._world.wake(self._queue)

    def clear(self):
        self._world.point("clear")
        self._set = False

    def wait(self, timeout=None):
        if self._world.over and _outside(self._world):
            return True
        self._world.point("wait")
        if not self._set:
            self._world.block(self._queue, "waits for an event", _bounded(True, timeout))
        return self._set


class Condition:
    """A condition, for the standard library's futures."""

    def __init__(self, lock=None):
        self._lock = RLock() if lock is None else lock
        self._queue = []
        self.acquire, self.release = self._lock.acquire, self._lock.release

    def __enter__(self):
        return self._lock.acquire()

    def __exit__(self, *exc_info):
        self._lock.release()

    def wait(self, timeout=None):
        self._lock.release()
        woken = world().block(self._queue, "waits for a condition", timeout)
        self._lock.acquire()
        return woken

    def notify_all(self):
        world().wake(self._queue)

    notify = notify_all  # waking too many is allowed


class Thread(threading.Thread):
    """A thread that runs only while it holds the baton of its world."""

    def begin_in(self, home):
        self.home, self.queue = home, []
        self.daemon = True
        self.strand = home.spawn(self)
        super().start()  # it waits for the baton at once
        return self.strand

    def start(self):
        home = world()
        if home.over:
            if not _outside(home):
                home.settle_over()
            return
        self.begin_in(home)
        home.point("start")

    def run(self):
        home, strand = self.home, self.strand
        strand.baton.acquire()
        try:
            if not home.over:
                if home.tracer is not None:
                    home.tracer()
                super().run()
        except Abandoned:
            pass
        except BaseException as error:
            home.fail(error)
        finally:
            home.leave(strand)

    def join(self, timeout=None):
        home = self.home
        if home.over and _outside(home):
            return
        if self is threading.current_thread():
            raise RuntimeError("cannot join current thread")
        home.point("join")
        if not self.strand.ended:
            home.block(self.queue, f"joins {self.name}", timeout)

    def is_alive(self):
        strand = getattr(self, "strand", None)
        return strand is not None and not strand.ended

    def join_really(self, timeout):
        super().join(timeout)

    def is_really_alive(self):
        return super().is_alive()


def _outside(world):
    """Whether the caller is no strand of this world: a finaliser that runs when all is over."""
    thread = threading.current_thread()
    return not (isinstance(thread, Thread) and getattr(thread, "home", None) is world)


def monotonic():
    """Return the virtual time."""
    return world().now


def sleep(seconds):
    """Sleep in virtual time; not at all means to let others run."""
    if seconds <= 0:
        world().give_way()
    else:
        world().block([], f"sleeps for {seconds} s", seconds)


class _Stand(types.SimpleNamespace):
    """Stands for a module: what is replaced, and the rest as it is."""

    def __init__(self, module, **replaced):
        super().__init__(**replaced)
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, name)


THREADING = _Stand(threading, Lock=Lock, RLock=RLock, Event=Event, Condition=Condition, Thread=Thread)
TIME = _Stand(time, monotonic=monotonic, sleep=sleep)
