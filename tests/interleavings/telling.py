"""Puts into words where strands are, leaving the harness out."""

import sys
import traceback
from pathlib import Path

_HERE = str(Path(__file__).parent)
#: Frames of the harness, which no report shows.
_OURS = (_HERE + "/weaving", _HERE + "/strands")


def stacks(strands):
    """Return where every strand is, in words."""
    frames = sys._current_frames()
    told = []
    for strand in strands:
        if not strand.ended:
            stack = traceback.extract_stack(frames.get(strand.thread.ident))
            told.append(f"strand {strand}: {strand.waits_for or 'could run'}")
            told += [
                f"    {short(f.filename)}:{f.lineno} {f.name}: {f.line}"
                for f in stack
                if not f.filename.startswith(_OURS) and "threading.py" not in f.filename
            ]
    return "\n".join(told)


def words(what):
    """Return what a strand was about to do."""
    return what if isinstance(what, str) else "line"


def short(path):
    """Return the end of a path."""
    return "/".join(Path(path).parts[-2:])


def where(what):
    """Return the place in the code under test from which the chooser was asked."""
    frame = sys._getframe(1) if isinstance(what, str) else what
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    if frame is None or what == "end":
        return ""
    return f"{short(frame.f_code.co_filename)}:{frame.f_lineno} {frame.f_code.co_name}"
