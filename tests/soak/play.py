"""The process that is soaked: one scheduler of four kinds of pools, who submits to it, and who meddles with it.

    python tests/soak/play.py FOLDER SECONDS SEED

It keeps nothing of what happened: that goes to the history. It prints a word a line to whoever runs it: `ready`
(baseline: nothing of the scheduler's is alive), `busy`, `calm`, `closed`.
"""

# No more than this at the top: every worker process imports the main module.
import sys

if __name__ == "__main__":
    import faulthandler
    import gc
    import itertools
    import json
    import os
    import random
    import signal
    import threading
    import time
    import tracemalloc
    from collections import deque
    from contextlib import suppress
    from pathlib import Path

    import jobs
    from deeds import Meddler
    from history import FOLDER, attempts_told, now, pen

    from policies import FixedBackoff, ShedLowest
    from pools import AsyncioPool, ProcessPool, Recycle, ThreadPool
    from scheduler import Limit, PoolGroup, RunTimeout, Scheduler, SchedulerError, WorkerDied

#: Attempts of a job that is tried again.
ATTEMPTS_MAX = 4
#: Attempts of one tenant's jobs that may run at once.
LIMIT = 3
PRIORITIES = (0, 10, 20, 20, 20, 30, 40)
#: Jobs a second on average, and the deeds of each group with weights; a deed is (name, least, most, options).
LOAD = {
    "io": (
        110.0,
        (
            (60, "rest", 0.0, 0.05, {}),
            (15, "fail_sometimes", 0.1, 0.9, {}),
            (1, "hang_in_thread", 0.5, 2.0, {"run_timeout": 0.1}),
            (3, "take_memory", 1, 30, {}),
        ),
    ),
    "cpu": (
        60.0,
        (
            (60, "rest", 0.0, 0.01, {}),
            (30, "spin", 0.0, 0.004, {}),
            (15, "fail_sometimes", 0.1, 0.9, {}),
            (0.3, "hang_in_process", 30.0, 60.0, {"run_timeout": 0.2}),
            (0.3, "leave", 1, 9, {}),
            (1, "eat_memory", 64, 256, {}),
            (3, "large", 1, 400, {}),
        ),
    ),
    "aio": (
        90.0,
        (
            (60, "rest", 0.0, 0.1, {}),
            (15, "fail_sometimes", 0.1, 0.9, {}),
            (0.5, "refuse_to_end", 0.3, 1.0, {"run_timeout": 0.1}),
            (0.5, "hold_the_loop", 0.01, 0.1, {}),
        ),
    ),
    "frail": (15.0, ((20, "rest", 0.0, 0.02, {}), (1, "leave", 1, 9, {}), (3, "large", 1, 300, {}))),
    "hand": (25.0, ((1, "rest", 0.0, 0.08, {}),)),
}


def groups():
    """Return every kind of pool: three that scale, one whose workers are retired all the time, one moved by hand."""
    return (
        PoolGroup("io", ThreadPool(slots=3), max_pools=4, dedicated=True, stuck_after=0.5),
        PoolGroup("cpu", ProcessPool(slots=2), max_pools=2),
        PoolGroup("aio", AsyncioPool(slots=12), max_pools=2, dedicated=True, stuck_after=0.5),
        PoolGroup(
            "frail",
            ProcessPool(slots=1, start_method="spawn", prefetch=0, recycle=Recycle(jobs=300)),
            max_pools=2,
        ),
        PoolGroup("hand", ThreadPool(slots=2), dedicated=True),
    )


