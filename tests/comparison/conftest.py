"""What several comparisons are made of."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of the demo's architecture. Not to be changed."""
    from spike_compressor.demo.model import build

    path = tmp_path_factory.mktemp("models") / "untrained"
    for part in build(seed=0):
        part.save_pretrained(path)
    return path
