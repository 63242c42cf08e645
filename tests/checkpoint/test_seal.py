"""What may be in a checkpoint directory beside what must be: nothing that is read as the model and was not saved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import RTN, Workshop, recipe
from safetensors.torch import load_file, save_file
from spike_compressor.checkpoint.schema import sealed
from spike_compressor.cli.program import run
from spike_compressor.errors import InputError
from spike_compressor.files import sha256_of

QUIP = "QuIPModifier: {rotations: [v], transform_type: random-hadamard, precision: torch.float32, ignore: [lm_head]}"
ROTATED = recipe(QUIP + "\n" + RTN)


@pytest.fixture
def rotated(workshop: Workshop, tmp_path: Path) -> Path:
    """A checkpoint with online rotations, in shards, that may be damaged."""
    path = tmp_path / "rotated"
    spike_compressor.save(spike_compressor.load(workshop.made("llama", ROTATED)[1]), path, max_shard_size="60KB")
    assert not (path / "model.safetensors").exists()
    return path


def refused(path: Path, *names: object, capsys: pytest.CaptureFixture[str]) -> None:
    """`load` and `inspect` say the same."""
    with pytest.raises(InputError, match=naming(path, *names)) as caught:
        spike_compressor.load(path)
    capsys.readouterr()
    assert run(["inspect", str(path)]) == 2
    assert str(caught.value) in capsys.readouterr().err.replace("\n", " ")


READ = [
    "model.safetensors",
    "zzz.safetensors",
    "pytorch_model.bin",
    "model.safetensors.index.json.old.index.json",
    "pytorch_model.bin.index.json",
    "adapter_config.json",
    "adapter_model.safetensors",
    "model.gguf",
    "modeling_llama.py",
    "custom_generate/generate.py",
]


def test_no_other_file_is_read(workshop: Workshop, rotated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    single = workshop.made("llama", ROTATED)[1] / "model.safetensors"
    for name in READ:
        (rotated / name).parent.mkdir(exist_ok=True)
        if name.endswith(".safetensors"):
            shutil.copy(single, rotated / name)
        else:
            (rotated / name).write_text("{}")
        refused(rotated, name, "sha256", capsys=capsys)
        (rotated / name).unlink()
    spike_compressor.load(rotated)


def test_a_stray_matrix_is_not_read_even_if_its_name_is_sealed(
    rotated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored: dict[str, torch.Tensor] = {}
    for file in rotated.glob("model-*.safetensors"):
        stored |= load_file(file)
    stray = {name: torch.eye(len(t), dtype=t.dtype) for name, t in stored.items() if "v_input" in name}
    assert stray
    save_file(stray, rotated / "zzz.safetensors", metadata={"format": "pt"})
    content = json.loads((rotated / "spike_config.json").read_text())
    content["sha256"]["zzz.safetensors"] = sha256_of(rotated / "zzz.safetensors")
    (rotated / "spike_config.json").write_text(json.dumps(sealed(content)))
    refused(rotated, "zzz.safetensors", "sha256", capsys=capsys)


def test_what_users_add_stays_allowed(workshop: Workshop, rotated: Path) -> None:
    (rotated / "README.md").write_text("ours now")
    (rotated / "chat_template.jinja").write_text("{{ messages }}")
    (rotated / "tokenizer.json").write_text("{}")
    (rotated / "training_args.bin").write_bytes(b"a Trainer's notes")
    (rotated / "processing_ours.py").write_text("from .ours_helper import x\n")
    (rotated / "ours_helper.py").write_text("x = 1\n")
    (rotated / "preprocessor_config.json").write_text('{"auto_map": {"AutoProcessor": "processing_ours.Ours"}}')
    (rotated / "notes").mkdir()
    (rotated / "notes" / "old.safetensors").write_bytes(b"in a folder that nothing reads")
    batch = workshop.batch("llama")
    expected = tiny_models.logits(workshop.made("llama", ROTATED)[0], batch)
    assert torch.equal(tiny_models.logits(spike_compressor.load(rotated), batch), expected)


def test_shards_that_are_not_sealed(rotated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = json.loads((rotated / "model.safetensors.index.json").read_text())
    first = sorted(set(index["weight_map"].values()))[0]
    content = json.loads((rotated / "spike_config.json").read_text())
    del content["sha256"][first]
    (rotated / "spike_config.json").write_text(json.dumps(sealed(content)))
    refused(rotated, first, "sha256", capsys=capsys)
    (rotated / first).unlink()
    refused(rotated, first, "sha256", capsys=capsys)


@pytest.mark.parametrize("change", ["dropped from spike_config.json", "moved in config.json"])
def test_rotations_of_both_configs_are_held_against_each_other(change: str, rotated: Path) -> None:
    content = json.loads((rotated / "spike_config.json").read_text())
    name = next(iter(content["online_rotations"]["transforms"]))
    if change.startswith("dropped"):
        content["online_rotations"]["transforms"] = {}
    else:
        config = json.loads((rotated / "config.json").read_text())
        config["quantization_config"]["transform_config"]["config_groups"] = {}
        (rotated / "config.json").write_text(json.dumps(config))
        content["sha256"]["config.json"] = sha256_of(rotated / "config.json")
    (rotated / "spike_config.json").write_text(json.dumps(sealed(content)))
    with pytest.raises(InputError, match=naming(rotated, f"'{name}'", "spike_config.json", "config.json")):
        spike_compressor.load(rotated)


def test_a_recipe_does_not_start_from_a_spike_ready_checkpoint(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workshop.made("llama", ROTATED)[1]
    out = tmp_path / "again"
    for command in (
        ["oneshot", "--recipe", "rtn_w4_tclif_34"],
        ["compare", "--recipes", "compare/rtn_w4_g64", "--budget", "3/4", "--eval", "text:x@8x1", "--data", "x"],
    ):
        assert run([*command, "--model", str(path), "--out", str(out)]) == 2
        message = capsys.readouterr().err
        assert str(path) in message.replace("\n", "")
        assert "float" in message
    with pytest.raises(InputError, match=naming(path, "spike_compressor.load")):
        spike_compressor.checkpoint.open_model(path)
    assert not out.exists()


# Files that are whole, and do not belong together


def rewrite(path: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a JSON file, and seal it as someone would who knows how."""
    content = json.loads((path / name).read_text())
    change(content)
    (path / name).write_text(json.dumps(content))
    reseal(path)


