"""How well words are filled, by distribution, T and shape of the array: the cycle model on generated codes.

    python tb/explore.py [--lanes N …] [--slots N …] [--inputs K] [--rows M] [--seed N]
    python tb/explore.py --map docs/results/rtl_map_equal_t.md

`barrier` waits for the fullest lane after each plane, `lead` is the core's rule (a lane may be one plane ahead). Codes
are as a threshold at the row's largest input gives them; `gated` is the product of a Gaussian and a gated Gaussian.
`--map` sets the synthesised cores beside the synthesised dense arrays of as many slots, on such codes, memories
included; `tb/quality_map.py` does so at equal quality.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "plugin")]

import numpy as np  # noqa: E402
from cycle_model import words_of  # noqa: E402
from synthesised import SYNTH, Synth, ratio  # noqa: E402

DISTRIBUTIONS = ("gauss", "laplace", "gated")
#: Of the map: how much larger than all others a row's largest input is.
OUTLIERS = (1.0, 2.0, 4.0)
#: Of the map: thresholds over those at which a row's largest input just does not clip.
RATIOS = tuple(float(hundredths) / 100 for hundredths in range(100, 5, -5))


def activations(rng: np.random.Generator, distribution: str, rows: int, inputs: int) -> np.ndarray:
    """|x| of random activations, a row's largest 1: float64 [rows, inputs]."""
    size = (rows, inputs)
    if distribution == "gauss":
        x = rng.normal(size=size)
    elif distribution == "laplace":
        x = rng.laplace(size=size)
    else:
        gate = rng.normal(size=size)
        x = rng.normal(size=size) * gate / (1 + np.exp(-1.702 * gate))
    return np.abs(x) / np.abs(x).max(axis=1, keepdims=True)


def encoded(x: np.ndarray, timesteps: int, ratio: float = 1.0) -> np.ndarray:
    """|codes| of |x|, what lies beyond `ratio` clipped: int64, as `x`."""
    top = 2**timesteps - 1
    return np.minimum(np.floor(x / ratio * top + 0.5), top).astype(np.int64)


def snr(x: np.ndarray, codes: np.ndarray, timesteps: int, ratio: float) -> float:
    """Signal over error of codes, in dB."""
    error = x - codes * (ratio / (2**timesteps - 1))
    return float(10 * np.log10((x * x).sum() / (error * error).sum()))


def magnitudes(
    rng: np.random.Generator, distribution: str, rows: int, inputs: int, timesteps: int, outlier: float = 1.0
) -> np.ndarray:
    """|codes| of random activations: int64 [rows, inputs].

    Args:
        outlier: one input of each row is so many times the largest of the others, and the threshold follows it.
    """
    return encoded(activations(rng, distribution, rows, inputs) / outlier, timesteps)


