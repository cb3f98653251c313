"""Loads that scaling policies are judged by, played in virtual time, and what is measured of each.

A scenario says which jobs come when and what its pools are like; `play` runs it with one policy. Everything
is drawn from seeded dice, so equal arguments give equal figures. Times are virtual seconds.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import attrs

from policies import FixedPools, Pack
from policies.contracts import ScalingPolicy
from pools import ThreadPool
from scheduler import PoolGroup, Priority
from scheduler._core import events
from scheduler._core.decisions import Explanation
from scheduler.simulation import Simulator

#: The wait that the policies are to keep the 99th percentile below, seconds.
TARGET = 0.1
#: Mean run time of a job, seconds.
RUN_TIME = 0.1

Arrivals = Iterator[tuple[float, float]]


@attrs.frozen(kw_only=True)
class Scenario:
    """One load, and the group of pools that meets it."""

    name: str
    #: Hands the simulator its jobs; called with the dice.
    load: Callable[[Simulator, random.Random], object]
    #: Seconds until the last job has come; what is paid is counted up to here.
    length: float
    slots: int = 4
    min_pools: int = 1
    max_pools: int = 24
    start_up: float | Callable[[str], float | None] = 0.5
    slowdown: Callable[[int], float] | None = None
    stuck_after: float = 1.0
    seed: int = 1


@attrs.frozen(kw_only=True)
class Outcome:
    """What one policy made of one scenario."""

    scenario: str
    policy: str
    #: Of first starts: when the job had come, how long it waited, and its priority; in order of their start.
    waits: list[tuple[float, float, int]] = attrs.field(repr=False)
    #: The integral of the slots of all pools that there were, starting and draining ones included.
    slot_seconds: float
    #: Pools opened and pools drained by themselves, and drains that were taken back.
    additions: int
    removals: int
    taken_back: int
    #: Within one stabilisation window: additions that a drain undid, and when pools were opened or taken back after
    #: a drain was decided.
    regretted: int
    returned_at: list[float]
    #: Most pools at a time, and pools at the very end, when all is quiet.
    most: int
    at_the_end: int
    failed_starts: int
    quarantined: int
    submitted: int
    settled: int
    #: Seconds of the longest stabilisation window at any change.
    stable_length: float
    explanation: Explanation = attrs.field(repr=False)
    #: When there were how many pools that run or will.
    pools: list[tuple[float, int]] = attrs.field(repr=False)

    @property
    def lost(self) -> int:
        """Jobs that neither settled nor are anywhere, by the ledger."""
        return self.submitted - self.settled

    @property
    def returned(self) -> int:
        """Times at which pools were opened or taken back within one stabilisation window of a drain."""
        return len(self.returned_at)

    @property
    def reversals(self) -> int:
        """All changes that were undone within one stabilisation window."""
        return self.regretted + self.returned

    def quantile(self, share: float, *, since: float = 0.0, priority: int | None = None) -> float:
        """Return the wait that `share` of the jobs that came from `since` on did not exceed."""
        waits = sorted(
            wait for came, wait, level in self.waits if came >= since and priority in (None, level)
        )
        return waits[min(len(waits) - 1, int(share * len(waits)))] if waits else 0.0

    @property
    def priorities(self) -> list[int]:
        """The priorities that came, the most urgent first."""
        return sorted({priority for _, _, priority in self.waits})

    def waited_share(self, since: float = 0.0) -> float:
        """Return the share of the jobs that found no free slot, of those that came from `since` on."""
        waits = [wait for came, wait, _ in self.waits if came >= since]
        return sum(wait > 0 for wait in waits) / len(waits)

    def back_under(self, target: float, since: float) -> float:
        """Return how long after `since` the p99 wait is back under `target`, and stays there for two seconds.

        The p99 is that of the jobs that come within a second, looked at every tenth of one.
        """
        steps: defaultdict[int, list[float]] = defaultdict(list)
        for came, wait, _ in self.waits:
            if came >= since:
                steps[int((came - since) * 10)].append(wait)
        good = 0
        for step in range(max(steps) + 1):
            good = good + 1 if _p99(steps, step) <= target else 0
            if good == 10:
                return (step - 9) / 10
        return math.inf


def _p99(steps: dict[int, list[float]], step: int) -> float:
    waits = sorted(wait for each in range(step, step + 10) for wait in steps.get(each, ()))
    return waits[min(len(waits) - 1, int(0.99 * len(waits)))] if waits else 0.0


class _Watch:
    """An observer that measures."""

    def __init__(self, simulator: Simulator, length: float) -> None:
        self.simulator, self.length = simulator, length
        self.waits: list[tuple[float, float, int]] = []
        self.priorities: dict[int, int] = {}
        self.alive: dict[str, tuple[float, int]] = {}
        self.paid = 0.0
        #: Changes by themselves: when, whether up or down, within how long another would undo it, and pools.
        self.changes: list[tuple[float, int, float, tuple[str, ...]]] = []
        self.returned_at: list[float] = []
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.pools: list[tuple[float, int]] = []
        self.most = 0

    def __call__(self, event: events.Event) -> None:
        """Take note of one event."""
        if isinstance(event, events.JobSubmitted):
            self.priorities[event.job_id] = event.priority
        elif isinstance(event, events.JobStarted):
            if event.attempt == 1:
                came = event.time - event.waited
                self.waits.append((came, event.waited, self.priorities.pop(event.job_id)))
        elif isinstance(event, events.PoolAdded):
            self.alive[event.pool] = event.time, event.slots
            self.most = max(self.most, len(self.alive))
            self.pools.append((event.time, len(self.alive)))
        elif isinstance(event, events.PoolStopped):
            since, slots = self.alive.pop(event.pool)
            self.paid += slots * max(0.0, min(event.time, self.length) - since)
            self.pools.append((event.time, len(self.alive)))
        elif isinstance(event, events.PoolFailed):
            self.counts["failed"] += 1
        elif isinstance(event, events.PoolQuarantined):
            self.counts["quarantined"] += 1
        elif isinstance(event, events.ScalingDecided) and event.pools:
            self.counts[event.action] += len(event.pools)
            scaled = self.simulator.core.scaled.get("group")
            if scaled is not None:
                sign = -1 if event.action == "drain" else 1
                self.changes.append((event.time, sign, scaled.flow.stable_length, event.pools))
                if sign == 1 and self._soon_after_a_drain(event.time):
                    self.returned_at.append(event.time)

    def finish(self) -> None:
        """Count what is still there."""
        self.paid += sum(slots * max(0.0, self.length - since) for since, slots in self.alive.values())

    def _soon_after_a_drain(self, now: float) -> bool:
        """Whether a drain was decided within the last stabilisation window, as long as it was then."""
        return any(sign == -1 and now - when < window for when, sign, window, _ in self.changes)

    def regretted(self) -> int:
        """Return how many drains came within one stabilisation window of an addition, as long as it was by then."""
        grown = [when for when, sign, _, _ in self.changes if sign == 1]
        return sum(
            sign == -1 and any(0 <= when - add < window for add in grown)
            for when, sign, window, _ in self.changes
        )


def play(
    scenario: Scenario, scaling: ScalingPolicy, *, pools: int | None = None, check_every: int = 0
) -> Outcome:
    """Run a scenario with one policy; `pools` is how many there are when the policy is `FixedPools`."""
    fixed = isinstance(scaling, FixedPools)
    group = PoolGroup(
        "group",
        ThreadPool(slots=scenario.slots),
        min_pools=pools if fixed and pools else scenario.min_pools,
        max_pools=pools if fixed and pools else scenario.max_pools,
        scaling=scaling,
        stuck_after=scenario.stuck_after,
    )
    simulator = Simulator(
        group,
        routing=Pack(),
        seed=scenario.seed,
        start_up=scenario.start_up,
        slowdown=scenario.slowdown,
        check_every=check_every,
    )
    watch = _Watch(simulator, scenario.length)
    for pool in simulator.pools():
        watch(events.PoolAdded(time=0.0, pool=pool.pool_id, group="group", slots=pool.slots))
    simulator.observe(watch)
    scenario.load(simulator, random.Random(scenario.seed))
    statistics = simulator.run()
    watch.finish()
    return Outcome(
        scenario=scenario.name,
        policy=f"{pools} fixed pools" if fixed else repr(scaling),
        waits=watch.waits,
        slot_seconds=watch.paid,
        additions=watch.counts["add"],
        removals=watch.counts["drain"],
        taken_back=watch.counts["take back"],
        regretted=watch.regretted(),
        returned_at=watch.returned_at,
        most=watch.most,
        at_the_end=len(simulator.pools()),
        failed_starts=watch.counts["failed"],
        quarantined=watch.counts["quarantined"],
        submitted=statistics.submitted,
        settled=statistics.succeeded
        + statistics.failed
        + statistics.cancelled
        + statistics.expired
        + statistics.shed,
        stable_length=max((window for _, _, window, _ in watch.changes), default=0.0),
        explanation=simulator.explain("group"),
        pools=watch.pools,
    )


@lru_cache(maxsize=24)
def fixed(scenario: Scenario, pools: int) -> Outcome:
    """Return what so many fixed pools make of a scenario."""
    return play(scenario, FixedPools(), pools=pools)


def best_fixed(scenario: Scenario, p99: float) -> Outcome:
    """Return what the fewest fixed pools make of a scenario that keep the 99th percentile at `p99`, in hindsight.

    More pools never make anybody wait longer, so halving finds them.
    """
    low, high = 1, scenario.max_pools
    found = fixed(scenario, high)
    while low < high:
        middle = (low + high) // 2
        outcome = fixed(scenario, middle)
        if outcome.quantile(0.99) <= p99:
            high, found = middle, outcome
        else:
            low = middle + 1
    return found


# The loads


def thinned(
    dice: random.Random,
    busy: Callable[[float], float],
    most: float,
    length: float,
    run_time: float = RUN_TIME,
) -> Arrivals:
    """Yield Poisson arrivals that keep ``busy(now)`` slots busy, at most `most`, by thinning (Lewis and Shedler 1979)."""
    now = 0.0
    while True:
        now += dice.expovariate(most / run_time)
        if now >= length:
            return
        if dice.random() * most < busy(now):
            yield now, dice.expovariate(1 / run_time)


def step(
    *, before: float = 3.0, times: float = 10.0, start_up: float = 0.5, at: float = 20.0, length: float = 60.0
) -> Scenario:
    """Return a load that rises at once by a factor, at `at`, and falls again to what it was 20 s before the end."""

    def load(simulator: Simulator, dice: random.Random) -> None:
        def busy(now: float) -> float:
            return before * (times if at <= now < length - 20 else 1)

        simulator.source(thinned(dice, busy, before * times, length))

    return Scenario(
        name=f"step ×{times:g}, start-up {start_up:g} s", load=load, length=length, start_up=start_up
    )


def ramp(*, most: float = 40.0, length: float = 120.0) -> Scenario:
    """Return a load that rises evenly from 2 busy slots to `most`, and falls as evenly."""

    def load(simulator: Simulator, dice: random.Random) -> None:
        def busy(now: float) -> float:
            return 2 + (most - 2) * (1 - abs(2 * now / length - 1))

        simulator.source(thinned(dice, busy, most, length))

    return Scenario(name="ramp up and down", load=load, length=length)


def day(*, least: float = 2.0, most: float = 40.0, length: float = 480.0, days: int = 2) -> Scenario:
    """Return two days of a load that swings between two numbers of busy slots; bulk work fills a quarter of it."""

    def load(simulator: Simulator, dice: random.Random) -> None:
        def busy(now: float) -> float:
            return least + (most - least) * (1 - math.cos(2 * math.pi * days * now / length)) / 2

        for priority, share in ((Priority.HIGH, 0.25), (Priority.NORMAL, 0.5), (Priority.LOW, 0.25)):
            dice_of_it = random.Random(dice.random())
            arrivals = thinned(dice_of_it, lambda now, share=share: share * busy(now), share * most, length)
            simulator.source(arrivals, priority=priority)

    return Scenario(name=f"day wave ({length / days:g} s a day)", load=load, length=length)


def bursts(
    *, every: float, base: float = 2.0, high: float = 30.0, lasts: float = 2.0, count: int = 10
) -> Scenario:
    """Return a train of bursts, one every so many seconds, on top of a small load."""

    def load(simulator: Simulator, dice: random.Random) -> None:
        simulator.source(
            thinned(dice, lambda now: high if now % every < lasts else base, high, every * count)
        )

    return Scenario(name=f"bursts every {every:g} s", load=load, length=every * count)


def steady(*, busy: float, slots: int = 4, length: float = 300.0, max_pools: int = 200) -> Scenario:
    """Return a load that is the same all the time."""

    def load(simulator: Simulator, dice: random.Random) -> None:
        simulator.source(thinned(dice, lambda _: busy, busy, length))

    return Scenario(name=f"steady, {busy:g} busy", load=load, length=length, slots=slots, max_pools=max_pools)


def hanging(*, share: float = 0.002, length: float = 120.0) -> Scenario:
    """Return a load of which a few jobs hang for a minute beyond their `run_timeout` of 1 s."""

    def load(simulator: Simulator, dice: random.Random) -> None:
        poison = random.Random(dice.random())
        simulator.source(thinned(dice, lambda _: 12.0, 12.0, length))
        simulator.source(
            ((at, 60.0) for at, _ in thinned(poison, lambda _: 12.0 * share, 12.0 * share, length)),
            run_timeout=1.0,
            priority=Priority.LOW,
        )

    return Scenario(name="poison: jobs that hang", load=load, length=length)


def failing(*, length: float = 60.0) -> Scenario:
    """Return a load of which one class always fails, at the first of its three attempts and at the last."""

    def load(simulator: Simulator, dice: random.Random) -> None:
        poison = random.Random(dice.random())
        simulator.source(thinned(dice, lambda _: 12.0, 12.0, length))
        for at, run_time in thinned(poison, lambda _: 4.0, 4.0, length):
            simulator.submit(run_time, at=at, fails=99, priority=Priority.LOW)

    return Scenario(name="poison: jobs that fail", load=load, length=length)


def failing_start_up(*, every_second: bool, length: float = 80.0) -> Scenario:
    """Return a step whose every second pool fails to start, or whose first six do."""

    def start_up(pool: str) -> float | None:
        number = int(pool.rpartition("-")[2])
        fails = number % 2 == 0 if every_second else number <= 7
        return None if fails else 0.5

    whole = step(length=length)
    name = "every second pool fails to start" if every_second else "the first six pools fail to start"
    return attrs.evolve(whole, name=name, start_up=start_up)


def traced(name: str, jobs: Iterable[tuple[float, float, int]], **settings: object) -> Scenario:
    """Return a scenario of recorded jobs: when each came, how long it ran, and its priority."""
    recorded = sorted(jobs)

    def load(simulator: Simulator, _: random.Random) -> None:
        for level in sorted({priority for _, _, priority in recorded}):
            simulator.source(_of_level(recorded, level), priority=level)

    return Scenario(name=name, load=load, length=recorded[-1][0], **settings)  # type: ignore[arg-type]


def _of_level(recorded: list[tuple[float, float, int]], level: int) -> Arrivals:
    return ((at, ran) for at, ran, priority in recorded if priority == level)


def held_by_a_lock(*, length: float = 60.0) -> Scenario:
    """Return a load that needs more than there is, of jobs that slow each other down: the interpreter's lock."""

    def load(simulator: Simulator, dice: random.Random) -> None:
        simulator.source(thinned(dice, lambda now: 1.5 if 10 <= now < 20 else 0.5, 1.5, length, 0.02))

    return Scenario(
        name="throughput that does not grow", load=load, length=length, slowdown=float, max_pools=12
    )
