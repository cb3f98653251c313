"""Every invariant that can be read off one state, numbered, one function each.

``check(core)`` runs all of them; it costs O(jobs alive) and is for tests, for the simulator and, on
request, for production. The numbers are those of ``docs/explanation/invariants.md``. I4, I5, I9, I12
and I14 speak of histories rather than states: their tests watch a whole run.

A check after every turn is most of what a long test costs. So all of them read one `Census`, which walks over
the jobs once, and the words for what is wrong are only put together when something is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from .breakers import Phase
from .bundle import Bundle
from .core import Core
from .job import ENDED_FIELDS, Job
from .limits import LimitRecord
from .pool_table import Slot
from .states import BACKING_OFF, DELAYED, RUNNING, WAITING, PoolState
from .timers import BACKOFF, DELAY

#: Enum members by attribute would be a part of the cost that shows.
_ACCEPTING, _DRAINING, _QUARANTINED = PoolState.ACCEPTING, PoolState.DRAINING, PoolState.QUARANTINED
_STILL = (PoolState.STARTING, PoolState.STOPPED)

#: Lines with the jobs that wait in them.
Lines = list[tuple[Any, list[Job]]]


class InvariantBroken(AssertionError):
    """The scheduler's state contradicts one of its own invariants."""


class Census:
    """All pools, slots, lines, timers and living jobs of a core, in one walk. It holds until the core's next turn.

    Cost: O(jobs alive + slots + lines).
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.pools = list(core.pools)
        self.slots = [slot for pool in self.pools for slot in pool.all_slots]
        self.running = list(core.running())
        #: Every bundle, with the lines that somebody knows; those in which somebody waits are all there (I16).
        self.bundles: list[tuple[Bundle, Lines]] = [
            (bundle, [(line, list(line)) for line in bundle.lines()]) for bundle in core.lots.bundles
        ]
        lines = core.queue.lines.values()
        self.lines: Lines = [(line, list(line)) for line in lines if not isinstance(line, Bundle)]
        for _, known in self.bundles:
            self.lines += known
        self.waiting = [job for _, jobs in self.lines for job in jobs]
        self.ahead = [
            job for slot in self.slots for job in slot.ahead if core.ahead and not job.state.settled
        ]
        self.timers = list(core.timers)
        self.records = core.lots.records()
        self.alive = [*self.running, *self.waiting, *self.ahead]
        self.alive += [timer.job for timer in self.timers if timer.kind is DELAY or timer.kind is BACKOFF]


def i1_one_place(seen: Census) -> None:
    """A job is in exactly one place, and its state says which."""
    if len(set(seen.alive)) != len(seen.alive):
        twice = [job.id for job, count in Counter(seen.alive).items() if count != 1]
        raise _broken("I1", f"jobs {twice} are in more than one place")
    for job in seen.waiting:
        if job.state is not WAITING:
            raise _broken("I1", f"job {job.id} is in the front queue and {job.state.name}")
    for slot in seen.slots:
        for job in slot.ahead:
            if not (job.state.settled or (job.lies_ahead and job.slot is slot)):
                raise _broken("I1", f"job {job.id} lies ahead in {slot.worker} and is {job.state.name}")
    for timer in seen.timers:
        state, kind = timer.job.state, timer.kind
        if (kind is DELAY and state is not DELAYED) or (kind is BACKOFF and state is not BACKING_OFF):
            raise _broken("I1", f"job {timer.job.id} has a timer of {kind}")
        if state.settled:
            raise _broken("I1", f"settled job {timer.job.id} has an armed timer")


def i1_keys(seen: Census) -> None:
    """Of a key, exactly its living jobs are known, and only the first of them may start."""
    keys = seen.core.keys
    known = list(keys)
    there = [job for job in (*seen.alive, *seen.core.gate.door) if job.options.key is not None]
    if len(known) != len(there) or set(known) != set(there):
        raise _broken("I1", "a key has forgotten who is alive")
    for job in there:
        before = keys.before(job)
        behind = None if job.extra is None else job.extra.behind
        if behind is not None and behind is not before:
            raise _broken("I1", f"job {job.id} waits behind one that is not before it")
        if before is not None and job.state is not DELAYED and job.id:
            raise _broken("I1", f"two jobs of key {job.options.key!r} may run at once")


def i2_ledger(seen: Census) -> None:
    """What was submitted is the sum of where jobs are and how they ended."""
    ledger, alive = seen.core.ledger, sum(seen.core.whereabouts())
    if ledger.submitted != alive + ledger.settled:
        raise _broken("I2", f"{ledger.submitted} ≠ {alive} alive + {ledger.settled} settled")


def i3_slots(seen: Census) -> None:
    """In every pool, slots are free or in use, and what runs is in use."""
    for pool in seen.pools:
        free = set(pool.free)
        if not len(free) == len(pool.free) <= pool.slots:
            raise _broken("I3", f"{pool.pool_id} has a slot free twice")
        down = ahead = running = 0
        for slot in pool.all_slots:
            job = slot.job
            if job is not None:
                if slot in free:
                    raise _broken("I3", f"{slot.worker} is free and runs job {job.id}")
                running += job.slot is slot and job.state is RUNNING
            if slot.down:
                down += 1
                if slot in free:
                    raise _broken("I3", f"{slot.worker} is free and has no worker")
                if job is not None or slot.ahead:
                    raise _broken("I3", f"{slot.worker} is down and has a job")
            ahead += len(slot.ahead)
        if pool.down != down:
            raise _broken("I3", f"{pool.pool_id} counts {pool.down} slots down, has {down}")
        if ahead > pool.group.prefetch:
            raise _broken("I3", f"{pool.pool_id} holds {ahead} jobs ahead")
        if not running <= pool.in_use <= pool.slots:
            raise _broken("I3", f"{pool.pool_id}: {running} run")


def i3_free_counts(seen: Census) -> None:
    """A group's count of free slots is that of its accepting pools."""
    for group in seen.core.pools.groups.values():
        free = 0
        for pool in group.pools:
            if pool.state is _ACCEPTING:
                free += len(pool.free)
        if group.free != free:
            raise _broken("I3", f"group {group.name} counts {group.free} free slots, has {free}")


