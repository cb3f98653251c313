"""What a process pool promises beyond surviving: values, limits, order, recycling, and leaving nothing behind."""

import asyncio
import gc
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path

import process_jobs as jobs
import pytest

import pools._process_wire as wire
from policies import FixedBackoff
from pools import ProcessPool, Recycle, RemoteError, RemoteTraceback, ThreadPool
from pools._process_calls import Calls
from scheduler import (
    DeadlineExceeded,
    JobInterrupted,
    JobStarted,
    PoolGroup,
    Priority,
    QueueTimeout,
    RunTimeout,
    Scheduler,
    WorkerDied,
    WorkerStarted,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts on /proc and signals")


@pytest.fixture
def cpu(open_scheduler):
    """Return a function that opens a scheduler of one group of worker processes."""

    def make(slots=1, *, clock=None, **recipe):
        recipe.setdefault("kill_after", 0.1)
        group = PoolGroup("cpu", ProcessPool(slots, **recipe), dedicated=False)
        return open_scheduler(group, clock=clock, check_invariants=True)

    return make


@pytest.fixture
def files(tmp_path):
    """Return a function from a word to a path that jobs and tests signal each other by."""
    return lambda word: str(tmp_path / word)


def lines(path):
    return Path(path).read_text().split() if Path(path).exists() else []


def warm(s, count=200):
    """Run enough small jobs that the pool knows them as short, and holds calls ahead."""
    for handle in [s.submit(jobs.ignore) for _ in range(count)]:
        handle.result(20)


def block(s, files, eventually, name="blocker", **options):
    """Start a job that runs until the file `name` is there; return its handle once it runs."""
    handle = s.with_options(**options).submit(jobs.touch_and_wait, files(f"{name}.started"), files(name))
    eventually(Path(files(f"{name}.started")).exists, "the start of the job that blocks")
    return handle


def ahead(s):
    return sum(pool.ahead for pool in s.pools())


@pytest.fixture
def fill_ahead(cpu, files, eventually, always_ahead):
    """Return a function that opens one slot and lays calls ahead of a job that blocks until ``second`` is there."""

    def fill(*, overrun=3600.0, held=8):
        always_ahead(overrun)
        s = cpu()
        s.pause()
        blocker = s.submit(jobs.touch_and_wait, files("blocker.started"), files("blocker"))
        held_back = s.submit(jobs.touch_and_wait, files("second.started"), files("second"))
        waiting = [s.submit(jobs.note_and_return, files("order"), n) for n in range(held)]
        s.resume()
        eventually(Path(files("blocker.started")).exists, "the first job")
        Path(files("blocker")).touch()
        eventually(Path(files("second.started")).exists, "the second job")
        if overrun > 1.0:
            eventually(lambda: ahead(s) == held, "the jobs that lie ahead")
        return s, blocker, held_back, waiting

    return fill


# Values


def test_arguments_keywords_and_values_travel(cpu):
    """What a thread is given and gives back, a process must be given and give back."""
    s = cpu()

    assert ((1, "two"), {"three": [3]}) == s.submit(jobs.show, 1, "two", three=[3]).result(20)
    assert ((), {}) == s.submit(jobs.show).result(20)
    assert "HELLO" == s.submit("hello".upper).result(20)
    assert 3 == s.submit(max, [1, 3, 2]).result(20)
    big = bytes(5_000_000)
    assert big == s.submit(jobs.identity, big).result(20)


def test_calls_do_not_share_what_they_are_given(cpu):
    """Calls may travel together; one that changes its argument must not change its neighbour's."""
    s = cpu()
    warm(s)
    shared = [0]
    handles = [s.submit(list.append, shared, n) for n in range(50)]
    handles += [s.submit(jobs.identity, shared) for _ in range(50)]

    assert [None] * 50 + [[0]] * 50 == [handle.result(20) for handle in handles]


@pytest.mark.parametrize("bytes_each", [10, 200_000])
def test_arrays_travel_both_ways_and_can_be_written_to(cpu, bytes_each):
    """Large buffers go beside the pickle; the job must not notice."""
    np = pytest.importorskip("numpy")
    s = cpu()
    array = np.arange(max(1, bytes_each // 8), dtype=np.float64)

    assert ("float64", array.shape, float(array.sum()), True) == s.submit(jobs.describe_array, array).result(
        20
    )
    back = s.submit(jobs.double_array, array).result(20)
    assert np.array_equal(array * 2, back)
    back[0] = 7.0
    assert 0.0 == array[0]


@pytest.mark.parametrize("how", ["sliced", "transposed", "fortran", "empty", "scalar", "object"])
def test_arrays_of_every_shape_arrive_whole(cpu, how):
    """A view that is not contiguous has no buffer to send beside the pickle."""
    np = pytest.importorskip("numpy")
    base = np.arange(400_000, dtype=np.int64).reshape(1000, 400)
    array = {
        "sliced": base[::3, ::7],
        "transposed": base.T,
        "fortran": np.asfortranarray(base),
        "empty": base[:0],
        "scalar": np.array(5),
        "object": np.array([{"a": 1}, None], dtype=object),
    }[how]

    assert np.array_equal(array, cpu().submit(jobs.identity, array).result(20))


def test_several_large_buffers_in_one_call(cpu):
    """Each has its own place beside the pickle; none may take another's."""
    np = pytest.importorskip("numpy")
    arrays = [np.full(50_000, n, dtype=np.float64) for n in range(5)]
    (back,), named = cpu(2).submit(jobs.show, arrays, last=arrays[-1]).result(20)

    assert [0.0, 1.0, 2.0, 3.0, 4.0] == [float(array[0]) for array in back]
    assert np.array_equal(named["last"], arrays[-1])


def test_large_calls_and_small_ones_mix(cpu):
    """They travel on two lines; the order of one worker's calls must survive that."""
    s = cpu(2)
    warm(s)
    values = [bytes([n]) * (300_000 if n % 7 == 0 else 10) for n in range(60)]

    assert values == [handle.result(30) for handle in [s.submit(jobs.identity, value) for value in values]]


def test_lambdas_and_closures_travel_with_cloudpickle(cpu):
    """Nobody wants to name every little function."""
    pytest.importorskip("cloudpickle")
    s, factor = cpu(), 3

    assert 21 == s.submit(lambda number: number * factor, 7).result(20)
    assert [0, 3, 6] == s.submit(lambda: list(map(lambda n: n * factor, range(3)))).result(20)  # noqa: C417
    assert 7 == s.submit(jobs.identity, lambda: 7).result(20)()


def test_a_lambda_without_cloudpickle_says_what_to_install(cpu, monkeypatch):
    """The standard library's words alone send people in the wrong direction."""
    monkeypatch.setattr(wire, "cloudpickle_dumps", lambda: None)
    s = cpu()
    error = s.submit(lambda: 7).exception(20)

    assert isinstance(error, (pickle.PicklingError, AttributeError))
    assert any("cloudpickle is installed: two-tier-scheduler[process]" in note for note in error.__notes__)
    assert 9 == s.submit(jobs.square, 3).result(20)


def test_a_function_that_is_replaced_is_called_by_its_new_name(cpu):
    """What is remembered of the last function must not outlive it."""
    s = cpu()

    assert [1, [2], 9, 16] == [
        s.submit(jobs.identity, 1).result(20),
        s.submit(jobs.identity, [2]).result(20),
        s.submit(jobs.square, 3).result(20),
        s.submit(jobs.square, 4).result(20),
    ]


# Errors


def test_an_error_arrives_as_itself_with_where_it_was_raised(cpu):
    """An error without its place is an afternoon of searching."""
    error = cpu().submit(jobs.fail, "no such thing").exception(20)
    text = "".join(traceback.format_exception(error))

    assert (ValueError, "no such thing") == (type(error), str(error))
    assert "process_jobs.py" in text
    assert "raise ValueError(text)" in text


def test_a_remote_traceback_is_a_real_one_with_tblib(cpu):
    """Debuggers and error reporters walk frames; they cannot read prose."""
    pytest.importorskip("tblib")
    error = cpu().submit(jobs.fail, "x").exception(20)

    assert "fail" == traceback.extract_tb(error.__traceback__)[-1].name


def test_a_remote_traceback_is_text_without_tblib(cpu, files):
    """It must never be lost, whatever is installed."""
    s = cpu(initializer=jobs.forget_tblib)
    error = s.submit(jobs.fail, "x").exception(20)

    assert isinstance(error.__cause__, RemoteTraceback)
    assert "raise ValueError(text)" in str(error.__cause__)


def test_a_chained_error_tells_its_cause(cpu):
    """The cause is often the only interesting part."""
    error = cpu().submit(jobs.raise_chained, "inner").exception(20)

    assert LookupError is type(error)
    assert "inner" in "".join(traceback.format_exception(error))


def test_an_error_that_cannot_travel_is_told_in_words(cpu):
    """Mpire and the standard pool hang for ever here, or lose the worker."""
    s = cpu()
    error = s.submit(jobs.fail_unpicklably).exception(20)

    assert isinstance(error, RemoteError)
    assert "process_jobs.Unpicklable: one and two" in str(error)
    assert os.getpid() != s.submit(jobs.pid).result(20)


@pytest.mark.parametrize(
    ("job", "kind"), [(jobs.exit_by_system_exit, SystemExit), (jobs.interrupt_keyboard, KeyboardInterrupt)]
)
def test_a_job_that_raises_an_exit_fails_alone(cpu, job, kind):
    """Neither the worker nor the scheduler's own threads may take it as meant for them."""
    s = cpu()
    worker = s.submit(jobs.pid).result(20)
    error = s.submit(job).exception(20)

    assert kind is type(error)
    assert worker == s.submit(jobs.pid).result(20)


def test_last_words_are_kept_and_passed_on(cpu, capfd):
    """Who died silently is who nobody can help."""
    error = cpu().submit(jobs.complain, "out of luck").exception(20)

    assert isinstance(error, WorkerDied)
    assert (3, "out of luck") == (error.exitcode, error.stderr)
    assert "out of luck" in str(error)
    assert "cpu-1/1" == error.worker
    assert "out of luck" in capfd.readouterr().err


def test_what_a_job_writes_comes_out(tmp_path):
    """print() is how people see what their jobs do."""
    script = tmp_path / "program.py"
    script.write_text(
        "import sys\nfrom pools import ProcessPool\nfrom scheduler import PoolGroup, Scheduler\n"
        f"sys.path.insert(0, {str(Path(jobs.__file__).parent)!r})\n"
        "import process_jobs as jobs\n"
        "if __name__ == '__main__':\n"
        "    with Scheduler(PoolGroup('cpu', ProcessPool(1), dedicated=False)) as s:\n"
        "        s.submit(jobs.say, 'hello').result(30)\n"
    )
    ran = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )

    assert (0, "out hello\n", "err hello\n") == (ran.returncode, ran.stdout, ran.stderr)


def test_a_death_is_retried_by_policy(cpu, files):
    """A worker that the kernel killed is the best reason there is for another attempt."""
    s = cpu()
    handle = s.with_options(retry=FixedBackoff(delay=0.0, retry_on=(WorkerDied,))).submit(
        jobs.die_once, files("died")
    )

    assert "survived" == handle.result(20)
    assert [WorkerDied, type(None)] == [type(attempt.error) for attempt in handle.attempts]
    assert ["cpu-1/1", "cpu-1/1#2"] == [attempt.worker for attempt in handle.attempts]


# Stopping


def test_a_run_timeout_kills_and_the_slot_comes_back(cpu):
    """A limit that only asks is no limit for a call that hangs."""
    s = cpu()
    error = s.with_options(run_timeout=0.1).submit(jobs.sleep, 600).exception(20)

    assert isinstance(error, RunTimeout)
    assert "was killed and is replaced" in str(error)
    assert 9 == s.submit(jobs.square, 3).result(20)


def test_an_interrupt_kills_and_settles_as_cancelled(cpu, files, eventually):
    """The user asked for it: it is no failure."""
    s = cpu()
    handle = block(s, files, eventually)

    assert handle.interrupt("the visitor has left")
    with pytest.raises(JobInterrupted, match="the visitor has left"):
        handle.result(20)
    assert handle.cancelled()
    assert 9 == s.submit(jobs.square, 3).result(20)


def test_sigterm_comes_first_and_a_job_may_clean_up(cpu, files, eventually):
    """Temporary files, locks and half-written output deserve a last word."""
    s = cpu(kill_after=20.0)
    handle = s.submit(jobs.clean_up_on_sigterm, files("started"), files("cleaned"))
    eventually(Path(files("started")).exists)
    handle.interrupt()

    with pytest.raises(JobInterrupted):
        handle.result(10)
    assert ["cleaned", "up"] == lines(files("cleaned"))


def test_a_job_that_ignores_sigterm_is_killed(cpu, files, eventually):
    """Two such jobs hang four well-known pools for good."""
    s = cpu(2, kill_after=0.05)
    handles = [
        s.with_options(run_timeout=0.2).submit(jobs.ignore_sigterm_and_wait, files(f"s{n}"), files("never"))
        for n in range(2)
    ]
    behind = [s.submit(jobs.square, n) for n in range(20)]

    assert [RunTimeout] * 2 == [type(handle.exception(20)) for handle in handles]
    assert [n * n for n in range(20)] == [handle.result(20) for handle in behind]


def test_what_a_killed_job_started_dies_with_it(cpu, files, eventually):
    """A grandchild that goes on holds files, ports and memory for nobody."""
    s = cpu()
    handle = s.submit(jobs.start_a_child, files("child"))
    eventually(lambda: lines(files("child")), "the grandchild")
    grandchild = int(lines(files("child"))[0])
    handle.interrupt()
    with pytest.raises(JobInterrupted):
        handle.result(20)

    eventually(lambda: not _runs(grandchild), "the end of the grandchild")


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("again", range(5))
def test_an_interrupt_never_hits_the_job_after_the_one_it_was_for(cpu, again):
    """The call may return while the request travels; its successor is innocent."""
    s = cpu()
    for number in range(30):
        handle = s.submit(jobs.identity, number)
        following = s.submit(jobs.square, number)
        handle.interrupt()

        assert number * number == following.result(20)
        if not handle.cancelled():
            assert handle.exception(20) is None


# What lies ahead


def test_what_lies_ahead_is_fetched_back_by_cancel_and_never_runs(fill_ahead, files):
    """`cancel()` works until a job runs, wherever it waits."""
    _, _, held_back, waiting = fill_ahead()

    assert waiting[3].cancel()
    assert waiting[5].interrupt()
    Path(files("second")).touch()
    held_back.result(20)
    survivors = [n for n in range(8) if n not in (3, 5)]
    assert survivors == [waiting[n].result(20) for n in survivors]
    assert list(map(str, survivors)) == lines(files("order"))
    assert all(waiting[n].cancelled() for n in (3, 5))


def test_something_more_urgent_takes_back_what_lies_ahead(fill_ahead, files):
    """Otherwise a job that waits at a worker is one whose priority no longer counts."""
    s, _, held_back, waiting = fill_ahead()
    urgent = s.with_options(priority=Priority.CRITICAL).submit(jobs.note_and_return, files("order"), "urgent")

    assert 8 == s.statistics().recalled
    assert 0 == ahead(s)
    Path(files("second")).touch()
    held_back.result(20)
    assert list(range(8)) == [handle.result(20) for handle in waiting]
    assert "urgent" == urgent.result(20)
    assert ["urgent", *map(str, range(8))] == lines(files("order"))
    assert {1} == {len(handle.attempts) for handle in waiting}


def test_something_less_urgent_takes_nothing_back(fill_ahead, files):
    """A recall costs; only those that would be overtaken are worth it."""
    s, _, _, _ = fill_ahead()
    s.with_options(priority=Priority.BULK).submit(jobs.note_and_return, files("order"), "bulk")
    s.submit(jobs.note_and_return, files("order"), "equal")

    assert (0, 8) == (s.statistics().recalled, ahead(s))
    Path(files("second")).touch()
    s.drain(20)
    assert [*map(str, range(8)), "equal", "bulk"] == lines(files("order"))


def test_neighbours_of_a_call_that_runs_long_are_taken_back_and_run_elsewhere(fill_ahead, files, eventually):
    """The pool had reason to expect a short call; who waits behind it must not pay for the mistake."""
    s, _, held_back, waiting = fill_ahead(overrun=0.02)
    s.add_pool("cpu")

    assert list(range(8)) == [handle.result(20) for handle in waiting]
    assert {"cpu-2/1"} == {attempt.worker for handle in waiting for attempt in handle.attempts}
    assert held_back.running()
    Path(files("second")).touch()


def test_prefetch_0_keeps_nothing_ahead(cpu, files, eventually):
    """Who cannot bear any inversion must be able to say so."""
    s = cpu(prefetch=0)
    warm(s)
    blocker = block(s, files, eventually)
    handles = [s.submit(jobs.square, n) for n in range(20)]

    assert (0, 20) == (ahead(s), s.statistics().waiting)
    assert 0.0 == s.pools()[0].inversion_bound
    Path(files("blocker")).touch()
    assert [n * n for n in range(20)] == [handle.result(20) for handle in handles]
    assert blocker.exception(20) is None
    assert 0 == s.statistics().recalled


def test_nothing_lies_ahead_of_long_jobs(cpu):
    """Prefetch is bounded by time: a call that takes long hides the hand-off by itself."""
    s = cpu(2)
    seen = []
    handles = [s.submit(jobs.spin, 0.02) for _ in range(12)]
    for handle in handles:
        handle.result(20)
        seen.append(ahead(s))

    assert {0} == set(seen)
    assert 0.0 == s.pools()[0].inversion_bound


def test_the_inversion_bound_is_told_and_small(cpu):
    """A promise that is not measured is a hope."""
    s = cpu()
    for _ in range(10):  # every invariant is checked in each turn, over all that waits
        warm(s)

    assert 0.0 <= s.pools()[0].inversion_bound <= 0.003


def test_what_is_just_being_laid_ahead_is_taken_back_too(
    cpu, files, eventually, always_ahead, in_thread, monkeypatch
):
    """A pause between the books and the worker must hold for the calls that are on their way."""
    always_ahead()
    s = cpu()
    s.pause()
    first = s.submit(jobs.touch_and_wait, files("first.started"), files("first"))
    second = s.submit(jobs.touch_and_wait, files("second.started"), files("second"))
    handles = [s.submit(jobs.note_and_return, files("order"), number) for number in range(8)]
    add, paused = Calls.add, []

    def add_late(self, calls):
        if len(calls) > 1 and not paused:
            paused.append(True)
            in_thread(s.pause).result()
        return add(self, calls)

    monkeypatch.setattr(Calls, "add", add_late)
    s.resume()
    eventually(Path(files("first.started")).exists, "the first job")
    Path(files("first")).touch()
    eventually(lambda: paused and ahead(s) == 0, "the recall")
    Path(files("second")).touch()

    assert None is not first.result(20)
    assert [] == lines(files("order"))
    s.resume()
    assert list(range(8)) == [handle.result(20) for handle in handles]
    assert {1} == {len(handle.attempts) for handle in (second, *handles)}


@pytest.mark.parametrize("how", ["pause", "cordon", "drain"])
def test_an_operator_takes_back_what_lies_ahead_and_loses_nothing(fill_ahead, files, how, in_thread):
    """A paused or leaving pool starts nothing more, not even what it was given in advance."""
    s, _, held_back, waiting = fill_ahead()
    if how == "pause":
        s.pause()
    elif how == "cordon":
        s.cordon_pool("cpu-1")
    else:
        s.add_pool("cpu")
        draining = in_thread(s.drain_pool, "cpu-1")
    if how != "drain":
        assert (0, 8) == (ahead(s), s.statistics().waiting)
        Path(files("second")).touch()
        held_back.result(20)
        assert [] == lines(files("order"))
        s.resume() if how == "pause" else s.uncordon_pool("cpu-1")

    assert list(range(8)) == [handle.result(20) for handle in waiting]
    assert {1} == {len(handle.attempts) for handle in waiting}
    if how == "drain":
        Path(files("second")).touch()
        assert draining.result().drained
        assert {"cpu-2/1"} == {attempt.worker for handle in waiting for attempt in handle.attempts}


@pytest.mark.parametrize(("limit", "kind"), [("queue_timeout", QueueTimeout), ("deadline", DeadlineExceeded)])
def test_a_limit_on_waiting_holds_for_a_job_that_came_back(fill_ahead, files, limit, kind):
    """Lying ahead is waiting: the clock must not stop there."""
    s, _, _, waiting = fill_ahead(held=4)
    limited = s.with_options(**{limit: 0.15}).submit(jobs.note_and_return, files("order"), "limited")
    s.with_options(priority=Priority.CRITICAL).submit(jobs.ignore)

    assert isinstance(limited.exception(20), kind)
    Path(files("second")).touch()
    assert list(range(4)) == [handle.result(20) for handle in waiting]
    assert list("0123") == lines(files("order"))


@pytest.mark.parametrize(("limit", "kind"), [("queue_timeout", QueueTimeout), ("deadline", DeadlineExceeded)])
def test_a_limit_on_waiting_holds_for_a_job_that_lies_ahead(
    cpu, files, limit, kind, always_ahead, eventually, clock
):
    """A job that its worker holds has not started, and its limit bounds exactly that."""
    always_ahead()
    s = cpu(clock=clock)
    s.pause()
    first = s.submit(jobs.touch_and_wait, files("first.started"), files("first"))
    second = s.submit(jobs.touch_and_wait, files("second.started"), files("second"))
    limited = s.with_options(**{limit: 1.0}).submit(jobs.note_and_return, files("order"), "limited")
    s.resume()
    eventually(Path(files("first.started")).exists)
    Path(files("first")).touch()
    eventually(Path(files("second.started")).exists)
    eventually(lambda: 1 == ahead(s))
    clock.advance(1.0)

    assert isinstance(limited.exception(20), kind)
    Path(files("second")).touch()
    assert (first.exception(20), second.exception(20)) == (None, None)
    s.drain(20)
    assert [] == lines(files("order"))


def test_a_death_gives_back_what_lay_ahead_at_no_cost(fill_ahead, files):
    """The neighbours of a culprit are innocent."""
    s, _, held_back, waiting = fill_ahead()
    os.kill(int(_worker_pids(s)[0]), signal.SIGKILL)

    assert isinstance(held_back.exception(20), WorkerDied)
    assert list(range(8)) == [handle.result(20) for handle in waiting]
    assert {1} == {len(handle.attempts) for handle in waiting}
    assert list(map(str, range(8))) == lines(files("order"))


def _worker_pids(s):
    records = list(s._driver.core.pools)
    names = {f"two-tier-scheduler-{slot.worker}" for record in records for slot in record.all_slots}
    return [child.pid for child in multiprocessing.active_children() if child.name in names]


def test_recalls_in_a_storm_lose_and_double_nothing(cpu, files):
    """A ticket taken for one batch and a message taken back of the next once lost a call for good."""
    s = cpu(2)
    warm(s)
    urgent, normal = s.with_options(priority=Priority.CRITICAL), []
    for n in range(3000):
        normal.append(s.submit(jobs.note_and_return, files("ran"), n))
        if n % 3 == 0:
            urgent.submit(jobs.ignore)
        if n % 10 == 0:
            normal[n // 2].cancel()

    s.drain(60)
    ran = list(map(int, lines(files("ran"))))
    assert len(ran) == len(set(ran))
    assert sorted(ran) == [n for n, handle in enumerate(normal) if not handle.cancelled()]


# Closing


@pytest.mark.parametrize("ignoring", [False, True])
def test_closing_kills_in_bounded_time_and_names_every_unfinished_job(
    fill_ahead, cpu, files, eventually, ignoring
):
    """A service that is told to stop has seconds, and then somebody asks what was lost."""
    if ignoring:
        s = cpu(kill_after=0.1)
        running = s.submit(jobs.ignore_sigterm_and_wait, files("started"), files("never"))
        eventually(Path(files("started")).exists)
        others = [s.submit(jobs.square, n) for n in range(8)]
    else:
        s, _, running, others = fill_ahead()
    began = time.monotonic()
    report = s.close(finish_within=0.1, cancel_within=0.2)

    assert time.monotonic() - began < 5.0
    assert {running.id, *(handle.id for handle in others)} == {job.job_id for job in report.unfinished}
    assert all(handle.done() for handle in (running, *others))
    assert () == report.abandoned_workers
    assert [] == lines(files("order"))


def test_closing_with_time_runs_everything(fill_ahead, files, in_thread, eventually):
    """Closing is not losing: what lies ahead is finished like everything else."""
    s, _, _, waiting = fill_ahead()
    closing = in_thread(s.close)
    eventually(lambda: s._driver.refusing is not None)
    Path(files("second")).touch()

    assert closing.result().complete
    assert list(range(8)) == [handle.result(0) for handle in waiting]


def test_cancel_futures_cancels_what_lies_ahead(fill_ahead, files, in_thread, eventually):
    """`shutdown(cancel_futures=True)` promises that nothing more starts."""
    s, _, held_back, waiting = fill_ahead()
    closing = in_thread(lambda: s.shutdown(cancel_futures=True))
    eventually(lambda: all(handle.cancelled() for handle in waiting))
    Path(files("second")).touch()
    closing.result()

    assert held_back.exception(0) is None
    assert [] == lines(files("order"))


def test_closing_while_workers_start_is_quick(cpu):
    """Who opens a scheduler and thinks better of it should not wait for processes."""
    s = cpu(3)
    began = time.monotonic()
    report = s.close(finish_within=0)

    assert report.complete
    assert time.monotonic() - began < 5.0


# Recycling, initializers, start methods


def test_recycling_by_jobs_loses_and_fails_nothing(cpu):
    """The standard library's own recycling deadlocks in every release up to 3.13."""
    s = cpu(2, recycle=Recycle(jobs=20))
    pids = [handle.result(30) for handle in [s.submit(jobs.pid) for _ in range(300)]]

    assert len(set(pids)) >= 300 // 20
    ledger = s.statistics()
    assert (300, 0, 0) == (ledger.succeeded, ledger.failed, ledger.retries)


def test_recycling_by_age_and_by_memory(cpu, eventually):
    """A library that leaks must not take the machine with it."""
    s = cpu(recycle=Recycle(age=0.2, rss=10**12))
    first = s.submit(jobs.pid).result(20)
    eventually(lambda: s.submit(jobs.pid).result(20) != first, "a fresh worker for the old one")

    s = cpu(recycle=Recycle(rss=200 * 2**20))
    fat = s.submit(jobs.allocate_and_keep, 300).result(20)
    eventually(lambda: s.submit(jobs.pid).result(20) != fat, "a fresh worker for the fat one")
    assert 0 == s.statistics().failed


def test_not_all_workers_are_recycled_at_once(cpu):
    """A service whose workers are all away at the same moment is down at that moment."""
    limits = {Recycle(jobs=1000).limits()._jobs for _ in range(50)}

    assert len(limits) > 10
    assert 800 <= min(limits) <= max(limits) <= 1000


def test_an_initializer_runs_in_every_worker(cpu):
    """Connections, models and settings are made once a worker, not once a job."""
    s = cpu(2, initializer=jobs.remember, initargs=("prepared",))

    assert ["prepared"] * 10 == [s.submit(jobs.recall).result(20) for _ in range(10)]
    s.submit(jobs.crash, "kill").exception(20)
    assert ["prepared"] * 10 == [s.submit(jobs.recall).result(20) for _ in range(10)]


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_every_start_method_runs_survives_and_leaves(cpu, method):
    """People have reasons for each; each has its own way of starting and dying."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        s = cpu(2, start_method=method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12's own, about fork beside threads

        assert [n * n for n in range(50)] == list(s.map(jobs.square, range(50), timeout=30))
        assert isinstance(s.submit(jobs.crash, "kill").exception(30), WorkerDied)
        assert isinstance(s.with_options(run_timeout=0.1).submit(jobs.sleep, 60).exception(30), RunTimeout)
        assert 9 == s.submit(jobs.square, 3).result(30)
    ours = [w for w in caught if w.category is RuntimeWarning and "start_method='fork'" in str(w.message)]
    assert (method == "fork") == bool(ours)


def test_a_main_module_without_guard_explains_itself(run_script, tmp_path):
    """The usual message tells of `freeze_support`, and nobody knows what that has to do with it."""
    script = tmp_path / "no_guard.py"
    script.write_text(
        "from pools import ProcessPool\n"
        "from scheduler import PoolGroup, Scheduler\n"
        "with Scheduler(PoolGroup('cpu', ProcessPool(1), dedicated=False)) as s:\n"
        "    print(s.submit(abs, -7).result(30))\n"
    )
    ran = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )

    assert 0 != ran.returncode
    assert 'put the code that starts a Scheduler under  if __name__ == "__main__":' in ran.stderr
    assert "PoolBroken" in ran.stderr.splitlines()[-1]
    assert '__name__ == "__main__"' in ran.stderr.splitlines()[-1]


def test_in_a_forked_child_it_refuses_clearly(run_script):
    """Its shepherds stayed with the parent: a submit that waits for them waits for ever."""
    ran = run_script(
        """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from pools import ProcessPool
from pools._process_calls import Calls
from scheduler import PoolGroup, Scheduler, SchedulerClosed

def main():
    s = Scheduler(PoolGroup("cpu", ProcessPool(1), dedicated=False))
    assert s.submit(abs, -7).result(20) == 7
    child = os.fork()
    if child == 0:
        try:
            s.submit(abs, -8)
        except SchedulerClosed as error:
            print("child:", error, flush=True)
        s.shutdown()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("parent:", s.submit(abs, -9).result(20), status)
    s.close()

main()
"""
    )

    assert (0, "") == (ran.returncode, ran.stderr)
    assert "child: cannot schedule new futures in a forked child" in ran.stdout
    assert "parent: 9 0" in ran.stdout


def test_it_fills_the_slot_of_a_loops_executor(cpu):
    """`run_in_executor` is how most asyncio programs reach processes."""
    s = cpu(2)

    async def main():
        loop = asyncio.get_running_loop()
        inside = [loop.run_in_executor(s, jobs.square, n) for n in range(20)]
        return await asyncio.gather(*inside, s.submit(jobs.square, 20))

    assert [n * n for n in range(21)] == asyncio.run(main())


# Order across kinds


def test_a_full_process_group_never_holds_up_threads(open_scheduler, files, eventually):
    """I7 across kinds: jobs wait for their own kind of slot, not for each other's."""
    s = open_scheduler(
        PoolGroup("io", ThreadPool(2)), PoolGroup("cpu", ProcessPool(1)), check_invariants=True
    )
    blocker = block(s, files, eventually, tags={"cpu"})
    stuck = [s.with_options(tags={"cpu"}).submit(jobs.square, n) for n in range(10)]

    assert [n * n for n in range(50)] == list(s.map(jobs.square, range(50), timeout=20))
    assert not any(handle.done() for handle in stuck)
    Path(files("blocker")).touch()
    assert [n * n for n in range(10)] == [handle.result(20) for handle in stuck]
    assert blocker.exception(20) is None
    ledger = s.statistics()
    assert ledger.submitted == ledger.succeeded == 61


def test_priorities_hold_across_kinds(open_scheduler, files, eventually):
    """Either kind may take a job; whichever is free first takes the most urgent."""
    s = open_scheduler(
        PoolGroup("io", ThreadPool(1), tags={"any"}),
        PoolGroup("cpu", ProcessPool(1, prefetch=0), tags={"any"}),
        check_invariants=True,
    )
    started = []
    s.subscribe(lambda event: started.append(event.job_id) if isinstance(event, JobStarted) else None)
    either = s.with_options(tags={"any"})
    blockers = [
        s.with_options(tags={kind}).submit(jobs.touch_and_wait, files(f"{kind}.started"), files("go"))
        for kind in ("io", "cpu")
    ]
    eventually(lambda: all(Path(files(f"{kind}.started")).exists() for kind in ("io", "cpu")))
    priorities = [random.Random(5).randrange(40) for _ in range(40)]
    handles = [either.with_options(priority=p).submit(jobs.ignore) for p in priorities]
    Path(files("go")).touch()
    for handle in (*blockers, *handles):
        handle.result(20)

    by_id = {handle.id: (p, handle.id) for p, handle in zip(priorities, handles, strict=True)}
    order = [by_id[job] for job in started if job in by_id]
    assert order == sorted(order)


# map


def test_map_on_processes_travels_in_chunks(cpu):
    """One call a chunk: what a message costs is paid once for many elements."""
    s = cpu(2)

    assert [n * n for n in range(103)] == list(s.map(jobs.square, range(103), chunksize=10, timeout=30))
    assert 11 == s.statistics().submitted
    assert [3, 5] == list(s.map(max, [1, 5], [3, 2], chunksize=7))


def test_an_element_that_fails_in_a_chunk_raises_at_its_place(cpu):
    """What came before it has its value, as without chunks."""
    results = cpu().map(jobs.reciprocal, [1, 2, 4, 0, 5], chunksize=5)

    assert [1.0, 0.5, 0.25] == [next(results) for _ in range(3)]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_closing_a_chunked_map_cancels_what_has_not_started(cpu, files, eventually):
    """A consumer that has enough must not pay for the rest."""
    s = cpu(prefetch=0)
    blocker = block(s, files, eventually)
    results = s.map(jobs.square, range(100), chunksize=10, buffersize=3)
    assert 3 == s.statistics().waiting
    results_started = iter(results)
    Path(files("blocker")).touch()
    assert 0 == next(results_started)
    results.close()

    blocker.result(20)
    s.drain(20)
    assert s.statistics().submitted <= 6


def test_chunks_are_harmless_where_calls_do_not_travel(open_scheduler):
    """Threads pay nothing per call: there a chunk would only hide elements from priorities and limits."""
    s = open_scheduler(2)

    assert [n * n for n in range(20)] == list(s.map(jobs.square, range(20), chunksize=7, timeout=20))
    assert 20 == s.statistics().submitted


# What is left behind


def _shared_memory():
    return sorted(
        path.name for path in Path("/dev/shm").iterdir() if "mp-" in path.name or "psm_" in path.name
    )


def _open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_is_left_after_fifty_replacements_and_a_close(eventually):
    """A service that runs for a year replaces many workers."""

    def run(deaths):
        s = Scheduler(PoolGroup("cpu", ProcessPool(2), dedicated=False))
        for _ in range(deaths):
            s.submit(jobs.crash, "exit").exception(20)
        s.submit(jobs.square, 3).result(20)
        counted = _open_files()
        names = {f"two-tier-scheduler-{slot.worker}" for p in s._driver.core.pools for slot in p.all_slots}
        s.close()
        return counted, names

    shared = _shared_memory()
    run(1)  # the fork server stays, and its files
    gc.collect()
    before = _open_files()
    few, _ = run(1)
    many, names = run(50)
    gc.collect()

    assert many <= few + 4
    assert before == _open_files()
    assert shared == _shared_memory()
    children = [child.name for child in multiprocessing.active_children()]
    assert not names & set(children)
    assert not [thread for thread in threading.enumerate() if "cpu-1/" in thread.name]
    assert [] == _zombies()


def _zombies():
    mine = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if (state, int(parent)) == ("Z", os.getpid()):
            mine.append(status.parent.name)
    return mine


def test_a_program_that_never_closes_leaves_no_process(run_script, tmp_path, eventually):
    """At interpreter exit the jobs are finished and the workers go, asked or not."""
    script = tmp_path / "program.py"
    script.write_text(
        "import os\nfrom pools import ProcessPool\nfrom scheduler import PoolGroup, Scheduler\n"
        "if __name__ == '__main__':\n"
        "    s = Scheduler(PoolGroup('cpu', ProcessPool(2), dedicated=False))\n"
        "    for _ in range(20):\n        s.submit(print, 'ran', flush=True)\n"
        "    print('worker', s.submit(os.getpid).result(), flush=True)\n"
    )
    ran = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )

    assert (0, "") == (ran.returncode, ran.stderr)
    assert 20 == ran.stdout.count("ran")
    worker = int(ran.stdout.split("worker")[1].split()[0])
    eventually(lambda: not _runs(worker), "the end of the worker")


def test_workers_go_when_their_scheduler_is_killed(tmp_path, eventually):
    """Nobody is left to tell them: they must see it themselves."""
    script = tmp_path / "program.py"
    script.write_text(
        "import os, time\nfrom pools import ProcessPool\nfrom scheduler import PoolGroup, Scheduler\n"
        "if __name__ == '__main__':\n"
        "    s = Scheduler(PoolGroup('cpu', ProcessPool(1), dedicated=False))\n"
        "    print(s.submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    with process:
        worker = int(process.stdout.readline())
        process.kill()

    eventually(lambda: not _runs(worker), "the end of the worker")


# What travels, and by what


def test_a_worker_imports_nothing_of_the_scheduler(cpu):
    """It would cost memory and time in every worker, and tie both sides to one version."""
    assert [] == cpu().submit(jobs.modules).result(20)


def test_what_travels_names_nothing_of_ours(tmp_path):
    """Three import names that are not ours alone must not be needed to unpickle a call."""
    name, arguments, _ = wire.Caller().dumps(jobs.show, (1, [2]), {"three": 3})
    whole, _ = wire.dumps((jobs.square, (3,), None))
    script = (
        "import pickle, sys\n"
        "sys.modules.update(dict.fromkeys(['scheduler', 'pools', 'policies']))\n"
        f"sys.path.insert(0, {str(Path(jobs.__file__).parent)!r})\n"
        f"args, kwargs = pickle.loads({arguments!r})\n"
        f"print(pickle.loads({name!r})(*args, **kwargs))\n"
        f"function, args, kwargs = pickle.loads({whole!r})\n"
        "print(function(*args))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )

    assert (0, "") == (ran.returncode, ran.stderr)
    assert "((1, [2]), {'three': 3})\n9\n" == ran.stdout


def test_without_whole_messages_everything_works_but_ahead(monkeypatch, cpu, files):
    """Some systems have no such sockets: there a call cannot be taken back, so none is sent ahead."""
    monkeypatch.setattr("pools._process_line.WHOLE_MESSAGES", False)
    monkeypatch.setattr("pools.process_pool.WHOLE_MESSAGES", False)
    assert 0 == ProcessPool(2).prefetch
    s = cpu(2)

    assert [n * n for n in range(200)] == list(s.map(jobs.square, range(200), timeout=30))
    assert bytes(500_000) == s.submit(jobs.identity, bytes(500_000)).result(20)
    assert isinstance(s.submit(jobs.crash, "kill").exception(20), WorkerDied)
    assert isinstance(s.with_options(run_timeout=0.1).submit(jobs.sleep, 60).exception(20), RunTimeout)
    assert 9 == s.submit(jobs.square, 3).result(20)
    assert (0, 0) == (ahead(s), s.statistics().recalled)


STORM = """
import os, signal, sys, threading
from pools import ProcessPool
from pools._process_calls import Calls
from scheduler import PoolGroup, Scheduler
sys.path.insert(0, sys.argv[1])
import process_jobs as jobs

armed, caught, handles, n = False, 0, [], 0

def interrupt(number, frame):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

def submit_all(s, ran, count):
    # In a function of its own: not every instruction of a loop in a `try` is inside that.
    global armed, n
    armed = True
    while n < count:
        n += 1
        handles.append(s.submit(jobs.note, ran, n))
        if n % 5 == 0:
            handles[-1].result(20)
    armed = False

def main():
    global caught
    ran, count = sys.argv[2], int(sys.argv[3])
    s = Scheduler(PoolGroup("cpu", ProcessPool(2), dedicated=False))
    s.submit(jobs.ignore).result(30)
    signal.signal(signal.SIGINT, interrupt)
    print("ready", flush=True)
    while n < count:
        try:
            submit_all(s, ran, count)
        except KeyboardInterrupt:
            caught += 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("submitted", flush=True)
    for handle in handles:
        handle.result(30)
    report = s.close(finish_within=30)
    assert report.complete, report
    done = list(map(int, open(ran).read().split()))
    assert len(done) == len(set(done)), "a call ran twice"
    assert len(done) == report.statistics.succeeded - 1, (len(done), report)
    print("caught", caught, flush=True)

if __name__ == "__main__":
    main()
"""


def test_a_storm_of_ctrl_c_neither_loses_nor_doubles_a_call_to_a_process(tmp_path):
    """An interrupt may come between sending a call and writing down that it was sent."""
    script = tmp_path / "storm.py"
    script.write_text(STORM)
    process = subprocess.Popen(
        [
            sys.executable,
            "-X",
            "faulthandler",
            str(script),
            str(Path(jobs.__file__).parent),
            str(tmp_path / "ran"),
            "2000",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    dice, pause = random.Random(3), threading.Event()
    with process:
        try:
            assert "ready\n" == process.stdout.readline()
            for _ in range(300):
                process.send_signal(signal.SIGINT)
                pause.wait(dice.random() * 0.002)
            out, err = process.communicate(timeout=90)
        except BaseException:
            process.send_signal(signal.SIGABRT)
            print(process.communicate()[1])
            raise

    assert 0 == process.returncode, err
    assert "caught" in out


def test_a_worker_id_says_which_incarnation_it_is(cpu, eventually):
    """Logs of a slot that has had three workers must tell them apart."""
    s = cpu()
    names = []
    s.subscribe(lambda event: names.append(event.worker) if isinstance(event, WorkerStarted) else None)
    for _ in range(2):
        s.submit(jobs.crash, "exit").exception(20)
    s.submit(jobs.ignore).result(20)

    eventually(lambda: ["cpu-1/1#2", "cpu-1/1#3"] == names[-2:], "the names")


def test_an_error_that_takes_no_assignment_comes_back_from_a_process(open_scheduler):
    """Its note and its traceback could not be set, and that error was not the job's."""
    s = open_scheduler(PoolGroup("cpu", ProcessPool(1), dedicated=False))

    error = s.submit(jobs.raise_frozen).exception(20)
    assert isinstance(error, RemoteError)  # what it is made of cannot be set again on this side either
    assert "process_jobs.Frozen: k" in str(error)
    assert jobs.Frozen("p") == s.submit(jobs.ignore, jobs.FrozenOnPickle()).exception(20)
    assert 9 == s.submit(jobs.square, 3).result(20)
