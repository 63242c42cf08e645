"""What the tests of this folder share: an engine for each checkpoint that `checkpoints.py` has made.

They run in an environment of their own (`make vllm-test`), where LLM Compressor is not.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("vllm"):  # no other tests are to run with these
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # so that a test reaches the layers
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_PLUGINS", "spike_compressor")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

CHECKPOINTS = Path(os.environ.get("SPIKE_VLLM_CHECKPOINTS", "build/vllm-checkpoints")).resolve()
SETTINGS: dict[str, Any] = {
    "enforce_eager": True,
    "dtype": "float32",
    "max_model_len": 64,
    "max_num_seqs": 8,
    "disable_log_stats": True,
    "seed": 0,
    "logprobs_mode": "raw_logits",
    "max_logprobs": -1,
}
OF: dict[str, dict[str, Any]] = {
    "llama": {"skip_tokenizer_init": True},
    "llama_groups": {"skip_tokenizer_init": True},
    "llama_zero_points": {"skip_tokenizer_init": True},
    "llama_tensor": {"skip_tokenizer_init": True},
    "llama_rotated": {"skip_tokenizer_init": True},
    "llama_spun": {"skip_tokenizer_init": True},
    "llama_attention": {"skip_tokenizer_init": True},
    "mixtral": {"skip_tokenizer_init": True},
    "qwen2_moe": {"skip_tokenizer_init": True},
    "qwen3_moe": {"skip_tokenizer_init": True},
    "qwen2_vl": {"limit_mm_per_prompt": {"image": 2, "video": 0}},
    "qwen2_5_vl": {"limit_mm_per_prompt": {"image": 2, "video": 0}},
    "llava": {"limit_mm_per_prompt": {"image": 2}},
    "smollm2": {"skip_tokenizer_init": True, "max_num_seqs": 51},
    "embedded": {"model_impl": "transformers", "limit_mm_per_prompt": {"image": 1}},
}


@pytest.fixture(scope="session")
def checkpoint() -> Callable[[str], Path]:
    """Folder of a checkpoint by its name."""

    def folder(name: str) -> Path:
        path = CHECKPOINTS / name
        if not (CHECKPOINTS / f"{name}.done").exists():
            more = "; it needs weights that make bench-setup installs" if name == "smollm2" else ""
            pytest.skip(f"{path} is not there: make vllm-test makes it{more}")
        return path

    return folder


@pytest.fixture(scope="session")
def cases(checkpoint: Any) -> Callable[[str], list[dict[str, Any]]]:
    """Prompts of a checkpoint, and the tokens that `spike_compressor.load` goes on with."""
    return lambda name: json.loads((checkpoint(name).parent / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def engine(checkpoint: Any) -> Callable[..., Any]:
    """An engine for a checkpoint, made once for the same arguments."""
    from vllm import LLM

    made: dict[Any, Any] = {}

    def of(name: str, folder: Path | None = None, **more: Any) -> Any:
        key = (name, folder, *sorted((key, repr(value)) for key, value in more.items()))
        if key not in made:
            made[key] = LLM(str(folder or checkpoint(name)), **{**SETTINGS, **OF[name], **more})
        return made[key]

    return of
