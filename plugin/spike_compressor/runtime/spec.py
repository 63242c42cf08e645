"""What the neurons of one layer do: timesteps and thresholds by modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from spike_compressor.coding import MAX_TIMESTEPS, get_coding
from spike_compressor.errors import InputError
from spike_compressor.modality import MODALITIES

ThresholdMode = Literal["dynamic", "static"]


@dataclass(frozen=True)
class LayerSpec:
    """The spiking encoding of one Linear's input.

    Attributes:
        timesteps: T by modality, 1 to 7; L = 2^(T+1) levels whatever the coding.
        coding: name of a registered coding.
        threshold: `dynamic` (every row has its own scale) or `static` (one scale per modality).
        ratio: dynamic only: s = ratio * absmax(row) / (2^T - 1), by modality, in (0, 2].
        scale: static only: s by modality, in units of the input.
        symmetric: False where an asymmetric activation quantizer is reinterpreted: rows then have a zero point.
        zero_point: static asymmetric thresholds only: the level that stands for zero, 0 .. L-1, by modality.
    """

    timesteps: Mapping[str, int]
    coding: str = "tc_lif"
    threshold: ThresholdMode = "dynamic"
    ratio: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(MODALITIES, 1.0))
    scale: Mapping[str, float] | None = None
    symmetric: bool = True
    zero_point: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        coding = get_coding(self.coding)
        if not self.symmetric and coding.signed:
            raise InputError(f"coding {self.coding!r} is signed; asymmetric rows need an unsigned one")
        if set(self.timesteps) != set(MODALITIES):
            raise InputError(f"timesteps need one T for each of {', '.join(MODALITIES)}, got {dict(self.timesteps)}")
        for modality, T in self.timesteps.items():
            if not isinstance(T, int) or isinstance(T, bool) or not 1 <= T <= MAX_TIMESTEPS:
                raise InputError(f"timesteps of {modality} must be an integer from 1 to {MAX_TIMESTEPS}, got {T!r}")
        if set(self.ratio) != set(MODALITIES):
            raise InputError(f"threshold_ratio needs one ratio for each of {', '.join(MODALITIES)}, got {self.ratio}")
        for modality, ratio in self.ratio.items():
            if not 0 < ratio <= 2:
                raise InputError(f"threshold_ratio of {modality} must be in (0, 2], got {ratio}")
        if self.threshold == "static":
            if self.scale is None or set(self.scale) != set(MODALITIES):
                raise InputError("static thresholds need a calibrated scale for each modality; none was calibrated")
            for modality, scale in self.scale.items():
                if not 0 < scale < float("inf"):
                    raise InputError(f"static threshold of {modality} must be positive and finite, got {scale}")
            if (self.zero_point is None) != self.symmetric:
                raise InputError("static asymmetric thresholds need a zero point by modality, symmetric ones none")
        if self.zero_point is not None:
            if set(self.zero_point) != set(MODALITIES):
                raise InputError(f"zero_point needs one level for each of {', '.join(MODALITIES)}")
            for modality, level in self.zero_point.items():
                if not 0 <= level < 2 ** (self.timesteps[modality] + 1):
                    raise InputError(f"zero_point of {modality} must be in 0 .. 2^(T+1) - 1, got {level}")

    def table(self, values: Mapping[str, float]) -> tuple[float, ...]:
        """`values` in the order of modality codes."""
        return tuple(values[name] for name in MODALITIES)


@dataclass(frozen=True)
class AttentionSpec:
    """The spiking encoding of one attention module's products.

    Attributes:
        rows: of queries, keys, values and probabilities alike; a row has the T of its token, a row of probabilities
            that of the query's. Dynamic and signed: attention has no calibrated scales and no zero points.
        kv_cache: True: the cache holds integer codes and a scale per row. False: it holds what the model gives it, and
            rows are coded whenever they are used. The results are the same to the bit.
    """

    rows: LayerSpec
    kv_cache: bool = True

    def __post_init__(self) -> None:
        if self.rows.threshold != "dynamic":
            raise InputError("attention has dynamic thresholds only")
        if not get_coding(self.rows.coding).signed:
            raise InputError(
                f"coding {self.rows.coding!r} is unsigned; attention needs a signed one (tc_lif, csd, unary)"
            )
        if len(set(self.rows.ratio.values())) != 1:
            raise InputError(f"attention has one threshold_ratio for all modalities, got {dict(self.rows.ratio)}")

    @property
    def ratio(self) -> float:
        """The threshold ratio of every row."""
        return next(iter(self.rows.ratio.values()))
