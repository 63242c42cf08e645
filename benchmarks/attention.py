"""What coding attention products costs the embedded model, by their timesteps.

    python benchmarks/attention.py --questions 200

One recipe quantizes the weights once (QuIP + GPTQ W4, Linears at Tv/Tt = 3/4); then only attention changes. Accuracy is
the mean over question kinds; its difference from real attention is paired, question by question, with a bootstrap
interval. CPU time is that of one batch, all settings in turn, the median of several turns as a ratio to real attention.
Prints a Markdown table, or JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from llmcompressor import oneshot
from spike_compressor import record_spikes
from spike_compressor.demo.data import KINDS, Item, calibration_batches, items
from spike_compressor.demo.evaluate import judge
from spike_compressor.demo.model import load_model, load_processor, prompt
from spike_compressor.modality import ModalityAdapter
from spike_compressor.modifiers.attention import AttentionSettings
from spike_compressor.quiet import quiet_libraries
from spike_compressor.runtime import LayerSpec, attach, detach, spiking_layers, spiking_state
from tqdm import tqdm
from transformers import DynamicCache

RECIPE = Path(__file__).parents[1] / "recipes" / "quip_gptq_w4_tclif_34.yaml"
EVERYWHERE = ["re:.*self_attn$"]
SETTINGS: dict[str, dict[str, Any] | None] = {
    "real": None,
    **{f"decoder, T = {T}": {"timesteps": T} for T in (5, 4, 3, 2)},
    "decoder, Tv/Tt = 3/4": {"timesteps": {"vision": 3, "text": 4}},
    "decoder and tower, T = 4": {"timesteps": 4, "targets": EVERYWHERE},
    "decoder and tower, T = 3": {"timesteps": 3, "targets": EVERYWHERE},
}
#: Questions of each kind that spikes are counted on.
COUNTED = 10
#: How often CPU time is taken.
TURNS = 7


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--questions", type=int, default=200, help="test questions of each kind")
    parser.add_argument("--samples", type=int, default=256, help="calibration questions")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    quiet_libraries(bars=True)
    torch.set_num_threads(args.threads)
    test, processor, model = items("test", args.questions), load_processor(), load_model()
    data = calibration_batches(processor, samples=args.samples)
    oneshot(model=model, processor=processor, dataset=data, recipe=str(RECIPE))
    state = spiking_state(model)
    specs, adapter = {name: layer.spec for name, layer in spiking_layers(model).items()}, state.tracker.adapter
    rows, right = {}, {}
    batch = _batch(processor, test)
    for label in SETTINGS:
        _set(model, label, specs, adapter)
        right[label] = _judge(label, model, processor, test)
        rows[label] = {"accuracy": _average(right[label], test), **_counts(model, batch)}
        difference = [mine - real for mine, real in zip(right[label], right["real"], strict=True)]
        rows[label]["difference"], rows[label]["interval"] = _average(difference, test), _interval(difference, test)
        rows[label]["answers_changed"] = sum(map(bool, difference))
    times: dict[str, list[float]] = {label: [] for label in SETTINGS}
    for _ in range(TURNS):
        for label, taken in times.items():
            _set(model, label, specs, adapter)
            taken.append(_cpu_time(model, batch))
    for label, taken in times.items():
        rows[label]["cpu_time"] = statistics.median(taken) / statistics.median(times["real"])
    if args.json:
        print(json.dumps({"questions": len(test), "torch": torch.__version__, "rows": rows}))
    else:
        print(_table(rows))
    return 0


def _set(model: Any, label: str, specs: dict[str, LayerSpec], adapter: ModalityAdapter) -> None:
    """Let the attention of the spiking model do what a setting says."""
    settings = SETTINGS[label]
    detach(model)
    attention = {} if settings is None else AttentionSettings(**settings).specs(model, adapter)
    attach(model, specs, adapter, attention=attention)


def _judge(label: str, model: Any, processor: Any, test: list[Item]) -> list[bool]:
    with tqdm(total=len(test), desc=f"{label:<26}", unit="q", file=sys.stderr, dynamic_ncols=True) as bar:
        return judge(model, processor, test, progress=lambda done, total: bar.update(done - bar.n))


def _cpu_time(model: Any, batch: Any) -> float:
    with torch.inference_mode():
        model(**batch)  # the first pass after a change also makes what later ones reuse
        started = time.process_time()
        model(**batch)
        return time.process_time() - started


def _by_kind(values: list[Any], test: list[Item]) -> torch.Tensor:
    """float64 [kinds, questions]."""
    kinds: dict[str, list[float]] = {}
    for value, item in zip(values, test, strict=True):
        kinds.setdefault(item.kind, []).append(float(value))
    return torch.tensor([kinds[kind] for kind in KINDS], dtype=torch.float64)


def _average(values: list[Any], test: list[Item]) -> float:
    return float(_by_kind(values, test).mean())


def _interval(values: list[Any], test: list[Item], draws: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over kinds, questions drawn anew within each kind."""
    table = _by_kind(values, test)
    kinds, count = table.shape
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(count, (draws, kinds, count), generator=generator)
    means = table.expand(draws, -1, -1).gather(2, chosen).mean(dim=(1, 2))
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def _batch(processor: Any, test: list[Item]) -> Any:
    """Some questions of each kind."""
    some = [item for kind in KINDS for item in [one for one in test if one.kind == kind][:COUNTED]]
    return processor(
        images=[item.image for item in some],
        text=[prompt(item.question) for item in some],
        padding=True,
        return_tensors="pt",
    )


def _counts(model: Any, batch: Any) -> dict[str, Any]:
    """Coverage, synaptic operations and spikes of one batch, and the bytes of a row of its KV cache."""
    cache = DynamicCache(config=model.config.get_text_config())
    with torch.inference_mode(), record_spikes(model) as record:
        model(**batch, past_key_values=cache)
    rows = [rows for layer in cache.layers for rows in (layer.keys, layer.values)]
    width = model.config.get_text_config().head_dim
    tokens = sum(record.tokens.values())
    return {
        "coverage": record.coverage(),
        "sops_per_token": record.sops_per_token(),
        "attention_sops_per_token": sum(entry.sops for entry in record.attention.values()) / tokens,
        "firing": {
            name: _rate([entry for key, entry in record.attention.items() if key[1] == name]) for name in "qkpv"
        },
        "cache_bytes_per_row": rows[0].shape[-1] * rows[0].element_size(),
        "cache_bytes_of_bfloat16": 2 * width,
    }


def _rate(entries: list[Any]) -> float:
    """Spikes of a neuron, in all timesteps together."""
    neurons = sum(entry.neurons for entry in entries)
    return sum(entry.spikes for entry in entries) / neurons if neurons else 0.0


def _table(rows: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| attention | accuracy | against real attention, 95 % interval | coverage | SOPs per token, of which attention"
        " | spikes per neuron q / k / p / v | CPU time |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    for label, row in rows.items():
        low, high = (100 * end for end in row["interval"])
        fires = " / ".join(f"{row['firing'][operand]:.2f}" for operand in "qkpv") if row["firing"]["q"] else "-"
        difference = "-" if label == "real" else f"{100 * row['difference']:+.2f} ({low:+.2f} … {high:+.2f})"
        lines.append(
            f"| {label} | {100 * row['accuracy']:.2f} % | {difference} | {100 * row['coverage']:.1f} % | "
            f"{row['sops_per_token']:,.0f}, {row['attention_sops_per_token']:,.0f} | {fires} | "
            f"{row['cpu_time']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
