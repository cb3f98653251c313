"""Who pays an attempt, row by row of `docs/explanation/attempts.md`.

An attempt is paid when the retry policy was asked about it: it counts against ``attempts_max``.
"""

import sys
import threading
from pathlib import Path

import process_jobs as jobs
import pytest

from policies import (
    Budgeted,
    CircuitBreaker,
    FixedBackoff,
    Hedge,
    NoRetry,
    RetryBudget,
    WithBreaker,
)
from pools import InlinePool, ProcessPool, Recycle, ThreadPool
from scheduler import (
    BreakerOpen,
    JobInterrupted,
    JobState,
    Limit,
    PoolGroup,
    PoolState,
    Priority,
    ResultRejected,
    RetryBudgetExhausted,
    RunTimeout,
    WorkerDied,
    current_job,
)

PATIENCE = 20.0
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="counts on signals")


class Asked:
    """A retry policy that grants two attempts, and keeps what it was asked about."""

    def __init__(self):
        self.about = []

    def retry_after(self, failure, uniform):
        self.about.append((failure.attempt, type(failure.error)))
        return 0.0 if failure.attempt < 2 else None


@pytest.fixture
def policy():
    """A policy that remembers, which only a test's may."""
    return Asked()


@pytest.fixture
def inline(open_scheduler, clock, policy):
    """Return a function that opens a scheduler without threads, in virtual time."""

    def make(**options):
        return open_scheduler(InlinePool(), clock=clock, retry=policy, check_invariants=True, **options)

    return make


@pytest.fixture
def processes(open_scheduler, policy):
    """Return a function that opens a scheduler with one worker process."""

    def make(**recipe):
        group = PoolGroup("cpu", ProcessPool(1, kill_after=0.1, **recipe), dedicated=False)
        return open_scheduler(group, retry=policy, check_invariants=True)

    return make


def numbers(handle):
    """Return the numbers of a job's attempts, each with the type of its error."""
    return [(attempt.number, type(attempt.error)) for attempt in handle.attempts]


CLEAN = [(1, type(None))]


class Flaky:
    """Fails at its first call."""

    def __init__(self, first):
        self.first, self.calls = first, 0

    def __call__(self):
        self.calls += 1
        return self.first() if self.calls == 1 else "done"


def fail():
    raise OSError("down")


# Who pays


def test_the_exception_of_a_job_pays(inline, clock, policy):
    """It is what attempts are counted for."""
    handle = inline().submit(Flaky(fail))
    clock.advance(1.0)

    assert ("done", [(1, OSError)]) == (handle.result(0), policy.about)
    assert [(1, OSError), (2, type(None))] == numbers(handle)


def test_a_rejected_value_pays(inline, clock, policy):
    """It is a failure like an exception, only more polite."""
    policy.retry_if_result = lambda value: value is None
    handle = inline().submit(Flaky(lambda: None))
    clock.advance(1.0)

    assert ("done", [(1, ResultRejected)]) == (handle.result(0), policy.about)
    assert [1, 2] == [attempt.number for attempt in handle.attempts]


def test_a_run_timeout_pays(open_scheduler, clock, policy, gate):
    """A call that hangs may hang again, and somebody has to count."""
    s = open_scheduler(ThreadPool(slots=2), clock=clock, retry=policy)
    handle = s.with_options(run_timeout=1.0).submit(Flaky(gate.stop_here))
    gate.await_arrival()
    clock.advance(1.0)

    assert ("done", [(1, RunTimeout)]) == (handle.result(PATIENCE), policy.about)
    assert [(1, RunTimeout), (2, type(None))] == numbers(handle)


@on_linux
def test_the_death_of_a_worker_pays(processes, tmp_path, policy):
    """A call that kills its worker would otherwise kill workers for ever."""
    handle = processes().submit(jobs.die_once, str(tmp_path / "died"))

    assert ("survived", [(1, WorkerDied)]) == (handle.result(PATIENCE), policy.about)
    assert [(1, WorkerDied), (2, type(None))] == numbers(handle)


# Who does not


def test_a_drain_does_not(open_scheduler, policy, gate):
    """What runs in the pool is finished there, in its attempt."""
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1), max_pools=2), retry=policy)
    handle = s.submit(gate.stop_here, "done")
    gate.await_arrival()
    waiting = s.submit(int)
    s.add_pool("io")
    s.drain_pool("io-1", timeout=0)
    assert 0 == waiting.result(PATIENCE)
    gate.open()

    assert ("done", CLEAN, []) == (handle.result(PATIENCE), numbers(handle), policy.about)


def by_pause(s):
    s.pause()
    s.resume()


def by_cordon(s):
    s.cordon_pool("cpu-1")
    s.uncordon_pool("cpu-1")


def by_urgency(s):
    s.with_options(priority=Priority.CRITICAL).submit(jobs.ignore)


