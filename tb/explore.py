"""How well words are filled, by distribution, T and shape of the array: the cycle model on generated codes.

    python tb/explore.py [--lanes N …] [--slots N …] [--inputs K] [--rows M] [--seed N]

`barrier` waits for the fullest lane after each plane, `lead` is the core's rule (a lane may be one plane ahead). Codes
are as a threshold at the row's largest input gives them; `gated` is the product of a Gaussian and a gated Gaussian.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "plugin")]

import numpy as np  # noqa: E402
from cycle_model import words_of  # noqa: E402

DISTRIBUTIONS = ("gauss", "laplace", "gated")


def magnitudes(rng: np.random.Generator, distribution: str, rows: int, inputs: int, timesteps: int) -> np.ndarray:
    """|codes| of random activations: int64 [rows, inputs]."""
    size = (rows, inputs)
    if distribution == "gauss":
        x = rng.normal(size=size)
    elif distribution == "laplace":
        x = rng.laplace(size=size)
    else:
        gate = rng.normal(size=size)
        x = rng.normal(size=size) * gate / (1 + np.exp(-1.702 * gate))
    top = 2**timesteps - 1
    x = np.abs(x) / np.abs(x).max(axis=1, keepdims=True) * top
    return np.minimum(np.floor(x + 0.5), top).astype(np.int64)


def plane_counts(codes: np.ndarray, timesteps: int, lanes: int, slots: int) -> np.ndarray:
    """Spikes of each row and block, plane and lane: [rows * blocks, planes, lanes], highest plane first."""
    rows, inputs = codes.shape
    blocks = -(-inputs // (lanes * slots))
    padded = np.zeros((rows, blocks * lanes * slots), np.int64)
    padded[:, :inputs] = codes
    padded = padded.reshape(rows * blocks, slots, lanes)
    return np.stack([(padded >> e & 1).sum(axis=1) for e in reversed(range(timesteps))], axis=1)


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="How well the array's words are filled, from the cycle model.")
    parser.add_argument("--lanes", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--slots", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--inputs", type=int, default=2048)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(options.seed)
    print("share of adder slots that hold a spike (simulated: cycle model)")
    for distribution in DISTRIBUTIONS:
        for timesteps in (3, 4):
            codes = magnitudes(rng, distribution, options.rows, options.inputs, timesteps)
            spikes = sum(int((codes >> e & 1).sum()) for e in range(timesteps))
            print(f"{distribution} T={timesteps}: {spikes / codes.size:.2f} spikes per input")
            for lanes in options.lanes:
                for slots in options.slots:
                    counts = plane_counts(codes, timesteps, lanes, slots)
                    barrier = int(np.maximum(counts.max(axis=2), 0).sum())
                    lead = int(words_of(counts).sum())
                    print(
                        f"  lanes {lanes:3} slots {slots:3}   barrier {spikes / barrier / lanes:.2f}   "
                        f"lead {spikes / lead / lanes:.2f}"
                    )


if __name__ == "__main__":
    main()
