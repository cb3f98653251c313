"""The rooms of the storm import each other by name, as `storm.play`: the soak has a room of that name too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
