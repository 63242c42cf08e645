"""What MSTS costs while it calibrates: time of `oneshot` by allocation, and memory of a larger model.

    python benchmarks/calibration.py --out docs/results/calibration.json
    python benchmarks/calibration.py --quick             # fewer prompts and a smaller model: minutes

Times: the same weights and TC-LIF with fixed timesteps, with `med` and with `sensitivity`, in turn, each run in a
process of its own; figures are medians. Memory: peak of a process that quantizes a random Llama with LLM Compressor
alone, with TC-LIF, and with `sensitivity`; of one that saves it, and of one that opens it. Finished rows are kept under
`--scratch` as long as processor, packages and the code behind the modifiers stay what they are.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import Goal, finish, machine, parser, prepare, recipe_file
from overhead import peak_memory

NAME = "calibration"
PARTS = ("time", "memory")
MODELS = ("embedded", "smollm2")
RECIPE = "gptq_w4_g64"
#: What stands for MSTS in the recipe, by the name of the run.
MSTS: dict[str, dict[str, Any]] = {
    "fixed": {"allocation": "fixed", "timesteps": 4},
    "med": {"allocation": "med", "budget": {"mean_timesteps": 3.25}},
    "sensitivity": {"allocation": "sensitivity", "budget": {"mean_timesteps": 3.25}},
}
#: `oneshot` with sensitivity over the same with fixed timesteps; peak memory over LLM Compressor alone.
TIME_LIMIT, MEMORY_LIMIT = 1.5, 1.2
#: Runs whose memory is measured, in this order: the checkpoints of the first ones are opened by the last.
MEMORY_RUNS = ("alone", "fixed", "sensitivity", "open")
#: Width, width within the MLP, tokens that the random model knows, and of a prompt.
HIDDEN, INNER, VOCABULARY, LENGTH = 2048, 8192, 32000, 64
WEIGHTS = """
spike_stage:
  quant_modifiers:
    QuantizationModifier:
      ignore: [lm_head]
      config_groups:
        w4: {targets: [Linear], weights: {num_bits: 4, type: int, symmetric: true, strategy: channel}}
