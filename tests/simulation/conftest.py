"""The loads are shared with the benchmark that prints the table of scaling policies."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