class Submitter:
    """One thread that submits by the clock, in calm and in bursts, and writes down what it does and sees."""

    def __init__(self, scheduler, number, seed, pace):
        self.scheduler, self.number = scheduler, number
        self.dice = random.Random(seed * 1000 + number)
        self.pace = pace
        self.alive = []
        self.count = 0
        self.again = FixedBackoff(
            delay=0.02, attempts_max=ATTEMPTS_MAX, retry_on=(jobs.Boom, MemoryError, WorkerDied, RunTimeout)
        )

    def run(self, until):
        """Submit until then."""
        burst_ends, last = 0.0, now()
        while (moment := now()) < until:
            since, last = min(0.1, moment - last), moment
            if moment > burst_ends + 4 and self.dice.random() < 0.003:
                burst_ends = moment + self.dice.uniform(0.2, 1.5)
            factor = 4 if moment < burst_ends else 0.75
            for group, (rate, deeds) in LOAD.items():
                for _ in range(_poisson(self.dice, rate * factor * self.pace * since)):
                    self.submit(group, deeds)
            self.collect()
            time.sleep(0.01)

    def submit(self, group, deeds):
        """Submit one job, whatever becomes of it."""
        dice = self.dice
        weights = [deed[0] for deed in deeds]
        _, deed, least, most, options = dice.choices(deeds, weights)[0]
        argument = dice.randint(least, most) if isinstance(least, int) else dice.uniform(least, most)
        options, marks = self._options(dict(options))
        self.count += 1
        whose = f"{self.number}-{self.count}"
        attempts = 1 if options["retry"] is None else ATTEMPTS_MAX
        pen.write("S", whose, group, options["priority"], attempts, ",".join(marks) or "-", deed)
        call = jobs.coroutine if group == "aio" else jobs.run
        try:
            bound = self.scheduler.with_options(tags=group, **options)
            handle = bound.submit(call, whose, deed, argument)
        except SchedulerError as error:
            pen.write("R", whose, type(error).__name__)
            return
        pen.write("A", whose, handle.id)
        self._call_back(handle, whose)
        self.alive.append((whose, handle))

    def _options(self, options):
        dice = self.dice
        options["priority"] = dice.choice(PRIORITIES)
        options["retry"] = self.again if dice.random() < 0.8 else None
        draw = dice.random()
        if draw < 0.05:
            options["delay"] = dice.choice((0.01, 0.1, 0.5))
        elif draw < 0.10:
            options["queue_timeout"] = dice.choice((0.01, 0.1))
        elif draw < 0.15:
            options["deadline"] = dice.choice((0.02, 0.2, 1.0))
        elif draw < 0.20:
            options["tenant"] = "slow"
        elif draw < 0.25:
            options["key"] = f"key-{dice.randrange(8)}"
            options["on_conflict"] = dice.choice(("join", "join", "reject", "replace"))
        told = ("delay", "queue_timeout", "deadline", "run_timeout", "tenant", "key")
        return options, [f"{name}={options[name]}" for name in told if name in options]

    def _call_back(self, handle, whose):
        draw = self.dice.random()
        nap = self.dice.uniform(0.01, 0.08) if draw < 0.004 else 0.0

        def settled(handle):
            error = handle.outcome if handle.state.value != "succeeded" else None
            pen.write(
                "D",
                whose,
                handle.id,
                handle.state.value,
                type(error).__name__ if error is not None else "",
                attempts_told(handle.attempts),
            )
            if nap:
                pen.write("F", "slow callback", f"{nap:.3f}")
                time.sleep(nap)
            if draw > 0.995:
                pen.write("F", "raising callback")
                raise RuntimeError("a callback raises")

        handle.add_done_callback(settled)

    def collect(self):
        """Take the results of what has settled, and let go of it."""
        alive, self.alive = deque(self.alive), []
        while alive:
            whose, handle = alive.popleft()
            if handle.done():
                pen.write("O", whose, *told(handle))
            else:
                self.alive.append((whose, handle))
            handle = None  # an error's traceback keeps the frames of its readers, and would keep itself by this one

    def collect_all(self, until):
        """Wait for the rest."""
        while self.alive and now() < until:
            self.collect()
            time.sleep(0.01)


def told(handle):
    """Return what a caller learns from a handle: value or error, and whether the value is its own."""
    try:
        value = handle.result(timeout=0)
    except BaseException as error:  # a cancelled one is no Exception everywhere
        return "error", type(error).__name__
    finally:
        del handle  # or the error's traceback would keep this frame, and it the handle, and that the error
    return "value", value[0]


def _poisson(dice, mean):
    count, left = 0, dice.expovariate(1.0)
    while left < mean:
        count += 1
        left += dice.expovariate(1.0)
    return count


