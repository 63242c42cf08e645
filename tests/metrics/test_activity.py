"""What fired: measured by really running, strict about spikes, and operations as PyTorch counts them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import GPTQ_GROUP, RTN, Workshop, recipe
from spike_compressor.checkpoint import read_config
from spike_compressor.coding import encode
from spike_compressor.errors import InputError
from spike_compressor.metrics import measure_activity
from spike_compressor.metrics.operations import OperationCounter
from spike_compressor.modifiers.activity import few_samples
from spike_compressor.runtime import SpikingInactiveError, SpikingLinear, spiking_layers, spiking_state
from spike_compressor.runtime.reference import weight_only
from torch.utils.flop_counter import FlopCounterMode

STATIC = recipe(RTN, "threshold: static, threshold_observer: mse")
QUIP = "QuIPModifier: {rotations: [v], transform_type: random-hadamard, precision: torch.float32, ignore: [lm_head]}"


@pytest.fixture
def model(workshop: Workshop) -> Any:
    return copy.deepcopy(workshop.made("llava", STATIC)[0])


def test_the_report_is_what_fired_on_these_samples(workshop: Workshop) -> None:
    model, path = workshop.made("llava", STATIC)
    state = spiking_state(model)
    activity = state.facts["activity"]
    (batch,) = few_samples(workshop.data("llava"), state, count=2)
    events: list[Any] = []
    for layer in state.layers.values():
        layer.observers.append(lambda _, event: events.append(event))
    tiny_models.logits(model, batch)
    for layer in state.layers.values():
        layer.observers.clear()
    again = measure_activity(model, [batch])
    assert again["run"] == {"samples": 2, "tokens": again["run"]["tokens"], "longest": batch["input_ids"].shape[1]}
    assert sum(again["run"]["tokens"].values()) == int(batch["attention_mask"].sum())
    for event in events:
        reported = again["layers"][event.name]
        layer = state.layers[event.name]
        valid = torch.ones(len(event.x), dtype=torch.bool) if event.valid is None else event.valid
        assert reported["inputs"] == layer.in_features
        assert reported["dead"] == int((event.codes[valid] == 0).all(0).sum())
        for code, modality in enumerate(("text", "vision")):
            rows = valid & (event.modality == code)
            if not rows.any():
                assert modality not in reported["modalities"]
                continue
            T = layer.spec.timesteps[modality]
            train = encode(event.x[rows], event.scale[rows], T, layer.spec.coding)
            entry = reported["modalities"][modality]
            assert entry["rows"] == int(rows.sum())
            assert entry["firing_rate"] == pytest.approx(train.count() / train.spikes.numel(), rel=1e-5)
            assert entry["saturation"] == pytest.approx(train.saturated / event.x[rows].numel(), rel=1e-5)
    assert (
        sum(
            layer["modalities"]["text"]["saturation"]
            for layer in again["layers"].values()
            if "text" in layer["modalities"]
        )
        > 0
    )
    with spike_compressor.record_spikes(model) as record:
        tiny_models.logits(model, batch)
    for name in ("text", "vision"):
        assert again["totals"]["firing_rate"][name] == pytest.approx(record.firing_rate(name), rel=1e-5)
        assert again["totals"]["sops_per_token"][name] == pytest.approx(record.sops_per_token(name), rel=1e-5)
    assert activity["run"]["samples"] == 4
    assert activity["never_called"] == []
    assert read_config(path).activity is not None


def test_coverage_knows_padding(workshop: Workshop) -> None:
    """A padded batch covers what its rows cover; padding is computed on both sides of the fraction."""
    model, _ = workshop.made("llama", recipe(GPTQ_GROUP))
    short, long = ({"input_ids": tiny_models.words(length, 3), "pixel_values": []} for length in (4, 30))
    alike = measure_activity(model, [tiny_models.collate([long, long])])["totals"]["coverage"]
    padded = measure_activity(model, [tiny_models.collate([short, long])])["totals"]["coverage"]
    assert padded == alike


def test_nothing_that_fires_is_an_error(model: Any, workshop: Workshop) -> None:
    layers = spiking_layers(model)
    batch = workshop.batch("llava")
    name, layer = next(iter(layers.items()))
    layer.silence(torch.arange(layer.in_features) < 5)
    assert measure_activity(model, [batch])["layers"][name]["dead"] >= 5
    for layer in layers.values():
        layer.silence(torch.ones(layer.in_features, dtype=torch.bool))
    with pytest.raises(SpikingInactiveError, match=naming(len(layers), "3 samples")):
        measure_activity(model, [batch])
    with pytest.raises(InputError, match=naming("batch")):
        measure_activity(model, [])


def test_an_output_without_neurons_is_an_error(model: Any, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = spiking_layers(model)
    batch = workshop.batch("llava")
    with (
        weight_only(model),
        pytest.raises(
            SpikingInactiveError, match=naming(next(iter(layers)), "_ReferenceLinear", "spike_compressor.load()")
        ),
    ):
        measure_activity(model, [batch])
    with monkeypatch.context() as patched:  # what no look at a module finds out
        patched.setattr(SpikingLinear, "forward", lambda self, x: torch.nn.functional.linear(x, self.integer.floats()))
        named = naming("self_attn.q_proj", "1 times", "0 times", len(layers) - 1)
        with pytest.raises(SpikingInactiveError, match=named):
            measure_activity(model, [batch])
    assert not any(layer.observers for layer in layers.values())
    assert measure_activity(model, [batch])["totals"]["coverage"] > 0.5


# Operations


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_operations_are_those_of_pytorchs_counter(workshop: Workshop, attention: str, inference: bool) -> None:
    kind = tiny_models.CLASSES["llama"]
    model = kind.from_pretrained(workshop.source("llama"), attn_implementation=attention)
    ids = {"input_ids": torch.tensor([tiny_models.words(9, 1)])}
    with torch.inference_mode(inference), torch.no_grad():
        with OperationCounter() as ours:
            model(**ids)
        with FlopCounterMode(display=False) as theirs:
            model(**ids)
    fused = 2 * 9 * 9 * 64 * 2 if attention == "sdpa" else 0  # the CPU's fused attention has no formula there
    assert ours.macs == theirs.get_total_flops() // 2 + fused


def test_online_rotations_are_operations_that_do_not_spike(workshop: Workshop) -> None:
    plain, _ = workshop.made("llava", recipe(RTN))
    rotated, _ = workshop.made("llava", recipe(QUIP + "\n" + RTN))
    batch = workshop.batch("llava")
    macs = []
    for model in (plain, rotated):
        with spike_compressor.record_spikes(model) as record:
            tiny_models.logits(model, batch)
        macs.append(record.other_macs)
    rows = dict.fromkeys(spiking_layers(rotated), 0)
    for (name, _), entry in record.layers.items():
        rows[name] += entry.rows
    least = sum(count * spiking_layers(rotated)[name].in_features ** 2 for name, count in rows.items())
    assert macs[1] - macs[0] >= least
