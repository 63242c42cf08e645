"""Statistics over all ranks of a distributed calibration."""

from __future__ import annotations

import os
from typing import Any

import torch
from compressed_tensors.distributed import is_distributed
from compressed_tensors.offload.cache import DiskCache
from torch import Tensor, nn
from torch import distributed as dist

from spike_compressor.errors import InputError


def require_group(model: nn.Module) -> None:
    """Refuse one of several processes that know nothing of each other, or that share parameters on a disk.

    Raises:
        InputError: `WORLD_SIZE` says that there are several, and torch.distributed is not initialized: each would
            calibrate, and write, alone. Or it is, and parameters of the model are offloaded to files, which the first
            rank removes while others read them.
    """
    if is_distributed():
        on_disk = (name for name, module in model.named_modules() if isinstance(module._parameters, DiskCache))
        if (name := next(on_disk, None)) is not None:
            raise InputError(
                f"parameters of {name or 'the model'} are on the disk, and several processes cannot share them there: "
                "load the model with room in memory (max_memory), which all processes of a machine share, or run one"
            )
        return
    world = os.environ.get("WORLD_SIZE", "1")
    if world.isdigit() and int(world) > 1:
        raise InputError(
            f"WORLD_SIZE is {world}, and this process belongs to no group: each would calibrate on its own data alone "
            "and write the same files. Call torch.distributed.init_process_group('gloo'), or on GPUs "
            "compressed_tensors.offload.init_dist(), before oneshot; or unset WORLD_SIZE, if they work apart"
        )


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
