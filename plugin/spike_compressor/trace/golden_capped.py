"""Capped firing in plain NumPy, straight from its definition: full lanes drop their weakest spikes.

It shares no code with the torch implementation or the hardware. Shapes: M token rows, K inputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK = 64
QUARTERS = 2  # fraction bits that count


def capped_codes(membrane: Array, timesteps: Array, frac_bits: int, lanes: int = 8) -> NDArray[np.int16]:
    """Codes of membranes.

    Before any is dropped they are those of `tc_lif`. Inputs 64b … 64b + 63 of a row are block b, input k belongs to
    lane `k mod lanes`, a last block is filled up with inputs that never fire. Where the codes of a lane have more ones
    than `ceil(ones of the block / lanes)`, that many odd codes become the even ones below, if there are so many: those
    first whose membranes lie least above the limit of their code, in quarters; of equal ones the one that comes first.

    Args:
        membrane: int32 [M, K] with `frac_bits` fractional bits.
        timesteps: [M], T of each row, 1 … 7.
        frac_bits: F >= 2.
        lanes: of the core, 8 or 16.

    Returns:
        int16 [M, K].
    """
    M, K = membrane.shape
    limit = (1 << timesteps.astype(np.int64)) - 1
    wide = np.zeros((M, -(-K // BLOCK) * BLOCK), np.int64)
    wide[:, :K] = np.abs(membrane.astype(np.int64)) >> (frac_bits - QUARTERS)
    raised = wide + 2  # 1/2
    code = np.minimum(raised // 4, limit[:, None])
    above = np.minimum(raised - 4 * code, 3)  # quarters; whatever clips lies in the highest
    # [M, blocks, lanes, slots]
    code, above = (part.reshape(M, -1, BLOCK // lanes, lanes).swapaxes(2, 3) for part in (code, above))
    ones = sum(code >> e & 1 for e in range(7)).sum(axis=3)
    over = ones + (-ones.sum(axis=2, keepdims=True) // lanes)  # the cap's negative is rounded down
    order = np.argsort(np.where(code % 2 == 1, above, 4), axis=3, kind="stable")
    place = np.argsort(order, axis=3)
    kept = code - ((code % 2 == 1) & (place < over[..., None]))
    magnitude = kept.swapaxes(2, 3).reshape(M, -1)[:, :K]
    codes: NDArray[np.int16] = (np.sign(membrane) * magnitude).astype(np.int16)
    return codes
