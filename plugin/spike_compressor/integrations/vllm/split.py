"""A Linear whose inputs are split over the processes of tensor parallelism.

A row's threshold is one of all its inputs, and so is what coding them in groups decides. So the row is brought
together, coded whole in each process, and only the product is split: integer accumulators, which add up exactly in any
order.
The answer is that of one process, to the bit.
"""

from __future__ import annotations

import torch
from torch import Tensor
from vllm.distributed import get_tp_group, tensor_model_parallel_all_gather

from spike_compressor.coding import NonFiniteInputError, quantize_rows
from spike_compressor.errors import InputError
from spike_compressor.integrations.vllm.scheme import Shard
from spike_compressor.runtime import Drive, IntegerMatmul, IntegerWeight, Neurons, Synapses, dequantized


def require_whole_groups(shard: Shard, inputs: int) -> None:
    """
    Args:
        shard: a layer.
        inputs: of it that a process has.

    Raises:
        InputError: groups of weights would be cut.
    """
    if shard.scheme.group is not None and inputs % shard.scheme.group:
        raise InputError(
            f"{shard.name}: its groups of {shard.scheme.group} weights cannot be split over processes that have "
            f"{inputs} inputs each; pass a smaller tensor_parallel_size (--tensor-parallel-size)"
        )


class SplitPart:
    """One layer of the plan, of whose inputs this process has its part.

    Args:
        shard: the layer.
        codes: this process's part of the weights, int8 [N, K / processes].
        scale: of all groups of weights, float32 [N, G].
    """

    def __init__(self, shard: Shard, codes: Tensor, scale: Tensor) -> None:
        group = get_tp_group()
        self.shards, self.rows = [shard], slice(0, codes.shape[0])
        self._rank, self._processes = group.rank_in_group, group.world_size
        self._scale, width = scale, codes.shape[1]
        self._columns = slice(self._rank * width, (self._rank + 1) * width)
        own = scale
        if scale.shape[1] > 1:
            count = scale.shape[1] // self._processes
            own = scale[:, self._rank * count : (self._rank + 1) * count]
        integer = IntegerWeight(codes, own, shard.scheme.bits)
        # for thresholds and modalities of rows, which do not depend on how many inputs its weights have
        self.neurons = Neurons(shard.name, shard.spec, integer, "fused", shard.fixed_modality)
        self._product = IntegerMatmul(integer, shard.spec.largest_level, shard.name)

    def outputs(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Outputs [*leading, N] of this process's inputs [*leading, K / processes], in their dtype.

        The first process has all of it and the others zeros, since vLLM adds up what they give.
        """
        whole = tensor_model_parallel_all_gather(x.contiguous(), dim=-1)
        if (rotation := self.shards[0].rotation) is not None:
            whole = rotation(whole)
        rows = whole.reshape(-1, whole.shape[-1]).to(torch.float32)
        neurons = self.neurons
        timesteps = neurons.timesteps(rows)
        try:
            scale, zero_point = neurons.thresholds(rows, timesteps)
            codes, saturated = quantize_rows(rows, scale, timesteps, neurons.spec.coding, zero_point=zero_point)
        except NonFiniteInputError as error:
            raise error.at(f"layer {neurons.name}") from None
        acc = self._together(self._product(codes[:, self._columns].contiguous()))
        N = acc.shape[1]
        if self._rank:
            return x.new_zeros((*x.shape[:-1], N))
        out = dequantized(acc, scale, self._scale, bias)
        for observer in neurons.observers:
            drive = Drive(rows, scale, timesteps, neurons.spec.coding, self._product, zero_point)
            observer(self, neurons.event(drive, Synapses(codes, acc, saturated), out))
        return out.to(x.dtype).reshape(*x.shape[:-1], N)

    def _together(self, acc: Tensor) -> Tensor:
        """Accumulators of whole rows: a group of weights lies in one process, else they are sums over all."""
        group, acc = get_tp_group().device_group, acc.contiguous()
        if self._scale.shape[1] == 1:
            torch.distributed.all_reduce(acc, group=group)
            return acc
        acc = acc.unsqueeze(2) if acc.dim() == 2 else acc  # one group in each process
        parts = [torch.empty_like(acc) for _ in range(self._processes)]
        torch.distributed.all_gather(parts, acc, group=group)
        return torch.cat(parts, dim=2)
