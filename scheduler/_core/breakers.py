"""What a circuit breaker has seen, and whom it lets through.

Theory of operation
    A breaker is a limit that mostly has room: jobs under it have lines of their own, which are parked and
    woken like those of other limits (`parking`), in order of priority, then of arrival. Closed, it has room
    for all. Open, it has none until a moment that is known, as a limit whose next token is far away; so the
    alarm that rings for tokens rings for it. The first start after that moment makes it half-open: a limit
    of so many, beside the calls that still run from before.

    It closes or opens again when so many attempts that started half-open have ended. One that ends with a
    verdict keeps its place to itself, so that no more start than are probes. One that ends without
    (interrupted, taken back, its deadline passed) gives it to another: who holds a limit is read off the
    slots, so no place can be lost. A call that ran too long gives it when it returns at last.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from policies.breaker import CircuitBreaker

from .._errors import BreakerOpen
from . import events
from .limits import LimitRecord
from .statistics import BreakerStatistics

if TYPE_CHECKING:
    from .job import JobOptions


class Phase(enum.Enum):
    """Whether a breaker lets jobs through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


CLOSED, OPEN, HALF_OPEN = Phase


class Teller(Protocol):
    """Whoever tells observers: the books."""

    observed: bool

    def emit(self, event: events.Event, error: BaseException | None = None) -> None:
        """Note an event; asked only while somebody observes."""


@attrs.define(eq=False, kw_only=True)
class BreakerRecord(LimitRecord):
    """One breaker and what it has seen. Cost: O(1) a verdict."""

    breaker: CircuitBreaker
    teller: Teller
    phase: Phase = CLOSED
    #: When it last closed or became half-open: what started before says nothing any more.
    since: float = -math.inf
    #: The last verdicts, those that count; True for a failure. How many of them failed.
    seen: deque[bool] = attrs.Factory(deque)
    failed: int = 0
    #: How often it has opened.
    opened: int = 0

    @classmethod
    def watching(cls, breaker: CircuitBreaker, teller: Teller) -> BreakerRecord:
        """Return the record of a breaker that has seen nothing yet."""
        return cls(
            whose=f"breaker of {breaker.whose}",
            of_each=False,
            counts=True,
            breaker=breaker,
            teller=teller,
            interval=1.0,  # so that it is told of every start
            fails=breaker.when_open == "fail",
        )

    def covers(self, options: JobOptions, groups: tuple[Any, ...]) -> bool:
        """Whether a job with these options, which these groups may take, is under it."""
        breaker = self.breaker
        if breaker.tag is not None:
            return breaker.tag in options.tags
        if breaker.name is not None:
            return options.name == breaker.name
        return len(groups) == 1 and groups[0].name == breaker.group

    # What a limit is told

    def take_token(self, now: float) -> None:
        """Take note of a start: the first one after it was open makes it half-open."""
        if self.phase is OPEN and now >= self.ready_at:
            self.phase = HALF_OPEN
            self.concurrency = self.held - 1 + self.breaker.probes
            self._begin(now)
            if self.teller.observed:
                self.teller.emit(events.BreakerHalfOpened(time=now, breaker=self.whose))

    def return_token(self) -> None:
        """Take note that a job was taken back unstarted: nothing, for who holds it is counted."""

    def says(self, now: float) -> str | None:
        """Return in words why no attempt may start, or None if one may."""
        if self.phase is OPEN and now < self.ready_at:
            return f"{self.whose} is open: it lets the next jobs through in {self.ready_at - now:.3g} s"
        if self.held >= self.concurrency:
            return f"{self.whose} is half-open: {self.held} of {self.concurrency:g} probes run"
        return None

    # Verdicts

    def saw(
        self, error: BaseException | None, started_at: float, now: float, *, returned: bool = True
    ) -> None:
        """Take the verdict of an attempt that ended by itself (its call `returned`) or ran too long."""
        breaker = self.breaker
        half_open = self.phase is HALF_OPEN
        if self.phase is OPEN:
            return
        if started_at < self.since:
            if returned:
                self.left(started_at)
            return
        failure = isinstance(error, breaker.fail_on)
        self.seen.append(failure)
        self.failed += failure
        if len(self.seen) > (breaker.probes if half_open else breaker.window):
            self.failed -= self.seen.popleft()
        calls = len(self.seen)
        if calls < (breaker.probes if half_open else breaker.calls_min):
            if half_open and returned:  # what one probe has told need not be asked of another
                self.concurrency -= 1
            return
        if self.failed >= breaker.failure_ratio * calls:
            self._open(now)
        elif half_open:
            self._close(now)

    def left(self, started_at: float) -> None:
        """Take note that an attempt ended without a verdict: the place of an old one was beside those of the probes."""
        if self.phase is HALF_OPEN and started_at < self.since:
            self.concurrency = max(self.breaker.probes - len(self.seen), self.concurrency - 1)

    def _open(self, now: float) -> None:
        calls, failed = len(self.seen), self.failed
        self.phase = OPEN
        self.opened += 1
        self.ready_at = now + self.breaker.open_for
        self.concurrency = math.inf
        self._begin(now)
        if self.teller.observed:
            self.teller.emit(
                events.BreakerOpened(
                    time=now, breaker=self.whose, failed=failed, calls=calls, until=self.ready_at
                )
            )

    def _close(self, now: float) -> None:
        self.phase = CLOSED
        self.concurrency = math.inf
        self._begin(now)
        if self.teller.observed:
            self.teller.emit(events.BreakerClosed(time=now, breaker=self.whose))

    def _begin(self, now: float) -> None:
        self.since = now
        self.seen.clear()
        self.failed = 0

    # What a retry asks

    def held_for(self, now: float) -> float:
        """Return 0 if it lets jobs through, else the seconds until it does."""
        return max(0.0, self.ready_at - now) if self.phase is OPEN else 0.0

    def take(self, now: float) -> None:
        """Take note of a retry: nothing, for its start will be seen."""

    def refuse(self, now: float) -> BreakerOpen:
        """Return the error of an attempt that is not made."""
        return BreakerOpen(
            f"{self.says(now) or self.whose + ' has just closed'}; try again later, or wait for it "
            'with when_open="park" (a retry: when_open="wait")'
        )

    def statistics(self, now: float) -> BreakerStatistics:
        """Return how it stands. A breaker that may let somebody through is half-open before it has."""
        due = self.phase is OPEN and now >= self.ready_at
        return BreakerStatistics(
            breaker=self.whose,
            state=(HALF_OPEN if due else self.phase).value,
            calls=len(self.seen),
            failed=self.failed,
            opened=self.opened,
            until=self.ready_at if self.phase is OPEN and not due else None,
        )
