"""Jobs that came back: the first, the last, and any of them out again, whatever came and went before."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler._core.job import Job, JobOptions
from scheduler._core.returned import Returned

STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "drop", "first", "last"]), st.integers(0, 30)), max_size=80
)


def a_job(arrival):
    job = Job(JobOptions(), None)
    job.arrival = arrival
    return job


def arrivals(jobs):
    return [job.arrival for job in jobs]


@given(STEPS)
def test_first_last_and_order_are_those_of_a_sorted_list(steps):
    """A job that came back and is not found as the first has lost its place to everybody behind it."""
    returned, here = Returned(), set()
    for step, arrival in steps:
        if step == "put" and arrival not in here:
            returned.put(a_job(arrival))
            here.add(arrival)
        elif step == "drop" and arrival in here:
            returned.drop(arrival)
            here.remove(arrival)
        elif here and step == "last":
            assert max(here) == returned.last().arrival
        assert (bool(here), sorted(here)) == (bool(returned), arrivals(returned.in_order()))
        assert not here or min(here) == returned.first().arrival == returned.upwards[0]


def test_a_job_that_leaves_and_comes_back_is_there_once():
    """A job may fail, come back and be cancelled any number of times."""
    returned, job = Returned(), a_job(5)
    for other in (1, 9):
        returned.put(a_job(other))
    for _ in range(3):
        returned.put(job)
        returned.drop(5)
    returned.put(job)
    found = []
    while returned:
        found.append(returned.first().arrival)
        returned.drop(found[-1])

    assert [1, 5, 9] == found


def test_what_has_left_does_not_pile_up_behind_one_that_stays():
    """An urgent job at the head that waits for an hour must not keep a number of every job that passed."""
    returned = Returned()
    returned.put(a_job(0))
    returned.put(a_job(100_000))
    sizes = []
    for arrival in range(1, 2_000):
        returned.put(a_job(arrival))
        returned.last()
        returned.drop(arrival)
        sizes.append(len(returned.upwards) + len(returned._downwards or ()))

    assert (0, 100_000) == (returned.first().arrival, returned.last().arrival)
    assert max(sizes) < 200
