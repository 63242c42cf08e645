"""Arguments of transformers' that `save` and `load` take: honoured, or refused before anything is written or read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import RTN, Workshop, recipe
from spike_compressor.errors import InputError
from spike_compressor.runtime import spiking_layers
from transformers import CompressedTensorsConfig

PLAIN = recipe(RTN)

NOT_SAVED: dict[str, Any] = {
    "save_function": torch.save,
    "quantization_format": "pack-quantized",
    "safe_serialization": False,
    "save_compressed": False,
    "variant": "fp16",
    "push_to_hub": True,
    "repo_id": "someone/model",
    "distributed_checkpoint": True,
    "save_original_format": False,
    "max_shard_sise": "1GB",
}
NOT_LOADED: dict[str, Any] = {
    "quantization_config": CompressedTensorsConfig(),
    "state_dict": {},
    "config": object(),
    "subfolder": "inner",
    "variant": "fp16",
    "use_safetensors": False,
    "ignore_mismatched_sizes": True,
    "output_loading_info": True,
    "key_mapping": {"a": "b"},
    "gguf_file": "x.gguf",
    "revision": "old",
    "use_kernels": True,
    "tp_plan": "auto",
    "num_hidden_layers": 1,
    "torch_dtpye": torch.float16,
}


@pytest.mark.parametrize("name", NOT_SAVED)
def test_save_refuses_what_it_cannot_honour(name: str, workshop: Workshop, tmp_path: Path) -> None:
    model = workshop.made("llama", PLAIN)[0]
    for save in (spike_compressor.save, type(model.save_pretrained).__call__):
        first = model if save is spike_compressor.save else model.save_pretrained
        with pytest.raises(InputError, match=naming(name)):
            save(first, tmp_path / "out", **{name: NOT_SAVED[name]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NOT_LOADED)
def test_load_refuses_what_it_cannot_honour(name: str, workshop: Workshop) -> None:
    with pytest.raises(InputError, match=naming(name)):
        spike_compressor.load(workshop.made("llama", PLAIN)[1], **{name: NOT_LOADED[name]})


@pytest.mark.parametrize(
    ("device_map", "memory", "names"),
    [
        ({"": "disk"}, None, ("device_map", "the model on the disk")),
        ({"model": "cpu", "lm_head": "disk"}, None, ("device_map", "lm_head", "disk")),
        ({"model": "cpu", "lm_head": 0}, None, ("device_map", "model", "cpu beside device 0")),
        ("auto", 60_000, ("device_map", "disk", "parts more", "max_memory", "GiB")),
    ],
)
def test_what_would_be_offloaded_is_refused(
    device_map: Any, memory: int | None, names: tuple[str, ...], workshop: Workshop, tmp_path: Path
) -> None:
    limits = {} if memory is None else {"max_memory": {"cpu": memory}, "offload_folder": str(tmp_path / "folder")}
    with pytest.raises(InputError, match=naming(*names)):
        spike_compressor.load(workshop.made("llama", PLAIN)[1], device_map=device_map, **limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}, torch.device("cpu")])
def test_a_map_of_one_kind_of_device_changes_nothing(device_map: Any, workshop: Workshop) -> None:
    path, batch = workshop.made("llama", PLAIN)[1], workshop.batch("llama")
    placed = spike_compressor.load(path, device_map=device_map, max_memory={"cpu": 10**9})
    assert torch.equal(tiny_models.logits(placed, batch), tiny_models.logits(spike_compressor.load(path), batch))


def test_unknown_arguments_get_the_nearest_name(workshop: Workshop, tmp_path: Path) -> None:
    model, path = workshop.made("llama", PLAIN)
    with pytest.raises(InputError, match=naming("max_shard_sise", "max_shard_size")):
        spike_compressor.save(model, tmp_path / "out", max_shard_sise="1GB")
    with pytest.raises(InputError, match=naming("torch_dtpye", "torch_dtype")):
        spike_compressor.load(path, torch_dtpye=torch.float16)


def test_another_state_dict_is_refused_and_the_models_own_taken(workshop: Workshop, tmp_path: Path) -> None:
    model = spike_compressor.load(workshop.made("llama", PLAIN)[1])
    own = model.state_dict()
    changed = {name: tensor * 2 if name == "model.norm.weight" else tensor for name, tensor in own.items()}
    fewer = {name: tensor for name, tensor in own.items() if name != "lm_head.weight"}
    for other, name in (
        (changed, "model.norm.weight"),
        (fewer, "lm_head.weight"),
        ({**own, "new": own["lm_head.weight"]}, "new"),
    ):
        with pytest.raises(InputError, match=naming("state_dict", name)):
            spike_compressor.save(model, tmp_path / "out", state_dict=other)
    assert list(tmp_path.iterdir()) == []
    copied = {name: tensor.clone() for name, tensor in own.items()}
    model.save_pretrained(tmp_path / "out", state_dict=copied, safe_serialization=True, variant=None, push_to_hub=False)
    batch = workshop.batch("llama")
    assert torch.equal(
        tiny_models.logits(spike_compressor.load(tmp_path / "out"), batch), tiny_models.logits(model, batch)
    )


def test_processes_that_are_not_the_main_one_write_nothing(workshop: Workshop, tmp_path: Path) -> None:
    model = spike_compressor.load(workshop.made("llama", PLAIN)[1])
    model.save_pretrained(tmp_path / "out", is_main_process=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="save_pretrained"):
        model.save_pretrained(tmp_path / "out", True)
    model.save_pretrained(tmp_path / "out", is_main_process=True)
    assert (tmp_path / "out" / "spike_config.json").is_file()


def test_another_dtype_does_not_round_the_scales(workshop: Workshop, tmp_path: Path) -> None:
    partly = PLAIN.replace("TCLIFModifier: {targets: [Linear]", "TCLIFModifier: {targets: ['re:.*q_proj']")
    model, path = workshop.made("llama", partly)
    layers = spiking_layers(model)
    for dtype in (torch.bfloat16, torch.float16):
        loaded = spike_compressor.load(path, dtype=dtype)
        for name, layer in spiking_layers(loaded).items():
            assert torch.equal(layer.integer.codes, layers[name].integer.codes)
            assert torch.equal(layer.integer.scale, layers[name].integer.scale)
        weights = {parameter.dtype for name, parameter in loaded.named_parameters() if name.endswith("proj.weight")}
        assert weights <= {dtype, torch.int8}
        assert tiny_models.logits(loaded, workshop.batch("llama")).dtype == dtype
    spike_compressor.save(loaded, tmp_path / "out", verify="all")
    again = spiking_layers(spike_compressor.load(tmp_path / "out"))
    assert all(torch.equal(again[name].integer.scale, layer.integer.scale) for name, layer in layers.items())


def test_the_dtype_by_either_name(workshop: Workshop) -> None:
    path = workshop.made("llama", PLAIN)[1]
    for given in ({"torch_dtype": torch.bfloat16}, {"torch_dtype": "bfloat16"}, {"dtype": "bfloat16"}):
        assert spike_compressor.load(path, **given).dtype == torch.bfloat16
    assert spike_compressor.load(path, torch_dtype=None, use_safetensors=True, revision="main").dtype == torch.float32
    with pytest.raises(InputError, match=naming("torch_dtype", "bfloat16", "float16")):
        spike_compressor.load(path, dtype=torch.bfloat16, torch_dtype=torch.float16)
    for wrong in ("float33", "int8", 7):
        with pytest.raises(InputError, match=naming(wrong, "bfloat16")):
            spike_compressor.load(path, dtype=wrong)
