"""The calls of one slot, on real lines that no worker reads: what may be taken back, and what is still held."""

import socket

import pytest

from pools import _process_line as lines
from pools._process_calls import Calls
from pools._process_wire import CALL_HEAD
from pools.testing import SampleCall

pytestmark = pytest.mark.skipif(not lines.WHOLE_MESSAGES, reason="nothing lies ahead here")


@pytest.fixture
def line():
    """Return a line to a worker that the test plays itself, by receiving from ``line._unread``."""
    made = lines.Line.__new__(lines.Line)
    made._calls, made._unread = socket.socketpair(type=socket.SOCK_SEQPACKET)
    made._tickets, made._untaken = socket.socketpair(type=socket.SOCK_STREAM)
    made._held = b""
    yield made
    for end in (made._calls, made._unread, made._tickets, made._untaken):
        end.close()


@pytest.fixture
def two(line):
    """Return a slot's calls, and the two of them that were sent."""
    calls = Calls("cpu-1/1", ahead_max=8)
    calls.connect(line)
    given = [SampleCall(abs, -number) for number in (1, 2)]
    assert calls.give(given[0])
    calls.add(given[1:])
    calls.send(line, [])
    return calls, given


def read_one(line):
    """Do what a worker does: take the next message, and return the number of its call."""
    return CALL_HEAD.unpack_from(line._unread.recv(65536, socket.MSG_DONTWAIT))[1]


def test_a_first_call_that_is_still_unread_is_not_taken_out_of_its_place(line, two):
    """Between taking the first and the second, the worker read the second and answered it as the first."""
    calls, _ = two

    assert [] == calls.recall()
    assert [1, 2] == [read_one(line), read_one(line)]


def test_what_lies_behind_a_call_that_is_being_run_is_taken_back(line, two):
    """It has not started, and now never will: the worker finds nothing."""
    calls, given = two
    assert 1 == read_one(line)

    assert given[1:] == calls.recall()
    with pytest.raises(BlockingIOError):
        read_one(line)
    assert calls.holds(given[0])
    assert not calls.holds(given[1])


def test_a_call_is_held_until_its_outcome_has_been_delivered(line, two):
    """Whoever asked between the answer and the books was told no, and ran it again."""
    calls, given = two
    calls.answered([(b"v", 1, 0.0, b"", [])])

    assert calls.holds(given[0])
    calls.delivered()
    assert not calls.holds(given[0])


def test_an_answer_to_another_call_is_an_error_and_not_somebodys_value(two):
    """Outcomes come in order; one that does not must never reach a wrong handle."""
    calls, _ = two

    with pytest.raises(AssertionError, match="answered call 2, not 1"):
        calls.answered([(b"v", 2, 0.0, b"", [])])
