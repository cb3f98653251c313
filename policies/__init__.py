"""Policies decide: frozen values that each answer one question, and the contracts they satisfy.

=================  ===================================================
ordering           `StrictPriority`, `Aging`
admission          `Block`, `Reject`, `ShedLowest`, `CallerRuns`
routing            `LeastLoaded`, `Pack`
retry              `NoRetry`, `FixedBackoff`, `ExponentialBackoff`
scaling            `FixedPools`
=================  ===================================================

This package imports neither `scheduler` nor `pools`; a plug-in imports this package alone.
"""

from __future__ import annotations

from .admission import Block, CallerRuns, Reject, ShedLowest
from .contracts import (
    Admission,
    AdmissionPolicy,
    Failure,
    FailureView,
    JobView,
    OrderingPolicy,
    PoolView,
    QueueView,
    RetryPolicy,
    RoutingPolicy,
    ScalingPolicy,
    Uniform,
)
from .ordering import Aging, StrictPriority
from .retry import ExponentialBackoff, FixedBackoff, NoRetry
from .routing import LeastLoaded, Pack
from .scaling import FixedPools

__distribution__ = "two-tier-scheduler"

__all__ = [
    "Admission",
    "AdmissionPolicy",
    "Aging",
    "Block",
    "CallerRuns",
    "ExponentialBackoff",
    "Failure",
    "FailureView",
    "FixedBackoff",
    "FixedPools",
    "JobView",
    "LeastLoaded",
    "NoRetry",
    "OrderingPolicy",
    "Pack",
    "PoolView",
    "QueueView",
    "Reject",
    "RetryPolicy",
    "RoutingPolicy",
    "ScalingPolicy",
    "ShedLowest",
    "StrictPriority",
    "Uniform",
]
