"""The laws, on the settings that users may have; and the entry points, which only an installed package has."""

import pytest
from calm_policies import TagsFirst, TwoSpeeds

from policies import Failure, load
from policies.testing import check_ordering_policy, check_retry_policy


@pytest.mark.parametrize(
    "policy", [TwoSpeeds(), TwoSpeeds(quick_attempts=0, slow=1e300, attempts_max=20_000)]
)
def test_retries_are_lawful(policy: TwoSpeeds) -> None:
    """Ten thousand attempts, errors of every kind, and dice at either end."""
    check_retry_policy(policy)


@pytest.mark.parametrize("policy", [TagsFirst(), TagsFirst(tags=["cpu", "net"])])
def test_orderings_are_lawful(policy: TagsFirst) -> None:
    """A key that is NaN would put a queue out of order without a word."""
    check_ordering_policy(policy)


def test_the_first_retries_are_quick() -> None:
    """What the policy is for, beside being lawful."""

    class Dice:
        def random(self) -> float:
            return 0.5

    waits = [TwoSpeeds(attempts_max=5).retry_after(Failure(n, OSError()), Dice()) for n in range(1, 6)]

    assert waits == [0.2, 0.2, 45.0, 45.0, None]


def test_users_find_them_by_name() -> None:
    """A slip in pyproject.toml shows nowhere else."""
    assert load("two-speeds", kind="retry", slow=5) == TwoSpeeds(slow=5)
    assert load("tags-first", kind="ordering", tags=["cpu"]) == TagsFirst(tags={"cpu"})
