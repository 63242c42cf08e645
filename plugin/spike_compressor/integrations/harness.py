"""What the bridges to evaluation harnesses share before anything is opened: versions that were tested."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass
from pathlib import Path

from spike_compressor.errors import InputError


@dataclass(frozen=True)
class Harness:
    """An evaluation harness and its versions that were tested.

    Attributes:
        name: as people call it.
        package: as pip calls it.
        first, below: the first version that was tested, and the first that was not.
        remedy: what installs it.
    """

    name: str
    package: str
    first: str
    below: str
    remedy: str

    def require(self) -> None:
        """
        Raises:
            InputError: the harness is not installed, or in a version that was not tested.
        """
        try:
            found = importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            raise InputError(f"{self.name} is not installed; {self.remedy}") from None
        if not _numbers(self.first) <= _numbers(found) < _numbers(self.below):
            raise InputError(
                f"{self.name} ({self.package}) {found} was not tested with spiking checkpoints, only versions from "
                f"{self.first} to below {self.below}; {self.remedy}"
            )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def is_spiking(path: str | Path) -> bool:
    """Whether a directory holds a spike-ready checkpoint."""
    return (Path(path) / "spike_config.json").is_file()
