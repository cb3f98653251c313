"""Keys: one job of a key at a time, whatever the newcomer finds alive."""

import pytest

from policies import CallerRuns, FixedBackoff, Reject, ShedLowest
from policies.contracts import Admission
from scheduler import DuplicateJob, PoolBroken, QueueFull
from scheduler._core.deadlock import is_stuck
from scheduler._core.keys import Keys
from scheduler._core.limits import Limit
from scheduler._core.standing import standing

JOIN, REJECT = {"key": "k"}, {"key": "k", "on_conflict": "reject"}
REPLACE = {"key": "k", "on_conflict": "replace"}


@pytest.fixture
def busy(by_hand):
    """Make a hand whose only slot runs a job called first, of the key k unless told otherwise."""

    def make(options=JOIN, **settings):
        hand = by_hand(**settings)
        hand.submit("first", **options)
        return hand

    return make


# Join


def test_who_joins_gets_the_living_job_and_is_none_of_its_own(busy):
    """The same work is under way: a second job would do it twice."""
    hand = busy()
    answer = hand.submit("again", **JOIN)

    assert answer is hand.jobs["first"]
    assert 1 == hand.statistics().submitted


def test_a_job_that_backs_off_is_alive(busy):
    """Between two attempts the work is not done: whoever comes then must not start it beside."""
    hand = busy(JOIN | {"retry": FixedBackoff(delay=1.0)})
    hand.finish("first", OSError())

    assert "BACKING_OFF" == hand.state("first")
    assert hand.submit("again", **JOIN) is hand.jobs["first"]


def test_after_a_job_has_settled_its_key_is_free(busy):
    """A key is about what is alive, not about what ever was."""
    hand = busy()
    hand.finish("first")
    hand.submit("again", **JOIN)

    assert ["first", "again"] == hand.names


def test_different_keys_and_no_key_have_nothing_to_do_with_each_other(by_hand):
    """Dedup that catches a stranger loses a job."""
    hand = by_hand()
    for name, key in [("a", "a"), ("b", "b"), ("c", None), ("d", None)]:
        hand.submit(name, key=key)

    assert 4 == hand.statistics().submitted
    assert 2 == len(hand.core.keys)


# Reject


def test_reject_names_the_key_the_living_job_and_the_remedy(busy):
    """Whoever is turned away must learn by whom, and what to do."""
    hand = busy()
    with pytest.raises(
        DuplicateJob, match=r"key 'k' is alive: job 1 is running; .*'join' .*'replace' .*another key"
    ) as refused:
        hand.submit("again", **REJECT)
    hand.take()

    assert ("k", 1) == (refused.value.key, refused.value.job_id)
    assert (1, 1) == (hand.statistics().submitted, hand.statistics().rejected)
    assert "key" in hand.told("JobRejected")[0].reason


# Replace


def test_what_waits_is_cancelled_and_says_by_what(by_hand):
    """Latest wins: of ten that come while the slot is busy, the last one runs."""
    hand = by_hand()
    hand.submit("other")
    for number in range(10):
        hand.submit(str(number), **REPLACE)
    hand.finish("other")

    assert ["other", "9"] == hand.names
    assert 9 == hand.statistics().cancelled
    assert "job 2 was replaced by a newer job of its key 'k'" in str(hand.jobs["0"].outcome)


def test_what_runs_is_left_to_run_and_the_newcomer_starts_when_it_has_settled(busy, group):
    """A running job may have done half its work; two at once may undo each other's."""
    hand = busy(REPLACE)
    hand.add_pool("io")
    hand.submit("next", **REPLACE)

    assert "DELAYED" == hand.state("next")
    assert ["first"] == hand.names
    assert 1 == hand.statistics().delayed
    hand.finish("first")
    assert ["first", "next"] == hand.names


def test_the_newcomer_starts_after_it_is_said_that_the_one_before_has_settled(busy):
    """An observer that sees two of a key at once would report what cannot be."""
    hand = busy(REPLACE)
    hand.add_pool("io")
    hand.submit("next", **REPLACE)
    hand.finish("first")
    facts = [(type(event).__name__, event.job_id) for event in hand.events if hasattr(event, "job_id")]

    assert facts.index(("JobSettled", 1)) < facts.index(("JobStarted", 2))


