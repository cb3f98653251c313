"""What the autoscaler decided and why, as records that can be read aloud."""

from __future__ import annotations

import attrs

from policies.contracts import Load

#: Candidates that are named in words.
SHOWN = 4


@attrs.frozen(kw_only=True)
class Decision:
    """One evaluation that changed something, or wanted to and was not allowed.

    `time` is seconds on the scheduler's clock. `effect` is what was measured later, None until then.
    """

    time: float
    group: str
    #: ``add``, ``take back``, ``drain``, ``replace``, or ``hold`` when a rule forbade what was wanted.
    action: str
    #: The pools that it was done to.
    pools: tuple[str, ...]
    #: How many pools the group had, and how many the policy would have had.
    before: int
    wanted: int
    #: Why, in the policy's words, and its computation with the numbers.
    reason: str
    formula: str = ""
    #: The rule that did not let everything happen, in words; None when all of it happened.
    limited_by: str | None = None
    #: For a drain: every pool that could have gone, with its slots in use and its idle seconds.
    candidates: tuple[tuple[str, int, float], ...] = ()
    #: What the policy looked at; None where it was not asked.
    load: Load | None = attrs.field(default=None, repr=False)
    effect: str | None = None

    def measured(self, effect: str) -> Decision:
        """Return the decision with what it was later found to have done."""
        return attrs.evolve(self, effect=effect)

    def __str__(self) -> str:
        return self.told(f"at {self.time:.2f} s")

    def told(self, when: str) -> str:
        """Return the decision in plain words, with the moment as `when` says it."""
        names = ", ".join(self.pools)
        done = {
            "add": f"opened {names}",
            "take back": f"took back {names}, which was draining",
            "drain": f"drains {names}",
            "replace": f"opened {names} in place of a quarantined pool",
            "hold": "changed nothing",
        }[self.action]
        lines = [f"{when}, with {pools_in_words(self.before)}, it {done}: {self.reason}"]
        if self.formula:
            lines.append(f"computed: {self.formula}")
        if self.wanted != self.before:
            lines.append(f"wanted: {pools_in_words(self.wanted)}")
        if self.limited_by:
            lines.append(f"limited: {self.limited_by}")
        if self.candidates:
            seen = [f"{pool} {used} in use, idle {idle:.2f} s" for pool, used, idle in self.candidates]
            more = f"; and {len(seen) - SHOWN} more" if len(seen) > SHOWN else ""
            lines.append(f"candidates: {'; '.join(seen[-SHOWN:])}{more}")
        if self.effect:
            lines.append(f"effect: {self.effect}")
        return "\n    ".join(lines)


@attrs.frozen(kw_only=True)
class Explanation:
    """The last decisions about one group, oldest first; ``str()`` says them in plain words."""

    #: Seconds on the scheduler's clock.
    time: float
    group: str
    decisions: tuple[Decision, ...]
    #: One line on how things stand.
    now: str

    def __str__(self) -> str:
        if not self.decisions:
            return f"group {self.group!r}: {self.now}; nothing has been decided yet"
        told = "\n".join(f"  {each.told(f'{self.time - each.time:.2f} s ago')}" for each in self.decisions)
        return f"group {self.group!r}: {self.now}\n{told}"


def pools_in_words(count: int) -> str:
    """Return "1 pool", "2 pools"."""
    return "1 pool" if count == 1 else f"{count} pools"
