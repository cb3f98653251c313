"""Jobs, their options and their states: the nouns of the core."""

import pytest

from scheduler._core.job import Attempt, Job, JobOptions, Priority
from scheduler._core.states import POOL_TRANSITIONS, TRANSITIONS, JobState, PoolState


def test_the_named_priorities_stand_as_documented():
    """A user's own numbers are chosen between them."""
    assert [0, 10, 20, 30, 40] == list(Priority)


def test_the_default_priority_is_normal():
    """Whoever asks for nothing gets the middle."""
    assert Priority.NORMAL == JobOptions().priority


@pytest.mark.parametrize(
    ("options", "plain", "untimed"),
    [
        ({}, True, True),
        ({"priority": 3, "name": "a"}, True, True),
        ({"run_timeout": 1.0}, True, False),
        ({"queue_timeout": 1.0}, False, False),
        ({"deadline": 1.0}, False, False),
        ({"delay": 1.0}, False, False),
        ({"delay": 0.0}, True, True),
    ],
)
def test_options_know_whether_they_need_a_timer(options, plain, untimed):
    """The hot path asks only these two, so a wrong answer drops a limit without a word."""
    asked = JobOptions(**options)

    assert (plain, untimed) == (asked.plain, asked.untimed)


def test_equal_options_are_equal():
    """One record is shared by every job of a submitter, and compared by value."""
    assert JobOptions(priority=3, tags=frozenset({"a"})) == JobOptions(priority=3, tags=frozenset({"a"}))


def test_jobs_are_compared_by_identity():
    """Two jobs that look alike are still two jobs."""
    assert Job(JobOptions(), None) != Job(JobOptions(), None)


@pytest.mark.parametrize("state", list(JobState), ids=lambda state: state.name)
def test_a_state_is_settled_exactly_when_nothing_follows(state):
    """`done()` and the table must never disagree."""
    assert state.settled == (not TRANSITIONS[state])


@pytest.mark.parametrize("state", list(JobState), ids=lambda state: state.name)
def test_each_state_has_a_word_that_concurrent_futures_knows(state):
    """`wait` and `as_completed` look for these words and for no others."""
    words = {"PENDING", "RUNNING", "CANCELLED_AND_NOTIFIED", "FINISHED"}

    assert state.standard in words


def test_every_state_stands_in_its_table():
    """A state that was forgotten would raise KeyError in the middle of a turn."""
    assert (set(JobState), set(PoolState)) == (set(TRANSITIONS), set(POOL_TRANSITIONS))


def test_a_job_that_never_ran_has_no_attempts():
    """An empty history must not be confused with an unknown one."""
    assert () == Job(JobOptions(), None).all_attempts()


def test_a_running_attempt_has_no_end_yet(by_hand):
    """A report of what runs now says since when, and not until when."""
    hand = by_hand()
    hand.now = 2.0
    hand.submit("a")

    expected = Attempt(number=1, pool="io-1", worker="io-1/1", started_at=2.0)
    assert (expected,) == hand.jobs["a"].all_attempts()


def test_a_succeeded_attempt_has_an_end_and_no_error(by_hand):
    """The run time of a job is read off its attempts."""
    hand = by_hand()
    hand.submit("a")
    hand.now = 3.0
    hand.finish("a", value="page")

    expected = Attempt(number=1, pool="io-1", worker="io-1/1", started_at=0.0, ended_at=3.0)
    assert (expected,) == hand.jobs["a"].all_attempts()


def test_a_failed_attempt_carries_its_error(by_hand):
    """Which worker failed, and how, is the first question after a failure."""
    hand, error = by_hand(), OSError("gone")
    hand.submit("a")
    hand.finish("a", error)

    assert [error] == [attempt.error for attempt in hand.jobs["a"].all_attempts()]
