"""The library of the simulated core: where it is, and its C interface, rtl/library/spike_rtl.h."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, Structure, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from spike_compressor.errors import InputError

#: Names a library that does not lie beside the package.
VARIABLE = "SPIKE_COMPRESSOR_RTL"
_BESIDE = Path(__file__).parent / "libspike_rtl.so"
_ABI = 1

#: What the core counts, and the error bits that it reports, in the order of its registers.
COUNTERS = (
    *("cycles", "rows", "spikes", "saturated", "additions", "words", "skipped", "stall_membrane", "stall_store"),
    *("stall_spike", "stall_fire", "stall_weight", "stall_acc", *(f"rows_t{T}" for T in range(1, 8))),
)
ERRORS = (
    *("rows", "outputs", "groups", "group_inputs", "frac_bits", "capacity", "timesteps", "membrane_last"),
    *("weight_last", "weight_range", "write_busy", "coding", "left_over"),
)
#: What a call returns where no error bit says more.
FAILURES = {
    -3: "its rows do not fit the core's store",
    -4: "its sizes, or a number among them, are none that the core has room for",
    -5: "the core is busy with another job",
    -6: "it reported errors",
    -100: "there is no memory for its streams",
    -101: "it is stuck: nothing moves at any port",
    -102: "a register access was refused, or not answered",
    -103: "it was done before all sums and spikes had come",
}


class CShape(Structure):
    """`spike_rtl_shape`."""

    _fields_ = [
        *((name, c_int32) for name in ("rows", "columns", "lanes", "slots", "weight_bits", "tmax", "csd")),
        ("blocks", c_int64),
    ]


class CJob(Structure):
    """`spike_rtl_job`."""

    _fields_ = [
        *((name, c_int64) for name in ("batch", "rows", "outputs", "inputs", "groups")),
        *((name, c_int32) for name in ("frac_bits", "csd", "steps", "reserved")),
        *((name, c_void_p) for name in ("membranes", "timesteps", "weights", "sums", "spikes")),
    ]


_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "spike_rtl_abi": (c_int32, []),
    "spike_rtl_open": (c_void_p, []),
    "spike_rtl_close": (None, [c_void_p]),
    "spike_rtl_get_shape": (None, [c_void_p, POINTER(CShape)]),
    "spike_rtl_compute": (c_int32, [c_void_p, POINTER(CJob), POINTER(c_uint64), POINTER(c_uint32)]),
}


def library_path() -> Path:
    """Where the library is to be: as the environment says, else beside the package."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else _BESIDE


def load_library(path: Path) -> Any:
    """Its functions, by name.

    Raises:
        InputError: it is not there, cannot be loaded, or is another version's; names the remedy.
    """
    remedy = (
        "`make rtl-library` in a clone of the repository builds it from the SystemVerilog and puts it beside the "
        f"package; {VARIABLE} names one that lies elsewhere"
    )
    if not path.is_file():
        raise InputError(f"backend 'rtl' needs the simulated core, and there is no {path}: {remedy}")
    try:
        functions = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(functions, name)
            function.restype, function.argtypes = result, arguments
        version = functions.spike_rtl_abi()
    except (OSError, AttributeError) as error:
        raise InputError(f"backend 'rtl': {path} cannot be loaded ({error}): {remedy}") from error
    if version != _ABI:
        raise InputError(f"backend 'rtl': {path} has version {version} of its interface, {_ABI} is needed: {remedy}")
    return functions
