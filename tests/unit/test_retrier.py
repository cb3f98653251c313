"""The retrier: a failed job comes back when its policy says so, and holds no slot meanwhile."""

import decimal
import fractions
import math

import attrs
import pytest

from policies import ExponentialBackoff, FixedBackoff
from scheduler._core.retrier import REJECTED
from scheduler._errors import JobInterrupted, RunTimeout


@attrs.frozen
class Answers:
    """Answers always the same, or raises it."""

    answer: object

    def retry_after(self, failure, uniform):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class Watches:
    """Keeps what it is asked about."""

    def __init__(self):
        self.seen = []

    def retry_after(self, failure, uniform):
        self.seen.append((failure.attempt, type(failure.error), failure.elapsed, failure.last_delay))
        return 2.0 if failure.attempt < 3 else None


def test_a_job_without_a_policy_fails_at_once(by_hand):
    """Nobody gets a retry they did not ask for: not every job may run twice."""
    hand, error = by_hand(), OSError("gone")
    hand.submit("a")
    hand.finish("a", error)

    assert ("FAILED", error) == (hand.state("a"), hand.jobs["a"].outcome)


def test_a_job_that_backs_off_holds_no_slot(by_hand):
    """A retry that sleeps in a worker is what people come from."""
    hand = by_hand()
    hand.submit("a", retry=FixedBackoff(delay=1.0))
    hand.finish("a", OSError())
    hand.submit("b")

    assert ("BACKING_OFF", [("a", 1, "io-1/1"), ("b", 1, "io-1/1")]) == (hand.state("a"), hand.started)


def test_a_job_comes_back_after_its_delay_and_not_before(by_hand):
    """The wait is what lets the other side recover."""
    hand = by_hand()
    hand.submit("a", retry=FixedBackoff(delay=1.0))
    hand.finish("a", OSError())
    hand.advance(0.9)
    early = list(hand.names)
    hand.advance(0.1)

    assert (["a"], ["a", "a"]) == (early, hand.names)


def test_the_last_error_is_the_jobs(by_hand):
    """What the caller sees is why it was given up, as itself."""
    hand, last = by_hand(), OSError("third")
    hand.submit("a", retry=FixedBackoff(delay=0.0, attempts_max=3))
    for error in (OSError("first"), OSError("second"), last):
        hand.finish("a", error)
        hand.advance(0.0)

    assert ("FAILED", last, 3) == (hand.state("a"), hand.jobs["a"].outcome, hand.jobs["a"].attempt)


def test_attempts_are_numbered_and_keep_their_errors(by_hand):
    """The history of a job is the first thing anybody asks for after an incident."""
    hand = by_hand()
    errors = [OSError("first"), OSError("second")]
    hand.submit("a", retry=FixedBackoff(delay=0.0))
    for error in errors:
        hand.finish("a", error)
        hand.advance(0.0)
    hand.finish("a")

    assert [(1, errors[0]), (2, errors[1]), (3, None)] == [
        (attempt.number, attempt.error) for attempt in hand.jobs["a"].all_attempts()
    ]


def test_a_policy_sees_the_attempt_the_error_the_time_and_the_last_delay(by_hand):
    """These four are all a backoff may build on, so each must be right."""
    hand, policy = by_hand(), Watches()
    hand.now = 100.0
    hand.submit("a", retry=policy)
    for error in (OSError(), KeyError(), ValueError()):
        hand.now += 1.0
        hand.finish("a", error)
        hand.advance(2.0)

    assert [(1, OSError, 1.0, None), (2, KeyError, 4.0, 2.0), (3, ValueError, 7.0, 2.0)] == policy.seen


def test_the_dice_are_the_schedulers(by_hand):
    """The same seed must give the same waits, or no incident can be replayed."""
    waits = []
    for _ in range(2):
        hand = by_hand()
        hand.submit("a", retry=ExponentialBackoff(initial=10.0))
        hand.finish("a", OSError())
        waits.append(hand.core.next_deadline())

    assert waits[0] == waits[1] > 0


