"""What the bridges to evaluation harnesses share: opening a checkpoint, and its answers to questions about pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from spike_compressor.checkpoint import load
from spike_compressor.errors import InputError
from spike_compressor.integrations.harness import is_spiking

#: One turn: `{"role": "user", "content": [...]}`, whose parts are `{"type": "text", "text": ...}` and
#: `{"type": "image", "image": a PIL picture}`.
Turn = dict[str, Any]


def open_spiking(
    path: str | Path,
    plain: str,
    *,
    device: str | torch.device | None = None,
    backend: str = "fused",
    dtype: str | torch.dtype | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """A checkpoint's model, spiking, on a device.

    Args:
        path: of the checkpoint.
        plain: the harness's own model for checkpoints without spikes, which the error names.
        device: None for where `load` leaves it.
        backend: `fused`, `unrolled` or `rtl`.
        dtype: None or `auto` for the checkpoint's.
        trust_remote_code: run code that the checkpoint brings.

    Raises:
        InputError: no spiking checkpoint, or one that `load` refuses.
    """
    if not is_spiking(path):
        raise InputError(
            f"{path} is no spiking checkpoint: it has no spike_config.json. Make one with `spike-compressor oneshot`, "
            f"or use the harness's own model {plain}."
        )
    settings: dict[str, Any] = {"backend": backend}
    if trust_remote_code:
        settings["trust_remote_code"] = True
    if dtype not in (None, "auto"):
        settings["dtype"] = dtype
    model = load(path, **settings)
    return model if device is None else model.to(device)


@torch.inference_mode()
def answers(
    model: Any,
    processor: Any,
    conversations: Sequence[Sequence[Turn]],
    max_new_tokens: int,
    stop: Sequence[str] = (),
) -> list[str]:
    """Greedy answers to conversations, computed together.

    Args:
        model: of the conversations' language, and of pictures where they have some.
        processor: its processor, whose chat template lays out a conversation; without one, pictures come first, and the
            texts after them.
        conversations: turns, the last one the user's.
        max_new_tokens: of each answer.
        stop: texts that end an answer and do not belong to it.

    Returns:
        A text each, without special tokens and without space around it.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    prompts = [_prompt(processor, turns) for turns in conversations]
    pictures = [one for turns in conversations for one in _pictures(turns)]
    shown: dict[str, Any] = {"images": pictures} if pictures else {}
    first = tokenizer.bos_token
    if first is not None and prompts[0].startswith(first):
        shown["add_special_tokens"] = False  # the template has put it there already, and the tokenizer would again
    if len(prompts) > 1:
        shown["padding"], tokenizer.padding_side = True, "left"  # answers begin where prompts end
    batch = processor(text=prompts, return_tensors="pt", **shown).to(model.device)
    found = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    new = found[:, batch["input_ids"].shape[1] :]
    return [_until(tokenizer.decode(row, skip_special_tokens=True), stop) for row in new]


def _prompt(processor: Any, turns: Sequence[Turn]) -> str:
    if getattr(processor, "chat_template", None):
        return str(processor.apply_chat_template(list(turns), add_generation_prompt=True, tokenize=False))
    places = [processor.image_token for _ in _pictures(turns)]
    texts = [part["text"] for turn in turns for part in turn["content"] if part["type"] == "text"]
    return " ".join([*places, *texts])


def _pictures(turns: Sequence[Turn]) -> list[Any]:
    return [part["image"] for turn in turns for part in turn["content"] if part["type"] == "image"]


def _until(text: str, stop: Sequence[str]) -> str:
    for word in stop:
        text = text.partition(word)[0] if word else text
    return text.strip()
