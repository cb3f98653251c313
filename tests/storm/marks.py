"""Coverage marks: what has happened, and above all what has happened *together*, counted over many runs.

A mark is a sentence and a question about one event, asked right after the turn that told it. It looks at the run
from outside: at the event, at what was told before, and at the state of the scheduler after the turn. The product
knows nothing of it. A mark that is never reached says that the storm has grown tame, so its run fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from storm.turns import StormJob

from scheduler._core import events
from scheduler._core.breakers import Phase
from scheduler._core.events import Event
from scheduler._core.pool_table import PoolRecord
from scheduler._core.states import JobState, PoolState

Question = Callable[[Any, Any], object]

#: By kind of event: sentence and question.
MARKS: dict[type[Event], list[tuple[str, Question]]] = {}


def mark(kind: type[Event], sentence: str) -> Callable[[Question], Question]:
    """Ask a question of every event of a kind."""

    def note(question: Question) -> Question:
        MARKS.setdefault(kind, []).append((sentence, question))
        return question

    return note


class Marks:
    """Counts in how many runs each mark was reached."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(sentences(), 0))
        self._reached: set[str] = set()

    def begin(self) -> None:
        """Begin another run."""
        self._reached = set()

    def watch(self, world: Any, fresh: list[Event]) -> None:
        """Ask about what a turn has told. Cost: some microseconds an event."""
        for event in fresh:
            for sentence, question in MARKS.get(type(event), ()):
                if sentence not in self._reached and question(world, event):
                    self._reached.add(sentence)
                    self.counts[sentence] += 1

    @property
    def missed(self) -> list[str]:
        """Return what was never reached."""
        return [sentence for sentence, count in self.counts.items() if not count]

    def table(self) -> str:
        """Return one line a mark: in how many runs it was reached."""
        return "\n".join(f"{count:>8}  {sentence}" for sentence, count in sorted(self.counts.items()))


def sentences() -> Iterator[str]:
    """Iterate over every mark's sentence."""
    for marks in MARKS.values():
        yield from (sentence for sentence, _ in marks)


# What questions ask about


def _states(world: Any) -> set[PoolState]:
    return {pool.state for pool in world.core.pools}


def _drains(world: Any) -> bool:
    return PoolState.DRAINING in _states(world)


def _full(world: Any) -> bool:
    return bool(world.core.queue.held >= world.core.queue.capacity)


def _pool(world: Any, name: str) -> PoolRecord | None:
    return world.core.pools.find(name)  # type: ignore[no-any-return]


def _job(world: Any, event: Any) -> StormJob | None:
    """Return the job of an event; ids are given in the order of submission, and looked up once."""
    job_id = event.job_id
    if job_id not in world.by_id:
        world.by_id.update({job.id: job for job in world.jobs.values() if job.id})
    return world.by_id.get(job_id)  # type: ignore[no-any-return]


def _phases(world: Any) -> set[Phase]:
    return {record.phase for record in world.core.lots.breakers.values()}


def _parked(world: Any) -> bool:
    return any(record.waiting for record in world.core.lots.records())


def _overdue(world: Any, job: StormJob) -> bool:
    """Whether a call of a job's earlier attempt goes on still."""
    return any(
        slot.job is job and slot.overdue for pool in world.core.pools for slot in pool.all_slots if slot.job
    )


def _replaced(world: Any) -> bool:
    return any(pool.replaced and pool.state is PoolState.QUARANTINED for pool in world.core.pools)


def _told(world: Any, kind: type[Event], **fields: Any) -> bool:
    """Whether the same moment has told something of a kind."""
    for event in reversed(world.events):
        if event.time < world.now:
            return False
        if type(event) is kind and all(getattr(event, name) == value for name, value in fields.items()):
            return True
    return False


# Retries, and what else goes on


@mark(events.JobStarted, "a retry started while a pool drained and the front queue was full")
def _(world: Any, event: Any) -> object:
    return event.attempt > 1 and _drains(world) and _full(world)


