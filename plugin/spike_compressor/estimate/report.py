"""An estimate as tables for a terminal, a Markdown page, JSON, and pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spike_compressor.estimate.draw import tornado_svg
from spike_compressor.estimate.rivals import REACHED
from spike_compressor.files import write_text
from spike_compressor.tables import print_table


@dataclass(frozen=True)
class Table:
    """Rows under headings, with a sentence on what they are; the first `text` columns are text."""

    title: str
    note: str
    heading: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    text: int = 1


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Everything that an estimate says, as tables."""
    found = [_main(result), _bounds(result), _layers(result), _energy(result), _gpus(result), _ladder(result)]
    if result["spikes"]:
        found.insert(0, _spikes(result))
    if "traced" in result:
        found.append(_traced(result["traced"]))
    found += [_tornado(chip) for chip in result["chips"]]
    if "service" in result:
        found += [_service(result["service"]), _batches(result["service"]), _gpu_batches(result["service"])]
    return [table for table in found if table.rows]


def console(result: Mapping[str, Any]) -> None:
    """Print the tables."""
    print(headline(result))
    for table in tables(result):
        print()
        print_table(table.heading, table.rows, title=table.title, text=table.text)


def headline(result: Mapping[str, Any]) -> str:
    """What was estimated, in a sentence."""
    load, model = result["load"], result["model"]
    return (
        f"{model['name']} ({model['parameters'] / 1e9:.2f}e9 parameters), {load['batch']} "
        f"sequence{'s' if load['batch'] != 1 else ''} of {load['image_tokens']} image and {load['text_tokens']} text "
        f"tokens, answers of {load['new_tokens']}"
    )


def markdown(result: Mapping[str, Any], title: str, command: str) -> str:
    """The tables as a page.

    Args:
        result: of `estimate`.
        title: of the page.
        command: that made it.
    """
    lines = [
        f"# {title}",
        "",
        f"Label: estimated by `{command}`: cycles from a model that is held against the RTL "
        "([estimate_cycles.md](estimate_cycles.md)), areas and clocks from synthesis, energies simulated on netlists, "
        "memories, wires and processes between the libraries estimated, GPUs from their published specifications. "
        "[hardware.md](../hardware.md) says what each assumption is.",
        "",
        f"{headline(result)}. Intervals: 5 to 95 % of {result['draws']} draws, seed {result['seed']}.",
    ]
    for table in tables(result):
        rule = ["---" if column < table.text else "--:" for column in range(len(table.heading))]
        lines += ["", f"## {table.title}", ""]
        lines += [table.note, ""] if table.note else []
        lines += [f"| {' | '.join(line)} |" for line in (table.heading, rule, *table.rows)]
    return "\n".join(lines) + "\n"


def write(result: Mapping[str, Any], folder: str | os.PathLike[str], title: str, command: str) -> list[Path]:
    """Write `estimate.json`, `estimate.md` and `tornado.svg` to a folder.

    Raises:
        InputError: the folder cannot be written.
    """
    target = Path(folder)
    return [
        write_text(target / "estimate.json", text(result)),
        write_text(target / "estimate.md", markdown(result, title, command)),
        write_text(target / "tornado.svg", tornado_svg(result)),
    ]


def text(result: Mapping[str, Any]) -> str:
    """The result as JSON; figures have six digits, which is more than they are worth and the same everywhere."""
    return json.dumps(rounded(result), indent=1) + "\n"


