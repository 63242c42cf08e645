"""Reconstruction: blocks and their order, what is learned within which bounds, what is kept, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
import yaml
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import GPTQ_GROUP, RTN, Processor, Workshop, recipe
from spike_compressor.errors import InputError
from spike_compressor.modifiers import SpikeReconstructionModifier
from spike_compressor.modifiers.reconstruction.blocks import block_names, captured, chains_of, keep_floats
from spike_compressor.runtime import spiking_layers, spiking_state
from torch import Tensor, nn

FEW = "{block_steps: 12, batch_size: 2, weight_rate: 0.05}"


def rebuilt(quant: str, fields: str = FEW, **more: Any) -> str:
    """A recipe that ends in reconstruction."""
    return recipe(quant, **more) + f"    SpikeReconstructionModifier: {fields}\n"


def weights(model: Any) -> dict[str, Tensor]:
    return {name: layer.integer.codes for name, layer in spiking_layers(model).items()}


def floats(model: Any) -> dict[str, Tensor]:
    named = model.state_dict().items()
    return {name: value.clone() for name, value in named if name.endswith(("norm.weight", "norm1.weight", ".bias"))}


# Blocks


@pytest.mark.parametrize("kind", ["llava", "llama", "qwen2_vl", "siglip"])
def test_blocks_are_layers_of_stacks_and_what_lies_between(kind: str, workshop: Workshop) -> None:
    model = workshop.model(kind)
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and "lm_head" not in name]
    blocks = block_names(model, layers)
    assert sorted(name for inside in blocks.values() for name in inside) == sorted(layers)
    for name, inside in blocks.items():
        assert all(layer == name or layer.startswith(f"{name}.") for layer in inside)
        assert not any(other.startswith(f"{name}.") for other in blocks)
    text = "model.layers.1" if kind == "llama" else "model.language_model.layers.1"
    assert len(blocks[text]) == 7
    between = {"llava": "model.multi_modal_projector", "qwen2_vl": "model.visual.merger"}.get(kind)
    assert between is None or len(blocks[between]) == 2


def test_a_head_that_spikes_is_a_block_of_its_own(workshop: Workshop) -> None:
    model = workshop.model("llama")
    assert block_names(model, ["lm_head", "model.layers.0.mlp.up_proj"]) == {
        "lm_head": ("lm_head",),
        "model.layers.0": ("model.layers.0.mlp.up_proj",),
    }


class Branches(nn.Module):
    """Three layers, the last of which takes more than the second gives."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
        self.unused = nn.ModuleList([nn.Linear(8, 8)])

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers[1](self.layers[0](x))
        return self.layers[3](self.layers[2](y + 1))


def test_a_chain_ends_where_something_lies_between_two_blocks() -> None:
    torch.manual_seed(0)
    model, x = Branches(), torch.randn(2, 3, 8)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    chains, left = chains_of(model, keep_floats(model, names), lambda: model(x))
    assert [[block.name for block in chain] for chain in chains] == [["layers.0", "layers.1"], ["layers.2", "layers.3"]]
    assert left == ["unused.0"]
    (found,) = captured(model, ["layers.2", "layers.3"], [x], model)
    assert found is not None
    assert torch.equal(found.rows, model.layers[1](model.layers[0](x)) + 1)


# What is learned


