"""What a message must name, whatever its sentence says."""

from __future__ import annotations

import re

__all__ = ["naming"]


def naming(*names: object) -> str:
    """Pattern of a message that has each of these in it, whole and in any order: for `pytest.raises(…, match=…)`.

    Names are what a user looks for: fields, layers, files, values, numbers, commands. Sentences around them may change.
    """
    assert names, "a pattern of nothing matches everything"
    return "(?s)" + "".join(f"(?=.*{_whole(str(name))})" for name in names)


def _whole(name: str) -> str:
    before = r"(?<!\w)" if re.match(r"\w", name) else ""
    after = r"(?!\w)" if re.search(r"\w$", name) else ""
    return f"{before}{re.escape(name)}{after}"
