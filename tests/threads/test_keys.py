"""Keys under real threads: exactly one winner, and nobody lost, whoever meets whom."""

import asyncio
import gc
import threading
import weakref

import process_jobs
import pytest

from policies import FixedBackoff
from pools import AsyncioPool, ProcessPool, ThreadPool
from scheduler import (
    DuplicateJob,
    JobState,
    PoolGroup,
    QueueFull,
    SchedulerClosed,
    WouldDeadlock,
    current_job,
)
from scheduler.testing import VirtualClock, check_invariants

JOIN, REJECT = {"key": "k"}, {"key": "k", "on_conflict": "reject"}
REPLACE = {"key": "k", "on_conflict": "replace"}
THREADS = 4


@pytest.fixture
def at_once(in_thread):
    """Return a function that calls another in several threads that start together."""

    def call(function, threads=THREADS):
        barrier = threading.Barrier(threads)

        def begin():
            barrier.wait(20)
            return function()

        return [in_thread(begin) for _ in range(threads)]

    return call


@pytest.fixture
def full(open_scheduler, gate, in_thread, eventually):
    """Return a function that makes a full scheduler, and a thread that submits a job of key k at its door."""

    def make(**options):
        s = open_scheduler(1, capacity=1, check_invariants=True)
        s.submit(gate.stop_here)
        gate.await_arrival()
        s.submit(int)
        at_door = in_thread(lambda: s.with_options(**JOIN | options).submit(int, 7))
        eventually(lambda: len(s._driver.core.gate.door) == 1)
        return s, at_door

    return make


def beside(s):
    return sum(map(len, s._driver.core.keys._beside.values()))


def nothing_left(s):
    core = s._driver.core
    return not len(core.keys) and not core.keys._beside and not s._driver._door


# Who comes at the same time


def test_of_many_that_join_at_once_one_runs_and_all_have_its_handle(open_scheduler, gate, at_once):
    """Two workers that see an empty cache at the same moment must not both fill it."""
    s = open_scheduler(2)
    ran = []
    submitter = s.with_options(**JOIN)

    def work():
        ran.append(None)
        return gate.stop_here("value")

    handles = [thread.result() for thread in at_once(lambda: submitter.submit(work))]
    gate.open()

    assert 1 == len({id(handle) for handle in handles})
    assert ["value"] * THREADS == [handle.result(20) for handle in handles]
    assert 1 == len(ran)


def test_of_many_that_reject_at_once_exactly_one_comes_in(open_scheduler, gate, at_once):
    """The others are told by whom they were beaten."""
    s = open_scheduler(2)
    submitter = s.with_options(**REJECT)
    threads = at_once(lambda: submitter.submit(gate.stop_here))
    for thread in threads:
        thread.join(20)

    (winner,) = (thread.value for thread in threads if thread.error is None)
    losers = [thread.error for thread in threads if thread.error is not None]
    assert {DuplicateJob} == {type(error) for error in losers}
    assert {winner.id} == {error.job_id for error in losers}
    gate.open()


def test_of_many_that_replace_at_once_exactly_one_runs(open_scheduler, gate, at_once):
    """The latest wins, and everybody else has a handle that says so."""
    s = open_scheduler(1)
    s.submit(gate.stop_here)
    ran = []
    submitter = s.with_options(**REPLACE)
    handles = [thread.result() for thread in at_once(lambda: submitter.submit(ran.append, None))]
    gate.open()
    assert s.drain(20)

    states = sorted(handle.state.name for handle in handles)
    assert ["CANCELLED"] * (THREADS - 1) + ["SUCCEEDED"] == states
    assert 1 == len(ran)


def test_a_storm_of_all_conflicts_never_runs_two_of_a_key_and_loses_nobody(open_scheduler, in_thread):
    """Every race at once, many times: the ledger and every handle must agree in the end."""
    s = open_scheduler(3, capacity=4, check_invariants=True)
    running = dict.fromkeys("ab", 0)
    lock = threading.Lock()
    overlaps = []

    def work(key):
        with lock:
            running[key] += 1
            overlaps.append(running[key])
        with lock:
            running[key] -= 1

    def submit(number):
        handles = []
        for n in range(60):
            key = "ab"[n % 2]
            conflict = ("join", "reject", "replace")[(n + number) % 3]
            try:
                handles.append(s.with_options(key=key, on_conflict=conflict).submit(work, key))
            except DuplicateJob:
                continue
        return handles

    threads = [in_thread(submit, number) for number in range(THREADS)]
    handles = {id(h): h for thread in threads for h in thread.result()}.values()
    assert s.drain(20)

    assert {1} == set(overlaps)
    assert {JobState.SUCCEEDED, JobState.CANCELLED} >= {handle.state for handle in handles}
    ledger = s.statistics()
    assert len(handles) == ledger.submitted == ledger.succeeded + ledger.cancelled
    assert nothing_left(s)


