"""How a scheduler ends: in bounded time, whatever jobs do, and with an account of every one of them."""

import asyncio
import concurrent.futures
import itertools
import threading
import time

import pytest

import pools.thread_pool
import scheduler._core.lines
import scheduler._driver
from policies import CallerRuns, FixedBackoff
from pools import InlinePool, ThreadPool
from scheduler import (
    JobInterrupted,
    JobState,
    Phase,
    PoolGroup,
    PoolState,
    Scheduler,
    SchedulerClosed,
    SchedulerClosing,
    current_job,
)
from scheduler._core.capacity import JOBS_PER_TURN
from scheduler._stopping import closing_of
from scheduler.testing import RecordedEvents

SETTLED = ("succeeded", "failed", "cancelled", "expired", "shed")


def assert_accounts(report, handles):
    """Assert that the report is the ledger of exactly these jobs."""
    ledger = report.statistics
    by_state = {state: sum(handle.state.value == state for handle in handles) for state in SETTLED}
    assert by_state == {state: getattr(ledger, state) for state in SETTLED}
    assert ledger.submitted == len(handles) == sum(by_state.values())
    named = {job.job_id for job in report.unfinished}
    unfinished = {handle.id for handle in handles if isinstance(_error(handle), JobInterrupted)}
    assert unfinished == named


def _error(handle):
    try:
        return handle.exception(0)
    except concurrent.futures.CancelledError as error:
        return error


def test_closing_lets_everything_finish(open_scheduler):
    """A clean end loses nothing: what waits, what is delayed and what backs off all run."""
    s = open_scheduler(2)
    visits = []

    def fails_once():
        visits.append(1)
        if len(visits) == 1:
            raise OSError("once")
        return "again"

    handles = [s.submit(int, n) for n in range(50)]
    handles += [s.with_options(delay=0.01).submit(int, 50)]
    handles += [s.with_options(retry=FixedBackoff(delay=0.01)).submit(fails_once)]

    report = s.close()

    assert [*range(51), "again"] == [handle.result(0) for handle in handles]
    assert report.complete
    assert Phase.FINISHING is report.phase
    assert 52 == report.statistics.submitted == report.statistics.succeeded
    assert () == report.unfinished == report.abandoned_workers
    assert_accounts(report, handles)


def test_closing_goes_through_its_phases_in_order(open_scheduler, gate):
    """Whoever watches must see how far it has come, and never see it go back."""
    s = open_scheduler(1)
    events = RecordedEvents()
    s.subscribe(events)
    s.submit(gate.stop_here)
    gate.await_arrival()

    report = s.close(finish_within=0, cancel_within=0)
    gate.open()

    phases = [event.phase for event in events.wait_for(SchedulerClosing, 5)]
    assert ["refusing", "finishing", "cancelling", "killing", "closed"] == phases
    assert Phase.KILLING is report.phase


def test_the_report_names_every_job_that_did_not_finish(open_scheduler, gates):
    """On SIGTERM somebody must be able to say what was lost, job by job."""
    s = open_scheduler(2)
    stubborn, polite = gates(), gates()

    def ignores():
        stubborn.stop_here()

    def obeys():
        job = current_job()
        polite.reached.set()
        while not job.interrupted:
            threading.Event().wait(0.001)
        job.raise_if_interrupted()

    def fails():
        raise OSError("for ever")

    running = [s.submit(ignores), s.submit(obeys)]
    stubborn.await_arrival()
    polite.await_arrival()
    waiting = s.with_options(name="the waiting one").submit(int)
    delayed = s.with_options(delay=3600.0, name="the delayed one").submit(int)

    report = s.close(finish_within=0, cancel_within=0.2)

    told = {job.job_id: (job.state, job.fate, job.worker) for job in report.unfinished}
    assert {
        running[0].id: (JobState.RUNNING, "abandoned", running[0].attempts[0].worker),
        running[1].id: (JobState.RUNNING, "interrupted", running[1].attempts[0].worker),
        waiting.id: (JobState.WAITING, "cancelled", None),
        delayed.id: (JobState.DELAYED, "cancelled", None),
    } == told
    assert {"the waiting one", "the delayed one"} < {job.name for job in report.unfinished}
    assert (running[0].attempts[0].worker,) == report.abandoned_workers
    assert_accounts(report, [*running, waiting, delayed])
    for job in report.unfinished:
        assert f"job {job.job_id} " in str(report)
    stubborn.open()


