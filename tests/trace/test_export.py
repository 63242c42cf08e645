"""Bundles exported from a spiking vision-language model: complete, exact, the same from every backend."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spike_compressor
import torch
from helpers.messages import naming
from helpers.workshop import GPTQ_GROUP, RTN, Workshop, recipe
from spike_compressor import export_trace
from spike_compressor.errors import InputError
from spike_compressor.runtime import spiking_layers, spiking_state
from spike_compressor.trace import Bundle, BundleWriter, Threshold, TraceError, validate
from torch.overrides import _get_current_function_mode_stack

RECIPES = {
    "channel": recipe(RTN),
    "group": recipe(GPTQ_GROUP),
    "csd": recipe(RTN, "coding: csd"),
    "static": recipe(RTN, "threshold: static"),
    "rms": recipe(RTN, "threshold_statistic: rms, threshold_ratio: {vision: 0.5, text: 0.35}"),
    "mean_abs": recipe(RTN, "threshold_statistic: mean_abs, threshold_ratio: 1.5"),
    "ratio": recipe(RTN, "threshold_ratio: 0.7"),
    "T7": recipe(RTN, "timesteps: {vision: 1, text: 7}", msts=None),
    "unsigned": recipe(RTN, "coding: binary_unsigned"),
}
ARRAYS = ("membrane", "timesteps", "modality", "codes", "spikes", "weight", "acc", "act_scale")
ARRAYS += ("weight_scale", "output", "bias")
THRESHOLDS = {
    "static": Threshold("static"),
    "rms": Threshold("dynamic", "rms", {"vision": 0.5, "text": 0.35}),
    "mean_abs": Threshold("dynamic", "mean_abs", {"vision": 1.5, "text": 1.5}),
    "ratio": Threshold("dynamic", "absmax", {"vision": 0.7, "text": 0.7}),
}
DECODER = "model.language_model.layers.0.mlp.down_proj"
TOWER = "model.vision_tower.encoder.layers.0.mlp.fc1"


def made(workshop: Workshop, style: str) -> tuple[Any, Path]:
    return workshop.made("llava", RECIPES[style])


def real_tokens(batch: dict[str, torch.Tensor]) -> int:
    return int(batch["attention_mask"].sum())


def same(left: Bundle, right: Bundle) -> None:
    assert [info.name for info in left.infos] == [info.name for info in right.infos]
    for one, other in zip(left, right, strict=True):
        for key in ARRAYS:
            a, b = one[key], other[key]
            assert (a is None) == (b is None)
            if a is not None:
                assert a.dtype == b.dtype
                assert a.tobytes() == b.tobytes(), (one.name, key)


@pytest.mark.parametrize("style", [style for style in RECIPES if style != "unsigned"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_whole_models(style: str, side: str, workshop: Workshop, tmp_path: Path) -> None:
    model, path = made(workshop, style)
    batch = workshop.batch("llava", side)
    bundle = validate(export_trace(model, batch, tmp_path / "fused"))
    unrolled = spike_compressor.load(path, backend="unrolled")
    other = validate(export_trace(unrolled, batch, tmp_path / "unrolled"))
    same(bundle, other)
    assert (bundle.producer["backend"], other.producer["backend"]) == ("fused", "unrolled")

    assert {info.name for info in bundle.infos} == set(spiking_layers(model))
    T = {0: 7, 1: 1} if style == "T7" else {0: 4, 1: 3}
    vision = int((batch["input_ids"] == 5).sum())
    for layer in bundle:
        kinds = layer["modality"].tolist()
        assert layer["timesteps"].tolist() == [T[kind] for kind in kinds]
        if "language_model" in layer.name:  # padding is left out
            assert (kinds.count(1), len(kinds)) == (vision, real_tokens(batch))
        else:
            assert set(kinds) == {1}
    assert (bundle.layer(DECODER)["bias"], bundle.layer(TOWER)["bias"] is None) == (None, False)
    assert bundle.layer(DECODER)["acc"].ndim == (3 if style == "group" else 2)
    assert bundle.layer(TOWER).info.coding == ("csd" if style == "csd" else "tc_lif")
    threshold = bundle.layer(DECODER).info.threshold
    assert threshold == THRESHOLDS.get(style, Threshold("dynamic", "absmax", {"text": 1.0, "vision": 1.0}))
    if threshold.ratio is not None:  # of what the layer sees
        assert bundle.layer(TOWER).info.threshold.ratio == {"vision": threshold.ratio["vision"]}
    if style == "csd":
        assert bundle.layer(DECODER)["spikes"].shape[0] == 5


def test_rows_are_what_the_layer_really_saw_and_gave(workshop: Workshop, tmp_path: Path) -> None:
    model, _ = made(workshop, "channel")
    batch = workshop.batch("llava")
    layer = spiking_layers(model)[DECODER]
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    handle = layer.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    bundle = validate(export_trace(model, batch, tmp_path / "trace", layers=[DECODER]))
    handle.remove()
    real = batch["attention_mask"].bool().reshape(-1)
    x, out = (part.reshape(-1, part.shape[-1])[real].numpy() for part in seen[0])
    stored = bundle.layer(DECODER)
    assert np.array_equal(stored["output"], out)
    y = x / stored["act_scale"][:, None]
    limit = 2.0 ** stored["timesteps"].astype(np.float64)[:, None] - 1
    codes = np.sign(y) * np.minimum(np.floor(np.abs(y).astype(np.float64) + 0.5), limit)
    assert np.array_equal(stored["codes"], codes)


@pytest.mark.parametrize("tokens", [1, 2, 5, 6, 10_000])
def test_a_number_of_tokens_is_shared_between_modalities(tokens: int, workshop: Workshop, tmp_path: Path) -> None:
    model, _ = made(workshop, "channel")
    batch = workshop.batch("llava")
    bundle = validate(export_trace(model, batch, tmp_path / "trace", layers=[DECODER, TOWER], tokens=tokens))
    decoder, tower = bundle.layer(DECODER), bundle.layer(TOWER)
    assert decoder.info.tokens == min(tokens, real_tokens(batch))
    text = decoder["modality"].tolist().count(0)
    if tokens <= 6:
        assert abs(2 * text - tokens) <= 1
        assert tower.info.tokens == tokens


def test_chosen_tokens(workshop: Workshop, tmp_path: Path) -> None:
    model, _ = made(workshop, "channel")
    batch = workshop.batch("llava", "right")
    everything = validate(export_trace(model, batch, tmp_path / "all", layers=[DECODER])).layer(DECODER)
    chosen = [3, 0, 7, 3]  # all in the first row of the batch, before its padding
    some = validate(export_trace(model, batch, tmp_path / "some", layers=[DECODER], tokens=chosen)).layer(DECODER)
    assert np.array_equal(some["codes"], everything["codes"][[0, 3, 7]])
    for wrong in ([], [-1], [0, 10_000], 0, -2):
        with pytest.raises(InputError, match=naming("`tokens`", wrong)):
            export_trace(model, batch, tmp_path / "wrong", layers=[DECODER], tokens=wrong)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "some"]


def test_patterns(workshop: Workshop, tmp_path: Path) -> None:
    model, _ = made(workshop, "channel")
    batch = workshop.batch("llava")
    bundle = validate(export_trace(model, batch, tmp_path / "trace", layers=[r"re:.*layers\.1\.mlp", DECODER]))
    names = [info.name for info in bundle.infos]
    assert DECODER in names
    assert all("layers.1.mlp" in name for name in names if name != DECODER)
    alone = validate(export_trace(model, batch, tmp_path / "alone", layers=DECODER))
    assert [info.name for info in alone.infos] == [DECODER]
    for wrong in (["model.no_such"], ["re:*"], ["lm_head"], []):
        with pytest.raises(InputError, match="layers"):
            export_trace(model, batch, tmp_path / "wrong", layers=wrong)


def test_codings_without_a_place_in_a_bundle(workshop: Workshop, tmp_path: Path) -> None:
    model, _ = made(workshop, "unsigned")
    with pytest.raises(InputError, match=naming("binary_unsigned")):
        export_trace(model, workshop.batch("llava"), tmp_path / "trace")
    assert list(tmp_path.iterdir()) == []


def test_layers_that_do_not_run(workshop: Workshop, tmp_path: Path) -> None:
    model, _ = made(workshop, "channel")
    text = {"input_ids": torch.tensor([[1, 11, 12]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    bundle = validate(export_trace(model, text, tmp_path / "trace"))
    assert all("language_model" in info.name for info in bundle.infos)
    with pytest.raises(InputError, match=naming(TOWER)):
        export_trace(model, text, tmp_path / "tower", layers=[TOWER])
    assert not (tmp_path / "tower").exists()


def test_a_model_that_does_not_spike(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=naming("TCLIFModifier", "spike_compressor.load()")):
        export_trace(workshop.model("llava"), workshop.batch("llava"), tmp_path / "trace")


def test_each_layer_is_written_and_forgotten_as_it_runs(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a layer arrives at the writer, the rows of those before it are no longer in memory."""
    model, _ = made(workshop, "channel")
    alive: list[weakref.ref[Any]] = []
    most = 0
    add_layer = BundleWriter.add_layer

    def watching(self: BundleWriter, name: str, **arrays: Any) -> Any:
        nonlocal most
        most = max(most, sum(ref() is not None for ref in alive))
        alive.extend(weakref.ref(arrays[key]) for key in ("membrane", "spikes", "acc"))
        return add_layer(self, name, **arrays)

    monkeypatch.setattr(BundleWriter, "add_layer", watching)
    export_trace(model, workshop.batch("llava"), tmp_path / "trace")
    assert len(alive) == 3 * len(spiking_layers(model))
    assert most == 0