"""


def arguments() -> argparse.ArgumentParser:
    made = parser(__doc__.splitlines()[0], f"{NAME}.json")
    made.set_defaults(threads=1)
    made.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="what to measure")
    made.add_argument("--models", nargs="+", choices=MODELS, help="models to time; all there are unless given")
    made.add_argument("--quick", action="store_true", help="64 prompts, 3 runs, a model of 2 layers, no SmolLM2")
    made.add_argument("--repeats", type=int, help="runs of each kind; 5 unless given, 3 of SmolLM2 or with --quick")
    made.add_argument("--samples", type=int, help="calibration prompts of the embedded model; 256 unless given")
    made.add_argument("--allocations", nargs="+", default=list(MSTS), choices=MSTS, help="to be timed beside `fixed`")
    made.add_argument("--windows", type=int, default=32, help="calibration windows of 512 tokens, SmolLM2")
    made.add_argument("--layers", type=int, help="decoder layers of the random model; 15 (1e9 parameters) unless given")
    made.add_argument("--worker", help=argparse.SUPPRESS)
    return made


def settled(args: argparse.Namespace) -> argparse.Namespace:
    """The arguments with what was left out filled in."""
    import smollm2

    args.samples = args.samples or (64 if args.quick else 256)
    args.layers = args.layers or (2 if args.quick else 15)
    if args.models is None:
        args.models = ["embedded", *(["smollm2"] if smollm2.available() and not args.quick else [])]
    if "smollm2" in args.models:
        smollm2.require()
    return args


# A run, in a process of its own


def work(args: argparse.Namespace) -> dict[str, float]:
    """What `--worker` names: a run of `oneshot` to be timed, or one whose memory is looked at."""
    what, _, which = args.worker.partition(":")
    prepare(args.threads)
    return remember(args, which) if what == "memory" else take_time(args, what, which)


def take_time(args: argparse.Namespace, model_name: str, kind: str) -> dict[str, float]:
    """Seconds of wall and processor time of one `oneshot`, and peak memory in MiB."""
    from llmcompressor import oneshot
    from spike_compressor.comparison import SplitRecipe

    model: Any
    if model_name == "embedded":
        from spike_compressor.demo.data import calibration_batches
        from spike_compressor.demo.model import load_model, load_processor

        model, processor = load_model(), load_processor()
        data = calibration_batches(processor, samples=args.samples)
    else:
        import smollm2

        model, processor = smollm2.load_model(args.scratch), smollm2.load_tokenizer(args.scratch)
        data = smollm2.calibration_batches(smollm2.calibration_rows(processor, args.windows, 512))
    recipe = SplitRecipe.read(recipe_file(RECIPE)).spiking(MSTS[kind]).text()
    began, processor_began = time.perf_counter(), time.process_time()
    oneshot(model=model, processor=processor, dataset=data, recipe=recipe)
    seconds, busy = time.perf_counter() - began, time.process_time() - processor_began
    return {"seconds": seconds, "cpu_seconds": busy, "peak_mib": peak_memory()}


def remember(args: argparse.Namespace, kind: str) -> dict[str, float]:
    """Peak memory, MiB: of `oneshot` and of saving after it; of opening and a forward pass, for `open`."""
    import spike_compressor
    import torch
    from llmcompressor import oneshot
    from transformers import LlamaForCausalLM

    folder = _folder(args)
    began = _resident()
    if kind == "open":
        opened: Any = spike_compressor.load(folder / "sensitivity")
        found = {"load": peak_memory()}
        with torch.no_grad():
            opened(input_ids=torch.arange(16).view(1, 16))
        return {"began": began, **found, "resident": _resident(), "forward": peak_memory()}
    model: Any = LlamaForCausalLM.from_pretrained(folder / "float", dtype=torch.bfloat16)
    spikes = {} if kind == "alone" else {"MSTSModifier": MSTS[kind], "TCLIFModifier": {"ignore": ["lm_head"]}}
    recipe = WEIGHTS + (f"  spike_modifiers: {json.dumps(spikes)}\n" if spikes else "")
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(0, VOCABULARY, (LENGTH,), generator=generator) for _ in range(4)]
    data: Any = torch.utils.data.DataLoader(prompts, batch_size=2, collate_fn=_collate)  # type: ignore[arg-type]
    oneshot(model=model, dataset=data, recipe=recipe, tokenizer=_no_tokenizer(folder))
    found = {"parameters": float(sum(p.numel() for p in model.parameters())), "oneshot": peak_memory()}
    _forget_peak()
    if kind == "alone":
        model.save_pretrained(folder / kind, save_compressed=True)
    else:
        spike_compressor.save(model, folder / kind)
    return {"began": began, **found, "save": peak_memory()}


def _collate(rows: list[Any]) -> dict[str, Any]:
    import torch

    ids = torch.stack(rows)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _no_tokenizer(folder: Path) -> Any:
    """A tokenizer of numbers: `oneshot` asks for one, and random tokens need none."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {str(token): token for token in range(VOCABULARY)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="0")))


def _folder(args: argparse.Namespace) -> Path:
    return Path(args.scratch) / f"random-{args.layers}"


def make_model(args: argparse.Namespace) -> dict[str, float]:
    """Write the random model, bfloat16, for the runs after it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=args.layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=VOCABULARY,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    LlamaForCausalLM(config).save_pretrained(_folder(args) / "float")
    return {}


def _resident() -> float:
    """Resident set now, MiB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _forget_peak() -> None:
    """Let the kernel's VmHWM begin anew, at what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def spawn(args: argparse.Namespace, what: str) -> dict[str, float]:
    """`work` in a process of its own."""
    command = [sys.executable, __file__, "--worker", what, "--threads", str(args.threads), "--scratch"]
    command += [str(args.scratch), "--samples", str(args.samples), "--windows", str(args.windows)]
    command += ["--layers", str(args.layers)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "TQDM_DISABLE": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"a run failed with exit code {done.returncode}: {' '.join(command)}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


# Rows


def time_row(args: argparse.Namespace, model: str) -> dict[str, Any]:
    """Runs of each kind in turn, after one that warms the disk's cache and does not count."""
    repeats = args.repeats or (3 if args.quick or model == "smollm2" else 5)
    kinds = tuple(kind for kind in MSTS if kind == "fixed" or kind in args.allocations)
    size = args.samples if model == "embedded" else args.windows

    def run() -> dict[str, Any]:
        runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
        if repeats > 1:
            spawn(args, f"{model}:fixed")
        for turn in range(repeats):
            # whoever goes first goes last next time: a machine that slows down harms all alike
            for kind in kinds if turn % 2 == 0 else kinds[::-1]:
                print(f"{NAME}: {model}, {kind}, run {turn + 1} of {repeats}", file=sys.stderr, flush=True)
                runs[kind].append(spawn(args, f"{model}:{kind}"))
        return {
            figure: {kind: statistics.median(run[figure] for run in runs[kind]) for kind in kinds}
            for figure in ("seconds", "cpu_seconds", "peak_mib")
        }

    return {
        "part": "time",
        "model": model,
        "repeats": repeats,
        **kept(args, ["time", model, size, repeats, *kinds], run),
    }


