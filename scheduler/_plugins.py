"""Everything that a configuration can call by name: policies, and pools beside them."""

from __future__ import annotations

from collections.abc import Mapping

from policies.installed import Kind
from policies.plugins import POLICIES, Catalogue
from pools.contract import PoolRecipe

#: Every pool recipe that can be made by name: ``"thread"`` is `ThreadPool`.
POOLS = Catalogue(
    Kind(name="pools", noun="pool", method="open", protocol=PoolRecipe, package="pools", suffix="Pool")
)

#: What is looked up where, by the type that an annotation asks for.
BY_PROTOCOL: Mapping[type, tuple[Catalogue, Kind]] = {
    kind.protocol: (catalogue, kind) for catalogue in (POLICIES, POOLS) for kind in catalogue.kinds.values()
}
