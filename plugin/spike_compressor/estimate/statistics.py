"""How often inputs fire: by a trace, or by a number and a distribution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spike_compressor.errors import InputError
from spike_compressor.estimate.words import words_of
from spike_compressor.layer_kinds import layer_kind
from spike_compressor.trace import Bundle, Layer

#: |x| of activations, drawn for the codes of a distribution.
DISTRIBUTIONS = ("gauss", "laplace", "gated")
#: Blocks that mean words are taken over, and the seed of the draw.
DRAWS, SEED = 512, 0
#: Steps of a threshold that are tried when so many spikes are asked for, over the root mean square or over the old one.
STEPS = np.geomspace(100, 1e-3, 1200)
#: One in so many of them is tried first.
COARSE = 20


@dataclass(frozen=True)
class Spikes:
    """How rows of one kind fire.

    Attributes:
        codes: share of inputs of each magnitude, 0 to 2^T - 1; a magnitude's spikes are its binary digits.
        spread: standard deviation over mean of the spikes of a row tile in a block: some blocks and rows are busier.
    """

    codes: tuple[float, ...]
    spread: float = 0.0

    @property
    def timesteps(self) -> int:
        """T."""
        return (len(self.codes) - 1).bit_length()

    @property
    def planes(self) -> tuple[float, ...]:
        """Share of inputs that fire in each plane, highest first."""
        q = np.arange(len(self.codes))
        return tuple(float(np.dot(self.codes, q >> e & 1)) for e in reversed(range(self.timesteps)))

    @property
    def per_input(self) -> float:
        """Spikes per input."""
        return sum(self.planes)

    def scaled(self, factor: float) -> Spikes:
        """The same inputs at the threshold that gives so many times the spikes, or as near as one comes to it."""
        return self if factor == 1 else _rescaled(self, round(factor, 4))


def of_distribution(distribution: str, timesteps: int, per_input: float) -> Spikes:
    """Codes of inputs that have a distribution, at the threshold that gives so many spikes.

    Args:
        distribution: one of `DISTRIBUTIONS`.
        timesteps: T, 1 to 7.
        per_input: spikes per input.

    Raises:
        InputError: an unknown distribution, or more spikes than T timesteps can hold.
    """
    if distribution not in DISTRIBUTIONS:
        raise InputError(f"unknown distribution {distribution!r}; there are: {', '.join(DISTRIBUTIONS)}")
    found = _at(_magnitudes(distribution), 2**timesteps - 1, per_input)
    if not per_input > 0 or abs(found.per_input - per_input) > 0.02 * per_input:
        raise InputError(
            f"{per_input:g} spikes per input are none that {distribution} inputs can have at T = {timesteps}; the "
            f"nearest is {found.per_input:.2f}"
        )
    return found


def _at(x: NDArray[np.float64], top: int, per_input: float) -> Spikes:
    """Codes of magnitudes at the largest step that gives so many spikes, or else at the one that comes nearest."""
    steps = STEPS * float(np.sqrt((x * x).mean()))
    coarse = range(0, len(steps), COARSE)
    reached = next((at for at in coarse if _coded(x, steps[at], top).per_input >= per_input), coarse[-1])
    fine = [_coded(x, step, top) for step in steps[max(0, reached - COARSE) : reached + 1]]
    return min(fine, key=lambda one: abs(one.per_input - per_input))


def _coded(x: NDArray[np.float64], step: float, top: int) -> Spikes:
    codes = np.minimum(np.floor(x / step + 0.5), top).astype(np.int64)
    return Spikes(tuple((np.bincount(codes, minlength=top + 1) / len(codes)).tolist()))


@lru_cache(maxsize=1024)
def _rescaled(spikes: Spikes, factor: float) -> Spikes:
    # inputs of a code are spread evenly over those that round to it
    within = (np.arange(16) + 0.5) / 16 - 0.5
    counts = np.rint(np.array(spikes.codes) * 2048).astype(np.int64)
    x = np.abs(np.repeat(np.arange(len(counts)), counts)[:, None] + within).ravel()
    return replace(_at(x, len(counts) - 1, spikes.per_input * factor), spread=spikes.spread)


@lru_cache
def _magnitudes(distribution: str) -> NDArray[np.float64]:
    """|x| of a distribution, drawn: [20000]."""
    rng = np.random.default_rng(SEED)
    if distribution == "gauss":
        x = rng.normal(size=20000)
    elif distribution == "laplace":
        x = rng.laplace(size=20000)
    else:  # the product of a Gaussian and a gated one, as in an MLP
        gate = rng.normal(size=20000)
        x = rng.normal(size=20000) * gate / (1 + np.exp(-1.702 * gate))
    magnitudes: NDArray[np.float64] = np.abs(x)
    return magnitudes


def of_rows(codes: NDArray[Any], timesteps: int, tile: int = 8, block: int = 256) -> Spikes:
    """Statistics of rows of one T.

    Args:
        codes: signed or not, int [rows, K].
        timesteps: T.
        tile: rows of a tile, for `spread`.
        block: inputs of a block, likewise.
    """
    magnitudes = np.abs(codes)
    counts = np.bincount(magnitudes.ravel(), minlength=2**timesteps)
    fired = sum((magnitudes >> e & 1).astype(np.int64) for e in range(timesteps))
    means = [
        float(np.mean(part[:, start : start + block]))
        for part in np.array_split(np.asarray(fired), -(-len(codes) // tile))
        for start in range(0, codes.shape[1], block)
    ]
    middle = float(np.mean(means))
    spread = float(np.std(means)) / middle if middle else 0.0
    return Spikes(tuple((counts / codes.size).round(4).tolist()), round(spread, 4))


def of_bundle(bundle: Bundle) -> dict[tuple[str, str], tuple[Spikes, float]]:
    """Statistics of a bundle, by kind of layer and modality.

    Returns:
        (kind, modality) -> statistics, and the multiply-accumulates that they stand for. Where rows have several T, the
        largest counts, and the others are codes of it.

    Raises:
        InputError: a layer in a coding whose spikes are no binary digits.
    """
    found: dict[tuple[str, str], list[tuple[Spikes, float]]] = {}
    for info in bundle.infos:
        layer = bundle.layer(info.name)
        if info.coding != "tc_lif":
            raise InputError(
                f"layer {info.name} of {bundle.path} is in {info.coding}; statistics are taken of tc_lif alone"
            )
        names = np.array([layer.modalities[code] for code in layer.modality])
        for modality in dict.fromkeys(names.tolist()):
            rows = names == modality
            weight = float(rows.sum()) * info.in_features * info.out_features
            one = of_rows(layer.codes[rows], int(layer.timesteps[rows].max()))
            kind = layer_kind(info.name, set(names.tolist()))
            found.setdefault((kind, modality), []).append((one, weight))
    return {key: (mean_of(parts), sum(weight for _, weight in parts)) for key, parts in found.items()}


def parts_of(layer: Layer) -> list[tuple[int, Spikes]]:
    """Rows of each T of a layer, and how they fire."""
    return [
        (int((layer.timesteps == T).sum()), of_rows(layer.codes[layer.timesteps == T], T))
        for T in sorted(set(layer.timesteps.tolist()))
    ]


def mean_of(parts: Iterable[tuple[Spikes, float]]) -> Spikes:
    """Weighted mean; T is the largest."""
    parts = list(parts)
    total = sum(weight for _, weight in parts)
    codes = np.zeros(max(len(spikes.codes) for spikes, _ in parts))
    for spikes, weight in parts:
        codes[: len(spikes.codes)] += np.array(spikes.codes) * weight / total
    return Spikes(tuple(codes.tolist()), sum(spikes.spread * weight for spikes, weight in parts) / total)


@lru_cache(maxsize=4096)
def mean_words(spikes: Spikes, inputs: int, lanes: int) -> float:
    """Words that a row takes in a block, on average: drawn, as the rule has no closed form.

    Args:
        spikes: how the row fires.
        inputs: of the block.
        lanes: of the array.
    """
    rng = np.random.default_rng(SEED)
    slots = -(-inputs // lanes)
    shares = np.cumsum(spikes.codes)
    codes = np.searchsorted(shares / shares[-1], rng.random((DRAWS, slots * lanes)), side="right")
    codes[:, inputs:] = 0
    codes = codes.reshape(DRAWS, slots, lanes)
    counts = np.stack([(codes >> e & 1).sum(axis=1) for e in reversed(range(spikes.timesteps))], axis=1)
    return float(words_of(counts).mean())
