"""Linears whose weight a model multiplies by without calling them, found before they are given neurons.

A neuron stands in front of a call. Code such as `linear(x, self.gate.weight)` in a router, or a fused kernel of a
state-space layer, goes past it. Where the source of a module's class reads the weight of another module, the model is
run once on one batch, and each function that gets a targeted weight is seen. Most models have no such source, and are
not run. Asking a weight for its dtype, shape or device is no read: a spiking layer answers that as before.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from spike_compressor.modifiers.calibration import Unnoticed
from spike_compressor.runtime import describes_weight

#: Attributes of a weight that say what it is, and checks of it that read no number.
_DESCRIPTIONS = frozenset({"dtype", "device", "shape", "ndim", "size", "dim", "numel", "requires_grad", "data_ptr"})
#: Modules of classes that are bases of models of any kind, and of torch.
_GENERAL = re.compile(r"(torch|builtins)(\.|$)|transformers\.(?!models\.)")
#: Methods that no forward pass calls.
_BESIDE = frozenset({"__init__", "_init_weights", "reset_parameters", "tie_weights", "_tie_weights", "extra_repr"})


def weights_read(model: Any, modules: Mapping[str, nn.Linear], dataloader: Any = None) -> list[str]:
    """Names of those modules whose weight the model reads in a forward pass without calling them.

    Args:
        model: before anything of it spikes.
        modules: the Linears in question, by name.
        dataloader: of the inputs to run the model on, if it has to be; None for the few tokens of its `dummy_inputs`.
    """
    if not any(_may_read(kind, modules) for kind in _kinds_above(model, modules)):
        return []
    inputs = getattr(model, "dummy_inputs", None) if dataloader is None else next(iter(Unnoticed(dataloader)), None)
    if not isinstance(inputs, Mapping):
        return []
    device = next(model.parameters()).device
    inputs = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in inputs.items()}
    training = model.training
    try:
        with torch.no_grad(), _Reads(modules) as reads:
            model.eval()(**{key: value for key, value in inputs.items() if key != "labels"})
    except Exception:  # it wants other inputs than these; a spiking layer's weight refuses reads when they come
        if not reads.names:
            return []
    finally:
        model.train(training)
    return list(reads.names)


class _Reads(TorchFunctionMode):
    """Notes the modules whose weight a function gets while they are not being called."""

    def __init__(self, modules: Mapping[str, nn.Linear]) -> None:
        super().__init__()
        self._weights = {id(module._parameters.get("weight")): name for name, module in modules.items()}
        self.names: dict[str, None] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not describes_weight(func):
            for value in (*args, *kwargs.values()):
                for tensor in value if isinstance(value, (tuple, list)) else (value,):
                    found = self._weights.get(id(tensor))
                    if found is not None and not _called_with(tensor):
                        self.names[found] = None
        return func(*args, **kwargs)


def _called_with(weight: Tensor) -> bool:
    """Whether a module that has this weight, the Linear or an embedding that is tied to it, is being called."""
    frame = sys._getframe(2)
    while frame is not None:
        own = getattr(frame.f_locals.get("self"), "_parameters", None)
        if isinstance(own, Mapping) and any(parameter is weight for parameter in own.values()):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _kinds_above(model: nn.Module, modules: Mapping[str, nn.Linear]) -> dict[type, None]:
    """The classes of all modules that hold one of these; what torch and transformers have for all models left out."""
    paths = {name.rsplit(".", depth)[0] for name in modules for depth in range(1, name.count(".") + 1)}
    holders = [model, *(model.get_submodule(path) for path in paths)]
    kinds = {kind: None for holder in holders for kind in type(holder).__mro__}
    return {kind: None for kind in kinds if not _GENERAL.match(kind.__module__)}


def _may_read(kind: type, modules: Mapping[str, nn.Linear]) -> bool:
    """Whether the source of a class reads the weight of a module that could be one of these."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):
        return False
    keys = {name.rpartition(".")[2] for name in modules}
    return any(owner is None or owner in keys for owner in _weights_of(tree))


def _weights_of(tree: ast.AST) -> Iterator[str | None]:
    """What the weights belong to that are read as `….key.weight`; None where the source does not say."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and node.name in _BESIDE:
            continue
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.attr in _DESCRIPTIONS:
            node = node.value  # the weight is asked, not read
        elif isinstance(node, ast.Attribute) and node.attr == "weight" and isinstance(node.ctx, ast.Load):
            owner = node.value
            if not (isinstance(owner, ast.Name) and owner.id == "self"):
                yield owner.attr if isinstance(owner, ast.Attribute) else None
        yield from _weights_of(node)
