"""A line in which tenants take turns: a heap of flows by tag, and in each flow a tenant's own order.

What a tag is stands in `shares`. Tags change with every job that starts or ends, so the heap is mended
late: an entry whose tag has risen is set right when it surfaces; a tag that has fallen gets an entry of its
own, and the old one is dropped when it surfaces, or once such entries are the majority.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace

from .accounts import STALE_MAX, Flow
from .job import Job
from .lines import HEADS, LevelLine, by_key, order
from .pool_table import GroupRecord, Loan
from .shares import Shares

#: Equal tags and numbers are those of one flow, so that flows are never compared.
Entry = tuple[float, int, Flow]


class FairLine:
    """A line for orderings that answer weights: flows by tag, then jobs by key, then by arrival."""

    __slots__ = ("_counts", "_heap", "_last", "_shares", "best", "broken", "flows", "groups", "taken")

    def __init__(self, groups: tuple[GroupRecord | Loan, ...], shares: Shares) -> None:
        self.groups = groups
        self.broken = all(group.broken is not None for group in groups)
        self.taken: Job | None = None
        #: A flow in which somebody waits; which one is next, `head` finds out.
        self.best: Flow | None = None
        self._shares = shares
        self.flows: dict[str | None, Flow] = {}
        self._heap: list[Entry] = []
        #: The flow that was served last.
        self._last: Flow | None = None
        #: Waiting jobs by priority.
        self._counts: defaultdict[int, int] = defaultdict(int)
        shares.lines.append(self)

    def look(self) -> None:
        """See again whether any group can still run these jobs."""
        self.broken = all(group.broken is not None for group in self.groups)

    def push(self, job: Job) -> None:
        """Add a waiting job behind its equals of the same tenant. Cost: 0.4 µs; a new tenant 15 µs."""
        flow = self._flow(job)
        flow.jobs.push(job)
        self._counts[job.options.priority] += 1
        if self._shares.ranked is None:
            flow.share.waiting += 1
        else:
            self._shares.count(flow.share, 1)
        if flow.entry is None:
            self._enter(flow)

    def push_back(self, job: Job) -> None:
        """Add a job that was here before, at its old place among its tenant's. Cost: O(log n)."""
        flow = self._flow(job)
        flow.jobs.push_back(job)
        self._counts[job.options.priority] += 1
        self._shares.count(flow.share, 1)
        if flow.entry is None:
            self._enter(flow)

    def pop(self) -> Job | None:
        """Remove and return the job that is next, or None, and charge a guess for it. Cost: O(log flows)."""
        flow = self.charge_outlived()
        if flow is None:
            return None
        jobs = flow.jobs
        job = self.taken = jobs.pop()
        jobs.taken = None
        assert job is not None
        self._last = flow
        self._less(job)
        shares, share = self._shares, flow.share
        if shares.ranked is None:
            share.waiting -= 1
        else:
            shares.count(share, -1)
        shares.take(job, flow)
        if jobs.best is None:
            flow.entry = None
        return job

    def peek(self) -> Job | None:
        """Return the job that is next, or None, unless its tenant has attempts that have outlived their guess.

        These are charged when somebody is really taken: looking must change no decision. Cost: as `pop`.
        """
        flow = self.head()
        return None if flow is None else flow.jobs.peek()

    def charge_outlived(self) -> Flow | None:
        """Charge attempts that have outlived their guess until those of the next flow have not; return that flow."""
        flow = self.head()
        shares = self._shares
        while flow is not None and flow.share.outlived_at <= shares.clock.now and shares.look(flow.share):
            flow = self.head()
        return flow

    def head(self) -> Flow | None:
        """Return the flow with the lowest tag, None if nobody waits.

        Entries on top of the heap that are out of date are dropped or set right. Cost: O(log flows) amortised.
        """
        heap = self._heap
        while heap:
            entry = heap[0]
            flow = entry[2]
            if flow.entry is not entry:
                heappop(heap)
                continue
            share = flow.share
            tag = share.finish + flow.lag
            if tag == entry[0]:
                return flow
            flow.entry = (tag, share.number, flow)
            heapreplace(heap, flow.entry)
        return None

    def place(self, job: Job) -> tuple[float, ...]:
        """Return what this line's jobs are ordered by: their tenant's tag, then their key and arrival."""
        flow = self.flows[job.options.tenant]
        return (flow.share.finish + flow.lag, flow.share.number, job.key, job.arrival)

    def overtakes(self, job: Job, ahead: deque[Job]) -> bool:
        """Whether `job`, which waits here, goes before one of those that lie ahead."""
        place = self.place(job)
        for other in ahead:
            charge = self._shares.charges.get(other)
            if other.options.tenant == job.options.tenant:
                if order(job) < order(other):
                    return True
            elif charge is not None and place < (charge.tag, charge.flow.share.number):
                return True
        return False

    def worst(self) -> Job | None:
        """Return the last job of the tenant with the most waiting here ÷ weight, or None. Cost: O(flows)."""
        waiting = [flow for flow in self.flows.values() if flow.entry is not None]
        longest = max(
            waiting, key=lambda flow: (len(flow.jobs) / flow.share.weight, flow.share.number), default=None
        )
        return None if longest is None else longest.jobs.worst()

    def discard(self, job: Job) -> None:
        """Forget a job whose state has already left WAITING. Cost: O(log n) amortised."""
        flow = self.flows[job.options.tenant]
        flow.jobs.discard(job)
        self._less(job)
        self._shares.count(flow.share, -1)
        if flow.jobs.best is None:
            flow.entry = None
            if not flow.share.waiting and not flow.share.charged:
                self._shares.rest(flow.share)

    def levels(self) -> Iterator[tuple[int, int, float | None]]:
        """Iterate over the priorities, see `Line`; only of one near the head is it known since when it waits."""
        heads = [job for entry in self._heap[:HEADS] if (job := entry[2].jobs.peek()) is not None]
        for priority, count in self._counts.items():
            waits = [
                job.waiting_since for job in heads if job.options.priority == priority and not job.attempt
            ]
            yield priority, count, min(waits, default=None)

    def before(self, job: Job) -> int:
        """Return how many jobs would start before `job` if every guess held. Cost: O(flows + its tenant's jobs)."""
        line, guess = job.line, self._shares.guess
        own = job.options.tenant
        number, tag = self._shares.turn(job, line.flows[own])  # type: ignore[attr-defined]  # all are lines of flows
        count = 0
        for flow in self.flows.values():
            if flow.share.tenant == own:
                count += flow.jobs.before(job)
            elif flow.entry is not None:
                share = flow.share
                turns = (tag - share.finish - flow.lag) / share.expects(guess) * share.weight
                whole = math.ceil(turns) if share.number > number else math.floor(turns) + 1
                count += min(len(flow.jobs), max(0, whole))
        return count

    def oldest(self, priority: int) -> Iterator[Job]:
        """Iterate over the waiting jobs of a priority, those of tenants in turn. Cost: O(n log n) for all of them."""
        return (job for job in self if job.options.priority == priority)

    def salvage(self) -> list[Job]:
        """Forget every job and return them, however torn the line is."""
        jobs: list[Job] = []
        for flow in self.flows.values():
            if flow.jobs.taken is not None:
                jobs.append(flow.jobs.taken)
                flow.jobs.taken = None
            jobs += flow.jobs.salvage()
            flow.entry = None
        self._counts.clear()
        self._heap, self.best = [], None
        return jobs

    def in_order(self) -> bool:
        """Whether every flow stands where its tag says, and in it every job where its key and arrival say."""
        head = self.head()
        for flow in self.flows.values():
            if not by_key(flow.jobs) or (flow.entry is None) != (not len(flow.jobs)):
                return False
            if flow.entry is not None and (
                flow.entry[0] > flow.share.finish + flow.lag or flow.entry not in self._heap
            ):
                return False
        waiting = [flow for flow in self.flows.values() if flow.entry is not None]
        by_tag = min(
            waiting, key=lambda flow: (flow.share.finish + flow.lag, flow.share.number), default=None
        )
        return head is by_tag

    # What the accounts ask

    def retag(self, flow: Flow) -> None:
        """Put a flow whose tag has fallen where it belongs. Cost: O(log flows)."""
        heap = self._heap
        flow.entry = (flow.share.finish + flow.lag, flow.share.number, flow)
        heappush(heap, flow.entry)
        if len(heap) > STALE_MAX + 2 * len(self.flows):
            heap[:] = [entry for entry in heap if entry[2].entry is entry]
            heapify(heap)

    def pass_by(self, job: Job) -> Flow:
        """Return the flow of a job that starts without having waited here: the line has now got to it."""
        flow = self._flow(job)
        if flow.entry is None:
            self._catch_up(flow, alone=self._last is not None)
        self._last = flow
        return flow

    def forget(self, tenant: str | None) -> None:
        """Forget the flow of a tenant, in which nobody waits."""
        self.flows.pop(tenant, None)

    def level(self) -> float | None:
        """Return how far the line has got: to what the flow has had that is next, or was the last.

        What it has really had, and not what it is charged: a guess that was too high is given back, and
        who came meanwhile would be left behind by as much.
        """
        flow = self.head() or self._last
        return None if flow is None else flow.share.reached(self._shares.clock.now) + flow.lag

    # How

    def _less(self, job: Job) -> None:
        priority = job.options.priority
        count = self._counts[priority] = self._counts[priority] - 1
        if not count:
            del self._counts[priority]
            if not self._counts:
                self.best = None

    def _flow(self, job: Job) -> Flow:
        flow = self.flows.get(job.options.tenant)
        if flow is None:
            share = self._shares.of(job)
            flow = self.flows[share.tenant] = share.flows[self] = Flow(share, self, LevelLine(()))
        return flow

    def _enter(self, flow: Flow) -> None:
        self._catch_up(flow)
        flow.entry = (flow.share.finish + flow.lag, flow.share.number, flow)
        heappush(self._heap, flow.entry)
        self.best = flow

    def _catch_up(self, flow: Flow, *, alone: bool = False) -> None:
        """Let a flow in which nobody waited begin where the line has got to: it saved nothing up.

        A line in which nobody waits begins where those have got to that share a group with it, unless `alone`.
        """
        if alone or self.best is not None:
            level = self.level()
        else:
            levels = [line.level() for group in self.groups for line in group.lines]  # type: ignore[attr-defined]
            level = max((level for level in levels if level is not None), default=None)
        if level is not None:
            flow.lag = max(flow.lag, level - flow.share.finish)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __iter__(self) -> Iterator[Job]:
        """Iterate over the waiting jobs in the order in which they would start if every guess held."""
        self.head()
        guess = self._shares.guess
        turns: list[tuple[float, int, float, Iterator[Job]]] = []
        for flow in self.flows.values():
            if flow.entry is not None:
                step = flow.share.expects(guess) / flow.share.weight
                turns.append((flow.share.finish + flow.lag, flow.share.number, step, iter(flow.jobs)))
        heapify(turns)
        while turns:
            tag, number, step, jobs = turns[0]
            job = next(jobs, None)
            if job is None:
                heappop(turns)
            else:
                heapreplace(turns, (tag + step, number, step, jobs))
                yield job