@pytest.mark.parametrize("error", [OSError(), None])
def test_retries_of_what_runs_come_before_the_newcomer(busy, error):
    """It settles with its last attempt, not with its first."""
    hand = busy(REPLACE | {"retry": FixedBackoff(delay=1.0, attempts_max=2)})
    hand.submit("next", **REPLACE)
    hand.finish("first", OSError())
    assert "DELAYED" == hand.state("next")

    hand.advance(1.0)
    hand.finish("first", error)

    assert ["first", "first", "next"] == hand.names


def test_the_third_replaces_the_second_and_what_backs_off_before_it(busy):
    """Neither runs; the second must not start in between because the first is gone."""
    hand = busy(REPLACE | {"retry": FixedBackoff(delay=1.0)})
    hand.submit("second", **REPLACE)
    hand.finish("first", OSError())
    hand.submit("third", **REPLACE)

    assert ["first", "third"] == hand.names
    assert ["second", "first"] == hand.settled


def test_when_the_newcomer_is_cancelled_the_key_is_that_of_the_one_that_runs(busy):
    """The one that runs is alive still, so whoever joins gets that."""
    hand = busy(REPLACE)
    hand.submit("next", **REPLACE)
    hand.cancel("next")

    assert hand.submit("again", **JOIN) is hand.jobs["first"]
    assert hand.jobs["next"].extra.behind is None


def test_the_delay_of_a_debounced_job_begins_anew_each_time(by_hand):
    """Debouncing: it runs half a second after the last of many calls, once."""
    hand = by_hand()
    for name in "abc":
        hand.submit(name, delay=0.5, **REPLACE)
        hand.advance(0.4)
    assert [] == hand.names

    hand.advance(0.1)

    assert ["c"] == hand.names


def test_a_delay_that_ends_while_the_one_before_runs_goes_on_until_that_settles(busy):
    """Whichever is longer, the delay or the run."""
    hand = busy(REPLACE)
    hand.add_pool("io")
    hand.submit("next", delay=1.0, **REPLACE)
    hand.advance(2.0)
    assert ["first"] == hand.names

    hand.finish("first")

    assert ["first", "next"] == hand.names


@pytest.mark.parametrize(
    ("limit", "delay"), [("deadline", 0.0), ("queue_timeout", 0.0), ("queue_timeout", 1.0)]
)
def test_limits_count_while_a_newcomer_waits_behind_one_that_runs(busy, limit, delay):
    """It waits, whatever for: queue_timeout and deadline are about that."""
    hand = busy(REPLACE)
    hand.submit("next", delay=delay, **{limit: 1.0}, **REPLACE)
    hand.advance(delay)
    hand.advance(1.0)

    assert "EXPIRED" == hand.state("next")
    hand.finish("first")
    assert ["first"] == hand.names


def test_a_queue_timeout_goes_on_when_the_one_before_has_settled(busy):
    """It is the whole wait for the first start that counts."""
    hand = busy(REPLACE)
    hand.submit("next", queue_timeout=2.0, **REPLACE)
    hand.submit("urgent", priority=0)
    hand.advance(1.0)
    hand.finish("first")
    assert "WAITING" == hand.state("next")

    hand.advance(1.0)

    assert "EXPIRED" == hand.state("next")


def test_no_job_is_cancelled_for_one_that_no_pool_will_take(busy):
    """Both would be lost."""
    hand = busy({})
    hand.submit("waits", **JOIN)
    line = hand.jobs["waits"].line
    hand.core.pools.groups["io"].broken = ValueError()
    line.look()

    with pytest.raises(PoolBroken):
        hand.submit("again", **REPLACE)

    assert "WAITING" == hand.state("waits")
    hand.core.pools.groups["io"].broken = None
    line.look()


def test_explain_says_which_job_of_its_key_it_waits_for(busy):
    """DELAYED without a delay would be a riddle."""
    hand = busy(REPLACE)
    hand.submit("next", **REPLACE)

    told = str(standing(hand.core, hand.jobs["next"], hand.now))
    assert "job 2 is delayed: job 1 of its key is running, and must settle first" == told


