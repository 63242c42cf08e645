"""The commands by which harnesses run on the prepared files, and what they wrote: answers and scores."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

HERE = Path(__file__).parent
FILES = Path(os.environ.get("SPIKE_HARNESS_FILES", "build/harness-files")).resolve()
CHECKPOINT = FILES / "checkpoint"
BENCHMARKS = {
    "ocrbench": "OCRBench",
    "mme": "MME",
    "textvqa": "TextVQA_VAL",
    "docvqa": "DocVQA_VAL",
    "scienceqa": "ScienceQA_TEST",
}
LONGEST = 32  # tokens of an answer
#: As a served model is called.
SERVED = "spiking"
#: What docs/serving.md gives vLLM, and a context that the embedded model has.
ENGINE = {"enforce_eager": True, "dtype": "float32", "model_impl": "transformers", "max_model_len": 128}
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HOME": str(FILES / "hf"),
    "LMUData": str(FILES / "LMUData"),
}
SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_PLUGINS": "spike_compressor", "VLLM_NO_USAGE_STATS": "1"}


@dataclass(frozen=True)
class Found:
    """What a harness made of the benchmarks: scores as `compare` has them, and the model's answers."""

    scores: dict[str, float]
    answers: dict[str, list[str]]


@functools.cache
def own() -> Found:
    """What this package makes of them."""
    kept = json.loads((FILES / "own.json").read_text(encoding="utf-8"))
    return Found({name: one["score"] for name, one in kept.items()}, {n: one["answers"] for n, one in kept.items()})


def _arguments(values: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in values.items())


def is_done(run: str) -> bool:
    """Whether a run, as `lmms-load`, has ended well in the prepared folder: a killed test goes on where it was."""
    return (FILES / f"{run}.done").exists()


