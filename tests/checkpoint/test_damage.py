"""Damaged checkpoints are refused by the name of what is wrong; saves that fail leave the old directory or none."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
import torch
import transformers
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import RTN, Workshop, recipe
from safetensors.torch import load_file, save_file
from spike_compressor import files
from spike_compressor.checkpoint import read_config
from spike_compressor.checkpoint.schema import sealed
from spike_compressor.errors import InputError
from spike_compressor.files import sha256_of

STATIC = recipe(RTN, "threshold: static")


@pytest.fixture
def checkpoint(workshop: Workshop, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(workshop.made("llava", STATIC)[1], tmp_path / "checkpoint"))


def rewrite(path: Path, change: Callable[[dict[str, Any]], None], *, seal: bool = True) -> None:
    """Change `spike_config.json`; `seal` as someone would who knows how it is sealed."""
    content = json.loads((path / "spike_config.json").read_text())
    change(content)
    content = sealed(content) if seal else content
    (path / "spike_config.json").write_text(json.dumps(content))


HASHED = ["config.json", "generation_config.json", "model.safetensors", "spike_thresholds.safetensors"]


@pytest.mark.parametrize("name", HASHED)
def test_every_file_that_load_reads_is_verified(checkpoint: Path, name: str) -> None:
    original = (checkpoint / name).read_bytes()
    spike_compressor.load(checkpoint)
    middle = len(original) // 2
    flipped = original[:middle] + bytes([original[middle] ^ 1]) + original[middle + 1 :]
    for damaged in (flipped, original[:-1], b""):
        (checkpoint / name).write_bytes(damaged)
        with pytest.raises(InputError, match=naming(checkpoint, name, "SHA-256")):
            spike_compressor.load(checkpoint)
    (checkpoint / name).unlink()
    with pytest.raises(InputError, match=naming(checkpoint, name)):
        spike_compressor.load(checkpoint)


def test_a_changed_spike_config_is_noticed(checkpoint: Path) -> None:
    original = (checkpoint / "spike_config.json").read_text()

    def fewer_steps(content: dict[str, Any]) -> None:
        next(iter(content["plan"].values()))["timesteps"]["text"] = 2

    rewrite(checkpoint, fewer_steps, seal=False)
    with pytest.raises(InputError, match=naming("spike_config.json", "SHA-256")):
        spike_compressor.load(checkpoint)
    for cut in (original[:-20], "", "[]", "null"):
        (checkpoint / "spike_config.json").write_text(cut)
        with pytest.raises(InputError, match=naming("spike_config.json")):
            spike_compressor.load(checkpoint)
    (checkpoint / "spike_config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=naming("spike_config.json", "JSON")):
        spike_compressor.load(checkpoint)


def _remove_threshold(content: dict[str, Any]) -> None:
    del content["sha256"]["spike_thresholds.safetensors"]


def _statistic(content: dict[str, Any], statistic: str) -> None:
    name = next(name for name in content["plan"] if name.endswith("language_model.layers.0.self_attn.q_proj"))
    content["plan"][name]["threshold_statistic"] = statistic


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], tuple[object, ...]]] = {
    "newer version": (lambda c: c.update(schema_version=5), ("version", 5, 4, "upgrade")),
    "no version": (lambda c: c.pop("schema_version"), ("version", None)),
    "version true": (lambda c: c.update(schema_version=True), ("version", True)),
    "format": (lambda c: c.update(format="other"), ("format", "'other'", "'spike-config'")),
    "unknown field": (lambda c: c.update(colour="red"), ("colour",)),
    "missing field": (lambda c: c.pop("plan"), ("plan",)),
    "unknown layer field": (lambda c: next(iter(c["plan"].values())).update(speed=1), ("plan", "speed")),
    "field of another version": (lambda c: next(iter(c["plan"].values())).update(sees=["text"]), ("plan", "sees")),
    "T": (lambda c: next(iter(c["plan"].values()))["timesteps"].update(text=9), ("timesteps", "text", 9)),
    "modality": (
        lambda c: next(iter(c["plan"].values()))["timesteps"].pop("text"),
        ("timesteps", "text", "modalities"),
    ),
    "coding": (lambda c: next(iter(c["plan"].values())).update(coding="morse"), ("'morse'",)),
    "statistic": (lambda c: _statistic(c, "mode"), ("q_proj", "threshold statistic", "'mode'", "rms")),
    "statistic of static thresholds": (lambda c: _statistic(c, "rms"), ("q_proj", "threshold_statistic", "'rms'")),
    "module": (lambda c: c["plan"].update({"model.nowhere": next(iter(c["plan"].values()))}), ("model.nowhere",)),
    "no thresholds": (_remove_threshold, ("spike_thresholds.safetensors", "text")),
    "path": (lambda c: c["sha256"].update({"../evil": "0"}), ("'../evil'", "sha256")),
    "no config hash": (lambda c: c["sha256"].pop("config.json"), ("sha256", "config.json")),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_config_that_makes_no_sense_is_refused(checkpoint: Path, case: str) -> None:
    change, names = CHANGES[case]
    rewrite(checkpoint, change)
    with pytest.raises(InputError, match=naming(checkpoint / "spike_config.json", *names)):
        spike_compressor.load(checkpoint)


def rehash(path: Path, name: str) -> None:
    rewrite(path, lambda content: content["sha256"].update({name: sha256_of(path / name)}))


def test_a_missing_threshold_and_a_missing_weight_are_named(checkpoint: Path) -> None:
    file = checkpoint / "spike_thresholds.safetensors"
    scales = load_file(file)
    name = next(key for key in scales if key.endswith(".vision"))
    layer = name.removesuffix(".vision")
    save_file({key: value for key, value in scales.items() if key != name}, file)
    rehash(checkpoint, file.name)
    with pytest.raises(InputError, match=naming(layer, "spike_thresholds.safetensors", "vision")):
        spike_compressor.load(checkpoint)
    save_file({**scales, name: torch.tensor([-1.0])}, file)
    rehash(checkpoint, file.name)
    with pytest.raises(InputError, match=naming(layer, "static", "vision", -1.0)):
        spike_compressor.load(checkpoint)
    save_file(scales, file)
    rehash(checkpoint, file.name)
    weights = load_file(checkpoint / "model.safetensors")
    gone = next(key for key in weights if key.endswith("down_proj.weight_scale"))
    save_file(
        {key: value for key, value in weights.items() if key != gone},
        checkpoint / "model.safetensors",
        metadata={"format": "pt"},
    )
    rehash(checkpoint, "model.safetensors")
    with pytest.raises(InputError, match=naming(checkpoint, "down_proj.weight_scale")):
        spike_compressor.load(checkpoint)


def test_what_is_no_spike_ready_checkpoint(workshop: Workshop, tmp_path: Path) -> None:
    for path in (workshop.source("llava"), tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=naming(path, "spike_config.json")):
            spike_compressor.load(path)
    with pytest.raises(InputError, match=naming("'rtl9'", "fused", "unrolled")):
        spike_compressor.load(workshop.made("llava", STATIC)[1], backend="rtl9")
    with pytest.raises(InputError, match=naming("TCLIFModifier", "spike_compressor.load()")):
        spike_compressor.save(workshop.model("llava"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_rotation_whose_matrix_is_missing(workshop: Workshop, tmp_path: Path) -> None:
    from helpers.workshop import GPTQ_GROUP

    quip = (
        "QuIPModifier: {rotations: [v], transform_type: random-hadamard, precision: torch.float32, ignore: [lm_head]}"
    )
    text = recipe(quip + "\n" + GPTQ_GROUP, "threshold_ratio: auto")
    path = Path(shutil.copytree(workshop.made("llava", text)[1], tmp_path / "rotated"))
    file = path / "model.safetensors"
    weights = load_file(file)
    kept = {key: value for key, value in weights.items() if "v_input" not in key}
    assert len(kept) < len(weights)
    save_file(kept, file, metadata={"format": "pt"})
    rehash(path, file.name)
    with pytest.raises(InputError, match=naming(path, "no file holds a matrix", "v_input.weight")):
        spike_compressor.load(path)


# Saving


def listing(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize(
    "where",
    [
        "_write_explicit_targets",
        "_write_spike_files",
        "sha256_of",
        "save_pretrained",
        "processor",
        "move",
    ],
)
def test_a_crash_while_saving_leaves_the_old_directory_or_none(
    where: str, exists: bool, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = spike_compressor.load(workshop.made("llava", STATIC)[1])
    batch = workshop.batch("llava")
    expected = tiny_models.logits(model, batch)
    target = tmp_path / "checkpoint"
    if exists:
        shutil.copytree(workshop.made("llava", recipe(RTN))[1], target)
    before = listing(target) if exists else {}

    class Crash(BaseException):
        """Nothing catches it by accident."""

    def crash(*_: Any, **__: Any) -> None:
        raise Crash

    processor = None
    with monkeypatch.context() as patched:
        if where == "processor":
            processor = type("Processor", (), {"save_pretrained": crash})()
        elif where == "move":
            patched.setattr(*((files, "_exchange") if exists else (os, "replace")), crash)
        elif where == "save_pretrained":
            patched.setattr(transformers.PreTrainedModel, where, crash)
        else:  # the name `save` of the package is the function
            patched.setattr(sys.modules["spike_compressor.checkpoint.saving"], where, crash)
        with pytest.raises(Crash):
            spike_compressor.save(model, target, processor)
    assert sorted(path.name for path in tmp_path.iterdir()) == (["checkpoint"] if exists else [])
    if exists:
        assert listing(target) == before
    assert torch.equal(tiny_models.logits(model, batch), expected)
    spike_compressor.save(model, target)
    assert torch.equal(tiny_models.logits(spike_compressor.load(target), batch), expected)


def test_nothing_but_a_checkpoint_is_replaced(workshop: Workshop, tmp_path: Path) -> None:
    model = spike_compressor.load(workshop.made("llava", STATIC)[1])
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.txt").write_text("years of work")
    with pytest.raises(InputError, match=naming(thesis, "spike_config.json")):
        spike_compressor.save(model, thesis)
    with pytest.raises(InputError, match=naming(workshop.source("llava"), "spike_config.json")):
        spike_compressor.save(model, workshop.source("llava"))  # a float model
    with pytest.raises(InputError, match=naming(thesis / "chapter1.txt")):
        spike_compressor.save(model, thesis / "chapter1.txt")
    assert listing(thesis) == {"chapter1.txt": b"years of work"}
    empty = tmp_path / "a" / "b"
    empty.mkdir(parents=True)
    spike_compressor.save(model, empty)
    link = tmp_path / "link"
    link.symlink_to(empty)
    spike_compressor.save(model, link)
    assert link.is_symlink()
    assert read_config(link).plan == read_config(empty).plan
    assert sorted(path.name for path in empty.parent.iterdir()) == ["b"]
    with pytest.raises(InputError, match="save_compressed"):
        model.save_pretrained(tmp_path / "dense", save_compressed=False)


def test_the_config_says_what_it_is(workshop: Workshop) -> None:
    _, path = workshop.made("llava", STATIC)
    content = json.loads((path / "spike_config.json").read_text())
    assert content["format"] == "spike-config"
    assert content["schema_version"] == 3
    assert content["architecture"] == "llava"
    assert content["placeholders"] == {"vision": [tiny_models.IMAGE]}
    assert content["coding"] == "tc_lif"
    assert set(content["producer"]) == {
        "spike-compressor",
        "llmcompressor",
        "compressed-tensors",
        "transformers",
        "torch",
    }
    assert set(content["not_spiking"]) == {"lm_head", "model.vision_tower.embeddings.patch_embedding"}
    assert set(content["sha256"]) == {*HASHED, "spike_config.json"}
    tokens = content["calibration"]["tokens"]
    layers = {
        name: (entry["timesteps"], name.startswith("model.language_model")) for name, entry in content["plan"].items()
    }
    shapes = {name: layer.in_features * layer.out_features for name, layer in _layers(path).items()}
    total = weighted = 0
    plain = []
    for name, (T, in_text) in layers.items():
        for modality in ("text", "vision") if in_text else ("vision",):
            rows = tokens[modality]
            if name.startswith("model.vision_tower"):  # 4 patches and a class token make 4 tokens
                rows = rows * 5 // 4
            total += rows * shapes[name]
            weighted += rows * shapes[name] * T[modality]
            plain.append(T[modality])
    assert content["budget"]["mean_timesteps"] == pytest.approx(sum(plain) / len(plain))
    assert content["budget"]["mean_timesteps_weighted"] == pytest.approx(weighted / total)


def _layers(path: Path) -> Any:
    from spike_compressor.runtime import spiking_layers

    return spiking_layers(spike_compressor.load(path))


def test_sharded_weights(workshop: Workshop, tmp_path: Path) -> None:
    model = spike_compressor.load(workshop.made("llava", STATIC)[1])
    batch = workshop.batch("llava")
    spike_compressor.save(model, tmp_path / "sharded", max_shard_size="100KB")
    names = set(read_config(tmp_path / "sharded").sha256)
    assert "model.safetensors.index.json" in names
    assert sum(name.startswith("model-0") for name in names) > 1
    again = spike_compressor.load(tmp_path / "sharded")
    assert torch.equal(tiny_models.logits(again, batch), tiny_models.logits(model, batch))
