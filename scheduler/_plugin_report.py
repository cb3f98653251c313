"""What ``python -m scheduler plugins`` tells: all that can be made by name, and what becomes of it when it is.

Every plug-in is imported, made with its defaults, and put to the laws of `policies.testing` or the promises of
`pools.testing`. What goes wrong stays in its line.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from policies import testing
from policies.installed import OURS, PREFIX, Plugin, PluginError, key, near, said, scan, settings_of
from policies.plugins import POLICIES, needed, qualified
from pools.inline_pool import InlinePool
from pools.testing import check_pool

from ._plugins import POOLS

#: The declared exception: these speak of calls that run while others go on.
_NOT_INLINE = frozenset({"P2", "P5", "P6", "P9"})
#: What a pool is given that asks for a number of slots.
_SLOTS = 2

#: Least columns for settings beside the rest; with fewer they get lines of their own.
_BESIDE = 34


@attrs.frozen(kw_only=True)
class Finding:
    """One plug-in, and what it turned out to be."""

    kind: str
    name: str
    distribution: str
    version: str
    #: Each setting with its default as one would write it; None where there is no default.
    settings: Mapping[str, str | None]
    #: "passes", "needs settings", "fails" (a law or promise), "broken" (it cannot be made at all).
    verdict: str
    reason: str = ""

    @property
    def built_in(self) -> bool:
        """Whether it is one of ours."""
        return self.distribution == OURS

    @property
    def fine(self) -> bool:
        """Whether nothing is wrong with it, as far as can be told."""
        return self.verdict in ("passes", "needs settings")


def every(version: str) -> list[Plugin]:
    """Return every plug-in there is, kind by kind, ours first; ours have this version."""
    known = {*POLICIES.kinds, *POOLS.kinds}
    strays = [plugin for plugin in scan() if plugin.kind not in known]
    found = [*POLICIES.every(), *POOLS.every(), *strays]
    return [attrs.evolve(plugin, version=version) if plugin.built_in else plugin for plugin in found]


def examined(plugins: Sequence[Plugin]) -> list[Finding]:
    """Return what each of the plug-ins turns out to be. Cost: up to 0.3 s for each that is lawful."""
    return [_examined(plugin, plugins) for plugin in plugins]


def as_json(findings: Iterable[Finding]) -> str:
    """Return the findings as a JSON list of objects."""
    return json.dumps([attrs.asdict(finding) for finding in findings], indent=2)


def as_text(findings: Sequence[Finding], columns: int) -> str:
    """Return the findings as a table that is at most so wide, if that can be."""
    rows = [
        (f.name, "built in" if f.built_in else f"{f.distribution} {f.version}", f.verdict) for f in findings
    ]
    name, whose, verdict = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines: list[str] = []
    kind = ""
    for finding, row in zip(findings, rows, strict=True):
        if finding.kind != kind:
            kind = finding.kind
            lines += ["", kind] if lines else [kind]
        start = f"  {row[0]:<{name}}  {row[1]:<{whose}}  {row[2]:<{verdict}}"
        lines += _with_details(start, _details(finding), columns)
    bad = sum(not finding.fine for finding in findings)
    ending = f"{bad} of them {'is' if bad == 1 else 'are'} not in order" if bad else "all in order"
    ours = {f.version for f in findings if f.built_in}
    return "\n".join(
        [*lines, "", f"{len(findings)} plug-ins, {ending}; built in is {OURS} {', '.join(ours)}"]
    )


def _with_details(start: str, details: list[str], columns: int) -> list[str]:
    beside = len(start) + 2 + _BESIDE <= columns
    indent = " " * (len(start) + 2) if beside else " " * 6
    wrapped = [
        line
        for detail in details
        for line in textwrap.wrap(
            detail, columns, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )
    ]
    if beside and wrapped:
        wrapped[0] = f"{start}  {wrapped[0].strip()}"
        return wrapped
    return [start.rstrip(), *wrapped]


def _details(finding: Finding) -> list[str]:
    pairs = (name if default is None else f"{name}={default}" for name, default in finding.settings.items())
    return [text for text in (", ".join(pairs), finding.reason) if text]


# Examining


def _examined(plugin: Plugin, others: Sequence[Plugin]) -> Finding:
    catalogue = POOLS if plugin.kind in POOLS.kinds else POLICIES
    settings: Mapping[str, str | None] = {}
    verdict, reason = "broken", ""
    try:
        if plugin.kind not in catalogue.kinds and not plugin.trouble:
            kinds = (*POLICIES.kinds, *POOLS.kinds)
            raise plugin.broken(
                f"no plug-in is looked for in {PREFIX}{plugin.kind}{near(plugin.kind, kinds)}"
            )
        maker = plugin.load()
        settings = _defaults(maker, None)
        needs = [name for name, default in settings.items() if default is None]
        given = {"slots": _SLOTS} if plugin.kind in POOLS.kinds and needs == ["slots"] else {}
        if needs and not given:
            verdict, reason = "needs settings", f"needs: {', '.join(needs)}"
        else:
            made = catalogue.make(plugin, given)
            settings = _defaults(maker, made)
            verdict, reason = _judged(plugin, made)
    except PluginError as error:
        reason = error.reason
    except (TypeError, ValueError) as error:
        reason = said(error)
    return Finding(
        kind=plugin.kind,
        name=plugin.name,
        distribution=plugin.distribution,
        version=plugin.version,
        settings=settings,
        verdict=verdict,
        reason="; ".join(filter(None, (reason, _namesakes(plugin, others)))),
    )


def _judged(plugin: Plugin, made: Any) -> tuple[str, str]:
    """Put a policy to its laws, a pool to its promises; return the verdict and the reason."""
    try:
        if plugin.kind in POOLS.kinds:
            inline = isinstance(made, InlinePool)
            check_pool(made, skip=_NOT_INLINE if inline else frozenset())
            return "passes", f"{', '.join(sorted(_NOT_INLINE))} do not apply" if inline else ""
        check: Callable[[Any], None] = getattr(testing, f"check_{plugin.kind}_policy")
        check(made)
    except AssertionError as error:
        return "fails", str(error)
    except Exception as error:
        return "fails", said(error)
    return "passes", ""


def _namesakes(plugin: Plugin, others: Sequence[Plugin]) -> str:
    """Say how to name a plug-in whose plain name means another one, or none."""
    same = [
        other
        for other in others
        if other is not plugin and (other.kind, key(other.name)) == (plugin.kind, key(plugin.name))
    ]
    if plugin.built_in or not same:
        return ""
    whose = "the built-in one" if any(other.built_in for other in same) else same[0].distribution
    return f"shares its name with {whose}: load it as {qualified(plugin)!r}"


def _defaults(maker: Callable[..., object], made: object) -> dict[str, str | None]:
    """Return each setting with its default in words; what is made anew each time is read off `made`."""
    return {
        name: None
        if needed(setting)
        else _shown(getattr(made, name, ...) if setting.default is attrs.NOTHING else setting.default)
        for name, setting in (settings_of(maker) or {}).items()
    }


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        inner = ", ".join(map(_shown, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if value is ...:
        return "..."
    try:
        return value.__qualname__ if isinstance(value, type) else repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
