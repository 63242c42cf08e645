"""Backends: how a layer's spikes reach its accumulators. All give the same integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from spike_compressor.coding import clipped, encode, get_coding, quantize_rows, spike_table, spikes_from_codes
from spike_compressor.errors import InputError
from spike_compressor.kernels import Layer, NativeLayer, NativeRows
from spike_compressor.registry import Registry
from spike_compressor.rtl import core


class IntegerProduct(Protocol):
    """Exact integer product of codes with what the spikes select.

    Attributes:
        name: of the layer or product.
        groups: G, groups of consecutive inputs that are summed apart.
    """

    name: str
    groups: int

    def __call__(self, codes: Tensor) -> Tensor:
        """Accumulators int32 [M, N], or [M, N, G] with groups, of codes [M, K]."""

    def synapses(self) -> Tensor:
        """What the spikes select, int8 [B, N, K]: of the first M / B rows, and so on."""


@dataclass(frozen=True)
class Drive:
    """What drives the neurons of one layer or product in one call.

    Attributes:
        x: float32 [M, K] rows, a neuron for each of the K inputs.
        scale: threshold of each row, float32 [M].
        timesteps: T, one for all rows or int64 [M].
        coding: name of the coding.
        product: of the integers that spikes carry with the synapses.
        zero_point: integer [M] for unsigned codings, else None.
        silenced: bool [K], True at neurons that must not fire; None if all may.
        coded: what `codes` gives, where it is known already.
        observed: somebody looks at the codes: a backend that fires by itself gives those that it fired.
    """

    x: Tensor
    scale: Tensor
    timesteps: int | Tensor
    coding: str
    product: IntegerProduct
    zero_point: Tensor | None = None
    silenced: Tensor | None = None
    coded: tuple[Tensor, int] | None = None
    observed: bool = False

    def codes(self) -> tuple[Tensor, int]:
        """Integer codes [M, K] of the rows, zero where neurons are silenced, and how many codes are at the limit.

        Raises:
            spike_compressor.coding.NonFiniteInputError: NaN or infinity in x.
        """
        if self.coded is not None:
            return self.coded
        return quantize_rows(
            self.x, self.scale, self.timesteps, self.coding, zero_point=self.zero_point, silenced=self.silenced
        )

    def blocked(self) -> Tensor:
        """Where no gradient passes a neuron, bool [M, K]: its code clips, or it is silenced."""
        mask = clipped(self.x, self.scale, self.timesteps, self.coding, zero_point=self.zero_point)
        return mask if self.silenced is None else mask | self.silenced

    def silence(self, values: Tensor) -> Tensor:
        """`values` [..., K] with zeros where neurons are silenced."""
        return values if self.silenced is None else values.masked_fill(self.silenced, 0)


class Synapses(NamedTuple):
    """What reached the accumulators of a layer.

    Attributes:
        codes: integer [M, K], as the spikes encode them.
        acc: int32 [M, N] or [M, N, G].
        saturated: number of codes at the limit.
    """

    codes: Tensor
    acc: Tensor
    saturated: int


class Backend:
    """Fires the neurons of one layer for its rows and accumulates what their spikes carry."""

    name: ClassVar[str]
    """Set by `register_backend`."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "run" in cls.__dict__ and "outputs" not in cls.__dict__:
            cls.outputs = Backend.outputs  # type: ignore[method-assign]  # not the way around another class's `run`

    def require(self, name: str, coding: str, timesteps: int, inputs: int, groups: int) -> None:
        """Check that a layer or product can be computed, before it is to spike. Here, any can.

        Args:
            name: of it, for the message.
            coding: of its rows.
            timesteps: the largest T of its rows.
            inputs: K; of attention, whose keys are not known yet, the least.
            groups: G.

        Raises:
            InputError: it cannot; says why.
        """

    def run(self, drive: Drive) -> Synapses:
        """Codes and accumulators of the rows.

        Raises:
            spike_compressor.coding.NonFiniteInputError: NaN or infinity in x.
        """
        raise NotImplementedError

    def outputs(self, layer: Layer, x: Tensor, rows: NativeRows, coding: str, bias: Tensor | None) -> Tensor | None:
        """Outputs of a layer in one go, where nobody looks at codes and accumulators.

        Args:
            layer: weights and scales, for the native kernels.
            x: inputs [*leading, K], of a floating dtype.
            rows: how they are coded.
            coding: name of the coding, symmetric.
            bias: of the layer, [N].

        Returns:
            float32 [*leading, N], to the bit what `run` leads to; None, as here, where a backend has no such way.

        Raises:
            spike_compressor.kernels.NotFiniteError: NaN or infinity in x.
        """
        return None


BACKENDS: Registry[type[Backend]] = Registry("backend", "spike_compressor.backends", named=True)
BackendT = TypeVar("BackendT", bound=type[Backend])


def register_backend(name: str) -> Callable[[BackendT], BackendT]:
    """Class decorator: make a backend known under a name.

    Raises:
        InputError: the name belongs to another one.
    """
    return BACKENDS.register(name)


def available_backends() -> tuple[str, ...]:
    """Names that `load(backend=...)` takes, sorted."""
    return BACKENDS.names()


def get_backend(name: str) -> Backend:
    """The backend of that name.

    Raises:
        InputError: unknown name.
    """
    return BACKENDS.get(name)()


