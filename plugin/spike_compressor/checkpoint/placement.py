"""Where the parts of a checkpoint go when it is opened: a spiking layer's integers stay where they are put."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.utils import patch_attr
from transformers import modeling_utils

from spike_compressor.errors import InputError

#: What transformers makes a map of `auto`, `balanced` and their like with, before it reads any weight.
_MAKES_MAPS = "_get_device_map"


@contextlib.contextmanager
def kept_in_place(directory: Path, device_map: Any) -> Iterator[None]:
    """Within the block transformers opens a checkpoint, and gives no part of it a place that is not its own.

    Args:
        directory: of the checkpoint.
        device_map: as it was given.

    Raises:
        InputError: a map, given or made, that offloads parts: to the disk, or to the CPU beside other devices.
    """
    if isinstance(device_map, Mapping):
        _require_in_place(directory, device_map)
    make = getattr(modeling_utils, _MAKES_MAPS, None)

    def checked(*args: Any, **kwargs: Any) -> Any:
        found = make(*args, **kwargs)  # type: ignore[misc]
        _require_in_place(directory, found)
        return found

    with contextlib.nullcontext() if make is None else patch_attr(modeling_utils, _MAKES_MAPS, checked):
        yield


def _require_in_place(directory: Path, device_map: Mapping[str, Any]) -> None:
    kinds = {part: _kind(device) for part, device in device_map.items()}
    others = sorted(set(kinds.values()) - {"cpu", "disk"})
    away = [part for part, kind in kinds.items() if kind == "disk" or (kind == "cpu" and others)]
    if not away:
        return
    beside = f" beside {' and '.join(others)}" if others else ""
    size = sum(file.stat().st_size for file in directory.glob("*.safetensors"))
    more = f", and {len(away) - 1} parts more" if len(away) > 1 else ""
    raise InputError(
        f"load: device_map puts {away[0] or 'the model'} on the {kinds[away[0]]}{beside}{more}; integers of spiking "
        "layers are not brought to where they are used call by call. Leave out device_map and max_memory, for the CPU, "
        f"or give devices of one kind enough memory: weights take at most the {size / 2**30:.2f} GiB of the files"
    )


def _kind(device: Any) -> str:
    """`disk`, the type of a device, or an accelerator by its number."""
    if isinstance(device, int):
        return f"device {device}"
    return "disk" if str(device) == "disk" else torch.device(device).type
