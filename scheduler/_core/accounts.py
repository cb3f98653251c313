"""The account of a tenant, its flows, and what it is charged for.

What they are for stands in `shares`.
"""

from __future__ import annotations

import math
from typing import Protocol

import attrs

from .job import Job, Line
from .limits import LimitRecord

#: Seconds that an attempt of which nothing is known is taken to last. Arbitrary: the same for all.
UNKNOWN = 1.0
#: Entries out of date that a heap may hold beside as many as those that count. Arbitrary.
STALE_MAX = 64


class Clocked(Protocol):
    """Whatever knows the time of this turn."""

    now: float


class FlowLine(Line, Protocol):
    """What an account needs of a line of flows."""

    flows: dict[str | None, Flow]
    #: What is added to tags here when lines are compared.
    lag: float

    def retag(self, flow: Flow) -> None:
        """Put a flow whose tag has fallen where it belongs."""

    def pass_by(self, job: Job) -> Flow:
        """Return the flow of a job that starts without having waited here."""

    def forget(self, tenant: str | None) -> None:
        """Forget the flow of a tenant, in which nobody waits."""

    def level(self, apart: LimitRecord | None = None) -> float | None:
        """Return how far the line has got, in virtual seconds; None if nobody was ever served here.

        Who gets on under the limit `apart` is left out where that is known.
        """


@attrs.define(eq=False)
class Share:
    """The account of one tenant. Virtual seconds are seconds of slots ÷ weight."""

    tenant: str | None
    #: In order of first sight; decides between equal tags.
    number: int
    weight: float
    #: Seconds that ended attempts have run.
    done: float = 0.0
    #: What is charged for the others, in the order in which they left their lines, and its sum in seconds.
    charged: dict[Charge, None] = attrs.Factory(dict)
    pending: float = 0.0
    #: Not later than the first of them outlives its guess.
    outlived_at: float = math.inf
    #: Attempts that run, and the sum of the moments at which they started.
    running: int = 0
    starts: float = 0.0
    #: Virtual seconds charged so far: ``(done + pending) ÷ weight``.
    finish: float = 0.0
    #: The average of the latest run times in seconds; None before the first.
    guess: float | None = None
    #: Jobs that wait, in all lines.
    waiting: int = 0
    flows: dict[FlowLine, Flow] = attrs.Factory(dict)
    #: Its place among `Shares.ranked`, once that is kept.
    rank: tuple[float, int, Share] | None = None
    #: It is in `Shares.resting`, and may have got jobs since.
    rests: bool = False

    def reached(self, now: float) -> float:
        """Return the virtual seconds that it has really had by now."""
        return (self.done + self.running * now - self.starts) / self.weight

    def expects(self, guess: float | None) -> float:
        """Return the seconds that its next attempt is taken to last; `guess` is everybody's average."""
        return self.guess or guess or UNKNOWN


@attrs.define(eq=False)
class Flow:
    """The jobs of one tenant in one line."""

    share: Share
    line: FlowLine
    jobs: Line
    #: Virtual seconds between the account and the tag here.
    lag: float = 0.0
    #: The entry in the line's heap that counts, None while nobody waits. The tag in it may have risen since.
    entry: tuple[float, int, Flow] | None = None


@attrs.define(eq=False)
class Charge:
    """What is charged for one job that has left its line and whose call has not returned."""

    flow: Flow
    seconds: float
    #: The flow's tag when the job was taken.
    tag: float
    #: When the attempt started; None while the job lies ahead.
    started: float | None = None
