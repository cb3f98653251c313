"""Judges a history from outside: it knows what was submitted, what ran and what the caller was told, and no scheduler.

    python tests/soak/checker.py FOLDER [BOUND]

Each rule is a function from the `History` to complaints, sentences that name the job. What is claimed:

1. each job that was accepted has one end, told once by its callback and once by `result()`, and the same; one
   that was refused never ran;
2. no job starts more often than the attempts that its handle tells, there are no more of these than allowed, none
   starts before the one before it had ended, and none without a failure that may be tried again;
3. nothing starts after its end, but for a call that was handed to a worker before it;
4. a value comes from a run of that very job that ended well, an error from a cause that there is;
5. of two jobs of one group the more urgent starts first, but for the bound; and by the handles' own account, where
   they tell when a job was chosen, without exception;
6. of a key at most one job runs, of a limit at most so many attempts;
7. every snapshot of the ledger, and the last, agrees with what was seen;
8. nothing starts before its delay, or is chosen when it was not to wait for so long; what ends by a limit had that
   limit, and it had passed; what is cancelled somebody had asked for (`reasons`).
"""

from __future__ import annotations

import bisect
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

import attrs
from history import read
from reasons import ends_have_reasons

#: Seconds by which a less urgent job may start before a more urgent one that waits. By design it is what lies ahead
#: at a worker, 2 ms of work and the 5 ms after which that is taken back; the rest is for threads that have been
#: given a job and wait for a processor before they can write that down.
BOUND = 0.5
#: Seconds by which a start may be later than its own end: what was handed over, and stood still.
LATE = 3.0
#: How much later than it happened something may be written down where only the order of two threads decides.
SLACK = 0.001
#: Errors after which there may be another attempt.
TRIED_AGAIN = {"Boom", "MemoryError", "WorkerDied", "RunTimeout"}
#: Attempts that ended like this may never have reached the job's function.
MAY_NOT_BEGIN = {
    "WorkerDied",
    "RunTimeout",
    "DeadlineExceeded",
    "JobInterrupted",
    "CancelledError",
    "PoolBroken",
    "MemoryError",
}
#: Attempts that ended like this had a worker that can begin nothing any more.
DIED = {"WorkerDied", "PoolBroken"}
#: Ends of a job that the scheduler gives, by state.
BY_STATE = {
    "failed": {"Boom", "MemoryError", "WorkerDied", "RunTimeout", "PoolBroken"},
    "cancelled": {"JobInterrupted", "CancelledError", "DuplicateJob"},
    "expired": {"QueueTimeout", "DeadlineExceeded"},
    "shed": {"JobShed"},
    "succeeded": {""},
}
#: What a job that is made only to rest may fail with: what befalls its worker.
BEFALLS = {"WorkerDied", "PoolBroken", "MemoryError"}


@attrs.define
class Attempt:
    """One attempt, as the handle tells it."""

    number: int
    started: float
    ended: float | None
    error: str


@attrs.define
class Story:
    """One submission: what was asked for, and all that was seen of it."""

    whose: str
    at: float
    group: str
    priority: int
    attempts_max: int
    marks: dict[str, str]
    deed: str
    accepted: float | None = None
    job_id: str = ""
    refused: str | None = None
    starts: list[tuple[float, str]] = attrs.Factory(list)
    returns: dict[str, tuple[float, str]] = attrs.Factory(dict)
    ends: list[tuple[float, str, str, list[Attempt]]] = attrs.Factory(list)
    outcomes: list[tuple[str, str]] = attrs.Factory(list)
    cancelled: list[float] = attrs.Factory(list)

    @property
    def end(self):
        """When it ended, and how: moment, state, error, attempts."""
        return self.ends[0]

    @property
    def simple(self):
        """Whether nothing but its priority decides when it starts."""
        return not ({"delay", "tenant", "key"} & set(self.marks))


