"""A Linear whose input is coded into spikes and whose integer weights are summed by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spike_compressor.coding import NonFiniteInputError, absmax_scale, asymmetric_scale, get_coding
from spike_compressor.errors import InputError
from spike_compressor.modality import MODALITIES, VISION, current_rows
from spike_compressor.runtime.backends import Backend, get_backend
from spike_compressor.runtime.matmul import IntegerMatmul
from spike_compressor.runtime.spec import LayerSpec
from spike_compressor.runtime.weights import IntegerWeight


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


Observer = Callable[["SpikingLinear", LayerSpikes], None]


class SpikingLinear(nn.Linear):
    """`nn.Linear` with a neuron in front of every input.

    A Linear becomes one in place (`attach`) and stays the module that it was: its hooks (online rotations among them),
    parameters and place in the model are untouched. The output is
    `(float32(acc) * act_scale) * weight_scale + bias` in float32, then the dtype of the input.
    """

    spec: LayerSpec
    spiking_name: str
    integer: IntegerWeight
    backend: Backend
    fixed_modality: int | None
    silenced: Tensor | None
    observers: list[Observer]
    _matmul: IntegerMatmul

    def prepare(
        self, name: str, spec: LayerSpec, integer: IntegerWeight, backend: str, fixed_modality: int | None
    ) -> None:
        """Set the layer up; `fixed_modality` is the modality of all its rows where the module alone tells it."""
        # `levels` is the largest integer that any backend multiplies: a code, a spike, or an unsigned coding's level
        T = max(spec.timesteps.values())
        levels = 2**T - 1 if get_coding(spec.coding).signed else 2 ** (T + 1) - 1
        self.spec, self.spiking_name, self.integer = spec, name, integer
        self.fixed_modality, self.silenced, self.observers = fixed_modality, None, []
        self.backend = get_backend(backend)
        self._matmul = IntegerMatmul(integer, levels, name)

    @property
    def modalities(self) -> list[str]:
        """The modalities that its rows can have."""
        return list(MODALITIES) if self.fixed_modality is None else [MODALITIES[self.fixed_modality]]

    def silence(self, neurons: Tensor | None) -> None:
        """Forbid neurons to fire: bool [K], True where silent; None lets all fire again. For ablation studies."""
        if neurons is not None and (neurons.dtype != torch.bool or neurons.shape != (self.in_features,)):
            raise InputError(f"{self.spiking_name}: `neurons` must be bool [{self.in_features}]")
        self.silenced = neurons

    def forward(self, input: Tensor) -> Tensor:
        spec = self.spec
        x = input.reshape(-1, self.in_features).to(torch.float32)
        T = self._per_row(spec.table(spec.timesteps), torch.int64, x)
        timesteps: int | Tensor = T if isinstance(T, Tensor) else int(T)
        try:
            scale, zero_point = self._thresholds(x, timesteps)
            synapses = self.backend.run(x, scale, timesteps, zero_point, spec.coding, self._matmul, self.silenced)
        except NonFiniteInputError as error:
            raise error.at(f"layer {self.spiking_name}") from None
        out = self._dequantize(synapses.acc, scale)
        if self.observers:
            self._observe(x, timesteps, scale, zero_point, synapses.codes, synapses.acc, out, synapses.saturated)
        return out.to(input.dtype).reshape(*input.shape[:-1], self.out_features)

    def _thresholds(self, x: Tensor, timesteps: int | Tensor) -> tuple[Tensor, Tensor | None]:
        """Scale float32 [M] and, for unsigned codings, zero point [M] of the rows."""
        spec = self.spec
        if spec.threshold == "static":
            assert spec.scale is not None
            scale = self._rows_tensor(spec.table(spec.scale), torch.float32, x)
            return scale, None if spec.zero_point is None else self._rows_tensor(
                spec.table(spec.zero_point), torch.int32, x
            )
        if not spec.symmetric:
            return asymmetric_scale(x, timesteps)
        return absmax_scale(x, timesteps, self._per_row(spec.table(spec.ratio), torch.float32, x)), None

    def _rows_tensor(self, table: tuple[float, ...], dtype: torch.dtype, x: Tensor) -> Tensor:
        value = self._per_row(table, dtype, x)
        return torch.as_tensor(value, dtype=dtype, device=x.device).expand(x.shape[0])

    def _dequantize(self, acc: Tensor, scale: Tensor) -> Tensor:
        weight_scale = self.integer.scale
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
        return out if self.bias is None else out + self.bias.to(torch.float32)

    def _per_row(self, table: tuple[float, ...], dtype: torch.dtype, x: Tensor) -> float | Tensor:
        """The value that all rows share, or one a row [M]."""
        if self.fixed_modality is not None:
            return table[self.fixed_modality]
        if len(set(table)) == 1:
            return table[0]
        rows = current_rows()
        if rows is None:
            raise self._unknown_modality()
        values = rows.lookup(table, dtype, x.device)
        if values.numel() == x.shape[0]:
            return values
        return _last_positions(values.view(rows.modality.shape), x.shape[0], self.spiking_name).reshape(-1)

    def _unknown_modality(self) -> InputError:
        return InputError(
            f"{self.spiking_name} does not know the modality of its rows: call the whole model with input_ids, or "
            "with inputs_embeds inside `with spike_compressor.modality_mask(mask):`."
        )

    def _observe(
        self,
        x: Tensor,
        timesteps: int | Tensor,
        scale: Tensor,
        zero_point: Tensor | None,
        codes: Tensor,
        acc: Tensor,
        output: Tensor,
        saturated: int,
    ) -> None:
        M = x.shape[0]
        # rows of a vision tower are no rows of the language model; those of a text-only model are, padding among them
        rows = None if self.fixed_modality == VISION else current_rows()
        mask = None
        if rows is not None:
            modality, mask = rows.modality, rows.valid
            if modality.numel() != M:
                modality = _last_positions(modality, M, self.spiking_name)
                mask = None if mask is None else _last_positions(mask, M, self.spiking_name)
            modality = modality.reshape(-1).to(x.device)
        elif self.fixed_modality is not None:
            modality = torch.full((M,), self.fixed_modality, dtype=torch.uint8, device=x.device)
        else:
            raise self._unknown_modality()
        valid = None if mask is None else mask.reshape(-1).to(x.device)
        steps = timesteps if isinstance(timesteps, Tensor) else torch.full((M,), timesteps, device=x.device)
        event = LayerSpikes(
            self.spiking_name, x, codes, modality, steps, scale, zero_point, acc, output, valid, saturated
        )
        for observer in list(self.observers):
            observer(self, event)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # `integer` and its scales are no parameters: they follow the module's device, and no `.half()` rounds them.
        # The parameter of the same scales must not be rounded either, or saving would write others than are used.
        exact = {key: p.data for key, p in self._parameters.items() if key.endswith("_scale") and p is not None}
        before = None if self._parameters.get("weight") is None else self.weight.dtype
        module = super()._apply(fn, recurse)
        for key, value in exact.items():
            parameter = self._parameters[key]
            if parameter is not None and parameter.dtype != value.dtype:
                parameter.data = value.to(parameter.device)
        weight = self._parameters.get("weight")
        if before is not None and weight is not None and weight.dtype not in (before, torch.int8):
            # a float weight near the middle between two codes would be rounded to the other one
            weight.data = self.integer.floats().to(weight.device, weight.dtype)
        device = next((p.device for p in self.parameters()), None)
        if device is not None and device != self.integer.codes.device and device.type != "meta":
            integer = self.integer
            self.integer = IntegerWeight(integer.codes.to(device), integer.scale.to(device), integer.bits)
        return module

    def extra_repr(self) -> str:
        T = ", ".join(f"{name} T={self.spec.timesteps[name]}" for name in MODALITIES)
        only = "" if self.fixed_modality != VISION else ", vision rows only"
        return f"{super().extra_repr()}, {self.spec.coding}, {T}{only}, backend={self.backend.name}"


def _last_positions(values: Tensor, rows: int, name: str) -> Tensor:
    """Heads may be given only the last positions of each sequence: [batch, sequence] -> [batch, rows / batch]."""
    batch, length = values.shape
    if batch and rows % batch == 0 and rows // batch < length:
        return values[:, length - rows // batch :]
    raise InputError(
        f"{name} got {rows} rows for {batch} x {length} tokens; their modality cannot be told. List the module in "
        "TCLIFModifier's `ignore`, or give all modalities the same timesteps there."
    )
