"""Circuit breakers: when they open and close, whom they keep waiting, and who fails at once."""

import math
import pickle

import attrs
import pytest

from policies import CircuitBreaker, ExponentialBackoff, Failure, FixedBackoff, WithBreaker
from pools import InlinePool, ThreadPool
from scheduler import BreakerOpen, PoolGroup, RunTimeout, Scheduler, VirtualClock
from scheduler._core.breakers import BreakerRecord, Phase
from scheduler._core.invariants import check
from scheduler._core.job import JobOptions
from scheduler._core.limits import Limit
from scheduler.simulation import Simulator

AT_ONCE = FixedBackoff(delay=0.0, attempts_max=10)


def a_breaker(**settings):
    """Return a breaker that opens when 2 of 4 fail, for 10 seconds, and probes with 2."""
    given = {"tag": "io", "window": 4, "calls_min": 4, "open_for": 10.0, "probes": 2} | settings
    return CircuitBreaker(**given)


class Deaf:
    """Somebody to tell events to, who does not listen."""

    observed = False


def watching(**settings):
    return BreakerRecord.watching(a_breaker(**settings), Deaf())


def saw(record, now, *verdicts):
    for verdict in verdicts:
        record.saw(OSError() if verdict else None, now, now)
    return record.phase


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, ValueError, "exactly one of name=, tag= and group=, not name=None"),
        ({"tag": "a", "group": "b"}, ValueError, "tag='a' and group='b'; make one for each"),
        ({"tag": ""}, TypeError, "tag=.*must be a non-empty string, not ''"),
        ({"tag": "a", "failure_ratio": 0}, ValueError, "failure_ratio=.*must be more than 0"),
        ({"tag": "a", "failure_ratio": 1.5}, ValueError, "must be at most 1, not 1.5; 0.5 is half"),
        ({"tag": "a", "window": 10}, ValueError, "calls_min=100.*is more than window=10.*never open"),
        ({"tag": "a", "open_for": 0}, ValueError, "open_for=.*must be more than 0"),
        ({"tag": "a", "open_for": math.inf}, ValueError, "open_for=.*must be finite"),
        ({"tag": "a", "probes": 0}, ValueError, "probes=.*must be at least 1"),
        ({"tag": "a", "when_open": "wait"}, ValueError, "must be one of 'park', 'fail', not 'wait'"),
        ({"tag": "a", "fail_on": "OSError"}, TypeError, "fail_on=.*must be an exception class"),
    ],
)
def test_a_bad_breaker_is_told_what_is_wrong(given, error, message):
    """Whoever reads the message should know what to write instead."""
    with pytest.raises(error, match=message):
        CircuitBreaker(**given)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (a_breaker(), TypeError, r"breakers= must be a list of CircuitBreaker\(...\) values"),
        ([7], TypeError, r"must be a list of CircuitBreaker\(...\) values, not \[7\]"),
        ([a_breaker(), a_breaker(probes=5)], ValueError, "breakers= has two that watch tag 'io'"),
        (
            [a_breaker(tag=None, group="oi")],
            ValueError,
            "names the group 'oi', and there is none; this scheduler has 'thread'",
        ),
    ],
)
def test_breakers_that_make_no_sense_together_are_refused(given, error, message):
    """A breaker that watches nobody would be found out in the first outage."""
    with pytest.raises(error, match=message):
        Scheduler(1, breakers=given)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((FixedBackoff, a_breaker()), TypeError, r"policy=.*method retry_after\(\)"),
        ((FixedBackoff(), "io"), TypeError, "breaker=.*must be a CircuitBreaker, not 'io'"),
        ((FixedBackoff(), a_breaker(), "park"), ValueError, "must be one of 'fail', 'wait', not 'park'"),
    ],
)
def test_a_breaker_is_put_around_a_policy_or_refused(arguments, error, message):
    """A mistake should be told where it is written."""
    with pytest.raises(error, match=message):
        WithBreaker(*arguments)


def test_a_breaker_is_a_frozen_value():
    """It is given to the scheduler and to policies, which must mean the same one."""
    policy = WithBreaker(FixedBackoff(), a_breaker(fail_on=OSError), when_open="wait")

    assert policy == pickle.loads(pickle.dumps(policy)) == eval(repr(policy), vars(__import__("policies")))
    assert hash(policy) == hash(attrs.evolve(policy))


