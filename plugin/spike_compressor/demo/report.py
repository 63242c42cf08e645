"""The demo's result as tables on a terminal."""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console
from rich.table import Table


def print_report(result: dict[str, Any]) -> None:
    """Print what `run_demo` returned."""
    console = Console()
    accuracy = result["accuracy"]
    table = Table(title=f"accuracy on held-out questions, % ({result['recipe']})")
    for heading in ("question kind", "questions", "blind", "float", "W4 only", "spiking"):
        table.add_column(heading, justify="left" if heading == "question kind" else "right")
    for kind, count in result["questions"]["by_kind"].items():
        rows = (result["blind"], accuracy["float"], accuracy["w4"], accuracy["spiking"])
        table.add_row(kind, f"{count:,}", *(f"{100 * row['by_kind'][kind]:.1f}" for row in rows))
    table.add_section()
    rows = (result["blind"], accuracy["float"], accuracy["w4"], accuracy["spiking"])
    table.add_row("average", "", *(f"{100 * row['average']:.2f}" for row in rows), style="bold")
    console.print(table)

    spikes = Table(title="spikes, measured while answering")
    for heading in ("modality", "timesteps T", "firing rate", "spikes per neuron", "SOPs per token"):
        spikes.add_column(heading, justify="left" if heading == "modality" else "right")
    for modality, T in result["timesteps"].items():
        spikes.add_row(
            modality,
            f"{T:g}",
            f"{100 * result['firing_rate'][modality]:.1f} %",
            f"{result['spikes_per_neuron'][modality]:.2f}",
            f"{result['sops_per_token'][modality]:,.0f}",
        )
    console.print(spikes)

    loss = 100 * (accuracy["float"]["average"] - accuracy["spiking"]["average"])
    picture = result["picture"]
    console.print(f"coverage: {100 * result['coverage']:.1f} % of all multiply-accumulates are done by spikes")
    console.print(f"spiking against float: {-loss:+.2f} points")
    console.print(f"picture: {picture['path']}  ({picture['question']} -> {picture['answer']})", highlight=False)
    console.print(f"checkpoint: {result['checkpoint']}", highlight=False)
    console.print(f"trace of every layer: {result['trace']}", highlight=False)
    replay = "make rtl TRACE=" + os.path.abspath(result["trace"])
    # a command to copy: not to be broken where the terminal ends
    console.print(f"on the SystemVerilog, in a clone of the repository: {replay}", highlight=False, soft_wrap=True)
    console.print(f"{result['seconds']:.0f} s")
