"""Write a trace of what spiking layers compute, and replay it: in NumPy, and on the SystemVerilog core.

    python examples/trace_and_replay.py                                  # the embedded model
    python examples/trace_and_replay.py --checkpoint spiking --layers 're:.*layers.0.mlp.*' --rows 8

The replay in NumPy recomputes every layer from its membranes and weights alone, as hardware does. The core runs where
this is a checkout (`make rtl TRACE=trace` sets Verilator up and does the same).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import spike_compressor
from spike_compressor.demo.data import items
from spike_compressor.demo.model import load_model, load_processor, prompt
from spike_compressor.trace import Layer, accumulate, codes_from_membranes, decode, dequantize, fire, open_bundle

REPLAY = Path(__file__).parents[1] / "tb" / "run_trace.py"
RECIPE = """
spike_stage:
  quant_modifiers:
    QuantizationModifier:
      ignore: [lm_head]
      config_groups:
        w4: {targets: [Linear], weights: {num_bits: 4, type: int, symmetric: true, strategy: channel}}
  spike_modifiers:
    TCLIFModifier: {ignore: [lm_head], timesteps: {vision: 3, text: 4}}
"""


def replay(layer: Layer) -> int:
    """Compute one layer of a bundle again, in integers, and compare to the bit; returns its number of spikes."""
    info = layer.info

    def same(what: str, computed: np.ndarray, traced: np.ndarray) -> None:
        if not np.array_equal(computed, traced):
            raise SystemExit(f"{info.name}: {what} differ from the trace")

    spikes = fire(layer.membrane, layer.timesteps, info.frac_bits, info.coding, steps=len(layer.spikes))
    same("spikes", spikes, layer.spikes)
    codes = codes_from_membranes(layer.membrane, layer.timesteps, info.frac_bits)
    same("decoded spikes", decode(spikes, layer.timesteps, info.coding), codes)
    same("accumulators", accumulate(codes, layer.weight, layer.groups), layer.grouped_acc())
    dtype = info.output_dtype or "float32"
    same("outputs", dequantize(layer.acc, layer.act_scale, layer.weight_scale, layer.bias, dtype), layer.output)
    return int(np.count_nonzero(spikes))


def main(argv: list[str] | None = None) -> None:
    """Trace, then replay."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="spike-ready checkpoint (default: one of the embedded model)")
    parser.add_argument("--layers", nargs="+", help="module names or re: patterns (default: all that spike)")
    parser.add_argument("--rows", type=int, default=8, help="token rows kept of each layer, of both modalities")
    parser.add_argument("--out", type=Path, default=Path("trace"), help="directory of the bundle")
    parser.add_argument("--no-rtl", action="store_true", help="leave out the SystemVerilog")
    args = parser.parse_args(argv)

    processor = load_processor()
    if args.checkpoint is None:
        from llmcompressor import oneshot

        model = load_model()
        oneshot(model=model, processor=processor, recipe=RECIPE)  # spikes already, no need to save it
    else:
        model = spike_compressor.load(args.checkpoint)

    item = items("test", 1)[0]
    inputs = processor(images=item.image, text=prompt(item.question), return_tensors="pt")
    spike_compressor.export_trace(model, inputs, args.out, layers=args.layers, tokens=args.rows, overwrite=True)

    for layer in open_bundle(args.out):  # one layer in memory at a time
        spikes = replay(layer)
        info = layer.info
        print(f"{info.name}: {info.tokens} rows x {info.in_features} -> {info.out_features}, {spikes:,} spikes: equal")
    if args.no_rtl or not REPLAY.is_file():
        print("the SystemVerilog was not run")
        return
    subprocess.run([sys.executable, str(REPLAY), str(args.out)], check=True)


if __name__ == "__main__":
    main()
