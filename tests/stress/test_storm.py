"""Everything at once, for a while: what no forced race thought of.

Seeded: what each thread does is repeatable, when it gets to do it is not. ``make stress`` runs these.
"""

import concurrent.futures
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from policies import (
    Aging,
    Block,
    CallerRuns,
    FixedBackoff,
    LeastLoaded,
    Pack,
    Reject,
    ShedLowest,
    StrictPriority,
)
from pools import ThreadPool
from scheduler import PoolGroup, Scheduler, SchedulerError, current_job
from scheduler.testing import check_invariants

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SECONDS = 10.0
CLIENTS = 4
ADMISSIONS = (Block(timeout=0.01), Reject(), ShedLowest(), CallerRuns())
TAGS = ((), (), "io", "urgent", "apart")


class Client:
    """One thread's random deeds, and its own account of the handles it got."""

    def __init__(self, scheduler, seed):
        self.scheduler = scheduler
        self.dice = random.Random(seed)
        self.handles = []
        self.runs = Counter()
        self.told = Counter()
        self._lock = threading.Lock()

    def job(self, number, fails):
        """Count the run, fail so many times, sometimes look up, sometimes stop when asked to."""
        with self._lock:
            self.runs[number] += 1
            times = self.runs[number]
        if times <= fails:
            raise OSError(number)
        if number % 7 == 0:
            current_job().progress(1, 2)
        if number % 11 == 0:
            current_job().raise_if_interrupted()
        return number

    def submit(self):
        number, dice = len(self.handles), self.dice
        options = {
            "priority": dice.choice((0, 10, 20, 20, 30)),
            "tags": dice.choice(TAGS),
            "retry": dice.choice((None, FixedBackoff(delay=0.001, attempts_max=3))),
            "delay": dice.choice((0, 0, 0, 0.002)),
            "run_timeout": dice.choice((None, None, 0.5)),
            "queue_timeout": dice.choice((None, None, None, 0.01)),
            "deadline": dice.choice((None, None, None, 0.05)),
        }
        if options["tags"] == "urgent":
            options["priority"] = 0
        try:
            handle = self.scheduler.with_options(**options).submit(
                self.job, number, dice.choice((0, 0, 1, 5))
            )
        except SchedulerError:
            return
        self.handles.append(handle)
        if dice.random() < 0.2:
            handle.add_done_callback(lambda _: self.told.update(["called"]))
            self.told["asked"] += 1

    def meddle(self):
        dice = self.dice
        handle = dice.choice(self.handles[-50:]) if self.handles else None
        deed = dice.randrange(8)
        if handle is None:
            return
        if deed == 0:
            handle.cancel()
        elif deed == 1:
            handle.interrupt()
        elif deed == 2:
            concurrent.futures.wait(self.handles[-5:], timeout=0.01)
        elif deed == 3:
            _ = handle.attempts
        elif deed == 4:
            ledger = self.scheduler.statistics()
            alive = ledger.delayed + ledger.waiting + ledger.backing_off + ledger.running
            ended = ledger.succeeded + ledger.failed + ledger.cancelled + ledger.expired + ledger.shed
            assert ledger.submitted == alive + ended
        elif deed == 5:
            for _ in concurrent.futures.as_completed(self.handles[-3:], timeout=20):
                pass

    def run(self, until):
        while time.monotonic() < until:
            for _ in range(self.dice.randrange(20)):
                self.submit()
            self.meddle()


def operate(scheduler, seed, until):
    """Open and drain pools, pause and resume."""
    dice = random.Random(seed)
    while time.monotonic() < until:
        pools = scheduler.pools()
        deed = dice.randrange(4)
        if deed == 0 and len(pools) < 8:
            scheduler.add_pool("io")
        elif deed == 1:
            spare = [pool.pool_id for pool in pools if pool.group == "io"][1:]
            if spare:
                scheduler.drain_pool(dice.choice(spare), timeout=0.01)
        elif deed == 2:
            scheduler.pause()
            scheduler.resume()
        check_invariants(scheduler)
        threading.Event().wait(dice.random() * 0.01)


