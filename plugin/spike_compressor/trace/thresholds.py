"""What a bundle may say of its rows' scales: what they are tied to, held against the membranes. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Threshold", "first_row_apart"]

#: Roundings of a scale and of a quotient, each 2^-24, and some to spare.
_ROUNDED = 2.0**-21
#: What a mean in integers of 18 bits may lose, in units of the row's largest input.
_UNIT = 2.0**-17


@dataclass(frozen=True)
class Threshold:
    """What the scales of a layer's rows are tied to.

    Attributes:
        mode: `dynamic`, each row its own scale, or `static`, one for all rows of a modality.
        statistic: dynamic only: the row's number that its scale is proportional to, such as `absmax` or `rms`.
        ratio: dynamic only: by name of modality, what it is multiplied by.
    """

    mode: str
    statistic: str | None = None
    ratio: Mapping[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """The manifest's object."""
        return {key: value for key, value in vars(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: Any) -> Threshold:
        """Read the manifest's object.

        Raises:
            ValueError: says what it must be.
        """
        if value == {"mode": "static"}:
            return cls("static")
        form = '{"mode": "static"} or {"mode": "dynamic", "statistic": NAME, "ratio": {MODALITY: NUMBER, …}}'
        if not isinstance(value, Mapping) or value.get("mode") != "dynamic" or set(value) != set(cls.__annotations__):
            raise ValueError(f"must be {form}, got {value!r}")
        statistic, ratio = value["statistic"], value["ratio"]
        if not isinstance(statistic, str) or not statistic.isprintable() or not statistic:
            raise ValueError(f"has the statistic {statistic!r}; it must be a printable text")
        if not isinstance(ratio, Mapping) or not all(
            isinstance(name, str) and _is_ratio(ratio[name]) for name in ratio
        ):
            raise ValueError(f"has the ratio {ratio!r}; it must be a positive number by name of modality")
        return cls("dynamic", statistic, {name: float(number) for name, number in ratio.items()})


def _is_ratio(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < np.inf


def first_row_apart(
    threshold: Threshold,
    modality: NDArray[Any],
    names: Sequence[str],
    membrane: NDArray[Any],
    timesteps: NDArray[Any],
    frac_bits: int,
    scale: NDArray[Any],
) -> tuple[int, str] | None:
    """The first row whose scale is not what the threshold says, and what was expected of it; None if there is none.

    Membranes tell what a row was in units of its scale, up to where they clip. Statistics that are not known here are
    taken on trust.

    Args:
        threshold: of the layer.
        modality: uint8 [M], each below the number of names.
        names: of modalities by code.
        membrane: int32 [M, K].
        timesteps: [M].
        frac_bits: of the membranes.
        scale: float32 [M], positive and finite.
    """
    if threshold.mode == "static":
        for code in np.unique(modality):
            rows = np.flatnonzero(modality == code)
            apart = rows[scale[rows] != scale[rows[0]]]
            if len(apart):
                other = f"as row {rows[0]} of the same modality, since thresholds are static"
                return int(apart[0]), f"{scale[rows[0]]:.9g}, {other}"
        return None
    assert threshold.ratio is not None
    known = [name in threshold.ratio for name in names]
    unknown = np.flatnonzero(~np.array(known)[modality])
    if len(unknown):
        return int(unknown[0]), f"a ratio for {names[modality[unknown[0]]]} rows in the manifest's threshold"
    ratio = np.array([threshold.ratio.get(name, 1.0) for name in names])[modality]
    low, high = _statistic(threshold.statistic, membrane, timesteps.astype(np.int64), frac_bits)
    wanted = 1 / ratio  # of a row in units of its scale
    # scales that lost bits, or stand for a row of zeros, tell nothing
    telling = (membrane != 0).any(axis=1) & (scale > 2.0**-100) & (scale < 2.0**120)
    wrong = np.flatnonzero(telling & ((wanted < low * (1 - _ROUNDED)) | (wanted > high * (1 + _ROUNDED))))
    if not len(wrong):
        return None
    row = int(wrong[0])
    return row, f"{ratio[row]:g} times the row's {threshold.statistic}, which its membranes do not bear out"


def _statistic(
    name: str | None, membrane: NDArray[Any], timesteps: NDArray[Any], frac_bits: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Between what the statistic of each row lies, divided as its scale is, in units of the scale; float64 [M] each."""
    size = np.abs(membrane.astype(np.float64))
    limit = 2.0 ** (timesteps + frac_bits) - 1
    one, largest = 2.0**frac_bits, size.max(axis=1, initial=0)
    # each magnitude lies from its membrane to below the next one; beyond the limit it may have any size
    open_ended = np.where(largest < limit, 1.0, np.inf)
    low, high = np.zeros(len(size)), np.full(len(size), np.inf)
    if name == "absmax":
        codes = 2.0**timesteps - 1
        return largest / one / codes, (largest + 1) / one / codes * open_ended
    if name in ("rms", "mean_abs"):
        power = 2 if name == "rms" else 1
        least, most = ((part**power).mean(axis=1) ** (1 / power) / one for part in (size, size + 1))
        lost = np.where(largest < limit, _UNIT * (largest + 1) / one, np.inf)
        return np.maximum(least - lost, 0), most * open_ended
    return low, high
