"""One worker process as its pool sees it: started, fed, listened to, killed.

Not thread-safe but for `recall`'s use under the shepherd's lock; see `_process_shepherd`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import Any

from . import _process_worker
from ._process_files import FILES_OF_A_START, ends, need_files, pair, pipe, shared_byte
from ._process_wire import (
    BATCH,
    CALL,
    CALL_HEAD,
    LARGE,
    MESSAGE_MAX,
    PHASES,
    TICKET,
    Buffers,
    Frame,
    Frames,
    sizes,
)

#: Whether the kernel keeps messages whole, so that what lies unread can be taken back.
WHOLE_MESSAGES = hasattr(socket, "AF_UNIX") and hasattr(socket, "SOCK_SEQPACKET")

_DO_NOT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)
#: Starting a process, and asking for its exit code, are not thread-safe in `multiprocessing`; nor is counting files.
_starting = threading.Lock()
#: Seconds in which a killed process is gone, however busy the machine; one that is not hangs in the kernel, and stays.
_KILLED_WITHIN = 4.0
#: Lines of standard error that are kept for the case that the worker dies, and bytes at most.
_LINES_KEPT, _BYTES_KEPT = 20, 4096


class Line:
    """A worker process, both lines to it, and what it last wrote to its standard error."""

    def __init__(self, context: Any, name: str, wake: socket.socket) -> None:
        self.name = name
        self.since = time.monotonic()
        # One at a time, or another one would take the files that this one has asked for.
        with _starting, contextlib.ExitStack() as undo:  # the system may have no file left for the next step
            theirs, arguments = self._open(undo)
            self.process: Any = context.Process(
                target=_enter, args=arguments, name=f"two-tier-scheduler-{name}"
            )
            need_files(self._errors, FILES_OF_A_START)
            self.process.start()
            undo.pop_all()
        for end in theirs:
            end.close()
        self._stream.setblocking(False)
        self._watch = Watch(self._stream, wake, self.process.sentinel, self._errors)

    def _open(self, undo: contextlib.ExitStack) -> tuple[list[Any], tuple[Any, ...]]:
        """Open both ends of every line; return the worker's, and all that it is to be given.

        What is open goes onto `undo`, so that it is closed again if a later step fails.
        """
        kind = socket.SOCK_SEQPACKET if WHOLE_MESSAGES else socket.SOCK_STREAM
        self._calls, self._unread = pair(kind, undo)
        self._tickets, self._untaken = pair(socket.SOCK_STREAM, undo)
        #: A message with several calls for which there was no room; their tickets are sent.
        self._held = b""
        self._stream, stream = pair(socket.SOCK_STREAM, undo)
        self._frames = Frames()
        self._said = b""
        marks, self._phase = shared_byte(undo)
        self._errors, errors = pipe(undo)
        os.set_blocking(self._errors, False)
        theirs = [stream, errors, *([] if marks is None else [marks])]
        if not WHOLE_MESSAGES:
            theirs += self._unread, self._untaken
        return theirs, (self._unread, self._untaken, stream, marks, errors, WHOLE_MESSAGES)

    # Sending

    def send(self, entry: Any) -> bool:
        """Put a call on the call line; return False when that has no room. Never blocks."""
        name, body = entry.name, entry.body
        return self._put(CALL_HEAD.pack(CALL, entry.number, len(name), len(body), 0) + name + body)

    def send_together(self, entries: Sequence[Any]) -> bool:
        """Put several calls on the call line as one message; return False when there is no room. Never blocks."""
        if not self.flush():
            return False
        try:
            self._tickets.send(b"".join([TICKET.pack(entry.number) for entry in entries]), _DO_NOT_WAIT)
        except BlockingIOError:
            return False
        except OSError:  # see `_put`
            return True
        parts = [CALL_HEAD.pack(BATCH, entries[0].number, 0, 0, len(entries))]
        for entry in entries:
            name, body = entry.name, entry.body
            parts += CALL_HEAD.pack(CALL, entry.number, len(name), len(body), 0), name, body
        message = b"".join(parts)
        if not self._put(message):
            self._held = message
        return True

    def flush(self) -> bool:
        """Send what there was no room for; return whether there is nothing like that any more."""
        held, self._held = self._held, b""
        if held and not self._put(held):
            self._held = held
        return not self._held

    def announce(self, entry: Any) -> bool:
        """Say on the call line that a large call follows on the stream."""
        name, buffers = entry.name, entry.buffers
        fixed = CALL_HEAD.pack(LARGE, entry.number, len(name), len(entry.body), len(buffers))
        return self._put(fixed + name + sizes(buffers))

    def _put(self, message: bytes) -> bool:
        if self._held and not self.flush():
            return False
        try:
            self._calls.send(message, _DO_NOT_WAIT)
        except BlockingIOError:
            return False
        except OSError:  # it is gone: whoever watches it finds out
            return True
        return True

    def push(self, parts: list[memoryview]) -> bool:
        """Send what fits of `parts` down the stream, taking it off; return whether all of it is sent."""
        while parts:
            try:
                sent = self._stream.send(parts[0])
            except BlockingIOError:
                return False
            except OSError:
                parts.clear()
                return True
            parts[0] = parts[0][sent:]
            if not parts[0]:
                del parts[0]
        return True

    def recall(self, first: int | None = None) -> list[int]:
        """Take every unread call back; return their numbers, in no order, some of them twice.

        Nothing while the message of the call `first` is still unread: between taking that and the next
        message, the worker could read the next one, and run it in the place of the first.

        A call that came with others has not started if its message was not read, whatever became of its
        ticket: a worker that misses the ticket of a call before it may hold it already.
        """
        numbers: list[int] = []
        while WHOLE_MESSAGES:
            try:  # by flag: the worker's end is the same open file, and must go on blocking
                fixed = self._unread.recv(CALL_HEAD.size, _DO_NOT_WAIT | socket.MSG_PEEK)
                if first is not None and fixed and CALL_HEAD.unpack_from(fixed)[1] == first:
                    return []
                message = self._unread.recv(MESSAGE_MAX + CALL_HEAD.size, _DO_NOT_WAIT)
            except OSError:
                break
            if not message:
                break
            numbers += _numbers(message)
        held, self._held = self._held, b""
        if held:
            numbers += _numbers(held)
        with contextlib.suppress(OSError):
            while tickets := self._untaken.recv(4096, _DO_NOT_WAIT):
                numbers += [number for (number,) in TICKET.iter_unpack(tickets)]
        return numbers

    # Listening

    def wait(self, timeout: float | None, *, pushing: bool) -> set[str]:
        """Wait until something is to be read, the process ends, somebody wakes us, or time is up; say what."""
        return self._watch.wait(timeout, pushing=pushing)

    def read(self) -> list[Frame] | None:
        """Return the messages that have come complete; None at the end of the stream."""
        try:
            return self._frames.read(self._stream.recv_into, self._stream.recv)
        except BlockingIOError:
            return []
        except OSError:
            return None

    def read_to_the_end(self) -> list[Frame]:
        """Return what a dead worker had still sent."""
        frames: list[Frame] = []
        while True:
            try:
                more = self._frames.read(self._stream.recv_into, self._stream.recv)
            except OSError:
                return frames
            if more is None:
                return frames
            frames += more

    def pass_on_errors(self) -> None:
        """Hand on what the worker wrote to its standard error, and keep the last lines."""
        with contextlib.suppress(OSError):
            while chunk := os.read(self._errors, 65536):
                self._said = (self._said + chunk)[-_BYTES_KEPT:]
                with contextlib.suppress(OSError):
                    os.write(2, chunk)

    @property
    def last_lines(self) -> str:
        """The last lines of the worker's standard error."""
        return b"\n".join(self._said.splitlines()[-_LINES_KEPT:]).decode(errors="replace")

    @property
    def phase(self) -> str:
        """What the worker is doing, or was when it died."""
        if self._phase is None:
            return PHASES[b"r"]
        return PHASES.get(self._phase[0:1], PHASES[b"s"])

    @property
    def between_calls(self) -> bool:
        """Whether the worker is surely in no call."""
        return self.phase in (PHASES[b"b"], PHASES[b"s"], PHASES[b"i"])

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        with _starting:
            alive: bool = self.process.is_alive()
        return alive

    # Ending

    def ask_to_stop(self) -> None:
        """SIGTERM to the worker and what it started; where there is none, the end."""
        self._signal(getattr(signal, "SIGTERM", None))

    def kill(self) -> None:
        """SIGKILL to the worker and what it started."""
        self._signal(getattr(signal, "SIGKILL", None))

    def _signal(self, number: Any) -> None:
        pid = self.process.pid
        if pid is None or not self.alive:
            return
        if number is None or not hasattr(os, "killpg"):
            self.process.kill()
            return
        with contextlib.suppress(OSError):
            # Its group once it has made itself one: before, the group would be ours. Once only: a handler that
            # cleans up must not be interrupted by the same signal again.
            (os.killpg if os.getpgid(pid) == pid else os.kill)(pid, number)

    def dismiss(self) -> None:
        """Close the call line: the worker ends when it has run what it has."""
        ends.discard(self._calls)
        self._calls.close()

    def end(self, timeout: float, *, now: bool = False) -> int | None:
        """See the process end, within `timeout` seconds or by force; return its exit code."""
        if not now:
            self.process.join(timeout)
        if self.alive:
            self.kill()
            self.process.join(max(timeout, _KILLED_WITHIN))  # it dies as soon as it gets a processor
        self.pass_on_errors()
        pid = self.process.pid
        if hasattr(os, "killpg") and pid:  # never the group 0, which is our own
            # What it had started. A group that has members keeps its number from being used anew.
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        with _starting:
            code: int | None = self.process.exitcode
        return code

    def close(self) -> None:
        """Give everything back."""
        self._watch.close()
        for line in (self._calls, self._unread, self._tickets, self._untaken, self._stream):
            ends.discard(line)
            line.close()
        os.close(self._errors)
        if self._phase is not None:
            self._phase.close()
        # It has two files of its own until it is collected: now, if nobody else looks at it. Closed at once, they could
        # be another process's files by the time at which `multiprocessing.active_children` reads them elsewhere.
        self.process = None


