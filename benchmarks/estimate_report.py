"""Pages of the estimates: the cycle model against the RTL, and models on accelerators."""

from __future__ import annotations

from typing import Any


def cycles(result: dict[str, Any]) -> str:
    """`estimate_cycles.json` as Markdown."""
    settings = result["settings"]
    lines = [
        "# The cycle model of `estimate` against the RTL",
        "",
        f"Label: simulated (Verilator) and estimated (the model), by `{result['command']}`; the digest of all "
        f"SystemVerilog that ran is {settings['sources']}.",
        "",
        "Constants were fitted on the first block of the embedded model's tower and decoder, with 1, 8 and 40 rows, "
        "rotated and not. Every other layer was held out: other blocks, the projector, and generated layers of sizes "
        "that the model has not. Those of the group core are generated: of seven steps to fit, of five and six held "
        "out. `spikes`: the model knows every spike, as from a trace. `statistics`: it knows how many inputs have each "
        "magnitude, and how far blocks differ. Cycles of the dense array and the group core do not hang on spikes. "
        "Error: of a layer's cycles; `sum`: of those of all layers together. Every accumulator was compared. By "
        "statistics, layers of a few row tiles and blocks are missed by chance: their own rows are not the mean.",
        "",
        "| shape | layers | model knows | number | mean error | largest | sum |",
        "| --- | --- | --- | --: | --: | --: | --: |",
    ]
    for one in result["summary"]:
        lines.append(
            f"| {one['shape']} | {one['layers']} | {one['model']} | {one['count']} | {100 * one['mean']:.2f} % "
            f"| {100 * one['largest']:.2f} % | {100 * one['sum']:+.2f} % |"
        )
    lines += ["", "Fitted, in cycles:", "", "| organisation | constant | cycles |", "| --- | --- | --: |"]
    for kind, constants in result["constants"].items():
        lines += [f"| {kind} | {name} | {value:g} |" for name, value in constants.items()]
    lines += [
        "",
        "`job`, `tile`, `block`, `group`: once a job, a row tile, a block or group of each tile. `start`: from a "
        "block's last weight until its first addition; `handover`: from its last addition until its bank is "
        "loaded anew.",
    ]
    held = [
        (layer, shape, one) for layer in result["rows"] if not layer["fitted"] for shape, one in layer["shapes"].items()
    ]
    lines += ["", "Held-out layers that the model misses most, by statistics:", ""]
    lines += [
        "| bundle | layer | shape | rows | cycles | model | error |",
        "| --- | --- | --- | --: | --: | --: | --: |",
    ]
    for layer, shape, one in sorted(held, key=lambda row: -abs(row[2]["error"]["statistics"]))[:12]:
        lines.append(
            f"| {layer['bundle']} | {layer['layer']} | {shape} | {layer['rows']} | {one['cycles']:,} "
            f"| {one['model']['statistics']:,} | {100 * one['error']['statistics']:+.2f} % |"
        )
    return "\n".join(lines) + "\n"


TITLES = {
    "estimate": "Qwen2-VL-7B on spiking and dense accelerators, beside GPUs",
    "estimate_72b": "Qwen2-VL-72B on spiking and dense accelerators, beside GPUs",
}


def one_model(result: dict[str, Any]) -> str:
    """`estimate.json` and its like as Markdown."""
    from spike_compressor.estimate.report import markdown

    return markdown(result, TITLES[result["benchmark"]], f"{result['command']} {result['benchmark']}")


def all_models(result: dict[str, Any]) -> str:
    """`estimate_models.json` as Markdown."""
    lines = [
        "# Five models on spiking and dense accelerators",
        "",
        f"Label: estimated by `{result['command']} estimate_models`. The accelerators are those of "
        "[estimate.md](estimate.md), batch 1, a picture and 64 tokens of text, answers of 128. Intervals: 5 to 95 % of "
        "100 draws. `sign + 4` and `W4A8`: the ladder's dense arrays on the same area. Codes of T up to 7, as "
        "thresholds of the root mean square need them, take a core with a larger store, and W4A8 among dense arrays.",
    ]
    heads = ["model", "spikes", "event core", "dense core", "sign + 4", "W4A8"]
    for phase, title in (("prefill", "Reading the prompt"), ("decode", "Answering, token by token")):
        for figure, unit, factor in (("tokens_per_s", "tokens/s", 1), ("joules_per_token", "mJ a token", 1e3)):
            own = [*heads, *(["A800 W4A16", "H200 W4A16"] if figure == "tokens_per_s" else [])]
            lines += ["", f"## {title}: {unit}", "", f"| {' | '.join(own)} |"]
            lines.append(f"| --- | --- |{' --: |' * (len(own) - 2)}")
            for row in result["rows"]:
                name = f"{phase}_{figure}"
                cells = [row["model"], row["spikes"], *(_interval(chip, name, factor) for chip in row["chips"])]
                cells += [""] * (4 - len(cells))
                for rung in ("INT4 x (sign + 4)", "INT4 x INT8 (W4A8)"):
                    cells.append(_short(factor * row["ladder"][rung][name]) if rung in row["ladder"] else "")
                if figure == "tokens_per_s":
                    cells += [_short(one[name]) + ("" if one["fits"] else ", two") for one in row["gpus"]]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _interval(chip: dict[str, Any], name: str, factor: float) -> str:
    low, high = chip["intervals"][name]
    return " ".join((_short(factor * chip["figures"][name]), f"({_short(factor * low)} .. {_short(factor * high)})"))


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def claim(result: dict[str, Any]) -> str:
    """`estimate_claim.json` as Markdown."""
    lines = [
        "# A published claim, taken apart",
        "",
        f"Made by `{result['command']} estimate_claim`: 9.06 times the throughput of an A800 and 1 / 25.8 of its power "
        f"(arXiv 2604.18610, section 4.3), on {result['model']}, decode at batch 1, "
        f"{result['weights_gib']:.2f} GiB of weights (4 bits, `lm_head` and embeddings 8). "
        "[hardware.md](../hardware.md#a-published-claim) says what follows.",
        "",
        "| quantity | value | label | how |",
        "| --- | --: | --- | --- |",
    ]
    for row in result["rows"]:
        unit = row["unit"] if row["unit"] == "x" else f" {row['unit']}".rstrip()
        lines.append(f"| {row['what']} | {row['value']:,.4g}{unit} | {row['label']} | {row['how']} |")
    return "\n".join(lines) + "\n"
