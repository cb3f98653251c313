"""Pools in which calls ignore their limits: out of routing, replaced, and gone when the calls return."""

import asyncio
import contextlib
import threading
from pathlib import Path

import process_jobs as jobs
import pytest

from pools import AsyncioPool, ProcessPool, ThreadPool
from scheduler import PoolGroup, PoolState, RunTimeout
from scheduler._core.events import PoolQuarantined, PoolStopped, WorkerReturned, WorkerStuck
from scheduler.testing import RecordedEvents, check_invariants

#: Of the jobs that hang here, and the grace of their groups.
LIMIT, GRACE = 1.0, 5.0


@pytest.fixture
def group_of(open_scheduler, clock):
    """Return a function that opens a scheduler with one group of such pools, and events recorded."""

    def make(pool, **options):
        options = {"stuck_after": GRACE, **options}
        s = open_scheduler(
            PoolGroup("g", pool, dedicated=False, **options), clock=clock, check_invariants=True
        )
        s.subscribe(events := RecordedEvents())
        return s, events

    return make


def hang(s, gates, count):
    """Return the gates at which so many jobs hang in threads, and their handles."""
    held = [gates() for _ in range(count)]
    handles = [s.with_options(run_timeout=LIMIT).submit(gate.stop_here) for gate in held]
    for gate in held:
        gate.await_arrival()
    return held, handles


def states(s):
    return {pool.pool_id: pool.state for pool in s.pools()}


def threads_of(pool_id):
    return [t for t in threading.enumerate() if t.name.startswith(f"two-tier-scheduler-{pool_id}/")]


def assert_alive(s, job=jobs.square):
    """Jobs go on."""
    handles = [s.submit(job, n) for n in range(20)]
    assert [n * n for n in range(20)] == [handle.result(20) for handle in handles]
    check_invariants(s)


async def square(number):
    await asyncio.sleep(0)
    return number * number


def test_threads_that_ignore_their_limit_cost_one_pool_until_they_return(group_of, gates, clock, eventually):
    """The life of a quarantine: stuck, out of routing, replaced, returned, drained, gone."""
    s, events = group_of(ThreadPool(2))
    held, handles = hang(s, gates, 2)
    clock.advance(LIMIT)
    assert {RunTimeout} == {type(handle.exception(20)) for handle in handles}
    waiting = s.submit(jobs.square, 9)
    clock.advance(GRACE - 0.01)
    assert {"g-1": PoolState.ACCEPTING} == states(s)
    assert not events.of(WorkerStuck)

    clock.advance(0.01)

    assert {"g-1": PoolState.QUARANTINED, "g-2": PoolState.ACCEPTING} == states(s)
    assert 81 == waiting.result(20)
    assert ["g-1/1", "g-1/2"] == sorted(event.worker for event in events.wait_for(WorkerStuck, 2))
    (quarantined,) = events.wait_for(PoolQuarantined)
    assert ("g-1", 2, 2, "g-2") == (
        quarantined.pool,
        quarantined.stuck,
        quarantined.slots,
        quarantined.replacement,
    )
    assert [2, 0] == [pool.stuck for pool in s.statistics().pools]
    assert "2 of 2 workers of g-1 are stuck" in str(s.explain("g"))
    assert_alive(s)

    held[0].open()
    eventually(lambda: 1 == s.statistics().pools[0].stuck, "the return of the first")
    assert PoolState.QUARANTINED is states(s)["g-1"]
    held[1].open()
    eventually(lambda: {"g-2": PoolState.ACCEPTING} == states(s), "the end of the pool")
    eventually(lambda: not threads_of("g-1"), "the end of its threads")
    assert 2 == len(events.wait_for(WorkerReturned, 2))
    assert ["g-1"] == [event.pool for event in events.wait_for(PoolStopped)]
    assert_alive(s)


