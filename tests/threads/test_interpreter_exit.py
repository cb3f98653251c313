"""From Python 3.12 on a program that ends gets no threads any more, while its jobs are still being finished.

An older interpreter is made to refuse them likewise, so that this is proved everywhere.
"""

import pytest

pytestmark = pytest.mark.filterwarnings("error")

BEFORE = """
import threading

ended = threading.Event()
"""

#: Registered last, so it runs first.
NO_THREADS = """

def refuse(*args, **kwargs):
    raise RuntimeError("can't create new thread at interpreter shutdown")

def begin():
    for name in ("_start_new_thread", "_start_joinable_thread"):
        if hasattr(threading, name):
            setattr(threading, name, refuse)
    ended.set()

threading._register_atexit(begin)
"""


@pytest.fixture
def run_to_the_end(run_script):
    """Return a function that runs a script to which no thread is given once it ends; its output is returned."""

    def run(script):
        ran = run_script(BEFORE + script + NO_THREADS, timeout=60)
        assert (0, "") == (ran.returncode, ran.stderr)
        return ran.stdout.splitlines()

    return run


def test_a_job_that_fails_when_the_program_has_ended_is_retried(run_to_the_end):
    """Its wait needs an alarm, which got no thread: the job was never heard of again, and the program hung."""
    assert ["1", "2", "3"] == run_to_the_end(
        """
from policies import FixedBackoff
from scheduler import Scheduler, current_job

def fails_twice():
    ended.wait()
    print(current_job().attempt)
    if current_job().attempt < 3:
        raise OSError

s = Scheduler(2, retry=FixedBackoff(delay=0.02, attempts_max=3))
s.submit(fails_twice)
"""
    )


def test_a_limit_that_is_reached_when_the_program_has_ended_is_kept(run_to_the_end):
    """A job that only ends by its limit would keep the program for ever."""
    assert ["asked to stop"] == run_to_the_end(
        """
import time
from scheduler import Scheduler, current_job

def runs_until_asked():
    while not current_job().interrupted:
        time.sleep(0.001)
    print("asked to stop")

s = Scheduler(1)
s.submit(ended.wait)
s.with_options(run_timeout=0.05).submit(runs_until_asked)
"""
    )


def test_a_scheduler_that_waits_for_another_at_the_end_does_not_keep_its_alarm_from_ringing(run_to_the_end):
    """One is closed after the other, and the first may wait for what backs off in the second."""
    assert ["done", "done"] == run_to_the_end(
        """
from policies import FixedBackoff
from scheduler import Scheduler, current_job

def fails_once():
    ended.wait()
    if current_job().attempt == 1:
        raise OSError
    return "done"

both = [Scheduler(2, name=name, retry=FixedBackoff(delay=0.02, attempts_max=3)) for name in ("a", "b")]
of = {s: s.submit(fails_once) for s in both}
for s, other in zip(both, reversed(both)):
    s.submit(lambda handle: print(handle.result() + "\\n", end=""), of[other])
"""
    )


@pytest.mark.parametrize("kind", ["ThreadPool", "AsyncioPool"])
def test_a_pool_that_was_being_opened_when_the_program_ended_gives_its_calls_to_the_others(
    run_to_the_end, kind
):
    """It was let in, got the next job, had no thread for it, and waited for itself to be let in: the program hung."""
    printed = run_to_the_end(
        f"""
import asyncio, time
import attrs
from policies import QueueDelay
from pools import {kind}
from scheduler import PoolGroup, Scheduler

@attrs.frozen
class Slow({kind}):
    def open(self, pool_id, front):
        if pool_id != "io-1":
            ended.wait()
            time.sleep(0.05)
        return super().open(pool_id, front)

def work():
    time.sleep(0.01)

async def nap():
    await asyncio.sleep(0.01)

s = Scheduler(PoolGroup("io", Slow(1), max_pools=2, scaling=QueueDelay(target=0.001)))
handles = [s.submit(work if "{kind}" == "ThreadPool" else nap) for _ in range(50)]
while len(s.pools()) < 2:
    time.sleep(0.001)
for handle in handles:
    handle.add_done_callback(lambda handle: print(f"{{handle.exception()}} {{len(handle.attempts)}}\\n", end=""))
"""
    )

    assert 50 * ["None 1"] == printed


def test_a_pool_without_a_thread_fails_what_nobody_else_can_run_and_says_why(run_script):
    """A job that was only to start later finds no thread: it must fail with the reason, and not hang the program."""
    ran = run_script(
        BEFORE
        + """
from scheduler import Scheduler

s = Scheduler(2)
handle = s.with_options(delay=0.3).submit(int, 7)
handle.add_done_callback(lambda handle: print(type(handle.exception()).__name__, handle.exception()))
"""
        + NO_THREADS,
        timeout=60,
    )

    assert 0 == ran.returncode
    assert "PoolBroken" in ran.stdout
    assert "interpreter shutdown" in ran.stdout
    assert "can run nothing any more" in ran.stderr
