"""Imported first, it lets another room's tests use the kits of tests/system: the whole gate with real processes."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "system"))
