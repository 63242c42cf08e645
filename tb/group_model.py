"""What the group array computes, in NumPy: sums of picked weights, steps by Horner's rule, to the bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def step_weights(steps: int) -> Ints:
    """Weights of a row's steps: 3^(S-1-t) * 2^t, int64 [S]."""
    t = np.arange(steps)
    return 3 ** (steps - 1 - t) * 2**t


def picks(spikes: NDArray[np.int8]) -> tuple[Ints, NDArray[np.bool_]]:
    """Who fires in each group, one hot in four bits, and whether it is negative, of spikes [..., groups, 4]."""
    assert (np.count_nonzero(spikes, axis=-1) <= 1).all(), "two inputs of a group fire at once"
    return (np.abs(spikes).astype(np.int64) << np.arange(4)).sum(-1), (spikes < 0).any(-1)


def step_sums(spikes: NDArray[np.int8], weights: Ints, bits: int) -> Ints:
    """What a column adds in each step: weights w + B of what fires, inverted where it is negative.

    Args:
        spikes: int8 [..., groups, 4].
        weights: [groups, 4], or as spikes.
        bits: of a weight.
    """
    half = 1 << (bits - 1)
    u = np.broadcast_to(weights + half, spikes.shape)
    return np.where(spikes > 0, u, np.where(spikes < 0, 2 * half - 1 - u, 0)).sum((-2, -1))


def accumulated(sums: Ints, most: int) -> int:
    """The accumulator behind chunks of steps [chunks, S], with the fraction bits of `most` steps."""
    steps = sums.shape[1]
    return int((sums * step_weights(steps)).sum()) << (most - steps)


def excess(spikes: NDArray[np.int8], bits: int) -> Ints:
    """What a column adds too much in each step of spikes [..., groups, 4]; it is the same in all columns."""
    return step_sums(spikes, np.zeros(spikes.shape, np.int64), bits)


def random_spikes(generator: np.random.Generator, steps: int, groups: int, filled: float = 0.9) -> NDArray[np.int8]:
    """Random spikes int8 [steps, groups, 4], of which a share of the groups fires in each step."""
    out = np.zeros((steps, groups, 4), np.int8)
    t, g = np.nonzero(generator.random((steps, groups)) < filled)
    out[t, g, generator.integers(0, 4, len(t))] = generator.choice(np.array([-1, 1], np.int8), len(t))
    return out