# Submitting against settling


def test_who_comes_just_after_the_other_has_settled_starts_a_new_job(lying_locks, open_scheduler, gate):
    """The look-up is in the turn that submits: between them nothing can settle."""
    s = open_scheduler(1)
    submitter = s.with_options(**JOIN)
    first = submitter.submit(gate.stop_here, "first")
    gate.await_arrival()
    settled = threading.Event()
    first.add_done_callback(lambda _: settled.set())

    def settle_now():
        if threading.current_thread() is threading.main_thread():
            lying_locks[0].hooks.clear()
            gate.open()
            assert settled.wait(20)

    lying_locks[0].hooks["before_acquire"] = settle_now
    second = submitter.submit(str, "second")

    assert ("first", "second") == (first.result(20), second.result(20))


def test_who_joins_just_before_the_other_settles_has_its_result(lying_locks, open_scheduler, gate):
    """It has joined a living job, whatever becomes of that before it has its handle."""
    s = open_scheduler(1)
    submitter = s.with_options(**JOIN)
    first = submitter.submit(gate.stop_here, "first")
    gate.await_arrival()
    settled = threading.Event()
    first.add_done_callback(lambda _: settled.set())

    def settle_now():
        if threading.current_thread() is threading.main_thread():
            lying_locks[0].hooks.clear()
            gate.open()
            assert settled.wait(20)

    lying_locks[0].hooks["after_release"] = settle_now
    second = submitter.submit(str, "second")

    assert second is first
    assert "first" == second.result(0)


def test_nothing_of_a_settled_job_is_left_under_its_key(open_scheduler):
    """A service uses new keys all day; a table of all of them is a leak."""
    s = open_scheduler(1)
    handle = s.with_options(**JOIN).submit(int)
    handle.result(20)
    assert s.drain(20)
    assert nothing_left(s)
    gone = weakref.ref(handle)
    del handle
    gc.collect()

    assert gone() is None


def test_a_job_that_backs_off_is_joined(open_scheduler, eventually):
    """It is not done, and whoever waits for it gets what its next attempt gives."""
    clock = VirtualClock()
    s = open_scheduler(1, clock=clock)
    tries = []

    def work():
        tries.append(None)
        if len(tries) == 1:
            raise OSError
        return "second try"

    submitter = s.with_options(retry=FixedBackoff(delay=1.0), **JOIN)
    first = submitter.submit(work)
    eventually(lambda: first.state is JobState.BACKING_OFF)
    second = submitter.submit(work)
    clock.advance(1.0)

    assert second is first
    assert "second try" == second.result(20)


# The door


def test_who_joins_one_at_the_door_has_its_handle_when_it_comes_in(full, gate, in_thread, eventually):
    """Both submitters wait for room, and one place is enough."""
    s, at_door = full()
    joins = in_thread(lambda: s.with_options(**JOIN).submit(int, 8))
    eventually(lambda: beside(s) == 1)
    gate.open()

    assert joins.result() is at_door.result()
    assert 7 == joins.result().result(20)
    eventually(lambda: nothing_left(s))


def test_who_joins_one_that_gives_up_at_the_door_comes_in_itself(full, gate, in_thread, eventually):
    """A submit that joined somebody who was never admitted would be lost."""
    s, at_door = full(deadline=0.05)
    joins = in_thread(lambda: s.with_options(**JOIN).submit(int, 8))
    with pytest.raises(QueueFull):
        at_door.result()
    gate.open()

    assert 8 == joins.result().result(20)
    eventually(lambda: nothing_left(s))


def test_the_patience_of_who_joins_at_the_door_is_its_own(full, gate):
    """Its deadline does not wait for somebody else's."""
    s, at_door = full()
    with pytest.raises(QueueFull, match=r"deadline="):
        s.with_options(deadline=0.01, **JOIN).submit(int, 8)
    assert 0 == beside(s)
    gate.open()

    assert 7 == at_door.result().result(20)


