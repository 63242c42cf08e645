"""The neurons in front of one Linear, and the integer weights behind them: from rows to accumulators and outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from spike_compressor.coding import (
    Coding,
    NonFiniteInputError,
    asymmetric_scale,
    get_coding,
    raise_if_non_finite,
    row_scale,
)
from spike_compressor.errors import InputError
from spike_compressor.kernels import Layer, NativeRows, NotFiniteError
from spike_compressor.modality import TEXT, RowSelection, current_rows, modality_names, rows_of
from spike_compressor.runtime.backends import Backend, Drive, Synapses, get_backend
from spike_compressor.runtime.compiled import number_of
from spike_compressor.runtime.integers import IntegerWeight
from spike_compressor.runtime.matmul import IntegerMatmul
from spike_compressor.runtime.native_rows import RowsByModality
from spike_compressor.runtime.spec import LayerSpec


@dataclass(frozen=True)
class LayerSpikes:
    """What one call of a spiking layer did; handed to observers.

    Attributes:
        name: of the module.
        x: float32 [M, K] input rows.
        codes: integer [M, K].
        modality: uint8 [M].
        timesteps: T of each row, int64 [M].
        scale: float32 [M].
        zero_point: int [M] for unsigned codings, else None.
        acc: int32 [M, N] or [M, N, G].
        output: float32 [M, N], before the cast to the model's dtype.
        valid: bool [M], False at padding, or None.
        saturated: number of codes at the limit.
    """

    name: str
    x: Tensor
    codes: Tensor
    modality: Tensor
    timesteps: Tensor
    scale: Tensor
    zero_point: Tensor | None
    acc: Tensor
    output: Tensor
    valid: Tensor | None
    saturated: int


class Master(Protocol):
    """Float weights that train, and that a layer's integers follow."""

    parameter: nn.Parameter

    def integer(self) -> IntegerWeight:
        """The integers of the weights as they are now."""

    def show(self) -> None:
        """Make the float weights the layer's parameter."""

    def hide(self) -> None:
        """Give the layer back the parameter that it had, with the integers of the weights as they are now."""

    def load(self, codes: Tensor) -> Tensor:
        """Float weights of codes int8 [N, K] as checkpoints hold them."""


def dequantized(acc: Tensor, scale: Tensor, weight_scale: Tensor, bias: Tensor | None) -> Tensor:
    """Outputs float32 [M, N] of accumulators int32 [M, N] or [M, N, G].

    Args:
        acc: the accumulators.
        scale: of the rows, float32 [M].
        weight_scale: float32 [N, G].
        bias: [N], or None.
    """
    if weight_scale.device != acc.device:
        weight_scale = weight_scale.to(acc.device)
    act_scale = scale.unsqueeze(1)
    if acc.dim() == 2:
        out = (acc.to(torch.float32) * act_scale) * weight_scale.squeeze(1)
    else:
        out = torch.zeros(acc.shape[:2], dtype=torch.float32, device=acc.device)
        # in the order of the groups: float addition is not associative
        for group, column in zip(acc.unbind(2), weight_scale.unbind(1), strict=True):
            out += (group.to(torch.float32) * act_scale) * column
    return out if bias is None else out + bias.to(torch.float32)


