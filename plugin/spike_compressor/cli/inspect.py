"""`spike-compressor inspect`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spike_compressor.cli.command import Command, register_command
from spike_compressor.tables import print_table

if TYPE_CHECKING:
    from spike_compressor.checkpoint import SpikeConfig

#: Modules that do not spike are listed by name up to this many with the same reason.
_FEW = 3
#: Layers that spike alike are a row of a table; of more than this many rows, layers of one kind are.
_ROWS = 12


@register_command("inspect")
class Inspect(Command):
    """Show what spikes in a checkpoint, and verify that its files are the ones that were saved.

    What fired was measured at the end of the recipe, on a few calibration samples. `--plot` draws the plan over the
    depth of the model, with the MED curves where they were measured.
    """

    examples = """\
  spike-compressor inspect out/demo/checkpoint
  spike-compressor inspect out/demo/checkpoint --layers
  spike-compressor inspect out/demo/checkpoint --plot plan.svg
  spike-compressor inspect out/demo/checkpoint --json | jq .config.budget"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("checkpoint", type=Path, help="spike-ready checkpoint directory")
        parser.add_argument("--layers", action="store_true", help="list every layer, one per line")
        parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the plan into a .png, .svg or .pdf file")

    def run(self, args: argparse.Namespace) -> dict[str, Any]:
        from spike_compressor.checkpoint import read_config
        from spike_compressor.checkpoint.agreement import verify_agreement
        from spike_compressor.checkpoint.seal import verify_files

        config = read_config(args.checkpoint)
        verify_files(args.checkpoint, config)
        verify_agreement(args.checkpoint, config)
        result = checkpoint_result(args.checkpoint, config)
        if args.plot is not None:
            from spike_compressor.plot import plot_plan

            result["plot"] = str(plot_plan(config, args.plot, title=args.checkpoint.resolve().name))
        return result

    def show(self, result: dict[str, Any], args: argparse.Namespace) -> None:
        show_checkpoint(result, layers=args.layers)


def checkpoint_result(path: Path, config: Any) -> dict[str, Any]:
    """The JSON object of a checkpoint: its path and its `SpikeConfig`."""
    from spike_compressor.checkpoint.migrations import oldest

    return {"checkpoint": str(path), "config": oldest(config.model_dump(exclude_none=True))}


def show_checkpoint(result: dict[str, Any], *, layers: bool = False) -> None:
    """Print a `checkpoint_result`: layers that spike alike in one row of a table, or each layer on a line."""
    from spike_compressor.checkpoint import SpikeConfig
    from spike_compressor.checkpoint.migrations import migrated

    config = SpikeConfig.model_validate(migrated(result["config"]))
    print(f"{result['checkpoint']}: {config.architecture}, {config.coding}")
    groups = _groups(config)
    if len(groups) > _ROWS and not layers:
        groups = _groups_by_kind(config)
    headings = ("layers", *(f"T {name}" for name in config.modalities), "threshold", "ratio")
    rows: list[tuple[str, ...]] = []
    for key, names in groups.items():
        rows += [(name, *key) for name in names] if layers else [(f"{len(names)}: {_kinds(names)}", *key)]
    print_table(headings, rows)
    _show_budget(config)
    for entry, names in attention_groups(config):
        T = ", ".join(f"{modality} T={entry.timesteps[modality]}" for modality in config.modalities)
        cache = "integer codes" if entry.kv_cache else "what the model gives it"
        print(
            f"attention products spike in {len(names)} modules ({_kinds(names)}): {T}, ratio "
            f"{entry.threshold_ratio:g}, {entry.coding}; the KV cache holds {cache}"
        )
        if layers:
            for name in names:
                print(f"  {name}")
    _show_activity(config, [[name] for name in config.plan] if layers else list(groups.values()), layers)
    _show_not_spiking(config.not_spiking, each=layers)
    _show_names("no calibration row reached", config.uncalibrated, each=layers)
    if config.calibration:
        print(f"calibrated on {config.calibration['samples']:,} samples ({_tokens(config.calibration['tokens'])})")
    if config.online_rotations.transforms:
        transforms = ", ".join(config.online_rotations.transforms)
        print(f"online rotations ({transforms}): open with spike_compressor.load(), plain transformers drops them")
    elif not config.opens_in_plain_transformers:
        print(f"open with spike_compressor.load(); plain transformers does not open it: {config.why_not_plain}")
    else:
        print("opens in plain transformers, with ordinary integer activations")
    if "plot" in result:
        print(f"plan drawn into {result['plot']}")
    print("all files are the ones that were saved")


def _show_names(what: str, names: list[str], each: bool) -> None:
    """A line for each name, or for the first of them: a mixture has thousands of experts."""
    shown = names if each else names[:_FEW]
    for name in shown:
        print(f"{what}: {name}")
    if len(shown) < len(names):
        print(f"{what}: {len(names) - len(shown)} more layers (--layers lists them)")


def _show_budget(config: SpikeConfig) -> None:
    weighted = config.budget.mean_timesteps_weighted
    known = "" if weighted is None else f"; {weighted:.3f} weighted by calibration tokens x MACs"
    author = f", allocation {config.budget.allocation}" if config.budget.allocation else ""
    print(f"mean timesteps: {config.budget.mean_timesteps:.3f} over layers and modalities{known}{author}")