#: Bytes of spikes that are held at a time where a layer is unrolled.
_PLANES = 1 << 23


@register_backend("fused")
class Fused(Backend):
    """All timesteps at once: the spike train of a row is carried as its integer code, one integer product per layer."""

    def run(self, drive: Drive) -> Synapses:
        codes, saturated = drive.codes()
        return Synapses(codes, drive.product(codes), saturated)

    def outputs(self, layer: Layer, x: Tensor, rows: NativeRows, coding: str, bias: Tensor | None) -> Tensor | None:
        return layer.linear(x, rows, bias)


@register_backend("unrolled")
class Unrolled(Backend):
    """One timestep at a time, as hardware does it: every step's spikes select weights, steps add up shifted."""

    def run(self, drive: Drive) -> Synapses:
        if drive.coded is None:
            zero_point, silenced = drive.zero_point, drive.silenced
            train = encode(
                drive.x, drive.scale, drive.timesteps, drive.coding, zero_point=zero_point, silenced=silenced
            )
            saturated = train.saturated
        else:
            train = spikes_from_codes(drive.coded[0], drive.timesteps, drive.coding)
            saturated = drive.coded[1]
        acc: Tensor | None = None
        for spikes, weight in zip(train.planes(), train.weights, strict=True):
            sums = drive.product(drive.silence(spikes))
            rows = weight.to(torch.int32).view(-1, *[1] * (sums.dim() - 1))  # one weight, or one per row
            acc = sums * rows if acc is None else acc + sums * rows
        codes = drive.silence(train.codes())
        if acc is None:  # no rows, hence no steps
            acc = drive.product(codes)
        if train.zero_point is not None:
            # {0, 1} spikes encode code + zero point: take back what the zero points of the live inputs added
            offset = torch.as_tensor(train.zero_point, dtype=torch.int32, device=acc.device)
            live = drive.silence(torch.ones(1, codes.shape[1], dtype=torch.int8, device=acc.device))
            column = drive.product(live)
            acc = acc - offset.view(-1, *[1] * (column.dim() - 1)) * column
        return Synapses(codes, acc, saturated)

    def outputs(self, layer: Layer, x: Tensor, rows: NativeRows, coding: str, bias: Tensor | None) -> Tensor | None:
        codec = get_coding(coding)
        if not codec.signed or not isinstance(layer, NativeLayer) or codec.code_type() != torch.int8:
            return None  # unsigned sums hold zero points, which `run` takes back; tables of spikes have 8-bit codes
        encoded, T = layer.encode(x, rows), rows.timesteps
        table, weights = spike_table(codec, rows.longest)
        one = T.numel() == 1
        of_steps = weights[rows.longest] if one else weights[T.long()]
        height = max(1, _PLANES // max(1, table.shape[0] * layer.width))
        parts = []
        for first in range(0, max(1, encoded.scale.shape[0]), height):
            some = slice(first, first + height)
            planes = layer.planes(encoded.codes[some], table, T if one else T[some])
            parts.append(
                layer.outputs_steps(planes, of_steps if one else of_steps[some].t(), encoded.scale[some], bias)
            )
        out = parts[0] if len(parts) == 1 else torch.cat(parts)
        return out.view(*x.shape[:-1], out.shape[-1])  # -1 would be ambiguous without a row


#: Fraction bits of the membranes that the core gets; any number of them gives the same codes.
_FRAC_BITS = 8
#: Codings that the core fires.
_CORE_CODINGS = ("tc_lif", "csd")


@register_backend("rtl")
class Rtl(Backend):
    """The SystemVerilog core, simulated: membranes and weights are streamed in, accumulators come out.

    Raises:
        InputError: the library of the core is not there; names the remedy.
    """

    def __init__(self) -> None:
        core()

    def require(self, name: str, coding: str, timesteps: int, inputs: int, groups: int) -> None:
        if coding not in _CORE_CODINGS:
            raise InputError(
                f"{name} is coded in {coding!r}, which the core of backend 'rtl' does not fire: it has "
                f"{', '.join(_CORE_CODINGS)}. Leave it to another backend with set_backend(model, 'rtl', layers=…)."
            )
        core().require(name, timesteps, inputs, groups)

    def run(self, drive: Drive) -> Synapses:
        codes, saturated = drive.codes()
        product, codec = drive.product, get_coding(drive.coding)
        if not codes.numel():  # no rows, no job
            return Synapses(codes, product(codes), saturated)
        T = torch.as_tensor(drive.timesteps, device=drive.x.device).expand(codes.shape[0])
        membrane = drive.silence(codec.membrane(drive.x, drive.scale, drive.timesteps, _FRAC_BITS))
        acc, spikes = core().compute(
            product.name,
            membrane.cpu(),
            T.to("cpu", torch.uint8),
            product.synapses().cpu(),
            frac_bits=_FRAC_BITS,
            groups=product.groups,
            csd=drive.coding == "csd",
            fired=drive.observed,
        )
        if spikes is not None:
            weights = codec.step_weights(T.cpu()).unsqueeze(-1)  # [steps, M, 1]
            codes = (spikes * weights).sum(dim=0, dtype=torch.int32).to(codes)
        acc = acc.to(codes.device)
        return Synapses(codes, acc if product.groups > 1 else acc[:, :, 0], saturated)
