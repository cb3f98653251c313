"""The parts that argue about races in their own comments, alone: so few points that every schedule can be tried."""

import strands
from exploring import Scenario
from looping import CooperativeLoop
from staging import together

from pools import AsyncioPool, ThreadPool
from scheduler._alarm import Alarm
from scheduler._relay import Relay


def two_bring_things_to_a_relay():
    told = []
    relay = Relay(told.append)

    def bring(thing):
        relay.put(thing)
        relay.hand_out()

    together(lambda: bring(1), lambda: bring(2))
    assert [1, 2] == sorted(told)


def two_bring_things_to_a_relay_that_has_no_patience():
    told = []

    def tell(thing):
        told.append(thing)
        if thing == 1:
            relay.put(2)  # as if a third had brought it now

    relay = Relay(tell, 0.0, "two-tier-scheduler-relief")

    def bring(thing):
        relay.put(thing)
        relay.hand_out()

    together(lambda: bring(1), lambda: bring(3))
    relay.wait_for_relief(1.0, strands.monotonic() + 60.0)
    assert [1, 2, 3] == sorted(told)
    assert told.index(1) < told.index(2)


def two_arm_an_alarm():
    guard, armed, rung, both = strands.Lock(), [], [], strands.Event()

    def bell():
        with guard:
            due = [when for when in armed if when <= strands.monotonic()]
            rung.extend(due)
            armed[:] = [when for when in armed if when not in due]
            if len(rung) == 2:
                both.set()
            return min(armed, default=float("inf"))

    alarm = Alarm(bell, strands.monotonic, "two-tier-scheduler-alarm")

    def arm(when):
        with guard:
            armed.append(when)
        alarm.set(when)

    together(lambda: arm(100.25), lambda: arm(100.5))
    both.wait()
    alarm.stop(1.0)
    assert [100.25, 100.5] == sorted(rung)
    assert strands.monotonic() < 101


class Front:
    """Takes outcomes, and gives no further call."""

    def __init__(self):
        self.outcomes, self.came = [], strands.Event()

    def deliver(self, slot, value, error):
        self.outcomes.append(value)
        self.came.set()

    def broken(self, error):
        raise error


class Call:
    """A call that returns its number."""

    def __init__(self, number):
        self.number = number

    def enter(self):
        return self.run, ()

    def run(self):
        return self.number


def a_pool_of_threads_is_drained_as_its_last_call_runs():
    front = Front()
    pool = ThreadPool(slots=1).open("p-1", front)
    pool.run(0, Call(1))
    front.came.wait()
    pool.run(0, Call(2))
    pool.drain()
    assert () == pool.stop(1.0)
    assert [1, 2] == front.outcomes


class Coroutine:
    """A call that returns a coroutine."""

    context = function = None

    def __init__(self, number):
        self.number = number

    async def start(self):
        return self.number


def a_loop_is_given_a_call_as_it_goes_to_sleep():
    front = Front()
    pool = AsyncioPool(slots=2, loop_factory=CooperativeLoop, lag_limit=None).open("p-1", front)
    pool.run(0, Coroutine(1))
    pool.run(1, Coroutine(2))
    while len(front.outcomes) < 2:
        front.came.wait()
        front.came.clear()
    assert () == pool.stop(1.0)
    assert [1, 2] == sorted(front.outcomes)


RELAY = Scenario(two_bring_things_to_a_relay, ("scheduler._relay",))
RELIEF = Scenario(two_bring_things_to_a_relay_that_has_no_patience, ("scheduler._relay",))
ALARM = Scenario(two_arm_an_alarm, ("scheduler._alarm",), horizon=0.5)
POOL = Scenario(a_pool_of_threads_is_drained_as_its_last_call_runs, ("pools.thread_pool",))
LOOP = Scenario(a_loop_is_given_a_call_as_it_goes_to_sleep, ("pools.asyncio_pool",))
COMPONENTS = [RELAY, RELIEF, ALARM, POOL, LOOP]
