"""Is group coding as good as plain spikes, at fewer steps of hardware? Two gates, on real models with 4-bit weights.

    python benchmarks/group_gates.py --model smollm2 --dual 2 --out docs/results/group_gates_smollm2.json
    python benchmarks/group_gates.py --model embedded --out docs/results/group_gates_embedded.json

`group4` with S = 5 in every other layer and 6 in the others against T = 3, and with S = 7 against T = 4, each at its
best ratio, which is chosen on data that are judged by nobody. A gate passes unless the paired interval says that groups
are worse.

One of four fires a step, so rows whose inputs are alike are the worst that groups can meet, and a rotation turns rows
with one huge input into just these. With `--dual 2` the gates are held once more for an array that has a second mode:
rows whose largest input is less than twice their root mean square spike as TC-LIF of 7 steps.

Every judgement is kept under `--scratch`, so a killed run goes on where it was; weights are shared with `frontier.py`.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import smollm2
import torch
from frontier_weights import weights_recipe
from harness import Goal, finish, parser, prepare
from quantizers_smollm2 import CONTEXT, POOL
from quantizers_smollm2 import calibration as calibration_windows
from spike_compressor.cli.models import calibration_of_seed
from spike_compressor.coding import MAX_TIMESTEPS, quantize_rows, row_scale
from spike_compressor.comparison.cells import Cells
from spike_compressor.comparison.workbench import Workbench
from spike_compressor.demo.data import items
from spike_compressor.demo.evaluate import judge
from spike_compressor.demo.model import MODEL_DIR, load_model, load_processor
from spike_compressor.evaluations import Perplexity, accuracy_difference
from spike_compressor.evaluations.bootstrap import accuracy_interval, perplexity_interval, perplexity_ratio
from spike_compressor.evaluations.likelihood import perplexity
from spike_compressor.metrics import record_spikes
from spike_compressor.runtime import LayerSpec, SpikingLinear, attach, detach, spiking_state
from torch import Tensor

NAME = "group_gates"
WEIGHTS = ("none+gptq_g64", "quip+gptq_g64")


@dataclass(frozen=True)
class Code:
    """How all layers spike.

    Attributes:
        label: of tables.
        coding: name of the coding.
        statistic: of its thresholds.
        timesteps: of the layers in their order, repeated.
        ratios: candidates; for each of them those of `timesteps`.
        dual: crest factor below which rows spike as TC-LIF of 7 steps; None for no row.
    """

    label: str
    coding: str
    statistic: str
    timesteps: tuple[int, ...]
    ratios: tuple[tuple[float, ...], ...]
    dual: float | None = None

    def put_on(self, model: Any, candidate: int) -> list[Any]:
        """Let a spiking model's layers spike so; what is to be removed before another code is put on."""
        state = spiking_state(model)
        names, adapter = list(state.layers), state.tracker.adapter
        detach(model)
        specs = {}
        for place, name in enumerate(names):
            which = place % len(self.timesteps)
            timesteps = dict.fromkeys(adapter.modalities, self.timesteps[which])
            ratio = dict.fromkeys(timesteps, self.ratios[candidate][which])
            specs[name] = LayerSpec(timesteps, self.coding, ratio=ratio, statistic=self.statistic)
        attach(model, specs, adapter)
        if self.dual is None:
            return []
        return [
            layer.register_forward_hook(partial(second_mode, self.dual))
            for layer in spiking_state(model).layers.values()
        ]


def second_mode(crest: float, layer: SpikingLinear, args: tuple[Any, ...], output: Tensor) -> Tensor:
    """The outputs of a layer with those of rows of a low crest factor as TC-LIF of 7 steps gives them.

    Sums are float32 products of the same codes and integers, equal to the neurons' up to rounding.

    Args:
        crest: largest input over root mean square, below which rows take the second mode.
        layer: that gave the outputs.
        args: its inputs [..., K].
        output: [..., N].
    """
    x = args[0].detach().reshape(-1, layer.in_features).to(torch.float32)
    alike = x.abs().amax(dim=1) < crest * x.square().mean(dim=1).sqrt()
    if not bool(alike.any()):
        return output
    scale = row_scale(x[alike], MAX_TIMESTEPS)
    codes, _ = quantize_rows(x[alike], scale, MAX_TIMESTEPS)
    bias = None if layer.bias is None else layer.bias.to(torch.float32)
    instead = torch.nn.functional.linear(codes * scale.unsqueeze(1), layer.integer.floats(), bias)
    result = output.reshape(-1, layer.out_features).clone()
    result[alike] = instead.to(output.dtype)
    return result.view_as(output)


def _each(*ratios: float) -> tuple[tuple[float, ...], ...]:
    return tuple((ratio,) for ratio in ratios)


