"""Capacity by hand and routing: pools come and go with jobs running, and nobody runs where he may not."""

import threading

import pytest

from pools import ThreadPool
from scheduler import JobState, PoolBroken, PoolFailed, PoolGroup, PoolState, Priority
from scheduler.testing import RecordedEvents, check_invariants


def worker():
    return threading.current_thread().name.removeprefix("two-tier-scheduler-")


def test_a_pool_that_is_added_takes_what_waits_at_once(open_scheduler, gates):
    """Whoever adds capacity does so because jobs wait."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1)))
    gate = gates()
    s.submit(gate.stop_here)
    gate.await_arrival()
    waiting = s.submit(worker)

    pool_id = s.add_pool("io")

    assert "io-2" == pool_id
    assert "io-2/1" == waiting.result(20)
    gate.open()


def test_pools_that_come_and_go_with_jobs_running_lose_none(open_scheduler, in_thread):
    """The promise on which scaling stands, under as much movement as fits into a second."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=2)))
    submitting = [in_thread(lambda: [s.submit(int, n) for n in range(3000)]) for _ in range(2)]

    def change():
        for _ in range(60):
            s.drain_pool(s.add_pool("io"))

    changing = [in_thread(change) for _ in range(2)]
    handles = [handle for thread in submitting for handle in thread.result()]
    for thread in changing:
        thread.result()

    assert list(range(3000)) * 2 == [handle.result(20) for handle in handles]
    assert s.drain(20)
    check_invariants(s)
    assert 6000 == s.statistics().succeeded
    assert ["io-1"] == [pool.pool_id for pool in s.pools()]


def test_draining_waits_for_what_runs_and_starts_nothing_more(open_scheduler, gate, in_thread):
    """I6: a draining pool finishes; its waiting jobs were never its own."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1), min_pools=2))
    s.add_pool("io")
    handle = s.submit(gate.stop_here, "done")
    gate.await_arrival()
    pool_id = handle.attempts[0].pool

    report = s.drain_pool(pool_id, timeout=0.01)
    assert (False, (handle.id,)) == (report.drained, report.running)
    elsewhere = {s.submit(worker).result(20) for _ in range(20)}
    draining = in_thread(s.drain_pool, pool_id)
    gate.open()

    assert draining.result().drained
    assert "done" == handle.result(20)
    assert not any(name.startswith(f"{pool_id}/") for name in elsewhere)


def test_a_pool_that_has_gone_meanwhile_is_drained(open_scheduler):
    """Whoever was told what still runs asks again, and the pool may go between the two calls."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1), min_pools=2))
    pool_id = s.add_pool("io")
    s.drain_pool(pool_id)

    again = s.drain_pool(pool_id, timeout=5)
    assert (pool_id, True, ()) == (again.pool_id, again.drained, again.running)
    for never in ("io-4", "io-0", "io-03", "io-x", "io-", "iq-1", "1", ""):
        with pytest.raises(ValueError, match=f"there is no pool '{never}'; this scheduler has"):
            s.drain_pool(never)


def test_a_job_may_drain_its_own_pool(open_scheduler):
    """It is not waited for: that would be waiting for itself."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1)))
    s.add_pool("io")

    def leave():
        return s.drain_pool(worker().partition("/")[0])

    handle = s.submit(leave)

    report = handle.result(20)
    assert (False, (handle.id,)) == (report.drained, report.running)
    s.drain(20)
    assert 7 == s.submit(int, 7).result(20)


def test_a_cordoned_pool_takes_nothing_until_it_is_uncordoned(open_scheduler):
    """Maintenance without losing the pool."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1)))
    s.cordon_pool("io-1")
    handle = s.submit(int, 7)
    assert not handle.running()
    assert PoolState.CORDONED is s.pools()[0].state

    s.uncordon_pool("io-1")

    assert 7 == handle.result(20)


