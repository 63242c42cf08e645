"""Spikes carry what integers carry: the reference without spikes gives the same logits."""

from __future__ import annotations

import pytest
import torch
from helpers import tiny_models
from helpers.workshop import GPTQ, GPTQ_GROUP, RTN, Workshop, recipe
from spike_compressor.runtime.reference import integer_activations

ASYMMETRIC = RTN.replace(
    "strategy: channel}",
    "strategy: channel}, input_activations: {num_bits: 5, type: int, symmetric: false, strategy: token, dynamic: true}",
    1,
)


@pytest.mark.parametrize(
    "text",
    [
        recipe(RTN),
        recipe(GPTQ_GROUP, "threshold_ratio: 0.7"),
        recipe(GPTQ, "threshold: static, coding: csd"),
        recipe(RTN, "threshold_statistic: rms, threshold_ratio: 0.4"),
        recipe(ASYMMETRIC, msts=None),
        recipe(RTN, "coding: group4, threshold_statistic: rms, threshold_ratio: 0.4"),
    ],
    ids=["channel", "groups and a ratio", "static", "root mean square", "zero points", "group coding"],
)
def test_integer_activations_give_the_same_logits_to_the_bit(workshop: Workshop, text: str) -> None:
    model, _ = workshop.made("llava", text)
    for side in ("left", "right"):
        batch = workshop.batch("llava", side)
        spiking = tiny_models.logits(model, batch)
        with integer_activations(model):
            integers = tiny_models.logits(model, batch)
        assert torch.equal(spiking, integers)
        assert torch.equal(tiny_models.logits(model, batch), spiking)
