"""The gate: what becomes of a job that finds the front queue full."""

import math

import pytest

from policies import Admission, Aging, Block, CallerRuns, FixedBackoff, Reject, ShedLowest
from scheduler._errors import JobShed, QueueFull


def full(by_hand, admission, *, capacity=2, **settings):
    """Return a hand with one job running and the queue full of jobs at NORMAL."""
    hand = by_hand(capacity=capacity, admission=admission, **settings)
    hand.submit("running")
    for number in range(capacity):
        hand.submit(f"waiting-{number + 1}")
    return hand


def test_capacity_does_not_count_what_runs(by_hand):
    """The bound is on waiting: a slot's own limit is the slot."""
    hand = full(by_hand, Reject(), capacity=1)

    assert ["RUNNING", "WAITING"] == [hand.state("running"), hand.state("waiting-1")]


# Block


def test_a_submitter_that_finds_the_queue_full_stands_at_the_door(by_hand):
    """A producer that is faster than its consumers must be slowed down, not swapped out."""
    hand = full(by_hand, Block())

    assert (Admission.BLOCK, 0) == (hand.submit("late"), hand.jobs["late"].id)


def test_who_stands_at_the_door_is_in_no_count(by_hand):
    """The ledger must add up while somebody waits to be in it."""
    hand = full(by_hand, Block())
    hand.submit("late")

    assert (3, 2) == (hand.statistics().submitted, hand.statistics().waiting)


def test_the_door_lets_in_by_order_of_arrival(by_hand):
    """Who has waited longest to come in comes in first, whatever it wants."""
    hand = full(by_hand, Block())
    for name, priority in (("first", 40), ("second", 0), ("third", 20)):
        hand.submit(name, priority=priority)
    hand.finish("running")
    hand.finish("waiting-1")

    assert ["first", "second"] == hand.admitted


def test_nobody_at_the_door_is_overtaken_by_a_newcomer(by_hand):
    """The room that appears belongs to who waits for it."""
    hand = full(by_hand, Block())
    hand.submit("waits")
    hand.finish("running")
    hand.submit("comes later")

    assert (["waits"], 0) == (hand.admitted, hand.jobs["comes later"].id)


@pytest.mark.parametrize("how", ["cancel", "expire", "finish"])
def test_any_way_out_of_the_queue_opens_the_door(by_hand, how):
    """Room that is made and not noticed blocks a submitter for ever."""
    hand = by_hand(capacity=1)
    hand.submit("running")
    hand.submit("waiting", queue_timeout=1.0)
    hand.submit("late")
    {
        "cancel": lambda: hand.cancel("waiting"),
        "expire": lambda: hand.advance(1.0),
        "finish": lambda: hand.finish("running"),
    }[how]()

    assert ["late"] == hand.admitted


def test_a_delayed_job_that_starts_opens_the_door(by_hand, group):
    """Found by the model: room made by a timer left a submitter blocked beside it."""
    hand = by_hand(group("io"), group("cpu", dedicated=True), capacity=1)
    hand.submit("busy", tags={"cpu"})
    hand.submit("delayed", tags={"io"}, delay=1.0)
    hand.submit("late", tags={"cpu"})
    hand.advance(1.0)

    assert (["busy", "delayed"], ["late"]) == (hand.names, hand.admitted)


def test_a_retried_job_that_starts_opens_the_door(by_hand, group):
    """A backoff counts against the capacity, so its end makes room like any other."""
    hand = by_hand(group("io"), group("cpu", dedicated=True), capacity=1)
    hand.submit("busy", tags={"cpu"})
    hand.submit("fails", tags={"io"}, retry=FixedBackoff(delay=1.0))
    hand.finish("fails", OSError())
    hand.submit("late", tags={"cpu"})
    hand.advance(1.0)

    assert ["late"] == hand.admitted


def test_who_gave_up_at_the_door_is_not_let_in(by_hand):
    """submit() has raised QueueFull: the job must not run after that."""
    hand = full(by_hand, Block())
    hand.submit("late")
    hand.core.leave_door(hand.jobs["late"], hand.now, "no room in time")
    hand.finish("running")

    assert ([], 1) == (hand.admitted, hand.statistics().rejected)


def test_a_job_for_a_free_slot_passes_a_full_queue(by_hand, group):
    """A queue full of work for threads must not keep processes idle."""
    hand = by_hand(group("io"), group("cpu", dedicated=True), capacity=1)
    hand.submit("busy", tags={"io"})
    hand.submit("waiting", tags={"io"})
    hand.submit("compute", tags={"cpu"})

    assert ["busy", "compute"] == hand.names


def test_a_job_let_in_after_its_deadline_never_starts(by_hand):
    """deadline= bounds everything from submit on, the time at the door included."""
    hand = full(by_hand, Block(), capacity=1)
    hand.submit("late", deadline=1.0)
    hand.now = 5.0
    hand.finish("running")
    hand.finish("waiting-1")
    hand.advance(0.0)

    assert (["running", "waiting-1"], "EXPIRED") == (hand.names, hand.state("late"))