@pytest.mark.parametrize(("kind", "quant"), [("llava", GPTQ_GROUP), ("llama", RTN), ("qwen2_vl", RTN)])
def test_outputs_come_nearer_within_one_step_of_each_integer(kind: str, quant: str, workshop: Workshop) -> None:
    plain, _ = workshop.made(kind, recipe(quant))
    model, path = workshop.made(kind, rebuilt(quant))
    before, after = weights(plain), weights(model)
    distance = [(after[name].int() - before[name].int()).abs().max() for name in before]
    assert max(distance) == 1
    for name, layer in spiking_layers(model).items():
        assert -8 <= int(after[name].min()) <= int(after[name].max()) <= 7
        assert torch.equal(layer.integer.scale, spiking_layers(plain)[name].integer.scale)
        assert layer.spec == spiking_layers(plain)[name].spec
    changed = [name for name, value in floats(model).items() if not torch.equal(value, floats(plain)[name])]
    assert any("norm" in name for name in changed)

    real = workshop.model(kind)
    errors = []
    with torch.no_grad():
        for batch in workshop.data(kind):
            inputs = {key: value for key, value in batch.items() if key != "labels"}
            target = real(**inputs).logits
            errors.append([float((one(**inputs).logits - target).pow(2).mean()) for one in (plain, model)])
    spikes, learned = torch.tensor(errors).mean(0).tolist()
    assert learned < 0.9 * spikes

    opened = spike_compressor.load(path)
    batch = workshop.batch(kind)
    with torch.no_grad():
        assert torch.equal(opened(**batch).logits, model(**batch).logits)
    assert "SpikeReconstructionModifier" in (path / "README.md").read_text(encoding="utf-8")


def test_the_seed_decides_and_nothing_else(workshop: Workshop) -> None:
    text = rebuilt(RTN)
    one, again = workshop.oneshot("llava", text), workshop.oneshot("llava", text)
    other = workshop.oneshot("llava", rebuilt(RTN, "{block_steps: 12, batch_size: 2, weight_rate: 0.05, seed: 1}"))
    first, second, third = weights(one), weights(again), weights(other)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(value, floats(again)[name]) for name, value in floats(one).items())
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_only_what_is_listed_learns(workshop: Workshop) -> None:
    plain, _ = workshop.made("llava", recipe(RTN))
    norms = workshop.oneshot("llava", rebuilt(RTN, "{block_steps: 6, batch_size: 2, learns: [norms]}"))
    before, after = weights(plain), weights(norms)
    assert all(torch.equal(before[name], after[name]) for name in before)
    changed = {name for name, value in floats(norms).items() if not torch.equal(value, floats(plain)[name])}
    assert changed
    assert all("norm" in name for name in changed)


def test_the_whole_model_learns_the_next_token(workshop: Workshop) -> None:
    plain, _ = workshop.made("llama", recipe(RTN))
    model = workshop.oneshot(
        "llama", rebuilt(RTN, "{block_steps: 0, model_steps: 30, batch_size: 2, weight_rate: 0.05, float_rate: 0.015}")
    )
    real, divergence = workshop.model("llama"), []
    with torch.no_grad():
        for one in (plain, model):
            total = 0.0
            for batch in workshop.data("llama"):
                target, own = (each(**batch).logits.log_softmax(-1) for each in (real, one))
                valid = batch["attention_mask"][:, 1:].bool()
                total += float((target.exp() * (target - own)).sum(-1)[:, :-1][valid].sum())
            divergence.append(total)
    assert divergence[1] < 0.9 * divergence[0]


def test_what_does_not_help_is_taken_back(workshop: Workshop) -> None:
    plain, _ = workshop.made("llama", recipe(RTN))
    model = workshop.oneshot("llama", rebuilt(RTN, "{block_steps: 3, weight_rate: 1.0, float_rate: 1.0}"))
    assert all(torch.equal(value, weights(model)[name]) for name, value in weights(plain).items())
    assert all(torch.equal(value, floats(model)[name]) for name, value in floats(plain).items())


def test_sixteen_bits_stay_sixteen_bits(tmp_path: Path, workshop: Workshop) -> None:
    model = workshop.oneshot("llava", rebuilt(RTN), workshop.model("llava", torch.bfloat16))
    narrow = {p.dtype for name, p in model.named_parameters() if p.is_floating_point() and "scale" not in name}
    assert narrow == {torch.bfloat16}
    spike_compressor.save(model, tmp_path / "out", Processor())
    batch = workshop.batch("llava")
    batch["pixel_values"] = batch["pixel_values"].to(torch.bfloat16)
    with torch.no_grad():
        assert torch.equal(spike_compressor.load(tmp_path / "out")(**batch).logits, model(**batch).logits)