def test_a_job_that_backs_off_is_cancelled_and_named(open_scheduler, eventually):
    """A retry that would come after the end is work that is lost: it must be said."""
    s = open_scheduler(1)

    def fails():
        raise OSError("for ever")

    handle = s.with_options(retry=FixedBackoff(delay=3600.0)).submit(fails)
    eventually(lambda: handle.state is JobState.BACKING_OFF)

    report = s.close(finish_within=0, cancel_within=5)

    assert [(handle.id, JobState.BACKING_OFF, "cancelled")] == [
        (job.job_id, job.state, job.fate) for job in report.unfinished
    ]
    assert_accounts(report, [handle])


def test_a_job_that_was_asked_to_stop_but_succeeded_is_not_unfinished(open_scheduler, gate):
    """A report that names work as lost which was done makes somebody do it twice."""
    s = open_scheduler(1)

    def finishes_when_asked():
        job = current_job()
        gate.reached.set()
        while not job.interrupted:
            threading.Event().wait(0.001)
        return "saved"

    handle = s.submit(finishes_when_asked)
    gate.await_arrival()

    report = s.close(finish_within=0, cancel_within=20)

    assert "saved" == handle.result(0)
    assert report.complete
    assert Phase.CANCELLING is report.phase
    assert_accounts(report, [handle])


def test_a_failure_after_closing_began_to_cancel_is_final(open_scheduler, gate):
    """A retry armed during the last phase would never run: its job would be lost."""
    s = open_scheduler(1)

    def fails_when_asked():
        job = current_job()
        gate.reached.set()
        while not job.interrupted:
            threading.Event().wait(0.001)
        raise OSError("interrupted")

    handle = s.with_options(retry=FixedBackoff(delay=0.001)).submit(fails_when_asked)
    gate.await_arrival()

    s.close(finish_within=0, cancel_within=20)

    assert isinstance(handle.exception(0), OSError)
    assert 1 == len(handle.attempts)


def test_closing_ends_in_time_whatever_jobs_do(open_scheduler, gates):
    """Jobs that ignore every request are given up: their handles settle, their threads are counted."""
    s = open_scheduler(4)
    stubborn = [gates() for _ in range(4)]
    handles = [s.submit(gate.stop_here) for gate in stubborn]
    for gate in stubborn:
        gate.await_arrival()
    handles += [s.submit(int) for _ in range(100)]
    began = time.monotonic()

    report = s.close(finish_within=0.05, cancel_within=0.05)

    assert time.monotonic() - began < 10
    assert 4 == len(report.abandoned_workers)
    assert all(handle.done() for handle in handles)
    assert_accounts(report, handles)
    workers = [t for t in threading.enumerate() if t.name.startswith("two-tier-scheduler-thread-1/")]
    assert all(worker.daemon for worker in workers)
    for gate in stubborn:
        gate.open()


def test_an_overdue_worker_is_abandoned_but_its_job_is_not_unfinished(open_scheduler, gate):
    """Its handle has settled with RunTimeout long ago; only the thread is left to be counted."""
    s = open_scheduler(1)
    handle = s.with_options(run_timeout=0.01).submit(gate.stop_here)
    assert isinstance(handle.exception(20), scheduler.RunTimeout)

    report = s.close(finish_within=1, cancel_within=1)

    assert report.complete
    assert (handle.attempts[0].worker,) == report.abandoned_workers
    gate.open()


def test_a_second_close_returns_the_same_report(open_scheduler):
    """Closing is idempotent: a `with` block around a program that closes by itself is no error."""
    s = open_scheduler(1)
    s.submit(int).result(20)

    first = s.close()
    s.shutdown()
    with s:
        pass

    assert first is s.close()


