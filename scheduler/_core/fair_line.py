"""A line in which tenants take turns: flows by tag, and in each flow a tenant's own order.

What a tag is stands in `shares`. Tags change with jobs that start or end: one that has risen is put right when
its flow surfaces, one that has fallen at once, see `Heads`.

A flow that was parked at a limit while others got on has saved nothing up: when it is opened, it begins where
they have got to. That is the `Lag` of the limit that held it and not its own, so that those who are held by
one limit together stay fair to each other.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heapreplace
from typing import Any
from weakref import WeakKeyDictionary

from .accounts import NOBODY, Share
from .bundle import Bundle, Groups, Keeper
from .job import Job
from .limited import Heads, Limited, LimitedLine
from .limits import LimitRecord
from .lines import HEADS, LevelLine, Run, order
from .shares import BRIEF, Shares


class Lag:
    """How far those under one limit have fallen behind others by it, in virtual seconds."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0


class Flow(Limited, LevelLine):
    """The jobs of one tenant under the same limits, by key, then by arrival."""

    __slots__ = (
        "__weakref__",
        "bundle",
        "counted",
        "joins_at",
        "lag",
        "lags",
        "limits",
        "metered",
        "share",
        "shown",
        "where",
    )

    def __init__(self, line: FairLine, limits: tuple[LimitRecord, ...], lags: tuple[Lag, ...]) -> None:
        super().__init__(line.groups)
        self.bundle = line
        self.put_under(limits)
        self.lags = lags
        #: Virtual seconds between its tenant's account and its tag, beside those of its limits.
        self.lag = 0.0
        #: Until when it need not be looked at again where its line has got to.
        self.joins_at = -math.inf
        self.share: Share = NOBODY
        self.where: Heads | None = None
        self.shown: tuple[Any, ...] | None = None

    @property
    def tag(self) -> float:
        """The virtual seconds by which its turn is decided; the lowest is next."""
        tag = self.share.finish + self.lag
        for lag in self.lags:
            tag += lag.seconds
        return tag

    def place(self, job: Job) -> tuple[float, ...]:  # type: ignore[override]
        """Return what flows are compared by: the tag, then the tenant, then key and arrival."""
        return (self.tag, self.share.number, job.key, job.arrival)

    def entry(self) -> tuple[Any, ...]:
        """Return the place of its head, and itself behind that."""
        head: Any = self.peek()
        return self.tag, self.share.number, head.key, head.arrival, self

    def stands(self, entry: tuple[Any, ...]) -> bool:
        """Whether an entry says where its head is now; with one flow of a tenant here only the tag counts."""
        share = self.share
        tag = share.finish + self.lag
        if self.bundle.lagging:
            for lag in self.lags:
                tag += lag.seconds
        return entry[0] == tag and (len(share.flows) == 1 or super().stands(entry))

    def push(self, job: Job) -> None:
        """Add a waiting job behind its equals of the same tenant. Cost: 0.15 µs; a new tenant 15 µs."""
        before, line = self.best, self.bundle
        if before is not None and before.key == job.key:
            before.append(job)
            self.share.came += 1
            if line.counting:
                line.came(self, job)
            return
        self._joins(job)
        LevelLine.push(self, job)
        self.share.came += 1
        line.came(self, job)
        if self.best is not before:
            line.headed(self, worse=False)

    def push_back(self, job: Job) -> None:
        """Add a job that was here before, at its old place among its tenant's. Cost: O(log n)."""
        self._joins(job)
        LevelLine.push_back(self, job)
        self.bundle.open.turn = None
        self.share.came += 1
        self.bundle.came(self, job)
        if self.peek() is job:
            self.bundle.headed(self, worse=False)

    def pop(self) -> Job | None:
        """Remove and return the job that is next, or None, and charge a guess for it."""
        job = LevelLine.pop(self)
        if job is not None:
            self.bundle.went(self, job)
            self.bundle.served = self
            self.bundle.shares.left(job, self)
            if self.best is None:
                self.bundle.headed(self, worse=False)
        return job

    def settle(self, run: Run) -> None:
        """See who is the first, when somebody has left this run behind whom nobody alive may be."""
        self._settle_head(run)
        if self.best is None:
            self.bundle.headed(self, worse=False)
        elif self.best is not run:
            self.bundle.open.turn = None

    def discard(self, job: Job) -> None:
        """Forget a job whose state has already left WAITING. Cost: O(log n) amortised."""
        LevelLine.discard(self, job)
        share = self.share
        share.came -= 1
        self.bundle.went(self, job)
        self.bundle.headed(self, worse=True)
        if not share.alive:
            self.bundle.shares.rest(share)

    def pass_by(self, job: Job) -> None:
        """Charge a job that starts without having waited here: the line has now got to it."""
        line = self.bundle
        if self.best is None:
            self._joins(job, alone=line.served is not None)
        line.served = self
        line.open.turn = None
        self.share.came += 1
        line.shares.left(job, self)

    def overtakes(self, job: Job, ahead: deque[Job]) -> bool:
        """Whether `job`, which waits here, goes before one of those that lie ahead."""
        place = self.place(job)
        charges = self.bundle.shares.charges
        for other in ahead:
            charge = charges.get(other)
            if other.options.tenant == job.options.tenant:
                if order(job) < order(other):
                    return True
            elif charge is not None and place < (charge.tag, charge.flow.share.number):
                return True
        return False

    def _joins(self, job: Job, *, alone: bool = False) -> None:
        """Let a flow in which nobody waited begin where its line has got to: it saved nothing up, but a brief time.

        A line in which nobody waits begins where those have got to that share a group with it, unless `alone`.
        """
        if self.best is not None:
            return
        line = self.bundle
        now = line.shares.clock.now
        if self.share.gone:
            line.shares.adopt(self, job)
            self.lag = 0.0
        elif now < self.joins_at:
            return
        self.joins_at = now + BRIEF
        level = line.level_beside(self, alone=alone)
        if level is not None:
            self.lag += max(0.0, level - self.tag)

    # What the accounts and the limits ask

    def retag(self) -> None:
        """Take its place again where its tag has fallen. Cost: O(log flows)."""
        if self.shown is not None and self.where is not None and self.shown[0] > self.tag:
            self.where.show(self)

    def reopened(self, record: LimitRecord) -> None:
        """Begin where those have got to whom this limit did not hold."""
        level = self.bundle.around(record)
        if level is not None:
            self.lags[self.limits.index(record)].seconds += max(0.0, level - self.tag)
            self.bundle.lagging = True

    def reached(self) -> float:
        """Return how far it has really got, and not what it is charged.

        A guess that was too high is given back, and who came meanwhile would be left behind by as much.
        """
        share = self.share
        return share.reached(self.bundle.shares.clock.now) + self.tag - share.finish

    def salvage(self) -> list[Job]:
        """Forget every job and return them, however torn the line is."""
        self.where = self.shown = None
        return super().salvage()


