"""The account of a tenant, and what it is charged for.

What they are for stands in `shares`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import attrs

from .job import Job, Line
from .pool_table import Slot

#: The share of the latest run time in the average: that of round-trip times in TCP (RFC 6298).
LATEST = 1 / 8
#: Seconds that an attempt of which nothing is known is taken to last. Arbitrary: the same for all.
UNKNOWN = 1.0


class Clocked(Protocol):
    """Whatever knows the time of this turn, and what runs."""

    now: float

    def running(self) -> Iterator[Job]:
        """Iterate over the jobs that run now."""


class Bundled(Protocol):
    """What an account needs of the lines that a flow competes with."""

    def level(self) -> float | None:
        """Return how far they have got, in virtual seconds; None if nobody was ever served there."""

    def count_ranked(self) -> None:
        """Count from now on who comes and goes for `Shares.ranked`."""


class Turns(Protocol):
    """What an account needs of the heads among which its tenant's flow has the turn."""

    turn: TenantsLine | None


class TenantsLine(Line, Protocol):
    """What an account needs of a flow: the jobs of its tenant that the same groups may take, under the same limits."""

    share: Share

    @property
    def bundle(self) -> Bundled:
        """The line in which it takes turns with others."""

    @property
    def tag(self) -> float:
        """The virtual seconds by which its turn is decided; the lowest is next."""

    def retag(self) -> None:
        """Take its place again: its tag may have fallen."""


@attrs.define(eq=False)
class Share:
    """The account of one tenant. Virtual seconds are seconds of slots ÷ weight."""

    tenant: str | None
    #: In order of first sight; decides between equal tags.
    number: int
    weight: float
    #: Seconds that ended attempts have run.
    done: float = 0.0
    #: What is charged for others, in the order in which they left their lines, and its sum in seconds.
    charged: dict[Charge, None] = attrs.Factory(dict)
    pending: float = 0.0
    #: Not later than the first of them outlives its guess.
    outlived_at: float = math.inf
    #: Attempts among them that run, and the sum of the moments at which they started.
    running: int = 0
    starts: float = 0.0
    #: Virtual seconds charged so far, ``(done + pending) ÷ weight``; reckoned anew once `done` has reached `step`.
    finish: float = 0.0
    step: float = 0.0
    #: The average of the latest run times in seconds; None before the first.
    guess: float | None = None
    #: `ended` and `done` when that was last looked at.
    ended_known: int = 0
    done_known: float = 0.0
    #: The heads among which its only flow has the turn: told when the account changes.
    turn: Turns | None = None
    #: Attempts whose call has returned, and those beside the jobs that wait and what has left its line and has not
    #: returned, hedges and calls that outlived their attempt included: so the difference of both is alive.
    ended: int = 0
    came: int = 0
    #: Jobs that wait, in all lines; kept only together with `rank`.
    waiting: int = 0
    flows: dict[TenantsLine, None] = attrs.Factory(dict)
    #: Its place among `Shares.ranked`, once that is kept.
    rank: tuple[float, int, Share] | None = None
    #: It is in `Shares.resting`, and may have got jobs since.
    rests: bool = False
    #: Forgotten, or never opened: a flow that still knows it must ask for another.
    gone: bool = False

    def reached(self, now: float) -> float:
        """Return the virtual seconds that it has really had by now, as far as that is known."""
        return (self.done + self.running * now - self.starts) / self.weight

    @property
    def alive(self) -> int:
        """How many jobs wait or run, lie ahead, are hedges, or have outlived their attempt."""
        return self.came - self.ended

    def end_turn(self) -> None:
        """Have looked for whose turn it is where it was this tenant's: its account changes."""
        if self.turn is not None:
            self.turn.turn = None
            self.turn = None

    def learn(self) -> None:
        """Take the run times into the average that it does not know yet, as if they were equal."""
        count, seconds = self.ended - self.ended_known, self.done - self.done_known
        self.ended_known, self.done_known = self.ended, self.done
        if count:
            mean, known = seconds / count, self.guess
            self.guess = mean if known is None else mean + (known - mean) * (1 - LATEST) ** count

    def expects(self, guess: float | None) -> float:
        """Return the seconds that its next attempt is taken to last; `guess` is everybody's average."""
        return self.guess or guess or UNKNOWN


#: Stands where no account has been opened yet.
NOBODY = Share(None, 0, 1.0, gone=True)


@attrs.define(eq=False)
class Charge:
    """What is charged for one job that has left its line and whose call has not returned."""

    flow: TenantsLine
    seconds: float
    #: The flow's tag when the job was taken.
    tag: float
    #: When the attempt started; None while the job lies ahead.
    started: float | None = None


#: Whatever is charged: a job, or a slot whose call has outlived its attempt.
Holder = Job | Slot
