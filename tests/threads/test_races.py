"""Each race that the rooms' comments argue about, forced: one thread is held at the point in question."""

import concurrent.futures
import contextlib
import logging
import math
import threading

import pytest

import scheduler._alarm
import scheduler._core.job
import scheduler._core.pool_table
from policies import FixedBackoff
from pools import ThreadPool
from scheduler import JobState, PoolBroken, PoolGroup, SchedulerClosed
from scheduler._observers import Observers
from scheduler.testing import VirtualClock, check_invariants


def on_main_thread_only(hook):
    """Return a hook that does nothing on other threads."""

    def check():
        if threading.current_thread() is threading.main_thread():
            hook()

    return check


def once(hook):
    """Return a hook that works the first time only."""
    done = []

    def check():
        if not done:
            done.append(True)
            hook()

    return check


def on_thread(name, hook):
    """Return a hook that works on threads with this in their name."""

    def check():
        if name in threading.current_thread().name:
            hook()

    return check


def test_a_result_that_comes_while_the_waiter_is_on_its_way_wakes_it(lying_locks, open_scheduler, gate):
    """The lost wake-up: the job settles after the waiter looked and before it has registered."""
    s = open_scheduler(1)
    handle = s.submit(gate.stop_here, "done")
    gate.await_arrival()
    settled = threading.Event()
    handle.add_done_callback(lambda _: settled.set())

    def settle_now():
        gate.open()
        assert settled.wait(20)

    lying_locks[0].hooks["before_acquire"] = on_main_thread_only(once(settle_now))

    assert "done" == handle.result(20)


def test_a_result_that_comes_right_after_the_waiter_registered_wakes_it(lying_locks, open_scheduler, gate):
    """The other half of the lost wake-up: registered, not yet asleep."""
    s = open_scheduler(1)
    handle = s.submit(gate.stop_here, "done")
    gate.await_arrival()
    settled = threading.Event()
    handle.add_done_callback(lambda _: settled.set())

    def settle_now():
        gate.open()
        assert settled.wait(20)

    lying_locks[0].hooks["after_release"] = on_main_thread_only(once(settle_now))

    assert "done" == handle.result(20)


def test_a_result_that_comes_as_the_waiter_gives_up_is_no_error(open_scheduler, lying_locks, gate):
    """Between the end of a timeout and the look at the state, the job may settle: then it is settled."""
    s = open_scheduler(1)
    handle = s.submit(gate.stop_here, "done")
    gate.await_arrival()
    settled = threading.Event()
    handle.add_done_callback(lambda _: settled.set())
    visits = []

    def settle_at_the_second_visit():
        visits.append(1)
        if len(visits) == 2:
            gate.open()
            assert settled.wait(20)

    lying_locks[0].hooks["before_acquire"] = on_main_thread_only(settle_at_the_second_visit)

    assert "done" == handle.result(0.001)


def test_a_callback_that_is_added_while_the_job_settles_is_called_once(lying_locks, open_scheduler, gate):
    """Too late for the worker to see it and too early to be called at once is a callback that is lost."""
    s = open_scheduler(1)
    handle = s.submit(gate.stop_here)
    gate.await_arrival()
    settled = threading.Event()
    handle.add_done_callback(lambda _: settled.set())
    calls = []

    def settle_now():
        gate.open()
        assert settled.wait(20)

    lying_locks[0].hooks["before_acquire"] = on_main_thread_only(once(settle_now))

    handle.add_done_callback(calls.append)

    assert [handle] == calls


@pytest.fixture
def settled_but_untold(lying_locks, open_scheduler, gates, in_thread, eventually):
    """Hold a worker after its job has settled and before it tells who waits for that; a second job runs on.

    Returns both handles, and functions: one lets the worker on and returns when it has told, one ends the second job.
    """
    s = open_scheduler(2)
    first_gate, second_gate, untold = gates(), gates(), gates()
    first, second = s.submit(first_gate.stop_here), s.submit(second_gate.stop_here)
    first_gate.await_arrival()
    second_gate.await_arrival()
    waits = in_thread(concurrent.futures.wait, [first])
    eventually(lambda: first.watchers, "somebody to be told")
    lying_locks[0].hooks["after_release"] = on_thread("-1/1", once(untold.stop_here))
    first_gate.open()
    untold.await_arrival()
    assert first.done()

    def tell():
        untold.open()
        s.submit(int).result(20)  # the same worker runs it, after it has told

    yield first, second, tell, second_gate.open
    untold.open()
    waits.result()