def codes(beam: str, dual: float | None = None) -> dict[str, Code]:
    """The codes that meet, by name; `beam` is the coding of the groups, `dual` as `Code` has it."""
    found = {
        "T = 3": Code("T = 3", "tc_lif", "absmax", (3,), _each(0.6, 0.7, 0.8, 1.0)),
        "T = 4": Code("T = 4", "tc_lif", "absmax", (4,), _each(0.7, 0.8, 0.9, 1.0)),
        "S = 5.5": Code(
            "S = 5.5", beam, "rms", (5, 6), ((0.32, 0.23), (0.4, 0.3), (0.5, 0.38), (0.65, 0.5), (0.85, 0.65))
        ),
        "S = 7": Code("S = 7", beam, "rms", (7,), _each(0.15, 0.2, 0.26, 0.34, 0.45)),
    }
    if dual is not None:
        for groups, _ in GATES:
            found[f"{groups}{DUAL}"] = replace(found[groups], label=f"{groups}{DUAL}", dual=dual)
    return found


GATES = (("S = 5.5", "T = 3"), ("S = 7", "T = 4"))
#: Of the name of a code with a second mode.
DUAL = ", dual"


class Text:
    """SmolLM2-135M on held-out text; ratios are chosen on works of the calibration that it did not take."""

    name = "smollm2"

    def __init__(self, args: argparse.Namespace) -> None:
        smollm2.require()
        directory = smollm2.model_directory(args.scratch)
        self.tokenizer = smollm2.load_tokenizer(args.scratch)
        texts = smollm2.evaluation_texts(self.tokenizer, args.windows, CONTEXT)
        calibration = partial(calibration_windows, args.samples, self.tokenizer, 0)
        self.bench = Workbench(
            directory,
            partial(smollm2.load_model, args.scratch),
            self.tokenizer,
            calibration,
            args.scratch / "weights",
        )
        self._chosen_on = smollm2.calibration_rows(self.tokenizer, POOL + args.selection, CONTEXT)[POOL:]
        self._judged_on = [text.view(-1, CONTEXT) for text in texts.values()]
        self.settings = {
            "held-out text": f"{args.windows} windows of {CONTEXT} tokens: {', '.join(smollm2.EVALUATION_WORKS)}",
            "ratios chosen on": f"{args.selection} other windows",
            "caveat": smollm2.CAVEAT,
        }

    def judge(self, model: Any, selection: bool) -> Any:
        """Perplexity by window, as plain values."""
        windows = self._chosen_on if selection else [window for text in self._judged_on for window in text]
        return Perplexity.joined([perplexity(model, window, CONTEXT) for window in windows]).to_dict()

    def sample(self, model: Any) -> None:
        """What spikes are counted on."""
        perplexity(model, self._judged_on[0][0], CONTEXT)

    def loss(self, found: Any) -> float:
        """What the best ratio has least of."""
        return float(found["mean_nll"])

    def figure(self, found: Any) -> dict[str, float]:
        return perplexity_interval(Perplexity.from_dict(found)).to_dict()

    def worse(self, groups: Any, plain: Any) -> tuple[str, bool]:
        """Groups against plain spikes, in words, and whether they are worse."""
        ratio = perplexity_ratio(Perplexity.from_dict(groups), Perplexity.from_dict(plain))
        words = f"perplexity {ratio.estimate:.3f} times as large [{ratio.low:.3f}, {ratio.high:.3f}]"
        return words, ratio.low > 1


class Questions:
    """The embedded model on its test questions; ratios are chosen on the validation split."""

    name = "embedded"

    def __init__(self, args: argparse.Namespace) -> None:
        self.processor = load_processor()
        calibration = partial(calibration_of_seed, "demo", 256, 8, self.processor, 0)
        self.bench = Workbench(MODEL_DIR, load_model, self.processor, calibration, args.scratch / "weights_embedded")
        self._items = {True: items("validation", args.answers), False: items("test", args.questions)}
        self.settings = {
            "test questions": len(self._items[False]),
            "ratios chosen on": f"{len(self._items[True])} validation questions",
        }

    def judge(self, model: Any, selection: bool) -> Any:
        """Right or wrong by kind, as plain values."""
        asked = self._items[selection]
        by_kind: dict[str, list[int]] = {}
        for item, right in zip(asked, judge(model, self.processor, asked), strict=True):
            by_kind.setdefault(item.kind, []).append(int(right))
        return by_kind

    def sample(self, model: Any) -> None:
        """What spikes are counted on."""
        judge(model, self.processor, self._items[True][::9])

    def loss(self, found: Mapping[str, Sequence[int]]) -> float:
        """What the best ratio has least of."""
        return -accuracy_interval(_bools(found)).estimate

    def figure(self, found: Mapping[str, Sequence[int]]) -> dict[str, float]:
        return {key: 100 * value for key, value in accuracy_interval(_bools(found)).to_dict().items()}

    def worse(self, groups: Mapping[str, Sequence[int]], plain: Mapping[str, Sequence[int]]) -> tuple[str, bool]:
        """Groups against plain spikes, in words, and whether they are worse."""
        difference = accuracy_difference(_bools(groups), _bools(plain))
        low, estimate, high = (100 * value for value in (difference.low, difference.estimate, difference.high))
        return f"{estimate:+.2f} points [{low:+.2f}, {high:+.2f}]", high < 0


