"""The report at the end of a recipe: measured by really running, honest about what it ran on, strict about spikes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.workshop import GPTQ_GROUP, RTN, Workshop, recipe
from spike_compressor.checkpoint import SpikeConfig, read_config
from spike_compressor.coding import encode
from spike_compressor.errors import InputError
from spike_compressor.metrics import measure_activity
from spike_compressor.metrics.activity import few_samples, report_activity
from spike_compressor.metrics.operations import OperationCounter
from spike_compressor.runtime import SpikingInactiveError, SpikingLinear, spiking_layers, spiking_state
from spike_compressor.runtime.reference import weights_only
from torch.utils.data import DataLoader
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


def test_the_report_stays_with_the_checkpoint(workshop: Workshop, tmp_path: Path) -> None:
    _, path = workshop.made("llava", STATIC)
    first = read_config(path)
    loaded = spike_compressor.load(path)
    spike_compressor.save(loaded, tmp_path / "again")
    assert read_config(tmp_path / "again").activity == first.activity
    assert read_config(tmp_path / "again").not_spiking == first.not_spiking
    content = json.loads((path / "spike_config.json").read_text())
    for section in ("activity", "evolution"):  # files of before they existed
        content.pop(section, None)
    for entry in content["plan"].values():
        del entry["sees"]
    old = SpikeConfig.model_validate(content)
    assert old.activity is None
    with pytest.raises(ValueError, match="not_measured"):
        SpikeConfig.model_validate({**content, "activity": {}})
    with pytest.raises(ValueError, match="colour"):
        SpikeConfig.model_validate({**content, "activity": {"not_measured": "no", "colour": 1}})


def test_reasons_are_specific(workshop: Workshop) -> None:
    told = read_config(workshop.made("siglip", recipe(RTN))[1]).not_spiking
    assert told["lm_head"] == "listed in `ignore` of TCLIFModifier; its weights are not quantized"
    assert told["model.vision_tower.embeddings.patch_embedding"] == "Conv2d: only Linears spike"
    assert told["model.vision_tower.head.attention"].startswith("MultiheadAttention: ")
    assert "never calls it" in told["model.vision_tower.head.attention.out_proj"]
    text = recipe(RTN).replace("TCLIFModifier: {targets: [Linear]", "TCLIFModifier: {targets: ['re:.*mlp.*proj']")
    told = spiking_state(workshop.oneshot("llama", text)).facts["not_spiking"]
    assert told["model.layers.0.self_attn.q_proj"] == "not among the `targets` of TCLIFModifier"
    assert "embed_tokens" not in " ".join(told)


def test_layers_that_are_never_called(workshop: Workshop) -> None:
    data = tiny_models.loader(images=0)
    model = workshop.oneshot("llava", recipe(RTN, "allow_text_only: true"), dataset=data)
    activity = spiking_state(model).facts["activity"]
    tower = [name for name, layer in spiking_layers(model).items() if layer.fixed_modality is not None]
    assert activity["never_called"] == tower
    assert list(activity["totals"]["firing_rate"]) == ["text"]
    assert not set(tower) & set(activity["layers"])


def test_without_data_it_says_so(workshop: Workshop) -> None:
    model = workshop.oneshot("llava", recipe(RTN), dataset=None)
    assert spiking_state(model).facts["activity"] == {"not_measured": "the recipe ran without data"}


def test_a_run_that_fails_costs_the_report_and_not_the_recipe(model: Any) -> None:
    def broken(samples: Any) -> Any:
        raise OSError("picture gone")

    report_activity(model, DataLoader([1, 2], collate_fn=broken))  # type: ignore[arg-type]
    assert spiking_state(model).facts["activity"] == {"not_measured": "the run failed: OSError: picture gone"}


def test_nothing_that_fires_is_an_error(model: Any, workshop: Workshop) -> None:
    layers = spiking_layers(model)
    batch = workshop.batch("llava")
    name, layer = next(iter(layers.items()))
    layer.silence(torch.arange(layer.in_features) < 5)
    assert measure_activity(model, [batch])["layers"][name]["dead"] >= 5
    for layer in layers.values():
        layer.silence(torch.ones(layer.in_features, dtype=torch.bool))
    with pytest.raises(SpikingInactiveError, match=f"not one of the {len(layers)} layers .* fired a single spike"):
        measure_activity(model, [batch])
    with pytest.raises(SpikingInactiveError, match="not one of"):  # at the end of a recipe, too
        report_activity(model, workshop.data("llava"))
    with pytest.raises(InputError, match="without a single batch"):
        measure_activity(model, [])


def test_an_output_without_neurons_is_an_error(model: Any, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = spiking_layers(model)
    batch = workshop.batch("llava")
    with weights_only(model), pytest.raises(SpikingInactiveError, match="no longer does"):
        measure_activity(model, [batch])
    with monkeypatch.context() as patched:  # what no look at a module finds out
        patched.setattr(SpikingLinear, "forward", lambda self, x: torch.nn.functional.linear(x, self.integer.floats()))
        message = f"called 1 times, but its neurons ran 0 times, as with {len(layers) - 1} more"
        with pytest.raises(SpikingInactiveError, match=message):
            measure_activity(model, [batch])
    assert not any(layer.observers for layer in layers.values())
    assert measure_activity(model, [batch])["totals"]["coverage"] > 0.5


def test_measuring_leaves_the_model_as_it_was(model: Any, workshop: Workshop) -> None:
    batch = workshop.batch("llava")
    expected = tiny_models.logits(model, batch)
    model.train()
    model.model.vision_tower.eval()
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    state = torch.random.get_rng_state()
    report_activity(model, workshop.data("llava"))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.training
    assert not model.model.vision_tower.training
    assert hooks == [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    model.eval()
    assert torch.equal(tiny_models.logits(model, batch), expected)


# Samples


def text_loader(lengths: list[int], batch_size: int | None) -> Any:
    rows = [{"input_ids": tiny_models.words(length, n), "pixel_values": []} for n, length in enumerate(lengths)]
    if batch_size is None:
        return DataLoader([tiny_models.collate([row]) for row in rows], batch_size=None)  # type: ignore[arg-type]
    return DataLoader(rows, batch_size=batch_size, collate_fn=tiny_models.collate)  # type: ignore[arg-type]


def shapes(batches: list[Any]) -> list[tuple[int, ...]]:
    return [tuple(batch["input_ids"].shape) for batch in batches]


def test_samples_are_few_short_and_spread(model: Any) -> None:
    state = spiking_state(model)
    lengths = [3, 4, 5, 6, 7, 8, 9]
    assert shapes(few_samples(text_loader(lengths, 4), state)) == [(4, 9)]
    assert shapes(few_samples(text_loader(lengths, 1), state)) == [(1, 3), (1, 5), (1, 7), (1, 9)]
    assert shapes(few_samples(text_loader(lengths, None), state, count=3)) == [(1, 3), (1, 6), (1, 9)]
    assert shapes(few_samples(text_loader([3], 8), state)) == [(1, 3)]
    # too many tokens for one batch: one by one, and long text is cut
    cut = few_samples(text_loader([3, 30], 2), state, longest=16)
    assert shapes(cut) == [(1, 3), (1, 16)]
    assert cut[1]["attention_mask"].shape == (1, 16)


def test_pictures_are_never_cut(model: Any) -> None:
    state = spiking_state(model)
    data = DataLoader([tiny_models.sample(0, 3), tiny_models.sample(1, 40)], collate_fn=tiny_models.collate)  # type: ignore[arg-type]
    whole, cut = few_samples(data, state, longest=12)
    assert shapes([whole, cut]) == [(1, 9), (1, 12)]
    assert cut["pixel_values"].shape[0] == 1
    measure_activity(model, [whole, cut])
    assert shapes(few_samples(data, state, longest=4)) == []
    report = few_samples(iter_only(tiny_models.loader(2)), state, longest=4)
    assert report == []


def iter_only(loader: Any) -> Any:
    class Stream:
        def __iter__(self) -> Any:
            return iter(loader)

    return Stream()


def test_a_stream_gives_its_first_batch(model: Any) -> None:
    state = spiking_state(model)
    batches = few_samples(iter_only(text_loader([5, 6, 7], 3)), state, longest=16)
    assert shapes(batches) == [(2, 7)]


def test_embeddings_are_samples_too(workshop: Workshop) -> None:
    model, _ = workshop.made("llama", recipe(GPTQ_GROUP))
    state = spiking_state(model)
    rows = torch.randn(3, 20, 64, generator=torch.Generator().manual_seed(0))
    data = DataLoader([{"inputs_embeds": row.unsqueeze(0)} for row in rows], batch_size=None)  # type: ignore[arg-type]
    batches = few_samples(data, state, longest=16)
    assert [tuple(batch["inputs_embeds"].shape) for batch in batches] == [(1, 16, 64)] * 3
    assert measure_activity(model, batches)["run"] == {
        "samples": 3,
        "tokens": {"text": 48, "vision": 0},
        "longest": 16,
    }


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
