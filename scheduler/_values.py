"""The values of a configuration, read as the annotations of what they are for say; nothing is said here twice.

=========================  ==============================================================================
annotated as               may be written as
=========================  ==============================================================================
a policy, a pool           its name, or a table with the key ``kind`` and its settings
an attrs class             a table of its settings
an enumeration             the name of a member, in any case
a function, a class        ``"module:name"``; an exception class of Python's own by its name
a tuple, an iterable       a list of such
a mapping                  a table of such
=========================  ==============================================================================

Whatever else, ready-made objects too, is handed on as it is: who takes it checks it.
Every mistake is kept with its key, and reading goes on behind it.
"""

from __future__ import annotations

import builtins
import collections.abc
import enum
import importlib
import re
import reprlib
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import attrs

from policies.installed import Kind, PluginError, near, said, settings_of
from policies.plugins import Catalogue, needed

from ._plugins import BY_PROTOCOL

#: Stands for a value that could not be read.
BAD: Any = object()

#: How our errors begin: with the class, perhaps the name of the group, and the setting.
_SETTING_FIRST = re.compile(
    r"(?:\w+\((?:(['\"]).*?\1(?:, |\) ))?)?(?P<setting>\w+)=\)? (?P<rest>.*)", re.DOTALL
)
_MANY = (tuple, list, set, frozenset, collections.abc.Iterable, collections.abc.Sequence)
_TABLES = (dict, collections.abc.Mapping)


class Reader:
    """Reads values, and keeps what is wrong with them."""

    def __init__(self) -> None:
        #: What is wrong, with the key it is wrong at.
        self.problems: list[tuple[str, str]] = []
        #: The error behind the first of them, if there is one.
        self.cause: BaseException | None = None

    def wrong(self, key: str, text: str, cause: BaseException | None = None) -> Any:
        """Keep a mistake; return what stands for a value."""
        if not self.problems:
            self.cause = cause
        self.problems.append((key, text))
        return BAD

    def value(self, given: Any, hint: Any, key: str) -> Any:
        """Return what was given as its annotation would have it, `BAD` if it cannot be."""
        hints = list(_alternatives(hint))
        if isinstance(given, str | Mapping):
            for kind in (found for wanted in hints if (found := BY_PROTOCOL.get(wanted))):
                return self._named(given, *kind, key)
        if isinstance(given, Mapping):
            return self._table(given, hints, key)
        if isinstance(given, list | tuple):
            return self._list(given, hints, key)
        if isinstance(given, str) and str not in hints:
            return self._word(given, hints, key)
        return given

    def settings(
        self, given: Mapping[str, Any], maker: Callable[..., object], key: str, *, but: Collection[str] = ()
    ) -> dict[str, Any]:
        """Return the settings in a table, read; what `maker` does not know, or lacks, is a mistake.

        Those in `but` are somebody else's.
        """
        known, hints = settings_of(maker), annotations_of(maker)
        known = known and {name: setting for name, setting in known.items() if name not in but}
        values: dict[str, Any] = {}
        for name, value in given.items():
            if known is None or name in known:
                values[name] = self.value(value, hints.get(name), f"{key}.{name}")
            else:
                self.wrong(f"{key}.{name}", f"there is no such key{near(str(name), known)}")
        for name, setting in (known or {}).items():
            if needed(setting) and name not in given:
                values[name] = self.wrong(key, f"needs the key {name!r}; known are {', '.join(known or ())}")
        return values

    def made(
        self,
        given: Mapping[str, Any],
        maker: Callable[..., object],
        key: str,
        make: Callable[[dict[str, Any]], Any] | None = None,
    ) -> Any:
        """Return what `maker` makes of a table of settings, `BAD` if anything in it is wrong."""
        before = len(self.problems)
        settings = self.settings(given, maker, key)
        if any(value is BAD for value in settings.values()):
            return BAD
        try:
            made = maker(**settings) if make is None else make(settings)
        except (TypeError, ValueError, PluginError) as error:
            setting, text = blamed(error, settings)
            if not setting and len(self.problems) > before:
                return BAD  # it may well miss what was only misspelled
            return self.wrong(f"{key}.{setting}" if setting else key, text, error)
        return made if len(self.problems) == before else BAD

    def _named(self, given: str | Mapping[str, Any], catalogue: Catalogue, kind: Kind, key: str) -> Any:
        """Return the plug-in that a name, or a table with a name in it, asks for."""
        table = {"kind": given} if isinstance(given, str) else dict(given)
        naming = _naming(table, kind)
        if naming not in table:
            return self.wrong(key, f"needs the key {naming!r}{near('', catalogue.names(kind.name))}")
        name = table.pop(naming)
        try:
            plugin = catalogue.find(name, kind.name)
            maker = plugin.load()
        except (TypeError, ValueError, PluginError) as error:
            return self.wrong(key if name is given else f"{key}.{naming}", str(error), error)
        if naming == "policy" and naming in (settings_of(maker) or {}):
            text = f"is what {name!r} wraps: write kind = {name!r} beside it"
            return self.wrong(f"{key}.{naming}", text)
        return self.made(table, maker, key, lambda settings: catalogue.make(plugin, settings))

    def _table(self, given: Mapping[str, Any], hints: list[Any], key: str) -> Any:
        for hint in hints:
            if isinstance(hint, type) and attrs.has(hint):
                return self.made(given, hint, key)
        for hint in hints:
            pair = _pair_of(hint)
            if pair is not None:
                entries = {
                    self.value(name, pair[0], f"{key}.{name}"): self.value(value, pair[1], f"{key}.{name}")
                    for name, value in given.items()
                }
                bad = any(item is BAD for entry in entries.items() for item in entry)
                return BAD if bad else entries
        return given

    def _list(self, given: list[Any] | tuple[Any, ...], hints: list[Any], key: str) -> Any:
        for hint in hints:
            origin, arguments = typing.get_origin(hint), typing.get_args(hint)
            if origin in _MANY and arguments:
                each = (
                    arguments if origin is tuple and arguments[-1] is not ... else arguments[:1] * len(given)
                )
                items = [
                    self.value(item, of, f"{key}[{index}]")
                    for index, (item, of) in enumerate(zip(given, each, strict=False))
                ] + list(given[len(each) :])
                if any(item is BAD for item in items):
                    return BAD
                # An iterable of any kind is a tuple, so that values stay hashable.
                return origin(items) if isinstance(origin, type) and origin in _MANY[:4] else tuple(items)
        return given

    def _word(self, given: str, hints: list[Any], key: str) -> Any:
        for hint in hints:
            if isinstance(hint, type) and issubclass(hint, enum.Enum):
                names = {name.lower(): member for name, member in hint.__members__.items()}
                if given.lower() in names:
                    return names[given.lower()]
                others = " or a number" if int in hints else ""
                text = f"must be one of {', '.join(hint.__members__)}{others}, not {given!r}"
                return self.wrong(key, text)
        if any(_refers(hint) for hint in hints):
            return self._reference(given, key)
        for hint in hints:
            if typing.get_origin(hint) in _MANY and _refers(*typing.get_args(hint)[:1]):
                return self._reference(given, key)
        return given

    def _reference(self, given: str, key: str) -> Any:
        """Return what ``"module:name"`` means; a bare name is one of Python's exceptions."""
        module, _, path = given.partition(":")
        if not path:
            found = getattr(builtins, given, None)
            if isinstance(found, type) and issubclass(found, BaseException):
                return found
            return self.wrong(key, f"must be written as 'module:name', not {reprlib.repr(given)}")
        try:
            found = importlib.import_module(module)
            for name in path.split("."):
                found = getattr(found, name)
        except (Exception, SystemExit) as error:
            return self.wrong(key, f"{given!r} cannot be imported: {said(error)}", error)
        return found


