"""Made-up loads: they are what their names say, and equal seeds make equal ones."""

from itertools import pairwise
from statistics import fmean, pstdev

import pytest

from scheduler._simulate.arrivals import JOBS, synthetic
from scheduler._simulate.traces import TraceError

pytestmark = pytest.mark.usefixtures("untraced")


def gaps(load):
    """Return the times between arrivals."""
    return [after - before for before, after in pairwise(at for at, _, _ in load)]


@pytest.mark.parametrize(
    "text",
    [
        "poisson:rate=20",
        "pareto:rate=20,alpha=3",
        "day:low=10,high=30,period=10",
        "bursts:low=10,high=60,every=10,lasts=2",
    ],
)
def test_as_many_jobs_come_as_is_asked_for(text):
    """Capacity planned for another rate is planned in vain: each of these means 20 a second."""
    load = synthetic(f"{text},run_time=0.1,length=1000", seed=1)

    assert 20_000 == pytest.approx(sum(1 for _ in load), rel=0.03)


@pytest.mark.parametrize(
    ("text", "spread"),
    [
        ("poisson:rate=20", (0.97, 1.03)),
        ("pareto:rate=20,alpha=2.5", (0.75, 1.2)),
        ("pareto:rate=20,alpha=1.5", (2.0, 99.0)),
    ],
)
def test_gaps_are_as_uneven_as_the_process_says(text, spread):
    """Waits come from clumps: the same rate in even steps would need half the pools."""
    apart = gaps(synthetic(f"{text},run_time=0.1,jobs=50000", seed=1))
    least, most = spread

    assert least < pstdev(apart) / fmean(apart) < most


@pytest.mark.parametrize("cv", [0, 0.5, 1, 2])
def test_run_times_have_their_mean_and_spread(cv):
    """The spread of run times decides on waits as much as the load does (Pollaczek and Khinchine)."""
    times = [
        run_time for _, run_time, _ in synthetic(f"poisson:rate=1,run_time=0.2,cv={cv},jobs=60000", seed=2)
    ]

    assert 0.2 == pytest.approx(fmean(times), rel=0.03)
    assert cv == pytest.approx(pstdev(times) / fmean(times), abs=0.1 * cv)


def test_bursts_come_when_they_are_due():
    """A train of bursts is there to see what a start-up costs, so the rate must jump."""
    early = sum(
        1
        for at, _, _ in synthetic("bursts:low=1,high=50,run_time=1,every=10,lasts=2,length=1000", seed=1)
        if at % 10 < 2
    )

    assert 10_000 == pytest.approx(early, rel=0.05)


def test_classes_come_in_their_shares():
    """What waits is what is less urgent, so a load without classes shows nothing of priorities."""
    kinds = [
        kind.priority
        for _, _, kind in synthetic("poisson:rate=1,run_time=1,mix=HIGH:1+35:3,jobs=20000", seed=1)
    ]

    assert {10, 35} == set(kinds)
    assert 5_000 == pytest.approx(kinds.count(10), rel=0.05)


def test_all_jobs_may_name_tags():
    """A group of processes takes only jobs that name it: without this, no made-up load could be played through one."""
    load = synthetic("poisson:rate=1,run_time=1,tags=cpu+big,mix=HIGH:1+LOW:1,jobs=20", seed=1)

    assert {frozenset({"cpu", "big"})} == {kind.tags for _, _, kind in load}
    assert {10, 30} == {kind.priority for _, _, kind in load}


def test_equal_seeds_make_equal_loads_and_others_do_not():
    """Two configurations can only be compared when the same jobs come."""
    load = synthetic("pareto:rate=20,run_time=0.1,mix=HIGH+LOW", seed=1)

    assert JOBS == len(list(load))
    assert list(load) == list(load) == list(synthetic("pareto:rate=20,run_time=0.1,mix=HIGH+LOW", seed=1))
    assert list(load) != list(synthetic("pareto:rate=20,run_time=0.1,mix=HIGH+LOW", seed=2))


def test_another_rate_leaves_the_jobs_as_they_are():
    """Dice shared between arrivals and run times would compare other jobs, not another rate."""
    slow, fast = (synthetic(f"day:low=1,high={high},run_time=0.1,jobs=100", seed=1) for high in (5, 50))

    assert [run_time for _, run_time, _ in slow] == [run_time for _, run_time, _ in fast]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("poison:rate=1", "did you mean 'poisson'"),
        ("poisson:rate=1", "poisson needs run_time: write poisson:run_time="),
        ("poisson:rat=1,run_time=1", "did you mean 'rate'"),
        ("poisson:rate=x,run_time=1", "rate must be a number, not 'x'"),
        ("poisson:rate=0,run_time=1", "rate must be above 0, not 0"),
        ("poisson:rate=1,run_time=-1", "run_time must be at least 0, not -1"),
        ("poisson:rate=inf,run_time=1", "rate must be finite"),
        ("pareto:rate=1,run_time=1,alpha=1", "alpha must be above 1"),
        ("bursts:low=0,high=0,run_time=1", "high must be above 0"),
        ("poisson:rate=1,run_time=1,mix=HIG:1", "write mix=HIGH:1\\+NORMAL:3"),
        ("poisson:rate=1,run_time=1,mix=HIGH:0", "weight of HIGH must be above 0"),
    ],
)
def test_a_load_that_cannot_be_is_refused_with_the_remedy(text, why):
    """The line is typed by hand, from memory."""
    with pytest.raises(TraceError, match=why):
        synthetic(text, seed=0)
