"""The model card: metadata that the Hub reads, figures of the checkpoint's own config, code that runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import yaml
from helpers import tiny_models
from helpers.workshop import GPTQ_GROUP, RTN, Workshop, recipe
from huggingface_hub import ModelCard
from spike_compressor.checkpoint import read_config
from spike_compressor.checkpoint.card import write_card
from spike_compressor.runtime import spiking_state

QUIP = "QuIPModifier: {rotations: [v], transform_type: random-hadamard, precision: torch.float32, ignore: [lm_head]}"
ROTATED = recipe(f"{QUIP}\n{GPTQ_GROUP}", "threshold_ratio: auto")
TAGS = ["spike-compressor", "compressed-tensors", "llm-compressor", "spiking"]


def saved(model: Any, source: object, path: Path) -> ModelCard:
    """The card of a model that came from `source`."""
    before = model.config._name_or_path
    model.config._name_or_path = str(source)
    try:
        spike_compressor.save(model, path)
    finally:
        model.config._name_or_path = before
    return ModelCard.load(path / "README.md")


@pytest.fixture
def model(workshop: Workshop) -> Any:
    return workshop.made("llava", recipe(RTN))[0]


def test_the_hub_reads_its_metadata(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for architecture, tag in (("llava", "image-text-to-text"), ("llama", "text-generation")):
        model, path = workshop.made(architecture, recipe(RTN))
        monkeypatch.setattr(model.config, "_name_or_path", "org/some-model-1.5")
        write_card(model, spiking_state(model), read_config(path), tmp_path)
        card = ModelCard.load(tmp_path / "README.md")
        assert card.data.to_dict() == {
            "base_model": "org/some-model-1.5",
            "base_model_relation": "quantized",
            "library_name": "transformers",
            "pipeline_tag": tag,
            "tags": TAGS,
        }
        assert "[org/some-model-1.5](https://huggingface.co/org/some-model-1.5)" in card.text


@pytest.mark.parametrize(
    ("folder", "base"),
    [
        ("source", None),
        ("models--org--tiny-llava/snapshots/0123abc", "org/tiny-llava"),
    ],
)
def test_a_directory_gives_its_licence_but_not_its_path(
    folder: str, base: str | None, model: Any, tmp_path: Path
) -> None:
    source = tmp_path / folder
    source.mkdir(parents=True)
    words = "---\nlicense: other\nlicense_name: seer-1\ntags: [eyes]\n---\n\n# Seer\n\nWords of its makers.\n"
    (source / "README.md").write_text(words)
    card = saved(model, source, tmp_path / "out")
    assert (card.data.license, card.data.license_name) == ("other", "seer-1")
    assert card.data.base_model == base
    assert card.data.tags == TAGS
    assert str(source) not in card.content
    assert "Words of its makers" not in card.content
    assert (source / "README.md").read_text() == words
    # saved again, the checkpoint is the source
    loaded = spike_compressor.load(tmp_path / "out")
    spike_compressor.save(loaded, tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text() == card.content


@pytest.mark.parametrize("content", ["", "---\nlicense: [\n---\n", "---\n- a\n---\n", "---\nlicense: 3\n---\n"])
def test_a_source_whose_card_says_nothing(content: str, model: Any, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(content)
    assert saved(model, tmp_path, tmp_path / "out").data.license is None


def test_figures_are_those_of_the_config(workshop: Workshop) -> None:
    _, path = workshop.made("llava", ROTATED)
    config, text = read_config(path), (path / "README.md").read_text(encoding="utf-8")
    assert config.activity is not None
    assert config.activity.totals is not None
    assert f"{100 * config.activity.totals.coverage:.1f} %" in text
    for modality, rate in config.activity.totals.firing_rate.items():
        sops = config.activity.totals.sops_per_token[modality]
        assert re.search(rf"^\| {modality} \| {100 * rate:.1f} % \| .* \| {sops:,.0f} \|", text, re.MULTILINE)
        T = [entry.timesteps[modality] for entry in config.plan.values() if modality in (entry.modalities or ())]
        mean = sum(T) / len(T)
        assert f"| {modality} | {len(T)} | {min(T)} | {mean:.3f} | {max(T)} |" in text
    assert f"{config.budget.mean_timesteps_weighted:.3f}" in text
    assert "4-bit weights in groups of 32" in text
    for name in ("QuIPModifier", "GPTQModifier", "MSTSModifier", "TCLIFModifier"):
        assert name in text
    for name, version in config.producer.items():
        assert f"- {name} {version}" in text
    assert "`lm_head`" in text


def test_what_thresholds_are_tied_to(workshop: Workshop) -> None:
    """Said where it is not the largest input of a row."""
    _, path = workshop.made("llava", recipe(RTN))
    before = (path / "README.md").read_text(encoding="utf-8")
    _, path = workshop.made("llava", recipe(RTN, "threshold_statistic: mean_abs, threshold_ratio: 0.4"))
    assert f"`mean_abs` in {len(read_config(path).plan)} layers" in (path / "README.md").read_text(encoding="utf-8")
    assert "statistic" not in before


def test_its_code_runs_and_online_rotations_are_not_opened_without(workshop: Workshop) -> None:
    for text, plain in ((recipe(RTN), True), (ROTATED, False)):
        _, path = workshop.made("llava", text)
        blocks = re.findall(r"```python\n(.*?)```", (path / "README.md").read_text(encoding="utf-8"), re.DOTALL)
        assert len(blocks) == 1 + plain
        for block in blocks:
            names: dict[str, Any] = {}
            exec(block.replace("path/to/this/directory", str(path)), names)
            assert tiny_models.logits(names["model"], workshop.batch("llava")).isfinite().all()


def test_it_may_be_edited(workshop: Workshop, tmp_path: Path) -> None:
    path = Path(shutil.copytree(workshop.made("llava", recipe(RTN))[1], tmp_path / "twin"))
    (path / "README.md").write_text("mine")
    spike_compressor.load(path)
    (path / "README.md").unlink()
    spike_compressor.load(path)


def test_without_a_recipe_or_data(workshop: Workshop, tmp_path: Path) -> None:
    """Nothing that is not known is told."""
    twin = spike_compressor.load(workshop.made("llava", recipe(RTN))[1])
    facts = spiking_state(twin).facts
    for fact in ("recipe", "calibration", "activity"):
        facts.pop(fact, None)
    spike_compressor.save(twin, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "was not measured" in text
    assert "Calibrated on" not in text
    assert yaml.safe_load(text.split("---\n")[1])["library_name"] == "transformers"
