"""How `index_tree` shows itself: a progress bar and tables. Nothing here knows of schedulers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

try:
    from rich import progress as rich
except ImportError:  # the "demo" extra is not installed
    bars = False
else:
    bars = sys.stdout.isatty()

Progress = Callable[[int, int], None]  # files done, look-ups answered


@contextmanager
def shown_progress(total: int, label: str) -> Iterator[Progress]:
    """Show a bar in a terminal that can, else a line for every fifth of the way."""
    if not bars:

        def say(done: int, answered: int) -> None:
            if done > 0 and done % max(1, total // 5) == 0:
                print(f"{label}: {done:,} of {total:,} files, {answered:,} look-ups answered", flush=True)

        yield say
        return
    columns = (f"{label:18}", rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeElapsedColumn())
    with rich.Progress(*columns, "{task.fields[answered]} look-ups answered") as bar:
        line = bar.add_task(label, total=total, answered=0)
        yield lambda done, answered: bar.update(line, completed=max(0, done), answered=answered)


def table(*rows: tuple[object, ...]) -> None:
    """Print rows as columns: the first to the left, the others to the right."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print()
    for first, *others in cells:
        right = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        print("", f"{first:{widths[0]}}", *right, sep="  ")


def ms(seconds: float) -> str:
    """Return seconds as milliseconds."""
    return f"{seconds * 1e3:,.2f} ms"
