"""The examples do what their pages say, as programs of their own."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

#: Closing is bounded by the examples themselves; the rest is for starting Python on a loaded machine.
PATIENCE = 60.0

#: Reads as an error at its first byte, for everybody.
MEMORY = Path("/proc/self/mem")

needs_posix = pytest.mark.skipif(os.name == "nt", reason="no signals to one program, pipes or terminals")


def _command(name, *arguments):
    return [sys.executable, "-W", "error", EXAMPLES / name, *map(str, arguments)]


def _run(name, *arguments):
    ran = subprocess.run(
        _command(name, *arguments), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (0, "") == (ran.returncode, ran.stderr)
    return ran.stdout


def _stop(signal_number, awaited, name, *arguments):
    """Start an example, send it a signal once it has printed `awaited`; return its end and its output."""
    with subprocess.Popen(
        _command(name, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            for line in process.stdout:
                if awaited in line:
                    break
            process.send_signal(signal_number)
            sent = time.monotonic()
            output, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()  # or leaving the block would wait for ever
    return process.returncode, time.monotonic() - sent, output


def _ledger(output):
    """Return the numbers of the report's ledger line by their names."""
    line = next(line for line in output.splitlines() if line.startswith("closed in"))
    return {name: int(number) for number, name in re.findall(r"(\d+) ([a-z]+)", line.partition(":")[2])}


@pytest.fixture
def tree(tmp_path):
    """A tree of 120 small files, one of them empty, one larger than a chunk."""
    for number in range(118):
        folder = tmp_path / f"folder {number % 7}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.txt").write_text(f"file {number}\n" * number, encoding="utf-8")
    (tmp_path / "large").write_bytes(bytes(3 * 2**20))
    (tmp_path / "empty\N{SNOWMAN}").touch()
    return tmp_path


def test_the_main_job_indexes_every_file_and_its_ledger_adds_up(tree):
    """`make demo` is the first thing a visitor runs; a wrong sum there is the last."""
    output = _run("index_tree.py", tree, "--slots", 2)

    assert f"120 files below {tree}" in output
    assert "The ledger adds up; 3 retries, 0 files cannot be read." in output
    assert "added pool cpu-2" in output
    assert "drained pool cpu-2" in output
    assert re.search(r"NORMAL +123 ", output)  # 120 reads, of which three ran twice
    assert re.search(r"LOW +120 ", output)
    assert re.search(r"ThreadPoolExecutor +\d+\.\d\d s", output)


def test_the_main_job_scales_its_threads_and_says_when_and_why(tree):
    """Pools that come and go by themselves are what the demo is for."""
    output = _run("index_tree.py", tree, "--slots", 1, "--latency", 0.03, "--no-compare")

    assert re.search(r"\d\.\d\d s +1  add io-2.*: for .* s there was always a job that had waited", output)
    assert re.search(r"drain io-\d: \d of \d pools have been idle", output)


def test_the_main_job_takes_no_more_files_than_it_was_told(tree):
    """Whoever points it at a huge disk wants a way to try it on a part."""
    assert "10 files below" in _run("index_tree.py", tree, "--limit", 10, "--pools", 2, "--no-compare")


def test_the_main_job_survives_an_empty_folder(tmp_path):
    """Nothing to do is the commonest edge of all."""
    assert "The ledger adds up; 0 retries" in _run("index_tree.py", tmp_path)


@pytest.mark.skipif(not MEMORY.exists(), reason="only Linux has a file that even root cannot read")
def test_the_main_job_counts_what_it_cannot_read(tree):
    """One unreadable file must cost itself, not the other thousands."""
    (tree / "unreadable").symlink_to(MEMORY)

    output = _run("index_tree.py", tree, "--latency", 0, "--no-compare")

    assert "121 files below" in output
    assert "1 files cannot be read" in output


@needs_posix
def test_the_main_job_leaves_out_what_is_no_file(tree):
    """A link to nowhere is everyday life on a real disk; opening a pipe would wait for ever."""
    (tree / "dangling").symlink_to(tree / "nowhere")
    os.mkfifo(tree / "pipe")

    assert "120 files below" in _run("index_tree.py", tree, "--latency", 0, "--no-compare")


@needs_posix
def test_the_main_job_shows_a_bar_in_a_terminal(tree):
    """A person looks at the bar, and no other test has a terminal."""
    pytest.importorskip("rich", reason="the demo extra")
    pty = pytest.importorskip("pty")
    ours, its = pty.openpty()
    shown = b""

    command = _command("index_tree.py", tree, "--latency", 0, "--no-compare")
    with subprocess.Popen(command, stdout=its, stderr=its) as process:
        os.close(its)
        try:
            while chunk := _read_terminal(ours):
                shown += chunk
        finally:
            os.close(ours)
            process.kill()

    assert "120/120" in shown.decode()
    assert "The ledger adds up" in shown.decode()


def _read_terminal(descriptor):
    """Return what the program has printed, nothing when it has ended: Linux then says EIO."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


@needs_posix
def test_ctrl_c_in_the_main_job_prints_the_report_and_exits_soon():
    """A person who presses Ctrl-C must learn at once what was done, and get the prompt back."""
    code, seconds, output = _stop(signal.SIGINT, "two-tier scheduler:", "index_tree.py", "--no-compare")

    assert 130 == code
    assert "Traceback" not in output
    ledger = _ledger(output)
    assert ledger.pop("submitted") == sum(ledger.values()) > 0
    assert seconds < 10


def test_the_crawl_fetches_urgent_pages_first_and_gives_up_on_the_one_that_hangs():
    """Priorities that hold and limits that bite are why somebody reads this example."""
    output = _run("crawl_with_priorities.py")

    places = [int(place) for place in re.findall(r"median place +(\d+)", output)]
    assert places == sorted(places)
    assert "'RunTimeout': 1" in output


@needs_posix
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_service_cleanly_and_names_what_was_lost(sign):
    """An orchestrator kills what does not stop; the report is all that tells what was lost."""
    code, seconds, output = _stop(sign, "serving", "clean_stop.py")

    assert 1 == code
    ledger = _ledger(output)
    assert ledger.pop("submitted") == sum(ledger.values())
    assert "(be_deaf) was running in slow-1/2: abandoned" in output
    assert "(write_report) was running in slow-1/1: interrupted" in output
    assert "Traceback" not in output
    assert seconds < 10