def rounded(value: Any) -> Any:
    """Plain values with numbers of six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(inner) for inner in value]
    return value


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.3g}"


def _with_interval(chip: Mapping[str, Any], name: str) -> str:
    middle = _figure(chip["figures"][name])
    if name not in chip["intervals"]:
        return middle
    low, high = chip["intervals"][name]
    return f"{middle} ({_figure(low)} .. {_figure(high)})"


def _bound(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in sorted(shares.items(), key=lambda one: -one[1]))


def _spikes(result: Mapping[str, Any]) -> Table:
    rows = [
        (one["kind"], one["modality"], str(one["timesteps"]), f"{one['per_input']:.3f}") for one in result["spikes"]
    ]
    note = "`lm_head` and the products of attention do not spike: an array of INT8 x INT8 computes them."
    return Table("Plan and spikes", note, ("layers", "rows", "T", "spikes per input"), rows, 2)


def _main(result: Mapping[str, Any]) -> Table:
    rows = []
    for chip in result["chips"]:
        for phase, label in (("prefill", "prompt"), ("decode", "answer, token by token")):
            rows.append(
                (
                    chip["name"],
                    label,
                    _with_interval(chip, f"{phase}_tokens_per_s"),
                    _with_interval(chip, f"{phase}_watts"),
                    _with_interval(chip, f"{phase}_joules_per_token"),
                )
            )
        rows.append(
            (
                chip["name"],
                "both, per token of the answer",
                _with_interval(chip, "answer_tokens_per_s"),
                "",
                _with_interval(chip, "answer_joules_per_token"),
            )
        )
    note = "; ".join(
        f"{chip['name']}: {chip['cores']} cores of {chip['core_mm2']:.3g} mm2 at {chip['clock_mhz']:.0f} MHz, "
        f"{chip['technology']} ({chip['areas_and_clock']})"
        for chip in result["chips"]
    )
    return Table("Accelerators", f"{note}.", ("accelerator", "phase", "tokens/s", "W", "J a token"), rows, 2)


def _bounds(result: Mapping[str, Any]) -> Table:
    rows = [
        (chip["name"], phase, f"{chip[phase]['seconds'] * 1e3:,.3g}", _bound(chip[phase]["bound"]))
        for chip in result["chips"]
        for phase in ("prefill", "decode")
    ]
    note = "Share of the time that layers wait for an engine: memory, or one of the two arrays."
    return Table("What decides", note, ("accelerator", "phase", "ms", "waits for"), rows, 2)


def _layers(result: Mapping[str, Any]) -> Table:
    rows = []
    for chip in result["chips"]:
        for phase in ("prefill", "decode"):
            for kind, part in chip[phase]["parts"].items():
                times = (part[name] * 1e3 for name in ("seconds", "array", "memory", "side"))
                rows.append((chip["name"], phase, kind, part["bound"], *(f"{value:,.3g}" for value in times)))
    note = "Milliseconds; those of each engine as if it were alone. Attention is counted with `q/k/v` and the tower."
    heading = ("accelerator", "phase", "layers", "wait for", "ms", "array", "memory", "array for what does not spike")
    return Table("By kind of layer", note, heading, rows, 4)


def _energy(result: Mapping[str, Any]) -> Table:
    names = list(result["chips"][0]["prefill"]["joules"])
    rows = []
    for chip in result["chips"]:
        for phase in ("prefill", "decode"):
            total = sum(chip[phase]["joules"].values())
            shares = (f"{100 * chip[phase]['joules'].get(name, 0.0) / total:.1f}" for name in names)
            rows.append((chip["name"], phase, _figure(total), *shares))
    return Table("Where the energy goes", "In %.", ("accelerator", "phase", "J", *names), rows, 2)


def _gpus(result: Mapping[str, Any]) -> Table:
    rows = [
        (
            one["name"],
            one["format"],
            "" if one["fits"] else "does not fit one",
            _figure(one["prefill_tokens_per_s"]),
            f"{_figure(REACHED * one['decode_tokens_per_s'])} .. {_figure(one['decode_tokens_per_s'])}",
            f"{100 * one['decode_memory_share']:.0f}",
            f"{one['watts']:.0f}",
            _figure(one["decode_joules_per_token"]),
            _figure(one["answer_joules_per_token"]),
        )
        for one in result["gpus"]
    ]
    note = (
        "Rooflines: published rates and bandwidth, reached in full, at the power limit. Decode from "
        f"{100 * REACHED:.0f} % of the roofline, where the one that is cited stood, to all of it; J a token at all."
    )
    heading = (
        "GPU",
        "format",
        "",
        "prefill tokens/s",
        "decode tokens/s",
        "memory decides, %",
        "W",
        "J a token, decode",
        "J a token of the answer, prompt in",
    )
    return Table("GPUs", note, heading, rows, 3)


def _ladder(result: Mapping[str, Any]) -> Table:
    first = result["chips"][0]
    lines = [(first["name"], first["cores"], first["clock_mhz"], first["figures"], first["prefill"]["bound"])]
    lines += [
        (one["name"], one["cores"], one["clock_mhz"], one["figures"], one["prefill_bound"]) for one in result["ladder"]
    ]
    rows = [
        (
            name,
            str(cores),
            f"{clock:.0f}",
            _figure(figures["prefill_tokens_per_s"]),
            _figure(figures["prefill_joules_per_token"] * 1e3),
            _bound(bound),
            _figure(figures["decode_tokens_per_s"]),
            _figure(figures["decode_joules_per_token"] * 1e3),
        )
        for name, cores, clock, figures, bound in lines
    ]
    note = (
        "The same chip with arrays of each rung of the ladder ([ladder.md](ladder.md)) on the same area, in place of "
        "the first accelerator's cores."
    )
    heading = ("arrays", "cores", "MHz", "prefill tokens/s", "mJ a token", "waits for", "decode tokens/s", "mJ a token")
    return Table("Dense arrays on the same area", note, heading, rows)


#: What the figures of a tornado are called.
TORNADO = {
    "prefill_tokens_per_s": "prefill, tokens/s",
    "prefill_joules_per_token": "prefill, J a token",
    "decode_joules_per_token": "decode, J a token",
}


def _tornado(chip: Mapping[str, Any]) -> Table:
    rows = [
        (
            TORNADO[figure],
            str(bar["input"]),
            f"{bar['low']:g} .. {bar['high']:g}",
            _figure(bar["at_low"]),
            _figure(bar["at_high"]),
        )
        for figure, bars in chip["tornado"].items()
        for bar in bars
        if abs(bar["at_high"] - bar["at_low"]) > 1e-3 * abs(bar["at_low"])
    ]
    note = "One input at either end of its range, all others as described; the widest first."
    heading = ("figure", "input", "range", "at its low end", "at its high end")
    return Table(f"What matters: {chip['name']}", note, heading, rows, 3)


def _service(service: Mapping[str, Any]) -> Table:
    rows = [
        (
            one["name"],
            str(one["chips_of_a_model"]),
            str(one["batch"]),
            f"{one['step_ms']:.3g}",
            f"{100 * one['link_share']:.0f}",
            _figure(one["tokens_per_s_a_chip"]),
            _figure(one["joules_per_token"]),
            f"{one['chips']:,}",
            _figure(one["kwh_a_day"]),
            _figure(one["energy_usd"]),
            _figure(one["energy_usd"] + one["chips_usd"]),
        )
        for one in service["rows"]
    ]
    prices = service["prices"]
    note = (
        f"{service['tokens_a_day']:.3g} tokens of answers a day. Each group of chips holds the model and answers as "
        f"many sequences as fit while each gets a token within {service['step_ms']:g} ms. Assumed: "
        f"{prices['chip_usd']:,.0f} $ a chip in {prices['years']:g} years, {prices['kwh_usd']:g} $ a kWh, "
        f"{prices['pue']:g} times the machines' energy for the building, "
        f"{100 * prices['busy']:.0f} % of the capacity used."
    )
    heading = (
        "accelerator",
        "chips a model",
        "batch",
        "ms a token",
        "links, %",
        "tokens/s a chip",
        "J a token",
        "chips",
        "kWh a day",
        "$ of energy a million",
        "$ a million",
    )
    return Table("A service", note, heading, rows)


def _batches(service: Mapping[str, Any]) -> Table:
    rows = [
        (
            one["name"],
            str(one["batch"]),
            str(one["chips_of_a_model"]),
            f"{one['step_ms']:.3g}",
            _bound(one["decode_bound"]),
            _figure(one["tokens_per_s_a_chip"]),
            _figure(one["joules_per_token"]),
        )
        for one in service["batches"]
    ]
    note = "On as few chips as hold weights, keys and values. Tokens of answers, prompts in the account."
    heading = ("accelerator", "batch", "chips", "ms a token", "decode waits for", "tokens/s a chip", "J a token")
    return Table("By batch", note, heading, rows)


def _gpu_batches(service: Mapping[str, Any]) -> Table:
    rows = [
        (
            one["name"],
            str(one["batch"]),
            f"{100 * one['decode_memory_share']:.0f}",
            _figure(one["tokens_per_s"]),
            _figure(one["joules_per_token"]),
        )
        for one in service["gpus"]
    ]
    note = (
        "One GPU each, at its roofline and power limit; those that hold weights, keys and values. Tokens of answers, "
        "prompts in the account."
    )
    heading = ("GPU, format", "batch", "decode: memory decides, %", "tokens/s", "J a token")
    return Table("GPUs by batch", note, heading, rows)


def _traced(parts: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (
            one["name"],
            one["kind"],
            str(one["layers"]),
            f"{one['macs']:,}",
            f"{one['spikes']:,.0f}",
            f"{one['statistics']:,.0f}",
            f"{one['macs'] / one['spikes']:.1f}",
        )
        for one in parts
    ]
    note = "Cycles of one core for the rows of the trace: the model knows every spike, or their statistics alone."
    heading = ("accelerator", "layers", "number", "MACs", "cycles, by spikes", "by statistics", "MACs a cycle")
    return Table("Traced layers", note, heading, rows, 2)
