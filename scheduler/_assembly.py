"""From checked arguments to a core: shared by the real scheduler and the simulated one."""

from __future__ import annotations

import os
import random
import reprlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from policies.admission import Block
from policies.breaker import CircuitBreaker
from policies.budget import RetryBudget
from policies.contracts import AdmissionPolicy, OrderingPolicy, RoutingPolicy, Uniform
from policies.ordering import StrictPriority
from policies.parts import parts_of
from policies.routing import LeastLoaded, Pack
from pools.contract import PoolRecipe
from pools.thread_pool import ThreadPool

from ._core.core import Core
from ._core.job import JobOptions
from ._core.limits import Limit
from ._core.pool_table import GroupRecord
from ._group import PoolGroup
from ._options import check_seconds, check_whole, need_method

#: A million waiting jobs take a third of a gigabyte: enough for any burst, not for a leak.
DEFAULT_CAPACITY = 1_048_576


def make_core(
    groups: Sequence[PoolGroup],
    *,
    capacity: int,
    admission: AdmissionPolicy | None,
    ordering: OrderingPolicy | None,
    routing: RoutingPolicy | None,
    seed: int | None,
    limits: Iterable[Limit] = (),
    breakers: Iterable[CircuitBreaker] = (),
    stopwatch: Callable[[], float] | None = None,
    kind: Callable[..., Core] = Core,
    uniform: Uniform | None = None,
) -> Core:
    """Return a core with these groups and no pool yet; None means the default policy, or nothing measured.

    `kind` makes it, of what `Core` is made of; `uniform` is its dice, in place of those of `seed`.
    """
    check_whole("capacity=", capacity, at_least=1)
    admission = Block() if admission is None else admission
    ordering = StrictPriority() if ordering is None else ordering
    if routing is not None:
        need_method("routing", routing, "choose")
    need_method("admission", admission, "admit")
    if hasattr(admission, "too_long"):
        interval = getattr(admission, "interval", None)
        check_seconds(
            f"admission={type(admission).__name__}(), which sheds: interval", interval, above_zero=True
        )
    need_method("ordering", ordering, "key")
    if hasattr(ordering, "weight"):
        need_method("ordering", ordering, "weight")
    core = kind(
        [_record(index, group, routing) for index, group in enumerate(groups)],
        capacity=capacity,
        admission=admission,
        ordering=ordering,
        routing=LeastLoaded(),  # every group has its own
        uniform=random.Random(seed) if uniform is None else uniform,  # jitter and routing need no secrecy
        limits=_checked(limits),
        breakers=_breakers(breakers, {group.name for group in groups}),
        stopwatch=stopwatch,
    )
    for record in core.pools.groups.values():
        for guard in parts_of(record.retry, (RetryBudget, CircuitBreaker)):
            core.guard(guard)  # as `Core.line_for`
    return core


def _checked(limits: object) -> tuple[Limit, ...]:
    """Return the limits a constructor was given; raise TypeError for anything else."""
    given = (limits,) if isinstance(limits, Limit) or not isinstance(limits, Iterable) else tuple(limits)
    for limit in given:
        if isinstance(limits, Limit) or not isinstance(limit, Limit):
            raise TypeError(
                f"limits= must be a list of Limit(...) values, not {reprlib.repr(limits)}; "
                "write limits=[Limit(tenant='a', concurrency=4)]"
            )
    return given


def _breakers(given: Any, groups: set[str]) -> tuple[CircuitBreaker, ...]:
    """Return the breakers a constructor was given; raise TypeError or ValueError for what makes no sense."""
    single = isinstance(given, CircuitBreaker) or not isinstance(given, Iterable)
    breakers: tuple[CircuitBreaker, ...] = (given,) if single else tuple(given)
    for breaker in breakers:
        if single or not isinstance(breaker, CircuitBreaker):
            raise TypeError(
                f"breakers= must be a list of CircuitBreaker(...) values, not {reprlib.repr(given)}; "
                'write breakers=[CircuitBreaker(tag="api")]'
            )
        if breaker.group is not None and breaker.group not in groups:
            known = ", ".join(map(repr, sorted(groups)))
            raise ValueError(
                f"breakers= names the group {breaker.group!r}, and there is none; this scheduler has {known}"
            )
    whose = [breaker.whose for breaker in breakers]
    for words in whose:
        if whose.count(words) > 1:
            raise ValueError(
                f"breakers= has two that watch {words}; give one, for each attempt has one verdict"
            )
    return breakers