def test_a_killed_export_leaves_nothing(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = made(workshop, "channel")
    batch = workshop.batch("llava")
    export_trace(model, batch, tmp_path / "trace", layers=[DECODER])
    before = {path.name: path.read_bytes() for path in (tmp_path / "trace").iterdir()}
    with pytest.raises(TraceError, match=naming(tmp_path / "trace")):
        export_trace(model, batch, tmp_path / "trace")
    add_layer = BundleWriter.add_layer
    calls = 0

    def dying(self: BundleWriter, name: str, **arrays: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return add_layer(self, name, **arrays)

    monkeypatch.setattr(BundleWriter, "add_layer", dying)
    with pytest.raises(KeyboardInterrupt):
        export_trace(model, batch, tmp_path / "trace", overwrite=True)
    calls = 0
    with pytest.raises(KeyboardInterrupt):
        export_trace(model, batch, tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["trace"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "trace").iterdir()} == before
    assert not any(layer.observers for layer in spiking_layers(model).values())
    assert not _get_current_function_mode_stack()
    assert not any(layer.self_attn._forward_pre_hooks for layer in model.model.language_model.layers)

    monkeypatch.undo()
    bundle = validate(export_trace(model, batch, tmp_path / "trace", overwrite=True))
    assert len(bundle) == len(spiking_layers(model))
    assert [path.name for path in tmp_path.iterdir()] == ["trace"]


def test_after_an_interrupt_tokens_are_counted_again(workshop: Workshop) -> None:
    model, _ = made(workshop, "channel")
    batch = workshop.batch("llava")
    layer = spiking_layers(model)[DECODER]

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    layer.observers.append(stop)
    with pytest.raises(KeyboardInterrupt):
        model(**batch)
    layer.observers.remove(stop)
    counted: list[dict[str, int]] = []
    tracker = spiking_state(model).tracker
    tracker.observers.append(lambda rows: counted.append(rows.counts()))
    with torch.no_grad():
        model(**batch)
    tracker.observers.clear()
    assert [sum(counts.values()) for counts in counted] == [real_tokens(batch)]


def test_silenced_neurons_are_refused(workshop: Workshop, tmp_path: Path) -> None:
    model, _ = made(workshop, "channel")
    layer = spiking_layers(model)[DECODER]
    layer.silence(torch.ones(layer.in_features, dtype=torch.bool))
    try:
        with pytest.raises(InputError, match=naming(DECODER, "has silenced neurons")):
            export_trace(model, workshop.batch("llava"), tmp_path / "trace")
    finally:
        layer.silence(None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype, workshop: Workshop, tmp_path: Path) -> None:
    _, path = made(workshop, "channel")
    model = spike_compressor.load(path, dtype=dtype)
    batch = workshop.batch("llava")
    batch["pixel_values"] = batch["pixel_values"].to(dtype)
    validate(export_trace(model, batch, tmp_path / "trace", tokens=4))


@pytest.mark.parametrize("frac_bits", [1, 24])
def test_fractional_bits_change_membranes_only(frac_bits: int, workshop: Workshop, tmp_path: Path) -> None:
    model, _ = made(workshop, "channel")
    batch = workshop.batch("llava")
    usual = validate(export_trace(model, batch, tmp_path / "usual", layers=[DECODER])).layer(DECODER)
    path = export_trace(model, batch, tmp_path / "other", layers=[DECODER], frac_bits=frac_bits)
    other = validate(path).layer(DECODER)
    assert other.info.frac_bits == frac_bits
    assert np.array_equal(usual["spikes"], other["spikes"])
    assert np.array_equal(usual["acc"], other["acc"])
    assert not np.array_equal(usual["membrane"], other["membrane"])
