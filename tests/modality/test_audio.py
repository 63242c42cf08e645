"""Text, vision, audio and any other modality, from a prompt's mask to a checkpoint: each has its own T and rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
from helpers import tiny_audio
from helpers.messages import naming
from helpers.tiny_architectures import Case, tokens
from helpers.workshop import RTN, Processor, recipe
from llmcompressor import oneshot
from safetensors.torch import load_file
from spike_compressor.checkpoint import read_config
from spike_compressor.errors import InputError
from spike_compressor.metrics import record_spikes
from spike_compressor.modality import (
    AUDIO,
    TEXT,
    ModalityTracker,
    adapter_for,
    configure_adapter,
    current_rows,
    modality_names,
    register_modality,
)
from spike_compressor.modality.base import ADAPTERS
from spike_compressor.modality.names import MODALITIES
from spike_compressor.runtime import read_plan, spiking_layers, spiking_state
from spike_compressor.trace import open_bundle

CASES = [("qwen2_audio", side) for side in tiny_audio.HEARD] + [("omni", side) for side in tiny_audio.SEEN_AND_HEARD]
#: One recipe for all three kinds of model: what it says of modalities that a model has not is passed over.
TIMESTEPS = {"text": 4, "vision": 3, "audio": 5}
BY_NAME = "{allocation: fixed, timesteps: {text: 4, vision: 3, audio: 5}}"


def case_of(kind: str, side: str) -> Case:
    return (tiny_audio.HEARD if kind == "qwen2_audio" else tiny_audio.SEEN_AND_HEARD)[side]


def counts_of(*cases: Case) -> dict[str, int]:
    """Tokens by modality, counted by hand."""
    letters = "".join(row for case in cases for row in case.prompts)
    digits = "".join(mask for case in cases for mask in case.masks)
    live = [digit for letter, digit in zip(letters, digits, strict=True) if letter != "."]
    return {name: live.count(str(code)) for code, name in enumerate(("text", "vision", "audio"))}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories of the float models."""
    root = tmp_path_factory.mktemp("float")
    for kind, make in {**tiny_audio.MAKERS, "depth": tiny_audio.depth}.items():
        make().save_pretrained(root / kind)
    return {kind: root / kind for kind in (*tiny_audio.MAKERS, "depth")}


def opened(path: Path) -> Any:
    from spike_compressor.checkpoint.opening import open_model

    return open_model(path, "float32")


def spiking(source: Path, text: str, data: Any, **options: Any) -> Any:
    model = opened(source)
    oneshot(model=model, processor=Processor(), recipe=text, dataset=data, pipeline="basic", **options)
    return model