@attrs.define
class History:
    """All that was written down."""

    stories: dict[str, Story] = attrs.Factory(dict)
    ledgers: list[tuple[float, float, dict[str, int]]] = attrs.Factory(list)
    faults: list[tuple[float, str, tuple[str, ...]]] = attrs.Factory(list)
    facts: dict[str, list[str]] = attrs.Factory(dict)
    strays: list[str] = attrs.Factory(list)

    @classmethod
    def of(cls, records):
        """Put records together, whatever their order."""
        history = cls()
        for record in sorted(records, key=lambda record: (record.letter != "S", record.at)):
            history._take(record)
        return history

    def _take(self, record):
        letter, whose, at, rest = record
        if letter == "S":
            group, priority, attempts, marks, deed = rest
            pairs = dict(mark.split("=") for mark in marks.split(",") if "=" in mark)
            self.stories[whose] = Story(whose, at, group, int(priority), int(attempts), pairs, deed)
        elif letter == "L":
            self.ledgers.append((float(rest[0]), at, json.loads(rest[1])))
        elif letter == "F":
            self.faults.append((at, whose, rest))
        elif letter == "M":
            self.facts[whose] = list(rest)
        elif letter == "G":
            pass  # for who looks at what the process holds
        elif whose in self.stories:
            _tell(self.stories[whose], letter, at, rest)
        elif whose != "warm-up":
            self.strays.append(f"{whose}: a record {letter}, and nobody submitted it")

    def jobs(self):
        """Return the stories of each job: several submissions of one key may share one."""
        shared = defaultdict(list)
        for story in self.stories.values():
            if story.accepted is not None:
                shared[story.job_id].append(story)
        return shared


def _tell(story, letter, at, rest):
    if letter == "A":
        story.accepted, story.job_id = at, rest[0]
    elif letter == "R":
        story.refused = rest[0]
    elif letter == "B":
        story.starts.append((at, rest[0]))
    elif letter == "E":
        story.returns[rest[0]] = at, rest[1]
    elif letter == "C":
        story.cancelled.append(at)
    elif letter == "D":
        story.ends.append((at, rest[1], rest[2], _attempts(rest[3])))
    elif letter == "O":
        story.outcomes.append((rest[0], rest[1]))


def _attempts(word):
    parts = [part.split(":") for part in word.split(",") if part]
    return [
        Attempt(int(n), float(began), float(ended) if ended else None, error)
        for n, began, ended, error in parts
    ]


# 1 to 4: each job by itself


def one_end_each(history):
    """Complain about jobs that are lost, that end twice, or whose callback and result disagree."""
    for story in history.stories.values():
        who = f"{story.whose} ({story.deed} in {story.group})"
        if story.refused is not None:
            if story.starts or story.ends or story.accepted is not None:
                yield f"{who} was refused with {story.refused}, and yet it was accepted, started or ended"
        elif story.accepted is None:
            yield f"{who} was submitted, and submit never returned"
        elif len(story.ends) != 1:
            yield f"{who} was accepted and has {len(story.ends)} ends"
        elif len(story.outcomes) != 1:
            yield f"{who} ended {story.end[1]}, and its result was had {len(story.outcomes)} times"


def starts_have_reasons(history):
    """Complain about jobs that start more often than they may, or again before the last attempt had ended."""
    for stories in history.jobs().values():
        runs = [story for story in stories if story.starts]
        if len(runs) > 1:
            yield f"{', '.join(s.whose for s in runs)} are one job, and more than one of them ran"
        for story in runs or stories[:1]:
            if story.ends:
                yield from _starts_of(story, max(each.attempts_max for each in stories))


def _starts_of(story, attempts_max):
    _, state, _, attempts = story.end
    who, starts = story.whose, sorted(story.starts)
    if [each.number for each in attempts] != list(range(1, len(attempts) + 1)):
        yield f"{who} has attempts {[each.number for each in attempts]}"
    if len(attempts) > attempts_max:
        yield f"{who} had {len(attempts)} attempts, {attempts_max} were allowed"
    if len(starts) > len(attempts):
        yield f"{who} started {len(starts)} times, and its handle tells {len(attempts)} attempts"
        return
    for attempt in attempts[:-1]:
        if attempt.error not in TRIED_AGAIN:
            yield f"{who} was tried again after attempt {attempt.number} ended with {attempt.error or 'a value'}"
    at = 0
    for number, (moment, _) in enumerate(starts):
        # The attempt that this start belongs to: an earlier one that ended before it may never have begun, unless
        # that many are needed. What begins late after a limit is another rule's.
        spare = len(attempts) - len(starts) + number
        while at < spare and _over_by(attempts[at], moment) and _may_not_begin(attempts, at, state):
            at += 1
        if at < len(attempts) and attempts[at].error in DIED and _over_by(attempts[at], moment - SLACK):
            yield f"{who} started at {moment:.3f}, and the worker of its attempt {at + 1} had died before"
        if at and (attempts[at - 1].ended is None or moment < attempts[at - 1].ended - SLACK):
            yield f"{who} started attempt {at + 1} at {moment:.3f}, before the one before it had ended"
        at += 1
    rest = [k for k in range(at, len(attempts)) if not _may_not_begin(attempts, k, state)]
    if rest:
        yield f"{who} has an attempt {rest[0] + 1} that nobody saw start, and it ended with {attempts[rest[0]].error or 'a value'}"


