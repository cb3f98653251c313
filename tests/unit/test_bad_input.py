"""Bad input gets an error that names the thing, the limit and the remedy, and loses nothing."""

import gc
import itertools
import math
import os
import threading
from concurrent.futures import BrokenExecutor, CancelledError

import pytest

import policies
import scheduler
from policies import Aging, Block, ExponentialBackoff, FixedBackoff, NoRetry
from pools import InlinePool, ThreadPool
from scheduler import (
    JobSettled,
    JobState,
    NoEligiblePool,
    PolicyFailed,
    PoolBroken,
    PoolGroup,
    Scheduler,
    SchedulerClosed,
    SchedulerError,
    WouldDeadlock,
)
from scheduler.testing import RecordedEvents, VirtualClock, check_invariants

PATIENCE = 20.0


class Hostile:
    """An object that answers every question about itself with an error."""

    def __repr__(self):
        raise OSError("no repr")

    __str__ = __repr__


class HostileError(Exception):
    def __init__(self):
        super().__init__(threading.Lock(), Hostile())  # neither to be pickled nor to be copied

    def __repr__(self):
        raise OSError("no repr")

    __str__ = __repr__

    def __reduce__(self):
        raise OSError("no pickle")


@pytest.fixture
def inline():
    """Return a scheduler that has run a job when submit returns."""
    with Scheduler(PoolGroup("here", InlinePool())) as s:
        yield s


# Pools and groups


@pytest.mark.parametrize("recipe", [ThreadPool, InlinePool])
@pytest.mark.parametrize("slots", [0, -1, -(10**9)])
def test_a_pool_without_slots(recipe, slots):
    """A pool that can run nothing would make its jobs wait for ever."""
    with pytest.raises(ValueError, match=rf"{recipe.__name__}\(slots=\) must be at least 1, not {slots}"):
        recipe(slots=slots)


@pytest.mark.parametrize("recipe", [ThreadPool, InlinePool])
@pytest.mark.parametrize("slots", [True, 2.0, "2", None, math.nan])
def test_slots_that_are_no_integer(recipe, slots):
    """`True` is one by accident and 2.5 workers are nobody."""
    with pytest.raises(TypeError, match=rf"{recipe.__name__}\(slots=\) must be .*integer.*not {slots!r}"):
        recipe(slots=slots)


@pytest.mark.parametrize("slots", [0, -1])
def test_a_scheduler_without_slots(slots):
    """The short form must be checked as the long one is."""
    with pytest.raises(ValueError, match=f"at least 1, not {slots}"):
        Scheduler(slots)


@pytest.mark.parametrize("slots", [True, 2.0])
def test_a_scheduler_with_slots_that_are_no_integer(slots):
    """The short form must be checked as the long one is."""
    with pytest.raises(TypeError, match=f"integer, not {slots}"):
        Scheduler(slots)


def test_something_that_is_no_group():
    """The message must show what a group looks like."""
    with pytest.raises(TypeError, match=r"ThreadPool\(slots=8\)"):
        Scheduler("io")
    with pytest.raises(TypeError, match=r"pool=\) must be a pool recipe such as ThreadPool\(slots=8\)"):
        PoolGroup("io", 8)
    with pytest.raises(TypeError, match="recipe"):
        PoolGroup("io", ThreadPool)


def test_two_groups_of_one_name():
    """Tags, statistics and pool ids are made of group names."""
    with pytest.raises(
        ValueError, match=r"two groups are called 'io'; give each PoolGroup a name of its own"
    ):
        Scheduler(PoolGroup("io", ThreadPool(slots=1)), PoolGroup("io", ThreadPool(slots=2)))
    with pytest.raises(ValueError, match=r"two groups are called 'thread'"):
        Scheduler(ThreadPool(slots=1), ThreadPool(slots=1))


