"""The harness itself: it finds the races of the textbook, says where, and does the same again."""

import sys

import pytest
import strands
from exploring import Found, Scenario, explore, explore_all, replay, woven
from races import by_name
from staging import together

THIS = (__name__,)


@pytest.fixture(autouse=True)
def _known_by_name(monkeypatch):
    """Lines of this file can be points, too: tests are not imported under a name of their own."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this())


def _this():
    module = type(sys)(__name__)
    module.__file__ = __file__
    return module


def lost_update():
    counter = [0]

    def add():
        before = counter[0]
        counter[0] = before + 1

    together(add, add)
    assert [2] == counter


def two_locks_in_either_order():
    a, b = strands.Lock(), strands.Lock()

    def take(first, second):
        with first, second:
            pass

    together(lambda: take(a, b), lambda: take(b, a))


def late_and_early():
    heard = []

    def wait():
        strands.sleep(0.01)
        heard.append("time")

    together(wait, lambda: heard.append("thread"))
    assert ["thread", "time"] == heard


def a_thread_that_stays():
    strands.Thread(target=strands.Event().wait, name="stays").start()


def one_that_polls():
    done = strands.Event()

    def poll():
        while not done.wait(0.01):
            pass

    together(poll, done.set)


@pytest.mark.parametrize("run", [lambda s: explore(s, range(1, 100)), explore_all], ids=["pct", "every"])
def test_a_lost_update_is_found_between_two_lines(run):
    """The race of every textbook: read, read, write, write."""
    with pytest.raises(Found, match="lost_update fails under schedule"):
        run(Scenario(lost_update, THIS))


@pytest.mark.parametrize("run", [lambda s: explore(s, range(1, 100)), explore_all], ids=["pct", "every"])
def test_a_deadlock_is_told_with_what_each_thread_waits_for(run):
    """Without the stacks of all who wait, a deadlock is a riddle."""
    with pytest.raises(
        Found, match=r"deadlock(.|\n)*strand 1 caller 0: waits for a lock(.|\n)*take: with first"
    ):
        run(Scenario(two_locks_in_either_order))


def test_time_races_with_threads_within_the_horizon_only():
    """A timer may fire before a thread that is ready to run has run; ten seconds do not pass in between."""
    explore(Scenario(late_and_early), range(1, 50), depth=1)

    with pytest.raises(Found):
        explore(Scenario(late_and_early, horizon=0.5), range(1, 50), depth=1)


def test_a_thread_that_stays_behind_is_a_failure():
    """A worker that never leaves is a leak, however well its jobs went."""
    with pytest.raises(Found, match="strand 1 stays: waits for an event"):
        explore(Scenario(a_thread_that_stays), [1])


def test_a_thread_that_polls_keeps_nobody_waiting():
    """Priorities are unfair: without a bound on time, one that polls runs for ever before all others."""
    explore(Scenario(one_that_polls, horizon=0.5), range(1, 100))


def test_a_failing_schedule_fails_again_in_the_same_way():
    """A failure that cannot be run again is a rumour."""
    with pytest.raises(Found) as first:
        explore(Scenario(lost_update, THIS), range(1, 100))
    with pytest.raises(Found) as again:
        replay(Scenario(lost_update, THIS), first.value.schedule)

    assert first.value.schedule == again.value.schedule
    assert first.value.schedule in str(first.value)


@pytest.mark.parametrize("seed", range(1, 5))
def test_the_same_seed_gives_the_same_schedule(seed):
    """The seed is printed so that a search can be repeated, with a debugger or a print in it."""
    scenario = by_name("a_pool_is_drained_as_its_worker_refills")

    assert woven(scenario, seed).choices == woven(scenario, seed).choices


def test_every_schedule_with_few_preemptions_is_tried_once():
    """Two threads of one step each can run in two orders, and nobody need look at a third."""
    orders = []

    def two_steps():
        order = []
        together(lambda: order.append(1), lambda: order.append(2))
        orders.append(tuple(order))

    explored = explore_all(Scenario(two_steps), preemptions=2)

    assert {(1, 2), (2, 1)} == set(orders)
    assert explored.schedules == len(orders) - 1  # the first is to warm up
