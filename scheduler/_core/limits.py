"""How many at once, and how many a second: a limit, and how much of it is left.

A rate is a token bucket kept as one number, the moment from which on a token is there. (The generic cell
rate algorithm of ITU-T I.371: it moves on by one interval a start and never lags behind by more than the
burst.) So nothing ticks, and the next token's moment is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from policies.checks import number, whole

if TYPE_CHECKING:
    from .job import JobOptions, Line

#: How much more than a burst is saved up, in parts of it, so that rounding never costs its last token.
_HAIR = 1e-9

#: As a tenant's name: each of them by itself.
EACH = "*"


def _name(_instance: Limit, attribute: attrs.Attribute[Any], value: object) -> None:
    if not (value is None or (isinstance(value, str) and value)):
        raise TypeError(f"Limit({attribute.name}=) must be a non-empty string, not {value!r}")


@attrs.frozen(kw_only=True)
class Limit:
    """How many jobs of one tenant or tag may run at once, and how many may start a second.

    Exactly one of `tenant` (``"*"``: each tenant by itself) and `tag` says whose jobs. `concurrency` bounds
    the attempts whose call has not returned. `rate` bounds the attempts started a second, retries
    included; up to `burst` of them (default: as many as a second brings, at least 1) may start at once when
    that many have been saved up. A job under several limits needs room in all of them; while it has none,
    it waits in the front queue, holds no slot, and lets others pass.
    Raises TypeError and ValueError that name the limit and what to give instead.
    """

    tenant: str | None = attrs.field(default=None, validator=_name)
    tag: str | None = attrs.field(default=None, validator=_name)
    concurrency: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(whole(at_least=1))
    )
    rate: float | None = attrs.field(default=None, validator=attrs.validators.optional(number(above=0)))
    burst: int | None = attrs.field(default=None, validator=attrs.validators.optional(whole(at_least=1)))

    def __attrs_post_init__(self) -> None:
        if (self.tenant is None) == (self.tag is None):
            given = "neither" if self.tenant is None else f"tenant={self.tenant!r} and tag={self.tag!r}"
            raise ValueError(
                f"Limit() takes exactly one of tenant= and tag=, not {given}; make one Limit for each"
            )
        if self.tag == EACH:
            raise ValueError(
                "Limit(tag='*') means nothing: name the tag; only tenant='*' means each by itself"
            )
        if self.concurrency is None and self.rate is None:
            raise ValueError(
                f"Limit({self.whose}) limits nothing; give concurrency= (attempts at once), rate= (starts a second) "
                "or both"
            )
        if self.rate is None and self.burst is not None:
            raise ValueError(
                f"Limit({self.whose}, burst={self.burst}) has no rate; give rate= too, or drop burst="
            )
        if self.rate is not None and not math.isfinite(1 / self.rate):
            raise ValueError(
                f"Limit({self.whose}, rate={self.rate}) is too small; give at least 1e-300 a second"
            )

    @property
    def whose(self) -> str:
        """The argument that says whose jobs these are."""
        return f"tag={self.tag!r}" if self.tenant is None else f"tenant={self.tenant!r}"

    def name_for(self, options: JobOptions) -> str | None:
        """Return the tenant or tag under which a job is counted here, or None if it is not."""
        if self.tag is not None:
            return self.tag if self.tag in options.tags else None
        return options.tenant if self.tenant in (EACH, options.tenant) else None


@attrs.define(eq=False)
class LimitRecord:
    """A limit on one tenant or tag, and who holds it now.

    ``held`` is the number of slots bound to a call under it, and of jobs under it that lie ahead: it can be
    counted anew from them. Without a bound on it nobody asks, and it stays 0.
    """

    #: In words, "tenant 'a'".
    whose: str
    #: Of each tenant by itself: forgotten when nobody knows it any more.
    of_each: bool
    #: Whether who holds it is counted.
    counts: bool
    concurrency: float = math.inf
    #: Seconds from one token to the next; 0 without a rate.
    interval: float = 0.0
    #: Seconds that it takes to save up a burst behind the first token.
    saving: float = 0.0
    held: int = 0
    #: From when on a token is there.
    ready_at: float = -math.inf
    #: When this is to be looked at because a token comes; infinity if nobody waits for one.
    armed: float = math.inf
    #: Where lines are parked that found no room here, by the bundle they belong to.
    parked: dict[Any, Any] = attrs.Factory(dict)
    #: How many lines are.
    waiting: int = 0
    #: Jobs that find no room fail at once instead of waiting.
    fails: bool = False
    #: To be told of every token that is taken; None: nobody.
    remember: Callable[[LimitRecord, float], None] | None = None

    @classmethod
    def of(cls, limit: Limit, name: str) -> LimitRecord:
        """Return the record of a limit nobody has taken from yet."""
        kind = "tenant" if limit.tag is None else "tag"
        counts = limit.concurrency is not None
        record = cls(whose=f"{kind} {name!r}", of_each=limit.tenant == EACH, counts=counts)
        if limit.concurrency is not None:
            record.concurrency = limit.concurrency
        if limit.rate is not None:
            burst = limit.burst or max(1, math.ceil(limit.rate))
            record.interval = 1 / limit.rate
            record.saving = (burst - 1) * record.interval * (1 + _HAIR)
        return record

    def has_room(self, now: float) -> bool:
        """Whether one more attempt may start. Cost: O(1)."""
        return self.held < self.concurrency and now >= self.ready_at

    def take_token(self, now: float) -> None:
        """Take the token of an attempt that starts. Cost: O(1)."""
        earliest, ready_at = now - self.saving, self.ready_at
        # `max` would cost as much as all the rest.
        self.ready_at = (ready_at if ready_at > earliest else earliest) + self.interval  # noqa: FURB136
        if self.remember is not None:
            self.remember(self, now)

    def return_token(self) -> None:
        """Give back the token of an attempt that never began."""
        self.ready_at -= self.interval

    def saved_up(self, now: float) -> bool:
        """Whether the bucket is full, so that a new one would be the same."""
        return self.ready_at <= now - self.saving

    def ready_in(self, before: int, now: float) -> float:
        """Return in how many seconds there is a token for who comes behind so many others; 0 without a rate."""
        first = max(self.ready_at, now - self.saving) if self.interval else now
        return max(0.0, first + before * self.interval - now)

    def says(self, now: float) -> str | None:
        """Return in words why no attempt may start, or None if one may."""
        if self.held >= self.concurrency:
            return f"limit of {self.whose}: {self.held} of {self.concurrency} run"
        if now < self.ready_at:
            return f"rate of {self.whose}: next token in {self.ready_at - now:.3g} s"
        return None


def held_back(line: Line, now: float) -> tuple[str, ...]:
    """Return in words which limits keep the jobs of a line from starting, none if they have room. Pure."""
    return tuple(words for record in line.limits if (words := record.says(now)) is not None)