def test_it_opens_at_the_ratio_and_not_before_it_has_seen_enough():
    """Two failures of two are no outage; two of four may be one."""
    record = watching()

    assert Phase.CLOSED is saw(record, 0.0, True, True, False)
    assert Phase.OPEN is saw(record, 0.0, False)


def test_what_is_older_than_the_window_is_forgotten():
    """Failures of last week are no reason to stop today."""
    record = watching(failure_ratio=0.75)

    assert Phase.CLOSED is saw(record, 0.0, True, True, False, False, True, True, False, False, True, True)
    assert Phase.OPEN is saw(record, 0.0, True)


def test_an_error_that_is_no_failure_is_an_answer():
    """A service that says "bad request" is up."""
    record = watching(fail_on=ConnectionError)
    for _ in range(10):
        record.saw(ValueError(), 0.0, 0.0)

    assert (Phase.CLOSED, 0) == (record.phase, record.failed)


def test_it_has_no_room_until_its_time_has_come_and_then_for_the_probes():
    """An open breaker is a limit without room; the moment at which it has some is known."""
    record = watching()
    saw(record, 1.0, True, True, True, True)
    early = record.has_room(math.nextafter(11.0, 0.0))
    told = record.statistics(10.9).state, record.statistics(11.0).state
    room = []
    for _ in range(3):
        room.append(record.has_room(11.0))
        if room[-1]:
            record.held += 1
            record.take_token(11.0)

    assert (False, ("open", "half-open"), [True, True, False]) == (early, told, room)
    assert Phase.HALF_OPEN is record.phase


@pytest.mark.parametrize(("verdicts", "phase"), [((False, False), Phase.CLOSED), ((False, True), Phase.OPEN)])
def test_the_probes_decide(verdicts, phase):
    """Half of the probes failing is as much as half of all."""
    record = watching()
    saw(record, 0.0, True, True, True, True)
    record.held = 1
    record.take_token(10.0)

    assert phase is saw(record, 10.0, *verdicts)
    assert record.has_room(10.0) is (phase is Phase.CLOSED)


def test_what_started_before_says_nothing_of_how_it_is_now():
    """Calls from before the outage come back in the middle of the probing."""
    record = watching()
    record.held = 5
    saw(record, 0.0, True, True, True, True)
    record.take_token(10.0)
    with_old = record.concurrency
    for _ in range(4):
        record.saw(OSError(), 0.0, 10.5)

    assert (Phase.HALF_OPEN, 6, 2, 0) == (record.phase, with_old, record.concurrency, record.failed)


# In the core


def broken(by_hand, group, *, slots=4, **settings):
    """Return a core in which the breaker of tag "io" has just opened."""
    hand = by_hand(group("io", slots=slots), breakers=[a_breaker(**settings)])
    for number in range(4):
        hand.submit(f"f{number}", tags=["io"])
    for number in range(4):
        hand.finish(f"f{number}", OSError())
    return hand


def test_an_open_breaker_parks_jobs_and_lets_others_pass(by_hand, group):
    """A job that cannot succeed should not use a slot that another one could."""
    hand = broken(by_hand, group)
    hand.submit("a", tags=["io"])
    hand.submit("b")

    assert ("WAITING", "RUNNING", 1) == (hand.state("a"), hand.state("b"), hand.statistics().limited)
    assert [("breaker of tag 'io'", 4, 4, 10.0)] == [
        (event.breaker, event.failed, event.calls, event.until) for event in hand.told("BreakerOpened")
    ]


def test_probes_start_by_themselves_and_in_order(by_hand, group):
    """Nobody must have to submit something for those who wait to be let out."""
    hand = broken(by_hand, group)
    for name, priority in (("late", 20), ("later", 20), ("latest", 20), ("urgent", 10)):
        hand.submit(name, tags=["io"], priority=priority)
    hand.advance(9.999)
    early = hand.names[4:]
    hand.advance(0.001)
    probes = hand.names[4:]
    hand.finish("urgent")
    between = hand.names[4:]
    hand.finish("late")

    assert ([], ["urgent", "late"]) == (early, probes)
    assert probes == between, "a third started while two are to decide"
    assert ["urgent", "late", "later", "latest"] == hand.names[4:]
    assert (1, 1) == (len(hand.told("BreakerHalfOpened")), len(hand.told("BreakerClosed")))


