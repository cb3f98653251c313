"""More pools or fewer. Until the autoscaler moves in, capacity changes by hand."""

from __future__ import annotations

import attrs


@attrs.frozen
class FixedPools:
    """Keep exactly ``min_pools`` pools; add and drain only by hand. The default."""
