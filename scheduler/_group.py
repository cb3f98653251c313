"""`PoolGroup`: what users say of pools that are opened from one recipe."""

from __future__ import annotations

import reprlib

import attrs

from policies.contracts import RetryPolicy, RoutingPolicy, ScalingPolicy
from policies.scaling import FixedPools, QueueDelay
from pools.contract import PoolRecipe

from ._core.job import Priority
from ._options import check_priority, check_retry, check_seconds, check_tags, check_whole, need_method


def _check_reserve(value: object) -> int | None:
    return None if value is None else check_priority("reserve_for", value)


@attrs.frozen
class PoolGroup:
    """Pools opened from one recipe: what scaling adds to and drains, one whole pool at a time.

    `pool` is a recipe such as ``ThreadPool(slots=8)``. The group keeps between `min_pools` and
    `max_pools` of them (None: no maximum by hand) by its `scaling` policy; the default is `QueueDelay()` where
    there is room, ``max_pools > min_pools``, and `FixedPools()` elsewhere. It offers its own name and `tags` as tags.
    With `reserve_for`, it takes only jobs at least that urgent. A `dedicated` group takes only jobs
    that name one of its tags; None means what the recipe says.

    With `lends`, a reserved group lends free slots to other jobs while none that is urgent enough waits,
    all but `keep` of them. `routing` chooses among its pools; None means the scheduler's policy and, if
    that has none either, `Pack` for a group that scales and `LeastLoaded` for one that does not. `retry` decides on
    attempts that fail here, of jobs that were given none of their own; None means the scheduler's policy, and
    `NoRetry()` that nothing is tried again.

    A call that goes on for `stuck_after` seconds (None: for ever) after its ``run_timeout`` or ``deadline``
    counts as stuck. When fewer than `stuck_share` of a pool's slots are left, it is quarantined, and a pool
    of the same size takes its place, for at most `replacements_max` pools at a time. A coroutine that
    blocks its event loop for so long has every slot of its pool.
    """

    name: str
    pool: PoolRecipe
    min_pools: int = attrs.field(default=1, kw_only=True)
    max_pools: int | None = attrs.field(default=None, kw_only=True)
    scaling: ScalingPolicy | None = attrs.field(default=None, kw_only=True)
    tags: frozenset[str] = attrs.field(default=frozenset(), kw_only=True, converter=check_tags)
    reserve_for: Priority | int | None = attrs.field(default=None, kw_only=True, converter=_check_reserve)
    lends: bool = attrs.field(default=False, kw_only=True)
    keep: int = attrs.field(default=1, kw_only=True)
    dedicated: bool | None = attrs.field(default=None, kw_only=True)
    routing: RoutingPolicy | None = attrs.field(default=None, kw_only=True)
    stuck_after: float | None = attrs.field(default=10.0, kw_only=True)
    stuck_share: float = attrs.field(default=0.5, kw_only=True)
    replacements_max: int = attrs.field(default=2, kw_only=True)
    retry: RetryPolicy | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        name, pool = self.name, self.pool
        if type(name) is not str or name in ("", "caller") or "/" in name:
            raise ValueError(
                f"PoolGroup(name=) must be a non-empty string without '/' and not 'caller', not {reprlib.repr(name)}"
            )
        if isinstance(pool, type) or not callable(getattr(pool, "open", None)):
            raise TypeError(
                f"PoolGroup({name!r}, pool=) must be a pool recipe such as ThreadPool(slots=8), not {reprlib.repr(pool)}"
            )
        if not (self.dedicated is None or isinstance(self.dedicated, bool)):
            raise TypeError(
                f"PoolGroup({name!r}, dedicated=) must be True, False or None, not {reprlib.repr(self.dedicated)}"
            )
        if self.scaling is not None:
            need_method(f"PoolGroup({name!r}) scaling", self.scaling, "scale")
        if self.stuck_after is not None:
            check_seconds(f"PoolGroup({name!r}) stuck_after", self.stuck_after)
        if check_seconds(f"PoolGroup({name!r}) stuck_share", self.stuck_share) > 1:
            raise ValueError(f"PoolGroup({name!r}) stuck_share= must be at most 1, not {self.stuck_share}")
        check_whole(f"PoolGroup({name!r}, replacements_max=)", self.replacements_max, at_least=0)
        check_whole(f"PoolGroup({name!r}, min_pools=)", self.min_pools, at_least=1)
        if self.max_pools is not None:
            check_whole(f"PoolGroup({name!r}, max_pools=)", self.max_pools, at_least=1)
            if self.max_pools < self.min_pools:
                raise ValueError(
                    f"PoolGroup({name!r}) has min_pools={self.min_pools} and max_pools={self.max_pools}; "
                    "the maximum must not be below the minimum"
                )
        if self.routing is not None:
            need_method(f"PoolGroup({name!r}) routing", self.routing, "choose")
        if self.retry is not None:
            check_retry(self.retry, f"PoolGroup({name!r}) retry")
        self._check_lending()

    def _check_lending(self) -> None:
        name = self.name
        if not isinstance(self.lends, bool):
            raise TypeError(
                f"PoolGroup({name!r}, lends=) must be True or False, not {reprlib.repr(self.lends)}"
            )
        check_whole(f"PoolGroup({name!r}, keep=)", self.keep, at_least=0)
        if not self.lends:
            if self.keep != 1:
                raise ValueError(
                    f"PoolGroup({name!r}) has keep={self.keep} and lends nothing; add lends=True"
                )
            return
        if self.reserve_for is None:
            raise ValueError(
                f"PoolGroup({name!r}) has lends=True and is open to all; say with reserve_for= for whom it is reserved"
            )
        slots = self.min_pools * self.pool.slots
        if self.keep >= slots:
            raise ValueError(
                f"PoolGroup({name!r}) has keep={self.keep} and, with min_pools={self.min_pools}, only {slots} slots, "
                "so that it would lend none; lower keep=, or leave lends= out"
            )

    @property
    def scales(self) -> ScalingPolicy | None:
        """What opens and drains pools by itself; None when that is done by hand alone."""
        room = self.max_pools is not None and self.max_pools > self.min_pools
        scaling = QueueDelay() if self.scaling is None and room else self.scaling
        return None if isinstance(scaling, FixedPools) else scaling

    @property
    def offers(self) -> frozenset[str]:
        """The tags a job may name to come here."""
        return self.tags | {self.name}
