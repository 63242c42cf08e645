"""What is neither product nor model: encoding a batch, the Python around a layer, and recipes beside recipes."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from harness import ONE_T_RECIPE, RESULTS

from timing.clock import interleave, ratio, rounded
from timing.layers import WEIGHTS, spiking_linear
from timing.models import generating
from timing.rivals import PythonSteps

#: Rows and inputs of the batch that is encoded.
BATCH = (1024, 2048)
TIMESTEPS = 4
#: Width of a layer whose arithmetic is next to nothing, and decoder layers of the model of such.
SMALL, DEPTH = 64, 8


def encode_row(seconds: float, batch: tuple[int, int] = BATCH) -> dict[str, Any]:
    """`encode` against a Python loop over timesteps, after both have given the same spikes.

    Raises:
        SystemExit: they have not.
    """
    from spike_compressor.coding import absmax_scale, encode

    x = torch.randn(batch, generator=torch.Generator().manual_seed(0))
    rival = PythonSteps(TIMESTEPS)

    def ours() -> Any:
        return encode(x, absmax_scale(x, TIMESTEPS), TIMESTEPS)

    if not torch.equal(ours().spikes.to(torch.float32), rival(x)):
        raise SystemExit("encode and the loop over timesteps give different spikes")
    samples = interleave({"ours": ours, "python": lambda: rival(x)}, seconds)
    return {
        "part": "encode",
        "key": "encode_vs_python_steps",
        "batch": list(batch),
        "timesteps": TIMESTEPS,
        "ms": rounded(1e3 * statistics.median(samples["ours"])),
        "rival_ms": rounded(1e3 * statistics.median(samples["python"])),
        **{key: rounded(value, 3) for key, value in ratio(samples["python"], samples["ours"])._asdict().items()},
    }


def python_rows(seconds: float, depth: int = DEPTH, new: int = 32) -> Iterator[dict[str, Any]]:
    """Microseconds that a spiking layer takes beyond a float one where there is next to nothing to compute."""
    weight = torch.randn(SMALL, SMALL) * SMALL**-0.5
    layer, linear = spiking_linear(weight, WEIGHTS[0]), torch.nn.Linear(SMALL, SMALL, bias=False)
    x = torch.randn(1, SMALL)
    samples = interleave({"spiking": lambda: layer(x), "float": lambda: linear(x)}, seconds)
    yield _microseconds("python_per_call_us", "one layer, called by itself", samples, 1)
    with tempfile.TemporaryDirectory() as folder:
        models = _small_models(Path(folder), depth)
        ids = torch.randint(3, 60, (1, 4))
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        samples = interleave({name: generating(model, inputs, new) for name, model in models.items()}, seconds)
    yield _microseconds("python_per_layer_us", "a layer and token of a model that generates", samples, 7 * depth * new)


def _small_models(folder: Path, depth: int) -> dict[str, Any]:
    """A Llama of small layers, float and spiking."""
    import spike_compressor
    from llmcompressor import oneshot
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64,
        hidden_size=SMALL,
        intermediate_size=SMALL,
        num_hidden_layers=depth,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder / "float")
    model = LlamaForCausalLM.from_pretrained(folder / "float", dtype=torch.float32).eval()
    quantized = LlamaForCausalLM.from_pretrained(folder / "float", dtype=torch.float32)
    oneshot(model=quantized, recipe=ONE_T_RECIPE, output_dir=str(folder / "spiking"))
    return {"float": model, "spiking": spike_compressor.load(folder / "spiking")}


def _microseconds(key: str, what: str, samples: dict[str, list[float]], parts: int) -> dict[str, Any]:
    more = [1e6 * (s - f) / parts for s, f in zip(samples["spiking"], samples["float"], strict=False)]
    low, middle, high = statistics.quantiles(more, n=4)
    return {
        "part": "python",
        "key": key,
        "what": what,
        "ratio": rounded(middle, 3),
        "low": rounded(low, 3),
        "high": rounded(high, 3),
    }


def oneshot_rows(folder: Path = RESULTS) -> Iterator[dict[str, Any]]:
    """What both modifiers add to `oneshot`, as other benchmarks have found it: the model where it is most."""
    for name, allocation, found in (("calibration", "sensitivity", _sensitivity), ("overhead", "med", _with_spikes)):
        path = folder / f"{name}.json"
        result = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": [], "settings": {}}
        ratios, allocation = found(result["rows"]), result["settings"].get("allocation", allocation)
        if ratios:
            worst = max(ratios, key=ratios.__getitem__)
            yield {
                "part": "oneshot",
                "key": "oneshot_overhead" + ("" if allocation == "sensitivity" else f"_{allocation}"),
                "from": f"MSTS by {allocation}, {worst}, from {path.name}",
                "ratio": rounded(ratios[worst]),
            }


def _sensitivity(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Processor time with sensitivity over that with fixed timesteps, by model."""
    timed = {row["model"]: row["cpu_seconds"] for row in rows if row["part"] == "time"}
    return {
        model: seconds["sensitivity"] / seconds["fixed"] for model, seconds in timed.items() if "sensitivity" in seconds
    }


def _with_spikes(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Wall time with both modifiers over that without, by model."""
    return {row["model"]: row["seconds"]["ratio"] for row in rows}
