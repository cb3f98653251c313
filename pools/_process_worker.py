"""What runs in a worker process: receive a call, run it, send its outcome. Standard library only.

It imports nothing of ours but the wire and the contract, and the calls that it is sent name nothing of ours at all: a
function, its arguments, and back a value or an error.
"""

from __future__ import annotations

import faulthandler
import marshal
import mmap
import os
import pickle
import socket
import struct
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ._process_wire import (
    BATCH,
    CALL,
    CALL_HEAD,
    ERROR,
    FAILED,
    HEAD,
    LARGE,
    MESSAGE_MAX,
    READY,
    SIZE,
    TICKET,
    VALUE,
    Buffers,
    dumps,
    sizes,
)
from .contract import each_of

_now = time.perf_counter
#: What a call without arguments is given.
_NO_ARGUMENTS: tuple[tuple[()], None] = ((), None)
#: Functions that a worker remembers by name, at most.
_FUNCTIONS_MAX = 1000


def main(
    calls: socket.socket,
    tickets: socket.socket,
    stream: socket.socket,
    marks: Any,
    errors: Any,
    whole_messages: bool,
) -> None:
    """Serve one slot until the pool closes the call line. Runs in a process of its own."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # what the calls start dies with the worker; and Ctrl-C is for the parent alone
    if errors is not None:
        os.dup2(errors.fileno(), 2)
        errors.close()
    with suppress(Exception):  # a standard error that is no file
        faulthandler.enable()
    phase: Any = bytearray(1) if marks is None else mmap.mmap(marks.fileno(), 1)
    worker = _Worker(calls, tickets, stream, phase, whole_messages=whole_messages)
    if worker.initialize():
        worker.serve()
    stream.close()


class _Worker:
    """One process's side of the two lines."""

    def __init__(
        self,
        calls: socket.socket,
        tickets: socket.socket,
        stream: socket.socket,
        phase: Any,
        *,
        whole_messages: bool,
    ) -> None:
        self._calls = calls
        self._tickets = tickets
        self._stream = stream
        self._phase = phase
        self._whole_messages = whole_messages
        self._message = memoryview(bytearray(MESSAGE_MAX + CALL_HEAD.size))
        #: The last ticket taken.
        self._ticket = 0
        #: Functions by the pickle of their name.
        self._functions: dict[bytes, Any] = {}

    def initialize(self) -> bool:
        """Run the initializer, which comes as the first thing on the stream; return whether that went well."""
        self._phase[0:1] = b"i"
        try:
            message = self._exactly(CALL_HEAD.size)
            initializer, initargs = self._large(message)
            if initializer is not None:
                initializer(*initargs)
        except BaseException as error:
            self._send(FAILED, 0, 0.0, *describe(error))
            return False
        self._phase[0:1] = b"b"
        self._send(READY, 0, 0.0, b"", [])
        return True

    def serve(self) -> None:
        """Run calls until the line is closed."""
        phase, functions = self._phase, self._functions
        last = 0
        for kind, number, name, sent in self._next_calls():
            if number <= last:  # sent twice, by somebody who was interrupted after the first time
                continue
            last = number
            seconds = 0.0
            call: Any
            value: object = None
            try:
                phase[0:1] = b"u"
                if not sent:
                    call = _NO_ARGUMENTS
                else:
                    call = self._large(sent) if kind == LARGE else pickle.loads(sent)  # noqa: S301  our own pool's
                if name:
                    args, kwargs = call
                    function = functions.get(name) or self._function(name)
                else:
                    function, args, kwargs = call
                    if function is None:
                        function = each_of
                phase[0:1] = b"r"
                started = _now()
                try:
                    value = function(*args, **kwargs) if kwargs else function(*args)
                finally:
                    seconds = _now() - started
                phase[0:1] = b"p"
                body, buffers = (b"", []) if value is None else dumps(value)
                verdict = VALUE
            except BaseException as error:
                verdict = ERROR
                body, buffers = describe(error, bytes(phase[0:1]))
            call = function = args = kwargs = value = None  # before the outcome is seen
            self._send(verdict, number, seconds, body, buffers)
            del body, buffers
            phase[0:1] = b"b"

    def _next_calls(self) -> Iterator[tuple[bytes, int, bytes, memoryview]]:
        """Receive calls: the kind, the number, the function's name, and the pickle or the large call's message."""
        unpack_from, start = CALL_HEAD.unpack_from, CALL_HEAD.size
        while message := self._next_message():
            kind, number, named, length, count = unpack_from(message)
            if kind != BATCH:
                at = start + named
                yield kind, number, bytes(message[start:at]), message if kind == LARGE else message[at:]
                continue
            at = start
            for _ in range(count):
                _, number, named, length, _ = unpack_from(message, at)
                if not self._may_start(number):
                    break  # and with it all that came behind it
                body = at + start + named
                at = body + length
                yield CALL, number, bytes(message[body - named : body]), message[body:at]

    def _may_start(self, number: int) -> bool:
        """Take the ticket of a call that came with others; return False when the pool has taken the call back."""
        while self._ticket < number:
            try:
                (self._ticket,) = TICKET.unpack(self._tickets.recv(TICKET.size, socket.MSG_DONTWAIT))
            except (OSError, struct.error):
                return False
        return self._ticket == number  # else it is that of a call in a later message

    def _next_message(self) -> memoryview:
        if self._whole_messages:
            try:
                return self._message[: self._calls.recv_into(self._message)]
            except ConnectionError:
                return self._message[:0]
        fixed = self._exactly(CALL_HEAD.size, self._calls)
        if not fixed:
            return self._message[:0]
        kind, _, named, length, count = CALL_HEAD.unpack_from(fixed)
        rest = named + (SIZE.size * count if kind == LARGE else length)
        return memoryview(bytes(fixed) + bytes(self._exactly(rest, self._calls)))

    def _function(self, name: bytes) -> Any:
        """Return the function of that name, and remember it: most calls have few functions among them."""
        function = pickle.loads(name)  # noqa: S301  our own pool's
        if len(self._functions) >= _FUNCTIONS_MAX:
            self._functions.clear()
        self._functions[name] = function
        return function

    def _large(self, message: memoryview | bytearray) -> Any:
        """Return what a message only announces: it follows on the stream."""
        _, _, named, length, count = CALL_HEAD.unpack_from(message)
        beside = message[CALL_HEAD.size + named :] or self._exactly(SIZE.size * count)
        sizes = [SIZE.unpack_from(beside, SIZE.size * n)[0] for n in range(count)]
        body = self._exactly(length)
        return pickle.loads(body, buffers=[self._exactly(size) for size in sizes])  # noqa: S301  our own pool's

    def _exactly(self, size: int, line: socket.socket | None = None) -> bytearray:
        """Receive so many bytes; fewer only when the line ends before."""
        whole = bytearray(size)
        view, receive = memoryview(whole), (line or self._stream).recv_into
        while view:
            got = receive(view)
            if not got:
                return bytearray()
            view = view[got:]
        return whole

    def _send(self, kind: bytes, number: int, seconds: float, body: bytes, buffers: Buffers) -> None:
        try:
            if len(body) < MESSAGE_MAX and not buffers:
                self._stream.sendall(HEAD.pack(kind, number, seconds, len(body), 0) + body)
                return
            fixed = HEAD.pack(kind, number, seconds, len(body), len(buffers))
            self._stream.sendall(fixed + sizes(buffers))
            self._stream.sendall(body)
            for buffer in buffers:
                self._stream.sendall(buffer)
        except ConnectionError:  # nobody is there any more
            os._exit(1)


