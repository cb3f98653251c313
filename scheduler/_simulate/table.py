"""The report as a terminal shows it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from .report import (
    COMPARED,
    HEAD,
    Report,
    bad_lines,
    class_rows,
    compared_note,
    compared_rows,
    facts,
    heading,
)


def as_text(report: Report, width: int) -> str:
    """Return the report in lines that are at most so wide, if that can be."""
    lines = textwrap.wrap(heading(report), width)
    lines += bad_lines(report)
    lines += textwrap.wrap(report.found, width) if report.found else []
    for number, run in enumerate(report.runs):
        place = ("first: ", "second: ")[number] if len(report.runs) > 1 else ""
        lines += ["", f"{place}{run.name}", *columns((HEAD, *class_rows(run)), width)]
        told = facts(run, report.target)
        wide = max(len(name) for name, _ in told) + 1
        for name, text in told:
            lines += textwrap.wrap(
                f"  {name:<{wide}} {text}", width, drop_whitespace=True, subsequent_indent=" " * (wide + 3)
            )
    rows = compared_rows(report)
    if rows:
        lines += ["", "side by side", *columns((COMPARED, *rows), width)]
        lines += textwrap.wrap(compared_note(report), width - 2, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def columns(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return rows as lines: the first column to the left, the others to the right, closer together if need be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = "  " if sum(widths) + 2 * len(widths) <= width else " "
    return [
        f"{gap}{gap.join([first.ljust(widths[0]), *(map(str.rjust, rest, widths[1:]))])}"
        for first, *rest in rows
    ]
