"""The demo: the embedded model through the whole path, and what came of it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from llmcompressor import oneshot
from tqdm import tqdm
from transformers import AutoModelForImageTextToText

from spike_compressor.checkpoint import load, save
from spike_compressor.demo.data import KINDS, Item, calibration_batches, items
from spike_compressor.demo.evaluate import Accuracy, evaluate, predict
from spike_compressor.demo.model import load_model, load_processor, prompt
from spike_compressor.demo.picture import answered_picture
from spike_compressor.errors import InputError
from spike_compressor.metrics import SpikeRecord, record_spikes
from spike_compressor.runtime.reference import weights_only
from spike_compressor.trace.export import export_trace

RECIPES = Path(__file__).parents[3] / "recipes"
DEFAULT_RECIPE = "quip_gptq_w4_tclif_34.yaml"

#: Spikes are counted on this many questions of each kind: counting is slower than running.
COUNTED = 30
#: Questions in the traced batch, each of another kind, and rows that are kept of each layer.
TRACED, TRACED_ROWS = 4, 24
CALIBRATION_SAMPLES = 256


def run_demo(out: Path, recipe: Path | None = None, questions: int = 1000) -> dict[str, Any]:
    """Quantize, spike, save, reload and evaluate the embedded model.

    Args:
        out: folder for `checkpoint/`, `trace/`, `answer.png` and `report.json`.
        recipe: recipe file; None for the best shipped one.
        questions: test questions of each kind.

    Returns:
        What `spike-compressor demo --json` prints; docs/demo.md names the fields.

    Raises:
        InputError: no such recipe, or fewer test questions of a kind than asked for.
    """
    started = time.monotonic()
    path = recipe or RECIPES / DEFAULT_RECIPE
    if not path.is_file():
        raise InputError(f"no recipe at {path}; name one with --recipe (the repository's folder recipes/ has some)")
    try:
        test = items("test", questions)
    except ValueError as error:
        raise InputError(f"--questions {questions}: {error}") from error
    out.mkdir(parents=True, exist_ok=True)
    processor = load_processor()
    model = load_model()

    float_accuracy = _evaluate("float model", model, processor, test)
    blind = _evaluate("blind baseline", model, processor, test, shuffle_images=True)

    with _stage("quantize and attach neurons"):
        calibration = calibration_batches(processor, samples=CALIBRATION_SAMPLES)
        oneshot(model=model, processor=processor, dataset=calibration, recipe=str(path))
    with weights_only(model):
        w4 = _evaluate("weights quantized", model, processor, test)
    with _stage("save and reload"):
        checkpoint = save(model, out / "checkpoint", processor)
        del model
        spiking = load(checkpoint)
        _check_reload(checkpoint, spiking, processor, test)
    accuracy = _evaluate("spiking", spiking, processor, test)
    with record_spikes(spiking) as record:
        _evaluate("counting spikes", spiking, processor, _some_of_each_kind(test, COUNTED))
    picture = _picture(out / "answer.png", spiking, processor, test)
    with _stage("export a trace of every layer"):
        trace = export_trace(
            spiking,
            _batch(processor, _some_of_each_kind(test, 1)[:: len(KINDS) // TRACED]),
            out / "trace",
            tokens=TRACED_ROWS,
            overwrite=True,
        )

    result = {
        "recipe": path.name,
        "accuracy": {
            "float": float_accuracy.to_dict(),
            "w4": w4.to_dict(),
            "spiking": accuracy.to_dict(),
        },
        "blind": blind.to_dict(),
        "questions": {"by_kind": accuracy.questions, "counted": COUNTED},
        **_spike_figures(record),
        "checkpoint": str(checkpoint),
        "picture": picture,
        "trace": str(trace),
        "seconds": time.monotonic() - started,
    }
    (out / "report.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def _spike_figures(record: SpikeRecord) -> dict[str, Any]:
    totals = record.to_dict()
    names = ("timesteps", "firing_rate", "spikes_per_neuron", "sops_per_token", "mean_timesteps", "coverage")
    return {name: totals[name] for name in names}


def _check_reload(checkpoint: Path, spiking: Any, processor: Any, test: list[Item]) -> None:
    """The reloaded model must spike the same step by step, and plain transformers must open the same directory."""
    batch = _batch(processor, _some_of_each_kind(test, 1))
    with torch.inference_mode():
        fused = spiking(**batch).logits
        unrolled = load(checkpoint, backend="unrolled")(**batch).logits
        if not torch.equal(fused, unrolled):
            raise RuntimeError("the fused and the unrolled backend disagree; please report this")
        plain = AutoModelForImageTextToText.from_pretrained(checkpoint)(**batch).logits
        if not bool(torch.isfinite(plain).all()):
            raise RuntimeError("plain transformers computes NaN from the checkpoint; please report this")


def _batch(processor: Any, asked: list[Item]) -> Any:
    return processor(
        images=[item.image for item in asked],
        text=[prompt(item.question) for item in asked],
        padding=True,
        return_tensors="pt",
    )


def _some_of_each_kind(test: list[Item], count: int) -> list[Item]:
    taken: dict[str, list[Item]] = {}
    for item in test:
        chosen = taken.setdefault(item.kind, [])
        if len(chosen) < count:
            chosen.append(item)
    return [item for chosen in taken.values() for item in chosen]


def _picture(path: Path, model: Any, processor: Any, test: list[Item]) -> dict[str, str]:
    item = next((item for item in test if item.kind == "read"), test[0])
    answer = predict(model, processor, item.image, item.question)
    answered_picture(item.image, item.question, answer, item.answer).save(path)
    return {"path": str(path), "question": item.question, "answer": answer, "expected": item.answer}


def _evaluate(what: str, model: Any, processor: Any, test: list[Item], *, shuffle_images: bool = False) -> Accuracy:
    with tqdm(total=len(test), desc=f"{what:<28}", unit="q", dynamic_ncols=True) as bar:
        return evaluate(
            model,
            processor,
            test,
            shuffle_images=shuffle_images,
            progress=lambda done, total: bar.update(done - bar.n),
        )


@contextmanager
def _stage(what: str) -> Iterator[None]:
    print(f"{what} ...", file=sys.stderr, flush=True)
    yield