def annotations_of(maker: Callable[..., object]) -> Mapping[str, Any]:
    """Return the annotation of each setting by its name, none where they cannot be had."""
    try:
        if not isinstance(maker, type):
            return typing.get_type_hints(maker)
        if not attrs.has(maker):
            return typing.get_type_hints(maker.__init__)  # type: ignore[misc]
        hints = typing.get_type_hints(maker)
        return {field.alias or field.name: hints.get(field.name) for field in attrs.fields(maker)}
    except Exception:
        return {}


def blamed(error: BaseException, settings: Mapping[str, object]) -> tuple[str, str]:
    """Return which setting an error is about, empty if that is not said, and the error's text without it."""
    text = str(error)
    found = _SETTING_FIRST.match(text)
    if found is None or found["setting"] not in settings:
        return "", text
    return found["setting"], found["rest"]


def _naming(table: Mapping[str, Any], kind: Kind) -> str:
    """Return which key names the plug-in: `kind`; or `policy`, which no wrapped policy then can be called."""
    by_policy = "kind" not in table and kind.noun != "pool" and isinstance(table.get("policy"), str)
    return "policy" if by_policy else "kind"


def _alternatives(hint: Any) -> Iterator[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        for one in typing.get_args(hint):
            yield from _alternatives(one)
    else:
        yield hint


def _pair_of(hint: Any) -> tuple[Any, Any] | None:
    """Return the annotations of keys and values of a mapping; pairs, as frozen values keep them, are one too."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in _MANY and arguments and typing.get_origin(arguments[0]) is tuple:
        arguments = typing.get_args(arguments[0])
    elif origin not in _TABLES:
        return None
    return (arguments[0], arguments[1]) if len(arguments) == 2 else None


def _refers(*hints: Any) -> bool:
    """Whether any of these stands for something that has to be imported."""
    for hint in [one for given in hints for one in _alternatives(given)]:
        origin = typing.get_origin(hint) or hint
        plain = not isinstance(origin, type) or origin is Any or origin.__module__ == "builtins"
        if origin in (type, collections.abc.Callable) or not (plain or origin in _MANY + _TABLES):
            return True
    return False