def test_probes_that_fail_open_it_again_for_as_long(by_hand, group):
    """Else a dead service would be hit by every job that waits for it, one after the other."""
    hand = broken(by_hand, group)
    for name in "abcd":
        hand.submit(name, tags=["io"])
    hand.advance(10.0)
    hand.finish("a", OSError())
    hand.finish("b", OSError())
    started = hand.names[4:]
    hand.advance(9.9)
    still = hand.names[4:]
    hand.advance(0.1)

    assert ["a", "b"] == started == still
    assert ["a", "b", "c", "d"] == hand.names[4:]
    assert 2 == hand.statistics().breakers[0].opened


def test_no_more_start_half_open_than_are_to_decide(by_hand, group):
    """A service that is down is hit by as many jobs as were allowed, though the first of them succeed."""
    hand = broken(by_hand, group, slots=8, probes=4)
    for number in range(12):
        hand.submit(f"p{number}", tags=["io"])
    hand.advance(10.0)
    for number in range(3):
        hand.finish(f"p{number}")
    half_open = len(hand.names) - 4
    hand.finish("p3")

    assert (4, 12, "closed") == (half_open, len(hand.names) - 4, hand.statistics().breakers[0].state)


def test_calls_from_before_give_no_room_to_probes_that_were_made(by_hand, group):
    """Room beside what ran from before goes as that comes back, whatever the probes have told by then."""
    hand = by_hand(group("io", slots=8), breakers=[a_breaker(calls_min=2, window=2)])
    for name in ("old", "older", "f0", "f1"):
        hand.submit(name, tags=["io"])
    hand.finish("f0", OSError())
    hand.finish("f1", OSError())
    for number in range(4):
        hand.submit(f"p{number}", tags=["io"])
    hand.advance(10.0)
    hand.finish("p0")
    hand.finish("old")
    hand.finish("older", OSError())
    half_open = hand.names[4:]
    hand.finish("p1")

    assert (["p0", "p1"], "closed") == (half_open, hand.statistics().breakers[0].state)


def test_a_call_from_before_that_is_interrupted_gives_no_room_to_probes(by_hand, group):
    """It says nothing, and its place was beside those of the probes: a third one of two was made there."""
    hand = by_hand(group("io", slots=8), breakers=[a_breaker(calls_min=2, window=2)])
    for name in ("old", "f0", "f1"):
        hand.submit(name, tags=["io"])
    hand.finish("f0", OSError())
    hand.finish("f1", OSError())
    for number in range(4):
        hand.submit(f"p{number}", tags=["io"])
    hand.advance(10.0)
    hand.interrupt("old")
    hand.finish("old", OSError())

    assert ["p0", "p1"] == hand.names[3:]


def test_a_probe_without_a_verdict_gives_its_place_to_another(by_hand, group):
    """A probe that is interrupted must not leave the breaker half-open for ever."""
    hand = broken(by_hand, group, probes=1)
    hand.submit("a", tags=["io"])
    hand.submit("b", tags=["io"])
    hand.advance(10.0)
    hand.interrupt("a")
    hand.finish("a", OSError())
    between = hand.names[4:]
    hand.finish("b")

    assert (["a", "b"], "closed") == (between, hand.statistics().breakers[0].state)


def test_a_probe_that_hangs_is_judged_when_its_time_is_up(by_hand, group):
    """A service that hangs is down too, and the thread that hangs in it comes back much later."""
    hand = broken(by_hand, group, probes=1)
    hand.submit("a", tags=["io"], run_timeout=1.0)
    hand.advance(10.0)
    hand.submit("b", tags=["io"])
    hand.advance(1.0)
    again = hand.statistics().breakers[0].state
    hand.advance(10.0)

    assert ("open", "RUNNING") == (again, hand.state("b"))
    assert isinstance(hand.jobs["a"].outcome, RunTimeout)
    hand.finish("a", attempt=1)


def test_a_job_that_is_cancelled_while_parked_leaves_no_alarm(by_hand, group):
    """An alarm that rings for nobody costs a wake-up each time."""
    hand = broken(by_hand, group)
    hand.submit("a", tags=["io"])
    when = hand.core.next_deadline()
    hand.cancel("a")

    assert (10.0, math.inf) == (when, hand.core.next_deadline())


