"""A pool that holds calls ahead, as processes do, but whose workers are threads of the world."""

from collections import deque

import attrs
import strands

from pools.contract import PoolStopped, Traits


@attrs.frozen
class OneAhead(Traits):
    """The recipe of a pool that lays at most one call ahead of what a slot runs."""

    slots: int
    prefetch = 1
    announces = True

    def open(self, pool_id, front):
        return _Ahead(self, pool_id, front)


class _Ahead:
    """A live pool: per slot a line of calls under a lock, and the thread that runs them in order."""

    inversion_bound = 0.0

    def __init__(self, recipe, pool_id, front):
        self._front, self._pool_id = front, pool_id
        self._lock = strands.Lock()
        self._lines = [deque() for _ in range(recipe.slots)]
        self._held = [None] * recipe.slots
        self._bells = [strands.Event() for _ in range(recipe.slots)]
        self._draining = False
        self._threads = [
            strands.Thread(target=self._work, args=(n,), name=f"two-tier-scheduler-{pool_id}/{n + 1}")
            for n in range(recipe.slots)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, slot, call):
        if self._draining:
            raise PoolStopped(self._pool_id)
        with self._lock:
            self._lines[slot].append(call)
        self._bells[slot].set()

    def holds(self, slot, call):
        return call is self._held[slot] or call in self._lines[slot]

    def holds_first(self, slot, call):
        """Whether the worker runs `call`, or is about to."""
        return call is self._held[slot]

    def interrupt(self, slot, still):
        """A thread cannot be stopped."""

    def recall(self, slot):
        with self._lock:
            line = self._lines[slot]
            begun = (
                [line.popleft()] if line and self._held[slot] is None else []
            )  # it has not, but is about to
            calls = list(line)
            self._lines[slot] = deque(begun)
        return calls

    def drain(self):
        self._draining = True
        for bell in self._bells:
            bell.set()

    def stop(self, timeout):
        self.drain()
        for thread in self._threads:
            thread.join(timeout)
        return tuple(n for n, thread in enumerate(self._threads) if thread.is_alive())

    def _work(self, slot):
        self._take(slot, self._front.ready(slot, f"{self._pool_id}/{slot + 1}"))
        while True:
            call = self._held[slot] or self._next(slot)
            if call is not None:
                value = call.run()
                self._next(slot)  # as a process does: before anybody has heard of the last one
                self._take(slot, self._front.exchange(slot, [(value, None, 0.0)], 2 - len(self._lines[slot])))
            elif self._draining:
                return
            else:
                self._bells[slot].wait()
                self._bells[slot].clear()

    def _next(self, slot):
        with self._lock:
            call = self._held[slot] = self._lines[slot].popleft() if self._lines[slot] else None
        return call

    def _take(self, slot, calls):
        with self._lock:
            self._lines[slot].extend(calls)
            if self._held[slot] is None and self._lines[slot]:
                self._held[slot] = self._lines[slot].popleft()
        if self._front.missed(slot):
            self._front.recall(slot)