def _bools(found: Mapping[str, Sequence[int]]) -> dict[str, list[bool]]:
    return {kind: [bool(one) for one in right] for kind, right in found.items()}


def measure(judged: Any, weights: str, args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Goal]]:
    """Rows and gates of one recipe of weights."""
    recipe = weights_recipe(weights)
    cells = Cells(args.scratch / "sweeps" / NAME / "cells")
    key = {"weights": judged.bench.parts(recipe.exact()), "settings": judged.settings}
    model: Any = None
    hooks: list[Any] = []

    def spiking(code: Code, candidate: int) -> Any:
        nonlocal model
        if model is None:
            model = judged.bench.exact(recipe).eval()
        while hooks:
            hooks.pop().remove()
        hooks.extend(code.put_on(model, candidate))
        return model

    def count(code: Code, candidate: int) -> dict[str, Any]:
        ready = spiking(code, candidate)
        with record_spikes(ready, operations=False) as record:
            judged.sample(ready)
        sops = record.sops_per_token()
        return {"spikes_per_neuron": record.spikes_per_neuron(), "sops_per_token": sops, "clipped": record.saturation()}

    def test(code: Code, candidate: int, selection: bool) -> Any:
        return judged.judge(spiking(code, candidate), selection)

    rows, found = [], {}
    # without a rotation rows are not alike
    every = codes(args.coding, None if weights.startswith("none+") else args.dual)
    for name, code in every.items():
        at = {**key, "code": [code.coding, code.statistic, list(code.timesteps)]}
        if code.dual is not None:
            at["dual"] = code.dual
        tried = [
            cells.cell({**at, "ratios": list(ratios), "what": "selection"}, partial(test, code, n, True))
            for n, ratios in enumerate(code.ratios)
        ]
        losses = [judged.loss(one) for one in tried]
        best = losses.index(min(losses))
        at["ratios"] = list(code.ratios[best])
        found[name] = cells.cell({**at, "what": "test"}, partial(test, code, best, False))
        counted = cells.cell({**at, "what": "spikes"}, partial(count, code, best))
        rows.append(
            {
                "weights": weights,
                "code": name,
                "coding": code.coding,
                "ratio": " / ".join(map(str, code.ratios[best])),
                "figure": judged.figure(found[name]),
                **counted,
            }
        )
        print(rows[-1], flush=True)
    goals = []
    gates = [(groups + mode, plain) for mode in ("", DUAL) for groups, plain in GATES]
    for groups, plain in [gate for gate in gates if gate[0] in every]:
        words, worse = judged.worse(found[groups], found[plain])
        goals.append(Goal(f"{judged.name}, {weights}: {groups} no worse than {plain}", words, not worse))
    return rows, goals


def arguments() -> argparse.ArgumentParser:
    made = parser(__doc__.splitlines()[0], f"{NAME}.json")
    made.add_argument("--model", choices=("smollm2", "embedded"), default="smollm2")
    made.add_argument(
        "--weights", nargs="+", default=list(WEIGHTS), help="transform+quantizer, as frontier.py has them"
    )
    made.add_argument("--coding", choices=("group4", "group4_beam4"), default="group4")
    made.add_argument("--dual", type=float, help="crest factor below which rows take a second mode (default: none)")
    made.add_argument("--windows", type=int, default=24, help="SmolLM2: held-out windows of 512 tokens")
    made.add_argument("--selection", type=int, default=4, help="SmolLM2: windows that ratios are chosen on")
    made.add_argument("--samples", type=int, default=32, help="SmolLM2: calibration windows")
    made.add_argument("--questions", type=int, default=300, help="embedded model: test questions of each kind")
    made.add_argument("--answers", type=int, default=60, help="embedded model: validation questions of each kind")
    return made


def main() -> int:
    args = arguments().parse_args()
    prepare(args.threads)
    args.scratch = Path(args.scratch)
    judged = Text(args) if args.model == "smollm2" else Questions(args)
    rows, goals = [], []
    for weights in args.weights:
        more, passed = measure(judged, weights, args)
        rows += more
        goals += passed
    settings = {"model": args.model, "coding of groups": args.coding, **judged.settings}
    if args.dual is not None:
        words = "TC-LIF of 7 steps, counted as if they spiked in groups"
        settings["dual"] = f"rows whose largest input is below {args.dual:g} times their root mean square: {words}"
    return finish(f"{NAME}_{args.model}", args, settings, rows, goals, command(args))


def command(args: argparse.Namespace) -> str:
    """What makes these rows again."""
    parts = ["python", f"benchmarks/{NAME}.py", "--model", args.model, "--weights", *args.weights]
    sizes = ("windows", "selection", "samples") if args.model == "smollm2" else ("questions", "answers")
    dual = [] if args.dual is None else ["--dual", f"{args.dual:g}"]
    return shlex.join([*parts, "--coding", args.coding, *dual, *(f"--{s}={getattr(args, s)}" for s in sizes)])


if __name__ == "__main__":
    raise SystemExit(main())
