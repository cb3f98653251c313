"""Coming back when the other side says: in seconds or at a date, from wherever errors carry it."""

import datetime as dt
import email.message
import math
import re
from types import SimpleNamespace

import pytest

from policies import ExponentialBackoff, Failure, FirstMatch, FixedBackoff, HonourRetryAfter, NoRetry
from policies.retry import STORY_MAX

NOW, LATER = "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:40 GMT"
POLICY = HonourRetryAfter(FixedBackoff(delay=1.0))


class Refused(Exception):
    """An error with whatever attributes the test gives it."""

    def __init__(self, **attributes):
        super().__init__("come back later")
        vars(self).update(attributes)


def answer(error, policy=POLICY, **view):
    return policy.retry_after(Failure(1, error, **view), SimpleNamespace(random=lambda: 0.5))


def response(**headers):
    """Return a response with these headers, as a plain dict."""
    return SimpleNamespace(headers={name.replace("_", "-"): value for name, value in headers.items()})


def message(**headers):
    """Return headers as the standard library has them, which find a name in any case."""
    found = email.message.Message()
    for name, value in headers.items():
        found[name.replace("_", "-")] = value
    return found


def shown(error):
    """Return what an error carries, in the same words in every process."""
    return re.sub(r" at 0x\w+", "", str(vars(error)))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Refused(retry_after=40), 40.0),
        (Refused(retry_after=2.5), 2.5),
        (Refused(retry_after="40"), 40.0),
        (Refused(retry_after=" 2.5 "), 2.5),
        (Refused(retry_after=dt.timedelta(minutes=1)), 60.0),
        (Refused(headers={"Retry-After": "40"}), 40.0),
        (Refused(headers={"retry-after": "40"}), 40.0),
        (Refused(headers=message(RETRY_AFTER="40")), 40.0),
        (Refused(headers={"Retry-After": b"40"}), 40.0),
        (Refused(response=response(Retry_After="40")), 40.0),
        (Refused(retry_after=None, response=response(retry_after="40")), 40.0),
        (Refused(retry_after="soon", response=response(Retry_After="40")), 40.0),
        (Refused(response=response(Retry_After=LATER, Date=NOW)), 40.0),
        (Refused(response=response(Retry_After=LATER.encode(), Date=NOW.encode())), 40.0),
        # The three forms of RFC 9110 §5.6.7.
        (Refused(headers={"Retry-After": "Wednesday, 21-Oct-15 07:28:40 GMT", "Date": NOW}), 40.0),
        (Refused(headers={"Retry-After": "Wed Oct 21 07:28:40 2015", "Date": NOW}), 40.0),
        (Refused(retry_after=LATER, headers={"Date": NOW}), 40.0),
        (Refused(retry_after=LATER, response=response(Date=NOW)), 40.0),
    ],
    ids=lambda value: shown(value) if isinstance(value, Exception) else None,
)
def test_what_was_asked_for_is_found(error, expected):
    """Every client library has a place of its own for it."""
    assert expected == answer(error)


class Secretive(Exception):
    """Raises whatever is asked of it."""

    @property
    def response(self):
        raise RuntimeError("no request was made")


@pytest.mark.parametrize(
    "error",
    [
        OSError("says nothing"),
        Refused(retry_after=LATER),  # a date, and nobody knows what time it is there
        Refused(response=response(Retry_After=LATER, Date="noon")),
        Refused(response=response(Retry_After="soon", Date=NOW)),
        Refused(response=response(Retry_After=NOW, Date=LATER)),  # it is over
        Refused(retry_after=math.nan),
        Refused(retry_after=math.inf),
        Refused(retry_after=10**400),
        Refused(retry_after="9" * 400),
        Refused(retry_after=True),
        Refused(retry_after=-5),
        Refused(retry_after=lambda: 40),
        Refused(headers=40),
        Refused(headers={"Retry-After": b"\xff"}),
        Secretive(),
    ],
    ids=shown,
)
def test_what_cannot_be_read_is_as_if_nothing_had_been_said(error):
    """Nonsense from outside must not decide anything, and least of all raise."""
    assert answer(error) == 1.0


def test_the_longer_of_both_waits_counts():
    """The backoff still spreads those who were all told the same moment."""
    policy = HonourRetryAfter(FixedBackoff(delay=60.0))

    assert [60.0, 90.0] == [answer(Refused(retry_after=seconds), policy) for seconds in (30, 90)]