def test_a_job_let_in_after_its_deadline_does_not_overfill_the_queue(by_hand, group):
    """Found by the model: it was let in to start, must not start, and so took room that was not there."""
    hand = by_hand(group("io"), group("cpu", dedicated=True), capacity=1)
    for name, tag in (("busy too", "cpu"), ("waiting", "cpu"), ("busy", "io")):
        hand.submit(name, tags={tag})
    hand.submit("late", tags={"io"}, deadline=1.0)
    hand.now = 5.0
    hand.finish("busy")
    hand.advance(0.0)

    assert "EXPIRED" == hand.state("late")


# Reject


def test_reject_turns_the_newcomer_away(by_hand):
    """The caller is told at submit, and what waits is left alone."""
    hand = full(by_hand, Reject())
    with pytest.raises(QueueFull, match=r"holds 2 jobs and capacity=2"):
        hand.submit("late")

    assert (1, 3, 2) == (
        hand.statistics().rejected,
        hand.statistics().submitted,
        hand.statistics().waiting,
    )


def test_a_rejection_is_told_to_observers(by_hand):
    """Turning work away is what an operator most wants to see."""
    hand = full(by_hand, Reject())
    with pytest.raises(QueueFull):
        hand.submit("late", priority=7)
    hand.take()

    assert [(7, "late")] == [(event.priority, event.name) for event in hand.told("JobRejected")]


# ShedLowest


def test_shedding_evicts_the_job_that_would_start_last(by_hand):
    """Under overload the least urgent work goes, and its caller is told."""
    hand = full(by_hand, ShedLowest())
    hand.submit("urgent", priority=0)

    assert (["waiting-2"], "SHED", JobShed) == (
        hand.settled,
        hand.state("waiting-2"),
        type(hand.jobs["waiting-2"].outcome),
    )


def test_a_newcomer_that_would_start_last_is_turned_away_itself(by_hand):
    """Evicting somebody for a job that is no more urgent only changes who suffers."""
    hand = full(by_hand, ShedLowest())
    with pytest.raises(QueueFull):
        hand.submit("no more urgent")

    assert ([], 1, 0) == (hand.settled, hand.statistics().rejected, hand.statistics().shed)


def test_shedding_looks_at_every_line(by_hand, group):
    """The bound is over all lines together."""
    hand = by_hand(group("io"), group("cpu", dedicated=True), capacity=2, admission=ShedLowest())
    for name, tag, priority in (("a", "io", 0), ("b", "cpu", 0), ("c", "io", 40), ("d", "cpu", 30)):
        hand.submit(name, tags={tag}, priority=priority)
    hand.submit("urgent", tags={"cpu"}, priority=0)

    assert ["c"] == hand.settled


def test_shedding_never_touches_what_is_delayed_or_backs_off(by_hand):
    """Only a waiting job would start last; one that is not due has no place to compare."""
    hand = by_hand(capacity=1, admission=ShedLowest())
    hand.submit("running")
    hand.submit("delayed", delay=9.0, priority=40)
    with pytest.raises(QueueFull):
        hand.submit("urgent", priority=0)

    assert "DELAYED" == hand.state("delayed")


def test_nobody_is_shed_for_a_newcomer_that_is_turned_away_itself(by_hand):
    """Found by the model: jobs that came back held the queue over its capacity, and both were lost."""
    hand = by_hand(capacity=1, admission=ShedLowest())
    hand.submit("comes back", run_timeout=1.0, retry=FixedBackoff(delay=9.0))
    hand.submit("normal")
    hand.advance(1.0)
    hand.submit("urgent", priority=0)

    assert ("SHED", "WAITING", 0) == (
        hand.state("normal"),
        hand.state("urgent"),
        hand.statistics().rejected,
    )


def test_a_newcomer_is_aged_from_its_arrival_when_it_is_compared(by_hand):
    """Compared as if it had waited since the beginning of time, any newcomer evicts anybody."""
    hand = by_hand(capacity=1, admission=ShedLowest(), ordering=Aging(seconds_per_level=1.0))
    hand.now = 1000.0
    hand.submit("running")
    hand.submit("normal", priority=20)
    hand.now = 1001.0
    with pytest.raises(QueueFull):
        hand.submit("bulk", priority=40)

    assert "WAITING" == hand.state("normal")


# CallerRuns


def test_the_caller_runs_what_finds_no_room(by_hand):
    """The submitter is slowed down by just the job it wanted to add."""
    hand = full(by_hand, CallerRuns())
    hand.submit("late")

    assert ("late", 1, "caller") == hand.started[-1]


def test_a_pause_of_the_pools_does_not_make_the_caller_wait(by_hand):
    """Who chose CallerRuns chose never to block; in a pause nothing would ever make room."""
    hand = full(by_hand, CallerRuns())
    hand.tell("pause")
    hand.submit("late")

    assert ("late", 1, "caller") == hand.started[-1]


def test_a_job_that_the_caller_runs_is_in_every_count(by_hand):
    """What runs in the submitter runs, and the ledger adds up."""
    hand = full(by_hand, CallerRuns())
    hand.submit("late")
    before = hand.statistics().running
    hand.finish("late")

    assert (2, 1, 1) == (before, hand.statistics().running, hand.statistics().succeeded)


