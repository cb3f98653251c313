"""The lines of the same groups among which the dispatcher need not choose; to it, one line.

Who is open and who is parked, and why that is enough, stands in `parking`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from typing import Any, Protocol
from weakref import WeakValueDictionary

from .job import Job
from .limited import Heads, LimitedLine
from .limits import LimitRecord
from .pool_table import GroupRecord, Loan

#: Groups in spill-over order.
Groups = tuple[GroupRecord | Loan, ...]


class Turn(Protocol):
    """What is known of the turn that is being taken."""

    now: float
    dirty: bool


class Keeper(Protocol):
    """Whoever moves lines: `parking.Lots`."""

    turn: Turn
    woken: list[LimitedLine]
    parked: int
    limits: Sequence[Any]

    def place(self, line: LimitedLine) -> None:
        """Open a line, or park it at the limit that has no room."""

    def park(self, line: LimitedLine, record: LimitRecord) -> None:
        """Park a line at a limit that has no room."""

    def move(self, line: LimitedLine, heads: Heads | None) -> None:
        """Have a line in another place, or in none."""

    def hold(self, line: LimitedLine, now: float) -> None:
        """Take from every limit of a job that leaves its line."""

    def pass_on(self, line: LimitedLine) -> None:
        """Let the next one have the room that this line has left, where there is any."""


class Bundle:
    """The lines of the same groups whose jobs are under limits; to the dispatcher, one line."""

    __slots__ = ("_make", "groups", "known", "limits", "lots", "occupied", "open", "taken")

    #: Tenants share, so that the places of heads move.
    fair = False

    def __init__(self, groups: Groups, lots: Keeper, make: Callable[[Groups], Any]) -> None:
        self.groups = groups
        self.limits: tuple[LimitRecord, ...] = ()
        self.taken: Job | None = None
        self.lots = lots
        self._make = make
        self.clear()
        #: Every line that a submitter or a job knows.
        self.known: WeakValueDictionary[Any, Any] = WeakValueDictionary()

    def line(self, limits: tuple[LimitRecord, ...], tenant: str | None = None) -> LimitedLine:
        """Return the line of jobs under exactly these limits, whoever their tenants are."""
        line: LimitedLine | None = self.known.get(limits)
        if line is None:
            made = self._make(self.groups)
            made.bundle, made.where, made.shown = self, None, None
            made.put_under(limits)
            line = self.known[limits] = made
        return line

    def clear(self) -> None:
        """Have nobody here: each line is placed when it is laid anew."""
        self.open = Heads(None)
        #: Lines in which somebody waits.
        self.occupied: dict[LimitedLine, None] = {}

    def headed(self, line: LimitedLine, *, worse: bool) -> None:
        """Take note that a line may have another head, which comes later than the one before if `worse`."""
        head = line.peek()
        where = line.where
        if head is None:
            if where is not None:
                self.lots.move(line, None)
                del self.occupied[line]
        elif where is None:
            self.occupied[line] = None
            self.lots.place(line)
            return
        elif line.shown is None or line.shown[-2] != head.arrival:
            record, now = where.record, self.lots.turn.now
            # With a token that has come already it waits on: the alarm that rings for it looks for who is first.
            if record is not None and record.armed > now and record.has_room(now):
                self.lots.place(line)
            else:
                where.show(line)
        if worse and where is self.open:
            self.lots.pass_on(line)

    # What the dispatcher sees

    def top(self) -> LimitedLine | None:
        """Return the open line whose head is next, or None; those before it without room are parked."""
        lots = self.lots
        while (line := self.open.first()) is not None:
            blocker = line.blocker(lots.turn.now) if line.limits else None
            if blocker is None:
                return line
            lots.park(line, blocker)
            lots.pass_on(line)
        return None

    @property
    def best(self) -> Job | None:
        """The job that is next of those that have room, or None."""
        return self.peek()

    @property
    def broken(self) -> bool:
        """No group can run these jobs any more."""
        return all(group.broken is not None for group in self.groups)

    def peek(self) -> Job | None:
        """Return the job that is next of those that have room, or None."""
        line = self.top()
        return None if line is None else line.peek()

    def pop(self) -> Job | None:
        """Remove and return the job that is next of those that have room, or None, and take from its limits."""
        lots, heads = self.lots, self.open
        now = lots.turn.now
        line: Any = heads.only
        if line is None and heads.heap:
            entry = heads.heap[0]
            line = entry[-1]
            if line.shown is not entry:
                line = self.top()
        if line is None:
            return None
        for record in line.metered:  # as `blocker` and `Lots.hold` do, in one go
            if now < record.ready_at:
                return self._next(now)
        for record in line.counted:
            held = record.held
            if held >= record.concurrency:
                line.give_back(record)
                return self._next(now)
            record.held = held + 1
        job: Job | None = line.pop()
        for record in line.metered:
            record.take_token(now)
        if lots.parked:
            lots.pass_on(line)
        return job

    def _next(self, now: float) -> Job | None:
        """Do what `pop` does, when the first of the open lines has no room."""
        line = self.top()
        job = None if line is None else line.pop()
        if line is not None:
            self.lots.hold(line, now)
        return job

    def place(self, job: Job) -> tuple[float, ...]:
        """Return what the heads of lines are compared by."""
        return job.line.place(job)

    def worst(self) -> Job | None:
        """Return the job that would start last, with room or without, or None. Cost: O(lines)."""
        worst = [job for line in self.occupied if (job := line.worst()) is not None]
        return max(worst, key=lambda job: (job.key, job.arrival), default=None)

    def levels(self) -> Iterator[tuple[int, int, float | None]]:
        """Iterate over the priorities of the jobs that have room, see `Line`, as far as their limits let them start."""
        for line in self.occupied:
            if line.where is self.open:
                room = min((record.concurrency - record.held for record in line.limits), default=math.inf)
                for priority, count, since in line.levels():
                    able = int(min(count, room))
                    if able > 0:
                        yield priority, able, since
                    room -= able

    def before(self, job: Job) -> int:
        """Return how many jobs with room wait here that start before this one."""
        return sum(line.before(job) for line in self.occupied if line.where is self.open)

    def oldest(self, priority: int) -> Iterator[Job]:
        """Iterate over the jobs of a priority that have room, those that came first before the others."""
        lines = [line.oldest(priority) for line in self.occupied if line.where is self.open]
        return merge(*lines, key=lambda job: (job.key, job.arrival))

    def look(self) -> None:
        """See again whether any group can still run these jobs."""
        for line in self.lines():
            line.look()

    def lines(self) -> list[Any]:
        """Return every line that a submitter or a job knows."""
        return [line for ref in self.known.valuerefs() if (line := ref()) is not None]

    def in_order(self) -> bool:
        """Whether the first of the open lines is the one whose head is next. Cost: O(lines)."""
        lines: list[Any] = [line for line in self.occupied if line.where is self.open]
        first = min(lines, key=lambda line: line.place(line.peek()), default=None)
        return self.open.first() is first

    def push(self, job: Job) -> None:
        """Add a waiting job to its line."""
        job.line.push(job)

    def push_back(self, job: Job) -> None:
        """Return a job to its line."""
        job.line.push_back(job)

    def discard(self, job: Job) -> None:
        """Forget a job whose state has already left WAITING."""
        job.line.discard(job)

    def __len__(self) -> int:
        return sum(len(line) for line in self.occupied)

    def __iter__(self) -> Iterator[Job]:
        for line in self.occupied:
            yield from line
