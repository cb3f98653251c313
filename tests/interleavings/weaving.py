"""One thread at a time: strands hand each other a baton, and a chooser says who has it next.

A *strand* is a real thread that runs only while it holds the baton, so thread-locals, ``current_thread()`` and
tracebacks are what they always are. At every *point* (before each operation on a lock, an event or a thread, and
before each line of the modules that a scenario names) the strand that runs asks who goes on. All state here is
touched by the holder of the baton alone, and so needs no lock.

Time is virtual. `CLOCK` stands among those who may go on whenever somebody sleeps until a moment within the
`horizon`: choosing it moves time there, so timers race with everything else. Beyond the horizon time moves only
when nobody can run. When nobody can run and nobody sleeps for a time, that is a deadlock.

The model is loom's and shuttle's, for Python.
"""

import _thread
import sys

from telling import stacks, where, words

#: The number under which time itself can be chosen.
CLOCK = -1
#: Seconds of real time after which a schedule counts as stuck outside what is replaced here.
PATIENCE = 20.0
#: How often time may move in a schedule although somebody could run: one that polls must not keep others waiting.
EARLY_MAX = 30
#: Points after which a schedule counts as one that never ends.
STEPS_MAX = 100_000
#: Seconds of virtual time that threads get to leave once the scenario's body has ended.
LEAVE_WITHIN = 5.0

#: The world that new locks, events and threads belong to.
_worlds = []


def world():
    """Return the world that is being woven."""
    return _worlds[-1]


class Abandoned(BaseException):
    """Unwinds a strand whose world is over."""


class Strand:
    """One thread of a world, and what it waits for."""

    def __init__(self, number, thread):
        self.number, self.thread = number, thread
        self.baton = _thread.allocate_lock()
        self.baton.acquire()
        self.waits_for = None  # in words, while it cannot run
        self.queue = None  # those who wait for the same thing
        self.deadline = None
        self.timed_out = self.ended = False
        self.tried = None  # the lock that it just failed to take
        self.kills = 0

    def __str__(self):
        return f"{self.number} {self.thread.name}"


