"""What is told of a run: the same figures for the terminal, the page and programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from .._core.job import Priority
from .._core.statistics import Histogram
from .compare import Comparison
from .play import Played
from .tally import Tally

QUANTILES = (0.5, 0.99)
#: How a job can end, as `Statistics` counts it.
ENDS = ("succeeded", "failed", "cancelled", "expired", "shed", "rejected")
ALIVE = ("running", "waiting", "delayed", "backing_off")
HEAD = ("class", "jobs", "wait p50", "p99", "max", "slowdown p50", "p99", "max")


@attrs.frozen(kw_only=True)
class Report:
    """A load, what one or two configurations made of it, and how they differ."""

    load: str
    faster: float
    start_up: float
    target: float | None
    runs: tuple[Played, ...]
    comparison: Comparison | None
    bad: int = 0
    first_bad: Sequence[tuple[int, str]] = ()
    #: What the search for the fewest pools found, in words.
    found: str = ""
    #: It was stopped before its end.
    interrupted: bool = False
    #: A recording was played, and came to other decisions.
    diverged: bool = False


# Words


def seconds(value: float) -> str:
    """Return seconds as a reader would say them, to three digits."""
    if value <= 1e-6:
        return "0"
    for limit, unit, name in (
        (1e-3, 1e-6, "µs"),
        (1.0, 1e-3, "ms"),
        (120.0, 1.0, "s"),
        (7200.0, 60.0, "min"),
    ):
        if value < limit:
            return f"{digits(value / unit)} {name}"
    return f"{digits(value / 3600)} h"


def digits(value: float) -> str:
    """Return a number to three digits, with commas."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def signed(value: float, text: str) -> str:
    """Return the text of a magnitude with the sign of its value."""
    return text if text == "0" else f"{'−' if value < 0 else '+'}{text}"


def class_name(priority: int) -> str:
    """Return a priority by name and number."""
    names = {member.value: f"{member.name} {member.value}" for member in Priority}
    return names.get(priority, str(priority))


def quantiles(histogram: Histogram, most: float) -> list[float]:
    """Return the quantiles that are shown; none is above the largest value seen."""
    return [min(histogram.quantile(share), most) for share in QUANTILES]


def classes(run: Played) -> list[tuple[str, Tally]]:
    """Return the classes by urgency, and all of them together if there are several."""
    named = [(class_name(priority), tally) for priority, tally in sorted(run.measures.classes.items())]
    return [*named, ("all", run.every)] if len(named) != 1 else named


def class_rows(run: Played) -> list[tuple[str, ...]]:
    """Return a line for each class."""
    rows = []
    for name, tally in classes(run):
        waits, slowdowns = tally.frozen()
        waited = map(seconds, (*quantiles(waits, tally.longest_wait), tally.longest_wait))
        above_one = (*quantiles(slowdowns, tally.highest_slowdown - 1), tally.highest_slowdown - 1)
        rows.append((name, f"{waits.count:,}", *waited, *(digits(1 + value) for value in above_one)))
    return rows


def facts(run: Played, target: float | None) -> list[tuple[str, str]]:
    """Return everything else of a run, each with its name."""
    measures, statistics, length = run.measures, run.statistics, run.length
    depth = measures.depth
    told = [
        (
            "queue",
            f"{digits(depth.area(length) / length if length else 0)} jobs on average, {depth.most:,} at most",
        )
    ]
    for name, series in measures.pools.items():
        mean = digits(series.area(length) / length) if length else str(series.value)
        span = (
            f"{series.least:,}"
            if series.least == series.most
            else f"{series.least} to {series.most}, {mean} on average"
        )
        told.append(
            (f"pools {name}", f"{span}; {run.slots[name]} {'slot' if run.slots[name] == 1 else 'slots'} each")
        )
    used = statistics.run_time().total
    share = f", {used / run.paid:.0%} of them used" if run.paid else ""
    told.append(("paid", f"{digits(run.paid)} slot-seconds{share}"))
    told.append(("jobs", _counts(statistics, (*ENDS, *ALIVE)) or "none"))
    some_live = any(getattr(statistics, name) for name in ALIVE)  # a recording ends when its file is full
    told.append(
        (
            "time",
            f"{seconds(length)} of virtual time{'' if run.interrupted or some_live else ', to the end of the last job'}",
        )
    )
    counts = measures.decisions
    by_kind = ", ".join(f"{count:,} {action}" for action, count in sorted(counts.items()))
    told.append(("decisions", f"{sum(counts.values()):,}{f': {by_kind}' if by_kind else ''}"))
    if target is not None:
        told.append(("target", _target(run, target)))
    if run.interrupted:
        told.append(("interrupted", f"at {seconds(length)}; the figures are of what came before"))
    return told