def test_wait_does_not_take_a_job_that_settled_as_it_began_for_another(
    settled_but_untold, in_thread, eventually
):
    """The job was done when `wait` counted; to be told of it then looked like the end of the other one."""
    first, second, tell, finish = settled_but_untold
    waits = in_thread(concurrent.futures.wait, [first, second])
    eventually(lambda: second.watchers, "the wait")
    tell()
    assert not any(waiter.event.is_set() for waiter in tuple(second.watchers)), (
        "it was told of another job's end"
    )
    finish()

    assert {first, second} == waits.result().done


def test_as_completed_yields_a_job_once_that_settled_as_it_began(settled_but_untold, lying_locks):
    """To be told of a job that it had found done made it raise KeyError in the user's loop."""
    first, second, tell, finish = settled_but_untold

    def tell_between():
        if second.watchers:  # it has looked, and not yet yielded
            del lying_locks[0].hooks["before_acquire"]
            tell()

    lying_locks[0].hooks["before_acquire"] = on_main_thread_only(tell_between)
    completed = concurrent.futures.as_completed([first, second])

    assert first is next(completed)
    finish()
    assert [second] == list(completed)


def test_a_job_that_a_closing_gives_up_before_its_pool_has_it_raises_nothing_at_submit(
    lying_locks, open_scheduler, in_thread
):
    """The submitter was told that a pool takes no more calls, of a job that was admitted and is in the report."""
    s = open_scheduler(1)
    s.submit(int).result(20)
    reports = []

    def close():
        reports.append(in_thread(lambda: s.close(finish_within=0, cancel_within=0)).result())

    lying_locks[0].hooks["after_release"] = on_main_thread_only(once(close))
    handle = s.submit(int)

    assert handle.done()
    assert [handle.id] == [job.job_id for job in reports[0].unfinished]


class _PaidElsewhere(list):
    """A list that another thread empties between the look at it and the taking."""

    def __bool__(self):
        return True


def test_a_debt_that_another_thread_pays_first_costs_no_outcome(open_scheduler):
    """A worker that saw a refused submit's debt and found it paid raised IndexError, and its job never settled."""
    s = open_scheduler(1)
    s._driver.debts = _PaidElsewhere()

    assert 5 == s.submit(int, 5).result(20)


