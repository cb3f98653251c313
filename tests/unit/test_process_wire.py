"""How calls and outcomes travel, without a process at the other end."""

import pickle
import socket
from types import SimpleNamespace

import pytest

from pools._process_calls import Entry
from pools._process_line import WHOLE_MESSAGES, Line
from pools._process_wire import (
    BUFFER_MIN,
    HEAD,
    MESSAGE_MAX,
    SIZE,
    VALUE,
    Caller,
    Frames,
    dumps,
    loads,
    sizes,
)
from pools._process_worker import _Worker
from pools.contract import each_of

needs_whole_messages = pytest.mark.skipif(not WHOLE_MESSAGES, reason="needs SOCK_SEQPACKET")


def sent(number, value, seconds=0.5):
    """Return an outcome as a worker sends it."""
    body, buffers = (b"", []) if value is None else dumps(value)
    fixed = HEAD.pack(VALUE, number, seconds, len(body), len(buffers)) + sizes(buffers)
    return b"".join([fixed, body, *(bytes(buffer) for buffer in buffers)])


def received(data, pieces):
    """Return the numbers and values of what comes in pieces of that many bytes."""
    frames, found, at = Frames(), [], 0

    def receive(size):
        nonlocal at
        chunk = data[at : at + min(size, pieces)]
        at += len(chunk)
        return chunk

    def receive_into(view):
        chunk = receive(len(view))
        view[: len(chunk)] = chunk
        return len(chunk)

    while (some := frames.read(receive_into, receive)) is not None:
        found += [(frame[1], loads(frame)) for frame in some]
    return found


VALUES = [
    None,
    7,
    None,
    "x" * 1000,
    bytes(MESSAGE_MAX + 1),
    None,
    [pickle.PickleBuffer(bytearray(b"a" * BUFFER_MIN)), pickle.PickleBuffer(bytearray(b"b" * BUFFER_MIN))],
    [1, 2],
]


@pytest.mark.parametrize("pieces", [7, 24, 25, 26, 100, 4096, 10**9])
def test_outcomes_arrive_whole_in_whatever_pieces_they_come(pieces):
    """A stream knows no messages: a head, a size or a buffer may be cut anywhere."""
    data = b"".join(sent(number, value) for number, value in enumerate(VALUES))
    found = received(data, pieces)

    assert list(range(len(VALUES))) == [number for number, _ in found]
    plain = [value for number, value in found if number != 6]
    assert VALUES[:6] + VALUES[7:] == plain
    assert [b"a" * BUFFER_MIN, b"b" * BUFFER_MIN] == [bytes(part) for part in found[6][1]]


def test_a_plain_function_travels_by_name_and_is_looked_up_once():
    """Looking it up is most of what pickling a small call costs."""
    caller = Caller()
    name, arguments, buffers = caller.dumps(received, (1,), {"pieces": 2})

    assert received is pickle.loads(name)
    assert ((1,), {"pieces": 2}) == pickle.loads(arguments)
    assert [] == buffers
    assert (name, b"", []) == caller.dumps(received, (), None)


def test_another_function_has_another_name():
    """What is remembered must be remembered of that function alone."""
    caller = Caller()
    first, second = caller.dumps(sent, (), None)[0], caller.dumps(received, (), None)[0]

    assert (sent, received) == (pickle.loads(first), pickle.loads(second))


def test_a_method_and_its_object_travel_in_one_pickle():
    """Apart, the object would arrive twice, and a change to one not be seen in the other."""
    words = ["b", "a"]
    name, whole, _ = Caller().dumps(words.append, (words,), None)
    method, args, _ = pickle.loads(whole)

    assert b"" == name
    assert method.__self__ is args[0]


def test_a_chunk_names_nothing_of_ours():
    """The worker has its own loop for it."""
    name, whole, _ = Caller().dumps(each_of, (abs, (-1,), (-2,)), None)

    assert b"" == name
    assert (None, (abs, (-1,), (-2,)), None) == pickle.loads(whole)
    assert b"pools" not in whole


def test_an_error_in_a_chunk_carries_what_came_before():
    """Each element of a map has its own result, however it travelled."""
    with pytest.raises(ZeroDivisionError) as caught:
        each_of(divmod, (4, 2), (9, 3), (1, 0), (8, 2))

    assert [(2, 0), (3, 0)] == caught.value.values_before


