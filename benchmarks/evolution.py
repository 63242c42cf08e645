"""How hidden states turn from layer to layer, by modality: D_m(l) and MED(l) of the embedded model and of SmolLM2.

    python benchmarks/evolution.py --out docs/results/evolution.json

The float models are measured, on calibration data. Beside the JSON a picture of the same name is drawn, .svg.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from harness import finish, parser, prepare


def arguments() -> argparse.ArgumentParser:
    made = parser(__doc__.splitlines()[0], "evolution.json")
    made.add_argument("--samples", type=int, default=256, help="calibration questions of the embedded model")
    made.add_argument("--windows", type=int, default=32, help="calibration windows of 512 tokens of SmolLM2")
    return made


def evolution(model: Any, batches: Iterable[Mapping[str, Any]]) -> Any:
    """The curves of one model over batches of calibration data."""
    import torch
    from spike_compressor.modality import adapter_for
    from spike_compressor.modifiers.evolution import EvolutionStatistics, hidden_states

    adapter = adapter_for(model)
    layers = adapter.decoder_layers(model)
    statistics = EvolutionStatistics(tuple(layers), adapter.token_modalities)
    under_way: list[Any] = [0, None]

    def collect(index: int, _: Any, args: Any, kwargs: Any, output: Any) -> None:
        statistics.update(index, under_way[0], *hidden_states(args, kwargs, output), under_way[1])

    handles = [
        layer.register_forward_hook(partial(collect, index), with_kwargs=True)
        for index, layer in enumerate(layers.values())
    ]
    try:
        with torch.inference_mode():
            for index, batch in enumerate(batches):
                under_way[:] = index, adapter.rows(batch)
                model(**batch)
    finally:
        for handle in handles:
            handle.remove()
    return statistics.result()


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The curves of both models; SmolLM2's only where its weights are installed."""
    import smollm2
    from spike_compressor.demo.data import calibration_batches
    from spike_compressor.demo.model import load_model, load_processor

    curves = {"embedded": evolution(load_model(), calibration_batches(load_processor(), samples=args.samples))}
    if smollm2.available():
        rows = smollm2.calibration_rows(smollm2.load_tokenizer(args.scratch), args.windows, 512)
        curves["SmolLM2-135M"] = evolution(smollm2.load_model(args.scratch), smollm2.calibration_batches(rows))
    return curves


def rows(name: str, found: Any) -> list[dict[str, Any]]:
    """A row a decoder layer, plain values."""
    table: list[dict[str, Any]] = []
    for layer in range(len(found.layers)):
        row: dict[str, Any] = {"model": name, "layer": layer}
        for modality, curve in found.curves.items():
            row[modality] = {"mean": curve.mean[layer], "half_width": curve.half_width[layer], "tokens": curve.tokens}
        if "vision" in found.discrepancy:
            row["discrepancy"] = found.discrepancy["vision"][layer]
        table.append(row)
    return table


def main() -> int:
    args = arguments().parse_args()
    prepare(args.threads)
    curves = measure(args)
    settings = {"embedded": f"{args.samples} calibration questions", "SmolLM2-135M": f"{args.windows} x 512 tokens"}
    return finish("evolution", args, settings, [row for name, found in curves.items() for row in rows(name, found)])


if __name__ == "__main__":
    raise SystemExit(main())
