"""A whole scheduler from a mapping, such as a TOML file: what stands in which of its tables."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from policies.installed import near

from ._assembly import as_groups
from ._errors import ConfigError
from ._group import PoolGroup
from ._values import BAD, Reader, annotations_of, blamed

T = TypeVar("T")

#: What may stand at the top.
_LISTS = ("limits", "breakers")
_TABLES = ("scheduler", "groups", *_LISTS)

Config = Mapping[str, Any] | str | os.PathLike[str]


def configured(
    make: Callable[..., T],
    config: Config,
    overrides: Mapping[str, Any],
    ignored: Collection[str] = (),
) -> T:
    """Return ``make(*groups, **settings)`` for a configuration, settings in `overrides` in place of its own.

    The keys of ``[scheduler]`` are the keyword arguments of `make`, and those `ignored`.
    Raises `ConfigError` that tells everything that is wrong, OSError for a file that cannot be read.
    """
    file, tables = _tables(config)
    reader = Reader()
    for name in tables:
        if name not in _TABLES:
            reader.wrong(str(name), f"there is no such key{near(str(name), _TABLES)}")
    settings = _settings(reader, make, tables.get("scheduler", {}), (*ignored, *overrides))
    groups = _groups(reader, tables.get("groups", []))
    for name in _LISTS:
        if name in tables and name not in overrides:
            values = _list_of_tables(reader, tables[name], name)
            settings[name] = reader.value(values, annotations_of(make).get(name), name)
    if reader.problems:
        raise _error(file, reader.problems) from reader.cause
    try:
        return make(*groups, **settings, **overrides)
    except (TypeError, ValueError) as error:
        setting, text = blamed(error, settings)
        if not setting:
            raise
        key = setting if setting in _TABLES else f"scheduler.{setting}"
        raise _error(file, [(key, text)]) from error


def _tables(config: Config) -> tuple[str, Mapping[str, Any]]:
    """Return the name of the file, empty if there is none, and what stands in it."""
    if isinstance(config, Mapping):
        return "", config
    if not isinstance(config, str | os.PathLike):
        raise TypeError(
            f"a configuration is a mapping or the path of a TOML file, not {reprlib.repr(config)}"
        )
    import tomllib  # noqa: PLC0415  few programs read a file

    file = os.fspath(config)
    with open(file, "rb") as opened:  # noqa: PTH123  a path of any kind
        try:
            return file, tomllib.load(opened)
        except ValueError as error:
            raise _error(file, [("", f"is no TOML: {error}")]) from error


def _groups(reader: Reader, given: object) -> tuple[Any, ...]:
    groups = [
        reader.value(group, PoolGroup, f"groups[{index}]")
        for index, group in enumerate(_list_of_tables(reader, given, "groups"))
    ]
    if not groups or any(group is BAD for group in groups):
        return ()
    try:
        return as_groups(tuple(groups))
    except (TypeError, ValueError) as error:
        reader.wrong("groups", str(error), error)
        return ()


def _settings(
    reader: Reader, make: Callable[..., object], section: object, left_out: Collection[str]
) -> dict[str, Any]:
    if not isinstance(section, Mapping):
        reader.wrong("scheduler", f"must be a table, not {reprlib.repr(section)}")
        return {}
    wanted = {name: value for name, value in section.items() if name not in left_out}
    for name in _LISTS:
        if wanted.pop(name, None) is not None:
            reader.wrong(
                f"scheduler.{name}", f"stands in the wrong place: write [[{name}]], beside [scheduler]"
            )
    return reader.settings(wanted, make, "scheduler", but=_LISTS)


def _list_of_tables(reader: Reader, given: object, key: str) -> list[Any]:
    if not isinstance(given, list | tuple):
        reader.wrong(key, f"must be a list of tables: write [[{key}]], not {reprlib.repr(given)}")
        return []
    for index, item in enumerate(given):
        if isinstance(item, str | int | float | list):
            reader.wrong(f"{key}[{index}]", f"must be a table, not {reprlib.repr(item)}")
    return [item for item in given if not isinstance(item, str | int | float | list)]


def _error(file: str, problems: list[tuple[str, str]]) -> ConfigError:
    lines = [f"{key}: {text}" if key else text for key, text in problems]
    where = f"{file}: " if file else ""
    many = f"{where}{len(lines)} keys are wrong" + "".join(f"\n  {line}" for line in lines)
    error = ConfigError(f"{where}{lines[0]}" if len(lines) == 1 else many)
    error.key, error.problems = problems[0][0], tuple(problems)
    return error
