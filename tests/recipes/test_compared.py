"""Every recipe of the comparison runs on a vision-language and on a text model, and ends in the same spikes."""

from __future__ import annotations

from pathlib import Path

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.workshop import Workshop
from spike_compressor.checkpoint import read_config
from spike_compressor.comparison import SplitRecipe
from spike_compressor.runtime import spiking_layers

FOLDER = Path(__file__).parents[2] / "recipes" / "compare"
RECIPES = sorted(path.name for path in FOLDER.glob("*.yaml"))
#: SpinQuant knows the norms and heads of text decoders alone; AutoRound quantizes nothing but decoder layers.
TEXT_ONLY = {name for name in RECIPES if name.startswith(("spinquant", "autoround"))}
RUNS = [(kind, name) for kind in ("llava", "llama") for name in RECIPES if kind == "llama" or name not in TEXT_ONLY]


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_differ_in_nothing_but_the_weights(name: str) -> None:
    spikes = SplitRecipe.read(FOLDER / name).spikes
    assert spikes == SplitRecipe.read(FOLDER / "rtn_w4_g64.yaml").spikes


@pytest.mark.parametrize(("kind", "name"), RUNS)
def test_the_whole_model_spikes_and_loads_again(kind: str, name: str, workshop: Workshop) -> None:
    model, path = workshop.made(kind, (FOLDER / name).read_text(encoding="utf-8"))
    linears = {key for key, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert linears - set(spiking_layers(model)) == {"lm_head"}
    bits = {layer.integer.bits for layer in spiking_layers(model).values()}
    assert bits == {8 if "_w8_" in name else 4}
    assert {tuple(sorted(entry.timesteps.items())) for entry in read_config(path).plan.values()} == {
        (("text", 4), ("vision", 3)) if kind == "llava" else (("text", 4),)
    }
    batch = workshop.batch(kind)
    assert torch.equal(tiny_models.logits(spike_compressor.load(path), batch), tiny_models.logits(model, batch))


# Codings

CODINGS = FOLDER.parent / "codings"


def test_recipes_of_codings_differ_in_nothing_but_the_coding_and_its_statistic() -> None:
    recipes = {path.stem: SplitRecipe.read(path) for path in sorted(CODINGS.glob("*.yaml"))}
    assert len({str(recipe.weights) for recipe in recipes.values()}) == 1
    seen = set()
    for name, recipe in recipes.items():
        (_, planner), (_, neurons) = recipe.spikes
        assert planner == {"allocation": "sensitivity", "budget": {"spikes_per_input": 1.0}}
        own = {field: neurons.pop(field, None) for field in ("coding", "threshold_statistic")}
        assert neurons == {"targets": ["Linear"], "ignore": ["lm_head"], "threshold_ratio": "auto"}, name
        coding, statistic = own["coding"] or "tc_lif", own["threshold_statistic"]
        assert name == coding + (f"_{statistic}" if statistic else "")
        seen.add((coding, statistic or "absmax"))
    assert len(seen) == len(recipes)
    assert {coding for coding, _ in seen} >= {"tc_lif", "tc_lif_rdoq", "csd", "group4"}
