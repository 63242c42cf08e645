"""Smoothing for spikes: what is found, what is folded, what it is worth, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.quantization import QuantizationArgs
from helpers import tiny_models
from helpers.messages import naming
from helpers.tiny_models import saved
from helpers.tiny_moe import TINY_MOE
from helpers.workshop import GPTQ_GROUP, RTN, Processor, Workshop, recipe
from spike_compressor.errors import InputError
from spike_compressor.modifiers import SpikeSmoothingModifier
from spike_compressor.modifiers.calibration import Unnoticed
from spike_compressor.modifiers.smoothing.folding import Group, fold
from spike_compressor.modifiers.smoothing.scales import Spikes, choose_divisors
from spike_compressor.modifiers.smoothing.structure import find_groups
from spike_compressor.runtime import spiking_layers
from torch import Tensor, nn

ALONE = "smooth_stage:\n  smooth_modifiers:\n    SpikeSmoothingModifier: {samples: 4%s}\n"


def found(model: Any, batch: dict[str, Tensor]) -> tuple[list[Group], dict[str, str]]:
    """The groups of a model, all of whose Linears but the head are targets."""
    targets = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and not n.endswith("lm_head")}
    with torch.no_grad():
        return find_groups(model, lambda: model(**batch).logits, targets)


def pairs(groups: list[Group]) -> set[tuple[str, str]]:
    """(producer, reader) by their last names, of layers' numbers nothing."""
    return {
        (group.producer.rpartition(".")[2], re.sub(r"^\d+", "N", ".".join(reader.split(".")[-2:])))
        for group in groups
        for reader in group.readers
    }


LLAMA = {
    ("input_layernorm", "self_attn.q_proj"),
    ("input_layernorm", "self_attn.k_proj"),
    ("input_layernorm", "self_attn.v_proj"),
    ("v_proj", "self_attn.o_proj"),
    ("post_attention_layernorm", "mlp.gate_proj"),
    ("post_attention_layernorm", "mlp.up_proj"),
    ("up_proj", "mlp.down_proj"),
}


# Structure


def test_a_decoder_is_found_whole_with_heads_that_share_values() -> None:
    model = tiny_models.llama()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    groups, left = found(model, tiny_models.collate([tiny_models.sample(0, 12, 0)]))
    assert pairs(groups) == LLAMA
    assert not left
    assert len(groups) == 8
    (values,) = [group for group in groups if group.producer == "model.layers.0.self_attn.v_proj"]
    heads = torch.arange(64).view(4, 16) % 16 + 16 * torch.tensor([0, 0, 1, 1])[:, None]  # 4 heads read 2
    assert torch.equal(values.readers["model.layers.0.self_attn.o_proj"], heads.flatten())
    for name, value in model.state_dict().items():  # trials were taken back to the bit
        assert torch.equal(value, before[name]), name


def test_fused_projections_and_mergers_of_patches() -> None:
    groups, left = found(tiny_models.qwen2_vl(), tiny_models.qwen_batch())
    vision = {("norm1", "attn.qkv"), ("qkv", "attn.proj"), ("norm2", "mlp.fc1"), ("ln_q", "mlp.0")}
    assert pairs(groups) == LLAMA | vision
    fused = next(group for group in groups if group.producer.endswith("attn.qkv"))
    (follows,) = fused.readers.values()
    assert torch.equal(follows, torch.arange(128, 192))  # values alone
    merger = next(group for group in groups if group.producer.endswith("ln_q"))
    (follows,) = merger.readers.values()
    assert torch.equal(follows, torch.arange(256) % 64)  # four patches in a row
    assert all("fc2" in name or "merger.mlp.2" in name for name in left)  # behind a GELU


def test_all_that_read_the_experts_input_follow_it() -> None:
    from llmcompressor.modeling.moe.linearize import linearize_moe

    model, batch = TINY_MOE["qwen2_moe"].model(), TINY_MOE["qwen2_moe"].batch()
    linearize_moe(model)
    routed, _ = found(model, batch)
    by_producer = {group.producer: group for group in routed}
    layer = "model.layers.0"
    norm = by_producer[f"{layer}.post_attention_layernorm"]  # every expert gets a row
    read = {name.removeprefix(f"{layer}.mlp.") for name in norm.readers}
    assert {"gate", "shared_expert_gate", "shared_expert.up_proj", "experts.3.gate_proj"} <= read


