"""`Scheduler`: what users hold. Checks arguments, wires policies and pools to a driver."""

from __future__ import annotations

import asyncio
import itertools
import os
import reprlib
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import attrs

from policies.breaker import CircuitBreaker
from policies.contracts import AdmissionPolicy, OrderingPolicy, RetryPolicy, RoutingPolicy
from pools.contract import PoolRecipe

from ._assembly import DEFAULT_CAPACITY, as_groups, make_core
from ._clock import Clock, SystemClock, VirtualClock
from ._config import Config, configured
from ._core.decisions import Explanation
from ._core.job import JobOptions
from ._core.limits import Limit
from ._core.pool_table import GroupRecord, PoolRecord
from ._core.states import PoolState
from ._core.statistics import PoolStatistics, Statistics
from ._dead_letters import DeadLetters
from ._driver import Driver
from ._exit import dropped, watch
from ._group import PoolGroup
from ._observers import Observer
from ._options import (
    check_retry,
    check_seconds,
    check_whole,
    need_method,
)
from ._recorder import Recorder
from ._report import ShutdownReport
from ._stopping import closing_of
from ._submitter import Submitter
from ._tape import BYTES_MAX, BYTES_MIN

P = ParamSpec("P")
T = TypeVar("T")

_counter = itertools.count(1)


@attrs.frozen(kw_only=True)
class DrainReport:
    """How far a pool's draining came."""

    pool_id: str
    #: Whether the pool has run its last job and is gone.
    drained: bool
    #: Ids of the jobs that still run in it.
    running: tuple[int, ...]
    #: Its workers that are still in a call whose attempt is over: it ignores its limit, and keeps the pool.
    overdue_workers: tuple[str, ...] = ()


