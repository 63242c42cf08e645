"""A tiny model with its processor on disk, calibration data beside it, and the command line called in this process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image
from spike_compressor.cli.program import run
from spike_compressor.demo.model import build_processor

ROOT = Path(__file__).parents[2]
RTN = ROOT / "recipes" / "rtn_w4_tclif_34.yaml"
#: What a finished step leaves on standard error where that is no terminal.
STEP = re.compile(r"(.+): \d+\.\d s")


class Outcome(NamedTuple):
    """What a call of the command line did."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line of an error; steps may have been finished before it."""
        assert self.code == 2, self.err
        assert self.out == ""
        lines = [line for line in self.err.splitlines() if not STEP.fullmatch(line)]
        assert len(lines) == 1, lines
        return lines[0]

    @property
    def steps(self) -> list[str]:
        """Names of the finished steps; nothing else stands on standard error."""
        lines = [STEP.fullmatch(line) for line in self.err.splitlines()]
        assert all(lines), self.err
        return [line[1] for line in lines if line]

    @property
    def json(self) -> Any:
        """The one JSON object on standard output."""
        assert self.code == 0, self.err
        return json.loads(self.out)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def call(*argv: object) -> Outcome:
        capsys.readouterr()
        try:
            code = run([str(arg) for arg in argv])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def shell() -> Callable[..., Outcome]:
    """The command line in a process of its own, where no test has imported or set anything."""

    def call(*argv: object) -> Outcome:
        command = [sys.executable, "-m", "spike_compressor.cli", *map(str, argv)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained LLaVA of one decoder and one vision layer, with the demo's processor."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    processor = build_processor()
    tokenizer = processor.tokenizer
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=64, patch_size=16, **sizes),
        text_config=LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes, **special),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("cli") / "model"
    LlavaForConditionalGeneration(config).save_pretrained(path)
    processor.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def text_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained text-only Llama whose tokenizer has no padding token."""
    from helpers import tiny_models

    processor = build_processor()
    tokenizer = processor.tokenizer
    path = tmp_path_factory.mktemp("cli") / "text-model"
    tiny_models.llama(vocab_size=len(tokenizer)).save_pretrained(path)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four samples with a picture each, of different lengths."""
    folder = tmp_path_factory.mktemp("samples")
    rows = []
    for number in range(4):
        Image.new("RGB", (64, 64), (60 * number, 20, 200)).save(folder / f"{number}.png")
        rows.append({"text": "<image> is there a 7 ? " + "yes " * (number + 1), "image": f"{number}.png"})
    path = folder / "samples.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def checkpoint(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spike-ready checkpoint, written by the command line. Not to be changed."""
    path = tmp_path_factory.mktemp("made") / "spiking"
    assert run(["oneshot", "--model", str(model_dir), "--recipe", str(RTN), "--out", str(path)]) == 0
    return path
