"""Fixtures that all tests share."""

from __future__ import annotations

import gc
import os
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")

import pytest
import torch
from helpers.order import longest_first
from helpers.simulated_core import simulated_core
from helpers.workshop import Workshop
from hypothesis import settings

__all__ = ["simulated_core"]  # a fixture

settings.register_profile("bounded", max_examples=150, deadline=None, database=None)
settings.register_profile("thorough", max_examples=2000, deadline=None, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "bounded"))

# tiny matrices: threads cost more than they bring, and results must not depend on their number
torch.set_num_threads(1)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest begin, so that no worker is left alone with one of them at the end."""
    items[:] = longest_first(items)


def pytest_collection_finish() -> None:
    """Leave modules and tests out of garbage collections: AutoRound and LLM Compressor ask for many of all objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    from loguru import logger

    logger.remove()  # LLM Compressor reports every layer
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(autouse=True)
def _no_stale_rows() -> Any:
    """No test may leave a modality mask behind."""
    from spike_compressor.modality import current_rows

    yield
    assert current_rows() is None
