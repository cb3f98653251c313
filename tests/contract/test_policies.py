"""Every policy keeps the laws of its kind, and the checks of those laws can fail."""

import math
from typing import ClassVar

import attrs
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from policies import (
    Admission,
    Affinity,
    Aging,
    Block,
    Budgeted,
    CallerRuns,
    CircuitBreaker,
    CoDel,
    DecorrelatedJitter,
    EarliestDeadline,
    ExponentialBackoff,
    Failure,
    FairShare,
    FibonacciBackoff,
    FirstMatch,
    FixedBackoff,
    FixedPools,
    HonourRetryAfter,
    LeastLoaded,
    LinearBackoff,
    NoRetry,
    Pack,
    PeakEwma,
    PolynomialBackoff,
    QueueDelay,
    Reject,
    RetryBudget,
    RoundRobin,
    ScheduleBackoff,
    ShedLowest,
    SquareRootStaffing,
    StrictPriority,
    TargetUtilization,
    TwoRandomChoices,
    WithBreaker,
    like_stamina,
)
from policies.testing import (
    check_admission_policy,
    check_ordering_policy,
    check_retry_policy,
    check_routing_policy,
    check_scaling_policy,
)

#: A retry check asks about ten thousand attempts, so a few settings say as much as many.
#: None of them explains a failure line by line: that would take longer than a test may.
_phases = [phase for phase in Phase if phase is not Phase.explain]
FEW = settings(max_examples=8, phases=_phases)
FEWER = settings(FEW, max_examples=2)
#: What the repr of an adapted policy names, and no module of ours exports.
ADAPTED = {"StaminaBackoff": type(like_stamina(on=OSError))}


def looks_like_trouble(thing):
    """Say yes or no to an error or a value; in a module, so that a policy with it can be pickled."""
    return getattr(thing, "errno", None) is not None


ORDERINGS = [
    StrictPriority(),
    Aging(),
    Aging(seconds_per_level=0),
    Aging(seconds_per_level=1e6),
    EarliestDeadline(),
    EarliestDeadline(patience=0),
    FairShare(),
    FairShare(weights={"gold": 3, None: 0.5, "a tenant": 7}, default_weight=2),
    FairShare(weights=(("gold", 3),)),
]
ADMISSIONS = [
    Block(),
    Block(timeout=0),
    Block(1.5),
    Reject(),
    ShedLowest(),
    CallerRuns(),
    CoDel(target=0.5, otherwise=Reject()),
]
ROUTINGS = [
    LeastLoaded(),
    Pack(),
    RoundRobin(),
    TwoRandomChoices(),
    PeakEwma(),
    PeakEwma(decay=1e-9),
    Affinity(),
    Affinity(otherwise=PeakEwma(decay=3)),
]
SCALINGS = [
    FixedPools(),
    QueueDelay(),
    QueueDelay(target=1e-9),
    QueueDelay(target=1e9, idle=0.5),
    TargetUtilization(),
    TargetUtilization(target=1),
    TargetUtilization(target=1e-9),
    SquareRootStaffing(),
    SquareRootStaffing(p_wait=1e-12),
    SquareRootStaffing(p_wait=1 - 1e-12),
]
RETRIES = [
    NoRetry(),
    FixedBackoff(),
    FixedBackoff(attempts_max=20_000, delay=0),
    ExponentialBackoff(),
    ExponentialBackoff(attempts_max=20_000, initial=1e-300, ceiling=1e300, retry_on=BaseException),
    ExponentialBackoff(retry_on=(OSError, KeyError)),
    ExponentialBackoff(jitter="equal", base=1.5, elapsed_max=60, give_up_on=KeyError),
    LinearBackoff(attempts_max=20_000),
    DecorrelatedJitter(attempts_max=20_000, by_cause=True, retry_on=OSError),
    FibonacciBackoff(attempts_max=20_000, initial=1e-300, ceiling=1e300),
    PolynomialBackoff(attempts_max=20_000, jitter=0.1),
    ScheduleBackoff([1, 5, 30], retry_on=looks_like_trouble, retry_if_result=looks_like_trouble),
    FirstMatch(
        {
            ConnectionError: FixedBackoff(attempts_max=20_000),
            (KeyError, ValueError): NoRetry(),
            OSError: None,
        },
        otherwise=ExponentialBackoff(retry_if_result=looks_like_trouble),
        by_cause=True,
    ),
    HonourRetryAfter(ExponentialBackoff(attempts_max=20_000, elapsed_max=3600), by_cause=True, ceiling=1000),
    HonourRetryAfter(FirstMatch({OSError: HonourRetryAfter(ScheduleBackoff([0]))}, otherwise=FixedBackoff())),
    Budgeted(ExponentialBackoff(attempts_max=20_000), RetryBudget()),
    Budgeted(
        Budgeted(FixedBackoff(), RetryBudget(name="a", ratio=0)), RetryBudget(name="b"), when_empty="wait"
    ),
    WithBreaker(FixedBackoff(), CircuitBreaker(tag="api", fail_on=(OSError, ValueError)), when_open="wait"),
]