def reseal(path: Path) -> None:
    content = json.loads((path / "spike_config.json").read_text())
    for name in content["sha256"]:
        if name != "spike_config.json":
            content["sha256"][name] = sha256_of(path / name)
    (path / "spike_config.json").write_text(json.dumps(sealed(content)))


Q_PROJ = "model.layers.0.self_attn.q_proj"


def _more_bits(content: dict[str, Any]) -> None:
    for group in content["quantization_config"]["config_groups"].values():
        group["input_activations"]["num_bits"] = 8


def _not_quantized(content: dict[str, Any]) -> None:
    content["quantization_config"]["ignore"].append("re:.*layers[.]0[.].*q_proj$")


def _other_timesteps(content: dict[str, Any]) -> None:
    content["plan"][Q_PROJ]["timesteps"]["text"] = 2


def _out_of_plan(content: dict[str, Any]) -> None:
    del content["plan"][Q_PROJ]


def _far_too_many_layers(content: dict[str, Any]) -> None:
    content["num_hidden_layers"] = 3_000_000  # hours, if they were made


def _broken_pattern(content: dict[str, Any]) -> None:
    content["quantization_config"]["ignore"].append("re:[")


def _no_text(content: dict[str, Any]) -> None:
    timesteps = content["plan"][Q_PROJ]["timesteps"]
    timesteps["tex"] = timesteps.pop("text")


def _fired_otherwise(content: dict[str, Any]) -> None:
    content["activity"]["totals"]["saturation"] = {"tex": 0.5}


def _no_samples(content: dict[str, Any]) -> None:
    content["calibration"] = {"tokens": {"text": 4}}


def _fewer_layers(content: dict[str, Any]) -> None:
    content["num_hidden_layers"] = 1


