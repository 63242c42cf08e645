"""What each T costs a layer: its error and its spikes, measured on rows of the calibration data.

One pass serves all T and all threshold ratios: they are tried on the same rows. A few rows per prompt are enough, since
every prompt contributes; they are spread evenly over it, so the result does not depend on how prompts are batched.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from spike_compressor.coding import (
    MAX_TIMESTEPS,
    Coding,
    Rounding,
    get_coding,
    quantize_rows,
    raise_if_non_finite,
    spikes_from_codes,
)
from spike_compressor.coding.bits import popcount
from spike_compressor.coding.quantize import magnitude_codes
from spike_compressor.coding.statistics import candidate_scales, get_statistic
from spike_compressor.kernels import encode_groups, try_scales
from spike_compressor.modifiers.distributed import sum_over_ranks
from spike_compressor.runtime.precision import without_autocast

#: Rows of each modality that a prompt contributes.
ROWS_PER_SAMPLE = 8
#: Values that are put off until so many can be tried at once: the work of a call does not pay for a few rows.
_BLOCK = 2**16
#: Values that are tried at once: so few that they stay in the processor's cache meanwhile.
_PART = 2**15
#: Share of rounding's energy that clipping may take before an option counts as overloaded.
_OVERLOAD = 0.05


class ErrorTable:
    """Error and spikes of one slot (a layer's rows of one modality) by T and threshold ratio.

    Args:
        width: K, inputs of the layer.
        coding: name of the coding whose spikes are counted.
        ratios: candidate threshold ratios.
        statistic: name of the statistic of rows that they are ratios to.

    What clips is counted beside: `overloaded`.

    The error is what is lost when the input x is replaced by its spikes' x', e = x - x', as a share of what there
    was. Without gradients that is the output's error, `|W e|^2 / |W x|^2`, summed over rows. With gradients u of the
    loss in x (through this layer alone), it is the mean of `sum_k (u_k e_k)^2`: the expected square of the loss's
    first-order change if errors of different inputs are independent.
    """

    def __init__(self, width: int, coding: str, ratios: tuple[float, ...], statistic: str = "absmax") -> None:
        self.width, self.ratios, self.statistic = width, ratios, statistic
        self._codec = get_coding(coding)
        shape = (self._codec.max_timesteps, len(ratios))
        self._error = torch.zeros(shape, dtype=torch.float64)
        self._spikes = torch.zeros(shape, dtype=torch.float64)
        self._totals = torch.zeros(2, dtype=torch.float64)  # rows, energy that errors are compared with
        self._clipped = torch.zeros(shape, dtype=torch.float64)
        self._rounded = torch.zeros(shape, dtype=torch.float64)
        self._pending: list[tuple[Tensor, Tensor | None]] = []
        self._weight: Tensor | None = None

    @torch.no_grad()
    def update(self, x: Tensor, weight: Tensor | None, gradient: Tensor | None = None) -> None:
        """Add rows.

        Args:
            x: [R, K].
            weight: [N, K]; needed without `gradient`.
            gradient: u [R, K], the loss's gradient in these inputs through this layer.

        Raises:
            NonFiniteInputError: NaN or infinity in the rows, or in those that were put off.
        """
        if not x.shape[0]:
            return
        self._pending.append((x.to(torch.float32), None if gradient is None else gradient.to(torch.float32)))
        self._weight = weight
        if sum(rows.numel() for rows, _ in self._pending) >= _BLOCK:
            self._flush()

    def _flush(self) -> None:
        """Try every T and ratio on the rows that are waiting."""
        if self._pending:
            with without_autocast(self._pending[0][0].device):
                self._try(torch.cat([rows for rows, _ in self._pending]))

    @torch.no_grad()
    def _try(self, x: Tensor) -> None:
        gradients = [gradient for _, gradient in self._pending if gradient is not None]
        gradient = torch.cat(gradients) if gradients else None
        weight, self._weight = self._weight, None
        self._pending.clear()
        R, K = x.shape
        transposed = None if weight is None else weight.to(torch.float32).t()
        if transposed is not None:
            self._totals[1] += float((x @ transposed).square().sum(dtype=torch.float64))
        else:
            self._totals[1] += R
        self._totals[0] += R
        rows = max(1, _PART // K)
        for part in range(0, R, rows):
            some = slice(part, part + rows)
            self._try_part(x[some], None if gradient is None else gradient[some], transposed)

    def _try_part(self, x: Tensor, gradient: Tensor | None, transposed: Tensor | None) -> None:
        """Try them on rows [R, K] so few that what is computed of them stays in the processor's cache."""
        value = get_statistic(self.statistic).of_rows(x)
        if not bool(value.isfinite().all()):  # a row's statistic hands NaN and infinity on
            raise_if_non_finite(x)
        every = range(1, self._codec.max_timesteps + 1)
        scales = candidate_scales(value, every, self.ratios, self.statistic, self._codec.name)
        if not self._codec.rounds:
            errors, spikes = _encoded(x, scales, gradient, transposed, self._codec)
            self._error += errors.view_as(self._error)
            self._spikes += spikes.view_as(self._spikes)
            return
        largest = torch.tensor([self._codec.largest(T) for T in every], dtype=torch.float32, device=x.device)
        self._clipped += clipped_energy(x, scales * largest[:, None, None]).sum(dim=-1).cpu()
        self._rounded += scales.to(torch.float64).square().sum(dim=-1).cpu() * (self.width / 12)
        tried = None
        if gradient is not None:
            timesteps = torch.tensor(every, dtype=torch.int32).repeat_interleave(len(self.ratios))
            tried = try_scales(x, gradient, scales.flatten(0, 1), timesteps, self._codec.rounding.native)
        errors, counts = tried or _tried(x, scales, gradient, transposed, self._codec.rounding)
        self._error += errors.cpu().view_as(self._error)
        counts = counts.cpu().view(*self._spikes.shape, -1)
        self._spikes += (counts * _spikes_of_magnitudes(self._codec.name).unsqueeze(1)).sum(dim=-1)

    def reduce(self) -> None:
        """Sum up over all ranks of a distributed calibration."""
        self._flush()
        sum_over_ranks(self._error, self._spikes, self._totals, self._clipped, self._rounded)

    @property
    def rows(self) -> int:
        """Rows that were measured."""
        self._flush()
        return int(self._totals[0])

    def ratio(self, timesteps: int) -> float:
        """The threshold ratio of least error at T."""
        return self.ratios[self._at(timesteps, None)[1]]

    def error(self, timesteps: int, ratio: float | None = None) -> float:
        """The error at T and a candidate ratio: of the output as a share of its energy, or of the loss a row.

        Without a ratio: at the one of least error.
        """
        place = self._at(timesteps, ratio)
        energy = float(self._totals[1])
        return float(self._error[place]) / energy if energy else 0.0

    def spikes_per_row(self, timesteps: int, ratio: float | None = None) -> float:
        """Spikes that a row's K neurons fire at T and a candidate ratio; without one: that of least error."""
        place = self._at(timesteps, ratio)
        return float(self._spikes[place]) / self.rows if self.rows else 0.0

    def overloaded(self, timesteps: int, ratio: float | None) -> bool:
        """Whether so much clips at T and a candidate ratio that `error` promises too much.

        That errors are independent of each other nearly holds for rounding. What clips can be the same few inputs in
        row after row, always shortened: such errors add up. An option is overloaded where clipping takes more than a
        twentieth of the energy that rounding to steps of s takes, `s^2 / 12` an input. A coding that does not round has
        none. Without a ratio: at the one of least error.
        """
        place = self._at(timesteps, ratio)
        return bool(self._clipped[place] > _OVERLOAD * self._rounded[place])

    def _at(self, timesteps: int, ratio: float | None) -> tuple[int, int]:
        self._flush()
        row = timesteps - 1
        return row, int(self._error[row].argmin()) if ratio is None else self.ratios.index(ratio)


def clipped_energy(x: Tensor, limits: Tensor) -> Tensor:
    """The squares of what of a row's inputs lies beyond a limit, summed up, for many limits at once.

    Args:
        x: float32 [R, K].
        limits: float32 [..., R], not negative.

    Returns:
        float64 [..., R].
    """
    R = x.shape[0]
    ordered = x.abs().sort(dim=1, descending=True).values
    doubles = ordered.to(torch.float64)
    sums = torch.nn.functional.pad(doubles.cumsum(dim=1), (1, 0))
    squares = torch.nn.functional.pad(doubles.square().cumsum(dim=1), (1, 0))
    at = limits.reshape(-1, R).t().contiguous()
    beyond = torch.searchsorted((-ordered).contiguous(), -at)  # how many lie beyond
    limit = at.to(torch.float64)
    energy = squares.gather(1, beyond) - 2 * limit * sums.gather(1, beyond) + beyond * limit.square()
    return energy.clamp_(min=0).t().reshape(limits.shape)


def _tried(
    x: Tensor, scales: Tensor, gradient: Tensor | None, transposed: Tensor | None, rounding: Rounding
) -> tuple[Tensor, Tensor]:
    """What `try_scales` finds, by torch; without gradient the errors of the outputs.

    Args:
        x: float32 [R, K].
        scales: float32 [7, ratios, R].
        gradient: [R, K], or None.
        transposed: weight [K, N], needed without it.
        rounding: of the coding.

    Returns:
        float64 [7 * ratios] and int64 [7 * ratios, 128].
    """
    magnitude = x.abs()
    codes, lost = torch.empty_like(x, dtype=torch.int8), torch.empty_like(x)
    errors, counts = [], []
    for T, of_ratios in enumerate(scales.unsqueeze(-1), start=1):
        for scale in of_ratios:
            magnitude_codes(magnitude, scale, T, lost, codes, rounding)
            counts.append(torch.bincount(codes.view(torch.uint8).reshape(-1), minlength=2**MAX_TIMESTEPS))
            lost.copy_(codes)
            if gradient is None:
                assert transposed is not None
                torch.sub(x, lost.copysign_(x).mul_(scale), out=lost)
                squares = (lost @ transposed).square_()
            else:
                squares = torch.sub(magnitude, lost.mul_(scale), out=lost).mul_(gradient).square_()
            errors.append(squares.sum(dtype=torch.float64))
    return torch.stack(errors), torch.stack(counts)


def _encoded(
    x: Tensor, scales: Tensor, gradient: Tensor | None, transposed: Tensor | None, codec: Coding
) -> tuple[Tensor, Tensor]:
    """The same of a coding that does not round: its own codes of every candidate, and their spikes.

    Returns:
        float64 [T * ratios], twice: errors, and spikes of all rows.
    """
    errors, spikes = [], []
    for T, of_ratios in enumerate(scales, start=1):
        for scale in of_ratios:
            codes = encode_groups(x, scale, T, codec.native)
            if codes is None:
                codes, _ = quantize_rows(x, scale, T, codec.name)
            spikes.append(_spikes_of_codes(codes, T, codec))
            lost = x - codes * scale.unsqueeze(-1)
            if gradient is None:
                assert transposed is not None
                lost = lost @ transposed
            else:
                lost *= gradient
            errors.append(lost.square_().sum(dtype=torch.float64))
    return torch.stack(errors).cpu(), torch.stack(spikes).cpu()


def _spikes_of_codes(codes: Tensor, timesteps: int, codec: Coding) -> Tensor:
    """How many spikes stand for codes: of each different code they are found once. Float64 []."""
    lowest = codes.min().to(torch.int32)
    counts = torch.bincount((codes.to(torch.int32) - lowest).flatten())
    present = counts.nonzero()
    fired, _ = codec.pack(present + lowest, timesteps)
    return (popcount(fired).sum(dim=(0, 2)) * counts[present[:, 0]]).sum(dtype=torch.float64)


@lru_cache
def _spikes_of_magnitudes(coding: str) -> Tensor:
    """Spikes of a code by T and magnitude, float64 [7, 128].

    An unsigned coding encodes q + zero point; its spikes are counted for the middle zero point and averaged over signs.
    """
    codec = get_coding(coding)
    table = torch.zeros(MAX_TIMESTEPS, 2**MAX_TIMESTEPS, dtype=torch.float64)
    for T in range(1, MAX_TIMESTEPS + 1):
        magnitudes = torch.arange(2**T, dtype=torch.int16).view(1, -1)
        settings = {} if codec.signed else {"zero_point": 1 << T}
        counts = [
            spikes_from_codes(codes, T, coding, **settings).spikes.ne(0).sum(dim=0).view(-1)
            for codes in (magnitudes, -magnitudes)
        ]
        table[T - 1, : 2**T] = torch.stack(counts).to(torch.float64).mean(dim=0)
    return table


def spread(valid: Tensor, quota: int) -> Tensor:
    """Up to `quota` of the True entries of each row, evenly spread over them.

    Args:
        valid: bool [B, S].
        quota: entries to keep in each row.

    Returns:
        bool [B, S].
    """
    count = valid.sum(dim=1, keepdim=True)
    if not valid.numel():
        return valid
    place = valid.cumsum(dim=1)  # the how-manieth True entry, from 1
    # of `count` entries those are kept where round(place * quota / count) has just grown
    double = (2 * count).clamp(min=1)
    grown = (2 * place * quota + count) // double > (2 * (place - 1) * quota + count) // double
    return valid & (grown | (count <= quota))
