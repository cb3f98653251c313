"""Limits on the real scheduler: never exceeded, nothing lost, and whoever is parked can be stopped."""

import threading
import time

import process_jobs
import pytest

from policies import FixedBackoff
from pools import ProcessPool, ThreadPool
from scheduler import JobState, Limit, PoolGroup, Scheduler, VirtualClock, WouldDeadlock


class Resource:
    """Counts how many use it now, and how many at most."""

    def __init__(self):
        self._lock, self.now, self.most, self.uses = threading.Lock(), 0, 0, 0

    def use(self, fails=()):
        with self._lock:
            self.now += 1
            self.uses += 1
            number = self.uses
            self.most = max(self.most, self.now)
        time.sleep(0)
        with self._lock:
            self.now -= 1
        if number in fails:
            raise OSError(number)


def test_concurrency_is_never_exceeded_by_many_threads(open_scheduler):
    """A limit is there because the resource behind it breaks when it is exceeded once."""
    scheduler = open_scheduler(
        8,
        limits=[Limit(tenant="*", concurrency=2), Limit(tag="thread", concurrency=3)],
        check_invariants=False,
    )
    resources = {name: Resource() for name in "abcd"}
    tagged = Resource()
    submitters = {name: scheduler.with_options(tenant=name) for name in resources}
    handles = []
    for number in range(5000):
        name = "abcd"[number % 4]
        if number % 5 == 0:
            handles.append(scheduler.with_options(tags="thread").submit(tagged.use))
        else:
            handles.append(submitters[name].submit(resources[name].use))
    for handle in handles:
        handle.result()
    now = scheduler.statistics()
    assert (5000, 0, 0) == (now.succeeded, now.waiting, now.limited)
    assert all(1 <= resource.most <= 2 for resource in resources.values())
    assert 1 <= tagged.most <= 3


def test_retries_hold_the_limit_too_and_nothing_is_lost(open_scheduler):
    """A retry hits the resource like any other attempt."""
    scheduler = open_scheduler(
        6,
        limits=[Limit(tenant="a", concurrency=2, rate=50_000.0)],
        retry=FixedBackoff(delay=0.0, attempts_max=5, retry_on=OSError),
        check_invariants=True,
    )
    resource = Resource()
    fails = set(range(1, 400, 3))
    submitter = scheduler.with_options(tenant="a")
    handles = [submitter.submit(resource.use, fails) for _ in range(300)]
    for handle in handles:
        handle.exception()
    assert resource.most <= 2
    assert resource.uses == 300 + scheduler.statistics().retries


def test_an_overdue_call_holds_its_limit_until_it_returns(open_scheduler, gate, eventually):
    """It was given up, and still uses what the limit protects."""
    scheduler = open_scheduler(3, limits=[Limit(tenant="a", concurrency=1)])
    submitter = scheduler.with_options(tenant="a")
    stuck = submitter.with_options(run_timeout=0.01).submit(gate.stop_here)
    assert isinstance(stuck.exception(), TimeoutError)
    following = submitter.submit(len, "abc")
    assert scheduler.submit(len, "x").result() == 1  # slots are free
    assert (JobState.WAITING, 1) == (following.state, scheduler.statistics().limited)
    gate.open()
    assert following.result() == 3
    eventually(lambda: scheduler.statistics().late == 1, "the late outcome")


def test_others_pass_a_parked_job_and_it_starts_when_the_call_returns(open_scheduler, gate):
    """A job that cannot start must hold no slot and nobody up."""
    scheduler = open_scheduler(2, limits=[Limit(tag="thread", concurrency=1)])
    tagged = scheduler.with_options(tags="thread", priority=0)
    first = tagged.submit(gate.stop_here, "first")
    gate.await_arrival()
    parked = tagged.submit(len, "parked")
    assert [1] * 20 == [scheduler.submit(len, "x").result() for _ in range(20)]
    assert JobState.WAITING is parked.state
    gate.open()
    assert ("first", 6) == (first.result(), parked.result())


def test_a_rate_paces_starts_by_the_clock(open_scheduler):
    """Tokens come with time, and nobody need submit anything for the next one to be used."""
    scheduler = open_scheduler(4, limits=[Limit(tenant="a", rate=100.0, burst=2)])
    submitter = scheduler.with_options(tenant="a")
    began = time.monotonic()
    handles = [submitter.submit(time.monotonic) for _ in range(12)]
    starts = sorted(handle.result() for handle in handles)
    assert starts[-1] - began >= (12 - 2) / 100.0


