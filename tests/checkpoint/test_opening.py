"""Float models and processors: opened in the class that the config names, refused with the directory's name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.workshop import Workshop
from spike_compressor.checkpoint import open_model, open_processor
from spike_compressor.errors import InputError


def test_the_class_and_the_dtype(workshop: Workshop, tmp_path: Path) -> None:
    source = workshop.source("llava")
    model = open_model(source, torch.float16)
    assert type(model).__name__ == "LlavaForConditionalGeneration"
    assert model.dtype == torch.float16
    assert not model.training
    with pytest.raises(InputError, match="int4"):
        open_model(source, "int4")
    # without a name it is a causal language model
    twin = Path(shutil.copytree(workshop.source("llama"), tmp_path / "twin"))
    content = json.loads((twin / "config.json").read_text())
    del content["architectures"]
    (twin / "config.json").write_text(json.dumps(content))
    assert type(open_model(twin)).__name__ == "LlamaForCausalLM"


@pytest.mark.parametrize(
    "damage", ["nothing there", "no JSON", "unknown architecture", "no weights", "half the weights"]
)
def test_what_cannot_be_opened_is_named(damage: str, workshop: Workshop, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    if damage != "nothing there":
        shutil.copytree(workshop.source("llama"), twin)
    if damage == "no JSON":
        (twin / "config.json").write_text("{")
    elif damage == "unknown architecture":
        (twin / "config.json").write_text('{"model_type": "seer"}')
    elif damage == "no weights":
        (twin / "model.safetensors").unlink()
    elif damage == "half the weights":
        weights = (twin / "model.safetensors").read_bytes()
        (twin / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InputError, match="twin"):
        open_model(twin)


def test_a_directory_without_a_processor_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=tmp_path.name):
        open_processor(tmp_path)
