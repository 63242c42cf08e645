"""The workarounds of `modifiers/upstream.py` are carried only as long as LLM Compressor needs them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_models
from helpers.tiny_architectures import ARCHITECTURES
from helpers.workshop import GPTQ, IGNORE, RTN, W4_GROUP, Workshop, recipe
from spike_compressor.modifiers import upstream


@pytest.fixture
def without_workarounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "complete_sequential_epochs", lambda model: lambda: None)


def weights_observed(model: Any, source: Any) -> dict[str, bool]:
    """Whether the scale of each quantized Linear is what the float model's weights ask for (RTN: absmax by channel)."""
    found = {}
    for name, module in model.named_modules():
        if hasattr(module, "weight_scale"):
            expected = source.get_submodule(name).weight.abs().amax(1, keepdim=True) / 7.5
            found[name] = bool(torch.allclose(module.weight_scale, expected, rtol=1e-3))
    return found


@pytest.mark.usefixtures("without_workarounds")
def test_upstream_still_fails_at_gptq_over_a_vision_tower(workshop: Workshop) -> None:
    """When this fails, it is fixed upstream: remove the workaround."""
    with pytest.raises(AssertionError, match="No statistics available"):
        workshop.oneshot("llava", recipe(GPTQ))


@pytest.mark.usefixtures("without_workarounds")
def test_upstream_still_forgets_the_weights_of_a_vision_tower(workshop: Workshop) -> None:
    """When this fails, it is fixed upstream: remove the workaround."""
    quant_only = f"quant_stage:\n  quant_modifiers:\n    {RTN}\n"
    model = workshop.oneshot("llava", quant_only, pipeline="sequential")
    forgotten = {
        name.split(".")[1] for name, right in weights_observed(model, workshop.model("llava")).items() if not right
    }
    assert "vision_tower" in forgotten


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator to pin memory for")
def test_upstream_still_pins_memory_for_no_accelerator(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """When this fails, it is fixed upstream: remove the workaround. With it, tests/recipes runs AWQ."""
    monkeypatch.setattr(upstream, "pin_for_accelerators_only", lambda: lambda: None)
    text = (Path(__file__).parents[2] / "recipes" / "compare" / "awq_w4_g64.yaml").read_text(encoding="utf-8")
    with pytest.raises(RuntimeError, match="accelerator"):
        workshop.oneshot("llama", text)


AUTOROUND = (
    f"AutoRoundModifier: {{iters: 1, enable_torch_compile: false, ignore: {IGNORE}, config_groups: {{w4: {W4_GROUP}}}}}"
)


@pytest.fixture(params=[(torch.float32, True), (torch.bfloat16, False)], ids=["float32", "bfloat16"])
def other_type(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """The type of a model that AutoRound changes on a processor that has bfloat16, or has not."""
    from auto_round.utils.device_manager import CpuARDevice

    dtype, has_bfloat16 = request.param
    monkeypatch.setattr(CpuARDevice, "supports_bf16", lambda self: has_bfloat16)
    return dtype


def test_upstream_still_leaves_layers_in_the_type_of_mixed_precision(
    workshop: Workshop, other_type: torch.dtype
) -> None:
    """When this fails, it is fixed upstream: remove the workaround."""
    quant_only = f"quant_stage:\n  quant_modifiers:\n    {AUTOROUND}\n"
    model = workshop.oneshot("llama", quant_only, workshop.model("llama", other_type))
    assert model.model.layers[0].mlp.up_proj.weight.dtype != other_type
    with pytest.raises(RuntimeError, match="dtype"):
        model(**workshop.batch("llama"))


def test_autoround_keeps_the_type_of_a_model(workshop: Workshop, other_type: torch.dtype) -> None:
    source = workshop.model("llama", other_type)
    for name, parameter in source.named_parameters():
        if "norm" in name:
            parameter.data += torch.linspace(0, 1, len(parameter), dtype=other_type)  # no numbers of fewer bits
    model = workshop.oneshot("llama", recipe(AUTOROUND), copy.deepcopy(source))
    assert model(**workshop.batch("llama")).logits.dtype == other_type
    after = dict(model.named_parameters())
    for name, parameter in source.named_parameters():
        if "proj" not in name:
            assert after[name].dtype == other_type, name
            assert torch.equal(after[name], parameter), name
    weight = source.model.layers[0].mlp.up_proj.weight
    apart = model.get_submodule("model.layers.0.mlp.up_proj").integer.floats() - weight.float()
    assert apart.abs().max() < 1.6 * weight.abs().max() / 7.5  # half a step of rounding, and what AutoRound adds


@pytest.mark.parametrize("pipeline", ["sequential", "independent", "basic"])
def test_weights_do_not_depend_on_the_pipeline(workshop: Workshop, pipeline: str) -> None:
    model = workshop.oneshot("llava", recipe(RTN), pipeline=pipeline)
    assert all(weights_observed(model, workshop.model("llava")).values())
    batch = workshop.batch("llava")
    expected = tiny_models.logits(workshop.made("llava", recipe(RTN))[0], batch)
    assert torch.equal(tiny_models.logits(model, batch), expected)


def test_upstream_still_drops_inputs_that_the_first_batch_had_not(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When this fails, it is fixed upstream: `CalibrationRows` need not refuse such data any more."""
    from transformers import LlavaOnevisionModel

    videos: list[Any] = []
    whole = LlavaOnevisionModel.get_video_features
    monkeypatch.setattr(
        LlavaOnevisionModel, "get_video_features", lambda *args, **kw: videos.append(kw) or whole(*args, **kw)
    )
    quant_only = f"quant_stage:\n  quant_modifiers:\n    {RTN}\n"
    kind = "every llava_onevision"
    for cases, pipeline, seen in (
        (("left", "video"), "sequential", False),
        (("left", "video"), "basic", True),
        (("video",), "sequential", True),
    ):
        data = ARCHITECTURES["llava_onevision"].loader(*cases)
        workshop.oneshot(kind, quant_only, dataset=data, pipeline=pipeline)
        assert bool(videos) is seen, (cases, pipeline)
        videos.clear()


def test_pinning_is_as_before_after_a_recipe(workshop: Workshop) -> None:
    from llmcompressor.pipelines.cache import IntermediatesCache

    before = IntermediatesCache.pin_memory
    workshop.oneshot("llama", recipe(GPTQ))
    assert IntermediatesCache.pin_memory is before


def test_the_workaround_is_undone(workshop: Workshop) -> None:
    from llmcompressor.core import active_session
    from llmcompressor.modifiers.gptq import GPTQModifier
    from spike_compressor.modifiers.recipe import modifiers_of_type

    model = workshop.oneshot("llava", recipe(GPTQ))
    (modifier,) = modifiers_of_type(GPTQModifier)
    assert active_session() is not None
    assert "on_sequential_epoch_end" not in modifier.__dict__
    layer = model.get_submodule("model.vision_tower.encoder.layers.0.mlp.fc1")
    assert not layer._forward_pre_hooks