def test_a_second_close_can_only_shorten_the_first(open_scheduler, gate, in_thread):
    """An operator who has lost patience must be heard, and one with more of it must not undo that."""
    s = open_scheduler(1)
    s.submit(gate.stop_here)
    gate.await_arrival()
    patient = in_thread(lambda: s.close(finish_within=3600, cancel_within=3600))

    report = s.close(finish_within=0.01, cancel_within=0.01)
    gate.open()

    assert report is patient.result()
    assert Phase.KILLING is report.phase


def test_a_longer_second_close_does_not_lengthen_the_first(open_scheduler, gate, in_thread):
    """The first deadline was promised to somebody."""
    s = open_scheduler(1)
    s.submit(gate.stop_here)
    gate.await_arrival()
    first = in_thread(lambda: s.close(finish_within=0.05, cancel_within=0.05))
    second = in_thread(lambda: s.close(finish_within=3600, cancel_within=3600))

    assert first.result() is second.result()
    gate.open()


def test_an_unlimited_shutdown_can_be_cut_short(open_scheduler, gate, in_thread):
    """`shutdown()` waits as long as it takes, until somebody says how long that is."""
    s = open_scheduler(1)
    handle = s.submit(gate.stop_here)
    gate.await_arrival()
    waiting = in_thread(s.shutdown)

    report = s.close(finish_within=0.01, cancel_within=0.01)
    gate.open()

    waiting.result()
    assert [handle.id] == [job.job_id for job in report.unfinished]


def test_many_threads_close_at_once(open_scheduler, in_thread):
    """One thread performs the closing, all others wait for it, and all get the same answer."""
    for _ in range(20):
        s = open_scheduler(2)
        handles = [s.submit(int, n) for n in range(20)]
        together = threading.Barrier(8)

        def close(s=s, together=together):
            together.wait(20)
            return s.close()

        closings = [in_thread(close) for _ in range(8)]

        reports = {id(closing.result()) for closing in closings}

        assert 1 == len(reports)
        assert_accounts(closings[0].value, handles)


@pytest.mark.parametrize("how", ["close", "shutdown", "with", "shutdown without waiting"])
def test_a_job_may_close_its_own_scheduler(open_scheduler, how):
    """A job that finds that all is lost ends the program; it must not wait for itself."""
    s = open_scheduler(2)

    def end():
        if how == "close":
            return s.close().complete
        if how == "with":
            with s:
                return "ended"
        return s.shutdown(wait=how == "shutdown")

    others = [s.submit(int, n) for n in range(20)]
    handle = s.submit(end)

    handle.result(20)
    assert list(range(20)) == [other.result(20) for other in others]
    with pytest.raises(SchedulerClosed):
        s.submit(int)
    assert 21 == s.close().statistics.submitted


def test_every_job_closes_the_scheduler_at_once(open_scheduler):
    """Jobs that wait for each other's end would be a deadlock that the argument says cannot be."""
    s = open_scheduler(4)
    together = threading.Barrier(4)

    def end():
        together.wait(20)
        s.close()
        return "ended"

    handles = [s.submit(end) for _ in range(4)]

    assert ["ended"] * 4 == [handle.result(20) for handle in handles]
    assert s.close().statistics.submitted == 4


def test_the_report_of_a_job_that_closes_names_that_job(open_scheduler):
    """It is alive when the books are closed: the one job the ledger cannot count as settled."""
    s = open_scheduler(1)

    handle = s.submit(s.close)

    report = handle.result(20)
    assert [(handle.id, "closing")] == [(job.job_id, job.fate) for job in report.unfinished]
    assert 1 == report.statistics.running == report.statistics.submitted


def test_a_callback_may_close_its_own_scheduler(open_scheduler):
    """Callbacks run on the worker, which is then the very thread that closing waits for."""
    s = open_scheduler(2)
    closed = threading.Event()

    def end(_):
        s.close()
        closed.set()

    handle = s.submit(int)
    handle.add_done_callback(end)

    assert closed.wait(20)
    assert s.close().complete


def test_a_job_that_asks_for_the_end_without_waiting_is_still_waited_for(open_scheduler, gate, in_thread):
    """`shutdown(wait=False)` in a job starts the end; the job itself is work like any other."""
    s = open_scheduler(1)

    def asks():
        s.shutdown(wait=False)
        gate.stop_here()
        return "finished"

    handle = s.submit(asks)
    gate.await_arrival()
    closing = in_thread(s.close)
    closing.join(0.3)
    was_open = closing.is_alive()
    gate.open()

    assert closing.result().complete
    assert "finished" == handle.result(20)
    assert was_open, "closing did not wait for the job"


