"""The library of kernels: found, loaded, tried out, and one of its levels chosen."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Iterator
from ctypes import POINTER, Structure, c_char_p, c_int32, c_int64, c_void_p
from pathlib import Path
from typing import Any

import torch

from spike_compressor.errors import InputError

#: Forces a level by its name, or `torch` for none.
VARIABLE = "SPIKE_COMPRESSOR_KERNELS"
TORCH = "torch"
_ABI = 4
_FILE = Path(__file__).parent / f"libspike_kernels{'.dylib' if sys.platform == 'darwin' else '.so'}"


class CLayer(Structure):
    """`spike_layer` of spike_kernels.h."""

    _fields_ = [
        ("inputs", c_int64),
        ("outputs", c_int64),
        ("groups", c_int32),
        ("bits", c_int32),
        ("max_code", c_int32),
        ("panels", c_void_p),
        ("scales", c_void_p),
        ("bias", c_void_p),
    ]


class CRows(Structure):
    """`spike_rows` of spike_kernels.h."""

    _fields_ = [
        ("x", c_void_p),
        ("count", c_int64),
        ("stride", c_int64),
        ("dtype", c_int32),
        ("timesteps_step", c_int32),
        ("timesteps", c_void_p),
        ("ratio", c_void_p),
        ("scale", c_void_p),
        ("ratio_step", c_int32),
        ("scale_step", c_int32),
        ("silenced", c_void_p),
        ("statistic", c_int32),
        ("rounding", c_int32),
    ]


_LAYER, _ROWS = POINTER(CLayer), POINTER(CRows)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "spike_abi": (c_int32, []),
    "spike_level_count": (c_int32, []),
    "spike_level_name": (c_char_p, [c_int32]),
    "spike_level_supported": (c_int32, [c_int32]),
    "spike_self_test": (c_int32, [c_int32]),
    "spike_set_parallel_for": (None, [c_void_p]),
    "spike_panels_size": (c_int64, [c_int64, c_int64, c_int32, c_int32]),
    "spike_codes_width": (c_int64, [c_int64, c_int32]),
    "spike_pack": (None, [c_void_p, c_int64, c_int64, c_int32, c_int32, c_void_p]),
    "spike_unpack": (None, [c_void_p, c_int64, c_int64, c_int32, c_int32, c_void_p]),
    "spike_encode": (c_int32, [c_int32, _LAYER, _ROWS, c_void_p, c_void_p, POINTER(c_int64)]),
    "spike_planes": (None, [c_void_p, c_int64, c_int64, c_void_p, c_int64, c_void_p, c_int32, c_void_p]),
    "spike_accumulate": (c_int32, [c_int32, _LAYER, c_void_p, c_int64, c_void_p]),
    "spike_accumulate_steps": (c_int32, [c_int32, _LAYER, c_void_p, c_int64, c_int64, c_void_p, c_int32, c_void_p]),
    "spike_outputs": (c_int32, [c_int32, _LAYER, c_void_p, c_void_p, c_int64, c_void_p]),
    "spike_outputs_steps": (
        c_int32,
        [c_int32, _LAYER, c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_int32, c_void_p],
    ),
    "spike_encode_groups": (c_int32, [c_int32, _LAYER, _ROWS, c_int32, c_void_p, c_void_p, POINTER(c_int64)]),
    "spike_accumulate_wide": (c_int32, [c_int32, _LAYER, c_void_p, c_int64, c_void_p]),
    "spike_outputs_wide": (c_int32, [c_int32, _LAYER, c_void_p, c_void_p, c_int64, c_void_p]),
    "spike_linear": (c_int32, [c_int32, _LAYER, _ROWS, c_void_p, POINTER(c_int64)]),
    "spike_try_scales": (
        c_int32,
        [c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p, c_void_p, c_int32, c_void_p, c_void_p],
    ),
}


class Library:
    """The loaded library.

    Args:
        path: of the shared object.

    Attributes:
        call: its functions, by name.
        levels: names of its levels, from the lowest up.
        level: number of the level that is used; None where torch is.

    Raises:
        OSError: it cannot be loaded, or is another version's.
    """

    def __init__(self, path: Path) -> None:
        self.call: Any = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(self.call, name, None)
            if function is None:
                raise OSError(f"{path} has no {name}")
            function.restype, function.argtypes = result, arguments
        if self.call.spike_abi() != _ABI:
            raise OSError(f"{path} has version {self.call.spike_abi()} of its interface, {_ABI} is needed")
        self.levels = [self.call.spike_level_name(n).decode() for n in range(self.call.spike_level_count())]
        self.level: int | None = None
        share = _parallel_for()
        if share is not None:
            self.call.spike_set_parallel_for(share)

    def supported(self) -> list[int]:
        """Levels that this machine has the instructions for, from the lowest up."""
        return [n for n in range(len(self.levels)) if self.call.spike_level_supported(n)]


def _parallel_for() -> int | None:
    """Address of libtorch's `torch_parallel_for`: its threads, not a second set of them; None where it has none."""
    folder = Path(torch.__file__).parent / "lib"
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        if (folder / name).is_file():
            function = getattr(ctypes.CDLL(str(folder / name)), "torch_parallel_for", None)
            return None if function is None else ctypes.cast(function, c_void_p).value
    return None


