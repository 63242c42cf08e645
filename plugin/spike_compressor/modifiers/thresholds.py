"""Statistics of a layer's inputs by modality, and the thresholds that follow from them.

Everything is a streaming histogram: no activation is stored, ranks add theirs up, and one pass serves every T.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spike_compressor.coding.base import Coding, get_coding
from spike_compressor.coding.rounding import NEAREST, Rounding
from spike_compressor.coding.statistics import geometric_ratios, get_statistic
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

    def scale(self, coding: Coding, timesteps: int, observer: str) -> float:
        """The static threshold of a coding's T: by `absmax`, or of least squared error, `mse`."""
        if observer == "mse":
            return self.mse_scale(timesteps, coding.rounding)
        return self.absmax_scale(coding.largest(timesteps))

    def absmax_scale(self, largest: int) -> float:
        """s = absmax / largest code, or 1 where everything was zero."""
        absmax = float(self.absmax)
        return absmax / largest if absmax > 0 else 1.0

    def mse_scale(self, timesteps: int, rounding: Rounding = NEAREST, candidates: int = 128) -> float:
        """The s that minimizes sum (x - s code)^2 over the histogram, from a geometric grid below `absmax_scale`.

        Args:
            timesteps: T.
            rounding: that makes the codes.
            candidates: points of the grid.
        """
        live = self.counts.nonzero().squeeze(1)
        values = ((live << 16) | 0x8000).to(torch.int32).view(torch.float32).to(torch.float64)  # middle of each bin
        counts = self.counts[live].to(torch.float64)
        limit = 2**timesteps - 1
        scales = self.absmax_scale(limit) * torch.logspace(-2, 0, candidates, dtype=torch.float64)
        codes = rounding.to_magnitudes(values / scales[:, None], limit).to(torch.int16)
        error = ((values - scales[:, None] * codes).square() * counts).sum(dim=1)
        return float(scales[int(error.argmin())])


class RatioHistogram:
    """Histogram of |x| / statistic(row), weighted by statistic(row)^2, for the `threshold_ratio` of dynamic thresholds.

    Where no input is larger than the statistic, bins are equally wide. Else they are 64 an octave, from 2^-10, which
    rounds to zero at any ratio, to 2^22, which no input of a row of up to 2^22 passes: outliers keep their size.

    Args:
        statistic: its name.
    """

    BINS = 1024
    OCTAVES = range(-10, 22)
    #: Ratios that are tried of statistics that bound their rows, and how many of the others'.
    BOUNDED = tuple(percent / 100 for percent in range(5, 126))
    CANDIDATES = 121

    def __init__(self, statistic: str = "absmax") -> None:
        self._statistic = get_statistic(statistic)
        self._bounding = self._statistic.bounds_rows
        self._first = (self.OCTAVES.start + 127) << 6  # a float32 with 6 bits of its mantissa
        bins = self.BINS if self._bounding else len(self.OCTAVES) << 6
        self.weights = torch.zeros(bins, dtype=torch.float64)

    def update(self, x: Tensor) -> None:
        """Add rows x [R, K]."""
        x = x.detach().to(torch.float32).cpu()
        value = self._statistic.of_rows(x).unsqueeze(1)
        live = value.squeeze(1) > 0
        magnitude, value = x.abs()[live], value[live]
        if not magnitude.numel():
            return
        energy = value.square().expand_as(magnitude).to(torch.float64)
        bins = self._bins(magnitude / value).reshape(-1)
        self.weights += torch.bincount(bins, weights=energy.reshape(-1), minlength=len(self.weights))

    def _bins(self, relative: Tensor) -> Tensor:
        if self._bounding:
            return (relative * self.BINS).long().clamp(max=self.BINS - 1)
        return ((relative.view(torch.int32) >> 17).long() - self._first).clamp(0, len(self.weights) - 1)

    def _middles(self) -> Tensor:
        """The value that stands for each bin, float64."""
        if self._bounding:
            return (torch.arange(self.BINS, dtype=torch.float64) + 0.5) / self.BINS
        bits = (torch.arange(len(self.weights), dtype=torch.int32) + self._first << 17) | 1 << 16
        return bits.view(torch.float32).to(torch.float64)

    def add(self, other: RatioHistogram) -> None:
        """Add what another histogram of the same statistic has seen."""
        self.weights += other.weights

    def reduce(self) -> None:
        """Sum up over all ranks of a distributed calibration."""
        sum_over_ranks(self.weights)

    @property
    def empty(self) -> bool:
        """True if nothing but zeros was ever added."""
        return float(self.weights.sum()) == 0

    def best_ratio(self, timesteps: int, rounding: Rounding = NEAREST) -> float:
        """The ratio, of 0.05 .. 1.25 or within those of the statistic, that minimizes the squared error of the rows.

        Args:
            timesteps: T.
            rounding: that makes the codes.
        """
        candidates = self.BOUNDED
        if not self._bounding:
            candidates = geometric_ratios(self._statistic.ratios[0], self._statistic.ratios[-1], self.CANDIDATES)
        live = self.weights.nonzero().squeeze(1)
        values, weights = self._middles()[live], self.weights[live]
        limit = 2**timesteps - 1
        ratios = torch.tensor(candidates, dtype=torch.float64)
        scales = (ratios / self._statistic.divisor(get_coding("tc_lif"), timesteps))[:, None]
        codes = rounding.to_magnitudes(values / scales, limit).to(torch.int16)
        error = ((values - scales * codes).square() * weights).sum(dim=1)
        return candidates[int(error.argmin())]
