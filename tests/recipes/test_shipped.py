"""Every shipped recipe: its form, and the way from YAML to a checkpoint that says the same everywhere."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
import yaml
from helpers import tiny_models
from helpers.workshop import Workshop
from llmcompressor.modifiers.factory import ModifierFactory
from llmcompressor.recipe import Recipe
from spike_compressor.checkpoint import read_config
from spike_compressor.runtime import detach, spiking_attention, spiking_layers
from spike_compressor.trace import validate
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(path.name for path in FOLDER.glob("*.yaml"))
#: Recipes whose rotations run at inference, which plain transformers drops.
ONLINE = {f"quip_gptq_w4_tclif_{kind}.yaml" for kind in ("34", "34_attention", "fitted")}


@pytest.fixture(params=RECIPES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def modifiers(content: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Class name and fields, in the order of the file."""
    return [
        (kind, fields or {}) for stage in content.values() for group in stage.values() for kind, fields in group.items()
    ]


def kind_of(name: str) -> str:
    """The tiny model that a recipe is for: AutoRound quantizes nothing but decoder layers."""
    return "llama" if name.startswith("autoround") else "llava"


def made(workshop: Workshop, name: str) -> tuple[Any, Path]:
    return workshop.made(kind_of(name), (FOLDER / name).read_text(encoding="utf-8"))


def test_names_only_fields_that_exist(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    listed = modifiers(yaml.safe_load(text))
    parsed = Recipe.create_instance(str(FOLDER / name)).modifiers
    assert [type(modifier).__name__ for modifier in parsed] == [kind for kind, _ in listed]
    for (kind, fields), modifier in zip(listed, parsed, strict=True):
        assert set(fields) <= set(type(modifier).model_fields), kind
        assert kind in ModifierFactory._registered_registry or kind in ModifierFactory._main_registry
    learns = ["SpikeReconstructionModifier"] if "rebuilt" in name else []
    assert [kind for kind, _ in listed][-1 - len(learns) :] == ["TCLIFModifier", *learns]


def test_says_what_it_is_for(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert max(map(len, text.splitlines())) <= 170
    documentation = (FOLDER.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert f"../recipes/{name}" in documentation


def test_memory_fused_and_unrolled_are_the_same_bits(name: str, workshop: Workshop) -> None:
    model, path = made(workshop, name)
    batch = workshop.batch(kind_of(name))
    expected = tiny_models.logits(model, batch)
    assert not torch.allclose(expected, tiny_models.logits(workshop.model(kind_of(name)), batch))
    for backend in ("fused", "unrolled"):
        assert torch.equal(tiny_models.logits(spike_compressor.load(path, backend=backend), batch), expected)


def test_what_it_makes_can_be_traced(name: str, workshop: Workshop, tmp_path: Path) -> None:
    model, _ = made(workshop, name)
    bundle = validate(spike_compressor.export_trace(model, workshop.batch(kind_of(name)), tmp_path / "trace", tokens=4))
    names = {info.name for info in bundle.infos}
    assert names >= set(spiking_layers(model))
    attention = set(spiking_attention(model))
    # products of attention are `MODULE.q_k.SEQUENCE.HEAD` and `MODULE.p_v.SEQUENCE.HEAD`
    assert {name.rsplit(".", 3)[0] for name in names - set(spiking_layers(model))} == attention
    assert bool(attention) is ("attention" in name)
    if name.startswith("autoround"):  # it turns the sign of scales, in groups whose largest weight is positive
        assert any((layer["weight_scale"] < 0).any() for layer in bundle)


def test_everything_but_the_head_spikes(name: str, workshop: Workshop) -> None:
    model, path = made(workshop, name)
    linears = {key for key, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert linears - set(spiking_layers(model)) == {"lm_head"}
    plan = read_config(path).plan.values()
    if any(word in name for word in ("sops", "rebuilt", "rdoq")):  # sensitivity chooses
        assert {entry.threshold_statistic for entry in plan} == {"rms"}
        assert read_config(path).budget.allocation == "sensitivity"
        return
    T = {tuple(sorted(entry.timesteps.items())) for entry in plan}
    assert ({(("text", 7), ("vision", 7))} if "reinterpreted" in name else {(("text", 4), ("vision", 3))}) == T


def test_plain_transformers_computes_the_same_weights(name: str, workshop: Workshop) -> None:
    model, path = made(workshop, name)
    config = read_config(path)
    assert config.opens_in_plain_transformers is (name not in ONLINE)
    if name in ONLINE:
        assert config.online_rotations.transforms  # it says what plain transformers would drop
        return
    batch = workshop.batch(kind_of(name))
    opens = AutoModelForCausalLM if kind_of(name) == "llama" else AutoModelForImageTextToText
    plain, report = opens.from_pretrained(path, output_loading_info=True)
    assert not any(report.values())
    torch.testing.assert_close(
        tiny_models.logits(plain.eval(), batch), tiny_models.logits(ordinary(model), batch), rtol=1e-3, atol=1e-3
    )


def ordinary(model: Any) -> Any:
    """The model with the same integer weights and ordinary integer inputs of the text rows' width, made by hand."""
    plain = copy.deepcopy(model)
    for layer in list(spiking_layers(plain).values()):
        bits = layer.spec.timesteps["text"] + 1
        codes, scale = layer.integer.codes.double(), layer.integer.scale.double()
        weight = codes.view(*scale.shape, -1) * scale.unsqueeze(-1)
        layer.__dict__["expected"] = bits, weight.view(codes.shape).float()
    layers = spiking_layers(plain)
    detach(plain)
    for layer in layers.values():
        bits, weight = layer.__dict__.pop("expected")
        layer.__dict__.pop("forward", None)  # compressed-tensors' own rounding
        layer.weight.data = weight
        layer.register_forward_pre_hook(lambda _, args, bits=bits: (rounded(args[0], bits),))
    return plain


def rounded(x: torch.Tensor, bits: int) -> torch.Tensor:
    """A symmetric scale a token, half to even, with the end code that spikes do not have."""
    scale = x.abs().amax(-1, keepdim=True) / ((2**bits - 1) / 2)
    codes = torch.round(x / scale.clamp(min=torch.finfo(torch.float32).eps))
    return codes.clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale
