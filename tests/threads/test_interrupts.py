"""Ctrl-C anywhere: at every point at which the interpreter may raise it, the books stay true and nothing hangs.

Python raises KeyboardInterrupt in the main thread when a function begins, when a loop turns and when a call returns.
The first tests go through one operation again and again and raise it at the first such point, the second, and so on
until the operation gets through: every interleaving with a signal that there is, without a signal.
"""

import dis
import functools
import sys
import threading

import pytest

import pools
import scheduler
from policies import CallerRuns, FairShare, FixedBackoff, StrictPriority
from pools import InlinePool, ThreadPool
from scheduler import Limit, PoolGroup
from scheduler.testing import check_invariants

# An interrupt while a generator is thrown away is one that Python itself swallows, with a warning.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

#: With the second, a turn also writes the accounts of tenants.
ORDERINGS = pytest.mark.parametrize("ordering", [StrictPriority(), FairShare()], ids=["strict", "fair"])

PACKAGES = tuple(module.__path__[0] for module in (scheduler, pools))


@functools.cache
def _breakable(code):
    """Return the offsets before which the interpreter looks for signals."""
    offsets, after_call = set(), False
    for instruction in dis.get_instructions(code):
        if after_call and instruction.opname != "CACHE":
            offsets.add(instruction.offset)
            after_call = False
        if instruction.opname.startswith("CALL"):
            after_call = True
        if instruction.opname == "JUMP_BACKWARD" and isinstance(instruction.argval, int):
            offsets.add(instruction.argval)
        if instruction.opname == "RESUME" and instruction.arg & 3 == 0:
            offsets.add(instruction.offset)
    return frozenset(offsets)


