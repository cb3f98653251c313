"""What has been paid into a retry budget, and taken out of it.

A ring of ten slots, each a tenth of the budget's time to live, counts deposits and withdrawals; what falls
out of the ring is forgotten, both alike. (tower's TpsBudget, after Finagle's RetryBudget.) Counts are
integers, so nothing drifts; the only rounding is that of one product.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from policies.budget import RetryBudget

from .._errors import RetryBudgetExhausted, SchedulerError
from .statistics import BudgetStatistics

#: Slots of the ring, as tower has them.
SLOTS = 10
#: Rounding must not cost the last retry.
_HAIR = 1e-9
#: Jobs that are sent away in one slot and told to ask again in the next; as many more ask a slot later. Arbitrary.
_ASK_PER_SLOT = 256


class BudgetRecord:
    """One budget and what is left of it. Cost: O(1) amortised, whatever is asked."""

    __slots__ = (
        "_deposits",
        "_newest",
        "_sent_away",
        "_withdrawals",
        "budget",
        "deposited",
        "deposits",
        "refused",
        "whose",
        "withdrawals",
        "withdrawn",
    )

    def __init__(self, budget: RetryBudget) -> None:
        self.budget = budget
        self.whose = f"budget {budget.name!r}"
        self._deposits = [0] * SLOTS
        self._withdrawals = [0] * SLOTS
        #: The number of the newest slot of the ring, counted from the clock's beginning.
        self._newest = 0
        #: In the ring, and since ever.
        self.deposits = self.withdrawals = 0
        self.deposited = self.withdrawn = self.refused = 0
        #: How many were told in the newest slot to ask again later.
        self._sent_away = 0

    def _turn_to(self, now: float) -> int:
        """Forget what is too old; return the place of the present slot in the ring."""
        newest = math.floor(now * SLOTS / self.budget.ttl)
        if newest > self._newest:
            for number in range(max(self._newest + 1, newest + 1 - SLOTS), newest + 1):
                place = number % SLOTS
                self.deposits -= self._deposits[place]
                self.withdrawals -= self._withdrawals[place]
                self._deposits[place] = self._withdrawals[place] = 0
            self._newest = newest
            self._sent_away = 0
        return self._newest % SLOTS

    def deposit(self, now: float) -> None:
        """Pay in for a first attempt."""
        self._deposits[self._turn_to(now)] += 1
        self.deposits += 1
        self.deposited += 1

    def take(self, now: float) -> None:
        """Take out one retry."""
        self._withdrawals[self._turn_to(now)] += 1
        self.withdrawals += 1
        self.withdrawn += 1

    def balance(self, now: float) -> float:
        """Return how many retries it can pay for."""
        self._turn_to(now)
        budget = self.budget
        return self.deposits * budget.ratio + budget.reserve_per_second * budget.ttl - self.withdrawals

    def held_for(self, now: float) -> float:
        """Return 0 if it can pay for a retry, else the seconds after which it is worth asking again.

        That is when the next slot begins: something may have been paid in, and something forgotten by then.
        Of many who ask, some are sent to later slots, at most to the tenth, so that they do not all ask at once.
        """
        if self.balance(now) >= 1 - _HAIR:
            return 0.0
        slots = min(SLOTS, 1 + self._sent_away // _ASK_PER_SLOT)
        self._sent_away += 1
        return self._begins(self._newest + slots) - now

    def _begins(self, number: int) -> float:
        """Return the first moment that belongs to a slot, however that is rounded."""
        ttl = self.budget.ttl
        when = number * ttl / SLOTS
        while math.floor(when * SLOTS / ttl) < number:
            when = math.nextafter(when, math.inf)
        return when

    def refuse(self, now: float) -> SchedulerError:
        """Count a retry that it did not pay for, and return the error that says so."""
        self._turn_to(now)
        self.refused += 1
        budget = self.budget
        return RetryBudgetExhausted(
            f"retry budget {budget.name!r} is empty: {self.withdrawals} retries in the last {budget.ttl:g} s, beside "
            f"{self.deposits} first attempts at ratio={budget.ratio:g} and reserve_per_second="
            f'{budget.reserve_per_second:g}; wait for it with Budgeted(..., when_empty="wait"), or raise one of them'
        )


class Budgets:
    """Every retry budget, by name."""

    __slots__ = ("_records",)

    def __init__(self) -> None:
        self._records: dict[str, BudgetRecord] = {}

    def of(self, budget: RetryBudget) -> BudgetRecord:
        """Return the record of a budget; raise ValueError if its name has other settings."""
        record = self._records.get(budget.name)
        if record is None:
            record = self._records[budget.name] = BudgetRecord(budget)
        elif record.budget is not budget and record.budget != budget:
            raise ValueError(
                f"two retry budgets are called {budget.name!r}: {record.budget!r} and {budget!r}; "
                "give them one setting or two names"
            )
        return record

    def deposit(self, budgets: Iterable[RetryBudget], now: float) -> None:
        """Pay a first attempt into each of these."""
        for budget in budgets:
            self.of(budget).deposit(now)

    def statistics(self, now: float) -> tuple[BudgetStatistics, ...]:
        """Return how each stands, in the order in which they were first used."""
        return tuple(
            BudgetStatistics(
                name=name,
                balance=record.balance(now),
                deposited=record.deposited,
                withdrawn=record.withdrawn,
                refused=record.refused,
            )
            for name, record in self._records.items()
        )
