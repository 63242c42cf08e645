"""Group coding in plain NumPy, straight from its definition: of four neighbouring inputs one fires a step.

It shares no code with the torch implementation, the kernels or the hardware. Shapes: M token rows, K inputs, S steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

GROUP = 4
FRACTION = 7  # bits below the weight of the last step: a residual counts 2^-7 of it


def group_membranes(x: Array, scale: Array, timesteps: Array) -> NDArray[np.int32]:
    """Fixed-point membranes of activations, in 2^-7 of what a spike of the last step is worth.

    Args:
        x: float32 [M, K], finite.
        scale: float32 [M], positive: what a code of 1 stands for, 2^(1-S) of a spike of the last step.
        timesteps: [M], S of each row, 1 .. 8.

    Returns:
        int32 [M, K]: sign * floor(|x / scale| * 2^(8-S)), up to what fires in every step.
    """
    S = timesteps.astype(np.int64)[:, None]
    with np.errstate(over="ignore"):
        y = (x.astype(np.float32) / scale.astype(np.float32)[:, None]).astype(np.float64)
    largest = (3**S - 2**S) << (8 - S)
    magnitude = np.minimum(np.floor(np.abs(y) * 2.0 ** (8 - S)), largest)
    return (np.sign(y) * magnitude).astype(np.int32)


def fire_groups(membrane: Array, timesteps: Array, beam: int, steps: int | None = None) -> NDArray[np.int8]:
    """Which input of each group fires in each step.

    A beam of states walks through the steps; a state holds the four residuals r of its group. A step that `left` others
    follow has the weight w = 3^left * 2^(7-left). For each state: nobody fires; or input j does, with the sign of its r
    (plus for 0), r moves towards 0 by w, and the sum of squares changes by w * (w - 2|r|). The `beam` least sums go
    on in their order. Among equal ones "nobody" comes first, then input 0, 1, 2, 3; within these, the state that
    stood further ahead.

    Args:
        membrane: int32 [M, K], as `group_membranes` gives them.
        timesteps: [M].
        beam: states that are kept.
        steps: length of the first axis; the longest row's by default. Steps beyond a row's own are zero.

    Returns:
        int8 [steps, M, K] in {-1, 0, 1}.
    """
    M, K = membrane.shape
    spikes = np.zeros((int(timesteps.max()) if steps is None else steps, M, K), np.int8)
    padded = np.zeros((M, -(-K // GROUP) * GROUP), np.int64)
    padded[:, :K] = membrane
    for S in np.unique(timesteps).tolist():
        rows = np.flatnonzero(timesteps == S)
        fired = _search(padded[rows].reshape(-1, GROUP), S, beam)
        spikes[:S, rows] = fired.reshape(S, len(rows), -1)[:, :, :K]
    return spikes


def _search(drive: NDArray[np.int64], S: int, beam: int) -> NDArray[np.int8]:
    """Spikes int8 [S, N, 4] of groups [N, 4]."""
    N = len(drive)
    every = np.arange(N)[:, None]
    residual = drive[:, None, :]  # [N, states, 4]
    total = np.zeros((N, 1), np.int64)
    history = np.zeros((N, 1, S, GROUP), np.int8)
    for t in range(S):
        left = S - 1 - t
        w = 3**left * 2 ** (7 - left)
        states = total.shape[1]
        sums = np.empty((N, 1 + GROUP, states), np.int64)
        sums[:, 0] = total
        for j in range(GROUP):
            sums[:, 1 + j] = total + w * (w - 2 * np.abs(residual[:, :, j]))
        flat = sums.reshape(N, -1)
        kept = np.argsort(flat, axis=1, kind="stable")[:, : beam if left else 1]
        who, state = kept // states, kept % states
        total = np.take_along_axis(flat, kept, axis=1)
        residual, history = residual[every, state].copy(), history[every, state].copy()
        for j in range(GROUP):
            sign = np.where(residual[:, :, j] >= 0, 1, -1) * (who == 1 + j)
            residual[:, :, j] -= sign * w
            history[:, :, t, j] = sign
    return np.ascontiguousarray(history[:, 0].transpose(1, 0, 2))


def decode_groups(spikes: Array, timesteps: Array) -> NDArray[np.int64]:
    """Sum spikes with their temporal weights 3^(S-1-t) * 2^t: int8 [steps, M, K], [M] -> int64 [M, K]."""
    S = timesteps.astype(np.int64)
    codes = np.zeros(spikes.shape[1:], np.int64)
    for t in range(spikes.shape[0]):
        left = np.maximum(S - 1 - t, 0)
        codes += np.where(t < S, 3**left * 2**t, 0)[:, None] * spikes[t]
    return codes