class Injector:
    """Raises KeyboardInterrupt at the ``at``-th point of this thread's way through our code."""

    def __init__(self, at):
        self._left = at
        self.where = None

    def _trace(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(PACKAGES):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._trace_inside

    def _trace_inside(self, frame, event, arg):
        if event == "opcode" and self.where is None and frame.f_lasti in _breakable(frame.f_code):
            self._left -= 1
            if self._left < 0:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
                raise KeyboardInterrupt
        return self._trace_inside

    def __enter__(self):
        self._outer = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # since 3.12, settrace looks whether any frame wants them
        sys.settrace(self._trace)
        return self

    def __exit__(self, *exc_info):
        sys.settrace(self._outer)


def interrupt_everywhere(operation, aftermath):
    """Run ``operation()`` with an interrupt at each point; call ``aftermath(returned)`` after each.

    ``returned`` is what the operation returned, None when it was interrupted. Ends when it got through untouched
    twice, or ten times in a row from the start: Python 3.13 needs a few to learn that somebody wants to see its steps.
    Returns the number of points.
    """
    at = untouched = 0
    while untouched < (2 if at else 10):
        with Injector(at) as injector:
            try:
                returned = operation()
            except KeyboardInterrupt:
                returned = None
        try:
            aftermath(returned)
        except BaseException as error:
            error.add_note(f"interrupted at point {at}, {injector.where}")
            raise
        if injector.where is None:
            untouched += 1
        else:
            untouched, at = 0, at + 1
        assert at < 5000, "the operation never gets through"
    return at


class Runs:
    """Counts the runs of each numbered job."""

    def __init__(self):
        self.of = {}
        self._lock = threading.Lock()
        self._numbers = iter(range(10**9))

    def new(self):
        number = next(self._numbers)

        def job():
            with self._lock:
                self.of[number] = self.of.get(number, 0) + 1
            return number

        return job


def still_works(s, runs):
    """Assert that every worker still runs jobs, that each job ran once at most, and that the books are true."""
    assert 7 == s.submit(int, 7).result(10)
    assert s.drain(10)
    check_invariants(s)
    ledger = s.statistics()
    assert ledger.submitted == ledger.succeeded + ledger.failed + ledger.cancelled + ledger.expired
    assert set() == {number for number, times in runs.of.items() if times != 1}


@ORDERINGS
def test_submit_to_a_parked_worker(open_scheduler, ordering):
    """The hot path: the slot is bound in the turn, the worker woken after it, and a signal fits in between."""
    runs = Runs()
    s = open_scheduler(1, ordering=ordering)
    s.submit(int).result(10)

    def aftermath(handle):
        if handle is not None:
            handle.result(10)
        still_works(s, runs)

    points = interrupt_everywhere(lambda: s.submit(runs.new()), aftermath)

    assert points > 10 or sys.version_info >= (
        3,
        13,
    )  # which may not show the steps of what it has specialised


def test_submit_that_hires_the_worker(open_scheduler):
    """A worker that is on the books but whose thread never started would hold its job for ever."""
    runs = Runs()
    opened = []

    def operation():
        opened.append(open_scheduler(1))
        return opened[-1].submit(runs.new())

    def aftermath(handle):
        if handle is not None:
            handle.result(10)
        if opened:
            s = opened.pop()
            still_works(s, runs)
            s.close(finish_within=10)

    interrupt_everywhere(operation, aftermath)


@ORDERINGS
def test_submit_behind_a_busy_worker(gates, open_scheduler, ordering):
    """A torn submit must leave neither half a job in the queue nor a count without a job."""
    runs = Runs()
    s = open_scheduler(1, ordering=ordering)

    def operation():
        return s.submit(runs.new())

    def aftermath(handle):
        blocker.open()
        if handle is not None:
            handle.result(10)
        still_works(s, runs)
        occupy()

    def occupy():
        nonlocal blocker
        blocker = gates()
        s.submit(blocker.stop_here)
        blocker.await_arrival()

    blocker = None
    occupy()
    interrupt_everywhere(operation, aftermath)
    blocker.open()


@pytest.mark.parametrize(
    "options",
    [
        {"delay": 0.001},
        {"deadline": 60.0, "queue_timeout": 60.0},
        {"run_timeout": 60.0},
        {"delay": 0.001, "retry": FixedBackoff(delay=0.001)},
    ],
    ids=str,
)
def test_submit_with_limits(options, open_scheduler):
    """A timer that is armed but that no alarm waits for is a job that never starts."""
    runs = Runs()
    s = open_scheduler(1)
    bound = s.with_options(**options)

    def aftermath(handle):
        if handle is not None:
            handle.result(10)
        still_works(s, runs)

    interrupt_everywhere(lambda: bound.submit(runs.new()), aftermath)


def test_submit_while_observed(open_scheduler, eventually):
    """Events of a torn turn must not keep later ones from being told."""
    runs = Runs()
    heard = []
    s = open_scheduler(1)
    s.subscribe(heard.append)

    def aftermath(handle):
        if handle is not None:
            handle.result(10)
        still_works(s, runs)
        before = len(heard)
        s.submit(int).result(10)
        assert s.drain(10)
        eventually(lambda: len(heard) > before, "news for the observers")

    interrupt_everywhere(lambda: s.submit(runs.new()), aftermath)


@ORDERINGS
def test_submit_to_an_inline_pool(open_scheduler, ordering):
    """Where the caller runs the job, its Ctrl-C may fall into the delivery of the outcome."""
    runs = Runs()
    s = open_scheduler(PoolGroup("here", InlinePool()), ordering=ordering)
    interrupt_everywhere(lambda: s.submit(runs.new()), lambda _: still_works(s, runs))


def test_submit_of_a_failing_job_to_an_inline_pool(open_scheduler):
    """A job's error and the user's Ctrl-C may come together; the slot must still get its outcome."""
    runs = Runs()
    s = open_scheduler(PoolGroup("here", InlinePool()))

    def fail(job):
        raise OSError(job())

    def aftermath(handle):
        if handle is not None:
            assert type(handle.exception(10)) in (OSError, KeyboardInterrupt)
        still_works(s, runs)

    interrupt_everywhere(lambda: s.submit(fail, runs.new()), aftermath)


def test_submit_with_caller_runs(gates, open_scheduler):
    """A job in its submitter's own thread has a slot of its own, which must not stay on the books."""
    runs = Runs()
    s = open_scheduler(1, capacity=1, admission=CallerRuns())

    def occupy():
        nonlocal blocker
        blocker = gates()
        s.submit(blocker.stop_here)
        blocker.await_arrival()
        s.submit(int)

    def aftermath(_):
        blocker.open()
        assert s.drain(10)
        still_works(s, runs)
        occupy()

    blocker = None
    occupy()
    interrupt_everywhere(lambda: s.submit(runs.new()), aftermath)
    blocker.open()


#: One at once, and a rate that nobody gets to feel, so that a start takes of both.
LIMITS = [Limit(tenant="*", concurrency=1), Limit(tag="x", rate=1e6)]


def open_limited(open_scheduler, pool, ordering):
    """Return a scheduler and its submitter whose jobs are under LIMITS."""
    s = open_scheduler(PoolGroup("x", pool), ordering=ordering, limits=LIMITS)
    return s, s.with_options(tenant="a", tags={"x"})


def still_limits(s, bound, runs):
    """Assert that jobs under limits still run and that nobody holds a limit when nothing runs."""
    assert 7 == bound.submit(int, 7).result(10)
    still_works(s, runs)
    assert {0} == {record.held for record in s._driver.core.lots.records()}


@ORDERINGS
def test_submit_under_limits_to_a_parked_worker(open_scheduler, ordering):
    """What a torn submit took of a limit and nobody gives back is missing for ever: with a limit of one, all of it."""
    runs = Runs()
    s, bound = open_limited(open_scheduler, ThreadPool(slots=1), ordering)
    bound.submit(int).result(10)

    def aftermath(handle):
        if handle is not None:
            handle.result(10)
        still_limits(s, bound, runs)

    interrupt_everywhere(lambda: bound.submit(runs.new()), aftermath)


@ORDERINGS
def test_submit_under_limits_to_an_inline_pool(open_scheduler, ordering):
    """Where the caller runs the job, its Ctrl-C may fall between taking of a limit and giving back."""
    runs = Runs()
    s, bound = open_limited(open_scheduler, InlinePool(), ordering)
    interrupt_everywhere(lambda: bound.submit(runs.new()), lambda _: still_limits(s, bound, runs))


#: What is done to a scheduler, its submitter under limits, and a handle that waits for such a limit.
BESIDE = {
    "submit": lambda _, bound, _handle, job: bound.submit(job),
    "cancel": lambda _, _bound, handle, _job: handle.cancel(),
    "pause and resume": lambda s, _bound, _handle, _job: (s.pause(), s.resume()),
}


@ORDERINGS
@pytest.mark.parametrize("ask", BESIDE.values(), ids=BESIDE)
def test_beside_a_job_that_holds_the_limit(ask, gates, open_scheduler, ordering):
    """Who is parked at a limit when a turn is torn must neither start beside the one that holds it nor wait for ever."""
    runs = Runs()
    s, bound = open_limited(open_scheduler, ThreadPool(slots=2), ordering)

    def occupy():
        nonlocal blocker, waiting
        blocker = gates()
        bound.submit(blocker.stop_here)
        blocker.await_arrival()
        waiting = bound.submit(runs.new())

    def aftermath(_):
        s.resume()
        check_invariants(s)
        assert 1 == s.statistics().running
        blocker.open()
        still_limits(s, bound, runs)
        occupy()

    blocker = waiting = None
    occupy()
    interrupt_everywhere(lambda: ask(s, bound, waiting, runs.new()), aftermath)
    blocker.open()


def _with_settled(s):
    return s.submit(int).result(10)


QUESTIONS = {
    "statistics": lambda s, _: s.statistics(),
    "pools": lambda s, _: s.pools(),
    "cancel": lambda _, handle: handle.cancel(),
    "interrupt": lambda _, handle: handle.interrupt(),
    "attempts": lambda _, handle: handle.attempts,
    "callback that raises": lambda _, handle: handle.add_done_callback(len),
    "callback": lambda _, handle: handle.add_done_callback(id),
    "drain": lambda s, _: s.drain(0),
    "subscribe": lambda s, _: s.subscribe(id)(),
    "with_options": lambda s, _: s.with_options(priority=3),
    "pause and resume": lambda s, _: (s.pause(), s.resume()),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_a_question_about_a_waiting_job(gates, ask, open_scheduler):
    """An interrupt in a harmless question must not leave the scheduler's lock taken for ever."""
    runs = Runs()
    s = open_scheduler(1)

    def occupy():
        nonlocal blocker, handle
        blocker = gates()
        s.submit(blocker.stop_here)
        blocker.await_arrival()
        handle = s.submit(runs.new())

    def aftermath(_):
        s.resume()
        blocker.open()
        still_works(s, runs)
        occupy()

    blocker = handle = None
    occupy()
    interrupt_everywhere(lambda: ask(s, handle), aftermath)
    blocker.open()


def test_waiting_for_a_result(gates, open_scheduler):
    """The most common place for a Ctrl-C of all."""
    runs = Runs()
    s = open_scheduler(1)

    def operation():
        with pytest.raises(TimeoutError):
            handle.result(0.001)

    def occupy():
        nonlocal blocker, handle
        blocker = gates()
        s.submit(blocker.stop_here)
        blocker.await_arrival()
        handle = s.submit(runs.new())

    def aftermath(_):
        blocker.open()
        handle.result(10)
        still_works(s, runs)
        occupy()

    blocker = handle = None
    occupy()
    interrupt_everywhere(operation, aftermath)
    blocker.open()


def test_adding_and_draining_a_pool(open_scheduler):
    """Capacity changes by whole pools, even when it is interrupted."""
    runs = Runs()
    s = open_scheduler(PoolGroup("io", ThreadPool(slots=1)))

    def operation():
        s.drain_pool(s.add_pool("io"))

    def aftermath(_):
        still_works(s, runs)
        for pool in s.pools()[1:]:  # an interrupt between the two calls leaves the new one standing
            s.drain_pool(pool.pool_id)

    interrupt_everywhere(operation, aftermath)
    report = s.close(finish_within=10)

    assert report.complete


@pytest.mark.parametrize(
    "close", [lambda s: s.close(finish_within=10), lambda s: s.shutdown()], ids=["close", "shutdown"]
)
def test_closing(close, open_scheduler):
    """Whoever presses Ctrl-C twice wants out: the second attempt to close must find a way."""
    opened = []
    runs = Runs()

    def operation():
        return close(opened[0])

    def aftermath(_):
        s = opened.pop()
        report = s.close(finish_within=10)
        assert report.complete
        assert 1 == report.statistics.succeeded
        fresh()

    def fresh():
        opened.append(open_scheduler(1))
        opened[0].submit(runs.new()).result(10)

    fresh()
    interrupt_everywhere(operation, aftermath)
    opened.pop().close()


@pytest.mark.parametrize("handed_over", [False, True], ids=["before it is handed over", "after"])
def test_a_job_is_not_stranded_by_a_second_ctrl_c_while_the_first_is_answered(handed_over, open_scheduler):
    """Found by the storm: a hand-over that was torn twice left a job that ran nowhere and kept its slot."""
    s = open_scheduler(1)
    s.submit(int).result(10)
    ran, interrupts = [], []
    (pool,) = s._driver.core.pools
    hand_over, holds = pool.runner.run, pool.runner.holds

    def interrupted_run(slot, call):
        if handed_over:
            hand_over(slot, call)
        if len(interrupts) < 5:
            interrupts.append("run")
            raise KeyboardInterrupt
        if not handed_over:
            hand_over(slot, call)

    def interrupted_question(slot, call):
        if len(interrupts) < 3:
            interrupts.append("holds")
            raise KeyboardInterrupt
        return holds(slot, call)

    pool.runner.run, pool.runner.holds = interrupted_run, interrupted_question
    with pytest.raises(KeyboardInterrupt):
        s.submit(ran.append, 1)
    del pool.runner.run, pool.runner.holds

    assert s.drain(10)
    assert [1] == ran
    assert ["run", "holds", "holds", "run", "run"] == interrupts or handed_over
    assert 7 == s.submit(int, 7).result(10)