class Watch:
    """Waits for several things at once. Cost: 2 µs with ``poll``; building a selector each time would be 15."""

    def __init__(self, stream: socket.socket, wake: socket.socket, sentinel: int, errors: int) -> None:
        self._names = {stream.fileno(): "stream", wake.fileno(): "wake", sentinel: "end", errors: "errors"}
        self._stream = stream.fileno()
        self._poll: Any = select.poll() if hasattr(select, "poll") else None
        self._objects: list[Any] = [stream, wake, sentinel]
        if self._poll is not None:
            for file in self._names:
                self._poll.register(file, select.POLLIN)

    def wait(self, timeout: float | None, *, pushing: bool) -> set[str]:
        """Return the names of what is ready: stream, wake, end, errors, and room when `pushing` and there is some."""
        if self._poll is None:
            ready = wait(self._objects, 0.01 if pushing else timeout)
            names = {self._names[thing if isinstance(thing, int) else thing.fileno()] for thing in ready}
            return names | {"room"} if pushing else names
        if pushing:
            self._poll.modify(self._stream, select.POLLIN | select.POLLOUT)
        found = self._poll.poll(None if timeout is None else max(0, int(timeout * 1000 + 0.999)))
        names = set()
        for file, events in found:
            if events & ~select.POLLOUT:
                names.add(self._names[file])
            if events & select.POLLOUT:
                names.add("room")
            if self._names[file] == "errors" and events & select.POLLHUP and not events & select.POLLIN:
                self._poll.unregister(file)  # nobody holds the other end: it would be ready for ever
        if pushing:
            self._poll.modify(self._stream, select.POLLIN)
        return names

    def close(self) -> None:
        """Forget what was watched."""
        self._names.clear()
        self._objects.clear()


def _numbers(message: bytes) -> list[int]:
    """Return the numbers of the calls in a message."""
    kind, number, _, _, count = CALL_HEAD.unpack_from(message)
    if kind != BATCH:
        return [number]
    numbers, at = [], CALL_HEAD.size
    for _ in range(count):
        _, number, named, length, _ = CALL_HEAD.unpack_from(message, at)
        numbers.append(number)
        at += CALL_HEAD.size + named + length
    return numbers


def pieces(body: bytes, buffers: Buffers) -> list[memoryview]:
    """Return what to send down the stream for a thing that has been announced."""
    return [piece for piece in (memoryview(body), *(b.cast("B") for b in buffers)) if piece.nbytes]


def unannounced(body: bytes, buffers: Buffers) -> list[memoryview]:
    """Return what to send down the stream for a thing that nobody expects to be large."""
    fixed = CALL_HEAD.pack(LARGE, 0, 0, len(body), len(buffers)) + sizes(buffers)
    return [memoryview(fixed), *pieces(body, buffers)]


def _enter(*arguments: Any) -> None:
    """Begin in the worker process."""
    for line in tuple(ends):  # only a forked child has any
        line.close()
    _process_worker.main(*arguments)
