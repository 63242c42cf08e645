"""Tables of `speed`: all of them for its page of results, and the few that docs/performance.md has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness import ROOT
from spike_compressor.files import write_text

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- speed: begin, written by benchmarks/tables.py -->", "<!-- speed: end -->"
FAMILIES = {
    "fp32": "fp32",
    "fp32_packed": "fp32, packed",
    "bf16": "bf16",
    "int8": "torch int8",
    "torch_int4": "torch int4",
    "quanto_int4": "quanto int4",
    "quanto_int8": "quanto int8",
}
Rows = Sequence[dict[str, Any]]


#: Order of parts, and of kinds of weights within a case.
PARTS = ("limits", "linear", "level", "generate", "memory", "encode", "python", "oneshot")


def place(row: dict[str, Any]) -> tuple[Any, ...]:
    """Where a row stands: sorting by it is stable within a case."""
    shape = row.get("shape", [0, 0])
    size = shape[0] * shape[1]
    return PARTS.index(row["part"]), size, row.get("threads", 1), "_cold" in row["key"], row.get("rows", 0)


def ratios(rows: Rows) -> dict[str, float]:
    """Every ratio by its key: the rival's time over ours, or our share of memory, or microseconds."""
    return {key: found["ratio"] for key, found in _keyed(rows)}


def quartiles(rows: Rows) -> dict[str, list[float]]:
    """The quartiles over rounds of those that have them."""
    return {key: [found["low"], found["high"]] for key, found in _keyed(rows) if "low" in found}


def _keyed(rows: Rows) -> Iterable[tuple[str, dict[str, Any]]]:
    for row in rows:
        if "rivals" in row:
            for family, found in row["rivals"].items():
                yield f"{row['key']}_vs_{family}", found
        elif "ratio" in row:
            yield row["key"], row


def tables(rows: Rows) -> list[str]:
    """All tables of a result."""
    sections: list[tuple[str, list[str]]] = [
        ("What the machine can do", limits(_part(rows, "limits"))),
        ("One layer", layers(_part(rows, "linear"))),
        ("One layer by instruction set", levels(_part(rows, "level"))),
        ("Whole models that generate", generate(_part(rows, "generate"))),
        ("Memory", memory(_part(rows, "memory"))),
        ("Beside the products", beside(rows)),
    ]
    lines: list[str] = []
    for title, section in sections:
        if section:
            lines += [f"## {title}", "", *section, ""]
    return lines[:-1]


def excerpt(rows: Rows) -> list[str]:
    """The tables of docs/performance.md: layers of one thread against the main rivals, models, memory."""
    one = [row for row in _part(rows, "linear") if row["threads"] == 1 and not row["weights"].endswith("_unrolled")]
    sections = (
        limits(_part(rows, "limits")),
        layers(one, ("fp32", "int8", "bf16")),
        generate(_part(rows, "generate")),
        memory(_part(rows, "memory")),
        beside(rows),
    )
    return [line for section in sections if section for line in ("", *section)] + [""]


def embed(rows: Rows, page: Path = PAGE) -> None:
    """Write the excerpt into a page, between its marks."""
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    write_text(page, "\n".join([head + BEGIN, *excerpt(rows), END + tail]))


def _part(rows: Rows, part: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["part"] == part]


def limits(rows: Rows) -> list[str]:
    """Peaks, a line for each number of threads."""
    if not rows:
        return []
    sizes = list(rows[0]["read_gb_s"])
    heads = ("threads", "float32 FMA, GMAC/s", "bytes, GMAC/s", "instruction", *(f"reading {s}, GB/s" for s in sizes))
    cells = [
        (
            str(row["threads"]),
            f"{row['fma_gmacs']:.0f}",
            f"{row['bytes_gmacs']:.0f} ({row['bytes_gmacs'] / row['fma_gmacs']:.1f}x)",
            row["instruction"],
            *(f"{row['read_gb_s'][size]:.0f}" for size in sizes),
        )
        for row in rows
    ]
    return _table(heads, cells, text=0)


