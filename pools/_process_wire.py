"""How calls and outcomes travel between a pool and its worker processes. Standard library only.

On the *call line* each message is one call, and the kernel keeps messages whole: whoever receives one has
it, and nobody else does. So a call that still lies on that line has not started, and the pool may receive it
back itself, which is how a recall can be exact. Several small calls travel in one message, and then each
has a *ticket* on a line of its own, all of them sent at once and before it: the worker takes the ticket of a
call right before it starts it, and leaves out what has none, because the pool has taken that back. On the
*stream* outcomes come back, and what is too large for a message travels there in both directions.

Values are pickled by protocol 5 (PEP 574); buffers of 64 KiB and more are sent beside the pickle and
received in place, so that a large array is copied by nobody but the kernel.
"""

from __future__ import annotations

import contextlib
import pickle
import struct
import sys
import weakref
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from .contract import each_of

#: Bytes of one message on the call line; what is larger goes by the stream. A page less than 64 KiB.
MESSAGE_MAX = 60 * 1024
#: Bytes from which a buffer is sent beside the pickle. Measured: below, the extra pieces cost more than the copy.
BUFFER_MIN = 64 * 1024
_PROTOCOL = 5

#: From a worker: kind, number of the call, seconds it ran, bytes of the pickle, number of buffers beside it.
HEAD = struct.Struct("<cQdQI")
#: To a worker: kind, number of the call, bytes of its first pickle, of its second, number of buffers.
CALL_HEAD = struct.Struct("<cQIQI")
SIZE = struct.Struct("<Q")

#: Kinds of messages to a worker: a call, a call whose pickle follows on the stream, several calls.
CALL, LARGE, BATCH = b"c", b"l", b"b"
#: On the ticket line: the number of a call.
TICKET = struct.Struct("<Q")
#: Kinds of messages from a worker: it is up, its initializer raised, a value, an error.
READY, FAILED, VALUE, ERROR = b"r", b"i", b"v", b"e"

#: What a worker is doing, as one byte in memory that the pool can read when it has died.
PHASES = {
    b"s": "starting",
    b"i": "running the initializer",
    b"b": "waiting for a call",
    b"u": "unpickling the call",
    b"r": "running",
    b"p": "pickling the result",
}

Buffers = list[memoryview]


def remark(error: BaseException, text: str) -> None:
    """Add a note to an error, unless its class forbids that."""
    with contextlib.suppress(Exception):
        error.add_note(text)


def dumps(thing: object) -> tuple[bytes, Buffers]:
    """Return the pickle of a thing and the buffers that belong beside it.

    What the standard library cannot pickle (lambdas, closures, what an interactive session defined)
    is handed to cloudpickle where that is installed. Raises what pickling raises.
    """
    try:
        return _with_buffers(pickle.dumps, thing)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        by_value = cloudpickle_dumps()
        if by_value is None:
            remark(
                error,
                "lambdas, closures and the like can be sent where cloudpickle is installed: two-tier-scheduler[process]",
            )
            raise
        return _with_buffers(by_value, thing)


def _with_buffers(dump: Callable[..., bytes], thing: object) -> tuple[bytes, Buffers]:
    buffers: Buffers = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        """Return True for what shall stay in the pickle."""
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < BUFFER_MIN:
            return True
        buffers.append(raw)
        return False

    return dump(thing, _PROTOCOL, buffer_callback=keep), buffers


