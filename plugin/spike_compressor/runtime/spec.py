"""What the neurons of one layer do: timesteps and thresholds by modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from spike_compressor.coding import get_coding, get_statistic
from spike_compressor.errors import InputError
from spike_compressor.modality import in_order, modality_code, modality_names

ThresholdMode = Literal["dynamic", "static"]


def largest_level(coding: str, timesteps: int) -> int:
    """The largest integer that is multiplied with weights in a coding of T timesteps: a code or, unsigned, a level."""
    codec = get_coding(coding)
    return codec.largest(timesteps) if codec.signed else 2 ** (timesteps + 1) - 1


@dataclass(frozen=True)
class LayerSpec:
    """The spiking encoding of one Linear's input.

    Attributes:
        timesteps: T by modality, 1 to 7 (or what the coding has); L = 2^(T+1) levels whatever the coding, if it rounds.
            Names the modalities of the rows; what else goes by modality must have the same ones.
        coding: name of a registered coding.
        threshold: `dynamic` (every row has its own scale) or `static` (one scale per modality).
        statistic: dynamic only: name of the registered statistic that a row's scale is proportional to.
        ratio: dynamic only: s = ratio * absmax(row) / (2^T - 1), or ratio * statistic(row) of another statistic, by
            modality, in (0, 2]; 1 if left out. `coding.row_scale` says it for every coding.
        scale: static only: s by modality, in units of the input.
        symmetric: False where an asymmetric activation quantizer is reinterpreted: rows then have a zero point.
        zero_point: static asymmetric thresholds only: the level that stands for zero, 0 .. L-1, by modality.
    """

    timesteps: Mapping[str, int]
    coding: str = "tc_lif"
    threshold: ThresholdMode = "dynamic"
    ratio: Mapping[str, float] = field(default_factory=dict)
    scale: Mapping[str, float] | None = None
    symmetric: bool = True
    zero_point: Mapping[str, int] | None = None
    statistic: str = "absmax"

    def __post_init__(self) -> None:
        coding = get_coding(self.coding)
        get_statistic(self.statistic)
        if not self.symmetric and coding.signed:
            raise InputError(f"coding {self.coding!r} is signed; asymmetric rows need an unsigned one")
        if not self.timesteps:
            raise InputError("timesteps need one T for each modality, got none")
        if not self.ratio:
            object.__setattr__(self, "ratio", dict.fromkeys(self.timesteps, 1.0))
        for modality, T in self.timesteps.items():
            modality_code(modality)
            longest = coding.max_timesteps
            if not isinstance(T, int) or isinstance(T, bool) or not 1 <= T <= longest:
                raise InputError(
                    f"timesteps of {modality} must be an integer from 1 to {longest} in {self.coding!r}, got {T!r}"
                )
        self._require_each("threshold_ratio", "ratio", self.ratio)
        for modality, ratio in self.ratio.items():
            if not 0 < ratio <= 2:
                raise InputError(f"threshold_ratio of {modality} must be in (0, 2], got {ratio}")
        if self.statistic != "absmax" and (self.threshold == "static" or not self.symmetric):
            raise InputError(f"threshold_statistic {self.statistic!r} is for dynamic, symmetric thresholds")
        if self.threshold == "static":
            if self.scale is None:
                raise InputError("static thresholds need a calibrated scale for each modality; none was calibrated")
            self._require_each("the static threshold", "scale", self.scale)
            for modality, scale in self.scale.items():
                if not 0 < scale < float("inf"):
                    raise InputError(f"static threshold of {modality} must be positive and finite, got {scale}")
            if (self.zero_point is None) != self.symmetric:
                raise InputError("static asymmetric thresholds need a zero point by modality, symmetric ones none")
        if self.zero_point is not None:
            self._require_each("zero_point", "level", self.zero_point)
            for modality, level in self.zero_point.items():
                if not 0 <= level < 2 ** (self.timesteps[modality] + 1):
                    raise InputError(f"zero_point of {modality} must be in 0 .. 2^(T+1) - 1, got {level}")

    def _require_each(self, what: str, one: str, values: Mapping[str, float]) -> None:
        if set(values) != set(self.timesteps):
            raise InputError(
                f"{what} needs one {one} for each modality that timesteps have ({', '.join(self.timesteps)}), got "
                f"{dict(values)}"
            )

    def only(self, modalities: tuple[str, ...], layer: str) -> LayerSpec:
        """The same for a model that has these modalities.

        Args:
            modalities: of the model.
            layer: name of the module, for the message.

        Raises:
            InputError: one of them has no T.
        """
        if tuple(self.timesteps) == modalities:
            return self
        missing = [name for name in modalities if name not in self.timesteps]
        if missing:
            raise InputError(
                f"{layer}: timesteps have no T for {missing[0]}, got {dict(self.timesteps)}; the model has "
                f"{', '.join(modalities)}"
            )
        chosen: dict[str, Any] = {
            field: None if values is None else {name: values[name] for name in modalities}
            for field in ("timesteps", "ratio", "scale", "zero_point")
            for values in [getattr(self, field)]
        }
        return replace(self, **chosen)

    @property
    def by_modality(self) -> bool:
        """Whether rows of different modalities are treated differently."""
        tables = (self.timesteps, self.ratio, self.scale or {}, self.zero_point or {})
        return any(len(set(table.values())) > 1 for table in tables)

    @property
    def largest_level(self) -> int:
        """The largest integer that any backend multiplies: a code, a spike, or an unsigned coding's level."""
        return largest_level(self.coding, max(self.timesteps.values()))

    @cached_property
    def _by_code(self) -> tuple[str, ...]:
        names = in_order(self.timesteps)
        # rows of modalities that the model does not have never come this far: any value may stand for them
        known = modality_names()[: modality_code(names[-1]) + 1]
        return tuple(name if name in names else names[0] for name in known)

    def table(self, values: Mapping[str, float]) -> tuple[float, ...]:
        """`values` in the order of modality codes."""
        return tuple(values[name] for name in self._by_code)


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
        if self.rows.statistic != "absmax":
            raise InputError(
                f"attention has thresholds by absmax only, not by {self.rows.statistic!r}: the mean of a row of "
                "probabilities would tell how many keys are masked or not yet there"
            )
        if not get_coding(self.rows.coding).signed:
            raise InputError(
                f"coding {self.rows.coding!r} is unsigned; attention needs a signed one (tc_lif, csd, unary)"
            )
        if not get_coding(self.rows.coding).rounds:
            raise InputError(
                f"coding {self.rows.coding!r} codes several inputs together; attention needs one that rounds each of "
                "them (tc_lif, csd, unary)"
            )
        if len(set(self.rows.ratio.values())) != 1:
            raise InputError(f"attention has one threshold_ratio for all modalities, got {dict(self.rows.ratio)}")

    @property
    def ratio(self) -> float:
        """The threshold ratio of every row."""
        return next(iter(self.rows.ratio.values()))