class Neurons:
    """What a Linear spikes with, kept on it as `neurons`.

    They are no module and hold no parameter: copying and pickling the layer copies and pickles them, and its device is
    theirs (`SpikingLinear._apply`).

    Args:
        name: of the module, for messages and events.
        spec: the spiking encoding of its rows.
        integer: the weights, codes [N, K].
        backend: name of the backend.
        fixed_modality: modality code of all rows where the module alone tells it, else None.

    Attributes:
        dtype: of the weight that the layer shows; what the model computes in.
        silenced: bool [K], True at neurons that must not fire; None if all may.
        observers: called with the layer and the `LayerSpikes` of each of its calls.
        number: by which compiled code knows them.
        master: float weights that train; None unless they do.

    Raises:
        InputError: an accumulator that could leave int32, or an unknown backend.
    """

    def __init__(
        self, name: str, spec: LayerSpec, integer: IntegerWeight, backend: str, fixed_modality: int | None
    ) -> None:
        self.name, self.spec, self.present, self.fixed_modality = name, spec, integer, fixed_modality
        self.master: Master | None = None
        self.backend = get_backend(backend)
        self.require(self.backend)
        self.dtype = torch.float32
        self.silenced: Tensor | None = None
        self.observers: list[Callable[[Any, LayerSpikes], None]] = []
        self.number = number_of(self)
        self._matmul = IntegerMatmul(integer, spec.largest_level, name, group=self._coding.group)
        self._native_rows: RowsByModality | None = None

    def require(self, backend: Backend) -> None:
        """Check that a backend can compute this layer.

        Raises:
            InputError: it cannot.
        """
        longest = max(self.spec.timesteps.values())
        backend.require(self.name, self.spec.coding, longest, self.present.shape[1], self.present.groups)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_native_rows": None}  # addresses are of this process and this object

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.number = number_of(self)  # a copy is another one

    @property
    def _coding(self) -> Coding:
        return get_coding(self.spec.coding)  # benchmarks put other specs in its place

    @property
    def integer(self) -> IntegerWeight:
        """The integer weights: those of the last call, or of the float weights as they are now where these train."""
        return self.present if self.master is None else self.master.integer()

    def follow(self) -> None:
        """Take the integers of the float weights as they are now."""
        if self.master is not None:
            self._take(self.master.integer())

    def become(self, codes: Tensor) -> None:
        """Take other integers [N, K] of the same scales.

        Raises:
            InputError: an accumulator could leave int32.
        """
        self._take(IntegerWeight(codes.to(torch.int8), self.present.scale, self.present.bits))

    def _take(self, integer: IntegerWeight) -> None:
        self.present = integer
        self._matmul = IntegerMatmul(integer, self.spec.largest_level, self.name, group=self._coding.group)

    @property
    def modalities(self) -> list[str]:
        """The modalities that rows can have."""
        return list(self.spec.timesteps) if self.fixed_modality is None else [modality_names()[self.fixed_modality]]

    def silence(self, neurons: Tensor | None) -> None:
        """Forbid neurons to fire.

        Args:
            neurons: bool [K], True where silent; None lets all fire again.

        Raises:
            InputError: another dtype or shape.
        """
        K = self.present.shape[1]
        if neurons is not None and (neurons.dtype != torch.bool or neurons.shape != (K,)):
            raise InputError(f"{self.name}: `neurons` must be bool [{K}]")
        self.silenced, self._native_rows = neurons, None

    def move(self, device: torch.device) -> None:
        """Bring the integer weights to a device."""
        if device != self.present.device:
            self.present = self.present.to(device)
            self._matmul = self._matmul.on(self.present)

    # From rows to outputs

    def drive(self, x: Tensor) -> Drive:
        """What drives the neurons for rows float32 [M, K].

        Raises:
            NonFiniteInputError: NaN or infinity in x; names the layer.
            InputError: rows whose modality is not known.
        """
        timesteps, coding, observed = self.timesteps(x), self.spec.coding, bool(self.observers)
        try:
            native = self._native(x)
            if native is not None:
                encoded = native.encode(x, self._coded(x))
                coded = native.plain(encoded.codes), encoded.clipped
                return Drive(x, encoded.scale, timesteps, coding, self._matmul, None, self.silenced, coded, observed)
            scale, zero_point = self.thresholds(x, timesteps)
            return Drive(x, scale, timesteps, coding, self._matmul, zero_point, self.silenced, observed=observed)
        except NotFiniteError:
            raise self._not_finite(x) from None
        except NonFiniteInputError as error:
            raise error.at(f"layer {self.name}") from None

    def fire(self, x: Tensor) -> tuple[Drive, Synapses]:
        """Fire for rows float32 [M, K].

        Raises:
            NonFiniteInputError: NaN or infinity in x; names the layer.
            InputError: rows whose modality is not known.
        """
        drive = self.drive(x)
        try:
            return drive, self.backend.run(drive)
        except NonFiniteInputError as error:
            raise error.at(f"layer {self.name}") from None

    def outputs(self, x: Tensor, bias: Tensor | None) -> Tensor | None:
        """Outputs float32 [*leading, N] of inputs [*leading, K] by the native kernels; None where they cannot be used.

        To the bit what `fire` and `dequantize` give of the rows in float32.

        Raises:
            NonFiniteInputError: NaN or infinity in x; names the layer.
            InputError: rows whose modality is not known.
        """
        native = self._native(x)
        if native is None:
            return None
        try:
            return self.backend.outputs(native, x, self._coded(x), self.spec.coding, bias)
        except NotFiniteError:
            raise self._not_finite(x) from None
        except NonFiniteInputError as error:
            raise error.at(f"layer {self.name}") from None

    def _native(self, x: Tensor) -> Layer | None:
        """The layer for the kernels of its device, where they can code its rows: symmetric, by a coding they know."""
        native, coding = self._matmul.native, self._coding
        if native is None or not self.spec.symmetric or not native.encodes(coding.native, coding.rounding.native):
            return None
        return native if native.usable(x) else None

    def _coded(self, x: Tensor) -> NativeRows:
        """How the rows of x are coded; with their scales where the kernels cannot measure these."""
        rows = self._prepared(x)
        if rows.scale is not None or rows.statistic is not None:
            return rows
        table = x.detach().reshape(-1, x.shape[-1])
        return replace(rows, scale=self.thresholds(table, self.timesteps(x))[0].contiguous())

    def _prepared(self, x: Tensor) -> NativeRows:
        prepared = self._native_rows
        if prepared is None or prepared.spec is not self.spec or prepared.device != x.device:
            prepared = self._native_rows = RowsByModality(self.spec, self.silenced, x.device)
        if self.fixed_modality is not None:
            return prepared.one[self.fixed_modality]
        if prepared.alike:
            return prepared.one[0]
        rows = self._selected(x)
        uniform = rows.rows.uniform
        return prepared.mixed(rows) if uniform is None else prepared.one[uniform]

    def _not_finite(self, x: Tensor) -> NonFiniteInputError:
        try:
            raise_if_non_finite(x)
        except NonFiniteInputError as error:
            return error.at(f"layer {self.name}")
        raise AssertionError("the kernels found a number that is not finite, and there is none")

    def timesteps(self, x: Tensor) -> int | Tensor:
        """T of the rows [M, K]: one for all, or int64 [M]."""
        T = self._per_row(self.spec.table(self.spec.timesteps), torch.int64, x)
        return T if isinstance(T, Tensor) else int(T)

    def thresholds(self, x: Tensor, timesteps: int | Tensor) -> tuple[Tensor, Tensor | None]:
        """Scale float32 [M] and, for unsigned codings, zero point [M] of rows float32 [M, K]."""
        spec = self.spec
        if spec.threshold == "static":
            assert spec.scale is not None
            scale = self._rows_tensor(spec.table(spec.scale), torch.float32, x)
            return scale, None if spec.zero_point is None else self._rows_tensor(
                spec.table(spec.zero_point), torch.int32, x
            )
        if not spec.symmetric:
            return asymmetric_scale(x, timesteps)
        ratio = self._per_row(spec.table(spec.ratio), torch.float32, x)
        return row_scale(x, timesteps, ratio, spec.statistic, spec.coding), None

    def dequantize(self, acc: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        """Outputs float32 [M, N] of accumulators int32 [M, N] or [M, N, G] of rows with these scales float32 [M]."""
        return dequantized(acc, scale, self.present.scale, bias)

    def _rows_tensor(self, table: tuple[float, ...], dtype: torch.dtype, x: Tensor) -> Tensor:
        value = self._per_row(table, dtype, x)
        return torch.as_tensor(value, dtype=dtype, device=x.device).expand(x.shape[0])

    def _per_row(self, table: tuple[float, ...], dtype: torch.dtype, x: Tensor) -> float | Tensor:
        """The value that all rows share, or one per row [M]."""
        if self.fixed_modality is not None:
            return table[self.fixed_modality]
        if len(set(table)) == 1:
            return table[0]
        rows = self._selected(x)
        uniform = rows.rows.uniform
        return rows.lookup(table, dtype, x.device) if uniform is None else table[uniform]

    def _selected(self, x: Tensor) -> RowSelection:
        rows = rows_of(x)
        if rows is None:
            raise self._unknown_modality(x)
        return rows

    @property
    def by_modality(self) -> bool:
        """Whether rows of different modalities are treated differently."""
        return self.fixed_modality is None and self.spec.by_modality

    def _unknown_modality(self, x: Tensor) -> InputError:
        tokens = current_rows()
        if tokens is not None:
            return InputError(
                f"{self.name} got {x.shape[0]} rows of a pass with {list(tokens.modality.shape)} tokens, and which "
                "they are cannot be told: they come from an operation through which rows are not followed. List the "
                "module in TCLIFModifier's `ignore`, or give all modalities the same timesteps there."
            )
        return InputError(
            f"{self.name} does not know the modality of its rows: call the whole model with input_ids, or "
            "with inputs_embeds inside `with spike_compressor.modality_mask(mask):`."
        )

    # For observers

    def event(self, drive: Drive, synapses: Synapses, output: Tensor) -> LayerSpikes:
        """What observers are to know of one call, whose outputs are float32 [M, N]."""
        x = drive.x
        M = x.shape[0]
        # rows of a tower are no tokens; those of a text-only model are, padding among them
        rows = None if self.fixed_modality not in (None, TEXT) else rows_of(x)
        valid = None
        if rows is not None:
            modality, valid = rows.modality.to(x.device), rows.valid
        elif self.fixed_modality is not None and (self.fixed_modality != TEXT or current_rows() is None):
            modality = torch.full((M,), self.fixed_modality, dtype=torch.uint8, device=x.device)
        else:
            raise self._unknown_modality(x)
        T = drive.timesteps
        return LayerSpikes(
            name=self.name,
            x=x,
            codes=synapses.codes,
            modality=modality,
            timesteps=T if isinstance(T, Tensor) else torch.full((M,), T, device=x.device),
            scale=drive.scale,
            zero_point=drive.zero_point,
            acc=synapses.acc,
            output=output,
            valid=None if valid is None else valid.to(x.device),
            saturated=synapses.saturated,
        )
