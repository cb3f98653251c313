"""CPython's own tests of executors and futures, run on ours.

Usage: ``python tests/conformance/run.py [-v]``. The tests are those of the interpreter that runs this, from its
``test`` package: nothing is copied here. Ends with 0 when all pass, with 77 when this interpreter has no such tests
(many distributions leave them out; on Debian ``libpython3.X-testsuite`` has them).

Three tests start a child whose source names the standard library's class; they are replaced by the same case with
ours. Tests that read a stock pool's private parts (``_threads``, ``_work_queue``) have no counterpart.
"""

import importlib
import importlib.util
import logging
import pathlib
import platform
import sys
import sysconfig
import unittest
import unittest.mock
from concurrent.futures import Future, InvalidStateError
from types import SimpleNamespace

import scheduler
from scheduler import JobHandle, JobState
from scheduler.compat import ThreadPoolExecutor

NO_SUITE = 77  # as in automake

SUITE = "test.test_concurrent_futures"


def _forward(record):
    """Repeat where the standard library's tests listen; a filter, because a handler would silence stderr."""
    if record.levelno >= logging.CRITICAL:
        logging.getLogger("concurrent.futures").handle(record)
    return True


logging.getLogger("two-tier-scheduler.driver").addFilter(_forward)


def _elsewhere():
    """Yield where a distribution may keep the tests of this version of Python apart from the interpreter."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    prefixes = {
        sys.base_prefix,
        sys.base_exec_prefix,
        sysconfig.get_config_var("prefix"),
        "/usr",
        "/usr/local",
    }
    for prefix in sorted(filter(None, prefixes)):
        for library in ("lib", "lib64", sys.platlibdir):
            yield pathlib.Path(prefix) / library / version / "test"


def find_suite():
    """Return the tests by the names of their rooms, however this version lays them out; None without them."""
    try:
        package = importlib.import_module("test")
        importlib.import_module("test.support.script_helper")
    except ImportError:
        return None
    if importlib.util.find_spec(SUITE) is None:
        for folder in _elsewhere():
            if (folder / "test_concurrent_futures.py").is_file() or (
                folder / "test_concurrent_futures"
            ).is_dir():
                package.__path__.append(str(folder))
                break
        else:
            return None
    suite = importlib.import_module(SUITE)
    if not hasattr(suite, "__path__"):  # one file, until 3.12
        return SimpleNamespace(
            **dict.fromkeys(
                ("executor", "shutdown", "wait", "as_completed", "init", "future", "thread_pool", "util"),
                suite,
            )
        )
    rooms = {"executor": "executor", "util": "util"}
    rooms |= {
        name: f"test_{name}" for name in ("shutdown", "wait", "as_completed", "init", "future", "thread_pool")
    }
    return SimpleNamespace(
        **{name: importlib.import_module(f"{SUITE}.{room}") for name, room in rooms.items()}
    )


# A future without a scheduler


class _Condition:
    """What `FutureTests` takes for a condition: holding it does nothing, notifying it tells the handle's waiters."""

    def __init__(self, handle):
        self._handle = handle

    def acquire(self, *_):
        return True

    def release(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass

    def notify_all(self):
        self._handle.notify()


class LoneFuture(JobHandle):
    """A handle without a scheduler, which its test settles: made like a stock future, written to like one.

    All that answers (`result`, `exception`, `cancelled`, `done`, `running`, callbacks) is the handle's own.
    """

    _result = _exception = None

    def __init__(self):
        super().__init__(scheduler._core.job.JobOptions(), None, _Desk(), None, (), None, None)
        self._written = "PENDING"

    @property
    def _state(self):
        return self._written

    @_state.setter
    def _state(self, written):
        self._written = written

    @property
    def _condition(self):
        return _Condition(self)

    @_condition.setter
    def _condition(self, ours):
        """Ignore the scheduler's: there is none."""

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name in ("_written", "_exception", "_result"):
            failed = self._exception is not None
            self.outcome = self._exception if failed else self._result
            self.state = {
                "PENDING": JobState.WAITING,
                "RUNNING": JobState.RUNNING,
                "FINISHED": JobState.FAILED if failed else JobState.SUCCEEDED,
            }.get(self._written, JobState.CANCELLED)
            if self.state is JobState.CANCELLED:
                self.outcome = scheduler._errors.CancelledError()

    def _settle(self, **written):
        if self.done():
            raise InvalidStateError(f"{self._state}: {self!r}")
        for name, value in written.items():
            setattr(self, name, value)
        self.notify()

    def set_result(self, result):
        self._settle(_result=result, _state="FINISHED")

    def set_exception(self, exception):
        self._settle(_exception=exception, _state="FINISHED")

    __repr__ = Future.__repr__


LoneFuture.__name__ = "Future"  # as the suite reads in its messages


class _Desk(scheduler._desk.Desk):
    """A desk that keeps waiters and callbacks as the real one does, and cancels on its own."""

    def __init__(self):
        groups = scheduler._assembly.as_groups((1,))
        core = scheduler._assembly.make_core(
            groups, capacity=1, admission=None, ordering=None, routing=None, seed=None
        )
        super().__init__(core, scheduler.SystemClock(), {}, "lone", check_invariants=False)

    def open(self, pool):
        """Never asked: nothing scales here."""

    def cancel(self, handle):
        if handle.state is JobState.WAITING:
            handle._state = "CANCELLED"
            handle.notify()
        return handle.state is JobState.CANCELLED


def lone_future(state="PENDING", exception=None, result=None):
    """Return a future as the suite's ``create_future`` does."""
    future = LoneFuture()
    future._state, future._exception, future._result = state, exception, result
    return future


# The suite on ours

SLOW_PRINT = """
import sys, time
def sleep_and_print(seconds, text):
    time.sleep(seconds)
    print(text)
    sys.stdout.flush()
from scheduler.compat import ThreadPoolExecutor
"""


def _run_child(script):
    """Run a script as the suite does; it must end with 0. Returns exit code, output and errors."""
    return importlib.import_module("test.support.script_helper").assert_python_ok("-c", script)


def test_interpreter_shutdown(case):
    """What was submitted is done before the interpreter ends."""
    _, out, err = _run_child(
        SLOW_PRINT + 't = ThreadPoolExecutor(5)\nt.submit(sleep_and_print, 1.0, "apple")\n'
    )
    assert b"" == err
    assert b"apple" == out.strip()


def test_submit_after_interpreter_shutdown(case):
    """After that, submit says so, in the standard's words."""
    _, out, err = _run_child(
        """if 1:
            import atexit
            @atexit.register
            def run_last():
                try:
                    t.submit(id, None)
                except RuntimeError:
                    print("runtime-error")
                    raise
            from scheduler.compat import ThreadPoolExecutor
            t = ThreadPoolExecutor(5)
        """,
    )
    assert b"SchedulerClosed: cannot schedule new futures" in err  # a RuntimeError
    assert b"runtime-error" == out.strip()


def test_hang_gh83386(case):
    """``shutdown(wait=False)`` does not hang at exit with running jobs."""
    _, out, err = _run_child(
        SLOW_PRINT
        + 't = ThreadPoolExecutor(max_workers=3)\nt.submit(sleep_and_print, 1.0, "apple")\nt.shutdown(wait=False)\n',
    )
    assert b"" == err
    assert b"apple" == out.strip()


#: Tests of the stock thread pool that read nothing private, by the class that has them.
PORTABLE = {
    ("thread_pool", "ThreadPoolExecutorTest"): (
        "test_map_submits_without_iteration",
        "test_executor_map_current_future_cancel",
        "test_default_workers",
    ),
    ("wait", "ThreadPoolWaitTests"): ("test_pending_calls_race",),
}


def make_tests(rooms):
    """Return the test cases: each of the suite's mixins with our class in the place of the stock one."""
    base = rooms.util.BaseTestCase
    ours = type("OursMixin", (rooms.util.ExecutorMixin,), {"executor_type": ThreadPoolExecutor})
    replaced = {
        test.__name__: test
        for test in (test_interpreter_shutdown, test_submit_after_interpreter_shutdown, test_hang_gh83386)
    }
    cases = [
        type("OursExecutorTest", (rooms.executor.ExecutorTest, ours, base), {}),
        type("OursShutdownTest", (rooms.shutdown.ExecutorShutdownTest, ours, base), replaced),
        type("OursWaitTest", (rooms.wait.WaitTests, ours, base), {}),
        type("OursAsCompletedTest", (rooms.as_completed.AsCompletedTests, ours, base), {}),
        type("OursInitializerTest", (rooms.init.InitializerMixin, ours, base), {}),
        type("OursFailingInitializerTest", (rooms.init.FailingInitializerMixin, ours, base), {}),
    ]
    for (room, name), tests in PORTABLE.items():
        theirs = getattr(getattr(rooms, room), name)
        body = {test: vars(theirs)[test] for test in tests if test in vars(theirs)}
        cases.append(type(f"Ours{name}", (ours, base), body))
    return [*cases, _future_tests(rooms)]


def _future_tests(rooms):
    """Return ``FutureTests`` with lone futures for every name by which its module knows futures."""

    def set_up_class(cls):
        patch = unittest.mock.patch.multiple(
            rooms.future,
            Future=LoneFuture,
            create_future=lone_future,
            PENDING_FUTURE=lone_future(),
            RUNNING_FUTURE=lone_future("RUNNING"),
            CANCELLED_FUTURE=lone_future("CANCELLED"),
            CANCELLED_AND_NOTIFIED_FUTURE=lone_future("CANCELLED_AND_NOTIFIED"),
            EXCEPTION_FUTURE=lone_future("FINISHED", exception=OSError()),
            SUCCESSFUL_FUTURE=lone_future("FINISHED", result=42),
        )
        patch.start()
        cls.addClassCleanup(patch.stop)

    return type("OursFutureTest", (rooms.future.FutureTests,), {"setUpClass": classmethod(set_up_class)})


def main():
    """Run everything and print one line about it."""
    rooms = find_suite()
    python = f"Python {platform.python_version()}"
    if rooms is None:
        print(f"{python} comes without {SUITE}: install its test suite to run it here")
        return NO_SUITE
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    tests = unittest.TestSuite(map(load, make_tests(rooms)))
    result = unittest.TextTestRunner(verbosity=1 + sys.argv.count("-v")).run(tests)
    print(
        f"{python}: {result.testsRun} of CPython's own tests run, {len(result.failures)} failures, "
        f"{len(result.errors)} errors, {len(result.skipped)} skipped"
    )
    return not result.wasSuccessful()


if __name__ == "__main__":
    sys.exit(main())
