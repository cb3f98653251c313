"""More pools or fewer? Each policy looks at a `Load` and says how many pools it would have.

How far that is followed is the scheduler's: limits, cool-down and speed are the same for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

from .checks import number
from .contracts import Advice, Load, Window

#: Standard deviations by which the load must be seen to have risen or fallen: in the stable window, and in the
#: panic window, of which there are many more, so that more is seen by chance in one of them.
_RISE, _FALL, _SURE = 2.0, 0.5, 2.5
#: The share of a pool that must be spare before one goes.
_SPARE = 0.5
#: Twice the pools there are is panic (as in Knative's KPA).
_PANIC_AT = 2.0


def _at_most_one(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if value > 1:
        raise ValueError(f"{type(instance).__name__}({attribute.name}=) must be at most 1, not {value}")


def _below_one(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if value >= 1:
        raise ValueError(f"{type(instance).__name__}({attribute.name}=) must be less than 1, not {value}")


@attrs.frozen
class FixedPools:
    """Keep the pools there are; add and drain only by hand. The default of a group without room to grow."""

    def scale(self, load: Load) -> Advice:
        """Return hold."""
        return load.hold("the number of pools is fixed")


@attrs.frozen(kw_only=True)
class QueueDelay:
    """Open pools while jobs wait too long, drain one when it has been idle long enough. The default.

    Two-sided sojourn control (after Erlang's sbroker and sregulator): what is measured is how long jobs
    wait for slots, and how long slots wait for jobs.

    - Add when all through the panic window there was a job that had waited more than `target` seconds
      (default 0.1): that is a queue that stands (Nichols and Jacobson's CoDel, 2012), and no burst. As many as
      serve the load and, within `target` seconds, a panic window or a start-up, what waits; those that are
      still starting, or have just come up, get that time before more are opened.
    - Drain a pool that has been idle as a whole for `idle` seconds (default: one panic window), once the
      scheduler's own rule allows it: no more pools may have been in use within the last stable window.

    It needs routing that lets whole pools fall idle: `Pack`, the default where a group scales.
    """

    target: float = attrs.field(default=0.1, validator=number(above=0))
    idle: float | None = attrs.field(default=None, validator=attrs.validators.optional(number(above=0)))

    def scale(self, load: Load) -> Advice:
        """Return how many pools the waits ask for. Cost: O(pools)."""
        wait = load.panic.least_wait
        if load.waiting and wait > self.target:
            within = max(self.target, load.panic.seconds, load.start_up)
            slots = load.offered(load.panic) + load.waiting * load.run_time / within
            pools = load.pools_for(slots)
            if pools <= load.pools and (load.starting or load.since_change < within + load.start_up):
                return load.hold("jobs wait too long, and the pools opened last have not had their time yet")
            pools = max(pools, load.pools + 1)
            return load.add(
                pools - load.pools,
                f"for {load.panic.seconds:.2g} s there was always a job that had waited {wait:.3g} s or more, "
                f"the target is {self.target:g} s",
                f"slots = {load.offered(load.panic):.1f} busy + {load.waiting} waiting × {load.run_time:.3g} s "
                f"÷ {within:.3g} s = {slots:.1f}; ÷ {load.pool_slots} a pool",
                panic=pools >= _PANIC_AT * load.pools,
            )
        patience = load.panic.seconds if self.idle is None else self.idle
        idlest = max(load.idle, key=_idle_for, default=("", 0.0))
        if load.waiting or not patience or idlest[1] < patience:
            return load.hold("jobs do not wait too long, and no pool has been idle for long")
        needed = load.pools - sum(seconds >= patience for _, seconds in load.idle)
        return load.toward(
            max(needed, load.min_pools),
            f"{load.pools - needed} of {load.pools} pools have been idle for {patience:.3g} s or more, "
            f"{idlest[0]} for {idlest[1]:.3g} s",
        )


@attrs.frozen(kw_only=True)
class TargetUtilization:
    """Have so many pools that `target` (default 0.7) of their slots are busy.

    Knative's autoscaler in units of slots: the mean of the stable window, and in panic that of the panic window.
    """

    target: float = attrs.field(default=0.7, validator=(number(above=0), _at_most_one))

    def scale(self, load: Load) -> Advice:
        """Return how many pools the utilisation asks for. Cost: O(1)."""
        return _two_windows(load, self._slots, f"{self.target:.0%} of the slots should be busy")

    def _slots(self, offered: float) -> tuple[float, str]:
        slots = offered / self.target
        return slots, f"slots = {offered:.1f} busy ÷ {self.target:g} = {slots:.1f}"


@attrs.frozen(kw_only=True)
class SquareRootStaffing:
    """Have so many slots that a job finds none free with probability `p_wait` (default 0.2).

    For an offered load of R slots, R + β√R of them: the safety margin grows with the root of the load only
    (Erlang 1924; Halfin and Whitt, Operations Research 29, 1981). β comes from `p_wait` by their formula,
    ``p_wait = 1 / (1 + β Φ(β) / φ(β))``. It holds from about eight busy slots; below, it is a good guess.
    Pools are whole, so with several slots each there are more than that, and fewer jobs wait.
    """

    p_wait: float = attrs.field(default=0.2, validator=(number(above=0), _below_one))
    _beta: float = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_beta", _beta_of(self.p_wait))

    @property
    def beta(self) -> float:
        """The β of ``R + β√R``."""
        return self._beta

    def scale(self, load: Load) -> Advice:
        """Return how many pools the load asks for. Cost: O(1)."""
        return _two_windows(load, self._slots, f"a job should have to wait with probability {self.p_wait:g}")

    def _slots(self, offered: float) -> tuple[float, str]:
        slots = offered + self._beta * math.sqrt(offered)
        return slots, f"slots = R + β√R = {slots:.1f} with R = {offered:.1f} busy and β = {self._beta:.2f}"


def _two_windows(load: Load, slots_for: Callable[[float], tuple[float, str]], wish: str) -> Advice:
    """Advise by the stable window, and by the panic window where that surely asks for more.

    Both are samples of a random load, so pools are opened for a rise that is no chance, and given up after a fall
    that is none; between the two lies a band in which nothing happens.
    """
    calm, chance = _demand(load, load.stable)
    sudden, fluke = _demand(load, load.panic)
    sure = slots_for(max(0.0, sudden - _SURE * fluke))
    panic = load.pools_for(sure[0]) >= _PANIC_AT * load.pools
    if panic:
        sure = slots_for(sudden)
    more = slots_for(max(0.0, calm - _RISE * chance))
    # Half a pool must be spare besides, but not for more than chance; what is held for two windows is high anyway.
    fewer = slots_for(max(0.0, calm + min(_RISE * chance, _SPARE * load.pool_slots - _FALL * chance)))
    if sure[0] > more[0]:
        more, wish = sure, f"{wish}; the load rose suddenly"
    least = max(load.pools_for(more[0]), load.min_pools)
    lately = slots_for(max(0.0, sudden - _RISE * fluke))
    most = max(load.pools_for(max(fewer[0], lately[0])), least)
    pools = min(max(load.pools, least), most)
    formula = more[1] if pools == least else fewer[1]
    return load.toward(
        pools,
        wish,
        f"{formula}; ÷ {load.pool_slots} a pool; seen were {calm:.1f} ± {chance:.1f} busy, "
        f"lately {sudden:.1f} ± {fluke:.1f}",
        panic=panic,
    )


def _demand(load: Load, window: Window) -> tuple[float, float]:
    """Return the slots that the load keeps busy, and what of that may be chance, as a standard deviation.

    With them go those that work off what waits, within the window or a start-up, whichever is longer. Chance is
    that of random arrivals in the window, and of the number of jobs that a load of R has in it, which is √R.
    """
    if not window.seconds:
        return load.offered(window), 0.0
    backlog = load.run_time / max(window.seconds, load.start_up)
    slots = load.offered(window) + load.waiting * backlog
    spread = load.deviation / load.run_time if load.run_time else 0.0
    seen = math.sqrt(load.run_time * (1 + spread * spread) / window.seconds)
    return slots, math.sqrt(slots) * (seen + backlog)


def _beta_of(p_wait: float) -> float:
    """Return the β for which Halfin and Whitt's formula gives `p_wait`, by bisection."""
    low, high = 0.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        if _p_wait(middle) > p_wait:
            low = middle
        else:
            high = middle
    return high


def _p_wait(beta: float) -> float:
    density = math.exp(-beta * beta / 2) / math.sqrt(2 * math.pi)
    if density == 0.0:
        return 0.0
    return 1 / (1 + beta * (1 + math.erf(beta / math.sqrt(2))) / 2 / density)


def _idle_for(pool: tuple[str, float]) -> float:
    return pool[1]
