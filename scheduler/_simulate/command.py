"""``python -m scheduler simulate``: what is asked for, played, and told."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._config import Config
from .._errors import SchedulerError
from .arrivals import PROCESSES, Synthetic, synthetic
from .compare import compared
from .fewest import POOLS_MAX, fewest
from .page import as_html
from .play import Played, play
from .progress import Watch, watched
from .replayed import replayed
from .report import Report, as_json, seconds
from .table import as_text
from .traces import BadRowError, Trace, TraceError, columns

_WRONG, _BAD_ROW, _DIVERGED, _INTERRUPTED = 2, 1, 1, 130

_EXAMPLES = """\
made-up loads (means; times in seconds):
  poisson:rate=20,run_time=0.1
  pareto:rate=20,run_time=0.1[,alpha=1.5]         clumps and silences
  day:low=5,high=50,run_time=0.1[,period=86400]   a wave
  bursts:low=5,high=80,run_time=0.1[,every=60][,lasts=5]
each also takes jobs=, length=, cv= (of run times: 0 constant, 1 exponential),
mix=HIGH:1+NORMAL:3, and tags=cpu for a group that takes only jobs that name it

exit status: 0, 1 for a bad row with --strict and for a replay that came to
other decisions, 2 for what cannot be played, 130 after Ctrl-C, which tells
what was computed until then
"""


def add_to(commands: Any) -> None:
    """Add the command to those of the command line."""
    parser = commands.add_parser(
        "simulate",
        help="play a load through a configuration in virtual time, and tell waits, pools and cost",
        description="Play a load through a configuration in virtual time: the same queue, policies and autoscaler as "
        "the real scheduler, without its threads.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "load",
        nargs="?",
        help="a log (.swf, .csv, .jsonl, each also .gz), or a made-up load such as poisson:rate=20,run_time=0.1",
    )
    parser.add_argument(
        "--config",
        action="append",
        metavar="TOML",
        help="what Scheduler.from_config takes; twice to see two side by side",
    )
    parser.add_argument(
        "--replay",
        type=Path,
        metavar="FILE",
        help="in place of a load: play what Scheduler(record=FILE) wrote, and tell whether it comes to the same "
        "decisions; with --config, also what its jobs would have met there",
    )
    parser.add_argument(
        "--columns",
        default="",
        metavar="MAP",
        help="where a log has what: arrival=…,run_time=…,priority=…,tenant=…,tags=…; run_time=tokens*0.01 multiplies",
    )
    parser.add_argument("--strict", action="store_true", help="stop at the first bad row")
    parser.add_argument(
        "--faster", type=_above_zero, default=1.0, metavar="N", help="divide the times of the load by this"
    )
    parser.add_argument(
        "--start-up",
        type=_at_least_zero,
        default=0.0,
        metavar="S",
        help="seconds a pool takes to start (default: 0)",
    )
    parser.add_argument(
        "--target",
        type=_at_least_zero,
        metavar="S",
        help="the wait in seconds that 99 of 100 jobs are not to exceed",
    )
    parser.add_argument(
        "--fewest",
        nargs="?",
        const="",
        metavar="GROUP",
        help="also find the fewest fixed pools that keep the target, and compare with them",
    )
    _add_what_is_told(parser)


def _add_what_is_told(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="of all dice (default: 0)")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with drawings; it needs no network"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object, for programs")


def run(given: argparse.Namespace) -> int:
    """Play what is asked for and tell it; return the exit status."""
    try:
        with watched() as watch:
            report = _Session(given, watch).report() if given.replay is None else replayed(given, watch)
        if given.html is not None:
            given.html.write_text(as_html(report), encoding="utf-8")
        _tell(as_json(report) if given.json else as_text(report, shutil.get_terminal_size().columns))
    except BadRowError as error:
        return _failed(str(error), _BAD_ROW)
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}" if error.filename else str(error), _WRONG)
    except KeyboardInterrupt:
        return _failed("interrupted twice: nothing is told", _INTERRUPTED)
    except (TraceError, SchedulerError) as error:
        return _failed(str(error), _WRONG)
    if report.diverged:
        return _DIVERGED
    if report.interrupted:
        print("interrupted: the figures are of what was computed until then", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _tell(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # whoever read it has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(why: str, status: int) -> int:
    print(f"two-tier-scheduler simulate: {why}", file=sys.stderr)
    return status


class _Session:
    """One call of the command."""

    def __init__(self, given: argparse.Namespace, watch: Watch) -> None:
        self.given, self.watch = given, watch
        if given.load is None or given.config is None:
            raise TraceError("give a load and --config, or --replay and a recording")
        if len(given.config) > 2:
            raise TraceError("--config may stand once or twice; compare more in pairs")
        if given.fewest is not None and given.target is None:
            raise TraceError("--fewest needs --target, the p99 wait in seconds that the pools are to keep")
        if given.fewest is not None and len(given.config) > 1:
            raise TraceError("--fewest compares with what it finds: give --config once")
        self.load = self._load()
        self.configs = [(Path(name).name, name) for name in given.config]

    def _load(self) -> Trace | Synthetic:
        given = self.given
        name = given.load.partition(":")[0]
        if name in PROCESSES or (":" in given.load and not Path(given.load).exists()):
            if given.columns or given.strict:
                raise TraceError("--columns and --strict are for logs; this load is made up")
            return synthetic(given.load, given.seed)
        return Trace(Path(given.load), columns(given.columns), strict=given.strict)

    def report(self) -> Report:
        """Play everything."""
        runs: list[Played] = []
        for name, config in self.configs:
            if not self.watch.interrupted:
                runs.append(self._play(name, config))
        found = ""
        if self.given.fewest is not None and not self.watch.interrupted:
            found = self._fewest(*self.configs[0], runs)
        load = self.load
        trace = load if isinstance(load, Trace) else None
        return Report(
            load=f"{load.name}, {load.good:,} jobs",
            faster=self.given.faster,
            start_up=self.given.start_up,
            target=self.given.target,
            runs=tuple(runs),
            comparison=compared(*runs) if len(runs) == 2 else None,
            bad=trace.bad if trace else 0,
            first_bad=tuple(trace.first_bad) if trace else (),
            found=found,
            interrupted=self.watch.interrupted,
        )

    def _play(self, name: str, config: Config) -> Played:
        self.watch.label = name
        given = self.given
        return play(
            self.load,
            config,
            name=name,
            seed=given.seed,
            start_up=given.start_up,
            faster=given.faster,
            look=self.watch.look,
        )

    def _fewest(self, name: str, file: str, runs: list[Played]) -> str:
        config = tomllib.loads(
            Path(file).read_text(encoding="utf-8")
        )  # it has been played, so it is in order
        group, target = self._group(config), self.given.target
        best = fewest(
            lambda changed, pools: self._play(f"{name} with {pools} fixed pools of {group}", changed),
            config,
            group,
            target,
        )
        if best is None:
            return f"not even {POOLS_MAX:,} fixed pools of {group} keep the p99 wait at {seconds(target)}: it is not for want of pools"
        if best.interrupted:
            return "the search for the fewest fixed pools was interrupted"
        runs.append(best)
        many = best.measures.pools[group].most
        return f"{many:,} fixed {'pool' if many == 1 else 'pools'} of {group} {'is' if many == 1 else 'are'} the fewest that keep the p99 wait at {seconds(target)}"

    def _group(self, config: Mapping[str, Any]) -> str:
        names = [str(table["name"]) for table in config.get("groups", ())]
        wanted = self.given.fewest
        if wanted in names:
            return str(wanted)
        if not wanted and len(names) == 1:
            return names[0]
        listed = ", ".join(names) or "none"
        problem = f"there is no group {wanted!r}" if wanted else "the configuration has not exactly one group"
        raise TraceError(f"--fewest: {problem}; name one: --fewest GROUP. There are {listed}")


def _above_zero(text: str) -> float:
    value = _at_least_zero(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _at_least_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be finite and at least 0, not {text}")
    return value
