"""Which of several pools gets a job. Every candidate may take it and has a free slot.

Because jobs wait in front, the choice does not change how long they wait if all slots are equally fast;
it decides which pools become idle as a whole, and so whether capacity can shrink.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import ClassVar

import attrs

from .checks import has_method, number
from .contracts import JobView, PoolViewT, RoutingPolicy, Uniform


@attrs.frozen
class LeastLoaded:
    """Choose the pool with the smallest share of slots in use; the first one on a tie.

    The default of a group that does not scale.
    """

    ranks_by: ClassVar[str] = "in_use"  # the same, for pools of one group have equally many slots

    def choose(self, job: JobView, pools: Sequence[PoolViewT], uniform: Uniform) -> PoolViewT:
        """Return the least loaded pool. Cost: O(pools)."""
        return min(pools, key=_load)


@attrs.frozen
class Pack:
    """Choose the pool opened first of those with a free slot, so that whole pools fall idle and can be drained.

    The default of a group that scales.
    """

    ranks_by: ClassVar[str] = ""

    def choose(self, job: JobView, pools: Sequence[PoolViewT], uniform: Uniform) -> PoolViewT:
        """Return the first pool. Cost: O(1)."""
        return pools[0]


@attrs.frozen
class RoundRobin:
    """Choose the pool whose last turn is longest ago, so that all get equally many.

    A pool that is added gets one turn before the others, not all until it has caught up. What a slot
    takes from the queue by itself, as it falls free, is no choice and no turn.
    """

    ranks_by: ClassVar[str] = "last_chosen"

    def choose(self, job: JobView, pools: Sequence[PoolViewT], uniform: Uniform) -> PoolViewT:
        """Return the pool chosen longest ago. Cost: O(pools)."""
        return min(pools, key=_last_chosen)


@attrs.frozen
class TwoRandomChoices:
    """Look at two pools by the dice and choose the less loaded; the first of the two on a tie.

    Nearly as even as looking at all of them, and without their going in step (Mitzenmacher 2001, The
    power of two choices in randomized load balancing).
    """

    def choose(self, job: JobView, pools: Sequence[PoolViewT], uniform: Uniform) -> PoolViewT:
        """Return the less loaded of two different pools. Cost: O(1), two throws of the dice."""
        one = int(uniform.random() * len(pools))
        other = int(uniform.random() * (len(pools) - 1))
        other += other >= one
        return min(pools[one], pools[other], key=_load)


@attrs.frozen
class PeakEwma:
    """Choose the pool with the least run time × (slots in use + 1), for pools that are not equally fast.

    The run time is an average of the jobs that succeeded there: a longer one counts at once and in
    full, shorter ones and silence let it fade with the time constant `decay`, in seconds (default 10).
    A pool of which nothing is known is tried with one job at a time. (Finagle's ``PeakEwma``.)
    """

    decay: float = attrs.field(default=10.0, kw_only=True, validator=number(above=0))

    @property
    def run_time_decay(self) -> float:
        """The time constant, for the core that keeps the averages."""
        return self.decay

    def choose(self, job: JobView, pools: Sequence[PoolViewT], uniform: Uniform) -> PoolViewT:
        """Return the pool of least cost; the less loaded on a tie. Cost: O(pools)."""
        return min(pools, key=_cost)


@attrs.frozen
class Affinity:
    """Choose the same pool for jobs of the same `affinity`, by best effort; the others go by `otherwise`.

    Of the pools with a free slot, it is the first in an order that the key alone decides (highest random
    weight: Thaler and Ravishankar 1998). So a pool that comes takes over only the keys that are now its
    own, and one that goes leaves its keys to all the others; no other key moves. The order is the same in
    every process. A job never waits for its pool while another has a free slot, so the busier
    the pools, the more jobs run elsewhere: what a pool keeps for a key may be a cache, not the truth.
    """

    otherwise: RoutingPolicy = attrs.field(factory=Pack, validator=has_method("choose"))

    @property
    def run_time_decay(self) -> float | None:
        """What `otherwise` asks for."""
        decay: float | None = getattr(self.otherwise, "run_time_decay", None)
        return decay

    def choose(self, job: JobView, pools: Sequence[PoolViewT], uniform: Uniform) -> PoolViewT:
        """Return the pool that is first for the job's key. Cost: O(pools), 1 µs each."""
        key = job.affinity
        if key is None:
            return self.otherwise.choose(job, pools, uniform)
        return max(pools, key=lambda pool: _weight(key, pool.pool_id))


def _load(pool: PoolViewT) -> float:
    return pool.load


def _last_chosen(pool: PoolViewT) -> int:
    return pool.last_chosen


def _cost(pool: PoolViewT) -> tuple[float, float]:
    run_time = pool.run_time_ewma
    unknown_and_tried = not run_time and pool.in_use
    return math.inf if unknown_and_tried else run_time * (pool.in_use + 1), pool.load


def _weight(key: str, pool_id: str) -> bytes:
    # Not `hash()`: it differs from process to process. A pool's id has no null character.
    text = f"{pool_id}\0{key}".encode(errors="surrogatepass")
    return blake2b(text, digest_size=8, usedforsecurity=False).digest()