def test_closing_with_parked_jobs_ends_and_settles_all(open_scheduler, gate):
    """A token that comes next year must not keep a program from ending."""
    scheduler = open_scheduler(2, limits=[Limit(tenant="a", rate=1e-6), Limit(tenant="b", concurrency=1)])
    slow = [scheduler.with_options(tenant="a").submit(len, "a") for _ in range(5)]
    scheduler.with_options(tenant="b").submit(gate.stop_here)
    gate.await_arrival()
    parked = [scheduler.with_options(tenant="b").submit(len, "b") for _ in range(5)]
    assert slow[0].result() == 1
    assert scheduler.statistics().limited == 9
    report = scheduler.close(finish_within=0, cancel_within=0)
    assert all(handle.done() for handle in (*slow, *parked))
    assert {"cancelled"} == {note.fate for note in report.unfinished if note.worker is None}
    assert scheduler.statistics().waiting == 0


def test_closing_cancels_what_waits_for_a_clock_that_stands_still(open_scheduler):
    """Nobody moves the clock of a scheduler that closes."""
    clock = VirtualClock()
    scheduler = open_scheduler(2, clock=clock, limits=[Limit(tenant="a", rate=1.0)])
    handles = [scheduler.with_options(tenant="a").submit(len, "a") for _ in range(3)]
    assert handles[0].result() == 1
    clock.advance(1.0)
    assert handles[1].result() == 1
    scheduler.shutdown()
    assert handles[2].state is JobState.CANCELLED


def test_a_job_that_waits_for_one_that_its_own_limit_keeps_back_is_told(open_scheduler):
    """It would wait for itself, beside free slots."""
    scheduler = open_scheduler(4, limits=[Limit(tenant="a", concurrency=1)])
    submitter = scheduler.with_options(tenant="a")
    with pytest.raises(WouldDeadlock):
        submitter.submit(lambda: submitter.submit(len, "inner").result()).result()


def test_a_parked_job_whose_limit_will_have_room_is_no_deadlock(open_scheduler, gate, eventually):
    """Somebody else's call returns by itself, and then it starts."""
    scheduler = open_scheduler(4, limits=[Limit(tenant="a", concurrency=1), Limit(tenant="b", rate=20.0)])
    submitter = scheduler.with_options(tenant="a")
    first = submitter.submit(gate.stop_here)
    gate.await_arrival()
    parked = submitter.submit(len, "abc")
    outer = scheduler.submit(parked.result)
    rated = [scheduler.with_options(tenant="b").submit(len, "abcd") for _ in range(21)]
    assert scheduler.submit(rated[-1].result).result() == 4
    eventually(outer.running, "the outer job")
    gate.open()
    assert (None, 3) == (first.result(), outer.result())


@pytest.mark.usefixtures("untraced")
def test_calls_that_lie_ahead_hold_their_limits_and_give_them_back(open_scheduler):
    """A process must not begin what its limit has no room for only because the call was there already."""
    scheduler = open_scheduler(
        PoolGroup("cpu", ProcessPool(slots=2), dedicated=False),
        limits=[Limit(tenant="*", concurrency=1), Limit(tag="cpu", concurrency=3)],
        check_invariants=True,
    )
    submitters = [scheduler.with_options(tenant=name, tags={"cpu"}) for name in "abcdef"]
    handles = [submitters[number % 6].submit(process_jobs.square, number) for number in range(600)]
    handles += [scheduler.submit(process_jobs.square, number) for number in range(200)]
    assert sum(number * number for number in (*range(600), *range(200))) == sum(h.result() for h in handles)
    assert scheduler.statistics().limited == 0


def test_ten_thousand_tenants_leave_nothing_behind():
    """Each tenant's line and limit must go when nobody knows it any more, or a service grows for ever."""
    with Scheduler(
        ThreadPool(slots=2), limits=[Limit(tenant="*", concurrency=1, rate=1e6, burst=1)]
    ) as scheduler:
        for number in range(10_000):
            scheduler.with_options(tenant=f"tenant-{number}").submit(len, "x")
        assert scheduler.drain(timeout=60)
        lots = scheduler._driver.core.lots
        assert len(lots.lines()) < 100
        assert len(lots.records()) < 200
