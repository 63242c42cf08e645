"""What capped firing would save: the fullest lanes of a block drop their least valuable spikes.

    python tb/capped.py BUNDLE … [--lanes 8] [--slots 8] [--share 1.0]

In a block of `lanes * slots` inputs every lane may fire as often as the lanes do on the mean, rounded up (`--share`
times that). A lane that would fire more often drops spikes of the lowest plane, of those inputs first that lose least
by it. That costs accuracy, which finer thresholds give back: for each layer the threshold is sought at which codes that
are capped have the signal-to-noise ratio of the bundle's own, and words are compared there. Estimated: equal SNR of a
layer's inputs is taken for equal accuracy, and ranges end at 127.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "plugin")]

import numpy as np  # noqa: E402
from cycle_model import words_of  # noqa: E402
from spike_compressor.trace import Layer, TraceError, open_bundle  # noqa: E402

PLANES = 7
TOP = 2**PLANES - 1
#: Finest threshold that is tried, over the bundle's, and how near it is sought.
FINEST, STEPS = 0.4, 12


def blocks_of(x: np.ndarray, lanes: int, slots: int) -> np.ndarray:
    """[M, K] -> [M * blocks, slots, lanes], the last block filled up with 0."""
    size = lanes * slots
    padded = np.pad(x, ((0, 0), (0, -x.shape[1] % size)))
    return padded.reshape(-1, slots, lanes)


def capped(drive: np.ndarray, share: float) -> np.ndarray:
    """Codes of drives, lanes capped.

    Args:
        drive: float [blocks, slots, lanes], magnitudes in thresholds.
        share: of the lanes' mean number of spikes, to which each is capped.

    Returns:
        int64, as `drive`.
    """
    codes = np.minimum(np.floor(drive + 0.5), TOP).astype(np.int64)
    fired = sum(codes >> e & 1 for e in range(PLANES)).sum(axis=1)
    over = fired - np.ceil(share * fired.mean(axis=1, keepdims=True)).astype(np.int64)
    # dropping the lowest bit of a code leaves drive - code + 1: least where the drive was rounded up most
    loss = np.where(codes & 1, drive - codes, np.inf)
    rank = loss.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return codes - ((codes & 1).astype(bool) & (rank < over[:, None, :]))


def words(codes: np.ndarray) -> int:
    """Words that blocks of codes take."""
    return int(words_of(np.stack([(codes >> e & 1).sum(axis=1) for e in reversed(range(PLANES))], axis=1)).sum())


def noise(drive: np.ndarray, codes: np.ndarray) -> float:
    """Squared error over squared signal."""
    return float(((drive - codes) ** 2).sum() / (drive**2).sum())


def compare(layer: Layer, lanes: int, slots: int, share: float) -> tuple[int, int, float]:
    """Words of the bundle's codes, of capped ones as good, and the threshold over the bundle's that it takes."""
    size = layer.info.in_features // layer.groups
    drive = np.abs(layer.membrane) / 2.0**layer.info.frac_bits
    drive = blocks_of(drive.reshape(-1, size), lanes, slots)
    # each row ends at its own largest code
    limit = np.repeat(2.0**layer.timesteps - 1, len(drive) // layer.info.tokens)[:, None, None]
    own = np.minimum(np.floor(drive + 0.5), limit).astype(np.int64)
    target = noise(drive, own)
    low, high = FINEST, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if noise(drive / middle, capped(drive / middle, share)) > target:
            high = middle
        else:
            low = middle
    return words(own), words(capped(drive / low, share)), low


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="capped.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--share", type=float, default=1.0, help="of the lanes' mean, to which each is capped")
    options = parser.parse_args(arguments)
    for path in options.bundle:
        try:
            bundle = open_bundle(path)
            own = less = thresholds = work = 0.0
            for info in bundle.infos:
                layer = bundle.layer(info.name)
                before, after, threshold = compare(layer, options.lanes, options.slots, options.share)
                macs = info.tokens * info.in_features * info.out_features
                own, less = own + before * info.out_features, less + after * info.out_features
                thresholds, work = thresholds + threshold * macs, work + macs
        except TraceError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        print(
            f"{path.name}: {less / own - 1:+.1%} words at equal SNR of each layer, thresholds {thresholds / work:.2f} "
            "times as large (estimated)"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