seconds = st.floats(0, 1e12, allow_subnormal=False) | st.integers(0, 10**9)
some_seconds = st.floats(1e-9, 1e12) | st.integers(1, 10**9)
errors = st.sampled_from([Exception, BaseException, OSError, TimeoutError, KeyboardInterrupt])
retry_on = errors | st.lists(errors, max_size=3, unique=True).map(tuple)
attempts_max = st.integers(1, 20_000)


class Dice:
    """Dice that always fall the same way."""

    def __init__(self, face):
        self.face = face

    def random(self):
        return self.face


# Every policy of ours keeps the laws


@pytest.mark.parametrize("policy", ORDERINGS, ids=repr)
def test_our_orderings_are_lawful(policy):
    """An ordering that raises or forgets would start jobs in nobody's order."""
    check_ordering_policy(policy)


@pytest.mark.parametrize("policy", ADMISSIONS, ids=repr)
def test_our_admissions_are_lawful(policy):
    """An admission policy is asked exactly when the scheduler is in trouble."""
    check_admission_policy(policy)


@pytest.mark.parametrize("policy", ROUTINGS, ids=repr)
def test_our_routings_are_lawful(policy):
    """A routing policy that answers a pool of its own would lose the job."""
    check_routing_policy(policy)


@pytest.mark.parametrize("policy", SCALINGS, ids=repr)
def test_our_scalings_are_lawful(policy):
    """A scaling policy is asked many times a second, most often about groups that nobody thought of."""
    check_scaling_policy(policy)


@pytest.mark.parametrize("policy", RETRIES, ids=repr)
def test_our_retries_are_lawful(policy):
    """A backoff that overflows at attempt 1025 does so at night, after a day of failures."""
    check_retry_policy(policy, names={"looks_like_trouble": looks_like_trouble})


@pytest.mark.usefixtures("untraced")
@given(seconds_per_level=seconds)
def test_aging_is_lawful_with_any_rate(seconds_per_level):
    """A rate comes from a configuration file, and any number in it must do."""
    check_ordering_policy(Aging(seconds_per_level=seconds_per_level))


@pytest.mark.usefixtures("untraced")
@given(timeout=st.none() | seconds)
def test_block_is_lawful_with_any_timeout(timeout):
    """A submitter blocks for what the policy says, so it must say something sensible."""
    check_admission_policy(Block(timeout=timeout))


limits = {
    "attempts_max": attempts_max,
    "elapsed_max": st.none() | some_seconds,
    "retry_on": retry_on,
    "give_up_on": retry_on,
    "by_cause": st.booleans(),
}
drawn = {
    FixedBackoff: st.builds(FixedBackoff, delay=seconds, **limits),
    LinearBackoff: st.builds(LinearBackoff, initial=seconds, step=seconds, ceiling=some_seconds, **limits),
    ExponentialBackoff: st.builds(
        ExponentialBackoff,
        initial=some_seconds,
        ceiling=some_seconds,
        base=st.floats(1, 1e300),
        jitter=st.sampled_from(["full", "equal", "none"]),
        **limits,
    ),
    DecorrelatedJitter: st.builds(DecorrelatedJitter, initial=some_seconds, ceiling=some_seconds, **limits),
    FibonacciBackoff: st.builds(FibonacciBackoff, initial=some_seconds, ceiling=some_seconds, **limits),
    PolynomialBackoff: st.builds(
        PolynomialBackoff,
        initial=some_seconds,
        exponent=st.floats(0, 1e300),
        ceiling=some_seconds,
        jitter=st.floats(0, 1),
        **limits,
    ),
    ScheduleBackoff: st.builds(ScheduleBackoff, st.lists(seconds, min_size=1, max_size=4), **limits),
    like_stamina: st.builds(
        like_stamina,
        on=st.sampled_from([Exception, OSError, (OSError, KeyError)]),
        attempts=st.none() | attempts_max,
        timeout=some_seconds,
        wait_initial=seconds,
        wait_max=seconds,
        wait_jitter=seconds,
        wait_exp_base=st.floats(1, 1e300),
    ),
}
backoffs = st.just(NoRetry()) | st.one_of(*drawn.values())

