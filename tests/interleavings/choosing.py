"""Who goes on: by dice with a stated chance (PCT), by trying every way with few preemptions, or as it was before."""

import itertools
import random

from weaving import CLOCK


class Pct:
    """Probabilistic concurrency testing: Burckhardt, Kothari, Musuvathi, Nagarakatte, ASPLOS 2010.

    Every strand gets a priority by dice, and the most urgent that can run runs. At ``depth - 1`` steps, chosen by
    dice among the first `steps`, the strand that would run falls behind all others. A bug that needs `depth` ordering
    constraints among n strands and k steps is found with probability at least 1 / (n * k ** (depth - 1)) a schedule.
    Only steps at which somebody else could run are counted: a change elsewhere changes nothing. Time is one strand
    more; once it has moved it gets another priority, or one that sleeps in a loop would keep all others waiting.
    """

    def __init__(self, seed, *, depth, steps):
        self._dice = random.Random(seed)
        numbers = self._dice.sample(range(1, max(steps, depth) + 1), depth - 1)
        self._changes = {step: -rank for rank, step in enumerate(sorted(numbers), 1)}
        self._priorities = {}
        self._lowest = -depth
        self.steps = 0

    def choose(self, candidates, current):
        priorities = self._priorities
        for number in candidates:
            if number not in priorities:
                priorities[number] = 1 + self._dice.random()
        self.steps += 1
        chosen = max(candidates, key=priorities.__getitem__)
        if self.steps in self._changes:
            priorities[chosen] = self._changes[self.steps]
            chosen = max(candidates, key=priorities.__getitem__)
        if chosen == CLOCK:
            priorities[CLOCK] = 1 + self._dice.random()
        return chosen

    def gave_way(self, number):
        """A strand that asks for others to run is the last from now on."""
        self._lowest -= 1
        self._priorities[number] = self._lowest


class Bounded:
    """Every schedule with at most so many preemptions, one after the other: Musuvathi and Qadeer, PLDI 2007 (CHESS).

    A preemption is to take the baton from a strand that could go on; choosing among others when it cannot is free.
    """

    def __init__(self, preemptions):
        self._preemptions = preemptions
        #: What was chosen so far: the ways there were, the index of the one taken, preemptions spent before it, and
        #: what another way than the first costs.
        self._path = []
        self._depth = 0

    def choose(self, candidates, current):
        if self._depth == len(self._path):
            spent = self._spent()
            able = current in candidates
            ways = [current] if able else []
            if not able or spent < self._preemptions:
                ways += [number for number in candidates if number != current]
            self._path.append([ways, 0, spent, int(able)])
        ways, index, _, _ = self._path[self._depth]
        self._depth += 1
        if ways[index] not in candidates:
            raise AssertionError(
                "the scenario does something else when it is chosen for alike: it has dice of its own"
            )
        return ways[index]

    def _spent(self):
        if not self._path:
            return 0
        _, index, spent, cost = self._path[-1]
        return spent + (cost if index else 0)

    def gave_way(self, number):
        """Every way is tried anyhow."""

    def more(self):
        """Turn to the next schedule; return False when there is none."""
        self._depth = 0
        while self._path:
            if self._path[-1][1] + 1 < len(self._path[-1][0]):
                self._path[-1][1] += 1
                return True
            self._path.pop()
        return False


class Replay:
    """The choices of an earlier run, as `written` put them."""

    def __init__(self, schedule):
        self._numbers = iter(read(schedule))

    def choose(self, candidates, current):
        number = next(self._numbers, None)
        if number not in candidates:
            raise AssertionError(
                "this schedule is of another program: it chooses a strand that cannot run here"
            )
        return number

    def gave_way(self, number):
        """The choices stand already."""


def written(choices):
    """Return choices as text that `read` understands: ``0*35 2*4 0*1``."""
    return " ".join(f"{number}*{len(list(run))}" for number, run in itertools.groupby(choices))


def read(schedule):
    """Return the choices of a text."""
    runs = (run.split("*") for run in schedule.split())
    return [int(number) for number, count in runs for _ in range(int(count))]