def test_a_stuck_job_with_callbacks_returns_as_any_other(group_of, gates, clock, eventually, caplog):
    """Between its return and the next look at its pool is a turn of its own, in which the invariants are checked."""
    s, _ = group_of(ThreadPool(1))
    held, handles = gates(), []
    handle = s.with_options(run_timeout=LIMIT).submit(held.stop_here)
    handle.add_done_callback(handles.append)
    held.await_arrival()
    clock.advance(LIMIT + GRACE)
    assert PoolState.QUARANTINED is states(s)["g-1"]

    held.open()

    eventually(lambda: {"g-2": PoolState.ACCEPTING} == states(s), "the end of the pool")
    assert [handle] == handles
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert isinstance(handle.exception(), RunTimeout)


def test_a_neighbour_in_a_quarantined_pool_finishes(group_of, gates, clock, eventually):
    """Only the pool's free slots are given up, not the jobs that behave."""
    s, _ = group_of(ThreadPool(3))
    behaves = gates()
    good = s.submit(behaves.stop_here, "done")
    behaves.await_arrival()
    held, _ = hang(s, gates, 2)
    clock.advance(LIMIT + GRACE)
    assert PoolState.QUARANTINED is states(s)["g-1"]

    behaves.open()

    assert "done" == good.result(20)
    assert PoolState.QUARANTINED is states(s)["g-1"]
    for gate in held:
        gate.open()
    eventually(lambda: "g-1" not in states(s), "the end of the pool")


def test_the_last_stuck_call_returns_while_a_neighbour_runs(group_of, gates, clock, eventually):
    """Released from quarantine, a pool drains as every pool does: it waits for what it runs."""
    s, _ = group_of(ThreadPool(3))
    behaves = gates()
    good = s.submit(behaves.stop_here, "done")
    behaves.await_arrival()
    held, _ = hang(s, gates, 2)
    clock.advance(LIMIT + GRACE)
    for gate in held:
        gate.open()
    eventually(lambda: PoolState.DRAINING is states(s)["g-1"], "the release")
    assert not good.done()

    behaves.open()

    assert "done" == good.result(20)
    eventually(lambda: "g-1" not in states(s), "the end of the pool")


def test_no_more_pools_are_replaced_than_the_group_allows(group_of, gates, clock, eventually):
    """Calls that hang for ever must not eat the machine, one pool after the other."""
    s, events = group_of(ThreadPool(1), replacements_max=2)
    gone = []
    for _ in range(3):
        held, _ = hang(s, gates, 1)
        gone += held
        clock.advance(LIMIT + GRACE)

    assert {f"g-{n}": PoolState.QUARANTINED for n in (1, 2, 3)} == states(s)
    assert ["g-2", "g-3", None] == [event.replacement for event in events.wait_for(PoolQuarantined, 3)]
    assert "replacements_max=2" in str(s.explain("g"))
    waiting = s.submit(jobs.square, 3)
    for gate in gone:
        gate.open()

    assert 9 == waiting.result(20)
    eventually(lambda: [PoolState.ACCEPTING] == list(states(s).values()), "the end of the two others")
    assert_alive(s)


def test_a_pool_that_nothing_replaced_works_again_when_its_calls_return(group_of, gates, clock, eventually):
    """Else a group that scales by hand alone would be without any pool, and its jobs wait for ever."""
    s, _ = group_of(ThreadPool(1), replacements_max=0)
    held, _ = hang(s, gates, 1)
    clock.advance(LIMIT + GRACE)
    assert {"g-1": PoolState.QUARANTINED} == states(s)
    waiting = s.submit(jobs.square, 3)

    held[0].open()

    assert 9 == waiting.result(20)
    assert {"g-1": PoolState.ACCEPTING} == states(s)
    assert_alive(s)