def i4_attempts(seen: Census) -> None:
    """Attempts of a job are numbered without gaps, the current one is the last, and a hedge is of that one."""
    for job in seen.alive:
        extra, ended = job.extra, job.attempt - (job.state is RUNNING)
        numbers = [] if extra is None else extra[::ENDED_FIELDS]
        if numbers != list(range(1, ended + 1)):
            raise _broken("I4", f"job {job.id} is {job.state.name} and has attempts {numbers}")
        hedge = None if extra is None else extra.hedge
        if hedge is not None:
            one = job.state is RUNNING and hedge is not job.slot and hedge.job is job
            if not one or hedge.attempt != job.attempt:
                raise _broken("I4", f"job {job.id} has a hedge of nothing")


def i6_still_pools(seen: Census) -> None:
    """A pool that has stopped or not yet started runs nothing; one in quarantine is there for a stuck call."""
    for pool in seen.pools:
        if pool.state in _STILL and pool.in_use:
            raise _broken("I6", f"{pool.pool_id} is {pool.state.name} with {pool.in_use} in use")
        for slot in pool.all_slots:
            if slot.stuck and not slot.overdue:
                raise _broken("I6", f"{slot.worker} is stuck in nothing")
        # A slot whose call has just returned is held until its callbacks have run; only then the pool is released.
        if pool.state is _QUARANTINED and not any(slot.stuck or slot.held for slot in pool.all_slots):
            raise _broken("I6", f"{pool.pool_id} is quarantined for nothing")
        if pool.released and pool.state is not _DRAINING:
            raise _broken("I6", f"{pool.pool_id} is {pool.state.name} and may be taken back")


def i7_work_conservation(seen: Census) -> None:
    """No job whose limits have room waits while an accepting pool that may take it has a free slot."""
    core = seen.core
    if core.paused:
        return
    has_slot = core.dispatcher.has_slot
    for line, jobs in seen.lines:  # who is parked at a limit or a breaker sees I16
        if jobs and not (line.limits and line.where.record is not None) and has_slot(line):
            raise _broken("I7", "a job waits beside a free slot")
    for job in core.gate.door:
        startable = job.line.best is None and has_slot(job.line) and not core.starts_later(job)
        if job.line.limits and startable:  # a token that has come takes effect when the alarm rings
            room = all(record.has_room(core.now) for record in job.line.limits)
            startable = room and core.next_deadline() > core.now
        if startable:
            raise _broken("I7", "a submitter is kept at the door beside a free slot")