@mark(events.JobStarted, "a retry ran beside the call of its own attempt that had outlived its limit")
def _(world: Any, event: Any) -> object:
    if event.attempt < 2:
        return False
    job = _job(world, event)
    return job is not None and _overdue(world, job)


@mark(events.JobRetrying, "a job backed off from a pool that drains, into a queue that was full")
def _(world: Any, event: Any) -> object:
    return _drains(world) and _full(world)


@mark(events.RetryRefused, "a budget was empty while another job was parked at a limit")
def _(world: Any, event: Any) -> object:
    return event.by.startswith("budget") and _parked(world)


@mark(events.RetryRefused, "an open breaker refused a retry while a pool drained or was shut")
def _(world: Any, event: Any) -> object:
    return event.by.startswith("breaker") and _states(world) & {PoolState.DRAINING, PoolState.CORDONED}


@mark(events.JobSettled, "a job was cancelled that waited for a budget or a breaker to pay for its retry")
def _(world: Any, event: Any) -> object:
    if event.state is not JobState.CANCELLED or not event.attempts:
        return False
    job = _job(world, event)
    return job is not None and job.extra is not None and bool(job.extra.owes)


# Hedges


@mark(events.WorkerReturned, "a hedge's loser returned after its winner")
def _(world: Any, event: Any) -> object:
    job = _job(world, event)
    return job is not None and job.hedged and job.state is JobState.SUCCEEDED


@mark(events.JobHedged, "a hedge began while a breaker was half-open, or beside a parked job")
def _(world: Any, event: Any) -> object:
    return Phase.HALF_OPEN in _phases(world) or _parked(world)


@mark(events.JobHedged, "a hedge began while another pool drained")
def _(world: Any, event: Any) -> object:
    return _drains(world)


@mark(events.JobRetrying, "a job that had been hedged backed off")
def _(world: Any, event: Any) -> object:
    job = _job(world, event)
    return job is not None and job.hedged


# Pools


@mark(events.WorkerLost, "a worker died while its pool drained")
def _(world: Any, event: Any) -> object:
    return world.judge.shut.get(event.pool) in ("PoolDraining", "PoolStopped")


@mark(events.PoolFailed, "a close met a pool that failed to start or broke")
def _(world: Any, event: Any) -> object:
    return world.closing


@mark(events.PoolFailed, "the last pool of a group broke while jobs waited for it")
def _(world: Any, event: Any) -> object:
    return _told(world, events.JobSettled, state=JobState.FAILED) and any(
        group.broken is not None for group in world.core.pools.groups.values()
    )


@mark(events.PoolFailed, "a pool broke while a replacement of a quarantined one started")
def _(world: Any, event: Any) -> object:
    return _replaced(world)


@mark(events.PoolUncordoned, "a pool that drained was taken back")
def _(world: Any, event: Any) -> object:
    pool = _pool(world, event.pool)
    return pool is not None and pool.kept_until > 0 and pool.group.scaling is not None


@mark(events.ScalingDecided, "a draining pool was taken back while another was quarantined or started")
def _(world: Any, event: Any) -> object:
    return event.action == "take back" and _states(world) & {PoolState.QUARANTINED, PoolState.STARTING}


@mark(events.PoolQuarantined, "a pool was quarantined that somebody had cordoned")
def _(world: Any, event: Any) -> object:
    pool = _pool(world, event.pool)
    return pool is not None and pool.cordoned


@mark(events.PoolQuarantined, "a pool was quarantined while the scheduler closed")
def _(world: Any, event: Any) -> object:
    return world.closing


@mark(events.PoolDraining, "a quarantined pool drained after its stuck call had returned")
def _(world: Any, event: Any) -> object:
    pool = _pool(world, event.pool)
    return pool is None or pool.replaced


@mark(events.PoolDraining, "a pool drained with jobs ahead in it")
def _(world: Any, event: Any) -> object:
    pool = _pool(world, event.pool)
    return pool is not None and any(slot.ahead for slot in pool.all_slots)


