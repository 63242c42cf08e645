"""Workarounds for faults of LLM Compressor that stop spiking recipes, each with a test that fails once it is fixed.

Quantization of a vision tower: the sequential pipeline hands `on_sequential_epoch_end` only the modules that its tracer
saw as calls. A vision tower is called inside a wrapped function, so its modules are missing from the list. GPTQ, which
collected their Hessians, then asks weight observers for statistics that nobody gathered ("No statistics available");
plain quantization leaves their scales as uninitialized memory, without a word.

Pinned memory: AWQ pins what it has cached before it searches, which torch refuses where there is no accelerator.

GPTQ without data: weights of inputs that never were anything but zero are set to zero, so that an expert that no
calibration row reached is quantized to nothing at all. Its weights are rounded to nearest here.

AutoRound learns in mixed precision, for which it turns a decoder layer into bfloat16 where the processor has that, or
into float32 where it has not, and leaves it so in a model of another type: its next forward pass fails.

`tests/modifiers/test_upstream.py` fails when LLM Compressor no longer needs one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from llmcompressor.modifiers.autoround import AutoRoundModifier
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization.quantization.mixin import QuantizationMixin
from llmcompressor.pipelines.cache import IntermediatesCache
from torch import nn

from spike_compressor.modifiers.recipe import modifiers_of_type


def work_around(model: nn.Module) -> list[Callable[[], None]]:
    """Put all workarounds in place for the running recipe.

    Returns:
        What undoes each, to be called when the recipe is done.
    """
    return [
        complete_sequential_epochs(model),
        pin_for_accelerators_only(),
        round_what_no_row_reached(),
        keep_dtypes(),
    ]


def complete_sequential_epochs(model: nn.Module) -> Callable[[], None]:
    """Let every quantization modifier of the running recipe end an epoch with all quantized modules that ran in it.

    Returns:
        What undoes it, to be called when the recipe is done.
    """
    workarounds = [_CompleteEpochs(modifier) for modifier in modifiers_of_type(QuantizationMixin)]

    def note(module: nn.Module, _: Any) -> None:
        for workaround in workarounds:
            workaround.called[module] = None

    handles = [
        module.register_forward_pre_hook(note)
        for module in model.modules()
        if getattr(module, "quantization_scheme", None) is not None
    ]

    def undo() -> None:
        for handle in handles:
            handle.remove()
        for workaround in workarounds:
            workaround.undo()

    return undo


def pin_for_accelerators_only() -> Callable[[], None]:
    """Let caches of intermediate values pin nothing where there is no accelerator to copy it to.

    Returns:
        What undoes it, to be called when the recipe is done.
    """
    if torch.accelerator.is_available() or "pin_memory" not in vars(IntermediatesCache):
        return lambda: None
    pin = IntermediatesCache.pin_memory
    setattr(IntermediatesCache, "pin_memory", lambda self, batch_index, input_names=None: None)  # noqa: B010

    def undo() -> None:
        setattr(IntermediatesCache, "pin_memory", pin)  # noqa: B010

    return undo


def round_what_no_row_reached() -> Callable[[], None]:
    """Let GPTQ round the weights of a layer to nearest if no calibration row reached it, in place of zeroing them.

    Returns:
        What undoes it, to be called when the recipe is done.
    """
    modifiers = modifiers_of_type(GPTQModifier)
    for modifier in modifiers:
        # on the instance only, as below
        object.__setattr__(modifier, "compress_module_list", _Rounding(modifier))

    def undo() -> None:
        for modifier in modifiers:
            modifier.__dict__.pop("compress_module_list", None)

    return undo


def keep_dtypes() -> Callable[[], None]:
    """Let AutoRound leave decoder layers in the types that they had, and what it does not quantize as it was.

    Returns:
        What undoes it, to be called when the recipe is done.
    """
    modifiers = modifiers_of_type(AutoRoundModifier)
    for modifier in modifiers:
        object.__setattr__(modifier, "apply_autoround", _KeepingTypes(modifier))  # on the instance only, as below

    def undo() -> None:
        for modifier in modifiers:
            modifier.__dict__.pop("apply_autoround", None)

    return undo


class _KeepingTypes:
    """AutoRound on the modules of an epoch; tensors whose type it changed get theirs back."""

    def __init__(self, modifier: Any) -> None:
        self._apply = modifier.apply_autoround

    def __call__(self, state: Any, modules: Any) -> None:
        modules = list(modules or ())
        dtypes: dict[tuple[nn.Module, str], torch.dtype] = {}
        kept: dict[tuple[nn.Module, str], torch.Tensor] = {}
        for module in {inner: None for outer in modules for inner in outer.modules()}:
            quantized = getattr(module, "quantization_scheme", None) is not None
            for name, tensor in self._tensors(module):
                if tensor.is_floating_point():
                    dtypes[module, name] = tensor.dtype
                    if not quantized:
                        kept[module, name] = tensor.detach().clone()
        self._apply(state, modules)
        for (module, name), dtype in dtypes.items():
            after = getattr(module, name, None)
            if after is not None and after.dtype != dtype:  # None: of an observer that has gone
                self._put(module, name, kept.get((module, name), after.detach().to(dtype)))

    @staticmethod
    def _tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
        yield from module.named_parameters(recurse=False)
        yield from module.named_buffers(recurse=False)

    @staticmethod
    def _put(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
        """Replace it: caches of offloaded modules copy a tensor of the same shape into the one that they have."""
        if name in module._buffers:
            persistent = name not in module._non_persistent_buffers_set
            delattr(module, name)
            module.register_buffer(name, tensor, persistent=persistent)
        else:
            delattr(module, name)
            module.register_parameter(name, nn.Parameter(tensor, requires_grad=False))


class _Rounding:
    """GPTQ's compression of modules; those without data get the Hessian of inputs that know nothing of each other."""

    def __init__(self, modifier: Any) -> None:
        self.modifier, self._compress = modifier, modifier.compress_module_list

    def __call__(self, modules: Any) -> None:
        modules = list(modules)
        for module in modules:
            hessian = self.modifier._hessians[module]
            if not bool(hessian.any()):
                hessian.fill_diagonal_(1)
        self._compress(modules)


class _CompleteEpochs:
    """Completes the list of modules that one modifier gets at the end of an epoch."""

    def __init__(self, modifier: Any) -> None:
        self.modifier = modifier
        self.called: dict[nn.Module, None] = {}  # a set that keeps its order
        self._done: set[nn.Module] = set()
        self._start, self._end = modifier.on_calibration_start, modifier.on_sequential_epoch_end
        # on the instance only: recipes without spiking modifiers run upstream's own code
        object.__setattr__(modifier, "on_calibration_start", self._on_start)
        object.__setattr__(modifier, "on_sequential_epoch_end", self._on_end)

    def undo(self) -> None:
        for method in ("on_calibration_start", "on_sequential_epoch_end"):
            self.modifier.__dict__.pop(method, None)

    def _on_start(self, *args: Any, **kwargs: Any) -> Any:
        self.called.clear()  # other modifiers' passes over the data, and the tracer's
        self._done.clear()
        return self._start(*args, **kwargs)

    def _on_end(self, state: Any, event: Any, modules: Any, **kwargs: Any) -> Any:
        listed = dict.fromkeys(modules)
        listed.update((module, None) for module in self.called if module not in self._done)
        self._done.update(listed)  # they run once more, to hand their outputs on
        return self._end(state, event, modules=list(listed), **kwargs)
