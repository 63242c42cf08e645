"""What MSTS (`med`) and TC-LIF add to the time and memory of `oneshot`.

    python benchmarks/overhead.py --out docs/results/overhead.json

The same recipe with and without the two modifiers, in turn, each run in a process of its own, so that peak memory is
its own; the figure is the ratio of medians. Nothing is kept between sessions: their times are not comparable.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import ROOT, Goal, finish, parser, prepare

MODELS = ("embedded", "smollm2")
RECIPE = "quip_gptq_w4_g64.yaml"
LIMIT = 1.10
MSTS: dict[str, dict[str, Any]] = {
    "fixed": {"allocation": "fixed", "timesteps": {"vision": 3, "text": 4}},
    "med": {"allocation": "med", "budget": {"mean_timesteps": 3.25}},
}


def arguments() -> argparse.ArgumentParser:
    made = parser(__doc__.splitlines()[0], "overhead.json")
    made.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS, help="models to quantize")
    made.add_argument("--repeats", type=int, default=9, help="runs of each kind on the embedded model")
    made.add_argument("--keep", action="store_true", help="keep rows of other models that stand in --out")
    made.add_argument("--repeats-smollm2", type=int, default=3, help="runs of each kind on SmolLM2")
    made.add_argument("--samples", type=int, default=256, help="calibration questions, embedded model")
    made.add_argument("--windows", type=int, default=16, help="calibration windows of 512 tokens, SmolLM2")
    made.add_argument("--allocation", default="med", choices=list(MSTS), help="strategy of MSTSModifier")
    made.add_argument("--worker", help=argparse.SUPPRESS)
    return made


def recipe(spikes: bool, allocation: str) -> str:
    """The recipe, with or without its spiking modifiers.

    GPTQ over a vision tower fails in upstream's sequential pipeline without the workaround in TCLIFModifier. So that
    there is a run to compare with, a modifier that does nothing else applies it where there are no spikes.
    """
    from spike_compressor.comparison import SplitRecipe
    from spike_compressor.comparison.recipe import recipe_text

    whole = SplitRecipe.read(ROOT / "recipes" / "compare" / RECIPE).spiking(MSTS[allocation])
    return whole.text() if spikes else recipe_text((*whole.weights, (_register_workaround(), {})))


def _register_workaround() -> str:
    from llmcompressor.modifiers import Modifier
    from llmcompressor.modifiers.factory import ModifierFactory
    from spike_compressor.modifiers.upstream import complete_sequential_epochs

    class UpstreamWorkaround(Modifier):
        def on_initialize(self, state: Any, **kwargs: Any) -> bool:
            complete_sequential_epochs(state.model)
            return True

    ModifierFactory.register(UpstreamWorkaround.__name__, UpstreamWorkaround)
    return UpstreamWorkaround.__name__


def work(args: argparse.Namespace) -> dict[str, float]:
    """One run of `oneshot` in this process: seconds of wall and processor time, peak memory in MiB."""
    model_name, _, spikes = args.worker.partition(":")
    prepare(args.threads)
    import torch
    from llmcompressor import oneshot

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
    text = recipe(spikes == "spikes", args.allocation)
    torch.manual_seed(0)
    began, processor_began = time.perf_counter(), time.process_time()
    oneshot(model=model, processor=processor, dataset=data, recipe=text)
    seconds, busy = time.perf_counter() - began, time.process_time() - processor_began
    return {"seconds": seconds, "cpu_seconds": busy, "peak_mib": peak_memory()}


def peak_memory() -> float:
    """Largest resident set of this process, MiB.

    The kernel's VmHWM where there is one: `ru_maxrss` of a child begins at its parent's.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1024 * 1024 if sys.platform == "darwin" else 1024)


def spawn(args: argparse.Namespace, model: str, spikes: str) -> dict[str, float]:
    """`work` in a process of its own."""
    command = [sys.executable, __file__, "--worker", f"{model}:{spikes}", "--threads", str(args.threads)]
    command += ["--samples", str(args.samples), "--windows", str(args.windows), "--allocation", args.allocation]
    command += ["--scratch", str(args.scratch)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "TQDM_DISABLE": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"a run of oneshot failed with exit code {done.returncode}: {' '.join(command)}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(args: argparse.Namespace, model: str) -> dict[str, Any]:
    """Runs with and without spikes in turn, after one that warms the disk's cache and does not count."""
    from tqdm import trange

    runs: dict[str, list[dict[str, float]]] = {"plain": [], "spikes": []}
    repeats = args.repeats if model == "embedded" else args.repeats_smollm2
    spawn(args, model, "plain")
    for turn in trange(repeats, desc=f"{model}: runs with and without"):
        # whoever goes first goes second next time: a machine that slows down harms both alike
        for kind in ("plain", "spikes") if turn % 2 == 0 else ("spikes", "plain"):
            runs[kind].append(spawn(args, model, kind))
    row: dict[str, Any] = {"model": model, "repeats": repeats, "runs": runs}
    for figure in ("seconds", "cpu_seconds", "peak_mib"):
        plain, spikes = (statistics.median(run[figure] for run in runs[kind]) for kind in ("plain", "spikes"))
        row[figure] = {"plain": plain, "spikes": spikes, "ratio": spikes / plain}
    return row


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    found = []
    for row in rows:
        for figure, name in (("seconds", "wall time"), ("peak_mib", "peak memory")):
            ratio = row[figure]["ratio"]
            goal = f"{row['model']}: {name} of oneshot with spikes at most {LIMIT:.2f} of that without"
            found.append(Goal(goal, f"{ratio:.3f}", ratio <= LIMIT))
    return found


def main() -> int:
    args = arguments().parse_args()
    if args.worker:
        print(json.dumps(work(args)))
        return 0
    import smollm2

    if "smollm2" in args.models:
        smollm2.require()
        smollm2.model_directory(args.scratch)
    rows = [measure(args, model) for model in args.models]
    if args.keep:
        rows += [
            row for row in json.loads(args.out.read_text(encoding="utf-8"))["rows"] if row["model"] not in args.models
        ]
    settings = {
        "recipe": f"recipes/compare/{RECIPE}",
        "allocation": args.allocation,
        "calibration": {"embedded": f"{args.samples} questions", "smollm2": f"{args.windows} windows of 512 tokens"},
    }
    return finish("overhead", args, settings, rows, goals(rows))


if __name__ == "__main__":
    raise SystemExit(main())
