"""Recipes in two parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from helpers.messages import naming
from spike_compressor.comparison import SplitRecipe
from spike_compressor.errors import InputError

FOLDER = Path(__file__).parents[2] / "recipes"
SHIPPED = sorted(FOLDER.rglob("*.yaml"))


def modifiers(text: str) -> list[tuple[str, dict]]:
    stages = yaml.safe_load(text).values()
    return [step for stage in stages for group in stage.values() for step in group.items()]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_the_same_after_cutting_and_joining(path: Path) -> None:
    recipe = SplitRecipe.read(path)
    assert modifiers(recipe.text()) == modifiers(path.read_text(encoding="utf-8"))
    assert {name for name, _ in recipe.spikes} <= {"MSTSModifier", "TCLIFModifier", "SpikeReconstructionModifier"}
    assert recipe.weights
    assert SplitRecipe.read(recipe.text()) == recipe


def test_spikes_are_replaced_and_weights_stay() -> None:
    recipe = SplitRecipe.read(FOLDER / "gptq_w4_tclif_34.yaml")
    other = recipe.spiking({"allocation": "uniform", "budget": {"mean_timesteps": 2.5}}, threshold_ratio=0.8)
    assert other.weights == recipe.weights
    assert dict(other.spikes)["MSTSModifier"] == {"allocation": "uniform", "budget": {"mean_timesteps": 2.5}}
    assert dict(other.spikes)["TCLIFModifier"]["threshold_ratio"] == 0.8
    assert dict(other.spikes)["TCLIFModifier"]["ignore"] == ["lm_head"]
    assert dict(recipe.spikes)["MSTSModifier"]["allocation"] == "fixed"


def test_all_spikes_of_one_recipe_share_the_same_exact_weights() -> None:
    recipe = SplitRecipe.read(FOLDER / "gptq_w4_tclif_34.yaml")
    assert recipe.exact() == recipe.spiking({"allocation": "fixed", "timesteps": 2}, threshold_ratio=0.7).exact()
    assert dict(recipe.exact().spikes)["TCLIFModifier"]["timesteps"] == 7


def test_weights_that_learn_from_spikes_go_with_these() -> None:
    plain = SplitRecipe.read(FOLDER / "gptq_w4_tclif_34.yaml")
    recipe = plain.learning(block_steps=5)
    assert recipe.learns
    assert not plain.learns
    assert [name for name, _ in recipe.spikes] == ["MSTSModifier", "TCLIFModifier", "SpikeReconstructionModifier"]
    assert SplitRecipe.read(recipe.text()) == recipe
    other = recipe.spiking({"allocation": "fixed", "timesteps": 2})
    assert dict(other.spikes)["SpikeReconstructionModifier"] == {"block_steps": 5}
    assert recipe.exact() == plain.exact()


def test_a_recipe_that_inherits_its_timesteps_is_known() -> None:
    assert SplitRecipe.read(FOLDER / "gptq_w4a8_reinterpreted.yaml").reinterprets
    assert not SplitRecipe.read(FOLDER / "gptq_w4_tclif_34.yaml").reinterprets


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a_stage:\n  quant_modifiers:\n    GPTQModifier: {}\n", ("MSTSModifier", "TCLIFModifier")),
        (
            "a_stage:\n  a_modifiers:\n    TCLIFModifier: {}\n  b_modifiers:\n    GPTQModifier: {}\n",
            ("MSTSModifier", "TCLIFModifier"),
        ),
        ("- just\n- a list\n", ("NAME_stage", "NAME_modifiers")),
        # what LLM Compressor would pass over
        ("stage:\n  a_modifiers:\n    TCLIFModifier: {}\n", ("stage", "'spike_stage'")),
        ("a_stage:\n  modifiers:\n    TCLIFModifier: {}\n", ("a_stage.modifiers", "'spike_modifiers'")),
        ("a: [\n", ("YAML", "line 2")),
        ("missing.yaml", ("missing.yaml",)),
    ],
)
def test_what_is_no_spiking_recipe_is_refused(text: str, names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=naming(*names)):
        SplitRecipe.read(text)
