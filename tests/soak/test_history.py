"""Records survive what happens to the processes that write them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from history import FOLDER, read

WRITER = """
import os, signal, sys
from history import pen
for number in range(1000):
    pen.write("B", number, "run")
os.write(pen._file, b"E\\thalf a rec")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_whatever_a_killed_process_wrote_is_there(tmp_path):
    """The history of a fault must not be lost by the fault."""
    here = str(Path(__file__).parent)
    environment = {**os.environ, FOLDER: str(tmp_path), "PYTHONPATH": here}
    subprocess.run([sys.executable, "-c", WRITER], env=environment, check=False)

    records, torn = read(tmp_path)

    assert (1000, 1) == (len(records), torn)
    assert [str(number) for number in range(1000)] == [record.whose for record in records]


def test_a_line_that_is_no_record_is_an_error(tmp_path):
    """A checker that skips what it cannot read would find nothing in an empty file, either."""
    (tmp_path / "1.log").write_text("nonsense\n", encoding="utf-8")

    with pytest.raises(ValueError, match="not enough values"):
        read(tmp_path)
