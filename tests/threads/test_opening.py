"""Pools that the autoscaler opens for real: slow ones, broken ones, and closings in the middle."""

import gc
import threading
import weakref

import attrs
import pytest

from pools import InlinePool, ProcessPool, ThreadPool
from pools.contract import Traits
from scheduler import PoolFailed, PoolGroup, PoolState, Scheduler
from scheduler._clock import VirtualClock
from scheduler.testing import RecordedEvents, check_invariants


class Wants:
    """A scaling policy that wants so many pools."""

    def __init__(self, pools):
        self.pools = pools

    def scale(self, load):
        return load.toward(self.pools, "the test says so")


class Recording:
    """A pool that tells whether it was drained or stopped."""

    def __init__(self, pool, pool_id):
        self._pool, self.pool_id, self.ended = pool, pool_id, threading.Event()

    def __getattr__(self, name):
        return getattr(self._pool, name)

    def drain(self):
        self._pool.drain()
        self.ended.set()

    def stop(self, timeout):
        self.ended.set()
        return self._pool.stop(timeout)


@attrs.frozen(eq=False)
class Watched(Traits):
    """A recipe that keeps what it opened, and calls `before` first."""

    slots: int = 1
    kind: object = ThreadPool
    before: object = attrs.field(default=lambda _pool_id: None, kw_only=True)
    opened: list = attrs.field(factory=list, kw_only=True)

    def open(self, pool_id, front):
        self.before(pool_id)
        self.opened.append(Recording(self.kind(slots=self.slots).open(pool_id, front), pool_id))
        return self.opened[-1]


def held(gate):
    """Return a recipe whose pools but the first wait at a gate to be opened."""
    return Watched(before=lambda pool_id: pool_id == "io-1" or gate.stop_here())


def all_ended(recipe):
    return all(pool.ended.wait(20) for pool in recipe.opened)


@pytest.fixture
def elastic(open_scheduler):
    """Make a scheduler with one group that scales as the test says."""

    def make(recipe, wanted, **settings):
        group = {"max_pools": 3, "scaling": Wants(wanted)}
        group |= {name: settings.pop(name) for name in list(settings) if hasattr(PoolGroup, name)}
        return open_scheduler(PoolGroup("io", recipe, **group), check_invariants=True, **settings)

    return make


def states(s):
    return {pool.pool_id: pool.state for pool in s.pools()}


def test_a_pool_counts_while_it_is_opened_and_nobody_waits_for_it(elastic, gates):
    """Opening may take seconds: jobs come and go meanwhile."""
    opening, job = gates(), gates()
    s = elastic(held(opening), 2)
    s.submit(job.stop_here)
    opening.await_arrival()
    seen = states(s)
    job.open()
    answer = s.submit(int, 7).result(20)
    opening.open()

    assert ({"io-1": PoolState.ACCEPTING, "io-2": PoolState.STARTING}, 7) == (seen, answer)


def test_a_pool_that_is_opened_while_the_scheduler_closes_is_drained(elastic, gates):
    """The closing does not wait for it, and whoever opens it finds it gone."""
    opening, job = gates(), gates()
    recipe = held(opening)
    s = elastic(recipe, 2)
    s.submit(job.stop_here)
    opening.await_arrival()
    job.open()
    report = s.close(finish_within=20)
    closed_first = [pool.pool_id for pool in recipe.opened]
    opening.open()

    assert (["io-1"], (), 1) == (closed_first, report.unfinished, report.statistics.succeeded)
    assert all_ended(recipe)
    assert () == s.pools()


def test_a_pool_that_is_opened_after_its_drain_and_before_its_turn_is_drained(elastic, gates, lying_locks):
    """The narrow place of the race: the pool is real, and its turn waits for the lock behind the closing's."""
    opening, job, narrow = gates(), gates(), gates()
    recipe = held(opening)
    s = elastic(recipe, 2)
    (lock,) = lying_locks
    s.submit(job.stop_here)
    opening.await_arrival()
    (opener,) = [thread for thread in threading.enumerate() if thread.name.endswith("-alarm")]

    def hold():
        if threading.current_thread() is opener and len(recipe.opened) > 1 and not narrow.reached.is_set():
            narrow.stop_here()

    lock.hooks["before_acquire"] = hold
    opening.open()
    narrow.await_arrival()
    job.open()
    s.close(finish_within=20)
    before = recipe.opened[1].ended.is_set()
    narrow.open()

    assert (False, True) == (before, all_ended(recipe))


