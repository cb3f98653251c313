"""Who goes first: a number per job, computed once, lower is sooner; arrival breaks ties."""

from __future__ import annotations

import attrs

from .checks import number
from .contracts import JobView


@attrs.frozen(kw_only=True)
class StrictPriority:
    """Start the most urgent job first; equals in order of arrival. The default.

    A steady stream of urgent jobs starves the others: use `Aging` where that must not happen.
    """

    @property
    def few_keys(self) -> bool:
        """True: there are as many keys as priorities in use."""
        return True

    def key(self, job: JobView) -> float:
        """Return the priority."""
        return job.priority


@attrs.frozen(kw_only=True)
class Aging:
    """Let waiting make up for priority, so that nobody starves.

    A job's key is the time it joined the queue plus ``priority × seconds_per_level``. Keys never
    change, because all jobs age at the same rate (Kleinrock's time-dependent priorities, 1964).

    The bound: job *i* overtakes job *j* only if it joined the queue less than
    ``(p_j − p_i) × seconds_per_level`` seconds after it. With the default, a NORMAL job (20) is
    overtaken by HIGH jobs (10) for at most ten seconds.
    """

    seconds_per_level: float = attrs.field(default=1.0, validator=number(at_least=0))

    @property
    def few_keys(self) -> bool:
        """False: nearly every job has a key of its own."""
        return False

    def key(self, job: JobView) -> float:
        """Return the moment at which the job's waiting has made up for its priority."""
        return job.waiting_since + job.priority * self.seconds_per_level
