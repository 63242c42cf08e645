"""Thresholds and ratios from what calibration has seen of each layer, and from others where it has seen nothing."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from spike_compressor.modality import ModalityAdapter
from spike_compressor.modifiers.thresholds import MagnitudeHistogram, RatioHistogram
from spike_compressor.modifiers.unreached import Siblings, pooled
from spike_compressor.runtime.plan import TemporalScale

#: `best((layer, modality), T)`: a ratio, or None where none of those rows was measured.
BestRatio = Callable[[tuple[str, str], int], float | None]


class Observed:
    """A histogram of each layer's rows of each modality.

    Args:
        names: of the layers.
        adapter: whose modalities rows have.

    Attributes:
        uncalibrated: layers, and `layer (modality)`, whose choice was asked for and had to be borrowed.
    """

    def __init__(self, names: Iterable[str], adapter: ModalityAdapter) -> None:
        self._names, self._adapter = list(names), adapter
        self._histograms: dict[tuple[str, str], Any] = {}
        self._reduced = False
        self.siblings = Siblings(self._names)
        self.uncalibrated: list[str] = []

    @property
    def begun(self) -> bool:
        """True once `begin` was called."""
        return bool(self._histograms)

    def begin(self, make: Callable[[], MagnitudeHistogram | RatioHistogram]) -> None:
        """Make empty histograms."""
        self._histograms = {(name, m): make() for name in self._names for m in self._adapter.modalities}

    def update(self, name: str, modality: str, rows: Tensor) -> None:
        """Add rows [R, K] of a layer's input."""
        self._histograms[name, modality].update(rows)

    def end(self) -> None:
        """Sum up over all ranks, once."""
        if not self._reduced:
            self._reduced = self.begun
            for histogram in self._histograms.values():
                histogram.reduce()

    def choose(
        self, name: str, timesteps: Mapping[str, int], choose: Callable[[Any, int], float]
    ) -> dict[str, float] | None:
        """`choose(histogram, T)` by modality; None if nothing is known of the layer, nor of others like it.

        Where a layer had no row of a modality, the other experts' rows of that modality are taken, or else another
        modality of the layer.
        """
        modalities = self._adapter.modalities
        own = {m: self._histograms[name, m] for m in modalities if not self._histograms[name, m].empty}
        self.note(name, set(own))
        seen = dict(own)
        for m in modalities:
            lent = None if m in own else self.siblings.once(name, m, partial(self._pooled, m))
            if lent is not None:
                seen[m] = lent
        if not seen:
            return None
        fallback = next(iter((own or seen).values()))
        return {m: choose(seen.get(m, fallback), timesteps[m]) for m in modalities}

    def _pooled(self, modality: str, names: list[str]) -> Any | None:
        return pooled([self._histograms[name, modality] for name in names])

    def note(self, name: str, seen: Collection[str]) -> None:
        """Put on record that of a layer's modalities only those were seen."""
        if not seen:
            self.uncalibrated.append(name)
        elif self._adapter.multimodal:
            expected = self._adapter.modalities_of(name)
            self.uncalibrated.extend(f"{name} ({m})" for m in expected if m not in seen)


def fitted(
    name: str, scales: Mapping[str, TemporalScale], best: BestRatio, siblings: Siblings
) -> dict[str, TemporalScale]:
    """Temporal scales of a layer by modality with a ratio in each.

    Where there is none, it is what `best` says; where that says nothing: the median of the other experts, or else
    another modality's, or else 1.
    """
    ratios: dict[str, float | None] = {}
    for m, scale in scales.items():
        T = scale.timesteps
        ratios[m] = best((name, m), T) if scale.ratio is None else scale.ratio
        if ratios[m] is None:
            ratios[m] = siblings.once(name, f"{m} {T}", partial(_median, best, m, T))
    fallback = next((ratio for ratio in ratios.values() if ratio is not None), 1.0)
    return {
        m: TemporalScale(scale.timesteps, fallback if ratios[m] is None else ratios[m]) for m, scale in scales.items()
    }


def _median(best: BestRatio, modality: str, timesteps: int, names: list[str]) -> float | None:
    found = [best((name, modality), timesteps) for name in names]
    ratios = [ratio for ratio in found if ratio is not None]
    return statistics.median_low(ratios) if ratios else None
