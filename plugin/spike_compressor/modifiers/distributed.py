"""Statistics over all ranks of a distributed calibration."""

from __future__ import annotations

from typing import Any

import torch
from compressed_tensors.distributed import is_distributed
from torch import Tensor
from torch import distributed as dist


def sum_over_ranks(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over all ranks, in place; without a process group nothing happens."""
    _reduce(tensors, dist.ReduceOp.SUM)


def max_over_ranks(*tensors: Tensor) -> None:
    """Replace each tensor by its maximum over all ranks, in place."""
    _reduce(tensors, dist.ReduceOp.MAX)


def same_on_all_ranks(value: Any) -> Any:
    """The first rank's `value`, on every rank."""
    if not is_distributed():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def ranks() -> int:
    """How many processes calibrate together."""
    return int(dist.get_world_size()) if is_distributed() else 1


def is_first_rank() -> bool:
    """True on one rank of all, the one that writes files."""
    return not is_distributed() or dist.get_rank() == 0


def _reduce(tensors: tuple[Tensor, ...], op: Any) -> None:
    if not is_distributed():
        return
    # statistics are kept in host memory, which the GPUs' backends do not reduce
    on_host = dist.get_backend() in ("gloo", "mpi")
    for tensor in tensors:
        if on_host or tensor.device.type != "cpu":
            dist.all_reduce(tensor, op=op)
            continue
        there = tensor.to(torch.accelerator.current_accelerator())
        dist.all_reduce(there, op=op)
        tensor.copy_(there)