@on_linux
@pytest.mark.parametrize("recall", [by_pause, by_cordon, by_urgency])
def test_a_job_that_lay_ahead_and_is_taken_back_does_not(
    processes, tmp_path, policy, always_ahead, eventually, recall
):
    """It has not begun: that its worker had it already is our doing, and hides a message."""
    always_ahead()
    s = processes()
    s.pause()
    go = str(tmp_path / "go")
    gates = [
        s.submit(jobs.touch_and_wait, f"{go}{n}.started", f"{go}{n}") for n in (1, 2)
    ]  # at the second, its worker holds the others
    ahead = [s.submit(jobs.square, n) for n in range(4)]
    s.resume()
    eventually(Path(f"{go}1.started").exists)
    Path(f"{go}1").touch()
    eventually(Path(f"{go}2.started").exists)
    eventually(lambda: 4 == s.pools()[0].ahead, "jobs that lie ahead")
    recall(s)
    assert 4 <= s.statistics().recalled
    Path(f"{go}2").touch()

    assert [0, 1, 4, 9] == [handle.result(PATIENCE) for handle in ahead]
    assert [CLEAN] * 6 == [numbers(handle) for handle in (*gates, *ahead)]
    assert [] == policy.about


@on_linux
def test_the_recycling_of_a_worker_does_not(processes, policy):
    """It happens between two calls, and no call notices."""
    s = processes(recycle=Recycle(jobs=2))
    handles = [s.submit(jobs.pid) for _ in range(5)]

    assert len({handle.result(PATIENCE) for handle in handles}) > 1
    assert ([CLEAN] * 5, []) == ([numbers(handle) for handle in handles], policy.about)


def test_a_quarantine_and_its_replacement_do_not(open_scheduler, clock, policy, gates):
    """The neighbour of a stuck call goes on where it is, and who waits has a first attempt in the new pool."""
    group = PoolGroup("io", ThreadPool(slots=2), stuck_after=1.0, stuck_share=1.0)
    s = open_scheduler(group, clock=clock, check_invariants=True, retry=policy)
    stuck, neighbour = gates(), gates()
    hung = s.with_options(retry=NoRetry(), run_timeout=1.0).submit(stuck.stop_here)
    good = s.submit(neighbour.stop_here, "done")
    stuck.await_arrival()
    neighbour.await_arrival()
    waiting = s.submit(lambda: current_job().pool)
    clock.advance(1.0)
    clock.advance(1.0)

    assert "io-2" == waiting.result(PATIENCE)
    assert PoolState.QUARANTINED is s.pools()[0].state
    neighbour.open()
    assert "done" == good.result(PATIENCE)
    assert [(1, RunTimeout)] == numbers(hung)
    assert ([CLEAN, CLEAN], []) == ([numbers(good), numbers(waiting)], policy.about)


def test_waiting_for_a_breaker_does_not(inline, clock, policy):
    """It is there so that nothing is tried."""
    s = inline(breakers=[CircuitBreaker(tag="inline", window=1, calls_min=1, open_for=60.0)])
    tagged = s.with_options(tags="inline")
    s.with_options(tags="inline", retry=NoRetry()).submit(fail)
    parked = tagged.submit(int)
    assert (JobState.WAITING, []) == (parked.state, numbers(parked))
    clock.advance(60.0)

    assert (0, CLEAN, []) == (parked.result(0), numbers(parked), policy.about)


def test_waiting_for_a_limit_does_not(inline, clock, policy):
    """Limits space attempts; they are not failures."""
    s = inline(limits=[Limit(tag="inline", rate=1.0, burst=1)])
    tagged = s.with_options(tags="inline")
    tagged.submit(int)
    parked = tagged.submit(int)
    assert (JobState.WAITING, []) == (parked.state, numbers(parked))
    clock.advance(1.0)

    assert (0, CLEAN, []) == (parked.result(0), numbers(parked), policy.about)


def test_a_pause_does_not(open_scheduler, policy, gate):
    """What runs goes on, and what waits has not begun."""
    s = open_scheduler(1, retry=policy)
    running = s.submit(gate.stop_here, "done")
    gate.await_arrival()
    s.pause()
    waiting = s.submit(int)
    gate.open()
    assert ("done", []) == (running.result(PATIENCE), numbers(waiting))
    s.resume()

    assert 0 == waiting.result(PATIENCE)
    assert ([CLEAN, CLEAN], []) == ([numbers(running), numbers(waiting)], policy.about)


def test_closing_does_not(open_scheduler, policy):
    """A job that closing interrupts has not failed, so nobody is asked whether it should go on."""
    s = open_scheduler(1, retry=policy)
    began, pause = threading.Event(), threading.Event()

    def work():
        began.set()
        while not current_job().interrupted:
            pause.wait(0.001)
        current_job().raise_if_interrupted()

    running, waiting = s.submit(work), s.submit(int)
    assert began.wait(PATIENCE)
    s.close(finish_within=0, cancel_within=PATIENCE)

    assert [JobState.CANCELLED] * 2 == [running.state, waiting.state]
    assert ([(1, JobInterrupted)], [], []) == (numbers(running), numbers(waiting), policy.about)


