"""Layers whose sums could leave int32: refused by their sizes, before weights are quantized or a batch is read."""

from __future__ import annotations

from typing import Any

from compressed_tensors.quantization import QuantizationStatus, QuantizationStrategy
from torch import nn

from spike_compressor.coding import get_coding
from spike_compressor.runtime import integer_weight
from spike_compressor.runtime.matmul import largest_sum, require_int32, worst_sum
from spike_compressor.runtime.spec import largest_level

#: Whose integers stay what they are.
_DONE = (QuantizationStatus.COMPRESSED, QuantizationStatus.DECOMPRESSED)


def require_sums(name: str, module: nn.Linear, coding: str, timesteps: int) -> None:
    """Check that no accumulator of a layer can leave int32.

    Where a layer's integers are there already, they tell; where they are still to be found, its sizes and its scheme
    do, as if each weight were the largest of its bits.

    Args:
        name: of the layer.
        module: with a scheme of integer weights.
        coding: of its rows.
        timesteps: the largest T that they may get.

    Raises:
        InputError: names the layer, the sum, and what would make it less.
    """
    args: Any = module.quantization_scheme.weights  # type: ignore[union-attr]
    K, size = module.in_features, args.group_size
    groups = K // size if args.strategy == QuantizationStrategy.GROUP and size and K % size == 0 else 1
    level, together = largest_level(coding, timesteps), get_coding(coding).group
    worst = level * worst_sum(K, groups, args.num_bits, together)
    try:
        require_int32(worst, name, K, level)
    except ValueError:
        if getattr(module, "quantization_status", None) not in _DONE:
            raise
        require_int32(level * largest_sum(integer_weight(module, name), together), name, K, level)
