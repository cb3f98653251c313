"""Writes the parts of the pages that are made from code, so that they cannot drift apart.

``python docs/generate.py`` writes them, ``python docs/generate.py --check`` only says which are stale.
A part stands between ``<!-- generated: name -->`` and ``<!-- end -->``; drawings are files of their own.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import inspect
import io
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
from plot_backoffs import backoff_drawing

import policies
import pools
import scheduler
from policies.installed import built_in
from policies.plugins import POLICIES
from scheduler import __main__ as command
from scheduler import _errors as errors
from scheduler._core import events, invariants
from scheduler._core.states import POOL_TRANSITIONS, TRANSITIONS
from scheduler._plugins import POOLS

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PACKAGES = ("scheduler", "pools", "policies")

#: What each state means. A state without a line here is an error.
JOB_STATES = {
    "DELAYED": "Admitted with a `delay` that has not passed yet, or behind a running job of its `key`.",
    "WAITING": "In the front queue, ready to start.",
    "RUNNING": "An attempt runs in a slot.",
    "BACKING_OFF": "An attempt failed and the next one is not due yet; the job holds no slot.",
    "SUCCEEDED": "The call returned; `result()` gives its value.",
    "FAILED": "The last attempt raised, or there will never be a pool for it; `result()` raises the error.",
    "CANCELLED": "Cancelled before it ran, or stopped while it ran because it was asked to.",
    "EXPIRED": "Its `queue_timeout` or its `deadline` passed.",
    "SHED": "Evicted from the full front queue by the admission policy; `result()` raises `JobShed`.",
}
POOL_STATES = {
    "STARTING": "Being opened; takes nothing yet.",
    "ACCEPTING": "Takes jobs whenever a slot is free.",
    "CORDONED": "Takes no more jobs for the moment; what runs goes on.",
    "DRAINING": "Takes no more jobs, finishes what runs, then stops.",
    "QUARANTINED": "Out of routing because a job in it cannot be stopped.",
    "STOPPED": "Has run its last job and is gone; its id is never used again.",
    "FAILED_TO_START": "Can run nothing, for example because its initializer raised.",
}


# Tables


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def said(thing: object) -> str:
    """Return the first paragraph of a docstring as one line of Markdown."""
    text = thing if isinstance(thing, str) else (getattr(thing, "__doc__", None) or "")
    return " ".join(text.strip().split("\n\n")[0].split()).replace("``", "`")


def event_table() -> str:
    """Return what is observable: each event, its fields, and when it happens."""
    rows = []
    for event in _classes(events, events.Event):
        own = [field for field in attrs.fields(event) if field.name != "time"]
        fields = ", ".join(f"`{field.name}: {_type(field.type)}`" for field in own)
        rows.append((f"`{event.__name__}`", fields, said(event)))
    return table(("event", "fields beside `time`", "when"), rows)


def error_table() -> str:
    """Return every error, what else it is, and what it means."""
    rows = []
    for error in _classes(errors, errors.SchedulerError):
        also = [base.__name__ for base in error.__bases__ if base is not errors.SchedulerError]
        rows.append((f"`{error.__name__}`", ", ".join(f"`{name}`" for name in also), said(error)))
    return table(("error", "is also a", "meaning"), rows)


def state_table(moves: Any, meanings: dict[str, str], at_the_end: str) -> str:
    """Return one line per state: what it means, and where it can go."""
    rows = [
        (
            f"`{state.name}`",
            meanings[state.name],
            ", ".join(f"`{after.name}`" for after in type(state) if after in moves[state]) or at_the_end,
        )
        for state in moves
    ]
    return table(("state", "in one line", "may become"), rows)


def invariant_table() -> str:
    """Return the functions that check one state, in the order in which they run."""
    rows = [
        (function.__name__.partition("_")[0].upper(), f"`{function.__name__}`", said(function))
        for function in invariants.INVARIANTS
    ]
    return table(("no.", "function", "what it says"), rows)


def room_table(package: str) -> str:
    """Return the rooms of a package, each with the first paragraph of its own docstring."""
    rows = []
    for path in rooms(package):
        docstring = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or ""
        rows.append((f"`{path.removeprefix(package + '/')}`", said(docstring)))
    return table(("room", "in one line"), rows)


def rooms(package: str) -> list[str]:
    """Return the files of a package, those of the core last."""
    paths = [path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")]
    return sorted(paths, key=lambda path: (path.count("/"), not path.endswith("__init__.py"), path))


def floors(contract: str) -> str:
    """Return an import contract as a drawing: what stands higher may import what stands lower."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = (found["layers"] for found in settings["contracts"] if found["id"] == contract)
    there = [[room for room in layer.split(" | ") if not room.startswith("(")] for layer in layers]
    # A room in parentheses may be absent; it is drawn when it is not.
    optional = [[room.strip("()") for room in layer.split(" | ") if room.startswith("(")] for layer in layers]
    drawn = []
    for certain, perhaps in zip(there, optional, strict=True):
        rooms_here = [room.removeprefix("scheduler.") for room in [*certain, *filter(_exists, perhaps)]]
        drawn += ["   ".join(rooms_here)] if rooms_here else []
    width = max(map(len, drawn)) + 4
    return "\n".join(["```text", *(floor.center(width).rstrip() for floor in drawn), "```"])