def test_a_retry_is_told_to_observers(by_hand):
    """Retries hide failures from callers, and so must show them to operators."""
    hand = by_hand()
    hand.submit("a", retry=FixedBackoff(delay=1.5))
    hand.finish("a", OSError("gone"))

    assert [(1, 1, 1.5, "OSError: gone")] == [
        (event.job_id, event.attempt, event.delay, event.error) for event in hand.told("JobRetrying")
    ]


def test_a_job_that_backs_off_can_be_cancelled(by_hand):
    """It does not run, so cancel() means what it says."""
    hand = by_hand()
    hand.submit("a", retry=FixedBackoff(delay=1.0))
    hand.finish("a", OSError())
    answer = hand.cancel("a")
    hand.advance(5.0)

    assert (True, "CANCELLED", ["a"]) == (answer, hand.state("a"), hand.names)


def test_an_interrupted_job_is_not_retried(by_hand):
    """Who asks a job to stop does not want to see it again."""
    hand = by_hand()
    hand.submit("a", retry=FixedBackoff(delay=0.0))
    hand.interrupt("a")
    hand.finish("a", JobInterrupted("it did"))

    assert "CANCELLED" == hand.state("a")


def test_an_interrupted_job_that_then_outlives_its_limit_is_not_retried(by_hand):
    """The same when it does not listen: its run_timeout must not start it again."""
    hand = by_hand()
    hand.submit("a", retry=FixedBackoff(delay=0.0), run_timeout=1.0)
    hand.interrupt("a")
    hand.advance(1.0)

    assert hand.jobs["a"].state.settled


def test_a_closing_scheduler_retries_nothing(by_hand):
    """Closing ends in bounded time, and a failure is then final."""
    hand = by_hand()
    hand.submit("a", retry=FixedBackoff(delay=0.0))
    hand.core.retrying = False
    hand.finish("a", OSError())

    assert "FAILED" == hand.state("a")


def test_an_attempt_that_times_out_is_retried_elsewhere(by_hand, group):
    """The worker is stuck, but the job need not be."""
    hand = by_hand(group("io", slots=2))
    hand.submit("a", retry=FixedBackoff(delay=0.0), run_timeout=1.0)
    hand.advance(1.0)
    hand.advance(0.0)

    assert [("a", 1, "io-1/1"), ("a", 2, "io-1/2")] == hand.started


def test_the_outcome_of_an_attempt_that_was_given_up_is_dropped(by_hand, group):
    """Two outcomes for one job would settle it twice."""
    hand = by_hand(group("io", slots=2))
    hand.submit("a", retry=FixedBackoff(delay=0.0), run_timeout=1.0)
    hand.advance(1.0)
    hand.advance(0.0)
    hand.finish("a", value="late", attempt=1)
    hand.finish("a", value="right", attempt=2)

    assert ("right", 1) == (hand.jobs["a"].outcome, hand.statistics().late)


def test_a_timeout_without_retries_left_is_the_jobs_error(by_hand):
    """The caller learns which limit it was."""
    hand = by_hand()
    hand.submit("a", retry=FixedBackoff(attempts_max=1), run_timeout=1.0)
    hand.advance(1.0)

    assert ("FAILED", RunTimeout) == (hand.state("a"), type(hand.jobs["a"].outcome))


# Policies that fail

NONSENSE = [
    ZeroDivisionError("no answer"),
    RecursionError("too deep"),
    math.nan,
    math.inf,
    -math.inf,
    -1.0,
    10**400,
    "soon",
    [1.0],
    1j,
    [object],
]


