"""Load that rises tenfold and falls again, over groups that scale, with worker processes killed all the while.

What must come of it: every job has one outcome, every snapshot adds up, no pool ever changes its size, all
groups have as many pools again as at the beginning, and nobody is left over. ``make stress`` runs the long one.
"""

import collections
import operator
import os
import random
import signal
import threading
import time
from pathlib import Path

import attrs
import pytest

from policies import FixedBackoff
from pools import ProcessPool, ThreadPool
from scheduler import PoolGroup, Scheduler, WorkerDied
from scheduler._core.events import WorkerLost
from scheduler.testing import check_invariants

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="counts on /proc and SIGKILL")

#: Attempts until a job counts as one that kills its worker: here they are all killed by us.
AGAIN = FixedBackoff(delay=0.01, attempts_max=20, retry_on=WorkerDied)
POOLS = {"io": 4, "cpu": 3}
#: Slots that the load keeps busy at its height: more than all but one pool have, and a tenth of it less than one has.
IO_BUSY, CPU_BUSY = 13.0, 2.2


@attrs.frozen
class Storm:
    """How long the load is normal, tenfold, and normal again, and how many jobs that is in all."""

    calm: float
    rage: float
    jobs: int

    @property
    def rate(self):
        """Return jobs a second in the calm; ten times that in the rage."""
        return self.jobs / (2 * self.calm + 10 * self.rage)

    def nap(self, slots):
        """Return the seconds that one job of thirty must take to keep so many slots busy in the rage."""
        return slots * 30 / (10 * self.rate)


SHORT = Storm(calm=0.5, rage=4.0, jobs=20_000)
LONG = Storm(calm=3.0, rage=30.0, jobs=200_000)


def children():
    """Return the processes whose parent is this one, or a process that starts others for it."""
    family = collections.defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has ended
            continue
        family[parent].append(int(stat.parent.name))
    found = [os.getpid()]
    for pid in found:
        found += family[pid]
    return set(found[1:])


def ours():
    return {thread for thread in threading.enumerate() if thread.name.startswith("two-tier-scheduler")}


def submit_all(scheduler, storm, handles):
    """Submit by the clock: at a rate, at ten times that, and at the first again; every third to processes."""
    io, cpu = (scheduler.with_options(tags=tag, retry=AGAIN) for tag in POOLS)
    rate, io_nap, cpu_nap = storm.rate, storm.nap(IO_BUSY), storm.nap(CPU_BUSY)
    began = time.monotonic()
    while len(handles) < storm.jobs:
        now = time.monotonic() - began
        due = rate * (min(now, storm.calm) + 10 * min(max(0.0, now - storm.calm), storm.rage))
        due += rate * max(0.0, now - storm.calm - storm.rage)
        for number in range(len(handles), min(storm.jobs, int(due) + 1)):
            if number % 3:
                handles.append(io.submit(time.sleep if number % 20 == 1 else operator.abs, io_nap))
            elif number % 30:
                handles.append(cpu.submit(operator.mul, number, number))
            else:
                handles.append(cpu.submit(time.sleep, cpu_nap))
        time.sleep(0.005)
    return time.monotonic() - began


def kill_now_and_then(enough, bystanders, kills):
    """Kill a random worker process every second."""
    dice = random.Random(4)
    while not enough.wait(1.0 if len(kills) else 0.3):
        workers = [pid for pid in children() - bystanders if is_worker(pid)]
        if workers:
            victim = dice.choice(sorted(workers))
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:  # it was faster
                continue
            kills.append(victim)


def is_worker(pid):
    """Whether a process is one that runs jobs: not the one that starts them, nor the one that tracks resources."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        children_of = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return False
    return b"resource_tracker" not in line and not children_of


@pytest.mark.parametrize("storm", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)], ids=["short", "long"])
@pytest.mark.timeout(300)
def test_a_storm_of_jobs_and_deaths_loses_none_and_leaves_nobody(storm, keep_books, untraced, capsys):
    """All of scaling at once, on threads and processes, for as long as it takes to come and go."""
    with Scheduler(
        PoolGroup("warm", ProcessPool(1), dedicated=False)
    ) as warm:  # starts what starts processes
        warm.submit(abs, 1).result()
    before, bystanders = ours(), children()
    scheduler = Scheduler(
        PoolGroup("io", ThreadPool(slots=4), max_pools=POOLS["io"]),
        PoolGroup("cpu", ProcessPool(slots=1), max_pools=POOLS["cpu"]),
        capacity=storm.jobs,
    )
    books = keep_books(scheduler)
    seen = collections.Counter()
    scheduler.subscribe(lambda event: seen.update([type(event)]))
    handles, kills, enough = [], [], threading.Event()
    killer = threading.Thread(target=kill_now_and_then, args=(enough, bystanders, kills), daemon=True)
    killer.start()
    took = submit_all(scheduler, storm, handles)
    drained = scheduler.drain(60)
    assert drained, scheduler.statistics()
    enough.set()
    killer.join()
    check_invariants(scheduler)
    alone = [f"{name}-" for name in POOLS]
    until = time.monotonic() + 60
    while len(scheduler.pools()) > len(alone) and time.monotonic() < until:
        time.sleep(0.05)
    grown = [decision for name in POOLS for decision in scheduler.explain(name).decisions]
    left = [pool.pool_id for pool in scheduler.pools()]
    report = scheduler.close(finish_within=20)

    values = [handle.result(0) for handle in handles]
    wrong = [n for n, v in enumerate(values) if n % 3 == 0 and v != (n * n if n % 30 else None)]
    attempts = sum(len(handle.attempts) for handle in handles)
    with capsys.disabled():
        print(
            f"\n{len(handles):,} jobs in {took:.1f} s, {len(kills)} workers killed, {seen[WorkerLost]} lost, "
            f"{attempts - len(handles)} attempts for nothing, {books.snapshots} snapshots; pools at most "
            f"{books.most}, in all {len(books.slots)}, decisions {collections.Counter(d.action for d in grown)}"
        )
    assert (storm.jobs, storm.jobs) == (report.statistics.submitted, report.statistics.succeeded)
    assert not wrong
    assert report.complete
    assert not report.abandoned_workers
    assert POOLS == books.most
    assert len(alone) == len(left), left
    assert {4, 1} == set(books.slots.values())
    assert len(kills) > 1
    assert report.statistics.retries <= len(kills)
    give_up = time.monotonic() + 5
    while (ours() - before or children() - bystanders) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert not ours() - before
    assert not children() - bystanders
