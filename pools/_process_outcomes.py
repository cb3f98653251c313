"""What a worker process sent, as a value or an error; and the error of one that is gone."""

from __future__ import annotations

import marshal
import pickle
import signal
from _thread import allocate_lock, start_new_thread
from typing import Any

from ._process_line import Line
from ._process_wire import ERROR, PHASES, Frame, loads, remark
from .contract import Outcome, RemoteError, RemoteTraceback, WorkerGone

_cause: Any = BaseException.__dict__["__cause__"]


def outcome_of(frame: Frame, worker: str) -> Outcome:
    """Return what a worker sent as value, error and seconds."""
    kind, _, seconds, body, _ = frame
    if kind == ERROR:
        return None, error_of(frame, worker), seconds
    if not body:
        return None, None, seconds
    try:
        return loads(frame), None, seconds
    except BaseException as error:
        remark(error, f"raised while unpickling the result that worker {worker} sent")
        return None, error, seconds


def error_of(frame: Frame, worker: str) -> BaseException:
    """Return the error that a worker sent, with its traceback, or with that as text."""
    pickled, text, frames, chained, name, words, phase = marshal.loads(frame[3])  # noqa: S302  our own worker's
    error: BaseException
    try:
        error = pickle.loads(pickled)  # noqa: S301  our own worker's
        if not isinstance(error, BaseException):
            raise TypeError(f"{name} came back as {type(error).__name__}")
    except BaseException:
        error = RemoteError(f"{name}: {words}")
    if phase in (b"u", b"p"):
        remark(error, f"raised while {PHASES[phase]} in worker {worker}")
    trace = _traceback(frames)
    if trace is not None:
        BaseException.with_traceback(error, trace)  # its class may forbid assignments
    if trace is None or chained:
        _cause.__set__(error, RemoteTraceback(text))
    return error


def _traceback(frames: Any) -> Any:
    """Return a traceback with these frames; None where it cannot be had. Cost: 50 µs.

    Made on a thread of its own: a frame keeps its callers, and whoever keeps the error would keep what they have
    in hand, a worker's files and other calls' values among it, as long as that.
    """
    if frames is None:
        return None
    made: list[Any] = []
    done = allocate_lock()

    def make() -> None:
        try:
            from tblib import Traceback  # noqa: PLC0415  an extra

            made.append(Traceback.from_dict(frames).as_traceback())
        except BaseException:
            made.append(None)
        finally:
            done.release()

    done.acquire()
    try:
        start_new_thread(make, ())
    except RuntimeError:  # no thread to be had
        return None
    done.acquire()
    return made.pop()


def gone(line: Line, code: int | None, phase: str, remedy: str = "") -> WorkerGone:
    """Return the error of a worker that ended: how, while doing what, its last words, and what helps."""
    how = "ended without an exit code"
    if code is not None:
        how = f"ended with exit code {code}" if code >= 0 else f"was killed by {_signal_name(-code)}"
    words = f"; the last lines of its standard error:\n{line.last_lines}" if line.last_lines else ""
    return WorkerGone(
        f"it {how} while {phase}{words}{remedy}", phase=phase, exitcode=code, stderr=line.last_lines
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