def test_small_buffers_stay_in_the_pickle_and_large_ones_lie_beside_it():
    """Below a size the extra pieces cost more than the copy."""
    small, beside = dumps([pickle.PickleBuffer(bytearray(BUFFER_MIN - 1))])
    large, apart = dumps([pickle.PickleBuffer(bytearray(BUFFER_MIN))])

    assert (0, 1) == (len(beside), len(apart))
    assert len(small) > BUFFER_MIN - 1 > len(large)
    assert BUFFER_MIN == SIZE.unpack(sizes(apart))[0]


# Batches and their tickets, with the worker's end in our hands


class Both:
    """Both ends of one line: the pool's, and a worker that is told when to look."""

    def __init__(self):
        self.line = Line.__new__(Line)
        self.line._held = b""
        self.line._calls, self.line._unread = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self.line._tickets, self.line._untaken = socket.socketpair()
        self.worker = _Worker(self.line._unread, self.line._untaken, None, bytearray(1), whole_messages=True)
        self.calls = self.worker._next_calls()

    def entries(self, *numbers):
        entries = []
        for number in numbers:
            entry = Entry(SimpleNamespace(function=abs, args=(number,), kwargs=None))
            entry.number = number
            entry.pickle(Caller(), "w")
            entries.append(entry)
        return entries

    def next(self):
        """Have the worker take its next call; return its number, None when there is none."""
        self.line._unread.setblocking(False)
        try:
            return next(self.calls)[1]
        except (BlockingIOError, StopIteration):
            self.calls = self.worker._next_calls()
            return None

    def close(self):
        for end in (self.line._calls, self.line._unread, self.line._tickets, self.line._untaken):
            end.close()


@pytest.fixture
def both():
    ends = Both()
    yield ends
    ends.close()


@needs_whole_messages
def test_calls_of_a_batch_are_taken_one_by_one(both):
    """They travel together and start alone."""
    both.line.send_together(both.entries(1, 2, 3))

    assert [1, 2, 3, None] == [both.next() for _ in range(4)]


@needs_whole_messages
@pytest.mark.parametrize("taken", range(4))
def test_a_batch_can_be_taken_back_from_any_call_on(both, taken):
    """Exactly what has not started comes back, wherever its worker is."""
    both.line.send_together(both.entries(1, 2, 3))
    assert [1, 2, 3][:taken] == [both.next() for _ in range(taken)]

    assert {1, 2, 3} - set(range(1, taken + 1)) == set(both.line.recall())
    assert both.next() is None


@needs_whole_messages
def test_a_ticket_of_a_later_batch_is_kept_for_it(both):
    """A worker that looks for a ticket that was taken back finds the next batch's."""
    both.line.send_together(both.entries(1, 2, 3))
    assert 1 == both.next()
    assert {2, 3} == set(both.line.recall())
    both.line.send_together(both.entries(4, 5, 6))

    assert [4, 5, 6] == [both.next() for _ in range(3)]


@needs_whole_messages
def test_a_ticket_taken_too_early_does_not_claim_a_message_that_is_taken_back(both):
    """A call was lost for good: its ticket was gone, and its message came back unread."""
    both.line.send_together(both.entries(1, 2, 3))
    assert 1 == both.next()
    assert {2, 3} == set(both.line.recall())
    both.line.send_together(both.entries(4, 5, 6))
    assert not both.worker._may_start(2)  # which has taken the ticket of call 4

    assert {4, 5, 6} == set(both.line.recall())
    both.line.send_together(both.entries(7, 8, 9))
    assert [7, 8, 9] == [both.next() for _ in range(3)]


@needs_whole_messages
def test_a_batch_without_room_is_sent_later_or_taken_back(both, monkeypatch):
    """Its tickets are on their way already."""
    real = both.line._put
    monkeypatch.setattr(both.line, "_put", lambda _message: False)
    assert both.line.send_together(both.entries(1, 2, 3))
    assert not both.line.send_together(both.entries(4, 5, 6))
    assert both.next() is None
    monkeypatch.setattr(both.line, "_put", real)
    assert both.line.flush()
    assert [1, 2, 3] == [both.next() for _ in range(3)]

    monkeypatch.setattr(both.line, "_put", lambda _message: False)
    both.line.send_together(both.entries(7, 8, 9))
    assert {7, 8, 9} == set(both.line.recall())
    monkeypatch.setattr(both.line, "_put", real)
    assert both.line.flush()
    assert both.next() is None


@needs_whole_messages
def test_single_calls_and_batches_keep_their_order(both):
    """Jobs of one worker run in the order in which it was given them."""
    both.line.send(both.entries(1)[0])
    both.line.send_together(both.entries(2, 3, 4))
    both.line.send(both.entries(5)[0])

    assert [1, 2, 3, 4, 5] == [both.next() for _ in range(5)]