def test_being_asked_to_stop_does_not(open_scheduler, policy, gate):
    """Whoever stops a job does not want it again, whatever it raises then."""
    s = open_scheduler(1, retry=policy)

    def work():
        gate.stop_here()
        fail()

    handle = s.submit(work)
    gate.await_arrival()
    handle.interrupt()
    gate.open()

    assert isinstance(handle.exception(PATIENCE), OSError)
    assert ([(1, OSError)], []) == (numbers(handle), policy.about)


@pytest.fixture
def hedged(open_scheduler, clock, policy):
    """Return a function that runs a job and, as soon as it is there, its hedge beside it."""

    def run(work):
        s = open_scheduler(ThreadPool(slots=2), clock=clock, retry=policy)
        for handle in [s.submit(int) for _ in range(5)]:
            handle.result(PATIENCE)
        budget = RetryBudget(name="eager", reserve_per_second=1000.0)
        began, turns = threading.Event(), iter(["the attempt", "the hedge"])

        def begin():
            turn = next(turns)
            began.set()
            return work(s, turn)

        handle = s.with_options(hedge=Hedge(quantile=0.5, samples_min=3, budget=budget)).submit(begin)
        assert began.wait(PATIENCE)
        clock.advance(1.0)
        return s, handle

    return run


@pytest.mark.parametrize("loser", ["the attempt", "the hedge"])
def test_a_hedge_that_loses_does_not(hedged, policy, loser):
    """The two are one attempt: one number, one entry."""
    calls, pause = [], threading.Event()

    def work(_, turn):
        calls.append(current_job().attempt)
        if turn == loser:
            while len(calls) < 2 or not current_job().interrupted:
                pause.wait(0.001)
            return "too late"
        while len(calls) < 2:
            pause.wait(0.001)
        return "done"

    s, handle = hedged(work)

    assert ("done", CLEAN, []) == (handle.result(PATIENCE), numbers(handle), policy.about)
    s.drain(PATIENCE)
    assert ([1, 1], 1) == (calls, s.statistics().hedges)
    assert (loser == "the attempt") is bool(s.statistics().hedges_won)


def test_a_hedge_that_fails_does_not(hedged, policy):
    """It was ours to make: its error is dropped, and the attempt goes on."""
    pause = threading.Event()

    def work(s, turn):
        if turn == "the hedge":
            fail()
        while s.statistics().late == 0:
            pause.wait(0.001)
        return "done"

    _, handle = hedged(work)

    assert ("done", CLEAN, []) == (handle.result(PATIENCE), numbers(handle), policy.about)


def test_a_breaker_that_fails_a_job_fast_does_not(inline, policy):
    """Nothing was tried, so there is nothing to try again."""
    breaker = CircuitBreaker(tag="inline", window=1, calls_min=1, open_for=60.0, when_open="fail")
    s = inline(breakers=[breaker])
    s.with_options(tags="inline", retry=NoRetry()).submit(fail)
    refused = s.with_options(tags="inline").submit(int)

    assert isinstance(refused.exception(0), BreakerOpen)
    assert ([], []) == (numbers(refused), policy.about)


def test_a_breaker_that_refuses_a_retry_does_not(inline, clock, policy):
    """The attempt that failed was paid; the one that is refused is none."""
    breaker = CircuitBreaker(tag="inline", window=1, calls_min=1, open_for=60.0)
    s = inline(breakers=[breaker])
    handle = s.with_options(tags="inline", retry=WithBreaker(policy, breaker)).submit(fail)
    clock.advance(120.0)

    assert isinstance(handle.exception(0).__cause__, BreakerOpen)
    assert ([(1, OSError)], [(1, OSError)]) == (numbers(handle), policy.about)


@pytest.mark.parametrize("when_empty", ["fail", "wait"])
def test_a_retry_budget_that_is_empty_does_not(inline, clock, policy, when_empty):
    """What it refuses, or puts off, is no attempt."""
    budget = RetryBudget(ratio=0.0, reserve_per_second=0.1, ttl=10.0)
    s = inline()
    spender = s.with_options(retry=Budgeted(FixedBackoff(delay=0.0), budget))
    spent = [spender.submit(Flaky(fail)) for _ in range(5)]
    handle = s.with_options(retry=Budgeted(policy, budget, when_empty)).submit(Flaky(fail))
    clock.advance(1.0)

    assert RetryBudgetExhausted in {
        type(other.exception(0).__cause__) for other in spent if other.exception(0)
    }
    assert ([(1, OSError)], [(1, OSError)]) == (numbers(handle), policy.about)
    if when_empty == "fail":
        assert isinstance(handle.exception(0).__cause__, RetryBudgetExhausted)
        return
    assert JobState.BACKING_OFF is handle.state
    clock.advance(60.0)
    assert ("done", [(1, OSError), (2, type(None))]) == (handle.result(0), numbers(handle))
