"""Tokens a second of vLLM's: floats, LLM Compressor's ordinary integers, and spikes, on one model.

    python benchmarks/serving.py                         # SmolLM2-135M, one thread and two
    python benchmarks/serving.py --threads 1 --seconds 60

Each engine is a process of vLLM's environment (`make vllm-test` builds it), and all of them are open at once: in every
round each does the same task, whoever was first then comes last, so that what else the machine does harms all alike. A
figure is the median over rounds of another engine's time over that of spikes. One thread is measured by the process's
own time, which other processes hardly add to; two by the clock on the wall.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness import ONE_T_RECIPE, ROOT, finish, parser, prepare
from timing.clock import ratio, rounded

SERVED = Path(__file__).parent / "timing" / "served.py"
INTEGERS = """
quant_stage:
  quant_modifiers:
    QuantizationModifier:
      ignore: [lm_head]
      config_groups:
        integers:
          targets: [Linear]
          weights: {{num_bits: {bits}, type: int, symmetric: true, strategy: channel}}
          input_activations: {{num_bits: 8, type: int, symmetric: true, strategy: token, dynamic: true}}
"""
#: Checkpoint -> recipe; the floats have none.
RECIPES = {
    "float": None,
    "w8a8": INTEGERS.format(bits=8),
    "w4a8": INTEGERS.format(bits=4),
    "spikes": ONE_T_RECIPE,
}
#: What an engine is called -> its checkpoint and arguments.
ENGINES: dict[str, tuple[str, dict[str, Any]]] = {
    "float32": ("float", {"dtype": "float32"}),
    "bfloat16": ("float", {"dtype": "bfloat16"}),
    "W8A8": ("w8a8", {"dtype": "bfloat16"}),
    "spikes": ("spikes", {"dtype": "bfloat16"}),
    "spikes, compiled": ("spikes", {"dtype": "bfloat16", "enforce_eager": False}),
    "spikes, counted": ("spikes", {"dtype": "bfloat16", "additional_config": {"spike_counts": True}}),
    # on x86 vLLM has a plain loop for it, a hundred times as slow as W8A8: only where it is asked for
    "W4A8": ("w4a8", {"dtype": "bfloat16"}),
}
OURS = "spikes"
LIMITS = {"max_model_len": 512, "max_num_seqs": 8, "kv_cache_memory_bytes": 1 << 28}
#: Task -> tokens of a prompt, new tokens of each, requests at once; and what its rate counts.
TASKS: dict[str, tuple[int, int, int, str]] = {
    "prefill": (256, 1, 1, "prompt"),
    "decode": (8, 16, 1, "new"),
    "decode, 8 at once": (8, 16, 8, "new"),
}


class Engine:
    """A process of vLLM's with one model.

    Raises:
        RuntimeError: it did not start; says where it wrote why.
    """

    def __init__(self, python: Path, model: Path, settings: Mapping[str, Any], threads: int, log: Path) -> None:
        told = {"model": str(model), "enforce_eager": True, **LIMITS, **settings}
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            # the second lets torchvision of that environment be imported, as in its tests
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "plugin", ROOT / "tests/integrations/vllm/crutch"))),
            "HF_HUB_OFFLINE": "1",
            "VLLM_CACHE_ROOT": str(log.parent / "cache"),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_PLUGINS": "spike_compressor",
        }
        with log.open("w") as said:
            self._process = subprocess.Popen(
                [str(python), str(SERVED), json.dumps(told)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env=environment,
            )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            self._process.wait()
            raise RuntimeError(str(log))

    def run(self, task: str) -> dict[str, float]:
        """Seconds that a task takes, by clock."""
        prompt, new, requests, _ = TASKS[task]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"prompt": prompt, "new": new, "requests": requests}), file=self._process.stdin, flush=True)
        took: dict[str, float] = json.loads(self._process.stdout.readline())
        return took

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def arguments() -> argparse.ArgumentParser:
    made = parser(__doc__.splitlines()[0], "serving.json")
    made.set_defaults(threads=2)
    made.add_argument("--each", nargs="+", type=int, help="numbers of threads to measure; 1 and --threads unless given")
    made.add_argument("--seconds", type=float, default=120, help="of each task and number of threads")
    made.add_argument("--model", type=Path, help="directory of a float model; SmolLM2-135M unless given")
    made.add_argument(
        "--engines",
        nargs="+",
        default=[name for name in ENGINES if name != "W4A8"],
        choices=list(ENGINES),
        help="what to compare",
    )
    made.add_argument("--vllm", type=Path, default=ROOT / "build" / "vllm" / "bin" / "python", help="its Python")
    return made


def checkpoints(args: argparse.Namespace) -> dict[str, Path]:
    """Directory of each checkpoint that is needed, made where it is not there."""
    if args.model is None:
        import smollm2

        smollm2.require()
        args.model = smollm2.model_directory(args.scratch)
    folder = Path(args.scratch) / "served" / args.model.name
    found = {}
    for name in dict.fromkeys(ENGINES[engine][0] for engine in args.engines):
        recipe = RECIPES[name]
        found[name] = args.model if recipe is None else folder / name
        if recipe is not None and not (folder / name / "config.json").is_file():
            _quantize(args.model, recipe, folder / name)
    return found


def _quantize(model: Path, recipe: str, out: Path) -> None:
    import torch
    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM

    opened = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    oneshot(model=opened, tokenizer=str(model), recipe=recipe, output_dir=str(out))


def timed(engines: Mapping[str, Engine], task: str, seconds: float, clock: str) -> dict[str, list[float]]:
    """Seconds of each engine in each round; each does the task once before any counts."""
    names = list(engines)
    found: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        engines[name].run(task)
    end, turn = time.perf_counter() + seconds, 0
    while turn < 3 or time.perf_counter() < end:
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name].append(engines[name].run(task)[clock])
        turn += 1
    return found


def row(task: str, threads: int, samples: Mapping[str, list[float]]) -> dict[str, Any]:
    """A task's rates, and the other engines' times over that of spikes."""
    prompt, new, requests, counts = TASKS[task]
    tokens = requests * (prompt if counts == "prompt" else new)
    return {
        "task": task,
        "threads": threads,
        "rounds": len(next(iter(samples.values()))),
        "tokens_per_second": {name: rounded(tokens / statistics.median(own)) for name, own in samples.items()},
        "over_spikes": {
            name: dict(zip(("ratio", "low", "high"), map(rounded, ratio(own, samples[OURS])), strict=True))
            for name, own in samples.items()
            if name != OURS
        },
    }


@contextlib.contextmanager
def opened(args: argparse.Namespace, threads: int, refused: dict[str, str]) -> Iterator[dict[str, Engine]]:
    """The engines; those that do not start are named in `refused` with their last words."""
    models, engines = checkpoints(args), {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name in args.engines:
                checkpoint, settings = ENGINES[name]
                log = Path(folder) / f"{name}.log"
                try:
                    engines[name] = Engine(args.vllm, models[checkpoint], settings, threads, log)
                except RuntimeError:
                    refused[name] = log.read_text(errors="replace").strip().splitlines()[-1][:200]
            if OURS not in engines:
                raise SystemExit(f"vLLM does not serve the spiking checkpoint: {refused[OURS]}")
            yield engines
        finally:
            for engine in engines.values():
                engine.close()


def main() -> int:
    args = arguments().parse_args()
    if not args.vllm.exists():
        raise SystemExit(f"{args.vllm} is not there; `make vllm-test` builds it, or pass --vllm")
    if OURS not in args.engines:
        raise SystemExit(f"--engines: {OURS!r} is what the others are measured against; name it, too")
    prepare(args.threads)
    before, rows = os.getloadavg()[0], []
    refused: dict[str, str] = {}
    for threads in args.each or sorted({1, args.threads}):
        with opened(args, threads, refused) as engines:
            for task in TASKS:
                samples = timed(engines, task, args.seconds, "cpu" if threads == 1 else "wall")
                rows.append(row(task, threads, samples))
                print(json.dumps(rows[-1]), file=sys.stderr)  # runs are long
    settings = {
        "model": args.model.name,
        "weights": "RTN, a scale for each output; 8 bits in W8A8, 4 in W4A8 and spikes, whose T is 4",
        "clock": "the process's own time for one thread, the wall's for more",
        "load of the machine": f"{before:.2f} before, {os.getloadavg()[0]:.2f} after (over a minute, of "
        f"{os.cpu_count()} cores; the benchmark itself is at most {args.threads})",
        "vLLM": _version(args.vllm),
    }
    if refused:
        settings["not served by vLLM here"] = refused
    return finish("serving", args, settings, rows, command=_command(args))


def _command(args: argparse.Namespace) -> str:
    """What makes these rows again."""
    told = ["--threads", str(args.threads), *(["--each", *map(str, args.each)] if args.each else [])]
    return shlex.join(
        ["python", "benchmarks/serving.py", *told, "--seconds", f"{args.seconds:g}", "--engines", *args.engines]
    )


def _version(python: Path) -> str:
    asked = "import importlib.metadata as m; print(next(d.version for d in m.distributions() if d.name[:4] == 'vllm'))"
    return subprocess.run([str(python), "-c", asked], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