LEDGER = [
    "submitted",
    "delayed",
    "waiting",
    "backing_off",
    "running",
    "succeeded",
    "failed",
    "cancelled",
    "expired",
    "shed",
    "rejected",
    "retries",
]


def keep_ledger(scheduler, until):
    """Take snapshots for the history, between two moments each; and count Python's own memory, in blocks."""
    for turn in itertools.count():
        if now() >= until:
            return
        ledger_of(scheduler)
        if turn % 4 == 0:
            pen.write("G", "-", sys.getallocatedblocks())
        time.sleep(0.25)


def ledger_of(scheduler):
    """Write one snapshot down."""
    before = now()
    ledger = scheduler.statistics()
    counts = {name: getattr(ledger, name) for name in LEDGER}
    pen.write("L", "-", f"{before:.6f}", json.dumps(counts))


def tell_stalls(until):
    """Sleep, and write it down when that takes much too long: nobody else got a processor in time, either."""
    while (before := now()) < until:
        time.sleep(0.01)
        if now() - before > 0.06:
            pen.write("F", "stalled", at=before)
            pen.write("F", "goes on")


def trace_memory(seconds):
    """Say on standard error what Python's memory grew by, where, from a third of the soak to its end."""
    tracemalloc.start()
    time.sleep(seconds / 3)
    gc.collect()
    early = tracemalloc.take_snapshot()
    time.sleep(seconds * 0.6)
    gc.collect()
    late = tracemalloc.take_snapshot()
    for line in late.compare_to(early, "lineno")[:25]:
        print("grown:", line, file=sys.stderr, flush=True)


def say(word):
    """Tell whoever runs this how far it is."""
    print(word, flush=True)


def warm_up():
    """Use every kind of pool once, so that what stays for good (the fork server, say) is there before the baseline."""
    with Scheduler(*groups()) as scheduler:
        for group in LOAD:
            call = jobs.coroutine if group == "aio" else jobs.run
            scheduler.with_options(tags=group).submit(call, "warm-up", "rest", 0.001).result()


def storm(scheduler, seconds, seed, pace):
    """Submit and meddle for so long; then no more faults, and everything must settle by itself."""
    until = now() + seconds
    submitters = [Submitter(scheduler, number, seed, pace / 2) for number in range(2)]
    meddler = Meddler(scheduler, submitters, seed)
    deeds = [(submitter.run, (until,)) for submitter in submitters]
    deeds += [(meddler.run, (until,)), (keep_ledger, (scheduler, until)), (tell_stalls, (until,))]
    if os.environ.get("SOAK_TRACEMALLOC"):
        deeds.append((trace_memory, (seconds,)))
    threads = [
        threading.Thread(target=deed, args=arguments, name=f"soak-{deed.__name__}")
        for deed, arguments in deeds
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    meddler.make_good()
    say("calm")
    pen.write("M", "drained", scheduler.drain(60))
    for submitter in submitters:
        submitter.collect_all(now() + 10)
    ledger_of(scheduler)


def main(folder, seconds, seed, pace):
    """Play one soak."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    os.environ[FOLDER] = folder
    Path(folder).mkdir(parents=True, exist_ok=True)
    warm_up()
    say("ready")
    sys.stdin.readline()
    pen.write("M", "began", seed)
    pen.write("M", "limit", LIMIT)
    pen.write("M", "far", "cpu,frail")
    scheduler = Scheduler(
        *groups(),
        capacity=150,
        admission=ShedLowest(),
        limits=[Limit(tenant="slow", concurrency=LIMIT)],
        seed=seed,
        dead_letters=50,
        name="soak",
    )
    say("busy")
    storm(scheduler, seconds, seed, pace)
    report = scheduler.close(finish_within=20)
    final = {name: getattr(report.statistics, name) for name in LEDGER}
    pen.write("M", "closed", json.dumps(final), json.dumps([report.phase.value, len(report.unfinished)]))
    pen.write("M", "abandoned", len(report.abandoned_workers))
    del scheduler
    say("closed")
    with suppress(OSError):
        sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
