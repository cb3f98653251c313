"""What a policy may look at, and what it answers: the nouns of every plug-in.

A policy is a frozen value with one method named for its question. It keeps no memory (that is in the
argument), rolls no dice of its own (they are handed in), reads no clock and writes to no view.
Nothing has to be inherited or registered: whatever has the method is a policy.

======================  =============  ==========================================================
question                policy         answer
======================  =============  ==========================================================
who goes first?         ordering       ``key(job)``: a number, lower is sooner
may it come in?         admission      ``admit(job, queue)``: an `Admission`, asked when it is full
which pool?             routing        ``choose(job, pools, uniform)``: one of ``pools``
again, and when?        retry          ``retry_after(failure, uniform)``: seconds, or None
more pools or fewer?    scaling        comes with the autoscaler
======================  =============  ==========================================================

A policy that raises never loses a job: the scheduler falls back and emits `PolicyFailed`.
The views are Protocols that the scheduler's live records satisfy, so a decision allocates nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol, TypeVar

import attrs


class Uniform(Protocol):
    """The dice: a seeded source of chance."""

    def random(self) -> float:
        """Return a number in [0, 1)."""


class JobView(Protocol):
    """What a policy may know of a job. All times are seconds on the scheduler's clock."""

    @property
    def id(self) -> int:
        """The job's number, from 1 in order of submission; 0 until it is admitted."""

    @property
    def priority(self) -> int:
        """Lower is sooner."""

    @property
    def tags(self) -> frozenset[str]:
        """The labels that say which groups may take it."""

    @property
    def tenant(self) -> str | None:
        """Whom it was submitted for."""

    @property
    def submitted_at(self) -> float:
        """When it was submitted."""

    @property
    def waiting_since(self) -> float:
        """When it last joined the front queue."""


class PoolView(Protocol):
    """What a policy may know of a pool."""

    @property
    def pool_id(self) -> str:
        """The pool's id, never reused."""

    @property
    def slots(self) -> int:
        """How many attempts it can run at once; never changes."""

    @property
    def in_use(self) -> int:
        """How many of its slots are not free."""

    @property
    def load(self) -> float:
        """Slots in use ÷ slots."""


class QueueView(Protocol):
    """What a policy may know of the front queue."""

    @property
    def held(self) -> int:
        """How many jobs the bound counts: waiting, delayed and backing off."""

    @property
    def capacity(self) -> int:
        """How many it may hold."""


class FailureView(Protocol):
    """What a retry policy may know of a failed attempt."""

    @property
    def attempt(self) -> int:
        """The number of the attempt that failed, 1 for the first."""

    @property
    def error(self) -> BaseException:
        """What it raised."""

    @property
    def elapsed(self) -> float:
        """Seconds since the first attempt started."""

    @property
    def last_delay(self) -> float | None:
        """Seconds of the backoff before this attempt; None before the first retry."""


@attrs.frozen
class Failure:
    """A failed attempt, as retry policies see it; also for tests of such policies."""

    attempt: int
    error: BaseException
    elapsed: float = 0.0
    last_delay: float | None = None


class Admission(enum.Enum):
    """What to do with a job that finds the front queue full."""

    #: The submitter waits for room, at most the policy's ``timeout`` seconds.
    BLOCK = "block"
    #: ``submit`` raises `QueueFull`.
    REJECT = "reject"
    #: The job that would start last is evicted with `JobShed`; if that is the newcomer, it is rejected.
    SHED_LOWEST = "shed_lowest"
    #: The submitting thread runs the job itself.
    CALLER_RUNS = "caller_runs"


class OrderingPolicy(Protocol):
    """Decides who goes first."""

    @property
    def few_keys(self) -> bool:
        """Whether many jobs share a key, as with plain priorities; decides only what waiting costs."""

    def key(self, job: JobView) -> float:
        """Return the job's key, computed once when it first joins the queue; lower starts sooner."""


class AdmissionPolicy(Protocol):
    """Decides what happens to a job that finds the front queue full."""

    def admit(self, job: JobView, queue: QueueView) -> Admission:
        """Return the way out."""


PoolViewT = TypeVar("PoolViewT", bound=PoolView)


class RoutingPolicy(Protocol):
    """Decides which of several pools gets a job."""

    def choose(self, job: JobView, pools: Sequence[PoolViewT], uniform: Uniform) -> PoolViewT:
        """Return one of `pools`: each may take the job and has a free slot; there are at least two."""


class RetryPolicy(Protocol):
    """Decides whether a failed job gets another attempt, and how long it backs off."""

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        """Return seconds to wait before the next attempt, or None to give up."""


class ScalingPolicy(Protocol):
    """Decides whether a group needs more pools or fewer; its one method comes with the autoscaler."""
