"""Circuit breakers on the real scheduler: nothing is lost, whoever races with their opening and closing."""

import threading

from policies import Budgeted, CircuitBreaker, FixedBackoff, RetryBudget, WithBreaker
from pools import InlinePool, ProcessPool
from scheduler import BreakerOpen, JobState, PoolGroup, Scheduler, VirtualClock

QUICK = CircuitBreaker(tag="thread", window=10, calls_min=10, open_for=0.005, probes=2)


class Service:
    """Is down for its first uses, and counts how many use it at once."""

    def __init__(self, down):
        self._lock, self.uses, self.down = threading.Lock(), 0, down

    def use(self):
        with self._lock:
            self.uses += 1
            if self.uses <= self.down:
                raise OSError(self.uses)
        return "up"


def from_threads(number, act):
    """Call ``act()`` in so many threads that start together, and wait for them."""
    together = threading.Barrier(number)

    def begin():
        together.wait()
        act()

    threads = [threading.Thread(target=begin) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_every_job_gets_through_in_the_end_when_the_service_is_up_again(open_scheduler):
    """Threads deliver failures while others submit and the alarm lets probes through: no job may be forgotten."""
    scheduler = open_scheduler(8, breakers=[QUICK])
    service, handles = Service(down=40), []
    retry = WithBreaker(FixedBackoff(delay=0.0, attempts_max=1000), QUICK, when_open="wait")
    submitter = scheduler.with_options(tags="thread", retry=Budgeted(retry, RetryBudget(ratio=10.0)))
    from_threads(4, lambda: handles.extend(submitter.submit(service.use) for _ in range(100)))

    assert {"up"} == {handle.result(timeout=60) for handle in handles}
    now = scheduler.statistics()
    (breaker,), (budget,) = now.breakers, now.budgets
    assert (400, 0, 0) == (now.succeeded, now.waiting, now.limited)
    assert breaker.opened >= 1
    assert budget.deposited == 400
    assert budget.withdrawn == now.retries == 40


def test_jobs_that_are_to_fail_have_failed_when_submit_returns(open_scheduler):
    """Whoever asks for failing fast has another answer ready, and would wait for nothing."""
    clock = VirtualClock()
    breaker = CircuitBreaker(tag="inline", window=2, calls_min=2, when_open="fail")
    scheduler = Scheduler(InlinePool(), breakers=[breaker], clock=clock, check_invariants=True)
    with scheduler:
        submitter = scheduler.with_options(tags="inline")
        service = Service(down=2)
        first = [submitter.submit(service.use) for _ in range(2)]
        refused = submitter.submit(service.use)
        state = refused.state
        clock.advance(60.0)
        answer = submitter.submit(service.use).result()

    assert [OSError, OSError] == [type(handle.exception()) for handle in first]
    assert (JobState.FAILED, BreakerOpen) == (state, type(refused.exception()))
    assert ("up", 3) == (answer, service.uses)


def test_closing_ends_who_waits_for_a_breaker(open_scheduler):
    """A service that is down for a minute must not keep a program from ending."""
    breaker = CircuitBreaker(tag="thread", window=1, calls_min=1, open_for=3600.0)
    scheduler = open_scheduler(2, breakers=[breaker])
    submitter = scheduler.with_options(tags="thread")
    submitter.submit(Service(down=1).use).exception()
    parked = submitter.submit(Service(down=0).use)
    told = str(parked.explain())
    scheduler.close(finish_within=0.0, cancel_within=1.0)

    assert "breaker of tag 'thread' is open" in told
    assert JobState.CANCELLED is parked.state


def test_calls_in_processes_are_judged_too(open_scheduler):
    """Their outcomes come several at once, and some calls lie ahead when the breaker opens."""
    breaker = CircuitBreaker(group="cpu", window=5, calls_min=5, open_for=0.02, probes=1)
    scheduler = open_scheduler(PoolGroup("cpu", ProcessPool(slots=1)), breakers=[breaker])
    submitter = scheduler.with_options(tags="cpu")
    errors = [submitter.submit(int, "no number") for _ in range(20)]
    values = [submitter.submit(int, "7") for _ in range(20)]

    assert {ValueError} == {type(handle.exception(timeout=60)) for handle in errors}
    assert {7} == {handle.result(timeout=60) for handle in values}
    assert scheduler.statistics().breakers[0].opened >= 1