@mark(events.WorkerStuck, "a call got stuck in a pool that drained")
def _(world: Any, event: Any) -> object:
    pool = _pool(world, event.pool)
    return pool is not None and pool.state is PoolState.DRAINING


@mark(events.ScalingDecided, "a group grew while one of its pools was quarantined or drained by hand")
def _(world: Any, event: Any) -> object:
    group = world.core.pools.groups[event.group]
    return event.action == "add" and any(
        pool.state is PoolState.QUARANTINED or (pool.state is PoolState.DRAINING and not pool.released)
        for pool in group.pools
    )


# What lies ahead, and what is lent


@mark(events.JobSettled, "a deadline passed while its job lay ahead in a process")
def _(world: Any, event: Any) -> object:
    if event.state is not JobState.EXPIRED:
        return False
    job = _job(world, event)
    return job is not None and any(
        job in slot.ahead for pool in world.core.pools for slot in pool.all_slots if slot.ahead
    )


@mark(events.JobSubmitted, "a more urgent job had those taken back that lay ahead")
def _(world: Any, event: Any) -> object:
    return bool(world.owed)


@mark(events.WorkerLost, "a worker died that held jobs ahead, and one of them was started elsewhere at once")
def _(world: Any, event: Any) -> object:
    return world.core.ledger.recalled and _told(world, events.JobStarted)


@mark(events.JobStarted, "a slot of a reserved group was lent")
def _(world: Any, event: Any) -> object:
    if not event.pool.startswith("fast"):
        return False
    job = _job(world, event)
    return job is not None and job.priority > 10


# Limits, breakers, the clock


@mark(events.BreakerHalfOpened, "the clock had just stepped when a breaker became half-open")
def _(world: Any, event: Any) -> object:
    return world.now in world.stepped


@mark(events.BreakerOpened, "a breaker opened again from half-open while a job was parked at it")
def _(world: Any, event: Any) -> object:
    opened_before = any(
        type(other) is events.BreakerHalfOpened and other.breaker == event.breaker for other in world.events
    )
    return opened_before and _parked(world)


@mark(events.BreakerOpened, "a breaker opened while a pool drained")
def _(world: Any, event: Any) -> object:
    return _drains(world)


@mark(events.JobSettled, "the clock stepped while a breaker was half-open")
def _(world: Any, event: Any) -> object:
    return world.now in world.stepped and Phase.HALF_OPEN in _phases(world)


@mark(events.JobSettled, "one step of the clock ended several jobs at once")
def _(world: Any, event: Any) -> object:
    if event.state is not JobState.EXPIRED or world.now not in world.stepped:
        return False
    told = [each for each in world.events[-8:] if each.time == world.now]
    return sum(isinstance(each, events.JobSettled) and each.state is JobState.EXPIRED for each in told) > 2


@mark(events.JobSettled, "a job was cancelled that was parked at a limit")
def _(world: Any, event: Any) -> object:
    if event.state is not JobState.CANCELLED or event.attempts:
        return False
    job = _job(world, event)
    return job is not None and job.slot is None and bool(job.line.limits) and not _drains(world)


# The front queue


@mark(events.JobSettled, "a job was shed for another one while a retry backed off")
def _(world: Any, event: Any) -> object:
    return event.state is JobState.SHED and any(
        job.state is JobState.BACKING_OFF for job in world.jobs.values()
    )


@mark(events.JobStarted, "a caller ran a job itself while no pool accepted, or in a pause")
def _(world: Any, event: Any) -> object:
    return event.pool == "caller" and (world.core.paused or PoolState.ACCEPTING not in _states(world))


@mark(events.JobSettled, "a deadline passed at the door, or as its job came in")
def _(world: Any, event: Any) -> object:
    return event.state is JobState.EXPIRED and _told(world, events.JobSubmitted, job_id=event.job_id)


@mark(events.JobRejected, "a close turned away who stood at the door")
def _(world: Any, event: Any) -> object:
    return world.closing


