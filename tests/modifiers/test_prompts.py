"""Some prompts in place of all: which are run, and what their counts say of all."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.metrics import record_spikes
from spike_compressor.modality import TokenRows
from spike_compressor.modifiers.prompts import Prompts
from spike_compressor.runtime import spiking_state


def rows(vision: int = 0, prompts: int = 2, length: int = 6) -> TokenRows:
    modality = torch.zeros(prompts, length, dtype=torch.uint8)
    modality[:, :vision] = 1
    return TokenRows(modality)


def taken(batches: list[TokenRows], samples: int | None) -> list[int]:
    prompts = Prompts(batches, samples)
    return [index for index, batch in enumerate(batches) if prompts.takes(batch)]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [(None, 8), (16, 8), (99, 8), (8, 4), (7, 4), (2, 1), (1, 1)],
)
def test_batches_are_spread_over_the_data(samples: int | None, expected: int) -> None:
    found = taken([rows(vision=2) for _ in range(8)], samples)
    # the first batch brings both modalities, whether it is its turn or not
    assert len(found) in (expected, expected + 1)
    later = [index for index in found if index]
    assert len(later) >= expected - 1
    gaps = [after - before for before, after in pairwise(later)]
    assert max(gaps, default=0) - min(gaps, default=0) <= 1


def test_the_first_of_a_modality_is_run_too() -> None:
    batches = [rows() for _ in range(12)]
    batches[5] = batches[7] = rows(vision=3)
    found = taken(batches, 4)
    assert 5 in found
    assert len(found) <= 4


def test_long_prompts_are_enough_sooner() -> None:
    """Going by the tokens of the first batch, padding left out; never more prompts than were asked for."""
    batches = [rows(prompts=4, length=100) for _ in range(10)]
    for tokens, expected in ((100, 1), (800, 2), (1200, 3), (99999, 6)):
        prompts = Prompts(batches, 24, tokens)
        assert sum(prompts.takes(batch) for batch in batches) in (expected, expected + 1), tokens
    padded = TokenRows(torch.zeros(4, 100, dtype=torch.uint8), torch.arange(100).expand(4, -1) < 10)
    prompts = Prompts([padded] * 10, 24, 160)
    assert sum(prompts.takes(padded) for _ in range(10)) in (4, 5)


def test_a_stream_is_run_whole() -> None:
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self) -> Any:
            yield from range(9)

    prompts = Prompts(torch.utils.data.DataLoader(Stream()), 2)
    assert all(prompts.takes(rows()) for _ in range(9))
    assert prompts.samples == 18
    assert prompts.of_all("text", 7) == 7


def test_counts_are_scaled_by_tokens() -> None:
    batches = [rows(vision=index % 3 + 1, length=8 + index) for index in range(9)]
    prompts, seen = Prompts(batches, 6), 0
    for batch in batches:
        if prompts.takes(batch):
            seen += batch.counts()["vision"]
    assert 6 <= prompts.samples < 18
    whole = sum(batch.counts()["vision"] for batch in batches)
    assert seen < whole
    assert prompts.of_all("vision", seen) == whole
    assert prompts.of_all("vision", 4 * seen) == 4 * whole  # a tower's patches
    assert prompts.of_all("audio", prompts.samples) == 18  # of no token: by prompts


def test_few_prompts_keep_the_budget_of_all(workshop: Workshop) -> None:
    """What a timestep weighs is that of all data, though gradients are taken of a few prompts."""
    msts = "{allocation: sensitivity, samples: 2, budget: {mean_timesteps: 3.25}}"
    model = workshop.oneshot("llava", recipe(RTN, msts=msts))
    budget = spiking_state(model).facts["budget"]
    assert 2 <= budget["samples"] <= 4
    with record_spikes(model) as record, torch.no_grad():
        for batch in workshop.data("llava"):
            model(**batch)
    assert budget["mean_timesteps_weighted"] == pytest.approx(record.mean_timesteps(), rel=1e-9)
    assert record.mean_timesteps() <= 3.25 * (1 + 1e-9)
