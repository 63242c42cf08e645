"""Perplexity of a language model on a text, window by window."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spike_compressor.errors import InputError


@dataclass(frozen=True)
class Perplexity:
    """What `perplexity` measured. A chunk is what one window scores.

    Attributes:
        context: tokens of a window.
        stride: tokens from one window's start to the next one's.
        nll: summed negative log likelihood of each chunk's scored tokens, in nats.
        tokens: number of scored tokens of each chunk.
    """

    context: int
    stride: int
    nll: tuple[float, ...]
    tokens: tuple[int, ...]

    @property
    def scored(self) -> int:
        """Tokens that were predicted."""
        return sum(self.tokens)

    @property
    def mean_nll(self) -> float:
        """Mean negative log likelihood of a token, in nats."""
        return math.fsum(self.nll) / self.scored

    @property
    def perplexity(self) -> float:
        return math.exp(self.mean_nll)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON; `from_dict` reads it."""
        return {
            "perplexity": self.perplexity,
            "mean_nll": self.mean_nll,
            "scored": self.scored,
            "context": self.context,
            "stride": self.stride,
            "nll": list(self.nll),
            "tokens": list(self.tokens),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Perplexity:
        return cls(content["context"], content["stride"], tuple(content["nll"]), tuple(content["tokens"]))

    @classmethod
    def joined(cls, parts: Sequence[Perplexity]) -> Perplexity:
        """Several texts measured alike as one.

        Raises:
            InputError: no parts, or parts of different context or stride.
        """
        if len({(part.context, part.stride) for part in parts}) != 1:
            raise InputError("perplexities can be joined if there are any, and all have the same context and stride")
        return cls(
            parts[0].context,
            parts[0].stride,
            tuple(value for part in parts for value in part.nll),
            tuple(count for part in parts for count in part.tokens),
        )


@torch.inference_mode()
def perplexity(
    model: Any,
    tokens: Tensor,
    context: int = 512,
    stride: int | None = None,
    batch: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> Perplexity:
    """How well a causal language model predicts a text.

    Windows of `context` tokens start every `stride` tokens. A token is scored once, by the first window that holds it
    together with a token before it; so after the first window a scored token has seen at least `context - stride`
    tokens. With `stride == context` windows do not overlap and the first token of each is not scored. The last window
    ends with the text and may be shorter.

    Args:
        model: gives `.logits` [B, S, vocabulary] for `input_ids`.
        tokens: int64 [N], N >= 2.
        context: tokens of a window, at least 2.
        stride: 1 … context; None for `context`.
        batch: windows in one forward pass.
        progress: called with (windows done, windows in all) after every pass.

    Raises:
        InputError: a text of fewer than two tokens, settings out of range, or NaN in the logits.
    """
    stride = context if stride is None else stride
    if tokens.dim() != 1 or tokens.numel() < 2:
        raise InputError(f"perplexity needs at least two tokens in one dimension, got shape {list(tokens.shape)}")
    if context < 2 or not 1 <= stride <= context or batch < 1:
        raise InputError(
            f"perplexity: context {context} must be at least 2, stride {stride} within 1 .. context, batch {batch} "
            "at least 1"
        )
    windows = _windows(tokens.numel(), context, stride)
    nll = [0.0] * len(windows)
    device = next(model.parameters()).device
    short_logits = "logits_to_keep" in inspect.signature(model.forward).parameters
    training = model.training
    model.eval()
    try:
        for first in range(0, len(windows), batch):
            group = range(first, min(first + batch, len(windows)))
            # the first window scores more tokens than the others, the last one may be shorter
            for members in _alike([windows[i] for i in group], group):
                start, end, scored = windows[members[0]]
                rows = torch.stack([tokens[windows[i][0] : windows[i][1]] for i in members]).to(device)
                keep = {"logits_to_keep": scored + 1} if short_logits else {}
                logits = model(input_ids=rows, use_cache=False, **keep).logits[:, -scored - 1 : -1]
                losses = nn.functional.cross_entropy(
                    logits.flatten(0, 1).float(), rows[:, -scored:].flatten(), reduction="none"
                )
                sums = losses.view(len(members), scored).sum(dim=1, dtype=torch.float64)
                for i, value in zip(members, sums.tolist(), strict=True):
                    if math.isnan(value):
                        raise InputError(f"perplexity: the model gives NaN on tokens {start} .. {end - 1}")
                    nll[i] = value
            if progress is not None:
                progress(group.stop, len(windows))
    finally:
        model.train(training)
    return Perplexity(context, stride, tuple(nll), tuple(scored for _, _, scored in windows))


def _windows(length: int, context: int, stride: int) -> list[tuple[int, int, int]]:
    """(start, end, scored) of every window: the last `scored` tokens of start .. end are predicted."""
    windows = []
    done = 1  # nothing comes before token 0, so it cannot be predicted
    start = 0
    while done < length:
        end = min(start + context, length)
        scored = end - max(done, start + 1)
        if scored > 0:
            windows.append((start, end, scored))
        done = max(done, end)
        start += stride
        if start + 1 >= length:
            break
    return windows


def _alike(windows: Sequence[tuple[int, int, int]], indices: Sequence[int]) -> list[list[int]]:
    """Indices of windows, grouped by their shape."""
    groups: dict[tuple[int, int], list[int]] = {}
    for (start, end, scored), index in zip(windows, indices, strict=True):
        groups.setdefault((end - start, scored), []).append(index)
    return list(groups.values())
