"""Curves over axes as SVG, by hand: lines, ticks at round numbers, and words that a screen reader says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

import attrs

from .report import seconds

WIDTH, HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 40, 10, 34
_COLOURS = 6
#: The left end of a logarithmic axis stands for all that is shorter.
_SHORTEST = 1e-4
#: The vertical axis of a tail; its lower end stands for all that is rarer.
_PERCENT = (0.01, 0.1, 1.0, 10.0, 100.0)

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
    up: Words,
    tail: bool = False,
    mark: float | None = None,
) -> str:
    """Return an SVG of the curves; `up` puts heights into words.

    A `tail` is how many percent are longer than so many seconds, on two logarithmic axes. `mark` is a moment of note.
    """
    highest = max((y for curve in curves for _, y in curve.points), default=0.0)
    furthest = max((mark or 0.0, *(x for curve in curves for x, _ in curve.points)))
    ticks_up = list(_PERCENT) if tail else ticks(highest or 1.0)
    ticks_across = decades(furthest) if tail else time_ticks(furthest or 1.0)
    least, ceiling = ticks_up[0], ticks_up[-1]
    across = seconds if tail else in_one_unit(furthest)
    end = ticks_across[-1] if tail else furthest or 1.0

    def x(value: float) -> float:
        share = _log_share(value, _SHORTEST, end) if tail else value / end
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * share

    def y(value: float) -> float:
        share = _log_share(value, least, ceiling) if tail else value / ceiling
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share

    parts = [
        f'<path class="axis" d="M{_LEFT} {y(tick):.1f}H{WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{escape(up(tick))}</text>'
        for tick in ticks_up
    ]
    for tick in ticks_across:
        word = f"≤ {across(tick)}" if tail and tick == _SHORTEST else across(tick)
        parts.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(word)}</text>')
    if mark is not None:
        parts.append(f'<path class="mark" d="M{x(mark):.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>')
    parts += [
        f'<path class="{curve.style}" d="{_steps(curve.points, x, y)}"/>' for curve in curves if curve.points
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _log_share(value: float, least: float, most: float) -> float:
    return math.log(max(value, least) / least) / math.log(most / least)


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
        if most / (step * finer) <= 5 and (step * finer).is_integer():
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


def in_one_unit(most: float) -> Words:
    """Return what puts seconds into words, all in the unit that suits `most`."""
    for unit, name in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms")):
        if most >= 2 * unit:
            return lambda value: f"{value / unit:.4g} {name}" if value else "0"
    return seconds


def decades(most: float) -> list[float]:
    """Return powers of ten from the shortest wait that is told apart to at least `most`."""
    first = round(math.log10(_SHORTEST))
    last = max(first + 1, math.ceil(math.log10(max(most, _SHORTEST))))
    return [10.0**power for power in range(first, last + 1)]
