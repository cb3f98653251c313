"""Every scaling policy against every load, in virtual time: the table of `docs/how-to/choose-a-scaling-policy.md`.

    python tests/benchmarks/scaling.py [--only WORD ...] [--markdown] [--trace FILE ...]

A trace is a log in the Standard Workload Format (``.swf`` or ``.swf.gz``), or a CSV of the Azure LLM inference
traces. Its reader is that of `python -m scheduler simulate`. Their times are divided by `--faster`; how long an LLM request runs is a model, 10 ms a generated token.
The project carries no trace: https://www.cs.huji.ac.il/labs/parallel/workload/ and
https://github.com/Azure/AzurePublicDataset have them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "simulation"))

import scenarios
from scenarios import TARGET, Outcome, Scenario, best_fixed, play

from policies import QueueDelay, SquareRootStaffing, TargetUtilization
from policies.contracts import ScalingPolicy
from scheduler._simulate.traces import Trace, columns

POLICIES: tuple[ScalingPolicy, ...] = (QueueDelay(), TargetUtilization(), SquareRootStaffing())

#: Seconds that a request is taken to run for each token that it generates.
SECONDS_PER_TOKEN = 0.01

COLUMNS = (
    "load",
    "policy",
    "p50 wait",
    "p99 wait",
    "p99 by class",
    "slot-seconds",
    "× best fixed",
    "opened",
    "drained",
    "taken back",
    "reversals",
    "lost",
)


def loads() -> list[Scenario]:
    """Return every load of the table."""
    return [
        scenarios.step(start_up=0.01),
        scenarios.step(),
        scenarios.step(start_up=3.0, length=120.0),
        scenarios.ramp(),
        scenarios.day(),
        scenarios.steady(busy=13.0),
        scenarios.bursts(every=4.0),
        scenarios.bursts(every=10.0),
        scenarios.bursts(every=40.0),
        scenarios.hanging(),
        scenarios.failing(),
        scenarios.failing_start_up(every_second=True),
        scenarios.failing_start_up(every_second=False),
        scenarios.held_by_a_lock(),
    ]


#: Where the logs that are known have what.
LOGS = {".swf": "priority=group", ".csv": f"arrival=TIMESTAMP,run_time=GeneratedTokens*{SECONDS_PER_TOKEN}"}


def recorded(path: Path, faster: float) -> tuple[list[tuple[float, float, int]], int]:
    """Return when each job of a log came, how long it ran and its priority, and how many rows made no sense."""
    trace = Trace(path, columns(LOGS[".csv" if ".csv" in path.suffixes else ".swf"]))
    return [(at / faster, run_time / faster, kind.priority) for at, run_time, kind in trace], trace.bad


def rows(scenario: Scenario) -> Iterator[tuple[str, ...]]:
    """Yield the lines of one load: the fewest fixed pools that meet the target, and each policy."""
    fixed = best_fixed(scenario, TARGET)
    yield cells(fixed, fixed)
    for policy in POLICIES:
        outcome = play(scenario, policy)
        yield cells(outcome, best_fixed(scenario, outcome.quantile(0.99)))


def cells(outcome: Outcome, peer: Outcome) -> tuple[str, ...]:
    """Return one line; `peer` is the best fixed size at the same p99."""
    classes = [seconds(outcome.quantile(0.99, priority=level)) for level in outcome.priorities]
    fixed = "fixed" in outcome.policy
    return (
        outcome.scenario,
        outcome.policy,
        seconds(outcome.quantile(0.5)),
        seconds(outcome.quantile(0.99)),
        " / ".join(classes) if len(classes) > 1 else "",
        f"{outcome.slot_seconds:,.0f}",
        "" if fixed else f"{outcome.slot_seconds / peer.slot_seconds:.2f} ({peer.policy.split()[0]} pools)",
        str(outcome.additions),
        str(outcome.removals),
        str(outcome.taken_back),
        f"{outcome.regretted} + {outcome.returned}",
        str(outcome.lost),
    )


def seconds(value: float) -> str:
    """Return seconds with two significant digits or so."""
    return "0" if value == 0 else f"{value:.3f} s" if value < 1 else f"{value:.1f} s"


def main() -> int:
    """Play, and print the table."""
    parser = argparse.ArgumentParser(description="Every scaling policy against every load, in virtual time.")
    parser.add_argument("--only", action="append", metavar="WORD", help="loads whose name contains it")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument(
        "--trace", action="append", type=Path, metavar="FILE", help="a recorded log to play instead"
    )
    parser.add_argument("--faster", type=float, default=1.0, help="divide the times of a trace by this")
    parser.add_argument(
        "--start-up", type=float, default=0.5, help="seconds a pool takes to start, for a trace"
    )
    options = parser.parse_args()
    chosen = [] if options.trace else loads()
    for path in options.trace or ():
        jobs, bad = recorded(path, options.faster)
        name = path.name if options.faster == 1 else f"{path.name}, {options.faster:g} × faster"
        chosen.append(scenarios.traced(name, jobs, start_up=options.start_up))
        print(f"{path.name}: {len(jobs)} jobs, {bad} bad rows", file=sys.stderr)
    if options.only:
        chosen = [load for load in chosen if any(word in load.name for word in options.only)]
    table = [COLUMNS]
    for load in chosen:
        table += rows(load)
    if options.markdown:
        table.insert(1, ("---", "---", *["---:"] * (len(COLUMNS) - 2)))
        print("\n".join(f"| {' | '.join(row)} |" for row in table))
    else:
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
