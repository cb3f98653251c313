"""The lines of the same groups whose jobs are under limits; to the dispatcher, one line.

Who is open and who is parked, and why that is enough, stands in `parking`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from heapq import merge
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakValueDictionary

from .job import Job
from .limited import Heads, Lag, LimitedLine
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

    def place(self, line: LimitedLine) -> None:
        """Open a line, or park it at the limit that has no room."""

    def park(self, line: LimitedLine, record: LimitRecord) -> None:
        """Park a line at a limit that has no room."""

    def move(self, line: LimitedLine, heads: Heads | None) -> None:
        """Have a line in another place, or in none."""

    def pass_on(self, line: LimitedLine) -> None:
        """Let the next one have the room that this line has left, where there is any."""


class Bundle:
    """The lines of the same groups whose jobs are under limits; to the dispatcher, one line."""

    __slots__ = (
        "_lags",
        "_lots",
        "_make",
        "fair",
        "groups",
        "known",
        "limits",
        "occupied",
        "open",
        "served",
        "taken",
    )

    def __init__(self, groups: Groups, lots: Keeper, make: Callable[[Groups], Any], *, fair: bool) -> None:
        self.groups = groups
        self.limits: tuple[LimitRecord, ...] = ()
        self.taken: Job | None = None
        self._lots = lots
        self._make = make
        #: Tenants share, so that the places of heads move.
        self.fair = fair
        #: The line that was served last, where tenants share.
        self.served: Any = None
        self._lags: WeakKeyDictionary[LimitRecord, Lag] = WeakKeyDictionary()
        self.clear()
        #: Every line that a submitter or a job knows.
        self.known: WeakValueDictionary[tuple[LimitRecord, ...], Any] = WeakValueDictionary()

    def line(self, limits: tuple[LimitRecord, ...]) -> LimitedLine:
        """Return the line of jobs under exactly these limits."""
        line: LimitedLine | None = self.known.get(limits)
        if line is None:
            made = self._make(self.groups)
            made.bundle, made.limits, made.where, made.shown = self, limits, None, ()
            if self.fair:
                made.lags = [self._lags.setdefault(record, Lag()) for record in limits]
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
                self._lots.move(line, None)
                del self.occupied[line]
        elif where is None:
            self.occupied[line] = None
            self._lots.place(line)
            return
        elif line.shown[-1] != head.arrival:
            record = where.record
            # With a token that has come already it waits on: the alarm that rings for it looks for who is first.
            if record is not None and record.armed == math.inf and record.has_room(self._lots.turn.now):
                self._lots.place(line)
            else:
                where.show(line)
        if worse and where is self.open:
            self._lots.pass_on(line)

    # Where tenants share

    def level(self, apart: LimitRecord | None = None) -> float | None:
        """Return how far these lines have got, but for those under a limit: the first that is open, or the last served."""
        line: Any = self.open.first()
        if line is not None and apart not in line.limits:
            return line.reached()  # type: ignore[no-any-return]
        line = self.served
        if line is None or apart in line.limits:
            return None
        return line.reached_last()  # type: ignore[no-any-return]

    # What the dispatcher sees

    def top(self) -> LimitedLine | None:
        """Return the open line whose head is next, or None; those before it without room are parked."""
        lots = self._lots
        while (line := self.open.first()) is not None:
            blocker = line.blocker(lots.turn.now)
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
        """Remove and return the job that is next of those that have room, or None."""
        line = None if self.fair else self.open.only
        if line is not None:
            now = self._lots.turn.now
            for record in line.limits:
                if record.held >= record.concurrency or now < record.ready_at:
                    break
            else:
                return line.pop()
        if self.fair:
            self._charge_outlived()
        line = self.top()
        return None if line is None else line.pop()

    def _charge_outlived(self) -> None:
        """Charge attempts that have outlived their guess, until those of the next line's have not."""
        before: Any = None
        while (line := self.top()) is not before and line is not None:
            line.charge_outlived()  # type: ignore[attr-defined]  # where tenants share
            before = line

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
                room = min(record.concurrency - record.held for record in line.limits)
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
        for line in list(self.known.values()):
            line.look()

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
