"""Groups that grow and shrink by themselves, with jobs running: threads, processes and coroutines.

Most of these move a `VirtualClock`: what takes windows of seconds then takes none, and every look is at the same moment.
"""

import gc
import threading
import time
from pathlib import Path

import attrs
import process_jobs as jobs
import pytest

from policies.contracts import Advice, Load, Window
from pools import AsyncioPool, ProcessPool, ThreadPool
from scheduler import PoolGroup, PoolState, Scheduler
from scheduler._core import effect
from scheduler._core.events import PoolAdded, PoolDraining, PoolFailed, PoolUncordoned
from scheduler.testing import RecordedEvents, check_invariants

#: The shortest stable window, and the time between two looks; jobs here are too short to make them longer.
STABLE, LOOK = 2.0, 0.05


async def nothing():
    """Return at once."""


def live(s):
    """Return the pools that are not gone, by id."""
    return {pool.pool_id: pool for pool in s.pools()}


def threads_of(*pool_ids):
    """Return the names of the threads alive that belong to these pools."""
    names = [thread.name.removeprefix("two-tier-scheduler-") for thread in threading.enumerate()]
    return [name for name in names if name.split("/")[0] in pool_ids]


def occupy(s, gates, count):
    """Return the gates and handles of jobs that hold so many slots."""
    held = [gates() for _ in range(count)]
    handles = [s.submit(gate.stop_here, number) for number, gate in enumerate(held)]
    for gate in held:
        gate.await_arrival()
    return held, handles


def test_a_group_of_threads_grows_under_load_and_shrinks_back_to_its_minimum(
    open_scheduler, keep_books, eventually
):
    """The whole promise once, by the system's own clock: all jobs run, and in the end no thread is left over."""
    group = PoolGroup("io", ThreadPool(slots=2), max_pools=4)
    s = open_scheduler(group)
    books = keep_books(s)

    handles = [s.submit(time.sleep, 0.01) for _ in range(600)]
    assert [None] * 600 == [handle.result(60) for handle in handles]
    eventually(lambda: ["io-1"] == [pool.pool_id for pool in s.pools()], "the group's return to one pool")

    assert 4 == books.most["io"]
    assert {2} == set(books.slots.values())
    assert books.snapshots > 10
    assert 600 == s.statistics().succeeded
    told = [decision.action for decision in s.explain("io").decisions]
    assert (told.count("add") > 0, told.count("drain")) == (True, len(books.slots) - 1)
    eventually(lambda: not threads_of(*set(books.slots) - {"io-1"}), "the end of the drained pools' threads")


@pytest.mark.parametrize("kind", ["threads", "processes", "coroutines"])
def test_whole_pools_come_and_go_whatever_runs_in_them(grown, clock, eventually, kind):
    """Scaling knows pools, not mechanisms: each kind must start, run, drain and leave nothing behind."""
    pool, job = {
        "threads": (ThreadPool(2), jobs.pid),
        "processes": (ProcessPool(1), jobs.pid),
        "coroutines": (AsyncioPool(2), nothing),
    }[kind]
    s, wanted = grown(pool, pools=3)
    before = live(s)

    for handle in [s.submit(job) for _ in range(30)]:
        handle.result(20)
    wanted.pools = 1
    s.submit(job).result(20)
    clock.advance(8 * STABLE)

    eventually(lambda: 1 == len(live(s)), "the drain of two pools")
    gone = set(before) - set(live(s))
    eventually(lambda: not threads_of(*gone), "the end of their threads")
    assert s.submit(job).exception(20) is None
    check_invariants(s)


