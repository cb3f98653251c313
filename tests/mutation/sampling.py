"""Which mutants are tried: a sample in which each file has its share, and what it says of all of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any


def shares(counts: Mapping[str, int], total: int) -> dict[str, int]:
    """Return how many of ``total`` each file gives: in proportion, the largest remainders first, one at least."""
    everything = sum(counts.values())
    if total >= everything:
        return dict(counts)
    exact = {file: total * count / everything for file, count in counts.items() if count}
    parts = {file: max(1, math.floor(part)) for file, part in exact.items()}
    by_remainder = sorted(exact, key=lambda file: (exact[file] - parts[file], file), reverse=True)
    for file in by_remainder[: max(0, total - sum(parts.values()))]:
        parts[file] += 1
    return parts


def in_order(mutants: Sequence[Any], seed: int) -> list[Any]:
    """Return the mutants of a file as a seed shuffles them; what changes elsewhere in the file moves none."""
    return sorted(mutants, key=lambda mutant: hashlib.sha256(f"{seed} {mutant.id}".encode()).hexdigest())


def wilson(hits: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Return the interval in which the true share lies with 95 % (Wilson, JASA 22, 1927)."""
    if not trials:
        return 0.0, 1.0
    share = hits / trials
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
