"""When a job that takes long gets a second attempt beside the first, and what that may cost."""

from __future__ import annotations

from typing import Any

import attrs

from .budget import RetryBudget
from .checks import number, whole


def _share(_instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"Hedge({attribute.name}=) must be between 0 and 1, not {value!r}; 0.95 is usual")


@attrs.frozen(kw_only=True)
class Hedge:
    """Start a second attempt of a job that runs longer than most; the first answer counts, the other attempt is asked to stop.

    Only for jobs that may run twice at once and do no harm (idempotent). The second attempt starts when the
    first has run longer than the share `quantile` (0.95) of those that ended lately in its group with its
    priority, of which there must have been `samples_min` (100); only in a slot that nobody else can use, and
    only while `budget` pays for it (default: one for ten jobs, and one a second, by the name "hedges").
    (J. Dean, L. A. Barroso, "The Tail at Scale", 2013.) Raises TypeError and ValueError that name the setting.
    """

    quantile: float = attrs.field(default=0.95, validator=[number(above=0), _share])
    samples_min: int = attrs.field(default=100, validator=whole(at_least=1))
    budget: RetryBudget = attrs.field(
        default=RetryBudget(name="hedges", ratio=0.1, reserve_per_second=1.0),
        validator=attrs.validators.instance_of(RetryBudget),
    )
