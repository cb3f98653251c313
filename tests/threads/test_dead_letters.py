"""Dead letters: what failed for good is kept with its call, and gets another chance."""

import gc
import io
import json
import os
import threading
import weakref

import process_jobs
import pytest

from policies import Block, FixedBackoff, Reject, ShedLowest
from pools import InlinePool, ProcessPool, ThreadPool
from scheduler import (
    DeadLetter,
    JobState,
    NoEligiblePool,
    PoolBroken,
    PoolGroup,
    QueueFull,
    RunTimeout,
    Scheduler,
    SchedulerClosed,
    WorkerDied,
    current_job,
)
from scheduler.testing import VirtualClock


class Thing:
    """An argument that can be watched."""


class Failing:
    """Fails until it is told not to."""

    def __init__(self):
        self.fails = True

    def __call__(self, *args, **kwargs):
        if self.fails:
            raise OSError("the disk is full")
        return args, kwargs


@pytest.fixture
def inline():
    """Return a function that makes schedulers which have run a job when submit returns."""
    made = []

    def make(dead_letters=10, **settings):
        made.append(Scheduler(InlinePool(slots=2), dead_letters=dead_letters, **settings))
        return made[-1]

    yield make
    for s in made:
        s.close(finish_within=0)


def ids(s):
    return [letter.job_id for letter in s.dead_letters]


# What is kept


def test_a_letter_has_the_call_the_options_the_errors_and_every_attempt(inline):
    """Whoever looks at it hours later has nothing else."""
    clock = VirtualClock()
    s = inline(clock=clock)
    fails = Failing()
    retry = FixedBackoff(delay=1.0, attempts_max=2)
    handle = s.with_options(priority=3, retry=retry, tenant="gold", name="save").submit(fails, 1, b=2)
    clock.advance(1.0)
    (letter,) = s.dead_letters

    assert isinstance(letter, DeadLetter)
    assert (handle.id, "save", fails, (1,), {"b": 2}) == (
        letter.job_id,
        letter.name,
        letter.function,
        letter.args,
        letter.kwargs,
    )
    assert handle.exception() is letter.error
    assert [1, 2] == [attempt.number for attempt in letter.attempts]
    assert all(isinstance(attempt.error, OSError) for attempt in letter.attempts)
    assert (3, "gold", retry) == tuple(letter.options[name] for name in ("priority", "tenant", "retry"))
    assert letter.failed_at == letter.submitted_at + 1.0
    assert s.dead_letters[handle.id] is letter
    assert handle.id in s.dead_letters


def test_without_being_asked_nothing_is_kept():
    """What a failed job was given may be large, or a secret."""
    with Scheduler(1) as s:
        thing = Thing()
        gone = weakref.ref(thing)
        handle = s.submit(Failing(), thing)
        del thing
        handle.exception(20)
        assert s.drain(20)
        del handle
        gc.collect()

        assert gone() is None
        assert (0, 0, []) == (len(s.dead_letters), s.dead_letters.dropped, list(s.dead_letters))


def test_the_newest_are_kept_and_the_others_counted(inline):
    """A bound that is silent about what it costs is trusted too much."""
    s = inline(2)
    for _ in range(5):
        s.submit(Failing()).exception(20)

    assert ([4, 5], 3) == (ids(s), s.dead_letters.dropped)
    with pytest.raises(
        KeyError, match="no dead letter of job 1; of 2 that are kept there are 2, and 3 were dropped"
    ):
        s.dead_letters[1]


def test_what_the_bound_pushes_out_is_let_go_of_outside_the_lock(open_scheduler, eventually):
    """A finaliser is anybody's code, and may use the scheduler."""
    s = open_scheduler(1, dead_letters=1)
    told = []

    class Reports:
        def __del__(self):
            told.append(s.statistics().failed)

    s.submit(Failing(), Reports()).exception(20)
    s.submit(Failing()).exception(20)

    eventually(lambda: told, "the end of the first letter")
    assert [2] == told


def test_a_letter_is_there_as_soon_as_anybody_can_see_that_the_job_has_failed(lying_locks, open_scheduler):
    """`handle.exception()` and then a KeyError would be a race in every caller."""
    s = open_scheduler(1, dead_letters=1)
    seen = []

    def look():
        if "two-tier" not in threading.current_thread().name:
            return
        if handles and handles[0].state is JobState.FAILED:
            lying_locks[0].hooks.clear()
            seen.append(handles[0].id in s._driver.letters.kept)

    handles = []
    gate = threading.Event()
    handles.append(s.submit(lambda: gate.wait(20) and Failing()()))
    lying_locks[0].hooks["before_release"] = look
    gate.set()
    handles[0].exception(20)

    assert handles[0].id in s.dead_letters
    assert False not in seen