@pytest.mark.parametrize("answer", NONSENSE, ids=repr)
def test_a_retry_policy_that_fails_gives_up_and_is_told(by_hand, answer):
    """The job fails with its own error, and the policy's stands behind it as its cause."""
    hand, error = by_hand(), OSError("its own")
    hand.submit("a", retry=Answers(answer))
    hand.finish("a", error)

    assert ("FAILED", error, ["retry"], True) == (
        hand.state("a"),
        hand.jobs["a"].outcome,
        hand.policy_failures,
        error.__cause__ is not None,
    )


@pytest.mark.parametrize(
    ("answer", "kind"),
    [("soon", TypeError), (1j, TypeError), (-1.0, ValueError), (10**400, ValueError)],
    ids=repr,
)
def test_the_cause_names_the_method_that_answered_nonsense(by_hand, answer, kind):
    """A "must be real number, not str" leaves whoever reads it to guess whose number that is."""
    hand, error = by_hand(), OSError("its own")
    hand.submit("a", retry=Answers(answer))
    hand.finish("a", error)

    assert kind is type(error.__cause__)
    assert f"Answers.retry_after() must return seconds ≥ 0 or None, not {answer!r}" == str(error.__cause__)


@pytest.mark.parametrize("answer", [decimal.Decimal("1.5"), fractions.Fraction(3, 2)], ids=repr)
def test_seconds_of_another_number_type_lose_no_job(by_hand, answer):
    """A Decimal from a configuration file is finite and positive, and cannot be added to a float."""
    hand = by_hand()
    hand.submit("a", retry=Answers(answer))
    hand.finish("a", OSError())
    hand.advance(1.4)
    before = hand.state("a")
    hand.advance(0.2)

    assert ("BACKING_OFF", "RUNNING") == (before, hand.state("a"))


def test_a_policy_that_raises_the_jobs_own_error_makes_no_circle(by_hand):
    """An exception that is its own cause cannot be printed by everybody."""
    hand, error = by_hand(), OSError("its own")
    hand.submit("a", retry=Answers(error))
    hand.finish("a", error)

    assert ("FAILED", None) == (hand.state("a"), error.__cause__)


def test_a_cause_that_was_there_is_kept(by_hand):
    """The job's own story goes first."""
    hand, error, cause = by_hand(), OSError("its own"), KeyError("why")
    error.__cause__ = cause
    hand.submit("a", retry=Answers(ZeroDivisionError()))
    hand.finish("a", error)

    assert cause is hand.jobs["a"].outcome.__cause__


def test_an_error_whose_causes_go_in_a_circle_ends_like_any_other(by_hand):
    """Two errors that are raised from each other must not hang who looks for the first."""
    hand, error, other = by_hand(), OSError("one"), KeyError("other")
    error.__cause__, other.__cause__ = other, error
    hand.submit("a", retry=Answers(ZeroDivisionError()))
    hand.finish("a", error)

    assert ("FAILED", error) == (hand.state("a"), other.__cause__)


def test_an_error_whose_text_cannot_be_had_is_retried_like_any_other(by_hand):
    """An exception with a broken __str__ must not break who reports it."""

    class Unprintable(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    hand = by_hand()
    hand.submit("a", retry=FixedBackoff(delay=0.0))
    hand.finish("a", Unprintable())

    assert ["Unprintable (whose text cannot be had)"] == [event.error for event in hand.told("JobRetrying")]


def test_a_judge_of_values_that_raised_is_told_and_nothing_is_tried_again(by_hand):
    """The value may have been a success: running it once more could do the work twice."""
    hand, rejected = by_hand(), RuntimeError("the value was rejected")
    rejected.__cause__ = ZeroDivisionError("in retry_if_result")
    hand.submit("a", retry=FixedBackoff(delay=1.0))
    hand.finish("a", rejected, value=REJECTED)
    (told,) = hand.told("PolicyFailed")

    assert ("FAILED", "retry", "FixedBackoff", "give up") == (
        hand.state("a"),
        told.question,
        told.policy,
        told.fallback,
    )
    assert "ZeroDivisionError: in retry_if_result" == told.error
