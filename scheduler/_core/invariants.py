"""Every invariant that can be read off one state, numbered, one function each.

``check(core)`` runs all of them; it costs O(jobs alive) and is for tests, for the simulator and, on
request, for production. The numbers are those of ``docs/explanation/invariants.md``. I4, I5, I9, I12
and I14 speak of histories rather than states: their tests watch a whole run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from .breakers import Phase
from .bundle import Bundle
from .core import Core
from .job import Job
from .limits import LimitRecord
from .pool_table import Slot
from .states import BACKING_OFF, DELAYED, RUNNING, WAITING, PoolState
from .timers import TimerKind


class InvariantBroken(AssertionError):
    """The scheduler's state contradicts one of its own invariants."""


def i1_one_place(core: Core) -> None:
    """A job is in exactly one place, and its state says which."""
    places: Counter[Job] = Counter(core.alive())
    twice = [job.id for job, count in places.items() if count != 1]
    _require(not twice, "I1", f"jobs {twice} are in more than one place")
    for job in core.queue:
        _require(job.state is WAITING, "I1", f"job {job.id} is in the front queue and {job.state.name}")
    for job in core.running():
        _require(job.state is RUNNING, "I1", f"job {job.id} is in a slot and {job.state.name}")
    for pool in core.pools:
        for slot in pool.all_slots:
            for job in slot.ahead:
                lies = job.state.settled or (job.lies_ahead and job.slot is slot)
                _require(lies, "I1", f"job {job.id} lies ahead in {slot.worker} and is {job.state.name}")
    for timer in core.timers:
        expected = {TimerKind.DELAY: DELAYED, TimerKind.BACKOFF: BACKING_OFF}.get(timer.kind)
        if expected is not None:
            _require(timer.job.state is expected, "I1", f"job {timer.job.id} has a timer of {timer.kind}")
        _require(not timer.job.state.settled, "I1", f"settled job {timer.job.id} has an armed timer")


def i1_keys(core: Core) -> None:
    """Of a key, exactly its living jobs are known, and only the first of them may start."""
    known = list(core.keys)
    there = [job for job in (*core.alive(), *core.gate.door) if job.options.key is not None]
    _require(len(known) == len(there) and set(known) == set(there), "I1", "a key has forgotten who is alive")
    for job in there:
        before = core.keys.before(job)
        behind = None if job.extra is None else job.extra.behind
        _require(behind in (None, before), "I1", f"job {job.id} waits behind one that is not before it")
        started = job.state is not DELAYED and job.id
        _require(before is None or not started, "I1", f"two jobs of key {job.options.key!r} may run at once")


def i2_ledger(core: Core) -> None:
    """What was submitted is the sum of where jobs are and how they ended."""
    now = core.statistics(core.now)
    alive = now.delayed + now.waiting + now.backing_off + now.running
    settled = now.succeeded + now.failed + now.cancelled + now.expired + now.shed
    _require(now.submitted == alive + settled, "I2", f"{now.submitted} ≠ {alive} alive + {settled} settled")


def i3_slots(core: Core) -> None:
    """In every pool, slots are free or in use, and what runs is in use."""
    for pool in core.pools:
        free = set(map(id, pool.free))
        _require(len(free) == len(pool.free) <= pool.slots, "I3", f"{pool.pool_id} has a slot free twice")
        for slot in pool.all_slots:
            if slot.job is not None:
                _require(id(slot) not in free, "I3", f"{slot.worker} is free and runs job {slot.job.id}")
            if slot.down:
                _require(id(slot) not in free, "I3", f"{slot.worker} is free and has no worker")
                _require(slot.job is None and not slot.ahead, "I3", f"{slot.worker} is down and has a job")
        down = sum(slot.down for slot in pool.all_slots)
        _require(pool.down == down, "I3", f"{pool.pool_id} counts {pool.down} slots down, has {down}")
        ahead = sum(len(slot.ahead) for slot in pool.all_slots)
        _require(ahead <= pool.group.prefetch, "I3", f"{pool.pool_id} holds {ahead} jobs ahead")
        running = sum(1 for _ in pool.running())
        _require(running <= pool.in_use <= pool.slots, "I3", f"{pool.pool_id}: {running} run")


def i3_free_counts(core: Core) -> None:
    """A group's count of free slots is that of its accepting pools."""
    for group in core.pools.groups.values():
        free = sum(len(pool.free) for pool in group.pools if pool.state is PoolState.ACCEPTING)
        _require(group.free == free, "I3", f"group {group.name} counts {group.free} free slots, has {free}")


