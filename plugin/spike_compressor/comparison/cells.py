"""Finished results, kept by the hash of everything that they depend on: a killed sweep resumes where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from spike_compressor.errors import InputError
from spike_compressor.files import write_text
from spike_compressor.fingerprint import canonical, digest
from spike_compressor.reading import read_object


class Cells:
    """A folder of results, one JSON file each.

    Args:
        folder: made when the first result is kept.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def get(self, parts: Mapping[str, Any]) -> Any | None:
        """The result of these parts, or None if it has not been computed yet."""
        try:
            content = read_object(self._path(parts))
        except InputError:
            return None
        return content.get("result") if content.get("parts") == json.loads(canonical(parts)) else None

    def put(self, parts: Mapping[str, Any], result: Any) -> Any:
        """Keep a result; the file appears as a whole or not at all."""
        write_text(self._path(parts), json.dumps({"parts": json.loads(canonical(parts)), "result": result}))
        return result

    def cell(self, parts: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
        """The result of these parts: from the folder, or computed and kept. It must survive JSON."""
        found = self.get(parts)
        return self.put(parts, json.loads(json.dumps(compute()))) if found is None else found

    def _path(self, parts: Mapping[str, Any]) -> Path:
        return self.folder / f"{digest(parts)[:32]}.json"