def test_one_pool_goes_at_a_time_and_none_below_the_minimum(grown, gates, clock, eventually):
    """Two that drain at once are two too many when the load returns."""
    s, wanted = grown(ThreadPool(1), pools=4)
    held, handles = occupy(s, gates, 4)
    wanted.pools = 0
    clock.advance(8 * STABLE)

    draining = [pool for pool in s.pools() if pool.state is PoolState.DRAINING]
    assert 1 == len(draining)
    for gate in held:
        gate.open()
    assert [0, 1, 2, 3] == [handle.result(20) for handle in handles]
    for _ in range(6):  # the windows are as long as those jobs were, and one that drains is kept for one
        clock.advance(1000)

    assert [PoolState.ACCEPTING] == [pool.state for pool in s.pools()]


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_draining_pool_is_taken_back_before_a_new_one_is_opened(
    grown, gates, clock, eventually, tmp_path, kind
):
    """What drains has warm workers; opening another while it goes would have both."""
    pool = {"threads": ThreadPool(1), "processes": ProcessPool(1, prefetch=0)}[kind]
    s, wanted = grown(pool, pools=2)
    s.subscribe(events := RecordedEvents())
    starts = [s.submit(jobs.touch_and_wait, str(tmp_path / str(n)), str(tmp_path / "go")) for n in range(2)]
    eventually(lambda: 2 == len(list(tmp_path.iterdir())), "both jobs")
    wanted.pools = 1
    clock.advance(6 * STABLE)
    drained = [event.pool for event in events.wait_for(PoolDraining)]
    assert 1 == len(drained)

    wanted.pools = 2
    clock.advance(STABLE)

    assert drained == [event.pool for event in events.wait_for(PoolUncordoned)]
    assert not events.of(PoolAdded)
    (tmp_path / "go").touch()
    for handle in starts:
        handle.result(20)
    both = {s.submit(jobs.pid).exception(20) for _ in range(10)}
    assert {None} == both
    assert "take back" in [decision.action for decision in s.explain("g").decisions]
    assert ["g-1", "g-2"] == sorted(live(s))


def test_load_that_returns_in_the_middle_of_a_drain_uses_the_slots_of_the_pool_taken_back(
    grown, gates, clock
):
    """A pool that is taken back must take jobs at once, not when its last job has ended."""
    s, wanted = grown(ThreadPool(2), pools=2)
    held, handles = occupy(s, gates, 3)
    wanted.pools = 1
    clock.advance(6 * STABLE)
    assert PoolState.DRAINING in {pool.state for pool in s.pools()}
    waiting = s.submit(gates().stop_here)  # runs where one slot is left, or waits
    more = s.submit(int, 7)
    wanted.pools = 2
    clock.advance(STABLE)

    states = {pool.state for pool in s.pools()}
    assert {PoolState.ACCEPTING} == states
    for gate in held:
        gate.open()
    assert 7 == more.result(20)
    assert [0, 1, 2] == [handle.result(20) for handle in handles]
    assert not waiting.done()


class Spiteful:
    """Raises when it is compared, or asked whether it is true."""

    def __eq__(self, other):
        raise ZeroDivisionError("on purpose")

    def __bool__(self):
        raise ZeroDivisionError("on purpose")

    __hash__ = None


class Shared:
    """What all jobs need: in so many virtual seconds it serves so many of them, however many slots there are."""

    def __init__(self, s, clock, eventually):
        self._s, self._clock, self._eventually = s, clock, eventually
        self._permits = threading.Semaphore(0)
        self._served = 0
        self.handles = []

    def job(self):
        assert self._permits.acquire(timeout=60)

    def serve(self, count):
        """Let so many jobs end in one look's time, evenly, with more of them waiting."""
        while self._s.statistics().waiting < 300:
            self.handles.append(self._s.submit(self.job))
        for _ in range(count):
            self._served += 1
            self._permits.release()
            self._eventually(lambda: self._s.statistics().succeeded >= self._served, "the end of a job")
            self._clock.advance(LOOK / count)

    def release_all(self):
        for _ in self.handles:
            self._permits.release()


@pytest.fixture
def shared(open_scheduler, clock, eventually):
    """Return a scheduler whose jobs share something, and that."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=2), max_pools=3), clock=clock)
    resource = Shared(s, clock, eventually)
    yield s, resource
    resource.release_all()


def test_pools_that_do_not_raise_the_throughput_are_drained_again_and_processes_suggested(shared):
    """Threads that compute share the interpreter's lock: more of them cost memory and switches, and gain nothing."""
    s, resource = shared
    most = 1
    for _ in range(75):
        resource.serve(15)
        most = max(most, len(live(s)))

    assert most > 1
    assert 1 == sum(pool.state is PoolState.ACCEPTING for pool in s.pools())
    told = str(s.explain("io"))
    assert "it did not help, and is undone" in told
    assert "ProcessPool" in told
    assert "tried again in" in told  # and it remembers


