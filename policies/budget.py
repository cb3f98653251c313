"""How many retries may be spent: a budget that first attempts fill, so that retries never outgrow the work itself.

A budget is a frozen value; what has been paid in and out is kept by the scheduler, under the budget's name.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs

from .checks import has_method, number, one_of
from .contracts import FailureView, RetryPolicy, Uniform
from .wrapped import Wrapping


def _name(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not (isinstance(value, str) and value):
        raise TypeError(f"RetryBudget({attribute.name}=) must be a non-empty string, not {value!r}")


@attrs.frozen(kw_only=True)
class RetryBudget:
    """What all retries together may spend, shared by every job whose retry policy names it.

    Each first attempt that starts pays in `ratio` of a retry (default 0.2: one retry for five jobs), each
    retry takes out one, and both are forgotten after `ttl` seconds (default 10). `reserve_per_second`
    retries a second (default 10) are there without anybody paying in, for when there is little traffic.
    Budgets of one `name` are one budget; two settings under one name are refused where jobs use them.
    After Finagle's RetryBudget. Raises TypeError and ValueError that name the setting.
    """

    name: str = attrs.field(default="default", validator=_name)
    ttl: float = attrs.field(default=10.0, validator=number(above=0))
    ratio: float = attrs.field(default=0.2, validator=number(at_least=0))
    reserve_per_second: float = attrs.field(default=10.0, validator=number(at_least=0))

    def __attrs_post_init__(self) -> None:
        if not self.ratio and not self.reserve_per_second:
            raise ValueError(
                f"RetryBudget({self.name!r}) with ratio=0 and reserve_per_second=0 never pays for a retry; "
                "use NoRetry() or give one of them"
            )


def _a_budget(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, RetryBudget):
        raise TypeError(f"{type(instance).__name__}({attribute.name}=) must be a RetryBudget, not {value!r}")


@attrs.frozen
class Budgeted(Wrapping):
    """Retry as `policy` says, as long as `budget` pays for it.

    When the budget is empty, the job fails with its own last error, whose cause is a `RetryBudgetExhausted`;
    or with ``when_empty="wait"`` it backs off until the budget can pay, and longer than `policy` says.
    Raises TypeError and ValueError that name the argument.
    """

    policy: RetryPolicy = attrs.field(validator=has_method("retry_after"))
    budget: RetryBudget = attrs.field(validator=_a_budget)
    when_empty: Literal["fail", "wait"] = attrs.field(default="fail", validator=one_of("fail", "wait"))

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        """Return seconds to wait before the next attempt, or None to give up. Pure."""
        delay = self.policy.retry_after(failure, uniform)
        return self._guarded(failure, delay, self.budget, waits=self.when_empty == "wait")
