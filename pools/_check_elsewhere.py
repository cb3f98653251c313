"""The promises of a pool whose calls run in other processes, checked with calls that can travel.

Signals go by files, values are compared by what they say, and an error by its type and text: nothing here
shares memory with the test. `pools.testing` runs these for recipes that announce their workers.
"""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

Require = Callable[[bool, str, str], None]
#: Makes a call of a function and its arguments.
Make = Callable[..., Any]


class Thing:
    """Something that can be sent, and whose going can be seen."""


def ignore(*_: object) -> None:
    """Take anything."""


def fail(error: BaseException) -> None:
    """Raise what it is given."""
    raise error


def hold(started: str, release: str) -> int:
    """Say by a file that it runs, run until the other is there, and return where it ran."""
    Path(started).touch()
    while not Path(release).exists():
        time.sleep(0.002)
    return os.getpid()


@contextmanager
def _files() -> Iterator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "started"), Path(folder, "release")


def _await(path: Path, promise: str, patience: float, require: Require) -> None:
    until = time.monotonic() + patience
    pause = threading.Event()
    while not path.exists():
        require(time.monotonic() < until, promise, "the call did not start")
        pause.wait(0.002)


def p2_run_does_not_block(harness: Any, make: Make, patience: float, require: Require) -> None:
    """``run`` returns while the call is still running elsewhere; ``holds`` tells the truth."""
    with _files() as (started, release):
        calls = [make(hold, f"{started}{slot}", str(release)) for slot in range(harness.slots)]
        require(not harness.pool.holds(0, calls[0]), "P2", "holds() knows a call that run() was never given")
        for slot, call in enumerate(calls):
            harness.run(slot, call)
        require(not harness.delivered, "P2", "run() came back after the call had ended")
        held = all(harness.pool.holds(slot, call) for slot, call in enumerate(calls))
        release.touch()
        harness.wait_delivered(harness.slots, "P2")
        require(held, "P2", "holds() does not know a call that is running")
        harness.pool.stop(patience)
        held = any(harness.pool.holds(slot, call) for slot, call in enumerate(calls))
        require(not held, "P2", "holds() knows a call that was delivered")
        where = {value for _, value, _ in harness.delivered}
        require(os.getpid() not in where, "P2", "the call ran in the caller's process")


def p3_each_call_is_delivered_once(harness: Any, make: Make, patience: float, require: Require) -> None:
    """Values and errors come back, once each, in order, including calls handed out by ``exchange``."""
    errors = [ValueError("expected"), SystemExit("expected"), KeyboardInterrupt("expected")]
    for slot in range(harness.slots):
        harness.following[slot] = [*(make(fail, error) for error in errors), make(abs, -slot)]
    for slot in range(harness.slots):
        harness.run(slot, make(str, slot))
    harness.wait_delivered(harness.slots * 5, "P3")
    harness.pool.stop(patience)
    for slot in range(harness.slots):
        got = [(value, repr(error)) for at, value, error in harness.delivered if at == slot]
        expected = [(str(slot), "None"), *((None, repr(error)) for error in errors), (slot, "None")]
        require(got == expected, "P3", f"slot {slot} delivered {got}, not {expected}")


def p5_drain_refuses_new_calls_and_finishes_the_accepted(
    harness: Any, make: Make, patience: float, require: Require
) -> None:
    """After ``drain`` a running call still delivers its value, and ``run`` raises."""
    with _files() as (started, release):
        harness.run(0, make(hold, str(started), str(release)))
        _await(started, "P5", patience, require)
        harness.pool.drain()
        try:
            harness.pool.run(harness.slots - 1, make(int))
        except Exception:  # whatever the pool calls it
            refused = True
        else:
            refused = False
        release.touch()
        harness.wait_delivered(1, "P5")
        harness.pool.stop(patience)
        require(refused, "P5", "a draining pool took a call")
        require(isinstance(harness.delivered[0][1], int), "P5", "an accepted call was not finished")


def p6_stop_is_bounded_and_gives_back_what_it_abandons(
    harness: Any, make: Make, patience: float, require: Require
) -> None:
    """``stop`` returns in time though a call ignores it, and delivers an error for that call."""
    with _files() as (started, release):
        harness.run(0, make(hold, str(started), str(release)))
        _await(started, "P6", patience, require)
        begun = time.monotonic()
        harness.pool.stop(0.05)
        took = time.monotonic() - begun
        delivered = list(harness.delivered)
        release.touch()
        require(took < patience / 2, "P6", f"stop(0.05) took {took:.1f} s")
        require(len(delivered) == 1 and delivered[0][2] is not None, "P6", "the abandoned call got no error")
        harness.pool.stop(patience)
        require(len(harness.delivered) == 1, "P3", "an abandoned call was delivered twice")


def p8_a_worker_keeps_nothing_of_a_finished_call(
    harness: Any, make: Make, patience: float, require: Require
) -> None:
    """Arguments of a finished call are not kept alive by the pool's side of the worker."""
    thing, gone = Thing(), threading.Event()
    weakref.finalize(thing, gone.set)
    harness.run(0, make(ignore, thing))
    harness.wait_delivered(1, "P8")
    del thing
    harness.delivered.clear()
    gc.collect()
    require(gone.wait(patience), "P8", "the argument of a finished call is still alive")
    harness.pool.stop(patience)


def p9_interrupt_stops_no_other_call(harness: Any, make: Make, patience: float, require: Require) -> None:
    """A request to stop a call that is not there any more leaves the one that is."""
    with _files() as (started, release):
        harness.run(0, make(hold, str(started), str(release)))
        _await(started, "P9", patience, require)
        asked = threading.Event()

        def still() -> bool:
            asked.set()
            return False

        harness.pool.interrupt(0, still)
        require(asked.wait(patience), "P9", "interrupt() did not ask whether the call is still there")
        release.touch()
        harness.wait_delivered(1, "P9")
        require(harness.delivered[0][2] is None, "P9", "a call was stopped for another")
        harness.pool.stop(patience)


#: What takes the place of the promise with that number.
ELSEWHERE: Mapping[str, Callable[[Any, Make, float, Require], None]] = MappingProxyType(
    {
        "P2": p2_run_does_not_block,
        "P3": p3_each_call_is_delivered_once,
        "P5": p5_drain_refuses_new_calls_and_finishes_the_accepted,
        "P6": p6_stop_is_bounded_and_gives_back_what_it_abandons,
        "P8": p8_a_worker_keeps_nothing_of_a_finished_call,
        "P9": p9_interrupt_stops_no_other_call,
    }
)
