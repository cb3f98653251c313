"""How jobs with a key are submitted: their newcomer may be another job's handle.

The conflict is settled in the turn that takes the job, by `Duplicates.submit_keyed`. What is left to do here
is what the core cannot: to ask pools for what lies ahead, so that it can be replaced, and to wait beside a
job that stands at the door until it is known whether it comes in.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from policies.contracts import Admission

from ._core.pool_table import Slot
from ._errors import SchedulerError
from ._handle import JobHandle
from ._opening import Opening

#: What takes a new job inside a turn, as `Core.submit` does.
Take = Callable[[JobHandle[Any], float], Slot | Admission | None]


class Keyed(Opening):
    """Submits jobs that have a key. Threads: from any."""

    def submit_keyed(self, job: JobHandle[Any]) -> JobHandle[Any]:
        """Submit a job that has a key; return its handle, or that of the living job that it joins.

        Raises what `submit` raises, and DuplicateJob.
        """
        while (living := self._submit_or_join(job)) is not None:
            if not living.id:
                try:
                    self._wait_at_door(job, beside=living)
                except BaseException:
                    self._leave_door(job, "interrupted")
                    raise
            if living.id:  # it came in, whatever has become of it since
                return living
        return job

    def _submit_or_join(self, job: JobHandle[Any]) -> JobHandle[Any] | None:
        """Submit the job unless it joins another; return that one."""
        living: list[JobHandle[Any]] = []

        def take(job: JobHandle[Any], now: float) -> Slot | Admission | None:
            fetched = False
            if job.options.on_conflict == "replace":
                for other in self.core.keys.of(job.options.key):
                    fetched = self.fetch(other, now) or fetched
            try:
                answer = self.core.submit_keyed(job, now)
            except SchedulerError:
                if fetched:
                    self.core.dispatch(now)
                raise
            if fetched:
                self.core.dispatch(now)
            if not isinstance(answer, JobHandle):
                return answer  # type: ignore[return-value]
            if not answer.id:
                self._stand_at_door(job, beside=answer)
            living.append(answer)
            return None

        try:
            self.submit(job, take)
        except BaseException:
            if living and not living[0].id:
                self._leave_door(job, "interrupted")
            raise
        return living[0] if living else None

    @abstractmethod
    def submit(self, job: JobHandle[Any], take: Take | None = None) -> None:
        """Take a new job: `Driver`."""

    @abstractmethod
    def _stand_at_door(self, job: JobHandle[Any], beside: JobHandle[Any] | None = None) -> None:
        """Get ready to wait at the door: `Driver`."""

    @abstractmethod
    def _wait_at_door(self, job: JobHandle[Any], beside: JobHandle[Any] | None = None) -> None:
        """Wait there: `Driver`."""

    @abstractmethod
    def _leave_door(self, job: JobHandle[Any], reason: str) -> None:
        """Wait there no more: `Driver`."""
