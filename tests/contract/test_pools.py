"""Every pool keeps every promise it makes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pools import AsyncioPool, InlinePool, ProcessPool, ThreadPool
from pools.testing import PROMISES, check_pool, p7_a_broken_pool_says_so_once

#: InlinePool borrows its callers, so calls end before ``run`` returns: nothing is ever left to drain.
_INLINE = ("P1", "P3", "P4", "P8")


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("slots", [1, 3])
def test_threads_keep_their_promises(promise: str, slots: int):
    """A promise of a pool is what the scheduler's guarantees rest on."""
    PROMISES[promise](ThreadPool(slots=slots))

    assert promise in PROMISES


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("slots", [1, 3])
def test_coroutines_keep_their_promises(promise: str, slots: int):
    """What the scheduler builds on must hold whether calls have threads of their own or share one."""
    PROMISES[promise](AsyncioPool(slots=slots))

    assert promise in PROMISES


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("recipe", [{"slots": 1}, {"slots": 2}, {"slots": 1, "prefetch": 0}], ids=str)
def test_processes_keep_their_promises(promise: str, recipe: dict[str, Any]):
    """What holds for threads must hold for workers that can be killed."""
    PROMISES[promise](ProcessPool(**recipe))

    assert promise in PROMISES


def test_the_whole_check_takes_a_process_pool():
    """It is one call for whoever writes a pool, whatever its kind."""
    assert check_pool(ProcessPool(1), skip=frozenset({"P4"})) is None


@pytest.mark.parametrize("promise", _INLINE)
def test_inline_pools_keep_the_promises_they_make(promise: str):
    """Tests that run inline must see what production would show them."""
    PROMISES[promise](InlinePool())

    assert promise in PROMISES


def test_a_pool_that_runs_calls_in_its_caller_fails_the_check(monkeypatch: pytest.MonkeyPatch):
    """A conformance suite that cannot fail proves nothing."""
    monkeypatch.setattr("pools.testing.PATIENCE", 0.2)

    with pytest.raises(AssertionError, match="P2"):
        check_pool(InlinePool())


def test_a_pool_whose_initializer_raises_says_so_once():
    """Otherwise jobs would wait for ever for a pool that can run nothing."""

    def raises() -> None:
        raise RuntimeError("expected")

    p7_a_broken_pool_says_so_once(ThreadPool(slots=3, initializer=raises))

    def no_loop() -> Any:
        raise RuntimeError("expected")

    p7_a_broken_pool_says_so_once(AsyncioPool(slots=3, loop_factory=no_loop))

    with pytest.raises(AssertionError, match="P7"):
        p7_a_broken_pool_says_so_once(ThreadPool(slots=3))


class _Forgetful(ThreadPool):
    """A pool that delivers nothing that failed."""

    def open(self, pool_id: str, front: Any) -> Any:
        def swallow(slot: int, value: object, error: BaseException | None) -> Any:
            return None if error is not None else front.deliver(slot, value, error)

        return super().open(pool_id, SimpleNamespace(deliver=swallow, broken=front.broken))


class _Keeper(ThreadPool):
    """A pool that remembers its calls."""

    def open(self, pool_id: str, front: Any) -> Any:
        pool = super().open(pool_id, front)
        kept: list[object] = []
        run: Callable[..., None] = pool.run

        def remember(slot: int, call: Any) -> None:
            kept.append(call)
            run(slot, call)

        pool.run = remember  # type: ignore[method-assign]
        return pool


@pytest.mark.parametrize(("pool", "promise"), [(_Forgetful(1), "P3"), (_Keeper(1), "P8")])
def test_the_check_catches_pools_that_lose_or_keep_calls(
    pool: ThreadPool, promise: str, monkeypatch: pytest.MonkeyPatch
):
    """The promises that protect jobs and memory must be able to fail."""
    monkeypatch.setattr("pools.testing.PATIENCE", 0.2)

    with pytest.raises(AssertionError, match=promise):
        PROMISES[promise](pool)