budgets = st.builds(
    RetryBudget,
    name=st.text(min_size=1, max_size=8),
    ttl=some_seconds,
    ratio=seconds,
    reserve_per_second=some_seconds,
)
breakers = st.builds(
    CircuitBreaker,
    tag=st.text(min_size=1, max_size=8),
    failure_ratio=st.floats(1e-9, 1),
    window=st.just(20_000),
    calls_min=attempts_max,
    open_for=some_seconds,
    probes=attempts_max,
    when_open=st.sampled_from(["park", "fail"]),
    fail_on=retry_on,
)
wrapping = {
    HonourRetryAfter: lambda inner: st.builds(
        HonourRetryAfter, inner, ceiling=some_seconds, by_cause=st.booleans()
    ),
    FirstMatch: lambda inner: st.builds(
        FirstMatch,
        st.dictionaries(errors, st.none() | inner, min_size=1, max_size=3),
        otherwise=st.none() | inner,
        by_cause=st.booleans(),
    ),
    Budgeted: lambda inner: st.builds(Budgeted, inner, budgets, st.sampled_from(["fail", "wait"])),
    WithBreaker: lambda inner: st.builds(WithBreaker, inner, breakers, st.sampled_from(["fail", "wait"])),
}


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("kind", [*drawn, *wrapping], ids=lambda kind: kind.__name__)
@FEWER
@given(data=st.data())
def test_each_of_the_family_is_lawful_with_any_settings(kind, data):
    """Laws that hold only for the defaults protect nobody."""
    policy = data.draw(drawn[kind] if kind in drawn else wrapping[kind](backoffs))
    check_retry_policy(policy, names=ADAPTED)


composed = st.recursive(
    backoffs, lambda inner: st.one_of(*(wrap(inner) for wrap in wrapping.values())), max_leaves=4
)


@pytest.mark.usefixtures("untraced")
@FEW
@given(policy=composed)
def test_whatever_wraps_whatever_is_lawful(policy):
    """Policies are put together by people who have not seen each other's code."""
    check_retry_policy(policy, names=ADAPTED)


# What each backoff promises beside the laws


@pytest.mark.parametrize("policy", [FixedBackoff(attempts_max=3), ExponentialBackoff(attempts_max=3)])
def test_attempts_max_counts_the_first_attempt(policy):
    """Off by one here is a customer charged twice."""
    answers = [policy.retry_after(Failure(attempt, OSError()), Dice(0.5)) for attempt in (1, 2, 3, 4)]

    assert [True, True, False, False] == [answer is not None for answer in answers]


@pytest.mark.parametrize("policy", [FixedBackoff(retry_on=OSError), ExponentialBackoff(retry_on=OSError)])
def test_only_errors_of_retry_on_are_worth_another_attempt(policy):
    """Retrying a programming error three times only hides it longer."""
    answers = [policy.retry_after(Failure(1, error), Dice(0.5)) for error in (TimeoutError(), ValueError())]

    assert [True, False] == [answer is not None for answer in answers]


def test_an_interrupt_is_never_retried_by_default():
    """Ctrl-C that starts the job again is not Ctrl-C."""
    answer = FixedBackoff().retry_after(Failure(1, KeyboardInterrupt()), Dice(0.5))

    assert answer is None


def test_weights_are_named():
    """`FairShare({"gold": 3})` would read as if something else were meant."""
    with pytest.raises(TypeError, match="positional"):
        FairShare({"gold": 3.0})


def test_an_exponential_backoff_doubles_up_to_its_ceiling():
    """The range is the documented one, or capacity planning with it is guesswork."""
    policy = ExponentialBackoff(attempts_max=100, initial=1.0, ceiling=5.0)
    waits = [policy.retry_after(Failure(attempt, OSError()), Dice(0.5)) for attempt in (1, 2, 3, 4, 90)]

    assert [0.5, 1.0, 2.0, 2.5, 2.5] == waits