def test_a_breaker_of_a_name_and_one_of_a_group_watch_their_own_jobs(by_hand, group):
    """Which jobs a breaker is about must be known before the outage."""
    breakers = [a_breaker(tag=None, name="fetch"), a_breaker(tag=None, group="db")]
    hand = by_hand(
        group("io"), group("db", dedicated=True), group("extra", tags=frozenset({"db"})), breakers=breakers
    )
    asked = {
        "fetch": {},
        "only db": {"groups": ["db"]},
        "db or extra": {"tags": ["db"]},
        "other": {},
    }
    for name, options in asked.items():
        hand.submit(name, **options)
    under = {name: [record.whose for record in hand.jobs[name].line.limits] for name in asked}

    assert under == {
        "fetch": ["breaker of name 'fetch'"],
        "only db": ["breaker of group 'db'"],
        "db or extra": [],
        "other": [],
    }


def test_jobs_fail_at_once_when_that_is_asked_for(by_hand, group):
    """A caller with another answer at hand does not want to wait a minute for a service that is down."""
    hand = broken(by_hand, group, when_open="fail")
    hand.submit("a", tags=["io"])
    outcome = hand.jobs["a"].outcome

    assert ("FAILED", BreakerOpen) == (hand.state("a"), type(outcome))
    assert "breaker of tag 'io' is open: it lets the next jobs through in 10 s; try again later" in str(
        outcome
    )


def test_jobs_that_wait_when_it_opens_fail_too(by_hand, group):
    """They would wait for the same service."""
    hand = by_hand(group("io", slots=1), breakers=[a_breaker(when_open="fail", calls_min=1, probes=1)])
    for name in "abcd":
        hand.submit(name, tags=["io"])
    hand.finish("a", OSError())

    assert {"FAILED"} == {hand.state(name) for name in "abcd"}
    assert ["a"] == hand.names
    assert [OSError, BreakerOpen, BreakerOpen, BreakerOpen] == [
        type(hand.jobs[name].outcome) for name in "abcd"
    ]


def test_jobs_behind_busy_slots_fail_as_soon_as_it_opens(by_hand, group):
    """They should not have to wait for a slot to be told that it would be for nothing."""
    hand = by_hand(group("io", slots=2), breakers=[a_breaker(when_open="fail", calls_min=1)])
    hand.submit("a", tags=["io"])
    hand.submit("other")
    hand.submit("b", tags=["io"])
    hand.submit("first in line", priority=0)
    hand.finish("a", OSError())

    assert ("RUNNING", "FAILED") == (hand.state("first in line"), hand.state("b"))


def test_ten_thousand_that_wait_fail_a_few_a_turn(by_hand, group):
    """A turn that ended all of them would hold the lock for long (law 5)."""
    hand = by_hand(group("io", slots=1), breakers=[a_breaker(when_open="fail", calls_min=1)], capacity=10_000)
    for number in range(600):
        hand.submit(str(number), tags=["io"])
    hand.finish("0", OSError())
    at_first = len(hand.settled)
    turns = 0
    while hand.core.next_deadline() <= hand.now:
        hand.advance(0.0)
        turns += 1

    assert (257, 600, 2) == (at_first, len(hand.settled), turns)


def test_a_retry_that_comes_back_to_an_open_breaker_fails_with_its_own_error(by_hand, group):
    """The caller's `except ConnectionError` must go on working."""
    hand, error = by_hand(group("io"), breakers=[a_breaker(when_open="fail", calls_min=1)]), ConnectionError()
    hand.submit("a", tags=["io"], retry=FixedBackoff(delay=1.0))
    hand.finish("a", error)
    hand.advance(1.0)

    assert ("FAILED", error, BreakerOpen) == (hand.state("a"), hand.jobs["a"].outcome, type(error.__cause__))


# Retries


def test_a_policy_sees_the_breaker_in_its_argument():
    """A policy has no memory: whether it is open is told."""
    opened = Failure(1, OSError(), held={a_breaker(): 3.0})

    assert [None, 3.0, 0.0, None] == [
        WithBreaker(AT_ONCE, a_breaker()).retry_after(opened, None),
        WithBreaker(AT_ONCE, a_breaker(), "wait").retry_after(opened, None),
        WithBreaker(AT_ONCE, a_breaker()).retry_after(Failure(1, OSError()), None),
        WithBreaker(FixedBackoff(attempts_max=1), a_breaker()).retry_after(Failure(1, OSError()), None),
    ]


