"""The cycle model of `spike-compressor estimate` held against the RTL: fitted on some layers, judged on others.

    python tb/estimate_cycles.py BUNDLE [BUNDLE …] [--out FILE] [--layers RE] [--constants FILE] [--again FILE]

Bundles are of 4-bit weights in `tc_lif` of up to four steps; layers of random codes are added (`--generated 0` leaves
them out). Simulates each layer on every shape of `cycle_fit.SHAPES`; writes cycles, statistics and errors to FILE, and
what was fitted to the package. Exit codes: 0 every held-out layer is within 5 % where spikes are known; 1 not, or the
RTL and a bundle differ; 2 malformed bundle or a missing tool.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT / folder) for folder in ("tb", "plugin", "benchmarks")]

import numpy as np  # noqa: E402
from cycle_fit import SHAPES, conclusions, facts, shapes_of, worst  # noqa: E402
from explore import activations, encoded  # noqa: E402
from generate import arrays_from_membranes, random_arrays  # noqa: E402
from ledger import design, digest  # noqa: E402
from run_trace import GROUP_CODING, run  # noqa: E402
from spike_compressor.files import write_text  # noqa: E402
from spike_compressor.trace import Bundle, BundleWriter, TraceError, open_bundle  # noqa: E402
from toolchain import ROOT, ToolError  # noqa: E402

OUT = ROOT / "docs" / "results" / "estimate_cycles.json"
CONSTANTS = ROOT / "plugin" / "spike_compressor" / "estimate" / "data" / "cycles.json"
#: Simulated of a bundle, unless --layers says otherwise: first and last blocks, and the projector.
LAYERS = r"(vision_tower.*\.layers\.[03]|language_model\.layers\.[05]|projector.*)\."
#: Rows, inputs, outputs, distribution and T of generated layers: sizes that the embedded model has not.
GENERATED = (
    (1, 1024, 256, "gauss", 4),
    (1, 3584, 512, "gated", 4),
    (1, 3584, 256, "gauss", 4),
    (8, 2048, 256, "laplace", 3),
    (8, 3584, 256, "gauss", 4),
    (20, 1024, 320, "gated", 3),
    (32, 2048, 256, "gauss", 3),
    (32, 1024, 512, "laplace", 4),
    (16, 3584, 128, "gated", 4),
    (64, 1024, 256, "laplace", 3),
)
#: Threshold over a row's largest input that errs least (docs/results/rtl_map_equal_t.md).
BEST_RATIO = {
    ("gauss", 3): 0.7,
    ("gauss", 4): 0.8,
    ("laplace", 3): 0.6,
    ("laplace", 4): 0.75,
    ("gated", 3): 0.65,
    ("gated", 4): 0.75,
}
#: Rows, inputs, outputs and steps of layers in group coding.
GROUPED = (
    (1, 512, 128, 7),
    (1, 2048, 256, 5),
    (8, 512, 512, 5),
    (8, 1024, 256, 7),
    (8, 2048, 512, 6),
    (20, 512, 256, 5),
    (32, 1024, 256, 6),
    (16, 2048, 128, 7),
    (40, 192, 192, 6),
    (24, 576, 192, 7),
)
GOAL = 0.05


def generated(folder: Path, count: int = len(GENERATED), seed: int = 0) -> Bundle:
    """A bundle of random layers."""
    rng = np.random.default_rng(seed)
    with BundleWriter(folder, producer={"name": "tb"}, model={"name": "generated"}) as bundle:
        for M, K, N, distribution, T in GENERATED[:count]:
            codes = encoded(activations(rng, distribution, M, K), T, BEST_RATIO[distribution, T])
            membrane = (codes * rng.choice([-1, 1], (M, K)) << 16).astype(np.int32)
            weight = rng.integers(-8, 8, (N, K)).astype(np.int8)
            steps = np.full(M, T, np.uint8)
            arrays = arrays_from_membranes(membrane, steps, weight, coding="tc_lif", frac_bits=16, groups=1, rng=rng)
            name = f"{distribution}, T = {T}, {M} x {K} x {N}"
            bundle.add_layer(name, coding="tc_lif", frac_bits=16, weight_bits=4, **arrays)
    return open_bundle(folder)


def grouped(folder: Path, seed: int = 0) -> Bundle:
    """A bundle of random layers in group coding."""
    rng = np.random.default_rng(seed)
    coded: dict[str, Any] = {"coding": GROUP_CODING, "frac_bits": 7, "weight_bits": 4}
    with BundleWriter(folder, producer={"name": "tb"}, model={"name": "generated"}) as bundle:
        for M, K, N, steps in GROUPED:
            arrays = random_arrays(rng, M, K, N, timesteps=steps, max_timesteps=steps, **coded)
            bundle.add_layer(f"groups, S = {steps}, {M} x {K} x {N}", **coded, **arrays)
    return open_bundle(folder)


def measure(bundle: Bundle, names: list[str], shapes: list[str] | None = None) -> list[dict[str, Any]]:
    """Layers with their simulated cycles on shapes, or on all. Raises ToolError, TraceError or AssertionError."""
    layers = {name: facts(bundle.path.name, bundle.layer(name)) for name in names}
    for design_name in shapes or shapes_of(bundle.layer(names[0])):
        kind, shape = SHAPES[design_name]
        quiet: dict[str, Any] = {"seed": 1, "stalls": False, "quiet": True, "spike_stream": False}
        for verdict in run(bundle, names, shape=shape, dense=kind == "dense", **quiet):
            if verdict["error"]:
                raise AssertionError(verdict["error"])
            layers[verdict["layer"]]["shapes"][design_name] = {"cycles": verdict["cycles"]}
    return list(layers.values())


def recalled(bundle: Bundle, names: list[str], before: dict[tuple[str, str], Any]) -> list[dict[str, Any]]:
    """As `measure`, with cycles that were simulated before, by bundle and layer."""
    layers = [facts(bundle.path.name, bundle.layer(name)) for name in names]
    for layer in layers:
        known = before[layer["bundle"], layer["layer"]]
        layer["shapes"] = {name: {"cycles": known[name]["cycles"]} for name in known}
    return layers


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="estimate_cycles.py", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("bundles", nargs="*", help="directories with a manifest.json")
    parser.add_argument("--layers", default=LAYERS, help="of bundles, a regular expression (default: %(default)s)")
    parser.add_argument("--generated", type=int, default=len(GENERATED), help="layers of random codes (default: all)")
    parser.add_argument("--out", type=Path, default=OUT, help="the result (default: %(default)s)")
    parser.add_argument("--constants", type=Path, default=CONSTANTS, help="what was fitted (default: %(default)s)")
    parser.add_argument("--again", type=Path, help="take the cycles of this result instead of simulating")
    options = parser.parse_args(arguments)
    layers: list[dict[str, Any]] = []
    before: dict[tuple[str, str], Any] = {}
    sources = digest(design())
    if options.again:
        old = json.loads(options.again.read_text(encoding="utf-8"))
        sources = old["settings"]["sources"]
        before = {(layer["bundle"], layer["layer"]): layer["shapes"] for layer in old["rows"]}
    try:
        with tempfile.TemporaryDirectory() as folder:
            bundles = [open_bundle(path) for path in options.bundles]
            if options.generated:
                bundles += [generated(Path(folder) / "generated", options.generated), grouped(Path(folder) / "groups")]
            for bundle in bundles:
                names = [info.name for info in bundle.infos]
                if bundle.path.name not in ("generated", "groups"):
                    names = [name for name in names if re.search(options.layers, name)]
                layers += recalled(bundle, names, before) if options.again else measure(bundle, names)
                print(f"{bundle.path.name}: {len(layers)} layers in all", file=sys.stderr, flush=True)
    except (TraceError, ToolError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except AssertionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    settings = {"bundles": [Path(path).name for path in options.bundles], "sources": sources}
    write(conclusions(layers), settings, options.out, options.constants)
    off = worst(layers)
    print(f"{len(layers)} layers on {len(SHAPES)} shapes; the worst held-out layer is {100 * off:.2f} % off")
    return int(off > GOAL)


def write(found: dict[str, Any], settings: dict[str, Any], out: Path, constants: Path) -> None:
    """The result with its page, and the constants."""
    from tables import publish

    result = {
        "benchmark": "estimate_cycles",
        "label": "simulated, estimated",
        "command": "make rtl-estimate",
        "machine": {"cpu": "any: nothing is timed"},
        "settings": settings,
        **found,
    }
    kept = {
        "made_by": "make rtl-estimate",
        "organisations": {name: {"constants": one} for name, one in found["constants"].items()},
    }
    write_text(constants, json.dumps(kept, indent=1) + "\n")
    write_text(out, json.dumps(result, separators=(",", ":")).replace('{"bundle"', '\n{"bundle"') + "\n")
    publish(result, out)


if __name__ == "__main__":
    sys.exit(main())
