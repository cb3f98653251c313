"""What jobs, slots, options and errors are called in a recording, and what happened since it last wrote a line.

What comes again and again (options, lines, classes of errors) has a number, said in a line of its own before the
first that needs it. So many are remembered; after that all of them get new numbers, which does no harm.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Protocol, TypeVar

import attrs

from policies.breaker import CircuitBreaker
from policies.budget import RetryBudget
from policies.contracts import RetryPolicy
from policies.parts import parts_of

from ._core.job import Job, JobOptions
from ._core.pool_table import PoolRecord, Slot
from ._core.retrier import REJECTED
from ._plain import is_pure, place_of, plain
from ._tape import shortened, text

K = TypeVar("K")
V = TypeVar("V")

#: Things that have a number at the same time, of each kind. Arbitrary.
_NUMBERED = 4096

_args: Any = BaseException.__dict__["args"]
_GUARDS = (RetryBudget, CircuitBreaker)
#: Settings of a job that need no word of their own.
_FIELDS = tuple(field for field in attrs.fields(JobOptions) if field.init)


class Taker(Protocol):
    """Takes the lines of a recording: a `Tape`, or who compares them."""

    on: bool
    tell: Callable[[str], None]
    over: Callable[[], None]

    def put(self, line: str, now: float) -> None:
        """Take a line, which ends in a line feed."""

    def end(self, why: str, now: float, counts: Mapping[str, int] | None = None) -> None:
        """Take no more lines."""


class Notes:
    """The memory of one recording. Threads: under the scheduler's lock."""

    def __init__(self, tape: Taker) -> None:
        self.tape = tape
        #: The core is inside a call that is recorded: what it calls of itself is not.
        self.inside = False
        #: What the core did since the last line, as JSON.
        self.effects: list[str] = []
        #: Jobs that stand at the door or beside one that does, by number of their submit.
        self.at_door: dict[Job, int] = {}
        self.submits = 0
        self._numbers = 0
        self._numbered: dict[int, tuple[int, object]] = {}
        #: Numbers by what was said of options and lines: whoever makes options for each job makes many of the same.
        self._same: dict[str, int] = {}
        #: Retry policies: whether each can be asked again, and what is written of it.
        self._policies: dict[int, tuple[object, bool, Any]] = {}
        self._slots: dict[Slot, str] = {}
        self._names: dict[str, str] = {}
        #: Slots of jobs that run in their submitter's thread: made for each.
        self.callers: dict[Slot, str] = {}

    def line(self, head: str, now: float) -> None:
        """Write a stimulus, of which the end is missing, and what the core did."""
        effects = self.effects
        if effects:
            self.tape.put(f"{head},[{','.join(effects)}]]\n", now)
            effects.clear()
        else:
            self.tape.put(f"{head},[]]\n", now)

    def forget(self) -> None:
        """Remember nothing any more: the recording is over."""
        self.effects = _Nothing()
        for known in (self.at_door, self._numbered, self._same, self._policies):
            known.clear()
        for named in (self._slots, self._names, self.callers):
            named.clear()

    def waits(self, job: Job, joined: int) -> None:
        """Note that a job stands at the door, or beside one that does; or is another one, of the id `joined`."""
        if joined:
            self.effects.append(f'["join",{joined}]')
        else:
            self.at_door[job] = self.submits
            self.effects.append('["door"]')

    # Names

    def slot(self, slot: Slot) -> str:
        """Return what a slot is called: by its pool and its place there."""
        word = self._slots.get(slot)
        if word is None:
            word = self.callers.get(slot)
            if word is None:
                if len(self._slots) >= _NUMBERED:
                    self._slots.clear()
                word = self._slots[slot] = text(f"{slot.pool.pool_id}/{slot.index}")
        return word

    def pool(self, pool: PoolRecord) -> str:
        """Return what a pool is called."""
        return text(pool.pool_id)

    def function(self, job: Any) -> str:
        """Return the name of what a job calls; of what is no plain function it would be anybody's code."""
        function = getattr(job, "function", None)
        if type(function) is not FunctionType:
            return "null"
        name = function.__qualname__
        word = self._names.get(name)
        if word is None:
            if len(self._names) >= _NUMBERED:
                self._names.clear()
            word = self._names[name] = text(shortened(name))
        return word

    def error(self, error: BaseException | None, value: object = None) -> str:
        """Return an error: the number of its class, its text if it is made of one, and whether a value was rejected."""
        if error is None:
            return "null"
        cls = type(error)
        number = self._number(cls)
        if number is None:
            number = self._say("class", cls, [place_of(each) for each in cls.__mro__[:-2]])
        arguments = _args.__get__(error)  # no ``str``, which is anybody's code
        words = arguments[0] if arguments and type(arguments[0]) is str else ""
        return f"[{number},{text(shortened(words))},{'true' if value is REJECTED else 'false'}]"

    # Numbers

    def options(self, options: JobOptions) -> int:
        """Return the number of options."""
        number = self._number(options)
        return (
            self._say("options", options, self._settings(options), self._same) if number is None else number
        )

    def job_line(self, options: JobOptions, line: Any) -> int:
        """Return the number of the line of a job with these options."""
        known = self._numbered.get(id(line))
        if known is not None:
            return known[0]
        coroutine = any(group.coroutines for group in _groups(line))
        return self.new_line(options, line, coroutine=coroutine)

    def new_line(self, options: JobOptions, line: Any, *, coroutine: bool) -> int:
        """Say that jobs with these options have this line; return its number."""
        asked_for = self.options(options)
        known = self._numbered.get(id(line)) if line is not None else None
        number = self._next() if known is None else known[0]
        said = f'["line",{number},{asked_for},{"true" if coroutine else "false"}]\n'
        if said not in self._same:
            self.tape.put(said, 0.0)
            _remember(self._same, said, number)
        if line is not None:
            self._numbered[id(line)] = number, line
        return number

    def _settings(self, options: JobOptions) -> dict[str, Any]:
        values = ((field.name, getattr(options, field.name), field.default) for field in _FIELDS)
        settings = {
            name: plain(value) for name, value, default in values if name != "retry" and value != default
        }
        if options.retry is not None:
            settings["retry"] = self._policy(options.retry)[2]
        return settings

    def _number(self, thing: object) -> int | None:
        known = self._numbered.get(id(thing))
        return None if known is None else known[0]

    def _next(self) -> int:
        if len(self._numbered) >= _NUMBERED:
            self._numbered.clear()
        self._numbers += 1
        return self._numbers

    def _say(self, kind: str, thing: object, said: object, same: dict[str, int] | None = None) -> int:
        number, words = self._next(), json.dumps(said)
        if same is not None and words in same:
            number = same[words]
        else:
            self.tape.put(f'["{kind}",{number},{words}]\n', 0.0)
            if same is not None:
                _remember(same, words, number)
        self._numbered[id(thing)] = number, thing
        return number

    # Retry policies

    def is_pure(self, policy: RetryPolicy) -> bool:
        """Whether a retry policy can be asked again in a replay."""
        return self._policy(policy)[1]

    def _policy(self, policy: RetryPolicy) -> tuple[object, bool, Any]:
        known = self._policies.get(id(policy))
        if known is None:
            pure = is_pure(policy)
            known = policy, pure, plain(policy) if pure else answers_of(policy)
            _remember(self._policies, id(policy), known)
        return known

    def answer(self, policy: RetryPolicy, delay: float | None, asked: list[object]) -> None:
        """Note what a policy answered that cannot be asked again, and which of its guards it had asked."""
        guards = parts_of(policy, _GUARDS)
        indexes = [guards.index(guard) for guard in asked if guard in guards]
        self.effects.append(f'["answer",{json.dumps(delay)},{indexes}]')


def _remember(known: dict[K, V], key: K, value: V) -> None:
    """Remember one thing more, and all others anew if these are too many."""
    if len(known) >= _NUMBERED:
        known.clear()
    known[key] = value


class _Nothing(list[str]):
    """A list that takes nothing in."""

    def append(self, _said: str, /) -> None:
        """Take no note."""


def answers_of(policy: object) -> dict[str, Any]:
    """Return what is written of a retry policy whose answers are written down instead."""
    guards = parts_of(policy, _GUARDS)
    return {"answers": place_of(type(policy)), "guards": [plain(guard) for guard in guards]}


def _groups(line: Any) -> list[Any]:
    return [getattr(group, "group", group) for group in line.groups]
