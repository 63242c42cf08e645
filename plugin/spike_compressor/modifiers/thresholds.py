"""Statistics of a layer's inputs by modality, and the thresholds that follow from them.

Everything is a streaming histogram: no activation is stored, ranks add theirs up, and one pass serves every T.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.modifiers.distributed import max_over_ranks, sum_over_ranks


class MagnitudeHistogram:
    """Histogram of |x| with bins as fine as bfloat16 (relative width 2^-7), for static thresholds.

    Binning by the leading bits of the float itself needs no range to be known beforehand.
    """

    def __init__(self) -> None:
        self.counts = torch.zeros(2**15, dtype=torch.int64)
        self.absmax = torch.zeros(1, dtype=torch.float32)

    def update(self, x: Tensor) -> None:
        """Add rows x [R, K]."""
        magnitude = x.detach().to(torch.float32).abs().reshape(-1).cpu()
        if not magnitude.numel():
            return
        self.counts += torch.bincount(magnitude.view(torch.int32) >> 16, minlength=2**15)
        self.absmax = torch.maximum(self.absmax, magnitude.max().reshape(1))

    def add(self, other: MagnitudeHistogram) -> None:
        """Add what another histogram has seen."""
        self.counts += other.counts
        self.absmax = torch.maximum(self.absmax, other.absmax)

    def reduce(self) -> None:
        """Sum up over all ranks of a distributed calibration."""
        sum_over_ranks(self.counts)
        max_over_ranks(self.absmax)

    @property
    def empty(self) -> bool:
        """True if nothing was ever added."""
        return int(self.counts.sum()) == 0

    def absmax_scale(self, timesteps: int) -> float:
        """s = absmax / (2^T - 1), or 1 where everything was zero."""
        absmax = float(self.absmax)
        return absmax / (2**timesteps - 1) if absmax > 0 else 1.0

    def mse_scale(self, timesteps: int, candidates: int = 128) -> float:
        """The s that minimizes sum (x - s code)^2 over the histogram, from a geometric grid below `absmax_scale`."""
        live = self.counts.nonzero().squeeze(1)
        values = ((live << 16) | 0x8000).to(torch.int32).view(torch.float32).to(torch.float64)  # middle of each bin
        counts = self.counts[live].to(torch.float64)
        limit = 2**timesteps - 1
        scales = self.absmax_scale(timesteps) * torch.logspace(-2, 0, candidates, dtype=torch.float64)
        codes = torch.floor(values / scales[:, None] + 0.5).clamp(max=limit)
        error = ((values - scales[:, None] * codes).square() * counts).sum(dim=1)
        return float(scales[int(error.argmin())])


class RatioHistogram:
    """Histogram of |x| / absmax(row), weighted by absmax(row)^2, for the `threshold_ratio` of dynamic thresholds."""

    BINS = 1024

    def __init__(self) -> None:
        self.weights = torch.zeros(self.BINS, dtype=torch.float64)

    def update(self, x: Tensor) -> None:
        """Add rows x [R, K]."""
        magnitude = x.detach().to(torch.float32).abs().cpu()
        absmax = magnitude.amax(dim=1, keepdim=True)
        live = absmax.squeeze(1) > 0
        magnitude, absmax = magnitude[live], absmax[live]
        if not magnitude.numel():
            return
        bins = (magnitude / absmax * self.BINS).long().clamp(max=self.BINS - 1)
        energy = absmax.square().expand_as(magnitude).to(torch.float64)
        self.weights += torch.bincount(bins.reshape(-1), weights=energy.reshape(-1), minlength=self.BINS)

    def add(self, other: RatioHistogram) -> None:
        """Add what another histogram has seen."""
        self.weights += other.weights

    def reduce(self) -> None:
        """Sum up over all ranks of a distributed calibration."""
        sum_over_ranks(self.weights)

    @property
    def empty(self) -> bool:
        """True if nothing but zeros was ever added."""
        return float(self.weights.sum()) == 0

    def best_ratio(self, timesteps: int) -> float:
        """The ratio in 0.05 .. 1.25 that minimizes the squared error of the coded rows."""
        values = (torch.arange(self.BINS, dtype=torch.float64) + 0.5) / self.BINS
        limit = 2**timesteps - 1
        ratios = torch.arange(5, 126, dtype=torch.float64) / 100
        scales = (ratios / limit)[:, None]
        codes = torch.floor(values / scales + 0.5).clamp(max=limit)
        error = ((values - scales * codes).square() * self.weights).sum(dim=1)
        return float(ratios[int(error.argmin())])
