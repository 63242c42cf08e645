"""The embedded model on the simulated core: text, logits and accumulators of real questions, against `fused`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spike_compressor.checkpoint import load, open_processor, save
from spike_compressor.demo.data import calibration_batches, items
from spike_compressor.demo.model import load_model, load_processor
from spike_compressor.demo.on_core import answer_on_core
from spike_compressor.demo.run import DEFAULT_RECIPE
from spike_compressor.rtl import VARIABLE, core
from spike_compressor.runtime import spiking_attention, spiking_layers
from spike_compressor.shipped import recipe_path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _core_at_its_defaults() -> Any:
    from library import library

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(library()))
        yield


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Any]]:
    """A spiking model of a shipped recipe, saved and opened again, and its processor; made once."""
    made: dict[str, tuple[Any, Any]] = {}

    def open_one(recipe: str) -> tuple[Any, Any]:
        if recipe not in made:
            from llmcompressor import oneshot

            model, processor = load_model(), load_processor()
            batches = calibration_batches(processor, samples=64)
            oneshot(model=model, processor=processor, dataset=batches, recipe=str(recipe_path(recipe)))
            path = save(model, tmp_path_factory.mktemp("model") / Path(recipe).stem, processor)
            made[recipe] = load(path), open_processor(path)
        return made[recipe]

    return open_one


def test_chosen_layers_on_fifty_questions(opened: Any) -> None:
    """A layer of the tower, one of the language model and the projector: T, groups and rows as questions have them."""
    model, processor = opened(DEFAULT_RECIPE)
    chosen = [r"re:.*vision_tower.*layers\.1\.", r"re:.*language_model\.layers\.3\.", "re:.*projector"]
    asked = items("test", 4)[:50]
    assert len({item.kind for item in asked}) > 10
    for item in asked:
        found = answer_on_core(model, processor, item, chosen)
        assert 0 < found["layers"] < found["spiking"]


def test_all_layers_on_three_questions(opened: Any) -> None:
    model, processor = opened(DEFAULT_RECIPE)
    kinds = {item.kind: item for item in items("test", 1)}
    for kind in list(kinds)[:: len(kinds) // 3][:3]:
        found = answer_on_core(model, processor, kinds[kind])
        assert found["layers"] == found["spiking"] == len(spiking_layers(model)) == 68
        assert found["passes"][0]["tokens"] > 16  # the picture and the question
        assert found["equal"]["accumulators"] > 100_000
        assert found["cycles"] > 100_000
        assert core().shape.lanes == 16


def test_attention_products_on_three_questions(opened: Any) -> None:
    """Queries and probabilities fire in the core, keys and values are its weights; the rest of the model as above."""
    model, processor = opened("quip_gptq_w4_tclif_34_attention")
    modules = len(spiking_attention(model))
    assert modules == 6
    for item in items("test", 1)[:3]:
        found = answer_on_core(model, processor, item)
        assert found["layers"] == 68 + modules
        products = answer_on_core(model, processor, item, r"re:.*self_attn$")
        assert products["layers"] == modules
        assert found["equal"]["accumulators"] > products["equal"]["accumulators"] > 10_000