def test_a_job_in_its_submitters_thread_may_close_its_own_scheduler(open_scheduler, gate, in_thread):
    """CallerRuns lends the caller's thread to a job, and that job can find that all is lost, too."""
    s = open_scheduler(1, capacity=1, admission=CallerRuns())
    s.submit(gate.stop_here)
    gate.await_arrival()
    s.submit(int)

    def end():
        s.close(finish_within=0.1, cancel_within=0.1)
        return "ended"

    running = in_thread(s.submit, end)
    running.join(5)
    gate.open()

    assert "ended" == running.result().result(20)


def test_a_job_in_its_submitters_thread_may_shut_down_without_a_deadline(
    open_scheduler, gate, in_thread, eventually
):
    """Without a deadline nobody comes and gives that job up: it must be known as the one that closes."""
    s = open_scheduler(1, capacity=1, admission=CallerRuns())
    s.submit(gate.stop_here)
    gate.await_arrival()
    waiting = s.submit(int, 7)

    running = in_thread(s.submit, s.shutdown)
    eventually(lambda: s._driver.closing is not None, "the closing")
    gate.open()
    assert 7 == waiting.result(20)
    running.join(5)
    hung = running.is_alive()
    s.close(finish_within=0, cancel_within=0)

    assert not hung
    assert running.result().result(20) is None


def test_a_job_of_an_inline_pool_may_close_its_own_scheduler():
    """There the job's thread is the caller's, and closing must not wait for that either."""
    s = Scheduler(PoolGroup("here", InlinePool()))

    handle = s.submit(lambda: s.close(finish_within=0.1, cancel_within=0.1) and "ended")

    assert "ended" == handle.result(0)
    assert 1 == s.close().statistics.submitted


def test_a_job_of_another_scheduler_waits_like_anybody_else(open_scheduler, gate):
    """Only a scheduler's own jobs are exempt; an outsider's wait is what it asked for."""
    outer, inner = open_scheduler(1), open_scheduler(1)
    handle = inner.submit(gate.stop_here, "inner")
    gate.await_arrival()
    closing = outer.submit(inner.close)
    gate.open()

    assert closing.result(20).complete
    assert "inner" == handle.result(0)


def test_pools_come_and_go_while_the_scheduler_closes(open_scheduler, in_thread):
    """Scaling and closing meet sooner or later; neither may break the other or leave a thread."""
    for _ in range(20):
        s = open_scheduler(PoolGroup("io", ThreadPool(slots=1)))
        handles = [s.submit(int, n) for n in range(20)]
        together = threading.Barrier(4)

        def add(s=s, together=together):
            together.wait(20)
            try:
                return s.add_pool("io")
            except (SchedulerClosed, ValueError):
                return None

        def add_and_drain(s=s, together=together):
            together.wait(20)
            try:
                return s.drain_pool(s.add_pool("io"), timeout=20)
            except (SchedulerClosed, ValueError):
                return None

        changes = [in_thread(add), in_thread(add_and_drain), in_thread(add)]
        together.wait(20)
        report = s.close()
        for change in changes:
            change.result()

        assert_accounts(report, handles)
        assert [] == [pool for pool in s.pools() if pool.state is PoolState.ACCEPTING]


class SlowRecipe:
    """A pool that takes its time to open."""

    slots = 1
    prefetch = 0
    runs_coroutines = False
    dedicated = False
    announces = False
    kills = False

    def __init__(self, gate):
        self._gate = gate
        self.opened = 0

    def open(self, pool_id, front):
        self.opened += 1
        if self.opened > 1:
            self._gate.stop_here()
        return ThreadPool(slots=1).open(pool_id, front)