@pytest.mark.parametrize("name", ["", "a/b", "caller", None, 3, b"io"])
def test_a_group_name_that_would_confuse(name):
    """Worker ids are `<pool>/<number>`, and `caller` is the submitter's own thread."""
    with pytest.raises((ValueError, TypeError), match=r"PoolGroup\(name=\) must be a non-empty string"):
        PoolGroup(name, ThreadPool(slots=1))


@pytest.mark.parametrize(
    ("limits", "kind", "message"),
    [
        ({"min_pools": 0}, ValueError, r"PoolGroup\('io', min_pools=\) must be at least 1, not 0"),
        ({"min_pools": 1.0}, TypeError, r"PoolGroup\('io', min_pools=\) must be an integer, not 1.0"),
        ({"min_pools": True}, TypeError, r"min_pools=\) must be an integer, not True"),
        ({"max_pools": 0}, ValueError, r"max_pools=\) must be at least 1, not 0"),
        (
            {"min_pools": 3, "max_pools": 2},
            ValueError,
            "min_pools=3 and max_pools=2; the maximum must not be below",
        ),
        ({"reserve_for": 1.5}, TypeError, "reserve_for= must be an integer"),
        ({"tags": 3}, TypeError, "tags= must be a string or strings, not 3"),
        ({"tags": [3]}, TypeError, "tags= must be strings, not 3"),
    ],
)
def test_impossible_limits_of_a_group(limits, kind, message):
    """A group that contradicts itself must not get as far as a scheduler."""
    with pytest.raises(kind, match=message):
        PoolGroup("io", ThreadPool(slots=1), **limits)


@pytest.mark.parametrize(
    ("capacity", "kind"),
    [(0, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError), ("1", TypeError)],
)
def test_an_impossible_capacity(capacity, kind):
    """A queue that holds nothing refuses everything; half a job cannot wait."""
    with pytest.raises(kind, match=r"capacity=.* must be (at least 1|an integer), not"):
        Scheduler(1, capacity=capacity)


def test_pools_and_groups_that_do_not_exist(inline):
    """A typo is found faster when the names that exist are in the message."""
    with pytest.raises(ValueError, match=r"there is no group 'their'; this scheduler has 'here'"):
        inline.add_pool("their")
    for act in (inline.drain_pool, inline.cordon_pool, inline.uncordon_pool):
        with pytest.raises(ValueError, match=r"there is no pool 'here-7'; this scheduler has 'here-1'"):
            act("here-7")


def test_fewer_or_more_pools_than_a_group_allows():
    """Capacity by hand keeps to the limits that were declared."""
    with Scheduler(PoolGroup("here", InlinePool(), max_pools=1)) as s:
        with pytest.raises(ValueError, match=r"group 'here' has 1 pools and max_pools=1; drain one first"):
            s.add_pool("here")
        with pytest.raises(
            ValueError, match=r"group 'here' must keep min_pools=1 pools; add_pool\('here'\) first"
        ):
            s.drain_pool("here-1")
        assert 7 == s.submit(int, 7).result(0)


# Options


@pytest.mark.parametrize("priority", [1.0, "high", None, True, math.nan, Hostile])
def test_a_priority_that_is_no_integer(inline, priority):
    """Floats and strings compare, and would sort somewhere."""
    with pytest.raises(
        TypeError, match=r"priority= must be an integer \(lower is sooner\), such as Priority.HIGH"
    ):
        inline.with_options(priority=priority)


@pytest.mark.parametrize("name", ["run_timeout", "queue_timeout", "deadline"])
@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, -math.inf])
def test_limits_that_are_no_time_to_speak_of(inline, name, seconds):
    """NaN compares with nothing: armed as a timer it would break the order of all others."""
    with pytest.raises(ValueError, match=rf"{name}= must be finite seconds, more than 0, not {seconds!r}"):
        inline.with_options(**{name: seconds})


