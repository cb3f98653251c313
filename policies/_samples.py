"""What the checks of `policies.testing` ask policies about: jobs, queues, pools, errors and loads of every kind."""

from __future__ import annotations

import math
from itertools import product

import attrs

from .contracts import Load, Window


@attrs.frozen(kw_only=True)
class Job:
    """A job as policies see it."""

    id: int
    priority: int
    tags: frozenset[str] = frozenset()
    tenant: str | None = None
    affinity: str | None = None
    submitted_at: float = 0.0
    waiting_since: float = 0.0
    deadline: float | None = None


@attrs.frozen(kw_only=True)
class Queue:
    """A full front queue as policies see it."""

    held: int
    capacity: int


@attrs.frozen(kw_only=True)
class Pool:
    """A pool as policies see it."""

    pool_id: str
    slots: int
    in_use: int
    last_chosen: int = 0
    run_time_ewma: float = 0.0

    @property
    def load(self) -> float:
        """Slots in use ÷ slots."""
        return self.in_use / self.slots


class Unprintable(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Response:
    """A response of somebody's, as far as policies may look at it."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers


class Refused(Exception):
    """An error that says when to come back, in one way or another, or has no idea."""

    def __init__(self, retry_after: object, **headers: str) -> None:
        super().__init__("come back later")
        self.retry_after = retry_after
        self.response = Response({name.replace("_", "-"): value for name, value in headers.items()})


def _rejected(value: object) -> BaseException:
    """Return the error of an attempt that returned a value nobody wants."""
    error = Exception("it returned what is no success")
    error.value = value  # type: ignore[attr-defined]
    return error


def _raised_from(cause: BaseException) -> BaseException:
    """Return an error with a cause that is, in the end, its own."""
    error = RuntimeError("it failed for a reason")
    error.__cause__, cause.__context__ = cause, error
    return error


_NOW, _LATER = "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:30:00 GMT"

#: What came back and was no success.
REJECTED: tuple[BaseException, ...] = tuple(
    map(
        _rejected,
        (None, 503, Response({"Retry-After": "7"}), Response({"retry-after": _LATER, "date": _NOW})),
    )
)

ERRORS: tuple[BaseException, ...] = (
    Exception("a plain one"),
    KeyError("missing"),
    ConnectionResetError("the other end"),
    TimeoutError(),
    Unprintable(),
    ExceptionGroup("several", [ValueError("one"), OSError("two")]),
    _raised_from(ConnectionError("the other end")),
    Refused(7),
    Refused(math.nan, Retry_After="soon"),
    Refused(None, Retry_After=" 2.5 ", date="noon"),
    Refused("-1", Retry_After=_LATER, Date=_NOW),
    Refused(10**400, Retry_After=_LATER),
    BaseException("not even an Exception"),
    KeyboardInterrupt(),
    SystemExit(1),
    GeneratorExit(),
)


def jobs() -> list[Job]:
    """Return jobs of every kind that policies may tell apart."""
    kinds = product(
        (-(10**9), -1, 0, 10, 20, 40, 10**9),
        ((0.0, 0.0), (3.5, 3.5), (3.5, 60.0), (1e9, 1e9)),
        ((frozenset[str](), None, None), (frozenset({"cpu", "gpu"}), "a tenant", "a key \udc80")),
        (None, 0.0, 30.0),
    )
    return [
        Job(
            id=number,
            priority=priority,
            tags=tags,
            tenant=tenant,
            affinity=affinity,
            submitted_at=submitted_at,
            waiting_since=waiting_since,
            deadline=None if limit is None else submitted_at + limit,
        )
        for number, (priority, (submitted_at, waiting_since), (tags, tenant, affinity), limit) in enumerate(
            kinds
        )
    ]


def pool_lists() -> list[list[Pool]]:
    """Return candidates as a dispatcher offers them: at least two, each with a free slot."""
    loads = (
        ((8, 0), (8, 0)),
        ((8, 7), (8, 0)),
        ((8, 6), (8, 7)),
        ((1, 0), (64, 63)),
        ((4, 1), (4, 3), (4, 1), (4, 0)),
        tuple((16, 15 - index) for index in range(16)),
    )
    return [
        [
            Pool(
                pool_id=f"group-{number + 1}",
                slots=slots,
                in_use=in_use,
                last_chosen=7 * number % 5,
                run_time_ewma=(0.0, 1e9, 3.5, 5e-324)[number % 4],
            )
            for number, (slots, in_use) in enumerate(pools)
        ]
        for pools in loads
    ]


def loads() -> list[Load]:
    """Return groups in every state that scaling policies may tell apart."""
    kinds = product(
        ((1, 0, 1), (1, 1, None), (4, 0, 4), (40, 2, 64)),  # pools, starting, max_pools
        (0.0, 0.5, 1.0),  # the share of the slots that is in use
        ((0, 0.0), (1, 0.001), (10_000, 60.0)),  # waiting, and for how long
        ((0.0, 0.0), (0.2, 5.0), (30.0, 600.0)),  # lengths of the windows
        ((0.0, 0.0), (1e-6, 0.0), (0.1, 0.3), (3600.0, 1.0)),  # run time and its deviation
    )
    found = []
    for (pools, starting, most), share, (waiting, wait), lengths, (run_time, deviation) in kinds:
        slots = 8 * (pools - starting)
        in_use = int(share * slots)
        rate = in_use / run_time if run_time else 0.0
        panic, stable = (
            Window(
                seconds=length,
                arrivals=int(rate * length) + waiting,
                starts=int(rate * length),
                completions=int(rate * length),
                run_time=run_time,
                deviation=deviation,
                least_wait=wait,
                in_use=in_use,
                saturated=waiting > 0,
            )
            for length in lengths
        )
        idle = tuple((f"group-{n + 1}", 0.0 if n * 8 < in_use else 100.0) for n in range(pools - starting))
        found.append(
            Load(
                group="group",
                time=1000.0,
                pool_slots=8,
                pools=pools,
                starting=starting,
                max_pools=most,
                slots=slots,
                in_use=in_use,
                waiting=waiting,
                waiting_by_priority=((20, waiting),) if waiting else (),
                oldest_wait=wait,
                idle=idle,
                stable=stable,
                panic=panic,
                run_time=run_time,
                deviation=deviation,
                start_up=run_time / 2,
                since_change=wait,
            )
        )
    return found


class _Everything(dict[object, float]):
    """As `Failure.held`: whatever is asked allows no further attempt for a while."""

    def get(self, key: object, default: object = None) -> float:
        """Return seconds, whatever is asked."""
        return 2.5


HELD = _Everything()