class Mixed(nn.Module):
    """A norm, a layer, and something else that reads the norm or not."""

    def __init__(self, otherwise: Callable[[Tensor], Tensor], width: int = 32) -> None:
        super().__init__()
        self.norm, self.first = nn.LayerNorm(width), nn.Linear(width, width)
        self.after, self.last = nn.LayerNorm(width), nn.Linear(width, width)
        self.otherwise = otherwise

    def forward(self, x: Tensor) -> Any:
        y = self.norm(x)
        y = self.first(y) + self.otherwise(y)
        return type("Output", (), {"logits": self.last(torch.relu(self.after(y)))})


def mixed(otherwise: Callable[[Tensor], Tensor]) -> tuple[set[tuple[str, str]], dict[str, str]]:
    torch.manual_seed(0)
    groups, left = found(Mixed(otherwise), {"x": torch.randn(8, 32)})
    return pairs(groups), left


def test_a_channel_that_something_else_reads_is_left() -> None:
    assert mixed(torch.zeros_like)[0] == {("norm", "first"), ("after", "last")}
    kept, left = mixed(lambda y: 1e-3 * y)
    assert kept == {("after", "last")}
    assert "norm" in left["first"]


def test_what_is_shared_or_was_not_reached_is_left() -> None:
    torch.manual_seed(0)
    model = Mixed(torch.zeros_like)
    model.first.weight = model.last.weight
    groups, left = found(model, {"x": torch.randn(8, 32)})
    assert not groups
    assert "shares" in left["first"]
    model = Mixed(torch.zeros_like)
    model.sometimes = nn.Linear(32, 32)
    groups, left = found(model, {"x": torch.randn(8, 32)})
    assert not groups
    assert "sometimes" in left["first"]
    assert "reach" in left["sometimes"]


# Folding


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("llava", torch.float32), ("llava", torch.bfloat16), ("every gemma3", torch.float32), ("qwen2_vl", torch.float32)],
)
def test_the_float_model_stays_what_it_was(kind: str, dtype: torch.dtype, workshop: Workshop) -> None:
    source, batch = workshop.model(kind, dtype), workshop.batch(kind)
    if dtype == torch.bfloat16:
        batch = {key: value.to(dtype) if value.is_floating_point() else value for key, value in batch.items()}
    before = tiny_models.logits(source, batch)
    text = ALONE % ", input_strength: 0.5, weight_strength: 0.5"
    model = workshop.oneshot(kind, text, workshop.model(kind, dtype))
    near = 1e-4 if dtype == torch.float32 else 0.1
    assert torch.allclose(tiny_models.logits(model, batch), before, rtol=0, atol=near * float(before.abs().max()))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, source.state_dict()[name])}
    for part in ("input_layernorm.weight", "o_proj.weight", "down_proj.weight", "up_proj.weight"):
        assert any(name.endswith(part) for name in changed), part
    assert any("vi" in name and "norm" in name for name in changed)  # vision_tower, visual
    assert not any("lm_head" in name or "embed" in name for name in changed)


def test_experts_and_their_router_follow(tmp_path: Path) -> None:
    from llmcompressor import oneshot

    moe = TINY_MOE["qwen3_moe"]
    model, batch = saved(moe.model(), tmp_path / "float"), moe.batch(9)
    before, router = tiny_models.logits(model, batch), model.model.layers[0].mlp.gate.weight.clone()
    text = ALONE % ", input_strength: 0.5, weight_strength: 0.5"
    oneshot(model=model, processor=Processor(), recipe=text, dataset=moe.loader())
    assert not torch.allclose(model.model.layers[0].mlp.gate.weight, router)
    assert torch.allclose(tiny_models.logits(model, batch), before, rtol=0, atol=1e-4 * float(before.abs().max()))


