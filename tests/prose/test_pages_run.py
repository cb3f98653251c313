"""Every Python example on every page runs, and prints what the page says it prints.

A fenced ``python`` block is run, all blocks of a page in one namespace, from the top. When a ``text`` block
follows it directly, that is what it must print; ``...`` stands for what differs from run to run.
An example that cannot run here is marked ``<!-- not run: the reason -->``.
"""

import contextlib
import doctest
import io
import re
import signal
import sys
import types
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

BLOCK = re.compile(r"^```(?P<kind>\w+)[^\n]*\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: .+ -->\s*\Z")


def _name(page):
    return page.relative_to(ROOT).as_posix()


def _examples(page):
    """Return (line, code, expected output or None) for each example that is to be run."""
    text = page.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    found = []
    for block, following in zip_longest(blocks, blocks[1:]):
        if block["kind"] != "python" or NOT_RUN.search(text[: block.start()]):
            continue
        line = text[: block.start("body")].count("\n") + 1
        prints = following and following["kind"] == "text"
        directly = prints and not text[block.end() : following.start()].strip()
        found.append((line, block["body"], following["body"] if directly else None))
    return found


def _run(page, namespace):
    same = doctest.OutputChecker().check_output
    for line, code, expected in _examples(page):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            # The empty lines make a traceback name the page's own lines.
            exec(compile("\n" * (line - 1) + code, page, "exec"), namespace)
        if expected is not None:
            assert same(expected, printed.getvalue(), doctest.ELLIPSIS), (
                f"{_name(page)}:{line} says it prints\n{expected}\nand prints\n{printed.getvalue()}"
            )


@pytest.fixture
def _as_before():
    """Put back what an example may change for the whole process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_as_before", "untraced")
@pytest.mark.parametrize("page", [page for page in PAGES if _examples(page)], ids=_name)
def test_what_a_page_shows_is_what_happens(page, tmp_path, monkeypatch):
    """A reader pastes the example before reading the text; when it fails, the library has failed."""
    module = types.ModuleType("a_page_of_the_docs")  # registered, so that its classes can be pickled
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)

    _run(page, vars(module))


def test_there_are_examples_to_run():
    """A mistake in the pattern that finds examples would let every page pass unread."""
    assert sum(len(_examples(page)) for page in PAGES) > 40
