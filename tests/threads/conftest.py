"""How races are forced here: locks that lie, threads that are watched, and no sleeping."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import scheduler
import scheduler._turn

# Worker processes import their calls from here: `process_jobs`.
sys.path.insert(0, str(Path(__file__).parent))

#: Seconds after which a test gives up waiting for what should take milliseconds.
PATIENCE = 20.0


class LyingLock:
    """An RLock that calls a hook around what it does, and otherwise tells nobody.

    ``hooks`` maps ``"before_acquire"``, ``"after_acquire"``, ``"before_release"`` and ``"after_release"`` to
    functions; the thread that comes by runs them, so a hook can hold it there, or raise in it. A hook that is met on
    the way to the lock while an outer hook runs is not called again.
    """

    def __init__(self):
        self._lock = threading.RLock()
        self._inside = threading.local()
        self.hooks = {}

    def _call(self, name):
        hook = self.hooks.get(name)
        if hook is None or getattr(self._inside, "hook", False):
            return
        self._inside.hook = True
        try:
            hook()
        finally:
            self._inside.hook = False

    def acquire(self, blocking=True, timeout=-1):
        self._call("before_acquire")
        if not self._lock.acquire(blocking, timeout):
            return False
        self._call("after_acquire")
        return True

    def release(self):
        self._call("before_release")
        self._lock.release()
        self._call("after_release")

    def _is_owned(self):
        return self._lock._is_owned()

    __enter__ = acquire

    def __exit__(self, *exc_info):
        self.release()


@pytest.fixture
def lying_locks(monkeypatch):
    """Give every scheduler made in the test a lock that lies; returns them, in order."""
    locks = []

    def make():
        locks.append(LyingLock())
        return locks[-1]

    monkeypatch.setattr(scheduler._turn, "RLock", make)
    return locks


@pytest.fixture
def eventually():
    """Return a function that waits until a condition holds that nobody signals."""
    pause = threading.Event()

    def wait(holds, what="the condition"):
        give_up = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < give_up, f"{what} did not come true within {PATIENCE} s"
            pause.wait(0.001)

    return wait


class _Thread(threading.Thread):
    """A thread that keeps what its function returned or raised."""

    def __init__(self, function, *args):
        super().__init__(daemon=True, name=f"test-{getattr(function, '__name__', 'thread')}")
        self._function, self._args = function, args
        self.value = self.error = None

    def run(self):
        try:
            self.value = self._function(*self._args)
        except BaseException as error:  # the test asks for it
            self.error = error

    def result(self):
        """Return what the function returned, or raise what it raised, once it has ended."""
        self.join(PATIENCE)
        assert not self.is_alive(), f"{self.name} did not end within {PATIENCE} s"
        if self.error is not None:
            raise self.error
        return self.value


@pytest.fixture
def in_thread():
    """Return a function that calls another in a thread; its ``result()`` is that call's."""
    threads = []

    def start(function, *args):
        threads.append(_Thread(function, *args))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join(PATIENCE)


class Gate:
    """A place where threads stop until the test lets them on."""

    def __init__(self):
        self.reached = threading.Event()
        self._open = threading.Event()

    def stop_here(self, value=None):
        """Say that somebody is here, wait to be let on, and return ``value``."""
        self.reached.set()
        assert self._open.wait(PATIENCE), "nobody opened the gate"
        return value

    def await_arrival(self):
        assert self.reached.wait(PATIENCE), "nobody came to the gate"

    def open(self):
        self._open.set()


@pytest.fixture
def gates():
    """Return a function that makes gates; all of them open when the test ends."""
    made = []

    def make():
        made.append(Gate())
        return made[-1]

    yield make
    for gate in made:
        gate.open()


@pytest.fixture
def gate(gates):
    """Return one gate."""
    return gates()


@pytest.fixture
def open_scheduler(in_thread):
    """Return a function that makes schedulers; they close when the test ends, whatever became of it."""
    opened = []

    def make(*args, **kwargs):
        opened.append(scheduler.Scheduler(*args, **kwargs))
        return opened[-1]

    yield make
    closings = [in_thread(lambda s=s: s.close(finish_within=0, cancel_within=5)) for s in opened]
    for closing in closings:
        closing.result()


@pytest.fixture
def run_script():
    """Return a function that runs a Python script in a process of its own."""
    processes = []

    def run(script, *args, timeout=60):
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-W", "error", "-c", script, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            if hasattr(signal, "SIGABRT") and os.name == "posix":
                process.send_signal(signal.SIGABRT)  # faulthandler then prints where every thread is
            else:
                process.kill()
            out, err = process.communicate()
            pytest.fail(f"the script did not end within {timeout} s\n{out}\n{err}")
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    yield run
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


@pytest.fixture
def always_ahead(monkeypatch):
    """Return a function that has slots hold as many calls ahead as their pool allows, with patience for the first."""

    def make(overrun=3600.0):
        monkeypatch.setattr("pools._process_calls.OVERRUN", overrun)
        monkeypatch.setattr(
            "pools._process_ahead.Estimate.depth", property(lambda estimate: min(63, estimate._depth_max))
        )

    return make


ACCEPTING = scheduler.PoolState.ACCEPTING


class Wanted:
    """A scaling policy that wants as many pools as the test says, and drains the one that it names."""

    def __init__(self, pools):
        self.pools, self.pool = pools, None

    def scale(self, load):
        if self.pools < load.pools:
            return load.drain("the test says so", pool=self.pool, to=self.pools)
        return load.toward(self.pools, "the test says so")


@pytest.fixture
def clock():
    """Return a clock that the test moves: what takes a window of seconds then takes none."""
    return scheduler._clock.VirtualClock()


@pytest.fixture
def wanted():
    """Return a scaling policy that the test directs; it begins with one pool."""
    return Wanted(1)


@pytest.fixture
def grown(open_scheduler, clock, eventually):
    """Return a function that opens a scheduler with a group of so many pools, all up, that wants what it is told."""

    async def nothing():
        pass

    def make(pool, pools=2, **options):
        wanted = Wanted(pools)
        group = scheduler.PoolGroup("g", pool, max_pools=pools, scaling=wanted, dedicated=False, **options)
        s = open_scheduler(group, clock=clock, check_invariants=True)
        s.submit(nothing if pool.runs_coroutines else int).result(PATIENCE)  # it looks once there is work
        while len(s.pools()) < pools:
            clock.advance(0.05)  # only to the look: all is up at once, so that no window is longer for it
            eventually(lambda: all(p.state is ACCEPTING and not p.down for p in s.pools()), "growth")
        s.drain(20)
        return s, wanted

    return make
