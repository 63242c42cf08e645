"""Random layers with exact golden values, for the benches. Everything follows from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from spike_compressor.trace import Layer, LayerInfo, golden, group_membranes, steps_of
from spike_compressor.trace.codecs import CODECS
from spike_compressor.trace.schema import GROUP_CODINGS


def arrays_from_membranes(
    membrane: np.ndarray,
    timesteps: np.ndarray,
    weight: np.ndarray,
    *,
    coding: str,
    frac_bits: int,
    groups: int,
    rng: np.random.Generator,
    grouped: bool | None = None,
    max_timesteps: int | None = None,
) -> dict[str, Any]:
    """Every array of a layer that has these membranes and weights."""
    M, N = membrane.shape[0], weight.shape[0]
    grouped = groups > 1 if grouped is None else grouped
    steps = steps_of(int(timesteps.max()) if max_timesteps is None else max_timesteps, coding)
    spikes = CODECS[coding].fire(membrane, timesteps, frac_bits, steps)
    codes = CODECS[coding].codes(membrane, timesteps, frac_bits)
    acc = golden.accumulate(codes, weight, groups).astype(np.int32)
    act_scale = rng.uniform(1e-3, 1.0, M).astype(np.float32)
    weight_scale = rng.uniform(1e-3, 1e-1, (N, groups)).astype(np.float32)
    weight_scale[1::2] *= -1  # as AutoRound makes them
    bias = rng.normal(size=N).astype(np.float32) if rng.random() < 0.5 else None
    if not grouped:
        acc, weight_scale = acc[:, :, 0], weight_scale[:, 0]
    return {
        "membrane": membrane,
        "timesteps": timesteps,
        "modality": rng.integers(0, 2, M).astype(np.uint8),
        "codes": codes,
        "spikes": spikes,
        "weight": weight,
        "acc": acc,
        "act_scale": act_scale,
        "weight_scale": weight_scale,
        "output": golden.dequantize(acc, act_scale, weight_scale, bias),
        "bias": bias,
    }


def random_arrays(
    rng: np.random.Generator,
    M: int,
    K: int,
    N: int,
    *,
    coding: str = "tc_lif",
    timesteps: int | Sequence[int] = (3, 4),
    frac_bits: int = 16,
    weight_bits: int = 4,
    groups: int = 1,
    distribution: str = "gaussian",
    grouped: bool | None = None,
    max_timesteps: int | None = None,
    in_turn: bool = False,
    ends: int = 0,
) -> dict[str, Any]:
    """Arrays of a layer as a model would have it.

    Args:
        timesteps: one T for all rows, or the values that rows draw theirs from.
        distribution: gaussian, laplace (real activations), zeros, extreme (codes at both ends of the range and the
            membranes next to every rounding boundary), rare, usual, dense (so many spikes per input and step); of a
            group coding also sparse (every second group is silent) and halves (as `halves` draws them).
        in_turn: rows take the values of `timesteps` in turn.
        ends: of a group coding: 1 or -1 for the largest sums there are, with that sign.
    """
    choices = np.atleast_1d(np.asarray(timesteps))
    T = (np.resize(choices, M) if in_turn else rng.choice(choices, M)).astype(np.uint8)
    if coding in GROUP_CODINGS:
        membrane, weight = _of_groups(rng, T, K, N, weight_bits, distribution, ends)
        return arrays_from_membranes(
            membrane, T, weight, coding=coding, frac_bits=frac_bits, groups=groups, rng=rng, grouped=grouped,
            max_timesteps=max_timesteps,
        )  # fmt: skip
    top = (1 << T.astype(np.int64)) - 1
    limit = (1 << (T.astype(np.int64) + frac_bits)) - 1
    if distribution == "extreme":
        code = rng.integers(-top[:, None] - 1, top[:, None] + 2, (M, K))
        edge = (code << frac_bits) - np.sign(code) * (1 << (frac_bits - 1))  # exactly where the code begins
        membrane = edge + rng.integers(-1, 2, (M, K))
        ends = rng.random((M, K)) < 0.25
        membrane = np.where(ends, np.where(rng.random((M, K)) < 0.5, -limit[:, None], limit[:, None]), membrane)
        membrane = np.clip(membrane, -limit[:, None], limit[:, None]).astype(np.int32)
        half = 1 << (weight_bits - 1)
        weight = rng.choice(np.array([-half, half - 1, 0, -1, 1]), (N, K)).astype(np.int8)
    elif distribution in SHARES:
        membrane = _firing(rng, T, K, coding, frac_bits, SHARES[distribution])
        half = 1 << (weight_bits - 1)
        weight = rng.integers(-half, half, (N, K)).astype(np.int8)
    else:
        draw = {
            "gaussian": lambda: rng.normal(size=(M, K)),
            "laplace": lambda: rng.laplace(size=(M, K)),
            "zeros": lambda: np.zeros((M, K)),
        }[distribution]
        x = draw().astype(np.float32)
        peak = np.abs(x).max(axis=1)
        scale = np.where(peak > 0, peak * np.float32(0.8) / top.astype(np.float32), 1).astype(np.float32)
        membrane = golden.membranes(x, scale, T, frac_bits)
        half = 1 << (weight_bits - 1)
        weight = np.clip(np.rint(rng.normal(size=(N, K)) * half / 2.5), -half, half - 1).astype(np.int8)
    return arrays_from_membranes(
        membrane,
        T,
        weight,
        coding=coding,
        frac_bits=frac_bits,
        groups=groups,
        rng=rng,
        grouped=grouped,
        max_timesteps=max_timesteps,
    )


def _of_groups(
    rng: np.random.Generator, timesteps: np.ndarray, K: int, N: int, weight_bits: int, distribution: str, ends: int
) -> tuple[np.ndarray, np.ndarray]:
    """Membranes and weights of a layer in a group coding; see `random_arrays`."""
    M, S, half = len(timesteps), timesteps.astype(np.int64)[:, None], 1 << (weight_bits - 1)
    top = (3**S - 2**S) << (8 - S)
    weight = np.clip(np.rint(rng.normal(size=(N, K)) * half / 2.5), -half, half - 1).astype(np.int8)
    if ends:  # the first input of each group alone, as large as can be
        membrane = np.where(np.arange(K) % 4 == 0, -ends * top, 0)
        return membrane.astype(np.int32), np.full((N, K), -half, np.int8)
    if distribution == "extreme":
        places = np.array([0, 1, 63, 64, 65, 128, 192, 288, 432])
        membrane = rng.choice(places, (M, K)) * rng.choice([-1, 1], (M, K))
        membrane = np.where(rng.random((M, K)) < 0.2, np.where(rng.random((M, K)) < 0.5, -top, top), membrane)
        weight = rng.choice(np.array([-half, half - 1, 0, -1, 1]), (N, K)).astype(np.int8)
        return np.clip(membrane, -top, top).astype(np.int32), weight
    if distribution == "halves":
        membrane = np.concatenate([halves(rng, int(s), -(-K // 4)).reshape(1, -1)[:, :K] for s in timesteps])
        return membrane.astype(np.int32), weight
    draw = {"gaussian": rng.normal, "laplace": rng.laplace, "sparse": rng.laplace, "zeros": lambda size: np.zeros(size)}
    spread = draw[distribution]
    x = spread(size=(M, K)).astype(np.float32)
    if distribution == "sparse":
        x[:, np.arange(K) // 4 % 2 == 1] = 0
    scale = (0.3 / 2.0 ** (S[:, 0] - 1)).astype(np.float32)
    return group_membranes(x, scale, timesteps), weight


def halves(rng: np.random.Generator, steps: int, count: int) -> np.ndarray:
    """Groups int64 [count, 4] in which two inputs are as large as half the first step's weight, the others smaller.

    Whether one of the two fires or nobody does is a tie, and so is which one. So the beam keeps states that only the
    order of equal residuals tells apart, and often the best one comes from the second or the third of them.
    """
    half = 3 ** (steps - 1) << (8 - steps) >> 1
    membrane = rng.integers(half // 4, half, (count, 4))
    np.put_along_axis(membrane, np.argsort(rng.random((count, 4)), axis=1)[:, :2], half, axis=1)
    return membrane * rng.choice([-1, 1], (count, 4))


#: Spikes per input and step that distributions of `random_arrays` aim at.
SHARES = {"rare": 0.05, "usual": 0.25, "dense": 1.0}


def _firing(
    rng: np.random.Generator, timesteps: np.ndarray, K: int, coding: str, frac_bits: int, share: float
) -> np.ndarray:
    """Membranes of rows that fire `share` spikes per input and step, or as many as the coding can."""
    membrane = np.zeros((len(timesteps), K), np.int64)
    coding = "csd" if coding == "csd" else "tc_lif"  # before any lane drops a spike
    for m, t in enumerate(int(t) for t in timesteps):
        codes = np.arange(1, 1 << t)
        column = np.full(1, t, np.uint8)
        digits = np.abs(golden.fire((codes << frac_bits)[None].astype(np.int32), column, frac_bits, coding)).sum((0, 1))
        busiest = codes[digits == digits.max()]
        count = min(K, round(K * share * steps_of(t, coding) / digits.max()))
        places = rng.choice(K, count, replace=False)
        membrane[m, places] = (rng.choice(busiest, count) * rng.choice([-1, 1], count)) << frac_bits
    return membrane.astype(np.int32)


def layer_of(
    membrane: np.ndarray,
    timesteps: np.ndarray,
    weight: np.ndarray,
    *,
    coding: str,
    frac_bits: int,
    weight_bits: int,
    rng: np.random.Generator,
) -> Layer:
    """A layer in memory, of one group, that has these membranes and weights."""
    arrays = arrays_from_membranes(membrane, timesteps, weight, coding=coding, frac_bits=frac_bits, groups=1, rng=rng)
    return _layer("given", arrays, coding, frac_bits, weight_bits)


def random_layer(rng: np.random.Generator, M: int, K: int, N: int, name: str = "random", **options: Any) -> Layer:
    """A layer in memory; options as `random_arrays`."""
    arrays = random_arrays(rng, M, K, N, **options)
    settings = {"coding": "tc_lif", "frac_bits": 16, "weight_bits": 4} | options
    return _layer(name, arrays, *(settings[key] for key in ("coding", "frac_bits", "weight_bits")))


def _layer(name: str, arrays: dict[str, Any], coding: str, frac_bits: int, weight_bits: int) -> Layer:
    tokens, inputs = arrays["membrane"].shape
    info = LayerInfo(
        name=name,
        file="memory.npz",
        sha256="0" * 64,
        tokens=tokens,
        in_features=inputs,
        out_features=len(arrays["weight"]),
        coding=coding,
        frac_bits=frac_bits,
        max_timesteps=arrays["spikes"].shape[0] - steps_of(0, coding),
        weight_bits=weight_bits,
    )
    return Layer(info, arrays=arrays)
