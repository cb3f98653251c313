"""The states of jobs and of pools, and both tables of legal moves, as data.

An impossible move is a missing entry. The diagrams in ``docs/reference/states.md`` are generated from here.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType


class JobState(enum.Enum):
    """Where a job is in its life; every job is in exactly one state."""

    DELAYED = "delayed"
    WAITING = "waiting"
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SHED = "shed"

    #: Whether this state is terminal. An attribute, because hashing a member to look it up is slow.
    settled: bool
    #: The states that may follow, for the same reason: members of a tuple are compared by identity.
    moves: tuple[JobState, ...]
    #: The same state in the words of `concurrent.futures`.
    standard: str


# An Enum member looked up on its class costs 57 ns, a module constant 8 ns.
DELAYED = JobState.DELAYED
WAITING = JobState.WAITING
RUNNING = JobState.RUNNING
BACKING_OFF = JobState.BACKING_OFF
SUCCEEDED = JobState.SUCCEEDED
FAILED = JobState.FAILED
CANCELLED = JobState.CANCELLED
EXPIRED = JobState.EXPIRED
SHED = JobState.SHED

#: The states a job is born in: with ``delay`` the first, without it the second.
INITIAL = (DELAYED, WAITING)

#: Every legal move. A state without a way out is terminal.
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = MappingProxyType(
    {
        DELAYED: frozenset({WAITING, CANCELLED, EXPIRED}),
        WAITING: frozenset({RUNNING, FAILED, CANCELLED, EXPIRED, SHED}),
        RUNNING: frozenset({BACKING_OFF, WAITING, SUCCEEDED, FAILED, CANCELLED, EXPIRED}),
        BACKING_OFF: frozenset({WAITING, FAILED, CANCELLED, EXPIRED}),
        SUCCEEDED: frozenset(),
        FAILED: frozenset(),
        CANCELLED: frozenset(),
        EXPIRED: frozenset(),
        SHED: frozenset(),
    }
)

for _state in JobState:
    _state.settled = not TRANSITIONS[_state]
    _state.moves = tuple(state for state in JobState if state in TRANSITIONS[_state])
    _state.standard = "FINISHED" if _state.settled else "PENDING"
RUNNING.standard = "RUNNING"
CANCELLED.standard = "CANCELLED_AND_NOTIFIED"


class PoolState(enum.Enum):
    """Where a pool is in its life."""

    STARTING = "starting"
    ACCEPTING = "accepting"
    CORDONED = "cordoned"
    DRAINING = "draining"
    QUARANTINED = "quarantined"
    STOPPED = "stopped"
    FAILED_TO_START = "failed_to_start"


#: Every legal move of a pool; a state without a way out is terminal.
POOL_TRANSITIONS: Mapping[PoolState, frozenset[PoolState]] = MappingProxyType(
    {
        PoolState.STARTING: frozenset({PoolState.ACCEPTING, PoolState.FAILED_TO_START, PoolState.DRAINING}),
        PoolState.ACCEPTING: frozenset(
            {PoolState.CORDONED, PoolState.DRAINING, PoolState.QUARANTINED, PoolState.FAILED_TO_START}
        ),
        PoolState.CORDONED: frozenset(
            {PoolState.ACCEPTING, PoolState.DRAINING, PoolState.QUARANTINED, PoolState.FAILED_TO_START}
        ),
        PoolState.DRAINING: frozenset(
            {PoolState.CORDONED, PoolState.ACCEPTING, PoolState.QUARANTINED, PoolState.STOPPED}
        ),
        PoolState.QUARANTINED: frozenset(
            {PoolState.ACCEPTING, PoolState.CORDONED, PoolState.DRAINING, PoolState.STOPPED}
        ),
        PoolState.STOPPED: frozenset(),
        PoolState.FAILED_TO_START: frozenset(),
    }
)
