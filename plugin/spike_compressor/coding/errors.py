"""The one error that quantization raises about data instead of arguments."""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.blocks import as_table

__all__ = ["NonFiniteInputError", "raise_if_non_finite"]


class NonFiniteInputError(ValueError):
    """NaN or infinity where a membrane drive was expected.

    A caller that knows the name of the layer re-raises the error through `at`.

    Attributes:
        nan: number of NaN.
        inf: number of infinities, of either sign.
        row: index of the first row that holds one, counted over all leading dimensions flattened.
        rows: number of rows.
        where: what the message begins with, e.g. `layer model.layers.3.mlp.down_proj`, or nothing.
    """

    def __init__(self, nan: int, inf: int, row: int, rows: int, where: str = "") -> None:
        self.nan, self.inf, self.row, self.rows, self.where = nan, inf, row, rows, where
        found = " and ".join(f"{count} {what}" for count, what in ((nan, "NaN"), (inf, "infinite")) if count)
        super().__init__(
            f"{where + ': ' if where else ''}{found} in the float32 input, first in row {row} of {rows}; "
            "a neuron cannot code that. Look at the layer before it, or use bfloat16 where float16 overflows"
        )

    def __reduce__(self) -> tuple[type[NonFiniteInputError], tuple[int, int, int, int, str]]:
        # the default would hand the message alone to __init__, and fail when a worker process raises this
        return type(self), (self.nan, self.inf, self.row, self.rows, self.where)

    def at(self, where: str) -> NonFiniteInputError:
        """The same error, naming the place: `raise error.at(f"layer {name}") from None`."""
        return type(self)(self.nan, self.inf, self.row, self.rows, where)


def raise_if_non_finite(x: Tensor) -> None:
    """Raise `NonFiniteInputError` if `x` [*rows, K], in float32, holds NaN or infinity."""
    x = x.to(torch.float32)
    table = as_table(x)
    bad = ~torch.isfinite(table)
    bad_rows = bad.any(dim=-1)
    if not bool(bad_rows.any()):
        return
    nan = int(table.isnan().count_nonzero())
    first = int(bad_rows.nonzero()[0])
    raise NonFiniteInputError(nan, int(bad.count_nonzero()) - nan, first, table.shape[0])
