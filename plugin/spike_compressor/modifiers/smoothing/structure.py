"""Which inputs can be rescaled by channel, found by what a model computes, not by what its modules are called.

A power of two changes no bit of a float but its exponent. So a module's outputs are multiplied by powers of two,
channel by channel, while every layer is handed the input that it had before: an input that depends on such a channel in
proportion, through reshaping, repetition, attention or gating, has that very power in all rows, and one that depends on
it in any other way has not. The powers spell the channel's number, so a few passes over one batch tell for each input
which channel of which module it follows. Then powers of two are folded into the weights, all at once, and the model
must give what it gave, to the bit: what else reads a channel would show.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spike_compressor.modifiers.smoothing.folding import Group
from spike_compressor.modifiers.smoothing.reference import Reference, has_features, hooks, record
from spike_compressor.modifiers.smoothing.trials import exact_groups, foldable

#: Exponents that spell digits of a channel's number; none is 0, which is what a channel has that nothing changed.
_DIGITS = (-4, -3, -2, -1, 1, 2, 3, 4)
_NONE, _OTHERWISE, _SILENT = 0, 99, 98  # instead of an exponent: unchanged, changed some other way, zero in all rows


def find_groups(
    model: nn.Module, run: Callable[[], Tensor], targets: Mapping[str, nn.Linear]
) -> tuple[list[Group], dict[str, str]]:
    """Find what makes the inputs of layers, where a factor of a channel can be moved from one to the other exactly.

    Args:
        model: in floats.
        run: runs the model on one batch, always the same, and gives its output.
        targets: the layers whose inputs are to be rescaled, by name.

    Returns:
        the groups, in the order of their calls, each with a target among its readers; and why targets have none, by
        name.
    """
    readers, producers = _readers(model), _producers(model)
    reference = record(run, readers, producers)
    found: dict[str, Group] = {}
    for parts in _classes(model, readers, producers, reference):
        for group in _respond(model, run, parts, reference):
            found.setdefault(group.producer, group)
    groups, reasons = foldable(model, list(found.values()), readers, reference, targets)
    exact = exact_groups(model, run, reference, groups)
    kept = {group.producer for group in exact}
    for group in groups:
        if group.producer not in kept:
            reasons.update(dict.fromkeys(group.readers, f"something else depends on {group.producer}"))
    covered = {name for group in exact for name in group.readers}
    left = {name: reasons.get(name, _reason(name, reference)) for name in targets if name not in covered}
    order = {name: place for place, name in enumerate(reference.order)}
    return sorted(exact, key=lambda group: order[group.producer]), left


def _reason(name: str, reference: Reference) -> str:
    if name in reference.inputs:
        return "no module makes its input in proportion"
    return "the batch that was looked at did not reach it"


# What there is


def _readers(model: nn.Module) -> dict[str, nn.Module]:
    """Modules that multiply features by a matrix [N, K]: Linears, and routers of classes of their own."""
    return {name: module for name, module in model.named_modules() if _dim(module) == 2 and not _looks_up(module)}


def _producers(model: nn.Module) -> dict[str, nn.Module]:
    """Modules whose outputs have a factor for each channel: norms, and Linears."""
    return {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Linear or (_dim(module) == 1 and not next(module.children(), None))
    }


def _dim(module: nn.Module) -> int:
    weight = getattr(module, "weight", None)
    return weight.dim() if isinstance(weight, Tensor) and weight.is_floating_point() else 0


def _looks_up(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding)


def _width(module: nn.Module) -> int:
    weight: Any = module.weight
    return int(weight.shape[0])


def _classes(
    model: nn.Module,
    readers: Mapping[str, nn.Module],
    producers: Mapping[str, nn.Module],
    reference: Reference,
) -> Iterator[dict[str, Tensor]]:
    """Which channels of which modules are tried together: those of modules with the same last name.

    Modules of one name do not stand one behind the other without a layer between that is handed its input; others
    may, such as both factors of a gated product. Of Linears that make several things at once parts are tried, too.
    """
    called = set(reference.order)
    by_name: dict[str, dict[str, Tensor]] = defaultdict(dict)
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for place, name in enumerate(reference.order):
        if name not in producers or name not in called:
            continue
        last, width = name.rpartition(".")[2], _width(producers[name])
        by_name[last][name] = torch.ones(width, dtype=torch.bool)
        following = (other for other in reference.order[place + 1 :] if other in reference.inputs)
        reader = next(following, None)
        if reader is not None and isinstance(producers[name], nn.Linear):
            for label, part in _parts(model, width, reference.inputs[reader][0].shape[-1]):
                parts[f"{last} {label}"][name] = part
    yield from by_name.values()
    yield from parts.values()


def _parts(model: Any, width: int, following: int) -> Iterator[tuple[str, Tensor]]:
    """Parts of a Linear's outputs that may be values of attention or the linear half of a gated product.

    Args:
        model: whose config may tell its heads.
        width: outputs.
        following: inputs of the layer that is called next.
    """
    at = torch.arange(width)
    if width == 2 * following:
        yield "second half", at >= following
        yield "first half", at < following
    elif width > following and (width - following) % 2 == 0:  # queries as wide as the outputs, keys, values
        yield "values", at >= (width + following) // 2
        heads = getattr(getattr(model, "config", None), "num_attention_heads", 0)
        if width == 3 * following and isinstance(heads, int) and heads and following % heads == 0:
            yield "values by head", at // (following // heads) % 3 == 2


# Who follows whom


def _respond(
    model: nn.Module, run: Callable[[], Tensor], parts: Mapping[str, Tensor], reference: Reference
) -> list[Group]:
    """The groups of the modules in `parts`, whose channels that are True there are scaled."""
    offsets, total = {}, 0
    for name, part in parts.items():
        offsets[name] = total
        total += part.numel()
    digits = 1
    while len(_DIGITS) ** digits < total:
        digits += 1
    spelled: dict[str, list[Tensor]] = defaultdict(list)
    candidates: set[str] | None = None
    for digit in range(digits):
        scales = {name: _spell(offsets[name], part, digit) for name, part in parts.items()}
        exponents = _scaled_pass(model, run, scales, reference, candidates)
        candidates = {name for name, found in exponents.items() if _in_proportion(found)}
        if not candidates:
            return []
        for name in candidates:
            spelled[name].append(exponents[name])
    made: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for reader in candidates or ():
        follows = _numbers(torch.stack(spelled[reader]))
        if follows is None:
            continue
        names = [name for name in parts if bool(_within(follows, offsets[name], parts[name]).any())]
        if len(names) == 1:
            inside = _within(follows, offsets[names[0]], parts[names[0]])
            made[names[0]][reader] = torch.where(inside, follows - offsets[names[0]], -1)
    return [Group(name, parts[name].numel(), follows) for name, follows in made.items()]


def _within(numbers: Tensor, offset: int, part: Tensor) -> Tensor:
    return (numbers >= offset) & (numbers < offset + part.numel())


def _spell(offset: int, part: Tensor, digit: int) -> Tensor:
    """Exponents [channels] that spell one digit of each channel's number; 0 where a channel is not scaled."""
    number = (torch.arange(part.numel()) + offset) // len(_DIGITS) ** digit % len(_DIGITS)
    return torch.where(part, torch.tensor(_DIGITS)[number], 0)