def i8_order(seen: Census) -> None:
    """Each line is in its own kind of order, and its best is alive exactly when somebody waits."""
    for line, jobs in seen.lines:
        if len(jobs) > 1 and not line.in_order():
            raise _broken("I8", "a line is out of order")
        if (line.best is not None) != bool(jobs):
            raise _broken("I8", "a line's best contradicts its length")
        if line.peek() is not (jobs[0] if jobs else None):
            raise _broken("I8", "a line's head is not its first")
        if len(line) != len(jobs):
            raise _broken("I8", "a line miscounts itself")


def i8_shares(seen: Census) -> None:
    """Tenants are charged for exactly what runs, lies ahead or is overdue, and each account adds up."""
    shares = seen.core.shares
    if shares is None:
        return
    held = list(seen.core.charged())
    unheld = set(shares.charges) - set(held)
    if unheld:
        raise _broken("I8", f"tenants are charged for {len(unheld)} that do not run")
    charges = shares.charges.values()
    every = Counter(charge.flow.share for charge in charges)
    running = Counter(charge.flow.share for charge in charges if charge.started is not None)
    waiting = Counter(job.options.tenant for job in seen.waiting)
    holds = Counter(
        holder.line.share if isinstance(holder, Job) else shares.charges[holder].flow.share  # type: ignore[attr-defined]
        for holder in held
        if isinstance(holder, Job) or holder in shares.charges
    )
    for share in shares:
        waits = waiting[share.tenant]
        counted = (len(share.charged), share.running, share.alive)
        true = (every[share], running[share], waits + holds[share])
        if counted != true:
            raise _broken("I8", f"tenant {share.tenant!r} has {true} and the account says {counted}")
        if not (shares.ranked is None or share.rank is None or share.waiting == waits):
            story = f"tenant {share.tenant!r} has {waits} waiting and is ranked by {share.waiting}"
            raise _broken("I8", story)


def i9_time(seen: Census) -> None:
    """The next deadline is no later than any armed timer."""
    core = seen.core
    earliest = core.next_deadline()
    for timer in seen.timers:
        if timer.when < earliest:
            raise _broken("I9", "a timer is due before the next")
    for record in seen.records:
        lacks_token = record.waiting and core.now < record.ready_at and record.held < record.concurrency
        if lacks_token and record.ready_at < earliest:
            raise _broken("I9", f"no token for {record.whose} is awaited")


def i10_limits(seen: Census) -> None:
    """A group never has more pools than its maximum, beside those that are replaced; every pool has all its slots."""
    for group in seen.core.pools.groups.values():
        if group.max_pools is not None and group.capacity_pools() > group.max_pools:
            raise _broken("I10", f"group {group.name} has {group.capacity_pools()} pools")
        if group.replaced_pools() > group.replacements_max:
            raise _broken("I10", f"{group.replaced_pools()} pools of {group.name} are replaced")
        for pool in group.pools:
            if not pool.slots == group.slots == len(pool.all_slots):
                raise _broken("I10", f"{pool.pool_id} has {len(pool.all_slots)} slots, not {group.slots}")


def i11_capacity(seen: Census) -> None:
    """Admission never lifts the queue over its capacity; only jobs that come back from a slot do."""
    queue = seen.core.queue
    off = [job for job in seen.alive if job.state is not RUNNING]
    held = sum(1 for job in off if not job.lies_ahead)
    if queue.held != held:
        raise _broken("I11", f"the queue counts {queue.held} jobs and holds {held}")
    if held <= queue.capacity:
        return
    came_back = sum(1 for job in off if job.attempt)
    # One that came back may have been shed for a newcomer, which then has its place; its pool may have gone since.
    groups = seen.core.pools.groups.values()
    slots = sum(group.opened * (group.slots + group.prefetch) for group in groups)
    if held > queue.capacity + came_back + slots:
        raise _broken("I11", f"{held} jobs exceed capacity {queue.capacity}")


