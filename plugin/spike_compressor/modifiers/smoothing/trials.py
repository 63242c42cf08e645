"""Which groups are exact: folded for a trial, they change no bit of what the model computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from compressed_tensors.offload import disable_onloading
from torch import Tensor, nn

from spike_compressor.modifiers.smoothing.folding import Group, fold
from spike_compressor.modifiers.smoothing.reference import Reference, hooks


def foldable(
    model: nn.Module,
    groups: list[Group],
    readers: Mapping[str, nn.Module],
    reference: Reference,
    targets: Mapping[str, nn.Linear],
) -> tuple[list[Group], dict[str, str]]:
    """The groups that can be folded as far as can be told without trying, and why the others' readers are left."""
    owners = Counter(one for module in model.modules() for one in _weights_of(module))
    taken = Counter(reader for group in groups for reader in group.readers)
    unreached = [name for name in readers if name not in reference.inputs]
    kept, reasons = [], {}
    for group in groups:
        reason = None
        members = (group.producer, *group.readers)
        around = _common(members)
        shared = next((name for name in members if _shares(model.get_submodule(name), owners)), None)
        missed = next((name for name in unreached if name.startswith(around)), None)
        if not any(name in targets for name in group.readers):
            continue
        if any(taken[reader] > 1 for reader in group.readers):
            reason = "several modules make its input in proportion"
        elif shared is not None:
            reason = f"{shared} shares its weight with another module"
        elif missed is not None:
            reason = f"the batch that was looked at did not reach {missed}, which may read the same"
        if reason is None:
            kept.append(group)
        else:
            reasons.update(dict.fromkeys(group.readers, reason))
    return kept, reasons


def _common(names: Sequence[str]) -> str:
    """What the names of all modules within the innermost module around these begin with."""
    split = [name.split(".")[:-1] for name in names]
    shared = []
    for level in zip(*split, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return ".".join(shared) + "." if shared else ""


def _shares(module: nn.Module, owners: Mapping[int, int]) -> bool:
    return any(owners[one] > 1 for one in _weights_of(module))


def _weights_of(module: nn.Module) -> list[int]:
    """What a module's own parameters are known by; an offloaded one is another tensor each time that it is brought."""
    with disable_onloading():
        return [id(parameter) for parameter in module.parameters(recurse=False)]


def exact_groups(model: nn.Module, run: Callable[[], Tensor], reference: Reference, groups: list[Group]) -> list[Group]:
    """Those groups that change nothing when powers of two are folded: tried all at once, and in halves where not."""
    if not groups or _unchanged(model, run, reference, groups):
        return groups
    if len(groups) == 1:
        return []
    half = len(groups) // 2
    return [*exact_groups(model, run, reference, groups[:half]), *exact_groups(model, run, reference, groups[half:])]


def _unchanged(model: nn.Module, run: Callable[[], Tensor], reference: Reference, groups: list[Group]) -> bool:
    """Whether the model gives the same output, to the bit, and every layer sees what it should."""
    divisors = {group.producer: _trial(group) for group in groups}
    expected = {reader: group.along(reader, divisors[group.producer]) for group in groups for reader in group.readers}
    same = True
    calls: Counter[str] = Counter()

    def compare(name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        nonlocal same
        inputs, call = reference.inputs[name], calls[name]
        calls[name] += 1
        if not same:
            return
        if call >= len(inputs) or args[0].shape != inputs[call].shape:
            same = False
            return
        x = args[0]
        if name in expected:
            x = x * expected[name].to(device=x.device, dtype=x.dtype)
        same = _equal(x, inputs[call])

    for group in groups:
        fold(model, group, divisors[group.producer])
    try:
        with hooks() as handles:
            for name in reference.inputs:
                handles.append(model.get_submodule(name).register_forward_pre_hook(partial(compare, name)))
            output = run()
    finally:
        for group in groups:
            fold(model, group, 1 / divisors[group.producer])
    return same and _equal(output, reference.output)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Equal but for what is so small that halving it may cost bits."""
    return torch.allclose(one, other, rtol=0, atol=torch.finfo(one.dtype).tiny * 2.0**8, equal_nan=True)


def _trial(group: Group) -> Tensor:
    """Divisors [channels] of a trial: 1 or 2, at random, alike in every run; 1 where no reader follows."""
    generator = torch.Generator().manual_seed(group.channels)
    drawn = torch.exp2(torch.randint(0, 2, (group.channels,), generator=generator).to(torch.float32))
    followed = torch.zeros(group.channels, dtype=torch.bool)
    for follows in group.readers.values():
        followed[follows[follows >= 0]] = True
    return torch.where(followed, drawn, 1.0)
