"""What must not type-check: an ignore that is not needed is an error, so each line proves that mypy complains."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from policies import (
    AdmissionPolicy,
    ExponentialBackoff,
    FailureView,
    JobView,
    OrderingPolicy,
    PoolView,
    QueueView,
    RetryPolicy,
    RoutingPolicy,
    Uniform,
)
from pools import ThreadPool
from scheduler import JobHandle, PoolGroup, Scheduler


def area(width: int, height: int, *, scale: float = 1.0) -> float:
    return width * height * scale


def arguments_are_those_of_the_function(scheduler: Scheduler) -> None:
    scheduler.submit(area, "2", 3)  # type: ignore[call-overload]
    scheduler.submit(area, 2, height="3")  # type: ignore[arg-type]
    scheduler.submit(area, 2)  # type: ignore[call-overload]
    scheduler.submit(area, 2, 3, 4)  # type: ignore[call-overload]
    scheduler.submit(area, 2, 3, size=4)  # type: ignore[arg-type, call-arg]
    scheduler.submit(fn=area, width=2, height=3)  # type: ignore[call-overload]
    scheduler.submit(area(2, 3))  # type: ignore[call-overload]
    scheduler.with_options(priority=1).submit(area, 2)  # type: ignore[call-overload]


async def fetched(url: str) -> bytes:
    return url.encode()


def a_coroutine_function_is_checked_like_any_other(scheduler: Scheduler) -> None:
    scheduler.submit(fetched, 1)  # type: ignore[call-overload]
    _text: str = scheduler.submit(fetched, "a").result()  # type: ignore[assignment]


def options_of_a_job_are_not_arguments_of_submit(scheduler: Scheduler) -> None:
    scheduler.submit(area, 2, 3, priority=1)  # type: ignore[arg-type, call-arg]


def a_result_is_what_the_function_returns(scheduler: Scheduler) -> None:
    handle = scheduler.submit(area, 2, 3)
    _text: str = handle.result()  # type: ignore[assignment]
    _handle: JobHandle[str] = handle  # type: ignore[assignment]
    _future: Future[str] = handle  # type: ignore[assignment]


async def an_awaited_handle_is_its_result(scheduler: Scheduler) -> None:
    _text: str = await scheduler.submit(area, 2, 3)  # type: ignore[call-overload]


def a_callback_takes_one_handle_of_that_result(scheduler: Scheduler) -> None:
    def of_text(handle: JobHandle[str]) -> None: ...

    def of_nothing() -> None: ...

    scheduler.submit(area, 2, 3).add_done_callback(of_text)  # type: ignore[arg-type]
    scheduler.submit(area, 2, 3).add_done_callback(of_nothing)  # type: ignore[arg-type]


def map_gives_the_results_of_the_function(scheduler: Scheduler) -> None:
    for text in scheduler.map(area, [1], [2]):
        text.upper()  # type: ignore[attr-defined]
    scheduler.map(area, 1)  # type: ignore[call-overload]
    scheduler.map(area, [1], [2], size=3)  # type: ignore[call-overload]


def an_option_with_a_typo_is_an_error(scheduler: Scheduler) -> None:
    scheduler.with_options(priorty=1)  # type: ignore[call-arg]
    scheduler.with_options(priority="high")  # type: ignore[arg-type]
    scheduler.with_options(deadline="soon")  # type: ignore[arg-type]
    scheduler.with_options(key=7)  # type: ignore[arg-type]
    scheduler.with_options(on_conflict="merge")  # type: ignore[arg-type]
    scheduler.dead_letters.resubmit(7, priorty=1)  # type: ignore[call-arg]
    scheduler.with_options(retry=3)  # type: ignore[arg-type]


def a_setting_with_a_typo_is_an_error() -> None:
    Scheduler(4, capactiy=10)  # type: ignore[call-arg]
    Scheduler("4")  # type: ignore[arg-type]
    Scheduler(4, retry=3)  # type: ignore[arg-type]
    PoolGroup("io", 4)  # type: ignore[arg-type]
    ThreadPool(slots="4")  # type: ignore[arg-type]


def what_a_handle_tells_cannot_be_written(scheduler: Scheduler) -> None:
    handle = scheduler.submit(area, 2, 3)
    handle.attempts = ()  # type: ignore[misc]
    handle.priority = 1  # type: ignore[misc]


class Meddler:
    """A policy that writes through what it was shown."""

    few_keys = True

    def key(self, job: JobView) -> float:
        job.priority = 0  # type: ignore[misc]
        job.submitted_at = 0.0  # type: ignore[misc]
        return 0.0

    def choose(self, job: JobView, pools: Sequence[PoolView], uniform: Uniform) -> PoolView:
        pools[0].slots = 9  # type: ignore[misc]
        pools[0] = pools[1]  # type: ignore[index]
        return pools[0]

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        failure.attempt = 1  # type: ignore[misc]
        return None


class Misspelt:
    """A policy whose method has another name."""

    def retry(self, failure: FailureView, uniform: Uniform) -> float | None:
        return None


class AnswersInWords:
    """Policies whose answers are of the wrong kind."""

    few_keys = True

    def retry_after(self, failure: FailureView, uniform: Uniform) -> str:
        return "later"

    def key(self, job: JobView) -> str:
        return "first"

    def admit(self, job: JobView, queue: QueueView) -> str:
        return "block"

    def choose(self, job: JobView, pools: Sequence[PoolView], uniform: Uniform) -> str:
        return pools[0].pool_id


def settings_of_retries_have_types() -> None:
    ExponentialBackoff(jitter="some")  # type: ignore[arg-type]
    ExponentialBackoff(retry_if_result=503)  # type: ignore[arg-type]
    PoolGroup("io", ThreadPool(slots=4), retry=3)  # type: ignore[arg-type]


class TakesNoDice:
    """A retry policy that wants to roll its own dice."""

    def retry_after(self, failure: FailureView) -> float | None:
        return None


class DoesNotSayWhetherKeysAreFew:
    """An ordering policy without its attribute."""

    def key(self, job: JobView) -> float:
        return 0.0


def a_class_that_does_not_answer_the_question_is_no_policy() -> None:
    _misspelt: RetryPolicy = Misspelt()  # type: ignore[assignment]
    _words: RetryPolicy = AnswersInWords()  # type: ignore[assignment]
    _no_dice: RetryPolicy = TakesNoDice()  # type: ignore[assignment]
    _ordering: OrderingPolicy = AnswersInWords()  # type: ignore[assignment]
    _few: OrderingPolicy = DoesNotSayWhetherKeysAreFew()  # type: ignore[assignment]
    _admission: AdmissionPolicy = AnswersInWords()  # type: ignore[assignment]
    _routing: RoutingPolicy = AnswersInWords()  # type: ignore[assignment]
    Scheduler(4, retry=Misspelt())  # type: ignore[arg-type]