def test_a_job_that_outlives_its_limit_in_the_caller_is_not_counted_twice(by_hand):
    """Settled and running at once, it would be in two places of the ledger."""
    hand = full(by_hand, CallerRuns())
    hand.submit("late", run_timeout=1.0)
    hand.advance(1.0)

    assert ("FAILED", 1, 1) == (hand.state("late"), hand.statistics().running, hand.statistics().failed)


def test_an_abandoned_job_in_the_caller_is_not_counted_twice(by_hand):
    """The same for one that a closing scheduler gave up on."""
    hand = full(by_hand, CallerRuns())
    hand.submit("late")
    hand.core.abandon(hand.calls["late", 1], TimeoutError("left behind"), hand.now)
    hand.take()

    assert ("CANCELLED", 1) == (hand.state("late"), hand.statistics().running)


def test_a_failure_in_the_caller_is_retried_in_a_pool(by_hand):
    """The caller lent its thread for one attempt, not for all of them."""
    hand = full(by_hand, CallerRuns())
    hand.submit("late", retry=FixedBackoff(delay=1.0), priority=0)
    hand.finish("late", OSError())
    hand.advance(1.0)
    hand.finish("running")

    assert ("late", 2, "io-1/1") == hand.started[-1]


def test_a_delayed_job_is_not_run_early_by_its_caller(by_hand):
    """delay= says not before; a full queue is no reason to break that promise."""
    hand = full(by_hand, CallerRuns())
    hand.submit("later", delay=60.0)

    assert "later" not in hand.names


def test_a_deadline_also_holds_in_the_caller(by_hand):
    """A limit that is dropped without a word when the queue is full is no limit."""
    hand = full(by_hand, CallerRuns())
    hand.submit("late", deadline=1.0)
    hand.advance(1.0)

    assert "EXPIRED" == hand.state("late")


# Policies that fail


class Raises:
    def admit(self, job, queue):
        raise ZeroDivisionError("no answer")


class Answers:
    def __init__(self, answer):
        self.answer = answer

    def admit(self, job, queue):
        return self.answer


@pytest.mark.parametrize("policy", [Raises(), Answers(None), Answers("reject"), Answers(True)])
def test_an_admission_policy_that_fails_blocks_and_is_told(by_hand, policy):
    """No job is lost to somebody's policy, and nobody has to guess which one it was."""
    hand = full(by_hand, policy)

    assert (Admission.BLOCK, ["admission"], 1) == (
        hand.submit("late"),
        hand.policy_failures,
        len(hand.told("PolicyFailed")),
    )


def test_who_wrote_the_admission_policy_is_told_what_it_raised_and_what_was_done_instead(by_hand):
    """Somebody must mend it, from one line of a log."""
    hand = full(by_hand, Raises())
    hand.submit("late")
    (told,) = hand.told("PolicyFailed")

    assert ("admission", "Raises", "block until there is room") == (told.question, told.policy, told.fallback)
    assert "ZeroDivisionError: no answer" == told.error


def test_an_admission_policy_sees_the_queue_and_who_wants_in(by_hand):
    """How full it is, is what most of them decide by."""

    class Looks:
        def admit(self, job, queue):
            seen.append((job.priority, queue.held, queue.capacity, len(queue)))
            return Admission.REJECT

    seen = []
    hand = full(by_hand, Looks())
    with pytest.raises(QueueFull):
        hand.submit("late", priority=7)

    assert [(7, 2, 2, 2)] == seen


@pytest.mark.parametrize(
    ("policy", "options", "patience"),
    [
        (Block(), {}, (math.inf, "")),
        (Block(timeout=3.0), {"deadline": 4.0, "queue_timeout": 5.0}, (3.0, "Block(timeout=)")),
        (Block(timeout=3.0), {"deadline": 2.0}, (2.0, "deadline=")),
        (Block(timeout=3.0), {"queue_timeout": 1.0}, (1.0, "queue_timeout=")),
        (Raises(), {"queue_timeout": 1.0}, (1.0, "queue_timeout=")),
        (Raises(), {}, (math.inf, "")),
    ],
)
def test_who_stands_at_the_door_is_as_patient_as_the_shortest_limit(by_hand, policy, options, patience):
    """A submitter that waits too long must learn which of three settings to change."""
    hand = full(by_hand, policy)
    hand.submit("late", **options)

    assert patience == hand.core.gate.patience(hand.jobs["late"])


def test_shedding_for_one_leaves_nobody_at_the_door_of_a_queue_with_room(by_hand):
    """A policy may block the one and shed for the other; both ways must meet."""

    class Mixed:
        def admit(self, job, queue):
            return Admission.SHED_LOWEST if job.priority < 20 else Admission.BLOCK

    hand = full(by_hand, Mixed(), capacity=1)
    hand.submit("at the door", priority=30)
    hand.submit("urgent", priority=0)

    assert ("WAITING", ["waiting-1"]) == (hand.state("urgent"), hand.settled)
