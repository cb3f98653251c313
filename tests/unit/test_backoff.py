"""How long each backoff waits: golden schedules, the ends of every jitter, and no number that breaks them."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import (
    DecorrelatedJitter,
    ExponentialBackoff,
    Failure,
    FibonacciBackoff,
    FixedBackoff,
    LinearBackoff,
    PolynomialBackoff,
    ScheduleBackoff,
    like_stamina,
)

ALMOST_ONE = 1.0 - 2.0**-53
ERROR = OSError("gone")
#: Far more than anybody waits for: so that only the formula decides.
FOR_EVER = 2**40


class Dice:
    """Dice that always fall the same way."""

    def __init__(self, face):
        self.face = face

    def random(self):
        return self.face


def waits(policy, attempts, face=0.5):
    """Return what a policy answers to one failure after another."""
    last, answers = None, []
    for attempt in range(1, attempts + 1):
        last = policy.retry_after(Failure(attempt, ERROR, last_delay=last), Dice(face))
        answers.append(last)
    return answers


GOLDEN = [
    (FixedBackoff(delay=2.5, attempts_max=9), [2.5, 2.5, 2.5]),
    (LinearBackoff(attempts_max=9), [1, 2, 3, 4]),
    (LinearBackoff(initial=5, step=10, ceiling=30, attempts_max=9), [5, 15, 25, 30, 30]),
    (LinearBackoff(initial=0, step=0, attempts_max=9), [0, 0, 0]),
    (ExponentialBackoff(jitter="none", attempts_max=99), [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30]),
    (ExponentialBackoff(initial=1, base=3, ceiling=50, jitter="none", attempts_max=9), [1, 3, 9, 27, 50]),
    (ExponentialBackoff(initial=1, base=1, jitter="none", attempts_max=9), [1, 1, 1]),
    (FibonacciBackoff(attempts_max=99), [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 60, 60]),
    (FibonacciBackoff(initial=0.5, ceiling=2, attempts_max=9), [0.5, 0.5, 1.0, 1.5, 2.0]),
    (PolynomialBackoff(attempts_max=99), [1, 16, 81, 256, 625]),
    (PolynomialBackoff(initial=2, exponent=2, ceiling=20, attempts_max=9), [2, 8, 18, 20]),
    (ScheduleBackoff([1, 5, 30]), [1, 5, 30, None, None]),
    (ScheduleBackoff([1, 5, 30], attempts_max=6), [1, 5, 30, 30, 30, None]),
    (ScheduleBackoff((1, 5, 30), attempts_max=2), [1, None]),
]


@pytest.mark.parametrize(("policy", "expected"), GOLDEN, ids=repr)
def test_the_schedule_is_the_documented_one(policy, expected):
    """Whoever plans capacity computes with these numbers."""
    assert expected == pytest.approx(waits(policy, len(expected)))


#: Each jitter at the second failure, after a wait of 2 s: the shortest, the middle, and what is never reached.
JITTERS = [
    (ExponentialBackoff(initial=4, jitter="full"), 0, 4, 8),
    (ExponentialBackoff(initial=4, jitter="equal"), 4, 6, 8),
    (DecorrelatedJitter(initial=1), 1, 3.5, 6),
    (DecorrelatedJitter(initial=1, ceiling=5), 1, 3.5, 5),
    (DecorrelatedJitter(initial=3), 3, 6, 9),
    (PolynomialBackoff(jitter=0.1), 14.4, 16, 17.6),
    (PolynomialBackoff(jitter=1), 0, 16, 32),
    (PolynomialBackoff(jitter=0.25, ceiling=10), 6, 8, 10),
    (like_stamina(on=OSError, wait_initial=1), 2, 2.5, 3),
]


@pytest.mark.parametrize(("policy", "shortest", "middle", "longest"), JITTERS, ids=repr)
def test_jitter_stays_between_its_ends(policy, shortest, middle, longest):
    """The range is the promise; chance only says where in it."""
    failure = Failure(2, ERROR, last_delay=2.0)
    answers = [policy.retry_after(failure, Dice(face)) for face in (0.0, 0.5, ALMOST_ONE)]

    assert [shortest, middle, longest] == pytest.approx(answers)


@pytest.mark.parametrize(("policy", "shortest", "_middle", "longest"), JITTERS, ids=repr)
def test_jitter_spreads_evenly(policy, shortest, _middle, longest):
    """A jitter that favours one end brings a crowd back together; Kolmogorov and Smirnov see that."""
    dice, failure, number = random.Random(2026), Failure(2, ERROR, last_delay=2.0), 500
    drawn = sorted(policy.retry_after(failure, dice) for _ in range(number))
    # The part that would be above a ceiling is at the ceiling; of the rest the distribution is even.
    uncut = 6 if policy == DecorrelatedJitter(initial=1, ceiling=5) else longest
    even = [(wait - shortest) / (uncut - shortest) for wait in drawn if wait < longest]
    distance = max(
        max(at - index / number, (index + 1) / number - at) for index, at in enumerate(even) if at < 1
    )

    assert distance < 1.63 / math.sqrt(
        number
    )  # one in a hundred fair samples is further off; this one is not


def test_decorrelated_jitter_starts_from_its_initial_wait():
    """Before the first retry there is no last wait, and the formula starts as its authors have it."""
    policy = DecorrelatedJitter(initial=2)

    assert [2, 4, 6] == pytest.approx(
        [policy.retry_after(Failure(1, ERROR), Dice(face)) for face in (0, 0.5, ALMOST_ONE)]
    )


def test_decorrelated_jitter_goes_on_from_its_ceiling_after_a_longer_wait():
    """A server that asked for an hour must not make every later wait an hour's child."""
    policy = DecorrelatedJitter(initial=1, ceiling=10)
    answer = policy.retry_after(Failure(2, ERROR, last_delay=3600.0), Dice(0.1))

    assert answer == pytest.approx(1 + 0.1 * 29)


