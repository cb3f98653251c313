"""A policy that takes long is named: it is asked under the lock, and holds up every job."""

import pytest

from policies import Admission, FixedBackoff, LeastLoaded, StrictPriority
from policies.contracts import Advice
from scheduler._core.slowness import QUICK, QUIET, SLOW, Slowness


class Hands:
    """A stopwatch that the policies of a test move on."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


class Takes:
    """Every policy in one, each of whose answers takes so many seconds, and is a good one."""

    few_keys = True

    def __init__(self, stopwatch, seconds, *, then=None):
        self._stopwatch, self._seconds, self._then = stopwatch, seconds, then

    def _think(self, answer):
        self._stopwatch.seconds += self._seconds
        if self._then is not None:
            raise self._then
        return answer

    def key(self, job):
        return self._think(job.priority)

    def admit(self, job, queue):
        return self._think(Admission.BLOCK)

    def choose(self, job, pools, uniform):
        return self._think(pools[-1])

    def retry_after(self, failure, uniform):
        return self._think(1.0)

    def scale(self, load):
        return self._think(Advice(pools=2, reason="the test says so"))


class Weighs(Takes):
    """Takes its time over what tenants are worth."""

    def key(self, job):
        return job.priority

    def weight(self, job):
        return self._think(2.0)


class Sheds(Takes):
    """Takes its time over what has waited too long."""

    interval = 1.0

    def admit(self, job, queue):
        return Admission.BLOCK

    def too_long(self, least_wait):
        return self._think(None)


def ask_ordering(by_hand, group, stopwatch, policy):
    hand = by_hand(ordering=policy, stopwatch=stopwatch)
    hand.submit("a")
    return hand


def ask_admission(by_hand, group, stopwatch, policy):
    hand = by_hand(admission=policy, stopwatch=stopwatch, capacity=1)
    for name in "abc":
        hand.submit(name)
    return hand


def ask_routing(by_hand, group, stopwatch, policy):
    hand = by_hand(group("io"), pools=2, routing=policy, stopwatch=stopwatch)
    hand.submit("a")
    return hand


def ask_retry(by_hand, group, stopwatch, policy):
    hand = by_hand(stopwatch=stopwatch)
    hand.submit("a", retry=policy)
    hand.finish("a", OSError())
    return hand


def ask_scaling(by_hand, group, stopwatch, policy):
    hand = by_hand(group("io", scaling=policy, max_pools=2), stopwatch=stopwatch)
    hand.submit("a")
    hand.advance(hand.core.next_deadline())
    return hand


def ask_to_shed(by_hand, group, stopwatch, policy):
    hand = by_hand(admission=policy, stopwatch=stopwatch)
    hand.submit("a")
    hand.submit("b")
    for _ in range(8):
        hand.advance(0.25)
    return hand


QUESTIONS = {
    "ordering": ask_ordering,
    "admission": ask_admission,
    "routing": ask_routing,
    "retry": ask_retry,
    "scaling": ask_scaling,
}


def told(hand):
    return [(event.question, event.policy, event.seconds, event.calls) for event in hand.told("PolicySlow")]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_policy_that_takes_a_second_is_named(by_hand, group, question):
    """Every job has waited for it, and nothing else shows whose fault that is."""
    stopwatch = Hands()
    hand = QUESTIONS[question](by_hand, group, stopwatch, Takes(stopwatch, 1.0))

    assert [(question, "Takes", 1.0, 1)] == told(hand)


@pytest.mark.parametrize(
    ("kind", "ask", "question"), [(Weighs, ask_ordering, "ordering"), (Sheds, ask_to_shed, "admission")]
)
def test_what_else_a_policy_is_asked_is_timed_too(by_hand, group, kind, ask, question):
    """Weights and shedding are asked under the same lock."""
    stopwatch = Hands()
    hand = ask(by_hand, group, stopwatch, kind(stopwatch, 1.0))

    assert [(question, kind.__name__, 1.0, 1)] == told(hand)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_policy_that_is_quick_enough_is_not_named(by_hand, group, question):
    """An alarm that rings for nothing is switched off."""
    stopwatch = Hands()
    hand = QUESTIONS[question](by_hand, group, stopwatch, Takes(stopwatch, SLOW / 2))

    assert stopwatch.seconds > 1000.0
    assert [] == told(hand)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_policy_that_takes_long_and_then_raises_is_told_as_both(by_hand, group, question):
    """A connection that times out does just that."""
    stopwatch = Hands()
    hand = QUESTIONS[question](by_hand, group, stopwatch, Takes(stopwatch, 1.0, then=TimeoutError()))

    assert ([question], [(question, "Takes", 1.0, 1)]) == (hand.policy_failures, told(hand))


def test_an_answer_that_took_long_is_used_all_the_same(by_hand, group):
    """There is nobody else to ask, and it may be right."""
    stopwatch = Hands()
    hand = ask_retry(by_hand, group, stopwatch, Takes(stopwatch, 1.0))
    hand.advance(1.0)

    assert [("a", 1), ("a", 2)] == [(name, attempt) for name, attempt, _ in hand.started]


def test_a_policy_that_is_always_slow_is_named_once_a_minute_with_a_count(by_hand):
    """Ten thousand lines that say the same hide all the others."""
    stopwatch = Hands()
    hand = by_hand(ordering=Takes(stopwatch, 1.0), stopwatch=stopwatch, capacity=1000)
    for number in range(int(QUIET) + 2):
        hand.submit(number)

    assert [("ordering", "Takes", 1.0, 1), ("ordering", "Takes", 1.0, int(QUIET))] == told(hand)


def test_each_slow_policy_is_named_whichever_other_one_is(by_hand):
    """Two at fault are two to be mended."""
    stopwatch = Hands()
    hand = by_hand(ordering=Takes(stopwatch, 1.0), stopwatch=stopwatch)
    hand.submit("a", retry=Takes(stopwatch, 2.0))
    hand.finish("a", OSError())

    assert [("ordering", 1.0), ("retry", 2.0)] == [(who, seconds) for who, _, seconds, _ in told(hand)]


def test_without_a_stopwatch_nothing_is_measured(by_hand, group):
    """In virtual time the same run must be the same, whatever else the machine does."""
    stopwatch = Hands()
    hands = [ask(by_hand, group, None, Takes(stopwatch, 1.0)) for ask in QUESTIONS.values()]

    assert [[]] * len(hands) == [told(hand) for hand in hands]


def test_nobody_times_our_own_policies_on_the_hot_path():
    """They look at a few numbers, and two readings of a clock would be a tenth of their time."""
    slowness = Slowness(Hands(), print)

    assert [None] * len(QUICK) == [slowness.stopwatch_for(kind()) for kind in QUICK]
    assert slowness.stopwatch_for(Takes(None, 0.0)) is slowness.stopwatch


def test_the_default_policies_read_no_stopwatch(by_hand, group):
    """Millions of jobs must not pay for what only a plug-in can do."""
    readings = []
    hand = by_hand(
        group("io"),
        pools=2,
        ordering=StrictPriority(),
        routing=LeastLoaded(),
        stopwatch=lambda: readings.append(1) or 0.0,
    )
    hand.submit("a")
    hand.finish("a")

    assert [] == readings


def test_one_pause_of_the_collector_names_nobody(by_hand, group):
    """It falls upon whoever is just being asked; a policy that is slow is slow again."""
    stopwatch = Hands()
    hand = ask_retry(by_hand, group, stopwatch, Takes(stopwatch, 2 * SLOW))
    once = told(hand)
    hand.advance(1.0)
    hand.finish("a", OSError())

    assert ([], 1) == (once, len(told(hand)))


def test_our_backoffs_are_timed_only_where_they_call_functions_of_others():
    """Ours compare a few numbers; what they are given may do anything."""
    assert FixedBackoff(retry_on=OSError).quick
    assert not FixedBackoff(retry_on=(OSError, callable)).quick
    assert not FixedBackoff(give_up_on=callable).quick
