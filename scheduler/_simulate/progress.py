"""How far it is: a bar on the terminal, by `rich` where it is installed, and Ctrl-C that asks before it breaks."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from .report import seconds

#: Seconds between two changes of what is shown.
SHOW_EVERY = 0.25
_WIDTH = 24

Show = Callable[[str, float, float], None]


class Watch:
    """Is told how far a run is, shows it, and knows whether the user has had enough."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._next = 0.0
        self.label = ""
        self.interrupted = False

    def look(self, share: float, now: float) -> bool:
        """Show how far it is; return whether to stop."""
        clock = time.monotonic()
        if clock >= self._next:
            self._next = clock + SHOW_EVERY
            self._show(self.label, min(share, 1.0), now)
        return self.interrupted


@contextmanager
def watched(stream: TextIO | None = None) -> Iterator[Watch]:
    """Watch runs: in a terminal show a bar; the first Ctrl-C asks to stop, a second one stops at once."""
    stream = sys.stderr if stream is None else stream
    show, end = _bar(stream) if stream.isatty() else (_silent, _nothing)
    watch = Watch(show)
    on_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        watch.interrupted = True
        signal.signal(signal.SIGINT, before)

    if on_main:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield watch
    finally:
        if on_main:
            signal.signal(signal.SIGINT, before)
        end()


def _silent(label: str, share: float, now: float) -> None:
    """Nobody looks."""


def _nothing() -> None:
    """Nothing is to be cleared away."""


def _bar(stream: TextIO) -> tuple[Show, Callable[[], None]]:
    try:
        from rich.console import Console  # noqa: PLC0415  the extra "demo", and only in a terminal
        from rich.live import Live  # noqa: PLC0415
        from rich.progress_bar import ProgressBar  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
    except ImportError:
        return _plain(stream)
    live = Live(console=Console(file=stream), transient=True, auto_refresh=False)
    live.start()

    def show(label: str, share: float, now: float) -> None:
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=1.0, completed=share, width=_WIDTH)
        line.add_row(label, bar, f"{share:.0%}", f"{seconds(now)} of virtual time")
        live.update(line, refresh=True)

    return show, live.stop


def _plain(stream: TextIO) -> tuple[Show, Callable[[], None]]:
    """Return a bar of plain characters on one line."""

    def show(label: str, share: float, now: float) -> None:
        full = int(share * _WIDTH)
        done = "#" * full + "." * (_WIDTH - full)
        stream.write(f"\r\x1b[K{label} [{done}] {share:4.0%} {seconds(now)} of virtual time")
        stream.flush()

    def end() -> None:
        stream.write("\r\x1b[K")
        stream.flush()

    return show, end