def test_closing_wakes_who_waits_beside_one_at_the_door(full, gate, in_thread, eventually):
    """Nobody may wait at a door that will never open."""
    s, at_door = full()
    joins = [in_thread(lambda: s.with_options(**JOIN).submit(int, 8)) for _ in range(3)]
    eventually(lambda: beside(s) == 3)
    s.shutdown(wait=False)

    for thread in (at_door, *joins):
        with pytest.raises(SchedulerClosed):
            thread.result()
    gate.open()
    s.close()
    assert nothing_left(s)


def test_one_that_is_replaced_at_the_door_gets_a_handle_that_says_so(full, gate, in_thread, eventually):
    """Its submitter must not go on waiting, nor be told of a full queue that is not its trouble."""
    s, at_door = full()
    newer = in_thread(lambda: s.with_options(**REPLACE).submit(int, 8))
    replaced = at_door.result()

    assert replaced.cancelled()
    gate.open()
    assert 8 == newer.result().result(20)
    eventually(lambda: nothing_left(s))


def test_an_interrupt_of_one_at_the_door_lets_the_other_in(full, gate, in_thread, eventually, monkeypatch):
    """Ctrl-C in one submitter is no reason for another to wait for ever."""
    s, _ = full(key="other")
    driver = s._driver
    wait, interrupted = driver._wait_at_door, threading.Event()

    def interrupt(job, beside=None):
        if beside is None:
            assert interrupted.wait(20)
            raise KeyboardInterrupt
        wait(job, beside)

    monkeypatch.setattr(driver, "_wait_at_door", interrupt)
    first = in_thread(lambda: s.with_options(**JOIN).submit(int, 1))
    eventually(lambda: len(driver.core.gate.door) == 2)
    second = in_thread(lambda: s.with_options(**JOIN).submit(int, 2))
    eventually(lambda: beside(s) == 1)
    monkeypatch.setattr(driver, "_wait_at_door", wait)
    interrupted.set()

    with pytest.raises(KeyboardInterrupt):
        first.result()
    gate.open()
    assert 2 == second.result().result(20)


# Interrupts


@pytest.mark.parametrize("where_it_strikes", ["after_acquire", "before_release", "after_release"])
@pytest.mark.parametrize("options", [JOIN, REPLACE], ids=["join", "replace"])
def test_an_interrupted_submit_leaves_its_key_free_or_taken_by_its_job(
    lying_locks, open_scheduler, gate, where_it_strikes, options
):
    """Ctrl-C at any step: a key that nobody holds and nobody can take would block its work for good."""
    s = open_scheduler(1, check_invariants=True)
    s.submit(gate.stop_here)
    gate.await_arrival()

    def interrupt():
        if threading.current_thread() is threading.main_thread():
            lying_locks[0].hooks.clear()
            raise KeyboardInterrupt

    submitter = s.with_options(**options)
    lying_locks[0].hooks[where_it_strikes] = interrupt
    with pytest.raises(KeyboardInterrupt):
        submitter.submit(int)
    check_invariants(s)
    handle = submitter.submit(str)
    gate.open()

    handle.result(20)
    assert s.drain(20)
    assert nothing_left(s)


# Inside jobs, coroutines, processes, closing


def test_a_job_that_joins_itself_and_waits_is_told(open_scheduler):
    """Its own key is alive as long as it runs."""
    s = open_scheduler(2)
    submitter = s.with_options(**JOIN)

    with pytest.raises(WouldDeadlock, match="waits for itself"):
        submitter.submit(lambda: submitter.submit(int).result()).result(20)


def test_a_job_that_joins_one_at_the_door_for_which_it_would_have_to_make_room_is_told(open_scheduler, gate):
    """It would wait for room that only its own end can make."""
    s = open_scheduler(1, capacity=1)
    submitter = s.with_options(**JOIN)
    handle = s.submit(lambda: gate.stop_here() or submitter.submit(int))
    gate.await_arrival()
    waits = s.submit(int)
    at_door = threading.Thread(target=lambda: submitter.submit(int), daemon=True)
    at_door.start()
    while not len(s._driver.core.gate.door):
        at_door.join(0.001)
    gate.open()

    with pytest.raises(WouldDeadlock, match="full front queue"):
        handle.result(20)
    waits.result(20)
    at_door.join(20)
    assert not beside(s)