@pytest.mark.parametrize("moment", ["before_acquire", "after_release"])
def test_a_pool_drained_while_its_worker_refills_loses_no_job(
    lying_locks, open_scheduler, gates, in_thread, moment
):
    """Refill against drain: the worker has an outcome in hand and asks for more while its pool goes away."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1), min_pools=2))
    s.add_pool("io")
    gate, at_lock = gates(), gates()
    first = s.submit(gate.stop_here)
    gate.await_arrival()
    pool_id = first.attempts[0].pool
    others = [gates() for _ in range(2)]
    for other in others:
        s.submit(other.stop_here)
    for other in others:
        other.await_arrival()
    waiting = [s.submit(int, n) for n in range(5)]

    lying_locks[0].hooks[moment] = on_thread(f"{pool_id}/1", once(at_lock.stop_here))
    gate.open()
    at_lock.await_arrival()
    draining = in_thread(s.drain_pool, pool_id)
    at_lock.open()

    report = draining.result()
    for other in others:
        other.open()
    assert report.drained
    assert list(range(5)) == [handle.result(20) for handle in waiting]
    check_invariants(s)
    assert pool_id not in [pool.pool_id for pool in s.pools()]


def test_a_submit_that_comes_before_closing_is_run_and_one_that_comes_after_is_refused(
    lying_locks, open_scheduler, in_thread, gates, eventually
):
    """Submit against close: there is no third outcome, whoever gets the lock first."""
    for closing_first in (False, True):
        s = open_scheduler(1)
        gate = gates()
        lock = lying_locks[-1]
        moment = "before_acquire" if closing_first else "after_acquire"
        lock.hooks[moment] = on_thread("test-submit", once(gate.stop_here))

        def submit(s=s):
            return s.submit(int, 7)

        submitting = in_thread(submit)
        gate.await_arrival()
        if closing_first:
            s.shutdown(wait=False)
            gate.open()
            with pytest.raises(SchedulerClosed, match="cannot schedule new futures"):
                submitting.result()
        else:
            closing = in_thread(s.close)
            gate.open()
            assert 7 == submitting.result().result(20)
            assert 1 == closing.result().statistics.succeeded


def test_cancel_and_start_agree_on_who_was_first(lying_locks, open_scheduler, gates, in_thread):
    """A job that was cancelled must never run, and one that runs must never say that it was cancelled."""
    for cancel_first in (False, True):
        s = open_scheduler(1)
        lock = lying_locks[-1]
        blocker, at_lock = gates(), gates()
        s.submit(blocker.stop_here)
        blocker.await_arrival()
        ran = []
        handle = s.submit(ran.append, 1)

        if cancel_first:
            lock.hooks["before_acquire"] = on_thread("two-tier-scheduler-thread", once(at_lock.stop_here))
            blocker.open()
            at_lock.await_arrival()
            assert handle.cancel()
            at_lock.open()
            assert s.drain(20)
            assert [] == ran
            assert handle.cancelled()
        else:

            def cancel(handle=handle):
                return handle.cancel()

            lock.hooks["before_acquire"] = on_thread("test-cancel", once(at_lock.stop_here))
            cancelling = in_thread(cancel)
            at_lock.await_arrival()
            blocker.open()
            assert handle.result(20) is None
            at_lock.open()
            assert cancelling.result() is False
            assert [1] == ran


def test_a_job_cancelled_as_its_timer_fires_is_cancelled_and_never_runs(lying_locks, open_scheduler, gate):
    """Alarm against cancel: the timer is due, the alarm is on its way to the lock, and the job goes."""
    s = open_scheduler(1)
    lying_locks[0].hooks["before_acquire"] = on_thread("-alarm", once(gate.stop_here))
    ran = []
    handle = s.with_options(delay=0.001).submit(ran.append, 1)
    gate.await_arrival()

    assert handle.cancel()
    gate.open()

    assert 7 == s.with_options(delay=0.001).submit(int, 7).result(20)
    assert [] == ran
    assert 1 == s.statistics().cancelled


def test_a_timer_disarmed_while_the_alarm_looks_for_the_next_one_does_not_stop_the_alarm(
    open_scheduler, eventually, in_thread
):
    """An alarm that dies of a race takes every later delay, backoff and limit with it."""
    s = open_scheduler(1)
    driver = s._driver
    victim = s.with_options(delay=3600.0).submit(int)
    looked = []

    class Armed(dict):
        def get(self, job):
            known = super().get(job)
            if (
                known is not None
                and not looked
                and threading.current_thread().name.endswith("-alarm")
                and not driver.lock._is_owned()
            ):
                looked.append(False)
                in_thread(victim.cancel).result()
                looked.append(True)
            return known

    timers = driver.core.timers
    timers._of_job = Armed(timers._of_job)

    assert 7 == s.with_options(delay=0.001).submit(int, 7).result(20)
    alarm = s._driver._alarm
    eventually(lambda: any(looked) or alarm.now() + 60 < alarm._when < math.inf, "the alarm's next sleep")
    if looked:  # without the lock
        alarm._thread.join(0.1)
    victim.cancel()
    assert 8 == s.with_options(delay=0.001).submit(int, 8).result(20)


def test_a_timer_armed_while_the_alarm_goes_to_sleep_is_not_missed(open_scheduler, eventually):
    """The alarm has read how long to sleep, an earlier timer is armed, and only then does it lie down."""
    s = open_scheduler(1)
    late = s.with_options(delay=3600.0).submit(int)
    alarm = s._driver._alarm
    kick = alarm._kick
    submitted = []

    class Kick:
        def acquire(self, blocking, seconds=-1):
            if seconds > 60 and not submitted:
                submitted.append(s.with_options(delay=0.001).submit(int, 7))
            return kick.acquire(blocking, seconds)

        def release(self):
            kick.release()

    alarm._kick = Kick()
    first = s.with_options(delay=0.002).submit(int, 1)

    assert 1 == first.result(20)
    s.with_options(delay=0.003).submit(int, 2).result(20)
    eventually(lambda: submitted, "the alarm's sleep")
    assert [7] == [handle.result(20) for handle in submitted]
    assert late.cancel()


def test_two_threads_that_add_a_pool_at_once_keep_to_the_maximum(open_scheduler, in_thread, monkeypatch):
    """A limit that is looked at in one turn and used up in another is no limit."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1), max_pools=2))
    counted = scheduler._core.pool_table.GroupRecord.capacity_pools
    both = threading.Barrier(2)

    def count_together(group):
        count = counted(group)
        if threading.current_thread().name.startswith("test-"):
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.5)  # alone if the lock keeps the other one out: that is right
        return count

    monkeypatch.setattr(scheduler._core.pool_table.GroupRecord, "capacity_pools", count_together)
    threads = [in_thread(s.add_pool, "io") for _ in range(2)]
    for thread in threads:
        thread.join(20)

    assert 1 == sum(isinstance(thread.error, ValueError) for thread in threads)
    assert 2 == len(s.pools())


