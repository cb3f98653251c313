"""A dynamically scaling two-tier job scheduler.

Policies decide. Pools run. The scheduler connects.
Jobs wait in exactly one place, the front queue, and are handed to a pool only when it has a free slot.
Capacity grows and shrinks by whole pools: a live pool is never resized.

Start with `Scheduler`. ``scheduler.simulation``, ``scheduler.testing`` and ``scheduler.compat`` are
public by asking; every module whose name has an underscore may move.
"""

from __future__ import annotations

import policies as _policies
import pools as _pools

__distribution__ = "two-tier-scheduler"

for _package in (_policies, _pools):
    if getattr(_package, "__distribution__", None) != __distribution__:
        raise ImportError(
            f"scheduler (of {__distribution__}) needs its own package {_package.__name__!r}, but found "
            f"{getattr(_package, '__file__', None) or list(_package.__path__)}; rename that file or "
            "uninstall the other distribution, or start Python with -P"
        )

from ._clock import Clock, SystemClock, VirtualClock
from ._core.decisions import Decision, Explanation
from ._core.events import (
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    Event,
    JobHedged,
    JobOverdue,
    JobProgressed,
    JobRejected,
    JobRetrying,
    JobSettled,
    JobStarted,
    JobSubmitted,
    PolicyFailed,
    PolicySlow,
    PoolAdded,
    PoolCordoned,
    PoolDraining,
    PoolFailed,
    PoolQuarantined,
    PoolStopped,
    PoolUncordoned,
    RetryRefused,
    ScalingDecided,
    ScalingMeasured,
    SchedulerClosing,
    WorkerLost,
    WorkerReturned,
    WorkerStarted,
    WorkerStuck,
)
from ._core.job import Attempt, Priority
from ._core.limits import Limit
from ._core.standing import Standing
from ._core.states import JobState, PoolState
from ._core.statistics import BreakerStatistics, BudgetStatistics, Histogram, PoolStatistics, Statistics
from ._current import CurrentJob, JobLogFilter, current_job
from ._dead_letters import DeadLetters
from ._errors import (
    BreakerOpen,
    CancelledFromWithin,
    ConfigError,
    DeadlineExceeded,
    DuplicateJob,
    JobInterrupted,
    JobShed,
    NoEligiblePool,
    PoolBroken,
    QueueFull,
    QueueTimeout,
    RecordingError,
    ResultRejected,
    RetryBudgetExhausted,
    RunTimeout,
    SchedulerClosed,
    SchedulerError,
    WorkerDied,
    WouldDeadlock,
)
from ._handle import JobHandle
from ._letters import DeadLetter
from ._group import PoolGroup
from ._scheduler import DrainReport, Scheduler
from ._report import Phase, ShutdownReport, UnfinishedJob
from ._submitter import Submitter

__all__ = [
    "Attempt",
    "BreakerClosed",
    "BreakerHalfOpened",
    "BreakerOpen",
    "BreakerOpened",
    "BreakerStatistics",
    "BudgetStatistics",
    "CancelledFromWithin",
    "Clock",
    "ConfigError",
    "CurrentJob",
    "DeadLetter",
    "DeadLetters",
    "DeadlineExceeded",
    "Decision",
    "DrainReport",
    "DuplicateJob",
    "Event",
    "Explanation",
    "Histogram",
    "JobHandle",
    "JobHedged",
    "JobInterrupted",
    "JobLogFilter",
    "JobOverdue",
    "JobProgressed",
    "JobRejected",
    "JobRetrying",
    "JobSettled",
    "JobShed",
    "JobStarted",
    "JobState",
    "JobSubmitted",
    "Limit",
    "NoEligiblePool",
    "Phase",
    "PolicyFailed",
    "PolicySlow",
    "PoolAdded",
    "PoolBroken",
    "PoolCordoned",
    "PoolDraining",
    "PoolFailed",
    "PoolGroup",
    "PoolQuarantined",
    "PoolState",
    "PoolStatistics",
    "PoolStopped",
    "PoolUncordoned",
    "Priority",
    "QueueFull",
    "QueueTimeout",
    "RecordingError",
    "ResultRejected",
    "RetryBudgetExhausted",
    "RetryRefused",
    "RunTimeout",
    "ScalingDecided",
    "ScalingMeasured",
    "Scheduler",
    "SchedulerClosed",
    "SchedulerClosing",
    "SchedulerError",
    "ShutdownReport",
    "Standing",
    "Statistics",
    "Submitter",
    "SystemClock",
    "UnfinishedJob",
    "VirtualClock",
    "WorkerDied",
    "WorkerLost",
    "WorkerReturned",
    "WorkerStarted",
    "WorkerStuck",
    "WouldDeadlock",
    "current_job",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version(__distribution__)
    raise AttributeError(f"module 'scheduler' has no attribute {name!r}")
