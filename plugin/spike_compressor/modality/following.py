"""Which token each row of a tensor belongs to, however modules choose, reorder or repeat rows.

Experts, pruned tokens and heads that see only the last positions get rows that were taken from the model's tokens.
While `Following` is active, the origin of rows travels with the tensors: PyTorch's operations pass here, and those that
move rows move the rows' origins too. Three things keep that small and right:

- *Grids.* A module that is called with rows of known origin is a place where tensors of that leading shape are these
  rows (`enter_grid`). What happens between, in a recurrence say, need not be followed.
- *Once.* What an operation does to an origin is kept with that origin. Layers do the same again and again, to the same
  rows: from the second on, following them takes a few lookups.
- *No guess.* A tensor whose rows may have been moved by an operation that is not known here has no origin, and a module
  that is called with such rows is a place where nothing is known. Whoever must know their modality raises.

One file of more than 400 lines: the table at its end is only right as a whole, beside the rules that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, get_default_nowrap_functions

from spike_compressor.modality.base import TokenRows
from spike_compressor.modality.derived import Deriving

_ATTRIBUTE = "_token_rows"


@dataclass(frozen=True, eq=False)
class Origin(Deriving):
    """The origin of a tensor's rows.

    Attributes:
        rows: the tokens that they are rows of; None where it is not known.
        index: int64, flat positions in `rows`, of as many dimensions as the tensor: each is the tensor's, or 1 where
            all elements along it are of the same token, as along features. [B, S, 1] of [B, S, K].
        whole: whether it is known that they are all the tokens, each once, in their order.
    """

    rows: TokenRows | None
    index: Tensor
    whole: bool = False
    _derived: dict[Any, Any] = field(default_factory=dict, repr=False)

    def along(self, x: Tensor) -> Tensor | None:
        """int64 positions [*leading] of the rows of x [*leading, K], on its device; None where a row is of several."""
        return self.derived(("along", x.shape[:-1], x.device), lambda: self._along(x))

    def _along(self, x: Tensor) -> Tensor | None:
        index = self.index[..., :1]
        if self.index.shape[-1] != 1 and not bool((self.index == index).all()):
            return None
        return index.to(x.device).expand(*x.shape[:-1], 1).squeeze(-1)

    def carried(self, x: Tensor, result: Tensor) -> Origin | None:
        """The origin of a result [R, N] or [*leading, N] whose rows are those of x [*leading, K]; None if unknown."""
        return self.derived(("carried", x.shape[:-1], x.device, result.shape), lambda: self._carried(x, result))

    def _carried(self, x: Tensor, result: Tensor) -> Origin | None:
        index = self.along(x)
        return None if index is None else Origin(self.rows, index.reshape(*result.shape[:-1], 1), self.whole)

    def fits(self, x: Tensor) -> bool:
        """Whether it can be that of a tensor of this shape."""
        shape = x.shape
        return self.derived(("fits", shape), lambda: _fitting(self.index.shape, shape))


_NOWHERE = Origin(None, torch.empty(0, dtype=torch.int64))


@dataclass(frozen=True, eq=False)
class Grid(Deriving):
    """What tensors of one leading shape are, within a module.

    Attributes:
        rows: the tokens; None where nothing is known.
        index: int64 [*leading].
        whole: as in `Origin`.
    """

    rows: TokenRows | None
    index: Tensor
    whole: bool = False
    _derived: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of_tokens(cls, rows: TokenRows | None) -> Grid:
        """The grid of a model: tensors [batch, sequence, ...] are all the tokens, in their order."""
        if rows is None:
            return _NO_GRID
        count = rows.modality.numel()
        return cls(rows, torch.arange(count, device=rows.modality.device).view(rows.modality.shape), whole=True)

    @classmethod
    def of(cls, x: Tensor) -> Grid:
        """The grid of a module that is called with x [*leading, K]."""
        origin = origin_of(x)
        return (
            _NO_GRID if origin is None else origin.derived(("grid", x.shape[:-1], x.device), lambda: cls._of(origin, x))
        )

    @classmethod
    def _of(cls, origin: Origin, x: Tensor) -> Grid:
        index = origin.along(x)
        return _NO_GRID if index is None else cls(origin.rows, index, origin.whole)

    def origin(self, x: Tensor) -> Origin | None:
        """The origin of the rows of x if its shape is the grid's, or [as many rows, K]."""
        if self.rows is None:
            return None
        return self.derived(x.shape, lambda: self._origin(x))

    def _origin(self, x: Tensor) -> Origin | None:
        lead = self.index.shape
        if x.dim() > len(lead) and x.shape[: len(lead)] == lead:
            return Origin(self.rows, self.index.reshape(*lead, *[1] * (x.dim() - len(lead))), self.whole)
        if x.dim() == 2 and x.shape[0] == self.index.numel():
            return Origin(self.rows, self.index.reshape(-1, 1), self.whole)
        return None


