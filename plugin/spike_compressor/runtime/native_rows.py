"""How a layer codes its rows, as the native kernels take it: by modality, made once a layer."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding import get_coding, get_statistic
from spike_compressor.kernels import NativeRows
from spike_compressor.modality import RowSelection
from spike_compressor.runtime.spec import LayerSpec


class RowsByModality:
    """The rows of a spec, as the native kernels take them.

    Attributes:
        spec: of which they are.
        device: of the rows.
        one: rows that are all of one modality, in the order of codes.
        alike: whether all modalities are coded alike.
    """

    def __init__(self, spec: LayerSpec, silenced: Tensor | None, device: torch.device) -> None:
        self.spec, self.device = spec, device
        self._silenced = None if silenced is None else silenced.to(device).contiguous()
        self._statistic = get_statistic(spec.statistic).native
        coding = get_coding(spec.coding)
        self._coding, self._rounding = coding.native or 0, coding.rounding.native or 0
        self._tables = {
            "timesteps": (spec.table(spec.timesteps), torch.int32),
            "ratio": (spec.table(spec.ratio), torch.float32),
        }
        if spec.threshold == "static":
            assert spec.scale is not None
            self._tables["scale"] = (spec.table(spec.scale), torch.float32)
        self.one = [
            self._made({key: self._shared(table[code], kind) for key, (table, kind) in self._tables.items()})
            for code in range(len(self._tables["timesteps"][0]))
        ]
        self.alike = all(len(set(table)) == 1 for table, _ in self._tables.values())
        self._key = (type(self), tuple(self._tables.items()), self._statistic, self._coding, self._rounding, device)

    def mixed(self, rows: RowSelection) -> NativeRows:
        """Rows of several modalities; layers that code all tokens alike share them."""
        if rows.index is not None or self._silenced is not None:
            return self._mixed(rows)
        return rows.rows.derived(self._key, lambda: self._mixed(rows))

    def _mixed(self, rows: RowSelection) -> NativeRows:
        return self._made(
            {
                key: rows.lookup(table, kind, self.device) if len(set(table)) > 1 else self._shared(table[0], kind)
                for key, (table, kind) in self._tables.items()
            }
        )

    def _shared(self, value: float, dtype: torch.dtype) -> Tensor:
        return torch.tensor([value], dtype=dtype, device=self.device)

    def _made(self, values: dict[str, Tensor]) -> NativeRows:
        return NativeRows(
            **values,
            silenced=self._silenced,
            statistic=self._statistic,
            coding=self._coding,
            rounding=self._rounding,
        )
