"""The blocks of a model that are fitted one after the other, and their copies in floats."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spike_compressor.modality import main_input
from spike_compressor.runtime import spiking_state


@dataclass(frozen=True)
class Block:
    """A module that is fitted as one.

    Attributes:
        name: of the module in the model.
        real: a copy of it with the weights that it had in floats.
        layers: names of the Linears in it that are to spike.
    """

    name: str
    real: nn.Module
    layers: tuple[str, ...]


def block_names(model: nn.Module, layers: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Blocks that hold the named layers: members of repeated stacks, and what is left, in pieces as large as can be.

    A stack is the outermost `ModuleList` around a layer. What lies in none, such as a projector, goes with the largest
    module around it that holds no stack of such layers.

    Returns:
        The layers of each block, by its name.
    """
    layers = list(layers)
    stacks = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    stacks = [name for name in stacks if not any(name.startswith(f"{outer}.") for outer in stacks)]
    members = {layer: _member(layer, stacks) for layer in layers}
    holding = {holder for member in members.values() if member is not None for holder in _holders(member)}
    blocks: dict[str, list[str]] = {}
    for layer, member in members.items():
        if member is None:
            member = next(name for name in [*_holders(layer), layer] if name not in holding)
        blocks.setdefault(member, []).append(layer)
    return {name: tuple(inside) for name, inside in blocks.items()}


def _member(layer: str, stacks: list[str]) -> str | None:
    stack = next((name for name in stacks if layer.startswith(f"{name}.")), None)
    return None if stack is None else f"{stack}.{layer.removeprefix(f'{stack}.').partition('.')[0]}"


def _holders(name: str) -> Iterator[str]:
    """The modules around one, the model's own child first."""
    parts = name.split(".")
    for depth in range(1, len(parts)):
        yield ".".join(parts[:depth])


def keep_floats(model: nn.Module, layers: Iterable[str]) -> list[Block]:
    """The blocks of a model that is not quantized yet, with a copy of each: as much memory as their weights take."""
    return [
        Block(name, _bare(model.get_submodule(name)), inside) for name, inside in block_names(model, layers).items()
    ]


def _bare(module: nn.Module) -> nn.Module:
    """A copy that computes in floats, unseen by whoever hooks or quantizes the original."""
    made = copy.deepcopy(module)
    for inner in made.modules():
        for hooks in ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks", "_backward_pre_hooks"):
            getattr(inner, hooks).clear()
        inner.__dict__.pop("forward", None)  # compressed-tensors' fake quantization
        for name in [key for key in inner._parameters if key.startswith(("weight_", "input_", "output_"))]:
            if getattr(inner, "quantization_scheme", None) is not None:
                del inner._parameters[name]
        for parameter in inner._parameters.values():
            if parameter is not None:
                parameter.requires_grad_(False)
    return made.eval()


@contextlib.contextmanager
def in_floats(model: nn.Module, blocks: Iterable[Block]) -> Iterator[None]:
    """Within it the blocks of a spiking model compute what their copies do."""
    was: dict[nn.Module, Any] = {}
    try:
        for block in blocks:
            module = model.get_submodule(block.name)
            was[module] = module.__dict__.get("forward")
            # the module stays in its place, with the hooks by which transformers collects hidden states
            module.__dict__["forward"] = block.real.forward
        with spiking_state(model).watch.paused():
            yield
    finally:
        for module, forward in was.items():
            if forward is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = forward


# Calls of blocks


