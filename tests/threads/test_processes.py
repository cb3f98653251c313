"""What can only be seen from outside: how a process ends, forks, and survives Ctrl-C."""

import os
import random
import signal
import subprocess
import sys
import threading

import pytest

import scheduler


def test_at_interpreter_exit_a_full_queue_is_run_to_its_end(run_script):
    """The standard's exit hook closes the workers first; the toy version of this library hung here."""
    ran = run_script(
        """
import threading
from scheduler import Scheduler
s = Scheduler(1)
gate = threading.Event()
s.submit(gate.wait)
for n in range(200):
    s.submit(print, n)
s.with_options(delay=0.05).submit(print, 200)
gate.set()
"""
    )

    assert (0, "") == (ran.returncode, ran.stderr)
    assert list(range(201)) == [int(line) for line in ran.stdout.split()]


def test_at_interpreter_exit_jobs_may_not_submit_but_are_told(run_script):
    """`RuntimeError` with the standard's words is what programs look for."""
    ran = run_script(
        """
import threading
from scheduler import Scheduler
s = Scheduler(1)
ending = threading.Event()

def late():
    while s._driver.refusing is None:
        ending.wait(0.001)
    try:
        s.submit(print, "too late")
    except RuntimeError as error:
        print(type(error).__name__, error)

s.submit(late)
"""
    )

    assert (0, "") == (ran.returncode, ran.stderr)
    assert "SchedulerClosed cannot schedule new futures after shutdown" in ran.stdout


@pytest.mark.parametrize(
    "imports", ["", "import concurrent.futures.thread", "import asyncio, logging, multiprocessing"]
)
@pytest.mark.parametrize("last", ["scheduler", "theirs"])
def test_at_exit_the_order_of_imports_does_not_matter(run_script, imports, last):
    """Hooks run last in, first out: ours must be registered after theirs whoever was imported first."""
    ours = "from scheduler import Scheduler"
    theirs = imports or "import sys"
    first, second = (theirs, ours) if last == "scheduler" else (ours, theirs)
    ran = run_script(
        f"""
{first}
{second}
import concurrent.futures, sys
theirs = concurrent.futures.ThreadPoolExecutor(1)
s = Scheduler(2)
for n in range(20):
    s.submit(sys.stdout.write, f"{{n}}\\n")
theirs.submit(sys.stdout.write, "theirs\\n")
"""
    )

    assert (0, "") == (ran.returncode, ran.stderr)
    assert 21 == len(ran.stdout.split())


def test_exit_with_an_error_still_finishes_the_jobs(run_script):
    """An exception at top level ends the main thread, not the work."""
    ran = run_script(
        """
from scheduler import Scheduler
s = Scheduler(1)
for n in range(50):
    s.submit(print, n)
raise SystemExit(3)
"""
    )

    assert 3 == ran.returncode
    assert 50 == len(ran.stdout.split())


def test_a_scheduler_dropped_without_close_finishes_its_jobs_and_leaves_no_thread(
    open_scheduler, gate, eventually
):
    """A leak of eight threads for each forgotten scheduler ends a server in a day."""
    before = set(threading.enumerate())
    s = scheduler.Scheduler(4)
    ran = []
    s.submit(gate.stop_here)
    gate.await_arrival()
    handles = [s.submit(ran.append, n) for n in range(100)]
    handles.append(s.with_options(delay=0.01).submit(ran.append, 100))
    del s
    gate.open()

    for handle in handles:
        handle.result(20)
    assert 101 == len(ran)
    eventually(lambda: not {t for t in threading.enumerate() if t.name.startswith("two-tier")} - before)


def test_a_bound_submitter_keeps_its_scheduler_alive(eventually):
    """`Scheduler().with_options(…)` is how somebody will write it."""
    bound = scheduler.Scheduler(1).with_options(priority=3)

    assert 7 == bound.submit(int, 7).result(20)
    assert 8 == bound.with_options(priority=4).submit(int, 8).result(20)
    del bound
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("two-tier")])


