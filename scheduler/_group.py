"""`PoolGroup`: what users say of pools that are opened from one recipe."""

from __future__ import annotations

import reprlib

import attrs

from policies.scaling import FixedPools
from pools.contract import PoolRecipe

from ._options import check_priority, check_tags, check_whole


def _check_reserve(value: object) -> int | None:
    return None if value is None else check_priority("reserve_for", value)


@attrs.frozen
class PoolGroup:
    """Pools opened from one recipe: what scaling adds to and drains, one whole pool at a time.

    `pool` is a recipe such as ``ThreadPool(slots=8)``. The group keeps between `min_pools` and
    `max_pools` of them (None: no maximum by hand). It offers its own name and `tags` as tags.
    With `reserve_for`, it takes only jobs at least that urgent. A `dedicated` group takes only jobs
    that name one of its tags; None means what the recipe says.
    """

    name: str
    pool: PoolRecipe
    min_pools: int = attrs.field(default=1, kw_only=True)
    max_pools: int | None = attrs.field(default=None, kw_only=True)
    scaling: FixedPools | None = attrs.field(default=None, kw_only=True)
    tags: frozenset[str] = attrs.field(default=frozenset(), kw_only=True, converter=check_tags)
    reserve_for: int | None = attrs.field(default=None, kw_only=True, converter=_check_reserve)
    dedicated: bool | None = attrs.field(default=None, kw_only=True)

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
        scaling: object = self.scaling
        if not (scaling is None or isinstance(scaling, FixedPools)):
            raise TypeError(
                f"PoolGroup({name!r}, scaling=) must be FixedPools() or None, not {reprlib.repr(scaling)}"
            )
        check_whole(f"PoolGroup({name!r}, min_pools=)", self.min_pools, at_least=1)
        if self.max_pools is not None:
            check_whole(f"PoolGroup({name!r}, max_pools=)", self.max_pools, at_least=1)
            if self.max_pools < self.min_pools:
                raise ValueError(
                    f"PoolGroup({name!r}) has min_pools={self.min_pools} and max_pools={self.max_pools}; "
                    "the maximum must not be below the minimum"
                )

    @property
    def offers(self) -> frozenset[str]:
        """The tags a job may name to come here."""
        return self.tags | {self.name}
