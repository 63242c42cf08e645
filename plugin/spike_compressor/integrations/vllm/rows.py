"""Which rows of a step's batch are pictures: from where vLLM's runner knows it to the layers, in the forward context.

A step's batch is the tokens of all its requests, one after the other: prompts, parts of prompts, tokens that were
generated. The runner works out in which of these positions it puts what the vision tower made (`_gather_mm_embeddings`)
just before it calls the model. That mask is kept, and put into the forward context of the very call that it is for.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from vllm.forward_context import get_forward_context, is_forward_context_available

from spike_compressor.modality import VISION, TokenRows, rows_scope

#: In `additional_kwargs` of a forward context.
KEY = "spike_compressor_rows"
_MASK = "_spike_compressor_mask"


def rows_of_mask(mask: Tensor | None, tokens: int) -> TokenRows:
    """The rows of a step with so many tokens; what the mask does not reach, padding, is text."""
    modality = torch.zeros(tokens, dtype=torch.uint8)
    if mask is not None:
        modality[: mask.numel()][mask.to(modality.device)] = VISION
    return TokenRows(modality.unsqueeze(0))


@contextlib.contextmanager
def rows_of_step(needed: bool, x: Tensor) -> Iterator[None]:
    """Within the block layers know the rows of the step under way, if they are `needed`.

    Args:
        needed: whether the layer's rows are treated by what they are.
        x: its inputs, [*leading, K].
    """
    rows = _rows(x) if needed else None
    with contextlib.nullcontext() if rows is None else rows_scope(rows):
        yield


def rows_of_context() -> TokenRows:
    """The rows of the step under way."""
    rows: TokenRows = get_forward_context().additional_kwargs[KEY]
    return rows


def _rows(x: Tensor) -> TokenRows | None:
    if not is_forward_context_available():
        return None
    context = get_forward_context()
    rows: TokenRows | None = context.additional_kwargs.get(KEY)
    if rows is None and context.attn_metadata is None:  # a trial run that measures memory: rows of nothing
        return rows_of_mask(None, x.shape[:-1].numel())
    return rows


def carry_modalities() -> None:
    """Let vLLM's runner of this process put the rows of each step into its forward context; twice does no harm."""
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner  # also the CPU's: it is derived from this one

    if getattr(GPUModelRunner._model_forward, KEY, False):
        return
    gather, forward = GPUModelRunner._gather_mm_embeddings, GPUModelRunner._model_forward

    @functools.wraps(gather)
    def gather_mm_embeddings(self: Any, *args: Any, **kwargs: Any) -> Any:
        embeddings, mask = gather(self, *args, **kwargs)
        setattr(self, _MASK, mask.clone())
        return embeddings, mask

    @functools.wraps(forward)
    def model_forward(self: Any, input_ids: Any = None, positions: Any = None, *args: Any, **kwargs: Any) -> Any:
        mask = self.__dict__.pop(_MASK, None)
        if mask is not None or not self.supports_mm_inputs:
            get_forward_context().additional_kwargs[KEY] = rows_of_mask(mask, positions.shape[-1])
        return forward(self, input_ids, positions, *args, **kwargs)

    model_forward.__dict__[KEY] = True
    GPUModelRunner._gather_mm_embeddings = gather_mm_embeddings
    GPUModelRunner._model_forward = model_forward