def memory_row(args: argparse.Namespace) -> dict[str, Any]:
    """Peaks of a random model by run; what stands on disk is taken away in the end."""
    folder, found = _folder(args), {}
    for kind in MEMORY_RUNS:

        def run(kind: str = kind) -> dict[str, float]:
            print(f"{NAME}: memory, {kind}", file=sys.stderr, flush=True)
            if not (folder / "float").is_dir():
                spawn(args, "memory:make")
            if kind == "open" and not (folder / "sensitivity").is_dir():
                spawn(args, "memory:sensitivity")
            return spawn(args, f"memory:{kind}")

        found[kind] = kept(args, ["memory", kind, args.layers], run)
    shutil.rmtree(folder, ignore_errors=True)
    return {"part": "memory", "parameters": found["alone"]["parameters"], "peak_mib": found}


def kept(args: argparse.Namespace, which: list[Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was computed, from the folder of finished cells where nothing that it depends on has changed."""
    from spike_compressor.comparison import Cells
    from spike_compressor.fingerprint_code import digest_of_code
    from spike_compressor.modifiers import MSTSModifier, TCLIFModifier

    parts = {
        "what": NAME,
        "which": which,
        "machine": machine(args.threads),
        "code": digest_of_code(MSTSModifier, TCLIFModifier),
    }
    found: dict[str, Any] = Cells(Path(args.scratch) / "cells").cell(parts, compute)
    return found


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Figures of the result by key: times over those with fixed timesteps, memory over LLM Compressor alone."""
    found: dict[str, float] = {}
    for row in rows:
        if row["part"] == "time":
            times = row["cpu_seconds"]
            for kind in sorted(times.keys() - {"fixed"}):
                found[f"oneshot_{kind}_{row['model']}"] = times[kind] / times["fixed"]
            continue
        peaks = row["peak_mib"]
        for kind in ("fixed", "sensitivity"):
            for step in ("oneshot", "save"):
                found[f"memory_{step}_{kind}"] = peaks[kind][step] / peaks["alone"][step]
    if any(key.startswith("oneshot_sensitivity") for key in found):
        found["oneshot_overhead"] = max(v for key, v in found.items() if key.startswith("oneshot_sensitivity"))
    return found


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    """Which of the demands are met."""
    made = []
    for key, value in ratios(rows).items():
        limit = MEMORY_LIMIT if key.startswith("memory") else TIME_LIMIT
        if key.startswith(("memory_oneshot", "memory_save", "oneshot_sensitivity")):
            made.append(Goal(f"`{key}` at most {limit:g}", f"{value:.3f}", value <= limit))
    return made


def name(args: argparse.Namespace) -> str:
    """Of the result: a model that is timed alone has one of its own."""
    alone = args.parts == ["time"] and args.models == ["smollm2"]
    return f"{NAME}_smollm2" if alone else NAME


def command(args: argparse.Namespace) -> str | None:
    """What makes a result of part of the runs again; `None` where it is all of them."""
    parts = [] if args.parts == list(PARTS) else ["--parts", *args.parts]
    parts += [] if args.models == list(MODELS) else ["--models", *args.models]
    parts += [] if args.allocations == list(MSTS) else ["--allocations", *args.allocations]
    parts += [] if args.repeats is None else ["--repeats", str(args.repeats)]
    return shlex.join(["python", "benchmarks/calibration.py", *parts]) if parts else None


def main() -> int:
    args = settled(arguments().parse_args())
    if args.worker:
        found = make_model(args) if args.worker == "memory:make" else work(args)
        print(json.dumps(found))
        return 0
    prepare(args.threads)
    rows = [time_row(args, model) for model in args.models] if "time" in args.parts else []
    rows += [memory_row(args)] if "memory" in args.parts else []
    settings = {
        "recipe": f"recipes/compare/{RECIPE}.yaml; of the random model W4 by channel, round to nearest",
        "calibration": {
            "embedded": f"{args.samples} questions",
            "smollm2": f"{args.windows} windows of 512 tokens",
            "random": f"4 prompts of {LENGTH} tokens",
        },
        "random model": f"Llama, {args.layers} layers of width {HIDDEN}, bfloat16",
    }
    return finish(name(args), args, settings, rows, goals(rows), command(args), {"ratios": ratios(rows)})


if __name__ == "__main__":
    raise SystemExit(main())
