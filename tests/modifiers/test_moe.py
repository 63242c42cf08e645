"""Mixtures of experts in recipes: what a router does to calibration, and experts that no row reached."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import spike_compressor
import torch
from helpers.messages import naming
from helpers.tiny_models import randomized_linear, saved
from helpers.tiny_moe import TINY_MOE
from helpers.workshop import Processor
from spike_compressor.checkpoint import read_config
from spike_compressor.cli.program import run
from spike_compressor.coding.base import available_codings, get_coding
from spike_compressor.errors import InputError
from spike_compressor.metrics import measure_activity
from spike_compressor.modality import adapter_for
from spike_compressor.modifiers.unreached import Siblings, some
from spike_compressor.runtime import LayerSpec, attach, detach, spiking_layers, spiking_state
from torch.utils.data import DataLoader

EXPERTS = 16
W4 = "{num_bits: 4, type: int, symmetric: true, strategy: group, group_size: 32}"
GROUPS = f"ignore: [lm_head], config_groups: {{w: {{targets: [Linear], weights: {W4}%s}}}}"
STATIC = ", input_activations: {num_bits: 5, type: int, symmetric: %s, strategy: tensor, dynamic: false}"


def few_tokens() -> DataLoader[Any]:
    """Three tokens, to two of sixteen experts each: most experts get none."""
    return DataLoader([{"input_ids": torch.tensor([[1, 23, 35]])}], batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    moe = TINY_MOE["qwen3_moe"]
    config = moe.config()
    config.num_experts = EXPERTS
    torch.manual_seed(0)
    model = moe.model_class(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    path = tmp_path_factory.mktemp("sixteen")
    model.save_pretrained(path)
    return path


def made(source: Path, quant: str, spikes: str, **options: Any) -> Any:
    model = TINY_MOE["qwen3_moe"].model_class.from_pretrained(source, dtype=torch.float32).eval()
    return recipe_on(model, quant, spikes, **options)


def recipe_on(model: Any, quant: str, spikes: str, **options: Any) -> Any:
    from llmcompressor import oneshot

    text = f"""
spike_stage:
  quant_modifiers:
    {quant}
  spike_modifiers:
    TCLIFModifier: {{ignore: [lm_head]{spikes}}}
"""
    options = {"dataset": few_tokens(), "moe_calibrate_all_experts": False, "pipeline": "basic", **options}
    oneshot(model=model, processor=Processor(), recipe=text, **options)
    return model


def batch() -> dict[str, torch.Tensor]:
    """Tokens for all experts."""
    return {"input_ids": torch.randint(10, 64, (2, 24), generator=torch.Generator().manual_seed(1))}


def unreached(model: Any) -> list[str]:
    return list(spiking_state(model).facts["uncalibrated"])


RECIPES = {
    "GPTQ": ("GPTQModifier: {%s}" % (GROUPS % ""), ", timesteps: 4"),
    "static": ("QuantizationModifier: {%s}" % (GROUPS % ""), ", timesteps: 4, threshold: static"),
    "static mse": (
        "QuantizationModifier: {%s}" % (GROUPS % ""),
        ", timesteps: 4, threshold: static, threshold_observer: mse",
    ),
    "auto": ("QuantizationModifier: {%s}" % (GROUPS % ""), ", timesteps: 4, threshold_ratio: auto"),
    "reinterpreted": ("QuantizationModifier: {%s}" % (GROUPS % (STATIC % "true")), ""),
    "reinterpreted, asymmetric": ("QuantizationModifier: {%s}" % (GROUPS % (STATIC % "false")), ""),
}


@pytest.mark.parametrize("name", RECIPES)
def test_experts_that_no_row_reached_are_reported_and_safe(name: str, source: Path, tmp_path: Path) -> None:
    from loguru import logger

    messages: list[str] = []
    sink = logger.add(lambda message: messages.append(str(message)), level="WARNING")
    try:
        model = made(source, *RECIPES[name])
    finally:
        logger.remove(sink)
    missed = unreached(model)
    layers = spiking_layers(model)
    # three tokens, two experts each, in two layers
    assert 3 * 2 * (EXPERTS - 6) <= len(missed) < 3 * 2 * EXPERTS
    assert all(".experts." in layer for layer in missed)
    assert any("no calibration row" in message and missed[0] in message for message in messages)
    for layer in missed:
        assert bool(layers[layer].integer.codes.any()), f"{layer} was quantized to nothing"
        scale = layers[layer].spec.scale
        if scale is not None:  # of the experts of its layer that rows reached, or between them
            lenders = [layers[other].spec.scale for other in Siblings(layers).of(layer) if other not in missed]
            widest = max(one["text"] for one in lenders if one is not None)
            assert 0 < scale["text"] <= widest * 1.01
            assert scale["text"] >= 0.2 * widest
    with torch.no_grad():
        want = model(**batch()).logits
    assert bool(torch.isfinite(want).all())
    spike_compressor.save(model, tmp_path / "out")
    assert read_config(tmp_path / "out").uncalibrated == missed
    with torch.no_grad():
        assert torch.equal(spike_compressor.load(tmp_path / "out")(**batch()).logits, want)


def test_with_all_experts_calibrated_nothing_is_missed(source: Path) -> None:
    model = made(source, *RECIPES["static"], moe_calibrate_all_experts=True)
    assert unreached(model) == []
    with torch.no_grad():
        assert bool(torch.isfinite(model(**batch()).logits).all())


def test_layers_without_anybody_to_borrow_from_get_a_threshold_for_each_row() -> None:
    from spike_compressor.modifiers.chosen import Observed
    from spike_compressor.modifiers.thresholds import MagnitudeHistogram

    adapter = adapter_for(TINY_MOE["qwen3_moe"].model())
    observed = Observed(["layers.0.fc1", "experts.0.up", "experts.1.up"], adapter)
    observed.begin(MagnitudeHistogram)
    observed.update("experts.1.up", "text", torch.full((2, 3), 3.0))
    choose = lambda histogram, T: histogram.absmax_scale(2**T - 1)  # noqa: E731
    assert observed.choose("layers.0.fc1", {"text": 2}, choose) is None
    assert observed.choose("experts.0.up", {"text": 2}, choose) == {"text": 1.0}
    assert observed.choose("experts.1.up", {"text": 2}, choose) == {"text": 1.0}
    assert observed.uncalibrated == ["layers.0.fc1", "experts.0.up"]


def test_gptq_still_zeroes_experts_without_data_upstream(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When this fails, it is fixed upstream: remove the workaround."""
    from spike_compressor.modifiers import upstream

    monkeypatch.setattr(upstream, "round_what_no_row_reached", lambda: lambda: None)
    model = made(source, *RECIPES["GPTQ"])
    layers = spiking_layers(model)
    assert not any(bool(layers[name].integer.codes.any()) for name in unreached(model))