def i4_attempts(core: Core) -> None:
    """Attempts of a job are numbered without gaps, the current one is the last, and a hedge is of that one."""
    for job in core.alive():
        numbers = [number for number, *_ in (job.extra.history if job.extra is not None else ())]
        expected = list(range(1, job.attempt + (job.state is not RUNNING)))
        _require(numbers == expected, "I4", f"job {job.id} is {job.state.name} and has attempts {numbers}")
        hedge = None if job.extra is None else job.extra.hedge
        if hedge is not None:
            one = job.state is RUNNING and hedge is not job.slot and hedge.job is job
            _require(one and hedge.attempt == job.attempt, "I4", f"job {job.id} has a hedge of nothing")


def i6_still_pools(core: Core) -> None:
    """A pool that has stopped or not yet started runs nothing; one in quarantine is there for a stuck call."""
    for pool in core.pools:
        if pool.state in (PoolState.STARTING, PoolState.STOPPED):
            _require(pool.in_use == 0, "I6", f"{pool.pool_id} is {pool.state.name} with {pool.in_use} in use")
        for slot in pool.all_slots:
            _require(slot.overdue or not slot.stuck, "I6", f"{slot.worker} is stuck in nothing")
        quarantined = pool.state is PoolState.QUARANTINED
        # Of a call that has returned, the callbacks run before its slot is free and its pool looked at again.
        reason = pool.stuck > 0 or any(slot.held for slot in pool.all_slots)
        _require(reason or not quarantined, "I6", f"{pool.pool_id} is quarantined for nothing")
        taken_back = pool.released and pool.state is not PoolState.DRAINING
        _require(not taken_back, "I6", f"{pool.pool_id} is {pool.state.name} and may be taken back")


def i7_work_conservation(core: Core) -> None:
    """No job whose limits have room waits while an accepting pool that may take it has a free slot."""
    if core.paused:
        return
    for line in core.queue.every_line():  # who is parked at a limit or a breaker sees I16
        if len(line) and not (line.limits and line.where.record is not None):
            _require(not core.dispatcher.has_slot(line), "I7", "a job waits beside a free slot")
    for job in core.gate.door:
        startable = (
            job.line.best is None and core.dispatcher.has_slot(job.line) and not core.starts_later(job)
        )
        if job.line.limits and startable:  # a token that has come takes effect when the alarm rings
            room = all(record.has_room(core.now) for record in job.line.limits)
            startable = room and core.next_deadline() > core.now
        _require(not startable, "I7", "a submitter is kept at the door beside a free slot")


def i8_order(core: Core) -> None:
    """Each line is in its own kind of order, and its best is alive exactly when somebody waits."""
    for line in core.queue.every_line():
        jobs = list(line)
        _require(line.in_order(), "I8", "a line is out of order")
        _require((line.best is not None) == bool(jobs), "I8", "a line's best contradicts its length")
        _require(line.peek() is (jobs[0] if jobs else None), "I8", "a line's head is not its first")
        _require(len(line) == len(jobs), "I8", "a line miscounts itself")


def i8_shares(core: Core) -> None:
    """Tenants are charged for exactly what runs, lies ahead or is overdue, and each account adds up."""
    shares = core.shares
    if shares is None:
        return
    held = list(core.charged())
    unheld = set(shares.charges) - set(held)
    _require(not unheld, "I8", f"tenants are charged for {len(unheld)} that do not run")
    charges = shares.charges.values()
    every = Counter(charge.flow.share for charge in charges)
    running = Counter(charge.flow.share for charge in charges if charge.started is not None)
    waiting = Counter(job.tenant for job in core.queue)
    holds = Counter(
        holder.line.share if isinstance(holder, Job) else shares.charges[holder].flow.share  # type: ignore[attr-defined]
        for holder in held
        if isinstance(holder, Job) or holder in shares.charges
    )
    for share in shares:
        counted = (len(share.charged), share.running, share.waiting, share.held)
        true = (every[share], running[share], waiting[share.tenant], holds[share])
        _require(counted == true, "I8", f"tenant {share.tenant!r} has {true} and the account says {counted}")


def i9_time(core: Core) -> None:
    """The next deadline is no later than any armed timer."""
    earliest = core.next_deadline()
    _require(all(earliest <= timer.when for timer in core.timers), "I9", "a timer is due before the next")
    for record in core.lots.records():
        lacks_token = record.waiting and core.now < record.ready_at and record.held < record.concurrency
        _require(
            not lacks_token or earliest <= record.ready_at, "I9", f"no token for {record.whose} is awaited"
        )