@pytest.mark.parametrize("seconds", [-1, -1e-9, math.nan, math.inf])
def test_a_delay_that_is_no_time_to_speak_of(inline, seconds):
    """A job due never, or before it was submitted, is a mistake."""
    with pytest.raises(ValueError, match=r"delay= must be finite seconds, at least 0"):
        inline.with_options(delay=seconds)


@pytest.mark.parametrize("name", ["run_timeout", "queue_timeout", "deadline", "delay"])
@pytest.mark.parametrize("seconds", ["1", True, [], Hostile])
def test_limits_that_are_no_number(inline, name, seconds):
    """A timedelta or a string is a misunderstanding that must show at once."""
    with pytest.raises(TypeError, match=rf"{name}= must be seconds, a number"):
        inline.with_options(**{name: seconds})


def test_an_option_that_does_not_exist(inline):
    """A typo that is ignored is a limit that does not hold."""
    with pytest.raises(TypeError, match=r"with_options\(\) has no option 'prio'; it takes .*priority"):
        inline.with_options(prio=3)


@pytest.mark.parametrize("name", ["tenant", "affinity", "name"])
def test_labels_that_are_no_strings(inline, name):
    """They end up in logs and as keys."""
    with pytest.raises(TypeError, match=rf"{name}= must be a string or None, not 3"):
        inline.with_options(**{name: 3})


def test_a_tag_that_no_group_offers():
    """The job would wait for ever; the tags that exist are in the message."""
    groups = PoolGroup("io", ThreadPool(slots=1), tags={"disk"}), PoolGroup("net", ThreadPool(slots=1))
    with Scheduler(*groups) as s:
        with pytest.raises(
            NoEligiblePool,
            match=r"no group offers the tags 'gpu'; the tags that exist are 'disk', 'io', 'net'",
        ):
            s.with_options(tags="gpu").submit(int)
        with pytest.raises(
            NoEligiblePool, match=r"with all of the tags 'disk', 'net'; the tags that exist are"
        ):
            s.with_options(tags={"disk", "net"}).submit(int)
        assert 0 == s.statistics().submitted


def test_a_job_that_every_group_is_closed_to():
    """Dedicated and reserved groups only: a plain job has no home."""
    with (
        Scheduler(
            PoolGroup("special", ThreadPool(slots=1), dedicated=True),
            PoolGroup("urgent", ThreadPool(slots=1), reserve_for=10),
        ) as s,
        pytest.raises(
            NoEligiblePool, match=r"priority 20 without tags: every group is dedicated, or reserved"
        ),
    ):
        s.submit(int)


def test_a_coroutine_function_without_a_group_for_it(inline):
    """Called in a thread it would return a coroutine that nobody awaits, and succeed."""

    async def coroutine():
        """Never called."""

    class Called:
        async def __call__(self):
            """Never called."""

    for function in (coroutine, Called(), Called().__call__):
        with pytest.raises(NoEligiblePool, match=r"no group runs coroutine functions; .*asyncio\.run\(\)"):
            inline.submit(function)
    assert 0 == inline.statistics().submitted


@pytest.mark.parametrize("function", [None, 7, "f", [], NotImplemented])
def test_something_that_cannot_be_called(inline, function):
    """At submit, where the mistake is, not in a thread an hour later."""
    with pytest.raises(TypeError, match="callable"):
        inline.submit(function)
    assert 0 == inline.statistics().submitted


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.submit(Hostile()),
        lambda s: s.subscribe(Hostile()),
        lambda s: s.with_options(priority=Hostile()),
        lambda s: s.with_options(run_timeout=Hostile()),
        lambda s: s.with_options(tags=Hostile()),
        lambda s: s.with_options(retry=Hostile()),
        lambda _: ThreadPool(slots=Hostile()),
        lambda _: ThreadPool(slots=1, initializer=Hostile()),
        lambda _: PoolGroup("io", Hostile()),
        lambda _: FixedBackoff(delay=Hostile()),
        lambda _: Scheduler(1, capacity=Hostile()),
        lambda _: Scheduler(1, admission=Hostile()),
    ],
    ids=[
        "submit",
        "subscribe",
        "priority",
        "run_timeout",
        "tags",
        "retry",
        "slots",
        "initializer",
        "pool",
        "delay of a policy",
        "capacity",
        "admission",
    ],
)
def test_something_that_cannot_even_be_shown(inline, act):
    """The error about a bad argument must not be an error of its repr."""
    with pytest.raises(TypeError, match=r"must be|takes"):
        act(inline)