def test_a_pool_that_opens_while_the_scheduler_closes_does_not_tear_the_closing(
    open_scheduler, gate, in_thread
):
    """Opening a pool may take seconds; the end must not find half a pool, nor leave a whole one behind."""
    s = open_scheduler(PoolGroup("slow", SlowRecipe(gate)))
    handle = s.submit(int, 7)
    adding = in_thread(s.add_pool, "slow")
    gate.await_arrival()

    closing = in_thread(lambda: s.close(finish_within=1, cancel_within=1))
    closing.join(3)
    gate.open()

    assert_accounts(closing.result(), [handle])
    adding.join(20)
    assert adding.error is None or isinstance(adding.error, SchedulerClosed)
    assert [] == [pool for pool in s.pools() if pool.state is not PoolState.STOPPED]


def test_a_closed_scheduler_opens_no_pool(open_scheduler):
    """A pool that is opened after the end is one that nobody will ever stop."""
    s = open_scheduler(1)
    s.close()

    with pytest.raises((SchedulerClosed, ValueError)):
        s.add_pool("thread")

    assert () == s.pools()


def test_shutdown_without_waiting_returns_at_once_and_finishes_everything(open_scheduler, gate):
    """As ``Executor.shutdown``: the caller goes on, the jobs go on, new ones are refused."""
    s = open_scheduler(1)
    first = s.submit(gate.stop_here, 1)
    second = s.submit(int, 2)
    gate.await_arrival()

    s.shutdown(wait=False)

    assert not first.done()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        s.submit(int)
    gate.open()
    assert [1, 2] == [first.result(20), second.result(20)]


def test_cancel_futures_cancels_what_waits_and_spares_what_runs(open_scheduler, gate, in_thread):
    """As ``Executor.shutdown(cancel_futures=True)``: pending ones are cancelled, the running one ends by itself."""
    s = open_scheduler(1)
    running = s.submit(gate.stop_here, "ran")
    gate.await_arrival()
    waiting = [s.submit(int), s.with_options(delay=3600.0).submit(int)]

    shutting = in_thread(lambda: s.shutdown(cancel_futures=True))
    done, _ = concurrent.futures.wait(waiting, timeout=20)
    gate.open()
    shutting.result()

    assert set(waiting) == done
    assert all(handle.cancelled() for handle in waiting)
    assert "ran" == running.result(0)
    assert 2 == s.statistics().cancelled


@pytest.mark.parametrize("named", [True, False], ids=["close", "cancel_futures"])
def test_closing_cancels_a_crowd_so_many_a_turn_and_starts_none_of_it(named, open_scheduler, gate, in_thread):
    """One turn for a million jobs would stop every worker for seconds; a job started in between would be a surprise."""
    s = open_scheduler(1, capacity=10_000)
    blocker = s.submit(gate.stop_here)
    gate.await_arrival()
    ran = []
    crowd = [s.submit(ran.append, n) for n in range(3 * JOBS_PER_TURN + 1)]
    crowd += [s.with_options(delay=3600.0).submit(int), s.with_options(queue_timeout=3600.0).submit(int)]
    counts = [0]
    turn = s._driver.turn

    def watched(body):
        answer = turn(body)
        counts.append(turn(s._driver.core.statistics).cancelled)
        if counts[-1]:
            gate.open()  # the only slot falls free in the middle of it
            blocker.result(20)
        return answer

    s._driver.turn = watched
    closing = in_thread(
        lambda: s.close(finish_within=0, cancel_within=20) if named else s.shutdown(cancel_futures=True)
    )
    report = closing.result()

    assert [] == ran
    assert all(handle.cancelled() for handle in crowd)
    assert max(after - before for before, after in itertools.pairwise(counts)) == JOBS_PER_TURN
    assert len(crowd) == s.statistics().cancelled
    assert not named or len(crowd) == len(report.unfinished)


def test_closing_wakes_a_submitter_that_waits_for_room(open_scheduler, gate, in_thread, eventually):
    """Somebody who blocks on a full queue for ever after the end is a hang on SIGTERM."""
    s = open_scheduler(1, capacity=1)
    s.submit(gate.stop_here)
    gate.await_arrival()
    s.submit(int)
    at_door = in_thread(s.submit, int)
    eventually(lambda: len(s._driver.core.gate.door) == 1)

    s.shutdown(wait=False)

    with pytest.raises(SchedulerClosed, match="cannot schedule new futures"):
        at_door.result()
    gate.open()
    report = s.close()
    assert 2 == report.statistics.submitted
    assert 1 == report.statistics.rejected