def test_an_interrupt_of_who_waits_beside_one_at_the_door_leaves_nothing(
    full, gate, in_thread, eventually, monkeypatch
):
    """Ctrl-C while it waits: the one at the door goes its own way."""
    s, at_door = full()

    def interrupt(job, beside=None):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(s._driver, "_wait_at_door", interrupt)
        with pytest.raises(KeyboardInterrupt):
            s.with_options(**JOIN).submit(int)
    assert (0, 1) == (beside(s), len(s._driver._door))
    gate.open()

    assert 7 == at_door.result().result(20)


def test_a_job_that_replaces_itself_and_waits_is_told(open_scheduler):
    """The newcomer waits for it to settle, and it for the newcomer."""
    s = open_scheduler(2)
    submitter = s.with_options(**REPLACE)

    with pytest.raises(WouldDeadlock):
        submitter.submit(lambda: submitter.submit(int).result()).result(20)


def test_coroutines_join_and_await_one_job(open_scheduler):
    """Two requests for the same page await one fetch."""
    s = open_scheduler(PoolGroup("loop", AsyncioPool(slots=4), dedicated=False))
    fetched = []

    async def fetch():
        fetched.append(None)
        await asyncio.sleep(0)
        return current_job().id

    async def both():
        submitter = s.with_options(**JOIN)
        return await asyncio.gather(submitter.submit(fetch), submitter.submit(fetch))

    first, second = asyncio.run(both())
    # The first may have settled before the second came; then each had a job of its own.
    assert len({first, second}) == len(fetched)


def test_what_lies_ahead_in_a_worker_process_is_replaced(open_scheduler, always_ahead, tmp_path, eventually):
    """It has not begun, so it can still be had back."""
    always_ahead()
    s = open_scheduler(PoolGroup("cpu", ProcessPool(slots=1), dedicated=False))
    submitter = s.with_options(**REPLACE)
    s.pause()
    s.submit(process_jobs.pid)
    s.submit(process_jobs.touch_and_wait, str(tmp_path / "begun"), str(tmp_path / "go"))
    waits = submitter.submit(process_jobs.pid)
    s.resume()
    eventually((tmp_path / "begun").exists)
    eventually(lambda: waits.lies_ahead)
    newer = submitter.submit(process_jobs.pid)

    assert waits.cancelled()
    (tmp_path / "go").touch()
    newer.result(20)


def test_closing_runs_who_waits_behind_one_of_its_key(open_scheduler, gate, in_thread):
    """It was admitted, and closing finishes what it has."""
    s = open_scheduler(1, clock=VirtualClock())
    submitter = s.with_options(**REPLACE)
    submitter.submit(gate.stop_here)
    gate.await_arrival()
    behind = submitter.submit(int, 7)
    closing = in_thread(s.close)
    gate.open()

    assert closing.result().complete
    assert 7 == behind.result(0)


def test_a_job_that_closes_its_scheduler_does_not_wait_for_the_one_behind_it(open_scheduler, gate):
    """That one may start only when the closing job has ended, and the closing job ends only when all have."""
    s = open_scheduler(2)
    submitter = s.with_options(**REPLACE)
    closes = submitter.submit(lambda: gate.stop_here() or s.shutdown())
    gate.await_arrival()
    behind = submitter.submit(int)
    gate.open()

    closes.result(20)
    assert behind.cancelled()
    assert behind.id in [job.job_id for job in s.close().unfinished]


def test_closing_in_no_time_cancels_who_waits_behind_one_of_its_key(open_scheduler, gate):
    """The report names both."""
    s = open_scheduler(ThreadPool(slots=1))
    submitter = s.with_options(**REPLACE)
    submitter.submit(gate.stop_here)
    gate.await_arrival()
    behind = submitter.submit(int)
    report = s.close(finish_within=0, cancel_within=0)

    assert [1, behind.id] == [job.job_id for job in report.unfinished]
    assert behind.cancelled()


def test_map_refuses_a_key(open_scheduler):
    """All but one of its calls would be left out, or be each other's."""
    s = open_scheduler(1)
    with pytest.raises(ValueError, match=r"map\(\) submits many jobs, and key='k'"):
        s.with_options(**JOIN).map(str, range(3))
