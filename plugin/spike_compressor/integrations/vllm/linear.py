"""How vLLM computes a Linear that spikes: integers as the checkpoint stores them, and the package's own neurons."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from vllm.distributed import get_tensor_model_parallel_rank
from vllm.model_executor.layers.linear import LinearMethodBase
from vllm.model_executor.parameter import (
    ChannelQuantScaleParameter,
    GroupQuantScaleParameter,
    ModelWeightParameter,
    PerTensorScaleParameter,
)

from spike_compressor.errors import InputError
from spike_compressor.integrations.vllm.counting import Counter
from spike_compressor.integrations.vllm.opaque import remember
from spike_compressor.integrations.vllm.rows import rows_of_step
from spike_compressor.integrations.vllm.scheme import Shard
from spike_compressor.integrations.vllm.split import SplitPart, require_whole_groups
from spike_compressor.integrations.vllm.stored import by_row, centred
from spike_compressor.runtime import IntegerWeight, Neurons


class Part:
    """Neighbouring shards that code their input alike, and so do it once.

    Args:
        shards: the layers.
        rows: of the merged weights.
        integer: the weights of these rows.
    """

    def __init__(self, shards: list[Shard], rows: slice, integer: IntegerWeight) -> None:
        self.shards, self.rows = shards, rows
        name = ", ".join(shard.name for shard in shards)
        self.neurons = Neurons(name, shards[0].spec, integer, "fused", shards[0].fixed_modality)

    def outputs(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Outputs [*leading, N] of inputs [*leading, K], in their dtype; those of `load`, to the bit."""
        if (rotation := self.shards[0].rotation) is not None:
            x = rotation(x)
        own, neurons = None if bias is None else bias[self.rows], self.neurons
        out = None if neurons.observers else neurons.outputs(x, own)
        if out is None:  # somebody looks on, or the native kernels do not have the coding, or there are none
            drive, synapses = neurons.fire(x.reshape(-1, x.shape[-1]).to(torch.float32))
            out = neurons.dequantize(synapses.acc, drive.scale, own)
            for observer in neurons.observers:
                observer(self, neurons.event(drive, synapses, out))
            out = out.reshape(*x.shape[:-1], out.shape[-1])
        return out.to(x.dtype)


def parts_of(shards: list[Shard], codes: Tensor, scale: Tensor, sizes: Sequence[int]) -> list[Part]:
    """Merged layers, cut where their inputs are coded otherwise.

    Args:
        shards: the layers.
        codes: their weights, int8 [N, K].
        scale: of the weights, float32 [N, G].
        sizes: outputs of each, N in all.
    """
    ends = list(itertools.accumulate(sizes))
    parts = []
    first = 0
    while first < len(shards):
        last = first
        while last + 1 < len(shards) and shards[last + 1].codes_as(shards[first]):
            last += 1
        rows = slice(ends[first] - sizes[first], ends[last])
        integer = IntegerWeight(codes[rows], scale[rows], shards[first].scheme.bits)
        parts.append(Part(shards[first : last + 1], rows, integer))
        first = last + 1
    return parts


