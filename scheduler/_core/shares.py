"""Who has had how much: the accounts of fair shares, one for each tenant.

Theory of operation
    Start-time fair queueing (Goyal, Vin and Cheng, 1996) with run times that nobody knows beforehand
    (Kubernetes' API Priority and Fairness). What is tagged are *flows*, a tenant's jobs in one line, and
    not jobs: the tag of a flow is the seconds its tenant has been charged, divided by the tenant's weight.
    The flow with the lowest tag is next.

    - A job that leaves its line is charged a guess, the average of its tenant's latest run times. An
      attempt that outlives its guess is charged more while it runs, and when it ends the guess is replaced
      by what was measured. So an order by tags is an order by seconds of slots, whatever the guesses were.
    - A flow in which nobody waited starts where the line has got to (`level`): idle tenants save nothing up.
      That is the flow's `lag`, and not the tenant's account, because other lines have got elsewhere.

Guarantees
    - Between two tenants that wait in one line all the time, seconds ÷ weight differ by at most the attempts
      that run: what each of them has left to be charged.
    - A tenant without jobs is forgotten once that changes nothing, and with more than RESTING_MAX of them
      the one that has rested longest even if it does: memory is bounded by the jobs alive.

Cost: 2 µs a job, O(log n) in the tenants that wait.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from sortedcontainers import SortedList

from .accounts import UNKNOWN, Charge, Clocked, Flow, FlowLine, Share
from .job import Job
from .pool_table import Slot

#: The share of the latest run time in the average: that of round-trip times in TCP (RFC 6298).
LATEST = 1 / 8
#: Weights beyond count as these, so that no sum of seconds ÷ weight is ever infinite.
WEIGHT_MIN, WEIGHT_MAX = 1e-9, 1e9
#: Tenants without jobs that are remembered although somebody else has had less. Arbitrary.
RESTING_MAX = 10_000
#: Seconds that an attempt is charged that took none, so that jobs too short for the clock are shared by number.
INSTANT = 1e-6


class Shares:
    """Every account. `weigh` answers a tenant's weight, asked when it is first seen."""

    __slots__ = (
        "_numbers",
        "_of",
        "_weigh",
        "charges",
        "clock",
        "guess",
        "ranked",
        "resting",
    )

    def __init__(self, clock: Clocked, weigh: Callable[[Job], float]) -> None:
        #: Whoever knows the time of this turn.
        self.clock = clock
        self._weigh = weigh
        self._of: dict[str | None, Share] = {}
        self._numbers = 0
        #: For each job that has left its line, and each slot whose call has outlived its attempt.
        self.charges: dict[Job | Slot, Charge] = {}
        #: The average of everybody's latest run times; None before the first.
        self.guess: float | None = None
        #: Tenants that may have no jobs left.
        self.resting: deque[Share] = deque()
        #: Tenants by waiting jobs ÷ weight; None until somebody first asks for the last job to start.
        self.ranked: SortedList[tuple[float, int, Share]] | None = None

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[Share]:
        return iter(self._of.values())

    def of(self, job: Job) -> Share:
        """Return the account of a job's tenant, opening it on first sight."""
        tenant = job.options.tenant
        share = self._of.get(tenant)
        if share is None:
            weight = min(max(self._weigh(job), WEIGHT_MIN), WEIGHT_MAX)
            self._numbers += 1
            share = self._of[tenant] = Share(tenant, self._numbers, weight)
        return share

    # What is charged

    def take(self, holder: Job | Slot, flow: Flow) -> None:
        """Charge a guess for a job that leaves its line. Cost: O(1)."""
        share = flow.share
        seconds = share.guess or self.guess or UNKNOWN
        charge = self.charges[holder] = Charge(flow, seconds, share.finish + flow.lag + flow.line.lag)
        share.charged[charge] = None
        share.pending += seconds
        share.finish = (share.done + share.pending) / share.weight

    def began(self, job: Job, now: float) -> None:
        """Take note that an attempt starts; a job that never stood in line is charged now. Cost: O(1)."""
        charge = self.charges.get(job)
        if charge is None:
            flow = job.line.pass_by(job)  # type: ignore[attr-defined]  # where tenants share, it has one
            self.take(job, flow)
            charge = self.charges[job]
        self._begin(charge, now)

    def _begin(self, charge: Charge, now: float) -> None:
        share = charge.flow.share
        charge.started = now
        share.running += 1
        share.starts += now
        share.outlived_at = min(share.outlived_at, now + charge.seconds)

    def hedged(self, job: Job, slot: Slot, now: float) -> None:
        """Charge a hedge to its slot. Cost: O(1)."""
        self.take(slot, job.line.pass_by(job))  # type: ignore[attr-defined]  # see `began`
        self._begin(self.charges[slot], now)

    def passed_on(self, job: Job, slot: Slot) -> None:
        """Charge to the job from now on what its hedge in `slot` is charged for."""
        charge = self.charges.pop(slot, None)
        if charge is not None:
            self.charges[job] = charge

    def outlived(self, job: Job, slot: Slot) -> None:
        """Charge a call to its slot from now on: its job has given the attempt up."""
        charge = self.charges.pop(job, None)
        if charge is not None:
            self.charges[slot] = charge

    def ended(self, holder: Job | Slot, now: float, started: float | None = None) -> None:
        """Replace the guess by what was measured: a call has returned. Cost: O(log n)."""
        charge = self.charges.pop(holder, None)
        if charge is None:
            return
        begun = charge.started
        if begun is not None:
            share = charge.flow.share
            seconds = now - (begun if started is None else started) or INSTANT  # 0 where clocks are coarse
            share.done += seconds
            known = share.guess
            share.guess = seconds if known is None else known + (seconds - known) * LATEST
            known = self.guess
            self.guess = seconds if known is None else known + (seconds - known) * LATEST
        self._give_back(charge)

    def returned(self, holder: Job | Slot) -> None:
        """Charge nothing for a job that was taken back, or whose call never began."""
        charge = self.charges.pop(holder, None)
        if charge is not None:
            self._give_back(charge)

    def _give_back(self, charge: Charge) -> None:
        share = charge.flow.share
        if charge.started is not None:
            share.running -= 1
            share.starts = share.starts - charge.started if share.running else 0.0
        del share.charged[charge]
        if share.charged:
            share.pending -= charge.seconds
        else:
            share.pending, share.outlived_at = 0.0, math.inf
        share.finish = (share.done + share.pending) / share.weight
        if share.waiting:
            self._retag(share)
        elif not share.charged:
            self.rest(share)

    def look(self, share: Share) -> bool:
        """Charge attempts that run longer than was guessed twice what they have run; return whether any do.

        Cost: O(attempts of the tenant), about once in the time that as many of them take: O(1) a job.
        """
        now, before = self.clock.now, share.pending
        share.outlived_at = math.inf
        for charge in share.charged:
            if charge.started is None:
                continue
            if charge.started + charge.seconds <= now:
                seconds = max(2 * (now - charge.started), INSTANT)
                share.pending += seconds - charge.seconds
                charge.seconds = seconds
            share.outlived_at = min(share.outlived_at, charge.started + charge.seconds)
        share.finish = (share.done + share.pending) / share.weight
        return share.pending > before

    def _retag(self, share: Share) -> None:
        """Put flows whose tag has fallen where they belong."""
        for flow in share.flows.values():
            entry = flow.entry
            if entry is not None and entry[0] > share.finish + flow.lag:
                flow.line.retag(flow)

    # Tenants without jobs

    def rest(self, share: Share) -> None:
        """Take note that a tenant has no jobs left; forget two of those whose account changes nothing."""
        resting = self.resting
        if not share.rests:
            share.rests = True
            resting.append(share)
        for _ in range(min(2, len(resting))):
            one = resting.popleft()
            if one.waiting or one.charged:
                one.rests = False
            elif len(resting) >= RESTING_MAX or self._changes_nothing(one):
                self._forget(one)
            else:
                resting.append(one)

    def _changes_nothing(self, share: Share) -> bool:
        levels = [(line.level(), share.finish + flow.lag + line.lag) for line, flow in share.flows.items()]
        return all(level is not None and level >= tag for level, tag in levels)

    def _forget(self, share: Share) -> None:
        for line in share.flows:
            line.forget(share.tenant)
        if share.rank is not None and self.ranked is not None:
            self.ranked.discard(share.rank)
        self._of.pop(share.tenant, None)  # an interrupt may have torn this once before
        share.flows = {}  # or it would hold itself in memory, and lines under limits with it

    def turn(self, job: Job, flow: Flow) -> tuple[int, float]:
        """Return its tenant's number and the tag at which a waiting job's turn comes if every guess holds."""
        share = flow.share
        before = sum(other.jobs.before(job) for other in share.flows.values())
        tag = share.finish + flow.lag + flow.line.lag
        return share.number, tag + before * share.expects(self.guess) / share.weight

    # Who would start last

    def count(self, share: Share, change: int) -> None:
        """Count waiting jobs that come or go."""
        share.waiting += change
        if self.ranked is not None:
            if share.rank is not None:
                self.ranked.discard(share.rank)
            share.rank = (share.waiting / share.weight, share.number, share)
            self.ranked.add(share.rank)

    def longest(self) -> Share | None:
        """Return the tenant with the most waiting jobs ÷ weight, None if nobody waits.

        Cost: O(log n) a job from the first call on, which costs O(n).
        """
        if self.ranked is None:
            self.ranked = SortedList()
            for share in self._of.values():
                self.count(share, 0)
        last: Share | None = self.ranked[-1][2] if self.ranked else None
        return last if last is not None and last.waiting else None

    def worst(self) -> Job | None:
        """Return the last job of the tenant with the most waiting jobs ÷ weight, None if nobody waits."""
        longest = self.longest()
        return None if longest is None else self._last_of(longest)

    def victim(self, job: Job) -> Job | None:
        """Return the job that makes room for `job`, or None if `job` itself would be the one to go.

        The tenant with the most waiting jobs ÷ weight, `job` included, gives up the last of its jobs.
        """
        share, longest = self.of(job), self.longest()
        if longest is None:
            return None
        if longest is not share and longest.waiting * share.weight > (share.waiting + 1) * longest.weight:
            return self._last_of(longest)
        own = self._last_of(share)
        return own if own is not None and (own.key, own.arrival) > (job.key, job.arrival) else None

    def _last_of(self, share: Share) -> Job | None:
        jobs = [job for flow in share.flows.values() if (job := flow.jobs.worst()) is not None]
        return max(jobs, key=lambda job: (job.key, job.arrival), default=None)

    # After an interrupt

    def clear(self, lines: Iterable[FlowLine]) -> None:
        """Forget who waits, and flows that are not on both sides' books: these lines are about to be laid anew."""
        self.ranked = None
        for share in self._of.values():
            share.waiting, share.rank = 0, None
            share.flows = {
                line: flow for line, flow in share.flows.items() if line.flows.get(share.tenant) is flow
            }
        for line in lines:
            for tenant, flow in list(line.flows.items()):
                share = self._of.setdefault(tenant, flow.share)
                if share is flow.share:
                    share.flows[line] = flow
                else:
                    del line.flows[tenant]

    def mend(self, holders: Iterable[Job | Slot]) -> None:
        """Charge exactly these jobs and slots, and count anew. Cost: O(tenants + jobs that run)."""
        kept = dict.fromkeys(holders)
        self.charges = {
            holder: charge
            for holder, charge in self.charges.items()
            if holder in kept and self._of.get(charge.flow.share.tenant) is charge.flow.share
        }
        for holder in kept:
            job = holder if isinstance(holder, Job) else holder.job
            if holder not in self.charges and job is not None:
                self.take(holder, job.line.pass_by(job))  # type: ignore[attr-defined]  # see `began`
            charge = self.charges[holder]
            if charge.started is None and job is not None and not job.lies_ahead:
                charge.started = job.started_at
        for share in self._of.values():
            share.pending, share.running, share.starts, share.outlived_at = 0.0, 0, 0.0, math.inf
            share.charged.clear()
        for charge in self.charges.values():
            share = charge.flow.share
            share.pending += charge.seconds
            share.charged[charge] = None
            if charge.started is not None:
                share.running += 1
                share.starts += charge.started
                share.outlived_at = min(share.outlived_at, charge.started + charge.seconds)
        self.resting.clear()
        for share in list(self._of.values()):
            share.finish = (share.done + share.pending) / share.weight
            share.rests = False
            self._retag(share)
            if not share.waiting and not share.charged:
                self.rest(share)
