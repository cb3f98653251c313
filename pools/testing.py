"""The promises of a pool, executable: for the pools here and for third parties' test suites.

``check_pool(ThreadPool(slots=2))`` raises AssertionError naming the first promise that does not hold.
``PROMISES`` has one function per promise, for a test id each. What the pool is made to run comes from
`Samples`: plain functions, or coroutine functions where the recipe ``runs_coroutines``. They share memory
with the test. A recipe that announces its workers runs its calls in other processes, and is given calls that
can travel; for any other such pool, subclass `Samples` and hand it over.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Self

from ._check_elsewhere import ELSEWHERE
from ._samples import CoroutineSamples, Held, SampleCall, Samples
from .contract import Call, Outcome, Pool, PoolRecipe

__all__ = [
    "PATIENCE",
    "PROMISES",
    "CoroutineSamples",
    "Harness",
    "Held",
    "SampleCall",
    "Samples",
    "check_pool",
    "p7_a_broken_pool_says_so_once",
]

#: Seconds a promise may take before it counts as broken. Generous: a loaded machine is slow.
PATIENCE = 10.0


class _Thing:
    """Something whose end can be seen."""


class Harness:
    """A pool under test, and what it delivered."""

    def __init__(self, recipe: PoolRecipe) -> None:
        self.slots = recipe.slots
        self.delivered: list[tuple[int, object, BaseException | None]] = []
        self.said_broken: list[BaseException] = []
        #: What a slot is given next, when its outcome has been delivered.
        self.following: dict[int, list[Call]] = {}
        #: What a worker had been given and never began.
        self.unstarted: list[Call] = []
        self._announces = recipe.announces
        self._ready: set[int] = set()
        self._changed = threading.Condition()
        self.pool: Pool = recipe.open("check-1", self)

    def deliver(self, slot: int, value: object, error: BaseException | None) -> Call | None:
        """Take an outcome; return what the slot is to run next. `Front.deliver`."""
        with self._changed:
            self.delivered.append((slot, value, error))
            self._changed.notify_all()
            following = self.following.get(slot)
            return following.pop(0) if following else None

    def broken(self, error: BaseException) -> None:
        """Hear that the pool can run nothing any more. `Front.broken`."""
        with self._changed:
            self.said_broken.append(error)
            self._changed.notify_all()

    def ready(self, slot: int, worker: str) -> Sequence[Call]:
        """Hear that a slot has a worker. `Front.ready`."""
        with self._changed:
            self._ready.add(slot)
            self._changed.notify_all()
            return ()

    def exchange(self, slot: int, outcomes: Sequence[Outcome], want: int) -> Sequence[Call]:
        """Take outcomes; return at most `want` calls. `Front.exchange`."""
        with self._changed:
            self.delivered += [(slot, value, error) for value, error, _ in outcomes]
            self._changed.notify_all()
            following = self.following.get(slot, [])
            calls, following[:want] = following[:want], ()
            return calls

    def missed(self, slot: int) -> bool:
        """Nobody wants anything back here but by asking the pool."""
        return False

    def lost(self, slot: int, error: BaseException | None, unstarted: Sequence[Call]) -> None:
        """Hear that a slot has no worker any more. `Front.lost`."""
        with self._changed:
            self._ready.discard(slot)
            if error is not None:
                self.delivered.append((slot, None, error))
            self.unstarted += unstarted
            self._changed.notify_all()

    def lagged(self, seconds: float) -> None:
        """Hear how late the pool's event loop has been. `Front.lagged`."""

    def recall(self, slot: int) -> None:
        """Take back what lies ahead in a slot, to be given again. `Front.recall`."""
        calls = getattr(self.pool, "recall", lambda _slot: ())(slot)
        with self._changed:
            self.following.setdefault(slot, [])[:0] = calls

    def run(self, slot: int, call: Call) -> None:
        """Start a call in a slot, once that has a worker."""
        self.wait(lambda: slot in self._ready or not self._announces, "P7", f"slot {slot} got no worker")
        self.pool.run(slot, call)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.pool.stop(PATIENCE)

    def wait(self, holds: Callable[[], bool], promise: str, story: str) -> None:
        """Wait until something holds; fail the promise when it does not."""
        with self._changed:
            _require(self._changed.wait_for(holds, PATIENCE), promise, story)

    def wait_delivered(self, count: int, promise: str) -> None:
        """Wait for so many outcomes."""
        self.wait(
            lambda: len(self.delivered) >= count,
            promise,
            f"{count} calls ran, {len(self.delivered)} came back",
        )


def p1_slots_never_change(recipe: PoolRecipe, samples: Samples | None = None) -> None:
    """``slots`` is a positive integer and the same before, during and after use."""
    samples = _samples(recipe, samples)
    with Harness(recipe) as harness:
        for slot in range(recipe.slots):
            harness.run(slot, samples.value(0))
        harness.wait_delivered(recipe.slots, "P1")
        harness.pool.stop(PATIENCE)
        _require(recipe.slots == harness.slots >= 1, "P1", "slots changed")