@functools.cache
def library() -> Library | None:
    """The library with a level chosen; None where there is no library, which is said once.

    Raises:
        InputError: the environment asks for a level that there is not, or that computes something else here.
    """
    wanted = os.environ.get(VARIABLE) or None
    loaded, why = _loaded()
    if loaded is None:
        if wanted not in (None, TORCH):
            raise InputError(f"{VARIABLE} asks for {wanted!r}, and there are no native kernels: {why}")
        if wanted is None:
            say(f"spiking layers run on torch, several times slower than on native kernels: {why}")
        return None
    loaded.level = _chosen(loaded, wanted)
    return loaded


def _loaded() -> tuple[Library | None, str]:
    if not _FILE.is_file():
        return None, f"the package was built without a C++ compiler ({_FILE.name} is missing)"
    try:
        return Library(_FILE), ""
    except OSError as error:
        return None, str(error)


def _chosen(loaded: Library, wanted: str | None) -> int | None:
    if wanted == TORCH:
        return None
    able = loaded.supported()
    if wanted is not None:
        names = [loaded.levels[n] for n in able]
        if wanted not in names:
            raise InputError(f"{VARIABLE} asks for {wanted!r}; this machine has {', '.join(names)}, and {TORCH}")
        able = [loaded.levels.index(wanted)]
    for level in reversed(able):
        failed = loaded.call.spike_self_test(level)
        if not failed:
            return level
        name = loaded.levels[level]
        if wanted is not None:
            raise InputError(f"{VARIABLE} asks for {wanted!r}, which fails its test {failed} on this machine")
        say(f"the kernels of {name} fail their test {failed} on this machine, and are not used; please report it")
    return None


def say(message: str) -> None:
    """Warn in LLM Compressor's log."""
    from loguru import logger  # LLM Compressor's, to whoever reads its lines

    logger.warning(message)


def available_levels() -> tuple[str, ...]:
    """Names of the levels that this machine has the instructions for, from the lowest up; `torch` comes first."""
    loaded = library()
    return (TORCH,) if loaded is None else (TORCH, *(loaded.levels[n] for n in loaded.supported()))


def active_level() -> str:
    """Name of the level that spiking layers use; `torch` where they use none."""
    loaded = library()
    return TORCH if loaded is None or loaded.level is None else loaded.levels[loaded.level]


@contextlib.contextmanager
def using_level(name: str) -> Iterator[None]:
    """Within the block spiking layers of all threads use another level; for tests and benchmarks.

    Args:
        name: one of `available_levels`.

    Raises:
        InputError: this machine does not have it.
    """
    if name not in available_levels():
        raise InputError(f"no level {name!r} here; there are {', '.join(available_levels())}")
    loaded = library()
    if loaded is None:
        yield
        return
    before = loaded.level
    loaded.level = None if name == TORCH else loaded.levels.index(name)
    try:
        yield
    finally:
        loaded.level = before
