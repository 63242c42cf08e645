"""What capped firing saves spike cores whose blocks are groups of 64 inputs: words, and work per area.

    python tb/capped.py BUNDLE … [--library SLUG …]

The fullest lanes of a block drop spikes of the last step (`tc_lif_capped` and `tc_lif_capped16`). That costs accuracy,
which finer thresholds give back: for each layer the threshold is sought at which codes that are capped have the
signal-to-noise ratio of the bundle's own, and both are compared there. Estimated: equal SNR of a layer's inputs is
taken for equal accuracy (`benchmarks/capped_embedded.py` measures that on a model), cycles and areas are those of
`equal_accuracy.py` with a front end that counts, and T is 7 everywhere. Each line shows the number of columns that is
best for it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "plugin")]

import numpy as np  # noqa: E402
from account import ONE_BLOCK, UPGRADES, Core, Library, total  # noqa: E402
from equal_accuracy import CORES, LIBRARIES, work  # noqa: E402
from spike_compressor.trace import Layer, TraceError, fire, open_bundle  # noqa: E402
from spike_compressor.trace.golden_capped import QUARTERS, capped_codes  # noqa: E402
from spike_compressor.trace.schema import MAX_TIMESTEPS  # noqa: E402

#: By lanes.
KINDS = {8: "spike, 8 lanes, 8 slots", 16: "spike, 16 lanes, 4 slots"}
#: Organisations that are looked at: those that compute groups of one block alone.
BUILT = tuple(how for how in UPGRADES if how.one_block)
#: Finest threshold that is tried, over the bundle's, and how near it is sought.
FINEST, STEPS = 0.4, 12


def capped(layer: Layer, threshold: float, lanes: int) -> np.ndarray:
    """Codes int16 [M, K] of a layer's inputs, lanes capped, with thresholds of so many times its own."""
    M, K = layer.membrane.shape
    quarters = np.floor(np.abs(layer.membrane) * 2.0 ** (QUARTERS - layer.info.frac_bits) / threshold)
    limit = (1 << (MAX_TIMESTEPS + QUARTERS)) - 1
    membrane = (np.sign(layer.membrane) * np.minimum(quarters, limit)).astype(np.int32)
    rows = membrane.reshape(-1, K // layer.groups)  # the blocks of a core begin with each group
    return capped_codes(rows, np.full(len(rows), MAX_TIMESTEPS), QUARTERS, lanes).reshape(M, K)


def noise(layer: Layer, codes: np.ndarray, threshold: float) -> float:
    """Squared error of a layer's inputs over their squares."""
    drive = layer.membrane / 2.0**layer.info.frac_bits
    return float(np.square(drive - threshold * codes).sum() / np.square(drive).sum())


def as_good(layer: Layer, lanes: int) -> tuple[Layer, float]:
    """The layer in capped spikes that are as good as its own, and their threshold over its own."""
    target = noise(layer, layer.codes, 1.0)
    low, high = FINEST, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if noise(layer, capped(layer, middle, lanes), middle) > target:
            high = middle
        else:
            low = middle
    T = np.full(layer.info.tokens, MAX_TIMESTEPS, np.uint8)
    spikes = fire(capped(layer, low, lanes).astype(np.int64) << 1, T, 1, "tc_lif")
    arrays = {"timesteps": T, "spikes": spikes, "acc": layer.acc}
    return Layer(replace(layer.info, max_timesteps=MAX_TIMESTEPS), arrays=arrays), low


def best(layers: Sequence[Layer], library: Library, kind: str, *, caps: bool) -> tuple[str, int, float, float]:
    """Organisation and columns of the core that does most per area: words times outputs, MACs a cycle and mm2."""
    found = []
    for columns in CORES[kind]:
        for how in BUILT:
            core = Core(library, kind, columns, replace(how, capped=caps))
            cycles = sum(total(core.cycles(layer) for layer in layers).values())
            area = sum(core.areas().values()) / 1e6
            found.append((work(layers) / cycles / area, how.name, columns, area))
    rate, name, columns, area = max(found)
    return name, columns, rate, area


def lines(
    name: str,
    kind: str,
    libraries: Sequence[Library],
    own: Sequence[Layer],
    less: Sequence[Layer],
    thresholds: Sequence[float],
) -> Iterator[str]:
    """What is printed of a bundle's layers, and of the same in capped spikes, on cores of a kind."""
    core = Core(libraries[0], kind, CORES[kind][0], ONE_BLOCK)
    before, after = (sum(core.cycles(layer)["words"] for layer in layers) for layers in (own, less))
    mean = np.average(thresholds, weights=[work([layer]) for layer in own])
    yield (
        f"{name}, {kind.removeprefix('spike, ')}: {after / before - 1:+.1%} words at equal SNR of each layer, "
        f"thresholds {mean:.2f} times as large (estimated)"
    )
    for library in libraries:
        (how, columns, rate, area), (new, wide, more, larger) = (
            best(layers, library, kind, caps=caps) for layers, caps in ((own, False), (less, True))
        )
        yield (
            f"  {library.name}: {rate:.1f} MACs a cycle and mm2 ({how}, {columns} columns, {area:.2f} mm2) become "
            f"{more:.1f} ({new}, {wide} columns, {larger:.2f} mm2): {more / rate:.2f} times (estimated)"
        )


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="capped.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--library", nargs="+", default=LIBRARIES, help="of rtl/synth/arrays.json")
    options = parser.parse_args(arguments)
    libraries = [Library.read(slug) for slug in options.library]
    for path in options.bundle:
        try:
            bundle = open_bundle(path)
            own = [bundle.layer(info.name) for info in bundle.infos]
            for lanes, kind in KINDS.items():
                less, thresholds = zip(*(as_good(layer, lanes) for layer in own), strict=True)
                print("\n".join(lines(path.name, kind, libraries, own, less, thresholds)), flush=True)
        except TraceError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
