"""What a seed makes of a scheduler: its groups, policies, limits and breakers. Drawn by the seed's first dice.

A feature is on or off for a whole run ("swarm testing"): a run with a few features reaches deeper into them than
one in which everything happens at once.
"""

from __future__ import annotations

from typing import Any

import attrs
from storm.dice import Dice
from storm.plugins import BadAdmission, BadOrdering, BadRetry, BadRouting, BadSharing, BadShedding, Moods

from policies import (
    Affinity,
    Aging,
    Block,
    Budgeted,
    CallerRuns,
    CircuitBreaker,
    CoDel,
    DecorrelatedJitter,
    EarliestDeadline,
    ExponentialBackoff,
    FairShare,
    FixedBackoff,
    Hedge,
    LeastLoaded,
    Pack,
    PeakEwma,
    QueueDelay,
    Reject,
    RetryBudget,
    RoundRobin,
    ShedLowest,
    StrictPriority,
    TwoRandomChoices,
    WithBreaker,
)
from scheduler import PoolGroup
from scheduler._core import ceiling, dispatcher, effect, flow
from scheduler._core.limits import Limit

#: What may be on in a run, and in which share of all runs it is.
FEATURES = {
    "plugins": 0.3,
    "fair": 0.25,
    "limits": 0.35,
    "breaker": 0.35,
    "budget": 0.35,
    "hedge": 0.3,
    "keys": 0.3,
    "processes": 0.45,
    "reserve": 0.35,
    "crowd": 0.3,
    "scaling": 0.06,
    "stuck": 0.4,
    "timeouts": 0.5,
    "failures": 0.7,
    "callbacks": 0.3,
    "close": 0.3,
    "operator": 0.65,
    "clock": 0.3,
    "meddler": 0.2,
}

#: The same of what came later, and what each of these needs. They have dice of their own.
MORE_FEATURES = {
    "brief": (0.5, "fair"),
    "ranked": (0.4, "operator"),
    "measured": (0.4, "scaling"),
    "coroutines": (0.15, None),
    "affinity": (0.1, None),
    "names": (0.3, "breaker"),
    "waits": (0.2, None),
    "tears": (0.2, None),
}

#: How much earlier the core does, in runs with a feature, what it does for the sake of many jobs or pools.
SOONER = {
    "ranked": ((dispatcher, "RANKED_FROM", 2),),
    "measured": (
        (effect, "COMPLETIONS_MIN", 2),
        (effect, "RUNS_MIN", 1),
        (effect, "SHARE", 0.9),
        (flow, "STABLE_RUNS", 4.0),
        (ceiling, "TRIAL_EVERY", 0.5),
        (ceiling, "WIDER_MIN", 1.5),
    ),
}

BLOCK, STRICT = Block(), StrictPriority()

#: Where dice for what came later begin, beyond those of any seed.
LATER = 1 << 40

#: Seconds that pools take to start, None for one that fails; without scaling, and with it.
START_UPS = ((0.0, 0.0, 0.25, 1.0, None), (0.0, 0.0, 0.125, 0.25, None))


@attrs.frozen
class Recipe:
    """A pool that the storm plays: what the core knows of its kind. With `ahead`, a slot holds so many calls more."""

    slots: int
    processes: bool = False
    ahead: int = 0
    dedicated: bool = False
    runs_coroutines: bool = False

    @property
    def announces(self) -> bool:
        return self.processes

    @property
    def kills(self) -> bool:
        return self.processes

    @property
    def prefetch(self) -> int:
        return self.ahead * self.slots

    def open(self, pool_id: str, front: object) -> Any:
        raise NotImplementedError("the storm plays its pools")


@attrs.frozen(kw_only=True)
class Weather:
    """The arguments of a scheduler, and what the run around it is like."""

    seed: int
    features: tuple[str, ...]
    groups: tuple[PoolGroup, ...]
    capacity: int = 1000
    admission: Any = BLOCK
    ordering: Any = STRICT
    routing: Any = None
    limits: tuple[Limit, ...] = ()
    breakers: tuple[CircuitBreaker, ...] = ()
    #: Retry policies and hedges that jobs may have.
    retries: tuple[Any, ...] = (None,)
    hedge: Hedge | None = None
    #: Seconds that one pool after the other takes to start, None for one that fails.
    start_ups: tuple[float | None, ...] = (0.0,)
    #: Where most jobs want to go, if anywhere.
    favourite: str | None = None
    #: Pools that each group begins with beyond its minimum, as far as it may have them.
    extra_pools: int = 0
    #: Observers that raise, or interrupt every so many jobs that start.
    raising: bool = False
    meddles: int = 0
    #: A turn ends after two timers, or two jobs that are ended: what is left is for the next.
    small_turns: bool = False


