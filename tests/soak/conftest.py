"""The soak's own modules are programs beside these tests, and import each other by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
