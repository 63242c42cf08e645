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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spike_compressor.modifiers.smoothing.folding import Group, fold

#: Exponents that spell digits of a channel's number; none is 0, which is what a channel has that nothing changed.
_DIGITS = (-4, -3, -2, -1, 1, 2, 3, 4)
_NONE, _OTHERWISE, _SILENT = 0, 99, 98  # instead of an exponent: unchanged, changed some other way, zero in all rows


@dataclass
class Reference:
    """What a model did with one batch.

    Attributes:
        output: its logits.
        inputs: of each module that reads features, of every call.
        order: modules that read or make features, as they were called first.
    """

    output: Tensor
    inputs: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    order: list[str] = field(default_factory=list)


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
    reference = _reference(model, run, readers, producers)
    found: dict[str, Group] = {}
    mixed: set[str] = set()
    for parts in _classes(model, readers, producers, reference):
        for group in _respond(model, run, parts, reference):
            if group.producer not in found and not mixed.intersection(group.readers):
                found[group.producer] = group
    groups, reasons = _kept(model, list(found.values()), readers, reference, targets)
    exact = _exact(model, run, reference, groups)
    for group in groups:
        if group not in exact:
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


def _reference(
    model: nn.Module, run: Callable[[], Tensor], readers: Mapping[str, nn.Module], producers: Mapping[str, nn.Module]
) -> Reference:
    reference = Reference(torch.empty(0))
    last: list[Tensor] = []  # modules that get the same tensor share what is kept of it

    def note(name: str, module: Any, args: tuple[Any, ...]) -> None:
        if name not in noted:
            noted.add(name)
            reference.order.append(name)
        if name not in readers or not args or not _features(args[0], module.weight.shape[1]):
            return
        x: Tensor = args[0]
        if not (last and last[0] is x):
            last[:] = [x, x.detach().clone()]
        reference.inputs[name].append(last[1])

    noted: set[str] = set()
    with _hooks() as handles:
        for name, module in {**readers, **producers}.items():
            handles.append(module.register_forward_pre_hook(partial(note, name)))
        reference.output = run()
    return reference


def _features(x: Any, width: int) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point() and x.dim() > 0 and x.shape[-1] == width and x.numel() > 0


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
        if not _features(output, exponents.numel()):
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

    with _hooks() as handles:
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


# What is kept


def _kept(
    model: nn.Module,
    groups: list[Group],
    readers: Mapping[str, nn.Module],
    reference: Reference,
    targets: Mapping[str, nn.Linear],
) -> tuple[list[Group], dict[str, str]]:
    """The groups that can be folded as far as can be told without trying, and why the others' readers are left."""
    owners = Counter(id(parameter) for module in model.modules() for parameter in module.parameters(recurse=False))
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
    return any(owners[id(parameter)] > 1 for parameter in module.parameters(recurse=False))


def _exact(model: nn.Module, run: Callable[[], Tensor], reference: Reference, groups: list[Group]) -> list[Group]:
    """Those groups that change nothing when powers of two are folded: tried all at once, and in halves where not."""
    if not groups or _unchanged(model, run, reference, groups):
        return groups
    if len(groups) == 1:
        return []
    half = len(groups) // 2
    return [*_exact(model, run, reference, groups[:half]), *_exact(model, run, reference, groups[half:])]


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
        with _hooks() as handles:
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


@contextmanager
def _hooks() -> Iterator[list[Any]]:
    handles: list[Any] = []
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()
