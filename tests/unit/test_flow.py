"""The windows that scaling policies look at, beside what one computes of everything that happened."""

import math
import random
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Aging, FixedBackoff, StrictPriority
from scheduler._core.flow import LOOKS, PANIC_MAX, STABLE_MAX, STABLE_MIN, TICK_MAX, TICK_MIN, Flow
from scheduler._core.pool_table import GroupRecord, PoolTable
from scheduler._core.states import PoolState


def a_group(slots=4):
    """Return a group with one accepting pool."""
    group = GroupRecord(name="io", index=0, slots=slots)
    table = PoolTable()
    table.groups["io"] = group
    pool = table.make(group, 0.0)
    table.add(pool)
    table.move(pool, PoolState.ACCEPTING)
    return group


class History:
    """Everything that happened, and what a window of it must say."""

    def __init__(self):
        self.group, self.flow = a_group(), Flow()
        self.now, self.looks, self.runs, self.starts = 0.0, [], [], []

    def passes(self, seconds, starts, runs, waiting, oldest, in_use):
        self.now += seconds
        self.group.free = 4 - in_use
        for number in range(starts):
            self.group.meters[20 + number % 2].waits.append(0.1)
            self.starts.append(self.now)
        for run in runs:
            self.group.meters[20].runs.append(run)
            self.runs.append((self.now, run))
        self.flow.look(self.group, self.now, waiting, oldest)
        self.looks.append((self.now, waiting, oldest, in_use))

    def window(self, length):
        """Return the same by brute force, from the last look before the window on."""
        at = [look[0] for look in self.looks]
        first = max([time for time in at if time <= self.now - length], default=at[0])
        looks = [look for look in self.looks if look[0] > first]
        runs = [run for time, run in self.runs if time > first]
        starts = sum(time > first for time in self.starts)
        waited_before = next(look[1] for look in self.looks if look[0] == first)
        return {
            "seconds": self.now - first,
            "starts": starts,
            "arrivals": max(0, starts + looks[-1][1] - waited_before),
            "completions": len(runs),
            "run_time": fmean(runs) if runs else 0.0,
            "deviation": pstdev(runs) if runs else 0.0,
            "least_wait": min(look[2] for look in looks),
            "in_use": fmean(look[3] for look in looks),
            "saturated": all(look[1] for look in looks),
        }


def told(window, fields):
    return pytest.approx({field: getattr(window, field) for field in fields}, abs=1e-6)


moments = st.tuples(
    st.sampled_from([0.0625, 0.0625, 0.125, 0.25]),  # their sums are exact
    st.integers(0, 4),
    st.lists(st.sampled_from([0.01, 0.02, 0.09]), max_size=4),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.2, 0.7]),
    st.integers(0, 4),
)


@given(st.lists(moments, min_size=3, max_size=40))
def test_the_panic_window_is_what_happened_in_it(history):
    """A window that miscounts makes every policy wrong in the same way."""
    seen = History()
    for moment in history:
        seen.passes(*moment)
    naive = seen.window(seen.flow.panic_length)

    assert naive == told(seen.flow.panic(), naive)


@given(st.lists(moments, min_size=3, max_size=60))
def test_the_stable_window_is_what_happened_in_it(history):
    """Its looks are summed up, so that a window of ten minutes is not ten thousand of them."""
    seen = History()
    for moment in history:
        seen.passes(*moment)
    naive = seen.window(seen.flow.stable_length)
    window = seen.flow.stable()
    exact = ("starts", "completions", "run_time", "deviation", "arrivals")

    # It begins at a look that was kept, which is at most one of them too early.
    slack = seen.flow.stable_length / 64 + 0.3
    assert naive["seconds"] <= window.seconds + 1e-9 <= naive["seconds"] + slack + 1e-9
    if window.seconds == pytest.approx(naive["seconds"]):
        assert {field: naive[field] for field in exact} == told(window, exact)


def test_a_long_window_keeps_few_looks():
    """A thousand groups that look twenty times a second must not fill the memory."""
    seen = History()
    for _ in range(3000):
        seen.passes(0.05, 1, [2.0], 0, 0.0, 1)
        seen.flow.stable()

    assert len(seen.flow._fine) < 100
    assert len(seen.flow._coarse) < 70