@mark(events.JobSettled, "a job ended and let somebody in from the door")
def _(world: Any, event: Any) -> object:
    return _told(world, events.JobSubmitted) and _full(world)


# Keys


@mark(events.JobRetrying, "a job backed off that another of its key waits behind")
def _(world: Any, event: Any) -> object:
    job = _job(world, event)
    return job is not None and job.options.key is not None and len(world.core.keys.of(job.options.key)) > 1


@mark(events.JobSettled, "a job that backed off had been joined by another of its key")
def _(world: Any, event: Any) -> object:
    job = _job(world, event)
    return job is not None and job in world.joined_backing_off


@mark(events.JobSettled, "a job was replaced by a newer one of its key while a pool drained")
def _(world: Any, event: Any) -> object:
    return event.state is JobState.CANCELLED and _drains(world) and "replaced" in str(_outcome(world, event))


# Closing, and other people's code


@mark(events.JobSettled, "a close gave up a call that did not stop")
def _(world: Any, event: Any) -> object:
    return world.closing and world.abandoned


@mark(events.JobSettled, "a close cancelled a job that had been taken back from a worker")
def _(world: Any, event: Any) -> object:
    return world.closing and event.state is JobState.CANCELLED and world.core.ledger.recalled


@mark(events.PolicyFailed, "a policy failed while the front queue was full")
def _(world: Any, event: Any) -> object:
    return _full(world)


@mark(events.PolicyFailed, "a scaling policy failed while a pool drained")
def _(world: Any, event: Any) -> object:
    return event.question == "scaling" and _drains(world)


@mark(events.PolicySlow, "a slow policy was named")
def _(world: Any, event: Any) -> object:
    return True


@mark(events.JobSettled, "an observer raised when a job failed, and another one interrupted a job")
def _(world: Any, event: Any) -> object:
    return event.state is JobState.FAILED and world.weather.raising and world.meddled_with


# Fair shares, many pools, growth


@mark(events.JobStarted, "a tenant of brief jobs had the turn while another tenant waited")
def _(world: Any, event: Any) -> object:
    return any(
        getattr(line, "open", None) is not None and line.open.turn is not None and line.open.size > 1
        for line in world.core.queue.lines.values()
    )


@mark(events.PoolDraining, "a pool drained whose group ranks its pools")
def _(world: Any, event: Any) -> object:
    pool = _pool(world, event.pool)
    return pool is not None and pool.group.ranking is not None


@mark(events.JobStarted, "a job with an affinity started while a pool drained")
def _(world: Any, event: Any) -> object:
    job = _job(world, event)
    return job is not None and job.affinity is not None and _drains(world)


@mark(events.ScalingMeasured, "an addition did not help, and was undone")
def _(world: Any, event: Any) -> object:
    return event.effect.startswith("it did not help")


@mark(events.ScalingMeasured, "fewer pools were tried, to measure what more gain")
def _(world: Any, event: Any) -> object:
    return "goes back to" in event.effect


# Coroutines, names, who waits for whom, torn turns


@mark(events.JobRetrying, "a coroutine backed off while a pool drained or was quarantined")
def _(world: Any, event: Any) -> object:
    job = _job(world, event)
    return (
        job is not None
        and job.spec.coroutine
        and _states(world) & {PoolState.DRAINING, PoolState.QUARANTINED}
    )


@mark(events.BreakerOpened, "a breaker over a name opened while a pool was shut")
def _(world: Any, event: Any) -> object:
    return "name" in event.breaker and _states(world) & {PoolState.DRAINING, PoolState.CORDONED}


@mark(events.JobSettled, "a call was told that it would wait for ever, and went on")
def _(world: Any, event: Any) -> object:
    return world.would_deadlock


@mark(events.JobSettled, "a submit was torn while a pool drained and the front queue was full")
def _(world: Any, event: Any) -> object:
    return world.torn >= {"full", "DRAINING"}


def _outcome(world: Any, event: Any) -> object:
    job = _job(world, event)
    return None if job is None else job.outcome
