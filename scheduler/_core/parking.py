"""Where jobs under limits wait, so that those without room hold up nobody and cost nothing.

Theory of operation
    Jobs that the same groups may take and that are under the same limits form a line of their own. The
    lines of the same groups form a *bundle*, which is what the dispatcher sees: a line whose head is the
    first of the heads of its *open* lines. A line that comes to the front and has no room is *parked* at
    the limit that has none, and looked at again when that has room: a call returns, or a token comes.

    Room for one wakes one: the parked line whose head is first. When it has started its job, or turns
    out to have no room elsewhere, the next is woken as long as there is room. So nobody scans what cannot
    start, and a tag shared by ten thousand tenants costs no more than one.

Guarantees
    - While a limit has room, each line parked there comes behind an open line under it in its bundle, so
      the first of the open lines that has room is the first of all that have.
    - While a group has a free slot, its bundles have no open line: all have started or are parked.
    - A line in which nobody waits is in no bundle; it and its limits are forgotten when no submitter and
      no job knows them. A limit with tokens not yet saved up again is remembered until it has.
    - Every operation is O(log lines), amortised.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Any
from weakref import WeakValueDictionary

from policies.breaker import CircuitBreaker

from .breakers import BreakerRecord
from .bundle import Bundle
from .job import Job, JobOptions, Line
from .limited import Heads, LimitedLine
from .limits import Limit, LimitRecord

#: Limits with tokens to be saved up that are remembered before the first look. Arbitrary.
_REMEMBERED = 64
#: Limits whose tokens are handled in one turn; what is left is due at once in the next (law 5). Arbitrary.
_TOKENS_PER_TURN = 256


class Lots:
    """Every limit and whom it keeps waiting.

    `woken` collects lines that have been opened again: whoever ends the turn lets them meet free slots;
    `failing` those that are parked where nobody is to wait: whoever ends the turn lets their jobs fail.
    """

    __slots__ = (
        "_each",
        "_fixed",
        "_look_at",
        "_number",
        "_remembered",
        "_tokens",
        "breakers",
        "bundles",
        "failing",
        "limits",
        "parked",
        "turn",
        "woken",
    )

    def __init__(self, limits: Iterable[Limit], turn: Any, breakers: Iterable[CircuitBreaker] = ()) -> None:
        self.breakers = {breaker: BreakerRecord.watching(breaker, turn) for breaker in breakers}
        #: What jobs may be under, breakers included.
        self.limits: Sequence[Limit | CircuitBreaker] = (*limits, *self.breakers)
        self.turn = turn
        self.bundles: list[Bundle] = []
        self.woken: list[LimitedLine] = []
        self.failing: list[LimitedLine] = []
        #: How many lines are parked, at all limits together.
        self.parked = 0
        self._fixed: dict[tuple[int, str], LimitRecord] = {}
        self._each: WeakValueDictionary[tuple[int, str], LimitRecord] = WeakValueDictionary()
        #: What nobody may know any more, and must not be forgotten yet.
        self._remembered: dict[LimitRecord, None] = {}
        self._look_at = _REMEMBERED
        #: When a token comes that somebody waits for: moment, number, limit. May hold stale entries.
        self._tokens: list[tuple[float, int, LimitRecord]] = []
        self._number = 0

    def of(self, options: JobOptions, groups: tuple[Any, ...] = ()) -> tuple[LimitRecord, ...]:
        """Return the limits that a job with these options is under, in the order in which they were given, then the breakers."""
        records: list[LimitRecord] = []
        for number, limit in enumerate(self.limits):
            if isinstance(limit, CircuitBreaker):
                break
            name = limit.name_for(options)
            if name is not None:
                known: Any = self._each if limit.tenant == "*" else self._fixed
                record = known.get((number, name))
                if record is None:
                    record = known[number, name] = LimitRecord.of(limit, name)
                    if record.of_each and record.interval:
                        record.remember = self._remember
                records.append(record)
        records += [record for record in self.breakers.values() if record.covers(options, groups)]
        return tuple(records)

    def adopt(self, bundle: Bundle) -> Bundle:
        """Keep the lines of one more bundle, and return it."""
        self.bundles.append(bundle)
        return bundle

    # Taking and giving back

    def hold(self, line: Any, now: float) -> None:
        """Take from every limit of a job that leaves its line, or starts without having waited. Cost: O(limits)."""
        for record in line.counted:
            record.held += 1
        for record in line.metered:
            record.take_token(now)
        if self.parked:
            self.pass_on(line)

    def release(self, line: Any, *, token: bool = False) -> bool:
        """Give back what a job held; its tokens too if it never began. Cost: O(limits · log lines).

        Returns whether somebody was woken.
        """
        for record in line.counted:
            record.held -= 1
        if token:
            for record in line.metered:
                record.return_token()
        if self.parked:
            self.look(line)
            return bool(self.woken)
        return False

    def judge(self, job: Job, error: BaseException | None, now: float, *, returned: bool = True) -> None:
        """Tell the breakers of a job how its attempt ended; if its call `returned`, what it holds is given back next."""
        for record in job.line.limits:
            if type(record) is BreakerRecord:
                opened = record.opened
                record.saw(error, job.started_at, now, returned=returned)
                if record.fails and record.opened > opened:
                    self._park_all(record)

    def pass_over(self, job: Job) -> None:
        """Tell the breakers of a job that its attempt ended without a verdict; what it holds is given back next."""
        for record in job.line.limits:
            if type(record) is BreakerRecord:
                record.left(job.started_at)

    def _park_all(self, record: LimitRecord) -> None:
        """Park every open line under a limit that has no room, without waiting until each surfaces. Cost: O(lines)."""
        for bundle in self.bundles:
            for line in list(bundle.occupied):
                if record in line.limits and line.where is bundle.open:
                    self.park(line, record)
                    self.pass_on(line)

    def look(self, line: Any) -> None:
        """See whether somebody who is parked at a limit of this line may be let out now, or when."""
        for record in line.limits:
            if record.waiting:
                self._wake(record, self.turn.now)

    def _remember(self, record: LimitRecord, now: float) -> None:
        self._remembered[record] = None
        if len(self._remembered) > self._look_at:
            self._remembered = {known: None for known in self._remembered if not known.saved_up(now)}
            self._look_at = max(_REMEMBERED, 2 * len(self._remembered))

    # Moving lines

    def place(self, line: LimitedLine) -> None:
        """Open a line, or park it at the limit that has no room."""
        blocker = line.blocker(self.turn.now)
        if blocker is None:
            self.move(line, line.bundle.open)
        else:
            self.park(line, blocker)

    def park(self, line: LimitedLine, record: LimitRecord) -> None:
        """Park a line at a limit that has no room."""
        heads = record.parked.get(line.bundle)
        if heads is None:
            heads = record.parked[line.bundle] = Heads(record)
        self.move(line, heads)
        self._arm(record)
        if record.fails:
            self.failing.append(line)
            self.turn.dirty = True

    def move(self, line: LimitedLine, heads: Heads | None) -> None:
        """Have a line in another place, or in none."""
        before = line.where
        if before is not None:
            before.remove(line)
            if before.record is not None:
                before.record.waiting -= 1
                self.parked -= 1
                if not before.record.waiting and before.record.of_each:
                    before.record.parked = {}  # or it would hold itself in memory
                if heads is not None and heads.record is None:
                    line.reopened(before.record)
        line.where = heads
        if heads is not None:
            if heads.record is not None:
                heads.record.waiting += 1
                self.parked += 1
            heads.add(line)

    def pass_on(self, line: LimitedLine) -> None:
        """Let the next one have the room that this line has left, where there is any."""
        now = self.turn.now
        for record in line.limits:
            if record.waiting:
                self._wake(record, now, line.bundle)

    def _wake(self, record: LimitRecord, now: float, bundle: Bundle | None = None) -> None:
        """Open the first of the lines parked at a limit that has room, in one bundle or in each."""
        if not record.has_room(now):
            self._arm(record)
            return
        for its_bundle in (bundle,) if bundle is not None else tuple(record.parked):
            heads: Heads | None = record.parked.get(its_bundle)
            line = None if heads is None else heads.first()
            if line is not None:
                self.move(line, line.bundle.open)
                self.woken.append(line)

    # Time

    def _arm(self, record: LimitRecord) -> None:
        """Have the limit looked at when its next token comes, if a token is what it lacks."""
        when = record.ready_at
        if record.armed != when and when > self.turn.now and record.held < record.concurrency:
            record.armed = when
            self._number += 1
            heappush(self._tokens, (when, self._number, record))
            self.turn.dirty = True

    def next_token(self) -> float:
        """Return when a token comes that somebody waits for, infinity if never. Cost: O(1) amortised."""
        tokens = self._tokens
        while tokens:
            when, _, record = tokens[0]
            if record.armed == when:
                if record.waiting:
                    return when
                record.armed = math.inf
            heappop(tokens)
        return math.inf

    def accrue(self, now: float) -> None:
        """Open lines that waited for a token which has come, at most _TOKENS_PER_TURN."""
        for _ in range(_TOKENS_PER_TURN if self._tokens else 0):
            if self.next_token() > now:
                return
            _, _, record = heappop(self._tokens)
            record.armed = math.inf
            self._wake(record, now)

    # The whole

    def lines(self) -> list[LimitedLine]:
        """Return every line that a submitter or a job knows."""
        return [line for bundle in self.bundles for line in bundle.lines()]

    def limited(self, now: float) -> int:
        """Return how many waiting jobs have no room. Cost: O(lines in which somebody waits)."""
        if not self.limits:
            return 0
        return sum(
            len(line) for bundle in self.bundles for line in bundle.occupied if line.blocker(now) is not None
        )

    def records(self) -> list[LimitRecord]:
        """Return every limit that somebody knows."""
        each = (record for ref in self._each.valuerefs() if (record := ref()) is not None)
        return [*self._fixed.values(), *each, *self.breakers.values()]

    def breakers_at(self, group: Any) -> list[BreakerRecord]:
        """Return the breakers over jobs that a group may take."""
        lines = (line for bundle in self.bundles if group in bundle.groups for line in bundle.lines())
        met = {record for line in lines for record in line.limits}
        return [record for record in self.breakers.values() if record in met]

    def recount(self, holding: Iterable[Line]) -> None:
        """Count anew who holds what, and park nobody: each line is placed when it is laid anew. Cost: O(n)."""
        for record in self.records():
            record.held = record.waiting = 0
            record.parked = {}
            record.armed = math.inf
        self._tokens, self.woken, self.failing = [], [], []
        self.parked = 0
        for bundle in self.bundles:
            bundle.clear()
        for line in self.lines():
            line.where = line.shown = None
        for its_line in holding:
            for record in its_line.limits:
                record.held += record.counts
