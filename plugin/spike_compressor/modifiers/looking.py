"""Running a model beside the recipe's own passes: what it gives in floats, and whether that has moved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from llmcompressor.modifiers.utils.hooks import HooksMixin
from llmcompressor.utils.helpers import DisableQuantization, disable_cache, disable_hf_kernels, eval_context
from torch import Tensor

from spike_compressor.modality.frames import begin_pass, end_pass

#: How far rounding may move a model's output, as a share of its largest value, by the root of its dtype's resolution.
_ROUNDING = 8.0


@contextlib.contextmanager
def as_it_is(model: Any) -> Iterator[None]:
    """Within it a model runs in floats, with its head, and unseen by other modifiers."""
    with contextlib.ExitStack() as stack:
        for context in (
            torch.no_grad(),
            HooksMixin.disable_hooks(),
            disable_cache(model),
            eval_context(model),
            disable_hf_kernels(model),
            DisableQuantization(model),
        ):
            stack.enter_context(context)
        begin_pass(model, None, follow=False)  # rows that others follow have no part in it
        stack.callback(end_pass, model)
        yield


def on_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """A batch's tensors where the model computes; labels, which would cost a loss, are left out."""
    moved = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}
    moved.pop("labels", None)
    return moved


def output_of(model: Any, batch: Mapping[str, Any]) -> Tensor:
    """The model's logits, or what it has in their place."""
    output = model(**batch)
    found = getattr(output, "logits", None)
    return (output[0] if found is None else found).detach()


def moved_by(before: Tensor, after: Tensor) -> float:
    """The largest difference of two outputs, as a share of the largest value."""
    largest = max(float(before.float().abs().max()), torch.finfo(torch.float32).tiny)
    return float((after.float() - before.float()).abs().max()) / largest


def rounding_of(output: Tensor) -> float:
    """By how much rounding of weights may move an output of its dtype, as `moved_by` tells it."""
    return min(_ROUNDING * torch.finfo(output.dtype).eps ** 0.5, 0.5)
