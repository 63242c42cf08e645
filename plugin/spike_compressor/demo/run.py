"""The demo: the embedded model through the whole path, and what came of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from llmcompressor import oneshot
from transformers import AutoModelForImageTextToText

from spike_compressor.checkpoint import load, save
from spike_compressor.demo.data import KINDS, Item, calibration_batches, items, require_enough
from spike_compressor.demo.evaluate import evaluate, predict
from spike_compressor.demo.model import load_model, load_processor, model_directory, prompt
from spike_compressor.demo.on_core import answer_on_core
from spike_compressor.demo.picture import answered_picture
from spike_compressor.demo.side_by_side import Exam, Examinee, examination
from spike_compressor.errors import InputError
from spike_compressor.files import replacing_file, write_text
from spike_compressor.metrics import SpikeRecord, record_spikes
from spike_compressor.processes import require_jobs
from spike_compressor.progress import Steps
from spike_compressor.runtime import chosen_names, get_backend
from spike_compressor.shipped import recipe_path
from spike_compressor.threads import small_model_threads, use_threads
from spike_compressor.trace.export import export_trace

DEFAULT_RECIPE = "gptq_w4_tclif_rebuilt"

#: Spikes are counted on this many questions of each kind: counting is slower than running.
COUNTED = 30
#: Questions in the traced batch, each of another kind, and rows that are kept of each layer.
TRACED, TRACED_ROWS = 4, 24
CALIBRATION_SAMPLES = 256

_EXAMS = {
    "float": "evaluate the float model",
    "blind": "evaluate it blind, with pictures exchanged",
    "w4": "evaluate the quantized weights",
    "spiking": "evaluate the spiking model",
}


def run_demo(
    out: Path,
    recipe: str | os.PathLike[str] = DEFAULT_RECIPE,
    questions: int = 1000,
    steps: Steps | None = None,
    jobs: int = 1,
    backend: str = "fused",
    rtl_layers: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Quantize, spike, save, reload and evaluate the embedded model.

    Args:
        out: folder for `checkpoint/`, `trace/`, `answer.png` and `report.json`.
        recipe: recipe file, or the name of a shipped one.
        questions: test questions of each kind.
        steps: shows how far it is; by default on standard error.
        jobs: processes that answer questions; 1: this one. The answers do not depend on it.
        backend: `rtl` has the simulated core answer a question, too; `fused` answers the others in any case.
        rtl_layers: names or `re:` patterns of the layers that the core computes; None for all.

    Returns:
        What `spike-compressor demo --json` prints; docs/demo.md names the fields.

    Raises:
        InputError: no such recipe, no process at all, or fewer test questions of a kind than asked for; no simulated
            core, or a pattern that matches no layer.
    """
    started = time.monotonic()
    path = recipe_path(recipe)
    try:
        require_enough("test", questions)
    except ValueError as error:
        raise InputError(f"--questions {questions}: {error}") from error
    require_jobs(jobs)
    get_backend(backend)
    if rtl_layers is not None and backend != "rtl":
        raise InputError("--rtl-layers says which layers the simulated core computes: give --backend rtl as well")
    out.mkdir(parents=True, exist_ok=True)
    steps = steps or Steps()
    threads = small_model_threads()
    with examination(jobs, threads, steps.verbose) as ask, use_threads(threads):
        with steps.step("draw the questions"):
            test = items("test", questions)
        with steps.step("open the model"):
            processor = load_processor()
            model = load_model()
            chosen_names([name for name, _ in model.named_modules() if name], rtl_layers, "--rtl-layers")
            embedded = Examinee(model_directory(), "float")
            exams = {
                "float": Exam(ask, embedded, processor, test),
                "blind": Exam(ask, embedded, processor, test, shuffle_images=True),
            }
        with steps.step("quantize and attach neurons"):
            calibration = calibration_batches(processor, samples=CALIBRATION_SAMPLES)
            oneshot(model=model, processor=processor, dataset=calibration, recipe=str(path))
        with steps.step("save and reload"):
            checkpoint = save(model, out / "checkpoint", processor)
            del model
            spiking = load(checkpoint)
            _check_reload(checkpoint, spiking, processor, test)
            exams["w4"] = Exam(ask, Examinee(checkpoint, "weight_only"), processor, test)
            exams["spiking"] = Exam(ask, Examinee(checkpoint, "spiking"), processor, test)
        simulated = {}
        if backend == "rtl":
            with steps.step("answer a question on the simulated core") as step:
                asked = _pictured(test)
                simulated["rtl"] = answer_on_core(spiking, processor, asked, rtl_layers, step.write, step)
        with steps.step("count spikes") as step, record_spikes(spiking) as record:
            evaluate(spiking, processor, _some_of_each_kind(test, COUNTED), progress=step)
        with steps.step("export a trace of every layer"):
            picture = _picture(out / "answer.png", spiking, processor, test)
            trace = export_trace(
                spiking,
                _batch(processor, _some_of_each_kind(test, 1)[:: len(KINDS) // TRACED]),
                out / "trace",
                tokens=TRACED_ROWS,
                overwrite=True,
            )
        found = {}
        for name, exam in exams.items():
            with steps.step(_EXAMS[name]) as step:
                found[name] = exam.accuracy(step)

    result = {
        "recipe": path.name,
        "accuracy": {name: found[name].to_dict() for name in ("float", "w4", "spiking")},
        "blind": found["blind"].to_dict(),
        "questions": {"by_kind": found["spiking"].questions, "counted": COUNTED},
        **_spike_figures(record),
        "checkpoint": str(checkpoint),
        "picture": picture,
        "trace": str(trace),
        **simulated,
        "seconds": time.monotonic() - started,
    }
    write_text(out / "report.json", json.dumps(result, indent=2) + "\n")
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


def _pictured(test: list[Item]) -> Item:
    """The question that is shown, whose answer has several tokens."""
    return next((item for item in test if item.kind == "read"), test[0])


def _picture(path: Path, model: Any, processor: Any, test: list[Item]) -> dict[str, str]:
    item = _pictured(test)
    answer = predict(model, processor, item.image, item.question)
    with replacing_file(path) as fresh:
        answered_picture(item.image, item.question, answer, item.answer).save(fresh)
    return {"path": str(path), "question": item.question, "answer": answer, "expected": item.answer}
