"""What `make rtl-bench` found out about traces, for the report of a comparison."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spike_compressor.errors import InputError
from spike_compressor.reading import BROKEN, one_line, read_json

#: Fields of `total` that the report shows.
_TOTAL = ("macs", "spikes_per_input", "utilisation", "throughput_per_area_ratio", "energy_per_mac_ratio")


def read_hardware(paths: Iterable[str | os.PathLike[str]]) -> list[dict[str, Any]]:
    """Reports of `make rtl-bench TRACE=... OUT=FILE.json`, one a trace bundle.

    Args:
        paths: the files.

    Returns:
        For each: `file`, `bundle`, the two designs (`spike`, `dense`), and figures of the `total`, `by_kind`,
        `by_modality` and `by_timesteps`. Cycles of the core are simulated; `dense` says what those of the dense
        baseline are.

    Raises:
        InputError: no such file, or none that `make rtl-bench` wrote.
    """
    found = []
    for path in map(Path, paths):
        report = read_json(path, f"--rtl {path}")
        keys = ("bundle", "spike", "dense", "total", "by_kind", "by_modality", "by_timesteps")
        missing = [key for key in keys if not isinstance(report, dict) or key not in report]
        if not missing:
            total = report["total"] if isinstance(report["total"], dict) else {}
            missing = [f"total.{key}" for key in (*_TOTAL, "spike", "dense") if key not in total]
        if missing:
            raise InputError(f"--rtl {path}: no report of `make rtl-bench`, it lacks {missing[0]}")
        kept = {key: report[key] for key in keys}
        try:
            kept["bundle"] = Path(report["bundle"]).name
            (
                kept["spike"]["cycles"],
                kept["dense"]["cycles"],
                hardware_rows([kept]),
            )  # now, and not when hours of rows are to be shown beside it
        except BROKEN as error:
            raise InputError(f"--rtl {path}: a number in it is none of `make rtl-bench`: {one_line(error)}") from error
        found.append({"file": path.name, **kept, "note": str(report.get("note", ""))})
    return found


def hardware_rows(hardware: Iterable[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Lines of the report's table: each bundle as a whole, then by modality, T and kind of layer."""
    rows: list[tuple[str, ...]] = []
    for one in hardware:
        parts = [("whole bundle", one["total"])]
        parts += [item for key in ("by_modality", "by_timesteps", "by_kind") for item in one[key].items()]
        for label, part in parts:
            rows.append(
                (
                    f"{one['bundle']}: {label}",
                    f"{part['macs']:,}",
                    f"{part['spikes_per_input']:.2f}",
                    _number(part["spike"]["cycles"], ",.0f"),
                    _number(part["dense"]["cycles"], ",.0f"),
                    _number(part["spike"]["macs_per_cycle"], ".1f"),
                    _number(part["dense"]["macs_per_cycle"], ".1f"),
                    f"{100 * part['utilisation']:.0f}",
                    _number(part["throughput_per_area_ratio"], ".2f"),
                    _number(part["energy_per_mac_ratio"], ".2f"),
                )
            )
    return rows


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


#: Heading of the table.
HARDWARE_HEADING = (
    "trace",
    "MACs",
    "spikes/input",
    "core, cycles",
    "dense, cycles",
    "core, MACs/cycle",
    "dense, MACs/cycle",
    "utilisation %",
    "throughput/area, core / dense",
    "energy/MAC, core / dense",
)