def test_closing_does_not_lose_the_last_slots_to_a_quarantine(group_of, gates, clock, in_thread, eventually):
    """Closing finishes what waits, and needs pools to do it: a quarantine must not cost the last of them."""
    s, events = group_of(ThreadPool(4))
    blocked = gates()
    running = s.submit(blocked.stop_here)
    blocked.await_arrival()
    held, _ = hang(s, gates, 3)
    handles = [s.submit(jobs.square, n) for n in range(10)]
    closing = in_thread(lambda: s.close(finish_within=20, cancel_within=0))
    eventually(lambda: s._driver.refusing, "the closing")
    clock.advance(LIMIT + GRACE)
    assert 3 == len(events.wait_for(WorkerStuck, 3))

    blocked.open()

    assert [n * n for n in range(10)] == [handle.result(20) for handle in handles]
    assert closing.result().complete
    assert running.done()
    for gate in held:
        gate.open()


def test_a_group_that_scales_opens_what_the_cap_leaves_room_for(group_of, gates, clock, eventually):
    """Beyond the cap nothing is replaced, but what waits is a reason to open a pool within the maximum."""
    s, _ = group_of(ThreadPool(1), replacements_max=0, max_pools=2)
    held, _ = hang(s, gates, 1)
    clock.advance(LIMIT + GRACE)
    waiting = s.submit(jobs.square, 3)
    clock.advance(1.0)

    assert 9 == waiting.result(20)
    held[0].open()
    eventually(lambda: states(s)["g-1"] is PoolState.ACCEPTING, "the return of the first pool")
    clock.advance(1.0)
    assert_alive(s)


def test_closing_names_the_workers_that_a_quarantine_leaves_behind(group_of, gates, clock):
    """Abandoned capacity is never forgotten: not when the scheduler goes, either."""
    s, _ = group_of(ThreadPool(2))
    held, handles = hang(s, gates, 2)
    clock.advance(LIMIT + GRACE)
    assert_alive(s)

    report = s.close(finish_within=5, cancel_within=0.1)

    assert ("g-1/1", "g-1/2") == tuple(sorted(report.abandoned_workers))
    assert report.unfinished == ()  # their handles have long settled
    assert {RunTimeout} == {type(handle.exception(0)) for handle in handles}
    assert 22 == report.statistics.submitted
    for gate in held:
        gate.open()


def test_a_stuck_pool_can_be_drained_by_hand_and_goes_when_its_calls_return(
    group_of, gates, clock, in_thread, eventually
):
    """An operator who sees it may well do so; nobody may wait for ever, and nothing counts twice."""
    s, events = group_of(ThreadPool(1))
    held, _ = hang(s, gates, 1)
    clock.advance(LIMIT + GRACE)

    report = s.drain_pool("g-1", timeout=0)

    assert (False, ()) == (report.drained, report.running)
    assert ("g-1/1",) == report.overdue_workers  # or it would not say what the pool waits for
    assert 1 == s.statistics().pools[0].stuck
    waiting = in_thread(s.drain_pool, "g-1")
    held[0].open()
    assert waiting.result().drained
    eventually(lambda: {"g-2": PoolState.ACCEPTING} == states(s), "the end of the pool")
    assert 1 == len(events.wait_for(PoolStopped))


def test_a_draining_pool_whose_workers_are_stuck_does_not_keep_the_others_from_going(
    grown, gates, clock, eventually
):
    """One pool is drained at a time, but one that may never end is not what the next has to wait for."""
    s, wanted = grown(ThreadPool(1), pools=3, stuck_after=80)  # later than it is drained
    held, _ = hang(s, gates, 1)
    (stuck,) = [pool.pool_id for pool in s.pools() if pool.in_use]
    wanted.pools, wanted.pool = 1, stuck
    clock.advance(200)

    assert PoolState.DRAINING is states(s)[stuck]
    assert 2 == len(states(s))
    held[0].open()
    eventually(lambda: stuck not in states(s), "the end of the stuck pool")
    assert_alive(s)


