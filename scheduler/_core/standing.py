"""Why a job is where it is, and for how long by estimate: the words of ``handle.explain()``."""

from __future__ import annotations

import attrs

from .core import Core
from .job import Job, Line
from .limits import held_back
from .states import BACKING_OFF, DELAYED, RUNNING, WAITING, JobState, PoolState
from .timers import TimerKind


@attrs.frozen(kw_only=True)
class Standing:
    """How one job stands at one moment. ``str()`` says it in plain words."""

    job_id: int
    state: JobState
    #: What keeps it from starting or ending, most important first.
    reasons: tuple[str, ...]
    #: Waiting jobs that start before it as things are; 0 when it does not wait.
    ahead: int = 0
    #: Seconds until it starts, by the mean run time so far and the slots there are; None when nothing is known.
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
        if len(reasons) == 1 and not core.paused:
            estimate = _estimate(job, ahead)
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
    usable = [pool for group in line.groups for pool in group.pools if pool.state is PoolState.ACCEPTING]
    names = " and ".join(repr(group.name) for group in line.groups)
    if not usable:
        states = sorted({pool.state.value for group in line.groups for pool in group.pools}) or ["gone"]
        reasons.append(f"no pool of {names} takes jobs: they are {', '.join(states)}")
    elif not core.dispatcher.has_slot(line):
        slots = sum(pool.slots for pool in usable)
        before = "it is the next to start" if not ahead else f"{ahead} start before it"
        reasons.append(f"all {slots} slots of {names} are in use and {before}")
    return reasons or [f"it has waited {_s(now - job.waiting_since)}, and {ahead} jobs start before it"]


def _ahead(core: Core, job: Job) -> int:
    """Return how many waiting jobs would start before this one in a slot that it may use."""
    mine = set(map(id, job.line.groups))
    rivals: list[Line] = [
        line for line in core.queue.lines.values() if any(id(group) in mine for group in line.groups)
    ]
    parked = job.line.limits and job.line.where.record is not None  # type: ignore[attr-defined]
    own = (
        job.line.before(job) if parked else 0
    )  # the others in its line; where others are parked nobody knows
    return own + sum(line.before(job) for line in rivals)


def _estimate(job: Job, ahead: int) -> float | None:
    ended, total, slots = 0, 0.0, 0
    for group in job.line.groups:
        slots += sum(pool.slots for pool in group.pools if pool.state is PoolState.ACCEPTING)
        for meter in group.meters.values():
            meter.fold()
            ended += meter.ended
            total += meter.run_total
    return (ahead + 1) * total / ended / slots if ended and slots else None


def _s(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 0.001 else "less than 1 ms"