def test_dropping_the_last_reference_inside_a_job_hangs_nobody(eventually):
    """Then the finaliser runs on a worker, which is one of the threads it is to let go."""
    holder = [scheduler.Scheduler(1)]
    s = holder[0]
    handle = s.submit(holder.clear)
    del s

    handle.result(20)
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("two-tier")])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_in_a_forked_child_the_scheduler_refuses_clearly(run_script):
    """The threads stayed with the parent: a submit that waits for them waits for ever."""
    ran = run_script(
        """
import os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from scheduler import Scheduler, SchedulerClosed, SchedulerError
s = Scheduler(2)
gate = threading.Event()
handle = s.submit(gate.wait)
child = os.fork()
if child == 0:
    try:
        try:
            s.submit(print, "in the child")
        except SchedulerClosed as error:
            print("child:", error)
        try:
            handle.result()
        except SchedulerError as error:
            print("child:", error)
        s.shutdown()
        with Scheduler(1) as fresh:
            print("child: a new one says", fresh.submit(int, 7).result(20))
        sys.stdout.flush()
    finally:
        os._exit(0)
_, status = os.waitpid(child, 0)
gate.set()
print("parent:", handle.result(20), s.submit(int, 8).result(20), status)
""",
        timeout=60,
    )

    assert (0, "") == (ran.returncode, ran.stderr)
    assert "child: cannot schedule new futures in a forked child" in ran.stdout
    assert "make a new Scheduler in the child" in ran.stdout
    assert "child: job 1 belongs to the parent process" in ran.stdout
    assert "child: a new one says 7" in ran.stdout
    assert "parent: True 8 0" in ran.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_in_the_middle_of_a_turn_leaves_the_child_able_to_end(run_script):
    """The lock may be held by a thread that does not exist in the child."""
    ran = run_script(
        """
import os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from scheduler import Scheduler
s = Scheduler(2)
stop = threading.Event()

def busy():
    while not stop.is_set():
        s.submit(int).result()

threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(30):
    child = os.fork()
    if child == 0:
        try:
            s.submit(int)
        except RuntimeError:
            s.shutdown()
            os._exit(7)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7, status
stop.set()
for thread in threads:
    thread.join()
print("all children ended")
"""
    )

    assert (0, "all children ended\n") == (ran.returncode, ran.stdout), ran.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_in_the_middle_of_a_turn_does_not_hang_a_new_scheduler_in_the_child(run_script):
    """Whoever waits for many handles takes the first scheduler's lock first, and its holder stayed behind."""
    ran = run_script(
        """
import concurrent.futures, os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from scheduler import Scheduler
s = Scheduler(2)
kept, held, let_go = s.submit(int), threading.Event(), threading.Event()

def hold():
    with s._driver.lock:
        held.set()
        let_go.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    with Scheduler(1) as fresh:
        done, _ = concurrent.futures.wait([fresh.submit(int), fresh.submit(int)], timeout=20)
    os._exit(len(done))
let_go.set()
_, status = os.waitpid(child, 0)
thread.join()
print("child has waited for", os.waitstatus_to_exitcode(status))
"""
    )

    assert (0, "child has waited for 2\n") == (ran.returncode, ran.stdout), ran.stderr


STORM = """
import os, signal, sys, threading
from concurrent.futures import CancelledError
from scheduler import Scheduler

kind, jobs = sys.argv[1], int(sys.argv[2])
ready, caught = threading.Event(), 0
s = Scheduler(4)
ran = []
handles = []

def job(n):
    ran.append(n)

def once(n):
    if kind == "delays" and n % 2:
        handles.append(s.with_options(delay=0.0005, deadline=60.0).submit(job, n))
        return
    handles.append(s.submit(job, n))
    if kind == "mixed":
        handle = handles[-1]
        (s.statistics, handle.cancel, lambda: handle.done() or handle.result(20), lambda: handle.attempts,
         lambda: handle.add_done_callback(id), s.pools)[n % 6]()

armed = False

def interrupt(number, frame):
    # As Python's own handler, but only where the loop below catches it.
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

signal.signal(signal.SIGINT, interrupt)
n = 0
print("ready", flush=True)

def submit_all():
    global armed, n
    armed = True
    while n < jobs:
        n += 1
        try:
            once(n)
        except CancelledError:
            pass
    armed = False

while n < jobs:
    try:
        submit_all()
    except KeyboardInterrupt:
        caught += 1
signal.signal(signal.SIGINT, signal.SIG_IGN)  # one on its way would end the interpreter as it winds up
print("submitted", flush=True)
for handle in handles:
    try:
        handle.result(20)
    except Exception as error:
        if not handle.cancelled():
            raise
report = s.close(finish_within=20)
ledger = report.statistics
assert report.complete, report
assert ledger.submitted == ledger.succeeded + ledger.cancelled, ledger
assert ledger.submitted >= len(handles), (ledger, len(handles))
assert len(ran) == len(set(ran)) == ledger.succeeded, (len(ran), len(set(ran)), ledger)
print("caught", caught, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs signals to a process")
@pytest.mark.parametrize("kind", ["plain", "mixed", "delays"])
def test_a_storm_of_ctrl_c_neither_hangs_nor_loses_nor_doubles_a_job(kind):
    """The hardest of all: an interrupt between any two steps of submit, with real workers beside it."""
    dice = random.Random(kind)
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", STORM, kind, "4000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pause, submitted = threading.Event(), threading.Event()
    lines, errors = [], []

    def read():
        for line in process.stdout:
            lines.append(line)
            if line == "submitted\n":
                submitted.set()

    readers = [
        threading.Thread(target=read, daemon=True),
        threading.Thread(target=lambda: errors.append(process.stderr.read()), daemon=True),
    ]
    try:
        assert "ready\n" == process.stdout.readline()
        for reader in readers:
            reader.start()
        for _ in range(300):
            if submitted.is_set():
                break
            process.send_signal(signal.SIGINT)
            pause.wait(dice.random() * 0.002)
        assert submitted.wait(30), "the submitting thread hangs"
        process.wait(60)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGABRT)  # faulthandler then prints where every thread is
            process.wait(20)
        for reader in readers:
            if reader.ident is not None:
                reader.join(20)
        process.stdout.close()
        process.stderr.close()
        print(*errors)

    assert 0 == process.returncode, errors
    assert "caught" in "".join(lines)