def plane_counts(codes: np.ndarray, timesteps: int, lanes: int, slots: int) -> np.ndarray:
    """Spikes of each row and block, plane and lane: [rows * blocks, planes, lanes], highest plane first."""
    rows, inputs = codes.shape
    blocks = -(-inputs // (lanes * slots))
    padded = np.zeros((rows, blocks * lanes * slots), np.int64)
    padded[:, :inputs] = codes
    padded = padded.reshape(rows * blocks, slots, lanes)
    return np.stack([(padded >> e & 1).sum(axis=1) for e in reversed(range(timesteps))], axis=1)


def synthesised(path: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The spike cores with energies, each with the dense array of its slots. Raises SystemExit if there are none."""
    data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    cores = [entry for entry in data.get("spike", []) if entry.get("energy_pj")]
    good = [entry for entry in data.get("dense", []) if not entry["shape"].get("Multiply")]
    baselines = {entry["macs_per_cycle"]: entry for entry in good if entry.get("energy_pj")}
    pairs = [(core, baselines[slots]) for core in cores if (slots := core["macs_per_cycle"]) in baselines]
    if not pairs:
        raise SystemExit(
            f"no energies of two designs of equal slots in {path}: run `make synth` with a trace bundle first"
        )
    return pairs


def against(
    core: dict[str, Any], baseline: dict[str, Any], codes: np.ndarray, timesteps: int, path: Path
) -> tuple[float, float, float]:
    """Words filled, throughput per area and energy per MAC, the last two over the dense array's.

    Neither design waits for inputs or outputs here: cycles are words, or chunks of the dense array.
    """
    shape = core["shape"]
    lanes, slots, columns = shape["Lanes"], shape["Slots"], shape["Columns"]
    words = float(words_of(plane_counts(codes, timesteps, lanes, slots)).sum())
    spikes = float(sum((codes >> e & 1).sum() for e in range(timesteps)))
    macs, additions = codes.size * columns, spikes * columns
    synth = Synth(path, {"spike": shape, "dense": baseline["shape"]})
    dense_cycles = macs / baseline["macs_per_cycle"]
    speed = ratio(ratio(macs / words, synth.area("spike")), ratio(macs / dense_cycles, synth.area("dense")))
    energy = ratio(
        synth.energy("spike", macs=macs, cycles=words, words=words, additions=additions),
        synth.energy("dense", macs=macs, cycles=dense_cycles, additions=additions),
    )
    assert speed is not None
    assert energy is not None
    return spikes / words / lanes, speed, energy


def best_thresholds(
    options: argparse.Namespace, pairs: list[tuple[dict[str, Any], dict[str, Any]]], heads: list[str]
) -> list[str]:
    """Lines of the map's second table: each number of timesteps at the threshold with which codes err least."""
    lines = [
        "",
        "## At the best threshold",
        "",
        "The largest input is one of the distribution, and the threshold is what errs least: ratio, over that of the "
        "table above. Both designs compute the same codes, so a comparison at equal T is one at equal accuracy; but "
        "at a ratio of 1 these codes are worse than T timesteps can be, and sparser.",
        "",
        "| distribution | T | ratio | SNR at it, dB | SNR at 1, dB | spikes per input | " + " | ".join(heads) + " |",
        "| --- | --: | --: | --: | --: | --: |" + " --: |" * len(heads),
    ]
    rng = np.random.default_rng(options.seed)
    for distribution in DISTRIBUTIONS:
        x = activations(rng, distribution, options.rows, options.inputs)
        for timesteps in (2, 3, 4):
            errors = {one: snr(x, encoded(x, timesteps, one), timesteps, one) for one in RATIOS}
            best = max(RATIOS, key=errors.__getitem__)
            codes = encoded(x, timesteps, best)
            spikes = sum(int((codes >> e & 1).sum()) for e in range(timesteps)) / codes.size
            found = [against(core, baseline, codes, timesteps, options.synth) for core, baseline in pairs]
            cells = [f"{value:.2f}" for three in found for value in three]
            lines.append(
                f"| {distribution} | {timesteps} | {best:.2f} | {errors[best]:.1f} | {errors[1.0]:.1f} "
                f"| {spikes:.2f} | " + " | ".join(cells) + " |"
            )
    return lines


def chart(options: argparse.Namespace) -> str:
    """The map as a page."""
    pairs = synthesised(options.synth)
    rng = np.random.default_rng(options.seed)
    figures = ("words filled", "throughput / area", "energy / MAC")
    heads = [f"{core['name']}: {what}" for core, _ in pairs for what in figures]
    beside = "; ".join(f"of {core['name']} over {baseline['name']}" for core, baseline in pairs)
    lines = [
        "# Where spikes win at equal T",
        "",
        f"Label: estimated by `python tb/explore.py --map FILE`: words from the cycle model on generated codes (K = "
        f"{options.inputs}, {options.rows} rows, seed {options.seed}), areas and energies from `make synth` (180 nm, "
        f"all memories included), {beside}. Neither design waits for its inputs. Largest input: so many times the "
        "largest of the others; the threshold follows it.",
        "",
        "| distribution | largest input | T | spikes per input | " + " | ".join(heads) + " |",
        "| --- | --: | --: | --: |" + " --: |" * len(heads),
    ]
    for distribution in DISTRIBUTIONS:
        for outlier in OUTLIERS:
            for timesteps in (2, 3, 4):
                codes = magnitudes(rng, distribution, options.rows, options.inputs, timesteps, outlier)
                spikes = sum(int((codes >> e & 1).sum()) for e in range(timesteps)) / codes.size
                found = [against(core, baseline, codes, timesteps, options.synth) for core, baseline in pairs]
                cells = [f"{value:.2f}" for three in found for value in three]
                lines.append(
                    f"| {distribution} | {outlier:g} | {timesteps} | {spikes:.2f} | " + " | ".join(cells) + " |"
                )
    lines += best_thresholds(options, pairs, heads)
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="How well the array's words are filled, from the cycle model.")
    parser.add_argument("--lanes", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--slots", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--inputs", type=int, default=2048)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--map", type=Path, help="write where spikes win to this Markdown file, instead")
    parser.add_argument("--synth", type=Path, default=SYNTH, help="results of `make synth`")
    options = parser.parse_args(arguments)
    if options.map:
        text = chart(options)
        options.map.write_text(text, encoding="utf-8")
        print(text)
        return
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
