"""Recordings of simulated runs, each of which replays to the same decisions: law 6, seed by seed."""

import random

import pytest

import scheduler.simulation
from policies import (
    Aging,
    Block,
    Budgeted,
    CircuitBreaker,
    DecorrelatedJitter,
    EarliestDeadline,
    ExponentialBackoff,
    FairShare,
    FixedBackoff,
    Hedge,
    LeastLoaded,
    PeakEwma,
    QueueDelay,
    Reject,
    RetryBudget,
    ShedLowest,
    TwoRandomChoices,
)
from pools import ThreadPool
from scheduler import Limit, PoolGroup
from scheduler._recorder import Recorder
from scheduler._replay import replay
from scheduler.simulation import Simulator

pytestmark = pytest.mark.usefixtures("untraced")

SEEDS = range(16)


def recorded(monkeypatch, path, *groups, seed, **settings):
    """Return a simulator whose core is recorded, and its recorder."""
    recorder = Recorder(path, 1 << 26, seed)
    real = scheduler.simulation.make_core
    monkeypatch.setattr(
        scheduler.simulation,
        "make_core",
        lambda *a, **k: begun(recorder, real(*a, **k, **recorder.parts), groups, settings),
    )
    simulator = Simulator(*groups, seed=seed, **settings)
    monkeypatch.setattr(scheduler.simulation, "make_core", real)
    return simulator


def begun(recorder, core, groups, settings):
    settings = {name: value for name, value in settings.items() if name not in ("start_up", "retry")}
    recorder.begin(groups, settings, name="simulated", now=0.0)
    return core


def run(simulator, dice):
    """Let jobs of every kind come, and somebody meddle."""
    retries = [
        None,
        FixedBackoff(delay=0.2, attempts_max=2),
        DecorrelatedJitter(initial=0.05),
        ExponentialBackoff(initial=0.1, retry_on=lambda error: len(str(error)) > 3),
        Budgeted(
            policy=ExponentialBackoff(initial=0.05, retry_on=lambda _error: True),
            budget=RetryBudget(name="theirs", ratio=0.2),
        ),
        Budgeted(
            policy=FixedBackoff(delay=0.05, attempts_max=4),
            budget=RetryBudget(name="ours", ratio=0.1, reserve_per_second=0.1),
        ),
    ]
    jobs = []
    for _ in range(100):
        options = {"priority": dice.choice([0, 10, 20, 30])}
        if dice.random() < 0.2:
            options["name"] = "fragile"
        if dice.random() < 0.3:
            options["tenant"] = dice.choice("abc")
        if dice.random() < 0.2:
            options["deadline"] = dice.expovariate(0.5) + 0.01
        if dice.random() < 0.2:
            options["queue_timeout"] = dice.expovariate(1) + 0.01
        if dice.random() < 0.2:
            options["run_timeout"] = dice.expovariate(2) + 0.01
        if dice.random() < 0.2:
            options["delay"] = dice.random()
        if dice.random() < 0.2:
            options["key"] = dice.choice("kl")
            options["on_conflict"] = dice.choice(["join", "reject", "replace"])
        if dice.random() < 0.2:
            options["hedge"] = HEDGE
        if dice.random() < 0.5:
            options["retry"] = dice.choice(retries)
        jobs.append(
            simulator.submit(
                dice.expovariate(2), at=dice.random() * 20, fails=dice.choice([0, 0, 0, 1, 2, 9]), **options
            )
        )
    for job in dice.sample(jobs, 15):
        act = dice.choice([simulator.cancel, simulator.interrupt])
        simulator.at(dice.random() * 20, lambda job=job, act=act: job.id and act(job))
    simulator.at(5.0, lambda: simulator.add_pool("io"))
    simulator.at(7.0, lambda: simulator.core.pause(7.0))
    simulator.at(8.0, lambda: simulator._acted(simulator.core.resume(8.0)))
    simulator.at(9.0, lambda: simulator.cordon_pool("io-1"))
    simulator.at(10.0, lambda: simulator.uncordon_pool("io-1"))
    return simulator.run()


HEDGE = Hedge(
    budget=RetryBudget(name="hedges", ratio=0.5, reserve_per_second=5.0), quantile=0.5, samples_min=5
)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_recorded_run_replays_to_the_same_decisions(seed, tmp_path, monkeypatch):
    """A surprise in production can be looked at only if what is replayed is what happened."""
    dice = random.Random(seed)
    breaker = CircuitBreaker(name="fragile", window=5, calls_min=3, open_for=0.5)
    simulator = recorded(
        monkeypatch,
        tmp_path / "run.jsonl",
        PoolGroup(
            "io", ThreadPool(slots=2), max_pools=4, scaling=dice.choice([None, QueueDelay(target=0.2)])
        ),
        PoolGroup("urgent", ThreadPool(slots=1), reserve_for=10, lends=True, keep=0, routing=PeakEwma()),
        seed=seed,
        capacity=dice.choice([5, 20, 1000]),
        admission=dice.choice([Block(timeout=1.0), Reject(), ShedLowest()]),
        ordering=dice.choice([None, Aging(), EarliestDeadline(), FairShare()]),
        routing=dice.choice([None, TwoRandomChoices(), LeastLoaded()]),
        limits=dice.choice([(), (Limit(tenant="b", concurrency=1), Limit(tenant="c", rate=3.0))]),
        breakers=dice.choice([(), (breaker,)]),
        start_up=lambda _pool: None if dice.random() < 0.2 else 0.3,
        retry=FixedBackoff(delay=0.1),
    )

    statistics = run(simulator, dice)
    simulator.core.end_recording(simulator.now)
    played = replay(tmp_path / "run.jsonl")

    assert played.divergence is None
    assert (played.ended, played.jobs >= 100) == ("closed", True)
    assert statistics.succeeded > 20
