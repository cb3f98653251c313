"""A core that has everything written down that enters it from outside, and what it did then.

Theory of operation
    All that a core ever hears is a call of one of its methods, under the lock, with the moment as an argument.
    So the sequence of these calls is the whole history, and played to a fresh core it is the same history again
    (law 6: same stimuli, same dice, same answers). Calls that the core makes of itself are not stimuli: what is
    *inside* another call is not written. What the core decided is written with each: for whoever compares.

    A scheduler that does not record has a plain `Core`, and pays nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from policies.contracts import Admission

from ._core.core import Core
from ._core.job import Job, JobOptions, Line
from ._core.pool_table import PoolRecord, Slot
from ._errors import SchedulerError, tears
from ._notes import Notes
from ._noting import NotingCore
from ._plain import place_of
from ._tape import shortened, text


def _words(kind: str, now: float, *words: str) -> str:
    return ",".join((f'["{kind}"', repr(now), *words))


def _entry(kind: str, say: Callable[..., tuple[float, tuple[str, ...]]], effect: bool = False) -> Any:
    """Return the method `kind` of a core that is written down: ``say(core, …)`` puts its arguments into words.

    With `effect`, a call from inside another is written as something that the core did to a pool.
    """
    real = getattr(Core, kind)

    def entry(self: RecordingCore, *args: Any, **named: Any) -> Any:
        notes = self.notes
        if notes.inside or not notes.tape.on:
            if effect and notes.tape.on:
                notes.effects.append(f'["{kind}",{notes.pool(args[0])}]')
            return real(self, *args, **named)
        try:
            now, words = say(self, *args, **named)
            head = _words(kind, now, *words)
        except Exception as error:
            self.give_up(error)
            return real(self, *args, **named)
        notes.inside = True
        try:
            return real(self, *args, **named)
        except BaseException as error:
            _raised(notes, error)
            raise
        finally:
            notes.inside = False
            self.write(head, now)

    return entry


def _raised(notes: Notes, error: BaseException, *, torn: bool = False) -> None:
    """Note what a call raised; a call that was torn may have done anything, and is not compared."""
    kind = "torn" if torn or tears(error) else "raise"
    notes.effects.append(f'["{kind}",{text(place_of(type(error)).partition(":")[2])}]')


def _pool(core: RecordingCore, pool: PoolRecord, now: float, **_named: Any) -> tuple[float, tuple[str, ...]]:
    return now, (core.notes.pool(pool),)


def _time(_core: RecordingCore, now: float) -> tuple[float, tuple[str, ...]]:
    return now, ()


def _ids(jobs: Sequence[Any]) -> str:
    return str([job.id for job in jobs])


class RecordingCore(NotingCore):
    """A core that is recorded."""

    def __init__(self, *args: Any, notes: Notes, **named: Any) -> None:
        notes.tape.tell, notes.tape.over = self._tell, notes.forget
        super().__init__(*args, notes=notes, **named)

    def _tell(self, why: str) -> None:
        self.left.warnings.append(why)  # a handler of the log is anybody's code, and not for the lock
        self.dirty = True

    def write(self, head: str, now: float) -> None:
        """Write a line, whatever comes of it."""
        try:
            self.notes.line(head, now)
        except Exception as error:
            self.give_up(error)

    def give_up(self, error: BaseException) -> None:
        """End the recording because of a bug of ours: no job is to be lost over it."""
        self.notes.tape.end("bug", self.now)
        self._tell(f"the recording has ended: {type(error).__name__} was raised in it; the scheduler goes on")

    def end_recording(self, now: float) -> None:
        """End the recording, because the scheduler has closed."""
        ledger = self.ledger
        names = ("numbers", "succeeded", "failed", "cancelled", "expired", "shed", "rejected", "retries")
        self.notes.tape.end("closed", now, {name: getattr(ledger, name) for name in names})

    def mend(self, torn: Job | None = None, unsure: Job | None = None) -> None:
        """Mend the books, and end the recording: what an interrupt tore cannot be torn again at the same place."""
        if self.notes.tape.on:
            self.notes.tape.end("interrupt", self.now)
            self._tell("the recording has ended: an interrupt tore a turn; the scheduler goes on")
        self.notes.inside = False
        super().mend(torn, unsure)

    # The hot path, by hand

    def submit(self, job: Job, now: float) -> Slot | Admission | None:
        """Take a new job."""
        if self.notes.inside or not self.notes.tape.on:
            return super().submit(job, now)
        return self._submit("submit", super().submit, job, now)  # type: ignore[no-any-return]

    def submit_keyed(self, job: Job, now: float) -> Job | Slot | Admission | None:
        """Take a new job that has a key."""
        if self.notes.inside or not self.notes.tape.on:
            return super().submit_keyed(job, now)
        return self._submit("submit_keyed", super().submit_keyed, job, now)  # type: ignore[no-any-return]

    def _submit(self, kind: str, take: Callable[[Job, float], Any], job: Job, now: float) -> Any:
        notes = self.notes
        notes.inside = True
        notes.submits += 1
        try:
            answer = take(job, now)
        except BaseException as error:
            _raised(notes, error, torn=not isinstance(error, SchedulerError))  # as `Driver.submit` has it
            raise
        else:
            if answer is not None and not isinstance(answer, Slot):
                notes.waits(job, answer.id if isinstance(answer, Job) else 0)
            return answer
        finally:
            notes.inside = False
            try:
                number, line = notes.options(job.options), notes.job_line(job.options, job.line)
                notes.line(f'["{kind}",{now!r},{job.id},{number},{line},{notes.function(job)}', now)
            except Exception as error:
                self.give_up(error)

    def finish(self, slot: Slot, value: object, error: BaseException | None, now: float) -> None:
        """Take the outcome of what ran in a slot."""
        notes = self.notes
        if notes.inside or not notes.tape.on:
            super().finish(slot, value, error, now)
            return
        notes.inside = True
        try:
            super().finish(slot, value, error, now)
        except BaseException as wrong:
            _raised(notes, wrong)
            raise
        finally:
            notes.inside = False
            try:
                words = "null" if error is None else notes.error(error, value)
                notes.line(f'["finish",{now!r},{notes.slot(slot)},{words}', now)
            except Exception as wrong:
                self.give_up(wrong)

    def refill(self, slot: Slot, now: float) -> Job | None:
        """Give a held slot its next job, or free it."""
        notes = self.notes
        if notes.inside or not notes.tape.on:
            return super().refill(slot, now)
        notes.inside = True
        try:
            return super().refill(slot, now)
        except BaseException as error:
            _raised(notes, error)
            raise
        finally:
            notes.inside = False
            self.write(f'["refill",{now!r},{notes.slot(slot)}', now)
            if notes.callers:
                notes.callers.pop(slot, None)

    # Everything else that enters

    def leave_door(self, job: Job, now: float, reason: str) -> None:
        """Turn a job away that still stands at the door."""
        notes = self.notes
        number = notes.at_door.pop(job, None)
        if number is None or notes.inside or not notes.tape.on:
            super().leave_door(job, now, reason)
            return
        notes.inside = True
        try:
            super().leave_door(job, now, reason)
        finally:
            notes.inside = False
            self.write(_words("leave_door", now, str(number), text(shortened(reason))), now)

    def line_for(self, options: JobOptions, *, coroutine: bool) -> Line | None:
        """Return the line of jobs like this, or None."""
        line = super().line_for(options, coroutine=coroutine)
        if self.notes.tape.on:
            try:
                self.notes.new_line(options, line, coroutine=coroutine)
            except Exception as error:
                self.give_up(error)
        return line

    def stop_scaling(self) -> None:
        """Open and drain nothing any more by itself."""
        notes = self.notes
        notes.inside = True
        try:
            super().stop_scaling()
        finally:
            notes.inside = False
            if notes.tape.on:
                self.write(_words("stop_scaling", self.now), self.now)

    @property
    def retrying(self) -> bool:
        """False once closing has begun to cancel."""
        return self._retrying

    @retrying.setter
    def retrying(self, value: bool) -> None:
        changed = getattr(self, "_retrying", True) is not value
        self._retrying = value
        if changed and self.notes.tape.on:
            self.write(_words("retrying", self.now, "true" if value else "false"), self.now)

    cancel = _entry("cancel", lambda _core, job, now, _outcome: (now, (str(job.id),)))
    interrupt = _entry(
        "interrupt", lambda _core, job, reason, now: (now, (str(job.id), text(shortened(str(reason)))))
    )
    abandon = _entry(
        "abandon", lambda core, slot, error, now: (now, (core.notes.slot(slot), core.notes.error(error)))
    )
    advance = _entry("advance", _time)
    ready = _entry("ready", lambda core, slot, worker, now: (now, (core.notes.slot(slot), text(worker))))
    outcome = _entry(
        "outcome",
        lambda core, slot, value, error, seconds, now: (
            now,
            (core.notes.slot(slot), core.notes.error(error, value), repr(seconds)),
        ),
    )
    fill = _entry("fill", lambda core, slot, want, now: (now, (core.notes.slot(slot), str(want))))
    lost = _entry(
        "lost",
        lambda core, slot, error, unstarted, now: (
            now,
            (core.notes.slot(slot), core.notes.error(error), _ids(unstarted)),
        ),
    )
    take_back = _entry("take_back", lambda core, slot, jobs, now: (now, (core.notes.slot(slot), _ids(jobs))))
    lagged = _entry("lagged", lambda core, pool, seconds, now: (now, (core.notes.pool(pool), repr(seconds))))
    make_pool = _entry("make_pool", lambda _core, group, now: (now, (text(group.name),)))
    add_pool = _entry("add_pool", _pool)
    pool_up = _entry("pool_up", _pool, effect=True)
    cordon = _entry("cordon", _pool, effect=True)
    drain = _entry("drain", _pool, effect=True)
    drain_for_good = _entry("drain_for_good", _pool)
    keep_no_longer = _entry("keep_no_longer", _pool)
    pool_failed = _entry(
        "pool_failed",
        lambda core, pool, error, _why, now: (now, (core.notes.pool(pool), core.notes.error(error))),
    )
    fail_some = _entry("fail_some", _time)
    fail_held = _entry("fail_held", _time)
    pause = _entry("pause", _time)
    resume = _entry("resume", _time)
    dispatch = _entry("dispatch", _time)


class Dice(random.Random):
    """Dice each throw of which is noted; the same throws as without."""

    notes: Notes | None = None

    def random(self) -> float:
        """Return a number in [0, 1)."""
        throw = self.throw()
        if self.notes is not None:
            self.notes.effects.append(f'["dice",{throw!r}]')
        return throw

    def throw(self) -> float:
        """Return the next throw."""
        return super().random()


def parts(notes: Notes, dice: Dice) -> dict[str, Any]:
    """Return what `make_core` makes a core of that is heard by these notes, and throws these dice."""
    dice.notes = notes
    return {"kind": partial(RecordingCore, notes=notes), "uniform": dice}
