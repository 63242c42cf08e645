"""vLLM without the plug-in: what docs/serving.md says becomes of a spike-ready checkpoint there."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("vllm")

OPENS = """
import sys
from vllm import LLM
for path in sys.argv[1:]:
    try:
        LLM(path, skip_tokenizer_init=True, enforce_eager=True, dtype="float32", max_model_len=64)
        print("OPENED", path, flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
"""


def test_it_finds_no_scheme_for_activations_of_five_bits(checkpoint: Any) -> None:
    """Weights by channel and in groups, and a rotated one: nothing is computed without spikes in silence."""
    paths = [str(checkpoint(name)) for name in ("llama", "llama_groups", "llama_rotated")]
    made = subprocess.run(
        [sys.executable, "-c", OPENS, *paths],
        env={**os.environ, "VLLM_PLUGINS": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    said = [line for line in made.stdout.splitlines() if line.startswith(("OPENED", "NotImplementedError"))]
    assert len(said) == len(paths), made.stdout[-2000:] + made.stderr[-2000:]
    for line in said:
        assert "NotImplementedError No compressed-tensors compatible scheme was found for layer_name=" in line
        assert "format='int-quantized'" in line