class World:
    """One run of a scenario. Threads: only the holder of the baton."""

    def __init__(self, chooser, tracer=None, *, horizon=0.0, threads_max=None):
        self.chooser, self.tracer, self.horizon, self.threads_max = chooser, tracer, horizon, threads_max
        self.strands, self.ready, self.sleepers = [], [], []
        self.current = None
        self.now = 100.0
        self.steps = self.switches = 0
        self.choices = []
        #: Every change of the strand that runs: from where, and to whom.
        self.story = []
        self.over = self.body_ended = False
        self.failure = None
        self._ends_by = None
        self._early = EARLY_MAX
        self._finished = _thread.allocate_lock()
        self._finished.acquire()

    # Strands

    def spawn(self, thread):
        """Take in a thread that is about to start; it runs when it is chosen."""
        alive = sum(not strand.ended for strand in self.strands)
        if self.threads_max is not None and alive >= self.threads_max:
            raise RuntimeError("can't start new thread")
        strand = Strand(len(self.strands), thread)
        self.strands.append(strand)
        self.ready.append(strand)
        return strand

    def run(self, first):
        """Run the thread `first`, and whatever it starts, to the end. Called from outside, then `end`."""
        self.current = first.begin_in(self)
        self.current.baton.release()
        if not self._finished.acquire(True, PATIENCE):
            self.fail(AssertionError(f"stuck for {PATIENCE} s of real time:\n{stacks(self.strands)}"))
        self.over = True

    def end(self):
        """Unwind whoever is still there, one after the other."""
        for strand in self.strands:
            if not strand.ended:
                self.current = strand
                strand.baton.release()
            strand.thread.join_really(1.0)
            if strand.thread.is_really_alive():
                strand.thread.name = f"abandoned by a schedule: {strand.number}"

    def fail(self, error):
        """Note the first failure, and end this world."""
        if self.failure is None:
            self.failure = error
        self.over = True

    def leave(self, strand):
        """End a strand, and let another one run."""
        strand.ended = True
        if self.over:
            self._finish()
            return
        self.ready.remove(strand)
        self.wake(strand.thread.queue)
        if strand.number == 0:
            self.body_ended = True
            self._ends_by = self.now + LEAVE_WITHIN
        chosen = self._next(strand, "end")
        if chosen is None:
            self._finish()
        else:
            self._note(strand, chosen, "end")
            self.current = chosen
            chosen.baton.release()

    def _finish(self):
        if self._finished.locked():
            self._finished.release()

    # Points

    def point(self, what):
        """Let the chooser say who goes on from here."""
        if len(self.ready) == 1 and not self._soon():
            return
        self.settle_over()
        me = self.current
        self._hand_to(me, self._next(me, what), what)

    def line(self, frame):
        """Let the chooser say who goes on, before a line of a traced module."""
        if len(self.ready) > 1 or self._soon():
            self.point(frame)

    def give_way(self):
        """Let others run: whoever spins on a lock waits for it, for a spin changes nothing."""
        self.settle_over()
        lock, self.current.tried = self.current.tried, None
        if lock is not None and lock.taken():
            self.block(lock.queue, "spins on a lock")
        else:
            self.chooser.gave_way(self.current.number)
            self.point("sleep(0)")

    def block(self, queue, what, timeout=None):
        """Wait in `queue` until woken, or for `timeout` seconds; return whether it was not the time."""
        self.settle_over()
        me = self.current
        me.waits_for, me.queue, me.timed_out = what, queue, False
        queue.append(me)
        self.ready.remove(me)
        if timeout is not None:
            me.deadline = self.now + max(0.0, timeout)
            self.sleepers.append(me)
        chosen = self._next(me, what)
        if chosen is None:  # over
            self._finish()
            self._park(me)
        self._hand_to(me, chosen, what)
        return not me.timed_out

    def wake(self, queue):
        """Let everybody who waits in `queue` look again."""
        for strand in queue:
            strand.waits_for = strand.queue = None
            if strand.deadline is not None:
                strand.deadline = None
                self.sleepers.remove(strand)
            self.ready.append(strand)
        queue.clear()

    def settle_over(self):
        """Unwind the calling strand if its world is over."""
        if self.over:
            self._unwind(self.current)

    # Choosing

    def _soon(self):
        return self._early and any(s.deadline <= self.now + self.horizon for s in self.sleepers)

    def _next(self, me, what):
        """Return the strand that goes on, having moved time as chosen; None when this world is over."""
        while True:
            self.steps += 1
            if self.steps > STEPS_MAX:
                self.fail(AssertionError(f"no end after {STEPS_MAX} points:\n{stacks(self.strands)}"))
                return None
            if not self.ready:
                if not self._move_time():
                    return None
                continue
            candidates = [strand.number for strand in self.ready]
            if self._soon():
                candidates.append(CLOCK)
            if len(candidates) == 1:
                return self.ready[0]
            candidates.sort()
            number = self.chooser.choose(candidates, me.number)
            self.choices.append(number)
            if number != CLOCK:
                return self.strands[number]
            self.story.append((str(me), where(what), f"time {self.now:.6g}", "the clock"))
            self._early -= 1
            self._move_time()

    def _move_time(self):
        """Move time to the next moment that somebody sleeps for; return False when nobody can go on."""
        if not self.sleepers:
            if not (self.body_ended and all(strand.ended for strand in self.strands)):
                self.fail(AssertionError(f"deadlock: nobody can go on\n{stacks(self.strands)}"))
            return False
        self.now = max(self.now, min(strand.deadline for strand in self.sleepers))
        if self._ends_by is not None and self.now > self._ends_by:
            self.fail(AssertionError(f"left behind when the scenario had ended:\n{stacks(self.strands)}"))
            return False
        for strand in [strand for strand in self.sleepers if strand.deadline <= self.now]:
            self.sleepers.remove(strand)
            strand.queue.remove(strand)
            strand.timed_out, strand.deadline, strand.waits_for = True, None, None
            self.ready.append(strand)
        return True

    def _hand_to(self, me, chosen, what):
        if chosen is None:
            self._finish()
            self._park(me)
        if chosen is not me:
            self.switches += 1
            self._note(me, chosen, what)
            self.current = chosen
            chosen.baton.release()
            self._park(me)

    def _park(self, me):
        me.baton.acquire()
        if self.over:
            self._unwind(me)

    def _unwind(self, me):
        """Raise in a strand whose world is over; one that will not go sleeps for ever."""
        sys.settrace(None)
        me.kills += 1
        while me.kills > 30:
            me.baton.acquire()
        raise Abandoned

    # Telling

    def _note(self, me, chosen, what):
        self.story.append((str(me), where(what), words(what), str(chosen)))
