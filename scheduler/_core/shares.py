"""Who has had how much: the accounts of fair shares, one for each tenant.

Theory of operation
    Start-time fair queueing (Goyal, Vin and Cheng, 1996) with run times that nobody knows beforehand
    (Kubernetes' API Priority and Fairness). What is tagged are *flows*, a tenant's jobs in one line, and
    not jobs: the tag of a flow is the seconds its tenant has been charged, divided by the tenant's weight.
    The flow with the lowest tag is next.

    - A job that leaves its line is charged a guess, the average of its tenant's latest run times. An
      attempt that outlives its guess is charged more while it runs, and when it ends the guess is replaced
      by what was measured. So an order by tags is an order by seconds of slots, whatever the guesses were.
    - Jobs of tenants whose guess is brief are charged when they have ended: they add up, and once that is a
      brief time the tag moves and the average learns of them. A turn then lasts several jobs (deficit round
      robin; Shreedhar and Varghese, 1995). Whoever runs for longer is found by looking around now and then.
    - A flow in which nobody waited starts where the line has got to (`level`): idle tenants save nothing up.
      That is the flow's `lag`, and not the tenant's account, because other lines have got elsewhere.

Guarantees
    - Between two tenants that wait in one line all the time, seconds ÷ weight differ by at most the attempts
      that run, what each of them has left to be charged, and BRIEF seconds.
    - A tenant without jobs is forgotten once that changes nothing, and with more than RESTING_MAX of them
      the one that has rested longest even if it does: memory is bounded by the jobs alive.

Cost: 0.4 µs a job while guesses are brief, else 2 µs; O(log n) in the tenants that wait.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from sortedcontainers import SortedList

from .accounts import LATEST, Charge, Clocked, Holder, Share, TenantsLine
from .job import Job
from .pool_table import Slot

#: Seconds below which a guess is brief. So little that nobody minds who has them first; otherwise arbitrary.
BRIEF = 0.001
#: Seconds between two looks around at least, and for each attempt that runs, so that they cost 1 % at most.
LOOK_EVERY, LOOK_EACH = 0.01, 20e-6
#: Weights beyond count as these, so that no sum of seconds ÷ weight is ever infinite.
WEIGHT_MIN, WEIGHT_MAX = 1e-9, 1e9
#: Tenants without jobs that are remembered although somebody else has had less; and so many whose account changes
#: nothing, so that two tenants with now and then a job are not forgotten and opened anew with each. Arbitrary.
RESTING_MAX, RESTING_MIN = 10_000, 2
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
        "look_at",
        "ranked",
        "resting",
    )

    def __init__(self, clock: Clocked, weigh: Callable[[Job], float]) -> None:
        #: Whoever knows the time of this turn.
        self.clock = clock
        self._weigh = weigh
        self._of: dict[str | None, Share] = {}
        self._numbers = 0
        #: For jobs that have left their line, and each slot whose call has outlived its attempt.
        self.charges: dict[Holder, Charge] = {}
        #: The average of everybody's latest run times; None before the first.
        self.guess: float | None = None
        #: When to look around next.
        self.look_at = -math.inf
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
            self._numbers += 1
            share = self._of[tenant] = self._stranger(job)
        return share

    def _stranger(self, job: Job) -> Share:
        """Return an account of a job's tenant that is on no books: it may be turned away."""
        weight = min(max(self._weigh(job), WEIGHT_MIN), WEIGHT_MAX)
        return Share(job.options.tenant, self._numbers, weight)

    def adopt(self, flow: TenantsLine, job: Job) -> None:
        """Put a flow on the books of its tenant, whose account was forgotten or never opened."""
        flow.share = share = self.of(job)
        share.flows[flow] = None
        share.end_turn()
        if self.ranked is not None:
            flow.bundle.count_ranked()

    # What is charged

    def left(self, job: Job, flow: TenantsLine) -> None:
        """Charge a guess for a job that leaves its line, unless that is brief. Cost: O(1)."""
        share = flow.share
        if share.guess is None or share.guess >= BRIEF:
            seconds = share.expects(self.guess)
            if seconds >= BRIEF:
                self._charge(job, flow, seconds)

    def _charge(self, holder: Holder, flow: TenantsLine, seconds: float) -> Charge:
        share = flow.share
        charge = self.charges[holder] = Charge(flow, seconds, flow.tag)
        share.charged[charge] = None
        share.pending += seconds
        self._reckon(share)
        return charge

    def _reckon(self, share: Share) -> None:
        share.end_turn()
        share.finish = (share.done + share.pending) / share.weight
        share.step = share.done + BRIEF

    def began(self, job: Job, now: float) -> None:
        """Take note that the attempt of a job starts that has left its line. Cost: O(1)."""
        charge = self.charges.get(job)
        if charge is not None:
            self._begin(charge, now)

    def _begin(self, charge: Charge, now: float) -> None:
        share = charge.flow.share
        charge.started = now
        share.running += 1
        share.starts += now
        share.outlived_at = min(share.outlived_at, now + charge.seconds)
        share.end_turn()

    def hedged(self, job: Job, slot: Slot, now: float) -> None:
        """Charge a hedge to its slot. Cost: O(1)."""
        share: Share = job.line.share  # type: ignore[attr-defined]  # see `ended`
        share.came += 1
        seconds = max(share.expects(self.guess), INSTANT)
        self._begin(self._charge(slot, job.line, seconds), now)  # type: ignore[arg-type]  # see `ended`

    def passed_on(self, job: Job, slot: Slot) -> None:
        """Charge to the job from now on what its hedge in `slot` is charged for."""
        charge = self.charges.pop(slot, None)
        if charge is not None:
            self.charges[job] = charge

    def outlived(self, job: Job, slot: Slot, since: float) -> None:
        """Charge a call that has run `since` then to its slot from now on: its job has given the attempt up."""
        charge = self.charges.pop(job, None)
        if charge is not None:
            self.charges[slot] = charge
        else:
            self._charge_late(slot, job, since)

    def _charge_late(self, holder: Holder, job: Job, since: float) -> None:
        """Charge an attempt that was not charged because its guess was brief twice what it has run."""
        seconds = max(2 * (self.clock.now - since), INSTANT)
        self._begin(self._charge(holder, job.line, seconds), since)  # type: ignore[arg-type]  # where tenants share

    def look_around(self) -> None:
        """Charge attempts whose guess was brief, and who run for longer. Cost: O(attempts that run), now and then."""
        now, count = self.clock.now, 0
        for job in self.clock.running():
            count += 1
            if now - job.started_at > BRIEF and job not in self.charges:
                self._charge_late(job, job, job.started_at)
        self.look_at = now + max(LOOK_EVERY, count * LOOK_EACH)

    def ended(self, share: Share, job: Job, seconds: float) -> None:
        """Take note that a call has returned, whose seconds and number `MainPath.finish` has added to the account.

        Needed where the tag moves: a guess is replaced by what was measured, or brief ones have added up; and
        when a tenant has no jobs left. Cost: O(1), O(log n) if one was charged.
        """
        charge = self.charges.pop(job, None) if self.charges else None
        if charge is not None or share.done >= share.step:
            share.learn()
            self._average(seconds or INSTANT)
        if charge is not None:
            self._give_back(charge)
        elif share.done >= share.step:
            self._reckon(share)
        if share.ended == share.came and not (share.rests and len(self.resting) <= RESTING_MIN):
            self.rest(share)

    def _average(self, seconds: float) -> None:
        """Note a run time in everybody's average; of brief ones about one in a brief time is."""
        known = self.guess
        self.guess = seconds if known is None else known + (seconds - known) * LATEST

    def returned_late(self, slot: Slot, now: float) -> None:
        """Replace the guess for a call that has outlived its attempt, and has returned now. Cost: O(log n)."""
        charge = self.charges.get(slot)
        if charge is not None and charge.started is not None:
            seconds, share = now - charge.started or INSTANT, charge.flow.share
            share.done += seconds
            share.ended += 1
            share.came += 1  # which `taken_back` takes back
            share.learn()
            self._average(seconds)
        self.taken_back(slot)

    def taken_back(self, holder: Holder) -> None:
        """Charge nothing more for a job that was taken back, or a slot whose call is gone."""
        charge = self.charges.pop(holder, None)
        share: Share
        if charge is not None:
            share = charge.flow.share
            self._give_back(charge)
        elif isinstance(holder, Job):
            share = holder.line.share  # type: ignore[attr-defined]  # see `ended`
        else:
            return
        share.came -= 1
        if not share.alive:
            self.rest(share)

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
        self._reckon(share)
        self._retag(share)

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
        self._reckon(share)
        return share.pending > before

    def _retag(self, share: Share) -> None:
        for flow in share.flows:
            flow.retag()

    # Tenants without jobs

    def rest(self, share: Share) -> None:
        """Take note that a tenant has no jobs left; of many, forget two of those whose account changes nothing."""
        resting = self.resting
        if not share.rests:
            share.rests = True
            resting.append(share)
        for _ in range(2 if len(resting) > RESTING_MIN else 0):
            one = resting.popleft()
            if one.alive:
                one.rests = False
            elif len(resting) >= RESTING_MAX or self._changes_nothing(one):
                self._forget(one)
            else:
                resting.append(one)

    def _changes_nothing(self, share: Share) -> bool:
        levels = [(flow.bundle.level(), flow.tag) for flow in share.flows]
        return all(level is not None and level >= tag for level, tag in levels)

    def _forget(self, share: Share) -> None:
        if share.rank is not None and self.ranked is not None:
            self.ranked.discard(share.rank)
        self._of.pop(share.tenant, None)  # an interrupt may have torn this once before
        share.gone = True
        share.flows = {}  # or it would hold itself in memory, and lines under limits with it

    def turn(self, job: Job, flow: TenantsLine) -> tuple[int, float]:
        """Return its tenant's number and the tag at which a waiting job's turn comes if every guess holds."""
        share = flow.share
        before = sum(other.before(job) for other in share.flows)
        return share.number, flow.tag + before * share.expects(self.guess) / share.weight

    # Who would start last

    def count(self, share: Share, change: int) -> None:
        """Count waiting jobs that come or go, once somebody has asked for the last job to start."""
        if self.ranked is not None:
            share.waiting += change
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
                share.waiting, share.rank = 0, None
                self.count(share, sum(map(len, share.flows)))
                for flow in share.flows:
                    flow.bundle.count_ranked()
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
        longest = self.longest()
        if longest is None:
            return None
        share = self._of.get(job.options.tenant) or self._stranger(job)
        if longest is not share and longest.waiting * share.weight > (share.waiting + 1) * longest.weight:
            return self._last_of(longest)
        own = self._last_of(share)
        return own if own is not None and (own.key, own.arrival) > (job.key, job.arrival) else None

    def _last_of(self, share: Share) -> Job | None:
        jobs = [job for flow in share.flows if (job := flow.worst()) is not None]
        return max(jobs, key=lambda job: (job.key, job.arrival), default=None)

    # After an interrupt

    def clear(self, flows: Iterable[TenantsLine]) -> None:
        """Forget who waits, and put these flows on the books of their tenants: they are about to be laid anew."""
        self.ranked = None
        for share in self._of.values():
            share.came, share.rank = share.ended, None
        for flow in flows:
            if not flow.share.gone:
                flow.share = self._of.setdefault(flow.share.tenant, flow.share)
                flow.share.flows[flow] = None

    def mend(self, holders: Iterable[Holder]) -> None:
        """Charge exactly these jobs and slots, and count anew. Cost: O(tenants + jobs that run)."""
        kept = dict.fromkeys(holders)
        self.charges = {holder: charge for holder, charge in self.charges.items() if holder in kept}
        for share in self._of.values():
            share.pending, share.running, share.starts, share.outlived_at = 0.0, 0, 0.0, math.inf
            share.charged.clear()
        for holder in kept:
            self._hold_again(holder, holder if isinstance(holder, Job) else holder.job)
        self.resting.clear()
        for share in list(self._of.values()):
            self._reckon(share)
            share.rests = False
            self._retag(share)
            if not share.alive:
                self.rest(share)

    def _hold_again(self, holder: Holder, job: Job | None) -> None:
        """Charge a job or a slot as before, or a guess if it was not charged."""
        charge = self.charges.get(holder)
        if charge is None and job is None:
            return
        flow: TenantsLine = job.line if charge is None else charge.flow  # type: ignore[assignment, union-attr]
        if flow.share.gone and job is not None:
            self.adopt(flow, job)
        share = flow.share
        share.came += 1
        if charge is None:
            charge = self._charge(holder, flow, share.expects(self.guess))
        else:
            share.pending += charge.seconds
            share.charged[charge] = None
        if charge.started is None and job is not None and not job.lies_ahead:
            charge.started = job.started_at
        if charge.started is not None:
            share.running += 1
            share.starts += charge.started
            share.outlived_at = min(share.outlived_at, charge.started + charge.seconds)
