"""The public names, on one page.

``public_names.txt`` is what users may rely on. A difference is either a mistake or a changelog fragment; write the
page anew with ``python tests/house/test_public_names.py``.
"""

import importlib
from pathlib import Path

PAGE = Path(__file__).with_name("public_names.txt")
MODULES = (
    "scheduler",
    "scheduler.simulation",
    "scheduler.testing",
    "pools",
    "pools.testing",
    "policies",
    "policies.testing",
)


def _public_names():
    names = []
    for module in MODULES:
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            continue  # the page tells when a room appears or goes
        names += [f"{module}.{name}" for name in sorted(found.__all__)]
    return names


def test_public_names_change_only_on_purpose():
    """A name that appears by accident must be supported for years; one that goes breaks a program."""
    assert PAGE.read_text(encoding="utf-8").split() == _public_names()


def test_every_public_name_is_there():
    """A name promised in __all__ and missing breaks `from scheduler import *` and every completion."""
    missing = [
        name
        for name in _public_names()
        if not hasattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2])
    ]

    assert [] == missing


if __name__ == "__main__":
    PAGE.write_text("\n".join(_public_names()) + "\n", encoding="utf-8")
