"""The report as one HTML file: figures and drawings, light and dark, without a script or a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from .._core.statistics import BOUNDS
from .drawing import Curve, drawn
from .play import Played
from .report import (
    COMPARED,
    HEAD,
    Report,
    bad_lines,
    class_name,
    class_rows,
    compared_note,
    compared_rows,
    facts,
    heading,
    seconds,
)
from .tally import Tally

_STYLE = """
:root { color-scheme: light dark; --back: #fcfcfb; --text: #20211f; --faint: #6b6d68; --grid: #dddeda;
  --c0: #0b63b5; --c1: #b8480a; --c2: #137a4e; --c3: #8a3d94; --c4: #7a6400; --c5: #50555c }
@media (prefers-color-scheme: dark) { :root { --back: #181a1b; --text: #e6e6e1; --faint: #9da19a; --grid: #35393a;
  --c0: #6fb1f2; --c1: #f0935a; --c2: #5cc795; --c3: #d393dc; --c4: #d6bd4e; --c5: #aab0b8 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 60rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif }
h1 { font-size: 1.4rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem; overflow-wrap: anywhere }
p, li { margin: .3rem 0; overflow-wrap: anywhere }
.found { border-left: .25rem solid var(--c0); padding-left: .7rem; margin: 1rem 0 }
.note, figcaption { color: var(--faint); font-size: .9rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid) }
th { font-weight: 600; color: var(--faint) } th:first-child, td:first-child { text-align: left }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .8rem 0; font-size: .92rem }
dt { color: var(--faint) } dd { margin: 0; min-width: 0; overflow-wrap: anywhere }
figure { margin: 0 } svg { display: block; width: 100%; min-width: 30rem; height: auto; font: 13px system-ui, sans-serif }
svg text { fill: var(--faint) } .axis { stroke: var(--grid); stroke-width: 1; fill: none }
.mark { stroke: var(--faint); stroke-dasharray: 2 3; fill: none } .line { fill: none; stroke-width: 2; stroke-linejoin: round } .dashed { stroke-dasharray: 6 4 }
.c0 { stroke: var(--c0) } .c1 { stroke: var(--c1) } .c2 { stroke: var(--c2) }
.c3 { stroke: var(--c3) } .c4 { stroke: var(--c4) } .c5 { stroke: var(--c5) }
@media (max-width: 40rem) { svg { font-size: 18px } }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; margin: .4rem 0; list-style: none; font-size: .9rem }
.key svg { display: inline-block; width: 2rem; min-width: 0; height: .7rem; margin-right: .4rem }
"""


def as_html(report: Report) -> str:
    """Return a whole page."""
    title = escape(f"Simulated: {report.load}")
    body = ["<h1>A load in virtual time</h1>", f'<p class="note">{escape(heading(report))}</p>']
    body += [f"<p>{escape(line.strip())}</p>" for line in bad_lines(report)]
    if report.found:
        body.append(f'<p class="found">{escape(report.found)}</p>')
    if report.comparison is not None:
        body += [
            "<h2>Side by side</h2>",
            _table(COMPARED, compared_rows(report)),
            f'<p class="note">{escape(compared_note(report))}</p>',
        ]
    several = len(report.runs) > 1
    for number, run in enumerate(report.runs):
        place = ("First: ", "Second: ")[number] if several else ""
        body += [
            f"<h2>{place}{escape(run.name)}</h2>",
            _table(HEAD, class_rows(run)),
            _facts(run, report.target),
        ]
    body += [_waits(report), _depth(report), _pools(report)]
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n'
        f"<body>\n{chr(10).join(body)}\n</body></html>\n"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="wide"><table><tr>{top}</tr>\n{lines}</table></div>'


def _facts(run: Played, target: float | None) -> str:
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>\n" for name, text in facts(run, target))
    return f"<dl>{pairs}</dl>"


def _named(run: Played, report: Report, what: str = "") -> str:
    parts = [part for part in (what, run.name if len(report.runs) > 1 else "") if part]
    return ", ".join(parts)


def _waits(report: Report) -> str:
    priorities = sorted({priority for run in report.runs for priority in run.measures.classes})
    curves = [
        Curve(
            _named(run, report, class_name(priority)),
            _longer(run.measures.classes[priority]),
            colour=priorities.index(priority),
            dashed=number > 0,
        )
        for number, run in enumerate(report.runs)
        for priority in sorted(run.measures.classes)
    ]
    caption = "How many percent of the jobs waited longer than so long. The 99th percentile is where a line crosses 1 %."
    if report.target is not None:
        caption += f" The upright line is the target, {seconds(report.target)}."
    return _figure(
        "Wait by class",
        caption,
        curves,
        up=lambda share: f"{share:g} %",
        tail=True,
        mark=report.target,
    )


def _longer(tally: Tally) -> list[tuple[float, float]]:
    """Return how many percent of the jobs waited longer than so many seconds, where that changes."""
    waits = tally.wait
    seen = 0
    points = [] if waits.buckets[0] else [(0.0, 100.0)]
    for place, count in enumerate(waits.buckets):
        seen += count
        if count:
            bound = BOUNDS[min(place, len(BOUNDS) - 1)]
            points.append((min(bound, tally.longest_wait), 100.0 * (1 - seen / waits.count)))
    return points


def _depth(report: Report) -> str:
    curves = [
        Curve(
            _named(run, report, "jobs waiting"),
            [*run.measures.depth.points(run.length), (run.length, float(run.measures.depth.value))],
            colour=number,
            dashed=number > 0,
        )
        for number, run in enumerate(report.runs)
    ]
    return _figure(
        "Queue depth",
        "Jobs in the front queue over virtual time; of each moment shown, the most.",
        curves,
        up=_count,
    )


def _pools(report: Report) -> str:
    names = sorted({name for run in report.runs for name in run.measures.pools})
    curves = [
        Curve(
            _named(run, report, name),
            [*series.points(run.length), (run.length, float(series.value))],
            colour=names.index(name) if len(names) > 1 else number,
            dashed=number > 0,
        )
        for number, run in enumerate(report.runs)
        for name, series in run.measures.pools.items()
    ]
    return _figure(
        "Pools over time",
        "Pools of each group, those that start or drain included.",
        curves,
        up=_count,
    )


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _figure(title: str, caption: str, curves: list[Curve], **how: object) -> str:
    key = "".join(f"<li>{curve.sample()}{escape(curve.name)}</li>" for curve in curves if curve.name)
    return (
        f'<h2>{title}</h2>\n<figure><ul class="key">{key}</ul><div class="wide">{drawn(title, curves, **how)}</div>'  # type: ignore[arg-type]
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
