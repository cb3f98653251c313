"""Did it help? Measures after an addition whether the throughput rose with the slots.

The test of .NET's hill climbing, without its wave: of a relative gain in slots, at least 15 % must be found
again in the throughput. More threads for work that holds the interpreter's lock gain nothing, and this is
what notices it. What counts as a gain in slots is those that are really in use: slots that stay free prove
nothing, and jobs that hold each other up fill the new slots instead of waiting. So it is measured while the new slots
are full, and anew when they fill again. It is judged only beyond the noise of two standard deviations, for a pool
that was opened in need must not go because of a few long jobs.

What is done about it is `ceiling`'s.
"""

from __future__ import annotations

import math

import attrs

from policies.contracts import Load, Window

#: The share of the gain in slots that the throughput must show (.NET's hill climbing uses it as its bias).
SHARE = 0.15
#: Completions of a window from which its throughput is taken as it is.
COMPLETIONS_MIN = 20
#: Run times from which the throughput before an addition is reckoned where there was no such window. Arbitrary.
KNOWN_MIN = 10
#: Mean run times that are measured at least, or the first jobs in the new slots could not have ended.
RUNS_MIN = 4
#: The gain in slots in use from which it can be told. Arbitrary.
WIDER_MIN = 0.25
#: Stable windows after which nothing more is waited for.
WINDOWS_MAX = 4

_TOO_SHORT = "what waited was worked off before the throughput could be compared"


@attrs.frozen
class Verdict:
    """What the measuring found; `helped` is None when that cannot be said."""

    helped: bool | None
    text: str
    #: It may well not have helped, and too little is known of the throughput before to say so.
    untold: bool = False


@attrs.define(eq=False)
class Effect:
    """One growth that is being measured, from the first addition on."""

    #: Pools and slots before it.
    pools: int
    slots: int
    #: Completions a second before it, how many jobs that is known from (0: it is not known), and how far their run
    #: times lay apart: the variance, relative to the square of the mean.
    rate: float = math.nan
    known: int = 0
    square: float = 1.0
    #: The rate was reckoned from run times, because there was no time in which all slots were in use.
    rough: bool = False
    #: When the last of the new pools was up; infinity until then.
    opened: float = math.inf
    #: Since when the new slots have been full, and since when jobs have waited beside them; infinity while it is not so.
    since: float = math.inf
    short: float = math.inf
    #: Attempts that had ended when they filled, slots in use, summed over the looks since then, and how many looks.
    ended: int = 0
    used: int = 0
    looks: int = 0

    def grow(self) -> None:
        """Measure anew: still more is added."""
        self.opened = self.since = self.short = math.inf

    def look(self, load: Load, ended: int, panic: float, stable: float) -> Verdict | None:
        """Return the verdict when there is one; `ended` counts attempts, the lengths of the windows are seconds."""
        if load.slots <= self.slots:
            return Verdict(None, "the slots it added are gone again")
        self.opened = min(self.opened, load.time)
        over = load.time - self.opened >= WINDOWS_MAX * stable
        full = load.in_use >= min(load.slots, (1 + WIDER_MIN) * self.slots)
        self.short = min(self.short, load.time) if full and load.waiting else math.inf
        if self.since == math.inf:
            if full:
                self.since, self.ended, self.used, self.looks = load.time, ended, 0, 0
            return Verdict(None, _TOO_SHORT) if over and not full else None
        self.used += load.in_use
        self.looks += 1
        verdict = judge(self, load, ended - self.ended, panic)
        if verdict.helped or (full and verdict.helped is False):
            return verdict
        if verdict.untold and load.time - self.short >= stable and (over or not self.known):
            return verdict
        if not full:
            self.since = math.inf
        if over and (self.known or self.short == math.inf):
            return Verdict(None, verdict.text if full and self.known else _TOO_SHORT)
        return None


def before(load: Load) -> Effect | None:
    """Return what there is to compare with later; None if there are no slots: all cordoned, or their workers down."""
    if not load.slots:
        return None
    alike = [window for window in (load.stable, load.panic) if round(window.in_use) == load.in_use]
    for window in alike:  # in the others there were other slots, too
        if window.saturated and window.completions >= COMPLETIONS_MIN:
            return _reckoned(load, window, window.completion_rate, rough=False)
    for window in (*alike, load.stable):
        if window.run_time and window.completions >= KNOWN_MIN:
            run_time = max(
                window.run_time, _with_the_running(window.in_use, window.seconds, window.completions)
            )
            return _reckoned(load, window, load.slots / run_time, rough=True)
    return Effect(load.pools, load.slots)


def measured(load: Load, count: int, seconds: float) -> Effect:
    """Return what there is to compare with if `count` jobs have just ended in so many seconds with all slots full."""
    square = relative_variance(load.deviation, load.run_time)
    return Effect(load.pools, load.slots, count / seconds, count, square)


def judge(effect: Effect, load: Load, count: int, panic: float) -> Verdict:
    """Return what the measuring says by now, after `count` completions."""
    seconds, used = load.time - effect.since, effect.used / effect.looks
    run_time = max(load.run_time, _with_the_running(used, seconds, count))
    if seconds < max(panic, RUNS_MIN * run_time) or count < COMPLETIONS_MIN:
        return Verdict(None, f"unclear: only {count} jobs ended within {seconds:.2f} s")
    if not effect.known:
        return Verdict(None, "unclear: too few jobs had ended before", untold=True)
    wider = used / effect.slots - 1
    if wider < WIDER_MIN:
        return Verdict(None, f"unclear: {1 + wider:.2f} × the slots in use are too few to tell")
    gain = count / seconds / effect.rate - 1
    spread = 2 * (1 + gain) * math.sqrt(_noise(effect, load, count))
    found = (
        f"{1 + gain:.2f} × the throughput (± {spread:.2f}) with {1 + wider:.2f} × the slots in use, "
        f"measured over {seconds:.2f} s"
    )
    if gain - spread >= SHARE * wider:
        return Verdict(True, found)
    if gain + spread < SHARE * wider and not (effect.rough and wider < 0.5):
        return Verdict(False, found)
    return Verdict(None, f"unclear: {found}", untold=gain < SHARE * wider)


def _reckoned(load: Load, window: Window, rate: float, *, rough: bool) -> Effect:
    square = relative_variance(window.deviation, window.run_time)
    return Effect(load.pools, load.slots, rate, window.completions, square, rough)


def _with_the_running(in_use: float, seconds: float, ended: int) -> float:
    """Return the mean run time by Little's law: the first jobs to end are the short ones, and the long ones still run."""
    return in_use * seconds / max(ended, 1)


def _noise(effect: Effect, load: Load, count: int) -> float:
    """Return the variance of the ratio of both throughputs, relative to its square.

    That of n completions is taken as one and the run times' own, ÷ n. A few run times do not show how far they lie
    apart, and the many since then do.
    """
    now = relative_variance(load.deviation, load.run_time)
    return (1 + max(effect.square, now)) / effect.known + (1 + now) / count


def relative_variance(deviation: float, run_time: float) -> float:
    """Return the variance of run times, relative to the square of their mean; 1 where nothing is known of them."""
    return (deviation / run_time) ** 2 if run_time else 1.0