def i16_limits(seen: Census) -> None:
    """No limit is held by more than it allows; who is parked at one waits for room there, or behind somebody who has it."""
    lots = seen.core.lots
    if not lots.limits and not lots.bundles:
        return
    held: defaultdict[LimitRecord, int] = defaultdict(int)
    for slot in (*seen.slots, *seen.core.caller_slots):
        jobs = (slot.job, *slot.ahead) if slot.ahead else (slot.job,)
        for job in jobs:
            if job is not None:
                for record in job.line.limits:
                    held[record] += 1
    for record in seen.records:
        holders = held.pop(record, 0)
        if record.held != (holders if record.counts else 0):
            raise _broken("I16", f"{record.whose} counts {record.held} holders and has {holders}")
        if holders > record.concurrency:
            raise _broken("I16", f"{holders} hold the limit of {record.whose}")
        if record.waiting != sum(heads.size for heads in record.parked.values()):
            raise _broken("I16", "parked lines")
    if held:
        raise _broken("I16", f"a limit of {[record.whose for record in held]} was forgotten")
    for bundle, known in seen.bundles:
        _parked(seen.core, bundle, known)


def _parked(core: Core, bundle: Bundle, known: Lines) -> None:
    if not bundle.in_order():
        raise _broken("I8", "of flows that are open, the first is not the first")
    occupied = [line for line, jobs in known if jobs]
    if len(occupied) != len(bundle.occupied) or set(occupied) != set(bundle.occupied):
        raise _broken("I16", "a line in which somebody waits is in no bundle")
    for line, _ in known:
        if (line.where is not None) != (line in bundle.occupied):
            raise _broken("I16", "a line is parked and empty")
    for line in occupied:
        if line.where.only is None and line.shown[:-1] > line.place(line.peek()):
            raise _broken("I16", f"job {line.peek().id} is to come sooner than its line was put")
        record = line.where.record
        if record is None or not record.has_room(core.now) or record.armed <= core.now:
            continue
        ahead = [
            other
            for other in occupied
            if other.where is bundle.open
            and record in other.limits
            and (bundle.fair or other.place(other.peek()) < line.place(line.peek()))
        ]
        if not ahead:
            raise _broken("I16", f"job {line.peek().id} is parked at {record.whose}, which has room")


def i17_breakers(seen: Census) -> None:
    """A breaker counts what it has seen, and nothing has started under one since it opened until its time came."""
    core = seen.core
    for record in core.lots.breakers.values():
        breaker, calls = record.breaker, len(record.seen)
        if record.failed != sum(record.seen):
            raise _broken("I17", f"{record.whose} miscounts its failures")
        if calls > (breaker.probes if record.phase is Phase.HALF_OPEN else breaker.window):
            raise _broken("I17", f"{record.whose} remembers {calls} attempts")
        if record.phase is not Phase.OPEN:
            if record.ready_at > core.now:
                raise _broken("I17", f"{record.whose} lets through only later")
            continue
        if calls:
            raise _broken("I17", f"{record.whose} is open and goes on counting")
        for job in seen.running:
            late = job.started_at > record.since and record in job.line.limits
            if late and not _lay_ahead(job):
                raise _broken("I17", f"job {job.id} started under the open {record.whose}")


def _lay_ahead(job: Job) -> bool:
    """Whether a job may have lain ahead in its slot: then it took its room when it was laid there."""
    return isinstance(job.slot, Slot) and job.slot.pool.group.prefetch > 0


#: In the order of their numbers.
INVARIANTS: tuple[Callable[[Census], None], ...] = (
    i1_one_place,
    i1_keys,
    i2_ledger,
    i3_slots,
    i3_free_counts,
    i4_attempts,
    i6_still_pools,
    i7_work_conservation,
    i8_order,
    i8_shares,
    i9_time,
    i10_limits,
    i11_capacity,
    i16_limits,
    i17_breakers,
)


def check(core: Core) -> None:
    """Raise InvariantBroken, naming the invariant, unless all of them hold."""
    seen = Census(core)
    for invariant in INVARIANTS:
        invariant(seen)


def _broken(number: str, story: str) -> InvariantBroken:
    return InvariantBroken(f"{number}: {story}")
