"""What is worth another attempt: by class, by function, by what is behind an error; and who of several decides."""

from itertools import islice

import pytest

from policies import (
    ExponentialBackoff,
    Failure,
    FirstMatch,
    FixedBackoff,
    HonourRetryAfter,
    NoRetry,
    ScheduleBackoff,
)
from policies.retry import story


class Dice:
    """Dice that always fall on their lowest face."""

    def random(self):
        return 0.0


def answer(policy, error, attempt=1, **view):
    return policy.retry_after(Failure(attempt, error, **view), Dice())


def tried_again(policy, *errors):
    return [answer(policy, error) is not None for error in errors]


def is_busy(error):
    return error.args == ("busy",)


def raised_from(cause, error=None):
    """Return an error that was raised from another."""
    error = RuntimeError("wrapped") if error is None else error
    error.__cause__ = cause
    return error


def raised_while(handling, error):
    """Return an error that came while another was handled."""
    error.__context__ = handling
    return error


# One policy


def test_a_function_says_what_is_worth_another_attempt():
    """Many clients raise one class for everything, and only its code tells a full house from a typo."""
    policy = FixedBackoff(retry_on=is_busy)

    assert [True, False] == tried_again(policy, OSError("busy"), OSError("no such table"))


def test_classes_and_functions_go_together():
    """Either is enough."""
    policy = FixedBackoff(retry_on=(TimeoutError, is_busy))

    assert [True, True, False] == tried_again(policy, TimeoutError(), ValueError("busy"), ValueError("else"))


def test_give_up_on_comes_before_retry_on():
    """The exception from the rule is why it is written down."""
    policy = FixedBackoff(retry_on=OSError, give_up_on=(FileNotFoundError, is_busy))

    assert [True, False, False] == tried_again(policy, OSError(), FileNotFoundError(), OSError("busy"))


def test_only_the_error_itself_counts_unless_told_otherwise():
    """A wrapped error is another error, until somebody says that it is not."""
    wrapped = raised_from(ConnectionError())

    assert [False] == tried_again(FixedBackoff(retry_on=ConnectionError), wrapped)
    assert [True] == tried_again(FixedBackoff(retry_on=ConnectionError, by_cause=True), wrapped)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (raised_from(raised_from(ConnectionError(), ValueError())), True),
        (raised_while(ConnectionError(), KeyError()), True),
        (ExceptionGroup("several", [ValueError(), ExceptionGroup("inner", [ConnectionError()])]), True),
        (ExceptionGroup("several", [raised_from(ConnectionError())]), True),
        (ExceptionGroup("several", [ValueError(), KeyError()]), False),
        (raised_from(None, raised_while(ConnectionError(), KeyError())), False),  # raise … from None
        (ValueError(), False),
    ],
    ids=repr,
)
def test_by_cause_looks_at_causes_contexts_and_members(error, expected):
    """What failed is often three layers below what is raised."""
    policy = FixedBackoff(retry_on=ConnectionError, by_cause=True)

    assert [expected] == tried_again(policy, error)


def test_one_member_that_is_final_makes_a_group_final():
    """Half of a group that cannot succeed makes another attempt at all of it pointless."""
    policy = FixedBackoff(retry_on=ConnectionError, give_up_on=ValueError, by_cause=True)
    both = ExceptionGroup("several", [ConnectionError(), ValueError()])

    assert [False] == tried_again(policy, both)


def test_an_interrupt_is_not_retried_for_what_it_interrupted():
    """Ctrl-C while an error is handled carries that error along, and is still Ctrl-C."""
    policy = FixedBackoff(by_cause=True)
    interrupt = raised_while(ConnectionError(), KeyboardInterrupt())
    group = BaseExceptionGroup("several", [ConnectionError(), KeyboardInterrupt()])

    assert [False, False] == tried_again(policy, interrupt, group)


def test_errors_that_go_round_in_a_circle_are_told_once():
    """Such a chain is rare and real, and must not hold the scheduler's lock for ever."""
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first

    assert [first, second] == list(islice(story(first), 9))
    assert [False] == tried_again(FixedBackoff(retry_on=OSError, by_cause=True), first)


def test_only_so_many_errors_are_looked_at():
    """A group of a million would be walked under the scheduler's lock."""
    late = ExceptionGroup("very many", [*(ValueError() for _ in range(1000)), OSError()])

    assert [False] == tried_again(FixedBackoff(retry_on=OSError, by_cause=True), late)


def test_a_rejected_value_is_tried_again_whatever_the_rules_for_errors_say():
    """They are about errors, and the function that rejected it has said already that it is worth it."""
    policy = FixedBackoff(retry_on=ConnectionError, give_up_on=Exception, attempts_max=3, elapsed_max=5)

    answers = [
        answer(policy, Exception("rejected"), attempt, elapsed=elapsed, rejected=True)
        for attempt, elapsed in ((1, 0), (2, 4), (2, 4.5), (3, 0))
    ]
    assert [1.0, 1.0, None, None] == answers


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"retry_on": [OSError]}, r"retry_on=\) must be an exception class or a tuple of them, or functions"),
        ({"give_up_on": "OSError"}, r"give_up_on=\) must be an exception class"),
        ({"give_up_on": (OSError, int)}, r"give_up_on=\) must be an exception class"),
        ({"by_cause": 1}, r"by_cause=\) must be True or False, not 1"),
        ({"retry_if_result": 503}, r"retry_if_result=\) must be a function that says yes or no, not 503"),
        ({"retry_if_result": bool}, r"retry_if_result=\) must be a function that says yes or no, not <class"),
    ],
)
def test_rules_that_make_no_sense_are_refused(settings, message):
    """A wrong rule would raise inside a failure, where nobody looks."""
    with pytest.raises(TypeError, match=message):
        FixedBackoff(**settings)