def test_what_is_longer_than_the_ceiling_is_not_waited_for():
    """Whoever asks for a day is not to be knocked at in an hour; the caller learns it at once."""
    policy = HonourRetryAfter(FixedBackoff(delay=1.0), ceiling=40)

    assert [40.0, None] == [answer(Refused(retry_after=seconds), policy) for seconds in (40, 41)]


def test_the_ceiling_does_not_bound_the_policys_own_wait():
    """It is about what others ask for."""
    assert answer(Refused(retry_after=5), HonourRetryAfter(FixedBackoff(delay=60.0), ceiling=40)) == 60.0


def test_what_the_policy_gives_up_stays_given_up():
    """Being told when to come back is no reason to come back."""
    policies = [NoRetry(), FixedBackoff(attempts_max=1), FixedBackoff(give_up_on=Refused)]

    assert [None, None, None] == [
        answer(Refused(retry_after=5), HonourRetryAfter(policy)) for policy in policies
    ]


def test_the_wait_counts_against_the_policys_elapsed_max():
    """An attempt that starts after the time is up is not made, whoever made it late."""
    policy = HonourRetryAfter(FixedBackoff(delay=1.0, elapsed_max=50))

    assert [40.0, None] == [answer(Refused(retry_after=40), policy, elapsed=elapsed) for elapsed in (10, 11)]


def test_the_limit_is_found_through_every_wrapper():
    """Each layer asks the one below, or the innermost limit would not hold."""
    policy = HonourRetryAfter(HonourRetryAfter(FixedBackoff(delay=1.0, elapsed_max=50), ceiling=5))

    assert [4.0, None] == [
        answer(Refused(retry_after=4), policy, elapsed=45),
        HonourRetryAfter(HonourRetryAfter(FixedBackoff(elapsed_max=50))).retry_after(
            Failure(1, Refused(retry_after=51)), None
        ),
    ]
    assert [True, False] == [policy.in_time(Failure(1, OSError()), delay) for delay in (50, 51)]


def test_a_cause_is_asked_only_by_cause():
    """An application wraps its client's errors, and may say so."""
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = Refused(retry_after=40)
    by_cause = HonourRetryAfter(FixedBackoff(delay=1.0), by_cause=True)

    assert [1.0, 40.0] == [answer(wrapped), answer(wrapped, by_cause)]


def test_a_story_without_an_end_is_read_only_so_far():
    """An error that was raised again ten thousand times must not hold up the turn in which it is judged."""
    last = error = Refused(retry_after=40)
    for _ in range(STORY_MAX):
        error, before = RuntimeError("again"), error
        error.__cause__ = before
    by_cause = HonourRetryAfter(FixedBackoff(delay=1.0), by_cause=True)

    assert [1.0, 40.0] == [answer(each, by_cause) for each in (error, error.__cause__)]
    assert 40.0 == answer(last, by_cause)


def test_a_response_that_was_returned_and_rejected_is_asked_like_an_error():
    """Many clients return a 503, and only its headers say when."""
    rejected = Exception("rejected")
    rejected.value = SimpleNamespace(status=503, headers={"Retry-After": "40"})

    assert [40.0, 1.0] == [
        answer(rejected, rejected=rejected_or_raised) for rejected_or_raised in (True, False)
    ]


def test_it_passes_on_what_the_policy_says_beside_its_answer():
    """Whoever wraps a policy must not hide that it looks at values, or how often it tries."""
    policy = HonourRetryAfter(
        FirstMatch(
            {OSError: FixedBackoff(attempts_max=7)}, otherwise=ExponentialBackoff(retry_if_result=callable)
        )
    )

    assert (7, callable) == (policy.attempts_max, policy.retry_if_result)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: HonourRetryAfter(FixedBackoff),
            r"policy=\) must be an object with a method retry_after\(\)",
        ),
        (
            lambda: HonourRetryAfter(None),
            r"policy=\) must be an object with a method retry_after\(\), not None",
        ),
        (lambda: HonourRetryAfter(NoRetry(), ceiling=0), r"ceiling=\) must be more than 0, not 0"),
        (lambda: HonourRetryAfter(NoRetry(), by_cause="no"), r"by_cause=\) must be True or False, not 'no'"),
    ],
)
def test_settings_of_it_that_make_no_sense_are_refused(make, message):
    """A policy is checked when it is made."""
    with pytest.raises((TypeError, ValueError), match=message):
        make()
