"""How far a run is: shown to who looks at a terminal, and to nobody else."""

import io
import sys
import threading

import pytest

from scheduler._simulate.progress import watched


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_without_rich_the_bar_is_plain(monkeypatch):
    """The library needs two packages, and a bar is no reason for a third."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    terminal = Terminal()

    with watched(terminal) as watch:
        watch.label = "a.toml"
        assert not watch.look(0.5, 90.0)

    assert "a.toml [############............]  50% 90 s of virtual time" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_with_rich_the_bar_goes_away_when_it_is_done(monkeypatch):
    """What is left on the screen is the report."""
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal()

    with watched(terminal) as watch:
        watch.label = "a.toml"
        watch.look(0.5, 90.0)

    assert "a.toml" in terminal.getvalue()
    assert "50%" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")


def test_nothing_is_written_where_nobody_looks():
    """A log of a build with ten thousand bars in it is of no use."""
    stream = io.StringIO()

    with watched(stream) as watch:
        watch.look(0.5, 90.0)

    assert "" == stream.getvalue()


def test_it_is_shown_a_few_times_a_second_only(monkeypatch):
    """A bar that costs as much as the run is worse than none."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    terminal = Terminal()

    with watched(terminal) as watch:
        for step in range(100):
            watch.look(step / 100, 0.0)

    assert terminal.getvalue().count("virtual time") < 10


def test_it_can_be_used_on_any_thread():
    """Signals belong to the main thread; somewhere else there is simply no Ctrl-C."""
    found = []

    def use():
        with watched(io.StringIO()) as watch:
            found.append(watch.look(0.5, 1.0))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()

    assert [False] == found
