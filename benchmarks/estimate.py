"""What `spike-compressor estimate` says of five models, and of a published claim: the committed tables.

python benchmarks/estimate.py                 # writes docs/results/estimate*.json, .md and .svg; nothing is timed
python benchmarks/estimate.py estimate_claim --out build
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import RESULTS
from spike_compressor.estimate.accelerator import Chip, read_accelerator
from spike_compressor.estimate.models import ModelFields, parameters, read_model
from spike_compressor.estimate.names import model_names
from spike_compressor.estimate.plans import plan_from
from spike_compressor.estimate.report import rounded, text
from spike_compressor.estimate.rivals import gpu, gpus, ladder, roofline
from spike_compressor.estimate.run import Service, estimate, figures, phases
from spike_compressor.estimate.work import Load, Plan, decode, weight_bytes
from spike_compressor.files import write_text

#: Rotated models at 3/4, as they fire (docs/results/rtl_bench.md), from inputs that are nearly Gaussian.
ROTATED = ("3/4", "1.04/1.46", "gauss")
#: Not rotated, thresholds of the row's root mean square, fitted weights (docs/results/README.md, 6): few spikes of
#: inputs with long tails.
SPARSE = ("7/7", "0.741/0.741", "laplace")
CHIPS = ("event-7nm", "dense-7nm")
TOKENS_A_DAY = 1e9


def plan(which: tuple[str, str, str]) -> Plan:
    """A plan by its options."""
    return plan_from(which[0], which[1], which[2], None)


def chips(*names: str) -> list[Chip]:
    """Shipped accelerators."""
    return [read_accelerator(name) for name in names]


def load_of(model: ModelFields, batch: int = 1) -> Load:
    """A picture, a question of 64 tokens, an answer of 128."""
    return Load(batch=batch, image_tokens=model.image_tokens)


def one_model(name: str, wide: tuple[int, ...], which: tuple[str, str, str] = ROTATED) -> dict[str, Any]:
    """A model at batch 1, everything beside it, and a service."""
    model = read_model(name)
    service = Service(TOKENS_A_DAY, wide)
    return estimate(model, chips(*CHIPS), plan(which), load_of(model), gpus().values(), service=service)


def all_models() -> dict[str, Any]:
    """Every bundled model, with many and with few spikes, on both organisations, beside GPUs with 4-bit weights."""
    rows = []
    for name in model_names():
        model = read_model(name)
        load = load_of(model)
        for kind, which, own in (
            ("rotated, 3/4", ROTATED, CHIPS),
            ("rms, .741 an input, T up to 7", SPARSE, ("event-t7-7nm",)),
        ):
            beside = [gpu("A800 80GB PCIe"), gpu("H200 SXM")]
            found = estimate(model, chips(*own), plan(which), load, beside, draws=100)
            rows.append(
                {
                    "model": model.name,
                    "spikes": kind,
                    "image_tokens": model.image_tokens,
                    "chips": [{key: chip[key] for key in ("name", "figures", "intervals")} for chip in found["chips"]],
                    "ladder": {one["name"]: one["figures"] for one in found["ladder"]},
                    "gpus": [one for one in found["gpus"] if one["format"] == "W4A16"],
                }
            )
    return {"label": "estimated", "rows": rows}


#: What the paper says (arXiv 2604.18610, section 4.3), batch 1.
PAPER = {"tokens_per_s": 393.7, "gpu_tokens_per_s": 43.5, "watts": 7.13, "gpu_watts": 184.0}


def claim() -> dict[str, Any]:
    """9.06 times the throughput and 1 / 25.8 of the power: what each assumption contributes."""
    model = read_model("qwen2-vl-7b")
    load = load_of(model)
    spiking = plan(ROTATED)
    event, dense = chips("event-28nm", "dense-28nm")
    found = {chip.fields.organisation: phases(chip, model, spiking, load) for chip in (event, dense)}
    step = found["event"][1]
    a800 = gpu("A800 80GB PCIe")
    rooflines = {
        form: roofline(a800, form, decode(model, load), load, 1).tokens_per_s for form in ("FP16", "INT8", "W4A16")
    }
    reached = PAPER["gpu_tokens_per_s"] / rooflines["FP16"]
    moved = sum(part.dram_bytes for part in step.parts.values())
    joules = step.energy_by()
    on_chip = joules["array"] + joules["array for what does not spike"] + joules["buffer"]
    speed = figures(*found["event"], load)
    other = figures(*found["dense"], load)
    rows: list[dict[str, Any]] = []

    def row(what: str, value: float, unit: str, label: str, how: str) -> None:
        rows.append({"what": what, "value": value, "unit": unit, "label": label, "how": how})

    row("accelerator, tokens/s", PAPER["tokens_per_s"], "", "cited", "the paper, batch 1")
    row("A800 FP16, tokens/s", PAPER["gpu_tokens_per_s"], "", "cited", "the paper, batch 1, measured there")
    ratio = PAPER["tokens_per_s"] / PAPER["gpu_tokens_per_s"]
    row("ratio of throughput", ratio, "x", "cited", "393.7 / 43.5")
    row("accelerator, power", PAPER["watts"], "W", "cited", "the paper; what is inside is not said")
    row("A800, power", PAPER["gpu_watts"], "W", "cited", "the paper")
    row("ratio of power", PAPER["gpu_watts"] / PAPER["watts"], "x", "cited", "184 / 7.13")
    ours = speed["decode_tokens_per_s"]
    row("this model: event core, tokens/s", ours, "", "estimated", f"{event.cores} cores at 28 nm, 85 % of 1,935 GB/s")
    row("this model: over the A800's 43.5", ours / PAPER["gpu_tokens_per_s"], "x", "estimated", "the ratio comes out")
    row("of it: 4-bit weights", rooflines["W4A16"] / rooflines["FP16"], "x", "estimated", "bytes a token, FP16 / W4")
    row(
        "of it: the GPU's distance from its roofline",
        1 / reached,
        "x",
        "estimated",
        f"roofline of FP16 {rooflines['FP16']:.1f} tokens/s, cited 43.5",
    )
    row("of it: bandwidth that we reach", event.fields.dram.efficiency, "x", "assumed", "85 % of the same DRAM")
    waits = ours / (rooflines["W4A16"] * event.fields.dram.efficiency)
    row("of it: layers that wait for arrays, not memory", waits, "x", "estimated", "112 cores, one row at a time")
    dense_speed = other["decode_tokens_per_s"]
    row(
        "the dense array on the same area, over 43.5",
        dense_speed / PAPER["gpu_tokens_per_s"],
        "x",
        "estimated",
        "no spike",
    )
    row("DRAM traffic at 393.7 tokens/s", moved * PAPER["tokens_per_s"] / 1e12, "TB/s", "estimated", "4-bit weights")
    pj = event.fields.dram.pj_per_bit
    dram_watts = moved * 8 * pj * 1e-12 * PAPER["tokens_per_s"]
    row("DRAM power at 393.7 tokens/s", dram_watts, "W", "estimated", f"{pj} pJ a bit; 3.92 of them cited")
    row("least DRAM power at 393.7 tokens/s", dram_watts * 3.4 / pj, "W", "estimated", "3.4 pJ a bit")
    row("arrays and buffer at 393.7 tokens/s", on_chip * PAPER["tokens_per_s"], "W", "estimated", "28 nm, scaled")
    row("arrays alone", joules["array"] * PAPER["tokens_per_s"], "W", "estimated", "of the event core")
    dense_joules = found["dense"][1].energy_by()["array"]
    row("dense array alone, equal area", dense_joules * PAPER["tokens_per_s"], "W", "estimated", "the same sums")
    row(
        "184 W over arrays and buffer",
        PAPER["gpu_watts"] / (on_chip * PAPER["tokens_per_s"]),
        "x",
        "estimated",
        "as if DRAM took nothing",
    )
    total = on_chip * PAPER["tokens_per_s"] + dram_watts + event.fields.static_w
    row("184 W over all, DRAM in", PAPER["gpu_watts"] / total, "x", "estimated", "with 2 W static, assumed")
    gpu_w4 = rooflines["W4A16"]
    row("A800 with W4A16, roofline, tokens/s", gpu_w4, "", "estimated", "published bandwidth")
    row("event core over it", ours / gpu_w4, "x", "estimated", "what remains: less than 1")
    row("event core over it, at the GPU's cited 32 %", ours / (gpu_w4 * reached), "x", "estimated", "software's part")
    token = speed["decode_joules_per_token"]
    row("event core, J a token", token, "J", "estimated", "DRAM in")
    row("A800 W4A16, J a token", PAPER["gpu_watts"] / gpu_w4, "J", "estimated", "184 W cited, roofline")
    row("A800 W4A16 over event core", PAPER["gpu_watts"] / gpu_w4 / token, "x", "estimated", "energy; no host in ours")
    row("dense array over event core, decode", other["decode_joules_per_token"] / token, "x", "estimated", "energy")
    for name, what in (("prefill_tokens_per_s", "throughput"), ("prefill_joules_per_token", "energy a token")):
        row(f"event core over dense array, prompt: {what}", speed[name] / other[name], "x", "estimated", "equal area")
    sparse = chips("event-t7-7nm")[0]
    rows_of = {
        name: figures(*phases(chip, model, plan(SPARSE), load), load) for name, chip in ladder(sparse, 7).items()
    }
    few, w4a8 = figures(*phases(sparse, model, plan(SPARSE), load), load), rows_of["INT4 x INT8 (W4A8)"]
    how = "7 nm, equal area; codes of T up to 7, which W4A8 computes as well"
    for name, what in (("prefill_tokens_per_s", "throughput"), ("prefill_joules_per_token", "energy a token")):
        row(
            f"event core with .741 spikes an input over W4A8, prompt: {what}",
            few[name] / w4a8[name],
            "x",
            "estimated",
            how,
        )
    return {
        "label": "cited, estimated",
        "model": model.name,
        "weights_gib": weight_bytes(model, 4, load) / 2**30,
        "parameters": parameters(model),
        "rows": rows,
    }


TABLES: dict[str, Callable[[], dict[str, Any]]] = {
    "estimate": lambda: one_model("qwen2-vl-7b", (1, 2, 4, 8, 16)),
    "estimate_72b": lambda: one_model("qwen2-vl-72b", (1, 2, 4, 8, 16, 32)),
    "estimate_models": all_models,
    "estimate_claim": claim,
}


def result(name: str) -> dict[str, Any]:
    """One of the committed results."""
    found: dict[str, Any] = {
        "benchmark": name,
        "command": "python benchmarks/estimate.py",
        "machine": {"cpu": "any: nothing is timed"},
        **rounded(TABLES[name]()),
    }
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(TABLES), metavar="NAME", help=f"of {', '.join(TABLES)}")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder (default: %(default)s)")
    args = parser.parse_args()
    from tables import publish

    for name in args.names:
        if name not in TABLES:
            parser.error(f"no table {name}; there are: {', '.join(TABLES)}")
        made = result(name)
        write_text(args.out / f"{name}.json", text(made))
        print(publish(made, args.out / f"{name}.json"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
