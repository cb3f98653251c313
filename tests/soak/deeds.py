"""The nemesis inside the process: what it does to a scheduler, to its log, and to the wall clock; seeded, written down."""

from __future__ import annotations

import contextlib
import logging
import random
import time

from history import now, pen

#: Deeds a second, all together.
RATE = 2.0
#: Seconds that the wall clock is wrong at most: `datetime` has its limits.
_TEN_YEARS = 10 * 365 * 86400.0
LOGGER = "two-tier-scheduler"


class FullDisk(logging.Handler):
    """A log whose disk is full; unlike the standard library's handlers it does not keep that to itself."""

    def emit(self, record):
        raise OSError(28, "No space left on device")


class Meddler:
    """Cordons, drains, adds, pauses, cancels, interrupts, listens and raises, fills the log's disk, turns the clock."""

    def __init__(self, scheduler, submitters, seed):
        self.scheduler, self.submitters = scheduler, submitters
        self.dice = random.Random(seed * 7919 + 1)
        self.undo = []
        self.clock = WallClock()
        self.deeds = [
            (3, self.cordon),
            (3, self.drain),
            (3, self.add),
            (2, self.pause),
            (6, self.cancel),
            (4, self.interrupt),
            (2, self.raising_observer),
            (2, self.full_disk),
            (2, self.full_device),
            (2, self.turn_the_clock),
        ]

    def run(self, until):
        """Do one deed after the other until then, and undo each a little later."""
        weights = [weight for weight, _ in self.deeds]
        while now() < until:
            time.sleep(min(self.dice.expovariate(RATE), max(0.0, until - now())))
            self.undo_what_is_due()
            _, deed = self.dice.choices(self.deeds, weights)[0]
            deed()

    def note(self, what, *detail):
        pen.write("F", what, *detail)

    def later(self, seconds, undo):
        self.undo.append((now() + seconds, undo))

    def undo_what_is_due(self):
        due = [undo for at, undo in self.undo if at <= now()]
        self.undo = [(at, undo) for at, undo in self.undo if at > now()]
        for undo in due:
            undo()

    def make_good(self):
        """Undo everything."""
        for _, undo in self.undo:
            undo()
        self.undo = []
        self.clock.give_back()

    def _pool(self, *groups):
        pools = [pool for pool in self.scheduler.pools() if not groups or pool.group in groups]
        return self.dice.choice(pools).pool_id if pools else None

    def _try(self, what, deed, *arguments):
        try:
            answer = deed(*arguments)
        except (ValueError, OSError, RuntimeError) as error:  # not now: in that state, or at a limit
            self.note(f"{what} refused", *arguments, type(error).__name__)
            return None
        self.note(what, *arguments)
        return answer

    def cordon(self):
        pool = self._pool()
        if pool is not None:
            self._try("cordon", self.scheduler.cordon_pool, pool)
            self.later(
                self.dice.uniform(0.05, 1.0),
                lambda: self._try("uncordon", self.scheduler.uncordon_pool, pool),
            )

    def drain(self):
        pool = self._pool()
        if pool is not None:
            self._try("drain", lambda pool: self.scheduler.drain_pool(pool, timeout=0.0), pool)

    def add(self):
        group = self.dice.choice(("io", "cpu", "aio", "frail", "hand", "hand", "hand"))
        if group == "hand" and sum(pool.group == "hand" for pool in self.scheduler.pools()) >= 4:
            return
        self._try("add", self.scheduler.add_pool, group)

    def pause(self):
        self._try("pause", self.scheduler.pause)
        time.sleep(self.dice.uniform(0.01, 0.2))
        self._try("resume", self.scheduler.resume)

    def _job(self):
        alive = self.dice.choice(self.submitters).alive
        return self.dice.choice(alive[-20:] or [None])

    def cancel(self):
        job = self._job()
        if job is not None and job[1].cancel() and job[1].cancelled():
            pen.write("C", job[0])
            self.note("cancel", job[0])

    def interrupt(self):
        job = self._job()
        if job is not None and job[1].interrupt("the nemesis wants it"):
            self.note("interrupt", job[0])

    def raising_observer(self):
        dice = random.Random(self.dice.random())

        def observer(event):
            if dice.random() < 0.5:
                raise RuntimeError("an observer raises")

        self.note("raising observer")
        self.later(self.dice.uniform(0.1, 0.6), self.scheduler.subscribe(observer))

    def full_disk(self):
        """Let every log record raise where it is logged."""
        self._log_to(FullDisk(), "log raises ENOSPC")

    def full_device(self):
        """Let every log record be written to a device that is full."""
        self._log_to(logging.FileHandler("/dev/full", delay=True), "log to a full device")

    def _log_to(self, handler, what):
        logger = logging.getLogger(LOGGER)
        logger.addHandler(handler)
        self.note(what)

        def undo():
            logger.removeHandler(handler)
            with contextlib.suppress(OSError):  # what it still held
                handler.close()

        self.later(self.dice.uniform(0.2, 1.5), undo)

    def turn_the_clock(self):
        seconds = self.dice.choice((-86400.0, -3600.0, -1.0, 1.0, 3600.0, 86400.0 * 365))
        self.clock.jump(seconds)
        self.note("clock jump", seconds)


class WallClock:
    """The wall clock of this process as Python code reads it through `time`, for the soak to turn."""

    def __init__(self):
        self.offset = 0.0
        self._true = {name: getattr(time, name) for name in ("time", "time_ns", "localtime", "gmtime")}
        true = self._true
        time.time = lambda: true["time"]() + self.offset
        time.time_ns = lambda: true["time_ns"]() + int(self.offset * 1e9)
        time.localtime = lambda *s: true["localtime"](*(s or (time.time(),)))
        time.gmtime = lambda *s: true["gmtime"](*(s or (time.time(),)))

    def jump(self, seconds):
        """Turn the clock, staying within the years that `datetime` can tell."""
        self.offset += seconds
        if abs(self.offset) > _TEN_YEARS:
            self.offset = 0.0

    def give_back(self):
        """Let the clock be right again."""
        for name, function in self._true.items():
            setattr(time, name, function)
