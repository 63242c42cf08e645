"""Products of spiking attention in bundles: each head of keys of each sequence a layer that hardware can replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import Workshop
from spike_compressor import export_trace, set_backend
from spike_compressor.errors import InputError
from spike_compressor.modality import adapter_for
from spike_compressor.runtime import AttentionSpec, LayerSpec, attach, decoder_attention, spiking_attention
from spike_compressor.trace import Threshold, validate

NAME = "model.language_model.layers.0.self_attn"


def spiking(workshop: Workshop, **rows: Any) -> Any:
    """A model whose attention spikes and whose Linears do not."""
    model = workshop.model("llava")
    adapter = adapter_for(model)
    spec = AttentionSpec(LayerSpec({"vision": 3, "text": 5}, ratio={"vision": 0.8, "text": 0.8}, **rows))
    attach(model, {}, adapter, attention=dict.fromkeys(decoder_attention(model, adapter), spec))
    return model


def events_of(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
    events: dict[str, Any] = {}
    observers = spiking_attention(model)[NAME].observers
    observers.append(lambda _, event: events.update({event.operand: event}))
    tiny_models.logits(model, batch)
    observers.clear()
    return events


@pytest.mark.parametrize("coding", ["tc_lif", "csd"])
def test_every_product_of_a_padded_batch(coding: str, workshop: Workshop, tmp_path: Path) -> None:
    model, batch = spiking(workshop, coding=coding), workshop.batch("llava", "left")
    bundle = validate(export_trace(model, batch, tmp_path / "trace"))
    valid = batch["attention_mask"].bool()
    sequences, length = valid.shape
    config = model.config.text_config
    heads, shared = config.num_attention_heads, config.num_attention_heads // config.num_key_value_heads
    expected = [
        f"{name}.{product}.{sequence}.{head}"
        for name in spiking_attention(model)
        for product in ("q_k", "p_v")
        for sequence in range(sequences)
        for head in range(heads // shared)
    ]
    assert [info.name for info in bundle.infos] == expected

    events = events_of(model, batch)
    for operand, product, synapse in (("q", "q_k", "k"), ("p", "p_v", "v")):
        fired = events[operand].codes.view(sequences, heads, length, -1)
        other = events[synapse].codes.view(sequences, heads // shared, length, -1).numpy()
        for sequence in range(sequences):
            for head in range(heads // shared):
                layer = bundle.layer(f"{NAME}.{product}.{sequence}.{head}")
                rows = fired[sequence, head * shared : (head + 1) * shared, valid[sequence]].flatten(0, 1)
                assert np.array_equal(layer["codes"], rows.numpy())
                keys = other[sequence, head]
                assert np.array_equal(layer["weight"], keys if operand == "q" else keys.T)
                assert (layer.info.weight_bits, layer.info.coding) == (6, coding)
                assert layer.info.threshold == Threshold("dynamic", "absmax", {"text": 0.8, "vision": 0.8})
    scores = bundle.layer(f"{NAME}.q_k.0.0")
    scale = events["k"].scale.view(sequences, heads // shared, length)[0, 0]
    assert np.array_equal(scores["weight_scale"], scale.numpy())
    assert (bundle.layer(f"{NAME}.p_v.0.0")["weight_scale"] == 1).all()


def test_chosen_modules_and_tokens(workshop: Workshop, tmp_path: Path) -> None:
    model, batch = spiking(workshop), workshop.batch("llava", "right")
    whole = validate(export_trace(model, batch, tmp_path / "whole", layers=[NAME]))
    assert {info.name.rpartition(".q_k")[0] or info.name.rpartition(".p_v")[0] for info in whole.infos} == {NAME}
    heads = whole.layer(f"{NAME}.q_k.0.0").info.tokens // int(batch["attention_mask"][0].sum())
    some = validate(export_trace(model, batch, tmp_path / "some", layers=[NAME], tokens=[4, 1]))
    assert {info.name.split(".")[-2] for info in some.infos} == {"0"}  # both are the first sequence's
    layer, all_rows = some.layer(f"{NAME}.q_k.0.0"), whole.layer(f"{NAME}.q_k.0.0")["codes"]
    of_head = all_rows.reshape(heads, -1, all_rows.shape[1])
    assert np.array_equal(layer["codes"], of_head[:, [1, 4]].reshape(2 * heads, -1))
    few = validate(export_trace(model, batch, tmp_path / "few", layers=[NAME], tokens=6))
    assert {info.tokens for info in few.infos} == {6}
    assert set(few.layer(f"{NAME}.p_v.0.1")["modality"]) == {0, 1}
    with pytest.raises(InputError, match=naming("'self_attn'", NAME)):
        export_trace(model, batch, tmp_path / "none", layers=["self_attn"])


@pytest.mark.usefixtures("simulated_core")
def test_what_the_simulated_core_computes_is_the_same_bundle(workshop: Workshop, tmp_path: Path) -> None:
    model, batch = spiking(workshop), workshop.batch("llava")
    bundle = export_trace(model, batch, tmp_path / "fused", layers=[NAME])
    assert set_backend(model, "rtl", NAME) == [NAME]
    other = export_trace(model, batch, tmp_path / "rtl", layers=[NAME])
    names = sorted(path.name for path in bundle.glob("*.npz"))
    assert len(names) > 4
    for name in names:
        with np.load(bundle / name) as one, np.load(other / name) as two:
            assert set(one) == set(two)
            assert all(np.array_equal(one[key], two[key]) for key in one)


def test_codings_that_bundles_do_not_hold_are_refused(workshop: Workshop, tmp_path: Path) -> None:
    model = spiking(workshop, coding="unary")
    with pytest.raises(InputError, match=naming("self_attn", "'unary'", "trace bundles hold tc_lif")):
        export_trace(model, workshop.batch("llava"), tmp_path / "trace")
