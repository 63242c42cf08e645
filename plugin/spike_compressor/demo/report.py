"""The demo's result as tables on a terminal."""

from __future__ import annotations

import os
from typing import Any

from spike_compressor.tables import print_table


def print_report(result: dict[str, Any]) -> None:
    """Print what `run_demo` returned."""
    accuracy = result["accuracy"]
    models = (result["blind"], accuracy["float"], accuracy["w4"], accuracy["spiking"])
    print_table(
        ("question kind", "questions", "blind", "float", "weight-only", "spiking"),
        [
            (kind, f"{count:,}", *(f"{100 * model['by_kind'][kind]:.1f}" for model in models))
            for kind, count in result["questions"]["by_kind"].items()
        ],
        title=f"accuracy on held-out questions, % ({result['recipe']})",
        total=("average", "", *(f"{100 * model['average']:.2f}" for model in models)),
    )
    print()
    print_table(
        ("modality", "timesteps T", "firing rate", "spikes per neuron", "SOPs per token"),
        [
            (
                modality,
                f"{T:g}",
                f"{100 * result['firing_rate'][modality]:.1f} %",
                f"{result['spikes_per_neuron'][modality]:.2f}",
                f"{result['sops_per_token'][modality]:,.0f}",
            )
            for modality, T in result["timesteps"].items()
        ],
        title="spikes, measured while answering",
    )
    print()

    loss = 100 * (accuracy["float"]["average"] - accuracy["spiking"]["average"])
    picture = result["picture"]
    print(f"coverage: {100 * result['coverage']:.1f} % of all multiply-accumulates are done by spikes")
    print(f"spiking against float: {-loss:+.2f} points")
    print(f"picture: {picture['path']}  ({picture['question']} -> {picture['answer']})")
    if "rtl" in result:
        found = result["rtl"]
        print(
            f"on the simulated core, {found['layers']} of {found['spiking']} layers: {found['question']} -> "
            f"{found['answer']}, {found['cycles']:,} cycles, {found['spikes']:,} spikes, "
            f"{found['cycles_per_token']:,.0f} cycles per token, {found['seconds']:.0f} s; logits and "
            "accumulators equal those of fused"
        )
    print(f"checkpoint: {result['checkpoint']}")
    print(f"trace of every layer: {result['trace']}")
    replay = "make rtl TRACE=" + os.path.abspath(result["trace"])
    print(f"on the SystemVerilog, in a clone of the repository: {replay}")
    print(f"{result['seconds']:.0f} s")
