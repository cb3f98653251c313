"""Why a job is where it is, and for how long by estimate: the words of ``handle.explain()``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from .breakers import BreakerRecord
from .core import Core
from .job import Job, Line
from .limits import LimitRecord, held_back
from .pool_table import GroupRecord, Loan, PoolRecord
from .states import BACKING_OFF, DELAYED, RUNNING, WAITING, JobState, PoolState
from .timers import TimerKind

_ACCEPTING = PoolState.ACCEPTING


@attrs.frozen(kw_only=True)
class Standing:
    """How one job stands at one moment. ``str()`` says it in plain words."""

    job_id: int
    state: JobState
    #: What keeps it from starting or ending, most important first.
    reasons: tuple[str, ...]
    #: Waiting jobs that start before it as things are; 0 when it does not wait.
    ahead: int = 0
    #: Seconds until it starts, by the mean run time so far, the slots there are and its limits; None if that is not known.
    estimate: float | None = None

    def __str__(self) -> str:
        told = f"job {self.job_id} is {self.state.value.replace('_', ' ')}: {'; '.join(self.reasons)}"
        return told if self.estimate is None else f"{told}; it starts in about {_s(self.estimate)}"


def standing(core: Core, job: Job, now: float) -> Standing:
    """Return how a job stands. Cost: O(lines + pools), and O(n) for the jobs of its own priority."""
    ahead, estimate = 0, None
    if job.state is WAITING and job.id and not job.lies_ahead:
        ahead = _ahead(core, job)
        reasons = _why_waiting(core, job, ahead, now)
        estimate = None if core.paused else _estimate(core, job, ahead, now)
    else:
        reasons = [_why_elsewhere(core, job, now)]
    return Standing(job_id=job.id, state=job.state, reasons=tuple(reasons), ahead=ahead, estimate=estimate)


def _why_elsewhere(core: Core, job: Job, now: float) -> str:
    slot = job.slot
    if job.state.settled:
        ago = f"it ended {_s(now - (job.ended_at or now))} ago"
        many = "one attempt" if job.attempt == 1 else f"{job.attempt} attempts"
        return f"{ago}, after {many}" if job.attempt else f"{ago} without having started"
    if not job.id:
        return f"its submitter stands at the door: the front queue holds capacity={core.queue.capacity} jobs"
    if job.state is RUNNING and slot is not None:
        asked = f", asked to stop: {slot.interrupted}" if slot.interrupted else ""
        return f"attempt {job.attempt} has run for {_s(now - job.started_at)} in {slot.worker}{asked}"
    if job.lies_ahead and slot is not None:
        return f"it lies ahead in {slot.worker}, which starts it when it has ended what it runs"
    if job.extra is not None and job.extra.behind is not None:
        before = job.extra.behind
        return f"job {before.id} of its key is {before.state.value.replace('_', ' ')}, and must settle first"
    kind = TimerKind.DELAY if job.state is DELAYED else TimerKind.BACKOFF
    left = next((timer.when - now for timer in core.timers if timer.job is job and timer.kind is kind), 0.0)
    if job.state is BACKING_OFF:
        owes = () if job.extra is None else job.extra.owes
        waits = " and ".join(guard.whose for guard in owes)
        waits = f": it waits for {waits}, which is asked again then" if waits else ""
        return f"attempt {job.attempt} failed, and the next one is {_s(left)} away{waits}"
    return f"its delay is over in {_s(left)}"


def _why_waiting(core: Core, job: Job, ahead: int, now: float) -> list[str]:
    reasons = []
    if core.paused:
        reasons.append("the scheduler is paused, until resume()")
    line = job.line
    reasons += held_back(line, now)
    usable = [group for group in line.groups if any(pool.state is _ACCEPTING for pool in group.pools)]
    before = "it is the next to start" if not ahead else f"{ahead} start before it"
    if usable and not core.dispatcher.has_slot(line):
        reasons.append(f"{_no_slot(usable)}{before}")
    elif reasons and ahead:
        reasons.append(before)
    shut = [group for group in line.groups if group not in usable]
    if shut:
        states = sorted({pool.state.value for group in shut for pool in group.pools}) or ["gone"]
        reasons.append(f"no pool of {_names(shut)} takes jobs: they are {', '.join(states)}")
    return reasons or [f"it has waited {_s(now - job.waiting_since)}, and {ahead} jobs start before it"]


def _no_slot(groups: list[GroupRecord | Loan]) -> str:
    """Return in words why there is no free slot in groups that have pools which take jobs, and a joint to what follows."""
    pools = _accepting(groups)
    slots, down = sum(pool.slots for pool in pools), sum(pool.down for pool in pools)
    kept = sum(len(pool.free) for pool in pools)  # of a group that would lend
    if not down and not kept:
        return f"all {slots} slots of {_names(groups)} are in use and "
    told = [f"{slots - down - kept} of {slots} slots of {_names(groups)} are in use"]
    told += [f"{down} without a worker just now"] if down else []
    told += [f"{kept} kept for jobs more urgent"] if kept else []
    return ", ".join([*told, "and "])


def _ahead(core: Core, job: Job) -> int:
    """Return how many waiting jobs would start before this one in a slot that it may use, or with what its limit allows."""
    mine = set(map(id, job.line.groups))
    lines: list[Line] = [
        line for line in core.queue.lines.values() if any(id(group) in mine for group in line.groups)
    ]
    heads = job.line.where if job.line.limits else None  # type: ignore[attr-defined]
    if heads is not None and heads.record is not None:  # parked, and nobody there counts as able to start
        lines += [line for line in _under(core, job, heads.record) if line.where.record is heads.record]
    return sum(line.before(job) for line in lines)


def _under(core: Core, job: Job, record: LimitRecord) -> list[Any]:
    """Return the lines in which jobs wait under this limit; where tenants take turns, only its own can be compared."""
    if job.line.bundle.fair:  # type: ignore[attr-defined]
        return [job.line]
    return [line for bundle in core.lots.bundles for line in bundle.occupied if record in line.limits]


def _estimate(core: Core, job: Job, ahead: int, now: float) -> float | None:
    """Return by when slots and limits have served who comes first; None if that cannot be known."""
    groups = job.line.groups
    pools = _accepting(groups)
    free, slots = sum(group.free for group in groups), sum(pool.slots for pool in pools)
    if not slots:
        return None
    # How many must end before it can start, and how many of those run at once.
    waits: list[tuple[int, int]] = [(ahead + 1 - free, slots)]
    seconds: float = 0.0
    for record in job.line.limits:
        if isinstance(record, BreakerRecord):
            if record.says(now) is not None:
                return None
            continue
        before: int = sum(line.before(job) for line in _under(core, job, record))
        if record.counts:
            waits.append((before + 1 - int(record.concurrency) + record.held, int(record.concurrency)))
        seconds = max(seconds, record.ready_in(before, now))
    waits = [(ends, at_once) for ends, at_once in waits if ends > 0]
    mean = _run_time(groups)
    if mean is None:
        return None if waits else seconds
    return max([seconds, *(ends * mean / at_once for ends, at_once in waits)])


def _run_time(groups: Iterable[GroupRecord | Loan]) -> float | None:
    """Return the mean run time of all attempts that have ended in these groups, None before the first."""
    ended, total = 0, 0.0
    for group in groups:
        for meter in group.meters.values():
            meter.fold()
            ended += meter.ended
            total += meter.run_total
    return total / ended if ended else None


def _accepting(groups: Iterable[GroupRecord | Loan]) -> list[PoolRecord]:
    return [pool for group in groups for pool in group.pools if pool.state is _ACCEPTING]


def _names(groups: Iterable[GroupRecord | Loan]) -> str:
    return " and ".join(repr(group.name) for group in groups)


def _s(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 0.001 else "less than 1 ms"