class SpikeLinearMethod(LinearMethodBase):
    """The method of one of vLLM's Linears.

    Args:
        shards: what it is made of, in the order of its outputs.
        counter: of what fires; None if nobody counts.

    Raises:
        InputError: weights of two kinds in one layer.
    """

    def __init__(self, shards: list[Shard], counter: Counter | None = None) -> None:
        self.shards, self._counter = shards, counter
        for shard in shards[1:]:
            if shard.scheme != shards[0].scheme:
                raise InputError(
                    f"vLLM computes {shards[0].name} and {shard.name} as one layer, and their weights are quantized "
                    "differently; give them one config group in the recipe"
                )

    def create_weights(
        self,
        layer: nn.Module,
        input_size_per_partition: int,
        output_partition_sizes: list[int],
        input_size: int,
        output_size: int,
        params_dtype: torch.dtype,
        **extra_weight_attrs: Any,
    ) -> None:
        loader = extra_weight_attrs["weight_loader"]
        scheme, N, K = self.shards[0].scheme, sum(output_partition_sizes), input_size_per_partition
        split = input_size_per_partition != input_size
        require_whole_groups(self.shards[0], K)
        layer.register_parameter(
            "weight",
            ModelWeightParameter(
                data=torch.empty(N, K, dtype=torch.int8), input_dim=1, output_dim=0, weight_loader=loader
            ),
        )

        def table(dtype: torch.dtype) -> Any:
            if scheme.per_tensor:
                data = torch.zeros(len(output_partition_sizes), dtype=dtype)
                return PerTensorScaleParameter(data=data, weight_loader=loader)
            if scheme.group is None:
                return ChannelQuantScaleParameter(
                    data=torch.zeros(N, 1, dtype=dtype), output_dim=0, weight_loader=loader
                )
            data = torch.zeros(N, input_size // scheme.group, dtype=dtype)
            if split:  # all of them: whoever scales has the accumulators of all groups
                return ChannelQuantScaleParameter(data=data, output_dim=0, weight_loader=loader)
            return GroupQuantScaleParameter(data=data, input_dim=1, output_dim=0, weight_loader=loader)

        layer.register_parameter("weight_scale", table(torch.float32))
        layer.weight_scale.data.fill_(torch.nan)  # type: ignore[operator]  # until they are read
        if not scheme.symmetric:
            layer.register_parameter("weight_zero_point", table(torch.int8))
        layer.__dict__["spike_partitions"] = list(output_partition_sizes)
        layer.__dict__["spike_split"] = split
        remember(layer)

    def process_weights_after_loading(self, layer: nn.Module) -> None:
        sizes: list[int] = layer.spike_partitions  # type: ignore[assignment]
        codes = _values(layer, "weight")
        scale = by_row(_values(layer, "weight_scale"), sizes)
        if not bool(scale.isfinite().all()):
            raise InputError(f"vLLM found no scales of {self.shards[0].name} in the files that it reads weights from")
        if hasattr(layer, "weight_zero_point"):
            inputs: int = layer.input_size  # type: ignore[assignment]
            first = get_tensor_model_parallel_rank() * codes.shape[1]
            codes = centred(codes, by_row(_values(layer, "weight_zero_point"), sizes), inputs, first)
        parts: list[Part] | list[SplitPart]
        if layer.spike_split:
            (shard,) = self.shards
            parts = [SplitPart(shard, codes, scale)]
        else:
            # one that is merged in the checkpoint already has outputs of all
            parts = parts_of(self.shards, codes, scale, sizes if len(self.shards) > 1 else [sum(sizes)])
        layer.__dict__["spike_parts"] = parts
        if self._counter is not None:
            widths = dict(zip((shard.name for shard in self.shards), _widths(layer, len(self.shards)), strict=True))
            for part in parts:
                self._counter.watch(part, widths)
        for key in ("weight", "weight_scale", "weight_zero_point"):  # the parts hold them
            if hasattr(layer, key):
                delattr(layer, key)

    def apply(self, layer: nn.Module, x: Tensor, bias: Tensor | None = None) -> Tensor:
        if torch.compiler.is_compiling():
            sizes: list[int] = layer.spike_partitions  # type: ignore[assignment]
            made: Tensor = torch.ops.spike_compressor_vllm.outputs(x, bias, layer.prefix, sum(sizes))
            return made
        return self.outputs(layer, x, bias)

    def outputs(self, layer: nn.Module, x: Tensor, bias: Tensor | None) -> Tensor:
        """Outputs [*leading, N] of inputs [*leading, K], in their dtype."""
        parts: list[Part | SplitPart] = layer.spike_parts  # type: ignore[assignment]
        with rows_of_step(any(part.neurons.by_modality or part.neurons.observers for part in parts), x):
            made = [part.outputs(x, bias) for part in parts]
        return made[0] if len(made) == 1 else torch.cat(made, dim=-1)


def _widths(layer: Any, count: int) -> list[int]:
    """Outputs of the layers that a layer of vLLM's is made of, in all processes together."""
    sizes = list(getattr(layer, "output_sizes", None) or [layer.output_size])
    copies = getattr(layer, "num_kv_head_replicas", 1)  # several processes may have the same keys and values
    sizes[1:] = [size // copies for size in sizes[1:]]
    return sizes if len(sizes) == count else [sum(sizes)]


def _values(layer: nn.Module, key: str) -> Tensor:
    parameter: Any = getattr(layer, key)
    values: Tensor = parameter.data
    return values.as_subclass(Tensor)