def _exists(room: str) -> bool:
    path = room.replace(".", "/") if "." in room else f"scheduler/_core/{room}"
    return (ROOT / f"{path}.py").is_file() or (ROOT / path).is_dir()


def command_help(*subcommand: str) -> str:
    """Return what the command, or a part of it, says of itself."""
    said_by_command = io.StringIO()
    before, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "80"
    try:
        with contextlib.redirect_stdout(said_by_command), contextlib.suppress(SystemExit):
            command.main([*subcommand, "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return f"```text\n{said_by_command.getvalue().rstrip()}\n```"


def name_table() -> str:
    """Return by which name each of our policies and pools is made."""
    kinds = (*POLICIES.kinds.values(), *POOLS.kinds.values())
    rows = [(kind.name, ", ".join(sorted(f"`{plugin.name}`" for plugin in built_in(kind)))) for kind in kinds]
    return table(("kind", "names"), rows)


def signatures(*kinds: type) -> str:
    """Return how values are made: the constructors of attrs classes, which the page builder cannot see."""
    calls = []
    for kind in kinds:
        signature = inspect.signature(kind).replace(return_annotation=inspect.Signature.empty)
        plain = [
            parameter.replace(annotation=inspect.Parameter.empty)
            for parameter in signature.parameters.values()
        ]
        calls.append(f"{kind.__name__}{signature.replace(parameters=plain)}")
    # Names and defaults only; a class stands for itself.
    text = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", "\n".join(calls))
    return f"```text\n{text}\n```"


def _values(package: Any, *methods: str) -> list[type]:
    """Return the public attrs classes of a package that have one of the methods."""
    public = [getattr(package, name) for name in package.__all__]
    found = [kind for kind in public if isinstance(kind, type) and attrs.has(kind)]
    return [kind for kind in found if any(hasattr(kind, method) for method in methods)]


def _classes(module: Any, root: type) -> list[type]:
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, root)]
    return [kind for kind in kinds if kind is not root]


def _type(annotation: object) -> str:
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return name.replace(" | ", " or ")  # a bar would end the cell


# Drawings: boxes where somebody put them, arrows and endings where the tables say

WIDTH, HEIGHT = 150, 34
STYLE = (
    "text{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#1b2733}"
    ".end{font-size:11px;fill:#51606e}"
    ".live{fill:#dbe9ee;stroke:#3f6b7d}.last{fill:#eceff1;stroke:#78909c}"
    ".move{fill:none;stroke:#3f6b7d;stroke-width:1.4;marker-end:url(#tip)}"
)


def drawing(
    moves: Any,
    places: dict[str, tuple[int, int]],
    routes: dict[tuple[str, str], str],
    size: tuple[int, int],
    beside: Mapping[str, int] = MappingProxyType({}),
) -> str:
    """Return an SVG: a box per placed state, an arrow per move between them, the other moves as text.

    `beside` moves that text aside where an arrow leaves the box.
    """
    missing = {
        (before.name, after.name)
        for before in moves
        for after in moves[before]
        if before.name in places and after.name in places
    } ^ set(routes)
    if missing:
        raise SystemExit(
            f"docs/generate.py: the drawing has no route, or one too many, for {sorted(missing)}"
        )
    width, height = size
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"',
        f'     width="{width}" height="{height}">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" orient="auto-start-reverse"',
        '  markerWidth="7" markerHeight="7"><path d="M0 0L10 5L0 10z" fill="#3f6b7d"/></marker></defs>',
        f'<rect width="{width}" height="{height}" rx="6" fill="#fbfcfd"/>',
    ]
    parts += [f'<path class="move" d="{route}"/>' for route in routes.values()]
    for state in moves:
        if state.name not in places:
            continue
        x, y = places[state.name]
        kind = "live" if moves[state] else "last"
        parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>')
        parts.append(
            f'<text x="{x + WIDTH // 2}" y="{y + 22}" text-anchor="middle">{escape(state.name)}</text>'
        )
        endings = [after.name for after in type(state) if after in moves[state] and after.name not in places]
        margin = x + beside.get(state.name, 8)
        for line, ending in enumerate(endings):
            parts.append(
                f'<text class="end" x="{margin}" y="{y + HEIGHT + 16 + 14 * line}">→ {ending}</text>'
            )
    return "\n".join([*parts, "</svg>", ""])


