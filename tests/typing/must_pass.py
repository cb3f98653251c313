"""What must type-check, and as what: read by mypy --strict alone, never run."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed, wait
from concurrent.futures import ThreadPoolExecutor as StandardExecutor
from pathlib import Path
from typing import Any, TypeVar, assert_type

from policies import (
    Admission,
    AdmissionPolicy,
    ExponentialBackoff,
    FailureView,
    FirstMatch,
    FixedBackoff,
    HonourRetryAfter,
    JobView,
    NoRetry,
    OrderingPolicy,
    PoolView,
    QueueView,
    RetryPolicy,
    RoutingPolicy,
    ScalingPolicy,
    ScheduleBackoff,
    Uniform,
    like_stamina,
    load,
)
from pools import AsyncioPool, ThreadPool
from scheduler import JobHandle, PoolGroup, Priority, Scheduler, ShutdownReport, Submitter
from scheduler.compat import ThreadPoolExecutor
from scheduler.simulation import Simulator


def area(width: int, height: int, *, scale: float = 1.0) -> float:
    return width * height * scale


def named(name: str) -> dict[str, int]:
    return {name: len(name)}


class Shop:
    def price(self, article: str) -> int:
        return len(article)


def submit_keeps_parameters_and_result(scheduler: Scheduler) -> None:
    assert_type(scheduler.submit(area, 2, 3), JobHandle[float])
    assert_type(scheduler.submit(area, 2, height=3, scale=0.5), JobHandle[float])
    assert_type(scheduler.submit(named, "a"), JobHandle[dict[str, int]])
    assert_type(scheduler.submit(Shop().price, "a"), JobHandle[int])
    assert_type(scheduler.submit(Shop), JobHandle[Shop])
    assert_type(scheduler.submit(lambda: 1), JobHandle[int])


async def fetched(url: str, *, attempts: int = 1) -> bytes:
    return url.encode() * attempts


class Client:
    async def get(self, url: str) -> bytes:
        return url.encode()

    async def __call__(self, url: str) -> int:
        return len(url)


def a_coroutine_function_gives_what_awaiting_it_gives(scheduler: Scheduler) -> None:
    assert_type(scheduler.submit(fetched, "a"), JobHandle[bytes])
    assert_type(scheduler.submit(fetched, "a", attempts=2).result(), bytes)
    assert_type(scheduler.submit(Client().get, "a"), JobHandle[bytes])
    assert_type(scheduler.submit(Client(), "a"), JobHandle[int])
    assert_type(scheduler.submit(functools.partial(fetched, attempts=2), "a"), JobHandle[bytes])
    assert_type(scheduler.with_options(tags={"net"}).submit(lambda: fetched("a")), JobHandle[bytes])
    assert_type(scheduler.map(fetched, ["a", "b"]), Iterator[bytes])
    assert_type(list(scheduler.with_options(priority=1).map(Client().get, ["a"])), list[bytes])


async def a_coroutine_can_be_awaited_from_another_loop(scheduler: Scheduler) -> None:
    assert_type(await scheduler.submit(fetched, "a"), bytes)


def a_handle_gives_what_the_function_returns(scheduler: Scheduler) -> None:
    handle = scheduler.submit(named, "a")
    assert_type(handle.result(), dict[str, int])
    assert_type(handle.result(timeout=1.5), dict[str, int])
    assert_type(handle.exception(), BaseException | None)
    assert_type(handle.attempts[0].error, BaseException | None)
    assert_type(handle.cancel(), bool)
    assert_type(handle.progress, tuple[float, float | None] | None)


async def a_handle_can_be_awaited(scheduler: Scheduler) -> None:
    assert_type(await scheduler.submit(named, "a"), dict[str, int])
    assert_type(await asyncio.wrap_future(scheduler.submit(area, 2, 3)), float)
    assert_type(await asyncio.get_running_loop().run_in_executor(scheduler, area, 2, 3), float)
    both = await asyncio.gather(scheduler.submit(area, 2, 3), scheduler.submit(named, "a"))
    assert_type(both, tuple[float, dict[str, int]])


def a_callback_receives_the_handle(scheduler: Scheduler) -> None:
    def settled(handle: JobHandle[float]) -> None:
        assert_type(handle.result(), float)

    def settled_by_anybody(future: Future[float]) -> None:
        assert_type(future.result(), float)

    scheduler.submit(area, 2, 3).add_done_callback(settled)
    scheduler.submit(area, 2, 3).add_done_callback(settled_by_anybody)


def options_keep_the_types(scheduler: Scheduler, retry: RetryPolicy) -> None:
    urgent = scheduler.with_options(priority=Priority.HIGH, tags={"disk"}, run_timeout=2.5, name="urgent")
    assert_type(urgent, Submitter)
    assert_type(urgent.submit(area, 2, 3), JobHandle[float])
    assert_type(urgent.with_options(key="page", on_conflict="replace").submit(len, "a"), JobHandle[int])
    assert_type([letter.error for letter in scheduler.dead_letters], list[BaseException])
    assert_type(scheduler.dead_letters.resubmit_all(to=urgent, priority=1), list[JobHandle[Any]])
    assert_type(urgent.with_options(priority=-3, retry=retry, tenant=None, deadline=None), Submitter)
    assert_type(
        scheduler.with_options(queue_timeout=1, delay=0.5).map(named, ["a"]), Iterator[dict[str, int]]
    )


def map_gives_results_in_order(scheduler: Scheduler) -> None:
    assert_type(scheduler.map(area, [1, 2], [3, 4]), Iterator[float])
    assert_type(scheduler.map(named, ["a"], timeout=1.0, chunksize=2, buffersize=4), Iterator[dict[str, int]])
    assert_type(list(scheduler.map(Shop().price, ("a", "b"))), list[int])


def a_scheduler_is_an_executor(scheduler: Scheduler) -> None:
    executor: Executor = scheduler
    submitter: Executor = scheduler.with_options(priority=1)
    standard: StandardExecutor = ThreadPoolExecutor(4, "prefix", print, ("started",))
    standard.submit(area, 2, 3)
    submitter.shutdown(wait=False, cancel_futures=True)
    with executor, Scheduler(8) as eight:
        assert_type(eight, Scheduler)
    with ThreadPoolExecutor() as ours:
        assert_type(ours, ThreadPoolExecutor)
        assert_type(ours.submit(named, "a"), JobHandle[dict[str, int]])
    assert_type(scheduler.close(finish_within=None), ShutdownReport)


async def a_scheduler_is_an_async_context_manager() -> None:
    async with Scheduler() as scheduler:
        assert_type(scheduler, Scheduler)


def a_handle_is_a_future(scheduler: Scheduler) -> None:
    future: Future[float] = scheduler.submit(area, 2, 3)
    handles = [scheduler.submit(area, 2, 3)]
    assert_type(future.result(), float)
    assert_type(wait(handles).done, set[Future[float]])
    assert_type(as_completed(handles), Iterator[Future[float]])


class ThreeTimes:
    """A third party's retry policy; it inherits nothing."""

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        assert_type(failure.error, BaseException)
        assert_type(failure.last_delay, float | None)
        return uniform.random() if failure.attempt < 3 else None