def test_columns_are_multiplied_by_what_rows_are_divided_by(workshop: Workshop) -> None:
    source = workshop.model("llama")
    model = workshop.oneshot("llama", ALONE % ", input_strength: 0, weight_strength: 1.0, bound: 1.5")
    for layer, was in zip(model.model.layers, source.model.layers, strict=True):
        divisors = was.input_layernorm.weight / layer.input_layernorm.weight
        columns = torch.cat([getattr(was.self_attn, f"{name}_proj").weight for name in "qkv"]).norm(dim=0)
        expected = 1 / columns
        expected = (expected / expected.log().mean().exp()).clamp(1 / 1.5, 1.5)
        assert torch.allclose(divisors, expected, rtol=1e-4)
        for name in ("q_proj", "k_proj", "v_proj"):
            moved = getattr(layer.self_attn, name).weight
            if name == "v_proj":  # its rows make the input of o_proj
                heads = was.self_attn.o_proj.weight, layer.self_attn.o_proj.weight
                rows = (heads[1] / heads[0]).mean(dim=0).view(2, 2, 16)
                assert torch.allclose(rows[:, 0], rows[:, 1], rtol=1e-4)
                moved = moved * rows[:, 0].reshape(-1, 1)
            assert torch.allclose(moved, getattr(was.self_attn, name).weight * divisors, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pipeline", ["sequential", "basic"])
def test_weights_do_not_depend_on_the_pipeline(pipeline: str, workshop: Workshop) -> None:
    text = recipe("SpikeSmoothingModifier: {samples: 4, ignore: []}\n" + GPTQ_GROUP, "threshold_statistic: rms")
    plain, _ = workshop.made("llava", text)
    other = workshop.oneshot("llava", text, pipeline=pipeline)
    one, two = plain.state_dict(), other.state_dict()
    norms = [name for name in one if "norm" in name]
    assert norms
    for name in norms:
        assert torch.equal(one[name], two[name]), name


def test_some_layers_are_smoothed_while_a_plan_is_measured_for_all(workshop: Workshop) -> None:
    """The pass that smoothing makes by itself is none of the plan's, whose layers it goes through."""
    some = "SpikeSmoothingModifier: {targets: ['re:.*language_model.layers.1.mlp.*']}"
    model = workshop.oneshot(
        "llava", recipe(f"{some}\n{RTN}", msts="{allocation: med, budget: {mean_timesteps: 3.25}}")
    )
    assert spiking_layers(model)["model.language_model.layers.0.mlp.up_proj"].spec.by_modality


def test_a_fold_is_undone_by_its_inverse() -> None:
    model = Mixed(torch.zeros_like)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    group = Group("norm", 32, {"first": torch.arange(32)})
    divisors = torch.rand(32) + 0.5
    fold(model, group, divisors)
    assert torch.allclose(model.norm.bias * divisors, before["norm.bias"])
    assert torch.allclose(model.first.weight / divisors, before["first.weight"])
    fold(model, group, 1 / divisors)
    for name, value in model.state_dict().items():
        assert torch.allclose(value, before[name]), name


# What it is worth


def rows_and_weight(seed: int = 0, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Rows with channels of different power, and a weight whose columns differ: some inputs matter more than others."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(256, 128, generator=generator) * torch.exp(spread * torch.randn(128, generator=generator))
    weight = torch.randn(96, 128, generator=generator) * torch.exp(spread * torch.randn(128, generator=generator))
    return x, weight


def test_less_error_for_as_many_spikes_on_rows_that_were_not_seen() -> None:
    x, weight = rows_and_weight()
    choice = choose_divisors(x[:128], [(weight, None)], torch.arange(128), 128, Spikes(), 8.0)
    assert choice.error < 0.8
    unseen, spikes = x[128:], Spikes()

    def error(divisors: Tensor, budget: float) -> float:
        divided = unseen / divisors
        scale = spikes.scale_at(divided, budget)
        coded = torch.copysign(spikes.codes(divided, scale) * scale, divided) * divisors
        lost, whole = (coded - unseen) @ weight.t(), unseen @ weight.t()
        return float((lost.square().sum(1) / whole.square().sum(1)).mean())

    budget = spikes.count(unseen, spikes.unit(unseen) * spikes.ratio)
    assert error(choice.divisors, budget) < 0.85 * error(torch.ones(128), budget)


def test_a_second_time_there_is_little_left_to_gain() -> None:
    x, weight = rows_and_weight(3)
    follows, args = torch.arange(128), QuantizationArgs(num_bits=4, strategy="group", group_size=32)
    first = choose_divisors(x, [(weight, args)], follows, 128, Spikes(), 64.0)
    again = choose_divisors(x / first.divisors, [(weight * first.divisors, args)], follows, 128, Spikes(), 64.0)
    assert first.error < 0.7
    assert 1 - again.error < 0.3 * (1 - first.error)


def test_equal_inputs_and_columns_are_left() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(256, 64, generator=generator)
    choice = choose_divisors(x, [(torch.eye(64), None)], torch.arange(64), 64, Spikes(), 8.0)
    assert not choice.divides
    assert torch.equal(choice.divisors, torch.ones(64))


def test_inputs_that_follow_one_channel_are_divided_alike_and_within_bounds() -> None:
    x, weight = rows_and_weight(2, spread=3.0)
    follows = torch.arange(128) // 2
    follows[:4] = -1
    choice = choose_divisors(x, [(weight, None)], follows, 64, Spikes(), 4.0, inputs=(0.0,), columns=(1.0,))
    power = weight.square().sum(0).view(64, 2).sum(1)[2:]
    expected = (power.rsqrt() / power.rsqrt().log().mean().exp()).clamp(0.25, 4.0)
    assert torch.allclose(choice.divisors[2:], expected, rtol=1e-4)
    assert torch.equal(choice.divisors[:2], torch.ones(2))


# What is refused


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"input_strength": 1.5}, ("input_strength", 1.5)),
        ({"weight_strength": -1}, ("weight_strength", -1)),
        ({"bound": 1}, ("bound", 1)),
        ({"samples": 0}, ("samples", 0)),
        ({"threshold_ratio": 3}, ("threshold_ratio", 3)),
        ({"threshold_statistic": "median"}, ("threshold_statistic", "median")),
        ({"input_strength": 0, "weight_strength": 0}, ("input_strength", "weight_strength")),
        ({"strengt": 1}, ("strengt",)),
    ],
)
def test_settings_that_cannot_be(fields: dict[str, Any], names: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match=naming("SpikeSmoothingModifier", *names)):
        SpikeSmoothingModifier(**fields)