def job_drawing() -> str:
    """Return the life of a job."""
    places = {
        "DELAYED": (20, 110),
        "WAITING": (220, 110),
        "RUNNING": (420, 110),
        "SUCCEEDED": (620, 110),
        "BACKING_OFF": (320, 20),
    }
    routes = {
        ("DELAYED", "WAITING"): "M170 127H218",
        ("WAITING", "RUNNING"): "M370 120H418",
        ("RUNNING", "WAITING"): "M420 136H372",
        ("RUNNING", "SUCCEEDED"): "M570 127H618",
        ("RUNNING", "BACKING_OFF"): "M495 110V37H472",
        ("BACKING_OFF", "WAITING"): "M320 37H295V108",
    }
    return drawing(TRANSITIONS, places, routes, (790, 225))


def pool_drawing() -> str:
    """Return the life of a pool."""
    places = {
        "STARTING": (20, 30),
        "ACCEPTING": (260, 30),
        "CORDONED": (500, 30),
        "DRAINING": (380, 150),
        "STOPPED": (620, 150),
    }
    routes = {
        ("STARTING", "ACCEPTING"): "M170 47H258",
        ("STARTING", "DRAINING"): "M160 64V167H378",
        ("ACCEPTING", "CORDONED"): "M410 40H498",
        ("CORDONED", "ACCEPTING"): "M500 56H412",
        ("ACCEPTING", "DRAINING"): "M390 64V148",
        ("DRAINING", "ACCEPTING"): "M402 150V66",
        ("CORDONED", "DRAINING"): "M508 64V148",
        ("DRAINING", "CORDONED"): "M520 150V66",
        ("DRAINING", "STOPPED"): "M530 167H618",
    }
    return drawing(POOL_TRANSITIONS, places, routes, (790, 220), beside={"CORDONED": 28})


# Writing

BLOCKS: dict[str, Callable[[], str]] = {
    "events": event_table,
    "errors": error_table,
    "job states": lambda: state_table(TRANSITIONS, JOB_STATES, "nothing: settled"),
    "pool states": lambda: state_table(POOL_TRANSITIONS, POOL_STATES, "nothing: gone"),
    "invariants": invariant_table,
    "command": command_help,
    "command plugins": lambda: command_help("plugins"),
    "command simulate": lambda: command_help("simulate"),
    "names": name_table,
    "signatures of policies": lambda: signatures(
        *_values(policies, "key", "admit", "choose", "retry_after"),
        *(policies.CircuitBreaker, policies.Hedge, policies.RetryBudget),
    ),
    "signatures of pools": lambda: signatures(*_values(pools, "open")),
    "signatures of scheduler": lambda: signatures(scheduler.PoolGroup),
    **{
        f"floors of {contract}": (lambda contract=contract: floors(contract))
        for contract in ("scheduler", "core")
    },
    **{f"rooms of {package}": (lambda package=package: room_table(package)) for package in PACKAGES},
}
DRAWINGS = {
    "reference/job-states.svg": job_drawing,
    "reference/pool-states.svg": pool_drawing,
    "how-to/backoffs.svg": backoff_drawing,
}
MARKED = re.compile(r"(<!-- generated: (?P<name>[^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def fresh(page: str) -> str:
    """Return a page with its generated parts written anew."""
    return MARKED.sub(lambda found: f"{found[1]}\n{BLOCKS[found['name']]()}\n\n{found[3]}", page)


def stale() -> dict[Path, str]:
    """Return the files that do not say what the code says, with what they should say."""
    wanted = {DOCS / name: draw() for name, draw in DRAWINGS.items()}
    for page in sorted(DOCS.rglob("*.md")):
        wanted[page] = fresh(page.read_text(encoding="utf-8"))
    return {
        path: text
        for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write what is stale, or only name it; return the exit status."""
    parser = argparse.ArgumentParser(description="Write the parts of the pages that are made from code.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if anything is stale")
    check_only = parser.parse_args(argv).check
    out_of_date = stale()
    for path, text in out_of_date.items():
        print(f"{'stale' if check_only else 'written'}: {path.relative_to(ROOT)}")
        if not check_only:
            path.write_text(text, encoding="utf-8")
    return int(check_only and bool(out_of_date))


if __name__ == "__main__":
    sys.exit(main())