def test_a_submitter_woken_by_closing_is_not_let_in_by_the_room_that_closing_makes(
    open_scheduler, gates, in_thread, eventually, monkeypatch
):
    """From REFUSING on no job comes in: one that slipped in late would be in no list of what to cancel."""
    gate, woken = gates(), gates()
    allocate = scheduler._driver.allocate_lock

    class SleepyLock:
        """A lock whose waiter takes its time between being woken and going on."""

        def __init__(self):
            self._lock = allocate()

        def acquire(self, *args):
            got = self._lock.acquire(*args)
            if args:
                woken.stop_here()
            return got

        def release(self):
            self._lock.release()

    monkeypatch.setattr(scheduler._driver, "allocate_lock", SleepyLock)
    s = open_scheduler(1, capacity=1)
    s.submit(gate.stop_here)
    gate.await_arrival()
    s.submit(int)
    at_door = in_thread(s.submit, int)
    eventually(lambda: len(s._driver.core.gate.door) == 1)

    closing = in_thread(lambda: s.close(finish_within=0, cancel_within=0))
    woken.await_arrival()
    closing.join(3)
    woken.open()
    gate.open()

    with pytest.raises(SchedulerClosed):
        at_door.result().result(5)
    report = closing.result()
    assert 2 == report.statistics.submitted == report.statistics.cancelled


@pytest.mark.parametrize("still", ["paused", "cordoned"])
def test_a_scheduler_that_starts_nothing_still_closes_in_time(open_scheduler, still):
    """What waits behind a pause cannot finish: it is cancelled and named, not waited for for ever."""
    s = open_scheduler(1)
    if still == "paused":
        s.pause()
    else:
        s.cordon_pool("thread-1")
    handle = s.submit(int)

    report = s.close(finish_within=0.05, cancel_within=0.05)

    assert handle.done()
    assert_accounts(report, [handle])


def test_a_paused_scheduler_finishes_its_jobs_when_it_ends():
    """Leaving a `with` block that paused, or the interpreter, must not hang for ever."""
    s = Scheduler(1)
    s.pause()
    handle = s.submit(int, 7)

    thread = threading.Thread(target=s.shutdown, daemon=True)
    thread.start()
    thread.join(5)
    hung = thread.is_alive()
    s.resume()
    thread.join(20)

    assert not hung
    assert 7 == handle.result(0)


def test_async_with_closes_without_holding_up_the_loop(open_scheduler, gate):
    """An event loop that stands still while a scheduler closes answers nobody."""
    turns = []

    async def main():
        async with open_scheduler(1) as s:
            handle = s.submit(gate.stop_here, 7)
            loop = asyncio.get_running_loop()
            loop.call_later(0.01, turns.append, 1)
            loop.call_later(0.02, gate.open)
        return handle.result(0)

    assert 7 == asyncio.run(main())
    assert [1] == turns


def test_a_report_reads_as_a_sentence(open_scheduler):
    """It ends up in a log, where somebody reads it at night."""
    s = open_scheduler(1)
    s.submit(int).result(20)

    text = str(s.close())

    assert "1 submitted = 1 succeeded + 0 failed + 0 cancelled + 0 expired + 0 shed" in text
    assert "\n" not in text


