"""Runs a scenario under many schedules, and tells of the first that fails so that it can be run again."""

import contextlib
import gc
import os
import traceback

import attrs
from choosing import Bounded, Pct, Replay, written
from loading import Loom, line_tracer
from strands import Thread
from telling import short
from weaving import World, _worlds


@attrs.frozen
class Scenario:
    """What a few threads do to each other, and what must hold afterwards.

    `body` is called in the first strand. `modules` are those of which each line is a point; everywhere each operation
    on a lock, an event or a thread is one. Timers within `horizon` seconds race with threads; later ones do not.
    """

    body: object
    modules: tuple[str, ...] = ()
    horizon: float = 0.0
    threads_max: int | None = None

    @property
    def name(self):
        return self.body.__name__


@attrs.frozen
class Explored:
    """How many schedules ran, and how many steps and threads the largest had."""

    schedules: int
    steps: int
    strands: int


class Found(AssertionError):
    """A schedule that breaks the scenario; ``number`` schedules had run, this one included."""

    def __init__(self, told, *, number, schedule):
        super().__init__(told)
        self.number, self.schedule = number, schedule


#: What seeds get in turn: most races need two or three constraints, and a large depth is nearly a walk by dice.
DEPTHS = (2, 3, 4, 6)


def explore(scenario, seeds, *, depth=None):
    """Run a scenario once for each seed, in depths that differ unless one is given; raise `Found` at the first failure."""
    strands = 0
    with _loom().set_up(), _no_collector():
        steps = _measure(scenario)
        for number, seed in enumerate(seeds, 1):
            world = _by_dice(scenario, seed, steps, depth)
            strands = max(strands, len(world.strands))
            _judge(scenario, world, number, f"seed {seed}")
    return Explored(len(seeds), steps, strands)


def woven(scenario, seed):
    """Return the world of one seed, as `explore` runs it."""
    with _loom().set_up(), _no_collector():
        return _by_dice(scenario, seed, _measure(scenario))


def _by_dice(scenario, seed, steps, depth=None):
    return _run(scenario, Pct(seed, depth=depth or DEPTHS[seed % len(DEPTHS)], steps=steps))


def explore_all(scenario, *, preemptions=2, at_most=20_000):
    """Run a scenario under every schedule with at most so many preemptions; raise `Found` at the first that fails."""
    chooser, number, steps, strands = Bounded(preemptions), 0, 0, 0
    with _loom().set_up(), _no_collector():
        _run(scenario, Pct(0, depth=1, steps=1))  # see `_measure`
        while True:
            number += 1
            world = _run(scenario, chooser)
            steps, strands = max(steps, len(world.choices)), max(strands, len(world.strands))
            _judge(scenario, world, number, f"{preemptions} preemptions")
            if not chooser.more():
                return Explored(number, steps, strands)
            assert number < at_most, f"{scenario.name} has more than {at_most} schedules"


def _measure(scenario):
    """Return the most steps of a few runs; what is done once a process is done in the first of them."""
    return max(len(_run(scenario, Pct(-n, depth=1, steps=1)).choices) for n in range(1, 5))


def replay(scenario, schedule):
    """Run a scenario as before; raise `Found` if it fails."""
    with _loom().set_up(), _no_collector():
        _run(scenario, Pct(0, depth=1, steps=1))  # see `_measure`
        world = _run(scenario, Replay(schedule))
        _judge(scenario, world, 1, "a replay")
    return world


_looms = []


def _loom():
    if not _looms:
        _looms.append(Loom())
    return _looms[0]


def _run(scenario, chooser):
    """Run one schedule; return its world."""
    loom = _loom()
    world = World(chooser, horizon=scenario.horizon, threads_max=scenario.threads_max)
    world.tracer = line_tracer(scenario.modules, world.line)
    _worlds.append(world)
    try:
        loom.renew()
        world.run(Thread(target=scenario.body, name="body"))
    finally:
        loom.forget()
        world.end()
        _worlds.remove(world)
    return world


@contextlib.contextmanager
def _no_collector():
    """Keep the collector from running finalisers at moments that differ."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _judge(scenario, world, number, by):
    if world.failure is None:
        return
    schedule = written(world.choices)
    story = "\n".join(
        f"  {who:<28} {place:<52} {what:<10} -> {then}" for who, place, what, then in world.story[-40:]
    )
    error = world.failure
    place = traceback.extract_tb(error.__traceback__)[-1:] if error.__traceback__ else []
    told = (
        f"{scenario.name} fails under schedule {number}, by {by}: {type(error).__name__}: {error}\n"
        f"{''.join(f'raised in {short(f.filename)}:{f.lineno} {f.name}: {f.line}' for f in place)}\n"
        f"Who ran when (the last {min(40, len(world.story))} of {len(world.story)} switches):\n{story}\n"
        f"To run it again: replay({scenario.name}, {schedule!r})"
    )
    raise Found(told, number=number, schedule=schedule) from world.failure


def seeds(usual):
    """Return the seeds of a run: as many as SEEDS says, or `usual`; from FIRST_SEED on."""
    first = int(os.environ.get("FIRST_SEED", "1"))
    return range(first, first + int(os.environ.get("SEEDS", usual)))
