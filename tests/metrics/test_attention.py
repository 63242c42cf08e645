"""What attention products are counted as: by brute force over spike trains, and coverage by a hand count."""

from __future__ import annotations

from typing import Any

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.coding import encode
from spike_compressor.metrics import SpikeRecord, measure_activity
from spike_compressor.runtime import spiking_attention

TOWER = '"re:.*self_attn$"'
ATTENTION = f"attention: {{targets: [{TOWER}], timesteps: {{vision: 3, text: 5}}}}"
CASES = {
    "tc_lif": recipe(RTN, ATTENTION),
    "csd": recipe(RTN, ATTENTION.replace("targets", "threshold_ratio: 0.6, coding: csd, targets")),
    "unary": recipe(RTN, ATTENTION.replace("targets", "coding: unary, targets")),
}


@pytest.mark.parametrize(
    ("case", "side"), [("tc_lif", "left"), ("tc_lif", "right"), ("csd", "left"), ("unary", "left")]
)
def test_counts_are_those_of_the_spike_trains_without_padding(case: str, side: str, workshop: Workshop) -> None:
    model, _ = workshop.made("llava", CASES[case])
    batch = workshop.batch("llava", side)
    events: list[Any] = []
    for attention in spiking_attention(model).values():
        attention.observers.append(lambda _, event: events.append(event))
    with spike_compressor.record_spikes(model) as record:
        tiny_models.logits(model, batch)
    for attention in spiking_attention(model).values():
        attention.observers.clear()
    coding = next(iter(spiking_attention(model).values())).spec.rows.coding
    expected: dict[tuple[str, str, str], dict[str, int]] = {}
    for event in events:
        for code, modality in enumerate(("text", "vision")):
            rows = event.modality == code
            if event.valid is not None:
                rows &= event.valid
            if not rows.any():
                continue
            train = encode(event.x[rows], event.scale[rows], event.timesteps[rows], coding)
            attended = event.attended[rows]
            reach = {"q": attended, "p": event.out_features, "k": 0, "v": 0}[event.operand]
            key = event.name, event.operand, modality
            counts = expected.setdefault(key, dict.fromkeys(("rows", "spikes", "sops", "neurons", "saturated"), 0))
            counts["rows"] += int(rows.sum())
            counts["spikes"] += train.count()
            counts["sops"] += int((train.count_per_row() * reach).sum())
            counts["neurons"] += int(attended.sum()) if event.operand == "p" else event.x[rows].numel()
            counts["saturated"] += train.saturated
    assert record.attention.keys() == expected.keys()
    for key, counts in expected.items():
        entry = record.attention[key]
        assert {name: getattr(entry, name) for name in counts} == counts
        assert int(entry.histogram.sum()) == entry.neurons
        assert 0 < entry.firing_rate <= 1
    if case == "csd":
        assert record.saturated > 0
    linear = sum(entry.sops for entry in record.layers.values())
    products = sum(counts["sops"] for counts in expected.values())
    assert record.sops_per_token() == pytest.approx((linear + products) / sum(record.tokens.values()))


def test_causal_queries_reach_the_keys_before_them(workshop: Workshop) -> None:
    model, _ = workshop.made("llama", recipe(RTN, "attention: {timesteps: 5}"))
    batch = tiny_models.collate([tiny_models.sample(0, 6, 0)])
    events: list[Any] = []
    attention = next(iter(spiking_attention(model).values()))
    attention.observers.append(lambda _, event: events.append(event))
    tiny_models.logits(model, batch)
    attention.observers.clear()
    L = batch["input_ids"].shape[1]
    for event in events:
        if event.operand in "qp":
            assert event.attended.view(4, L).tolist() == [list(range(1, L + 1))] * 4


@pytest.mark.parametrize(("attention", "backend"), [("sdpa", "fused"), ("eager", "unrolled")])
def test_coverage_takes_the_products_in(workshop: Workshop, attention: str, backend: str) -> None:
    batch = tiny_models.collate([tiny_models.sample(0, 5), tiny_models.sample(4, 5)])
    B, L = batch["input_ids"].shape
    records = {}
    texts = {"off": recipe(RTN), "decoder": recipe(RTN, "attention: {timesteps: 5}"), "all": CASES["tc_lif"]}
    for name, text in texts.items():
        path = workshop.made("llava", text)[1]
        model = spike_compressor.load(path, backend, attn_implementation=attention)
        with spike_compressor.record_spikes(model) as records[name]:
            tiny_models.logits(model, batch)
    H, patches = 64, 5
    decoder, tower = 2 * 2 * B * L * L * H, 2 * 2 * B * patches * patches * H
    off = records["off"]
    for name, products in (("decoder", decoder), ("all", decoder + tower)):
        record = records[name]
        assert sum(entry.macs for entry in record.attention.values()) == products
        assert record.other_macs == off.other_macs - products
        total = sum(entry.macs for entry in record.layers.values()) + products + record.other_macs
        assert record.coverage() == pytest.approx(1 - record.other_macs / total)
    assert off.coverage() < records["decoder"].coverage() < records["all"].coverage()


def test_two_recordings_add_up(workshop: Workshop) -> None:
    model, _ = workshop.made("llava", CASES["tc_lif"])
    total = SpikeRecord()
    for seed in (1, 2):
        with spike_compressor.record_spikes(model) as one:
            tiny_models.logits(model, tiny_models.collate([tiny_models.sample(seed, 5)]))
        total.add(one)
    with spike_compressor.record_spikes(model) as both:
        for seed in (1, 2):
            tiny_models.logits(model, tiny_models.collate([tiny_models.sample(seed, 5)]))
    assert total.attention.keys() == both.attention.keys()
    for key, entry in both.attention.items():
        for counted in ("spikes", "sops", "macs", "neurons", "rows", "ends"):
            assert getattr(total.attention[key], counted) == getattr(entry, counted)
    assert total.firing_rate() == both.firing_rate()


def test_the_report_says_what_attention_does(workshop: Workshop) -> None:
    batch = workshop.batch("llava")
    off = measure_activity(workshop.made("llava", recipe(RTN))[0], [batch])
    model, _ = workshop.made("llava", CASES["tc_lif"])
    on = measure_activity(model, [batch])
    assert "attention" not in off
    assert on["attention"].keys() == spiking_attention(model).keys()
    assert on["totals"]["coverage"] > off["totals"]["coverage"]
    for name, operands in on["attention"].items():
        assert set(operands) == set("qkpv")
        for rows in operands.values():
            assert set(rows) == ({"vision"} if "vision_tower" in name else {"vision", "text"})
            assert all(0 < row["firing_rate"] <= 1 for row in rows.values())


def test_recording_leaves_nothing_behind(workshop: Workshop) -> None:
    model, _ = workshop.made("llava", CASES["tc_lif"])
    batch = workshop.batch("llava")
    expected = tiny_models.logits(model, batch)
    with spike_compressor.record_spikes(model):
        assert torch.equal(tiny_models.logits(model, batch), expected)
    assert all(not one.observers and not one.contexts for one in spiking_attention(model).values())
