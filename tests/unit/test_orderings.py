"""What the orderings promise, as properties: no starvation under ageing, no avoidable lateness under deadlines."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import Aging, EarliestDeadline, FairShare
from scheduler.simulation import Simulator

# Moments and run times are binary fractions, so that every sum is exact.
moments = st.integers(0, 400).map(lambda n: n / 4)
priorities = st.integers(0, 40)


@given(
    jobs=st.lists(st.tuples(moments, priorities), min_size=2, max_size=30),
    seconds_per_level=st.sampled_from([0.0, 0.25, 1.0, 4.0]),
    run_time=st.sampled_from([0.25, 1.0, 8.0]),
    slots=st.integers(1, 3),
)
def test_aging_bounds_by_how_much_a_job_is_overtaken(jobs, seconds_per_level, run_time, slots):
    """The bound is what users plan with: job i overtakes j only within (p_j - p_i) × seconds_per_level."""
    simulator = Simulator(slots, ordering=Aging(seconds_per_level=seconds_per_level))
    ran = [simulator.submit(run_time, at=at, priority=priority) for at, priority in sorted(jobs)]
    simulator.run()
    for j in ran:
        for i in ran:
            if i.submitted_at > j.submitted_at and i.started_at < j.started_at:
                assert i.submitted_at - j.submitted_at < (j.priority - i.priority) * seconds_per_level


@given(
    priority=st.integers(1, 40),
    others=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    load=st.sampled_from([1, 2, 5]),
)
def test_aging_starts_every_job_in_bounded_time_under_a_steady_stream_of_urgent_ones(priority, others, load):
    """With strict priorities it would wait as long as the stream lasts, here for ever."""
    simulator = Simulator(1, ordering=Aging(seconds_per_level=1.0))
    every = 1.0  # an urgent job a second, each of a second: they alone fill the slot
    for second in range(400):
        simulator.submit(every, at=float(second), priority=0)
    patient = [simulator.submit(every, at=0.0, priority=priority) for _ in range(load)]
    patient += [simulator.submit(every, at=0.0, priority=other) for other in others]
    simulator.run()
    # It is overtaken only by what joined within `priority` seconds, and by what was there before.
    for job in patient:
        assert job.waited <= job.priority + len(patient) + 1


@st.composite
def dues(draw):
    """Return jobs of one second each, all there at once, as seconds until each is due."""
    return draw(st.lists(st.integers(1, 7), min_size=1, max_size=6))


def late(order):
    """Return how many jobs end too late, one after the other in this order."""
    return sum(end > due for end, due in enumerate(order, start=1))


@given(dues())
def test_if_any_order_is_in_time_then_that_of_deadlines_is(dues):
    """That is the one promise of earliest deadline first, and what one buys with it."""
    simulator = Simulator(1, ordering=EarliestDeadline())
    simulator.submit(1.0, at=0.0)  # until it ends, the others come
    jobs = [simulator.submit(1.0, at=0.0, deadline=1.0 + due) for due in dues]
    simulator.run()
    expired = sum(job.state.name == "EXPIRED" for job in jobs)
    fewest = min(late(order) for order in permutations(dues))

    assert (expired == 0) == (fewest == 0)


@given(
    ages=st.lists(st.tuples(moments, st.none() | st.integers(1, 100)), min_size=2, max_size=20),
    patience=st.sampled_from([0.0, 1.0, 60.0]),
)
def test_jobs_without_a_deadline_are_due_after_the_patience(ages, patience):
    """Else one of them waits for ever beside a stream of jobs with deadlines."""
    simulator = Simulator(1, ordering=EarliestDeadline(patience=patience))
    simulator.submit(1_000.0, at=0.0)  # let everybody else wait
    jobs = [simulator.submit(0.25, at=at, deadline=due and due + 10_000.0) for at, due in ages]
    simulator.run()

    def due(job):
        return job.submitted_at + patience if job.deadline is None else job.deadline

    assert sorted(jobs, key=lambda job: (due(job), job.id)) == sorted(jobs, key=lambda job: job.started_at)


@pytest.mark.usefixtures("untraced")
@given(
    run_times=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 32)), min_size=30, max_size=120),
    weights=st.tuples(*[st.sampled_from([0.5, 1.0, 3.0])] * 3),
    slots=st.integers(1, 3),
)
def test_backlogged_tenants_are_never_further_apart_than_what_runs(run_times, weights, slots):
    """The bound of fair queueing, whatever the run times: nobody's share depends on another's guesses."""
    weight = dict(zip("abc", weights, strict=True))
    simulator = Simulator(slots, ordering=FairShare(weights=weight), check_every=1)
    jobs = [simulator.submit(quarter / 4, tenant=tenant) for tenant, quarter in run_times]
    simulator.run()
    last_start = {
        tenant: max((job.started_at for job in jobs if job.tenant == tenant), default=0.0) for tenant in "abc"
    }
    moment = min(last_start.values())  # until then all three wait
    had = {
        tenant: sum(
            max(0.0, min(job.ended_at, moment) - job.started_at) for job in jobs if job.tenant == tenant
        )
        / weight[tenant]
        for tenant in "abc"
    }
    # Each is charged for at most `slots` attempts, and an attempt at most twice what it runs, or a guess.
    most = 2 * slots * 8.0 / min(weights)
    assert max(had.values()) - min(had.values()) <= most
