"""Rows of the inputs that are to be rescaled, taken from some prompts of the calibration data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from llmcompressor.core import State
from torch import Tensor, nn

from spike_compressor.errors import InputError
from spike_compressor.modality import ModalityAdapter
from spike_compressor.modality.following import unfollowed
from spike_compressor.modifiers.calibration import CalibrationRows, Unnoticed
from spike_compressor.modifiers.looking import on_device
from spike_compressor.modifiers.prompts import Prompts
from spike_compressor.modifiers.sensitivity import spread

#: Rows of each modality that a prompt contributes.
ROWS_PER_PROMPT = 16


def sampled_rows(
    model: Any,
    loader: Any,
    adapter: ModalityAdapter,
    layers: Iterable[str],
    samples: int,
    device: torch.device,
    progress: Callable[[Any], Any] = iter,
) -> dict[str, Tensor]:
    """Run prompts through a model and keep some rows of layers' inputs; padding is none of them.

    Args:
        model: in floats.
        loader: of the calibration data; who watches it does not notice.
        adapter: of the model.
        layers: names of Linears.
        samples: prompts to run, in whole batches spread evenly over the data.
        device: that the model computes on.
        progress: wraps the data loader.

    Returns:
        float32 [R, K] by layer, on the CPU; layers that no row reached are left out.

    Raises:
        InputError: a layer sees NaN or infinity; batches that do not tell the modality of their tokens.
    """
    found: dict[str, list[Tensor]] = {}
    modules = {name: model.get_submodule(name) for name in layers}
    rows = CalibrationRows(Unnoticed(loader), adapter, allow_text_only=True)
    state = State(model=model)
    prompts = Prompts(loader, samples)

    def keep(name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        x: Tensor = args[0]
        masks = rows.of_module(name, x, state.current_batch_idx)
        with unfollowed():
            flat = x.detach().reshape(-1, x.shape[-1])
            for mask in masks.values():
                quota = ROWS_PER_PROMPT * (_prompts_of(rows, state) if mask.shape[0] == 1 else 1)
                chosen = flat[spread(mask, quota).reshape(-1)].to(torch.float32).cpu()
                if not bool(chosen.isfinite().all()):
                    raise InputError(
                        f"SpikeSmoothingModifier: {name} sees NaN or infinity on the calibration data; look at the "
                        "layer before it, or use bfloat16"
                    )
                if chosen.shape[0]:
                    found.setdefault(name, []).append(chosen)

    handles: list[Any] = []
    with rows.following(model, modules, state):
        try:
            for name, module in modules.items():
                handles.append(module.register_forward_pre_hook(partial(keep, name)))
            for index, batch in enumerate(progress(rows.loader)):
                if prompts.takes(rows.batches[index]):
                    state.current_batch_idx = index
                    model(**on_device(batch, device))
        finally:
            for handle in handles:
                handle.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


def _prompts_of(rows: CalibrationRows, state: State) -> int:
    return int(rows.batches[state.current_batch_idx].modality.shape[0])
