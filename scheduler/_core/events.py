"""The observable facts: frozen, past tense, ids and numbers only.

Events are made only while somebody observes. `time` is seconds on the scheduler's clock.
The table in ``docs/reference/events.md`` is generated from this room.
"""

from __future__ import annotations

import attrs

from policies.contracts import Load

from .states import JobState


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened."""

    time: float


@attrs.frozen(kw_only=True)
class JobSubmitted(Event):
    """A job was admitted."""

    job_id: int
    priority: int
    name: str | None


@attrs.frozen(kw_only=True)
class JobRejected(Event):
    """A job was turned away at the gate; it never got an id."""

    priority: int
    name: str | None
    reason: str


@attrs.frozen(kw_only=True)
class JobStarted(Event):
    """An attempt began in a slot; `waited` is seconds in the front queue."""

    job_id: int
    attempt: int
    pool: str
    worker: str
    waited: float


@attrs.frozen(kw_only=True)
class JobHedged(Event):
    """A hedge began in a slot, beside the attempt of the same number that takes long."""

    job_id: int
    attempt: int
    pool: str
    worker: str


@attrs.frozen(kw_only=True)
class JobRetrying(Event):
    """An attempt failed and the job backs off for `delay` seconds."""

    job_id: int
    attempt: int
    delay: float
    error: str


@attrs.frozen(kw_only=True)
class RetryRefused(Event):
    """An attempt failed, and what its policy asks `by` refused another one."""

    job_id: int
    attempt: int
    by: str


@attrs.frozen(kw_only=True)
class BreakerOpened(Event):
    """A breaker opened, because `failed` of the last `calls` attempts did; it lets nobody through before `until`."""

    breaker: str
    failed: int
    calls: int
    until: float


@attrs.frozen(kw_only=True)
class BreakerHalfOpened(Event):
    """A breaker lets a few jobs through, to see."""

    breaker: str


@attrs.frozen(kw_only=True)
class BreakerClosed(Event):
    """A breaker lets all jobs through again."""

    breaker: str


@attrs.frozen(kw_only=True)
class JobProgressed(Event):
    """A running job told how far it is."""

    job_id: int
    attempt: int
    done: float
    total: float | None


@attrs.frozen(kw_only=True)
class JobOverdue(Event):
    """A job's limit passed and its worker cannot be stopped; the slot stays busy until it returns."""

    job_id: int
    attempt: int
    worker: str


@attrs.frozen(kw_only=True)
class JobSettled(Event):
    """A job reached a terminal state."""

    job_id: int
    state: JobState
    attempts: int


@attrs.frozen(kw_only=True)
class WorkerReturned(Event):
    """A worker came back from an attempt that had outlived its limit; its outcome was dropped."""

    job_id: int
    worker: str


@attrs.frozen(kw_only=True)
class WorkerStarted(Event):
    """A worker of a pool that announces them is up; its slot takes jobs."""

    pool: str
    worker: str


@attrs.frozen(kw_only=True)
class WorkerLost(Event):
    """A worker ended: it died, was killed, or was retired (`error` is None); its slot is down until the next is up."""

    pool: str
    worker: str
    error: str | None


@attrs.frozen(kw_only=True)
class WorkerStuck(Event):
    """A call ignores its limit for longer than the group's `stuck_after`: its slot is abandoned capacity until it returns."""

    pool: str
    worker: str


@attrs.frozen(kw_only=True)
class PoolAdded(Event):
    """A pool was added to its group."""

    pool: str
    group: str
    slots: int


@attrs.frozen(kw_only=True)
class PoolCordoned(Event):
    """A pool takes no more jobs for the moment."""

    pool: str


@attrs.frozen(kw_only=True)
class PoolUncordoned(Event):
    """A cordoned pool takes jobs again."""

    pool: str


@attrs.frozen(kw_only=True)
class PoolDraining(Event):
    """A pool finishes what it runs and then stops."""

    pool: str
    running: int


@attrs.frozen(kw_only=True)
class PoolQuarantined(Event):
    """A pool is out of routing because of calls that ignore their limit; `replacement` is the pool opened in its place."""

    pool: str
    stuck: int
    slots: int
    replacement: str | None


@attrs.frozen(kw_only=True)
class PoolStopped(Event):
    """A pool has run its last job and is gone."""

    pool: str


@attrs.frozen(kw_only=True)
class PoolFailed(Event):
    """A pool can run nothing any more."""

    pool: str
    error: str


@attrs.frozen(kw_only=True)
class ScalingDecided(Event):
    """The autoscaler changed a group's pools, or wanted to and was not allowed (`limited_by` says by what rule)."""

    group: str
    action: str
    pools: tuple[str, ...]
    before: int
    wanted: int
    reason: str
    limited_by: str | None
    #: The policy's computation, every pool that could have gone with its slots in use and idle seconds, and what it saw.
    formula: str = ""
    candidates: tuple[tuple[str, int, float], ...] = ()
    load: Load | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class ScalingMeasured(Event):
    """It has been measured what the last additions to a group did."""

    group: str
    effect: str


@attrs.frozen(kw_only=True)
class PolicyFailed(Event):
    """A policy raised or answered nonsense; `fallback` is what happened instead."""

    question: str
    policy: str
    error: str
    fallback: str


@attrs.frozen(kw_only=True)
class PolicySlow(Event):
    """A policy held up every job for `seconds`; `calls` of its answers took long since it was last told."""

    question: str
    policy: str
    seconds: float
    calls: int


@attrs.frozen(kw_only=True)
class SchedulerClosing(Event):
    """The scheduler refuses new jobs and finishes or cancels what it has."""

    phase: str