def test_a_fresh_group_that_knows_no_throughput_tries_fewer_threads_and_learns(
    open_scheduler, clock, eventually
):
    """A backlog of jobs that compute: the group had grown before enough of them had ended."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=2), max_pools=6), clock=clock)
    resource = Shared(s, clock, eventually)
    for look in range(600):
        resource.serve(1 if look < 8 else 3)
        if "it did not help" in (told := str(s.explain("io"))):
            break
    resource.release_all()

    assert "too few jobs had ended before; so it goes back to 1 pool" in told
    assert "to measure the gain of more than 1 pool" in told
    assert "ProcessPool" in told


def test_pools_that_raise_the_throughput_stay(shared):
    """The counter-proof: what notices no gain must notice one."""
    s, resource = shared
    for _ in range(30):
        resource.serve(6 * sum(pool.slots for pool in s.pools()))

    assert 3 == len(live(s))
    assert "× the throughput" in str(s.explain("io"))
    assert "it did not help" not in str(s.explain("io"))


def test_jobs_ahead_in_a_draining_process_pool_come_back_at_no_cost(
    grown, clock, eventually, always_ahead, tmp_path
):
    """What a worker holds has not started: it keeps its place in line and its attempts, and runs elsewhere."""
    always_ahead()
    s, wanted = grown(ProcessPool(1), pools=2)
    log, files = str(tmp_path / "log"), [str(tmp_path / name) for name in ("one", "two", "second")]
    s.pause()
    first = [s.submit(jobs.touch_and_wait, f"{file}.started", file) for file in files]
    handles = [s.submit(jobs.note_and_return, log, n) for n in range(8)]
    s.resume()
    eventually(lambda: 2 == len(list(tmp_path.glob("*.started"))), "the start of both that block")
    (tmp_path / "one").touch()
    eventually((tmp_path / "second.started").exists, "the job before those that lie ahead")
    eventually(lambda: 8 == sum(pool.ahead for pool in s.pools()), "the jobs that lie ahead")
    handles.append(s.submit(jobs.note_and_return, log, 8))
    leaving = first[0].attempts[0].pool

    wanted.pools, wanted.pool = 1, leaving
    clock.advance(8 * STABLE)

    assert PoolState.DRAINING is live(s)[leaving].state
    assert (0, 8, 9) == (live(s)[leaving].ahead, s.statistics().recalled, s.statistics().waiting)
    (tmp_path / "two").touch()
    assert list(range(9)) == [handle.result(20) for handle in handles]
    assert {(1, first[1].attempts[0].pool)} == {(a.number, a.pool) for h in handles for a in h.attempts}
    assert list(map(str, range(9))) == Path(log).read_text().split()  # in their order
    assert PoolState.DRAINING is live(s)[leaving].state
    (tmp_path / "second").touch()
    assert first[2].result(20) is not None
    eventually(lambda: leaving not in live(s), "the end of the drain")


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_pools_that_cannot_start_are_opened_ever_more_seldom(
    open_scheduler, clock, wanted, eventually, tmp_path, kind, caplog
):
    """A database that is away must not cost a pool at every look, whether that shows at once or with the first job."""
    log = str(tmp_path / "starts")
    recipe = ThreadPool if kind == "threads" else ProcessPool
    pool = recipe(1, initializer=jobs.initialize_so_often, initargs=(log, 1))
    s = open_scheduler(PoolGroup("g", pool, max_pools=2, scaling=wanted, dedicated=False), clock=clock)
    hold = s.submit(jobs.touch_and_wait, str(tmp_path / "started"), str(tmp_path / "go"))
    eventually((tmp_path / "started").exists, "the one worker that starts")
    s.subscribe(events := RecordedEvents())
    wanted.pools = 2
    handles = []
    for _ in range(200):  # ten seconds
        handles.append(s.submit(jobs.square, 1))
        clock.advance(LOOK)
        eventually(lambda: len(events.of(PoolFailed)) == len(events.of(PoolAdded)), "the failure")
    (tmp_path / "go").touch()

    assert 3 <= len(events.of(PoolAdded)) <= 5  # after 0, 1, 3 and 7 seconds
    assert "failed to start" in str(s.explain("g"))
    assert hold.result(20)
    errors = [error for handle in handles if (error := handle.exception(20)) is not None]
    assert len(errors) <= len(events.of(PoolFailed))


def test_a_scheduler_that_is_dropped_while_it_is_grown_leaves_no_thread(eventually):
    """The autoscaler's looks must not keep alive what nobody holds any more, nor what it has opened."""

    def grow():
        s = Scheduler(PoolGroup("dropped", ThreadPool(1), max_pools=4))
        handles = [s.submit(time.sleep, 0.01) for _ in range(100)]
        eventually(lambda: len(live(s)) > 1, "growth")
        return handles

    handles = grow()
    gc.collect()

    assert {None} == {handle.exception(20) for handle in handles}
    eventually(
        lambda: not [t for t in threading.enumerate() if "dropped-" in t.name], "the end of the threads"
    )


