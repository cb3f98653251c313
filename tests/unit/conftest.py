"""A core driven by hand: every stimulus is a line of the test, every decision a line of a list."""

import itertools
import random
import sys
import textwrap

import pytest

from policies import Block, LeastLoaded, StrictPriority
from policies.contracts import Advice
from scheduler._core.books import Left, worded
from scheduler._core.core import Core
from scheduler._core.invariants import check
from scheduler._core.job import Job, JobOptions
from scheduler._core.pool_table import GroupRecord, Slot


def a_group(name, slots=1, **settings):
    """Return a group that offers its own name as a tag."""
    tags = frozenset({name}) | settings.pop("tags", frozenset())
    return GroupRecord(name=name, index=0, slots=slots, tags=tags, **settings)


class Says:
    """A scaling policy that says what the test wants: so many pools, or whatever else `says` is set to."""

    def __init__(self, says=None):
        self.says, self.pool, self.panic = says, None, False

    def scale(self, load):
        if isinstance(self.says, BaseException):
            raise self.says
        if self.says is None:
            return load.hold()
        if type(self.says) is not int:
            return self.says
        return Advice(pools=self.says, reason="the test says so", pool=self.pool, panic=self.panic)


class Hand:
    """Does by hand what the driver does: one stimulus a call, and takes what the turn left behind.

    Jobs go by their names. `started` is a list of (name, attempt, worker) in the order of decisions.
    """

    def __init__(self, *groups, capacity=100, pools=1, observed=True, **policies):
        groups = groups or (a_group("io"),)
        for index, group in enumerate(groups):
            group.index = index
        settings = {"admission": Block(), "ordering": StrictPriority(), "routing": LeastLoaded()} | policies
        self.core = Core(groups, capacity=capacity, uniform=random.Random(0), **settings)
        self.core.observed = observed
        self.now = 0.0
        self.jobs = {}
        self.calls = {}
        self.started, self.settled, self.admitted, self.stopped = [], [], [], []
        self.policy_failures, self.events, self.opening = [], [], []
        for group in groups:
            for _ in range(pools):
                self.add_pool(group.name)

    def take(self):
        """Act on what the turn left behind, as the driver does."""
        if self.core.lots.failing:
            self.core.fail_held(self.now)
        left, self.core.left = self.core.left, Left()
        self.core.dirty = False
        for slot in left.starts:
            self._call(slot)
        self.settled += [job.options.name for job in left.settled]
        self.admitted += [job.options.name for job in left.admitted]
        self.stopped += [pool.pool_id for pool in left.stopped]
        self.opening += [pool.pool_id for pool in left.opens]
        self.policy_failures += [question for question, _ in left.policy_failures]
        self.events += map(worded, left.events)
        check(self.core)

    def _call(self, slot):
        name = slot.job.options.name
        self.started.append((name, slot.attempt, slot.worker))
        self.calls[name, slot.attempt] = slot

    # Stimuli

    def submit(self, name, *, groups=None, **options):
        options["tags"] = frozenset(options.get("tags", ()))
        asked = JobOptions(name=name, **options)
        eligible = [self.core.pools.groups[group] for group in groups or ()]
        if not groups:
            eligible = self.core.pools.places(asked.priority, asked.tags, coroutine=False)
        job = self.jobs[name] = Job(
            asked,
            self.core.queue.line(tuple(eligible), self.core.lots.of(asked, tuple(eligible)), asked.tenant),
        )
        take = self.core.submit if asked.key is None else self.core.submit_keyed
        answer = take(job, self.now)
        if isinstance(answer, Slot):
            self._call(answer)
        self.take()
        return answer

    def finish(self, name, error=None, *, value=None, attempt=None):
        """Deliver the outcome of a job's call, and refill its slot."""
        slot = self.calls.pop((name, attempt or self.jobs[name].attempt))
        self.core.finish(slot, value, error, self.now)
        if self.core.refill(slot, self.now) is not None:
            self._call(slot)
        self.take()

    def advance(self, seconds):
        """Move time on, and handle what is due then."""
        self.now += seconds
        self.core.advance(self.now)
        self.take()

    def cancel(self, name):
        answer = self.core.cancel(self.jobs[name], self.now, RuntimeError("cancelled"))
        self.take()
        return answer

    def interrupt(self, name, reason="enough"):
        answer = self.core.interrupt(self.jobs[name], reason, self.now)
        self.take()
        return answer

    def add_pool(self, group):
        pool = self.core.make_pool(self.core.pools.groups[group], self.now)
        self.core.add_pool(pool, self.now)
        self.core.pool_up(pool, self.now)
        self.take()
        return pool

    def up(self, pool_id):
        """Let a pool that was to be opened take jobs."""
        self.opening.remove(pool_id)
        self.tell("pool_up", self.pool(pool_id))

    def fails(self, pool_id):
        """Let a pool that was to be opened, or that runs, break."""
        self.opening = [other for other in self.opening if other != pool_id]
        self.tell("pool_failed", self.pool(pool_id), ValueError("initializer"), "initializer")

    def pool(self, pool_id):
        return self.core.pools.find(pool_id)

    def tell(self, method, *arguments):
        """Call any other method of the core, with the time behind its arguments."""
        answer = getattr(self.core, method)(*arguments, self.now)
        self.take()
        return answer

    # What became of it

    @property
    def names(self):
        return [name for name, _, _ in self.started]

    def state(self, name):
        return self.jobs[name].state.name

    def statistics(self):
        return self.core.statistics(self.now)

    def told(self, kind):
        return [event for event in self.events if type(event).__name__ == kind]


@pytest.fixture
def by_hand():
    """Make cores driven by hand; every invariant holds when the test ends."""
    hands = []

    def make(*groups, **settings):
        hands.append(Hand(*groups, **settings))
        return hands[-1]

    yield make
    for hand in hands:
        check(hand.core)


@pytest.fixture
def says():
    """Make a scaling policy: ``says(3)`` wants three pools until its attribute `says` is changed."""
    return Says


@pytest.fixture
def group():
    """Make a group: ``group("io", slots=2)``."""
    return a_group


class Shelf:
    """A folder on the path in which distributions lie, as pip would leave them there."""

    _numbers = itertools.count(1)

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        folder.mkdir()
        monkeypatch.syspath_prepend(folder)

    def install(self, name, entry_points, code="", *, version="1.0", metadata=True):
        """Install a distribution with one module, for which ``MODULE`` stands; return the module's name."""
        module = f"plugin_module_{next(self._numbers)}"
        (self.folder / f"{module}.py").write_text(textwrap.dedent(code), encoding="utf-8")
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_text(
            textwrap.dedent(entry_points).replace("MODULE", module), encoding="utf-8"
        )
        if metadata:
            about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            (info / "METADATA").write_text(about, encoding="utf-8")
        return module


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder for fake distributions; what is imported from it is forgotten when the test ends."""
    before = set(sys.modules)
    yield Shelf(tmp_path / "shelf", monkeypatch)
    for name in set(sys.modules) - before:
        if name.startswith("plugin_module_"):
            del sys.modules[name]