def test_it_stands_before_quantization_and_has_data_and_targets(workshop: Workshop) -> None:
    with pytest.raises(InputError, match=naming("SpikeSmoothingModifier", "QuantizationModifier")):
        workshop.oneshot("llama", recipe(RTN + "\nSpikeSmoothingModifier: {samples: 4}"))
    with pytest.raises(InputError, match=naming("SpikeSmoothingModifier", "calibration data")):
        workshop.oneshot("llama", ALONE % "", dataset=None)
    with pytest.raises(InputError, match=naming("SpikeSmoothingModifier.targets", "re:.*gate_projection")):
        workshop.oneshot("llama", ALONE % ", targets: ['re:.*gate_projection']")
    with pytest.raises(
        InputError, match=naming("SpikeSmoothingModifier", "model.vision_tower.encoder.layers.0.mlp.fc2")
    ):
        workshop.oneshot("llava", ALONE % ", targets: ['re:.*fc2']")


def test_data_are_read_and_nobody_notices() -> None:
    loader = tiny_models.loader(shuffle=True)
    state = torch.random.get_rng_state()
    seen = []
    for batch in Unnoticed(loader):
        assert torch.equal(torch.random.get_rng_state(), state)
        seen.append(batch["input_ids"].shape[0])
    assert sum(seen) == 6
    assert len(Unnoticed(loader)) == len(loader)
