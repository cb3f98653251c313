"""The judge's rules of when a job may start and end: not before its delay, not without what it ended with, not too soon.

Submissions of one key share a job, so only the first one's options count; which that is nobody can see: these are left out.
"""

from __future__ import annotations

#: Which limit each error of time is about.
LIMITS = {"QueueTimeout": "queue_timeout", "DeadlineExceeded": "deadline", "RunTimeout": "run_timeout"}
#: What somebody writes down who asked for a job's end.
ASKED = ("cancel", "interrupt")


def ends_have_reasons(history, slack, bound, still):
    """Complain about jobs that ended by a limit they had not or that had not passed, or because nobody asked for it.

    `still` says of a moment whether a process stood still then; `bound` is what a start may be late by otherwise.
    """
    far = history.facts.get("far", [""])[0].split(",")
    asked = {rest[0] for _, what, rest in history.faults if what in ASKED}
    for story in history.stories.values():
        if "key" in story.marks or not story.ends:
            continue
        yield from _cancelled(story, asked)
        yield from _timed_out(story, slack)
        yield from _failed(story)
        if story.starts and min(story.starts)[0] < story.at + float(story.marks.get("delay", 0.0)) - slack:
            yield f"{story.whose} started before its delay of {story.marks['delay']} s was over"
        if story.group not in far:
            yield from _in_time(story, slack, bound, still)


def _cancelled(story, asked):
    if story.end[1] == "cancelled" and story.whose not in asked and not story.cancelled:
        yield f"{story.whose} ended as cancelled, and nobody had asked for it"


def _timed_out(story, slack):
    at, _, error, attempts = story.end
    name = LIMITS.get(error)
    if name is None:
        return
    if name not in story.marks:
        yield f"{story.whose} ended with {error}, and had no {name}"
    elif name != "run_timeout" and at < story.at + float(story.marks[name]) - slack:
        yield f"{story.whose} ended with {error} after {at - story.at:.3f} s, and {name} was {story.marks[name]}"
    if error == "QueueTimeout" and attempts:
        yield f"{story.whose} ended with {error}, and had {len(attempts)} attempts"


def _failed(story):
    _, state, error, attempts = story.end
    if error == "PoolBroken":  # a group without a pool fails what waits for it, too
        return
    if state == "failed" and (not attempts or attempts[-1].error != error):
        told = (attempts[-1].error or "a value") if attempts else "none"
        yield f"{story.whose} failed with {error}, and its last attempt ended with {told}"


def _in_time(story, slack, bound, still):
    """Complain about what the handle tells of when attempts were chosen, which is timed in one process only."""
    for attempt in story.end[3]:
        ran = None if attempt.ended is None else attempt.ended - attempt.started
        limit = float(story.marks.get("run_timeout", "inf"))
        if attempt.error == "RunTimeout" and ran is not None and ran < limit - slack:
            yield f"{story.whose} ran into its run_timeout after {ran:.3f} s, and that was {limit}"
    waits = [float(story.marks[name]) for name in ("queue_timeout", "deadline") if name in story.marks]
    if waits and story.accepted is not None and story.end[3]:
        chosen = story.end[3][0].started
        if chosen > story.accepted + min(waits) + bound and not still(chosen):
            yield f"{story.whose} was chosen {chosen - story.at:.3f} s after it came, and was to wait {min(waits)} s at most"