def test_an_initializer_that_cannot_be_called():
    """As in the standard library, at once."""
    with pytest.raises(TypeError, match=r"ThreadPool\(initializer=\) must be callable, not 3"):
        ThreadPool(slots=1, initializer=3)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: FixedBackoff(delay=-1), ValueError, r"FixedBackoff\(delay=\) must be at least 0, not -1"),
        (lambda: FixedBackoff(delay=math.nan), ValueError, r"delay=\) must be finite, not nan"),
        (lambda: FixedBackoff(delay="1"), TypeError, r"delay=\) must be a number, not '1'"),
        (lambda: FixedBackoff(attempts_max=0), ValueError, r"attempts_max=\) must be at least 1, not 0"),
        (lambda: FixedBackoff(attempts_max=1.5), TypeError, r"attempts_max=\) must be an integer, not 1.5"),
        (
            lambda: FixedBackoff(retry_on=("OSError",)),
            TypeError,
            r"retry_on=\) must be an exception class or a tuple",
        ),
        (
            lambda: ExponentialBackoff(initial=0),
            ValueError,
            r"ExponentialBackoff\(initial=\) must be more than 0",
        ),
        (lambda: ExponentialBackoff(ceiling=math.inf), ValueError, r"ceiling=\) must be finite, not inf"),
        (lambda: Block(timeout=-1), ValueError, r"Block\(timeout=\) must be at least 0, not -1"),
        (lambda: Aging(seconds_per_level=-1), ValueError, r"Aging\(seconds_per_level=\) must be at least 0"),
    ],
)
def test_policies_that_make_no_sense(make, kind, message):
    """A policy is checked when it is made, not at the first failure a week later."""
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize("role", ["admission", "ordering", "routing", "retry"])
def test_something_that_is_no_policy(role):
    """A class instead of a value is the usual slip, and the message shows the parentheses."""
    with pytest.raises(TypeError, match=rf"{role}= must be an object with a method \w+\(\), not 3"):
        Scheduler(1, **{role: 3})
    with pytest.raises(TypeError, match=rf"{role}= must be a policy, not the class Block; write Block\(\)"):
        Scheduler(1, **{role: Block})


def test_impossible_arguments_of_map(inline):
    """As the standard library's, at the call and not at the first result."""
    with pytest.raises(ValueError, match=r"chunksize.* must be .*not 0"):
        inline.map(int, [1], chunksize=0)
    with pytest.raises(ValueError, match=r"buffersize.* must be .*not 0"):
        inline.map(int, [1], buffersize=0)
    with pytest.raises(TypeError, match=r"buffersize.* must be an integer.*"):
        inline.map(int, [1], buffersize=1.5)


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, "1"])
def test_impossible_patience(inline, seconds):
    """Closing in NaN seconds would be closing never or at once, nobody knows which."""
    for act in (
        lambda: inline.close(finish_within=seconds),
        lambda: inline.close(cancel_within=seconds),
        lambda: inline.drain(seconds),
        lambda: inline.drain_pool("here-1", timeout=seconds),
    ):
        with pytest.raises((ValueError, TypeError), match=r"(finish_within|cancel_within|timeout)= must be"):
            act()
    assert 7 == inline.submit(int, 7).result(0)


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
def test_a_clock_moved_backwards_or_nowhere(seconds):
    """I9: now never goes back."""
    with pytest.raises(ValueError, match=r"advance\(\) takes finite seconds"):
        VirtualClock().advance(seconds)


# At the wrong time, from the wrong place