def test_ids_of_pools_are_never_used_again(open_scheduler):
    """A log line from an hour ago must not point to another pool."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1)))

    ids = []
    for _ in range(5):
        ids.append(s.add_pool("io"))
        s.drain_pool(ids[-1])

    assert 5 == len(set(ids))


def test_a_reserved_group_takes_only_jobs_at_least_that_urgent(open_scheduler, gate):
    """A slot kept free for urgent jobs is a slot that no bulk job ever sits in."""
    s = open_scheduler(
        PoolGroup("all", ThreadPool(slots=1)),
        PoolGroup("urgent", ThreadPool(slots=1), reserve_for=Priority.HIGH),
    )
    s.with_options(tags="all").submit(gate.stop_here)
    gate.await_arrival()
    normal = s.submit(worker)

    urgent = s.with_options(priority=Priority.HIGH).submit(worker)
    more_urgent = s.with_options(priority=Priority.CRITICAL).submit(worker)

    assert ["urgent-1/1"] * 2 == [urgent.result(20), more_urgent.result(20)]
    assert not normal.done()
    gate.open()
    assert "all-1/1" == normal.result(20)


def test_tags_say_where_a_job_may_run(open_scheduler):
    """A job that needs a licence, a disk or a database runs where it is."""
    s = open_scheduler(
        PoolGroup("plain", ThreadPool(slots=1)), PoolGroup("gpu", ThreadPool(slots=1), tags={"cuda", "big"})
    )

    for tags in ("cuda", {"cuda", "big"}, {"gpu"}):
        assert {"gpu-1/1"} == {s.with_options(tags=tags).submit(worker).result(20) for _ in range(5)}


def test_a_dedicated_group_takes_only_jobs_that_ask_for_it(open_scheduler):
    """Threads of a group for one purpose must not be eaten by every plain job."""
    s = open_scheduler(
        PoolGroup("plain", ThreadPool(slots=1)), PoolGroup("special", ThreadPool(slots=4), dedicated=True)
    )

    assert {"plain-1/1"} == {handle.result(20) for handle in [s.submit(worker) for _ in range(50)]}
    assert s.with_options(tags="special").submit(worker).result(20).startswith("special-1/")


def test_a_blocked_group_does_not_block_another(open_scheduler, gate):
    """One line per eligibility class: a head that cannot start is nobody else's problem."""
    s = open_scheduler(PoolGroup("a", ThreadPool(slots=1)), PoolGroup("b", ThreadPool(slots=1)))
    s.with_options(tags="a").submit(gate.stop_here)
    gate.await_arrival()
    for _ in range(10):
        s.with_options(tags="a", priority=Priority.CRITICAL).submit(int)

    assert 7 == s.with_options(tags="b", priority=Priority.BULK).submit(int, 7).result(20)
    gate.open()


def test_pause_starts_nothing_and_resume_starts_everything(open_scheduler, gate):
    """A downstream outage is waited out with the queue intact."""
    s = open_scheduler(2)
    running = s.submit(gate.stop_here, 0)
    gate.await_arrival()
    s.pause()
    handles = [s.submit(int, n) for n in range(10)]
    gate.open()
    assert 0 == running.result(20)
    assert 10 == s.statistics().waiting

    s.resume()

    assert list(range(10)) == [handle.result(20) for handle in handles]


def test_a_pool_that_comes_during_a_pause_starts_nothing_either(open_scheduler):
    """Whoever pauses to repair something adds capacity for afterwards."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1)))
    s.cordon_pool("io-1")
    s.pause()
    handles = [s.submit(int, n) for n in range(3)]
    s.uncordon_pool("io-1")
    s.add_pool("io")
    assert [JobState.WAITING] * 3 == [handle.state for handle in handles]

    s.resume()

    assert [0, 1, 2] == [handle.result(20) for handle in handles]


@pytest.mark.parametrize("jobs", [1, 20])
def test_an_initializer_that_raises_fails_the_groups_jobs_and_hangs_nobody(open_scheduler, caplog, jobs):
    """A pool that can run nothing must say so, to the log and to everybody who waits."""

    def bad():
        raise OSError("no database")

    s = open_scheduler(
        PoolGroup("bad", ThreadPool(slots=2, initializer=bad)), PoolGroup("good", ThreadPool(slots=1))
    )
    events = RecordedEvents()
    s.subscribe(events)
    s.pause()
    handles = [s.with_options(tags="bad").submit(int) for _ in range(jobs)]
    s.resume()

    for handle in handles:
        error = handle.exception(20)
        assert isinstance(error, PoolBroken)
        assert "'bad'" in str(error)
        assert "no database" in str(error)
        assert isinstance(error.__cause__, OSError)
    assert "CRITICAL" in {record.levelname for record in caplog.records}
    assert 1 == len(events.wait_for(PoolFailed))
    with pytest.raises(PoolBroken):
        s.with_options(tags="bad").submit(int)
    assert 7 == s.submit(int, 7).result(20)
    assert s.close().complete


def test_a_pool_that_failed_can_be_drained_like_any_other(open_scheduler, gate, eventually):
    """Half a pool still runs a job when the other half's initializer raises: it must be possible to end it."""
    workers = []

    def good_at_first():
        workers.append(1)
        if len(workers) > 1:
            raise OSError("no second connection")

    s = open_scheduler(PoolGroup("io", ThreadPool(slots=2, initializer=good_at_first), min_pools=1))
    s.add_pool("io")
    s.cordon_pool("io-2")
    running = s.submit(gate.stop_here, "done")
    gate.await_arrival()
    s.submit(int).exception(20)
    assert PoolState.FAILED_TO_START is s.pools()[0].state

    report = s.drain_pool("io-1", timeout=0.01)

    assert (running.id,) == report.running
    gate.open()
    assert "done" == running.result(20)
    assert s.close().complete


def test_the_initializer_runs_once_in_every_worker(open_scheduler):
    """Connections are made per thread, before the first job."""
    seen = threading.local()
    together = threading.Barrier(3)

    def prepare(value):
        seen.count = getattr(seen, "count", 0) + 1
        seen.value = value

    def look():
        together.wait(20)
        return seen.count, seen.value

    s = open_scheduler(ThreadPool(slots=3, initializer=prepare, initargs=("db",)))
    for _ in range(3):
        assert [(1, "db")] * 3 == [handle.result(20) for handle in [s.submit(look) for _ in range(3)]]