def test_a_program_that_ends_while_it_is_grown_runs_what_waits(run_script):
    """Nobody has to close: at interpreter exit all that was submitted is run, in as many pools as there are."""
    ran = run_script(
        """
import time
from pools import ProcessPool, ThreadPool
from scheduler import PoolGroup, Scheduler

if __name__ == "__main__":
    s = Scheduler(PoolGroup("io", ThreadPool(1), max_pools=4), PoolGroup("cpu", ProcessPool(1), max_pools=2))
    handles = [s.submit(time.sleep, 0.01) for _ in range(100)]
    handles += [s.with_options(tags="cpu").submit(time.sleep, 0.01) for _ in range(40)]
    while len(s.pools()) < 4 and s.statistics().waiting:
        time.sleep(0.001)
    for handle in handles:
        handle.add_done_callback(lambda handle: print(handle.exception()))
"""
    )

    assert (0, "") == (ran.returncode, ran.stderr)
    assert 140 == ran.stdout.count("None")  # several threads print, and not always a whole line at once


def test_growth_while_every_worker_is_down_has_nothing_to_be_compared_with():
    """The only worker killed under load made every later look divide by zero, and with it no timer went off any more."""
    window = Window(seconds=2.0, completions=100, starts=100, run_time=0.01, saturated=True)
    load = Load(
        group="g", time=0.0, pool_slots=1, pools=1, slots=0, run_time=0.01, stable=window, panic=window
    )

    assert effect.before(load) is None
    assert effect.before(attrs.evolve(load, slots=1)) is not None


def test_timers_go_off_after_a_look_that_raised(open_scheduler, monkeypatch, caplog, eventually):
    """A bug in the autoscaler must cost a decision and a line in the log, not every delay, limit and retry."""
    monkeypatch.setattr("scheduler._alarm.RETRY", 0.01)
    s = open_scheduler(PoolGroup("io", ThreadPool(1), max_pools=2))

    def fail(*_):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(s._driver.core, "_evaluate", fail)
    handle = s.with_options(delay=0.3).submit(int, 7)
    s.submit(time.sleep, 0.2)

    assert 7 == handle.result(20)
    eventually(lambda: "on purpose" in caplog.text, "the line in the log")


@pytest.mark.parametrize(
    "advice",
    [{"reason": None}, {"pool": Spiteful()}, {"panic": Spiteful()}, {"pools": -(10**5000)}],
    ids=["reason", "pool", "panic", "pools"],
)
def test_advice_that_raises_when_it_is_looked_at_harms_neither_explain_nor_the_next_group(
    open_scheduler, clock, wanted, advice
):
    """An advice was only half looked at when it came: later its words broke explain(), and its pool every look."""

    class Bad:
        def scale(self, load):
            return Advice(**{"pools": 1} | advice)

    s = open_scheduler(
        PoolGroup("bad", ThreadPool(1), max_pools=2, scaling=Bad()),
        PoolGroup("good", ThreadPool(1), max_pools=2, scaling=wanted),
        clock=clock,
    )
    s.add_pool("bad")
    wanted.pools = 2
    s.submit(int).result(20)
    clock.advance(30 * STABLE)

    assert ["bad-1", "bad-2", "good-1", "good-2"] == sorted(live(s))
    assert "opened good-2" in str(s.explain("good"))
    assert "nothing has been decided yet" in str(s.explain("bad"))