@pytest.fixture(scope="module")
def made(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    """Spiking models in memory and their checkpoints, static thresholds by modality."""
    results = {}
    for kind in tiny_audio.MAKERS:
        path = tmp_path_factory.mktemp("made") / kind
        text = recipe(RTN, "threshold: static", BY_NAME)
        if kind == "whisper":
            text = text.replace("lm_head", "proj_out")
        results[kind] = spiking(sources[kind], text, tiny_audio.loader(kind), output_dir=str(path)), path
    return results


# Masks


@pytest.mark.parametrize(("kind", "side"), CASES)
def test_the_mask_is_the_one_written_by_hand_and_where_the_model_puts_sounds(kind: str, side: str) -> None:
    model, case = tiny_audio.MAKERS[kind](), case_of(kind, side)
    batch = case.batch()
    seen: list[Any] = []
    tracker = ModalityTracker(model, adapter_for(model))
    layer = next(iter(adapter_for(model).decoder_layers(model).values()))

    def look(_: Any, args: Any, kwargs: Any) -> None:
        seen.append((current_rows(), args[0] if args else kwargs["hidden_states"]))

    layer.register_forward_pre_hook(look, with_kwargs=True)
    with torch.no_grad():
        model(**batch)
        own = model.get_input_embeddings()(batch["input_ids"])
    tracker.remove()
    ((rows, hidden),) = seen
    assert rows.modality.tolist() == case.modality
    assert rows.valid.tolist() == [[letter != "." for letter in prompt] for prompt in case.prompts]
    assert rows.counts() == {name: count for name, count in counts_of(case).items() if count}
    assert (hidden != own).any(-1).int().tolist() == [[int(code > 0) for code in row] for row in case.modality]


@pytest.mark.parametrize("kind", ["qwen2_audio", "omni"])
def test_a_sounds_placeholder_that_is_generated_is_text(made: dict[str, tuple[Any, Path]], kind: str) -> None:
    model = made[kind][0]

    def only_sounds(_: Any, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, -1e9)
        forced[:, tokens("A")[0]] = 0
        return forced

    case = case_of(kind, "left")
    with record_spikes(model) as record:
        model.generate(
            **case.batch(), max_new_tokens=3, do_sample=False, eos_token_id=None, logits_processor=[only_sounds]
        )
    expected = counts_of(case)
    expected["text"] += 2 * 2
    assert record.tokens == {name: count for name, count in expected.items() if name in record.tokens}


# From a recipe to a checkpoint


@pytest.mark.parametrize(("kind", "names"), [("qwen2_audio", ["text", "audio"]), ("omni", ["text", "vision", "audio"])])
def test_every_modality_has_its_own_t_threshold_and_rows(
    made: dict[str, tuple[Any, Path]], kind: str, names: list[str]
) -> None:
    model, path = made[kind]
    config, loaded = read_config(path), spike_compressor.load(path)
    assert config.modalities == names
    assert config.calibration == {
        "samples": 4,
        "tokens": {
            name: count
            for name, count in counts_of(case_of(kind, "left"), case_of(kind, "right")).items()
            if name in names
        },
    }
    assert config.uncalibrated == []
    scales = load_file(path / "spike_thresholds.safetensors")
    layers = spiking_layers(loaded)
    towers = {"audio_tower": "audio", "multi_modal_projector": "audio", "visual": "vision"}
    for name, layer in layers.items():
        assert layer.spec.timesteps == {modality: TIMESTEPS[modality] for modality in names}
        tower = next((modality for part, modality in towers.items() if part in name.split(".")), None)
        assert layer.modalities == ([tower] if tower else names) == config.plan[name].modalities
        own = {modality: float(scales[f"{name}.{modality}"]) for modality in names}
        assert layer.spec.scale == own
        assert len(set(own.values())) == (len(names) if tower is None else len({TIMESTEPS[m] for m in names}))
    case = case_of(kind, "left")
    with record_spikes(loaded) as record, torch.no_grad():
        logits = loaded(**case.batch()).logits
    with torch.no_grad():
        assert torch.equal(logits, model(**case.batch()).logits)
    expected = {name: counts_of(case)[name] for name in names}
    assert record.tokens == expected
    for (name, modality), entry in record.layers.items():
        assert entry.timesteps == TIMESTEPS[modality]
        if ".self_attn.q_proj" in name and "audio_tower" not in name:
            assert entry.rows == expected[modality]
    totals = record.to_dict()
    assert list(totals["firing_rate"]) == names
    assert {name: record.mean_timesteps(name) for name in names} == {name: TIMESTEPS[name] for name in names}
    assert set(config.activity.totals.firing_rate) == set(names)


@pytest.mark.parametrize(
    ("kind", "tag", "opens"),
    [
        ("qwen2_audio", "audio-text-to-text", "AutoModelForMultimodalLM"),
        ("omni", "any-to-any", "AutoModelForImageTextToText"),
        ("whisper", "automatic-speech-recognition", "AutoModelForSpeechSeq2Seq"),
    ],
)
def test_the_card_says_how_it_opens(made: dict[str, tuple[Any, Path]], kind: str, tag: str, opens: str) -> None:
    card = (made[kind][1] / "README.md").read_text()
    assert f"pipeline_tag: {tag}\n" in card
    assert f"from transformers import {opens}\n" in card


def test_whisper_hears_in_its_encoder_and_speaks_text(made: dict[str, tuple[Any, Path]]) -> None:
    model, path = made["whisper"]
    config, loaded = read_config(path), spike_compressor.load(path)
    assert config.modalities == ["text", "audio"]
    for name, layer in spiking_layers(loaded).items():
        hears = "encoder" in name.split(".") or name.endswith(("encoder_attn.k_proj", "encoder_attn.v_proj"))
        assert layer.modalities == (["audio"] if hears else ["text"])
        assert layer.fixed_modality == (AUDIO if hears else TEXT)
    batch = tiny_audio.transcripts(3)
    with record_spikes(loaded) as record, torch.no_grad():
        logits = loaded(**batch).logits
        assert torch.equal(logits, model(**batch).logits)
    rows = {(name, modality): entry.rows for (name, modality), entry in record.layers.items()}
    assert rows["model.encoder.layers.0.self_attn.q_proj", "audio"] == 2 * 8
    assert rows["model.decoder.layers.0.encoder_attn.k_proj", "audio"] == 2 * 8
    assert rows["model.decoder.layers.0.encoder_attn.q_proj", "text"] == 6  # two are padding
    assert record.tokens["text"] == 6
    assert record.mean_timesteps("audio") == 5
    assert record.mean_timesteps("text") == 4


@pytest.mark.parametrize("allocation", ["med", "sensitivity, weighting: output"])
def test_budgets_are_spent_on_three_modalities(sources: dict[str, Path], allocation: str, tmp_path: Path) -> None:
    plan_file = tmp_path / "plan.yaml"
    msts = (
        f"{{allocation: {allocation}, budget: {{mean_timesteps: 3.5}}, "
        "min_timesteps: {text: 2, vision: 1, audio: 3}, overrides: {'re:.*down_proj': {audio: 6}}, "
        f"write_plan: '{plan_file}'}}"
    )
    model = spiking(sources["omni"], recipe(RTN, "", msts), tiny_audio.loader("omni"))
    facts = spiking_state(model).facts
    assert 3.2 < facts["budget"]["mean_timesteps_weighted"] <= 3.5 + 1e-9
    curves = facts["evolution"]["modalities"]
    assert list(curves) == ["text", "vision", "audio"]
    assert list(facts["evolution"]["discrepancy"]) == ["vision", "audio"]
    for name, values in facts["evolution"]["discrepancy"].items():
        expected = [t - other for t, other in zip(curves["text"]["mean"], curves[name]["mean"], strict=True)]
        assert values == pytest.approx(expected)
    plan = read_plan(plan_file)
    for name, table in plan.items():
        assert list(table) == ["text", "vision", "audio"]
        assert table == spiking_layers(model)[name].spec.timesteps
        assert "audio" not in spiking_layers(model)[name].modalities or table["audio"] >= 3
        assert not name.endswith("down_proj") or table["audio"] == 6
    again = spiking(
        sources["omni"], recipe(RTN, "", f"{{allocation: file, plan: '{plan_file}'}}"), tiny_audio.loader("omni")
    )
    assert {name: dict(layer.spec.timesteps) for name, layer in spiking_layers(again).items()} == plan


def test_what_is_said_of_other_modalities_than_the_models(sources: dict[str, Path]) -> None:
    """A missing one is refused before any data run, whatever names it; one too many has no effect."""

    def forbidden() -> Iterator[Any]:
        raise AssertionError("data ran")
        yield

    class Never(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[Any]:
            return forbidden()

    data = torch.utils.data.DataLoader(Never(), batch_size=None)
    partly = "{text: 4, vision: 3}"
    for text, field in (
        (recipe(RTN, msts=f"{{timesteps: {partly}}}"), "MSTSModifier.timesteps"),
        (recipe(RTN, f"timesteps: {partly}", None), "TCLIFModifier.timesteps"),
        (recipe(RTN, f"attention: {{timesteps: {partly}}}"), "TCLIFModifier.attention.timesteps"),
        (
            recipe(RTN, msts=f"{{allocation: uniform, budget: {{mean_timesteps: 3.5}}, min_timesteps: {partly}}}"),
            "MSTSModifier.min_timesteps",
        ),
    ):
        if "attention" in field:
            text = text.replace("timesteps: {vision: 3, text: 4}", "timesteps: 4")
        with pytest.raises(InputError, match=naming(field, "audio", "text, audio")):
            spiking(sources["qwen2_audio"], text, data)
    with pytest.raises(InputError, match=naming("MSTSModifier.timesteps", "'audoi'", "'audio'")):
        spiking(sources["qwen2_audio"], recipe(RTN, msts="{timesteps: {text: 4, audoi: 3}}"), data)


def test_bundles_have_names_of_modalities(made: dict[str, tuple[Any, Path]], tmp_path: Path) -> None:
    model, case = made["omni"][0], case_of("omni", "left")
    layer = "model.layers.0.mlp.up_proj"
    spike_compressor.export_trace(model, case.batch(), tmp_path / "bundle", layers=[layer, "audio_tower.proj"])
    bundle = open_bundle(tmp_path / "bundle")
    bundle.validate()
    assert bundle.modalities == modality_names()
    rows = bundle.layer(layer)
    expected = torch.tensor(case.modality)[torch.tensor([[letter != "." for letter in row] for row in case.prompts])]
    assert rows.modality.tolist() == expected.tolist()
    names = [bundle.modalities[code] for code in rows.modality]
    assert rows.timesteps.tolist() == [TIMESTEPS[name] for name in names]
    assert set(bundle.layer("audio_tower.proj").modality.tolist()) == {AUDIO}
    manifest = tmp_path / "bundle" / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["modalities"]
    manifest.write_text(json.dumps(content))  # without names there are text and vision
    with pytest.raises(ValueError, match=naming("audio_tower.proj", "modality", "0 (text)", "1 (vision)", 2)):
        open_bundle(tmp_path / "bundle").validate()


def test_a_modality_that_is_registered_goes_from_recipe_to_checkpoint(sources: dict[str, Path], tmp_path: Path) -> None:
    """A configured adapter and a name of its own; whoever loads the checkpoint has neither."""
    data = torch.utils.data.DataLoader([tiny_audio.MEASURED.batch()], batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]
    text = recipe(RTN, "threshold: static", "{timesteps: {text: 4, depth: 2}}")
    batch = tiny_audio.MEASURED.batch()
    with MODALITIES.temporarily():
        with MODALITIES.temporarily(), ADAPTERS.temporarily():
            register_modality("temperature")  # codes go by the order of registration, files by names
            register_modality("depth")
            configure_adapter(
                "paligemma",
                modules={"depth": ["model.vision_tower", "model.multi_modal_projector"]},
                placeholders={"depth": tokens("I")},
            )
            model = spiking(sources["depth"], text, data, output_dir=str(tmp_path / "out"))
            with record_spikes(model) as record, torch.no_grad():
                logits = model(**batch).logits
            assert record.tokens == {"text": 6, "depth": 8}
            assert record.mean_timesteps("depth") == 2
        assert "depth" not in MODALITIES
        loaded = spike_compressor.load(tmp_path / "out")
        with record_spikes(loaded) as again, torch.no_grad():
            assert torch.equal(loaded(**batch).logits, logits)
        assert again.to_dict() == record.to_dict()
        assert {tuple(layer.spec.timesteps) for layer in spiking_layers(loaded).values()} == {("text", "depth")}
    config = read_config(tmp_path / "out")
    assert config.modalities == ["text", "depth"]
    assert config.placeholders == {"depth": tokens("I")}
