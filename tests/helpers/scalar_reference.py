"""The numerics once more, in plain Python with exact fractions: slow, obvious, and without PyTorch's help."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np

HALF = Fraction(1, 2)


def quotient(x: float, scale: float) -> float:
    """The IEEE float32 quotient."""
    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(x) / np.float32(scale))


def tc_lif(y: float, timesteps: int) -> list[int]:
    """The neuron's equation, one step at a time, on a float drive that is not NaN."""
    sign = (y > 0) - (y < 0)
    membrane = (Fraction(abs(y)) if math.isfinite(y) else Fraction(1 << 200)) + HALF
    spikes = []
    for t in range(timesteps):
        theta = 1 << (timesteps - 1 - t)
        fire = membrane >= theta
        membrane -= theta * fire
        spikes.append(sign * fire)
    return spikes


def rounded(y: float) -> int:
    """Half away from zero."""
    magnitude = math.floor(Fraction(abs(y)) + HALF) if math.isfinite(y) else 1 << 200
    return magnitude if y > 0 else -magnitude


def code(y: float, low: int, high: int, spike_cost: float = 0.0) -> tuple[int, bool]:
    """The code of a drive within limits, and whether it saturated.

    Of the integers beside a drive, as far as they are codes, it is the one of least squared error plus what the spikes
    of its bits cost; the larger one of equal ones.
    """
    q = rounded(y)
    saturated = not low <= q <= high
    if spike_cost:
        limit = high if y > 0 else -low
        magnitude = min(Fraction(abs(y)), Fraction(limit)) if math.isfinite(y) else Fraction(limit)
        beside = {min(math.floor(magnitude) + up, limit) for up in (0, 1)}
        cost = {one: (magnitude - one) ** 2 + Fraction(spike_cost) * one.bit_count() for one in beside}
        best = min(beside, key=lambda one: (cost[one], -one))
        q = best if y > 0 else -best
    return min(max(q, low), high), saturated


def csd(q: int, timesteps: int) -> list[int]:
    """Fire when 3|V| > 2 theta."""
    spikes = []
    for t in range(timesteps + 1):
        theta = 1 << (timesteps - t)
        spike = ((q > 0) - (q < 0)) if 3 * abs(q) > 2 * theta else 0
        q -= theta * spike
        spikes.append(spike)
    return spikes


def fewest_digits(timesteps: int) -> dict[int, int]:
    """Code -> fewest nonzero digits among all signed binary codes of timesteps + 1 digits, by trying them all."""
    fewest: dict[int, int] = {}
    for digits in itertools.product((-1, 0, 1), repeat=timesteps + 1):
        value = sum(d << i for i, d in enumerate(digits))
        used = sum(map(abs, digits))
        fewest[value] = min(used, fewest.get(value, used))
    return fewest


def hardware_code(membrane: int, timesteps: int, frac_bits: int) -> int:
    """What an integer neuron fires for a fixed-point membrane, as a code."""
    potential = abs(membrane) + (1 << (frac_bits - 1))
    total = 0
    for t in range(timesteps):
        theta = 1 << (timesteps - 1 - t)
        if potential >= theta << frac_bits:
            potential -= theta << frac_bits
            total += theta
    return total if membrane > 0 else -total


def awkward_drives(timesteps: int) -> list[float]:
    """Float32 drives where rounding goes wrong if it ever does: ties, their neighbours, extremes; both signs."""
    limit = (1 << timesteps) - 1
    drives = {0.0, 0.25, 0.49999997, 0.50000006, 1e-45, 1.1754944e-38, 1e10, 1e30, 3.4028235e38, math.inf}
    for k in range(limit + 3):
        for centre in (np.float32(k), np.float32(k + 0.5)):
            drives.add(float(centre))
            up = down = centre
            for _ in range(3):
                up, down = np.nextafter(up, np.float32(np.inf)), np.nextafter(down, np.float32(0))
                drives |= {float(up), float(down)}
    drives |= {8388607.5, 8388608.0, 4194303.5, 16777215.0, 2147483648.0, 9.2233720e18}
    return sorted(drives | {-d for d in drives})


def group_spikes(drive: list[int], steps: int, beam: int) -> list[tuple[int, ...]]:
    """What four inputs fire step by step, of which one fires a step: states as tuples, sorted by what they say."""
    states: list[tuple[int, list[int], list[tuple[int, ...]]]] = [(0, list(drive), [])]
    for t in range(steps):
        left = steps - 1 - t
        weight = 128 * 3**left // 2**left
        assert weight * 2**left == 128 * 3**left
        candidates = []
        for rank, (score, residual, fired) in enumerate(states):
            candidates.append((score, 0, rank, residual, [*fired, (0, 0, 0, 0)]))
            for j, r in enumerate(residual):
                sign = 1 if r >= 0 else -1
                moved = [value - sign * weight * (i == j) for i, value in enumerate(residual)]
                change = moved[j] ** 2 - r**2
                spikes = tuple(sign * (i == j) for i in range(4))
                candidates.append((score + change, 1 + j, rank, moved, [*fired, spikes]))
        candidates.sort(key=lambda candidate: candidate[:3])
        states = [(score, residual, fired) for score, _, _, residual, fired in candidates[: beam if left else 1]]
    return states[0][2]
