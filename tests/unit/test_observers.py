"""Observers: they hear of everything, in order, and harm nobody."""

import logging
import threading

import attrs
import pytest

from scheduler._core import events as event_kinds
from scheduler._core.events import Event
from scheduler._observers import Observers


def events(*times):
    return [Event(time=time) for time in times]


def put(room, made):
    room.put([(event, None) for event in made])


def listening(*observers):
    room = Observers("test")
    for observer in observers:
        room.add(observer)
    return room


def test_observers_hear_events_in_their_order():
    """A settled before its started would be no history."""
    heard = []
    room = listening(lambda event: heard.append(event.time))
    put(room, events(1.0, 2.0))
    put(room, events(3.0))
    room.hand_out()

    assert [1.0, 2.0, 3.0] == heard


def test_each_observer_hears_everything():
    """A second listener must not take events from the first."""
    heard = ([], [])
    room = listening(heard[0].append, heard[1].append)
    made = events(1.0, 2.0)
    put(room, made)
    room.hand_out()

    assert (made, made) == heard


def test_an_observer_that_raises_goes_on_listening_and_harms_nobody(caplog):
    """A metrics client that is down must not take the scheduler with it."""
    heard = []

    def raises(event):
        heard.append(event)
        raise ZeroDivisionError

    room = listening(raises, heard.append)
    made = events(1.0, 2.0)
    put(room, made)
    with caplog.at_level(logging.ERROR, logger="two-tier-scheduler.observers"):
        room.hand_out()

    assert ([made[0], made[0], made[1], made[1]], 2) == (heard, len(caplog.records))


def test_the_log_names_the_observer_and_the_event(caplog):
    """Somebody has to find it."""

    def forgetful(event):
        raise ZeroDivisionError

    room = listening(forgetful)
    put(room, events(1.0))
    room.hand_out()

    assert "forgetful raised on Event" in caplog.text


def test_an_observer_without_a_usable_name_is_logged_too(caplog):
    """A partial, a mock, or an object that answers every question with an error."""

    class Nameless:
        def __getattr__(self, name):
            raise ZeroDivisionError(name)

        def __call__(self, event):
            raise ZeroDivisionError("no answer")

    heard = []
    room = listening(Nameless(), heard.append)
    made = events(1.0, 2.0)
    put(room, made)
    room.hand_out()

    assert made == heard


def test_who_has_left_hears_nothing_more():
    """Unsubscribing is final, twice as well as once."""
    heard = []
    leave = heard.append
    room = listening(leave)
    for _ in range(2):
        room.remove(leave)
    put(room, events(1.0))
    room.hand_out()

    assert ([], False) == (heard, bool(room))


def test_an_observer_may_leave_while_it_listens():
    """Waiting for one event and then unsubscribing is the common case."""
    heard = []
    room = Observers("test")

    def once(event):
        heard.append(event.time)
        room.remove(once)

    room.add(once)
    put(room, events(1.0, 2.0))
    room.hand_out()

    assert [1.0] == heard


def test_events_made_by_an_observer_come_after_what_is_at_hand():
    """An observer that submits a job makes events itself, and must not be called inside itself."""
    heard, depth = [], []

    def reacts(event):
        depth.append(event)
        assert len(depth) == 1
        heard.append(event.time)
        if event.time == 1.0:
            put(room, events(3.0))
            room.hand_out()
        depth.pop()

    room = listening(reacts)
    put(room, events(1.0, 2.0))
    room.hand_out()

    assert [1.0, 2.0, 3.0] == heard


def test_another_threads_events_are_left_with_the_thread_that_hands_out():
    """One observer is never called by two threads at once, and nothing is left in the outbox."""
    heard, inside, go_on = [], threading.Event(), threading.Event()

    def slow(event):
        heard.append((event.time, threading.current_thread().name))
        inside.set()
        assert go_on.wait(10.0)

    room = listening(slow)
    put(room, events(1.0))
    first = threading.Thread(target=room.hand_out, name="first")
    first.start()
    assert inside.wait(10.0)
    put(room, events(2.0))
    room.hand_out()
    go_on.set()
    first.join(10.0)

    assert [(1.0, "first"), (2.0, "first")] == heard


def test_an_interrupt_in_an_observer_leaves_the_rest_to_be_handed_out(caplog):
    """Ctrl-C may fall into an observer; it must not silence the others for ever, nor be told as its fault."""
    heard = []

    def interrupted_once(event):
        heard.append(event.time)
        if event.time == 1.0:
            raise KeyboardInterrupt

    room = listening(interrupted_once)
    put(room, events(1.0, 2.0))
    with pytest.raises(KeyboardInterrupt):
        room.hand_out()
    room.hand_out()

    assert ([1.0, 2.0], []) == (heard, caplog.records)


def test_every_field_of_an_event_is_given_by_name():
    """A field that is added later must not shift those behind it in somebody's test."""
    kinds = [kind for kind in vars(event_kinds).values() if isinstance(kind, type) and attrs.has(kind)]

    assert len(kinds) > 20
    assert [] == [
        f"{kind.__name__}.{field.name}" for kind in kinds for field in attrs.fields(kind) if not field.kw_only
    ]
