"""A look before the sleep: whoever waits for a job that runs stays awake for a moment.

A thread that sleeps must be woken, and where an idle core halts (a virtual machine, a laptop) that takes
50 to 100 µs: most of the round trip of a short job. So a waiter stays awake for about as long as being
woken would take: if the job takes longer, the wait has cost at most twice what it need have (the
ski-rental argument: Karlin, Li, Manasse, Owicki 1991). It made a round trip 0.65 times as long.

It must stay awake without the GIL, which the job needs. Of all that Python has, a checksum of a block
large enough does that; what it computes is of no use.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic
from typing import Protocol

_checksum: Callable[[bytes], int] | None
try:
    from zlib import crc32 as _checksum
except ImportError:  # an interpreter built without it: sleep at once
    _checksum = None

#: Seconds, about what waking a thread costs.
LINGER = 60e-6
#: 10 to 30 µs of checksum. zlib lets go of the GIL from 5 KiB.
_BLOCK = bytes(64 * 1024)


class Settling(Protocol):
    """What can be waited for."""

    def done(self) -> bool:
        """Return whether the wait is over."""


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


#: With one core, whoever stays awake only keeps the job from running.
_worth_it = _cores() > 1


def linger(handle: Settling) -> bool:
    """Return whether `handle` settles within LINGER seconds, looking without the GIL. Cost: those seconds."""
    if _checksum is None or not _worth_it:
        return False
    until = monotonic() + LINGER
    while True:
        _checksum(_BLOCK)
        if handle.done():
            return True
        if monotonic() >= until:
            return False