@pytest.mark.parametrize("seed", range(len(ADMISSIONS)))
def test_no_job_is_lost_when_everybody_does_everything(seed, caplog):
    """Clients that submit, cancel and wait, an operator who opens and drains pools, and every limit there is."""
    caplog.set_level(logging.CRITICAL, logger="two-tier-scheduler.handle")  # thousands fail, and nobody asks
    scheduler = Scheduler(
        PoolGroup("io", ThreadPool(slots=2), max_pools=8),
        PoolGroup("urgent", ThreadPool(slots=1), reserve_for=10),
        PoolGroup("apart", ThreadPool(slots=1), dedicated=True),
        capacity=200,
        admission=ADMISSIONS[seed],
        ordering=(StrictPriority(), Aging(seconds_per_level=0.01))[seed % 2],
        routing=(LeastLoaded(), Pack())[seed // 2],
        seed=seed,
    )
    until = time.monotonic() + SECONDS
    clients = [Client(scheduler, seed * 100 + n) for n in range(CLIENTS)]
    with concurrent.futures.ThreadPoolExecutor(CLIENTS + 1) as threads:
        busy = [threads.submit(client.run, until) for client in clients]
        busy.append(threads.submit(operate, scheduler, seed, until))
        for each in busy:
            each.result(SECONDS + 60)
    assert scheduler.drain(60)
    check_invariants(scheduler)
    report = scheduler.close(finish_within=20)

    handles = [handle for client in clients for handle in client.handles]
    states = Counter(handle.state.value for handle in handles)
    ledger = report.statistics
    assert len(handles) == ledger.submitted > 1000
    assert {state: getattr(ledger, state) for state in states} == dict(states)
    for client in clients:
        assert client.told["asked"] == client.told["called"]
        for number, handle in enumerate(client.handles):
            assert client.runs[number] <= len(handle.attempts)
            assert client.runs[number] == len(handle.attempts) or handle.state.value != "succeeded"


CTRL_C = """
import sys, time
from scheduler import Scheduler, PoolGroup
from scheduler.testing import check_invariants
from pools import ThreadPool
from collections import Counter

ran = Counter()

def job(number):
    ran[number] += 1
    return number

print("ready", flush=True)
caught, handles, number, until = 0, [], 0, time.monotonic() + float(sys.argv[1])
s = Scheduler(PoolGroup("io", ThreadPool(slots=2)), capacity=500)
while True:
    try:
        while time.monotonic() < until:
            number += 1
            handles.append(s.submit(job, number))
            if number % 3 == 0:
                handles[-1].result()
            if number % 1000 == 0:
                del handles[:]
        break
    except KeyboardInterrupt:
        caught += 1
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
assert s.drain(20), s.statistics()
check_invariants(s)
assert set(ran.values()) == {1}, [n for n, times in ran.items() if times != 1][:10]
report = s.close(finish_within=5)
assert report.complete, report
assert report.statistics.succeeded == report.statistics.submitted == len(ran)
print("caught", caught)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("seed", range(3))
def test_ctrl_c_again_and_again_loses_nothing(seed):
    """The exhaustive tests raise one interrupt at a time where it can fall; this one lets the system choose."""
    dice = random.Random(seed)
    child = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", CTRL_C, str(SECONDS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout.readline() == "ready\n"
        until = time.monotonic() + SECONDS - 1
        sent = 0
        while time.monotonic() < until and child.poll() is None:
            threading.Event().wait(0.005 + dice.random() * 0.02)
            child.send_signal(signal.SIGINT)
            sent += 1
        try:
            out, err = child.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGABRT)
            out, err = child.communicate()
            pytest.fail(f"it hangs\n{out}\n{err}")

    assert (0, "") == (child.returncode, err), err
    assert int(out.split()[-1]) > sent / 3 > 10