def as_groups(given: tuple[PoolGroup | PoolRecipe | int, ...]) -> tuple[PoolGroup, ...]:
    """Return pool groups for what a constructor was given, each with a name of its own.

    Nothing means one `ThreadPool` sized like ``ThreadPoolExecutor``'s default; an integer means that
    many threads; a bare recipe makes a group called after its kind.
    """
    if not given:
        given = (ThreadPool(slots=min(32, (_cpus() or 1) + 4)),)
    groups: list[PoolGroup] = []
    for item in given:
        if isinstance(item, PoolGroup):
            groups.append(item)
            continue
        recipe = ThreadPool(slots=item) if isinstance(item, int | float) else item
        kind = type(recipe).__name__.removesuffix("Pool").lower() or "pool"
        groups.append(PoolGroup(kind, recipe))
    names = [group.name for group in groups]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"two groups are called {name!r}; give each PoolGroup a name of its own, "
                "or open several pools of one group with min_pools="
            )
    return tuple(groups)


def why_not_eligible(core: Core, options: JobOptions, *, coroutine: bool) -> str:
    """Return a sentence that says why no group takes a job like this, and what to do."""
    offered = sorted({tag for group in core.pools.groups.values() for tag in group.tags})
    asked = ", ".join(map(repr, sorted(options.tags)))
    known = ", ".join(map(repr, offered))
    if not options.tags <= set(offered):
        return f"no group offers the tags {asked}; the tags that exist are {known}"
    kinds = {group.coroutines for group in core.pools.groups.values()}
    if coroutine and True in kinds:
        return (
            f"no group that runs coroutine functions takes jobs of priority {options.priority} with "
            f"{f'all of the tags {asked}' if asked else 'no tag'}; the tags that exist are {known}"
        )
    if not coroutine and False not in kinds and not options.tags:
        return (
            "every group runs coroutine functions only; make it `async def`, name one of the tags "
            f"{known} if it returns an awaitable, or add a ThreadPool group"
        )
    if coroutine:
        return (
            "no group runs coroutine functions; submit a plain function that calls asyncio.run(), "
            "or add a group whose pools run coroutines"
        )
    if options.tags:
        return (
            f"no group takes jobs of priority {options.priority} with all of the tags {asked}; "
            f"the tags that exist are {known}"
        )
    return (
        f"no group takes jobs of priority {options.priority} without tags: every group is dedicated, or "
        f"reserved for more urgent jobs; name one of the tags {known}, or add a group that is neither"
    )


def _routing(group: PoolGroup, of_scheduler: RoutingPolicy | None) -> RoutingPolicy:
    """Return what a group is routed by: its own policy, the scheduler's, or what suits its kind."""
    given = of_scheduler if group.routing is None else group.routing
    if given is not None:
        decay = getattr(given, "run_time_decay", None)
        if decay is not None:
            check_seconds(f"{type(given).__name__}().run_time_decay", decay, above_zero=True)
        return given
    return LeastLoaded() if group.scales is None else Pack()


def _record(index: int, group: PoolGroup, routing: RoutingPolicy | None) -> GroupRecord:
    recipe = group.pool
    return GroupRecord(
        name=group.name,
        index=index,
        slots=recipe.slots,
        tags=group.offers,
        reserve_for=group.reserve_for,
        keep=group.keep if group.lends else None,
        dedicated=recipe.dedicated if group.dedicated is None else group.dedicated,
        coroutines=recipe.runs_coroutines,
        announces=recipe.announces,
        kills=recipe.kills,
        prefetch=recipe.prefetch,
        min_pools=group.min_pools,
        max_pools=group.max_pools,
        scaling=group.scales,
        stuck_after=group.stuck_after,
        stuck_share=group.stuck_share,
        replacements_max=group.replacements_max,
        routing=_routing(group, routing),
        retry=group.retry,
        budgets=parts_of(group.retry, RetryBudget),
    )


def _cpus() -> int | None:
    count: int | None = getattr(os, "process_cpu_count", os.cpu_count)()
    return count
