"""What `play` measures is what the simulator did, and two runs of one load are compared fairly."""

import gc

import pytest

from scheduler._simulate.arrivals import synthetic
from scheduler._simulate.compare import compared
from scheduler._simulate.fewest import fewest, fixed
from scheduler._simulate.play import LOOK_EVERY, MeasuredJob, play
from scheduler._simulate.traces import Trace
from scheduler.simulation import Simulator

CONFIG = {"groups": [{"name": "io", "pool": {"kind": "thread", "slots": 2}, "min_pools": 2}]}
LOAD = "poisson:rate=36,run_time=0.1,jobs=4000,mix=HIGH:1+LOW:3"


@pytest.mark.parametrize("start_up", [0.0, 0.5])
def test_jobs_run_in_simulated_processes_too(start_up):
    """Slots of processes are down until a worker says that it is up; where nobody said so, jobs waited for ever."""
    group = {"name": "cpu", "pool": {"kind": "process", "slots": 2}, "max_pools": 3, "dedicated": True}
    simulator = Simulator.from_config({"groups": [group]}, start_up=start_up, check_every=1)
    for number in range(60):
        simulator.submit(0.1, at=number / 50, tags="cpu")

    statistics = simulator.run(until=60.0)

    assert (60, 0) == (statistics.succeeded, statistics.waiting)
    assert simulator.core.pools.groups["cpu"].opened > 1


def test_the_figures_are_those_of_the_simulator():
    """A table that counts on its own would be one more thing to believe."""
    played = play(synthetic(LOAD, 1), CONFIG)
    simulator = Simulator.from_config(CONFIG)
    jobs = [
        simulator.submit(run_time, at=at, priority=kind.priority) for at, run_time, kind in synthetic(LOAD, 1)
    ]
    statistics = simulator.run()

    assert statistics == played.statistics
    for priority, tally in played.measures.classes.items():
        own = [job for job in jobs if job.priority == priority]
        wait = statistics.wait(priority=priority)
        assert (wait.count, wait.buckets) == (tally.wait.count, tally.wait.buckets)
        assert wait.total == pytest.approx(
            tally.wait.total
        )  # one adds a thousand at a time; from 3.12 on that is exacter
        assert max(job.waited for job in own) == tally.longest_wait
        slowdowns = [(job.ended_at - job.submitted_at) / max(job.run_time, 1e-3) for job in own]
        assert max(slowdowns) == pytest.approx(tally.highest_slowdown)
        assert sum(slowdowns) / len(own) == pytest.approx(1 + tally.slowdown.mean, rel=1e-3)
    assert statistics.wait().total == pytest.approx(played.measures.depth.area(played.length))  # Little's law
    assert 4 * statistics.time == pytest.approx(played.paid)


def test_pools_that_come_and_go_are_counted_and_paid():
    """What scaling saves is the difference of two such sums."""
    load = synthetic("bursts:low=2,high=60,run_time=0.1,every=100,lasts=5,length=330", 1)
    group = {**CONFIG["groups"][0], "min_pools": 1, "max_pools": 8}
    played = play(load, {"groups": [group]}, start_up=0.5)
    simulator = Simulator.from_config({"groups": [group]}, start_up=0.5)
    simulator.source((at, run_time) for at, run_time, _ in load)
    paid = {"io-1": 0.0}
    counts = {"PoolAdded": 1, "PoolStopped": 0}
    seen = {}

    def observe(event):
        name = type(event).__name__
        if event.time <= played.length:
            if name in counts:
                counts[name] += 1
                paid[event.pool] = event.time - paid.get(event.pool, 0.0)
            if name == "ScalingDecided":
                seen[event.action] = seen.get(event.action, 0) + 1

    simulator.observe(observe)
    simulator.run(until=played.length)
    alive = {pool.pool_id: pool.started_at for pool in simulator.pools()}
    total = sum(seconds for pool, seconds in paid.items() if pool not in alive)
    total += sum(played.length - since for since in alive.values())

    assert counts["PoolStopped"] > 2
    assert 2 * total == pytest.approx(played.paid)
    assert seen == dict(played.measures.decisions)
    assert counts["PoolAdded"] - counts["PoolStopped"] == played.measures.pools["io"].value


def test_only_jobs_alive_are_held():
    """A million jobs pass through the memory of a few."""
    held = []

    def look(share, now):
        held.append(sum(isinstance(thing, MeasuredJob) for thing in gc.get_objects()))
        return False

    played = play(synthetic("poisson:rate=30,run_time=0.1,jobs=8000", 1), CONFIG, look=look)

    assert 8_000 == played.statistics.succeeded
    assert len(held) > 5
    assert max(held) < 100


