"""Run one command on every CPython from 3.11 up that this machine has.

Usage: ``python .ci/each_python.py [--others] ARGUMENTS``, run as ``pythonX.Y ARGUMENTS`` from the root of the checkout, each in an
environment of its own below ``.venvs`` that holds the library and the ``test`` dependency group. A command that ends
with 77 has nothing to say on that interpreter: it counts as skipped, not as failed. With ``--others``, the
interpreter that runs this is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = 77  # as in automake

PROBE = """
import os, platform, sys, sysconfig
assert sys.implementation.name == "cpython" and sys.version_info >= (3, 11)
suffix = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
print(platform.python_version() + suffix, os.path.realpath(sys._base_executable), sep="\\n")
"""


def candidates() -> Iterator[Path]:
    """Yield what may be an interpreter: on the path, and where version managers keep theirs."""
    yield Path(sys.executable)
    for folder in map(Path, os.get_exec_path()):
        if folder.is_dir():
            yield from sorted(p for p in folder.iterdir() if re.fullmatch(r"python3\.\d+t?", p.name))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob("versions/*/bin/python3"))
    yield from sorted(Path.home().glob(".local/share/uv/python/*/bin/python3"))


def interpreters() -> dict[str, str]:
    """Return label and path of each interpreter that answers, oldest first, each installation once."""
    found: dict[str, str] = {}  # path -> version
    for candidate in candidates():
        try:
            probe = subprocess.run(
                [candidate, "-c", PROBE], capture_output=True, text=True, timeout=60, check=True
            )
        except (OSError, subprocess.SubprocessError):
            continue  # too old, a shim without a version behind it, not CPython
        version, executable = probe.stdout.splitlines()
        found.setdefault(executable, version)
    labels: dict[str, str] = {}
    for executable, version in sorted(
        found.items(), key=lambda item: [int(n) for n in re.findall(r"\d+", item[1])]
    ):
        twins = sum(label.partition("-")[0] == version for label in labels)
        labels[f"{version}-{twins + 1}" if twins else version] = executable
    return labels


def environment(label: str, executable: str) -> Path:
    """Return the python of an environment with the library in it, made when missing or older than pyproject.toml."""
    home = ROOT / ".venvs" / label
    python, stamp, declared = home / "bin" / "python", home / ".ready", ROOT / "pyproject.toml"
    if not stamp.exists() or stamp.stat().st_mtime < declared.stat().st_mtime:
        # Without pip, which some distributions leave out: the pip that runs this script installs from outside.
        subprocess.run([executable, "-m", "venv", "--clear", "--without-pip", home], check=True)
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "-qq"]
        subprocess.run([*pip, "--editable", ".[process]", "--group", "test"], cwd=ROOT, check=True)
        stamp.touch()
    return python


def main(arguments: list[str]) -> int:
    """Run the command everywhere, then print one line an interpreter."""
    verdicts: dict[str, str] = {}
    left_out = None
    if arguments[:1] == ["--others"]:
        left_out, arguments = os.path.realpath(sys._base_executable), arguments[1:]  # type: ignore[attr-defined]  # noqa: SLF001
    for label, executable in interpreters().items():
        if executable == left_out:
            continue
        print(f"\n=== Python {label} ({executable})", flush=True)
        try:
            python = environment(label, executable)
        except subprocess.CalledProcessError as error:
            verdicts[label] = f"FAILED to install: exit status {error.returncode}"
            continue
        code = subprocess.run([python, *arguments], cwd=ROOT, check=False).returncode
        verdicts[label] = {0: "passed", SKIPPED: "skipped"}.get(code, f"FAILED with exit status {code}")
    print("\n=== On each interpreter:", " ".join(arguments))
    for label, verdict in verdicts.items():
        print(f"Python {label:<10} {verdict}")
    return any(verdict.startswith("FAILED") for verdict in verdicts.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
