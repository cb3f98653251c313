"""Curves over axes as SVG, by hand: lines, ticks at round numbers, and words that a screen reader says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

import attrs

WIDTH, HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 10, 30
_COLOURS = 6
#: The left end of a logarithmic axis stands for all that is shorter.
_SHORTEST = 1e-4

Words = Callable[[float], str]


@attrs.frozen
class Curve:
    """Points from left to right; the value holds until the next one."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    dashed: bool = False

    @property
    def style(self) -> str:
        """The classes that the page's style knows."""
        return f"line c{self.colour % _COLOURS}{' dashed' if self.dashed else ''}"

    def sample(self) -> str:
        """Return a short piece of the line, for the key."""
        return f'<svg viewBox="0 0 32 10" aria-hidden="true"><path class="{self.style}" d="M0 5H32"/></svg>'


def drawn(
    title: str,
    curves: Sequence[Curve],
    *,
    across: Words,
    up: Words,
    logarithmic: bool = False,
    top: float | None = None,
) -> str:
    """Return an SVG of the curves; `across` and `up` put values into words."""
    highest = max((y for curve in curves for _, y in curve.points), default=0.0)
    furthest = max((x for curve in curves for x, _ in curve.points), default=0.0)
    ticks_up = ticks(top or highest or 1.0)
    ceiling = max(ticks_up[-1], top or highest)
    ticks_across = decades(furthest) if logarithmic else time_ticks(furthest or 1.0)
    end = ticks_across[-1] if logarithmic else furthest or 1.0

    def x(value: float) -> float:
        share = value / end
        if logarithmic:
            share = math.log(max(value, _SHORTEST) / _SHORTEST) / math.log(end / _SHORTEST)
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * share

    def y(value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value / ceiling

    parts = [
        f'<path class="axis" d="M{_LEFT} {y(tick):.1f}H{WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{escape(up(tick))}</text>'
        for tick in ticks_up
    ]
    for tick in ticks_across:
        word = f"≤ {across(tick)}" if logarithmic and tick == _SHORTEST else across(tick)
        parts.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(word)}</text>')
    parts += [
        f'<path class="{curve.style}" d="{_steps(curve.points, x, y)}"/>' for curve in curves if curve.points
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _steps(
    points: Sequence[tuple[float, float]], x: Callable[[float], float], y: Callable[[float], float]
) -> str:
    (first_x, first_y), *rest = points
    path = [f"M{x(first_x):.1f} {y(first_y):.1f}"]
    last = first_y
    for at, value in rest:
        if value != last:
            path.append(f"H{x(at):.1f}V{y(value):.1f}")
            last = value
    path.append(f"H{x(points[-1][0]):.1f}")
    return "".join(path)


def ticks(most: float) -> list[float]:
    """Return round whole numbers from 0 to at least `most`, four or five of them."""
    step = 10.0 ** math.floor(math.log10(most))
    for finer in (0.2, 0.25, 0.5, 1.0):
        if most / (step * finer) <= 5 and (step * finer >= 1):
            step *= finer
            break
    return [step * number for number in range(math.ceil(most / step) + 1)]


def time_ticks(most: float) -> list[float]:
    """Return moments that people count in, at most seven from 0 up to `most` seconds."""
    steps = [10.0**power * factor for power in range(-6, 1) for factor in (1, 2, 5)]
    steps += [
        15,
        30,
        *(60.0 * n for n in (1, 2, 5, 10, 15, 30)),
        *(3600.0 * n for n in (1, 2, 4, 6, 12, 24, 48, 120, 240, 720, 2400, 8760)),
    ]
    step = next(
        (step for step in sorted(steps) if most / step <= 6), steps[-1] * math.ceil(most / steps[-1] / 6)
    )
    return [step * number for number in range(int(most / step) + 1)]


def decades(most: float) -> list[float]:
    """Return powers of ten from the shortest wait that is told apart to at least `most`."""
    first = round(math.log10(_SHORTEST))
    last = max(first + 1, math.ceil(math.log10(max(most, _SHORTEST))))
    return [10.0**power for power in range(first, last + 1)]
