"""Waits as long as the other side asks for: `Retry-After`, as errors and responses carry it.

RFC 9110 §10.2.3 knows two forms: seconds, and an HTTP date (§5.6.7). A policy reads no clock, so a date counts from
the `Date` of the same response: then it does not matter either how wrong the clocks on both sides are.
"""

from __future__ import annotations

from email.utils import mktime_tz, parsedate_tz
from itertools import islice
from typing import Any

import attrs

from .checks import has_method, is_finite, number, true_or_false
from .contracts import FailureView, RetryPolicy, Uniform
from .retry import STORY_MAX, story
from .wrapped import Wrapping


@attrs.frozen
class HonourRetryAfter(Wrapping):
    """Wait at least as long as the failure asks for, and else as `policy` does, which also decides whether.

    What the failure asks for is its attribute ``retry_after``, or the header ``Retry-After`` of its ``headers`` or
    its ``response.headers``: seconds as a number, as text or as a timedelta, or an HTTP date that the header
    ``Date`` beside it turns into seconds. With `by_cause`, what it was raised from is looked at too. A value that
    ``retry_if_result`` rejected is looked at like an error.

    What cannot be read, a date without a ``Date`` among it, is as if nothing had been said. What is longer than
    `ceiling` seconds is not worth waiting for, and coming earlier would be impolite: the job gives up.
    The wait counts against the policy's ``elapsed_max``.
    """

    policy: RetryPolicy = attrs.field(validator=has_method("retry_after"))
    ceiling: float = attrs.field(default=3600.0, kw_only=True, validator=number(above=0))
    by_cause: bool = attrs.field(default=False, kw_only=True, validator=true_or_false)

    def retry_after(self, failure: FailureView, uniform: Uniform) -> float | None:
        """Return what is longer, the wrapped policy's wait or what was asked for. Cost: 2 µs, for a date 6 µs, beside its answer."""
        delay = self.policy.retry_after(failure, uniform)
        if delay is None:
            return None
        asked = self._asked(failure)
        if asked is None or asked <= delay:
            return delay
        return asked if asked <= self.ceiling and self.in_time(failure, asked) else None

    def _asked(self, failure: FailureView) -> float | None:
        if failure.rejected:
            return asked_by(getattr(failure.error, "value", None))
        errors = islice(story(failure.error), STORY_MAX) if self.by_cause else (failure.error,)
        return next((asked for error in errors if (asked := asked_by(error)) is not None), None)


def asked_by(thing: object) -> float | None:
    """Return how many seconds an error or a response asks to wait; None when it does not, or nobody can tell."""
    try:
        response = getattr(thing, "response", None)
        headers = [getattr(each, "headers", None) for each in (thing, response)]
        asked: list[tuple[object, object]] = [(getattr(thing, "retry_after", None), None)]
        asked += [
            (_header(each, "Retry-After"), _header(each, "Date")) for each in headers if each is not None
        ]
        date = next((date for _, date in asked if date is not None), None)
        found = (_seconds(given, own_date or date) for given, own_date in asked)
        return next((seconds for seconds in found if seconds is not None), None)
    except Exception:  # an attribute of theirs raised, or a header is no header
        return None


def _header(headers: Any, name: str) -> object:
    """Return a header whatever its case: a plain dict may hold it in lower case."""
    found = headers.get(name)
    return headers.get(name.lower()) if found is None else found


def _seconds(given: Any, date: object) -> float | None:
    """Return what was given as seconds of at least 0, None if that cannot be."""
    if isinstance(given, bytes):
        given = given.decode("ascii")
    if isinstance(given, str):
        text = given.strip()
        if text.replace(".", "", 1).isdecimal():
            given = float(text)
        else:
            return _until(text, date)
    elif hasattr(given, "total_seconds"):
        given = given.total_seconds()
    if isinstance(given, bool) or not isinstance(given, int | float) or not is_finite(given):
        return None
    return max(0.0, float(given))


def _until(text: str, date: object) -> float | None:
    """Return the seconds from one HTTP date until another."""
    if isinstance(date, bytes):
        date = date.decode("ascii")
    until, now = parsedate_tz(text), parsedate_tz(date) if isinstance(date, str) else None
    return None if until is None or now is None else max(0.0, float(mktime_tz(until) - mktime_tz(now)))
