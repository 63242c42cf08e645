"""Divisors of channels that cost least error per spike.

A row x is divided by d, channel by channel, the columns of the weights W multiplied by it, and the row coded with one
threshold s. Two errors reach the outputs:

    of spikes     s^2/12 sum_k d_k^2 w_k             w_k = sum of the squares of column k of all weights
    of weights    sum_k (x_k / d_k)^2 e_k^2          e_k: the step of the group that W[:, k] d_k is quantized in

while a value fires about `log2(1 + |x_k| / (s d_k))` spikes. For a given number of spikes, the product of all d_k
fixed, the first is least where every input adds as much to it as any other: `d_k = w_k^(-1/2)`. The second asks for
great d_k where inputs are great, `d_k = p_k^(1/2)` with p_k the power of channel k as a share of its row, as far as the
group's other columns bear it. In between lie

    d_k = p_k^(a/2) * w_k^(-b/2)

and a and b are those of least measured error of the outputs: of spikes through rounded weights, all at as many spikes
as there are without divisors, each row's error as a share of its output. Two numbers a group of layers, measured on a
few hundred rows: divisors fitted channel by channel did better on the rows that they were fitted on, and on no others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationStrategy
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from compressed_tensors.quantization.utils import calculate_qparams
from torch import Tensor

from spike_compressor.coding import MAX_TIMESTEPS, row_scale
from spike_compressor.modifiers.smoothing.folding import along

#: The exponents a and b that are tried, no divisors (0, 0) first.
INPUT_STRENGTHS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.75)
WEIGHT_STRENGTHS = (0.0, 0.5, 1.0)
#: How much less error, as a share, is worth dividing for.
_WORTH = 0.01
#: Halvings of the interval, in octaves, that holds the ratio at which rows fire a given number of spikes.
_HALVINGS = 12
_OCTAVES = 4.0

#: A weight [N, K] in float32, and how it will be quantized; None: not at all.
Weights = Sequence[tuple[Tensor, QuantizationArgs | None]]


@dataclass(frozen=True)
class Spikes:
    """The thresholds that errors are compared under.

    Attributes:
        statistic: that thresholds follow.
        ratio: whose spikes, without divisors, are the number at which all are compared.
        timesteps: T.
    """

    statistic: str = "rms"
    ratio: float = 0.4
    timesteps: int = MAX_TIMESTEPS

    def unit(self, x: Tensor) -> Tensor:
        """Thresholds [R, 1] of rows [R, K] at ratio 1."""
        return row_scale(x, self.timesteps, 1.0, self.statistic, validate=False).unsqueeze(-1)

    def codes(self, x: Tensor, scale: Tensor) -> Tensor:
        """The magnitudes of the codes of rows, uint8 [R, K], at thresholds [R, 1]."""
        return (x.abs() / scale + 0.5).floor_().clamp_(max=(1 << self.timesteps) - 1).to(torch.uint8)

    def count(self, x: Tensor, scale: Tensor) -> float:
        """How many spikes rows fire."""
        codes = self.codes(x, scale)
        pairs = codes - ((codes >> 1) & 0x55)
        fours = (pairs & 0x33) + ((pairs >> 2) & 0x33)
        return float(((fours + (fours >> 4)) & 0x0F).sum())

    def scale_at(self, x: Tensor, spikes: float) -> Tensor:
        """The thresholds [R, 1], of one ratio, at which rows fire so many spikes."""
        unit = self.unit(x)
        low, high = math.log2(self.ratio) - _OCTAVES, math.log2(self.ratio) + _OCTAVES
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.count(x, unit * 2.0**middle) > spikes else (low, middle)
        return unit * 2.0 ** ((low + high) / 2)


@dataclass(frozen=True)
class Choice:
    """Divisors and what they are worth.

    Attributes:
        divisors: float32 [channels], 1 where no input follows.
        strengths: a and b; zeros: no divisors are worth it.
        error: of the outputs at as many spikes as without divisors, as a share of the error without.
    """

    divisors: Tensor
    strengths: tuple[float, float]
    error: float

    @property
    def divides(self) -> bool:
        return any(self.strengths)


@torch.no_grad()
def choose_divisors(
    x: Tensor,
    weights: Weights,
    follows: Tensor,
    channels: int,
    spikes: Spikes,
    bound: float,
    inputs: Sequence[float] = INPUT_STRENGTHS,
    columns: Sequence[float] = WEIGHT_STRENGTHS,
) -> Choice:
    """The divisors of least measured error.

    Args:
        x: float32 [R, K], rows of the input, none of them all zeros.
        weights: of each layer that reads it.
        follows: int64 [K], the channel that each input follows; -1 for none.
        channels: how many there are.
        spikes: the thresholds to compare under.
        bound: divisors lie within 1 / bound … bound.
        inputs: exponents a to try.
        columns: exponents b to try. If there is one of each, these are taken, whatever the error.
    """
    weights = [(weight.to(torch.float32), args) for weight, args in weights]
    trial = _Trial(x, weights, spikes)
    plain = trial.error(torch.ones_like(x[0]))
    best = Choice(torch.ones(channels, device=x.device), (0.0, 0.0), 1.0)
    for a in inputs:
        for b in columns:
            if a == b == 0:
                continue
            divisors = _divisors(trial.power, trial.columns, follows, channels, (a, b)).clamp(1 / bound, bound)
            error = trial.error(along(follows, divisors)) / plain if plain else 1.0
            if len(inputs) == len(columns) == 1 or error < min(best.error, 1 - _WORTH):
                best = Choice(divisors, (a, b), error)
    return best


class _Trial:
    """Rows, and what layers should make of them.

    Attributes:
        power: [K], of each input, the mean over rows as shares of their power.
        columns: [K], sums of the squares of the weights' columns.
    """

    def __init__(self, x: Tensor, weights: Weights, spikes: Spikes) -> None:
        self.x, self.weights, self.spikes = x, weights, spikes
        self.outputs = [x @ weight.t() for weight, _ in weights]
        energy = torch.stack([y.square().sum(dim=1, keepdim=True) for y in self.outputs]).sum(dim=0)
        self.share = torch.where(energy > 0, 1 / energy, 0.0)
        self.power = (x / x.square().mean(dim=1, keepdim=True).sqrt()).square().mean(dim=0)
        self.columns = torch.stack([weight.square().sum(dim=0) for weight, _ in weights]).sum(dim=0)
        self.budget = spikes.count(x, spikes.unit(x) * spikes.ratio)

    def error(self, divisors: Tensor) -> float:
        """Error of the outputs [K]: of spikes through rounded weights, as shares of rows' outputs."""
        x = self.x / divisors
        scale = self.spikes.scale_at(x, self.budget)
        coded = torch.copysign(self.spikes.codes(x, scale) * scale, x)
        total = 0.0
        for (weight, args), y in zip(self.weights, self.outputs, strict=True):
            lost = coded @ _rounded(weight * divisors, args).t() - y
            total += float((lost.square_() * self.share).sum(dtype=torch.float64))
        return total