def _show_activity(config: SpikeConfig, groups: list[list[str]], layers: bool) -> None:
    """What really spiked, one line for each group of layers."""
    activity = config.activity
    if activity is None:
        return
    if activity.run is None or activity.totals is None:
        print(f"what really spikes was not measured: {activity.not_measured}")
        return
    totals = activity.totals
    seen = list(totals.firing_rate)
    print(f"\nwhat fired on {activity.run.samples} calibration samples ({_tokens(activity.run.tokens)}):")
    headings = ("layers", *(f"fires {name}" for name in seen), *(f"clips {name}" for name in seen), "dead")
    rows = [_activity_row(activity.layers, names, seen) for names in groups]
    everything = (
        "all",
        *(f"{100 * totals.firing_rate[name]:.1f} %" for name in seen),
        *(f"{100 * totals.saturation[name]:.2f} %" for name in seen),
        f"{totals.dead:,} of {totals.inputs:,}",
    )
    print_table(headings, rows, total=everything)
    print("fires: share of neurons and timesteps with a spike; dead: inputs that never fired in this run")
    sops = ", ".join(f"{totals.sops_per_token[name]:,.0f} a {name} token" for name in seen)
    print(f"spikes do {totals.coverage:.1%} of the multiply-accumulates; synaptic operations: {sops}")
    _show_names("no row reached in this run", activity.never_called, each=layers)
    print()


def _activity_row(layers: dict[str, Any], names: list[str], seen: list[str]) -> tuple[str, ...]:
    """Rates of a group of layers, weighted by their neuron evaluations; they have equal timesteps."""
    called = [layers[name] for name in names if name in layers]
    rates: list[str] = []
    for field, digits in (("firing_rate", 1), ("saturation", 2)):
        for modality in seen:
            parts = [(layer.inputs, layer.modalities[modality]) for layer in called if modality in layer.modalities]
            total = sum(inputs * part.rows for inputs, part in parts)
            rate = sum(inputs * part.rows * getattr(part, field) for inputs, part in parts)
            rates.append(f"{100 * rate / total:.{digits}f} %" if total else "-")
    dead = f"{sum(layer.dead for layer in called):,} of {sum(layer.inputs for layer in called):,}" if called else "-"
    return (names[0] if len(names) == 1 else f"{len(names)}: {_kinds(names)}", *rates, dead)


def _show_not_spiking(reasons: dict[str, str], *, each: bool) -> None:
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        if each or len(names) <= _FEW:
            for name in names:
                print(f"not spiking: {name} ({reason})")
        else:
            print(f"not spiking: {len(names)} modules, {_kinds(names)} ({reason})")


def _tokens(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) + " tokens"


def attention_groups(config: Any) -> list[tuple[Any, list[str]]]:
    """Attention modules whose products spike alike, and what they have in common."""
    groups: list[tuple[Any, list[str]]] = []
    for name, entry in (config.attention or {}).items():
        alike = next((names for other, names in groups if other == entry), None)
        if alike is None:
            groups.append((entry, [name]))
        else:
            alike.append(name)
    return groups


def _groups(config: SpikeConfig) -> dict[tuple[str, ...], list[str]]:
    """Layers by what they have in common: T by modality, kind of threshold and its statistic, ratio by modality."""
    from spike_compressor.checkpoint import modalities_of_layers

    seen_by = modalities_of_layers(config)
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, entry in config.plan.items():
        seen = seen_by[name]
        ratio = entry.threshold_ratio
        ratios = [f"{ratio[modality]:g}" for modality in seen] if ratio else ["-"]
        key = (
            *(str(entry.timesteps[modality]) if modality in seen else "-" for modality in config.modalities),
            _threshold(entry),
            " / ".join(dict.fromkeys(ratios)),
        )
        groups.setdefault(key, []).append(name)
    return groups


def _groups_by_kind(config: SpikeConfig) -> dict[tuple[str, ...], list[str]]:
    """Layers by the last part of their names and the modalities that reach them, with the ranges of what they have."""
    from spike_compressor.checkpoint import modalities_of_layers

    kinds: dict[tuple[str, ...], list[str]] = {}
    for name, seen in modalities_of_layers(config).items():
        kinds.setdefault((_kinds([name]), *seen), []).append(name)
    groups: dict[tuple[str, ...], list[str]] = {}
    for (_, *seen), names in kinds.items():
        entries = [config.plan[name] for name in names]
        timesteps = {m: _range(entry.timesteps[m] for entry in entries) for m in seen}
        ratios = [_range(entry.threshold_ratio[m] for entry in entries if entry.threshold_ratio) for m in seen]
        key = (
            *(timesteps.get(modality, "-") for modality in config.modalities),
            ", ".join(dict.fromkeys(_threshold(entry) for entry in entries)),
            " / ".join(dict.fromkeys(ratios)),
        )
        groups.setdefault(key, []).extend(names)
    return groups


def _range(values: Iterable[float]) -> str:
    """The least and the greatest of some numbers, as one where they are equal."""
    found = sorted(values)
    return "-" if not found else " … ".join(dict.fromkeys(f"{value:g}" for value in (found[0], found[-1])))


def _threshold(entry: Any) -> str:
    return str(entry.threshold) + (f", {entry.threshold_statistic}" if entry.threshold_statistic else "")


def _kinds(names: list[str]) -> str:
    """The kinds of layers in a group: last parts of their names."""
    return ", ".join(sorted({name.rsplit(".", 1)[-1] for name in names}))