# The first that fits

QUICK, PATIENT = FixedBackoff(delay=0.5, attempts_max=3), FixedBackoff(delay=60.0, attempts_max=5)


def test_the_first_class_that_fits_decides():
    """Like ``except`` clauses: the order is the user's, not that of the classes."""
    policy = FirstMatch({ConnectionResetError: PATIENT, OSError: QUICK, KeyError: None})
    broad = FirstMatch({OSError: QUICK, ConnectionResetError: PATIENT})

    assert [60.0, 0.5, None, None] == [
        answer(policy, error) for error in (ConnectionResetError(), OSError(), KeyError(), ValueError())
    ]
    assert answer(broad, ConnectionResetError()) == 0.5


def test_otherwise_is_for_what_nobody_fits():
    """The rest has a rule too, and it is in sight."""
    policy = FirstMatch({(KeyError, IndexError): None}, otherwise=QUICK)

    assert [None, None, 0.5] == [answer(policy, error) for error in (KeyError(), IndexError(), ValueError())]


def test_attempts_are_counted_by_the_job_as_a_whole():
    """Two errors that take turns must not give a job twice its attempts."""
    policy = FirstMatch({ConnectionError: PATIENT, TimeoutError: QUICK})
    errors = [ConnectionError(), TimeoutError(), TimeoutError(), ConnectionError(), ConnectionError()]
    answers = [answer(policy, error, attempt) for attempt, error in enumerate(errors, start=1)]

    assert ([60.0, 0.5, None, 60.0, None], 5) == (answers, policy.attempts_max)


def test_the_first_that_fits_can_be_found_by_cause():
    """A library that wraps its errors would otherwise always get the rest's rule."""
    policy = FirstMatch({ConnectionError: PATIENT}, otherwise=QUICK, by_cause=True)

    assert [60.0, 0.5] == [answer(policy, error) for error in (raised_from(ConnectionError()), ValueError())]


def test_only_otherwise_judges_values():
    """A value has no class to be matched by, so one policy must answer for it, and it is plain which."""
    picky = FixedBackoff(delay=2.0, retry_if_result=is_busy)
    policy = FirstMatch({ConnectionError: QUICK}, otherwise=picky)

    assert policy.retry_if_result is is_busy
    assert answer(policy, Exception("rejected"), rejected=True) == 2.0
    with pytest.raises(
        ValueError, match=r"retry_if_result= for ConnectionError, which would never be asked: .*otherwise="
    ):
        FirstMatch({ConnectionError: picky})
    with pytest.raises(ValueError, match="otherwise="):
        FirstMatch({ConnectionError: HonourRetryAfter(picky)})


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({}, "must be a mapping of exception classes to retry policies"),
        (3, "must be a mapping of exception classes to retry policies, not 3"),
        ([3], "must be pairs of exception classes and retry policies, not 3"),
        ([(OSError, QUICK, 1)], "must be pairs"),
        ({int: QUICK}, "must be an exception class or a tuple of them, not"),
        ({is_busy: QUICK}, "must be an exception class or a tuple of them, not"),
        ({OSError: 3}, r"must be an object with a method retry_after\(\), not 3"),
        ({OSError: FixedBackoff}, r"must be an object with a method retry_after\(\), not <class"),
    ],
)
def test_rules_for_classes_that_make_no_sense_are_refused(rules, message):
    """The message names the setting, and not some loop over it."""
    with pytest.raises(TypeError, match=rf"FirstMatch\(rules=\) {message}"):
        FirstMatch(rules)
    with pytest.raises(TypeError, match=r"FirstMatch\(otherwise=\) must be an object"):
        FirstMatch({OSError: QUICK}, otherwise=3)


def test_pairs_are_as_good_as_a_mapping_and_the_repr_evaluates_back():
    """Configuration files have lists, and a log line with a policy in it can be pasted."""
    policy = FirstMatch(
        {OSError: QUICK, (KeyError, IndexError): NoRetry()}, otherwise=ScheduleBackoff([1, 5])
    )
    pairs = FirstMatch(
        [(OSError, QUICK), ((KeyError, IndexError), NoRetry())], otherwise=ScheduleBackoff([1, 5])
    )

    assert policy == pairs == eval(repr(policy))
    assert hash(policy) == hash(pairs)


class AsksFor(Exception):
    """Says when to come back."""

    def __init__(self, retry_after):
        super().__init__("busy")
        self.retry_after = retry_after


def test_what_wraps_what_reads_aloud():
    """The pieces fit into each other in any order, and each still keeps its limits."""
    policy = HonourRetryAfter(
        FirstMatch({AsksFor: ExponentialBackoff(elapsed_max=100, attempts_max=9), OSError: QUICK}),
        ceiling=500,
    )

    assert [30.0, None, None, 0.5] == [
        answer(policy, AsksFor(30)),
        answer(policy, AsksFor(101)),  # too late for the policy that fits
        answer(policy, AsksFor(501)),
        answer(policy, OSError()),
    ]


def test_a_story_goes_on_behind_what_was_told_already():
    """Members of a group often fail of one cause, and the last of them may be the one that is final."""
    cause, first, second, last = OSError("cause"), KeyError("1"), KeyError("2"), ValueError("last")
    first.__cause__ = second.__cause__ = cause
    group = ExceptionGroup("several", [first, second, last])

    assert [group, first, cause, second, last] == list(story(group))