def _over_by(attempt, moment):
    return attempt.ended is not None and attempt.ended < moment


def _may_not_begin(attempts, at, state):
    if at == len(attempts) - 1 and state == "succeeded":
        return False
    return attempts[at].error in MAY_NOT_BEGIN


def nothing_starts_after_its_end(history):
    """Complain about starts after the end, but for those whose worker had been handed the call before it."""
    for story in history.stories.values():
        if not story.ends:
            continue
        at, state, _, attempts = story.end
        late = [moment for moment, _ in story.starts if moment > at]
        handed = bool(attempts) and state in ("expired", "failed", "cancelled") and late[:1] == late
        if late and not (handed and late[0] - at <= LATE):
            yield f"{story.whose} started {late[0] - at:.3f} s after it had ended as {state}"
        for moment in story.cancelled:
            if any(start > moment for start, _ in story.starts):
                yield f"{story.whose} started after cancel() had returned True"
        if story.cancelled and state != "cancelled":
            yield f"{story.whose} ended as {state}, and cancel() had returned True"


def outcomes_are_true(history):
    """Complain about values that no run returned, and errors that have no cause."""
    for stories in history.jobs().values():
        runs = [story for story in stories if story.starts]
        for story in stories:
            if story.ends and story.outcomes:
                yield from _outcome_of(story, runs[0] if runs else story)


def _outcome_of(story, runs):
    at, state, error, _ = story.end
    kind, what = story.outcomes[0]
    if error not in BY_STATE.get(state, ()):
        yield f"{story.whose} ended as {state} with {error or 'no error'}"
    if state == "succeeded":
        if kind != "value" or what != runs.whose:
            yield f"{story.whose} succeeded, and its result was {kind} {what}"
        last = max(runs.starts, default=(0.0, ""))
        if runs.returns.get(last[1], (0.0, ""))[1] != "ok":
            yield f"{story.whose} succeeded, and its last run did not return"
        elif runs.returns[last[1]][0] > at:
            yield f"{story.whose} ended before its run had returned"
    elif kind != "error" or what != error:
        yield f"{story.whose} ended with {error}, and its result was {kind} {what}"
    if state == "failed" and runs.deed in ("rest", "spin", "large") and error not in BEFALLS:
        yield f"{runs.whose} only does {runs.deed}, and failed with {error}"
    if error == "Boom" and not any(how == "Boom" for _, how in runs.returns.values()):
        yield f"{story.whose} ended with Boom, which none of its runs raised"


# 5: priorities


def inversions(history, bound, *, told=False):
    """Return pairs (a start, whose) for which a more urgent job waited all the time from `bound` before to `bound` after.

    With `told`, a start is when the handle says that the job was chosen; of threads and coroutines only, for what a
    worker process runs is timed there, and of jobs without a key, for submissions of one key share a handle.
    """
    by_group = defaultdict(list)
    for story in history.stories.values():
        if story.accepted is not None and story.ends and not (told and _hearsay(history, story)):
            by_group[story.group].append(story)
    still = (lambda _moment: False) if told else stand_still(history)
    found = []
    for stories in by_group.values():
        waits = sorted(
            (edge, change, story.priority)
            for story in stories
            if story.simple
            for begin, end in [(story.accepted + bound, _waited_until(story, told=told) - bound)]
            if begin < end
            for edge, change in ((begin, 1), (end, -1))
        )
        starts = sorted(
            (at, story.priority, story.whose)
            for story in stories
            for at in _all_starts(story, told=told)
            if not still(at)
        )
        found += _overtakers(waits, starts)
    return found


def _hearsay(history, story):
    far = history.facts.get("far", [""])[0].split(",")
    return story.group in far or "key" in story.marks


def _overtakers(waits, starts):
    waiting = Counter()
    at = 0
    for moment, priority, whose in starts:
        while at < len(waits) and waits[at][0] <= moment:
            waiting[waits[at][2]] += waits[at][1]
            at += 1
        if any(count > 0 and urgent < priority for urgent, count in waiting.items()):
            yield moment, whose


def _waited_until(story, *, told):
    """Return until when a job surely waited: its first start, or the limit that ended it without one.

    When else it was ended without a start is not seen: its callback tells of it later.
    """
    starts = _all_starts(story, told=told)
    if starts:
        return min(starts)
    limits = [float(story.marks[name]) for name in ("queue_timeout", "deadline") if name in story.marks]
    return min(story.end[0], story.at + min(limits)) if limits else story.accepted


