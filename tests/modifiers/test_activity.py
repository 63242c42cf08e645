"""The end of a recipe: a report that is honest about what it ran on, from a few short samples."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import GPTQ_GROUP, RTN, Workshop, recipe
from spike_compressor.checkpoint import SpikeConfig, read_config
from spike_compressor.checkpoint.migrations import migrated
from spike_compressor.metrics import measure_activity
from spike_compressor.modifiers.activity import few_samples, report_activity
from spike_compressor.runtime import SpikingInactiveError, spiking_layers, spiking_state
from torch.utils.data import DataLoader

STATIC = recipe(RTN, "threshold: static, threshold_observer: mse")


@pytest.fixture
def model(workshop: Workshop) -> Any:
    return copy.deepcopy(workshop.made("llava", STATIC)[0])


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
        del entry["modalities"]
    content = migrated(content)
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


def test_nothing_that_fires_fails_the_recipe(model: Any, workshop: Workshop) -> None:
    for layer in spiking_layers(model).values():
        layer.silence(torch.ones(layer.in_features, dtype=torch.bool))
    with pytest.raises(SpikingInactiveError, match=naming(len(spiking_layers(model)), "4 samples")):
        report_activity(model, workshop.data("llava"))


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
        "tokens": {"text": 48},
        "longest": 16,
    }
