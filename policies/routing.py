"""Which of several pools gets a job. Every candidate may take it and has a free slot.

Because jobs wait in front, the choice does not change how long they wait; it decides which pools
become idle as a whole, and so whether capacity can shrink.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .contracts import JobView, PoolViewT, Uniform


@attrs.frozen
class LeastLoaded:
    """Choose the pool with the smallest share of slots in use; the first one on a tie. The default."""

    def choose(self, job: JobView, pools: Sequence[PoolViewT], uniform: Uniform) -> PoolViewT:
        """Return the least loaded pool. Cost: O(pools)."""
        return min(pools, key=_load)


@attrs.frozen
class Pack:
    """Choose the first pool that has a free slot, so that whole pools fall idle and can be drained."""

    def choose(self, job: JobView, pools: Sequence[PoolViewT], uniform: Uniform) -> PoolViewT:
        """Return the first pool. Cost: O(1)."""
        return pools[0]


def _load(pool: PoolViewT) -> float:
    return pool.load
