"""Which versions of Python and of other packages this one works with, said in a line before anything fails for it."""

from __future__ import annotations

import sys
from importlib import metadata

from spike_compressor.errors import InputError

#: The first Python, and the first that is not tried; pyproject.toml has the same.
PYTHONS = ((3, 10), (3, 14))


def require_python() -> None:
    """Check the running Python.

    Raises:
        ImportError: it is none of those that are tested.
    """
    if not PYTHONS[0] <= sys.version_info[:2] < PYTHONS[1]:
        found = ".".join(map(str, sys.version_info[:2]))
        raise ImportError(f"spike-compressor works with Python 3.10 to 3.13, and this is {found}; use one of these")


def require_supported(*names: str) -> None:
    """Check packages, as far as they are installed, against what the metadata of this one require.

    Args:
        names: of distributions, as in pyproject.toml.

    Raises:
        InputError: one has another version; says which ones there may be, and how to get one.
    """
    try:
        required, own = metadata.requires("spike-compressor") or [], metadata.version("spike-compressor")
    except metadata.PackageNotFoundError:  # not installed, but on the path: nobody promised anything
        return
    from packaging.requirements import Requirement

    for requirement in map(Requirement, required):
        if requirement.name not in names or requirement.marker is not None:
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:  # whoever imports it says so
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wanted = ",".join(sorted(map(str, requirement.specifier), reverse=True))
            raise InputError(
                f"{requirement.name} {version} is installed, and spike-compressor {own} works with {wanted}: "
                f"pip install '{requirement.name}{wanted}'"
            )
