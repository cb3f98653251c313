"""Retry rules of tenacity decide here as they do there, and nothing of theirs sleeps."""

import asyncio
import random

import pytest

from policies import Failure, from_tenacity

tenacity = pytest.importorskip("tenacity", reason="the extra `tenacity` is not installed")


class Dice:
    """Dice that nobody rolls: tenacity has its own."""


def answer(policy, error=None, attempt=1, elapsed=0.0, **view):
    return policy.retry_after(Failure(attempt, error or OSError("gone"), elapsed, **view), Dice())


def a_value(value):
    """Return the error of a rejected value."""
    error = Exception("rejected")
    error.value = value
    return error


THREE = tenacity.stop_after_attempt(3)


def test_stop_wait_and_retry_decide_as_in_tenacity():
    """Who brings rules that have grown for years must not have to prove them again."""
    policy = from_tenacity(
        stop=tenacity.stop_after_attempt(4) | tenacity.stop_after_delay(60),
        wait=tenacity.wait_fixed(1) + tenacity.wait_incrementing(start=0, increment=2),
        retry=tenacity.retry_if_exception_type(OSError) & tenacity.retry_if_exception_message(match="gone"),
    )

    assert [1, 3, 5, None] == [answer(policy, attempt=attempt) for attempt in (1, 2, 3, 4)]
    assert [None, None, None] == [
        answer(policy, elapsed=60.0),
        answer(policy, KeyError("gone")),
        answer(policy, OSError("full")),
    ]


@pytest.mark.parametrize(
    "wait",
    [
        tenacity.wait_none(),
        tenacity.wait_fixed(2.5),
        tenacity.wait_incrementing(start=1, increment=2, max=6),
        tenacity.wait_exponential(multiplier=0.5, max=20),
        tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(7)),
        tenacity.wait_exponential_jitter(initial=1, max=20),
        tenacity.wait_random_exponential(max=20),
    ],
    ids=lambda wait: type(wait).__name__,
)
def test_waits_are_those_that_tenacity_itself_would_sleep(wait):
    """The same objects, called in the same order with the same numbers: beside the original, dice included."""
    slept, own = [], []

    @tenacity.retry(stop=tenacity.stop_after_attempt(8), wait=wait, sleep=slept.append, reraise=True)
    def fails():
        raise OSError("gone")

    random.seed(5)  # tenacity rolls these dice
    with pytest.raises(OSError, match="gone"):
        fails()
    policy = from_tenacity(stop=tenacity.stop_after_attempt(8), wait=wait)
    random.seed(5)
    for attempt in range(1, 8):
        own.append(answer(policy, attempt=attempt, last_delay=own[-1] if own else None))

    assert slept == own


def test_a_stop_may_look_at_the_wait_that_would_come():
    """`stop_before_delay` is asked after the wait is known, as in tenacity."""
    policy = from_tenacity(stop=tenacity.stop_before_delay(10), wait=tenacity.wait_fixed(4))

    assert [4, None] == [answer(policy, elapsed=elapsed) for elapsed in (5.0, 6.0)]


def test_without_wait_and_retry_every_exception_is_tried_again_at_once():
    """These are tenacity's defaults."""
    policy = from_tenacity(stop=THREE)

    assert [0.0, None] == [answer(policy, error) for error in (ValueError(), KeyboardInterrupt())]


def test_functions_of_the_call_state_will_do():
    """Tenacity takes any callable, and people write them."""
    seen = []

    def note(state):
        seen.append(
            (state.attempt_number, state.outcome.failed, type(state.outcome.exception()), state.idle_for)
        )
        return state.attempt_number

    policy = from_tenacity(stop=lambda state: state.upcoming_sleep > 2, wait=note)

    assert [2, None] == [answer(policy, attempt=attempt, last_delay=1.5) for attempt in (2, 3)]
    assert (2, True, OSError, 1.5) == seen[0]


def test_the_result_of_a_failed_attempt_is_its_error():
    """As of a future: a function that asks for the value of what failed gets what failed."""

    def ask(state):
        return state.outcome.result()

    with pytest.raises(OSError, match="gone"):
        answer(from_tenacity(stop=THREE, retry=ask))


@pytest.mark.parametrize(
    ("retry", "rejected", "kept"),
    [
        (tenacity.retry_if_result(lambda value: value is None), None, 1),
        (tenacity.retry_if_not_result(bool), 0, 1),
        (tenacity.retry_if_exception_type(OSError) | tenacity.retry_if_result(lambda value: not value), 0, 1),
        (tenacity.retry_unless_exception_type(KeyError), 1, ...),
        (lambda state: not state.outcome.failed and state.outcome.result() > 3, 4, 3),
    ],
)
def test_rules_for_values_judge_values(retry, rejected, kept):
    """`retry_if_result` is half of what people use tenacity for."""
    policy = from_tenacity(stop=THREE, retry=retry, wait=tenacity.wait_fixed(1))

    assert policy.retry_if_result(rejected)
    assert kept is ... or not policy.retry_if_result(kept)
    assert [1, None] == [answer(policy, a_value(rejected), attempt, rejected=True) for attempt in (1, 3)]


@pytest.mark.parametrize(
    "retry",
    [
        None,
        tenacity.retry_if_exception_type(OSError),
        tenacity.retry_if_not_exception_type(KeyError) & tenacity.retry_if_exception_message(message="x"),
    ],
)
def test_rules_for_errors_alone_cost_values_nothing(retry):
    """Values are looked at only for who asked for it."""
    assert from_tenacity(stop=THREE, retry=retry).retry_if_result is None


async def _coroutine(_state):
    return True


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"stop": 3},
            r"from_tenacity\(stop=\) must be an object of tenacity's, such as stop_after_attempt\(3\), not 3",
        ),
        ({"stop": tenacity.stop_after_attempt}, r"from_tenacity\(stop=\) must be an object of tenacity's"),
        ({"stop": THREE, "wait": 1.0}, r"from_tenacity\(wait=\) must be an object"),
        ({"stop": THREE, "retry": OSError}, r"from_tenacity\(retry=\) must be an object"),
        ({"stop": THREE, "retry": _coroutine}, r"retry=\) must answer at once, and .* makes a coroutine"),
    ],
)
def test_what_is_no_rule_is_refused(settings, message):
    """A class for an object is everybody's first mistake with tenacity."""
    with pytest.raises(TypeError, match=message):
        from_tenacity(**settings)


def test_a_rule_that_is_a_coroutine_by_its_class_is_refused():
    """Tenacity has rules of that kind for asyncio, and a coroutine that nobody awaits is always true."""
    rules = pytest.importorskip("tenacity.asyncio.retry")
    assert asyncio.iscoroutinefunction(type(rules.retry_if_result(callable)).__call__)
    with pytest.raises(TypeError, match="makes a coroutine; use its plain counterpart"):
        from_tenacity(stop=THREE, retry=rules.retry_if_result(callable))


def test_the_same_rules_make_equal_policies():
    """A policy is a value as far as tenacity's objects are: they compare by identity."""
    assert from_tenacity(stop=THREE) == from_tenacity(stop=THREE)
    assert from_tenacity(stop=THREE) != from_tenacity(stop=tenacity.stop_after_attempt(3))
