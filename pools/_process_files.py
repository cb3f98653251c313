"""The files between a pool and a worker process: opened all together, or not at all.

The system may have none left for the next step. What was opened before it is then closed again: a process that is
short of files must not have fewer with every worker that it tries to start.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import tempfile
from multiprocessing.connection import Connection
from typing import Any

#: File descriptors that `multiprocessing` opens to start a process, for a moment, and a fork server if it has died.
FILES_OF_A_START = 12

#: The pool's ends of every line, for a forked child to close: or no worker would see its pool go.
ends: set[socket.socket] = set()


def pair(kind: int, undo: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return our end and the worker's of a line."""
    ours, theirs = socket.socketpair(type=kind)
    undo.callback(ours.close)
    undo.callback(ends.discard, ours)
    undo.callback(theirs.close)
    ends.add(ours)
    return ours, theirs


def pipe(undo: contextlib.ExitStack) -> tuple[int, Connection]:
    """Return our end, to read, and the worker's, to write."""
    ours, theirs = os.pipe()
    undo.callback(os.close, ours)
    connection = Connection(theirs)
    undo.callback(connection.close)
    return ours, connection


def shared_byte(undo: contextlib.ExitStack) -> tuple[Any, Any]:
    """Return one byte of memory that the worker writes and we read: to send, and to read; None where it cannot be had."""
    if not hasattr(os, "setpgid"):
        return None, None
    with tempfile.TemporaryFile() as file:
        file.truncate(mmap.PAGESIZE)
        memory = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        undo.callback(memory.close)
        memory[0:1] = b"s"
        connection = Connection(os.dup(file.fileno()))
        undo.callback(connection.close)
        return connection, memory


def need_files(file: int, number: int) -> None:
    """Raise OSError if the system does not give so many more file descriptors; `file` is any open one.

    Asked before a step of the standard library's, which loses those it has opened when there is none for the next.
    """
    probes: list[int] = []
    try:
        while len(probes) < number:
            probes.append(os.dup(file))
    finally:
        for probe in probes:
            os.close(probe)
