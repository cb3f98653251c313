"""A service that stops cleanly: on SIGTERM or Ctrl-C it ends within two seconds and names what it lost.

Orders are quick and finish. Reports are slow, and stop when asked. One job is deaf and is left behind.

    python docs/examples/clean_stop.py & sleep 1; kill -TERM $!; wait
"""

from __future__ import annotations

import signal
import sys
import threading
import time

from pools import ThreadPool
from scheduler import PoolGroup, Priority, Scheduler, SchedulerClosed, current_job


def take_order(number: int) -> int:
    """Do something quick."""
    time.sleep(0.005)
    return number


def write_report() -> None:
    """Do something slow in steps, and look between them whether to stop."""
    job = current_job()
    for page in range(1_000):
        job.raise_if_interrupted()
        job.progress(page, 1_000)
        time.sleep(0.02)


def be_deaf() -> None:
    """Never look: a thread cannot be killed, so closing leaves it behind."""
    time.sleep(60)


def serve(scheduler: Scheduler, stopping: threading.Event) -> None:
    """Submit work as it comes, until told to stop."""
    reports = scheduler.with_options(priority=Priority.LOW, tags="slow")
    reports.submit(write_report)
    reports.submit(be_deaf)
    for number in range(1_000_000):
        if stopping.wait(0.002):
            return
        try:
            scheduler.submit(take_order, number)
        except SchedulerClosed:  # somebody else closed it
            return


def main() -> int:
    """Serve until a signal comes; return 0 when every job finished by itself, else 1."""
    stopping = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        # A handler may interrupt any line of the program, the scheduler's included: only set a flag.
        signal.signal(sign, lambda *_: stopping.set())
    scheduler = Scheduler(
        PoolGroup("quick", ThreadPool(slots=4)),
        PoolGroup("slow", ThreadPool(slots=2), dedicated=True),
    )
    print("serving; stop me with SIGTERM or Ctrl-C", flush=True)
    serve(scheduler, stopping)
    report = scheduler.close(finish_within=0.5, cancel_within=0.5)
    print(report)
    return 0 if report.complete else 1


if __name__ == "__main__":
    sys.exit(main())
