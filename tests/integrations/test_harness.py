"""What the bridges to evaluation harnesses share, without a harness: versions, checkpoints, prompts and answers."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.messages import naming
from spike_compressor.demo.data import items
from spike_compressor.demo.evaluate import predict
from spike_compressor.demo.model import MODEL_DIR, load_model, load_processor
from spike_compressor.errors import InputError
from spike_compressor.integrations.answering import answers, open_spiking
from spike_compressor.integrations.harness import Harness

KIT = Harness("SomeKit", "some-kit", "0.7.3", "0.8", "pip install 'some-kit<0.8'")


def question(item: Any) -> list[dict[str, Any]]:
    content = [{"type": "image", "image": item.image}, {"type": "text", "text": item.question}]
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("found", "refused"),
    [("0.7.3", False), ("0.7.10.post1", False), ("0.7.2", True), ("0.8.0", True), ("1.0", True), (None, True)],
)
def test_versions(found: str | None, refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        assert name == "some-kit"
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    if not refused:
        KIT.require()
        return
    with pytest.raises(InputError, match=naming("SomeKit", found or "not installed", "pip install 'some-kit<0.8'")):
        KIT.require()


def test_a_model_without_spikes_is_refused() -> None:
    with pytest.raises(InputError, match=naming(str(MODEL_DIR), "spike_config.json", "`plain`")):
        open_spiking(MODEL_DIR, "`plain`")


def test_answers_together_are_answers_alone() -> None:
    """Prompts of different lengths, one of them without a picture, in one batch."""
    model, processor = load_model(), load_processor()
    asked = items("test", 1)
    expected = [predict(model, processor, item.image, item.question) for item in asked]
    assert answers(model, processor, [question(item) for item in asked], 8) == expected
    blind = [{"role": "user", "content": [{"type": "text", "text": asked[0].question}]}]
    (alone,) = answers(model, processor, [blind], 8)
    assert answers(model, processor, [question(asked[1]), blind], 8) == [expected[1], alone]


def test_stop_words_end_an_answer() -> None:
    model, processor = load_model(), load_processor()
    item = next(item for item in items("test", 1) if item.kind == "read")
    (whole,) = answers(model, processor, [question(item)], 8)
    first, second = whole.split()[:2]
    assert answers(model, processor, [question(item)], 8, stop=["never", second]) == [first]


@pytest.mark.parametrize("template", [None, "<bos><image>{{ messages[0].content[1].text }}"])
def test_a_prompt_begins_once(template: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a template, and with one that writes the tokenizer's first token itself."""
    model, processor = load_model(), load_processor()
    processor.chat_template = template
    seen: list[torch.Tensor] = []
    generate = model.generate

    def spied(**batch: Any) -> Any:
        seen.append(batch["input_ids"])
        return generate(**batch)

    monkeypatch.setattr(model, "generate", spied)
    item = items("test", 1)[0]
    answers(model, processor, [question(item)], 2)
    bos = processor.tokenizer.bos_token_id
    assert seen[0][0].tolist().count(bos) == 1
    assert seen[0][0, 0] == bos


def test_bridges_are_imported_without_their_harness(tmp_path: Path) -> None:
    """A missing VLMEvalKit is one line; what entry points and the command line load imports no harness."""
    for name in ("lmms_eval", "vlmeval"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported')\n")
    lines = "import spike_compressor.integrations.lmms_eval, spike_compressor.integrations.vlmeval"
    run = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {lines}"]
    subprocess.run(run, check=True)
    if any(one.metadata["Name"] == "ms-vlmeval" for one in importlib.metadata.distributions()):
        pytest.skip("VLMEvalKit is installed")
    command = [sys.executable, "-m", "spike_compressor.integrations.vlmeval", "--model", str(tmp_path), "--data", "MME"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "VLMEvalKit is not installed" in done.stderr.splitlines()[-1]
