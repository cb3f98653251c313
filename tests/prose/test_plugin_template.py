"""The template of a plug-in is what its page says: it builds, installs, is found, and passes its own tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2] / "docs" / "examples" / "plugin"

#: Far more than it takes, for a loaded machine.
PATIENCE = 60.0


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Copy the template as a reader would, and install it into a folder of its own; return both folders."""
    for tool in ("pip", "hatchling"):
        pytest.importorskip(tool, reason="a development tool that builds the template")
    folder = tmp_path_factory.mktemp("plugin")
    source, site = folder / "source", folder / "site"
    shutil.copytree(TEMPLATE, source, ignore=shutil.ignore_patterns("__pycache__"))
    install = (
        "-m",
        "pip",
        "install",
        "-q",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
        "--target",
        site,
    )
    _run(source, None, *install, source)
    return source, site


def _run(folder, site, *arguments):
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    if site is not None:
        environment["PYTHONPATH"] = str(site)
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_template_passes_its_own_tests(installed):
    """Whoever copies it starts from what works, entry points included."""
    source, site = installed

    assert "6 passed" in _run(source, site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")


def test_an_installed_template_is_one_key_away(installed, tmp_path):
    """That a file can name it is what its author wants of all this."""
    _, site = installed
    (tmp_path / "service.toml").write_text(
        "[scheduler]\n"
        'retry = {kind = "two-speeds", slow = 5}\n'
        'ordering = {kind = "calm-policies:tags-first", tags = ["cpu"]}\n'
    )
    code = (
        "from scheduler import Scheduler\n"
        "from scheduler._plugin_report import every, examined\n"
        "with Scheduler.from_config('service.toml') as scheduler:\n"
        "    print(scheduler.submit(len, 'abc').result())\n"
        "for finding in examined([p for p in every('') if p.distribution == 'calm-policies']):\n"
        "    print(finding.kind, finding.name, finding.version, finding.verdict, finding.reason)\n"
    )

    printed = _run(tmp_path, site, "-c", code)

    assert [
        "3",
        "ordering tags-first 1.0.0 passes ",
        "retry two-speeds 1.0.0 passes ",
    ] == printed.splitlines()
