"""Lines of jobs that the same groups may take: by key, then by arrival.

In a run, a job that leaves from the middle (cancelled, expired) stays as a tombstone, recognised by
its state, until it surfaces at an end or tombstones make up half the run and are swept.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from itertools import chain

from sortedcontainers import SortedDict, SortedList

from .job import Job
from .limits import LimitRecord
from .pool_table import GroupRecord, Loan
from .returned import Returned
from .states import WAITING

#: Empty runs a line keeps, so that a level that empties and fills again costs nothing.
#: More than the five named priorities; otherwise arbitrary.
IDLE_RUNS_MAX = 16

#: Jobs at the head of a line that are looked at for who has waited longest. Arbitrary.
HEADS = 8


def order(job: Job) -> tuple[float, int]:
    """Return what jobs are ordered by: their key, then their arrival."""
    return job.key, job.arrival


def overtakes(job: Job, ahead: deque[Job]) -> bool:
    """Whether `job` goes before one of those that lie ahead in a slot; they lie there in order."""
    return order(job) < order(ahead[-1])


def by_key(jobs: Iterable[Job]) -> bool:
    """Whether jobs stand by key, then by arrival."""
    jobs = list(jobs)
    return jobs == sorted(jobs, key=order)


class Run(deque[Job]):
    """Jobs of equal key in order of arrival."""

    __slots__ = ("dead", "key", "returned")

    def __init__(self, key: float) -> None:
        super().__init__()
        self.key = key
        #: Tombstones in the deque.
        self.dead = 0
        #: Jobs that came back. Apart, because inserting into a deque is O(n); made when the first one does.
        self.returned: Returned | None = None

    def give_back(self, job: Job) -> None:
        """Take in a job that came back."""
        if self.returned is None:
            self.returned = Returned()
        self.returned.put(job)

    def back(self) -> list[Job]:
        """Return the jobs that came back, by arrival."""
        return self.returned.in_order() if self.returned else []

    def waiting(self) -> int:
        """Return how many jobs wait here."""
        fresh = len(self) - self.dead
        return fresh + len(self.returned) if self.returned else fresh

    def first(self) -> Job:
        """Return the job that is next of a run that is not empty and whose head is alive."""
        returned = self.returned
        if returned and (not self or returned.upwards[0] < self[0].arrival):
            return returned.first()
        return self[0]

    def live(self) -> Iterator[Job]:
        """Iterate over the waiting jobs of this run, by arrival."""
        fresh = [job for job in self if job.state is WAITING]
        return iter(sorted([*fresh, *self.returned.values()], key=order) if self.returned else fresh)


class LevelLine:
    """A line for orderings with few distinct keys: a sorted dictionary of runs of equals."""

    __slots__ = ("_runs", "best", "broken", "groups", "taken")

    limits: tuple[LimitRecord, ...] = ()

    place = staticmethod(order)
    overtakes = staticmethod(overtakes)

    def __init__(self, groups: tuple[GroupRecord | Loan, ...]) -> None:
        self.groups = groups
        self.broken = all(group.broken is not None for group in groups)
        self.taken: Job | None = None
        self._runs: SortedDict[float, Run] = SortedDict()
        #: The run with the lowest key that holds a waiting job; its head is alive.
        self.best: Run | None = None

    def look(self) -> None:
        """See again whether any group can still run these jobs."""
        self.broken = all(group.broken is not None for group in self.groups)

    def push(self, job: Job) -> None:
        """Add a waiting job behind its equals. Cost: 0.1 µs; a new level 2 µs."""
        best = self.best
        key = job.key
        if best is not None and best.key == key:
            best.append(job)
            return
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = Run(key)
        run.append(job)
        if best is None or key < best.key:
            self.best = run

    def push_back(self, job: Job) -> None:
        """Add a job that was here before, at its old place. Cost: O(log n)."""
        best = self.best
        key = job.key
        run = best if best is not None and best.key == key else self._runs.get(key)
        if run is None:
            run = self._runs[key] = Run(key)
        run.give_back(job)
        if best is None or key < best.key:
            self.best = run

    def pop(self) -> Job | None:
        """Remove and return the job that is next, or None. Cost: 0.1 µs."""
        run = self.best
        if run is None:
            return None
        returned = run.returned
        if returned and (not run or returned.upwards[0] < run[0].arrival):
            arrival = returned.upwards[0]
            job = self.taken = returned[arrival]
            returned.drop(arrival)
        else:
            job = self.taken = run[0]
            run.popleft()
        if not run or run.dead:
            self._settle_head(run)
        return job

    def peek(self) -> Job | None:
        """Return the job that is next, or None. Cost: O(1)."""
        run = self.best
        if run is None:
            return None
        return run.first() if run.returned else run[0]

    def worst(self) -> Job | None:
        """Return the job that would start last, or None. Cost: O(1) amortised."""
        for key in reversed(self._runs):
            run = self._runs[key]
            while run and run[-1].state is not WAITING:
                run.pop()
                run.dead -= 1
            last = run.returned.last() if run.returned else None
            if run and (last is None or last.arrival < run[-1].arrival):
                return run[-1]
            if last is not None:
                return last
        return None

    def discard(self, job: Job) -> None:
        """Forget a job whose state has already left WAITING. Cost: O(1) amortised."""
        run = self._runs[job.key]
        if run.returned and job.arrival in run.returned:
            run.returned.drop(job.arrival)
        else:
            run.dead += 1
            if run.dead * 2 > len(run):
                self._sweep(run)
        self._settle_head(run)

    def _sweep(self, run: Run) -> None:
        kept = [job for job in run if job.state is WAITING]
        run.clear()
        run.extend(kept)
        run.dead = 0

    def _settle_head(self, run: Run) -> None:
        """Make the head of `run` alive again and, when it is empty, move `best` on."""
        while run and run[0].state is not WAITING:
            run.popleft()
            run.dead -= 1
        if not run and not run.returned:
            if len(self._runs) > IDLE_RUNS_MAX:
                del self._runs[run.key]
            if run is self.best:
                self._advance()

    def _advance(self) -> None:
        for run in self._runs.values():  # at most IDLE_RUNS_MAX of them are empty
            if run or run.returned:
                self.best = run
                self._settle_head(run)
                return
        self.best = None

    def levels(self) -> Iterator[tuple[int, int, float | None]]:
        """Iterate over the runs, see `Line`. Cost: O(runs), amortised.

        An ordering other than by priority may mix priorities in a run: it counts as that of its first job.
        """
        for run in self._runs.values():
            while run and run[0].state is not WAITING:
                run.popleft()
                run.dead -= 1
            count = run.waiting()
            if count:
                first = run[0] if run else run.first()  # who came back has not waited since it came
                yield first.priority, count, first.waiting_since

    def before(self, job: Job) -> int:
        """Return how many jobs start before `job`. Cost: O(runs + the run of its key)."""
        place = order(job)
        count = 0
        for key, run in self._runs.items():
            if key < place[0]:
                count += run.waiting()
            elif key == place[0]:
                count += sum(order(other) < place for other in run.live())
        return count

    def oldest(self, priority: int) -> Iterator[Job]:
        """Iterate over the waiting jobs of a priority by arrival, those that came back first. Cost: O(1) a job, beside sorting those."""
        for run in self._runs.values():
            for job in chain(run.back(), run):
                if job.options.priority == priority and job.state is WAITING:
                    yield job

    def salvage(self) -> list[Job]:
        """Forget every job and return them in order, however torn the line is."""
        runs: Iterable[Run] = dict.values(self._runs)  # type: ignore[arg-type]  # not the sorted view: it may be torn
        jobs = [job for run in runs for job in (*run, *(run.returned or {}).values())]
        self._runs = SortedDict()
        self.best = None
        return jobs

    def in_order(self) -> bool:
        """Whether jobs stand by key, then by arrival."""
        return by_key(self)

    def __len__(self) -> int:
        return sum(map(Run.waiting, dict.values(self._runs)))  # type: ignore[arg-type]  # their order is no matter

    def __iter__(self) -> Iterator[Job]:
        runs = self._runs
        for key in runs:  # its view of values would look up each of them in Python
            yield from runs[key].live()


class KeyLine:
    """A line for orderings in which nearly every job has its own key: one sorted list."""

    __slots__ = ("_counts", "_places", "best", "broken", "groups", "taken")

    limits: tuple[LimitRecord, ...] = ()

    place = staticmethod(order)
    overtakes = staticmethod(overtakes)

    def __init__(self, groups: tuple[GroupRecord | Loan, ...]) -> None:
        self.groups = groups
        self.broken = all(group.broken is not None for group in groups)
        self.taken: Job | None = None
        #: Waiting jobs by priority, those with none of them apart.
        self._counts: defaultdict[int, int] = defaultdict(int)
        self._places: SortedList[tuple[float, int, Job]] = SortedList()
        self.best: Job | None = None

    def look(self) -> None:
        """See again whether any group can still run these jobs."""
        self.broken = all(group.broken is not None for group in self.groups)

    def push(self, job: Job) -> None:
        """Add a waiting job at the place its key and arrival give it. Cost: O(log n)."""
        self._places.add((job.key, job.arrival, job))
        self.best = self._places[0][2]
        self._counts[job.options.priority] += 1

    push_back = push

    def pop(self) -> Job | None:
        """Remove and return the job that is next, or None. Cost: O(log n)."""
        if self.best is None:
            return None
        job = self.taken = self.best
        self._places.pop(0)
        self.best = self._places[0][2] if self._places else None
        self._less(job)
        return job

    def peek(self) -> Job | None:
        """Return the job that is next, or None. Cost: O(1)."""
        return self.best

    def worst(self) -> Job | None:
        """Return the job that would start last, or None. Cost: O(1)."""
        return self._places[-1][2] if self._places else None

    def discard(self, job: Job) -> None:
        """Forget a job whose state has already left WAITING. Cost: O(log n)."""
        self._places.remove((job.key, job.arrival, job))
        self.best = self._places[0][2] if self._places else None
        self._less(job)

    def _less(self, job: Job) -> None:
        priority = job.options.priority
        self._counts[priority] -= 1
        if not self._counts[priority]:
            del self._counts[priority]

    def levels(self) -> Iterator[tuple[int, int, float | None]]:
        """Iterate over the priorities, see `Line`; only of one near the head is it known since when it waits."""
        heads = [job for _, _, job in self._places.islice(0, HEADS)]
        for priority, count in self._counts.items():
            waits = [
                job.waiting_since for job in heads if job.options.priority == priority and not job.attempt
            ]
            yield priority, count, min(waits, default=None)

    def before(self, job: Job) -> int:
        """Return how many jobs start before `job`. Cost: O(log n)."""
        count: int = self._places.bisect_left(order(job))  # type: ignore[arg-type]  # less than any with a job
        return count

    def oldest(self, priority: int) -> Iterator[Job]:
        """Iterate over the waiting jobs of a priority by key. Cost: O(n) for all of them."""
        return (job for job in self if job.options.priority == priority)

    def salvage(self) -> list[Job]:
        """Forget every job and return them in order, however torn the line is."""
        jobs = [job for _, _, job in self._places]
        self._places = SortedList()
        self._counts.clear()
        self.best = None
        return jobs

    def in_order(self) -> bool:
        """Whether jobs stand by key, then by arrival."""
        return by_key(self)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Job]:
        for _, _, job in self._places:
            yield job