def p2_run_does_not_block(recipe: PoolRecipe, samples: Samples | None = None) -> None:
    """``run`` returns while the call is still running, and another thread runs it; ``holds`` tells the truth."""
    samples = _samples(recipe, samples)
    with Harness(recipe) as harness:
        pool = harness.pool
        helds = [samples.held() for _ in range(recipe.slots)]
        _require(not pool.holds(0, helds[0].call), "P2", "holds() knows a call that run() was never given")
        for slot, held in enumerate(helds):
            harness.run(slot, held.call)
        _require(not harness.delivered, "P2", "run() came back after the call had ended")
        known = all(pool.holds(slot, held.call) for slot, held in enumerate(helds))
        started = all(held.started() for held in helds)
        for held in helds:
            held.release()
        harness.wait_delivered(recipe.slots, "P2")
        _require(started, "P2", "not every slot ran its call while the others were held")
        _require(known, "P2", "holds() does not know a call that is running")
        known = any(pool.holds(slot, held.call) for slot, held in enumerate(helds))
        _require(not known, "P2", "holds() knows a call that was delivered")
        pool.stop(PATIENCE)
        threads = [held.thread for held in helds]
        _require(threading.get_ident() not in threads, "P2", "the call ran in the caller")


def p3_each_call_is_delivered_once(recipe: PoolRecipe, samples: Samples | None = None) -> None:
    """Values and errors come back, once each, including calls handed out by ``deliver``."""
    samples = _samples(recipe, samples)
    with Harness(recipe) as harness:
        errors = [ValueError("expected"), SystemExit("expected"), KeyboardInterrupt("expected")]
        harness.following = {
            slot: [*map(samples.error, errors), samples.value(slot)] for slot in range(recipe.slots)
        }
        for slot in range(recipe.slots):
            harness.run(slot, samples.value(str(slot)))
        harness.wait_delivered(recipe.slots * 5, "P3")
        harness.pool.stop(PATIENCE)
        for slot in range(recipe.slots):
            got = [(value, _told(error)) for at, value, error in harness.delivered if at == slot]
            expected = [(str(slot), ""), *((None, _told(error)) for error in errors), (slot, "")]
            _require(got == expected, "P3", f"slot {slot} delivered {got}, not {expected}")


def p4_the_slot_is_free_before_its_outcome_is_visible(
    recipe: PoolRecipe, samples: Samples | None = None
) -> None:
    """Once an outcome has been delivered without a successor, its slot takes a call at once."""
    samples = _samples(recipe, samples)
    with Harness(recipe) as harness:
        for turn in range(100):
            harness.run(0, samples.value(turn))
            harness.wait_delivered(turn + 1, "P4")
        harness.pool.stop(PATIENCE)
        values = [value for _, value, _ in harness.delivered]
        _require(values == list(range(100)), "P4", f"outcomes came back as {values}")


def p5_drain_refuses_new_calls_and_finishes_the_accepted(
    recipe: PoolRecipe, samples: Samples | None = None
) -> None:
    """After ``drain`` a running call still delivers its value, and ``run`` raises."""
    samples = _samples(recipe, samples)
    with Harness(recipe) as harness:
        held = samples.held()
        harness.run(0, held.call)
        _require(held.started(), "P5", "the call did not start")
        harness.pool.drain()
        try:
            harness.pool.run(recipe.slots - 1, samples.value(0))
        except Exception:  # whatever the pool calls it
            refused = True
        else:
            refused = False
        held.release()
        harness.wait_delivered(1, "P5")
        harness.pool.stop(PATIENCE)
        _require(refused, "P5", "a draining pool took a call")
        _require(harness.delivered[0][1] == "finished", "P5", "an accepted call was not finished")


def p6_stop_is_bounded_and_gives_back_what_it_abandons(
    recipe: PoolRecipe, samples: Samples | None = None
) -> None:
    """``stop`` returns in time though a call ignores it, names its slot and delivers an error for it."""
    samples = _samples(recipe, samples)
    with Harness(recipe) as harness:
        held = samples.held()
        harness.run(0, held.call)
        _require(held.started(), "P6", "the call did not start")
        begun = time.monotonic()
        stuck = harness.pool.stop(0.05)
        took = time.monotonic() - begun
        delivered = list(harness.delivered)
        held.release()
        _require(took < PATIENCE / 2, "P6", f"stop(0.05) took {took:.1f} s")
        _require(stuck == (0,), "P6", f"stop() named the slots {stuck} as stuck, not (0,)")
        _require(len(delivered) == 1 and delivered[0][2] is not None, "P6", "the abandoned call got no error")
        harness.pool.stop(PATIENCE)
        _require(len(harness.delivered) == 1, "P3", "an abandoned call was delivered twice")