@pytest.mark.parametrize("state", [JobState.CANCELLED, JobState.EXPIRED, JobState.SHED, JobState.SUCCEEDED])
def test_what_somebody_decided_has_no_letter(open_scheduler, gate, state):
    """Who was cancelled, expired or shed was told, and running it again may be wrong."""
    clock = VirtualClock()
    s = open_scheduler(1, dead_letters=9, capacity=1, admission=ShedLowest(), clock=clock)
    s.submit(gate.stop_here)
    gate.await_arrival()
    handle = s.with_options(queue_timeout=1.0).submit(int)
    if state is JobState.CANCELLED:
        handle.cancel()
    elif state is JobState.EXPIRED:
        clock.advance(1.0)
    elif state is JobState.SHED:
        s.with_options(priority=0).submit(int)
    gate.open()
    handle.add_done_callback(lambda _: None)
    assert s.drain(20)

    assert state is handle.state
    assert 0 == len(s.dead_letters)


def test_a_job_whose_time_ran_out_has_a_letter(open_scheduler, gate):
    """Its attempts are used up: that is a failure, and nobody decided it."""
    clock = VirtualClock()
    s = open_scheduler(1, dead_letters=9, clock=clock)
    handle = s.with_options(run_timeout=1.0).submit(gate.stop_here)
    gate.await_arrival()
    clock.advance(1.0)

    assert isinstance(s.dead_letters[handle.id].error, RunTimeout)
    assert 1 == len(s.dead_letters[handle.id].attempts)
    gate.open()


def test_a_job_whose_pool_is_broken_has_a_letter_without_an_attempt(open_scheduler, gate):
    """With the initializer mended it may run; its call must not be lost until then."""

    def initialize():
        gate.stop_here()
        raise OSError("no licence")

    s = open_scheduler(ThreadPool(slots=1, initializer=initialize), dead_letters=9)
    first, behind = s.submit(int), s.submit(int)
    gate.open()
    error = behind.exception(20)
    assert isinstance(first.exception(20), PoolBroken)

    assert (error, ()) == (s.dead_letters[behind.id].error, s.dead_letters[behind.id].attempts)


def test_a_job_whose_worker_died_has_a_letter(open_scheduler):
    """The call is here, not in the process that died."""
    s = open_scheduler(PoolGroup("cpu", ProcessPool(slots=1), dedicated=False), dead_letters=9)
    handle = s.submit(process_jobs.crash, "exit")
    error = handle.exception(60)
    assert isinstance(error, WorkerDied)

    letter = s.dead_letters[handle.id]
    assert (process_jobs.crash, ("exit",)) == (letter.function, letter.args)


def test_letters_can_be_read_after_closing(inline):
    """When somebody looks, the service has often stopped."""
    s = inline()
    s.submit(Failing()).exception(20)
    s.close()

    assert [1] == ids(s)
    assert 1 == s.dead_letters.export(io.StringIO())


def test_a_scheduler_that_is_dropped_is_not_kept_by_its_letters():
    """Its threads end when nobody holds it, letters or not."""
    s = Scheduler(1, dead_letters=3)
    s.submit(Failing()).exception(20)
    gone = weakref.ref(s)
    del s

    assert gone() is None


@pytest.mark.parametrize("bound", [-1, 1.5, "9", True, None])
def test_a_bound_that_is_no_number_of_letters_is_refused(bound):
    """A letter box without a bound is a leak."""
    with pytest.raises((TypeError, ValueError), match=r"Scheduler\(dead_letters=\) must be"):
        Scheduler(1, dead_letters=bound)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_letters_can_be_read_in_a_forked_child(run_script):
    """The child cannot run them, and can tell of them."""
    ran = run_script(
        """
import os, sys
from scheduler import Scheduler, SchedulerClosed

s = Scheduler(1, dead_letters=3)
s.submit(int, "x").exception()
child = os.fork()
if child == 0:
    try:
        s.dead_letters.resubmit(1)
    except SchedulerClosed:
        os.write(1, str([letter.job_id for letter in s.dead_letters]).encode())
    os._exit(0)
os.waitpid(child, 0)
s.shutdown()
"""
    )
    assert ("[1]", "") == (ran.stdout, ran.stderr)


# Another chance


def test_a_letter_is_submitted_again_with_other_options(inline):
    """The same call, now with what it lacked."""
    s = inline()
    fails = Failing()
    s.with_options(priority=3, name="save").submit(fails, 1, b=2)
    fails.fails = False
    handle = s.dead_letters.resubmit(1, priority=0)

    assert ((1,), {"b": 2}) == handle.result()
    assert (0, "save") == (handle.priority, handle.name)
    assert [] == ids(s)


def test_one_that_fails_again_has_a_new_letter(inline):
    """Nothing is ever lost by trying."""
    s = inline()
    s.submit(Failing()).exception(20)
    handle = s.dead_letters.resubmit(1)

    assert [handle.id] == ids(s)


def test_a_refusal_leaves_a_letter_where_it_was(inline):
    """A call that is neither here nor there is lost."""
    s = inline(capacity=1, admission=Reject())
    for _ in range(3):
        s.submit(Failing()).exception(20)
    s.pause()
    s.submit(int)

    with pytest.raises(QueueFull):
        s.dead_letters.resubmit(2)
    with pytest.raises(TypeError, match="priority="):
        s.dead_letters.resubmit(2, priority="high")
    with pytest.raises(NoEligiblePool):
        s.dead_letters.resubmit(2, tags="nowhere")
    assert [1, 2, 3] == ids(s)
    s.resume()

    s.dead_letters.resubmit(2)
    assert [1, 3, 5] == ids(s)


