"""A letter in words: bounded, and whatever the user's objects do."""

import json

import pytest

from policies import FixedBackoff
from pools import InlinePool
from scheduler import Scheduler
from scheduler._shown import ARGUMENT, ARGUMENTS, ERROR, TRACEBACK, shown


class BadRepr:
    def __repr__(self):
        raise ValueError("no repr")


class BadError(Exception):
    def __str__(self):
        raise ValueError("no text")


class NoName:
    def __getattr__(self, name):
        if name == "__qualname__":
            raise RuntimeError("no attribute")
        raise AttributeError(name)

    def __call__(self, *args, **kwargs):
        raise OSError("failed")


def fail(*_args, error=None, **_kwargs):
    raise error or OSError("failed")


def the_line(function, *args, **kwargs):
    """Return what is shown of a call that failed, by way of JSON."""
    with Scheduler(InlinePool(slots=1), dead_letters=1) as s:
        s.submit(function, *args, **kwargs).exception()
        (letter,) = s.dead_letters
        return json.loads(json.dumps(shown(letter)))


@pytest.mark.parametrize(
    "large",
    [b"x" * 10**6, bytearray(10**6), "x" * 10**6, list(range(10**5)), {n: n for n in range(10**5)}, 10**5000],
    ids=lambda value: type(value).__name__,
)
def test_a_large_argument_is_a_short_text(large):
    """A gigabyte of bytes in a log line takes the log with it."""
    assert len(the_line(fail, large)["args"][0]) <= ARGUMENT + 1


def test_a_repr_that_raises_costs_only_itself():
    """One bad argument must not hide the others, nor the other letters."""
    first, second = the_line(fail, BadRepr(), 2)["args"]

    assert "BadRepr" in first
    assert "2" == second


def test_what_contains_itself_is_shown():
    """A structure with a way back to itself has no end."""
    loop = []
    loop.append(loop)

    assert "..." in the_line(fail, loop)["args"][0]


def test_an_error_without_a_text_is_named():
    """The type says more than nothing."""
    line = the_line(fail, error=BadError())

    assert "BadError" in line["error"]
    assert "BadError" in line["traceback"]


def test_long_errors_and_tracebacks_are_cut():
    """An error may quote the whole document that it was about."""
    line = the_line(fail, error=OSError("x" * 10**5))

    assert len(line["error"]) <= ERROR + 1
    assert len(line["traceback"]) <= TRACEBACK + 2


def test_a_call_with_very_many_arguments_is_counted():
    """What is left out is said."""
    line = the_line(fail, *range(ARGUMENTS + 5), a=1)

    assert (ARGUMENTS, 5) == (len(line["args"]), line["arguments_left_out"])


def test_a_callable_whose_attributes_raise_has_a_name():
    """It has failed for its own reasons; looking at it must not fail too."""
    line = the_line(NoName())

    assert "whose name cannot be had" in line["function"]


def test_options_are_shown_as_they_were_given():
    """With which retry policy it failed is half of the story."""
    policy = FixedBackoff(attempts_max=1)
    with Scheduler(InlinePool(slots=1), dead_letters=1) as s:
        s.with_options(priority=10**5000, key="k", retry=policy).submit(fail).exception()
        (letter,) = s.dead_letters
        options = json.loads(json.dumps(shown(letter)))["options"]

    assert ("k", "join", 0.0) == (options["key"], options["on_conflict"], options["delay"])
    assert len(options["priority"]) <= ARGUMENT + 1
    assert options["retry"].startswith("FixedBackoff(")