def i10_limits(core: Core) -> None:
    """A group never has more pools than its maximum, beside those that are replaced; every pool has all its slots."""
    for group in core.pools.groups.values():
        within = group.max_pools is None or group.capacity_pools() <= group.max_pools
        _require(within, "I10", f"group {group.name} has {group.capacity_pools()} pools")
        replaced = group.replaced_pools()
        _require(replaced <= group.replacements_max, "I10", f"{replaced} pools of {group.name} are replaced")
        for pool in group.pools:
            whole = pool.slots == group.slots == len(pool.all_slots)
            _require(whole, "I10", f"{pool.pool_id} has {len(pool.all_slots)} slots, not {group.slots}")


def i11_capacity(core: Core) -> None:
    """Admission never lifts the queue over its capacity; only jobs that come back from a slot do."""
    queue = core.queue
    held = sum(1 for job in core.alive() if job.state is not RUNNING and not job.lies_ahead)
    _require(queue.held == held, "I11", f"the queue counts {queue.held} jobs and holds {held}")
    came_back = sum(1 for job in core.alive() if job.attempt and job.state is not RUNNING)
    # One that came back may have been shed for a newcomer, which then has its place; its pool may have gone since.
    slots = sum(group.opened * (group.slots + group.prefetch) for group in core.pools.groups.values())
    within = held <= queue.capacity + came_back + slots
    _require(within, "I11", f"{held} jobs exceed capacity {queue.capacity}")


def i16_limits(core: Core) -> None:
    """No limit is held by more than it allows; who is parked at one waits for room there, or behind somebody who has it."""
    held: Counter[LimitRecord] = Counter()
    for slot in (*(slot for pool in core.pools for slot in pool.all_slots), *core.caller_slots):
        for job in (slot.job, *slot.ahead):
            held.update(() if job is None else job.line.limits)
    for record in core.lots.records():
        holders = held.pop(record, 0)
        _require(
            record.held == holders, "I16", f"{record.whose} counts {record.held} holders and has {holders}"
        )
        _require(holders <= record.concurrency, "I16", f"{holders} hold the limit of {record.whose}")
        _require(record.waiting == sum(heads.size for heads in record.parked.values()), "I16", "parked lines")
    _require(not held, "I16", f"a limit of {[record.whose for record in held]} was forgotten")
    for bundle in core.lots.bundles:
        _parked(core, bundle)


def _parked(core: Core, bundle: Bundle) -> None:
    _require(bundle.in_order(), "I8", "of flows that are open, the first is not the first")
    occupied = [line for line in bundle.known.values() if len(line)]
    _require(set(occupied) == set(bundle.occupied), "I16", "a line in which somebody waits is in no bundle")
    for line in bundle.known.values():
        _require((line.where is not None) == (line in bundle.occupied), "I16", "a line is parked and empty")
    for line in occupied:
        put = line.where.only is not None or line.shown[:-1] <= line.place(line.peek())
        _require(put, "I16", f"job {line.peek().id} is to come sooner than its line was put")
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
        _require(bool(ahead), "I16", f"job {line.peek().id} is parked at {record.whose}, which has room")


def i17_breakers(core: Core) -> None:
    """A breaker counts what it has seen, and nothing has started under one since it opened until its time came."""
    for record in core.lots.breakers.values():
        breaker, calls = record.breaker, len(record.seen)
        _require(record.failed == sum(record.seen), "I17", f"{record.whose} miscounts its failures")
        most = breaker.probes if record.phase is Phase.HALF_OPEN else breaker.window
        _require(calls <= most, "I17", f"{record.whose} remembers {calls} attempts")
        if record.phase is not Phase.OPEN:
            _require(record.ready_at <= core.now, "I17", f"{record.whose} lets through only later")
            continue
        _require(calls == 0, "I17", f"{record.whose} is open and goes on counting")
        for job in core.running():
            late = record in job.line.limits and job.started_at > record.since
            _require(
                not late or _lay_ahead(job), "I17", f"job {job.id} started under the open {record.whose}"
            )


def _lay_ahead(job: Job) -> bool:
    """Whether a job may have lain ahead in its slot: then it took its room when it was laid there."""
    return isinstance(job.slot, Slot) and job.slot.pool.group.prefetch > 0


#: In the order of their numbers.
INVARIANTS: tuple[Callable[[Core], None], ...] = (
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
    for invariant in INVARIANTS:
        invariant(core)


def _require(holds: bool, number: str, story: str) -> None:
    if not holds:
        raise InvariantBroken(f"{number}: {story}")