def test_full_jitter_may_wait_nothing_at_all():
    """The lower end of full jitter is zero: that is what spreads a thundering herd."""
    assert ExponentialBackoff().retry_after(Failure(1, OSError()), Dice(0.0)) == 0.0


def test_aging_overtakes_exactly_as_documented():
    """Nobody starves, and the bound is a number a user can rely on."""
    policy = Aging(seconds_per_level=1.0)
    normal = attrs.make_class("Job", ["waiting_since", "priority"])(0.0, 20)
    high_in_time = attrs.make_class("Job", ["waiting_since", "priority"])(9.9, 10)
    high_too_late = attrs.make_class("Job", ["waiting_since", "priority"])(10.1, 10)

    assert policy.key(high_in_time) < policy.key(normal) < policy.key(high_too_late)


@pytest.mark.parametrize("setting", [math.nan, math.inf, -1, True, "1", None])
@pytest.mark.parametrize(
    "make",
    [
        lambda value: Aging(seconds_per_level=value),
        lambda value: EarliestDeadline(patience=value),
        lambda value: FairShare(default_weight=value),
        lambda value: FairShare(weights={"gold": value}),
        lambda value: FixedBackoff(delay=value),
        lambda value: ExponentialBackoff(initial=value),
        lambda value: ExponentialBackoff(ceiling=value),
        lambda value: PeakEwma(decay=value),
        lambda value: CoDel(target=value),
        lambda value: CoDel(interval=value),
    ],
    ids=[
        "Aging",
        "patience",
        "default_weight",
        "weights",
        "FixedBackoff",
        "initial",
        "ceiling",
        "PeakEwma",
        "target",
        "interval",
    ],
)
def test_settings_that_are_no_sensible_number_are_refused(make, setting):
    """NaN compares false with everything, so it must be stopped at the door."""
    with pytest.raises((TypeError, ValueError), match="must be"):
        make(setting)


def test_an_earliest_deadline_is_the_jobs_own_or_patience_after_it_joined():
    """A job without a deadline must not wait for ever beside those that have one."""
    make = attrs.make_class("Job", ["waiting_since", "deadline"])
    policy = EarliestDeadline(patience=30.0)

    assert [7.0, 35.0] == [policy.key(make(5.0, 7.0)), policy.key(make(5.0, None))]


def test_weights_are_equal_however_they_were_written_down():
    """Two schedulers configured alike must look alike."""
    first = FairShare(weights={"gold": 3, None: 2, "tin": 1})
    second = FairShare(weights={"tin": 1, "gold": 3, None: 2})

    assert (first, hash(first), repr(first)) == (second, hash(second), repr(second))


def test_a_weight_is_the_tenants_or_the_default():
    """Most tenants are nobody special."""
    make = attrs.make_class("Job", ["tenant"])
    policy = FairShare(weights={"gold": 3, None: 0.5}, default_weight=2)

    assert [3, 0.5, 2] == [policy.weight(make(tenant)) for tenant in ("gold", None, "tin")]


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"gold": 0}, "'gold' must be finite and more than 0, not 0"),
        ({"gold": "3"}, "'gold' must be a number"),
        ({3: 3}, "tenant 3; a tenant is a string or None"),
        ("gold", "must map tenants to numbers"),
        (["gold", 3], "must map tenants to numbers"),
        (None, "must map tenants to numbers"),
        ((("gold", 3), ("gold", 4)), "names a tenant twice"),
    ],
)
def test_weights_that_make_no_sense_are_refused_by_name(weights, says):
    """A table of customers is long, and the one wrong line in it must be named."""
    with pytest.raises((TypeError, ValueError), match=says):
        FairShare(weights=weights)


def test_changing_the_table_of_weights_afterwards_changes_nothing():
    """A policy is a value: whoever holds the mapping must not hold the policy."""
    table = {"gold": 3}
    policy = FairShare(weights=table)
    table["gold"] = 300

    assert policy == FairShare(weights={"gold": 3})