def _numbers(exponents: Tensor) -> Tensor | None:
    """The channels that exponents [digits, K] spell, -1 for none; None if they spell nothing."""
    silent = (exponents == _SILENT).all(dim=0)
    unchanged = (exponents == _NONE).all(dim=0)
    values = torch.full_like(exponents, -1)
    for value, exponent in enumerate(_DIGITS):
        values[exponents == exponent] = value
    if bool(((values < 0).any(dim=0) & ~silent & ~unchanged).any()):
        return None
    powers = len(_DIGITS) ** torch.arange(exponents.shape[0])[:, None]
    numbers = torch.where(silent | unchanged, -1, (values * powers).sum(dim=0))
    spoken = numbers[numbers >= 0]
    if bool(silent.any()) and spoken.unique().numel() < spoken.numel():
        return None  # a channel that was zero in all rows may be a copy of one that is scaled
    return numbers


def _in_proportion(exponents: Tensor) -> bool:
    """Whether all inputs of a layer have an exponent, and some of them one that is not 0."""
    changed = (exponents != _NONE) & (exponents != _SILENT)
    return bool(changed.any()) and not bool((exponents == _OTHERWISE).any())


def _scaled_pass(
    model: nn.Module,
    run: Callable[[], Tensor],
    scales: Mapping[str, Tensor],
    reference: Reference,
    only: set[str] | None,
) -> dict[str, Tensor]:
    """Run the model with outputs times powers of two, and all layers' inputs as they were.

    Args:
        model: as it is.
        run: as in `find_groups`.
        scales: exponents [channels] by module.
        reference: what it did without.
        only: the layers to look at; all if None.

    Returns:
        int64 [K] by layer: the exponent that each of its inputs came with, in all rows of all calls.
    """
    found: dict[str, Tensor] = {}
    calls: Counter[str] = Counter()

    def scale(exponents: Tensor, module: nn.Module, args: Any, output: Any) -> Any:
        if not has_features(output, exponents.numel()):
            return output
        return output * torch.exp2(exponents.to(device=output.device, dtype=output.dtype))

    def compare(name: str, module: nn.Module, args: tuple[Any, ...]) -> Any:
        inputs = reference.inputs[name]
        call = calls[name]
        calls[name] += 1
        if call >= len(inputs) or args[0].shape != inputs[call].shape:
            found[name] = torch.tensor([_OTHERWISE])
            return None
        if only is None or name in only:
            exponents = _exponents(args[0], inputs[call])
            found[name] = exponents if call == 0 else _agree(found[name], exponents)
        return (inputs[call], *args[1:])

    with hooks() as handles:
        for name, exponents in scales.items():
            handles.append(model.get_submodule(name).register_forward_hook(partial(scale, exponents)))
        for name in reference.inputs:
            handles.append(model.get_submodule(name).register_forward_pre_hook(partial(compare, name)))
        run()
    return found


def _exponents(x: Tensor, before: Tensor) -> Tensor:
    """int64 [K]: e with `x = before * 2^e` in all rows of a channel, or what else there is to say of it."""
    smallest = torch.finfo(x.dtype).tiny * 2.0**8  # what is less may have lost bits on the way
    x, before = (t.detach().reshape(-1, t.shape[-1]).to(torch.float32) for t in (x, before))
    loud = before.abs() >= smallest
    ratio = x / before
    high = torch.where(loud, ratio, -torch.inf).amax(dim=0)
    low = torch.where(loud, ratio, torch.inf).amin(dim=0)
    mantissa, exponent = torch.frexp(high)
    exact = (high == low) & (mantissa == 0.5)
    found = torch.where(exact, exponent.to(torch.int64) - 1, _OTHERWISE)
    return torch.where(loud.any(dim=0), found, _SILENT).cpu()


def _agree(one: Tensor, other: Tensor) -> Tensor:
    """Of two calls of a layer."""
    if one.shape != other.shape:
        return torch.tensor([_OTHERWISE])
    either = torch.where(one == _SILENT, other, one)
    return torch.where((either == other) | (other == _SILENT), either, _OTHERWISE)
