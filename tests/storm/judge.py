"""The judge from outside: it sees what was submitted, what operators did, the events, and how handles ended.

It knows nothing of the scheduler's insides, and its laws are those that a user would think of.
"""

from __future__ import annotations

from typing import Any

import attrs

from scheduler._core import events
from scheduler._core.states import JobState


class Caught(Exception):
    """Something is wrong: which law it breaks, in words, and which jobs and pools have to do with it."""

    def __init__(self, law: str, story: str, *about: int) -> None:
        super().__init__(f"{law}: {story}")
        self.law, self.about = law, about


@attrs.define
class Account:
    """What has been heard of one job."""

    submitted_at: float
    starts: list[events.JobStarted] = attrs.Factory(list)
    hedges: int = 0
    retries: list[events.JobRetrying] = attrs.Factory(list)
    settled: events.JobSettled | None = None


#: After which event a pool may start jobs, and after which it must not.
_OPENS = (events.PoolAdded, events.PoolUncordoned)
_SHUTS = (
    events.PoolCordoned,
    events.PoolDraining,
    events.PoolQuarantined,
    events.PoolStopped,
    events.PoolFailed,
)


class Judge:
    """Hears of everything in order, and raises `Caught` as soon as a law is broken."""

    def __init__(self) -> None:
        self.accounts: dict[int, Account] = {}
        self.shut: dict[str, str] = {}
        self.paused = False
        #: Jobs that a worker had begun when it was asked to give back what it had not: they count as started.
        self.begun: set[int] = set()
        #: Moments at which the clock jumped, and the alarm rang late for so much that it takes several turns, or
        #: tokens come first: whose deadline passed meanwhile may start in one of them, and expire in the next.
        self.late: set[float] = set()
        #: Jobs that were never submitted, because an exception struck on the way in this very turn.
        self.torn: set[int] = set()

    # What operators do, and what a pool answers

    def pauses(self, *, paused: bool) -> None:
        """Hear that nothing may start, or that everything may again."""
        self.paused = paused

    def keeps(self, job_id: int) -> None:
        """Hear that a worker has begun a job already that was wanted back."""
        self.begun.add(job_id)

    def forgets(self, job_id: int) -> None:
        """Hear that a submit was torn: whatever is told of its job in this turn has not happened."""
        self.torn.add(job_id)

    # Events

    def hears(self, event: events.Event) -> None:
        """Take one event."""
        if self.torn and getattr(event, "job_id", None) in self.torn:
            return
        if isinstance(event, _OPENS):
            self.shut.pop(event.pool, None)
        elif isinstance(event, _SHUTS):
            self.shut[event.pool] = type(event).__name__
        elif isinstance(event, events.JobSubmitted):
            if event.job_id in self.accounts:
                self._caught("one submission", "was submitted twice", event.job_id)
            self.accounts[event.job_id] = Account(event.time)
        elif isinstance(event, events.JobStarted):
            self._started(event)
        elif isinstance(event, events.JobHedged):
            self._hedged(event)
        elif isinstance(event, events.JobRetrying):
            account = self._alive(event.job_id, "backs off")
            account.retries.append(event)
        elif isinstance(event, events.JobSettled):
            self._settled(event)

    def _started(self, event: events.JobStarted) -> None:
        account = self._alive(event.job_id, f"started in {event.worker}")
        self._may_start(event)
        number = account.starts[-1].attempt if account.starts else 0
        again = account.starts and event.attempt == number and not self._backed_off(account, number)
        if not again and event.attempt != number + 1:
            self._caught("attempts add up", f"attempt {event.attempt} came after {number}", event.job_id)
        if event.attempt == number + 1 and number and not self._backed_off(account, number):
            self._caught(
                "one attempt at a time", f"attempt {event.attempt} began before {number} ended", event.job_id
            )
        if event.attempt > 1 and account.retries:
            last = account.retries[-1]
            if event.time < last.time + last.delay:
                self._caught("a backoff is waited for", f"was due at {last.time + last.delay}", event.job_id)
        account.starts.append(event)

    def _may_start(self, event: events.JobStarted | events.JobHedged) -> None:
        if event.pool == "caller":
            return
        if event.job_id in self.begun:
            return
        if event.pool in self.shut:
            self._caught(
                "nothing starts in a pool that is shut",
                f"started in {event.worker} after {self.shut[event.pool]}",
                event.job_id,
            )
        if self.paused:
            self._caught("nothing starts in a pause", f"started in {event.worker}", event.job_id)

    def _hedged(self, event: events.JobHedged) -> None:
        account = self._alive(event.job_id, f"was hedged in {event.worker}")
        self._may_start(event)
        account.hedges += 1
        if not account.starts or account.starts[-1].attempt != event.attempt:
            self._caught("a hedge is of the last attempt", f"is of attempt {event.attempt}", event.job_id)

    def _settled(self, event: events.JobSettled) -> None:
        account = self._alive(event.job_id, f"settled again as {event.state.name}")
        account.settled = event
        started = max((start.attempt for start in account.starts), default=0)
        if event.attempts not in (started, max(0, started - 1)):
            self._caught(
                "attempts add up", f"settled after {event.attempts}, of {started} that began", event.job_id
            )

    def _backed_off(self, account: Account, attempt: int) -> bool:
        return any(retry.attempt == attempt for retry in account.retries)

    def _alive(self, job_id: int, deed: str) -> Account:
        account = self.accounts.get(job_id)
        if account is None:
            self._caught("nobody unknown", f"{deed} and was never submitted", job_id)
        elif account.settled is not None:
            self._caught("one end", f"{deed} after it had settled as {account.settled.state.name}", job_id)
        return account  # type: ignore[return-value]

    # Handles

    def verdict(self, jobs: list[Any], *, closed: bool) -> None:
        """Compare what was heard of every job with how its handle ended."""
        for job in jobs:
            if not job.id:
                if job.state.settled:
                    self._caught("nobody unknown", "settled and was never admitted", 0)
                continue
            account = self.accounts[job.id]
            told = account.settled
            if told is None or not job.state.settled:
                self._caught("one end", f"is {job.state.name} and was told {told}", job.id)
            elif told.state is not job.state:
                self._caught("one end", f"is {job.state.name} and was told {told.state.name}", job.id)
            self._handle(job, account, closed=closed)
        known = {job.id for job in jobs}
        for job_id in self.accounts:
            if job_id not in known:
                self._caught("one submission", "was never submitted by anybody", job_id)

    def _handle(self, job: Any, account: Account, *, closed: bool) -> None:
        attempts = job.all_attempts()
        if [attempt.number for attempt in attempts] != list(range(1, len(attempts) + 1)):
            self._caught("attempts add up", f"its handle has attempts {attempts}", job.id)
        if len(attempts) != job.attempt or account.settled is None or account.settled.attempts != job.attempt:
            self._caught("attempts add up", f"made {job.attempt} attempts, its handle has {attempts}", job.id)
        options, state = job.options, job.state
        if state is JobState.SUCCEEDED and job.outcome[1:] != (job.serial, job.attempt):
            self._caught("the last attempt's outcome", f"ended with {job.outcome!r}", job.id)
        if state is JobState.EXPIRED:
            limits = [seconds for seconds in (options.queue_timeout, options.deadline) if seconds is not None]
            # Of a job with a delay, the wait begins when that is over: later than this asks for.
            if not limits or (account.settled.time < account.submitted_at and not closed):
                self._caught("only limits expire", "expired and has no limit", job.id)
        if state is JobState.CANCELLED and not (job.asked_to_stop or closed or options.key):
            self._caught("only who is asked stops", "was cancelled by nobody", job.id)
        most = max(getattr(policy, "attempts_max", 1) for policy in job.policies)
        if job.attempt > most:
            self._caught("no more attempts than allowed", f"made {job.attempt} of {most}", job.id)
        if options.delay and account.starts and account.starts[0].time < account.submitted_at + options.delay:
            self._caught("a delay is waited for", "started too early", job.id)
        late = [start for start in account.starts if job.deadline is not None and start.time > job.deadline]
        if late and late[0].job_id not in self.begun and late[0].time not in self.late:
            self._caught("nothing starts after its deadline", f"started at {late[0].time}", job.id)

    def _caught(self, law: str, story: str, job_id: int) -> None:
        raise Caught(law, f"job {job_id} {story}", job_id)