class Shortest:
    """A third party's ordering policy; a plain attribute serves as the property."""

    few_keys = False

    def key(self, job: JobView) -> float:
        return job.priority + 0.1 * len(job.tags)


PoolViewT = TypeVar("PoolViewT", bound=PoolView)


class Emptiest:
    """A third party's routing policy."""

    def choose(self, job: JobView, pools: Sequence[PoolViewT], uniform: Uniform) -> PoolViewT:
        return min(pools, key=lambda pool: pool.in_use / pool.slots)


class TenantsFirst:
    """A third party's admission policy."""

    def admit(self, job: JobView, queue: QueueView) -> Admission:
        return Admission.BLOCK if job.tenant and queue.held <= queue.capacity else Admission.REJECT


def an_asyncio_pool_takes_a_factory_of_loops() -> None:
    Scheduler(PoolGroup("net", AsyncioPool(slots=100, loop_factory=asyncio.new_event_loop, lag_limit=None)))


def retries_are_put_together(patient: RetryPolicy, busy: dict[type[ConnectionError], FixedBackoff]) -> None:
    def is_busy(error: OSError) -> bool:
        return error.errno == 16

    FirstMatch({ConnectionError: patient, (KeyError, IndexError): None}, otherwise=NoRetry())
    FirstMatch(busy)
    whole: RetryPolicy = HonourRetryAfter(FirstMatch([(OSError, patient)], by_cause=True), ceiling=60)
    ExponentialBackoff(
        jitter="equal", retry_on=(OSError, is_busy), give_up_on=is_busy, retry_if_result=callable
    )
    PoolGroup("io", ThreadPool(slots=4), retry=whole)
    PoolGroup("io", ThreadPool(slots=4), retry=like_stamina(on=is_busy))
    ScheduleBackoff([1, 5.5, 30], attempts_max=9)


def plain_classes_are_policies() -> None:
    retry: RetryPolicy = ThreeTimes()
    ordering: OrderingPolicy = Shortest()
    routing: RoutingPolicy = Emptiest()
    admission: AdmissionPolicy = TenantsFirst()
    Scheduler(
        PoolGroup("io", ThreadPool(slots=4)),
        retry=retry,
        ordering=ordering,
        routing=routing,
        admission=admission,
    )
    Scheduler(
        ThreadPool(slots=2),
        retry=ThreeTimes(),
        ordering=Shortest(),
        routing=Emptiest(),
        admission=TenantsFirst(),
    ).with_options(retry=ThreeTimes())


def a_policy_by_name_is_of_its_kind() -> None:
    assert_type(load("exponential-backoff", kind="retry", attempts_max=5), RetryPolicy)
    assert_type(load("aging", kind="ordering"), OrderingPolicy)
    assert_type(load("block", kind="admission"), AdmissionPolicy)
    assert_type(load("pack", kind="routing"), RoutingPolicy)
    assert_type(load("queue-delay", kind="scaling"), ScalingPolicy)
    Scheduler(retry=load("no-retry"), ordering=load("aging", kind="ordering")).close()


def a_scheduler_from_a_file_is_of_its_class(path: Path) -> None:
    assert_type(Scheduler.from_config(path, retry=None), Scheduler)
    assert_type(Scheduler.from_config({"scheduler": {"capacity": 5}}), Scheduler)
    assert_type(Simulator.from_config(str(path)), Simulator)