def test_a_scheduler_that_is_dropped_while_a_pool_starts_goes(gates):
    """A leaked scheduler must not live on in a pool that was just about to come."""
    opening, job = gates(), gates()
    recipe = held(opening)
    s = Scheduler(PoolGroup("io", recipe, max_pools=2, scaling=Wants(2)))
    alive = weakref.ref(s)
    s.submit(job.stop_here)
    opening.await_arrival()
    del s
    job.open()
    gc.collect()
    opening.open()

    assert alive() is None
    assert all_ended(recipe)


def test_a_pool_added_by_hand_at_the_maximum_is_refused_and_leaves_nothing(elastic, gates):
    """The one that starts counts; the one by hand was real already and must go again."""
    opening, job = gates(), gates()
    recipe = held(opening)
    s = elastic(recipe, 2, max_pools=2)
    s.submit(job.stop_here)
    opening.await_arrival()
    opening.open()
    with pytest.raises(ValueError, match="has 2 pools and max_pools=2"):
        s.add_pool("io")
    job.open()

    (refused,) = [pool for pool in recipe.opened if pool.pool_id == "io-3"]
    assert refused.ended.is_set()


def test_a_recipe_that_cannot_open_is_tried_again_later(elastic, gate):
    """A machine that is out of threads for a second has them again in the next."""
    clock, failures = VirtualClock(), [OSError("no more threads"), OSError("still none")]

    def fail(pool_id):
        if pool_id != "io-1" and failures:
            raise failures.pop()

    s = elastic(Watched(before=fail), 2, clock=clock)
    seen = RecordedEvents()
    s.subscribe(seen)
    handle = s.submit(gate.stop_here)
    clock.advance(0.5)
    soon = states(s)
    clock.advance(1.0)
    later = states(s)
    clock.advance(2.5)
    gate.open()
    handle.result(20)

    assert ([{"io-1"}, {"io-1"}, {"io-1", "io-4"}]) == [set(each) for each in (soon, later, states(s))]
    told = [(event.pool, event.error) for event in seen.wait_for(PoolFailed, 2)]
    assert [("io-2", "OSError: still none"), ("io-3", "OSError: no more threads")] == told


def test_ctrl_c_while_a_pool_is_put_up_neither_loses_nor_doubles_it(elastic, gate, monkeypatch):
    """Once, it stayed STARTING for ever, with its threads."""
    clock, recipe = VirtualClock(), Watched(kind=InlinePool)
    s = elastic(recipe, 2, clock=clock)
    core = s._driver.core
    whole, torn = core.pool_up, []

    def tear(pool, now):
        if not torn:
            torn.append(pool)
            raise KeyboardInterrupt
        whole(pool, now)

    s.submit(int)
    monkeypatch.setattr(core, "pool_up", tear)
    with pytest.raises(KeyboardInterrupt):
        clock.advance(0.1)
    clock.advance(0.1)

    assert ({"io-1": PoolState.ACCEPTING, "io-2": PoolState.ACCEPTING}) == states(s)
    assert ["io-1", "io-2"] == [pool.pool_id for pool in recipe.opened]


def test_ctrl_c_before_a_pool_is_put_up_drains_it_and_opens_another(elastic, monkeypatch):
    """The first one is known to nobody any more."""
    clock, recipe = VirtualClock(), Watched(kind=InlinePool)
    s = elastic(recipe, 2, clock=clock)
    driver, torn = s._driver, []
    turn = driver.turn

    def tear(body):
        if body.__name__ == "up" and not torn:
            torn.append(body)
            raise KeyboardInterrupt
        return turn(body)

    s.submit(int)
    monkeypatch.setattr(driver, "turn", tear)
    with pytest.raises(KeyboardInterrupt):
        clock.advance(0.1)
    clock.advance(0.1)

    assert ({"io-1": PoolState.ACCEPTING, "io-2": PoolState.ACCEPTING}) == states(s)
    assert [("io-1", False), ("io-2", True), ("io-2", False)] == [
        (pool.pool_id, pool.ended.is_set()) for pool in recipe.opened
    ]


def test_inline_pools_scale_too(elastic):
    """Tests and examples run in them."""
    clock = VirtualClock()
    s = elastic(InlinePool(), 3, clock=clock)
    s.submit(int)
    clock.advance(0.5)
    grown = list(states(s))
    s.groups[0].scaling.pools = 1
    clock.advance(20.0)

    assert (["io-1", "io-2", "io-3"], ["io-1"]) == (grown, list(states(s)))
    assert ["add", "drain", "drain"] == [d.action for d in s.explain("io").decisions if d.action != "hold"]


