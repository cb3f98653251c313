"""A look before the sleep: whoever waits for a job that runs stays awake for a moment.

A thread that sleeps must be woken, and where an idle core halts (a virtual machine, a laptop) that takes
50 to 100 µs: most of the round trip of a short job. So a waiter stays awake for about as long as being
woken would take: if the job takes longer, the wait has cost at most twice what it need have (the
ski-rental argument: Karlin, Li, Manasse, Owicki 1991).

It must stay awake without the GIL, which the job needs. Of all that Python has, a checksum of a block
just large enough does that for a microsecond or two; what it computes is of no use. And it must give way
after each, because where every core is busy the job waits for the very one that the waiter holds:
without that, the round trip was half as long on an idle machine and twice as long on a busy one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from time import monotonic, sleep
from typing import Protocol

_checksum: Callable[[bytes], int] | None
try:
    from zlib import crc32 as _checksum
except ImportError:  # an interpreter built without it: sleep at once
    _checksum = None

#: Seconds, about what waking a thread costs.
LINGER = 60e-6
#: A microsecond or two of checksum. zlib lets go of the GIL from 5 KiB.
_BLOCK = bytes(5 * 1024 + 1)

#: Let another thread have this core. It lets go of the GIL too.
_give_way: Callable[[], object] = getattr(os, "sched_yield", partial(sleep, 0))


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
        _give_way()
        if monotonic() >= until:
            return False