def test_progress_told_while_the_attempt_runs_out_of_time_loses_no_attempt(
    open_scheduler, gates, in_thread, monkeypatch
):
    """A job's rarely used fields are made on first use; two threads that make them at once must agree."""
    clock = VirtualClock()
    s = open_scheduler(1, clock=clock, check_invariants=True)
    making, returning = gates(), gates()
    make = scheduler._core.job.Extra

    def slowly():
        if "thread-1/1" in threading.current_thread().name:
            making.stop_here()
        return make()

    monkeypatch.setattr(scheduler._core.job, "Extra", slowly)

    def tell():
        scheduler.current_job().progress(1, 2)
        returning.stop_here()

    handle = s.with_options(run_timeout=1.0, retry=FixedBackoff(delay=3600.0)).submit(tell)
    making.await_arrival()
    elapsing = in_thread(clock.advance, 2.0)
    elapsing.join(0.5)  # either it has passed, or it waits for the job's turn to end
    making.open()
    returning.await_arrival()
    elapsing.result()
    returning.open()

    assert [1] == [attempt.number for attempt in handle.attempts]
    assert handle.cancel()


def test_an_attempt_that_returns_late_tells_nobody_a_second_time(open_scheduler, gates):
    """``wait`` counts what it is told: told twice of one handle, it returns with another still running."""
    clock = VirtualClock()
    s = open_scheduler(3, clock=clock)
    stuck, other = gates(), gates()
    visits = []

    def slow_at_first():
        visits.append(1)
        return stuck.stop_here() if len(visits) == 1 else "second"

    calls = []
    first = s.with_options(run_timeout=1.0, retry=FixedBackoff(delay=1.0)).submit(slow_at_first)
    stuck.await_arrival()
    second = s.submit(other.stop_here)
    other.await_arrival()
    waiter = concurrent.futures._base._create_and_install_waiters(
        [first, second], concurrent.futures.ALL_COMPLETED
    )
    first.add_done_callback(calls.append)
    clock.advance(1.5)
    clock.advance(1.0)  # the second attempt began half a second ago, and is within its limit
    assert "second" == first.result(20)
    late = threading.Event()
    s.subscribe(lambda event: late.set() if type(event).__name__ == "WorkerReturned" else None)

    stuck.open()
    assert late.wait(20)
    assert s.submit(int, 1).result(20) == 1
    s.submit(int).result(20)
    told_too_early = waiter.event.wait(0.05)

    assert not told_too_early
    assert [first] == calls
    other.open()
    assert waiter.event.wait(20)


def test_two_threads_that_wait_for_jobs_of_two_schedulers_do_not_wait_for_each_other(
    open_scheduler, in_thread
):
    """``concurrent.futures`` takes conditions in the order of the futures' ids, which must then be safe."""
    one, two = open_scheduler(1), open_scheduler(1)
    one.pause()
    two.pause()

    def pair(first, second):
        """Return a job of each scheduler, the first one's with the lower id."""
        kept = []
        while True:
            kept += [(first.submit(int), second.submit(int))]
            if id(kept[-1][0]) < id(kept[-1][1]):
                return kept[-1]

    pairs = [pair(one, two), pair(two, one)]
    both_have_one = threading.Barrier(2)
    acquire = concurrent.futures._base._AcquireFutures.__enter__

    def in_lockstep(self):
        for count, future in enumerate(self.futures):
            condition = future._condition
            if count:
                with contextlib.suppress(threading.BrokenBarrierError):
                    both_have_one.wait(0.5)  # alone if the other one was kept from its first: safe too
            assert condition.acquire(True, 5), "each holds what the other wants"

    concurrent.futures._base._AcquireFutures.__enter__ = in_lockstep
    try:
        threads = [in_thread(concurrent.futures.wait, handles, 0.01) for handles in pairs]
        for thread in threads:
            thread.join(20)
    finally:
        concurrent.futures._base._AcquireFutures.__enter__ = acquire

    assert [None, None] == [thread.error for thread in threads]


