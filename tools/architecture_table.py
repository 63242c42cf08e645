"""Writes the table of architectures into its page in the documentation, from what the tests are told to prove.

python tools/architecture_table.py
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    declared = import_module("helpers.architecture_table")
    declared.PAGE.write_text(declared.page(declared.PAGE.read_text(encoding="utf-8")), encoding="utf-8")
