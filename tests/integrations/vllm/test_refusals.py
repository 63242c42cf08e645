"""What vLLM cannot serve is refused in one line that names it and the remedy; most of these need no vLLM."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from spike_compressor.checkpoint import SpikeConfig
from spike_compressor.errors import InputError
from spike_compressor.integrations.vllm import refusals
from spike_compressor.integrations.vllm.scheme import WeightScheme
from transformers import DeepseekV3Config, LlamaConfig, T5Config

PLAIN: dict[str, Any] = {
    "producer": {},
    "architecture": "llama",
    "modalities": ["text"],
    "placeholders": {},
    "coding": "tc_lif",
    "plan": {"model.layers.0.mlp.up_proj": {"timesteps": {"text": 3}, "coding": "tc_lif", "threshold": "dynamic"}},
    "not_spiking": {},
    "budget": {"mean_timesteps": 3},
    "opens_in_plain_transformers": True,
    "sha256": {},
}
PRODUCTS = {"timesteps": {"text": 3}, "coding": "tc_lif", "threshold_ratio": 1.0, "kv_cache": True}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "attention": (
        {"attention": {"model.layers.0.self_attn": PRODUCTS}},
        "spiking attention (model.layers.0.self_attn)",
    ),
    "rotation": ({"online_rotations": {"transforms": {"R4": ["input"]}}}, "the online rotation 'R4'"),
    "experts": ({"experts": "separate"}, "mixtures of experts"),
    "audio": ({"modalities": ["text", "audio"]}, "rows of audio"),
    "architecture": ({"architecture": "idefics3", "modalities": ["text", "vision"]}, "architecture 'idefics3'"),
}


def test_what_can_be_served_is_not_refused() -> None:
    refusals.require_servable_checkpoint(SpikeConfig(**PLAIN))
    refusals.require_servable_checkpoint(
        SpikeConfig(**PLAIN | {"architecture": "llava", "modalities": ["text", "vision"]})
    )


@pytest.mark.parametrize("what", REFUSED)
def test_a_checkpoint_with(what: str) -> None:
    more, named = REFUSED[what]
    with pytest.raises(InputError) as caught:
        refusals.require_servable_checkpoint(SpikeConfig(**PLAIN | more))
    message = str(caught.value)
    assert named in message
    assert "spike_compressor.load computes it" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("package", "found", "refused"),
    [
        ("vllm", "0.31.4", True),
        ("vllm", "0.32.0+cpu", False),
        ("vllm", "0.33.0rc1", True),
        ("vllm", "1.0", True),
        ("vllm", None, True),
        ("compressed-tensors", "0.17.3", False),
        ("compressed-tensors", "0.19.0", True),
    ],
)
def test_versions(package: str, found: str | None, refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"vllm": "0.32.0", "compressed-tensors": "0.17.0"} | {package: found}

    def version(name: str) -> str:
        if installed.get(name) is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    if not refused:
        refusals.require_tested_versions()
        return
    with pytest.raises(InputError, match=package):
        refusals.require_tested_versions()


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (T5Config(), "encoder-decoder models (t5)"),
        (DeepseekV3Config(), "latent attention (deepseek_v3)"),
    ],
)
def test_a_model_with(config: Any, named: str) -> None:
    refusals.require_servable_model(LlamaConfig())
    with pytest.raises(InputError) as caught:
        refusals.require_servable_model(config)
    assert named in str(caught.value)


def test_weights_that_are_packed() -> None:
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "channel"}
    settings = {"format": "pack-quantized", "config_groups": {"w4": {"targets": ["Linear"], "weights": weights}}}
    with pytest.raises(InputError, match="'pack-quantized' cannot be served"):
        WeightScheme.of("model.layers.0.mlp.up_proj", settings)
    settings["format"] = "int-quantized"
    assert WeightScheme.of("model.layers.0.mlp.up_proj", settings) == WeightScheme(bits=4)


# In an engine: the same words, when it starts

in_vllm = pytest.mark.skipif(not importlib.util.find_spec("vllm"), reason="vLLM is not installed")


def _said(engine: Any, name: str, **more: Any) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011  (vLLM wraps it)
        engine(name, **more)
    return str(caught.value)


@in_vllm
def test_an_engine_does_not_start_on_spiking_attention(engine: Any) -> None:
    assert "spiking attention (model.layers.0.self_attn) cannot be served" in _said(engine, "llama_attention")


@in_vllm
def test_an_engine_does_not_start_with_another_quantization(engine: Any) -> None:
    assert "leave out quantization='fp8'" in _said(engine, "llama", quantization="fp8")


@in_vllm
def test_an_engine_does_not_start_on_changed_files(engine: Any, checkpoint: Any, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint("llama"), tmp_path / "copy")
    settings = json.loads((copy / "generation_config.json").read_text())
    (copy / "generation_config.json").write_text(json.dumps({**settings, "temperature": 0.5}))
    assert "generation_config.json is not the file that was saved" in _said(engine, "llama", folder=copy)
