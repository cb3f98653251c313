"""The nemesis outside the process: signals to it and to its workers, and limits on it; seeded, written down."""

from __future__ import annotations

import os
import random
import resource
import signal
import threading
import time
from pathlib import Path

from flat import children_of, files_of
from history import now, pen

#: Deeds a second, all together.
RATE = 0.5


class Nemesis(threading.Thread):
    """Kills and stops worker processes, stops the whole process, and takes its file descriptors, one at a time."""

    def __init__(self, pid, seed, until):
        super().__init__(name="nemesis", daemon=True)
        self.pid, self.until = pid, until
        self.dice = random.Random(seed * 104_729 + 3)
        self.deeds = [
            (5, self.kill_worker),
            (4, self.stop_worker),
            (1, self.stop_all),
            (2, self.few_files),
            (0.5, self.kill_fork_server),
        ]
        self.error = None

    def run(self):
        """Do one deed after the other; each is made good before the next."""
        weights = [weight for weight, _ in self.deeds]
        try:
            while now() < self.until - 1:
                time.sleep(min(self.dice.expovariate(RATE), max(0.0, self.until - 1 - now())))
                _, deed = self.dice.choices(self.deeds, weights)[0]
                deed()
        except ProcessLookupError:
            pass  # it has ended; whoever waits for it says so
        except BaseException as error:
            self.error = error

    def _worker(self):
        """Return a worker process; the helpers of `multiprocessing` are none."""
        workers = [pid for pid in children_of(self.pid) if is_worker(pid, self.pid)]
        return self.dice.choice(sorted(workers)) if workers else None

    def kill_worker(self):
        """Kill as the kernel does that has run out of memory."""
        pid = self._worker()
        if pid is not None and send(pid, signal.SIGKILL):
            pen.write("F", "kill worker", pid)

    def kill_fork_server(self):
        """Kill the process that starts the workers; it is a child like any other, and dies like any other."""
        for pid in children_of(self.pid):
            if parent_of(pid) == self.pid and b"forkserver" in command_of(pid) and send(pid, signal.SIGKILL):
                pen.write("F", "kill fork server", pid)

    def stop_worker(self):
        """Let one stand still, as a debugger or a frozen container does."""
        pid = self._worker()
        if pid is not None and send(pid, signal.SIGSTOP):
            pen.write("F", "stop worker", pid)
            time.sleep(self.dice.uniform(0.05, 1.5))
            send(pid, signal.SIGCONT)
            pen.write("F", "continue worker", pid)

    def stop_all(self):
        """Let the scheduler's process stand still: to it, all clocks jump."""
        pen.write("F", "stop all", self.pid)
        os.kill(self.pid, signal.SIGSTOP)
        time.sleep(self.dice.uniform(0.1, 0.8))
        os.kill(self.pid, signal.SIGCONT)
        pen.write("F", "continue all", self.pid)

    def few_files(self):
        """Leave it next to no file descriptor beyond those it has."""
        soft, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        few = max(files_of(self.pid)) + 1 + self.dice.randrange(6)
        pen.write("F", "few files", few)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (few, hard))
        try:
            time.sleep(self.dice.uniform(0.2, 2.0))
        finally:
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (soft, hard))
        pen.write("F", "enough files", soft)


def send(pid, number):
    """Send a signal; return whether there was somebody."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def is_worker(pid, main):
    """Whether a child is a worker: of the fork server, or one that was spawned."""
    command = command_of(pid)
    if not command or b"resource_tracker" in command:
        return False
    return parent_of(pid) != main or b"spawn_main" in command


def command_of(pid):
    """Return the command line of a process, empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def parent_of(pid):
    """Return the parent of a process, 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return 0
