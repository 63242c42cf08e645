"""`spike-compressor inspect`."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from spike_compressor.cli.command import Command, quiet_libraries, register_command


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
        parser.add_argument("--layers", action="store_true", help="list every layer, one a line")

    def run(self, args: argparse.Namespace) -> dict[str, Any]:
        quiet_libraries()
        from spike_compressor.checkpoint import read_config
        from spike_compressor.checkpoint.schema import verify_hashes

        config = read_config(args.checkpoint)
        verify_hashes(args.checkpoint, config.sha256)
        return checkpoint_result(args.checkpoint, config)

    def show(self, result: dict[str, Any], args: argparse.Namespace) -> None:
        show_checkpoint(result, layers=args.layers)


def checkpoint_result(path: Path, config: Any) -> dict[str, Any]:
    """The JSON object of a checkpoint: its path and its `SpikeConfig`."""
    return {"checkpoint": str(path), "config": config.model_dump(exclude_none=True)}


def show_checkpoint(result: dict[str, Any], *, layers: bool = False) -> None:
    """Print a `checkpoint_result`: layers that spike alike in one row of a table, or each layer on a line."""
    from spike_compressor.checkpoint import SpikeConfig

    config = SpikeConfig.model_validate(result["config"])
    print(f"{result['checkpoint']}: {config.architecture}, {config.coding}")
    headings = ("layers", *(f"T {name}" for name in config.modalities), "threshold", "ratio")
    rows: list[tuple[str, ...]] = []
    for key, names in _groups(config).items():
        rows += [(name, *key) for name in names] if layers else [(f"{len(names)}: {_kinds(names)}", *key)]
    _print_columns(headings, rows)
    weighted = config.budget.mean_timesteps_weighted
    known = "" if weighted is None else f"; {weighted:.3f} weighted by calibration tokens x MACs"
    print(f"mean timesteps: {config.budget.mean_timesteps:.3f} over layers and modalities{known}")
    for name, reason in config.not_spiking.items():
        print(f"not spiking: {name} ({reason})")
    for name in config.uncalibrated:
        print(f"threshold never calibrated: {name}")
    if config.calibration:
        tokens = ", ".join(f"{count:,} {name}" for name, count in config.calibration["tokens"].items())
        print(f"calibrated on {config.calibration['samples']:,} samples ({tokens} tokens)")
    if config.online_rotations.transforms:
        transforms = ", ".join(config.online_rotations.transforms)
        print(f"online rotations ({transforms}): open with spike_compressor.load(), plain transformers drops them")
    else:
        print("opens in plain transformers, with ordinary integer activations")
    print("all files are the ones that were saved")


def _print_columns(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Aligned columns, nothing ever cut off: the names are made to be copied into recipes."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *cells]))


def _groups(config: Any) -> dict[tuple[str, ...], list[str]]:
    """Layers by what they have in common: T by modality, kind of threshold, ratio by modality."""
    seen_by = _modalities_of_layers(config)
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, entry in config.plan.items():
        seen = seen_by(name)
        ratio = entry.threshold_ratio
        ratios = [f"{ratio[modality]:g}" for modality in seen] if ratio else ["-"]
        key = (
            *(str(entry.timesteps[modality]) if modality in seen else "-" for modality in config.modalities),
            entry.threshold,
            " / ".join(dict.fromkeys(ratios)),
        )
        groups.setdefault(key, []).append(name)
    return groups


def _modalities_of_layers(config: Any) -> Any:
    """Function of a layer's name: the modalities that its rows can have; all of them where that is not known."""
    from spike_compressor.errors import InputError
    from spike_compressor.modality import adapter_for

    try:
        adapter = adapter_for(SimpleNamespace(config=SimpleNamespace(model_type=config.architecture)))
    except InputError:
        return lambda name: list(config.modalities)
    if not adapter.multimodal:  # text only, or the adapter of an architecture that is not imported here
        return lambda name: list(config.modalities) if config.placeholder_ids else ["text"]
    return lambda name: ["vision"] if adapter.is_vision_module(name) else list(config.modalities)


def _kinds(names: list[str]) -> str:
    """The kinds of layers in a group: last parts of their names."""
    return ", ".join(sorted({name.rsplit(".", 1)[-1] for name in names}))