def test_a_job_that_waits_for_the_one_behind_it_would_wait_for_ever(busy):
    """It replaces itself and asks for the result: a hang that has a name."""
    hand = busy(REPLACE)
    hand.submit("next", **REPLACE)
    slot = hand.calls["first", 1]
    assert not is_stuck(hand.jobs["next"], hand.core.queue, hand.core.timers)

    slot.waits_for = hand.jobs["next"]

    assert is_stuck(hand.jobs["next"], hand.core.queue, hand.core.timers)
    slot.waits_for = None


# The full front queue


def test_a_newcomer_has_the_place_of_the_one_it_replaces_in_a_full_queue(busy):
    """To be refused for want of room that it had just made would lose both."""
    hand = busy({}, capacity=1, admission=Reject())
    hand.submit("waits", **REPLACE)
    hand.submit("newer", **REPLACE)

    assert ("CANCELLED", "WAITING") == (hand.state("waits"), hand.state("newer"))


def test_that_place_is_its_own_even_where_the_queue_holds_more_than_it_may(busy):
    """Jobs that come back to wait for a retry may fill it over its bound."""
    hand = busy({"retry": FixedBackoff(delay=1.0)}, capacity=1, admission=Reject())
    hand.submit("waits", **REPLACE)
    hand.core.pause(hand.now)
    hand.finish("first", OSError())
    hand.submit("newer", **REPLACE)

    assert ("CANCELLED", "WAITING") == (hand.state("waits"), hand.state("newer"))


def test_joining_needs_no_room(busy):
    """The living one has its place already."""
    hand = busy({}, capacity=1, admission=Reject())
    hand.submit("waits", **JOIN)

    assert hand.submit("again", **JOIN) is hand.jobs["waits"]


def test_a_key_is_free_after_its_job_was_turned_away(busy):
    """A key that a refused job kept would be taken for ever."""
    hand = busy({}, capacity=1, admission=Reject())
    hand.submit("waits")
    with pytest.raises(QueueFull):
        hand.submit("refused", **JOIN)

    hand.finish("first")
    hand.submit("again", **JOIN)

    assert "WAITING" == hand.state("again")


def test_a_newcomer_behind_one_that_runs_needs_room_like_everybody(busy):
    """What waits counts, whatever it waits for."""
    hand = busy(REPLACE, capacity=1, admission=Reject())
    hand.submit("other")

    with pytest.raises(QueueFull):
        hand.submit("next", **REPLACE)
    assert "RUNNING" == hand.state("first")


def test_nobody_runs_a_job_in_the_caller_beside_another_of_its_key(busy):
    """CallerRuns is about room, not about two of a key at once."""
    hand = busy(REPLACE, capacity=1, admission=CallerRuns())
    hand.submit("other")

    assert Admission.BLOCK is hand.submit("next", **REPLACE)


def test_one_that_is_shed_gives_its_key_back(busy):
    """It is settled like any other."""
    hand = busy({}, capacity=1, admission=ShedLowest())
    hand.submit("waits", **JOIN)
    hand.submit("urgent", priority=0)

    assert ("SHED", 0) == (hand.state("waits"), len(hand.core.keys))


# The door


@pytest.fixture
def at_door(busy):
    """A hand whose queue is full, and a job of the key k at the door."""
    hand = busy({}, capacity=1)
    hand.submit("waits")
    assert Admission.BLOCK is hand.submit("at door", **JOIN)
    return hand


def test_who_joins_one_at_the_door_asks_again_when_that_comes_in(at_door):
    """It may yet be turned away, and then there is nothing to have joined."""
    assert at_door.submit("beside", **JOIN) is at_door.jobs["at door"]
    at_door.finish("first")

    assert ["at door", "beside"] == at_door.admitted
    assert (1, 0) == (bool(at_door.jobs["at door"].id), at_door.jobs["beside"].id)


