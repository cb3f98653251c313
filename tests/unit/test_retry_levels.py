"""Whose policy decides: the job's own, that of the group in which it failed, the scheduler's."""

import pytest

from policies import FixedBackoff, NoRetry
from pools import ThreadPool
from scheduler import PoolGroup
from scheduler.simulation import Simulator

#: Told apart by how long they wait.
JOBS, GROUPS, SCHEDULERS = (FixedBackoff(delay=delay, attempts_max=2) for delay in (1.0, 2.0, 3.0))
NEVER = NoRetry()
NOT_GIVEN = object()


@pytest.mark.parametrize(
    ("job", "group", "scheduler", "waits"),
    [
        (NOT_GIVEN, None, None, None),
        (NOT_GIVEN, None, SCHEDULERS, 3.0),
        (NOT_GIVEN, GROUPS, SCHEDULERS, 2.0),
        (NOT_GIVEN, GROUPS, None, 2.0),
        (NOT_GIVEN, NEVER, SCHEDULERS, None),
        (NOT_GIVEN, GROUPS, NEVER, 2.0),
        (JOBS, GROUPS, SCHEDULERS, 1.0),
        (JOBS, NEVER, NEVER, 1.0),
        (NEVER, GROUPS, SCHEDULERS, None),
        (None, GROUPS, SCHEDULERS, None),
    ],
)
def test_the_job_overrides_the_group_and_that_the_scheduler(job, group, scheduler, waits):
    """The closer a rule is to the call, the more its author knew; and "never" is a rule like any other."""
    sim = Simulator(PoolGroup("io", ThreadPool(1), retry=group), retry=scheduler)
    options = {} if job is NOT_GIVEN else {"retry": job}
    handle = sim.submit(1.0, fails=1, **options)
    sim.run()
    attempts = handle.attempts

    assert waits == (attempts[1].started_at - attempts[0].ended_at if len(attempts) > 1 else None)


def test_the_group_in_which_an_attempt_failed_decides(by_hand, group):
    """A job may run here and there, and what is broken there says nothing of here."""
    hand = by_hand(group("near", retry=FixedBackoff(delay=1.0)), group("far", retry=FixedBackoff(delay=9.0)))
    hand.submit("a")
    hand.finish("a", OSError())
    hand.submit("b")  # takes the slot near by
    hand.advance(1.0)
    hand.finish("a", OSError())

    assert [("a", 1, "near-1/1"), ("b", 1, "near-1/1"), ("a", 2, "far-1/1")] == hand.started
    assert [1.0, 9.0] == [event.delay for event in hand.told("JobRetrying")]


def test_an_attempt_that_outlives_its_limit_is_its_groups_to_decide_on(by_hand, group):
    """It failed there like any other."""
    hand = by_hand(group("io", slots=2, retry=FixedBackoff(delay=0.0)))
    hand.submit("a", run_timeout=1.0)
    hand.advance(1.0)
    hand.advance(0.0)

    assert [("a", 1, "io-1/1"), ("a", 2, "io-1/2")] == hand.started


def test_a_closing_scheduler_retries_nothing_for_a_group_either(by_hand, group):
    """Closing ends in bounded time."""
    hand = by_hand(group("io", retry=FixedBackoff(delay=0.0)))
    hand.submit("a")
    hand.core.retrying = False
    hand.finish("a", OSError())

    assert "FAILED" == hand.state("a")


class Judges:
    """A policy of somebody's whose function is none."""

    retry_if_result = 503

    def retry_after(self, failure, uniform):
        return None


@pytest.mark.parametrize(
    ("retry", "message"),
    [
        (3, r"PoolGroup\('io'\) retry= must be an object with a method retry_after\(\), not 3"),
        (FixedBackoff, r"PoolGroup\('io'\) retry= must be a policy, not the class FixedBackoff"),
        (
            Judges(),
            r"retry=Judges\(\).retry_if_result must be a function of the returned value or None, not 503",
        ),
    ],
)
def test_a_group_refuses_what_is_no_retry_policy(retry, message):
    """Else the first failure would find out."""
    with pytest.raises(TypeError, match=message):
        PoolGroup("io", ThreadPool(1), retry=retry)


def test_a_submitter_refuses_a_function_for_values_that_is_none():
    """Else the first value would find out, on a worker's thread."""
    with pytest.raises(TypeError, match=r"retry=Judges\(\).retry_if_result must be a function"):
        Simulator(1).submit(1.0, retry=Judges())
