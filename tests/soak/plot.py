"""What the process held, as an SVG of four panels over one axis of time; our own lines, no dependency."""

from __future__ import annotations

from html import escape

WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 760, 110, 56, 16, 26, 30
WHAT = (
    ("threads", "threads"),
    ("children", "child processes"),
    ("files", "file descriptors"),
    ("memory", "resident memory, MiB"),
)
#: Faults that are drawn as ticks.
MARKED = ("kill worker", "stop worker", "stop all", "few files", "kill fork server")
STYLE = (
    "text{font:12px sans-serif;fill:#555}.head{font-weight:600}.line{fill:none;stroke:#3367d6;stroke-width:1.5}"
    ".axis{stroke:#999;stroke-opacity:.4}.half{stroke:#999;stroke-dasharray:3 3}.fault{stroke:#d93025;stroke-opacity:.45}"
)


def drawn(samples, faults, began):
    """Return the SVG; `faults` are (moment, what), `began` is where the axis starts."""
    end = samples[-1].at
    parts = [f"<style>{STYLE}</style>"]

    def x(at):
        return LEFT + (WIDTH - LEFT - RIGHT) * max(0.0, at - began) / max(1e-9, end - began)

    for number, (name, words) in enumerate(WHAT):
        top = TOP + number * (PANEL + GAP)
        parts += _panel(samples, name, words, top, x)
    bottom = TOP + len(WHAT) * (PANEL + GAP)
    parts += [
        f'<path class="fault" d="M{x(at):.1f} {bottom - GAP + 6}v8"/>'
        for at, what in faults
        if what in MARKED
    ]
    middle = samples[len(samples) // 2].at
    parts.append(f'<path class="half" d="M{x(middle):.1f} {TOP}V{bottom - GAP}"/>')
    for at in _moments(end - began):
        parts.append(f'<text x="{x(began + at):.1f}" y="{bottom + 6}" text-anchor="middle">{at:g} s</text>')
    height = bottom + 14
    title = "threads, children, file descriptors and memory over the soak; red ticks are faults from outside"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>\n'
    )


def _panel(samples, name, words, top, x):
    values = [float(getattr(sample, name)) for sample in samples]
    highest = max(*values, 1.0) * 1.1

    def y(value):
        return top + PANEL * (1 - value / highest)

    line = "".join(
        f"{'L' if number else 'M'}{x(sample.at):.1f} {y(value):.1f}"
        for number, (sample, value) in enumerate(zip(samples, values, strict=True))
    )
    ticks = [0.0, float(f"{highest / 2.2:.2g}"), float(f"{highest / 1.1:.2g}")]
    return [
        f'<text class="head" x="{LEFT}" y="{top - 6}">{escape(words)}</text>',
        *(
            f'<path class="axis" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
            for tick in ticks
        ),
        f'<path class="line" d="{line}"/>',
    ]


def _moments(length):
    step = next(
        step for step in (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 10**9) if length / step <= 10
    )
    return [step * number for number in range(int(length / step) + 1)]
