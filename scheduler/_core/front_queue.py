"""Tier one: the one place where admitted jobs wait.

Theory of operation
    Jobs that the same groups may take form one *line* (an eligibility class), so a full process
    group never blocks threads. A line is one sorted container; which one depends on the ordering:

    - `LevelLine` when keys take few distinct values (strict priorities): a `SortedDict` from key to
      a run of equals, first in, first out. Push and pop 0.1 µs, whatever the depth.
    - `KeyLine` when nearly every job has a key of its own (ageing, deadlines):
      a `SortedList` of ``(key, arrival, job)``. Push and pop 0.7 µs at 1,000 waiting, 1.5 at 1,000,000.
    - `FairLine`, in a room of its own, when tenants share.

    Where there are limits, jobs under the same ones form a line of their own, those under none too, in one
    bundle for the same groups: see `parking`.

Guarantees
    - Jobs leave by key, then by arrival. A job that comes back (retry) has kept both.
    - `Line.best` is None exactly when the line holds no waiting job.
    - Every operation is O(log n) or better, amortised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from operator import attrgetter
from typing import Any

from .bundle import Bundle, Groups
from .fair_line import FairLine
from .job import Job, Line
from .limited import LimitedKeyLine, LimitedLevelLine
from .limits import LimitRecord
from .lines import KeyLine, LevelLine, order
from .parking import Lots
from .pool_table import GroupRecord, Loan
from .shares import Shares
from .states import WAITING


class FrontQueue:
    """Every line, and the bound over all of them together.

    `held` counts what the bound is about: jobs that wait, are delayed or back off.
    The gate admits only while ``held < capacity``. A job that comes back from a slot is always
    taken back, so ``held`` may exceed ``capacity`` by at most the number of slots.
    """

    __slots__ = ("_limited_type", "_line_type", "capacity", "held", "lines", "lots", "shares")

    def __init__(self, capacity: int, *, few_keys: bool, lots: Lots, shares: Shares | None = None) -> None:
        self.capacity = capacity
        self.held = 0
        #: Lines, and bundles of lines where jobs may be under limits or tenants share.
        self.lines: dict[tuple[int, ...], Line] = {}
        self.lots = lots
        #: Who has had how much; None unless tenants share.
        self.shares = shares
        kind: Any = LevelLine if few_keys else KeyLine
        self._line_type: Callable[[Groups], Any] = kind
        self._limited_type: Callable[[Groups], Any] = LimitedLevelLine if few_keys else LimitedKeyLine

    def line(
        self,
        groups: tuple[GroupRecord | Loan, ...],
        limits: tuple[LimitRecord, ...] = (),
        tenant: str | None = None,
    ) -> Line:
        """Return the line of jobs that exactly these groups may take, under exactly these limits.

        Where tenants share, it is that of one tenant. Its groups stand in spill-over order, so that nobody has
        to look for the first with a free slot.
        """
        groups = tuple(sorted(groups, key=attrgetter("rank")))
        indexes = tuple(group.index for group in groups)
        bundled = bool(self.lots.limits) or self.shares is not None
        line: Any = self.lines.get(indexes)
        if line is None:
            line = self._bundle(groups) if bundled else self._line_type(groups)
            self.lines[indexes] = line
            for group in groups:
                group.lines.append(line)
        return line.line(limits, tenant) if bundled else line  # type: ignore[no-any-return]

    def _bundle(self, groups: Groups) -> Bundle:
        if self.shares is not None:
            return self.lots.adopt(FairLine(groups, self.lots, self.shares))
        return self.lots.adopt(Bundle(groups, self.lots, self._limited_type))

    def every_line(self) -> Iterator[Any]:
        """Iterate over the lines that jobs wait in, those under limits one by one."""
        return chain(
            (line for line in self.lines.values() if not isinstance(line, Bundle)), self.lots.lines()
        )

    def mend(self, torn: Job | None) -> None:
        """Lay every line anew without the job of a torn turn. Cost: O(n)."""
        salvaged = [(line, line.salvage()) for line in self.every_line()]
        if self.shares is not None:
            self.shares.clear([line for line, _ in salvaged])
        for line, jobs in salvaged:
            if line.taken is not None:  # popped, and not yet bound to a slot
                jobs.append(line.taken)
                line.taken = None
            waiting = [job for job in dict.fromkeys(jobs) if job.state is WAITING and job is not torn]
            for job in sorted(waiting, key=order):
                (line.push_back if job.attempt else line.push)(job)

    def worst(self) -> Job | None:
        """Return the job of all lines that would start last, by fair shares as `Shares.worst` says. Cost: O(lines)."""
        if self.shares is not None:
            return self.shares.worst()
        worst = [job for line in self.lines.values() if (job := line.worst()) is not None]
        return max(worst, key=order, default=None)

    def victim(self, job: Job) -> Job | None:
        """Return the waiting job that makes room for `job`, or None if `job` would start last. Cost: O(lines)."""
        if self.shares is not None:
            return self.shares.victim(job)
        worst = self.worst()
        return None if worst is None or order(worst) <= order(job) else worst

    def __len__(self) -> int:
        return sum(len(line) for line in self.lines.values())

    def __iter__(self) -> Iterator[Job]:
        for line in self.lines.values():
            yield from line