seconds = st.floats(1e-300, 1e300) | st.integers(1, 10**300) | st.floats(0.001, 1000)
growing = st.one_of(
    st.builds(LinearBackoff, initial=seconds, step=st.just(0) | seconds, ceiling=seconds),
    st.builds(
        ExponentialBackoff,
        initial=seconds,
        ceiling=seconds,
        base=st.floats(1, 1e300) | st.integers(1, 10**300),
        jitter=st.sampled_from(["full", "equal", "none"]),
    ),
    st.builds(DecorrelatedJitter, initial=seconds, ceiling=seconds),
    st.builds(FibonacciBackoff, initial=seconds, ceiling=seconds),
    st.builds(
        PolynomialBackoff,
        initial=seconds,
        exponent=st.floats(0, 1e300) | st.integers(0, 10**300),
        ceiling=seconds,
        jitter=st.floats(0, 1),
    ),
)
attempts = (
    st.integers(1, 10**6) | st.integers(1, 100) | st.sampled_from([70, 71, 1023, 1024, 1025, 1476, 1477])
)


@given(
    policy=growing,
    attempt=attempts,
    face=st.floats(0, ALMOST_ONE) | st.sampled_from([0.0, ALMOST_ONE]),
    last_delay=st.none() | st.just(0.0) | seconds,
)
def test_no_attempt_and_no_dice_give_a_wait_that_is_none(policy, attempt, face, last_delay):
    """An overflow at attempt 1025 happens at night, after a day of failures."""
    failure = Failure(attempt, ERROR, last_delay=last_delay)
    wait = policy._delay(failure, Dice(face))

    assert 0 <= wait <= policy.ceiling
    assert math.isfinite(wait)


@given(
    attempt=attempts, face=st.floats(0, ALMOST_ONE), initial=seconds, base=st.floats(1, 1e300), most=seconds
)
def test_staminas_wait_is_never_more_than_its_maximum(attempt, face, initial, base, most):
    """The arguments come from other people's code, and any of them must do."""
    policy = like_stamina(
        on=OSError, attempts=None, timeout=None, wait_initial=initial, wait_exp_base=base, wait_max=most
    )

    assert 0 <= policy.retry_after(Failure(attempt, ERROR), Dice(face)) <= most


@pytest.mark.parametrize(
    "policy", [FixedBackoff(delay=4, elapsed_max=10), ScheduleBackoff([4], elapsed_max=10)]
)
def test_no_attempt_begins_later_than_elapsed_max(policy):
    """The wait counts: an attempt that could only start after the time is up is not made."""
    answers = [
        policy.retry_after(Failure(1, ERROR, elapsed=elapsed), Dice(0)) for elapsed in (0, 6, 6.001, 11)
    ]

    assert [4, 4, None, None] == answers


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ScheduleBackoff([]),
            r"ScheduleBackoff\(delays=\) must be a list of at least one number, not \(\)",
        ),
        (lambda: ScheduleBackoff(5), r"ScheduleBackoff\(delays=\) must be a list .* not 5"),
        (lambda: ScheduleBackoff("15"), r"ScheduleBackoff\(delays=\) must be a list .* not '15'"),
        (lambda: ScheduleBackoff([1, -1]), r"ScheduleBackoff\(delays=\) must be at least 0, not -1"),
        (lambda: ScheduleBackoff([1, math.inf]), r"ScheduleBackoff\(delays=\) must be finite, not inf"),
        (
            lambda: ExponentialBackoff(jitter="some"),
            r"\(jitter=\) must be one of 'full', 'equal', 'none', not 'some'",
        ),
        (lambda: ExponentialBackoff(jitter=True), r"\(jitter=\) must be one of .* not True"),
        (lambda: ExponentialBackoff(base=0.5), r"ExponentialBackoff\(base=\) must be at least 1, not 0.5"),
        (lambda: PolynomialBackoff(jitter=1.5), r"PolynomialBackoff\(jitter=\) must be at most 1, not 1.5"),
        (
            lambda: PolynomialBackoff(exponent=-1),
            r"PolynomialBackoff\(exponent=\) must be at least 0, not -1",
        ),
        (lambda: PolynomialBackoff(ceiling=0), r"PolynomialBackoff\(ceiling=\) must be more than 0, not 0"),
        (lambda: LinearBackoff(ceiling=0), r"LinearBackoff\(ceiling=\) must be more than 0, not 0"),
        (lambda: LinearBackoff(initial=-1), r"LinearBackoff\(initial=\) must be at least 0, not -1"),
        (lambda: LinearBackoff(step=-1), r"LinearBackoff\(step=\) must be at least 0, not -1"),
        (lambda: FibonacciBackoff(ceiling=0), r"FibonacciBackoff\(ceiling=\) must be more than 0, not 0"),
        (lambda: FixedBackoff(elapsed_max=0), r"FixedBackoff\(elapsed_max=\) must be more than 0, not 0"),
        (lambda: FixedBackoff(elapsed_max="1"), r"FixedBackoff\(elapsed_max=\) must be a number, not '1'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    """A policy is checked when it is made, not at the first failure a week later."""
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_a_schedule_does_not_change_with_the_list_it_was_made_of():
    """A policy is a value: whoever holds the list must not hold the policy."""
    delays = [1, 5]
    policy = ScheduleBackoff(delays)
    delays.append(30)

    assert ScheduleBackoff([1, 5]) == policy