def test_times_divided_make_the_same_run_faster():
    """A month can be played as a day, when the report says so."""
    load = synthetic("poisson:rate=1,run_time=3,jobs=1000", 1)

    once, faster = play(load, CONFIG), play(load, CONFIG, faster=10)

    assert once.length == pytest.approx(faster.length * 10)
    assert once.statistics.wait().mean == pytest.approx(faster.statistics.wait().mean * 10)


def test_the_fewest_pools_are_found():
    """Somebody has to decide on a number, and trying each by hand takes an afternoon."""
    load = synthetic("poisson:rate=100,run_time=0.1,jobs=3000", 1)

    def wait(pools):
        return play(load, fixed(CONFIG, "io", pools)).every.wait.quantile(0.99)

    best = fewest(lambda config, _: play(load, config), CONFIG, "io", 0.1)

    assert best is not None
    found = best.measures.pools["io"].most
    assert wait(found) <= 0.1 < wait(found - 1)


def test_an_interrupt_is_heard_while_the_rest_is_worked_off():
    """A load that is too much has all its jobs come in a moment, and they go on for hours."""

    def look(share, now):
        return share == 1  # all have come

    played = play(synthetic("poisson:rate=1e6,run_time=0.1,jobs=5000", 1), CONFIG, look=look)

    assert played.interrupted
    assert LOOK_EVERY <= played.statistics.succeeded < LOOK_EVERY + 10
    assert 5_000 == played.statistics.submitted


def test_equal_configurations_do_not_differ():
    """An interval that leaves out 0 for the same thing twice would find differences everywhere."""
    load = synthetic(LOAD, 1)

    comparison = compared(play(load, CONFIG), play(load, CONFIG))

    assert comparison.batches >= 12
    assert {0.0} == {each.difference for each in comparison.differences}
    assert not any(each.sure for each in comparison.differences)


def test_an_interval_holds_the_truth_as_often_as_it_says():
    """95 % is a promise: of thirty loads, some two miss the difference that all of them together show."""
    group = CONFIG["groups"][0]
    small, large = CONFIG, {"groups": [{**group, "pool": {"kind": "thread", "slots": 3}}]}
    found = []
    for seed in range(30):
        load = synthetic("poisson:rate=24,run_time=0.1,jobs=1500", seed)
        found.append(compared(play(load, small), play(load, large)).differences[0])
    truth = sum(each.difference for each in found) / len(found)

    assert truth < 0
    assert sum(abs(each.difference - truth) <= each.half_width for each in found) >= 25


def test_common_jobs_make_the_interval_narrower():
    """Different jobs for each would show chance first, and the configurations last."""
    group = CONFIG["groups"][0]
    larger = {"groups": [{**group, "min_pools": 3}]}
    load, other = (synthetic("pareto:rate=30,run_time=0.1,jobs=8000", seed) for seed in (1, 2))
    first = play(load, CONFIG)

    common = compared(first, play(load, larger)).differences[0]
    apart = compared(play(load, CONFIG), play(other, larger)).differences[0]

    assert common.half_width < apart.half_width


def test_a_log_is_played_with_its_classes(tmp_path):
    """The classes of the log are what the configuration treats differently."""
    path = tmp_path / "a.csv"
    path.write_text("arrival,run_time,priority\n" + "".join(f"{n},3,{10 * (n % 2)}\n" for n in range(200)))

    played = play(Trace(path), {"groups": [{"name": "one", "pool": {"kind": "thread", "slots": 2}}]})

    assert {0, 10} == set(played.measures.classes)
    assert played.measures.classes[0].wait.mean < played.measures.classes[10].wait.mean


def test_jobs_turned_away_keep_the_pairs_in_step():
    """A configuration that turns every third job away must be compared by the jobs that came, not by those it took."""
    load = synthetic("poisson:rate=100,run_time=0.1,jobs=4000", 1)
    strict = {**CONFIG, "scheduler": {"capacity": 5, "admission": "reject"}}

    one, other = play(load, strict), play(load, CONFIG)

    assert one.statistics.rejected > 500
    assert one.measures.batches.size == other.measures.batches.size
    assert len(one.measures.batches.tallies) == len(other.measures.batches.tallies)
    assert compared(one, other).batches >= 12