def test_a_job_is_not_retried_while_the_breaker_is_open(by_hand, group):
    """Whoever waits for the result should know at once that there will be none soon."""
    breaker = a_breaker(calls_min=2, window=2)
    hand = by_hand(group("io", slots=2), breakers=[breaker])
    first, last = ConnectionError("first"), ConnectionError("last")
    hand.submit("a", tags=["io"], retry=WithBreaker(AT_ONCE, breaker))
    hand.finish("a", first)
    hand.advance(0.0)
    hand.finish("a", last)

    assert ("FAILED", last, 2) == (hand.state("a"), hand.jobs["a"].outcome, hand.jobs["a"].attempt)
    assert type(last.__cause__) is BreakerOpen
    assert "open" in str(last.__cause__)
    assert ["breaker of tag 'io'"] == [event.by for event in hand.told("RetryRefused")]


def test_a_job_backs_off_until_the_breaker_lets_somebody_through(by_hand, group):
    """It waits where it does not stand in the front queue, and asks again when its time has come."""
    breaker = a_breaker(calls_min=1, window=1, probes=1)
    hand = by_hand(group("io", slots=2), breakers=[breaker])
    hand.submit("a", retry=WithBreaker(AT_ONCE, breaker, when_open="wait"))
    hand.submit("b", tags=["io"])
    hand.finish("b", OSError())
    hand.finish("a", OSError())
    hand.advance(9.0)
    early = hand.state("a")
    hand.advance(1.0)

    assert ("BACKING_OFF", "RUNNING") == (early, hand.state("a"))


def test_a_breaker_that_the_scheduler_does_not_have_is_refused():
    """A retry policy with a breaker that nobody feeds would never stop."""
    with (
        Scheduler(InlinePool(), breakers=[a_breaker()], clock=VirtualClock()) as scheduler,
        pytest.raises(ValueError, match=r"is not one of this scheduler's breakers, which are CircuitBreaker"),
    ):
        scheduler.with_options(retry=WithBreaker(ExponentialBackoff(), a_breaker(probes=7)))


# Seen from outside


def test_it_is_said_that_a_breaker_holds_a_job():
    """Whoever asks why nothing moves should read the name of the service that is down."""
    simulator = Simulator(PoolGroup("io", ThreadPool(slots=4)), breakers=[a_breaker()], check_every=1)
    for _ in range(4):
        simulator.submit(1.0, tags="io", fails=1)
    jobs = [simulator.submit(1.0, at=2.0, tags="io") for _ in range(3)]
    simulator.run(until=5.0)
    told, of_group = str(simulator.standing(jobs[0])), str(simulator.explain("io"))
    simulator.run(until=11.5)

    words = "breaker of tag 'io' is open: it lets the next jobs through in 6 s"
    assert words in told
    assert words in of_group
    assert "breaker of tag 'io' is half-open: 2 of 2 probes run" in str(simulator.standing(jobs[2]))
    simulator.run()
    assert [11.0, 11.0, 12.0] == [job.started_at for job in jobs]


def test_a_breaker_beside_a_limit_holds_whoever_either_holds():
    """Two things may be without room, and come back in any order."""
    simulator = Simulator(
        PoolGroup("io", ThreadPool(slots=4)),
        breakers=[a_breaker()],
        limits=[Limit(tenant="*", concurrency=1)],
        check_every=1,
    )
    for number in range(4):
        simulator.submit(1.0, tags="io", fails=1, tenant=str(number))
    jobs = [simulator.submit(1.0, at=2.0, tags="io", tenant="a") for _ in range(3)]
    simulator.run()
    check(simulator.core)

    assert [11.0, 12.0, 13.0] == [job.started_at for job in jobs]


def test_a_breaker_of_a_group_is_on_the_way_of_jobs_that_name_no_tag(by_hand, group):
    """Most jobs name none, and the group they go to is down all the same."""
    hand = by_hand(group("io"), breakers=[a_breaker(tag=None, group="io")])
    line = hand.core.line_for(JobOptions(), coroutine=False)

    assert ["group 'io'"] == [record.whose.removeprefix("breaker of ") for record in line.limits]
