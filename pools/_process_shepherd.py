"""One thread per slot that looks after its worker process: starts it, feeds it, replaces it.

Guarantees
    - Whatever happens to the worker, every call that it was given is delivered, or given back unstarted.
    - A call that was given back has not started and never will: it was received back from the call line,
      or had not been sent.
    - A worker is killed for the call that runs, never for the one before it: `still` is asked here, on the
      only thread that takes outcomes for the slot, right before the signal.

Assumptions: the scheduler starts a call in this slot only after `ready`, and while it has none.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from ._process_calls import Calls
from ._process_line import Line, unannounced
from ._process_outcomes import error_of, gone, outcome_of
from ._process_recycle import Recycle
from ._process_wire import READY, Buffers, Frame
from .contract import Call, CallAbandoned, Front, Outcome, PoolStopped, WorkerGone
from .logs import log_of

_log = log_of("two-tier-scheduler.pools")

#: Seconds before a worker that did not come up is tried again, doubled each time; then the pool is broken.
FIRST_PAUSE, STARTS_MAX = 0.1, 3
#: Seconds a worker that has nothing to do gets to end by itself.
DISMISSED_WITHIN = 5.0


#: What is mostly wrong with a worker that never began: it could not import what the pool's process has run.
_REMEDY = (
    "; it imports the main module: if that makes a Scheduler when it is imported, "
    'put that code under  if __name__ == "__main__":'
)


@attrs.frozen(kw_only=True)
class Terms:
    """What all slots of a pool have in common."""

    #: Of `multiprocessing`: the start method.
    context: Any
    initializer: tuple[bytes, Buffers]
    ahead_max: int
    kill_after: float
    recycle: Recycle | None
    #: Told by a slot whose worker cannot be had.
    broken: Callable[[BaseException], None]


class Shepherd:
    """One slot of a process pool. Threads: what has no underscore, from any."""

    def __init__(self, terms: Terms, pool_id: str, slot: int, front: Front) -> None:
        self._terms, self._front = terms, front
        self._pool_id, self._slot, self._name = pool_id, slot, f"{pool_id}/{slot + 1}"
        self._calls = Calls(self._name, terms.ahead_max)
        self._incarnation = 0
        self._stops: deque[Callable[[], bool]] = deque()
        self._kill_at = math.inf
        self._leaving = self._killing = False
        #: Made on the shepherd's own thread, where no Ctrl-C tears it. The race: whoever wakes it first puts down why,
        #: then looks for the line; the shepherd first makes the line, then looks at what was put down.
        self._wake_line: socket.socket | None = None
        self.thread = threading.Thread(
            target=self._tend, name=f"two-tier-scheduler-{self._name}", daemon=True
        )

    def run(self, call: Call) -> None:
        """Give the worker its first call, sending it from here if it is small. Cost: 8 µs."""
        if self._leaving:
            raise PoolStopped(f"pool {self._pool_id} takes no more calls")
        sent = self._calls.give(call)
        if sent is None:  # the pool broke in the moment in which the slot was given this call
            self._front.lost(self._slot, CallAbandoned(f"worker {self._name} is gone"), ())
        elif not sent:
            self._wake()

    def holds(self, call: Call) -> bool:
        """Whether `call` was given and has not been delivered."""
        held = self._calls.holds(call)
        if held:
            self._wake()  # whoever asks may have been interrupted before it could
        return held

    def interrupt(self, still: Callable[[], bool]) -> None:
        """Have the worker stopped, if `still()` says so when it comes to that."""
        self._stops.append(still)
        self._wake()

    def recall(self) -> list[Call]:
        """Return what lies ahead and has not started, in order. Never blocks."""
        return self._calls.recall()

    @property
    def inversion_bound(self) -> float:
        """Seconds that an urgent call may wait behind what lies ahead."""
        return self._calls.estimate.inversion_bound

    def leave(self) -> None:
        """Take no more calls; dismiss the worker as soon as it has nothing to do."""
        self._leaving = True
        self._wake()

    def kill(self) -> None:
        """Leave now, whatever the worker does."""
        self._leaving = self._killing = True
        self._wake()

    def _wake(self) -> None:
        line = self._wake_line
        if line is not None:
            with contextlib.suppress(OSError):  # full: it is awake; closed: it has left
                line.send(b"w")

    # From here on, on the shepherd's own thread

    def _tend(self) -> None:
        try:
            with contextlib.closing(self._make_lines()), self._hear:
                while not self._leaving:
                    line = self._hire()
                    if line is None:
                        break
                    try:
                        self._serve(line)
                    finally:
                        self._bury(line)
        except BaseException as error:
            _log.exception("the shepherd of %s failed", self._name)
            self._terms.broken(error)
        finally:
            self._give_up()

    def _make_lines(self) -> socket.socket:
        self._hear, self._wake_line = socket.socketpair()
        self._hear.setblocking(False)
        self._wake_line.setblocking(False)
        return self._wake_line

    # A worker's beginning

    def _hire(self) -> Line | None:
        """Start a worker and wait until it is up; return None when the pool leaves or is broken."""
        pause = FIRST_PAUSE
        for attempt in range(1, STARTS_MAX + 1):
            line, error = self._start()
            if error is None or self._leaving:
                return line
            if attempt == STARTS_MAX or not isinstance(error, WorkerGone | OSError):
                self._terms.broken(error)
                return None
            _log.warning(
                "worker %s did not start, attempt %d of %d: %s", self._name, attempt, STARTS_MAX, error
            )
            self._pause(pause)
            pause *= 2
        return None

    def _start(self) -> tuple[Line | None, BaseException | None]:
        self._incarnation += 1
        name = self._name if self._incarnation == 1 else f"{self._name}#{self._incarnation}"
        try:
            line = Line(self._terms.context, name, self._hear)
        except Exception as error:  # the system gives no process
            return None, error
        wrong: BaseException | None = None
        try:
            wrong = self._await_ready(line)
            if wrong is None:
                return line, None
            phase = line.phase
            code = line.end(self._terms.kill_after, now=self._leaving)
            if isinstance(wrong, WorkerGone):
                wrong = gone(line, code, phase, _REMEDY if phase == "starting" and code == 1 else "")
        except BaseException:
            line.end(0.0, now=True)
            line.close()
            raise
        line.close()
        return None, wrong

    def _await_ready(self, line: Line) -> BaseException | None:
        """Send the initializer and wait for the word that the worker is up; return what went wrong."""
        parts = unannounced(*self._terms.initializer)
        while True:
            line.push(parts)
            ready = self._listen(line, None, pushing=bool(parts))
            frames = line.read() if "stream" in ready else []
            if frames:
                return None if frames[0][0] == READY else error_of(frames[0], line.name)
            if frames is None or "end" in ready or self._leaving:
                return WorkerGone("it did not come up", phase=line.phase, exitcode=None, stderr="")

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._leaving and time.monotonic() < until:
            time.sleep(0.02)

    # Its life

    def _serve(self, line: Line) -> None:
        """Look after a worker until it ends, or has nothing to do and is to go."""
        calls, recycle = self._calls, self._terms.recycle
        limits = None if recycle is None else recycle.limits()
        self._kill_at = math.inf
        calls.connect(line)
        calls.add(self._front.ready(self._slot, line.name))
        pushing: list[memoryview] = []
        while not self._killing:
            refused = calls.send(line, pushing)
            if refused is not None:
                self._exchange([(None, refused, 0.0)], calls.want)
                continue
            ready = self._listen(line, self._patience(), pushing=bool(pushing))
            if "stream" in ready:
                frames = line.read()
                if frames is None:
                    return
                if frames:
                    most = math.inf
                    if limits is not None:
                        most = 0 if limits.over(line.process.pid, len(frames)) else limits.left
                    self._settle(line, frames, most=0 if self._leaving else most)
            if "end" in ready:
                return
            self._stop_what_must_stop(line)
            if calls.until_overrun(time.monotonic()) == 0.0:
                calls.overran()
                self._front.recall(self._slot)
            if not calls and (self._leaving or (limits is not None and limits.reached)):
                return

    def _listen(self, line: Line, timeout: float | None, *, pushing: bool) -> set[str]:
        ready = line.wait(timeout, pushing=pushing)
        if "wake" in ready:
            with contextlib.suppress(OSError):
                self._hear.recv(4096)
        if "errors" in ready:
            line.pass_on_errors()
        return ready

    def _patience(self) -> float | None:
        """Return the seconds until something must be done though nothing happens."""
        overrun = self._calls.until_overrun(time.monotonic())
        if self._kill_at == math.inf:
            return overrun
        kill = max(0.0, self._kill_at - time.monotonic())
        return kill if overrun is None else min(kill, overrun)

    def _stop_what_must_stop(self, line: Line) -> None:
        """Ask the worker to stop for the call that runs, and kill it when it does not."""
        while self._stops:
            if self._stops.popleft()() and self._kill_at == math.inf:
                self._kill_at = time.monotonic() + self._terms.kill_after
                line.ask_to_stop()
        if time.monotonic() >= self._kill_at:
            line.kill()
            self._kill_at = time.monotonic() + 1.0  # once more, should it be stuck in the kernel

    def _settle(self, line: Line, frames: list[Frame], *, most: float) -> None:
        """Deliver what was answered, and take on more; the worker shall have `most` calls at most."""
        self._calls.answered(frames)
        self._kill_at = math.inf  # what was to be killed has returned
        name = line.name
        outcomes = [outcome_of(frame, name) for frame in frames]
        frames.clear()
        self._exchange(outcomes, int(max(0, min(self._calls.want, most - len(self._calls)))))

    def _exchange(self, outcomes: list[Outcome], want: int) -> None:
        """Deliver outcomes and take more calls.

        The race: (1) the scheduler writes down that these calls lie ahead; (2) something more urgent comes, or a
        pause, and asks for them; (3) they are added here. Nothing is sent between (3) and the question.
        """
        calls = self._front.exchange(self._slot, outcomes, want)
        outcomes.clear()  # a worker holds no reference to a finished call
        self._calls.delivered()
        self._calls.add(calls)
        if self._front.missed(self._slot):
            self._front.recall(self._slot)

    # Its end

    def _bury(self, line: Line) -> None:
        """See a worker off: deliver what it had done, an error for what it had begun, and give back the rest."""
        calls = self._calls
        calls.connect(None)
        line.dismiss()
        code = line.end(self._terms.kill_after if calls else DISMISSED_WITHIN, now=self._killing)
        frames = line.read_to_the_end()
        if frames:
            self._settle(line, frames, most=0)
        begun, unstarted = calls.take_out(line)
        error = None if begun is None else gone(line, code, line.phase)
        line.close()
        if begun is not None or unstarted or not self._leaving:
            self._front.lost(self._slot, error, unstarted)
        calls.delivered()

    def _give_up(self) -> None:
        """Leave for good: whatever was given to this slot in the last moment is delivered as an error."""
        if left := self._calls.close():
            self._front.lost(self._slot, CallAbandoned(f"worker {self._name} is gone"), left[1:])
