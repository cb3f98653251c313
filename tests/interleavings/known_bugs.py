"""Bugs that were mended once, or that a comment says are avoided, put back in: a net must be seen to hold fish.

Each is a change of a few words to the text of a module. The functions that it touches get the code that the changed
text compiles to, for as long as a scenario runs.
"""

import contextlib
import importlib
import inspect
import types

import attrs


@attrs.frozen
class Bug:
    """One change of a module's text, and the scenario that must notice it."""

    name: str
    module: str
    function: str  # whose code is replaced
    was: str
    becomes: str
    scenario: str
    why: str
    schedules: int = 500
    at_locks: bool = False

    @contextlib.contextmanager
    def put_back(self):
        """Run the module with the bug in it."""
        module = importlib.import_module(self.module)
        function = module
        for part in self.function.split("."):
            function = inspect.getattr_static(function, part)
        good, function.__code__ = function.__code__, self._code(module)
        try:
            yield
        finally:
            function.__code__ = good

    def _code(self, module):
        text = inspect.getsource(module)
        assert 1 == text.count(self.was), f"{self.name}: bring the patch up to date with {module.__file__}"
        code = compile(text.replace(self.was, self.becomes), module.__file__, "exec")
        for part in self.function.split("."):
            code = next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == part)
        return code