def _all_starts(story, *, told):
    if not told:
        return [at for at, _ in story.starts]
    return [attempt.started for attempt in story.end[3]]


#: What begins and what ends a time in which somebody stood still.
_STILL = {"stop all": "continue all", "stop worker": "continue worker", "stalled": "goes on"}


def stand_still(history):
    """Return whether a moment is in, or shortly after, a time in which a process stood still, stopped or starved.

    A thread of the process that only sleeps tells when it was starved: on a busy machine that happens for as long.
    """
    begun, spans = {}, []
    for at, what, _ in sorted(history.faults):
        if what in _STILL:
            begun[_STILL[what]] = at
        elif what in begun:
            spans.append((begun.pop(what) - SLACK, at + 2 * BOUND))
    merged = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))

    def still(moment):
        at = bisect.bisect(merged, (moment, float("inf")))
        return at > 0 and moment <= merged[at - 1][1]

    return still


def worst_inversion(history, *, told=False):
    """Return the longest time, within 1 ms, by which a less urgent job was first; 0.0 where there was none."""
    low, high = 0.0, 4.0
    if not inversions(history, 1e-4, told=told):
        return 0.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if inversions(history, middle, told=told) else (low, middle)
    return high


def priorities_hold(history, bound=BOUND):
    """Complain about starts that overtook something more urgent by more than the bound."""
    for moment, whose in inversions(history, bound):
        yield f"{whose} started at {moment:.3f} while something more urgent waited, {bound} s before and after"


def choices_are_exact(history):
    """Complain about any less urgent job that was chosen before a more urgent one, by the handles' own account.

    And about accounts that cannot be true: a job that began before it had been chosen.
    """
    for moment, whose in inversions(history, SLACK, told=True):
        yield f"{whose} was chosen at {moment:.4f} while something more urgent waited"
    for story in history.stories.values():
        if story.ends and story.starts and not _hearsay(history, story):
            first, attempts = min(story.starts)[0], story.end[3]
            if attempts and first < attempts[0].started - SLACK:
                yield f"{story.whose} began {attempts[0].started - first:.4f} s before it had been chosen"


# 6: keys and limits


def one_of_a_key(history):
    """Complain about two jobs of one key that ran at the same time."""
    by_key = defaultdict(list)
    for stories in history.jobs().values():
        for story in stories:
            if "key" in story.marks and story.ends:
                by_key[story.group, story.marks["key"]] += _attempted(story)
    for (group, key), spans in by_key.items():
        for one, two in _overlapping(sorted(spans), 1):
            yield f"{one} and {two} ran at the same time, both under {key} in {group}"


def limits_hold(history):
    """Complain about more runs at the same time than the limit on their tenant allows."""
    most = int(history.facts.get("limit", ["0"])[0])
    spans = [
        (begin, story.returns.get(token, (_end_of(story, begin), ""))[0], story.whose)
        for story in history.stories.values()
        if "tenant" in story.marks and story.ends
        for begin, token in story.starts
    ]
    for one, two in _overlapping(sorted(spans), most) if most else ():
        yield f"{one} and {two} ran beside {most - 1} others of their tenant, {most} may run at once"


def _attempted(story):
    """Yield the runs of a job, each as far as the attempt counted."""
    for begin, token in story.starts:
        returned = story.returns.get(token, (float("inf"), ""))[0]
        yield begin, min(returned, _end_of(story, begin)), story.whose


def _end_of(story, begin):
    ends = [attempt.ended for attempt in story.end[3] if attempt.ended is not None and attempt.ended >= begin]
    return min(ends, default=begin)


def _overlapping(spans, most):
    running = []
    for begin, end, whose in spans:
        running = [(until, other) for until, other in running if until > begin]
        if len(running) >= most:
            yield running[-1][1], whose
        running.append((end, whose))


# 7: the ledger

_ALIVE = ("delayed", "waiting", "backing_off", "running")
_ENDED = ("succeeded", "failed", "cancelled", "expired", "shed")