def _divisors(power: Tensor, columns: Tensor, follows: Tensor, channels: int, strengths: tuple[float, float]) -> Tensor:
    """`p^(a/2) * w^(-b/2)` [channels] of all inputs that follow a channel together; geometric mean 1."""
    a, b = strengths
    p, w = _by_channel(power, follows, channels), _by_channel(columns, follows, channels)
    speaks = (p > 0) & (w > 0)
    if not bool(speaks.any()):
        return torch.ones_like(p)
    log = torch.where(speaks, a / 2 * p.clamp(min=1e-30).log() - b / 2 * w.clamp(min=1e-30).log(), 0.0)
    return torch.where(speaks, (log - log[speaks].mean()).exp(), 1.0)


def _by_channel(values: Tensor, follows: Tensor, channels: int) -> Tensor:
    """Sums [channels] of values [K] over the inputs that follow each."""
    sums = torch.zeros(channels + 1, dtype=torch.float32, device=values.device)
    return sums.index_add_(0, torch.where(follows >= 0, follows, channels), values)[:-1]


def _rounded(weight: Tensor, args: QuantizationArgs | None) -> Tensor:
    """A weight [N, K] rounded to nearest as its scheme says, by output or by group; as it is under any other."""
    if args is None or args.strategy not in (QuantizationStrategy.CHANNEL, QuantizationStrategy.GROUP):
        return weight
    N, K = weight.shape
    size = (args.group_size if args.strategy == QuantizationStrategy.GROUP else K) or K
    if K % size:
        return weight
    parts = weight.reshape(N, K // size, size)
    scale, zero_point = calculate_qparams(parts.amin(dim=-1), parts.amax(dim=-1), args)
    return fake_quantize(weight, scale, zero_point, args)