class Caller:
    """Pickles calls. A function that is named the same way each time is not looked up each time.

    Thread-safe: at worst two threads look it up.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        #: The last plain function, weakly, and its name as a pickle.
        self._last: tuple[Callable[[], object], bytes] = (_nothing, b"")

    def dumps(self, function: Callable[..., object], args: Any, kwargs: Any) -> tuple[bytes, bytes, Buffers]:
        """Return a call as two pickles, the second with the buffers that belong beside it.

        The first is the function, where that is a plain one that can be imported, and may be empty, and then
        the second has all; the second is empty for a call without arguments. Raises what pickling raises.
        """
        known, name = self._last
        if known() is not function:
            name = _name(function)
            if not name:
                return b"", *_dumps_whole(function, args, kwargs)
            self._last = weakref.ref(function), name
        if not args and not kwargs:
            return name, b"", []
        return name, *dumps((args, kwargs))


def _nothing() -> None:
    return None


def _name(function: Callable[..., object]) -> bytes:
    """Return the pickle of a function that travels by its name alone, else nothing."""
    if (
        type(function) is not FunctionType
        or function is each_of
        or (function.__module__ == "__main__" and not _main_can_be_imported())
    ):
        return b""
    try:
        return pickle.dumps(function, _PROTOCOL)
    except Exception:  # it will be told when the whole call is pickled
        return b""


def _dumps_whole(function: Callable[..., object], args: Any, kwargs: Any) -> tuple[bytes, Buffers]:
    theirs = args[0] if function is each_of else function
    # For `each_of` the worker has its own: what travels names nothing of ours.
    call = (None if function is each_of else function), args, kwargs
    if getattr(theirs, "__module__", None) == "__main__" and not _main_can_be_imported():
        by_value = cloudpickle_dumps()
        if by_value is not None:
            return _with_buffers(by_value, call)
    return dumps(call)


def cloudpickle_dumps() -> Callable[..., bytes] | None:
    """Return cloudpickle's ``dumps``, None where it is not installed."""
    try:
        from cloudpickle import dumps as by_value  # noqa: PLC0415  an extra, and slow to import
    except ImportError:
        return None
    found: Callable[..., bytes] = by_value
    return found


def _main_can_be_imported() -> bool:
    main = sys.modules.get("__main__")
    return getattr(main, "__file__", None) is not None or getattr(main, "__spec__", None) is not None


def sizes(buffers: Sequence[memoryview]) -> bytes:
    """Return what stands between a head and a pickle: how large the buffers are."""
    return b"".join(SIZE.pack(buffer.nbytes) for buffer in buffers)


#: One message from the stream, complete: kind, number, seconds, the pickle (0 or empty for None), the buffers beside it.
Frame = tuple[bytes, int, float, Any, Any]


def loads(frame: Frame) -> Any:
    """Return the thing that was sent. Raises what unpickling raises."""
    body = frame[3]
    return pickle.loads(body, buffers=frame[4] or ()) if body else None  # noqa: S301  our own worker's


class Frames:
    """Makes frames of what a stream brings, in whatever pieces it comes.

    Small frames are cut from what one read brought; the parts of a large one are received in place.
    """

    def __init__(self) -> None:
        #: The beginning of a small frame.
        self._held = b""
        #: The parts of a large frame that are still to be filled, and how far the first of them is.
        self._parts: list[memoryview] = []
        self._large: Frame | None = None

    def read(self, receive_into: Callable[[Any], int], receive: Callable[[int], bytes]) -> list[Frame] | None:
        """Read once and return the frames that are complete now, None at the end of the stream."""
        if self._parts:
            got = receive_into(self._parts[0])
            if not got:
                return None
            self._parts[0] = self._parts[0][got:]
            return self._completed()
        data = receive(64 * 1024)
        if not data:
            return None
        return self._cut(self._held + data if self._held else data)

    def _completed(self) -> list[Frame]:
        while self._parts and not self._parts[0]:
            del self._parts[0]
        if self._parts or self._large is None:
            return []
        frame, self._large = self._large, None
        return [frame]

    def _cut(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        at, size, head_size, unpack = 0, len(data), HEAD.size, HEAD.unpack_from
        while size - at >= head_size:
            frame = unpack(data, at)
            start = at + head_size
            length, count = frame[3], frame[4]
            if count or length > MESSAGE_MAX:
                if size < start + SIZE.size * count:
                    break
                beside = [SIZE.unpack_from(data, start + SIZE.size * n)[0] for n in range(count)]
                start += SIZE.size * count
                at = start + self._begin_large(frame, [length, *beside], memoryview(data)[start:])
                frames += self._completed()
                if self._large is not None:
                    break
                continue
            if length:
                if size < start + length:
                    break
                frame = (*frame[:3], data[start : start + length], ())
            frames.append(frame)
            at = start + length
        self._held = data[at:]
        return frames

    def _begin_large(self, frame: Frame, sizes: list[int], data: memoryview) -> int:
        """Make room for a large frame and copy what has come of it; return how much that was."""
        body, *buffers = [bytearray(size) for size in sizes]
        self._large = (*frame[:3], body, buffers)
        used = 0
        for part in (body, *buffers):
            view = memoryview(part)
            have = min(len(view), len(data) - used)
            view[:have] = data[used : used + have]
            used += have
            if have < len(view):
                self._parts.append(view[have:])
        data.release()
        return used
