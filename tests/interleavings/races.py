"""What threads do to a whole scheduler at the same time, and what must hold whoever comes first.

Each function in the rooms named here is the body of one scenario: two or three threads, a few jobs, and its oracle. All
end in `finished`: the ledger adds up, every job settled, nobody was left behind. A thread that stays, a waiter that sleeps
for ever and a handle that never settles are found by the world itself: a deadlock, or somebody left behind.
"""

import attrs
import races_closing  # noqa: F401
import races_pools  # noqa: F401
import races_timers  # noqa: F401
import races_waiting  # noqa: F401
from staging import SCENARIOS

__all__ = ["SCENARIOS", "at_locks", "by_name"]


def by_name(name):
    """Return a scenario."""
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def at_locks(scenario):
    """Return a scenario with fewer points: operations on locks, events and threads alone."""
    return attrs.evolve(scenario, modules=())