def describe(error: BaseException, phase: bytes = b"r") -> tuple[bytes, Buffers]:
    """Return an error as it travels: the pickle, or None; its traceback; and words for the case that it has none.

    Marshalled, not pickled: what cannot be unpickled there must not take the words with it.
    """
    trace = error.__traceback__
    below = trace.tb_next if trace is not None else None
    try:
        text = "".join(traceback.format_exception(type(error), error, below))
    except Exception:
        text = f"{type(error).__qualname__} (whose traceback cannot be printed)\n"
    try:
        words = str(error)
    except Exception:
        words = "(whose text cannot be had)"
    try:
        pickled = _pickled(error)
    except Exception:
        pickled = None
        if hasattr(error, "values_before"):  # see `each_of`: it may be those that cannot be pickled
            del error.values_before
            return describe(error, phase)
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    chained = error.__cause__ or (error.__context__ and not error.__suppress_context__)
    return marshal.dumps((pickled, text, _frames(below), bool(chained), name, words, phase)), []


def _pickled(error: BaseException) -> bytes:
    body, _ = dumps(error)
    pickle.loads(body)  # noqa: S301  what cannot be made again here cannot there
    return body


def _frames(trace: Any) -> dict[str, Any] | None:
    """Return the traceback as plain values, None without tblib."""
    try:
        from tblib import Traceback  # noqa: PLC0415  an extra

        frames: dict[str, Any] = Traceback(trace).to_dict()
        marshal.dumps(frames)
    except Exception:
        return None
    return frames