_NO_GRID = Grid(None, torch.empty(0, dtype=torch.int64))
_GRID: ContextVar[Grid] = ContextVar("spike_compressor_grid", default=_NO_GRID)


def enter_grid(grid: Grid) -> Grid:
    """Let a grid hold from now on; returns the one that held before, for the end of it."""
    before = _GRID.get()
    _GRID.set(grid)
    return before


def current_grid() -> Grid:
    """The grid of the module under way."""
    return _GRID.get()


def mark(x: Tensor, origin: Origin) -> None:
    """Say which tokens the rows of a tensor are."""
    setattr(x, _ATTRIBUTE, origin)


def origin_of(x: Tensor) -> Origin | None:
    """The origin of the rows of x: what it carries, or what its module's grid says of its shape; None if unknown."""
    carried: Origin | None = getattr(x, _ATTRIBUTE, None)
    if carried is None:  # a table of parameters, of positions say, has no rows of anything
        return None if _is_parameter(x) else _GRID.get().origin(x)
    return None if carried.rows is None else carried


def _is_parameter(x: Tensor) -> bool:
    return type(x) is not Tensor and isinstance(x, nn.Parameter)  # which asks a metaclass, for microseconds


def unfollowed() -> Any:
    """A context in which operations of our own, on indices, are not followed."""
    return torch._C.DisableTorchFunction()


class Following(TorchFunctionMode):
    """While it is active, the origin of rows goes with them through PyTorch's operations."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if isinstance(result, Tensor):
            if func not in _IRRELEVANT:
                _pass_on(func, args, kwargs, result)
        elif isinstance(result, (tuple, list)):
            if result and isinstance(result[0], Tensor):
                _pass_on_to_parts(func, args, kwargs, result)
        elif func in _ASSIGNMENTS:
            _assign(*args)
        return result


_IRRELEVANT = get_default_nowrap_functions()


def _pass_on(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> None:
    if result.dim() < 2 or not result.is_floating_point() or getattr(result, _ATTRIBUTE, None) is not None:
        return  # no rows; or in place, or the very tensor that went in
    rule = _RULES.get(func)
    if rule is None:
        rule = _foreign if getattr(func, "__qualname__", "").startswith("pybind11") else _keep
    origin = rule(func, args, kwargs, result)
    if origin is not None:
        mark(result, origin)


def _pass_on_to_parts(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], parts: Any) -> None:
    if func in _SPLITS:
        _split(func, args, kwargs, parts)
        return
    for part in parts:
        if isinstance(part, Tensor):
            _pass_on(func, args, kwargs, part)


# Operations that leave rows where they are


def _keep(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Origin | None:
    """Elementwise operations, normalizations and so on: where the shape is that of the rows, they are the same rows.

    A factor for each row ([..., 1], a mask's or a router's) makes other rows of none. What is added to a model's own
    [batch, sequence, K] (looked up in a table of positions, say) takes their places.
    """
    found: Origin | None = None
    unknown = factor = here = False
    for value in _tensors(args, kwargs):
        origin: Origin | None = getattr(value, _ATTRIBUTE, None)
        if origin is None:
            here = here or value.shape == result.shape  # as the module's grid says
        elif origin.rows is None:
            alike = value.shape[:-1] == result.shape[:-1]
            narrow = value.shape[-1:] == (1,) and result.shape[-1] != 1
            unknown, factor = unknown or (alike and not narrow), factor or (alike and narrow)
        elif origin.fits(result):
            if found is None:
                found = (
                    origin  # and stays it: of a residual stream, what was derived from its origin serves every layer
                )
            elif not _same(found, origin):
                return _nowhere(result)
    if found is None and unknown:
        places = [value for value in _tensors(args, kwargs) if value.shape == result.shape and _is_plain(value)]
        found = next((origin for value in places if (origin := origin_of(value)) is not None), None)
    return _NOWHERE if found is None and (unknown or (factor and not here)) else found


def _is_plain(x: Tensor) -> bool:
    """Whether nothing is said of a tensor [batch, sequence, K] but by its shape."""
    return x.dim() == 3 and getattr(x, _ATTRIBUTE, None) is None


def _left(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Origin | None:
    """Products and attention have the rows of their left operand; what they are multiplied with is summed up."""
    position, name = _LEFT.get(func, (0, "input"))
    left = _argument(args, kwargs, position, name)
    origin: Origin | None = getattr(left, _ATTRIBUTE, None)
    if origin is None:
        return _unknown(func, args, kwargs, result)  # rows that were mixed by a matrix
    return origin if origin.rows is not None and origin.fits(result) else _nowhere(result)


def _nothing(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Origin | None:
    """A new tensor, or one that rows are put into: a row of it is what the module's grid says."""
    return None


