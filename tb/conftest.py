"""Lets the benches import each other and the package trace, with or without the package installed."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "plugin"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
