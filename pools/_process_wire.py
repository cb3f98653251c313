"""How calls and outcomes travel between a pool and its worker processes. Standard library only.

Two lines lead to a worker. On the *call line* each message is one call, and the kernel keeps messages
whole: whoever receives one has it, and nobody else does. So a call that still lies on that line has
not started, and the pool may receive it back itself, which is how a recall can be exact. On the *stream*
outcomes come back, and what is too large for a message travels there in both directions.

Values are pickled by protocol 5 (PEP 574); buffers of 64 KiB and more are sent beside the pickle and
received in place, so that a large array is copied by nobody but the kernel.
"""

from __future__ import annotations

import pickle
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

#: Bytes of one message on the call line; what is larger goes by the stream. A page less than 64 KiB.
MESSAGE_MAX = 60 * 1024
#: Bytes from which a buffer is sent beside the pickle. Measured: below, the extra pieces cost more than the copy.
BUFFER_MIN = 64 * 1024
_PROTOCOL = 5

#: Kind, number of the call, seconds it ran, bytes of the pickle, number of buffers beside it.
HEAD = struct.Struct("<cQdQI")
SIZE = struct.Struct("<Q")

#: Kinds of messages to a worker: a call, a call whose pickle follows on the stream.
CALL, LARGE = b"c", b"l"
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


def dumps(thing: object) -> tuple[bytes, Buffers]:
    """Return the pickle of a thing and the buffers that belong beside it.

    What the standard library cannot pickle (lambdas, closures, what an interactive session defined)
    is handed to cloudpickle where that is installed. Raises what pickling raises.
    """
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

    try:
        return pickle.dumps(thing, _PROTOCOL, buffer_callback=keep), buffers
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        by_value = cloudpickle_dumps()
        if by_value is None:
            error.add_note(
                "lambdas, closures and the like can be sent where cloudpickle is installed: two-tier-scheduler[process]"
            )
            raise
        buffers.clear()
        return by_value(thing, _PROTOCOL, buffer_callback=keep), buffers


def dumps_call(function: Callable[..., object], args: Any, kwargs: Any) -> tuple[bytes, Buffers]:
    """Return the pickle of a call; see `dumps`."""
    if getattr(function, "__module__", None) == "__main__" and not _main_can_be_imported():
        by_value = cloudpickle_dumps()
        if by_value is not None:
            return by_value((function, args, kwargs), _PROTOCOL), []
    return dumps((function, args, kwargs))


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


def head(kind: bytes, number: int, seconds: float, body: bytes, buffers: Sequence[memoryview]) -> bytes:
    """Return what goes before a pickle and its buffers."""
    fixed = HEAD.pack(kind, number, seconds, len(body), len(buffers))
    return fixed + b"".join(SIZE.pack(buffer.nbytes) for buffer in buffers) if buffers else fixed


class Frame:
    """One message from the stream, complete."""

    __slots__ = ("body", "buffers", "kind", "number", "seconds")

    def __init__(
        self, kind: bytes, number: int, seconds: float, body: bytes | bytearray, buffers: list[bytearray]
    ) -> None:
        self.kind = kind
        self.number = number
        self.seconds = seconds
        self.body = body
        self.buffers = buffers

    def loads(self) -> Any:
        """Return the thing that was sent. Raises what unpickling raises."""
        return pickle.loads(self.body, buffers=self.buffers) if self.body else None  # noqa: S301  our own worker's


class Frames:
    """Makes frames of what a stream brings, in whatever pieces it comes.

    Small frames are cut from what one read brought; the parts of a large one are received in place.
    """

    def __init__(self) -> None:
        self._held = bytearray()
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
        data = receive(256 * 1024)
        if not data:
            return None
        self._held += data
        return self._cut()

    def _completed(self) -> list[Frame]:
        while self._parts and not self._parts[0]:
            del self._parts[0]
        if self._parts or self._large is None:
            return []
        frame, self._large = self._large, None
        return [frame]

    def _cut(self) -> list[Frame]:
        held, at, frames = self._held, 0, []
        size = len(held)
        while size - at >= HEAD.size:
            kind, number, seconds, length, count = HEAD.unpack_from(held, at)
            start = at + HEAD.size + SIZE.size * count
            if size < start:
                break
            if count or length > MESSAGE_MAX:
                sizes = [SIZE.unpack_from(held, at + HEAD.size + SIZE.size * n)[0] for n in range(count)]
                at = start + self._begin_large(
                    kind, number, seconds, [length, *sizes], memoryview(held)[start:]
                )
                frames += self._completed()
                if self._large is not None:
                    break
                continue
            if size < start + length:
                break
            frames.append(Frame(kind, number, seconds, bytes(held[start : start + length]), []))
            at = start + length
        del held[:at]
        return frames

    def _begin_large(
        self, kind: bytes, number: int, seconds: float, sizes: list[int], data: memoryview
    ) -> int:
        """Make room for a large frame and copy what has come of it; return how much that was."""
        body, *buffers = [bytearray(size) for size in sizes]
        self._large = Frame(kind, number, seconds, body, buffers)
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