def test_a_closed_scheduler_refuses_and_another_one_takes_it(inline):
    """After a restart in the same process the work goes on elsewhere."""
    s, other = inline(), inline()
    fails = Failing()
    s.submit(fails, 1).exception(20)
    s.close()
    fails.fails = False
    with pytest.raises(SchedulerClosed):
        s.dead_letters.resubmit(1)
    assert [1] == ids(s)

    assert ((1,), {}) == s.dead_letters.resubmit(1, to=other).result()
    assert ([], 1) == (ids(s), other.statistics().succeeded)


def test_all_are_submitted_again_oldest_first(inline):
    """In the order in which they failed, which is the order in which they may depend on each other."""
    s = inline()
    fails, order = Failing(), []

    def work(n):
        fails()
        order.append(n)

    for n in range(3):
        s.submit(work, n).exception(20)
    fails.fails = False
    handles = s.dead_letters.resubmit_all(tenant="again")

    assert [0, 1, 2] == order
    assert ["again"] * 3 == [handle.tenant for handle in handles]
    assert [] == ids(s)


def test_a_refusal_ends_resubmitting_all_and_loses_no_handle(inline):
    """The handles of those that came in are all their submitter has."""
    s = inline(capacity=2, admission=Reject())
    for _ in range(3):
        s.submit(Failing()).exception(20)
    s.pause()
    handles = s.dead_letters.resubmit_all()

    assert (2, [3]) == (len(handles), ids(s))
    with pytest.raises(QueueFull):
        s.dead_letters.resubmit_all()
    s.resume()


def test_of_two_that_resubmit_one_letter_at_once_one_does(open_scheduler, gate, in_thread, eventually):
    """Twice would be the very thing that a user of letters fears."""
    s = open_scheduler(1, dead_letters=9, capacity=1, admission=Block())
    s.submit(Failing()).exception(20)
    s.submit(gate.stop_here)
    gate.await_arrival()
    s.submit(int)
    first = in_thread(s.dead_letters.resubmit, 1)
    eventually(lambda: len(s._driver.core.gate.door) == 1)

    with pytest.raises(KeyError, match="just being submitted again"):
        s.dead_letters.resubmit(1)
    assert [] == s.dead_letters.resubmit_all()
    gate.open()

    assert isinstance(first.result().exception(20), OSError)
    assert 4 == s.statistics().submitted


def test_a_letter_keeps_its_key(inline):
    """Whoever did the same work meanwhile is joined, not repeated."""
    s = inline()
    s.with_options(key="k").submit(Failing())
    s.pause()
    living = s.with_options(key="k").submit(int, 7)

    assert s.dead_letters.resubmit(1) is living
    assert [] == ids(s)
    s.resume()


# Letting go


def test_letters_are_discarded_and_cleared(inline):
    """What is no longer wanted must be gone for good, arguments and all."""
    s = inline()
    thing = Thing()
    gone = weakref.ref(thing)
    s.submit(Failing(), thing).exception(20)
    del thing
    s.submit(Failing()).exception(20)
    s.submit(Failing()).exception(20)
    s.dead_letters.discard(1)
    s.dead_letters.discard(1)
    gc.collect()

    assert (None, [2, 3]) == (gone(), ids(s))
    s.dead_letters.clear()
    assert (0, 0) == (len(s.dead_letters), s.dead_letters.dropped)


def test_a_job_that_exports_letters_finds_those_before_it(open_scheduler):
    """Looking is possible from anywhere, a job included."""
    s = open_scheduler(1, dead_letters=9)
    s.submit(Failing()).exception(20)

    assert (1, 2) == s.submit(lambda: (len(s.dead_letters), current_job().id)).result(20)


# Export


def test_letters_are_exported_as_one_line_of_json_each(inline, tmp_path):
    """Log shippers and jq take lines; a person reads one."""
    s = inline()
    s.with_options(name="save", tags="inline").submit(Failing(), 1, b="two")
    s.submit(Failing()).exception(20)

    assert 2 == s.dead_letters.export(tmp_path / "letters.jsonl")
    first, second = map(json.loads, (tmp_path / "letters.jsonl").read_text().splitlines())
    assert (1, "save", ["1"], {"b": "'two'"}) == (
        first["job_id"],
        first["name"],
        first["args"],
        first["kwargs"],
    )
    assert "OSError: the disk is full" == first["error"] == first["attempts"][0]["error"]
    assert "in __call__" in first["traceback"]
    assert first["attempts"][0]["worker"].startswith("inline-1/")
    assert (["inline"], 20) == (first["options"]["tags"], first["options"]["priority"])
    assert 2 == second["job_id"]


def test_an_observer_can_export_each_letter_as_it_comes(inline):
    """A letter that is on disk survives the process."""
    s = inline()
    lines = []

    def observe(event):
        if getattr(event, "state", None) is JobState.FAILED:
            lines.append(s.dead_letters[event.job_id].name)

    s.subscribe(observe)
    s.submit(Failing()).exception(20)

    assert ["Failing"] == lines
