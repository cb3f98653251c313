"""Recorded loads: what a log says arrives, in order, and what makes no sense is told and left out."""

import gzip

import pytest

from scheduler._simulate.traces import SHOWN, WINDOW, BadRowError, Kind, Trace, TraceError, columns

SWF = """\
; Version: 2.2
;
  1 100 -1 60 4 -1 -1 -1 -1 -1 -1  7 2 -1 -1 -1 -1 -1
  2 130 -1 -1 4 -1 -1 -1 -1 -1 -1  7 1 -1 -1 -1 -1 -1
  3 160 -1 30 4 -1 -1 -1 -1 -1 -1  8 1 -1 -1 -1 -1 -1
"""
CSV = """\
TIMESTAMP,tokens,who,level
2023-11-16 18:15:46.6805900,200,ann,HIGH
2023-11-16T18:15:47.6805900Z,100,bob,30
"""
JSON = """\
{"arrival": 5, "run_time": 1.5, "priority": "low", "tags": ["gpu", "big"]}

{"arrival": 6.5, "run_time": 2, "tenant": "ann"}
"""


@pytest.fixture
def log(tmp_path):
    """Return a function that writes a log and returns its trace."""

    def write(name, text, chosen="", **options):
        path = tmp_path / name
        packed = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
        path.write_bytes(packed)
        return Trace(path, columns(chosen), **options)

    return write


@pytest.mark.parametrize("name", ["a.swf", "a.swf.gz"])
def test_a_workload_log_is_read(log, name):
    """The archives are full of them, packed, with a header and with run times that nobody knows."""
    trace = log(name, SWF, "priority=group,tenant=user")

    assert [(0, 60, Kind(2, "7")), (60, 30, Kind(1, "8"))] == list(trace)
    assert [(4, "run_time is -1, below 0")] == trace.first_bad
    assert (2, 1) == (trace.good, trace.bad)


def test_a_table_is_read_by_its_head(log):
    """Everybody's log has other columns: dates, counts of what takes time, names of priorities."""
    trace = log("a.csv", CSV, "arrival=TIMESTAMP,run_time=tokens*0.01,priority=level,tenant=who")

    assert [(0, 2, Kind(10, "ann")), (1, 1, Kind(30, "bob"))] == [
        (round(at, 6), run_time, kind) for at, run_time, kind in trace
    ]


def test_lines_of_json_are_read(log):
    """A service's own log is most likely this."""
    trace = log("a.jsonl", JSON)

    assert [
        (0, 1.5, Kind(30, None, frozenset({"gpu", "big"}))),
        (1.5, 2, Kind(20, "ann")),
    ] == list(trace)


def test_a_priority_may_be_written_as_tables_write_whole_numbers(log):
    """One gap in a column makes a data frame write 10.0 for every 10, in all rows or in some."""
    trace = log("a.csv", "arrival,run_time,priority\n0,1,10.0\n1,1,10\n2,1,\n")

    assert [10, 10, 20] == [kind.priority for _, _, kind in trace]


BAD = [
    ("a.csv", "arrival,run_time\n0,x\n1,1\n", 2, "run_time is 'x', not a number"),
    ("a.csv", "arrival,run_time\n0\n1,1\n", 2, "has too few columns"),
    ("a.csv", "arrival,run_time\n0,\n1,1\n", 2, "has no run_time"),
    ("a.csv", "arrival,run_time\n0,-0.5\n1,1\n", 2, "run_time is -0.5, below 0"),
    ("a.csv", "arrival,run_time\n0,nan\n1,1\n", 2, "run_time is nan, not a finite number"),
    (
        "a.csv",
        "arrival,run_time\n12:xx,1\n1,1\n",
        2,
        "arrival is '12:xx', neither seconds nor an ISO 8601 date",
    ),
    (
        "a.csv",
        "arrival,run_time,priority\n0,1,soon\n1,1,1\n",
        2,
        "priority is 'soon', neither an integer nor",
    ),
    ("a.jsonl", '{"arrival": 1, "run_time": 1}\n{oops\n', 2, "is no JSON: "),
    ("a.jsonl", '[1]\n{"arrival": 1, "run_time": 1}\n', 1, "is no JSON object"),
    ("a.jsonl", '{"run_time": 1}\n{"arrival": 1, "run_time": 1}\n', 1, "has no arrival"),
    ("a.swf", "1 0 -1\n2 1 -1 5\n", 1, "has too few columns"),
    (
        "a.jsonl",
        '{"arrival": 1, "run_time": 1}\n{"arrival": 1, "run_time": 1, "priority": {"level": 3}}\n',
        2,
        "priority is '{\"level\": 3}', neither",
    ),
    (
        "a.jsonl",
        '{"arrival": 1, "run_time": 1, "priority": 1}\n{"arrival": 1, "run_time": 1, "priority": true}\n',
        2,
        "priority is 'true', neither",
    ),
    (
        "a.jsonl",
        f'{{"arrival": 1, "run_time": 1{"0" * 400}}}\n{{"arrival": 1, "run_time": 1}}\n',
        1,
        "run_time is inf",
    ),
    ("a.jsonl", f'{"[" * 100_000}\n{{"arrival": 1, "run_time": 1}}\n', 1, "is no JSON"),
]