BUGS = [
    Bug(
        "told-twice",
        "scheduler._handle",
        "JobHandle.notify",
        "watchers.due if type(watchers) is Late else tuple(watchers)",
        "tuple(watchers)",
        "the_standard_library_waits_as_jobs_settle",
        "wait() and as_completed() are told of a job that they found done; found here",
    ),
    Bug(
        "debt-paid-elsewhere",
        "scheduler._turn",
        "Turns.pay",
        "except IndexError:",
        "except ZeroDivisionError:",
        "jobs_come_as_the_scheduler_closes",
        "two threads find one debt, and the worker loses an outcome; found here",
        schedules=1000,
    ),
    Bug(
        "registered-unseen",
        "scheduler._desk",
        "Desk.wait",
        "            if handle.state.settled:\n                return\n            if inside is not None and timeout",
        "            if inside is not None and timeout",
        "two_wait_as_the_job_settles",
        "a waiter registers without looking again: the lost wake-up",
    ),
    Bug(
        "callback-unseen",
        "scheduler._desk",
        "Desk.watch",
        "            if handle.state.settled:\n                return False\n            if handle.callbacks is None:",
        "            if handle.callbacks is None:",
        "a_callback_is_added_as_the_job_settles",
        "a callback is added to a handle that has just settled, and never called",
    ),
    Bug(
        "alarm-overwrites",
        "scheduler._alarm",
        "Alarm._watch",
        "self._when = min(self._when, following)",
        "self._when = following",
        "a_timer_is_armed_as_the_alarm_goes_to_sleep",
        "a timer that is armed while the bell rings is forgotten",
    ),
    Bug(
        "alarm-unkicked",
        "scheduler._alarm",
        "Alarm._arm",
        "                self._when = when\n                self._wake()\n",
        "                self._when = when\n",
        "a_sooner_timer_is_armed_as_the_alarm_goes_to_sleep",
        "the alarm sleeps on until the timer that it knew of",
    ),
    Bug(
        "kick-drained-late",
        "scheduler._alarm",
        "Alarm._watch",
        "            self._kick.acquire(False)\n            pause = self._when - self.now()\n",
        "            pause = self._when - self.now()\n            self._kick.acquire(False)\n",
        "a_sooner_timer_is_armed_as_the_alarm_goes_to_sleep",
        "a kick between the look at the time and the sleep is thrown away, and the alarm sleeps on",
    ),
    Bug(
        "relay-looks-once",
        "scheduler._relay",
        "Relay.hand_out",
        "while outbox and giver.acquire(blocking=False):",
        "if outbox and giver.acquire(blocking=False):",
        "two_bring_things_to_a_relay",
        "what is brought as the giver leaves stays lying",
    ),
    Bug(
        "relief-looks-too-soon",
        "scheduler._relay",
        "Relay._go_on",
        "            finally:\n                self._relieved = False\n            more = bool(self._outbox)\n",
        "                more = bool(self._outbox)\n            finally:\n                self._relieved = False\n",
        "two_bring_things_to_a_relay_that_has_no_patience",
        "what is brought as the relief leaves stays lying",
    ),
    Bug(
        "drain-flag-last",
        "pools.thread_pool",
        "_Threads.drain",
        "        self._draining = True\n        for worker in self._workers:\n"
        "            if worker is not None:\n                with contextlib.suppress(RuntimeError):\n"
        "                    worker.parked.release()\n",
        "        for worker in self._workers:\n"
        "            if worker is not None:\n                with contextlib.suppress(RuntimeError):\n"
        "                    worker.parked.release()\n        self._draining = True\n",
        "a_pool_of_threads_is_drained_as_its_last_call_runs",
        "a worker that parks between the two is never woken",
    ),
    Bug(
        "call-let-go-late",
        "pools.thread_pool",
        "_Threads._work",
        "                    call = deliver(slot, value, failure)\n",
        "                    call = deliver(slot, value, failure)\n                    worker.call = None\n",
        "a_job_comes_as_the_worker_parks",
        "the worker lets go of the next call, which was put down while it delivered",
    ),
    Bug(
        "drained-with-a-call",
        "pools.thread_pool",
        "_Threads._work",
        "if self._draining and worker.call is None:",
        "if self._draining:",
        "a_pool_of_threads_is_drained_as_its_last_call_runs",
        "a worker leaves although it was given one more call before the drain; found here",
    ),
    Bug(
        "refused-though-admitted",
        "scheduler._turn",
        "Turns.begin",
        "            if not job.state.settled:\n                raise\n",
        "            raise\n",
        "jobs_come_as_the_scheduler_gives_up_what_runs",
        "submit raises of a job that the closing gave up before its pool had it; found here",
    ),
    Bug(
        "loop-flag-last",
        "pools.asyncio_pool",
        "_Coroutines._take_in",
        "        self._woken = False\n        if self._ended or (self._draining and not self._calls and not inbox):\n"
        "            self._ended = True\n            asyncio.get_running_loop().stop()\n"
        "        elif inbox or following:\n            self._wake()\n",
        "        if self._ended or (self._draining and not self._calls and not inbox):\n"
        "            self._ended = True\n            asyncio.get_running_loop().stop()\n"
        "        elif inbox or following:\n            self._wake()\n            return\n        self._woken = False\n",
        "a_loop_is_given_a_call_as_it_goes_to_sleep",
        "a call put down between the look and the flag wakes nobody",
    ),
    Bug(
        "opened-for-nobody",
        "scheduler._opening",
        "Opening.open",
        "            if pool not in self.core.pools:\n                return False\n            pool.runner = runner",
        "            pool.runner = runner",
        "the_autoscaler_starts_a_worker_as_the_scheduler_closes",
        "a pool is made real after the closing has drained it, and its thread stays",
    ),
    Bug(
        "refusal-read-early",
        "scheduler._driver",
        "Driver.submit",
        "            while not self._acquire(False):  # see `_lock`\n                time.sleep(0)\n"
        "            held = True\n            if self._busy:\n                raise reentered()\n"
        "            self._busy = inside = True\n            if self.refusing is not None:",
        "            refusing = self.refusing\n"
        "            while not self._acquire(False):  # see `_lock`\n                time.sleep(0)\n"
        "            held = True\n            if self._busy:\n                raise reentered()\n"
        "            self._busy = inside = True\n            if refusing is not None:",
        "jobs_come_as_the_scheduler_closes",
        "a job comes in after the closing has found nobody alive",
    ),
    Bug(
        "door-left-shut",
        "scheduler._desk",
        "Desk.refuse",
        "for waiter in list(self._door.values()):",
        "for waiter in ():",
        "a_submitter_at_the_door_meets_the_closing",
        "a submitter at the door is turned away and not told",
    ),
    Bug(
        "broken-and-fed",
        "scheduler._driver",
        "Driver.blame",
        "                self.pool_failed(slot.pool, cause)\n",
        "",
        "two_workers_cannot_start",
        "the second worker that cannot start is given the next call: commit a45a47f",
    ),
    Bug(
        "conditions-unordered",
        "scheduler._lock",
        "as_condition",
        "    return SharedCondition(above, lock)\n",
        "    return lock\n",
        "two_wait_for_jobs_of_two_schedulers_in_either_order",
        "two waits take the locks of two schedulers in either order: commit bcd1990",
        at_locks=True,
    ),
    Bug(
        "stop-of-the-next",
        "scheduler._turn",
        "Turns._stop",
        "            return slot.job is job and slot.attempt == attempt and slot.interrupted is not None\n",
        "            return True\n",
        "a_coroutine_is_interrupted_as_the_next_takes_its_slot",
        "the request to stop a call hits the next one in its slot",
    ),
    Bug(
        "recall-unnoticed",
        "scheduler._front",
        "PoolFront.missed",
        "return bound.recalls != bound.recalls_known",
        "return False",
        "an_urgent_job_comes_as_the_worker_is_given_one_ahead",
        "what was wanted back before the pool held it stays in front of an urgent job",
    ),
]
