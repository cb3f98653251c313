"""Observers hear of everything, in order, and can do no harm."""

import threading

import pytest

from policies import FixedBackoff
from pools import InlinePool, ThreadPool
from scheduler import JobSettled, JobStarted, JobState, JobSubmitted, PoolAdded, PoolGroup, PoolStopped
from scheduler.testing import RecordedEvents


def test_events_arrive_in_the_order_of_the_facts(open_scheduler, in_thread):
    """A dashboard that counts starts and ends must never see an end first."""
    s = open_scheduler(4)
    events = RecordedEvents()
    unsubscribe = s.subscribe(events)
    threads = [in_thread(lambda: [s.submit(int, n).result(20) for n in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.result()
    events.wait_for(JobSettled, 800)
    unsubscribe()
    s.close()

    story = {}
    for event in events.events:
        if isinstance(event, JobSubmitted | JobStarted | JobSettled):
            story.setdefault(event.job_id, []).append(type(event))
    assert 800 == len(story)
    assert {(JobSubmitted, JobStarted, JobSettled)} == {tuple(kinds) for kinds in story.values()}
    times = [event.time for event in events.events]
    assert sorted(times) == times


def test_a_test_waits_for_what_another_thread_tells(open_scheduler, in_thread):
    """A thread that is telling observers is left the news of all others, whose results are there before."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1)))
    telling, go_on = threading.Event(), threading.Event()
    events = RecordedEvents()

    def slow(event):
        if isinstance(event, PoolAdded):
            telling.set()
            assert go_on.wait(20)

    s.subscribe(slow)
    s.subscribe(events)
    adding = in_thread(s.add_pool, "io")
    assert telling.wait(20)
    handles = [s.submit(int), s.submit(int)]
    assert [0, 0] == [handle.result(20) for handle in handles]

    with pytest.raises(TimeoutError, match=r"0 of 2 JobSettled came within 0\.01 s, among 0 events$"):
        events.wait_for(JobSettled, 2, timeout=0.01)
    go_on.set()
    settled = {event.job_id for event in events.wait_for(JobSettled, 2)}
    assert {handle.id for handle in handles} == settled
    assert "io-2" == adding.result()


def test_an_observer_hears_of_a_retry_between_two_starts(open_scheduler):
    """The whole life of a job can be told from its events."""
    s = open_scheduler(1)
    events = RecordedEvents()
    s.subscribe(events)
    visits = []

    def fails_once():
        visits.append(1)
        if len(visits) == 1:
            raise OSError("once")

    handle = s.with_options(retry=FixedBackoff(delay=0.001)).submit(fails_once)
    handle.result(20)
    s.drain(20)
    s.submit(int).result(20)

    events.wait_for(JobSettled, 2)
    told = [type(e).__name__ for e in events.events if getattr(e, "job_id", None) == handle.id]
    assert ["JobSubmitted", "JobStarted", "JobRetrying", "JobStarted", "JobSettled"] == told
    assert JobState.SUCCEEDED is events.of(JobSettled)[0].state
    assert 2 == events.of(JobSettled)[0].attempts


@pytest.mark.parametrize("kind", [OSError, SystemExit, KeyboardInterrupt])
def test_an_observer_that_raises_harms_nobody(open_scheduler, caplog, kind):
    """I14: not the job, not the other observers, not the worker, not the alarm."""
    s = open_scheduler(1)
    events = RecordedEvents()

    def bad(event):
        # In the main thread a KeyboardInterrupt is the user's Ctrl-C, which must get through.
        if kind is not KeyboardInterrupt or threading.current_thread() is not threading.main_thread():
            raise kind("in an observer")

    s.subscribe(bad)
    s.subscribe(events)
    blocker = s.submit(int, 1)

    assert 1 == blocker.result(20)
    assert [2, 3] == [handle.result(20) for handle in [s.submit(int, 2), s.submit(int, 3)]]
    assert 4 == s.with_options(delay=0.001).submit(int, 4).result(20)
    assert 5 == s.with_options(delay=0.001).submit(int, 5).result(20)
    assert s.close().complete
    assert 5 == len(events.wait_for(JobSettled, 5))
    assert any("observer" in record.getMessage() for record in caplog.records)


def test_an_observer_whose_name_cannot_be_had_harms_nobody(open_scheduler):
    """Saying who raised must not raise."""

    class Nameless:
        def __call__(self, event):
            raise OSError("in an observer")

        def __getattribute__(self, name):
            if name == "__qualname__":
                raise OSError("no name either")
            return super().__getattribute__(name)

        def __repr__(self):
            raise OSError("nor that")

    s = open_scheduler(1)
    s.subscribe(Nameless())

    assert 1 == s.submit(int, 1).result(20)
    assert 2 == s.submit(int, 2).result(20)


def test_an_observer_may_submit_and_ask(open_scheduler, eventually):
    """It is called outside every lock, so it can do whatever a user can."""
    s = open_scheduler(1)
    handles = []

    def observer(event):
        s.statistics()
        if isinstance(event, JobSettled) and len(handles) < 5:
            handles.append(s.submit(int, len(handles)))

    s.subscribe(observer)
    s.submit(int).result(20)
    eventually(lambda: 5 == len(handles), "what the observer submits")

    assert list(range(5)) == [handle.result(20) for handle in handles]


@pytest.fixture
def relieved(open_scheduler, gate, monkeypatch):
    """Return a function that opens a scheduler whose only worker tells its news until a pool is added by another thread.

    A thread made for that tells of the pool, by the function given; the worker has a second job, which is returned.
    """
    monkeypatch.setattr("scheduler._observers.PATIENCE", 0.0)

    def make(tell, job=int):
        s = open_scheduler(1)
        telling, brought = threading.Event(), threading.Event()

        def observe(event):
            if isinstance(event, JobSettled) and event.job_id == first.id:
                telling.set()
                assert brought.wait(20)
            if isinstance(event, PoolAdded):
                tell()

        s.subscribe(observe)
        first = s.submit(gate.stop_here)
        gate.await_arrival()
        second = s.submit(job)
        gate.open()
        assert telling.wait(20)
        s.add_pool("thread")
        brought.set()
        return s, second

    return make


def test_a_job_does_not_wait_until_the_news_of_others_is_told(relieved):
    """The worker that tells has been given its next job: while others brought news, that job did not begin."""
    begun, waited = threading.Event(), threading.Event()

    _, second = relieved(lambda: begun.wait(20) and waited.set(), begun.set)

    assert second.result(20) is None
    assert waited.wait(20)


def test_closing_waits_for_what_is_still_to_be_told(relieved):
    """The last news of a program that ends is often the most wanted."""
    slow, told = threading.Event(), []
    s, _ = relieved(lambda: slow.wait(0.2))
    s.subscribe(lambda event: told.append(type(event).__name__))

    s.close()

    assert "SchedulerClosing" == told[-1]
    assert not [t for t in threading.enumerate() if t.name.endswith("-observers")]


@pytest.mark.parametrize("limits", [{"finish_within": 0, "cancel_within": 0}, {}])
def test_closing_does_not_wait_for_an_observer_that_hangs(relieved, gates, monkeypatch, limits):
    """It ends in bounded time, whatever is called."""
    monkeypatch.setattr("scheduler._stopping._LEAVE_WITHIN", 0.1)
    hangs = gates()
    s, second = relieved(hangs.stop_here)
    hangs.await_arrival()
    second.result(20)

    assert s.close(**limits).complete
    hangs.open()


def test_what_a_single_thread_brings_it_tells_itself(open_scheduler, monkeypatch):
    """Where nothing runs in threads, everything is told when `submit` returns, however slow the telling."""
    monkeypatch.setattr("scheduler._observers.PATIENCE", 0.0)
    s = open_scheduler(InlinePool())
    told = []

    def slow(event):
        told.append((type(event), threading.current_thread()))
        if isinstance(event, JobSettled) and event.job_id == 1:
            s.submit(int)

    s.subscribe(slow)
    s.submit(int)

    assert 2 == len([kind for kind, _ in told if kind is JobSettled])
    assert {threading.current_thread()} == {thread for _, thread in told}


def test_where_no_thread_is_to_be_had_the_worker_tells_all_itself(open_scheduler, gate, monkeypatch):
    """Late news beats none."""
    monkeypatch.setattr("scheduler._observers.PATIENCE", 0.0)
    monkeypatch.setattr("scheduler._relay.Relay._relieve", lambda _relay: False)
    s = open_scheduler(2)
    s.subscribe(events := RecordedEvents())
    handles = [s.submit(int, n) for n in range(20)]

    assert list(range(20)) == [handle.result(20) for handle in handles]
    assert 20 == len(events.wait_for(JobSettled, 20))


def test_unsubscribing_twice_is_harmless_and_ends_the_telling(open_scheduler):
    """Clean-up code runs twice more often than once."""
    s = open_scheduler(1)
    events = RecordedEvents()
    unsubscribe = s.subscribe(events)
    unsubscribe()
    unsubscribe()

    s.submit(int).result(20)

    assert [] == events.events


def test_pools_tell_of_their_coming_and_going(open_scheduler):
    """Capacity that changes unseen cannot be explained afterwards."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1)))
    events = RecordedEvents()
    s.subscribe(events)
    pool_id = s.add_pool("io")
    s.cordon_pool(pool_id)
    s.uncordon_pool(pool_id)
    s.drain_pool(pool_id)

    events.wait_for(PoolStopped)
    about = [event for event in events.events if getattr(event, "pool", None) == pool_id]
    told, moments = [type(event).__name__ for event in about], [event.time for event in about]
    assert ["PoolAdded", "PoolCordoned", "PoolUncordoned", "PoolDraining", "PoolStopped"] == told
    assert sorted(moments) == moments


def test_every_snapshot_of_the_statistics_adds_up(open_scheduler, in_thread):
    """I2 while everything moves: a ledger that is right only at rest is no ledger."""
    s = open_scheduler(4, capacity=50)

    def work(n):
        if n % 7 == 0:
            raise OSError

    def submit():
        handles = [s.with_options(retry=FixedBackoff(delay=0.0005)).submit(work, n) for n in range(300)]
        for handle in handles[::3]:
            handle.cancel()
        return handles

    submitting = [in_thread(submit) for _ in range(3)]
    snapshots = []
    while any(thread.is_alive() for thread in submitting):
        snapshots.append(s.statistics())
    handles = [handle for thread in submitting for handle in thread.result()]
    s.drain(20)
    snapshots.append(s.statistics())

    for now in snapshots:
        alive = now.delayed + now.waiting + now.backing_off + now.running
        settled = now.succeeded + now.failed + now.cancelled + now.expired + now.shed
        assert now.submitted == alive + settled
    assert 900 == len(handles) == snapshots[-1].submitted
    for handle in handles:
        if not handle.cancelled():
            handle.exception(0)
