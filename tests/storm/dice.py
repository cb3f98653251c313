"""Chance that is the same on every Python: only ``Random(whole number).random()``, which is promised to stay.

`choice`, `shuffle`, `sample` and `randrange` have changed between versions, and `hash` is another one in every
process; nothing here asks them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Seeded chance, all of it made of `random()`."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def chance(self, share: float) -> bool:
        """Return True in so many of all cases."""
        return self.random() < share

    def below(self, bound: int) -> int:
        """Return a whole number from 0 on and below `bound`."""
        return int(self.random() * bound)

    def one_of(self, things: Sequence[T]) -> T:
        """Return one of these; what stands there twice comes twice as often."""
        return things[self.below(len(things))]

    def by_weight(self, weights: dict[str, float]) -> str:
        """Return one of the keys, each as often as its weight says."""
        left = self.random() * sum(weights.values())
        for name, weight in weights.items():
            left -= weight
            if left < 0:
                return name
        return name