@pytest.mark.parametrize("setting", [0, -1, 1.0, True, "3", None])
def test_attempts_max_that_is_no_positive_integer_is_refused(setting):
    """Zero attempts would be a job that never runs."""
    with pytest.raises((TypeError, ValueError), match="attempts_max"):
        FixedBackoff(attempts_max=setting)


@pytest.mark.parametrize("setting", [ValueError("an instance"), [OSError], (int,), "OSError"])
def test_retry_on_that_is_no_exception_class_is_refused(setting):
    """A wrong retry_on would raise inside a failure, where nobody looks."""
    with pytest.raises(TypeError, match="retry_on"):
        FixedBackoff(retry_on=setting)


def test_seconds_too_large_for_a_float_are_refused_in_our_words():
    """An OverflowError from the depths does not say which setting is wrong."""
    with pytest.raises(ValueError, match="delay"):
        FixedBackoff(delay=10**400)


# The checks can fail


@attrs.frozen
class Plain:
    """A lawful retry policy, to be broken in one place at a time."""

    def retry_after(self, failure, uniform):
        return 1.0


@attrs.frozen
class Answers(Plain):
    """Answers always the same, whatever it is."""

    answer: object

    def retry_after(self, failure, uniform):
        return self.answer


@attrs.frozen
class Overflows(Plain):
    """The backoff everybody writes first."""

    def retry_after(self, failure, uniform):
        return min(30.0, 0.1 * 2.0**failure.attempt)


@attrs.frozen
class ReadsTheText(Plain):
    """Looks at what an error says."""

    def retry_after(self, failure, uniform):
        return None if "fatal" in str(failure.error) else 1.0


@attrs.frozen
class GrowsFromAttempt(Plain):
    """Gives a wait below zero, but only late."""

    def retry_after(self, failure, uniform):
        return 5000.0 - failure.attempt


@attrs.frozen
class Remembers(Plain):
    """Keeps what it has seen where nobody looks."""

    def retry_after(self, failure, uniform):
        SEEN.append(failure.attempt)
        return float(len(SEEN))


SEEN = []


@attrs.frozen
class WritesToTheView(Plain):
    """Marks what it has seen."""

    def retry_after(self, failure, uniform):
        failure.attempt = 0
        return 1.0


@attrs.frozen
class MarksTheError(Plain):
    """Marks what it has seen, in a place that lets it."""

    def retry_after(self, failure, uniform):
        failure.error.seen = True
        return 1.0


@attrs.frozen
class OneTooMany(Plain):
    """Takes its limit for the number of retries."""

    attempts_max = 3

    def retry_after(self, failure, uniform):
        return 1.0 if failure.attempt <= self.attempts_max else None


@attrs.frozen
class TooLate(Plain):
    """Forgets that the wait takes time, too."""

    elapsed_max = 1.5

    def retry_after(self, failure, uniform):
        return 1.0 if failure.elapsed <= self.elapsed_max else None


@attrs.frozen
class LimitedInWords(Plain):
    """Takes its limit from a file, as it stands there."""

    attempts_max = "3"


@attrs.frozen
class JudgesByNumber(Plain):
    """Takes the status for the function that knows it."""

    retry_if_result = 503


class NotEvenItself(Plain):
    """A value that is equal to nothing."""

    def __eq__(self, other):
        return False

    def __hash__(self):
        return 1


class Unhashable(Plain):
    """A value that can change."""

    __hash__ = None