def ledger_agrees(history):
    """Complain about snapshots that cannot be true, and a last one that is not what was seen."""
    jobs = history.jobs()
    submitted = sorted(story.at for story in history.stories.values())
    accepted = sorted(min(story.accepted for story in stories) for stories in jobs.values())
    ended = sorted(
        min(at for s in stories for at, *_ in s.ends) for stories in jobs.values() if stories[0].ends
    )
    for before, after, ledger in history.ledgers:
        settled = sum(ledger[name] for name in _ENDED)
        if ledger["submitted"] != settled + sum(ledger[name] for name in _ALIVE):
            yield f"a snapshot at {after:.3f} does not add up: {ledger}"
        least, most = bisect.bisect(accepted, before), bisect.bisect(submitted, after)
        if not least <= ledger["submitted"] <= most:
            yield f"a snapshot at {after:.3f} says {ledger['submitted']} submitted; seen {least} to {most}"
        if settled < bisect.bisect(ended, before):
            yield f"a snapshot at {after:.3f} says {settled} settled; seen {bisect.bisect(ended, before)}"
    if "closed" in history.facts:
        yield from _last_ledger(history, jobs)


def _last_ledger(history, jobs):
    last = json.loads(history.facts["closed"][0])
    seen = Counter(stories[0].end[1] for stories in jobs.values() if stories[0].ends)
    told = {name: last[name] for name in _ENDED}
    if told != {name: seen[name] for name in _ENDED}:
        yield f"the last ledger says {told}; seen {dict(seen)}"
    if last["submitted"] != len(jobs):
        yield f"the last ledger says {last['submitted']} submitted; seen {len(jobs)}"


def there_was_a_reason(history):
    """Complain about ends without a reason, and starts at the wrong time."""
    yield from ends_have_reasons(history, SLACK, BOUND, stand_still(history))


def it_came_to_rest(history):
    """Complain when jobs did not settle by themselves once the faults had stopped."""
    if history.facts.get("drained") != ["True"]:
        yield "when the faults had stopped, not every job settled by itself within a minute"
    if "closed" not in history.facts:
        yield "the scheduler never closed"


RULES = (
    one_end_each,
    starts_have_reasons,
    nothing_starts_after_its_end,
    outcomes_are_true,
    choices_are_exact,
    one_of_a_key,
    limits_hold,
    ledger_agrees,
    there_was_a_reason,
    it_came_to_rest,
)


def complaints(history, bound=BOUND):
    """Return every complaint, by rule."""
    found = {rule.__name__: list(rule(history)) for rule in RULES}
    found["priorities_hold"] = list(priorities_hold(history, bound))
    found["strays"] = list(history.strays)
    return {name: sentences for name, sentences in found.items() if sentences}


def counts(history):
    """Return what happened, in numbers."""
    jobs = history.jobs()
    states = Counter(stories[0].end[1] for stories in jobs.values() if stories[0].ends)
    errors = Counter(stories[0].end[2] for stories in jobs.values() if stories[0].ends and stories[0].end[2])
    late = [
        moment - story.end[0]
        for story in history.stories.values()
        if story.ends
        for moment, _ in story.starts
        if moment > story.end[0]
    ]
    starts, still = [at for story in history.stories.values() for at, _ in story.starts], stand_still(history)
    return {
        "submissions": len(history.stories),
        "jobs": len(jobs),
        "starts": len(starts),
        "starts not judged by what was seen of priorities": sum(map(still, starts)),
        "refused": dict(Counter(s.refused for s in history.stories.values() if s.refused is not None)),
        "states": dict(states),
        "errors": dict(errors),
        "faults": dict(Counter(what for _, what, _ in history.faults if what not in _NO_FAULTS)),
        "stalls": _stalls(history),
        "late starts": {"count": len(late), "latest": round(max(late, default=0.0), 4)},
        "worst inversion, seen": round(worst_inversion(history), 3),
        "worst inversion, told": round(worst_inversion(history, told=True), 3),
    }


def _stalls(history):
    """Return how often the process was starved, and for how many seconds in all."""
    at = {what: [moment for moment, kind, _ in sorted(history.faults) if kind == what] for what in _NO_FAULTS}
    spans = [end - begin for begin, end in zip(at["stalled"], at["goes on"], strict=False)]
    return {
        "count": len(spans),
        "seconds": round(sum(spans), 2),
        "longest": round(max(spans, default=0.0), 3),
    }


#: What the machine did, and no nemesis.
_NO_FAULTS = ("stalled", "goes on")


def judged(folder, bound=BOUND):
    """Return (numbers, complaints) for a folder of history files."""
    records, torn = read(Path(folder))
    history = History.of(records)
    numbers = counts(history)
    numbers["records"], numbers["torn"] = len(records), torn
    return numbers, complaints(history, bound)


def main():
    """Judge a folder; exit with 1 when there is a complaint."""
    numbers, found = judged(sys.argv[1], *map(float, sys.argv[2:3]))
    print(json.dumps({"numbers": numbers, "complaints": found}, indent=1))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
