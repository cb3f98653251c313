"""The arguments of `stamina.retry` mean here what they mean there, and nothing sleeps."""

import datetime as dt

import pytest

from policies import Failure, like_stamina
from policies.testing import check_retry_policy


class Dice:
    """Dice that always fall the same way."""

    def __init__(self, face):
        self.face = face

    def random(self):
        return self.face


def answer(policy, error=None, attempt=1, elapsed=0.0, face=0.5):
    return policy.retry_after(Failure(attempt, error or OSError("gone"), elapsed), Dice(face))


def test_staminas_defaults_are_staminas():
    """Whoever moves a decorator's arguments here gets the waits that they had."""
    policy = like_stamina(on=OSError)

    assert [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, None] == [
        answer(policy, attempt=attempt, face=0.0) for attempt in range(1, 11)
    ]
    assert answer(policy, face=0.75) == pytest.approx(0.1 + 0.75)
    assert [None, None] == [answer(policy, KeyError()), answer(policy, elapsed=44.9)]


def test_a_stamina_hook_says_whether_and_how_long():
    """Its newer versions let the function answer seconds."""
    said = {"yes": True, "no": False, "seconds": 7, "delta": dt.timedelta(minutes=1), "late": 46.0}
    policy = like_stamina(on=lambda error: said[error.args[0]])

    assert [0.6, None, 7, None, None] == [
        answer(policy, OSError(word)) for word in ("yes", "no", "seconds", "delta", "late")
    ]
    assert answer(like_stamina(on=lambda _: dt.timedelta(minutes=1), timeout=None)) == 60.0


def test_none_means_no_limit_as_in_stamina():
    """And durations may be timedeltas, as there."""
    policy = like_stamina(
        on=(OSError, KeyError), attempts=None, timeout=None, wait_max=dt.timedelta(seconds=9), wait_jitter=0
    )

    assert answer(policy, attempt=10**6, elapsed=1e9) == 9.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on": [OSError]}, r"like_stamina\(on=\) must be an exception class, a tuple of them or a function"),
        ({"on": int}, "must be an exception class"),
        ({"on": OSError, "attempts": 0}, r"attempts_max=\) must be at least 1, not 0"),
        ({"on": OSError, "wait_max": -1}, r"wait_max=\) must be at least 0, not -1"),
        ({"on": OSError, "wait_jitter": "1"}, r"wait_jitter=\) must be a number, not '1'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(settings, message):
    """Stamina takes much and checks it late; here a policy is checked when it is made."""
    with pytest.raises((TypeError, ValueError), match=message):
        like_stamina(**settings)


@pytest.mark.parametrize(
    "policy", [like_stamina(on=OSError), like_stamina(on=OSError, attempts=None, timeout=None)]
)
def test_what_stamina_says_is_a_lawful_policy(policy):
    """Its dice are the scheduler's, so that it can be replayed."""
    check_retry_policy(policy)