def _run(command: list[str], run: str, results: str, vllm: bool = False) -> None:
    """In this environment, or in vLLM's; a harness that leaves no such file has failed, whatever it returns."""
    if is_done(run):
        return
    log = f"{run}.log"
    environment = {**os.environ, **OFFLINE}
    environment.pop("TQDM_DISABLE", None)  # vLLM divides by the time that its progress bar knows, none without a bar
    if vllm:
        extra = os.pathsep.join([os.environ["SPIKE_HARNESS_VLLM"], str(HERE / "crutch")])
        environment |= SETTINGS | {
            "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}{os.pathsep}{extra}",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        }
    with (FILES / log).open("w") as stream:
        program = os.environ["SPIKE_VLLM_PYTHON"] if vllm else sys.executable
        done = subprocess.run(
            [program, *command], env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    failed = done.returncode or not any((FILES / run).rglob(results))
    assert not failed, (FILES / log).read_text()[-3000:]
    (FILES / f"{run}.done").touch()


@functools.cache
def lmms_eval(engine: str, address: str = "") -> Found:
    """lmms-eval, by `load`, by its model `vllm`, or by a server."""
    out = FILES / f"lmms-{engine}"
    if engine == "load":
        model, arguments = "spike", {"pretrained": CHECKPOINT}
    elif engine == "vllm":
        model, arguments = "vllm", {"model": CHECKPOINT, **ENGINE, "max_num_seqs": 8, "max_new_tokens": LONGEST}
    else:
        model = "async_openai"
        arguments = {"model": SERVED, "base_url": f"{address}/v1", "api_key": "none", "num_cpus": 4}
    command = ["-m", "lmms_eval", "--model", model, "--model_args", _arguments(arguments)]
    command += ["--tasks", ",".join(f"local_{name}" for name in BENCHMARKS), "--include_path", str(FILES / "lmms")]
    command += ["--gen_kwargs", f"max_new_tokens={LONGEST}", "--log_samples", "--output_path", str(out)]
    _run(command, f"lmms-{engine}", "*_results.json", vllm=engine == "vllm")
    (results,) = out.rglob("*_results.json")
    told = json.loads(results.read_text(encoding="utf-8"))["results"]
    found = {name: told[f"local_{name}"] for name in BENCHMARKS}
    answers = {}
    for name in BENCHMARKS:
        (samples,) = out.rglob(f"*_samples_local_{name}.jsonl")
        rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
        answers[name] = [_text(row["filtered_resps"]) for row in sorted(rows, key=lambda row: row["doc_id"])]
    scores = {
        # it divides by the published number of questions
        "ocrbench": found["ocrbench"]["ocrbench_accuracy,none"] * 1000 / len(answers["ocrbench"]) * 100,
        "mme": found["mme"]["mme_perception_score,none"] + found["mme"]["mme_cognition_score,none"],
        "textvqa": found["textvqa"]["exact_match,none"] * 100,
        "docvqa": found["docvqa"]["anls,none"] * 100,
        "scienceqa": found["scienceqa"]["exact_match,none"] * 100,
    }
    return Found(scores, answers)


def _text(found: Any) -> str:
    return str(found[0] if isinstance(found, list) else found).strip()


@functools.cache
def vlmeval(engine: str, address: str = "") -> Found:
    """VLMEvalKit, by `load`, or by a server."""
    name = CHECKPOINT.name if engine == "load" else SERVED
    command = [str(HERE / "local_vlmeval.py"), "--data", *BENCHMARKS.values(), "--judge", "exact_matching"]
    command += ["--work-dir", str(FILES / f"vlmeval-{engine}")]
    if engine == "load":
        command += ["--model", str(CHECKPOINT), "--max-new-tokens", str(LONGEST)]
    else:
        # pictures by their path: it would send them as JPEG, and small ones enlarged
        command += ["--model", SERVED, "--base-url", f"{address}/v1", "--key", "none", "--local-media"]
        command += ["--max-tokens", str(LONGEST)]
    _run(command, f"vlmeval-{engine}", "status.json")
    out = FILES / f"vlmeval-{engine}" / name
    answers = {}
    for benchmark, file in BENCHMARKS.items():
        rows = pd.read_excel(out / f"{name}_{file}.xlsx", dtype=str, keep_default_na=False).sort_values(
            "index", key=lambda column: column.astype(int)
        )
        answers[benchmark] = [text.strip() for text in rows["prediction"]]
    mme = pd.read_csv(out / f"{name}_MME_score.csv").iloc[0]
    ocrbench = json.loads((out / f"{name}_OCRBench_score.json").read_text(encoding="utf-8"))
    scores = {
        "ocrbench": ocrbench["Final Score"] / len(answers["ocrbench"]) * 100,
        "mme": float(mme["perception"] + mme["reasoning"]),
        "textvqa": _overall(out / f"{name}_TextVQA_VAL_acc.csv"),
        "docvqa": _overall(out / f"{name}_DocVQA_VAL_acc.csv"),
        "scienceqa": _overall(out / f"{name}_ScienceQA_TEST_acc.csv") * 100,
    }
    return Found(scores, answers)


def _overall(file: Path) -> float:
    return float(pd.read_csv(file).iloc[0]["Overall"])


@dataclass(frozen=True)
class Task:
    """What lm-evaluation-harness made of a task: its first metric, and what it kept of each document."""

    score: float
    responses: list[Any]


@functools.cache
def lm_eval(model: str, task: str) -> Task:
    """lm-evaluation-harness with one of its models."""
    out = FILES / f"lm-{model}-{task}"
    vllm = model == "vllm"
    program = "lm_eval" if vllm else "spike_compressor.integrations.lm_eval"
    arguments = {"pretrained": CHECKPOINT, **({**ENGINE, "max_num_seqs": 8} if vllm else {})}
    command = ["-m", program, "run", "--model", model, "--model_args", _arguments(arguments), "--tasks", task]
    command += ["--include_path", str(FILES / "lm_eval"), "--device", "cpu", "--log_samples", "--output_path", str(out)]
    _run(command, f"lm-{model}-{task}", "results_*.json", vllm)
    (results,) = out.rglob("results_*.json")
    told = json.loads(results.read_text(encoding="utf-8"))["results"][task]
    (samples,) = out.rglob(f"samples_{task}_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    rows.sort(key=lambda row: row["doc_id"])
    return Task(float(told.get("acc,none", told.get("exact_match,none"))), [row["filtered_resps"] for row in rows])


@contextlib.contextmanager
def server() -> Iterator[str]:
    """vLLM's HTTP server on this machine alone; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [os.environ["SPIKE_VLLM_PYTHON"], "-m", "vllm.entrypoints.openai.api_server", "--model", str(CHECKPOINT)]
    command += ["--served-model-name", SERVED, "--enforce-eager", "--dtype", "float32", "--model-impl", "transformers"]
    command += ["--max-model-len", "128", "--max-num-seqs", "8", "--allowed-local-media-path", str(FILES)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_PLUGINS": "spike_compressor", "VLLM_NO_USAGE_STATS": "1"}
    with (FILES / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **OFFLINE, **settings}, stdout=log, stderr=subprocess.STDOUT
        )
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert process.poll() is None, (FILES / "server.log").read_text()[-3000:]
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=120)