class Scheduler(Submitter):
    """A two-tier scheduler: one bounded front queue, several fixed-size pools behind it.

    ``Scheduler()`` is one `ThreadPool` sized like ``ThreadPoolExecutor``'s default; ``Scheduler(8)``
    has eight threads; otherwise hand it `PoolGroup`s, or bare recipes such as ``ThreadPool(slots=8)``.

    `capacity` bounds the jobs that wait (default 1,048,576); `admission` says what happens beyond
    (default `Block`), `ordering` who goes first (`StrictPriority`), `routing` which pool of a group
    (`Pack` where the group scales, else `LeastLoaded`), `retry` what happens to failures of jobs and groups without a policy of their own (`NoRetry`),
    `limits` how many jobs of a tenant or tag may run at once or start a second (`Limit`; none),
    `breakers` which jobs are to be left alone while too many attempts fail (`CircuitBreaker`; none),
    `dead_letters` how many failed jobs are kept with their calls (`DeadLetters`; none).
    `seed` fixes the dice.
    `record` is a file that all stimuli are written to, at most `record_bytes_max` bytes (default 64 MiB), to be
    played again by ``python -m scheduler simulate --replay``.
    `check_invariants` checks the whole state in every eventful turn: slow, for debugging.

    It is a `concurrent.futures.Executor`; use it in ``with`` or ``async with``. A scheduler that is
    dropped without closing finishes its jobs and lets its threads go.
    Threads: every method may be called from any thread.
    """

    def __init__(
        self,
        *groups: PoolGroup | PoolRecipe | int,
        capacity: int = DEFAULT_CAPACITY,
        admission: AdmissionPolicy | None = None,
        ordering: OrderingPolicy | None = None,
        routing: RoutingPolicy | None = None,
        retry: RetryPolicy | None = None,
        limits: Iterable[Limit] = (),
        breakers: Iterable[CircuitBreaker] = (),
        name: str | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
        dead_letters: int = 0,
        record: str | os.PathLike[str] | None = None,
        record_bytes_max: int = BYTES_MAX,
        check_invariants: bool = False,
    ) -> None:
        pool_groups = as_groups(groups)
        if clock is not None:
            need_method("clock", clock, "now")
        if not (name is None or type(name) is str):
            raise TypeError(f"Scheduler(name=) must be a string or None, not {reprlib.repr(name)}")
        clock = SystemClock() if clock is None else clock
        name = name or f"scheduler-{next(_counter)}"
        settings: dict[str, Any] = {
            "capacity": capacity,
            "admission": admission,
            "ordering": ordering,
            "routing": routing,
            "limits": _kept(limits),
            "breakers": _kept(breakers),
        }
        check_whole("Scheduler(record_bytes_max=)", record_bytes_max, at_least=BYTES_MIN)
        recorder = None if record is None else Recorder(record, record_bytes_max, seed)
        core = make_core(
            pool_groups,
            **settings,
            seed=seed,
            stopwatch=None if isinstance(clock, VirtualClock) else clock.now,
            **({} if recorder is None else recorder.parts),
        )
        if recorder is not None:
            recorder.begin(pool_groups, settings, name=name, now=clock.now())
        driver = Driver(
            core,
            clock,
            {group.name: group.pool for group in pool_groups},
            name,
            check_invariants=check_invariants,
            dead_letters=check_whole("Scheduler(dead_letters=)", dead_letters, at_least=0),
        )
        super().__init__(driver, JobOptions(retry=check_retry(retry)))
        self.groups = pool_groups
        watch(driver)
        for group in pool_groups:
            for _ in range(group.min_pools):
                driver.add_pool(driver.core.pools.groups[group.name])
        self._finalizer = weakref.finalize(self, dropped, driver)
        self._finalizer.atexit = False

    @classmethod
    def from_config(cls, config: Config, /, **overrides: Any) -> Self:
        """Return the scheduler that a mapping, or the TOML file at a path, describes.

        ``[scheduler]`` holds the keyword arguments of `Scheduler`, each ``[[groups]]`` those of a `PoolGroup`, each
        ``[[limits]]`` those of a `Limit`. A policy is its name, or a table with the key ``policy`` and its settings;
        a pool is a table with the key ``kind``. Functions and classes are ``"module:name"``, and imported.
        `overrides` are keyword arguments of `Scheduler` that hold instead.

        Raises `ConfigError`, which names every key that is wrong and what is known there.
        """
        return configured(cls, config, overrides)

    @property
    def name(self) -> str:
        """The scheduler's name, as in the names of its own threads; its workers go by their pools'."""
        return self._driver.name

    # Seeing

    def statistics(self) -> Statistics:
        """Return one consistent snapshot of everything. Cost: O(pools + delayed jobs)."""
        return self._driver.turn(self._driver.core.statistics)

    def pools(self) -> tuple[PoolStatistics, ...]:
        """Return every pool that has not stopped."""
        return self._driver.turn(lambda _now: self._driver.core.pool_statistics())

    @property
    def dead_letters(self) -> DeadLetters:
        """The newest jobs that ended FAILED, as many as ``Scheduler(dead_letters=)`` keeps."""
        return DeadLetters(self, self._driver)

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Call ``observer(event)`` for every event from now on; return the function that ends it.

        Events arrive in order, one at a time, outside every lock, on the thread that caused them or, while
        another is telling observers, on that one: a moment later, perhaps, than a result is there. After
        10 ms of telling what others bring, a thread goes on that is made for it.
        An observer that raises is logged and changes nothing. With an observer, a job costs about
        5 µs more.
        """
        return self._driver.subscribe(observer)

    def explain(self, group: str | PoolGroup) -> Explanation:
        """Return the last 64 decisions about a group's pools, with reasons; ``print`` it to read them.

        Raises ValueError for an unknown group. Cost: O(pools).
        """
        record = self._group(group)
        return self._driver.turn(lambda now: self._driver.core.explain(record, now))

    # Capacity by hand

    def add_pool(self, group: str | PoolGroup) -> str:
        """Open one more pool of `group` and return its id; waiting jobs start in it at once.

        Raises ValueError for an unknown group, or beyond its ``max_pools``.
        """
        return self._driver.add_pool(self._group(group))

    def drain_pool(self, pool_id: str, timeout: float | None = None) -> DrainReport:
        """Take a pool out: it starts nothing more, finishes what it runs, and goes.

        Waits up to `timeout` seconds (None: as long as it takes) and tells what still runs then; the
        pool goes on draining. Called from a job in that pool, or its done-callbacks, it does not wait.
        A pool that is gone already is drained. Raises ValueError for a pool that there never was, and when the group
        would have fewer than its ``min_pools``.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)

        def drain(now: float) -> PoolRecord | None:
            if self._gone(pool_id):  # what drains may go at any time
                return None
            pool = self._pool(pool_id)
            if pool.state in (PoolState.DRAINING, PoolState.FAILED_TO_START):
                self._driver.core.keep_no_longer(pool, now)
                return pool
            counts = pool.state in (PoolState.STARTING, PoolState.ACCEPTING, PoolState.CORDONED)
            if counts and pool.group.capacity_pools() <= pool.group.min_pools:
                raise ValueError(
                    f"group {pool.group.name!r} must keep min_pools={pool.group.min_pools} pools; "
                    f"add_pool({pool.group.name!r}) first, then drain {pool_id!r}"
                )
            self._driver.core.drain(pool, now)
            return pool

        pool = self._driver.turn(drain)
        if pool is None:
            return DrainReport(pool_id=pool_id, drained=True, running=())
        drained, running, overdue = self._driver.wait_drained(pool, timeout)
        return DrainReport(pool_id=pool_id, drained=drained, running=running, overdue_workers=overdue)

    def cordon_pool(self, pool_id: str) -> None:
        """Let a pool take no more jobs until `uncordon_pool`; what it runs goes on."""

        def cordon(now: float) -> None:
            pool = self._pool(pool_id)
            if pool.state is not PoolState.CORDONED:
                _need_state(pool, PoolState.ACCEPTING, "cordon")
                self._driver.core.cordon(pool, now)

        self._driver.turn(cordon)

    def uncordon_pool(self, pool_id: str) -> None:
        """Let a cordoned pool take jobs again."""

        def uncordon(now: float) -> None:
            pool = self._pool(pool_id)
            if pool.state is not PoolState.ACCEPTING:
                _need_state(pool, PoolState.CORDONED, "uncordon")
                self._driver.core.pool_up(pool, now)

        self._driver.turn(uncordon)

    def _group(self, group: str | PoolGroup) -> GroupRecord:
        name = group.name if isinstance(group, PoolGroup) else group
        groups = self._driver.core.pools.groups
        if name not in groups:
            known = ", ".join(map(repr, groups))
            raise ValueError(f"there is no group {name!r}; this scheduler has {known}")
        return groups[name]

    def _pool(self, pool_id: str) -> PoolRecord:
        pool = self._driver.core.pools.find(pool_id)
        if pool is None:
            known = ", ".join(repr(pool.pool_id) for pool in self._driver.core.pools)
            raise ValueError(f"there is no pool {pool_id!r}; this scheduler has {known}")
        return pool

    def _gone(self, pool_id: str) -> bool:
        """Whether there was such a pool and is no more: a group counts those that it has opened."""
        pools = self._driver.core.pools
        name, _, number = pool_id.rpartition("-")
        if pools.find(pool_id) is not None or name not in pools.groups:
            return False
        known = number.isdecimal() and number == str(int(number))
        return known and 1 <= int(number) <= pools.groups[name].opened

    # Pausing and ending

    def pause(self) -> None:
        """Start nothing until `resume`; jobs are still admitted, and what runs goes on.

        A scheduler that closes finishes its jobs and does not pause.
        """
        if self._driver.refusing is None:
            self._driver.turn(self._driver.core.pause)

    def resume(self) -> None:
        """Start jobs again after `pause`."""
        self._driver.turn(self._driver.core.resume)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until every job has settled, the calling one apart; return whether that was in time.

        Jobs are still admitted meanwhile; to refuse them, `close`.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        return self._driver.wait_idle(timeout)

    def close(
        self, *, finish_within: float | None = 30.0, cancel_within: float | None = 5.0
    ) -> ShutdownReport:
        """End in bounded time, losing nothing unnamed, and return what became of everything.

        No more jobs are admitted; what is alive has `finish_within` seconds to finish, then what waits
        is cancelled and what runs is asked to stop and has `cancel_within` seconds more; then threads
        that ignore that are left behind. None means no limit. A second call joins the first and can
        only shorten it. Safe from any thread, and from inside a job, which is then not waited for.
        """
        for name, value in (("finish_within", finish_within), ("cancel_within", cancel_within)):
            if value is not None:
                check_seconds(name, value)
        if self._driver.forked:
            raise RuntimeError("this scheduler belongs to the parent process, which alone can close it")
        closing = closing_of(self._driver, to_wait=True)
        closing.tighten(finish_within=finish_within, cancel_within=cancel_within, cancel_waiting=False)
        self._driver.refuse()
        closing.wait_for_end()
        assert closing.report is not None
        return closing.report

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(wait=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(wait=False)
        closed: Future[None] = Future()

        def tell() -> None:
            if closed.set_running_or_notify_cancel():  # else nobody waits any more
                closed.set_result(None)

        closing_of(self._driver).when_done(tell)
        await asyncio.wrap_future(closed)

    def __repr__(self) -> str:
        groups = ", ".join(group.name for group in self.groups)
        return f"<Scheduler {self.name!r} groups: {groups}>"


def _kept(values: Iterable[T]) -> Iterable[T]:
    """Return what can be iterated over more than once."""
    return tuple(values) if isinstance(values, Iterator) else values


def _need_state(pool: PoolRecord, state: PoolState, verb: str) -> None:
    if pool.state is not state:
        raise ValueError(f"cannot {verb} pool {pool.pool_id!r}: it is {pool.state.value}, not {state.value}")
