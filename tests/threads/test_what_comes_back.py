"""What comes back with a job that is fetched from a worker: its neighbours, which nobody asked for."""

import attrs
import pytest

from pools.contract import Traits
from scheduler import PoolGroup, Scheduler

OPENED = []


class Opened:
    """A pool of one slot whose worker is the test itself."""

    inversion_bound = 0.0

    def __init__(self, front):
        self.front, self.calls = front, []
        OPENED.append(self)

    def is_up(self, pool_id):
        self.calls += self.front.ready(0, f"{pool_id}/1")

    def run(self, slot, call):
        self.calls.append(call)

    def holds(self, slot, call):
        return call in self.calls

    def returns(self, want):
        call = self.calls.pop(0)
        self.calls += self.front.exchange(0, [(call.run(), None, 0.0)], want)

    def recall(self, slot):
        back, self.calls = self.calls[1:], self.calls[:1]
        return back

    def interrupt(self, slot, still):
        pass

    def drain(self):
        pass

    def stop(self, timeout):
        return ()


@attrs.frozen
class ByHand(Traits):
    """Opens them."""

    slots: int = 1
    prefetch: int = 3
    announces: bool = True

    def open(self, pool_id, front):
        return Opened(front)


@pytest.fixture
def two_workers():
    """Return a scheduler, and two workers of which the first has a job, and two more ahead."""
    OPENED.clear()
    scheduler = Scheduler(PoolGroup("io", ByHand(), min_pools=2))
    first, second = OPENED
    first.is_up("io-1")
    keyed = scheduler.with_options(key="a", on_conflict="replace")
    handles = [scheduler.submit(int), scheduler.submit(int), keyed.submit(int), scheduler.submit(int)]
    first.returns(4)
    second.is_up("io-2")
    assert (3, 0) == (len(first.calls), len(second.calls))
    yield keyed, handles, second
    scheduler.close(finish_within=0.0, cancel_within=0.0)


@pytest.mark.parametrize("how", ["cancel", "interrupt", "replace"])
def test_a_neighbour_of_a_cancelled_job_takes_the_slot_that_is_free(two_workers, how):
    """It waited beside a free slot until the worker it came from had time, which may be an hour."""
    keyed, (_, _, ahead, neighbour), second = two_workers
    if how == "replace":
        keyed.submit(int)
    else:
        getattr(ahead, how)()

    assert ahead.cancelled()
    assert neighbour in second.calls or neighbour.running()
