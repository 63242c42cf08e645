"""`spike-compressor inspect`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from spike_compressor.cli.command import Command, json_argument, register_command


@register_command
class Inspect(Command):
    """Show what spikes in a checkpoint, and verify that its files are the ones that were saved."""

    name = "inspect"
    examples = """\
  spike-compressor inspect out/demo/checkpoint
  spike-compressor inspect out/demo/checkpoint --layers
  spike-compressor inspect out/demo/checkpoint --json | jq .config.budget"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("checkpoint", type=Path, help="spike-ready checkpoint directory")
        parser.add_argument("--layers", action="store_true", help="list every spiking layer")
        json_argument(parser)

    def run(self, args: argparse.Namespace) -> int:
        from spike_compressor.checkpoint import read_config
        from spike_compressor.checkpoint.schema import verify_hashes

        config = read_config(args.checkpoint)
        verify_hashes(args.checkpoint, config.sha256)
        if args.json:
            print(json.dumps({"checkpoint": str(args.checkpoint), "config": config.model_dump(exclude_none=True)}))
        else:
            print_config(args.checkpoint, config, layers=args.layers)
        return 0


def print_config(path: Path, config: Any, *, layers: bool = False) -> None:
    """A checkpoint's `SpikeConfig` as tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{path}: {config.architecture}, {config.coding}")
    for heading in ("layers", *(f"T {name}" for name in config.modalities), "threshold", "threshold ratio"):
        table.add_column(heading, justify="left" if heading == "layers" else "right")
    for key, names in _groups(config).items():
        if layers:
            for name in names:
                table.add_row(name, *key)
        else:
            table.add_row(f"{len(names)} ({_common(names)})", *key)
    console.print(table)
    weighted = config.budget.mean_timesteps_weighted
    known = "" if weighted is None else f", weighted by calibration tokens x MACs {weighted:.3f}"
    console.print(f"mean timesteps over layers and modalities {config.budget.mean_timesteps:.3f}{known}")
    for name, reason in config.not_spiking.items():
        console.print(f"not spiking: {name}: {reason}", highlight=False)
    for name in config.uncalibrated:
        console.print(f"[yellow]threshold never calibrated: {name}[/yellow]", highlight=False)
    if config.calibration:
        tokens = ", ".join(f"{count:,} {name}" for name, count in config.calibration["tokens"].items())
        console.print(f"calibrated on {config.calibration['samples']} samples ({tokens} tokens)")
    if config.online_rotations.transforms:
        names = ", ".join(config.online_rotations.transforms)
        console.print(f"online rotations ({names}): open with spike_compressor.load(), plain transformers drops them")
    else:
        console.print("opens in plain transformers, with ordinary integer activations")


def _groups(config: Any) -> dict[tuple[str, ...], list[str]]:
    """Layers by what they have in common: T by modality, kind of threshold, ratio by modality."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, entry in config.plan.items():
        ratio = entry.threshold_ratio
        key = (
            *(str(entry.timesteps[modality]) for modality in config.modalities),
            entry.threshold,
            "-" if ratio is None else " / ".join(f"{ratio[modality]:g}" for modality in config.modalities),
        )
        groups.setdefault(key, []).append(name)
    return groups


def _common(names: list[str]) -> str:
    """The kinds of layers in a group: last parts of their names."""
    kinds = sorted({name.rsplit(".", 1)[-1] for name in names})
    return ", ".join(kinds[:6]) + (", ..." if len(kinds) > 6 else "")
