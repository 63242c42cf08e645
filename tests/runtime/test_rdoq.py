"""Codes chosen with their spikes in mind, in layers and models: every way to compute has the same; records, files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import spike_compressor
import torch
from helpers.messages import naming
from helpers.tiny_models import logits
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.checkpoint import read_config
from spike_compressor.coding import quantize_rows
from spike_compressor.errors import InputError
from spike_compressor.kernels import using_level
from spike_compressor.metrics.records import recoded
from spike_compressor.runtime import spiking_layers
from spike_compressor.runtime.reference import integer_activations

NEURONS = "coding: {coding}, threshold_statistic: rms, threshold_ratio: {{vision: 0.5, text: 0.4}}"
PLANNED = "{allocation: fixed, timesteps: {vision: 5, text: 7}}"


def made(workshop: Workshop, coding: str = "tc_lif_rdoq") -> tuple[Any, Any]:
    return workshop.made("llava", recipe(RTN, NEURONS.format(coding=coding), PLANNED))


def test_a_recipe_makes_a_checkpoint_that_opens(workshop: Workshop) -> None:
    model, path = made(workshop)
    assert {entry.coding for entry in read_config(path).plan.values()} == {"tc_lif_rdoq"}
    batch = workshop.batch("llava")
    expected = logits(model, batch)
    for backend in ("fused", "unrolled"):
        opened = spike_compressor.load(path, backend=backend)
        assert torch.equal(logits(opened, batch), expected)
        with integer_activations(opened):  # by the definition, in another arithmetic
            assert torch.equal(logits(opened, batch), expected)


def test_observers_see_the_codes_of_the_coding(workshop: Workshop) -> None:
    model = made(workshop)[0]
    seen = []
    layers = spiking_layers(model)
    for layer in layers.values():
        layer.observers.append(lambda _, event: seen.append(event))
    try:
        logits(model, workshop.batch("llava"))
    finally:
        for layer in layers.values():
            layer.observers.clear()
    assert len(seen) >= len(layers) / 2
    others = 0
    for event in seen:
        codes = quantize_rows(event.x, event.scale, event.timesteps, "tc_lif_rdoq")[0]
        assert torch.equal(event.codes.to(codes.dtype), codes)
        others += int((codes != quantize_rows(event.x, event.scale, event.timesteps)[0]).sum())
    assert others  # q, k and v share inputs with nobody that rounds otherwise


def test_records_count_fewer_spikes_and_other_codings_have_none_of_these_codes(workshop: Workshop) -> None:
    counted = {}
    for coding in ("tc_lif", "tc_lif_rdoq"):
        model = made(workshop, coding)[0]
        with spike_compressor.record_spikes(model, operations=False) as record:
            logits(model, workshop.batch("llava"))
        counted[coding] = sum(entry.spikes for entry in record.layers.values())
    assert counted["tc_lif_rdoq"] < 0.9 * counted["tc_lif"]  # of coarser ratios both would need fewer
    with pytest.raises(InputError, match=naming("tc_lif_rdoq", "csd")):
        recoded(record, "csd")
    assert recoded(record, "tc_lif_rdoq").to_dict() == record.to_dict()


def test_layers_of_one_input_and_two_roundings_have_their_own_codes(workshop: Workshop) -> None:
    """What is encoded once for q, k and v is encoded again where one of them rounds otherwise."""
    model = spike_compressor.load(made(workshop)[1])
    for name, layer in spiking_layers(model).items():
        if name.endswith("k_proj"):
            layer.neurons.spec = replace(layer.spec, coding="tc_lif")
    batch = workshop.batch("llava")
    expected = logits(model, batch)
    with using_level("torch"):
        assert torch.equal(logits(model, batch), expected)
    assert not torch.equal(logits(made(workshop)[0], batch), expected)


@pytest.mark.parametrize(
    ("neurons", "plan"),
    [
        ("threshold_ratio: auto, timesteps: 3", None),
        ("threshold_ratio: auto, threshold_statistic: rms, timesteps: 7", None),
        ("threshold: static, threshold_observer: mse, timesteps: 4", None),
        (
            "threshold_ratio: auto, threshold_statistic: rms",
            "{allocation: sensitivity, budget: {sops_per_token: 9.0e4}}",
        ),
    ],
)
def test_calibration_chooses_for_it(workshop: Workshop, neurons: str, plan: str | None) -> None:
    chosen = {}
    for coding in ("tc_lif", "tc_lif_rdoq"):
        model = workshop.oneshot("llava", recipe(RTN, f"coding: {coding}, {neurons}", plan))
        specs = [layer.spec for layer in spiking_layers(model).values()]
        assert {spec.coding for spec in specs} == {coding}
        chosen[coding] = [tuple((spec.scale or spec.ratio).values()) for spec in specs]
    assert chosen["tc_lif"] != chosen["tc_lif_rdoq"]


def test_gradients_pass_straight_through(workshop: Workshop) -> None:
    model = spike_compressor.load(made(workshop)[1])
    layer = next(layer for name, layer in spiking_layers(model).items() if name.endswith("fc1"))
    x = torch.randn(4, layer.in_features, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    expected = layer.integer.floats().sum(dim=0).expand_as(x)
    passed = x.grad != 0
    assert passed.float().mean() > 0.9
    assert torch.allclose(x.grad[passed], expected[passed])
