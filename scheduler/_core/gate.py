"""May it come in? Applies the admission policy to a job that finds the front queue full.

Submitters that wait for room stand at the *door*. Their jobs have no id and are in no count until the
turn that makes room lets them in, in order of arrival; the submitter then merely learns of it.
So nobody who has waited is overtaken by somebody who has just come.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from policies.contracts import Admission, AdmissionPolicy

from .front_queue import FrontQueue
from .job import Job


class Gate:
    """Admits, refuses, or evicts the lowest."""

    __slots__ = ("_policy_failed", "_queue", "door", "policy")

    def __init__(
        self,
        policy: AdmissionPolicy,
        queue: FrontQueue,
        policy_failed: Callable[[str, object, BaseException, str], None],
    ) -> None:
        self.policy = policy
        self._queue = queue
        self._policy_failed = policy_failed
        self.door: deque[Job] = deque()

    def judge(self, job: Job) -> Admission:
        """Return the way out for a job that finds the queue full."""
        try:
            verdict = self.policy.admit(job, self._queue)
            if not isinstance(verdict, Admission):
                raise TypeError(f"admit() must return an Admission, not {verdict!r}")
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._policy_failed("admission", self.policy, error, "block until there is room")
            verdict = Admission.BLOCK
        return verdict

    def patience(self, job: Job) -> tuple[float, str]:
        """Return the seconds that a job may stand at the door, infinity for ever, and what says so."""
        options = job.options
        limits = (
            (getattr(self.policy, "timeout", None), "Block(timeout=)"),
            (options.deadline, "deadline="),
            (options.queue_timeout, "queue_timeout="),
        )
        known = [(seconds, remedy) for seconds, remedy in limits if seconds is not None]
        return min(known, default=(math.inf, ""))

    def victim(self, job: Job) -> Job | None:
        """Return the waiting job to evict for `job`, or None if `job` itself would start last."""
        return self._queue.victim(job)
