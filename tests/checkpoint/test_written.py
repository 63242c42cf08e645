"""Reading back what was written: each part that is not as in memory is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.messages import naming
from helpers.workshop import IGNORE, RTN, Workshop, recipe
from safetensors.torch import load_file, save_file
from spike_compressor.checkpoint import verify
from spike_compressor.checkpoint.read import read_config
from spike_compressor.checkpoint.schema import THRESHOLDS_NAME
from spike_compressor.checkpoint.seal import weight_files
from spike_compressor.errors import InputError
from spike_compressor.runtime import spiking_state

LAYER = "model.vision_tower.encoder.layers.0.mlp.fc1"
#: A quantized layer that does not spike.
RESTS = "model.vision_tower.encoder.layers.1.mlp.fc1"
TEXT = recipe(RTN, "threshold: static").replace(
    f"targets: [Linear], ignore: {IGNORE}", f"targets: [Linear], ignore: {IGNORE.removesuffix(']')}, '{RESTS}']"
)


@pytest.fixture
def written(workshop: Workshop, tmp_path: Path) -> tuple[Any, Path]:
    model, path = workshop.made("llava", TEXT)
    assert RESTS not in spiking_state(model).layers
    return model, Path(shutil.copytree(path, tmp_path / "copy"))


def spoil(file: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def ends(tensors: dict[str, torch.Tensor], ending: str) -> str:
    """The key of a tensor in the files, where its name may begin otherwise."""
    return next(key for key in tensors if key.endswith(ending))


def check(model: Any, path: Path, config: Any = None) -> None:
    verify.verify_written(model, spiking_state(model), path, config or read_config(path), "all")


def test_as_it_was_saved(written: tuple[Any, Path]) -> None:
    check(*written)


def test_another_plan(written: tuple[Any, Path]) -> None:
    model, path = written
    config = read_config(path)
    with pytest.raises(InputError, match=naming("spike_config.json", "its content")):
        check(model, path, config.model_copy(update={"placeholders": {"vision": [7]}}))


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        (f"{LAYER.removeprefix('model.')}.bias", (LAYER, "its bias")),
        (f"{RESTS.removeprefix('model.')}.weight", (RESTS, "its integer weights")),
        ("projector.linear_1.weight", ("linear_1", "its integer weights")),
    ],
)
def test_another_number(written: tuple[Any, Path], ending: str, says: tuple[str, ...]) -> None:
    model, path = written
    spoil(path / "model.safetensors", lambda tensors: tensors[ends(tensors, ending)].view(-1)[0].add_(1))
    with pytest.raises(InputError, match=naming(*says)):
        check(model, path)


def test_another_threshold(written: tuple[Any, Path]) -> None:
    model, path = written
    spoil(path / THRESHOLDS_NAME, lambda tensors: tensors[f"{LAYER}.vision"].mul_(2))
    with pytest.raises(InputError, match=naming(LAYER, "its threshold for vision rows")):
        check(model, path)


def test_tensors_that_are_not_there(written: tuple[Any, Path]) -> None:
    model, path = written
    spoil(path / "model.safetensors", lambda tensors: tensors.pop(ends(tensors, "mlp.fc1.weight_scale")))
    found = verify._Written(model, weight_files(path, read_config(path)))
    with pytest.raises(InputError, match=naming(LAYER, "its integer weights, which are not there")):
        found.codes(LAYER, 4)
    with pytest.raises(InputError, match=naming("nowhere.weight", "it, which is not there")):
        found.require("nowhere.weight", torch.zeros(1), model)


@pytest.mark.parametrize("change", ["left out", "other bits"])
def test_another_scheme(written: tuple[Any, Path], change: str) -> None:
    model, path = written
    content = json.loads((path / "config.json").read_text())
    if change == "left out":
        del content["quantization_config"]
    else:
        for group in content["quantization_config"]["config_groups"].values():
            group["weights"]["num_bits"] = 8
    (path / "config.json").write_text(json.dumps(content))
    says = ("config.json", "not there") if change == "left out" else ("its quantization scheme in config.json",)
    with pytest.raises(InputError, match=naming(*says)):
        verify._verify_schemes(model, path, ())
