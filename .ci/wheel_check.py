"""Prove that what users install is what we tested.

Builds the sdist, and the wheel from that sdist; checks what is inside the wheel; installs it into an empty environment
with the oldest dependencies that pyproject.toml allows; and runs the tests from a folder where the checkout is out of
sight. The flat layout has no ``src`` to protect us from importing the working tree by accident.
"""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = PROJECT["import-names"]
DIST_INFO = f"{PROJECT['name'].replace('-', '_')}-{PROJECT['version']}.dist-info"

#: Kinds of proof that read the checkout, or are programs of their own.
NOT_FROM_A_WHEEL = ("house", "prose", "typing", "benchmarks", "conformance")


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run a command with no hint of the checkout in its environment; a failure ends the check."""
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    print("$", *command, flush=True)
    subprocess.run(command, cwd=cwd, env=clean, check=True)


def build(folder: Path) -> Path:
    """Build the sdist, then the wheel from it, and return the wheel."""
    run(sys.executable, "-m", "build", "--outdir", folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """Check that the wheel holds the three packages, whole, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = email.message_from_bytes(archive.read(f"{DIST_INFO}/METADATA"))
    top_level = {name.partition("/")[0] for name in names}
    assert top_level == {*PACKAGES, DIST_INFO}, f"unexpected top level of the wheel: {sorted(top_level)}"
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    shipped = {name for name in names if not name.startswith(DIST_INFO)}
    assert shipped == expected, f"wheel and checkout differ: {sorted(shipped ^ expected)}"
    untyped = {f"{package}/py.typed" for package in PACKAGES} - names
    assert not untyped, f"type checkers will ignore these packages: {sorted(untyped)}"
    assert f"{DIST_INFO}/licenses/LICENSE" in names, "the licence is not in the wheel"
    assert set(metadata.get_all("Import-Name", [])) == set(PACKAGES), "the import names are not declared"
    print(f"{wheel.name}: {len(names)} files, top level {', '.join(sorted(top_level))}")


def oldest() -> list[str]:
    """Return each dependency, pinned to its lower bound."""
    return [re.sub(r">=", "==", requirement) for requirement in PROJECT["dependencies"]]


def install(wheel: Path, home: Path) -> Path:
    """Install the wheel and the test tools into an empty environment and return its python."""
    run(sys.executable, "-m", "venv", "--without-pip", home)
    python = home / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-qq")
    run(*pip, f"{wheel}[process]", *oldest(), "--group", f"{ROOT / 'pyproject.toml'}:test")
    return python


def check_tests(python: Path, folder: Path) -> None:
    """Run the tests from ``folder``, where only the installed packages can be imported."""
    shutil.copytree(
        ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns(*NOT_FROM_A_WHEEL, "__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", folder)  # pytest's settings
    where = f"import {', '.join(PACKAGES)}; print({', '.join(f'{name}.__file__' for name in PACKAGES)}, sep='\\n')"
    files = subprocess.run(
        [python, "-c", where], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    strays = [file for file in files.splitlines() if not Path(file).is_relative_to(python.parent.parent)]
    assert not strays, f"imported from somewhere else: {strays}"
    run(python.with_name(PROJECT["name"]), "--help", cwd=folder)
    run(python, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", cwd=folder)


def main() -> None:
    """Build, look inside, install, test."""
    with tempfile.TemporaryDirectory(prefix="wheel-check-") as name:
        folder = Path(name).resolve()
        wheel = build(folder / "dist")
        check_contents(wheel)
        python = install(wheel, folder / "environment")
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        check_tests(python, elsewhere)
    print("The wheel holds what was tested.")


if __name__ == "__main__":
    main()
