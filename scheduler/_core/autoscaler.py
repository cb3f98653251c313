"""More pools or fewer? Asks each group's scaling policy, and follows it as far as the rules allow.

A bad policy cannot hurt, because the rules are here and the same for all:

1. Never outside ``min_pools`` and ``max_pools``; pools that are still starting count.
2. Up fast, but not at once: within one panic window at most as many pools as there are, or four.
3. After a pool has failed, a wait that doubles with each further one; those that were opened together fail
   together, and what drains may be taken back meanwhile.
4. Down slowly: one pool at a time, never in panic, never within a stable window of an addition, never while more
   slots are in use than on the mean, and never one of the last ``min_pools`` that take jobs. First the group shows
   that it does without the pool (`lulls`): for three stable windows it wanted fewer, for four if it is not known yet
   how often the load returns, for two if it wanted more than half of the pools all the time, which is the noise of a
   steady load; and none of the last eight intervals between two rises says that the load is due. What is
   expected keeps no pool for longer than sixteen stable windows after it was last wanted. A pool that goes is kept
   for one more after it was decided, idle, and is taken back before any is opened: so nothing is opened anew within
   a window of a drain but beyond what was drained. In seventeen stable windows and a panic window for each pool, a
   group whose load is gone has shrunk to ``min_pools``.
5. An addition that did not raise the throughput is undone, and not tried again for a while that doubles each time
   (`ceiling`).

Who opens and drains pools by what is decided here is `Elastic`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import attrs

from policies.contracts import Advice, Load, ScalingPolicy

from .ceiling import Ceiling
from .flow import Flow
from .lulls import Lulls
from .pool_table import GroupRecord

#: Rule 2: pools that may be opened within one panic window, however few there are (as Kubernetes' HPA).
BATCH_MIN = 4
#: Rule 3: seconds after the first failed start, and at most.
RETRY_MIN, RETRY_MAX = 1.0, 60.0
#: More pools than that are no advice: `sys.maxsize`, so that "as many as there may be" can be said.
POOLS_MAX = 2**63 - 1


@attrs.frozen(kw_only=True)
class Order:
    """What is to be done now."""

    #: Pools to open, or to take back from draining; 0 for none.
    add: int = 0
    #: Whether one pool is to be drained, and which if that matters.
    drain: bool = False
    pool: str | None = None
    advice: Advice
    #: The rule that did not let everything happen, and its words.
    rule: str | None = None
    limited_by: str | None = None


@attrs.define(eq=False)
class Scaled:
    """One group that scales: its policy, its load, and what has been decided."""

    group: GroupRecord
    policy: ScalingPolicy
    flow: Flow = attrs.Factory(Flow)
    #: When to look next; infinity while there is nothing to look at.
    due: float = math.inf
    changed_at: float = -math.inf
    grown_at: float = -math.inf
    #: A pool that goes still runs something.
    leaving: bool = False
    #: Additions within the last panic window: when, and how many.
    grown: deque[tuple[float, int]] = attrs.Factory(deque)
    #: Rule 4: how many pools were wanted when, and whether that keeps one from going now.
    lulls: Lulls = attrs.Factory(Lulls)
    kept: bool = False
    #: Since when nothing waits, runs, starts or drains here.
    quiet_since: float = math.inf
    panic_until: float = -math.inf
    failures: int = 0
    failed_for: float = 0.0
    not_before: float = -math.inf
    #: When a start last failed that was counted, and when one last succeeded.
    failed_at: float = -math.inf
    proven: float = -math.inf
    #: Rule 5.
    ceiling: Ceiling = attrs.Factory(lambda scaled: Ceiling(scaled.flow), takes_self=True)
    #: What was wanted and not allowed when it was last written down, so that it is written once.
    told: tuple[bool, str | None] | None = None

    def begin_anew(self) -> None:
        """Look as if for the first time, after a time without looks; what was being measured is not known."""
        self.flow.forget()
        self.ceiling.forget_growth()
        self.quiet_since = math.inf

    def started(self, now: float) -> None:
        """Take note of a pool of which a worker is up: opening them works."""
        self.failures, self.not_before, self.proven = 0, -math.inf, now

    def start_failed(self, now: float, began: float = math.inf) -> None:
        """Rule 3. What fails soon after the last wait fails in a row, though it was up for a moment.

        A pool that began to start before the last failure or success was counted teaches nothing new.
        """
        if began < max(self.failed_at, self.proven):
            return
        if now > self.not_before + self.failed_for:
            self.failures = 0
        self.failed_at = now
        self.failures += 1
        longer = max(RETRY_MIN, self.flow.start_up) * 2.0 ** min(self.failures - 1, 16)
        self.failed_for = min(RETRY_MAX, longer)
        self.not_before = now + self.failed_for

    def changed(self, now: float, grown: int = 0) -> None:
        """Take note of a change in the number of pools."""
        self.changed_at = now
        if grown:
            self.grown_at = now
            self.grown.append((now, grown))

    def decide(self, load: Load, policy_failed: Callable[[str, object, BaseException, str], None]) -> Order:
        """Ask the policy, and return what the rules let happen. Cost: that of the policy, and O(1) amortised."""
        now = load.time
        try:
            advice = _checked(self.policy.scale(load))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            policy_failed("scaling", self.policy, error, "hold")
            advice = load.hold("the policy failed")
        if advice.panic:
            self.panic_until = now + self.flow.stable_length
        self.lulls.want(min(max(advice.pools, 0), load.pools), now, self.flow.stable_length)
        self.kept = False
        too_many = self.ceiling.lowers(load)
        if too_many is not None:
            return self._down(load, load.drain(too_many), undone=True)
        if load.pools < load.min_pools:
            advice = load.toward(max(load.min_pools, advice.pools), "fewer pools than min_pools=")
        if advice.pools > load.pools:
            return self._up(load, advice)
        return self._down(load, advice) if advice.pools < load.pools else Order(advice=advice)

    def _up(self, load: Load, advice: Advice) -> Order:
        now, goal, rule, why = load.time, advice.pools, None, None
        if load.max_pools is not None and goal > load.max_pools:
            goal, rule, why = load.max_pools, "max", f"max_pools={load.max_pools}"
        capped = self.ceiling.caps(load, goal)
        if capped is not None:
            (goal, why), rule = capped, "effect"
        while self.grown and self.grown[0][0] <= now - self.flow.panic_length:
            self.grown.popleft()
        grown = sum(count for _, count in self.grown)
        batch = max(BATCH_MIN, load.pools - grown)
        if goal > load.pools + max(0, batch - grown):
            goal, rule = load.pools + max(0, batch - grown), "speed"
            why = f"at most {batch} more pools within {self.flow.panic_length:.2f} s"
        if now < self.not_before and goal > load.pools + load.draining:
            goal, rule = load.pools + load.draining, "failed"
            why = f"pools failed to start {_times(self.failures)} in a row; the next try is in {self.not_before - now:.2f} s"
        return Order(add=max(0, goal - load.pools), advice=advice, rule=rule, limited_by=why)

    def _down(self, load: Load, advice: Advice, *, undone: bool = False) -> Order:
        now, stable = load.time, self.flow.stable_length
        rule = why = None
        if load.pools <= load.min_pools:
            rule, why = "min", f"min_pools={load.min_pools}"
        elif load.starting:
            rule, why = "starting", "pools are still starting"
        elif self.leaving:
            rule, why = "one", "one pool at a time, and one is still draining"
        elif len(load.idle) <= load.min_pools:  # the others start again when somebody uncordons them
            rule, why = "last", f"only {len(load.idle)} pools take jobs, and min_pools={load.min_pools}"
        elif now - self.grown_at < stable:
            rule, why = "grown", f"nothing is drained within {stable:.2f} s of an addition"
        elif now - self.changed_at < self.flow.panic_length:
            rule, why = "pace", f"one pool within {self.flow.panic_length:.2f} s"
        elif undone:
            pass
        elif now < self.panic_until:
            rule, why = "panic", f"panic: nothing is drained for another {self.panic_until - now:.2f} s"
        elif (why := self.lulls.keeps(load.pools, now, stable)) is not None:
            rule, self.kept = "stable", True
        elif load.in_use > load.stable.in_use:  # on the mean
            rule, why = "pace", "the load rises"
        return Order(drain=rule is None, pool=advice.pool, advice=advice, rule=rule, limited_by=why)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _checked(advice: object) -> Advice:
    """Return an advice in which everything is what it should be: some of it is looked at much later."""
    pools: object = getattr(advice, "pools", None)
    if not isinstance(advice, Advice) or type(pools) is not int:
        raise TypeError(f"scale() must return an Advice with a whole number of pools, not {advice!r}")
    if abs(pools) > POOLS_MAX:
        raise ValueError(f"scale() must return an Advice with at most {POOLS_MAX} pools")
    said: tuple[object, ...] = (advice.reason, advice.formula, advice.pool or "")
    if not all(type(words) is str for words in said) or type(advice.panic) is not bool:
        raise TypeError(
            "scale() must return an Advice with reason=, formula= and pool= in words, and panic= True or False"
        )
    return advice