def weather(seed: int) -> Weather:
    """Return the weather of a seed."""
    dice = Dice(3 * seed)
    on = tuple(name for name, share in FEATURES.items() if dice.chance(share))
    bad = "plugins" in on
    more = Dice(3 * seed + LATER)
    drawn = {name: more.chance(share) for name, (share, _) in MORE_FEATURES.items()}
    on += tuple(name for name, (_, needs) in MORE_FEATURES.items() if drawn[name] and needs in (None, *on))
    breakers = _breakers(dice) if "breaker" in on else ()
    if "names" in on:
        breakers += (
            CircuitBreaker(name="call", window=4, calls_min=2, open_for=1.0, probes=more.one_of((1, 2))),
        )
    retries = _retries(dice, on, breakers)
    groups = _groups(dice, on, retries)
    return Weather(
        seed=seed,
        features=on,
        groups=groups,
        favourite=dice.one_of((None, groups[-1].name, groups[min(1, len(groups) - 1)].name)),
        capacity=1000
        if "measured" in on
        else dice.one_of((8, 1000) if "crowd" in on else (1, 2, 3, 5, 8, 1000)),
        admission=_admission(dice, bad=bad),
        ordering=_ordering(dice, on, bad=bad),
        routing=_routing(dice, on, bad=bad),
        limits=_limits(dice) if "limits" in on else (),
        breakers=breakers,
        retries=retries,
        hedge=_hedge(dice) if "hedge" in on else None,
        start_ups=tuple(dice.one_of(START_UPS["scaling" in on]) for _ in range(7)),
        extra_pools=dice.below(3) if "operator" in on else 0,
        raising=dice.chance(0.3),
        meddles=dice.one_of((3, 5, 7)) if "meddler" in on else 0,
        small_turns=dice.chance(0.25),
    )


def _routing(dice: Dice, on: tuple[str, ...], *, bad: bool) -> Any:
    policies = (None, LeastLoaded(), Pack(), RoundRobin(), TwoRandomChoices(), PeakEwma(), Affinity())
    routing = dice.one_of((*policies, *([BadRouting()] * 7 * bad)))
    if "affinity" in on:
        return Affinity()
    if "ranked" in on:
        return policies[1 + dice.below(3)]
    return routing


def _groups(dice: Dice, on: tuple[str, ...], retries: tuple[Any, ...]) -> tuple[PoolGroup, ...]:
    groups = [_group(dice, on, retries, "io", Recipe(dice.one_of((1, 1, 2, 3))), tags={"x"})]
    if "processes" in on:
        recipe = Recipe(
            dice.one_of((1, 2)),
            processes=True,
            ahead=dice.one_of((1, 2, 3) if "crowd" in on else (0, 0, 1, 2)),
            dedicated=dice.chance(0.3),
        )
        groups.append(_group(dice, on, retries, "cpu", recipe, tags={"x", "y"}))
    if "reserve" in on:
        lends = dice.chance(0.6)
        keep = {"lends": True, "keep": dice.below(2)} if lends else {}
        recipe = Recipe(2)
        groups.append(_group(dice, on, retries, "fast", recipe, tags={"y"}, reserve_for=10, **keep))
    if "coroutines" in on:
        recipe = Recipe(dice.one_of((1, 3)), runs_coroutines=True)
        groups.append(_group(dice, on, retries, "aio", recipe, tags={"x"}))
    return tuple(groups)


def _group(
    dice: Dice, on: tuple[str, ...], retries: tuple[Any, ...], name: str, recipe: Recipe, **more: Any
) -> PoolGroup:
    least = dice.one_of((1, 1, 2))
    most, scaling = dice.one_of((None, None, least)), None
    if "scaling" in on and (name == "io" or dice.chance(0.5)):
        least, most = 1, dice.one_of((3, 6))
        steady = dice.chance(0.2) or "measured" in on
        scaling = QueueDelay(target=0.1) if steady else _moods(dice, most)
    return PoolGroup(
        name,
        recipe,
        min_pools=least,
        max_pools=most,
        scaling=scaling,
        stuck_after=dice.one_of((0.25, 0.5, 1.0)) if "stuck" in on else None,
        stuck_share=dice.one_of((0.5, 1.0)),
        replacements_max=dice.one_of((0, 1, 2)),
        retry=dice.one_of(retries) if dice.chance(0.2) else None,
        routing=BadRouting() if "plugins" in on and dice.chance(0.2) else None,
        **more,
    )


