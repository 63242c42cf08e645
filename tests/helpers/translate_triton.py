"""Translate the Triton kernels for a device that need not be there; prints how often PTX has each instruction, as JSON.

python translate_triton.py CAPABILITY      80, 90, …
"""

from __future__ import annotations

import collections
import json
import sys
from typing import Any

import triton
from spike_compressor.kernels import triton_kernels
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TYPES = {
    "encode": {
        "x": "*fp32",
        "timesteps": "*i32",
        "ratio": "*fp32",
        "given_scale": "*fp32",
        "silenced": "*i8",
        "codes": "*i8",
        "scales": "*fp32",
        "state": "*i64",
        "STATIC": False,
        "STATISTIC": 0,
        "ROUNDING": 0,
        "SILENCED": True,
        "BLOCK": 1024,
    },
    "outputs_of_sums": {
        "sums": "*i32",
        "scales": "*fp32",
        "weight_scales": "*fp32",
        "bias": "*bf16",
        "out": "*fp32",
        "HAS_BIAS": True,
        "BLOCK": 1024,
    },
    "outputs_of_codes": {
        "codes": "*i8",
        "weights": "*i8",
        "scales": "*fp32",
        "weight_scales": "*fp32",
        "bias": "*bf16",
        "out": "*fp32",
        "HAS_BIAS": True,
        "GROUPED": True,
        "ROWS": 16,
        "COLUMNS": 32,
        "DEPTH": 64,
    },
}

TYPES["encode by rms"] = {**TYPES["encode"], "STATISTIC": 1}
TYPES["encode by rate and distortion"] = {**TYPES["encode"], "ROUNDING": 1}


def instructions(name: str, capability: int) -> dict[str, int]:
    """PTX instructions of a kernel; integers that are not listed are int32."""
    kernel: Any = getattr(triton_kernels, name.split()[0])
    kinds = {argument: TYPES[name].get(argument, "i32") for argument in kernel.arg_names}
    constants = {key: value for key, value in kinds.items() if not isinstance(value, str)}
    source = ASTSource(
        fn=kernel,
        signature={key: "constexpr" if key in constants else kind for key, kind in kinds.items()},
        constexprs={(kernel.arg_names.index(key),): value for key, value in constants.items()},
    )
    options = {"enable_fp_fusion": triton_kernels.EXACT["enable_fp_fusion"]}
    done = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert done.asm["cubin"]
    words = (
        line.split()[0 if not line.strip().startswith("@") else 1]
        for line in done.asm["ptx"].splitlines()
        if line.strip()
    )
    return dict(collections.Counter(word.rstrip(";") for word in words if "." in word and not word.startswith(".")))


if __name__ == "__main__":
    json.dump({name: instructions(name, int(sys.argv[1])) for name in TYPES}, sys.stdout)
