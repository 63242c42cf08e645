"""Integer weights are integers where they are read: exact in every state that compressed-tensors leaves them in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from compressed_tensors.compressors.base import compress_module, decompress_module
from compressed_tensors.quantization import QuantizationStatus
from helpers.messages import naming
from helpers.tiny_models import randomized_linear
from spike_compressor.errors import InputError
from spike_compressor.runtime import IntegerWeight, integer_weight
from spike_compressor.runtime.weights import drop_packed, put_codes

SCHEMES: dict[str, dict[str, Any]] = {
    "channel 4": {},
    "tensor 8": {"num_bits": 8, "strategy": "tensor"},
    "group 3": {"num_bits": 3, "strategy": "group", "group_size": 15},
    "asymmetric group 4": {"strategy": "group", "group_size": 15, "symmetric": False},
    "asymmetric channel 5": {"num_bits": 5, "symmetric": False},
}


def frozen(scheme: str, dtype: torch.dtype = torch.float32) -> tuple[Any, IntegerWeight]:
    """A quantized Linear of a dtype, and its integers."""
    linear = randomized_linear(19, 45, **SCHEMES[scheme])
    for key, parameter in linear.named_parameters():
        if parameter.dtype.is_floating_point:
            linear.get_parameter(key).data = parameter.data.to(dtype)
    return linear, integer_weight(linear, "layer")


def same(linear: Any, integer: IntegerWeight) -> bool:
    now = integer_weight(linear, "layer")
    return torch.equal(now.codes, integer.codes) and torch.equal(now.scale, integer.scale) and now.bits == integer.bits


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("form", ["pack-quantized", "int-quantized"])
def test_codes_survive_every_state(form: str, scheme: str) -> None:
    linear, integer = frozen(scheme)
    compress_module(linear, form)
    assert hasattr(linear, "weight_packed") is (form == "pack-quantized")
    assert same(linear, integer)
    decompress_module(linear)
    assert linear.weight.dtype == torch.float32
    assert same(linear, integer)
    compress_module(linear, form)
    drop_packed(linear)
    put_codes(linear, integer, "layer")
    assert linear.weight.dtype == torch.int8
    assert linear.quantization_status == QuantizationStatus.COMPRESSED
    assert not hasattr(linear, "weight_packed")
    assert same(linear, integer)
    decompress_module(linear)
    torch.testing.assert_close(linear.weight.data, integer.floats(), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_8_bits_come_back_from_half_precision_floats(dtype: torch.dtype) -> None:
    linear = randomized_linear(64, 512, num_bits=8, strategy="tensor")
    for key in ("weight", "weight_scale"):
        linear.get_parameter(key).data = linear.get_parameter(key).data.to(dtype)
    compress_module(linear, "int-quantized")
    integer = integer_weight(linear, "layer")
    decompress_module(linear)
    assert linear.weight.dtype == dtype
    assert same(linear, integer)


def _float_codes(linear: Any) -> None:
    linear.weight.data = linear.weight.data.float()


def _decompressed_twice(linear: Any) -> None:
    decompress_module(linear)
    linear.weight.data *= linear.weight_scale.data


def _trained(linear: Any) -> None:
    decompress_module(linear)
    linear.weight.data[3, 5] += 1e-3


def _cast(linear: Any) -> None:
    decompress_module(linear)
    linear.to(torch.bfloat16)


def _nan(linear: Any) -> None:
    decompress_module(linear)
    linear.quantization_status = QuantizationStatus.FROZEN
    linear.weight.data[0, 0] = float("nan")


def _out_of_range(linear: Any) -> None:
    linear.weight.data[3, 5] = 77


def _said_to_be_fresh(linear: Any) -> None:
    linear.quantization_status = QuantizationStatus.INITIALIZED


def _no_scale(linear: Any) -> None:
    del linear.weight_scale


def _infinite_scale(linear: Any) -> None:
    linear.weight_scale.data[2] = float("inf")


def _other_shape(linear: Any) -> None:
    linear.weight.data = linear.weight.data[:, :-1]


def _scales_of_another(linear: Any) -> None:
    linear.weight_scale.data = linear.weight_scale.data[:7]


CHANGES: dict[str, tuple[Callable[[Any], None], tuple[object, ...]]] = {
    "floats under an int config": (_float_codes, ("torch.float32",)),
    "decompressed twice": (_decompressed_twice, ("integers", "scales")),
    "trained": (_trained, ("integers", "scales")),
    "cast": (_cast, ("dtype",)),
    "not a number": (_nan, ("NaN",)),
    "out of range": (_out_of_range, (77, 4, -8, 7)),
    "quantized again": (_said_to_be_fresh, ("torch.int8",)),
    "no scale": (_no_scale, ("weight_scale",)),
    "infinite scale": (_infinite_scale, ("weight_scale", "finite")),
    "other shape": (_other_shape, ("[19, 44]", "[19, 45]")),
    "scales of another": (_scales_of_another, ("[7, 1]", "[19, 45]")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_no_integer_any_more_is_refused(change: str) -> None:
    linear, _ = frozen("channel 4")
    compress_module(linear, "int-quantized")
    alter, names = CHANGES[change]
    alter(linear)
    with pytest.raises(InputError, match=naming("model.layer", *names)):
        integer_weight(linear, "model.layer")