def _foreign(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Origin | None:
    """An operation of another library: one that gives [batch, sequence, K] keeps rows; of [R, K] nothing is known."""
    return _unknown(func, args, kwargs, result) if result.dim() == 2 else _keep(func, args, kwargs, result)


def _unknown(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Origin | None:
    """Whatever can move rows in ways that are not followed."""
    moved = any(getattr(value, _ATTRIBUTE, None) is not None for value in _tensors(args, kwargs))
    return _nowhere(result) if moved else None


def _fitting(index: torch.Size, shape: torch.Size) -> bool:
    return len(index) == len(shape) and all(i in (1, size) for i, size in zip(index, shape, strict=True))


def _same(one: Origin, other: Origin) -> bool:
    if one is other or one.index is other.index:
        return one.rows is other.rows
    return one.rows is other.rows and bool((one.index == other.index).all())


def _plain(value: Any) -> Any:
    """Something hashable that is equal for equal arguments; of its own where there are tensors or other objects."""
    if value is None or value is Ellipsis or isinstance(value, (bool, int, str)):
        return type(value), value
    if isinstance(value, slice):
        return slice, _plain(value.start), _plain(value.stop), _plain(value.step)
    if isinstance(value, (tuple, list)):
        return type(value), *map(_plain, value)
    if isinstance(value, dict):
        return dict, *((name, _plain(one)) for name, one in value.items() if name != "input")
    return object()


def _nowhere(result: Tensor) -> Origin | None:
    """Rows [R, K] or [batch, length, K] of unknown origin must not be taken for a module's grid."""
    return _NOWHERE if result.dim() <= 3 else None


# Operations that move rows


def _replayed(
    source: Tensor,
    result: Tensor,
    replay: Callable[[Origin], Tensor | None],
    keeps_order: bool = False,
    operation: Any = None,
) -> Origin | None:
    """The origin after an operation, done again to the origins of its source.

    Args:
        source: what the operation was done to.
        result: what it gave.
        replay: does it to an origin's index; None where that cannot be done.
        keeps_order: whether elements keep their order.
        operation: hashable, what decides where rows go besides shapes; None if tensors do, or if it was not looked at.
    """
    origin = origin_of(source)
    if origin is None:
        return _nowhere(result) if getattr(source, _ATTRIBUTE, None) is not None else None
    if operation is None:
        return _after(origin, result, replay, keeps_order)
    key = ("after", operation, source.shape, source.device, result.shape)
    return origin.derived(key, lambda: _after(origin, result, replay, keeps_order))


def _after(
    origin: Origin, result: Tensor, replay: Callable[[Origin], Tensor | None], keeps_order: bool
) -> Origin | None:
    moved = replay(origin)
    if moved is None:
        return _nowhere(result)
    if moved.shape == origin.index.shape and torch.equal(moved, origin.index.to(moved.device)):
        found = origin  # itself, so that the same rows have one origin wherever that can be told
    else:
        same = keeps_order and moved.numel() == origin.index.numel()
        found = Origin(origin.rows, moved, origin.whole and same)
    return found if found.fits(result) else _nowhere(result)


def _move(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Origin | None:
    """transpose, flip, select ...: the same operation."""
    source = _argument(args, kwargs, 0, "input")

    def replay(origin: Origin) -> Tensor:
        index = origin.index.to(source.device)
        moved: Tensor = func(index, *args[1:], **kwargs) if args else func(**{**kwargs, "input": index})
        return moved

    return _replayed(source, result, replay, operation=(func, _plain(args[1:]), _plain(kwargs)))


def _reshape(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Origin | None:
    source = _argument(args, kwargs, 0, "input")
    return _replayed(source, result, lambda origin: _reshaped(origin.index, source, result), True, _reshape)


def _reshaped(index: Tensor, source: Tensor, result: Tensor) -> Tensor | None:
    """Origins of a tensor whose elements keep their order in another shape."""
    depth = max((d + 1 for d, size in enumerate(index.shape) if size != 1), default=0)
    lead = index.reshape(index.shape[:depth]).expand(source.shape[:depth]).reshape(-1)
    place = _prefix(lead.numel(), result)
    if place is None and lead.numel():
        # a token's heads become rows, or rows of one token are joined with features
        for place in range(result.dim() - 1, 0, -1):
            count = result.shape[:place].numel()
            if count and count % lead.numel() == 0:
                lead = lead.repeat_interleave(count // lead.numel())
                break
            if count and lead.numel() % count == 0:
                shares = lead.view(count, -1)
                if bool((shares == shares[:, :1]).all()):
                    lead = shares[:, 0]
                    break
        else:
            return None
    return None if place is None else lead.reshape(*result.shape[:place], *[1] * (result.dim() - place))


def _prefix(count: int, result: Tensor) -> int | None:
    """How many leading dimensions hold `count` rows, the most that do; None if no number of them does."""
    found, product = None, 1
    for d, size in enumerate(result.shape[:-1]):
        product *= size
        if product == count:
            found = d + 1
    return found


def _expand(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Origin | None:
    """expand, repeat, tile: dimensions in front, rows over again."""
    source = _argument(args, kwargs, 0, "input")

    def replay(origin: Origin) -> Tensor:
        index = origin.index.reshape(*[1] * (result.dim() - source.dim()), *origin.index.shape)
        return index.repeat(*[size // i if i > 1 else 1 for i, size in zip(index.shape, result.shape, strict=True)])

    return _replayed(source, result, replay, operation=_expand)


def _repeat_interleave(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Origin | None:
    source, dim = _argument(args, kwargs, 0, "input"), _argument(args, kwargs, 2, "dim")
    repeats: Any = _argument(args, kwargs, 1, "repeats")

    def replay(origin: Origin) -> Tensor | None:
        if dim is None:
            return None
        return origin.index if origin.index.shape[dim] == 1 else origin.index.repeat_interleave(repeats, dim)

    return _replayed(source, result, replay)


def _choose(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Origin | None:
    """x[key]: what the key does to rows is done to their origins."""
    source, key = args[0], args[1]
    if origin_of(source) is None:
        if _is_parameter(source):
            return None  # a table, of positions say: what is looked up there are no rows of anything
        parts = key if isinstance(key, tuple) else (key,)
        chosen = source.dim() == 2 or any(isinstance(part, (Tensor, list)) for part in parts)
        return _nowhere(result) if chosen else _replayed(source, result, lambda origin: None)
    return _replayed(
        source, result, lambda origin: _chosen(origin.index.to(source.device), source, key), operation=_plain(key)
    )


def _chosen(index: Tensor, source: Tensor, key: Any) -> Tensor:
    """`index[key]`, where along dimensions of one token any position will do."""
    parts = list(key) if isinstance(key, tuple) else [key]
    widths = [_width(part) for part in parts]
    if any(part is Ellipsis for part in parts):
        at = next(i for i, part in enumerate(parts) if part is Ellipsis)
        missing = source.dim() - sum(widths)
        parts[at : at + 1], widths[at : at + 1] = [slice(None)] * missing, [1] * missing
    thin: list[Any] = []
    dim = 0
    for part, width in zip(parts, widths, strict=True):
        if width > 1 and 1 in index.shape[dim : dim + width]:  # a mask of several dimensions
            sizes = [*index.shape[:dim], *source.shape[dim : dim + width], *index.shape[dim + width :]]
            index = index.expand(sizes)
        if width == 1 and index.shape[dim] != source.shape[dim]:
            part = _anywhere(part)
        thin.append(part)
        dim += width
    return index[tuple(thin)]


def _anywhere(part: Any) -> Any:
    """A part of a key for a dimension of one element, with the shape that the part gives."""
    if isinstance(part, slice):
        return slice(None)
    if isinstance(part, int):
        return 0
    positions = torch.as_tensor(part)
    return torch.zeros_like(positions.nonzero()[:, 0] if positions.dtype == torch.bool else positions)


def _width(part: Any) -> int:
    """How many dimensions one part of a key takes."""
    if part is None or part is Ellipsis or isinstance(part, bool):
        return 0
    return part.dim() if isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8) else 1


def _gather(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Origin | None:
    """gather, take_along_dim: rows are chosen where the positions are the same for all features."""
    source = _argument(args, kwargs, 0, "input")
    if func in _TAKES:
        positions, dim = _argument(args, kwargs, 1, "indices"), _argument(args, kwargs, 2, "dim")
    else:
        dim, positions = _argument(args, kwargs, 1, "dim"), _argument(args, kwargs, 2, "index")
    if origin_of(source) is None:
        return _nowhere(result)

    def replay(origin: Origin) -> Tensor | None:
        if dim is None:
            return None
        index, at = origin.index.to(source.device), int(dim) % source.dim()
        if index.shape[at] == 1:
            return index
        thin = positions
        for d, size in enumerate(index.shape):
            if size == 1:
                thin = thin.narrow(d, 0, min(1, thin.shape[d]))
            elif d != at:
                index = index.narrow(d, 0, thin.shape[d]) if 1 < thin.shape[d] < size else index
        if positions.numel() and not bool((positions == thin).all()):
            return None
        return torch.take_along_dim(index, thin, at)

    return _replayed(source, result, replay)


def _index_select(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Origin | None:
    source = _argument(args, kwargs, 0, "input")
    dim, positions = _argument(args, kwargs, 1, "dim"), _argument(args, kwargs, 2, "index")
    if origin_of(source) is None:
        return None if _is_parameter(source) else _nowhere(result)

    def replay(origin: Origin) -> Tensor:
        index = origin.index.to(source.device)
        return index if index.shape[dim] == 1 else index.index_select(dim, positions)

    return _replayed(source, result, replay)


def _join(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Origin | None:
    """cat: rows one after the other, or features side by side."""
    parts = [part for part in _argument(args, kwargs, 0, "tensors") if part.dim() == result.dim()]
    dim = int(_argument(args, kwargs, 1, "dim") or 0)
    origins = [origin_of(part) for part in parts]
    if not any(getattr(part, _ATTRIBUTE, None) is not None for part in parts):
        return None
    if len(parts) == 1 and parts[0].shape == result.shape:  # put behind nothing, as into a new cache
        return origins[0]
    known = [origin for origin in origins if origin is not None]
    if len(known) < len(parts) or any(origin.rows is not known[0].rows for origin in known):
        return _nowhere(result)  # rows that are no token's, or tokens of two sequences
    if all(origin.index.shape[dim] == 1 and _same(known[0], origin) for origin in known):
        return known[0]
    indices = []
    for origin, part in zip(known, parts, strict=True):
        sizes = list(origin.index.shape)
        sizes[dim] = part.shape[dim]
        indices.append(origin.index.expand(sizes))
    if any(index.shape[:dim] != indices[0].shape[:dim] for index in indices):
        return _nowhere(result)
    joined = Origin(known[0].rows, torch.cat(indices, dim=dim))
    return joined if joined.fits(result) else _nowhere(result)


def _sorted(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Tensor) -> Origin | None:
    """sort, topk and the like: within rows, or rows against each other, which are no rows of before."""
    source = _argument(args, kwargs, 0, "input")
    place = 2 if func in _TOPK else 1
    dim = kwargs.get("dim", args[place] if len(args) > place and not isinstance(args[place], bool) else -1)
    return _replayed(source, result, lambda origin: origin.index if origin.index.shape[dim] == 1 else None)


def _split(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], parts: Any) -> None:
    """split, chunk, unbind: the same to the origins, or features cut apart."""
    source: Tensor = args[0] if args else kwargs["tensor"]
    at = 1 if func in _UNBINDS else 2
    dim = int(kwargs.get("dim", args[at] if len(args) > at else 0))
    origin = origin_of(source)
    if origin is None:
        for part in parts:
            if part.dim() == 2 or getattr(source, _ATTRIBUTE, None) is not None:
                _mark_nowhere(part)
        return
    index = origin.index.to(source.device)
    if index.shape[dim] == 1 and source.shape[dim] != 1:
        moved = [index.select(dim, 0) if func in _UNBINDS else index] * len(parts)
    elif func in _UNBINDS:
        moved = list(index.unbind(dim))
    else:
        moved = list(index.split([part.shape[dim] for part in parts], dim))
    for part, one in zip(parts, moved, strict=True):
        if part.dim() >= 2:
            mark(part, Origin(origin.rows, one))


def _mark_nowhere(x: Tensor) -> None:
    if 2 <= x.dim() <= 3:
        mark(x, _NOWHERE)


def _assign(target: Tensor, key: Any, value: Any) -> None:
    """x[key] = rows: a new tensor that is filled with rows has their origins; one that is filled in part has none."""
    if not isinstance(value, Tensor) or target.dim() < 2:
        return
    origin: Origin | None = getattr(value, _ATTRIBUTE, None)
    carried: Origin | None = getattr(target, _ATTRIBUTE, None)
    if origin is None:
        return
    parts = key if isinstance(key, tuple) else (key,)
    if not any(isinstance(part, (Tensor, list)) for part in parts):
        return  # a piece of a tensor whose rows have their places, as of a static cache
    index = torch.full((*target.shape[:-1], 1), -1, dtype=torch.int64, device=target.device)
    if carried is not None and carried.rows is origin.rows and carried.index.shape[-1] == 1:
        index = carried.index.to(target.device).expand(index.shape).clone()
    if origin.rows is None or origin.index.shape[-1] != 1 or len(parts) >= target.dim():
        _mark_nowhere(target)
        return
    index[key] = origin.index.to(target.device)
    if int(index.min()) >= 0:
        mark(target, Origin(origin.rows, index))
    elif carried is not None:
        _mark_nowhere(target)


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    for value in args:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from (one for one in value if isinstance(one, Tensor))
    for value in kwargs.values():
        if isinstance(value, Tensor):
            yield value


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], position: int, name: str) -> Any:
    return args[position] if len(args) > position else kwargs.get(name)


def _named(*names: str) -> list[Any]:
    """The functions of these names: of `torch`, of tensors (with `_`: in place), of `torch.nn.functional`."""
    homes = (torch, Tensor, torch.nn.functional)
    found = [getattr(home, name, None) for home in homes for name in names]
    return [function for function in found if function is not None]


def _in_place_too(*names: str) -> list[Any]:
    return _named(*names, *(f"{name}_" for name in names))


_TAKES, _TOPK = frozenset(_named("take_along_dim")), frozenset(_named("topk"))
_UNBINDS = frozenset(_named("unbind", "__iter__"))
_SPLITS = frozenset(
    _named("split", "chunk", "unbind", "__iter__", "tensor_split", "split_with_sizes", "hsplit", "vsplit")
)
_ASSIGNMENTS = frozenset(_named("__setitem__"))

_Rule = Callable[[Any, tuple[Any, ...], dict[str, Any], Tensor], "Origin | None"]
_RULES: dict[Any, _Rule] = {
    function: rule
    for rule, functions in (
        (_reshape, _named("reshape", "view", "flatten", "unflatten", "view_as", "reshape_as", "squeeze", "unsqueeze")),
        (_move, _named("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint")),
        (_move, _named("flip", "roll", "narrow", "select")),
        (_move, [Tensor.T.__get__, Tensor.mT.__get__]),  # type: ignore[attr-defined]
        (_expand, _named("expand", "expand_as", "broadcast_to", "repeat", "tile")),
        (_repeat_interleave, _named("repeat_interleave")),
        (_choose, _named("__getitem__")),
        (_gather, _named("gather", "take_along_dim")),
        (_index_select, _named("index_select")),
        (_join, _named("cat", "concat", "concatenate")),
        (_sorted, _named("sort", "topk", "msort", "cummax", "cummin")),
        (_left, _named("matmul", "mm", "bmm", "__matmul__", "addmm", "baddbmm", "inner", "tensordot")),
        (_left, _named("linear", "grouped_mm", "_grouped_mm", "scaled_dot_product_attention")),
        (_left, _named("multi_head_attention_forward")),
        (_nothing, _named(*(f"{name}_like" for name in ("zeros", "ones", "empty", "full", "rand", "randn")))),
        (_nothing, _in_place_too("index_add", "index_copy", "index_put", "index_fill", "index_reduce")),
        (_nothing, _in_place_too("scatter", "scatter_add", "scatter_reduce", "masked_scatter")),
        (_unknown, _named("einsum", "take", "masked_select", "stack", "vstack", "hstack", "dstack", "rot90")),
        (_unknown, _named("unfold", "fold", "block_diag", "__rmatmul__", "kron", "cdist")),
    )
    for function in functions
}
#: Where the left operand of a product stands, if not first.
_LEFT: dict[Any, tuple[int, str]] = {
    **dict.fromkeys(_named("addmm"), (1, "mat1")),
    **dict.fromkeys(_named("baddbmm"), (1, "batch1")),
    **dict.fromkeys(_named("scaled_dot_product_attention", "multi_head_attention_forward"), (0, "query")),
    **dict.fromkeys(_named("grouped_mm", "_grouped_mm"), (0, "mat_a")),
}