def test_what_fires_is_reported_of_the_rebuilt_model(workshop: Workshop) -> None:
    plain, _ = workshop.made("llama", recipe(RTN))
    model, _ = workshop.made("llama", rebuilt(RTN))
    mine, theirs = (spiking_state(one).facts["activity"]["totals"]["sops_per_token"] for one in (model, plain))
    assert mine != theirs
    assert all(not layer.observers for layer in spiking_layers(model).values())
    assert not any(p.requires_grad for name, p in model.named_parameters() if name.endswith("weight_scale"))


def test_a_later_recipe_is_written_after_the_spikes_that_weights_learned_from(workshop: Workshop) -> None:
    model = workshop.oneshot("llama", rebuilt(RTN))
    alone = "late_stage:\n  late_modifiers:\n    TCLIFModifier: {timesteps: 5}\n"
    workshop.oneshot("llama", alone, model)
    stages = yaml.safe_load(spiking_state(model).facts["recipe"])
    names = [[name for group in stage.values() for name in group] for stage in stages.values()]
    assert names == [
        ["QuantizationModifier", "MSTSModifier", "TCLIFModifier", "SpikeReconstructionModifier"],
        ["TCLIFModifier"],
    ]


# Refusals


def test_settings_under_which_nothing_learns() -> None:
    for fields in ({"learns": []}, {"block_steps": 0}):
        with pytest.raises(InputError, match=naming("SpikeReconstructionModifier")):
            SpikeReconstructionModifier(**fields)
    with pytest.raises(InputError, match=naming("learns", "scales")):
        SpikeReconstructionModifier(learns=["scales"])


def test_it_stands_after_neurons_and_has_data(workshop: Workshop) -> None:
    moved = [line for line in rebuilt(RTN).splitlines() if "SpikeReconstruction" not in line]
    place = next(index for index, line in enumerate(moved) if "TCLIFModifier" in line)
    moved.insert(place, "    SpikeReconstructionModifier: {}")
    with pytest.raises(InputError, match=naming("SpikeReconstructionModifier", "TCLIFModifier")):
        workshop.oneshot("llama", "\n".join(moved))
    with pytest.raises(InputError, match=naming("SpikeReconstructionModifier", "calibration data")):
        workshop.oneshot("llama", rebuilt(RTN), dataset=None)
    with pytest.raises(InputError, match=naming("SpikeReconstructionModifier", "empty")):
        workshop.oneshot("llama", rebuilt(RTN), dataset=tiny_models.loader(count=0, images=0))


def test_integers_have_no_floats_to_learn_from(workshop: Workshop) -> None:
    model = workshop.oneshot("llama", recipe(RTN))
    with pytest.raises(InputError, match=naming("SpikeReconstructionModifier", "float model")):
        workshop.oneshot("llama", rebuilt(RTN), model)


def test_rotations_of_what_flows_between_blocks_are_refused(workshop: Workshop) -> None:
    spin = "SpinQuantModifier: {rotations: [R1], transform_type: random-hadamard}\n" + RTN
    with pytest.raises(InputError, match=naming("SpikeReconstructionModifier", "SpinQuantModifier")):
        workshop.oneshot("llama", rebuilt(spin))


def test_rotations_within_blocks_and_smoothing_are_not(workshop: Workshop) -> None:
    quip = (
        "QuIPModifier: {rotations: [v], transform_type: random-hadamard, precision: torch.float32, "
        f'ignore: ["re:lm_head$|.*vision_tower.*head.*"]}}\n{RTN}'
    )
    for quant in (quip, f"SpikeSmoothingModifier: {{samples: 4}}\n{RTN}"):
        model = workshop.oneshot("llama", rebuilt(quant))
        assert spiking_layers(model)