def p8_a_worker_keeps_nothing_of_a_finished_call(recipe: PoolRecipe, samples: Samples | None = None) -> None:
    """Arguments and values of a finished call are not kept alive by a parked worker."""
    samples = _samples(recipe, samples)
    with Harness(recipe) as harness:
        thing = _Thing()
        gone = threading.Event()
        weakref.finalize(thing, gone.set)
        harness.run(0, samples.value(thing))
        harness.wait_delivered(1, "P8")
        del thing
        harness.delivered.clear()
        gc.collect()
        _require(gone.wait(PATIENCE), "P8", "the argument of a finished call is still alive")
        harness.pool.stop(PATIENCE)


def p9_interrupt_stops_no_other_call(recipe: PoolRecipe, samples: Samples | None = None) -> None:
    """``interrupt`` returns at once, and does nothing where ``still`` says that another call has the slot."""
    samples = _samples(recipe, samples)
    with Harness(recipe) as harness:
        helds = [samples.held() for _ in range(recipe.slots)]
        for slot, held in enumerate(helds):
            harness.run(slot, held.call)
        _require(all(held.started() for held in helds), "P9", "a call did not start")
        for slot in range(recipe.slots):
            harness.pool.interrupt(slot, lambda: False)
        harness.pool.interrupt(0, lambda: True)
        _require(not any(at for at, _, _ in harness.delivered), "P9", "interrupt() stopped another call")
        for held in helds:
            held.release()
        harness.wait_delivered(recipe.slots, "P9")
        harness.pool.stop(PATIENCE)
        others = [value for at, value, _ in harness.delivered if at]
        _require(others == ["finished"] * (recipe.slots - 1), "P9", f"the others ended with {others}")


def p7_a_broken_pool_says_so_once(recipe: PoolRecipe, samples: Samples | None = None) -> None:
    """A pool whose workers cannot start says so once and delivers an error for the call it took.

    Not part of ``PROMISES``: hand it a recipe whose initializer raises.
    """
    samples = _samples(recipe, samples)
    with Harness(recipe) as harness:
        for slot in range(recipe.slots):
            harness.run(slot, samples.value(0))
        harness.wait_delivered(recipe.slots, "P7")
        harness.pool.stop(PATIENCE)
        _require(
            len(harness.said_broken) == 1, "P7", f"a broken pool said so {len(harness.said_broken)} times"
        )
        _require(
            all(error is not None for _, _, error in harness.delivered), "P7", "a broken pool ran a call"
        )


def _of_its_kind(number: str, check: Callable[..., None]) -> Callable[..., None]:
    """Return the check of a promise that gives each recipe calls of its kind."""

    def promise(recipe: PoolRecipe, samples: Samples | None = None) -> None:
        elsewhere = ELSEWHERE.get(number) if recipe.announces and samples is None else None
        if elsewhere is None:
            check(recipe, samples)
            return
        with Harness(recipe) as harness:
            elsewhere(harness, SampleCall, PATIENCE, _require)

    promise.__doc__ = check.__doc__
    return promise


#: Every promise that any recipe must keep, by its number.
PROMISES: Mapping[str, Callable[..., None]] = MappingProxyType(
    {
        number: _of_its_kind(number, check)
        for number, check in {
            "P1": p1_slots_never_change,
            "P2": p2_run_does_not_block,
            "P3": p3_each_call_is_delivered_once,
            "P4": p4_the_slot_is_free_before_its_outcome_is_visible,
            "P5": p5_drain_refuses_new_calls_and_finishes_the_accepted,
            "P6": p6_stop_is_bounded_and_gives_back_what_it_abandons,
            "P8": p8_a_worker_keeps_nothing_of_a_finished_call,
            "P9": p9_interrupt_stops_no_other_call,
        }.items()
    }
)


def check_pool(
    recipe: PoolRecipe, samples: Samples | None = None, *, skip: frozenset[str] = frozenset()
) -> None:
    """Raise AssertionError unless pools of this recipe keep every promise but those in `skip`.

    Takes a few seconds at most. `samples` makes the calls; None means functions that share memory with the
    test, or coroutines. A pool that declares an exception (`InlinePool` and P2) names it.
    """
    for number, promise in PROMISES.items():
        if number not in skip:
            promise(recipe, samples)


def _samples(recipe: PoolRecipe, given: Samples | None) -> Samples:
    if given is not None:
        return given
    return (CoroutineSamples if recipe.runs_coroutines else Samples)(PATIENCE)


def _told(error: BaseException | None) -> str:
    """Return what an error says: one that comes from another process is not the same object."""
    return "" if error is None else repr(error)


def _require(holds: bool, promise: str, story: str) -> None:
    if not holds:
        raise AssertionError(f"{promise}: {story}")