def _moods(dice: Dice, most: int) -> Moods:
    moods: list[int | str] = [1, 1, 2, 3, most, most + 2, "raise", "lie", "nonsense", "slow"]
    script: list[tuple[float, int | str]] = [(0.0, most), (0.5, 1), (7.5, dice.one_of(("raise", "lie")))]
    script += [(8.0, 1), (9.0, most), (9.5, 1), (13.0, most)]
    while script[-1][0] < 30.0:
        script.append((script[-1][0] + dice.one_of((1.0, 4.0, 6.0)), dice.one_of(moods)))
    return Moods(tuple(script))


def _ordering(dice: Dice, on: tuple[str, ...], *, bad: bool) -> Any:
    if "fair" in on:
        return BadSharing() if bad and dice.chance(0.5) else FairShare(weights={"gold": 3})
    if bad and dice.chance(0.5):
        return BadOrdering()
    return dice.one_of(
        (StrictPriority(), StrictPriority(), Aging(seconds_per_level=0.1), EarliestDeadline(patience=2.0))
    )


def _admission(dice: Dice, *, bad: bool) -> Any:
    if bad and dice.chance(0.5):
        return dice.one_of((BadAdmission(), BadShedding()))
    return dice.one_of(
        (
            Block(),
            Block(timeout=1.0),
            Reject(),
            ShedLowest(),
            CallerRuns(),
            CoDel(target=0.25, interval=0.5, otherwise=dice.one_of((Block(), ShedLowest()))),
        )
    )


def _limits(dice: Dice) -> tuple[Limit, ...]:
    return dice.one_of(
        (
            (Limit(tenant="*", concurrency=1),),
            (Limit(tenant="gold", concurrency=2), Limit(tag="x", rate=1.0, burst=2)),
            (Limit(tenant="*", rate=1.0), Limit(tag="io", concurrency=1)),
            (Limit(tenant="*", concurrency=2), Limit(tenant="gold", rate=2.0), Limit(tag="x", concurrency=1)),
        )
    )


def _breakers(dice: Dice) -> tuple[CircuitBreaker, ...]:
    def numbers() -> dict[str, Any]:
        return {
            "window": 4,
            "calls_min": dice.one_of((1, 2)),
            "open_for": dice.one_of((0.5, 1.0, 3.0)),
            "probes": dice.one_of((1, 2)),
            "when_open": dice.one_of(("park", "fail")),
        }

    return (CircuitBreaker(tag="x", **numbers()), CircuitBreaker(group="io", **numbers()))


def _retries(dice: Dice, on: tuple[str, ...], breakers: tuple[CircuitBreaker, ...]) -> tuple[Any, ...]:
    plain = (
        FixedBackoff(delay=1.0),
        FixedBackoff(delay=0.0, attempts_max=2),
        ExponentialBackoff(initial=0.25, ceiling=4.0),
        DecorrelatedJitter(elapsed_max=5.0),
        FixedBackoff(delay=0.25, attempts_max=5, retry_if_result=rejects),
    )
    retries: list[Any] = [None, dice.one_of(plain), dice.one_of(plain)]
    if "budget" in on:
        budget = RetryBudget(
            name="shared", ttl=4.0, ratio=dice.one_of((0.0, 0.2)), reserve_per_second=dice.one_of((0.25, 0.5))
        )
        retries += [Budgeted(dice.one_of(plain), budget, when) for when in ("fail", "wait")]
    retries += [
        WithBreaker(dice.one_of(plain), breaker, dice.one_of(("fail", "wait"))) for breaker in breakers
    ]
    if "plugins" in on:
        retries.append(BadRetry())
    return tuple(retries)


def _hedge(dice: Dice) -> Hedge:
    budget = RetryBudget(name="hedges", ratio=0.5, reserve_per_second=dice.one_of((0.1, 2.0)))
    return Hedge(quantile=0.5, samples_min=dice.one_of((1, 3)), budget=budget)


def rejects(value: Any) -> bool:
    """Say whether a returned value is no success."""
    return bool(value[0] == "bad")
