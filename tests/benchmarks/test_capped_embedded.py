"""Capped firing's benchmark: words of codes, noise over another code's, which thresholds a plan gets."""

from __future__ import annotations

import capped_embedded
import numpy as np
import pytest
import torch
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.coding import spikes_from_codes
from spike_compressor.estimate.words import block_words, lane_counts
from spike_compressor.runtime import spiking_layers


def test_words_are_those_of_the_core() -> None:
    codes = torch.randint(-7, 8, (5, 100), generator=torch.Generator().manual_seed(0), dtype=torch.int8)
    spikes = spikes_from_codes(codes, 3).spikes.numpy()
    counts, blocks = lane_counts(spikes, np.full(5, 3), 100, 8, 8)
    assert capped_embedded.words(codes) == block_words(counts, blocks, 8).sum()
    full = torch.zeros(1, 64, dtype=torch.int8)
    full[0, ::8] = 1
    assert capped_embedded.words(full) == 8  # one lane has all spikes


def test_noise_is_a_geometric_mean_of_pairs() -> None:
    own, other = ([[1.0, noise, 0.0] for noise in values] for values in ((2.0, 0.5, 4.0), (1.0, 1.0, 1.0)))
    found = capped_embedded.ratio_of(own, other)
    assert found["estimate"] == pytest.approx(4 ** (1 / 3))
    assert found["low"] < found["estimate"] < found["high"]


def test_a_plan_gets_finer_thresholds_and_keeps_its_range(workshop: Workshop) -> None:
    neurons = "threshold_statistic: rms, threshold_ratio: {vision: 0.5, text: 0.4}"
    model = workshop.made("llava", recipe(RTN, neurons, "{allocation: fixed, timesteps: {vision: 5, text: 7}}"))[0]
    plan = {name: layer.spec for name, layer in spiking_layers(model).items()}
    try:
        capped_embedded.put_on(model, plan, "tc_lif_capped", 0.5)
        for layer in spiking_layers(model).values():
            assert (layer.spec.coding, layer.spec.timesteps) == ("tc_lif_capped", {"vision": 6, "text": 7})
            assert layer.spec.ratio == {"vision": 0.25, "text": 0.2}
    finally:
        capped_embedded.put_on(model, plan, "tc_lif", 1.0)
    assert {name: layer.spec for name, layer in spiking_layers(model).items()} == plan