@pytest.mark.parametrize(("name", "text", "line", "why"), BAD)
def test_a_row_that_makes_no_sense_is_left_out_and_told(log, name, text, line, why):
    """A log of a million rows always has some, and nobody finds them without their lines."""
    trace = log(name, text)

    assert 1 == len(list(trace))
    assert 1 == trace.bad
    (row,) = trace.first_bad
    assert line == row.line
    assert row.why.startswith(why)


@pytest.mark.parametrize(("name", "text", "line", "why"), BAD)
def test_where_no_bad_row_may_pass_the_first_one_stops(log, name, text, line, why):
    """Who asks for it wants to mend the log, not to hear of it afterwards."""
    with pytest.raises(BadRowError, match=f"{name}, line {line}: ") as caught:
        list(log(name, text, strict=True))

    assert why in str(caught.value)


def test_all_bad_rows_are_counted_and_the_first_are_kept(log):
    """A log with the wrong map has a million of them, which must not fill the memory."""
    trace = log("a.csv", "arrival,run_time\n0,1\n" + "0,x\n" * 500)

    assert 1 == len(list(trace))
    assert (500, SHOWN) == (trace.bad, len(trace.first_bad))


def test_rows_near_their_place_are_sorted(log):
    """Logs are often written when jobs end, so that a short one stands before a long one that came earlier."""
    trace = log("a.csv", "arrival,run_time\n" + "".join(f"{at},1\n" for at in (3, 1, 2, 5, 4)))

    assert [0, 1, 2, 3, 4] == [at for at, _, _ in trace]


def test_a_row_far_from_its_place_is_bad(log):
    """Sorting a whole log would take memory for all of it; letting time go back would be a lie."""
    rows = "".join(f"{at},1\n" for at in range(10, WINDOW + 20))

    trace = log("a.csv", f"arrival,run_time\n{rows}5,1\n")

    assert WINDOW + 10 == len(list(trace))
    ((line, why),) = trace.first_bad
    assert WINDOW + 12 == line
    assert "arrives 14 s before a row" in why
    assert "sort the file by arrival" in why


def test_it_can_be_read_again(log):
    """Two configurations are played with the same jobs."""
    trace = log("a.swf", SWF)

    assert list(trace) == list(trace)
    assert (2, 1) == (trace.good, trace.bad)


def test_only_a_window_of_a_log_is_held(log):
    """A trace is larger than memory, sooner or later."""
    trace = log("a.csv", "arrival,run_time\n" + "1,1\n" * 50_000)
    rows = iter(trace)
    next(rows)

    assert 0 < trace.share() < 0.5


def test_what_cannot_be_read_is_refused_with_the_remedy(log, tmp_path):
    """The first try with somebody else's log always fails; the message is the manual."""
    with pytest.raises(TraceError, match=r"no column 'arrival'.*known are at, ran.*--columns arrival=COLUMN"):
        list(log("a.csv", "at,ran\n1,1\n"))
    with pytest.raises(TraceError, match=r"its ending, which must be \.swf, \.csv or \.jsonl"):
        log("a.txt", "")
    with pytest.raises(TraceError, match="there is no such file"):
        Trace(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(TraceError, match="is no plain file; save it first"):
        Trace(tmp_path / "folder.csv")
    with pytest.raises(
        TraceError, match=r"no job in it, and bad rows: 1; line 2: run_time is 'x'.*--columns"
    ):
        list(log("a.csv", "arrival,run_time\n1,x\n"))
    with pytest.raises(TraceError, match="did you mean 'arrival'"):
        columns("arival=at")
    with pytest.raises(TraceError, match="only arrival and run_time can be multiplied"):
        columns("priority=level*2")


def test_a_log_that_is_cut_off_says_so(log, tmp_path):
    """Half a download is no load."""
    log("a.swf.gz", SWF * 1000)
    path = tmp_path / "a.swf.gz"
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(TraceError, match="cannot be unpacked to its end"):
        list(Trace(path))