def test_events_keep_their_order_when_two_threads_start_handing_out_together(in_thread):
    """An observer that sees a job settle before it starts cannot keep a count."""
    observers, both = Observers("race"), threading.Barrier(2)
    inside = threading.Lock()
    pause = threading.Event()
    heard, overlaps = [], []

    def observe(event):
        if not inside.acquire(blocking=False):
            overlaps.append(event)
            return
        pause.wait(0.002)  # long enough for the other thread to be here too
        heard.append(event)
        inside.release()

    observers.put([(number, None) for number in range(20)])
    observers.add(observe)
    threads = [in_thread(lambda: both.wait(20) + 1 and observers.hand_out()) for _ in range(2)]
    for thread in threads:
        thread.result()

    assert [] == overlaps
    assert list(range(20)) == heard


def test_an_interrupted_hand_over_runs_the_job_once(open_scheduler, gate, monkeypatch):
    """On a loaded machine the woken worker may need long to begin: it must not be given the job twice."""
    s = open_scheduler(1)
    s.submit(int).result(20)
    pool = next(iter(s._driver.core.pools)).runner
    hand_over = pool.run
    run = scheduler.JobHandle.run
    ran = []

    def interrupted(slot, call):
        hand_over(slot, call)
        raise KeyboardInterrupt

    def begin_late(handle):
        gate.stop_here()
        return run(handle)

    pool.run = interrupted
    monkeypatch.setattr(scheduler.JobHandle, "run", begin_late)
    with pytest.raises(KeyboardInterrupt):
        s.submit(ran.append, 1)
    del pool.run
    gate.open()

    assert 7 == s.submit(int, 7).result(20)
    assert 8 == s.submit(int, 8).result(20)
    assert [1] == ran
    assert 4 == s.statistics().succeeded


def test_a_thread_whose_start_was_interrupted_is_started_again(open_scheduler, monkeypatch):
    """A worker or an alarm that is on the books without a thread takes work that nobody does."""
    start = threading.Thread.start
    interrupts = []

    def interrupted_once(thread):
        if thread.name not in interrupts and "two-tier" in thread.name:
            interrupts.append(thread.name)
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted_once)
    s = open_scheduler(1, name="torn")
    with pytest.raises(KeyboardInterrupt):
        s.submit(int, 1)
    assert 2 == s.submit(int, 2).result(5)
    with pytest.raises(KeyboardInterrupt):
        s.with_options(delay=0.001).submit(int, 3)
    assert 4 == s.with_options(delay=0.001).submit(int, 4).result(5)
    with pytest.raises(KeyboardInterrupt):
        s.close()
    assert s.close(finish_within=5).complete
    assert 3 == len(interrupts)


def test_a_worker_that_fails_while_another_says_that_the_pool_is_broken_says_the_same(open_scheduler, gate):
    """Two initializers raise at once: while one still writes its log, the other must not be given the next job."""
    together = threading.Barrier(3)

    def initializer():
        together.wait(20)
        raise OSError("no database")

    class Slow(logging.Handler):
        def emit(self, record):
            gate.stop_here()

    log = logging.getLogger("two-tier-scheduler")
    handler = Slow(logging.CRITICAL)
    log.addHandler(handler)
    try:
        s = open_scheduler(ThreadPool(slots=2, initializer=initializer))
        handles = [s.submit(int) for _ in range(2)]
        handles.append(s.submit(int))  # waits behind them, and must not come to a slot that can run nothing
        together.wait(20)
        gate.await_arrival()
        done, _ = concurrent.futures.wait(handles, 20, return_when=concurrent.futures.FIRST_COMPLETED)
        assert done
        gate.open()

        errors = [handle.exception(20) for handle in handles]
        assert [PoolBroken] * 3 == [type(error) for error in errors]
        assert all("no pool of group 'thread' can run anything" in str(error) for error in errors)
        with pytest.raises(PoolBroken):
            s.submit(int)
    finally:
        log.removeHandler(handler)


def test_the_state_of_a_job_settled_by_another_thread_is_final(open_scheduler, in_thread, gates):
    """Sixteen threads that cancel, interrupt and await one job all learn the same."""
    for _ in range(20):
        s = open_scheduler(2)
        gate = gates()
        handle = s.submit(gate.stop_here, "value")
        everybody = threading.Barrier(9)

        def look(act, handle=handle, everybody=everybody):
            everybody.wait(20)
            act()
            try:
                return handle.result(20)
            except concurrent.futures.CancelledError:
                return "cancelled"

        acts = [handle.cancel, handle.done, handle.running, handle.interrupt] * 2
        threads = [in_thread(look, act) for act in acts]
        everybody.wait(20)
        gate.open()

        assert 1 == len({thread.result() for thread in threads})
        assert handle.state in (JobState.SUCCEEDED, JobState.CANCELLED)
        s.close()