@pytest.mark.parametrize("allocation", ["sensitivity", "med"])
def test_plans_of_experts_without_rows(allocation: str, source: Path) -> None:
    text = f"""
spike_stage:
  quant_modifiers:
    {RECIPES["static"][0]}
  spike_modifiers:
    MSTSModifier: {{allocation: {allocation}, budget: {{mean_timesteps: 4}}}}
    TCLIFModifier: {{ignore: [lm_head], threshold_ratio: auto}}
"""
    from llmcompressor import oneshot

    model = TINY_MOE["qwen3_moe"].model_class.from_pretrained(source, dtype=torch.float32).eval()
    options = {"dataset": few_tokens(), "moe_calibrate_all_experts": False, "pipeline": "basic"}
    oneshot(model=model, processor=Processor(), recipe=text, **options)
    assert unreached(model)
    for layer in spiking_layers(model).values():
        assert all(1 <= T <= 7 for T in layer.spec.timesteps.values())
        assert all(0.05 <= ratio <= 1.25 for ratio in layer.spec.ratio.values())
    with torch.no_grad():
        assert bool(torch.isfinite(model(**batch()).logits).all())


def test_inspect_and_the_report_say_what_no_row_reached(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = made(source, *RECIPES["GPTQ"])
    activity = spiking_state(model).facts["activity"]
    assert set(unreached(model)) <= set(activity["never_called"])
    assert measure_activity(model, [batch()])["totals"]["coverage"] > 0
    spike_compressor.save(model, tmp_path / "out")
    capsys.readouterr()
    assert run(["inspect", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert f"no calibration row reached: {unreached(model)[0]}" in shown
    assert "--layers" in shown
    assert run(["inspect", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["uncalibrated"] == unreached(model)


@pytest.mark.parametrize("coding", available_codings())
@pytest.mark.parametrize("backend", ["fused", "unrolled"])
@pytest.mark.parametrize("group", [None, 32])
def test_a_layer_that_gets_no_rows_gives_none(coding: str, backend: str, group: int | None) -> None:
    """Routers send experts empty tensors."""
    groups = {} if group is None else {"strategy": "group", "group_size": group}
    model = torch.nn.Sequential(randomized_linear(24, 64, **groups))
    adapter = adapter_for(SimpleNamespace(config=SimpleNamespace(model_type="llama")))  # type: ignore[arg-type]
    attach(model, {"0": LayerSpec({"text": 3}, coding, symmetric=get_coding(coding).signed)}, adapter, backend)
    with spike_compressor.record_spikes(model) as record:
        assert model(torch.zeros(0, 64)).shape == (0, 24)
    assert not any(entry.rows for entry in record.layers.values())
    detach(model)


def test_experts_of_a_layer_are_siblings_and_nothing_else_is() -> None:
    names = [f"model.layers.{layer}.mlp.experts.{expert}.up_proj" for layer in range(2) for expert in range(3)]
    names += ["model.layers.0.mlp.experts.1.down_proj", "model.layers.1.fc", "model.layers.0.fc", "lm_head"]
    siblings = Siblings(names)
    assert siblings.of(names[1]) == names[:3]
    assert siblings.of("model.layers.0.fc") == siblings.of("lm_head") == []
    assert some(names[:2]) == ", ".join(names[:2])
    assert some(names).endswith("and 5 more")


@pytest.mark.parametrize("name", ["qwen3_moe", "mixtral", "deepseek_v3"])
def test_a_rotation_that_routers_would_not_follow_is_refused(name: str, tmp_path: Path) -> None:
    moe = TINY_MOE[name]
    model = saved(moe.model(), tmp_path)
    rotated = "SpinQuantModifier: {rotations: %s, transform_type: hadamard}\n    " + RECIPES["GPTQ"][0]
    with pytest.raises(InputError, match=naming("SpinQuantModifier.rotations", "R1", "mlp.gate")):
        recipe_on(model, rotated % "[R1, R2]", RECIPES["GPTQ"][1], dataset=moe.loader())