def test_when_the_system_gives_no_thread_closing_is_done_by_the_caller(open_scheduler, monkeypatch):
    """At the limit of threads, of all moments, one must be able to stop."""
    s = open_scheduler(1)
    s.submit(int).result(20)
    start = threading.Thread.start

    def refuse(thread):
        if thread.name.endswith("-closing"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert s.close().complete


def test_a_pool_whose_stop_raises_does_not_tear_the_closing(open_scheduler, monkeypatch):
    """A pool may be anybody's: its bug must not cost the account of all the others' jobs."""

    class Broken:
        slots = 1
        prefetch = 0
        runs_coroutines = False
        dedicated = False
        announces = False
        kills = False

        def open(self, pool_id, front):
            pool = ThreadPool(slots=1).open(pool_id, front)
            stop = pool.stop

            def stop_badly(timeout):
                stop(timeout)
                raise OSError("cannot stop")

            pool.stop = stop_badly
            return pool

    s = open_scheduler(PoolGroup("bad", Broken()))
    handle = s.submit(int, 7)

    thread = threading.Thread(target=s.shutdown, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    report = s.close()

    assert report is not None
    assert_accounts(report, [handle])


@pytest.mark.parametrize("way", ["close", "shutdown"])
def test_a_callback_that_closes_is_not_waited_for(open_scheduler, gate, way, eventually):
    """Closing waited a second for the very thread that waited for it, and then called it abandoned."""
    s = open_scheduler(1)
    reports, ended = [], threading.Event()

    def end(_handle):
        getattr(s, way)()
        reports.append(s.close())
        ended.set()

    handle = s.submit(gate.stop_here, 7)
    handle.add_done_callback(end)
    gate.open()

    assert 7 == handle.result(20)
    eventually(lambda: s._driver.closing is not None, "the callback")
    report = s.close()
    assert () == report.abandoned_workers
    assert report.duration < 0.5
    assert ended.wait(20)
    assert reports == [report]


def test_a_callback_that_joins_a_closing_late_is_not_called_abandoned(open_scheduler, gate, monkeypatch):
    """It waits for the closing, which waits for its thread to leave: nobody is to blame."""
    stopping, reports, ended = threading.Event(), [], threading.Event()
    stop = pools.thread_pool._Threads.stop

    def tell_and_stop(pool, timeout):
        stopping.set()
        return stop(pool, timeout)

    monkeypatch.setattr(pools.thread_pool._Threads, "stop", tell_and_stop)
    s = open_scheduler(1)

    def end(_handle):
        assert stopping.wait(20)
        reports.append(s.close())
        ended.set()

    s.submit(gate.stop_here).add_done_callback(end)
    gate.open()
    report = s.close()

    assert () == report.abandoned_workers
    assert ended.wait(20)
    assert [report] == reports


def test_a_cordoned_pool_does_not_keep_a_scheduler_from_ending(open_scheduler, in_thread):
    """Jobs that wait behind a cordon would wait for ever, and so would whoever leaves the `with`."""
    s = open_scheduler(PoolGroup("io", ThreadPool(1)))
    s.cordon_pool("io-1")
    handle = s.submit(int, 7)

    in_thread(s.shutdown).result()

    assert 7 == handle.result(0)


def test_leaving_async_with_by_a_timeout_does_not_tear_the_closing(open_scheduler, gate, eventually):
    """Whoever waited for the end may be gone when it comes."""
    s = open_scheduler(1)

    async def leave():
        async with asyncio.timeout(0.05):
            async with s:
                s.submit(gate.stop_here)

    with pytest.raises(TimeoutError):
        asyncio.run(leave())
    after = []
    closing_of(s._driver).when_done(lambda: after.append(True))
    gate.open()

    assert s.close().complete
    eventually(lambda: [True] == after, "the callback")


def test_a_stuck_neighbour_of_the_job_that_closes_is_named(open_scheduler, gate):
    """Its thread is left behind like any other; the report must not hide it."""
    s = open_scheduler(2)
    stuck = s.submit(gate.stop_here)
    gate.await_arrival()

    report = s.submit(s.close, finish_within=0.01, cancel_within=0.01).result(20)

    assert ("thread-1/1",) == report.abandoned_workers
    assert stuck.cancelled()


def test_closing_looks_at_each_job_that_waits_once(open_scheduler, monkeypatch, untraced):
    """Each 256 cancelled began with a look at all that wait: a million took a minute."""
    s = open_scheduler(1)
    s.pause()
    handles = [s.submit(int) for _ in range(20 * JOBS_PER_TURN)]
    looked = []
    live = scheduler._core.lines.Run.live
    monkeypatch.setattr(scheduler._core.lines.Run, "live", lambda run: looked.append(len(run)) or live(run))
    s.shutdown(cancel_futures=True)

    assert all(handle.done() for handle in handles)
    assert sum(looked) < 3 * len(handles)
