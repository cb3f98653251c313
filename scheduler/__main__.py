"""``python -m scheduler``: what is installed, and whether it is what it should be."""

from __future__ import annotations

import argparse
import logging
import platform
import shutil
import sys
from collections.abc import Sequence

import policies
import pools
import scheduler

from ._plugin_report import as_json, as_text, every, examined


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="two-tier-scheduler",
        description="A dynamically scaling two-tier job scheduler. This command tells what is installed.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {scheduler.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    plugins = commands.add_parser(
        "plugins",
        help="list the policies and pools that can be made by name, and examine each",
        description="List the policies and pools that can be made by name, ours and those of other distributions. "
        "Each is made with its defaults and put to the laws of policies.testing or the promises of pools.testing.",
    )
    plugins.add_argument(
        "--check", action="store_true", help="fail, with exit status 1, if one is not in order"
    )
    plugins.add_argument("--json", action="store_true", help="print a JSON list, for programs")
    given = parser.parse_args(argv)
    return _plugins(check=given.check, json=given.json) if given.command == "plugins" else _versions()


def _versions() -> int:
    print(f"two-tier-scheduler {scheduler.__version__} on Python {platform.python_version()}")
    for package in (scheduler, pools, policies):
        print(f"  {package.__name__:<10} {package.__file__}")
    return 0


def _plugins(*, check: bool, json: bool) -> int:
    logging.disable()  # what pools warn of when they are put to their promises is no news
    try:
        findings = examined(every(scheduler.__version__))
    finally:
        logging.disable(logging.NOTSET)
    print(as_json(findings) if json else as_text(findings, shutil.get_terminal_size().columns))
    return int(check and not all(finding.fine for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
