"""Refusals that no other test meets: a call each, and what it must name. `make guards` lists what is still missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.messages import naming
from spike_compressor.errors import InputError


def _budget(text: str) -> Any:
    from spike_compressor.comparison.budget import SpikeBudget

    return SpikeBudget.parse(text)


def _demo_items(split: str, per_kind: int) -> Any:
    from spike_compressor.demo.data import items

    return items(split, per_kind)


def _demo_batches(**sizes: int) -> Any:
    from spike_compressor.demo.data import calibration_batches

    return calibration_batches(None, **sizes)


def _evaluation_batches(count: int, **options: Any) -> Any:
    from spike_compressor.demo.data import items
    from spike_compressor.demo.evaluate import batches

    return batches(None, items("test", 1)[:count], **options)


def _question(kind: str) -> Any:
    from spike_compressor.demo import scenes

    rng = np.random.default_rng(0)
    return {
        "digit": lambda: scenes.ask_digits("none", scenes.digit_scene("count", rng), rng),
        "word": lambda: scenes.ask_word("none", "cat", rng),
        "shape": lambda: scenes.ask_shape("none", "circle", "red", rng),
    }[kind]()


def _spikes(table: str) -> Any:
    from spike_compressor.estimate.plans import _table

    return _table(table, "--timesteps")


def _unknown_rows(modality: str) -> Any:
    from spike_compressor.estimate.work import Plan

    return Plan({}).of("q_proj", modality)


def _architectures(value: Any) -> Any:
    from spike_compressor.checkpoint.opening import model_class

    return model_class(SimpleNamespace(architectures=value))


def _main_process(value: Any) -> Any:
    from spike_compressor.checkpoint.saving import _takes_part

    return _takes_part(value, True)


def _steps(content: Any) -> Any:
    from spike_compressor.modifiers.reading import _steps

    return _steps(content, None)


def _modalities(names: Any) -> Any:
    from spike_compressor.trace.schema import _modalities

    return _modalities({"modalities": names}, "manifest.json")


def _library(_: None) -> Any:

    from spike_compressor.rtl.library import load_library

    return load_library(Path(torch.__file__).parent / "lib" / "libc10.so")


#: What is called, and what the message names.
CASES: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "a mean of T beyond all": (lambda: _budget("mean:99"), ("mean:99", "from 1 to")),
    "a budget of nothing": (lambda: _budget("sops:0"), ("sops:0", "greater than 0")),
    "an unknown split": (lambda: _demo_items("tset", 1), ("'tset'", "test")),
    "no items a kind": (lambda: _demo_items("test", 0), ("per_kind is 0",)),
    "no calibration samples": (lambda: _demo_batches(samples=0, batch_size=1), ("samples is 0",)),
    "a batch of none": (lambda: _demo_batches(samples=1, batch_size=0), ("batch_size 0",)),
    "nothing to evaluate": (lambda: _evaluation_batches(0), ("no items to evaluate",)),
    "evaluated in batches of none": (lambda: _evaluation_batches(1, batch_size=0), ("batch_size is 0",)),
    "one picture, shuffled": (lambda: _evaluation_batches(1, shuffle_images=True), ("cannot be shuffled",)),
    "a digit question": (lambda: _question("digit"), ("digit question kind 'none'",)),
    "a word question": (lambda: _question("word"), ("word question kind 'none'",)),
    "a shape question": (lambda: _question("shape"), ("shape question kind 'none'",)),
    "a table of T": (lambda: _spikes("3/x"), ("--timesteps '3/x'", "3/4 (vision / text)")),
    "rows that nothing is known of": (lambda: _unknown_rows("audio"), ("audio rows", "--spikes")),
    "architectures that are no list": (lambda: _architectures("Llama"), ("`architectures`", "Llama")),
    "a main process that is neither": (lambda: _main_process(1.5), ("is_main_process=1.5",)),
    "a recipe that is a list": (lambda: _steps([1]), ("no recipe", "NAME_modifiers")),
    "modalities of a bundle, no list": (lambda: _modalities("text"), ("manifest.json", "modalities must be a list")),
    "modalities of a bundle, twice": (lambda: _modalities(["text", "text"]), ("manifest.json", "names one twice")),
    "a library of something else": (lambda: _library(None), ("libc10.so", "cannot be loaded", "make rtl-library")),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str) -> None:
    call, names = CASES[case]
    with pytest.raises(ValueError, match=naming(*names)):
        call()


def test_a_plan_before_there_is_one() -> None:
    from spike_compressor.modifiers import MSTSModifier

    with pytest.raises(InputError, match=naming("MSTSModifier", "no plan yet")):
        MSTSModifier(timesteps=4).spike_plan()


def test_a_group_of_modifiers_that_is_a_list() -> None:
    from spike_compressor.modifiers.reading import _steps

    with pytest.raises(InputError, match=naming("spike_modifiers must be a mapping", "list")):
        _steps({"spike_stage": {"spike_modifiers": [1]}}, None)


def test_a_table_of_tensors_without_shapes(tmp_path: Path) -> None:
    from spike_compressor.checkpoint import agreement

    file = tmp_path / "a.safetensors"
    table = json.dumps({"layer.weight": {"dtype": "I8"}}).encode()
    file.write_bytes(len(table).to_bytes(8, "little") + table + b"\0")
    with pytest.raises(InputError, match=naming(file, "no dtype, shape and place of 'layer.weight'")):
        agreement._header(file)


def test_a_benchmark_that_cannot_be_read(tmp_path: Path) -> None:
    from spike_compressor.evaluations.base import parse_evaluation

    file = tmp_path / "TextVQA_VAL.tsv"
    file.write_bytes(b"index\timage\tquestion\tanswer\tcategory\tsplit\n\xff\xfe")
    evaluation: Any = parse_evaluation(f"textvqa:{tmp_path}")
    with pytest.raises(InputError, match=naming("--eval textvqa", file, "cannot be read")):
        evaluation.questions()


def test_an_accelerator_that_is_a_list(tmp_path: Path) -> None:
    from spike_compressor.estimate.accelerator import read_accelerator

    file = tmp_path / "chip.yaml"
    file.write_text("[1]")
    with pytest.raises(InputError, match=naming(file, "a mapping is expected")):
        read_accelerator(str(file))


@pytest.mark.parametrize(("content", "says"), [(None, "cannot read"), (b"\xff\xfe", "cannot read"), (b"", "is empty")])
def test_a_text_to_judge_by(tmp_path: Path, content: bytes | None, says: str) -> None:
    from spike_compressor.evaluations.text import TextPerplexity

    file = tmp_path / "text.txt"
    file.write_bytes(b"some text" if content is None else content)
    evaluation: Any = TextPerplexity(str(file))
    if content is None:
        file.unlink()
    tokenizer = lambda text, **_: {"input_ids": [ord(letter) for letter in text]}  # noqa: E731
    with pytest.raises(InputError, match=naming("--eval text", file, says)):
        evaluation.tokens(tokenizer)


def test_a_table_of_no_questions(tmp_path: Path) -> None:
    from spike_compressor.evaluations.base import parse_evaluation

    (tmp_path / "TextVQA_VAL.tsv").write_text("index\timage\tquestion\tanswer\tcategory\tsplit\n")
    evaluation: Any = parse_evaluation(f"textvqa:{tmp_path}")
    with pytest.raises(InputError, match=naming("--eval textvqa", "holds no questions")):
        evaluation.questions()


def test_calibration_batches_that_are_no_mappings() -> None:
    from spike_compressor.modifiers.calibration import CalibrationRows

    with pytest.raises(InputError, match=naming("calibration batches", "list")):
        CalibrationRows._add(SimpleNamespace(), [1])  # type: ignore[arg-type]


def test_more_modalities_than_masks_tell_apart() -> None:
    from spike_compressor.modality import names

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "_MOST", len(names.MODALITIES.registered()))
        with pytest.raises(InputError, match=naming("modality 'smell'", "masks can tell apart")):
            names.register_modality("smell")


def _header(*tensors: str) -> bytes:
    table = json.dumps({name: {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]} for name in tensors}).encode()
    return len(table).to_bytes(8, "little") + table + b"\0"


def test_weight_files_that_contradict(tmp_path: Path) -> None:
    from spike_compressor.checkpoint import agreement

    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for file in files:
        file.write_bytes(_header("layer.weight"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreement, "weight_files", lambda *_: files)
        with pytest.raises(InputError, match=naming("layer.weight", "more than one file")):
            agreement._tensors(tmp_path, None)  # type: ignore[arg-type]
    config: Any = SimpleNamespace(sha256={"spike_thresholds.safetensors": ""}, plan={})
    (tmp_path / "spike_thresholds.safetensors").write_bytes(_header("layer.text"))
    with pytest.raises(InputError, match=naming("spike_thresholds.safetensors", "layer.text", "no static threshold")):
        agreement._thresholds(tmp_path, config)
    files[0].write_bytes(b"\0" * 3)
    with pytest.raises(InputError, match=naming(files[0], "no safetensors file")):
        agreement._header(files[0])


def test_weight_files_that_config_and_index_name(tmp_path: Path) -> None:
    from spike_compressor.checkpoint.seal import weight_files

    def seen(settings: dict[str, Any], index: Any, *sealed: str) -> Any:
        (tmp_path / "config.json").write_text(json.dumps(settings))
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        return weight_files(tmp_path, SimpleNamespace(sha256=dict.fromkeys(sealed, "")))  # type: ignore[arg-type]

    index, weights = "model.safetensors.index.json", "model.safetensors"
    with pytest.raises(InputError, match=naming("config.json", "`transformers_weights`", "other files")):
        seen({"transformers_weights": "x"}, {}, weights)
    with pytest.raises(InputError, match=naming(index, "no `weight_map`")):
        seen({}, {"weight_map": [1]}, index)
    with pytest.raises(InputError, match=naming(weights, "stands beside shards", index)):
        seen({}, {"weight_map": {"a": "shard.safetensors"}}, index, weights, "shard.safetensors")
    with pytest.raises(InputError, match=naming("`sha256` says nothing of shard.safetensors")):
        seen({}, {"weight_map": {"a": "shard.safetensors"}}, index)
    assert seen({}, {"weight_map": {"a": "shard.safetensors"}}, index, "shard.safetensors") == [
        tmp_path / "shard.safetensors"
    ]
