"""Who is alive under which key: the option ``key=``, not what an ordering computes.

Alive is who was admitted, or stands at the door, and has not settled. There is one job of a key; two while
a newcomer that replaces waits behind one that runs. What has settled leaves nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .job import Job


class Keys:
    """The living jobs of each key, oldest first. Cost: O(1) each; memory O(living jobs with a key)."""

    __slots__ = ("_alive", "_beside")

    def __init__(self) -> None:
        self._alive: dict[str, list[Job]] = {}
        #: Who would join a job that stands at the door, and waits beside it for what becomes of it.
        self._beside: dict[Job, list[Job]] = {}

    def of(self, key: str | None) -> tuple[Job, ...]:
        """Return the living jobs of a key, oldest first."""
        return () if key is None else tuple(self._alive.get(key, ()))

    def before(self, job: Job) -> Job | None:
        """Return the job that must settle before this one may start, if there is one."""
        key = job.options.key
        if key is None:
            return None
        first = self._alive.get(key, (job,))[0]
        return None if first is job else first

    def enter(self, job: Job) -> None:
        """Take in a newcomer, behind who is alive under its key."""
        if job.options.key is not None:
            self._alive.setdefault(job.options.key, []).append(job)

    def leave(self, job: Job) -> Job | None:
        """Forget a job; return who waited behind it, if anybody did."""
        key = job.options.key
        jobs = self._alive.get(key, []) if key is not None else []
        if key is None or job not in jobs:
            return None
        first = jobs[0] is job
        jobs.remove(job)
        if not jobs:
            del self._alive[key]
        return jobs[0] if first and jobs else None

    def wait_beside(self, living: Job, job: Job) -> None:
        """Note that `job` would join `living`, which stands at the door."""
        self._beside.setdefault(living, []).append(job)

    def stop_waiting(self, job: Job) -> bool:
        """Forget a job that waits beside another; return whether it did."""
        for living, others in self._beside.items():
            if job in others:
                others.remove(job)
                if not others:
                    del self._beside[living]
                return True
        return False

    def companions(self, living: Job) -> list[Job]:
        """Forget and return who waits beside a job that leaves the door."""
        return self._beside.pop(living, [])

    def mend(self, alive: Iterable[Job], door: Iterable[Job]) -> list[Job]:
        """Begin anew from who is alive; return those whose companion does not stand at the door any more."""
        self._alive, beside, self._beside = {}, self._beside, {}
        there = list(door)
        for job in (*sorted(alive, key=_admitted), *there):
            self.enter(job)
        awake = []
        for living, others in beside.items():
            if living in there:
                self._beside[living] = others
            else:
                awake += others
        return awake

    def __iter__(self) -> Iterator[Job]:
        for jobs in self._alive.values():
            yield from jobs

    def __len__(self) -> int:
        return sum(map(len, self._alive.values()))


def _admitted(job: Job) -> int:
    return job.id
