"""Every figure beside its peer's, measured in the same run.

    python tests/benchmarks/run.py [--only NAME ...] [--quick] [--markdown] [--json PATH]

"must" and "aim" are limits of the ratio, or of the figure itself where it stands alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import coroutines
import elastic
import handles
import latency
import processes
import scaling_cost
import simulated
import throughput
from harness import Figure

BENCHMARKS: dict[str, Callable[[bool], Iterator[Figure]]] = {
    "no-ops": throughput.no_ops,
    "retries": throughput.retries,
    "round-trip": latency.round_trip,
    "memory": handles.memory,
    "waiting": handles.waiting,
    "depth": throughput.depth,
    "urgent": latency.urgent,
    "crowded": throughput.crowded,
    "coroutines": coroutines.no_ops,
    "naps": coroutines.naps,
    "no-ops-processes": processes.no_op_processes,
    "round-trip-processes": processes.round_trip_processes,
    "urgent-processes": processes.urgent_processes,
    "sigkill": processes.sigkill,
    "hang": processes.hang,
    "large": processes.large,
    "step": elastic.step,
    "evaluation": scaling_cost.evaluation,
    "scaled": scaling_cost.scaled,
    "everything": scaling_cost.everything,
    "limits": scaling_cost.limits,
    "simulator": simulated.simulator,
    "floor": throughput.floor,
    "convoy": throughput.convoy,
}

COLUMNS = ("figure", "ours", "peer", "peer is", "ratio", "quartiles", "must", "aim", "verdict")


def cells(figure: Figure) -> tuple[str, ...]:
    """Return a figure as the cells of its row."""
    by_ratio = figure.judged != figure.ours
    relation, of = ("≥", "") if figure.more_is_better else ("≤", "×" if by_ratio else "")
    unit = "" if by_ratio else f" {figure.unit}"
    spread = "" if figure.spread is None else " – ".join(number(edge) + of for edge in figure.spread)
    return (
        figure.name,
        f"{number(figure.ours)} {figure.unit}",
        "" if figure.peer is None else f"{number(figure.peer)} {figure.unit}",
        figure.peer_name,
        f"{number(figure.judged)}×" if by_ratio and figure.judged is not None else "",
        spread + (unit if spread else ""),
        "" if figure.must is None else f"{relation} {number(figure.must)}{of}{unit}",
        "" if figure.aim is None else f"{relation} {number(figure.aim)}{of}{unit}",
        figure.verdict,
    )


def number(value: float) -> str:
    """Return three significant digits, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def as_text(rows: list[tuple[str, ...]], widths: list[int]) -> str:
    """Return rows as columns; numbers to the right."""
    lines = []
    for row in rows:
        padded = [
            cell.rjust(width)
            if column in ("ours", "peer", "ratio", "quartiles", "must", "aim")
            else cell.ljust(width)
            for column, cell, width in zip(COLUMNS, row, widths, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def as_markdown(rows: list[tuple[str, ...]]) -> str:
    """Return a table to paste into a page."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    marks = [
        "---:" if column in ("ours", "peer", "ratio", "quartiles", "must", "aim") else "---"
        for column in COLUMNS
    ]
    return "\n".join([lines[0], "| " + " | ".join(marks) + " |", *lines[1:]])


def machine() -> str:
    """Say on what this was measured."""
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    build = platform.python_version() + ("" if gil else ", free-threaded")
    return f"{platform.python_implementation()} {build}, {platform.machine()}, {os.cpu_count()} cores, {platform.system()}"


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="Every figure beside its peer's, measured in the same run.")
    parser.add_argument(
        "--only", action="append", choices=BENCHMARKS, metavar="NAME", help=", ".join(BENCHMARKS)
    )
    parser.add_argument("--quick", action="store_true", help="fewer jobs and trials: to see that it runs")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there, too")
    options = parser.parse_args()
    began = time.perf_counter()
    figures = []
    for name in options.only or BENCHMARKS:
        if sys.stderr.isatty():
            print(f"measuring {name} ...", end="\033[K\r", file=sys.stderr, flush=True)
        figures += list(BENCHMARKS[name](options.quick))
    rows = [COLUMNS, *map(cells, figures)]
    if sys.stderr.isatty():
        print(end="\033[K", file=sys.stderr)
    if options.markdown:
        print(as_markdown(rows))
    else:
        print(as_text(rows, [max(map(len, column)) for column in zip(*rows, strict=True)]))
    print(f"\n{machine()}; {time.perf_counter() - began:.0f} s{', quick' if options.quick else ''}")
    if options.json:
        found = [attrs.asdict(figure) | {"verdict": figure.verdict} for figure in figures]
        options.json.write_text(
            json.dumps({"machine": machine(), "figures": found}, indent=2), encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
