"""What installed distributions offer as plug-ins: read from their entry points, imported one at a time, by name.

Nothing here is done at import. Whatever a distribution does wrong is its own: it is named, and the others are
read on.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from importlib.metadata import Distribution

#: Entry-point groups are called ``two_tier_scheduler.retry`` and so on.
PREFIX = "two_tier_scheduler."
#: Whose the built-in ones are.
OURS = "two-tier-scheduler"


class PluginError(Exception):
    """A plug-in cannot be used: its import fails, it lacks the method, it raises when it is made.

    `distribution` is who ships it, `entry_point` what stands in its metadata, `reason` what is wrong with it;
    the error that it raised is the ``__cause__``.
    """

    distribution: str = ""
    entry_point: str = ""
    reason: str = ""


@attrs.frozen(kw_only=True)
class Kind:
    """A question that plug-ins answer."""

    #: As in the entry-point group.
    name: str
    #: What one is called in a sentence.
    noun: str
    #: The method that makes an object one of this kind.
    method: str
    #: The same as a type: what annotations say.
    protocol: type
    #: The package whose public classes are the built-in ones.
    package: str
    #: What their names leave out.
    suffix: str = ""


@attrs.frozen(kw_only=True)
class Plugin:
    """Something that can be made by name."""

    #: Of a kind, or of a group that nobody asks for.
    kind: str
    name: str
    distribution: str
    version: str
    #: ``module:Name``.
    target: str
    #: Why it cannot be read at all.
    trouble: str = ""

    @property
    def built_in(self) -> bool:
        """Whether it is one of ours."""
        return self.distribution == OURS

    def answers(self, name: str) -> bool:
        """Whether it is called so, in any spelling: ``peak-ewma``, ``peak_ewma``, ``PeakEwma``."""
        names = {self.name, self.target.rpartition(":")[2]} if self.built_in else {self.name}
        return key(name) in map(key, names)

    def load(self) -> Callable[..., object]:
        """Import it and return the class or function that makes it; raise `PluginError` if that fails."""
        module, _, path = self.target.partition(":")
        if self.trouble or not path:
            raise self.broken(self.trouble or f"{self.target!r} names no class; write 'module:Name'")
        try:
            found: Any = importlib.import_module(module)
            for name in path.split("."):
                found = getattr(found, name)
        except (Exception, SystemExit) as error:
            raise self.broken(said(error)) from error
        if not callable(found):
            raise self.broken(f"{self.target} is neither a class nor a function, but {type(found).__name__}")
        maker: Callable[..., object] = found
        return maker

    def broken(self, why: str) -> PluginError:
        """Return the error that says so, with the remedy."""
        remedy = "" if self.built_in else f"; mend or uninstall {self.distribution}"
        entry_point = f"{PREFIX}{self.kind}: {self.name} = {self.target}"
        error = PluginError(
            f"plug-in {self.name!r} of {self.distribution} {self.version} ({entry_point}) is broken: {why}{remedy}"
        )
        error.distribution, error.entry_point, error.reason = self.distribution, entry_point, why
        return error


def built_in(kind: Kind, version: str = "") -> Iterator[Plugin]:
    """Yield what we ship of a kind: every public class of its package that has the method."""
    package = importlib.import_module(kind.package)
    for name in package.__all__:
        found = getattr(package, name)
        concrete = isinstance(found, type) and not getattr(found, "_is_protocol", False)
        if concrete and callable(getattr(found, kind.method, None)):
            yield Plugin(
                kind=kind.name,
                name=kebab(name.removesuffix(kind.suffix)),
                distribution=OURS,
                version=version,
                target=f"{kind.package}:{name}",
            )


def scan() -> list[Plugin]:
    """Return what other distributions offer, sorted; nothing of it is imported. Cost: 0.1 ms for each distribution."""
    from importlib import metadata  # noqa: PLC0415  costs every import of ours 8 ms, and few programs scan

    offers: dict[str, list[Plugin]] = {}
    for distribution in metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt") or ""
        except Exception:  # noqa: S112  whoever cannot be read at all cannot be told apart from who has none
            continue
        if PREFIX in text:
            name, version = _named(distribution)
            # The first on the path is the one that is imported.
            offers.setdefault(canonical(name), _offered(distribution, name, version))
    offers.pop(OURS, None)
    return sorted((plugin for found in offers.values() for plugin in found), key=_order)


def _offered(distribution: Distribution, name: str, version: str) -> list[Plugin]:
    try:
        points = [point for point in distribution.entry_points if point.group.startswith(PREFIX)]
    except Exception as error:
        trouble = f"its entry_points.txt cannot be read: {said(error)}"
        return [Plugin(kind="?", name="?", distribution=name, version=version, target="?", trouble=trouble)]
    return [
        Plugin(
            kind=point.group.removeprefix(PREFIX),
            name=point.name,
            distribution=name,
            version=version,
            target=point.value.partition("[")[0].strip(),
        )
        for point in points
    ]


def _named(distribution: Distribution) -> tuple[str, str]:
    try:
        about = distribution.metadata
        return about["Name"] or "a distribution without a name", about["Version"] or "?"
    except Exception:
        return "a distribution without a name", "?"


def _order(plugin: Plugin) -> tuple[str, ...]:
    return plugin.kind, plugin.name, plugin.distribution


def settings_of(maker: Callable[..., object]) -> Mapping[str, inspect.Parameter] | None:
    """Return what can be set by name, in order; None when anything can or nobody knows."""
    try:
        parameters = inspect.signature(maker).parameters
    except Exception:
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: parameter for name, parameter in parameters.items() if parameter.kind in by_name}


def canonical(name: str) -> str:
    """Return the name of a distribution in the one spelling in which they are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def kebab(name: str) -> str:
    """Return the name of a class as it is written in a file: ``PeakEwma`` is ``peak-ewma``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def key(name: str) -> str:
    """Return a name without what its spellings differ in."""
    return re.sub(r"[\W_]", "", name).lower()


def near(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` if a known name is near, with the known ones behind it."""
    from difflib import get_close_matches  # noqa: PLC0415  only for a mistake

    known = sorted(known)
    by_key = {key(other): other for other in known}
    close = get_close_matches(key(name), by_key, n=1, cutoff=0.6)
    hint = f"did you mean {by_key[close[0]]!r}? " if close else ""
    return f"; {hint}known are {', '.join(known)}" if known else ""


def said(error: BaseException) -> str:
    """Return what an error says, also if it cannot."""
    try:
        return f"{type(error).__name__}: {error}".rstrip(": ")
    except Exception:
        return type(error).__name__
