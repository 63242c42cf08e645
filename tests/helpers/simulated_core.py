"""A small core as a library, compiled once for these sources: what tests of backend `rtl` compute with."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from spike_compressor.rtl import VARIABLE

BACKENDS = ("fused", "unrolled", "rtl")


def backends(coding: str = "tc_lif") -> tuple[str, ...]:
    """Those that compute a coding."""
    return BACKENDS if coding in ("tc_lif", "csd") else BACKENDS[:2]


@pytest.fixture(scope="session")
def simulated_core() -> Iterator[None]:
    """Backend `rtl` has a core that compiles in seconds."""
    from library import SMALL, library

    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(library(SMALL, optimise="-O0"))
    yield
    os.environ.pop(VARIABLE)
    if before is not None:
        os.environ[VARIABLE] = before
