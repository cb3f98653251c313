"""Policies decide: frozen values that each answer one question, and the contracts they satisfy.

=================  ===================================================
ordering           `StrictPriority`, `Aging`, `EarliestDeadline`, `FairShare`
admission          `Block`, `Reject`, `ShedLowest`, `CallerRuns`, `CoDel`
routing            `Pack`, `LeastLoaded`, `RoundRobin`, `TwoRandomChoices`,
                   `PeakEwma`, `Affinity`
retry              `NoRetry`, `FixedBackoff`, `LinearBackoff`, `ExponentialBackoff`,
                   `DecorrelatedJitter`, `FibonacciBackoff`, `PolynomialBackoff`,
                   `ScheduleBackoff`; made of others: `FirstMatch`, `HonourRetryAfter`;
                   by other libraries' rules: `from_tenacity`, `like_stamina`
scaling            `FixedPools`, `QueueDelay`, `TargetUtilization`, `SquareRootStaffing`
=================  ===================================================

`load` makes one by name, also those that other distributions have installed.
This package imports neither `scheduler` nor `pools`; a plug-in imports this package alone.
"""

from __future__ import annotations

from .adapters import from_tenacity, like_stamina
from .admission import Block, CallerRuns, CoDel, Reject, ShedLowest
from .backoff import (
    DecorrelatedJitter,
    ExponentialBackoff,
    FibonacciBackoff,
    FixedBackoff,
    LinearBackoff,
    PolynomialBackoff,
    ScheduleBackoff,
)
from .breaker import CircuitBreaker, WithBreaker
from .budget import Budgeted, RetryBudget
from .contracts import (
    Admission,
    AdmissionPolicy,
    Advice,
    Failure,
    FailureView,
    JobView,
    Load,
    OrderingPolicy,
    PoolView,
    QueueView,
    RetryPolicy,
    RoutingPolicy,
    ScalingPolicy,
    SharingPolicy,
    Uniform,
    Window,
)
from .hedge import Hedge
from .ordering import Aging, EarliestDeadline, FairShare, StrictPriority
from .plugins import PluginError, load
from .retry import FirstMatch, NoRetry
from .retry_after import HonourRetryAfter
from .routing import Affinity, LeastLoaded, Pack, PeakEwma, RoundRobin, TwoRandomChoices
from .scaling import FixedPools, QueueDelay, SquareRootStaffing, TargetUtilization

__distribution__ = "two-tier-scheduler"

__all__ = [
    "Admission",
    "AdmissionPolicy",
    "Advice",
    "Affinity",
    "Aging",
    "Block",
    "Budgeted",
    "CallerRuns",
    "CircuitBreaker",
    "CoDel",
    "DecorrelatedJitter",
    "EarliestDeadline",
    "ExponentialBackoff",
    "Failure",
    "FailureView",
    "FairShare",
    "FibonacciBackoff",
    "FirstMatch",
    "FixedBackoff",
    "FixedPools",
    "Hedge",
    "HonourRetryAfter",
    "JobView",
    "LeastLoaded",
    "LinearBackoff",
    "Load",
    "NoRetry",
    "OrderingPolicy",
    "Pack",
    "PeakEwma",
    "PluginError",
    "PolynomialBackoff",
    "PoolView",
    "QueueDelay",
    "QueueView",
    "Reject",
    "RetryBudget",
    "RetryPolicy",
    "RoundRobin",
    "RoutingPolicy",
    "ScalingPolicy",
    "ScheduleBackoff",
    "SharingPolicy",
    "ShedLowest",
    "SquareRootStaffing",
    "StrictPriority",
    "TargetUtilization",
    "TwoRandomChoices",
    "Uniform",
    "Window",
    "WithBreaker",
    "from_tenacity",
    "like_stamina",
    "load",
]