class AnObject(Plain):
    """Compares by identity, so it is another one after pickling."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Speechless(Plain):
    """Has the repr of an object."""

    __repr__ = object.__repr__


class WithoutMethod:
    """Answers nothing."""


def _local_policy():
    @attrs.frozen
    class Local(Plain):
        """Cannot be found again by name."""

    return Local()


BAD_RETRIES = [
    (Answers(-0.5), "sensible"),
    (Answers(math.nan), "sensible"),
    (Answers(math.inf), "sensible"),
    (Answers(True), "sensible"),
    (Answers("1"), "sensible"),
    (Answers((1.0,)), "sensible"),
    (Overflows(), "total"),
    (ReadsTheText(), "total"),
    (GrowsFromAttempt(), "sensible"),
    (Remembers(), "'pure'"),
    (WritesToTheView(), "writes to no view"),
    (MarksTheError(), "writes to no view"),
    (NotEvenItself(), "equal to itself"),
    (Unhashable(), "hashable"),
    (AnObject(), "picklable"),
    (_local_policy(), "picklable"),
    (Speechless(), "its repr evaluates back"),
    (WithoutMethod(), "retry_after"),
    (Plain, "not a class"),
    (OneTooMany(), "'attempts_max'"),
    (TooLate(), "'elapsed_max'"),
    (LimitedInWords(), "attempts_max is a number or None"),
    (JudgesByNumber(), "retry_if_result is a function or None"),
]


@pytest.mark.parametrize(("policy", "law"), BAD_RETRIES, ids=lambda value: getattr(value, "__name__", None))
def test_a_retry_policy_that_breaks_a_law_is_told_which(policy, law):
    """A check that cannot fail proves nothing about those that pass."""
    with pytest.raises(AssertionError, match=law):
        check_retry_policy(policy)


def test_the_plain_policy_that_the_bad_ones_differ_from_is_lawful():
    """Otherwise the bad ones might fail for another reason than their own."""
    check_retry_policy(Plain())


def test_the_attempt_that_breaks_a_law_is_named():
    """Ten thousand attempts were tried, and the author needs the one."""
    with pytest.raises(AssertionError, match=r"attempt=1024.*OverflowError"):
        check_retry_policy(Overflows())


@attrs.frozen
class Ordering:
    """An ordering that answers always the same."""

    answer: object = 1.0
    few_keys: object = True

    def key(self, job):
        return self.answer


@attrs.frozen
class DividesByPriority(Ordering):
    """Knows no CRITICAL."""

    def key(self, job):
        return 1 / job.priority


@attrs.frozen
class Sharing:
    """A sharing policy that answers always the same."""

    answer: object
    few_keys: bool = True

    def key(self, job):
        return job.priority

    def weight(self, job):
        return self.answer


@attrs.frozen
class WeighsJobs(Sharing):
    """Gives a tenant more for its urgent jobs, which no account can keep."""

    answer: object = None

    def weight(self, job):
        return 2.0 if job.priority < 10 else 1.0


@attrs.frozen
class HasAWeight(Ordering):
    """Weighs something, and means something else by it."""

    weight: float = 3.0


@pytest.mark.parametrize(
    ("policy", "law"),
    [
        (Ordering(math.nan), "sensible"),
        (Ordering(None), "sensible"),
        (Ordering("1"), "sensible"),
        (Ordering(1.0, "yes"), "few_keys"),
        (DividesByPriority(), "total"),
        (Plain(), "key"),
        (Sharing(0), "sensible"),
        (Sharing(math.inf), "sensible"),
        (Sharing(None), "sensible"),
        (WeighsJobs(), "one weight for all jobs of a tenant"),
        (HasAWeight(), "weight"),
    ],
)
def test_an_ordering_that_breaks_a_law_is_told_which(policy, law):
    """A key that is NaN puts a queue out of order without a word."""
    with pytest.raises(AssertionError, match=law):
        check_ordering_policy(policy)


@attrs.frozen
class Admitting:
    """An admission policy that answers always the same."""

    answer: object = Admission.REJECT
    timeout: object = None

    def admit(self, job, queue):
        return self.answer


@attrs.frozen
class MakesRoom(Admitting):
    """Tries to raise the capacity."""

    def admit(self, job, queue):
        queue.capacity += 1
        return Admission.BLOCK


@pytest.mark.parametrize(
    ("policy", "law"),
    [
        (Admitting(None), "sensible"),
        (Admitting("reject"), "sensible"),
        (Admitting(True), "sensible"),
        (Admitting(timeout=-1), "timeout"),
        (Admitting(timeout=math.nan), "timeout"),
        (MakesRoom(), "writes to no view"),
        (Plain(), "admit"),
    ],
)
def test_an_admission_policy_that_breaks_a_law_is_told_which(policy, law):
    """An answer that is no Admission would be guessed at."""
    with pytest.raises(AssertionError, match=law):
        check_admission_policy(policy)


@attrs.frozen
class Routing:
    """A routing policy to be broken."""

    def choose(self, job, pools, uniform):
        return pools[-1]


@attrs.frozen
class AnswersAnIndex(Routing):
    """Says which one instead of giving it."""

    def choose(self, job, pools, uniform):
        return 0


@attrs.frozen
class AnswersACopy(Routing):
    """Gives a pool that only looks the same."""

    def choose(self, job, pools, uniform):
        return attrs.evolve(pools[0])


@attrs.frozen
class TakesItOut(Routing):
    """Empties the list it was lent."""

    def choose(self, job, pools, uniform):
        return pools.pop()


@attrs.frozen
class ThirdOne(Routing):
    """Believes there are always three."""

    def choose(self, job, pools, uniform):
        return pools[2]


@attrs.frozen
class NeedsEmptyPool(Routing):
    """Believes one is always empty."""

    def choose(self, job, pools, uniform):
        return next((pool for pool in pools if not pool.in_use), None)


@attrs.frozen
class Fades(Routing):
    """Wants to see run times that fade in no time."""

    run_time_decay: object = 0.0


@attrs.frozen
class RanksByNothingKnown(Routing):
    """Misspells what it ranks by."""

    ranks_by: ClassVar[str] = "in_us"


@attrs.frozen
class RanksOtherwise(Routing):
    """Says one thing and does another."""

    ranks_by: ClassVar[str] = "in_use"


@attrs.frozen
class NeedsNoKey(Routing):
    """Believes that every job has an affinity."""

    def choose(self, job, pools, uniform):
        return pools[len(job.affinity) % len(pools)]


@pytest.mark.parametrize(
    ("policy", "law"),
    [
        (Fades(), "run_time_decay"),
        (Fades("10"), "run_time_decay"),
        (RanksByNothingKnown(), "ranks_by is"),
        (RanksOtherwise(), "it chooses the least in_use pool"),
        (NeedsNoKey(), "total"),
        (AnswersAnIndex(), "sensible"),
        (AnswersACopy(), "sensible"),
        (TakesItOut(), "writes to no view"),
        (ThirdOne(), "total"),
        (NeedsEmptyPool(), "sensible"),
        (Plain(), "choose"),
    ],
)
def test_a_routing_policy_that_breaks_a_law_is_told_which(policy, law):
    """A pool that was never offered has no slot to give."""
    with pytest.raises(AssertionError, match=law):
        check_routing_policy(policy)


@attrs.frozen
class Scaling:
    """A scaling policy to be broken."""

    def scale(self, load):
        return load.hold("enough")


@attrs.frozen
class AnswersANumber(Scaling):
    """Says how many instead of advising it."""

    def scale(self, load):
        return load.pools + 1


@attrs.frozen
class DividesByTheRunTime(Scaling):
    """Believes that some attempt has always ended."""

    def scale(self, load):
        return load.toward(math.ceil(load.in_use / load.run_time), "as many as it says")


@attrs.frozen
class SaysNotWhy(Scaling):
    """Opens a pool and gives no reason."""

    def scale(self, load):
        return load.add(1, "")


@attrs.frozen
class HalfAPool(Scaling):
    """Forgets to round."""

    def scale(self, load):
        return load.add(0.5, "half a pool")


@attrs.frozen
class DrainsAPoolOfItsOwn(Scaling):
    """Names a pool that it never saw."""

    def scale(self, load):
        return load.drain("that one", pool="another-1") if load.pools > 1 else load.hold()


@pytest.mark.parametrize(
    ("policy", "law"),
    [
        (AnswersANumber(), "sensible"),
        (DividesByTheRunTime(), "total"),
        (SaysNotWhy(), "sensible"),
        (HalfAPool(), "sensible"),
        (DrainsAPoolOfItsOwn(), "sensible"),
        (Plain(), "scale"),
    ],
)
def test_a_scaling_policy_that_breaks_a_law_is_told_which(policy, law):
    """The scheduler would hold, silently but for an event, and the group would never grow."""
    with pytest.raises(AssertionError, match=law):
        check_scaling_policy(policy)


@attrs.frozen(repr=False)
class SpelledElsewhere(Plain):
    """Has a repr that mentions what its module does not hold."""

    kind: type

    def __repr__(self):
        return f"SpelledElsewhere(elsewhere_{self.kind.__name__})"


def test_names_let_a_repr_mention_what_its_module_does_not_hold():
    """A policy may be set up with the user's own error classes, from anywhere."""
    with pytest.raises(AssertionError, match="elsewhere_OSError"):
        check_retry_policy(SpelledElsewhere(OSError))

    check_retry_policy(SpelledElsewhere(OSError), names={"elsewhere_OSError": OSError})