def test_who_joins_one_that_is_turned_away_at_the_door_asks_again(at_door):
    """Then it is the first of its key itself."""
    at_door.submit("beside", **JOIN)
    at_door.tell("leave_door", at_door.jobs["at door"], "no room in time")

    assert ["beside"] == at_door.admitted
    assert 0 == len(at_door.core.keys)


def test_who_waits_beside_another_may_give_up(at_door):
    """Its patience is its own."""
    at_door.submit("beside", **JOIN)
    at_door.tell("leave_door", at_door.jobs["beside"], "no room in time")
    at_door.finish("first")

    assert ["at door"] == at_door.admitted
    assert 1 == at_door.statistics().rejected


def test_one_at_the_door_is_replaced_where_it_stands(at_door):
    """Its submitter gets a handle that says so, and the newcomer does not go to the end of the row."""
    at_door.submit("behind it")
    assert Admission.BLOCK is at_door.submit("newer", **REPLACE)

    assert ["newer", "behind it"] == [job.options.name for job in at_door.core.gate.door]
    assert ["at door"] == at_door.admitted == at_door.settled
    assert "CANCELLED" == at_door.state("at door")


def test_reject_finds_the_one_at_the_door(at_door):
    """Two of one key at the door would both come in."""
    with pytest.raises(DuplicateJob, match="one stands at the door") as refused:
        at_door.submit("again", **REJECT)
    assert refused.value.job_id is None


def test_a_newcomer_that_may_start_elsewhere_does_not_stand_at_the_door_for_the_one_it_replaces(
    by_hand, group
):
    """Work conservation holds for keys too."""
    hand = by_hand(group("io"), group("cpu", tags={"c"}, dedicated=True), capacity=1)
    hand.submit("first")
    hand.submit("waits")
    hand.submit("at door", **JOIN)
    hand.submit("newer", tags={"c"}, **REPLACE)

    assert "RUNNING" == hand.state("newer")
    assert "newer" in hand.admitted


def test_one_at_the_door_may_start_when_the_one_of_its_key_that_ran_in_a_caller_has_settled(by_hand):
    """No slot falls free then, and nothing else would open the door."""
    hand = by_hand(capacity=1, admission=CallerRuns())
    hand.core.pause(hand.now)
    hand.submit("delayed", delay=9.0)
    hand.submit("in its caller", **REPLACE)
    hand.submit("at door", **REPLACE)
    hand.core.resume(hand.now)
    hand.take()
    hand.finish("in its caller")

    assert ["in its caller", "at door"] == hand.names


# Limits, and torn turns


def test_a_newcomer_under_a_limit_waits_for_both(by_hand):
    """The key is one reason to wait, the limit another."""
    hand = by_hand(limits=(Limit(tag="io", concurrency=1),), pools=2)
    hand.submit("other", tags={"io"})
    hand.submit("waits", tags={"io"}, **REPLACE)
    hand.submit("newer", tags={"io"}, **REPLACE)
    assert ["other"] == hand.names

    hand.finish("other")

    assert ["other", "newer"] == hand.names


def test_mending_brings_back_what_is_known_of_keys(busy):
    """An interrupt in the middle of a turn must not leave a key taken, or two of it free."""
    hand = busy(REPLACE)
    hand.submit("next", **REPLACE)
    hand.core.keys.leave(hand.jobs["first"])
    hand.core.mend()
    hand.take()

    assert (hand.jobs["first"], hand.jobs["next"]) == hand.core.keys.of("k")


def test_mending_lets_the_one_go_on_whose_predecessor_has_settled(busy, monkeypatch):
    """The turn that settled the first was torn before the second could hear of it."""
    hand = busy(REPLACE)
    hand.submit("next", **REPLACE)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Keys, "leave", interrupt)
        with pytest.raises(KeyboardInterrupt):
            hand.finish("first")
    hand.core.mend()
    hand.take()

    assert ["first", "next"] == hand.names


def test_mending_wakes_who_waited_beside_a_job_that_was_torn_at_the_door(at_door):
    """It was never submitted, so whoever wanted to join it must ask again."""
    at_door.submit("beside", **JOIN)
    at_door.core.mend(torn=at_door.jobs["at door"])
    at_door.take()

    assert ["beside"] == at_door.admitted
