"""Policies that raise, answer nonsense or take a second, on a real scheduler: contained, named, no job lost."""

import math
import time

import pytest

from policies import Admission
from policies.contracts import Advice
from pools import ThreadPool
from scheduler import JobState, PolicyFailed, PolicySlow, PoolGroup
from scheduler.testing import RecordedEvents, check_invariants

PATIENCE = 20.0

#: What a policy of each kind may answer and none should; orderings may answer any number but NaN.
BAD = [ZeroDivisionError("no answer"), math.nan, -1.0, math.inf, "soon"]
ROLES = ["ordering", "admission", "routing", "retry", "scaling"]


class Bad:
    """Every policy in one: answers always the same, or raises it; `lasts` is called first."""

    few_keys = True

    def __init__(self, answer, lasts=lambda: None):
        self.answer, self.lasts = answer, lasts

    def _answer(self, *_views):
        self.lasts()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    key = admit = choose = retry_after = scale = _answer


class Fast:
    """The system's clock, for which a second passes when a policy says so."""

    def __init__(self):
        self.ahead = 0.0

    def now(self):
        return time.monotonic() + self.ahead

    def skip(self):
        self.ahead += 1.0


def fail():
    raise OSError("the job's own")


@pytest.fixture
def run_past(open_scheduler, gate, in_thread, eventually):
    """Return a function that has a policy asked its question, and a job fail and three succeed meanwhile."""

    def run(role, policy, clock=None):
        clock = Fast() if clock is None else clock
        scaling = {"scaling": policy, "max_pools": 3} if role == "scaling" else {}
        others = {role: policy} if role != "scaling" else {}
        group = PoolGroup("io", ThreadPool(slots=1), min_pools=2, **scaling)
        s = open_scheduler(group, capacity=1, clock=clock, check_invariants=True, **others)
        s.subscribe(events := RecordedEvents())
        failing = s.submit(fail)  # both pools are free: routing is asked
        failing.exception(PATIENCE)
        clock.ahead += 60.0
        s._driver.ring()  # scaling is asked
        held = [s.submit(gate.stop_here) for _ in s.pools()]
        more = [in_thread(s.submit, int, n) for n in range(3)]
        eventually(lambda: len(s._driver.core.gate.door) == 2)  # there is room for one: admission is asked
        gate.open()
        values = [thread.result().result(PATIENCE) for thread in more]
        for handle in held:
            handle.result(PATIENCE)
        check_invariants(s)
        return failing, values, events

    return run


@pytest.mark.parametrize("answer", BAD, ids=repr)
@pytest.mark.parametrize("role", ROLES)
def test_a_bad_answer_is_contained_and_named(run_past, role, answer, caplog):
    """A plug-in that somebody else wrote must not be able to lose a job, or to break one in silence."""
    failing, values, events = run_past(role, Bad(answer))

    assert ([0, 1, 2], JobState.FAILED) == (values, failing.state)
    assert "the job's own" == str(failing.exception())
    if role == "ordering" and answer in (-1.0, math.inf):  # a number like any other
        assert [] == events.of(PolicyFailed)
        return
    assert {(role, "Bad")} == {(event.question, event.policy) for event in events.wait_for(PolicyFailed)}
    assert any(f"the {role} policy failed" in record.getMessage() for record in caplog.records)
    if role == "retry":
        cause = failing.exception().__cause__
        assert cause is answer or isinstance(cause, ValueError | TypeError)
        assert 1 == len(failing.attempts)


class Slow(Bad):
    """Answers what it should, a second later."""

    def __init__(self, clock):
        super().__init__(None, clock.skip)

    def key(self, job):
        self.lasts()
        return job.priority

    def admit(self, job, queue):
        self.lasts()
        return Admission.BLOCK

    def choose(self, job, pools, uniform):
        self.lasts()
        return pools[-1]

    def scale(self, load):
        self.lasts()
        return Advice(pools=load.pools, reason="no other")


@pytest.mark.parametrize("role", ROLES)
def test_a_policy_that_takes_a_second_is_named_and_its_answer_used(run_past, role, caplog):
    """Every job waits for it, and without a name on it one looks for the fault in the pools."""
    clock = Fast()
    failing, values, events = run_past(role, Slow(clock), clock)

    assert ([0, 1, 2], JobState.FAILED, None) == (values, failing.state, failing.exception().__cause__)
    assert [] == events.of(PolicyFailed)
    named = {(event.question, event.policy, event.seconds >= 1.0) for event in events.wait_for(PolicySlow)}
    assert {(role, "Slow", True)} == named
    assert any(f"the {role} policy Slow took 1" in record.getMessage() for record in caplog.records)