def layers(rows: Rows, families: Iterable[str] = tuple(FAMILIES)) -> list[str]:
    """Times of layers, and the rivals' over them; the quartiles are in the JSON file."""
    if not rows:
        return []
    present = [name for name in families if any(name in row["rivals"] for row in rows)]
    heads = ("K -> N", "M", "weights", "threads", "ms", *(f"vs {FAMILIES[name]}" for name in present), "of the limit")
    cells = [
        (
            "{} -> {}".format(*row["shape"]) + (", many layers in turn" if "_cold" in row["key"] else ""),
            str(row["rows"]),
            row["weights"].replace("_", " "),
            str(row["threads"]),
            f"{row['ms']:.3g}",
            *(_times(row["rivals"].get(name), name == "int8") for name in present),
            f"{100 * row['of_limit']:.0f} %, {row['bound']}",
        )
        for row in rows
    ]
    return _table(heads, cells, text=1)


def _times(found: dict[str, Any] | None, variant: bool) -> str:
    if found is None:
        return ""
    return f"{found['ratio']:.2f}" + (f" ({found['variant']})" if variant else "")


def levels(rows: Rows) -> list[str]:
    """Times of one layer by level, and the highest level's gain over each."""
    heads = ("level", "K -> N", "M", "weights", "ms", "vs fp32")
    cells = [
        (
            row["level"],
            "{} -> {}".format(*row["shape"]),
            str(row["rows"]),
            row["weights"].replace("_", " "),
            f"{row['ms']:.3g}",
            f"{row['ratio']:.2f}",
        )
        for row in rows
    ]
    return _table(heads, cells, text=1) if rows else []


def generate(rows: Rows) -> list[str]:
    """Milliseconds a token, float and spiking, and their ratio with quartiles."""
    heads = ("model", "what", "backend", "threads", "float, ms a token", "spiking", "float / spiking")
    cells = [
        (
            row["model"],
            f"{row['tokens']} tokens after {row['prompt']}" if row["tokens"] > 1 else f"prompt of {row['prompt']}",
            row["backend"],
            str(row["threads"]),
            f"{row['float_ms']:.3g}",
            f"{row['ms']:.3g}",
            _spread(row),
        )
        for row in rows
    ]
    return _table(heads, cells, text=3) if rows else []


def memory(rows: Rows) -> list[str]:
    """MiB of weights and processes."""
    heads = ("model", "what", "float, MiB", "spiking, MiB", "spiking / float")
    cells = [
        (row["model"], row["what"], f"{row['float_mib']:.0f}", f"{row['mib']:.0f}", f"{row['ratio']:.3f}")
        for row in rows
    ]
    return _table(heads, cells, text=2) if rows else []


def beside(rows: Rows) -> list[str]:
    """Encoding, Python, recipes: one line each."""
    cells = []
    for row in _part(rows, "encode"):
        batch = " x ".join(map(str, row["batch"]))
        what = f"encoding {batch} at T = {row['timesteps']}: a Python loop over timesteps / `encode`"
        cells.append((what, f"{row['rival_ms']:.3g} ms / {row['ms']:.3g} ms", _spread(row)))
    for row in _part(rows, "python"):
        cells.append((f"{row['what']}: more than a float layer's, microseconds", "", _spread(row)))
    for row in _part(rows, "oneshot"):
        cells.append((f"`oneshot` with both modifiers / without ({row['from']})", "", f"{row['ratio']:.2f}"))
    return _table(("what", "times", "ratio or figure"), cells, text=2) if cells else []


def _spread(row: dict[str, Any]) -> str:
    return f"{row['ratio']:.2f} ({row['low']:.2f} .. {row['high']:.2f})"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], text: int) -> list[str]:
    rule = ["---" if column < text else "--:" for column in range(len(heads))]
    return [f"| {' | '.join(line)} |" for line in (heads, rule, *rows)]
