"""The standard library's constructor on this scheduler: change one import, keep the rest.

    from scheduler.compat import ThreadPoolExecutor

It is a `Scheduler` with one group of one fixed pool, so everything a scheduler has is there too. It also
is a `concurrent.futures.ThreadPoolExecutor`, which `asyncio.loop.set_default_executor` insists on.
"""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Callable
from typing import Any

from pools import ThreadPool

from ._assembly import as_groups
from ._group import PoolGroup
from ._scheduler import Scheduler

__all__ = ["ThreadPoolExecutor"]

_counter = itertools.count()


class ThreadPoolExecutor(Scheduler, concurrent.futures.ThreadPoolExecutor):  # type: ignore[override,unused-ignore]
    """``concurrent.futures.ThreadPoolExecutor`` with priorities, retries, a ledger and a clean stop.

    Takes the same arguments with the same defaults and raises the same errors for bad ones.
    `thread_name_prefix` becomes the group's name. `settings` are those of `Scheduler`.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        **settings: Any,
    ) -> None:
        if max_workers is None:
            max_workers = as_groups(())[0].pool.slots
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        prefix = thread_name_prefix or f"ThreadPoolExecutor-{next(_counter)}"
        pool = ThreadPool(slots=max_workers, initializer=initializer, initargs=initargs)
        Scheduler.__init__(self, PoolGroup(prefix.replace("/", "-"), pool), **settings)
