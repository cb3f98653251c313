"""Did it help? Measures after an addition whether the throughput rose with the slots.

The test of .NET's hill climbing, without its wave: of a relative gain in slots, at least 15 % must be found
again in the throughput. More threads for work that holds the interpreter's lock gain nothing, and this is
what notices it. What counts as a gain in slots is those that are really in use: slots that stay free prove
nothing, and jobs that hold each other up fill the new slots instead of waiting. It is judged only beyond the
noise of two standard deviations, for a pool that was opened in need must not go because of a few long jobs.
"""

from __future__ import annotations

import math

import attrs

from policies.contracts import Load, Window

#: The share of the gain in slots that the throughput must show (.NET's hill climbing uses it as its bias).
SHARE = 0.15
#: Completions of a window from which its throughput is taken as it is.
COMPLETIONS_MIN = 20
#: Mean run times that are measured at least, or the first jobs in the new slots could not have ended.
RUNS_MIN = 4
#: The gain in slots in use from which it can be told. Arbitrary.
WIDER_MIN = 0.25
#: Stable windows after which nothing more is waited for.
WINDOWS_MAX = 4

_TOO_SHORT = "what waited was worked off before the throughput could be compared"


@attrs.define(eq=False)
class Effect:
    """One growth that is being measured, from the first addition on."""

    #: Pools and slots before it.
    pools: int
    slots: int
    #: Completions a second before it, and the variance of that, relative to its square.
    rate: float
    noise: float
    #: The rate was reckoned from run times, because there was no time in which all slots were in use.
    rough: bool
    #: When the measuring began: when the last of the new pools was up. Infinity until then.
    since: float = math.inf
    ended: int = 0
    #: Slots in use, summed over the looks since then, and how many looks those are.
    used: int = 0
    looks: int = 0

    def begin(self, now: float, ended: int) -> None:
        """Measure from now on."""
        self.since, self.ended, self.used, self.looks = now, ended, 0, 0

    def saw(self, load: Load) -> None:
        """Take note of one more look."""
        self.used += load.in_use
        self.looks += 1


@attrs.frozen
class Verdict:
    """What the measuring found; `helped` is None when that cannot be said."""

    helped: bool | None
    text: str


def before(load: Load) -> Effect | None:
    """Return what there is to compare with later, None when nothing is known of it."""
    if not load.slots:  # every pool is cordoned, or its workers are down
        return None
    for window in (load.stable, load.panic):
        same = window is load.panic or round(window.in_use) == load.in_use  # else there were other slots, too
        if same and window.saturated and window.completions >= COMPLETIONS_MIN:
            return Effect(load.pools, load.slots, window.completion_rate, _noise(window), rough=False)
    known = load.stable.completions
    if not load.run_time or known < COMPLETIONS_MIN:
        return None
    return Effect(load.pools, load.slots, load.slots / load.run_time, _noise(load.stable), rough=True)


def judge(effect: Effect, load: Load, ended: int, panic: float, stable: float) -> Verdict | None:
    """Return the verdict, None while it is too early for one; the lengths of the windows are seconds."""
    seconds, count = load.time - effect.since, ended - effect.ended
    last = seconds >= WINDOWS_MAX * stable
    if seconds < max(panic, RUNS_MIN * load.run_time) or count < COMPLETIONS_MIN:
        return Verdict(None, f"unclear: only {count} jobs ended within {seconds:.2f} s") if last else None
    if load.slots <= effect.slots:
        return Verdict(None, "the slots it added are gone again")
    used = effect.used / effect.looks
    wider = used / effect.slots - 1
    if wider < WIDER_MIN:
        return Verdict(None, _TOO_SHORT)
    gain = count / seconds / effect.rate - 1
    square = (load.deviation / load.run_time) ** 2 if load.run_time else 1.0
    spread = 2 * (1 + gain) * math.sqrt(effect.noise + (1 + square) / count)
    found = (
        f"{1 + gain:.2f} × the throughput (± {spread:.2f}) with {1 + wider:.2f} × the slots in use, "
        f"measured over {seconds:.2f} s"
    )
    if gain - spread >= SHARE * wider:
        return Verdict(True, found)
    if gain + spread < SHARE * wider and not (effect.rough and wider < 0.5):
        return Verdict(False, found)
    return Verdict(None, f"unclear: {found}") if last else None


def _noise(window: Window) -> float:
    square = (window.deviation / window.run_time) ** 2 if window.run_time else 1.0
    return (1 + square) / window.completions
