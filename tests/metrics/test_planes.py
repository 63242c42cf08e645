"""Planes, chunks and lanes: by hand on a small layer, and against the spikes that are counted beside them."""

from __future__ import annotations

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import GPTQ_GROUP, RTN, Workshop, recipe
from spike_compressor.errors import InputError
from spike_compressor.layer_kinds import layer_kind
from spike_compressor.metrics import record_planes
from spike_compressor.runtime import observing, spiking_layers


def test_every_chunk_and_lane_is_counted(workshop: Workshop) -> None:
    """Against loops over the codes, in groups of weight scales and without padding."""
    model, _ = workshop.made("llava", recipe(GPTQ_GROUP))
    layers = spiking_layers(model)
    name = next(name for name in layers if name.endswith("down_proj"))
    layer, lanes, slots = layers[name], 4, 2
    events = []
    with (
        observing(model, layers=lambda _, event: events.append(event), names=[name]),
        record_planes(model, lanes, slots) as record,
    ):
        tiny_models.logits(model, workshop.batch("llava"))
    groups, K = layer.integer.groups, layer.in_features
    assert groups > 1
    for code, modality in enumerate(("text", "vision")):
        T = layer.spec.timesteps[modality]
        spikes = fullest = 0
        firing_rows, firing_chunks, rows = [0] * T, [0] * T, 0
        for event in events:
            for m in range(len(event.codes)):
                if int(event.modality[m]) != code or (event.valid is not None and not event.valid[m]):
                    continue
                rows += 1
                magnitudes = event.codes[m].abs().int().tolist()
                for bit in range(T):
                    fired = [(magnitude >> bit) & 1 for magnitude in magnitudes]
                    firing_rows[bit] += any(fired)
                    for start in range(0, K, K // groups):
                        group = fired[start : start + K // groups]
                        firing_chunks[bit] += sum(any(group[i : i + lanes]) for i in range(0, len(group), lanes))
                        for first in range(0, len(group), lanes * slots):
                            block = group[first : first + lanes * slots]
                            spikes += sum(block)
                            fullest += max(sum(block[lane::lanes]) for lane in range(lanes))
        counts = record.layers[name, modality]
        assert (counts.spikes, counts.fullest, counts.inputs) == (spikes, fullest, rows * K)
        assert (counts.firing_rows, counts.firing_chunks) == (firing_rows, firing_chunks)
        assert counts.rows == [rows] * T
        assert counts.chunks == [rows * groups * -(-(K // groups) // lanes)] * T
        assert rows > 0


@pytest.mark.parametrize("coding", ["tc_lif", "csd", "binary_unsigned"])
def test_spikes_are_those_of_record_spikes(workshop: Workshop, coding: str) -> None:
    model, _ = workshop.made("llava", recipe(RTN, f"coding: {coding}"))
    with spike_compressor.record_spikes(model) as spikes, record_planes(model) as planes:
        tiny_models.logits(model, workshop.batch("llava"))
    for key, layer in spikes.layers.items():
        assert planes.layers[key].spikes == layer.spikes
        assert planes.layers[key].inputs == layer.neurons
        assert len(planes.layers[key].rows) == layer.steps
    table = planes.to_dict()
    assert next(iter(table["by_kind"])) == "vision tower"
    assert table["all"]["spikes_per_input"] == pytest.approx(
        sum(layer.spikes for layer in spikes.layers.values()) / sum(layer.neurons for layer in spikes.layers.values())
    )
    assert table["all"]["imbalance"] > 1  # lanes are never quite even


def test_a_model_must_spike() -> None:
    with pytest.raises(InputError, match=naming("does not spike")), record_planes(torch.nn.Linear(2, 2)):
        pass


@pytest.mark.parametrize(
    ("name", "modalities", "kind"),
    [
        ("model.layers.3.self_attn.k_proj", ["text"], "q/k/v"),
        ("model.language_model.layers.0.self_attn.o_proj", ["text", "vision"], "o"),
        ("model.layers.0.mlp.up_proj", ["text"], "gate/up"),
        ("model.vision_tower.encoder.layers.0.self_attn.q_proj", ["vision"], "vision tower"),
        ("model.multi_modal_projector.linear_1", ["vision"], "projector"),
        ("model.audio_tower.layers.0.fc1", ["audio"], "audio tower"),
        ("transformer.h.0.mlp.dense_h_to_4h", ["text"], "dense_h_to_4h"),
    ],
)
def test_kinds(name: str, modalities: list[str], kind: str) -> None:
    assert layer_kind(name, modalities) == kind