def p99(run: Played) -> float:
    """Return the 99th percentile of all waits, in seconds."""
    every = run.every
    return min(every.wait.quantile(0.99), every.longest_wait)


def _target(run: Played, target: float) -> str:
    met = p99(run) <= target
    return f"{'met' if met else 'NOT met'}: p99 wait {seconds(p99(run))}, asked for {seconds(target)}"


def _counts(statistics: Any, names: Iterable[str]) -> str:
    counts = ((name.replace("_", " "), getattr(statistics, name)) for name in names)
    return ", ".join(f"{count:,} {name}" for name, count in counts if count)


def heading(report: Report) -> str:
    """Return what was played, and what was done to its times."""
    parts = [report.load]
    if report.faster != 1:
        parts.append(f"all its times divided by {report.faster:g}")
    if report.start_up:
        parts.append(f"a pool starts in {seconds(report.start_up)}")
    return "; ".join(parts)


def bad_lines(report: Report) -> list[str]:
    """Return what is said of bad rows."""
    if not report.bad:
        return []
    shown = f", the first {len(report.first_bad)}:" if report.bad > len(report.first_bad) else ":"
    rows = "1 bad row was" if report.bad == 1 else f"{report.bad:,} bad rows were"
    return [f"{rows} left out{shown}", *(f"  line {line}: {why}" for line, why in report.first_bad)]


COMPARED = ("", "first", "second", "difference", "95 % interval")


def compared_rows(report: Report) -> list[tuple[str, ...]]:
    """Return a line for each difference."""
    if report.comparison is None:
        return []
    rows: list[tuple[str, ...]] = []
    for each in report.comparison.differences:
        show = digits if "slowdown" in each.what else seconds
        half = "too few jobs" if each.half_width is None else f"± {show(each.half_width)}"
        if each.half_width is not None and not each.sure:
            half += ", may be 0"
        rows.append(
            (
                each.what,
                show(each.first),
                show(each.second),
                signed(each.difference, show(abs(each.difference))),
                half,
            )
        )
    one, other = (run.paid for run in report.runs)
    change = f"{(other - one) / one:+.0%}".replace("-", "−") if one else ""
    how = "counted"
    if report.interrupted:  # one of them has run for longer
        change, how = "", "of unequal times"
    rows.append(("slot-seconds", digits(one), digits(other), change, how))
    return rows


def compared_note(report: Report) -> str:
    """Return how the intervals were made."""
    comparison = report.comparison
    if comparison is None:
        return ""
    return (
        f"second less first, for the same jobs in both: means over {comparison.batches} paired batches "
        f"of {comparison.jobs:,} jobs"
    )


# For programs


def as_json(report: Report) -> str:
    """Return the report as a JSON object; times in seconds."""
    comparison = report.comparison
    return json.dumps(
        {
            "load": report.load,
            "faster": report.faster,
            "start_up": report.start_up,
            "target": report.target,
            "interrupted": report.interrupted,
            "diverged": report.diverged,
            "bad_rows": {
                "count": report.bad,
                "first": [{"line": n, "why": why} for n, why in report.first_bad],
            },
            "found": report.found or None,
            "runs": [_run(run, report.target) for run in report.runs],
            "comparison": comparison and attrs.asdict(comparison),
        },
        indent=2,
    )


def _run(run: Played, target: float | None) -> dict[str, Any]:
    statistics, measures = run.statistics, run.measures
    return {
        "config": run.name,
        "interrupted": run.interrupted,
        "length": run.length,
        "classes": {name: _class(tally) for name, tally in classes(run)},
        "jobs": {name: getattr(statistics, name) for name in ("submitted", *ENDS, *ALIVE, "retries")},
        "queue": {
            "mean": measures.depth.area(run.length) / run.length if run.length else 0.0,
            "most": measures.depth.most,
            "over_time": measures.depth.points(run.length),
        },
        "pools": {
            name: {
                "least": series.least,
                "most": series.most,
                "slots": run.slots[name],
                "over_time": series.points(run.length),
            }
            for name, series in measures.pools.items()
        },
        "slot_seconds": run.slot_seconds,
        "decisions": dict(measures.decisions),
        "target_met": None if target is None else p99(run) <= target,
    }


def _class(tally: Tally) -> dict[str, Any]:
    waits, slowdowns = tally.frozen()
    wait = dict(zip(("p50", "p99"), quantiles(waits, tally.longest_wait), strict=True))
    above_one = quantiles(slowdowns, tally.highest_slowdown - 1)
    slowdown = dict(zip(("p50", "p99"), (1 + value for value in above_one), strict=True))
    return {
        "jobs": waits.count,
        "wait": {"mean": waits.mean, **wait, "max": tally.longest_wait},
        "slowdown": {"mean": 1 + slowdowns.mean, **slowdown, "max": tally.highest_slowdown},
    }