def test_a_draining_pool_whose_workers_are_stuck_is_not_taken_back(grown, gates, clock, eventually):
    """It could run nothing: the load that returned would wait beside a pool that counts as capacity."""
    s, wanted = grown(ThreadPool(1), pools=2, stuck_after=80)  # later than it is drained
    held, _ = hang(s, gates, 1)
    (stuck,) = [pool.pool_id for pool in s.pools() if pool.in_use]
    wanted.pools, wanted.pool = 1, stuck
    clock.advance(200)
    assert PoolState.DRAINING is states(s)[stuck]

    wanted.pools = 2
    s.submit(int).result(20)  # it looks again when jobs come
    clock.advance(10)

    assert PoolState.DRAINING is states(s)[stuck]
    assert 2 == list(states(s).values()).count(PoolState.ACCEPTING)
    held[0].open()
    eventually(lambda: stuck not in states(s), "the end of the stuck pool")
    assert_alive(s)


def test_a_coroutine_that_ignores_its_cancellation_costs_its_pool(group_of, clock, eventually):
    """A coroutine can be asked to stop, and can catch that."""
    s, events = group_of(AsyncioPool(1))
    begun, woken = threading.Event(), threading.Event()

    async def ignore():
        begun.set()
        while not woken.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.005)

    handle = s.with_options(run_timeout=LIMIT).submit(ignore)
    assert begun.wait(20)
    clock.advance(LIMIT + GRACE)

    assert isinstance(handle.exception(20), RunTimeout)
    assert {"g-1": PoolState.QUARANTINED, "g-2": PoolState.ACCEPTING} == states(s)
    assert_alive(s, square)
    woken.set()
    eventually(lambda: {"g-2": PoolState.ACCEPTING} == states(s), "the end of the pool")
    assert 1 == len(events.wait_for(PoolQuarantined))


@pytest.mark.parametrize("slots", [1, 8])
def test_a_coroutine_that_blocks_its_loop_takes_the_whole_pool_out(group_of, gate, clock, eventually, slots):
    """One call that blocks is enough: no coroutine on that loop goes on, however many slots are left."""
    grace = 0.05  # by the system's clock, too
    s, events = group_of(AsyncioPool(slots, lag_limit=0.02), stuck_after=grace)

    async def block():
        gate.stop_here()

    handle = s.with_options(run_timeout=LIMIT).submit(block)
    gate.await_arrival()
    eventually(lambda: s.pools()[0].loop_lag >= grace, "word that the loop stands still")
    clock.advance(LIMIT + grace)

    assert isinstance(handle.exception(20), RunTimeout)
    assert {"g-1": PoolState.QUARANTINED, "g-2": PoolState.ACCEPTING} == states(s)
    assert_alive(s, square)
    gate.open()
    eventually(lambda: {"g-2": PoolState.ACCEPTING} == states(s), "the end of the pool")
    assert 1 == len(events.wait_for(WorkerStuck))


def test_processes_are_killed_and_never_quarantined(group_of, clock, tmp_path, eventually):
    """Where a call can be ended, nothing is abandoned."""
    s, events = group_of(ProcessPool(1, kill_after=0.05))
    started, never = str(tmp_path / "started"), str(tmp_path / "never")
    handle = s.with_options(run_timeout=LIMIT).submit(jobs.ignore_sigterm_and_wait, started, never)
    eventually(Path(started).exists, "the start of the job")

    clock.advance(LIMIT)
    assert isinstance(handle.exception(20), RunTimeout)
    clock.advance(10 * GRACE)

    assert_alive(s)
    assert ["g-1"] == list(states(s))
    assert not events.of(WorkerStuck)
    assert not events.of(PoolQuarantined)


def test_a_call_that_returns_within_the_grace_is_not_stuck(group_of, gates, clock, eventually):
    """Cleaning up after being asked to stop is what good jobs do."""
    s, events = group_of(ThreadPool(1))
    held, _ = hang(s, gates, 1)
    clock.advance(LIMIT + GRACE / 2)
    held[0].open()
    eventually(lambda: events.of(WorkerReturned), "the return")
    clock.advance(10 * GRACE)

    assert not events.of(WorkerStuck)
    assert ["g-1"] == list(states(s))
    assert_alive(s)