@dataclass(frozen=True)
class Call:
    """What a block is called with, but for its rows, which come from the block before.

    Attributes:
        args: the rows are None in them.
        kwargs: likewise.
        place: of the rows among the arguments.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    place: int | str

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Call, Tensor] | None:
        """A call without its rows, and these; None where no argument can be rows."""
        x = main_input(args, dict(kwargs))
        if x is None:
            return None
        place: int | str = next(
            (index for index, value in enumerate(args) if value is x),
            next((name for name, value in kwargs.items() if value is x), 0),
        )
        args = tuple(None if index == place else value for index, value in enumerate(args))
        return cls(args, {name: None if name == place else value for name, value in kwargs.items()}, place), x

    def on(self, module: nn.Module, x: Tensor) -> Tensor:
        """The rows that a module makes of rows."""
        args = [x if index == self.place else value for index, value in enumerate(self.args)]
        kwargs = {name: x if name == self.place else value for name, value in self.kwargs.items()}
        return output_rows(module(*args, **kwargs))

    def to(self, dtype: torch.dtype) -> Call:
        """The same with floating-point tensors of another dtype."""
        return Call(_cast(self.args, dtype), _cast(self.kwargs, dtype), self.place)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, tuple):
        return tuple(_cast(part, dtype) for part in value)
    return {key: _cast(part, dtype) for key, part in value.items()} if isinstance(value, dict) else value


def output_rows(output: Any) -> Tensor:
    """The rows among what a block gives: its first tensor."""
    return output if isinstance(output, Tensor) else output[0]


class _EarlyStopError(Exception):
    """The last block that was to be reached has been: the pass ends, and hooks that run in any case see it end."""


def chains_of(model: nn.Module, blocks: Iterable[Block], run: Callable[[], Any]) -> tuple[list[list[Block]], list[str]]:
    """Blocks in the order in which they run, in chains within which each takes what the one before gives.

    Args:
        model: that the blocks are in.
        blocks: of the model.
        run: runs the model on one batch.

    Returns:
        The chains, and the names of blocks that did not run, or more than once, or that are given no rows.
    """
    seen: dict[str, list[tuple[Tensor | None, Any]]] = {block.name: [] for block in blocks}
    order: list[str] = []
    handles = []
    for block in blocks:

        def note(module: nn.Module, args: Any, kwargs: Any, output: Any, name: str = block.name) -> None:
            found = Call.of(args, kwargs)
            seen[name].append((None if found is None else found[1], output))
            order.append(name)

        handles.append(model.get_submodule(block.name).register_forward_hook(note, with_kwargs=True))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    left = [name for name, calls in seen.items() if len(calls) != 1 or calls[0][0] is None]
    by_name = {block.name: block for block in blocks}
    chains: list[list[Block]] = []
    before: Any = None
    for name in order:
        if name in left:
            before = None
            continue
        ((x, output),) = seen[name]
        if before is not None and output_rows(before) is x:
            chains[-1].append(by_name[name])
        else:
            chains.append([by_name[name]])
        before = output
    return chains, left


class Captured(NamedTuple):
    """What a chain of blocks was called with, for one batch.

    Attributes:
        calls: by name of block, without rows.
        rows: of the first block.
    """

    calls: Mapping[str, Call]
    rows: Tensor


def captured(
    model: nn.Module, names: Sequence[str], batches: Iterable[Any], run: Callable[[Any], Any]
) -> list[Captured | None]:
    """Run batches as far as the last of the named blocks, and keep what these are called with.

    Args:
        model: that the blocks are in.
        names: of a chain's blocks, in their order.
        batches: of the model's inputs.
        run: runs the model on one batch.

    Returns:
        For each batch, or None where it did not come that far.
    """
    calls: dict[str, Call] = {}
    first: list[Tensor] = []

    def note(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        found = Call.of(args, kwargs)
        if found is None:
            raise _EarlyStopError
        calls[name] = found[0]
        if name == names[0]:
            first.append(found[1].detach())
        if name == names[-1]:
            raise _EarlyStopError

    handles = [
        model.get_submodule(name).register_forward_pre_hook(partial(note, name), with_kwargs=True) for name in names
    ]
    kept: list[Captured | None] = []
    try:
        for batch in batches:
            calls.clear()
            first.clear()
            with contextlib.suppress(_EarlyStopError):
                run(batch)
            kept.append(Captured(dict(calls), first[0]) if len(calls) == len(names) else None)
    finally:
        for handle in handles:
            handle.remove()
    return kept
