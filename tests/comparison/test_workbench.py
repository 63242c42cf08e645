"""Weights that are quantized once give what the whole recipe gives."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.workshop import GPTQ_GROUP, Processor, Workshop, recipe
from loguru import logger
from spike_compressor.comparison import SplitRecipe, Workbench
from spike_compressor.runtime import spiking_state

#: Rotations, some of them online, in front of GPTQ: everything that must survive the way through a checkpoint.
ROTATED = (
    "QuIPModifier: {rotations: [v], transform_type: random-hadamard, precision: torch.float32, ignore: [lm_head]}\n"
)
SETTINGS: dict[str, dict[str, Any]] = {
    "fixed": {"allocation": "fixed", "timesteps": {"vision": 2, "text": 3}},
    "uniform": {"allocation": "uniform", "budget": {"mean_timesteps": 2.5}},
    "sensitivity": {"allocation": "sensitivity", "weighting": "gradient", "budget": {"mean_timesteps": 2.5}},
    "output": {"allocation": "sensitivity", "weighting": "output", "budget": {"mean_timesteps": 2.5}},
}


class Bench:
    """A workbench, and how often it made a float model."""

    def __init__(self, workshop: Workshop, kind: str, folder: Path) -> None:
        self.opened = 0
        self.workshop, self.kind = workshop, kind
        self.bench = Workbench(
            workshop.source(kind), self._open, Processor(), lambda: workshop.data(kind), folder / "weights"
        )

    def _open(self) -> Any:
        self.opened += 1
        return self.workshop.model(self.kind)


@pytest.fixture(scope="module")
def bench(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(workshop, "llava", tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize("name", SETTINGS)
def test_spikes_on_kept_weights_are_those_of_the_whole_recipe(workshop: Workshop, bench: Bench, name: str) -> None:
    chosen = SplitRecipe.read(recipe(ROTATED + GPTQ_GROUP)).spiking(SETTINGS[name])
    kept = bench.bench.spiking(chosen)
    torch.manual_seed(bench.bench.seed)
    whole = workshop.oneshot("llava", chosen.text())
    ours, theirs = spiking_state(kept).layers, spiking_state(whole).layers
    assert {name: layer.spec for name, layer in ours.items()} == {name: layer.spec for name, layer in theirs.items()}
    batch = workshop.batch("llava")
    with torch.inference_mode():
        assert torch.equal(kept(**batch).logits, whole(**batch).logits)


def test_weights_are_quantized_once(bench: Bench) -> None:
    split = SplitRecipe.read(recipe(ROTATED + GPTQ_GROUP))
    first = bench.bench.quantized(split.spiking(SETTINGS["fixed"]))
    before = bench.opened
    assert bench.bench.quantized(split.spiking(SETTINGS["output"], threshold_ratio="auto")) == first
    assert bench.opened == before
    another = dataclasses.replace(bench.bench, seed=1)
    assert another.parts(split)["seed"] == 1
    assert another.parts(split) != bench.bench.parts(split)


def test_oneshot_is_not_told_of_a_quantized_model(bench: Bench) -> None:
    """It would warn of what it is about to do to the weights; the spiking modifiers do nothing to them."""
    warnings: list[str] = []
    sink = logger.add(warnings.append, level="WARNING")
    try:
        bench.bench.spiking(SplitRecipe.read(recipe(ROTATED + GPTQ_GROUP)).spiking(SETTINGS["output"]))
    finally:
        logger.remove(sink)
    assert not [text for text in warnings if "quantized" in text]


def test_inherited_timesteps_stay_those_of_the_scheme(workshop: Workshop, tmp_path: Path) -> None:
    scheme = (
        "GPTQModifier: {ignore: [lm_head], config_groups: {w4a5: {targets: [Linear], weights: {num_bits: 4, type: int, "
        "symmetric: true, strategy: channel}, input_activations: {num_bits: 5, type: int, symmetric: true, "
        "strategy: token, dynamic: true}}}}"
    )
    bench = Bench(workshop, "llama", tmp_path).bench
    split = SplitRecipe.read(recipe(scheme, msts=None))
    specs = [layer.spec for layer in spiking_state(bench.spiking(split)).layers.values()]
    assert {spec.timesteps["text"] for spec in specs} == {4}
