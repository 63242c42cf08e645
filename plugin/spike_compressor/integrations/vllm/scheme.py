"""A layer as the checkpoint has it: its neurons, and how its weights lie there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spike_compressor.checkpoint.agreement import group_of
from spike_compressor.errors import InputError
from spike_compressor.integrations.vllm.rotations import Rotation
from spike_compressor.runtime import LayerSpec

#: In the names of layers that are one expert's.
EXPERTS = ".experts."


@dataclass(frozen=True)
class WeightScheme:
    """The quantizer of one layer's weights.

    Attributes:
        bits: of the codes.
        group: inputs that share a scale; None where all of an output do.
        symmetric: False where codes have a zero point.
        per_tensor: whether all outputs share one scale.
        packed: whether files hold several codes in an int32, as they do of experts.
    """

    bits: int
    group: int | None = None
    symmetric: bool = True
    per_tensor: bool = False
    packed: bool = False

    @classmethod
    def of(cls, name: str, settings: Mapping[str, Any]) -> WeightScheme:
        """The scheme that `quantization_config` has for a layer.

        Raises:
            InputError: codes that are not stored as they are, or scales of another kind.
        """
        group = group_of(name, settings)
        weights = (group or {}).get("weights") or {}
        packing = (group or {}).get("format") or settings.get("format")
        symmetric = bool(weights.get("symmetric", True))
        packed = packing == "pack-quantized" and symmetric and EXPERTS in name
        if packing != "int-quantized" and not packed:
            raise InputError(
                f"{name}: weights in the format {packing!r} cannot be served, only 'int-quantized', "
                "which spike_compressor.save writes"
            )
        strategy = weights.get("strategy")
        if strategy not in ("channel", "group", "tensor"):
            raise InputError(f"{name}: weights scaled by {strategy} cannot be served; use channel, group or tensor")
        return cls(
            bits=int(weights["num_bits"]),
            group=int(weights["group_size"]) if strategy == "group" else None,
            symmetric=symmetric,
            per_tensor=strategy == "tensor",
            packed=packed,
        )


@dataclass(frozen=True)
class Shard:
    """One layer of the plan, which vLLM may compute together with others that have the same input.

    Attributes:
        name: of the module, as the plan has it.
        spec: of its neurons.
        scheme: of its weights.
        fixed_modality: code of the modality of all its rows where the module alone tells it, else None.
        rotation: of its inputs, or None.
    """

    name: str
    spec: LayerSpec
    scheme: WeightScheme
    fixed_modality: int | None
    rotation: Rotation | None = None

    def codes_as(self, other: Shard) -> bool:
        """Whether the same input gets the same codes."""
        same = self.spec == other.spec and self.fixed_modality == other.fixed_modality
        return same and self.rotation is other.rotation
