"""``python -m scheduler``: what is installed, and whether it is what it should be."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence

import policies
import pools
import scheduler


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="two-tier-scheduler",
        description="A dynamically scaling two-tier job scheduler. This command tells what is installed.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {scheduler.__version__}")
    parser.parse_args(argv)
    print(f"two-tier-scheduler {scheduler.__version__} on Python {platform.python_version()}")
    for package in (scheduler, pools, policies):
        print(f"  {package.__name__:<10} {package.__file__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