class FairLine(Bundle):
    """A line for orderings that answer weights: flows by tag, then jobs by key, then by arrival."""

    __slots__ = ("_lags", "counting", "counts", "lagging", "served", "shares")

    fair = True

    def __init__(self, groups: Groups, lots: Keeper, shares: Shares) -> None:
        self.shares = shares
        #: The flow that was served last.
        self.served: Flow | None = None
        self._lags: WeakKeyDictionary[LimitRecord, Lag] = WeakKeyDictionary()
        #: Some limit has ever held somebody back, so that lags are more than nothing.
        self.lagging = False
        super().__init__(groups, lots, self._no_line)

    def _no_line(self, groups: Groups) -> Any:
        raise AssertionError("a flow is made for a tenant, see `line`")

    def line(self, limits: tuple[LimitRecord, ...], tenant: str | None = None) -> Flow:
        """Return the flow of a tenant's jobs under exactly these limits."""
        flow: Flow | None = self.known.get((tenant, limits))
        if flow is None:
            lags = tuple(self._lags.setdefault(record, Lag()) for record in limits)
            flow = self.known[tenant, limits] = Flow(self, limits, lags)
        return flow

    def clear(self) -> None:
        """Have nobody here: each flow is placed when it is laid anew."""
        super().clear()
        #: Waiting jobs by priority; None where limits decide how many of them count.
        self.counts: defaultdict[int, int] | None = None if self.lots.limits else defaultdict(int)
        #: Somebody wants to know of every job that comes and goes.
        self.counting = self.counts is not None or self.shares.ranked is not None

    def count_ranked(self) -> None:
        """Count from now on who comes and goes for `Shares.ranked`."""
        self.counting = True
        self.open.turn = None

    def came(self, flow: Flow, job: Job) -> None:
        """Count a job that waits."""
        if self.counts is not None:
            self.counts[job.options.priority] += 1
        self.shares.count(flow.share, 1)

    def went(self, flow: Flow, job: Job) -> None:
        """Count a job that waits no longer."""
        if self.counts is not None:
            self._one_less(self.counts, job.options.priority)
        self.shares.count(flow.share, -1)

    @staticmethod
    def _one_less(counts: defaultdict[int, int], priority: int) -> None:
        counts[priority] -= 1
        if not counts[priority]:
            del counts[priority]

    def top(self) -> LimitedLine | None:
        """Return the open flow that is next, or None, as `Bundle.top` does; in one piece, for it is asked for every job."""
        heads, lots = self.open, self.lots
        now = lots.turn.now
        while True:
            flow: Any = heads.only
            if flow is None:
                heap = heads.heap
                if not heap:
                    return None
                entry = heap[0]
                flow = entry[-1]
                share = flow.share
                # As `stands` does, but for who is behind by limits or has several flows, who ask there.
                alone = not self.lagging and len(share.flows) == 1 and flow.shown is entry
                if not alone or entry[0] != share.finish + flow.lag:
                    flow = heads.first()
                    if flow is None:
                        return None
            for record in flow.limits:  # as `blocker` does
                if record.held >= record.concurrency or now < record.ready_at:
                    break
            else:
                return flow  # type: ignore[no-any-return]
            lots.park(flow, record)
            lots.pass_on(flow)

    def pop(self) -> Job | None:
        """Remove and return the job that is next, or None, charge a guess for it, and take from its limits.

        This is for all but the first of a turn of brief jobs: it asks only what may have ended the turn unseen.
        Cost: O(log flows).
        """
        lots, heads = self.lots, self.open
        flow, now = heads.turn, lots.turn.now
        if flow is None or now >= heads.turn_until:
            return self._next(now)
        for record in flow.metered:  # as `blocker` and `Lots.hold` do, in one go
            if now < record.ready_at:
                return self._next(now)
        for record in flow.counted:
            held = record.held
            if held >= record.concurrency:
                flow.give_back(record)
                return self._next(now)
            record.held = held + 1
        run = flow.best
        job: Job = run[0]
        flow.taken = job
        run.popleft()
        if not run or run.dead:
            flow.settle(run)
        if self.counts is not None:
            self._one_less(self.counts, job.options.priority)
        for record in flow.metered:
            record.take_token(now)
        if lots.parked:
            lots.pass_on(flow)
        return job

    def _next(self, now: float) -> Job | None:
        """Do what `pop` does, whosever turn it is.

        Attempts that have outlived their guess are charged until those of the next flow have not.
        """
        shares = self.shares
        if now >= shares.look_at:
            shares.look_around()
        flow: Any = self.top()
        if flow is None:
            return None
        share = flow.share
        while share.outlived_at <= now and shares.look(share):
            flow = self.top()
            share = flow.share
        job: Job | None = flow.pop()
        self._begin_turn(flow)
        self.lots.hold(flow, now)
        return job

    def _begin_turn(self, flow: Flow) -> None:
        """Let a tenant of brief jobs go on until its tag moves, if it has nothing here but these."""
        share, shares, run = flow.share, self.shares, flow.best
        if share.guess is None or share.guess >= BRIEF or len(share.flows) > 1 or shares.ranked is not None:
            return
        if run is not None and not run.returned and flow.where is self.open:
            share.turn = heads = self.open
            heads.turn = flow
            heads.turn_until = min(share.outlived_at, shares.look_at)

    # How far they have got

    def level(self, apart: LimitRecord | None = None) -> float | None:
        """Return how far these flows have got, but for those under a limit: the first that is open, or the last served."""
        flow: Any = self.open.first()
        if flow is None or apart in flow.limits:
            flow = self.served
        return None if flow is None or apart in flow.limits else flow.reached()

    def level_beside(self, flow: Flow, *, alone: bool) -> float | None:
        """Return how far those have got with whom a flow competes in which nobody waited."""
        blocker = flow.blocker(self.lots.turn.now)
        heads: Heads | None = None if blocker is None else blocker.parked.get(self)
        first: Any = None if heads is None else heads.first()
        if first is not None:
            return first.reached()  # type: ignore[no-any-return]
        if alone or self.open.size:
            return self.level()
        return self.around()

    def around(self, apart: LimitRecord | None = None) -> float | None:
        """Return how far those lines have got that share a group with this one, but for those `apart` under a limit."""
        lines: list[Any] = [line for group in self.groups for line in group.lines]
        return max((level for line in lines if (level := line.level(apart)) is not None), default=None)

    # What others ask

    def levels(self) -> Iterator[tuple[int, int, float | None]]:
        """Iterate over the priorities, see `Line`; only of one near the head is it known since when it waits."""
        if self.counts is None:
            yield from super().levels()
            return
        heads = [job for flow in self.open.firsts(HEADS) if (job := flow.peek()) is not None]
        for priority, count in self.counts.items():
            waits = [
                job.waiting_since for job in heads if job.options.priority == priority and not job.attempt
            ]
            yield priority, count, min(waits, default=None)

    def worst(self) -> Job | None:
        """Return the last job of the tenant with the most waiting here ÷ weight, or None. Cost: O(flows)."""
        flows: Any = self.occupied
        longest = max(
            flows, key=lambda flow: (len(flow) / flow.share.weight, flow.share.number), default=None
        )
        return None if longest is None else longest.worst()

    def before(self, job: Job) -> int:
        """Return how many jobs with room would start before `job` if every guess held. Cost: O(flows + its tenant's jobs)."""
        guess = self.shares.guess
        own: Any = job.line
        number, tag = self.shares.turn(job, own)
        count = 0
        flows: Any = self.occupied
        for flow in flows:
            share = flow.share
            if flow.where is not self.open:
                continue
            if share is own.share:
                count += flow.before(job)
            else:
                turns = (tag - flow.tag) / share.expects(guess) * share.weight
                whole = math.ceil(turns) if share.number > number else math.floor(turns) + 1
                count += min(len(flow), max(0, whole))
        return count

    def oldest(self, priority: int) -> Iterator[Job]:
        """Iterate over the jobs of a priority that have room, those of tenants in turn. Cost: O(n log n) for all of them."""
        jobs = self._walk([flow for flow in self.occupied if flow.where is self.open])
        return (job for job in jobs if job.options.priority == priority)

    def __iter__(self) -> Iterator[Job]:
        """Iterate over the waiting jobs in the order in which they would start if every guess held, whatever their limits."""
        return self._walk(list(self.occupied))

    def _walk(self, flows: Iterable[Any]) -> Iterator[Job]:
        guess = self.shares.guess
        turns: list[tuple[float, int, float, int, float, Job, Iterator[Job]]] = []
        for flow in flows:
            jobs, share = iter(flow), flow.share
            job = next(jobs)
            step = share.expects(guess) / share.weight
            turns.append((flow.tag, share.number, job.key, job.arrival, step, job, jobs))
        heapify(turns)
        while turns:
            tag, number, _, _, step, job, jobs = turns[0]
            yield job
            following = next(jobs, None)
            if following is None:
                heappop(turns)
            else:
                heapreplace(
                    turns, (tag + step, number, following.key, following.arrival, step, following, jobs)
                )
