"""Calls for worker processes, which must be able to import them: this folder is on their path."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path


class Boom(Exception):
    """What a job raises on purpose."""


def crash(how):
    """End as badly as asked for."""
    if how == "raise":
        raise Boom("on purpose")
    if how == "exit":
        os._exit(7)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    if how == "memory":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, hard))
        try:
            bytearray(2**29)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    return how


class OnUnpickle:
    """Crashes whoever unpickles it."""

    def __init__(self, how):
        self.how = how

    def __reduce__(self):
        return crash, (self.how,)


class OnPickle:
    """Crashes whoever pickles it."""

    def __init__(self, how):
        self.how = how

    def __reduce__(self):
        crash(self.how)
        return str, ()


def square(number):
    return number * number


def identity(value):
    return value


def ignore(*_arguments):
    return None


def return_on_unpickle(how):
    return OnUnpickle(how)


def return_on_pickle(how):
    return OnPickle(how)


def crash_later(how, seconds):
    """Return now, and crash while nothing runs."""
    timer = threading.Timer(seconds, crash, (how,))
    timer.daemon = True
    timer.start()


def wait_for(path):
    """Run until the file is there."""
    while not Path(path).exists():
        time.sleep(0.002)
    return os.getpid()


def touch_and_wait(touched, path):
    """Say by a file that it runs, and run until the other file is there."""
    Path(touched).touch()
    return wait_for(path)


def note_pid_and_wait(path, go):
    """Say by a file which process it runs in, and run until the other file is there."""
    temporary = Path(f"{path}.new")
    temporary.write_text(str(os.getpid()))
    temporary.rename(path)
    return wait_for(go)


def note(path, text):
    """Add a line to a file; short ones are written whole."""
    with Path(path).open("a") as file:
        file.write(f"{text}\n")


def spin(seconds):
    """Compute for a while."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return time.time()


def sleep(seconds):
    time.sleep(seconds)
    return os.getpid()


def pid():
    return os.getpid()


def fail(text):
    raise ValueError(text)


class Unpicklable(Exception):
    """Cannot be made again from what pickling keeps."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def fail_unpicklably():
    raise Unpicklable("one", "two")


def complain(text):
    print(text, file=sys.stderr, flush=True)
    os._exit(3)


def exit_by_system_exit():
    raise SystemExit("leaving")


def interrupt_keyboard():
    raise KeyboardInterrupt("pressed")


def start_a_child(path):
    """Start a process that outlives nobody's attention, say which, and hang."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note(path, child.pid)
    time.sleep(600)


def close_everything():
    os.closerange(3, 1000)
    return "closed"


def modules():
    return sorted(name for name in sys.modules if name.partition(".")[0] in ("scheduler", "policies"))


kept = {}


def remember(value):
    kept["value"] = value


def recall():
    return kept["value"]


def initialize_badly(path, how):
    note(path, os.getpid())
    crash(how)


def initialize_so_often(path, good):
    """Fail from the start after the first so many on."""
    note(path, os.getpid())
    if len(Path(path).read_text().split()) > good:
        raise Boom("no more")


def allocate_and_keep(megabytes):
    memory = kept["memory"] = bytearray(megabytes * 2**20)
    memory[::4096] = b"x" * len(memory[::4096])  # touched, or it would not be there
    return os.getpid()


def clean_up_on_sigterm(started, cleaned):
    """Run until SIGTERM comes, and use it to say goodbye."""

    def clean_up(_number, _frame):
        note(cleaned, "cleaned up")
        os._exit(0)

    signal.signal(signal.SIGTERM, clean_up)
    Path(started).touch()
    time.sleep(600)


def ignore_sigterm_and_wait(started, path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return touch_and_wait(started, path)


def note_and_return(path, value):
    """Leave word that it ran."""
    note(path, value)
    return value


def note_and_wait_once(path, value, waits, until):
    """Leave word that it ran; the one named `waits` says so by a file and runs until another is there."""
    note(path, value)
    if value == waits:
        touch_and_wait(f"{until}.started", until)
    return value


def show(*args, **kwargs):
    return args, kwargs


def describe_array(array):
    """Say what arrived, and whether it can be written to."""
    array.reshape(-1)[:1] += 0
    return str(array.dtype), array.shape, float(array.sum()), bool(array.flags.writeable)


def double_array(array):
    return array * 2


def raise_chained(text):
    try:
        fail(text)
    except ValueError as error:
        raise LookupError("outer") from error


def say(text):
    """Write to both standard streams, as libraries do."""
    print(f"out {text}", flush=True)
    print(f"err {text}", file=sys.stderr, flush=True)
    return os.getpid()


def die_once(path):
    """Die at the first time."""
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def busy(seconds):
    """Compute, and say who did."""
    spin(seconds)
    return os.getpid()


def reciprocal(number):
    return 1 / number


def forget_tblib():
    """Make this process one in which tblib is not installed."""
    sys.modules["tblib"] = None


@dataclass(frozen=True)
class Frozen(Exception):
    """Takes no assignment, not even of a note or a traceback."""

    key: str


def raise_frozen():
    raise Frozen("k")


class FrozenOnPickle:
    def __reduce__(self):
        raise Frozen("p")