FILES: dict[str, tuple[str, Callable[[dict[str, Any]], Any], tuple[object, ...]]] = {
    "bits in config.json": ("config.json", _more_bits, (8, 5, "config.json", "spike_config.json")),
    "a layer that config.json ignores": ("config.json", _not_quantized, (Q_PROJ, "config.json", "plan")),
    "more layers than tensors": ("config.json", _far_too_many_layers, ("num_hidden_layers", 3_000_000, "tensors")),
    "a pattern that is none": ("config.json", _broken_pattern, ("ignore", "'re:['")),
    "a modality without T": ("spike_config.json", _no_text, (Q_PROJ, "timesteps", "text")),
    "modalities that fired": ("spike_config.json", _fired_otherwise, ("activity", "saturation", "firing_rate")),
    "a calibration without samples": ("spike_config.json", _no_samples, ("samples",)),
    "timesteps in the plan": ("spike_config.json", _other_timesteps, (Q_PROJ, 5, 2)),
}
#: what only shows when the model is made
LOADED: dict[str, tuple[str, Callable[[dict[str, Any]], Any], tuple[object, ...]]] = {
    "a code layer out of the plan": ("spike_config.json", _out_of_plan, (Q_PROJ, "config.json", "spike_config.json")),
    "fewer layers": ("config.json", _fewer_layers, ("model.layers.1",)),
}


@pytest.fixture
def plain(workshop: Workshop, tmp_path: Path) -> Path:
    return Path(shutil.copytree(workshop.made("llama", recipe(RTN))[1], tmp_path / "plain"))


@pytest.mark.parametrize("case", FILES)
def test_files_that_contradict_each_other(case: str, plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, change, names = FILES[case]
    rewrite(plain, name, change)
    refused(plain, *names, capsys=capsys)


@pytest.mark.parametrize("case", LOADED)
def test_a_model_that_is_not_the_plans(case: str, plain: Path) -> None:
    name, change, names = LOADED[case]
    rewrite(plain, name, change)
    with pytest.raises(InputError) as caught:
        spike_compressor.load(plain)
    assert all(str(part) in str(caught.value) for part in (plain, *names)), caught.value


@pytest.mark.parametrize("change", ["no codes", "no scales", "floats", "out of range", "one more tensor"])
def test_tensors_that_are_not_the_plans(change: str, plain: Path) -> None:
    file = plain / "model.safetensors"
    tensors = load_file(file)
    weight = f"{Q_PROJ}.weight"
    if change == "no codes":
        del tensors[weight]
    elif change == "no scales":
        del tensors[f"{weight}_scale"]
    elif change == "floats":
        tensors[weight] = tensors[weight].float() + 0.25
    elif change == "out of range":
        tensors[weight][1, 2] = 100
    else:
        tensors["model.layers.0.self_attn.q_proj.u_input.weight"] = torch.eye(4)
    save_file(tensors, file, metadata={"format": "pt"})
    reseal(plain)
    with pytest.raises(InputError) as caught:
        spike_compressor.load(plain)
    assert Q_PROJ in str(caught.value), caught.value


def _set(*path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    return change


UNUSABLE = {
    "a size in words": _set("hidden_size", value="x"),
    "no such model": _set("model_type", value="no_such_model"),
    "classes that are a number": _set("architectures", value=5),
    "a scheme that is a number": _set("quantization_config", "config_groups", value={"g": 5}),
    "schemes in a list": _set("quantization_config", "config_groups", value=[3]),
    "a scheme without targets": _set("quantization_config", "config_groups", value={"g": {"weights": {}}}),
    "no quantization": _set("quantization_config", value=5),
    "modules to ignore that are a number": _set("quantization_config", "ignore", value=5),
    "rotations in a list": _set("quantization_config", "transform_config", value=[1]),
    "no heads": _set("num_attention_heads", value=0),
    "wider layers": _set("intermediate_size", value=256),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_config_that_nothing_can_be_made_of(case: str, plain: Path) -> None:
    """Under a seal that is right, whatever transformers raises is one `InputError`."""
    rewrite(plain, "config.json", UNUSABLE[case])
    with pytest.raises(InputError) as caught:
        spike_compressor.load(plain)
    assert "\n" not in str(caught.value), caught.value


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, "\udcff"])
@pytest.mark.parametrize("name", ["config.json", "spike_config.json"])
def test_no_json(name: str, text: str, plain: Path) -> None:
    (plain / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    if name == "config.json":
        reseal(plain)
    with pytest.raises(InputError, match=name):
        spike_compressor.load(plain)


def test_weights_that_end_early(plain: Path) -> None:
    file = plain / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    reseal(plain)
    with pytest.raises(InputError, match=str(plain)):
        spike_compressor.load(plain)
