"""The server of docs/serving.md, started as the page says, answers questions about pictures as `load` does."""

from __future__ import annotations

import base64
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
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")

from spike_compressor.demo.data import items
from transformers import AutoTokenizer

PER_KIND = 34  # as in checkpoints.py
MODEL = "out/demo/checkpoint"


@pytest.fixture(scope="module")
def address(checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    page = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^serving/bin/python (-m vllm.*?)^```$", page, re.DOTALL | re.MULTILINE)
    folder = tmp_path_factory.mktemp("server")
    (folder / "out" / "demo").mkdir(parents=True)
    (folder / MODEL).symlink_to(checkpoint("embedded"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    parts = shlex.split(command.replace("\\\n", " ").replace("8000", str(port)))
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


def _answer(address: str, question: str, image: Any) -> str:
    stored = io.BytesIO()
    image.save(stored, "PNG")
    url = "data:image/png;base64," + base64.b64encode(stored.getvalue()).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    asked = {"model": MODEL, "temperature": 0, "max_tokens": 6, "messages": [{"role": "user", "content": parts}]}
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        text: str = json.load(response)["choices"][0]["message"]["content"]
    return text.strip()


def test_answers_with_pictures_are_those_of_load(address: str, cases: Any, checkpoint: Callable[[str], Path]) -> None:
    asked, tokenizer = items("test", PER_KIND), AutoTokenizer.from_pretrained(checkpoint("embedded"))
    seen = [case for case in cases("embedded") if case["seen"]][:40]
    found = [_answer(address, asked[case["number"]].question, asked[case["number"]].image) for case in seen]
    assert found == [tokenizer.decode(case["tokens"], skip_special_tokens=True).strip() for case in seen]
    assert len(set(found)) > 5
