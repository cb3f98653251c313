"""The rooms of the storm import each other by name, as a program's do."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
