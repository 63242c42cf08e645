"""The server of docs/serving.md, started as the page says, answers as `load` does, and tells what fired."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")

from spike_compressor.demo.data import items
from transformers import AutoTokenizer

PER_KIND = 34  # as in checkpoints.py
MODEL = "out/demo/checkpoint"
NUMBERS = ("inputs", "spikes", "sops")


PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")


@contextlib.contextmanager
def _served(checkpoint: Callable[[str], Path], folder: Path, more: str = "") -> Iterator[str]:
    """The address of the page's server, started with more arguments."""
    (command,) = re.findall(r"^serving/bin/python (-m vllm.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (folder / "out" / "demo").mkdir(parents=True)
    (folder / MODEL).symlink_to(checkpoint("embedded"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    parts = shlex.split(f"{command} {more}".replace("\\\n", " ").replace("8000", str(port)))
    found = [str(Path(part).resolve()) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, *parts, "--host", "127.0.0.1"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(found)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(server, f"http://127.0.0.1:{port}/health", folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=60)


def _wait(server: subprocess.Popen[bytes], url: str, log: Path, seconds: float = 600) -> None:
    for _ in range(int(seconds)):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    pytest.fail(f"the server did not come up:\n{log.read_text()[-3000:]}")


def _answer(address: str, question: str, image: Any) -> dict[str, Any]:
    stored = io.BytesIO()
    image.save(stored, "PNG")
    url = "data:image/png;base64," + base64.b64encode(stored.getvalue()).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    asked = {"model": MODEL, "temperature": 0, "max_tokens": 6, "messages": [{"role": "user", "content": parts}]}
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        made: dict[str, Any] = json.load(response)
    return made


def _text(answer: dict[str, Any]) -> str:
    content: str = answer["choices"][0]["message"]["content"]
    return content.strip()


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as response:
        text: str = response.read().decode()
    return text


def test_answers_with_pictures_are_those_of_load(cases: Any, checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    asked, tokenizer = items("test", PER_KIND), AutoTokenizer.from_pretrained(checkpoint("embedded"))
    seen = [case for case in cases("embedded") if case["seen"]][:40]
    with _served(checkpoint, tmp_path) as address:
        answers = [_answer(address, asked[case["number"]].question, asked[case["number"]].image) for case in seen]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            _read(f"{address}/spikes")
        assert "spike_compressor" not in _read(f"{address}/metrics")
    assert [answer["usage"]["prompt_tokens"] for answer in answers] == [case["length"] for case in seen]
    found = [_text(answer) for answer in answers]
    assert found == [tokenizer.decode(case["tokens"], skip_special_tokens=True).strip() for case in seen]
    assert len(set(found)) > 5


def test_what_fired_is_told_by_request_and_in_metrics(
    cases: Any, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """With the page's two arguments more; two questions at a time."""
    (more,) = re.findall(r"^(--additional-config.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    asked = items("test", PER_KIND)
    seen = [case for case in cases("embedded") if "counts" in case and case["seen"]][:4]

    def question(case: dict[str, Any]) -> tuple[str, Any]:
        return asked[case["number"]].question, asked[case["number"]].image

    with _served(checkpoint, tmp_path, more) as address, ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda case: _answer(address, *question(case)), seen))
        told = [json.loads(_read(f"{address}/spikes/{answer['id']}")) for answer in answers]
        total = json.loads(_read(f"{address}/spikes"))
        metrics = _read(f"{address}/metrics")
        with pytest.raises(urllib.error.HTTPError, match="404") as unknown:
            _read(f"{address}/spikes/chatcmpl-none")
        assert "chatcmpl-none" in unknown.value.read().decode()

    tower = []
    for answer, one, case in zip(answers, told, seen, strict=True):
        assert one["tokens"]["vision"] == case["counts"]["tokens"]["vision"]
        # the last token of an answer is not computed with
        assert sum(one["tokens"].values()) == answer["usage"]["total_tokens"] - 1
        (entry,) = (entry for entry in one["layers"] if entry["kind"] == "vision tower")
        assert [entry[name] for name in NUMBERS] == case["counts"]["layers"]["vision tower, vision"]
        tower.append(entry["spikes"])
    for name in NUMBERS:
        assert total[name] == sum(one[name] for one in told)
    (line,) = re.findall(
        r'^spike_compressor_spikes_total\{kind="vision tower",modality="vision"\} (.*)$', metrics, re.MULTILINE
    )
    assert float(line) == sum(tower)
    assert "vllm:" in metrics