def test_a_scheduler_with_a_virtual_clock_scales_by_its_default_policy(open_scheduler, gates):
    """A test of a service that scales should take no time."""
    clock, job = VirtualClock(), gates()
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1), max_pools=3), clock=clock, check_invariants=True)
    handles = [s.submit(job.stop_here, number) for number in range(9)]
    for _ in range(100):
        clock.advance(0.1)
    grown = len(s.pools())
    job.open()
    answers = [handle.result(20) for handle in handles]
    clock.advance(3600.0)

    assert (3, list(range(9)), ["io-1"]) == (grown, answers, list(states(s)))
    check_invariants(s)


def test_drain_pool_ends_although_the_load_returns(elastic, gate, in_thread, eventually):
    """The pool was draining by itself, was taken back, and whoever waited for it waited for ever."""
    clock = VirtualClock()
    s = elastic(ThreadPool(slots=1), 1, clock=clock)
    pool_id = s.add_pool("io")
    handles = [s.submit(gate.stop_here) for _ in range(2)]
    eventually(lambda: 2 == sum(pool.in_use for pool in s.pools()))
    clock.advance(1.0)
    draining = [name for name, state in states(s).items() if state is PoolState.DRAINING]
    report = in_thread(s.drain_pool, draining[0])
    eventually(lambda: s._driver._draining)
    s.groups[0].scaling.pools = 2
    clock.advance(1.0)
    gate.open()

    assert report.result().drained
    assert pool_id in draining
    assert [None, None] == [handle.result(20) for handle in handles]


def test_what_waits_behind_a_call_that_hangs_runs_in_a_replacement(open_scheduler, gate, eventually):
    """A thread cannot be killed, and one bug must not stop everybody else."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1), stuck_after=0.02))
    hangs = s.with_options(run_timeout=0.02).submit(gate.stop_here)
    waits = s.submit(int, 7)

    assert 7 == waits.result(20)
    assert {"io-1": PoolState.QUARANTINED, "io-2": PoolState.ACCEPTING} == states(s)
    gate.open()
    eventually(lambda: ["io-2"] == list(states(s)))
    assert isinstance(hangs.exception(), TimeoutError)


def test_a_closing_finishes_what_waits_behind_a_call_that_hangs(open_scheduler, gate, in_thread):
    """Once, the pool was quarantined without a replacement, and close() waited for ever."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1), stuck_after=0.05))
    s.with_options(run_timeout=0.05).submit(gate.stop_here)
    waits = s.submit(int, 7)
    report = in_thread(s.close).result()

    assert (7, ("io-1/1",)) == (waits.result(0), report.abandoned_workers)
    gate.open()


@pytest.mark.parametrize("struck", ["/1", "/2"])
def test_ctrl_c_while_processes_are_added_by_hand_leaves_none_behind(
    open_scheduler, monkeypatch, eventually, struck
):
    """Their shepherds waited for ever to be let in, and the interpreter for their processes at its exit."""
    s = open_scheduler(PoolGroup("cpu", ProcessPool(slots=2), dedicated=False))
    s.submit(int).result(20)
    start = threading.Thread.start

    def tear(thread):
        start(thread)
        if thread.name.endswith(f"cpu-2{struck}"):
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", tear)
    with pytest.raises(KeyboardInterrupt):
        s.add_pool("cpu")
    monkeypatch.undo()

    eventually(lambda: not any("-cpu-2/" in thread.name for thread in threading.enumerate()), "their end")
    assert ["cpu-1"] == list(states(s))
    assert 7 == s.submit(int, 7).result(20)


def test_ctrl_c_right_after_processes_were_opened_by_hand_drains_them(
    open_scheduler, monkeypatch, eventually
):
    """The pool is real and on nobody's books."""
    s = open_scheduler(PoolGroup("cpu", ProcessPool(slots=1), dedicated=False))
    s.submit(int).result(20)
    driver, turn = s._driver, s._driver.turn

    def tear(body):
        if body.__name__ == "put_up":
            raise KeyboardInterrupt
        return turn(body)

    monkeypatch.setattr(driver, "turn", tear)
    with pytest.raises(KeyboardInterrupt):
        s.add_pool("cpu")
    monkeypatch.undo()

    eventually(lambda: not any("-cpu-2/" in thread.name for thread in threading.enumerate()), "their end")
    assert ["cpu-1"] == list(states(s))
