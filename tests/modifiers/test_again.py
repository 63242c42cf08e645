"""One `oneshot` after another: what a recipe does to a model that another recipe has been run on."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import spike_compressor
import torch
import yaml
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import GPTQ, IGNORE, RTN, Workshop, recipe
from spike_compressor.errors import InputError
from spike_compressor.runtime import is_spiking, spiking_layers

SPIKES = f"again_stage:\n  spike_modifiers:\n    TCLIFModifier: {{ignore: {IGNORE}, %s}}\n"
OTHER = SPIKES % "timesteps: {vision: 2, text: 5}"
QUANT = f"first_stage:\n  quant_modifiers:\n    {RTN}\n"
SMOOTH = "first_stage:\n  quant_modifiers:\n    SmoothQuantModifier: {smoothing_strength: 0.5}\n"
AT_ONCE = recipe(RTN, spikes="timesteps: {vision: 2, text: 5}", msts=None)


class Counted:
    """Calibration data that knows how often it was read."""

    def __init__(self, loader: Any) -> None:
        self.reads = 0
        collate = loader.collate_fn

        def counted(rows: Any) -> Any:
            self.reads += 1
            return collate(rows)

        loader.collate_fn = counted
        self.loader = loader


@pytest.fixture
def model(workshop: Workshop) -> Any:
    return copy.deepcopy(workshop.made("llava", recipe(RTN))[0])


@pytest.fixture(scope="module")
def expected(workshop: Workshop) -> torch.Tensor:
    """Logits of both in one recipe."""
    return tiny_models.logits(workshop.made("llava", AT_ONCE)[0], workshop.batch("llava"))


@pytest.mark.parametrize("origin", ["in memory", "saved", "loaded", "detached"])
def test_a_spiking_model_takes_other_timesteps(
    origin: str, model: Any, expected: torch.Tensor, workshop: Workshop, tmp_path: Any
) -> None:
    if origin == "saved":
        spike_compressor.save(model, tmp_path / "first")
    elif origin == "loaded":
        model = spike_compressor.load(workshop.made("llava", recipe(RTN))[1])
    elif origin == "detached":
        spike_compressor.runtime.detach(model)
    batch = workshop.batch("llava")
    assert not torch.equal(tiny_models.logits(model, batch), expected)
    workshop.oneshot("llava", OTHER, model)
    assert torch.equal(tiny_models.logits(model, batch), expected)
    spike_compressor.save(model, tmp_path / "second")
    assert torch.equal(tiny_models.logits(spike_compressor.load(tmp_path / "second"), batch), expected)
    steps = yaml.safe_load((tmp_path / "second" / "recipe.yaml").read_text())
    if origin != "detached":
        assert [list(groups) for groups in steps.values()] == [["quant_modifiers"], ["spike_modifiers"]]
    assert steps["again_stage"]["spike_modifiers"]["TCLIFModifier"]["timesteps"] == {"vision": 2, "text": 5}


def test_quantized_first_then_spiking(expected: torch.Tensor, workshop: Workshop) -> None:
    model = workshop.oneshot("llava", QUANT)
    assert not is_spiking(model)
    workshop.oneshot("llava", OTHER, model)
    assert torch.equal(tiny_models.logits(model, workshop.batch("llava")), expected)


def test_two_stages_in_one_recipe(expected: torch.Tensor, workshop: Workshop) -> None:
    model = workshop.oneshot("llava", QUANT + OTHER)
    assert torch.equal(tiny_models.logits(model, workshop.batch("llava")), expected)
    model = workshop.oneshot("llava", QUANT + OTHER, stage="first")
    assert not is_spiking(model)
    workshop.oneshot("llava", QUANT + OTHER, model, stage="again")
    assert torch.equal(tiny_models.logits(model, workshop.batch("llava")), expected)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (recipe(GPTQ), ("GPTQModifier", "TCLIFModifier")),
        (QUANT, ("QuantizationModifier",)),
        (SMOOTH, ("SmoothQuantModifier",)),
        ("a_stage:\n  b_modifiers:\n    MSTSModifier: {allocation: fixed, timesteps: 4}\n", ("TCLIFModifier",)),
    ],
    ids=["quantized again", "without neurons", "smoothed", "a plan and no neurons"],
)
def test_what_would_change_its_weights_is_refused_before_data_are_read(
    text: str, names: tuple[str, ...], model: Any, workshop: Workshop
) -> None:
    batch = workshop.batch("llava")
    before = tiny_models.logits(model, batch)
    data = Counted(workshop.data("llava"))
    with pytest.raises(InputError, match=naming(*names, "spikes already")):
        workshop.oneshot("llava", text, model, dataset=data.loader)
    assert data.reads == 0
    assert torch.equal(tiny_models.logits(model, batch), before)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (SPIKES % 'timesteps: 4, targets: ["re:.*nowhere"]', ("TCLIFModifier", "nowhere")),  # before calibration
        (SPIKES % "timesteps: 4, threshold: static", ("vision",)),  # after it: there were no pictures
    ],
    ids=["early", "late"],
)
def test_a_recipe_that_fails_leaves_the_model_as_it_was(
    text: str, names: tuple[str, ...], model: Any, expected: torch.Tensor, workshop: Workshop, tmp_path: Any
) -> None:
    batch = workshop.batch("llava")
    before = tiny_models.logits(model, batch)
    hooks = {name: len(module._forward_pre_hooks) for name, module in model.named_modules()}
    with pytest.raises(InputError, match=naming(*names)):
        workshop.oneshot("llava", text, model, dataset=tiny_models.loader(images=0))
    assert torch.equal(tiny_models.logits(model, batch), before)
    assert {name: len(module._forward_pre_hooks) for name, module in model.named_modules()} == hooks
    spike_compressor.save(model, tmp_path / "out")
    assert torch.equal(tiny_models.logits(spike_compressor.load(tmp_path / "out"), batch), before)
    workshop.oneshot("llava", OTHER, model)
    assert torch.equal(tiny_models.logits(model, batch), expected)
    assert set(spiking_layers(model)) == set(spike_compressor.load(tmp_path / "out")._spiking_state.layers)
