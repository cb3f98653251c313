"""Who goes first: a number per job, computed once, lower is sooner; arrival breaks ties."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import attrs

from .checks import is_finite, number
from .contracts import JobView


@attrs.frozen(kw_only=True)
class StrictPriority:
    """Start the most urgent job first; equals in order of arrival. The default.

    A steady stream of urgent jobs starves the others: use `Aging` where that must not happen.
    """

    @property
    def few_keys(self) -> bool:
        """True: there are as many keys as priorities in use."""
        return True

    def key(self, job: JobView) -> float:
        """Return the priority."""
        return job.priority


@attrs.frozen(kw_only=True)
class Aging:
    """Let waiting make up for priority, so that nobody starves.

    A job's key is the time it joined the queue plus ``priority × seconds_per_level``. Keys never
    change, because all jobs age at the same rate (Kleinrock's time-dependent priorities, 1964).

    The bound: job *i* overtakes job *j* only if it joined the queue less than
    ``(p_j − p_i) × seconds_per_level`` seconds after it. With the default, a NORMAL job (20) is
    overtaken by HIGH jobs (10) for at most ten seconds.
    """

    seconds_per_level: float = attrs.field(default=1.0, validator=number(at_least=0))

    @property
    def few_keys(self) -> bool:
        """False: nearly every job has a key of its own."""
        return False

    def key(self, job: JobView) -> float:
        """Return the moment at which the job's waiting has made up for its priority."""
        return job.waiting_since + job.priority * self.seconds_per_level


@attrs.frozen(kw_only=True)
class EarliestDeadline:
    """Start the job first whose deadline comes first (Jackson's rule, 1955).

    A job without ``deadline=`` counts as due `patience` seconds after it joined the queue. With one slot
    and jobs that are all there, no other order is on time when this one is not (Liu and Layland, 1973).
    Beyond what the slots can do it helps nobody: jobs are then late, or expire, one after the other, so
    bound the queue. Priorities do not count.
    """

    patience: float = attrs.field(default=60.0, validator=number(at_least=0))

    @property
    def few_keys(self) -> bool:
        """False: nearly every job has a key of its own."""
        return False

    def key(self, job: JobView) -> float:
        """Return the moment at which the job is due."""
        deadline = job.deadline
        return job.waiting_since + self.patience if deadline is None else deadline


def _as_pairs(weights: object) -> object:
    """Return weights in one order, so that equal ones are equal values; leave nonsense to the validator."""
    if isinstance(weights, Mapping):
        weights = tuple(weights.items())
    if not isinstance(weights, tuple) or not all(isinstance(p, tuple) and len(p) == 2 for p in weights):
        return weights
    return tuple(sorted(weights, key=lambda pair: (pair[0] is not None, str(pair[0]))))


def _check_weights(_instance: object, _attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(p, tuple) and len(p) == 2 for p in value):
        raise TypeError(
            f"FairShare(weights=) must map tenants to numbers, such as {{'gold': 3}}, not {reprlib.repr(value)}"
        )
    for tenant, weight in value:
        if tenant is not None and not isinstance(tenant, str):
            raise TypeError(f"FairShare(weights=) has the tenant {tenant!r}; a tenant is a string or None")
        where = f"FairShare(weights=) of tenant {tenant!r}"
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise TypeError(f"{where} must be a number, not {reprlib.repr(weight)}")
        if not is_finite(weight) or weight <= 0:
            raise ValueError(f"{where} must be finite and more than 0, not {reprlib.repr(weight)}")
    if len(dict(value)) < len(value):
        raise ValueError(f"FairShare(weights=) names a tenant twice: {reprlib.repr(value)}")


@attrs.frozen(kw_only=True)
class FairShare:
    """Share the slots between tenants in proportion to weights; within a tenant, by priority.

    A tenant is what ``with_options(tenant=)`` says; jobs without one are a tenant too, None. `weights`
    names those whose weight is not `default_weight`: with ``{"gold": 3}`` a tenant "gold" that always has
    jobs waiting gets three times the seconds of slots of another that does too. What counts is the time
    that attempts really run, failed ones included, in every pool. Nothing is kept free: whoever waits
    alone gets everything, and a tenant without jobs saves nothing up (start-time fair queueing; Goyal,
    Vin and Cheng, 1996).

    A running job is never stopped, so two tenants may be apart by the attempts that run. `ShedLowest`
    evicts the last job of the tenant with the most waiting jobs for its weight.
    """

    weights: tuple[tuple[str | None, float], ...] = attrs.field(
        default=(), converter=_as_pairs, validator=_check_weights, repr=lambda pairs: repr(dict(pairs))
    )
    default_weight: float = attrs.field(default=1.0, validator=number(above=0))
    _by_tenant: dict[str | None, float] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_by_tenant", dict(self.weights))

    @property
    def few_keys(self) -> bool:
        """True: there are as many keys as priorities in use."""
        return True

    def key(self, job: JobView) -> float:
        """Return the priority: it orders the jobs of one tenant."""
        return job.priority

    def weight(self, job: JobView) -> float:
        """Return the weight of the job's tenant."""
        return self._by_tenant.get(job.tenant, self.default_weight)
