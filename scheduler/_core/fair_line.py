"""A line in which tenants take turns: flows by tag, and in each flow a tenant's own order.

Whose jobs are brief keeps its turn until its tag moves (`Heads.turn`), and meanwhile nobody looks whose it is.
What moves a tag tells: an account that changes ends the turn (`Share.end_turn`), and so does any flow that takes
another place among the heads, comes, goes, or gets a job back. What nobody tells of is asked with each job: the
time, and the room in its limits.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heapreplace
from typing import Any
from weakref import WeakKeyDictionary

from .bundle import Bundle, Groups, Keeper
from .job import Job
from .limited import Heads, LimitedLine
from .limits import LimitRecord
from .lines import HEADS
from .shares import BRIEF, Shares
from .tenant_flow import Flow, Lag


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

    def in_order(self) -> bool:
        """Whether the first of the open flows is the one whose tag is lowest, and whoever has the turn. Cost: O(flows)."""
        turn = self.open.turn
        put = turn is None or (not turn.best.returned and turn is self.open.first())
        return put and super().in_order()

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
