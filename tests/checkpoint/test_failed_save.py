"""A save that fails costs no result: the model is as before and can be saved elsewhere, nothing half-written stays."""

from __future__ import annotations

import copy
import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import GPTQ, RTN, Workshop, recipe
from safetensors.torch import load_file, save_file
from spike_compressor.errors import InputError

FRESH = recipe(RTN, "threshold: static")


def state_of(model: Any) -> dict[str, Any]:
    """Tensors, and status of quantized modules: what a user may look at."""
    status = {name: str(getattr(module, "quantization_status", None)) for name, module in model.named_modules()}
    return {**status, **{name: (tensor.dtype, tensor.clone()) for name, tensor in model.state_dict().items()}}


def require_untouched(model: Any, before: dict[str, Any], expected: torch.Tensor, batch: Any, elsewhere: Path) -> None:
    after = state_of(model)
    assert after.keys() == before.keys()
    for name, value in before.items():
        if isinstance(value, tuple):
            assert value[0] == after[name][0], name
            assert torch.equal(value[1], after[name][1]), name
        else:
            assert value == after[name], name
    assert not hasattr(model, "hf_device_map")
    assert not hasattr(model, "ct_decompress_hook")
    assert torch.equal(tiny_models.logits(model, batch), expected)
    spike_compressor.save(model, elsewhere, verify="all")
    assert torch.equal(tiny_models.logits(spike_compressor.load(elsewhere), batch), expected)


class Breaks:
    """A processor that cannot be saved, or that writes over the model's files."""

    def __init__(self, file: str | None = None) -> None:
        self.file = file

    def save_pretrained(self, path: str) -> None:
        Path(path, "tokenizer.json").write_text("{}")
        if self.file is None:
            raise RuntimeError("no vocabulary")
        if self.file.endswith(".safetensors"):
            save_file({"x": torch.zeros(1)}, Path(path, self.file))
        else:
            content = json.loads(Path(path, self.file).read_text())
            content.pop("quantization_config", None)
            Path(path, self.file).write_text(json.dumps(content))


@pytest.mark.parametrize("how", ["processor", "config.json", "zzz.safetensors", "under a file", "no leave", "loaded"])
def test_a_failed_save_costs_nothing(how: str, workshop: Workshop, tmp_path: Path) -> None:
    model: Any = workshop.made("llava", FRESH)[0]  # as it came out of the recipe
    model = spike_compressor.load(workshop.made("llava", FRESH)[1]) if how == "loaded" else copy.deepcopy(model)
    batch = workshop.batch("llava")
    expected, before = tiny_models.logits(model, batch), state_of(model)
    target = tmp_path / "out"
    if how == "processor" or how == "loaded":
        with pytest.raises(RuntimeError, match="vocabulary"):
            spike_compressor.save(model, target, Breaks())
    elif how in ("config.json", "zzz.safetensors"):
        with pytest.raises(InputError, match=naming(how)):
            spike_compressor.save(model, target, Breaks(how))
    elif how == "under a file":
        (tmp_path / "file").write_text("a file")
        with pytest.raises(InputError, match=naming(tmp_path / "file" / "out")):
            spike_compressor.save(model, tmp_path / "file" / "out")
        (tmp_path / "file").unlink()
    else:  # upstream's own failure, in the middle
        model.generation_config.temperature = -1.0  # which transformers refuses to save
        with pytest.raises(ValueError, match="temperature"):
            spike_compressor.save(model, target)
        model.generation_config.temperature = None
    assert list(tmp_path.iterdir()) == []
    require_untouched(model, before, expected, batch, tmp_path / "elsewhere")


def _fill_the_disk(model: Any, batch: Any, expected: torch.Tensor, tmp_path: Path) -> None:
    """In a forked child, where files cannot grow beyond a limit."""
    before = state_of(model)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails with an error, as on a full disk
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    with pytest.raises(InputError, match=naming(tmp_path / "out")):
        spike_compressor.save(model, tmp_path / "out")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert list(tmp_path.iterdir()) == []
    require_untouched(model, before, expected, batch, tmp_path / "elsewhere")


def test_a_full_disk(workshop: Workshop, tmp_path: Path) -> None:
    model = copy.deepcopy(workshop.made("llama", recipe(GPTQ))[0])
    batch = workshop.batch("llama")
    expected = tiny_models.logits(model, batch)
    child = os.fork()
    if child == 0:
        try:
            _fill_the_disk(model, batch, expected, tmp_path)
        except BaseException as error:  # into the parent's report
            (tmp_path / "failure").write_text(f"{type(error).__name__}: {error}")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert not (tmp_path / "failure").exists(), (tmp_path / "failure").read_text()
    assert (tmp_path / "elsewhere" / "spike_config.json").is_file()


# Reading back


def test_a_layer_whose_scales_are_not_those_it_uses_is_not_saved(workshop: Workshop, tmp_path: Path) -> None:
    model = copy.deepcopy(workshop.made("llama", recipe(GPTQ))[0])
    model.get_submodule("model.layers.1.mlp.up_proj").weight_scale.data.mul_(2)
    for verify in ("sample", "all"):
        with pytest.raises(InputError, match=naming("model.layers.1.mlp.up_proj")):
            spike_compressor.save(model, tmp_path / "out", verify=verify)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=naming("verify", "'some'")):
        spike_compressor.save(model, tmp_path / "out", verify="some")


class Spoils:
    """A processor that changes one tensor of what was written."""

    def __init__(self, key: str) -> None:
        self.key = key

    def save_pretrained(self, path: str) -> None:
        file = Path(path, "model.safetensors")
        tensors = load_file(file)
        tensors[self.key].view(-1)[3] += 1
        save_file(tensors, file, metadata={"format": "pt"})


SPOILED = [
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.1.mlp.down_proj.weight_scale",
    "model.norm.weight",
    "lm_head.weight",
    "model.layers.0.self_attn.v_proj.v_input.weight",
]


@pytest.mark.parametrize("key", SPOILED)
def test_what_was_written_is_read_back(key: str, workshop: Workshop, tmp_path: Path) -> None:
    quip = (
        "QuIPModifier: {rotations: [v], transform_type: random-hadamard, precision: torch.float32, ignore: [lm_head]}"
    )
    model, path = workshop.made("llama", recipe(quip + "\n" + RTN))
    model = spike_compressor.load(path)
    if key not in load_file(path / "model.safetensors"):
        key = next(stored for stored in load_file(path / "model.safetensors") if stored.endswith("v_input.weight"))
    with pytest.raises(InputError, match=naming(key.removesuffix(".weight").removesuffix(".weight_scale"))):
        spike_compressor.save(model, tmp_path / "out", Spoils(key), verify="all")
    assert list(tmp_path.iterdir()) == []
