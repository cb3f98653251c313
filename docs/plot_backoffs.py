"""Draws how long each backoff waits, by the policies themselves; `docs/generate.py` writes it."""

from __future__ import annotations

import math
from html import escape

import policies
from policies import Failure, RetryPolicy

ATTEMPTS = 10
#: A panel, what is around it, and how many stand in a row.
WIDTH, HEIGHT, LEFT, TOP, COLUMNS = 160, 110, 46, 34, 4
#: The shortest and the longest wait that a panel shows, as powers of ten.
LOWEST, HIGHEST = -2, 4
STYLE = (
    "text{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#1b2733}"
    ".scale{font-size:10px;fill:#51606e}.grid{stroke:#e3e8eb}.frame{fill:none;stroke:#b7c3c9}"
    ".chance{fill:#dbe9ee}.longest{fill:none;stroke:#3f6b7d;stroke-width:1.6}.dot{fill:#3f6b7d}"
)

SHOWN: dict[str, RetryPolicy] = {
    "FixedBackoff": policies.FixedBackoff(attempts_max=99),
    "LinearBackoff": policies.LinearBackoff(attempts_max=99),
    "FibonacciBackoff": policies.FibonacciBackoff(attempts_max=99),
    "PolynomialBackoff": policies.PolynomialBackoff(attempts_max=99, jitter=0.1),
    "ExponentialBackoff": policies.ExponentialBackoff(attempts_max=99),
    '… jitter="equal"': policies.ExponentialBackoff(attempts_max=99, jitter="equal"),
    "DecorrelatedJitter": policies.DecorrelatedJitter(attempts_max=99),
    "ScheduleBackoff": policies.ScheduleBackoff([1, 5, 30, 30, 300], attempts_max=99),
}


class _Loaded:
    """Dice that always fall the same way."""

    def __init__(self, face: float) -> None:
        self.face = face

    def random(self) -> float:
        """Return the same number as ever."""
        return self.face


def _waits(policy: RetryPolicy, face: float) -> list[float]:
    """Return the wait after each failure, with dice that fall on one end."""
    waits: list[float] = []
    for attempt in range(1, ATTEMPTS + 1):
        failure = Failure(attempt, OSError(), last_delay=waits[-1] if waits else None)
        waits.append(policy.retry_after(failure, _Loaded(face)) or 0.0)
    return waits


def _y(wait: float) -> float:
    power = max(LOWEST, min(HIGHEST, math.log10(wait))) if wait > 0 else LOWEST
    return HEIGHT * (HIGHEST - power) / (HIGHEST - LOWEST)


def _points(waits: list[float]) -> list[str]:
    step = WIDTH / (ATTEMPTS + 1)
    return [f"{step * (number + 1):.1f},{_y(wait):.1f}" for number, wait in enumerate(waits)]


def _panel(name: str, policy: RetryPolicy) -> list[str]:
    shortest, longest = (_points(_waits(policy, face)) for face in (0.0, 1.0 - 2.0**-53))
    parts = [f'<text x="0" y="-8">{escape(name)}</text>']
    for power in range(LOWEST, HIGHEST + 1):
        y = f"{_y(10.0**power):.1f}"
        parts.append(f'<path class="grid" d="M0 {y}H{WIDTH}"/>')
        if power % 2 == 0:
            parts.append(
                f'<text class="scale" x="-6" y="{float(y) + 3:.1f}" text-anchor="end">{10.0**power:g}</text>'
            )
    parts.append(f'<rect class="frame" width="{WIDTH}" height="{HEIGHT}"/>')
    if shortest != longest:
        parts.append(f'<polygon class="chance" points="{" ".join([*longest, *reversed(shortest)])}"/>')
    parts.append(f'<polyline class="longest" points="{" ".join(longest)}"/>')
    for number, point in enumerate(longest, start=1):
        x, y = point.split(",")
        parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="2"/>')
        if number in (1, ATTEMPTS // 2, ATTEMPTS):
            parts.append(
                f'<text class="scale" x="{x}" y="{HEIGHT + 13}" text-anchor="middle">{number}</text>'
            )
    return parts


def backoff_drawing() -> str:
    """Return a panel for each backoff: the seconds before the next attempt by the number of the failure."""
    rows = -(-len(SHOWN) // COLUMNS)
    across, down = WIDTH + LEFT, HEIGHT + TOP + 20
    width, height = COLUMNS * across + 16, rows * down + 4
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"',
        f'     width="{width}" height="{height}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" rx="6" fill="#fbfcfd"/>',
    ]
    for index, (name, policy) in enumerate(SHOWN.items()):
        row, column = divmod(index, COLUMNS)
        parts.append(f'<g transform="translate({column * across + LEFT},{row * down + TOP})">')
        parts += [*_panel(name, policy), "</g>"]
    return "\n".join([*parts, "</svg>", ""])