def test_windows_follow_the_groups_own_times():
    """What is sudden for jobs of an hour is stale for jobs of 10 ms."""
    lengths = []
    for run_time, start_up in ((0.0, 0.0), (1.0, 0.0), (0.1, 5.0), (3600.0, 0.0)):
        flow = Flow()
        flow.run_time, flow.start_up = run_time, start_up
        lengths.append((flow.panic_length, flow.stable_length, flow.tick))

    assert [
        (0.2, STABLE_MIN, TICK_MIN),
        (2.0, 50.0, 2.0 / LOOKS),
        (0.2, 50.0, TICK_MIN),
        (PANIC_MAX, STABLE_MAX, TICK_MAX),
    ] == lengths


def test_the_run_time_is_remembered_when_nothing_ends():
    """An hour without work does not make jobs shorter."""
    seen = History()
    seen.passes(0.1, 1, [], 0, 0.0, 1)
    seen.passes(0.1, 0, [0.5, 0.7], 0, 0.0, 0)
    seen.flow.stable()
    seen.flow.forget()
    seen.passes(9.0, 0, [], 0, 0.0, 0)
    window = seen.flow.stable()

    assert (0.0, 0.0, 0.6) == (window.seconds, window.run_time, pytest.approx(seen.flow.run_time))


def test_start_ups_are_remembered_half_and_half():
    """The last one counts most; one slow start is no rule."""
    flow, seen = Flow(), []
    for seconds in (4.0, 2.0, 1.0):
        flow.started_up(seconds)
        seen.append(flow.start_up)

    assert [4.0, 3.0, 2.0] == seen


def test_a_flow_that_has_seen_nothing_says_so():
    """Zero seconds is the sign for it, and nobody divides by that."""
    window = Flow().panic()

    assert (0.0, 0.0, 0.0, 0, False) == (
        window.seconds,
        window.arrival_rate,
        window.completion_rate,
        Flow().ended,
        window.saturated,
    )


# What waits, by priority


@pytest.mark.parametrize("ordering", ["levels", "keys"])
def test_levels_count_who_waits_whoever_went_from_the_middle(by_hand, ordering):
    """Cancelled jobs stay in a run for a while, and jobs that come back are kept apart."""
    policies = {"levels": StrictPriority(), "keys": Aging(seconds_per_level=1.0)}
    hand = by_hand(ordering=policies[ordering])
    dice = random.Random(3)
    hand.submit("running", retry=FixedBackoff(delay=0.5))
    for number in range(60):
        hand.submit(f"{number}", priority=dice.choice([10, 20, 30]))
        hand.advance(0.01)
        if number % 3 == 0:
            hand.cancel(f"{dice.randrange(number + 1)}")
    hand.finish("running", OSError())
    hand.advance(1.0)
    (line,) = hand.core.queue.lines.values()
    counted = {priority: count for priority, count, _ in line.levels()}

    naive = {}
    for job in hand.jobs.values():
        if job.state.name == "WAITING":
            naive[job.priority] = naive.get(job.priority, 0) + 1
    assert naive == counted


def test_who_came_back_for_another_attempt_does_not_hide_who_waits(by_hand):
    """It stands at the head of its line and has waited a moment: the others have waited for an hour."""
    hand = by_hand()
    hand.submit("fails", retry=FixedBackoff(delay=1.0))
    hand.submit("waits")
    hand.submit("waits too")
    hand.finish("fails", OSError())
    hand.advance(3600.0)
    (line,) = hand.core.queue.lines.values()

    assert [(20, 2, 0.0)] == list(line.levels())
    assert "fails" == line.peek().options.name


def test_a_window_without_an_end_has_no_infinite_wait(by_hand, group, says):
    """`inf` in a formula becomes `nan` in the next, and then nothing compares."""
    hand = by_hand(group("io", scaling=says(), max_pools=3))
    hand.submit("a")
    hand.advance(1.0)
    hand.advance(1.0)
    scaled = hand.core.scaled["io"]

    assert all(
        math.isfinite(value) for value in (scaled.flow.panic().least_wait, scaled.flow.stable().least_wait)
    )
