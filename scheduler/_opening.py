"""Pools are opened here, by hand and by the autoscaler, and said to be broken.

A pool that is added by hand is real before it is on the books, so that an error reaches who asked for it.
One that the autoscaler adds is on the books before it is real, so that it counts while it starts.
"""

from __future__ import annotations

import logging
from abc import abstractmethod

from pools.contract import Deliver
from pools.logs import log_of

from ._alarm import at_exit
from ._core.books import describe
from ._core.pool_table import GroupRecord, PoolRecord, Slot
from ._core.states import PoolState
from ._desk import Desk
from ._errors import SchedulerClosed
from ._front import PoolFront

_log = log_of("two-tier-scheduler.driver")


class Opening(Desk):
    """Opens pools. Threads: every method, from any thread."""

    @abstractmethod
    def deliverer(self, pool: PoolRecord) -> Deliver:
        """Return the function through which a pool reports outcomes and gets calls: `Driver`."""

    @abstractmethod
    def blame(self, error: BaseException, slot: Slot) -> BaseException:
        """Return the error as the caller should see it: `Driver`."""

    def pool_failed(self, pool: PoolRecord, error: BaseException) -> None:
        """Take a pool out for good, and fail what only it could have run, some jobs a turn."""
        why = describe(error)  # in words before the turn: they are anybody's code
        more = self.turn(lambda now: self.core.pool_failed(pool, error, why, now))
        while more:
            more = self.turn(self.core.fail_some)

    def add_pool(self, group: GroupRecord) -> str:
        """Open one more pool of the group and return its id."""
        pool = self.turn(lambda now: self.core.make_pool(group, now))

        def put_up(now: float) -> None:
            if self.refusing is not None:
                raise SchedulerClosed(f"pool {pool.pool_id} cannot be added: {self.refusing}")
            if group.full:
                raise ValueError(
                    f"group {group.name!r} has {group.capacity_pools()} pools and max_pools={group.max_pools}; "
                    "drain one first, or make the group with a higher maximum"
                )
            self.core.add_pool(pool, now)
            if not group.announces:
                self.core.pool_up(pool, now)
            front.opened.set()

        front = self._front(pool)
        try:
            pool.runner = self._recipes[group.name].open(pool.pool_id, front)
            self.turn(put_up)
        except BaseException:  # an interrupt, too
            if pool.runner is not None and pool not in group.pools:
                pool.runner.drain()
            raise
        finally:
            front.opened.set()  # or its workers would wait for ever to be let in
        return pool.pool_id

    def open(self, pool: PoolRecord) -> None:
        """Make a pool real that the core has put on the books. Not under the lock.

        It may be drained meanwhile, because the scheduler closes, and then (1) is STOPPED at once, for it
        runs nothing; (2) whoever acts on that finds no runner and leaves it; (3) the turn here finds the
        pool gone from the books, and drains the runner itself. If the turn comes before (1), (2) finds one.
        """
        if pool.state is not PoolState.STARTING:
            return
        runner = pool.runner
        front = None
        if runner is None:  # else an interrupt came between the turn here and this, see `act_again`
            front = self._front(pool)
            try:
                runner = self._recipes[pool.group.name].open(pool.pool_id, front)
            except Exception as error:
                front.opened.set()
                front.broken(error)
                return
            except BaseException:
                front.opened.set()  # as in `add_pool`
                raise

        def up(now: float) -> bool:
            if pool not in self.core.pools:
                return False
            pool.runner = runner
            if not pool.group.announces and pool.state is PoolState.STARTING:
                self.core.pool_up(pool, now)
            if (
                front is not None
            ):  # here, for what this turn starts may be told at once that the pool is broken
                front.opened.set()
            return True

        try:
            if not self.turn(up):
                runner.drain()
        except BaseException:
            if pool.runner is not runner:  # an interrupt: whoever pays for it opens another one
                runner.drain()
            raise
        finally:
            if front is not None:
                front.opened.set()

    def _front(self, pool: PoolRecord) -> PoolFront:
        def broken(error: BaseException) -> None:
            # Said first: whoever learns from a failed job that the pool is broken finds the reason in the log.
            harmless = at_exit(error) and pool.group.capacity_pools() > 1  # the others run what there is
            _log.log(
                logging.INFO if harmless else logging.CRITICAL,
                "pool %s can run nothing any more: %s raised when its worker started",
                pool.pool_id,
                type(error).__name__,
                exc_info=error,
            )
            self.pool_failed(pool, error)

        return PoolFront(self, pool, self.deliverer(pool), broken, self.blame)
