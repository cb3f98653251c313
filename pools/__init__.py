"""Pools run: a fixed number of slots behind one mechanism each, and the promises they keep.

``ThreadPool(slots=8)`` is a recipe, a frozen value: one scheduler opens as many equal pools from it
as it is asked to. This package imports neither `scheduler` nor `policies`.
"""

from __future__ import annotations

from ._process_recycle import Recycle
from .asyncio_pool import AsyncioPool
from .contract import (
    AheadPool,
    Call,
    CallAbandoned,
    Deliver,
    Front,
    Outcome,
    Pool,
    PoolRecipe,
    PoolStopped,
    RemoteError,
    RemoteTraceback,
    Traits,
    WorkerGone,
)
from .inline_pool import InlinePool
from .process_pool import ProcessPool
from .thread_pool import ThreadPool

__distribution__ = "two-tier-scheduler"

__all__ = [
    "AheadPool",
    "AsyncioPool",
    "Call",
    "CallAbandoned",
    "Deliver",
    "Front",
    "InlinePool",
    "Outcome",
    "Pool",
    "PoolRecipe",
    "PoolStopped",
    "ProcessPool",
    "Recycle",
    "RemoteError",
    "RemoteTraceback",
    "ThreadPool",
    "Traits",
    "WorkerGone",
]