def test_submit_after_close():
    """The standard's words, which programs look for."""
    s = Scheduler(1)
    s.close()

    with pytest.raises(SchedulerClosed, match="cannot schedule new futures after shutdown") as raised:
        s.submit(int)
    assert isinstance(raised.value, RuntimeError)
    assert 0 == s.statistics().submitted


def test_submit_after_close_from_a_job_and_from_a_callback():
    """The refusal reaches whoever asks, wherever it runs, and costs neither the job nor the worker."""
    s = Scheduler(1)
    gate = threading.Event()
    errors = []

    def late(*_):
        gate.wait(PATIENCE)
        try:
            s.submit(int)
        except SchedulerClosed as error:
            errors.append(str(error))
        return "done"

    handle = s.submit(late)
    handle.add_done_callback(late)
    s.shutdown(wait=False)
    gate.set()

    assert "done" == handle.result(PATIENCE)
    assert s.close().complete
    assert 2 == len(errors)
    assert all("cannot schedule new futures" in text for text in errors)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_submit_after_fork_in_a_child():
    """The message must say whose scheduler it is and what to do in the child."""
    with Scheduler(1) as s:
        assert 7 == s.submit(int, 7).result(PATIENCE)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:  # no assertion here: whatever happens, this process must end
            try:
                s.submit(int)
            except SchedulerClosed as error:
                os.write(writer, str(error).encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        assert 8 == s.submit(int, 8).result(PATIENCE)

    assert "cannot schedule new futures in a forked child" in text
    assert "make a new Scheduler in the child" in text


def test_cancelling_twice():
    """The second time is no news and no error."""
    with Scheduler(1) as s:
        s.pause()
        handle = s.submit(int)

        assert [True, True] == [handle.cancel(), handle.cancel()]
        assert 1 == s.statistics().cancelled


def test_waiting_on_ones_own_queue_from_the_only_slot():
    """Said, with the jobs and the remedy, and not hung in silence."""
    with Scheduler(1) as s:

        def outer():
            return s.submit(int, 7).result()

        with pytest.raises(
            WouldDeadlock, match=r"job 1 in thread-1/1 waits for job 2, .* add a slot or a pool"
        ) as raised:
            s.submit(outer).result(PATIENCE)
    assert isinstance(raised.value, SchedulerError)


# Things of the user's that raise


def test_a_callback_that_raises(inline, caplog):
    """Logged with its job, and nothing else changes."""
    handle = inline.submit(int, 7)
    calls = []
    handle.add_done_callback(lambda _: 1 / 0)
    handle.add_done_callback(calls.append)

    assert 7 == handle.result(0)
    assert [handle] == calls
    assert ["ZeroDivisionError"] == [record.exc_info[0].__name__ for record in caplog.records]


def test_an_observer_that_raises(inline, caplog):
    """Logged with its name and the event, and the others still hear."""
    events = RecordedEvents()

    def broken(event):
        raise OSError("observer")

    inline.subscribe(broken)
    inline.subscribe(events)

    assert 7 == inline.submit(int, 7).result(0)
    assert events.of(JobSettled)
    assert any("broken" in record.getMessage() for record in caplog.records)


class Raising:
    """Every policy in one, and none of them works."""

    few_keys = True

    def key(self, job):
        raise OSError("ordering")

    def admit(self, job, queue):
        raise OSError("admission")

    def choose(self, job, pools, uniform):
        raise OSError("routing")

    def retry_after(self, failure, uniform):
        raise OSError("retry")


class Nonsense:
    """Every policy in one, and each answers something else than it was asked."""

    few_keys = True

    def key(self, job):
        return "soon"

    def admit(self, job, queue):
        return "maybe"

    def choose(self, job, pools, uniform):
        return "the blue one"

    def retry_after(self, failure, uniform):
        return math.nan


@pytest.mark.parametrize("policy", [Raising(), Nonsense()], ids=["raises", "answers nonsense"])
@pytest.mark.parametrize("role", ["ordering", "admission", "routing", "retry"])
def test_a_policy_that_fails(policy, role, caplog):
    """The scheduler falls back, says so to observers and to the log, and loses no job."""
    group = PoolGroup("io", ThreadPool(slots=1), min_pools=2)
    events = RecordedEvents()
    with Scheduler(group, capacity=2, check_invariants=True, **{role: policy}) as s:
        s.subscribe(events)

        def fail():
            raise ValueError("the job's own")

        failing = s.submit(fail)
        handles = [s.submit(int, n) for n in range(200)]

        assert list(range(200)) == [handle.result(PATIENCE) for handle in handles]
        error = failing.exception(PATIENCE)
        check_invariants(s)

    questions = {event.question for event in events.of(PolicyFailed)}
    assert {role} >= questions
    if role != "admission" or questions:  # the queue may never have been full
        assert {role} == questions
        assert any(f"the {role} policy failed" in record.getMessage() for record in caplog.records)
    if role == "retry":
        assert JobState.FAILED is failing.state
        assert isinstance(error.__cause__ or error.__context__ or error, OSError | ValueError | TypeError)
    else:
        assert "the job's own" == str(error)


def test_a_retry_policy_that_never_gives_up_in_no_time():
    """An endless loop of immediate retries must leave room for others, and end when cancelled."""

    class Stubborn:
        def retry_after(self, failure, uniform):
            return 0.0

    def fail():
        raise OSError

    with Scheduler(1) as s:
        handle = s.with_options(retry=Stubborn()).submit(fail)
        assert 7 == s.submit(int, 7).result(PATIENCE)
        while not handle.cancel():
            s.submit(int).result(PATIENCE)

        assert handle.cancelled()


@pytest.mark.parametrize(
    "retry", [NoRetry(), FixedBackoff(delay=0.0, attempts_max=2)], ids=["no retry", "retry"]
)
def test_an_exception_that_can_be_neither_printed_nor_pickled_nor_copied(retry, caplog):
    """It reaches its caller as itself; events and logs make do without its text."""
    events = RecordedEvents()
    with Scheduler(1) as s:
        s.subscribe(events)
        thrown = []

        def fail():
            thrown.append(HostileError())
            raise thrown[-1]

        handle = s.with_options(retry=retry).submit(fail)

        assert handle.exception(PATIENCE) is thrown[-1]
        dropped = s.with_options(retry=retry).submit(fail)
        assert s.drain(PATIENCE)
        del dropped
        gc.collect()
        assert 7 == s.submit(int, 7).result(PATIENCE)
    assert 3 == len(events.of(JobSettled))


def test_a_function_that_can_be_neither_shown_nor_named():
    """Its name is only for people; a job does not depend on it."""

    class Function(Hostile):
        def __getattribute__(self, name):
            if name == "__qualname__":
                raise OSError("no name")
            return super().__getattribute__(name)

        def __call__(self, fail):
            if fail:
                raise ValueError("as told")
            return 7

    with Scheduler(1) as s:
        assert 7 == s.submit(Function(), False).result(PATIENCE)
        handle = s.submit(Function(), True)
        assert isinstance(handle.exception(PATIENCE), ValueError)
        waiting = s.with_options(delay=3600.0).submit(Function(), False)
        assert waiting.name
        assert repr(waiting)
        report = s.close(finish_within=0)

    assert [waiting.id] == [job.job_id for job in report.unfinished]


def test_an_argument_that_cannot_be_shown(inline):
    """Arguments are the caller's; nothing of ours looks at them."""
    argument = Hostile()

    assert inline.submit(lambda it: it, argument).result(0) is argument


def test_an_initializer_that_raises(caplog):
    """The group's jobs fail with PoolBroken, CRITICAL is logged, and nobody hangs."""

    def initializer():
        raise OSError("no database")

    with Scheduler(PoolGroup("io", ThreadPool(slots=2, initializer=initializer))) as s:
        handles = []
        for _ in range(20):
            try:
                handles.append(s.submit(int))
            except PoolBroken:
                break
        assert handles
        for handle in handles:
            error = handle.exception(PATIENCE)
            assert isinstance(error, PoolBroken)
            assert "no pool of group 'io' can run anything any more (OSError: no database)" in str(error)
            assert "mend its initializer" in str(error)
        with pytest.raises(PoolBroken, match="no database"):
            s.submit(int)
    assert "CRITICAL" in {record.levelname for record in caplog.records}


# Very much of it


@pytest.mark.usefixtures("untraced")
def test_a_million_queued_jobs():
    """Wait, count, find the urgent one, cancel and end: none of it may take the square of a million."""
    clock = itertools.count()
    with Scheduler(PoolGroup("here", InlinePool())) as s:
        s.pause()
        low = s.with_options(priority=30)
        handles = [low.submit(next, clock) for _ in range(1_000_000)]
        urgent = s.with_options(priority=0).submit(next, clock)
        assert 1_000_001 == s.statistics().waiting
        assert all(handle.cancel() for handle in handles[::2])
        assert 500_001 == s.statistics().waiting
        for handle in handles[1_001::2]:
            handle.cancel()

        s.resume()

        assert 0 == urgent.result(0)
        assert list(range(1, 501)) == [handle.result(0) for handle in handles[1:1_001:2]]
        ledger = s.statistics()
    assert (1_000_001, 501, 999_500) == (ledger.submitted, ledger.succeeded, ledger.cancelled)


def test_a_wall_clock_that_jumps(monkeypatch):
    """Daylight saving, NTP and a laptop's sleep move `time.time`; durations are counted otherwise."""
    times = itertools.cycle([0.0, 4e9, -1.0])
    monkeypatch.setattr("time.time", lambda: next(times))
    with Scheduler(1) as s:
        handle = s.with_options(delay=0.01, queue_timeout=60.0, run_timeout=60.0, deadline=60.0).submit(
            int, 7
        )

        assert 7 == handle.result(PATIENCE)


def test_the_errors_are_one_family_and_pythons_words_for_things():
    """`except SchedulerError` catches all of ours; existing `except` clauses keep working."""
    family = {
        name: getattr(scheduler, name)
        for name in scheduler.__all__
        if isinstance(getattr(scheduler, name), type) and issubclass(getattr(scheduler, name), BaseException)
    }
    assert all(issubclass(kind, SchedulerError) for kind in family.values())
    for name, words in {
        "SchedulerClosed": RuntimeError,
        "NoEligiblePool": ValueError,
        "RunTimeout": TimeoutError,
        "QueueTimeout": TimeoutError,
        "DeadlineExceeded": TimeoutError,
        "JobInterrupted": CancelledError,
        "PoolBroken": BrokenExecutor,
    }.items():
        assert issubclass(family[name], words)
    assert policies.Failure(attempt=1, error=OSError()).elapsed == 0.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: PoolGroup("io", ThreadPool(1), scaling="x"),
            r"PoolGroup\('io'\) scaling= must be an object with a method scale\(\)",
        ),
        (lambda: Scheduler(1, clock=5), r"clock= must be an object with a method now\(\), not 5"),
        (lambda: Scheduler(1, name=7), r"Scheduler\(name=\) must be a string or None, not 7"),
    ],
)
def test_what_a_scheduler_is_made_of_is_checked_when_it_is_made(make, words):
    """An AttributeError from the depths names neither the argument nor the remedy."""
    with pytest.raises(TypeError, match=words):
        make()


def test_a_timeout_that_is_no_number_is_refused():
    """It compares false with everything, and was taken for zero."""
    release = threading.Event()
    with Scheduler(1) as s:
        handle = s.submit(release.wait)
        with pytest.raises(ValueError, match="timeout= must be seconds or None, not nan"):
            handle.result(math.nan)
        release.set()
