"""Options: what users hand in is checked at once, and the sentence says what is wrong."""

import functools
import math

import pytest

from policies import ExponentialBackoff, NoRetry, StrictPriority
from pools import ThreadPool
from scheduler import PoolGroup, Priority
from scheduler._core.job import JobOptions
from scheduler._options import check_seconds, checked, is_coroutine_function, need_method

NO_SECONDS = ["1", True, math.nan, math.inf, -math.inf, -0.1, [1], 1j, 10**400]


def given(**options):
    return checked(JobOptions(), options)


def test_options_are_taken_as_they_are_given():
    """What is asked for is what is done."""
    retry = ExponentialBackoff()
    options = given(
        priority=3,
        tags={"cpu"},
        run_timeout=1,
        queue_timeout=2.0,
        deadline=3.0,
        delay=4.0,
        retry=retry,
        tenant="them",
        affinity="user-42",
        name="this",
        key="page-7",
        on_conflict="replace",
    )

    expected = JobOptions(
        priority=3,
        tags=frozenset({"cpu"}),
        run_timeout=1,
        queue_timeout=2.0,
        deadline=3.0,
        delay=4.0,
        retry=retry,
        own_retry=True,
        tenant="them",
        affinity="user-42",
        name="this",
        key="page-7",
        on_conflict="replace",
    )
    assert expected == options


def test_options_add_to_those_before():
    """with_options() twice is both."""
    first = given(priority=3, name="this")

    assert JobOptions(priority=3, name="that", delay=1.0) == checked(first, {"name": "that", "delay": 1.0})


def test_none_takes_a_limit_back():
    """A submitter without the limit of the one it was made from."""
    assert checked(given(deadline=1.0), {"deadline": None}).plain


def test_options_before_are_not_changed():
    """Two submitters made from one must not see each other."""
    first = given(priority=3)
    checked(first, {"priority": 4})

    assert 3 == first.priority


def test_an_unknown_option_is_refused_with_the_known_ones():
    """A typing mistake in run_timeout= must not be a job without a limit."""
    with pytest.raises(TypeError, match=r"no option 'timeout'; it takes .*run_timeout"):
        given(timeout=3)


@pytest.mark.parametrize("priority", ["high", 1.0, None, True, 1.5, math.nan])
def test_a_priority_that_is_no_integer_is_refused(priority):
    """Two priorities that cannot be compared are no order."""
    with pytest.raises(TypeError, match=r"priority= must be an integer"):
        given(priority=priority)


@pytest.mark.parametrize("priority", [-5, 0, 10**30, Priority.BULK])
def test_any_integer_is_a_priority(priority):
    """The five names are for most programs, not for all."""
    assert priority == given(priority=priority).priority


def test_a_named_priority_becomes_a_plain_integer():
    """An IntEnum member hashes four times as slowly, on every job."""
    assert int is type(given(priority=Priority.HIGH).priority)


@pytest.mark.parametrize("name", ["run_timeout", "queue_timeout", "deadline", "delay"])
@pytest.mark.parametrize("seconds", NO_SECONDS, ids=repr)
def test_seconds_that_are_none_are_refused_by_name(name, seconds):
    """NaN compares false with everything, so it would be a limit that never ends."""
    with pytest.raises((TypeError, ValueError), match=f"{name}= must be"):
        given(**{name: seconds})


@pytest.mark.parametrize("name", ["run_timeout", "queue_timeout", "deadline"])
def test_a_limit_of_no_time_is_refused(name):
    """A job that has expired before it is submitted is a mistake, not a job."""
    with pytest.raises(ValueError, match=rf"{name}= must be finite seconds, more than 0, not 0"):
        given(**{name: 0})


def test_no_delay_is_a_delay_of_nothing():
    """delay=0 is what a computed delay may come to."""
    assert given(delay=0).plain


def test_whole_seconds_are_seconds():
    """Nobody should have to write 1.0."""
    assert 1 == check_seconds("timeout", 1)


@pytest.mark.parametrize(
    ("tags", "taken"),
    [("cpu", {"cpu"}), ({"cpu", "gpu"}, {"cpu", "gpu"}), (["cpu", "cpu"], {"cpu"}), ((), set())],
)
def test_tags_are_strings_in_any_container(tags, taken):
    """A single string is one tag and not its letters."""
    assert taken == given(tags=tags).tags


@pytest.mark.parametrize("tags", [3, [3], None, b"cpu", [["cpu"]], [None]])
def test_tags_that_are_no_strings_are_refused(tags):
    """The message must speak of tags, whatever was given for one."""
    with pytest.raises(TypeError, match="tags="):
        given(tags=tags)


@pytest.mark.parametrize("retry", [None, NoRetry()])
def test_no_retry_costs_nothing(retry):
    """The default must not be asked on every failure."""
    assert given(retry=retry).retry is None


def test_a_policy_class_is_refused_with_the_missing_parentheses():
    """Everybody forgets them once."""
    with pytest.raises(TypeError, match=r"write ExponentialBackoff\(\)"):
        given(retry=ExponentialBackoff)


