"""`Submitter`: a scheduler with options; everything submitted through it carries them."""

from __future__ import annotations

import itertools
import reprlib
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from concurrent.futures import Executor
from contextvars import copy_context
from inspect import CO_COROUTINE
from types import FunctionType
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from pools.contract import each_of

from ._assembly import why_not_eligible
from ._core.job import JobOptions
from ._driver import Driver
from ._errors import NoEligiblePool
from ._handle import JobHandle
from ._options import (
    Options,
    check_whole,
    checked,
    is_coroutine_function,
)
from ._stopping import closing_of

P = ParamSpec("P")
T = TypeVar("T")


class Submitter(Executor):
    """A scheduler with options: everything submitted through it carries them.

    Itself an Executor; made by ``with_options``. Threads: use it from any.
    """

    def __init__(self, driver: Driver, options: JobOptions, base: Submitter | None = None) -> None:
        self._driver = driver
        self._base = base  # keeps the scheduler, which closes when it is dropped
        self._options = options
        plain = driver.line_for(options, coroutine=False)
        self._coroutine_line = driver.line_for(options, coroutine=True)
        # A plain function may return an awaitable, but only its caller knows: by the tag of such a group.
        self._plain_line = self._coroutine_line if plain is None and options.tags else plain

    @overload
    def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[T]: ...
    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[T]: ...

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobHandle[Any]:
        """Submit ``fn(*args, **kwargs)`` and return its handle, exactly as ``Executor.submit``.

        Starts the job at once when a slot is free. A coroutine function goes where coroutines run, and
        its handle gives what awaiting it gives. Raises SchedulerClosed after shutdown, QueueFull
        when the admission policy refuses it, NoEligiblePool when no group may take it, PoolBroken
        when no pool ever will. With a ``key``, the handle may be that of a job that is alive, and
        DuplicateJob is raised where that is asked for. Cost: about 1.5 µs.
        """
        line = self._plain_line
        if line is None or type(fn) is not FunctionType or fn.__code__.co_flags & CO_COROUTINE:
            line = self._line_or_raise(fn)
        context = copy_context()
        driver, options = self._driver, self._options
        job = JobHandle(options, line, driver, fn, args, kwargs or None, context if len(context) else None)
        if options.key is not None:
            return driver.submit_keyed(job)
        driver.submit(job)
        return job

    def _line_or_raise(self, fn: Callable[..., object]) -> Any:
        if not callable(fn):
            raise TypeError(f"submit() takes a callable first, not {reprlib.repr(fn)}")
        coroutine = is_coroutine_function(fn)
        line = self._coroutine_line if coroutine else self._plain_line
        if line is None:
            raise NoEligiblePool(why_not_eligible(self._driver.core, self._options, coroutine=coroutine))
        return line

    @overload
    def map(
        self,
        fn: Callable[..., Coroutine[Any, Any, T]],
        *iterables: Iterable[Any],
        timeout: float | None = ...,
        chunksize: int = ...,
        buffersize: int | None = ...,
    ) -> Iterator[T]: ...
    @overload
    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = ...,
        chunksize: int = ...,
        buffersize: int | None = ...,
    ) -> Iterator[T]: ...

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Return an iterator over ``fn``'s results, in the order of the arguments.

        Everything is submitted before the first result is asked for, or with `buffersize` at most that
        many ahead of it. `timeout` counts from this call. Where calls travel (processes), so many elements
        as `chunksize` says make one job, and one that fails raises at its place; elsewhere it changes nothing.
        Closing the iterator cancels what has not started. Raises ValueError with a ``key``, which is for one job.
        """
        if self._options.key is not None:
            raise ValueError(
                f"map() submits many jobs, and key={self._options.key!r} is for one at a time; "
                "submit each under a key of its own, or map without one"
            )
        check_whole("map(chunksize=)", chunksize, at_least=1)
        if buffersize is not None:  # in CPython's words, which programs may look for
            if isinstance(buffersize, bool) or not isinstance(buffersize, int):
                raise TypeError(f"buffersize must be an integer or None, not {reprlib.repr(buffersize)}")
            if buffersize < 1:
                raise ValueError(f"buffersize must be None or > 0, not {buffersize}")
        end = None if timeout is None else time.monotonic() + timeout
        calls: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
        if chunksize > 1 and self._travels(fn):
            chunks = ((fn, *chunk) for chunk in iter(lambda: tuple(itertools.islice(calls, chunksize)), ()))
            return _flat(self._map(each_of, chunks, buffersize, end))
        return self._map(fn, calls, buffersize, end)

    def _map(
        self,
        fn: Callable[..., T],
        calls: Iterator[tuple[Any, ...]],
        buffersize: int | None,
        end: float | None,
    ) -> Generator[T, None, None]:
        handles = deque(self.submit(fn, *args) for args in itertools.islice(calls, buffersize))
        return _results(self, fn, handles, calls if buffersize is not None else None, end)

    def _travels(self, fn: Callable[..., object]) -> bool:
        """Whether calls of `fn` are sent to other processes, whichever group takes them."""
        line = self._line_or_raise(fn)
        return all(group.announces for group in line.groups)

    def with_options(self, **options: Unpack[Options]) -> Submitter:
        """Return a submitter with these options on top of the present ones.

        `priority` (lower is sooner), `tags` (a group must offer all of them), `run_timeout` (bounds
        one attempt's run), `queue_timeout` (the wait before the first start), `deadline` (everything
        from submit to settle), `delay` (postpones the first start), `retry` (a policy; `NoRetry()` or None: never), `tenant`,
        `affinity` (the key of `policies.Affinity`), `hedge` (a `policies.Hedge`, for jobs that may run twice),
        `name`; `key` and `on_conflict` ("join", "reject" or
        "replace"): what is done when a job of that key is alive. All durations are seconds. Raises NoEligiblePool
        when no group offers the tags. Cost: 10 µs; keep the submitter.
        """
        changed = checked(self._options, options)
        submitter = Submitter(self._driver, changed, base=self)
        if submitter._plain_line is None and submitter._coroutine_line is None:
            raise NoEligiblePool(why_not_eligible(self._driver.core, changed, coroutine=False))
        return submitter

    @property
    def _max_workers(self) -> int:
        """All slots; Dask and others size their work by this name of the standard executors."""
        return sum(pool.slots for pool in self._driver.core.pool_statistics())

    @property
    def _broken(self) -> bool:
        groups = self._driver.core.pools.groups.values()
        return any(group.broken is not None for group in groups)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs, as ``Executor.shutdown``; with `wait`, return when all have settled.

        `cancel_futures` cancels what does not run. Safe from any thread, from inside a job (which is
        then not waited for), and any number of times.
        """
        if self._driver.forked:
            return
        closing = closing_of(self._driver, to_wait=wait)
        closing.tighten(finish_within=None, cancel_within=None, cancel_waiting=cancel_futures)
        self._driver.refuse()
        if wait:
            closing.wait_for_end()


def _results(
    submitter: Submitter,
    fn: Callable[..., T],
    handles: deque[JobHandle[T]],
    calls: Iterator[tuple[Any, ...]] | None,
    end: float | None,
) -> Generator[T, None, None]:
    try:
        while handles:
            left = None if end is None else end - time.monotonic()
            handles[0].result(left)  # into no variable: at the yield only the caller may have it
            if calls is not None:
                for args in itertools.islice(calls, 1):
                    handles.append(submitter.submit(fn, *args))
            yield handles.popleft().result()
    finally:
        for handle in handles:
            handle.cancel()


def _flat(chunks: Generator[Any, None, None]) -> Iterator[Any]:
    """Iterate over the values of every chunk; an error is raised behind the values that came before it."""
    try:
        while True:
            try:
                values = next(chunks)
            except StopIteration:
                return
            except BaseException as error:
                yield from getattr(error, "values_before", ())
                raise
            yield from values
    finally:
        chunks.close()
