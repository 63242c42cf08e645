"""A softmax that gives the same bits on every machine, and whether or not masked keys are there.

`torch.softmax` promises neither: its exponential and the order of its sum depend on the processor and on the length of
a row, so that decoding with a cache and one pass over all tokens differ in the last bit. A last bit turns a tie between
two codes. Here every operation is one IEEE float32 operation an element, and the sum is one of integers.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: log2(e); ln(2) in two parts, of which the first has so few bits that its products with exponents are exact.
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.4426950216293335, 0.693359375, -2.1219444005469057e-4
#: 1/7!, 1/6!, ... 1/1!, 1/0!: Taylor's series; what it leaves out is below 6e-9 for |r| <= ln(2)/2.
_SERIES = (1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0)
#: Below this the exponential is 0: the smallest results are still normal numbers.
_LOWEST = -87.0
#: Unit of the denominator: 2^-32. A float64 sums up to 2^21 whole numbers of at most 2^32 exactly.
_UNITS = float(1 << 32)
MAX_KEYS = 1 << 21


def exp(x: Tensor) -> Tensor:
    """e^x of float32 x <= 0, to about one unit in the last place; exactly 0 below -87, NaN of NaN."""
    live = x.clamp(min=_LOWEST)
    exponent = torch.round(live * _LOG2_E)
    r = live - exponent * _LN2_HIGH
    r = r - exponent * _LN2_LOW
    value = torch.full_like(r, _SERIES[0])
    for coefficient in _SERIES[1:]:
        # two operations, never one fused: a multiply-add rounds once, and not every machine has it
        value = value.mul_(r).add_(coefficient)
    # 2^exponent by its bits; NaN, which has no exponent, comes through `value`
    power = ((exponent.nan_to_num_(0.0).to(torch.int32) + 127) << 23).view(torch.float32)
    return value.mul_(power).masked_fill_(x < _LOWEST, 0.0)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent of float32 x, to an absolute error of about 1e-7."""
    e = exp(x.abs() * -2.0)
    return (1.0 - e) / (1.0 + e) * x.sign()


def softmax(scores: Tensor, allowed: Tensor | None) -> Tensor:
    """Probabilities over the last dimension.

    `e = exp(score - largest allowed score)`, the denominator is the sum of `round(e * 2^32)` as integers, converted to
    float32 and divided by 2^32, and `p = e / denominator`.

    Args:
        scores: float32 [..., keys], at most 2^21 keys. Overwritten.
        allowed: bool, broadcastable to `scores`, False where a key must not be attended to; None if all are allowed.

    Returns:
        float32 [..., keys]; exactly 0 at masked keys, and everywhere in a row without any key.
    """
    if allowed is not None:
        scores = scores.masked_fill_(~allowed, float("-inf"))
    largest = scores.amax(dim=-1, keepdim=True)
    largest = largest.masked_fill_(largest == float("-inf"), 0.0)  # a row without keys: -inf - 0, not NaN
    e = exp(scores.sub_(largest))
    total = e.to(torch.float64).mul_(_UNITS).round_().sum(dim=-1, keepdim=True)
    denominator = total.to(torch.float32).mul_(1.0 / _UNITS)
    return e.div_(denominator.masked_fill_(denominator == 0, 1.0))
