"""``python -m scheduler simulate``: what it tells, what it refuses, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from scheduler import __main__ as command
from scheduler._simulate.arrivals import synthetic
from scheduler._simulate.compare import student
from scheduler._simulate.play import LOOK_EVERY, play
from scheduler._simulate.report import HEAD, digits, seconds
from scheduler._simulate.table import columns

SCALING = """
[scheduler]
ordering = {kind = "strict-priority"}

[[groups]]
name = "io"
pool = {kind = "thread", slots = 2}
max_pools = 8
"""
LOAD = "poisson:rate=36,run_time=0.1,jobs=1500,mix=HIGH:1+LOW:3"


@pytest.fixture
def simulate(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command in a folder with two configurations."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "first.toml").write_text(SCALING)
    (tmp_path / "second.toml").write_text(SCALING.replace("max_pools = 8", "min_pools = 8"))

    def run(*words):
        status = command.main(["simulate", *map(str, words)])
        return status, *capsys.readouterr()

    return run


def test_the_table_fits_a_terminal(simulate):
    """80 columns are what a terminal has, and a broken table is read wrongly."""
    status, out, err = simulate(LOAD, "--config", "first.toml", "--config", "second.toml", "--target", 0.1)

    assert (0, "") == (status, err)
    assert max(map(len, out.splitlines())) <= 80
    for word in (
        "HIGH 10",
        "LOW 30",
        "all ",
        "pools io",
        "slot-seconds",
        "decisions",
        "target",
        "side by side",
        "95 % interval",
    ):
        assert word in out


def test_a_table_that_is_nearly_too_wide_is_drawn_together():
    """A million jobs that wait for hours are what the command is there for."""
    rows = (HEAD, ("CRITICAL 0", "1,000,000", *["13.3 min"] * 3, "1.01", "123,456", "999,999"))

    assert max(map(len, columns(rows, 80))) <= 80 < max(map(len, columns(rows, 90)))
    assert "  CRITICAL 0  1,000,000  13.3 min" in columns(rows, 90)[1]


def test_json_says_the_same_and_more(simulate):
    """Programs compare configurations night after night."""
    _, out, _ = simulate(LOAD, "--config", "first.toml", "--target", 0.1, "--seed", 3, "--json")
    told = json.loads(out)
    played = play(synthetic(LOAD, 3), "first.toml", seed=3)

    (run,) = told["runs"]
    assert {"HIGH 10", "LOW 30", "all"} == set(run["classes"])
    assert played.every.wait.mean == run["classes"]["all"]["wait"]["mean"]
    assert 1_500 == run["jobs"]["succeeded"]
    assert played.slot_seconds == run["slot_seconds"]
    assert (run["classes"]["all"]["wait"]["p99"] <= 0.1) is run["target_met"]


class _Page(HTMLParser):
    """Collects what a page would fetch, and whether its elements are closed."""

    def __init__(self):
        super().__init__()
        self.fetched, self.drawings, self.open = [], 0, []

    def handle_starttag(self, tag, attributes):
        self.fetched += [value for name, value in attributes if name in ("src", "href", "action")]
        self.drawings += tag == "svg" and ("role", "img") in attributes
        if tag not in ("meta", "path", "html", "body"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("path", "html", "body"):
            assert tag == self.open.pop()


def test_the_page_stands_alone(simulate, tmp_path):
    """A report is mailed and kept; in a year its server is gone."""
    (tmp_path / "<b>.toml").write_text(SCALING)
    status, _, _ = simulate(
        LOAD, "--config", "<b>.toml", "--config", "second.toml", "--html", "out.html", "--target", 0.05
    )

    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert 0 == status
    assert ([], 3, []) == (page.fetched, page.drawings, page.open)
    assert "url(" not in text
    assert "<b>" not in text
    assert 'class="mark"' in text
    assert "nan" not in re.sub(r"[a-z]+nan|nan[a-z]+", "", text)


def test_a_load_that_never_waits_can_be_drawn(simulate, tmp_path):
    """The best result of all is a drawing without a line."""
    status, out, _ = simulate(
        "poisson:rate=1,run_time=0,jobs=3", "--config", "second.toml", "--html", "out.html"
    )

    assert 0 == status
    assert "3 succeeded" in out


def test_where_pools_do_not_help_that_is_told(simulate, tmp_path):
    """A limit, not the pools, may be what jobs wait for; the search must end all the same."""
    (tmp_path / "limited.toml").write_text(SCALING + "[[limits]]\ntenant = 'ann'\nconcurrency = 1\n")
    (tmp_path / "log.csv").write_text("arrival,run_time,tenant\n" + "1,1,ann\n" * 20)

    status, out, _ = simulate("log.csv", "--config", "limited.toml", "--fewest", "--target", 0.1)

    assert 0 == status
    assert "it is not for want of pools" in " ".join(out.split())


def test_a_search_shows_the_best_beside_the_configuration(simulate):
    """What scaling saves is seen only beside what it replaces."""
    _, out, _ = simulate(LOAD, "--config", "first.toml", "--fewest", "--target", 0.2)

    assert re.search(r"\d fixed pools of io are the fewest that keep the p99 wait at 200 ms", out)
    assert "second: first.toml with" in out


def test_bad_rows_are_told_with_their_lines(simulate, tmp_path):
    """A report on half of a log must not look like one on all of it."""
    (tmp_path / "log.csv").write_text("arrival,run_time\n1,1\n2,x\n3,-1\n4,1\n")

    status, out, _ = simulate("log.csv", "--config", "first.toml")

    assert 0 == status
    assert "log.csv, 2 jobs" in out
    assert (
        "2 bad rows were left out:\n  line 3: run_time is 'x', not a number\n  line 4: run_time is -1, below 0"
        in out
    )


def test_strict_stops_at_the_first_bad_row(simulate, tmp_path):
    """In a build, a log that has changed its form is to fail."""
    (tmp_path / "log.csv").write_text("arrival,run_time\n1,1\n2,x\n")

    status, out, err = simulate("log.csv", "--config", "first.toml", "--strict")

    assert (1, "") == (status, out)
    assert "log.csv, line 3: run_time is 'x'" in err


def test_an_interrupt_tells_what_was_computed(simulate, monkeypatch):
    """Nobody waits an hour and then throws away the first half."""
    looks = []

    def share(self):
        looks.append(self.good)
        if len(looks) == 2:
            signal.raise_signal(signal.SIGINT)
        return 0.5

    monkeypatch.setattr("scheduler._simulate.arrivals.Synthetic.share", share)
    before = signal.getsignal(signal.SIGINT)
    status, out, err = simulate(
        "poisson:rate=30,run_time=0.1,jobs=100000", "--config", "second.toml", "--config", "first.toml"
    )

    assert 130 == status
    assert "interrupted" in err
    assert f"poisson:rate=30,run_time=0.1,jobs=100000, {2 * LOOK_EVERY + 1:,} jobs" in out
    assert "interrupted  at" in out
    assert "first.toml" not in out  # it was never played
    assert before is signal.getsignal(signal.SIGINT)


def test_an_interrupt_is_heard_where_jobs_are_few_and_far_between():
    """A log of months is looked at second by second: a thousand arrivals are a minute, in which nobody would be heard."""
    looks = []

    def look(share, now):
        looks.append((share, now))
        return True

    groups = [{"name": "io", "pool": {"kind": "thread", "slots": 2}, "max_pools": 8}]
    load = synthetic("poisson:rate=0.0005,run_time=1500,jobs=1000", 1)
    played = play(load, {"groups": groups}, look=look)

    assert played.interrupted
    ((share, now),) = looks
    assert share < 0.02
    assert played.length == now > 1000


def test_costs_of_runs_of_unequal_length_are_not_compared(simulate, monkeypatch):
    """Ctrl-C in the second run would make it look much cheaper than the first."""
    looks = []

    def share(self):
        looks.append(self.good)
        if len(looks) > 2:  # the first run takes two
            signal.raise_signal(signal.SIGINT)
        return 0.5

    monkeypatch.setattr("scheduler._simulate.arrivals.Synthetic.share", share)
    status, out, _ = simulate(
        "poisson:rate=30,run_time=0.1,jobs=2500", "--config", "second.toml", "--config", "first.toml"
    )

    assert 130 == status
    assert re.search(r"slot-seconds +[\d.,]+ +[\d.,]+ +of unequal times", out)


def test_a_reader_who_has_seen_enough_is_no_error(tmp_path):
    """`simulate ... | head` must still write the page, and say nothing of pipes."""
    (tmp_path / "first.toml").write_text(SCALING)
    words = ["-m", "scheduler", "simulate", LOAD, "--config", "first.toml", "--html", "out.html"]
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [sys.executable, *words], stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path, check=False
    )
    os.close(writer)

    assert (0, b"") == (ran.returncode, ran.stderr)
    assert (tmp_path / "out.html").exists()


def test_a_second_interrupt_stops_at_once(simulate, monkeypatch):
    """Who presses twice does not want a table."""

    def share(self):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("scheduler._simulate.arrivals.Synthetic.share", share)
    status, out, err = simulate(LOAD, "--config", "first.toml")

    assert (130, "") == (status, out)
    assert "interrupted" in err
    assert signal.default_int_handler is signal.getsignal(signal.SIGINT)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["none.csv"], "there is no such file"),
        (["poison:rate=1"], "did you mean 'poisson'"),
        ([LOAD, "--columns", "arrival=at"], "are for logs"),
        ([LOAD, "--config", "second.toml", "--config", "first.toml"], "once or twice"),
        ([LOAD, "--fewest"], "--fewest needs --target"),
        ([LOAD, "--fewest", "net", "--target", 1], "name one: --fewest GROUP. There are io"),
        ([LOAD, "--config", "second.toml", "--fewest", "--target", 1], "give --config once"),
        ([LOAD, "--html", "no/where.html"], "no/where.html: No such file"),
    ],
)
def test_what_cannot_be_played_is_said_with_the_remedy(simulate, words, why):
    """A command is learned from what it says when it is used wrongly."""
    status, _, err = simulate(*words, "--config", "first.toml")

    assert 2 == status
    assert why in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[groups", "wrong.toml: is no TOML"),
        (
            "[scheduler]\ncapcity = 1\n",
            "wrong.toml: scheduler.capcity: there is no such key; did you mean 'capacity'",
        ),
        (
            '[[groups]]\nname = "io"\npool = {kind = "process", slots = 1}\n',
            "wrong.toml has no pools for a job of poisson:",
        ),
    ],
)
def test_a_wrong_configuration_is_said_with_its_key(simulate, tmp_path, text, why):
    """It is the file that is to be deployed, so this is the first time that anybody reads it."""
    (tmp_path / "wrong.toml").write_text(text)

    status, _, err = simulate(LOAD, "--config", "wrong.toml")

    assert 2 == status
    assert why in err


@pytest.mark.parametrize(("freedom", "table"), [(4, 2.776), (9, 2.262), (19, 2.093), (39, 2.023)])
def test_students_t_is_that_of_the_tables(freedom, table):
    """The width of every interval hangs on it."""
    assert table == pytest.approx(student(freedom), rel=3e-3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (5e-5, "50 µs"),
        (0.0125, "12.5 ms"),
        (1, "1 s"),
        (119, "119 s"),
        (600, "10 min"),
        (1e5, "27.8 h"),
        (5e7, "13,889 h"),
    ],
)
def test_seconds_are_said_in_a_unit_that_can_be_read(value, text):
    """0.0000125 and 100000 are both misread."""
    assert text == seconds(value)


def test_numbers_have_three_digits_or_commas():
    """Eleven digits say nothing more, and 1e+03 says less."""
    assert ["0", "0.0312", "3.14", "999", "1,000", "123,457"] == [
        digits(value) for value in (0, 0.03123, 3.14159, 999.4, 999.6, 123456.7)
    ]
