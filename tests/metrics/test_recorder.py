"""What is counted is what fired: against brute force over the spike trains, and against hand counts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.coding import encode
from spike_compressor.errors import InputError
from spike_compressor.metrics import LayerRecord, SpikeRecord
from spike_compressor.metrics.encoded import spikes_by_row
from spike_compressor.modality import rows_by_modality
from spike_compressor.runtime import observing, spiking_layers

ASYMMETRIC = RTN.replace(
    "channel}}}", "channel}, input_activations: {num_bits: 5, strategy: token, dynamic: true, symmetric: false}}}"
)
CASES = {
    "tc_lif": recipe(RTN),
    "csd": recipe(RTN, "threshold_ratio: 0.7, coding: csd"),
    "unary": recipe(RTN, "coding: unary"),
    "unsigned": recipe(RTN, "coding: binary_unsigned"),
    "asymmetric": recipe(ASYMMETRIC, msts=None),
    "static": recipe(RTN, "threshold: static, threshold_observer: mse"),
}


@pytest.mark.parametrize("case", CASES)
def test_spikes_of_the_rows_are_those_of_the_layer(case: str, workshop: Workshop) -> None:
    model, _ = workshop.made("llava", CASES[case])
    fired: Counter[tuple[str, str]] = Counter()

    def count(layer: Any, event: Any) -> None:
        spikes = spikes_by_row(layer.spec, event, layer.silenced)
        for modality, rows in rows_by_modality(event.modality, event.valid).items():
            fired[event.name, modality] += int(spikes[rows].sum())

    with spike_compressor.record_spikes(model) as record, observing(model, layers=count):
        tiny_models.logits(model, workshop.batch("llava"))
    assert fired == {key: entry.spikes for key, entry in record.layers.items()}
    assert min(fired.values()) > 0


@pytest.mark.parametrize("case", CASES)
def test_counts_are_those_of_the_spike_trains_without_padding(case: str, workshop: Workshop) -> None:
    model, _ = workshop.made("llava", CASES[case])
    batch = workshop.batch("llava")
    events: list[Any] = []
    layers = spiking_layers(model)
    for layer in layers.values():
        layer.observers.append(lambda _, event: events.append(event))
    with spike_compressor.record_spikes(model) as record:
        tiny_models.logits(model, batch)
    for layer in layers.values():
        layer.observers.clear()
    assert {name for name, _ in record.layers} == set(layers)
    spikes: dict[tuple[str, str], int] = {}
    rows: dict[tuple[str, str], int] = {}
    by_step: dict[tuple[str, str], torch.Tensor] = {}
    saturated = 0
    for event in events:
        layer = layers[event.name]
        for m in range(len(event.x)):
            if event.valid is not None and not event.valid[m]:
                continue
            zero = None if event.zero_point is None else int(event.zero_point[m])
            train = encode(
                event.x[m : m + 1], event.scale[m], int(event.timesteps[m]), layer.spec.coding, zero_point=zero
            )
            key = event.name, ("text", "vision")[int(event.modality[m])]
            spikes[key] = spikes.get(key, 0) + train.count()
            rows[key] = rows.get(key, 0) + 1
            by_step[key] = by_step.get(key, 0) + train.spikes.ne(0).sum((1, 2))
            saturated += train.saturated
    assert record.saturated == saturated
    assert {key: entry.rows for key, entry in record.layers.items()} == rows
    for key, entry in record.layers.items():
        assert entry.spikes == spikes[key]
        assert entry.spikes_by_step() == by_step[key].tolist()
        assert entry.sops == spikes[key] * layers[key[0]].out_features
        assert entry.firing_rate == pytest.approx(spikes[key] / (rows[key] * entry.in_features * entry.steps))
        assert entry.macs == rows[key] * entry.in_features * entry.out_features
    valid = batch["attention_mask"].bool()
    vision = int((batch["input_ids"] == tiny_models.IMAGE).sum())
    assert record.tokens == {"vision": vision, "text": int(valid.sum()) - vision}
    for modality in ("text", "vision"):
        total = sum(entry.sops for (_, name), entry in record.layers.items() if name == modality)
        assert record.sops_per_token(modality) == pytest.approx(total / record.tokens[modality])
    assert sum(record.layers[key].histogram.sum() for key in record.layers) == sum(
        entry.neurons for entry in record.layers.values()
    )


def test_padding_of_text_only_models_is_not_counted_either(workshop: Workshop) -> None:
    model, _ = workshop.made("llama", recipe(RTN))
    alone = {"input_ids": torch.tensor([tiny_models.words(5, 1)])}
    padded = {
        "input_ids": torch.cat([torch.zeros(1, 3, dtype=torch.long), alone["input_ids"]], 1),
        "attention_mask": torch.tensor([[0] * 3 + [1] * 5]),
    }
    with spike_compressor.record_spikes(model) as expected:
        tiny_models.logits(model, alone)
    with spike_compressor.record_spikes(model) as record:
        tiny_models.logits(model, padded)
    assert record.tokens == expected.tokens == {"text": 5}
    assert {entry.rows for entry in record.layers.values()} == {5}
    first = min(record.layers)
    assert record.layers[first].spikes == expected.layers[first].spikes


def test_silent_neurons_are_not_counted(workshop: Workshop) -> None:
    for text in (recipe(RTN), recipe(RTN, "coding: binary_unsigned")):
        model = spike_compressor.load(workshop.made("llava", text)[1])
        name = "model.language_model.layers.0.mlp.up_proj"
        layer = spiking_layers(model)[name]
        quiet = torch.arange(layer.in_features) % 3 == 0
        layer.silence(quiet)
        with spike_compressor.record_spikes(model) as record:
            tiny_models.logits(model, workshop.batch("llava"))
        assert record.dead[name] >= int(quiet.sum())
        layer.silence(torch.ones(layer.in_features, dtype=torch.bool))
        with spike_compressor.record_spikes(model) as record:
            tiny_models.logits(model, workshop.batch("llava"))
        assert record.layers[name, "text"].spikes == 0
        assert record.dead[name] == layer.in_features


def test_mean_timesteps_weighted_and_not() -> None:
    record = SpikeRecord()
    record.layers["a", "text"] = LayerRecord(4, 4, "tc_lif", 10, 20, rows=5)
    record.layers["a", "vision"] = LayerRecord(3, 3, "tc_lif", 10, 20, rows=15)
    record.layers["b", "text"] = LayerRecord(6, 6, "tc_lif", 40, 20, rows=5)
    record.layers["never", "text"] = LayerRecord(7, 7, "tc_lif", 10, 20)
    assert record.mean_timesteps() == pytest.approx((4 * 1000 + 3 * 3000 + 6 * 4000) / 8000)
    assert record.mean_timesteps(weighted=False) == pytest.approx(13 / 3)
    assert record.mean_timesteps("text") == pytest.approx((4 * 1000 + 6 * 4000) / 5000)
    assert record.mean_timesteps("vision", weighted=False) == 3
    assert SpikeRecord().mean_timesteps() == 0
    assert SpikeRecord().coverage() == 0


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_coverage_is_the_hand_count(workshop: Workshop, attention: str) -> None:
    _, path = workshop.made("llava", recipe(RTN))
    model = spike_compressor.load(path, attn_implementation=attention)
    batch = tiny_models.collate([tiny_models.sample(0, 5), tiny_models.sample(4, 5)])
    B, L = batch["input_ids"].shape
    assert bool(batch["attention_mask"].all())
    with spike_compressor.record_spikes(model) as record:
        tiny_models.logits(model, batch)
    H, inner, patches = 64, 128, 5
    text_linear = 2 * B * L * (H * H + 2 * H * 32 + H * H + 3 * H * inner)
    tower_linear = 2 * B * patches * (4 * H * H + 2 * H * inner)
    projector = B * 4 * 2 * H * H
    spiking = text_linear + tower_linear + projector
    assert sum(entry.macs for entry in record.layers.values()) == spiking
    convolution = B * 4 * 3 * 16 * 16 * H
    attention_macs = 2 * 2 * B * (L * L * H + patches * patches * H)
    head = B * L * H * tiny_models.VOCABULARY
    other = convolution + attention_macs + head
    # rotary embeddings multiply positions and frequencies as a matrix product: 8 frequencies
    assert other <= record.other_macs <= other + B * L * 8 * 2
    assert record.coverage() == pytest.approx(spiking / (spiking + other), rel=1e-3)
    assert 0 < record.coverage() < 1


def test_recording_changes_nothing_and_leaves_nothing(workshop: Workshop) -> None:
    model, _ = workshop.made("llava", recipe(RTN))
    batch = workshop.batch("llava")
    expected = tiny_models.logits(model, batch)
    with spike_compressor.record_spikes(model) as record:
        assert torch.equal(tiny_models.logits(model, batch), expected)
        once = record.tokens["text"]
        tiny_models.logits(model, batch)
    assert record.tokens["text"] == 2 * once
    assert all(not layer.observers for layer in spiking_layers(model).values())
    tiny_models.logits(model, batch)
    assert record.tokens["text"] == 2 * once
    with pytest.raises(RuntimeError, match="stop"), spike_compressor.record_spikes(model):
        raise RuntimeError("stop")
    assert all(not layer.observers for layer in spiking_layers(model).values())
    with (
        pytest.raises(InputError, match=naming("TCLIFModifier", "spike_compressor.load()")),
        spike_compressor.record_spikes(workshop.model("llava")),
    ):
        pass


def test_the_report_is_plain(workshop: Workshop) -> None:
    import json

    for kind in ("llava", "llama"):
        model, _ = workshop.made(kind, recipe(RTN))
        with spike_compressor.record_spikes(model) as record:
            tiny_models.logits(model, workshop.batch(kind))
        report = record.to_dict()
        assert json.loads(json.dumps(report)) == report
        assert report["timesteps"] == ({"text": 4.0, "vision": 3.0} if kind == "llava" else {"text": 4.0})


def test_generated_tokens_are_text(workshop: Workshop) -> None:
    model, _ = workshop.made("llava", recipe(RTN))
    batch = workshop.batch("llava")
    with spike_compressor.record_spikes(model) as prefill:
        tiny_models.logits(model, batch)
    with spike_compressor.record_spikes(model) as record:
        model.generate(**batch, max_new_tokens=4, do_sample=False, eos_token_id=None)
    assert record.tokens["vision"] == prefill.tokens["vision"]
    assert record.tokens["text"] == prefill.tokens["text"] + 3 * 3