@pytest.mark.parametrize("retry", [3, "ExponentialBackoff", StrictPriority(), lambda _: 1.0])
def test_a_policy_without_its_method_is_refused(retry):
    """Better now than in the middle of a failure."""
    with pytest.raises(TypeError, match=r"retry= must be an object with a method retry_after\(\)"):
        given(retry=retry)


def test_a_policy_with_its_method_is_taken_whatever_it_is():
    """Nothing has to be inherited or registered."""
    need_method("retry", type("Own", (), {"retry_after": lambda *_: None})(), "retry_after")


@pytest.mark.parametrize("name", ["tenant", "affinity", "name"])
@pytest.mark.parametrize("value", [3, b"this", ["this"]])
def test_names_that_are_no_strings_are_refused(name, value):
    """They stand in every log line."""
    with pytest.raises(TypeError, match=f"{name}= must be a string or None"):
        given(**{name: value})


# Coroutine functions


async def coroutine(*_):
    """Be one."""


class Callable:
    """An object that can be called."""

    def __call__(self):
        """Do nothing."""

    async def asynchronous(self):
        """Be a coroutine function that is a method."""


class AsynchronousCallable:
    """An object whose call makes a coroutine."""

    async def __call__(self):
        """Be one."""


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        (coroutine, True),
        (functools.partial(coroutine, 1), True),
        (Callable().asynchronous, True),
        (AsynchronousCallable(), True),
        (lambda: None, False),
        (Callable(), False),
        (len, False),
        (dict, False),
        (functools.partial(len, "a"), False),
        ("abc".upper, False),
    ],
)
def test_coroutine_functions_are_recognised_in_every_form(function, answer):
    """A coroutine that a thread makes and nobody awaits is a job that did nothing."""
    assert answer == is_coroutine_function(function)


# Pool groups


def test_a_group_offers_its_own_name_as_a_tag():
    """The simplest way to say where a job goes."""
    assert {"io", "ssd"} == PoolGroup("io", ThreadPool(slots=1), tags={"ssd"}).offers


@pytest.mark.parametrize("name", ["", None, 3, "io/1", "caller", b"io"])
def test_a_group_needs_a_name_that_can_stand_in_an_id(name):
    """A worker is called io-2/3, and `caller` is taken."""
    with pytest.raises(ValueError, match="name="):
        PoolGroup(name, ThreadPool(slots=1))


@pytest.mark.parametrize("pool", [ThreadPool, None, 8, "threads", object()])
def test_a_group_needs_a_recipe(pool):
    """The class instead of a value is the mistake to expect."""
    with pytest.raises(TypeError, match="recipe such as"):
        PoolGroup("io", pool)


@pytest.mark.parametrize("limit", [0, -1, True, 1.0, "2"])
@pytest.mark.parametrize("name", ["min_pools", "max_pools"])
def test_a_groups_limits_are_positive_integers(name, limit):
    """Half a pool cannot be opened."""
    with pytest.raises((TypeError, ValueError), match=f"{name}="):
        PoolGroup("io", ThreadPool(slots=1), **{name: limit})


def test_a_groups_maximum_is_not_below_its_minimum():
    """No number of pools would be right."""
    with pytest.raises(ValueError, match="min_pools=3 and max_pools=2"):
        PoolGroup("io", ThreadPool(slots=1), min_pools=3, max_pools=2)


@pytest.mark.parametrize("slots", [0, -1, True, 1.0, "2", None])
def test_a_pools_slots_are_a_positive_integer(slots):
    """slots=True is one slot by accident."""
    with pytest.raises((TypeError, ValueError), match="slots="):
        ThreadPool(slots=slots)


@pytest.mark.parametrize("reserve_for", ["high", 1.5, True])
def test_a_reservation_is_a_priority(reserve_for):
    """It is compared with every job's."""
    with pytest.raises(TypeError, match="reserve_for= must be an integer"):
        PoolGroup("io", ThreadPool(slots=1), reserve_for=reserve_for)


@pytest.mark.parametrize("dedicated", ["no", 0, 1])
def test_dedicated_is_true_false_or_nothing(dedicated):
    """dedicated="no" would be the opposite of what it says."""
    with pytest.raises(TypeError, match="dedicated="):
        PoolGroup("io", ThreadPool(slots=1), dedicated=dedicated)


def test_a_job_with_a_key_is_not_plain():
    """The hot path asks one flag; a key that slipped past it would stay taken for ever."""
    assert not given(key="k").plain
    assert not given(key="k").untimed
    assert given(key="k", on_conflict="reject") == checked(given(key="k"), {"on_conflict": "reject"})
    assert checked(given(key="k"), {"key": None}).plain


@pytest.mark.parametrize("answer", ["merge", None, 3, ["join"], True])
def test_what_is_done_at_a_conflict_is_one_of_three_words(answer):
    """A typing mistake must not become the default."""
    with pytest.raises(ValueError, match=r"on_conflict= must be 'join', 'reject' or 'replace', not"):
        given(key="k", on_conflict=answer)


@pytest.mark.parametrize("key", [7, b"k", ("a", 1)])
def test_a_key_is_a_string(key):
    """Equal and hashable without anybody's code, and readable in a message."""
    with pytest.raises(TypeError, match="key= must be a string or None"):
        given(key=key)
