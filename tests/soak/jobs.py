"""The jobs of the soak: each writes down that it begins and how it ends. Standard library only; workers import it."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import resource
import signal
import time
from pathlib import Path

from history import pen

_runs = itertools.count(1)
_sleep = time.sleep
_now = time.monotonic


class Boom(Exception):
    """What a job raises on purpose."""


def rest(seconds):
    """Wait, as for a network."""
    _sleep(seconds)


def spin(seconds):
    """Compute."""
    until = _now() + seconds
    while _now() < until:
        pass


def fail_sometimes(share):
    """Raise with this probability."""
    _sleep(0.001)
    if random.random() < share:
        raise Boom("on purpose")


def hang_in_thread(seconds):
    """Ignore every request to stop, for a while: a thread cannot be killed."""
    until = _now() + seconds
    while _now() < until:
        _sleep(0.02)


def hang_in_process(seconds):
    """Ignore SIGTERM, so that only SIGKILL helps."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _sleep(seconds)


def leave(code):
    """End the process under the job."""
    os._exit(code)


def eat_memory(megabytes):
    """Want more memory than a limit on the process gives."""
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**25, hard))
    try:
        return len(bytearray(megabytes * 2**20))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def take_memory(megabytes):
    """Use memory and give it back."""
    return len(bytes(megabytes * 2**20))


def large(kilobytes):
    """Return much."""
    return b"x" * (kilobytes * 1024)


DEEDS = {
    deed.__name__: deed
    for deed in (
        rest,
        spin,
        fail_sometimes,
        hang_in_thread,
        hang_in_process,
        leave,
        eat_memory,
        take_memory,
        large,
    )
}


def run(key, deed, argument):
    """Do a deed between two records; return whose it was."""
    token = f"{os.getpid()}-{next(_runs)}"
    pen.write("B", key, token)
    try:
        value = DEEDS[deed](argument)
    except BaseException as error:
        pen.write("E", key, token, type(error).__name__)
        raise
    pen.write("E", key, token, "ok")
    return key, value


async def coroutine(key, deed, argument):
    """Do the same in an event loop."""
    token = f"{os.getpid()}-{next(_runs)}"
    pen.write("B", key, token)
    try:
        await _DEEDS_OF_COROUTINES[deed](argument)
    except BaseException as error:
        pen.write("E", key, token, type(error).__name__)
        raise
    pen.write("E", key, token, "ok")
    return key, None


async def _fail_sometimes(share):
    await asyncio.sleep(0.002)
    if random.random() < share:
        raise Boom("on purpose")


async def _refuse_to_end(seconds):
    """Swallow every cancellation, for a while."""
    until = _now() + seconds
    while _now() < until:
        try:
            await asyncio.sleep(until - _now())
        except asyncio.CancelledError:
            continue


async def _hold_the_loop(seconds):
    _sleep(seconds)


_DEEDS_OF_COROUTINES = {
    "rest": asyncio.sleep,
    "fail_sometimes": _fail_sometimes,
    "refuse_to_end": _refuse_to_end,
    "hold_the_loop": _hold_the_loop,
}
