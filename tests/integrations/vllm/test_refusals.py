"""What vLLM cannot serve is refused in one line that names it and the remedy; most of these need no vLLM."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.transform import TransformConfig
from safetensors.torch import save_file
from spike_compressor.checkpoint import SpikeConfig
from spike_compressor.errors import InputError
from spike_compressor.integrations.vllm import refusals
from spike_compressor.integrations.vllm.rotations import Rotations
from spike_compressor.integrations.vllm.scheme import WeightScheme
from transformers import DeepseekV3Config, LlamaConfig, T5Config

PLAIN: dict[str, Any] = {
    "producer": {},
    "architecture": "llama",
    "modalities": ["text"],
    "placeholders": {},
    "coding": "tc_lif",
    "plan": {
        "model.layers.0.mlp.up_proj": {
            "timesteps": {"text": 3, "vision": 3, "audio": 3},
            "coding": "tc_lif",
            "threshold": "dynamic",
        }
    },
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
    "rotation": (
        {"online_rotations": {"transforms": {"R4": ["input"], "R3": ["k_cache", "q_attn"]}}},
        "the online rotation 'R3' of k_cache",
    ),
    "experts": ({"experts": "separate", "architecture": "granitemoe"}, "mixtures of experts of the architecture 'gran"),
    "floats": ({"experts": "stacked", "architecture": "mixtral"}, "experts that do not spike"),
    "audio": ({"modalities": ["text", "audio"]}, "rows of audio"),
    "architecture": ({"architecture": "idefics3", "modalities": ["text", "vision"]}, "architecture 'idefics3'"),
}


def test_what_can_be_served_is_not_refused() -> None:
    refusals.require_servable_checkpoint(SpikeConfig(**PLAIN))
    refusals.require_servable_checkpoint(SpikeConfig(**PLAIN | {"online_rotations": {"transforms": {"R4": ["input"]}}}))
    refusals.require_servable_checkpoint(
        SpikeConfig(**PLAIN | {"architecture": "llava", "modalities": ["text", "vision"]})
    )
    refusals.require_servable_checkpoint(SpikeConfig(**PLAIN | {"architecture": "mixtral", "experts": "separate"}))


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
    expert = "model.layers.0.mlp.experts.0.up_proj"
    assert WeightScheme.of(expert, settings) == WeightScheme(bits=4, packed=True)
    weights["symmetric"] = False  # zero points would be packed, too
    with pytest.raises(InputError, match="'pack-quantized' cannot be served"):
        WeightScheme.of(expert, settings)
    weights["symmetric"] = True
    settings["format"] = "int-quantized"
    assert WeightScheme.of("model.layers.0.mlp.up_proj", settings) == WeightScheme(bits=4)


ROTATION: dict[str, Any] = {"type": "hadamard", "apply": [{"targets": ["re:.*down_proj"], "location": "input"}]}
MATRIX = "model.layers.{}.mlp.down_proj.R4_input.weight"


def _rotations(path: Path, tensors: dict[str, torch.Tensor], **scheme: Any) -> Rotations:
    save_file(tensors, path / "model.safetensors")
    settings = {"config_groups": {"R4": {**ROTATION, **scheme}}}
    return Rotations(TransformConfig.model_validate(settings), [path / "model.safetensors"])


def test_rotations_are_those_of_the_layers_that_they_name(tmp_path: Path) -> None:
    """The saved matrix is what counts, and layers of one size share it."""
    matrix = torch.eye(4)[[1, 0, 3, 2]]
    rotations = _rotations(tmp_path, {MATRIX.format(0): matrix})
    assert rotations.suffixes == (".R4_input.weight",)
    assert rotations.of("model.layers.0.mlp.up_proj", 4) is None
    rotation = rotations.of("model.layers.1.mlp.down_proj", 4)
    assert rotation is rotations.of("model.layers.0.mlp.down_proj", 4)
    assert rotation is not None
    assert rotation(torch.tensor([[2.0, 4.0, 6.0, 8.0]])).tolist() == [[2.0, 1.0, 4.0, 3.0]]  # over sqrt(4)
    with pytest.raises(InputError, match=r"of the online rotation 'R4' of .*2\.mlp\.down_proj is missing"):
        rotations.of("model.layers.2.mlp.down_proj", 8)


def test_rotations_of_single_layers(tmp_path: Path) -> None:
    own = {MATRIX.format(0): torch.eye(4), MATRIX.format(1): -torch.eye(4)}
    with pytest.raises(InputError, match=r"1\.mlp\.down_proj\.R4_input\.weight is not the matrix of other layers"):
        _rotations(tmp_path, own)
    with pytest.raises(InputError, match="'R4' has a matrix for each layer"):
        _rotations(tmp_path, {MATRIX.format(0): torch.eye(4)}, randomize=True)


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
