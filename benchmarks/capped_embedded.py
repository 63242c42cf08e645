"""Is capped firing as accurate at fewer words? `tc_lif` and `tc_lif_capped` on the embedded model, 4-bit weights.

    python benchmarks/capped_embedded.py --out docs/results/capped_embedded.json

Sensitivity spends a budget of spikes for `tc_lif`; then all layers spike in `tc_lif_capped`, with the same plan but
for thresholds that are `--factors` times as large, and one timestep more, so that no range is lost. Words are those of
a core of 8 lanes and 8 slots, over all layers by their outputs. What a code costs is measured three ways: by the
answers; by the noise of the logits, the squared difference to the logits of the weights alone over these, as a
geometric mean over questions, which tells small differences apart; and by the perplexity of the right answers.

Every judgement is kept under `--scratch`, so a killed run goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from frontier_codes import Code
from frontier_judges import Embedded
from frontier_weights import weights_recipe
from harness import Goal, finish, parser, prepare
from spike_compressor.coding import MAX_TIMESTEPS
from spike_compressor.comparison.cells import Cells
from spike_compressor.demo.data import items
from spike_compressor.demo.evaluate import batches
from spike_compressor.estimate.words import words_of
from spike_compressor.evaluations import accuracy_difference, accuracy_interval
from spike_compressor.evaluations.bootstrap import grouped_interval
from spike_compressor.runtime import LayerSpec, LayerSpikes, SpikingLinear, attach, detach, observing, spiking_state
from spike_compressor.runtime.reference import weight_only
from torch import Tensor

NAME = "capped_embedded"
WEIGHTS = "none+gptq_g64"
PLAIN, CAPPED = "tc_lif", "tc_lif_capped"
LANES = SLOTS = 8
#: Words that capped firing must save at equal noise.
FEWER = 0.05


def words(codes: Tensor) -> int:
    """Words that codes [M, K] take in a core of 8 lanes and 8 slots."""
    magnitude = torch.nn.functional.pad(codes.to(torch.int32).abs(), (0, -codes.shape[1] % (LANES * SLOTS)))
    blocks = magnitude.view(-1, SLOTS, LANES)
    planes = torch.stack([(blocks >> e & 1).sum(dim=1) for e in reversed(range(MAX_TIMESTEPS))], dim=1)
    return int(words_of(planes.numpy()).sum())


def counted(model: Any, judge: Embedded, questions: list[Any]) -> dict[str, float]:
    """Words and spikes over all layers, each by its outputs: for 64 inputs, and for each input."""
    found = {"words": 0, "spikes": 0, "inputs": 0}

    def observe(layer: SpikingLinear, event: LayerSpikes) -> None:
        codes = event.codes if event.valid is None else event.codes[event.valid]
        magnitude = codes.to(torch.int32).abs()
        found["words"] += words(codes) * layer.out_features
        found["spikes"] += sum(int((magnitude >> e & 1).sum()) for e in range(MAX_TIMESTEPS)) * layer.out_features
        found["inputs"] += codes.numel() * layer.out_features

    with observing(model, layers=observe):
        for _ in logits(model, judge, questions):
            pass
    inputs = found["inputs"]
    return {
        "words": LANES * SLOTS * found["words"] / inputs,
        "spikes_per_input": found["spikes"] / inputs,
        "filled": found["spikes"] / found["words"] / LANES,
    }


@torch.inference_mode()
def logits(model: Any, judge: Embedded, questions: list[Any]) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(place, logits float32 [answer, vocabulary], tokens [answer]) of the right answer to each question."""
    for batch in batches(judge.processor, questions, batch_size=judge.batch):
        told = judge.processor(images=list(batch.images), text=list(batch.texts), return_tensors="pt")
        ids, keep = told["input_ids"], max(batch.answers)
        found = model(
            input_ids=ids[:, :-1],
            attention_mask=told["attention_mask"][:, :-1],
            pixel_values=told["pixel_values"],
            use_cache=False,
            logits_to_keep=keep,
        ).logits[:, -keep:]
        for row, (place, answer) in enumerate(zip(batch.places, batch.answers, strict=True)):
            yield place, found[row, keep - answer :].float(), ids[row, -answer:]


def judged(model: Any, judge: Embedded, questions: list[Any], exact: dict[int, Tensor]) -> list[list[float]]:
    """Right or wrong, noise of the logits, and negative log-likelihood of the answer, question by question."""
    found: list[list[float]] = [[] for _ in questions]
    for place, own, tokens in logits(model, judge, questions):
        wanted = exact[place] - exact[place].mean(dim=-1, keepdim=True)
        lost = (own - own.mean(dim=-1, keepdim=True) - wanted).square().sum() / wanted.square().sum()
        likely = own.log_softmax(dim=-1).gather(1, tokens[:, None]).sum()
        right = bool((own.argmax(dim=-1) == tokens).all())
        found[place] = [float(right), max(float(lost), 1e-9), -float(likely)]
    return found


def put_on(model: Any, plan: dict[str, LayerSpec], coding: str, factor: float) -> None:
    """Let a model spike by a plan in a coding, with thresholds of so many times the plan's."""
    adapter = spiking_state(model).tracker.adapter
    detach(model)
    specs = {
        name: spec
        if coding == spec.coding
        else replace(
            spec,
            coding=coding,
            timesteps={one: min(T + 1, MAX_TIMESTEPS) for one, T in spec.timesteps.items()},
            ratio={one: factor * ratio for one, ratio in spec.ratio.items()},
        )
        for name, spec in plan.items()
    }
    attach(model, specs, adapter)


def ratio_of(own: list[list[float]], other: list[list[float]]) -> dict[str, float]:
    """Geometric mean over questions of the noise over another code's, with its interval."""
    logs = np.log([mine[1] / theirs[1] for mine, theirs in zip(own, other, strict=True)])
    found = grouped_interval(range(len(logs)), lambda chosen: math.exp(logs[chosen].mean()), resamples=2000)
    return found.to_dict()


def by_kind(questions: list[Any], found: list[list[float]]) -> dict[str, list[bool]]:
    """Right or wrong, by kind of question."""
    table: dict[str, list[bool]] = {}
    for item, one in zip(questions, found, strict=True):
        table.setdefault(item.kind, []).append(bool(one[0]))
    return table


def main() -> int:
    made = parser(__doc__.splitlines()[0], f"{NAME}.json")
    made.add_argument("--budgets", nargs="+", type=float, default=[0.6, 0.75], help="spikes per input of tc_lif")
    made.add_argument("--factors", nargs="+", type=float, default=[0.9, 0.85], help="of thresholds")
    made.add_argument("--questions", type=int, default=100, help="of each of 15 kinds of the test split")
    args = made.parse_args()
    prepare(args.threads)
    judge = Embedded(args.scratch)
    questions = items("test", args.questions)
    sample = questions[:: max(1, args.questions // 3)]
    cells = Cells(args.scratch / "sweeps" / NAME / "cells")
    rows: list[dict[str, Any]] = []
    goals = []
    for budget in args.budgets:
        recipe = Code.parse(f"rms@spikes={budget}").recipe(weights_recipe(WEIGHTS))
        assert recipe is not None
        model = judge.bench(0).spiking(recipe).eval()
        plan = {name: layer.spec for name, layer in spiking_state(model).layers.items()}
        key = {"spikes": judge.bench(0).parts(recipe), "questions": args.questions}
        with weight_only(model):
            exact = {place: own for place, own, _ in logits(model, judge, questions)}
        plain: list[list[float]] = []
        best: list[dict[str, Any]] = []
        for coding, factor in [(PLAIN, 1.0), *((CAPPED, factor) for factor in args.factors)]:
            put_on(model, plan, coding, factor)
            own = {**key, "coding": coding, "factor": factor}
            found = cells.cell({**own, "what": "test"}, partial(judged, model, judge, questions, exact))
            number = cells.cell({**own, "what": "words"}, partial(counted, model, judge, sample))
            plain = plain or found
            answers = by_kind(questions, found)
            row = {
                "budget": budget,
                "coding": coding,
                "factor": factor,
                **number,
                "accuracy": accuracy_interval(answers).to_dict(),
                "minus_plain": accuracy_difference(answers, by_kind(questions, plain)).to_dict(),
                "noise": ratio_of(found, plain),
                "perplexity": math.exp(sum(one[2] for one in found) / len(found)),
            }
            rows.append(row)
            best += [row] if coding == CAPPED and row["noise"]["estimate"] <= 1 else []
            print(row, flush=True)
        fewest = min((row["words"] for row in best), default=math.inf)
        before = next(row["words"] for row in rows if row["budget"] == budget and row["coding"] == PLAIN)
        told = f"{1 - fewest / before:.1%} fewer" if best else "no factor is as exact"
        goal = f"{budget} spikes per input: {FEWER:.0%} fewer words, no more noise"
        goals.append(Goal(goal, told, fewest <= (1 - FEWER) * before))
    settings = {"questions": f"{args.questions} of each of 15 kinds of the test split", "weights": WEIGHTS}
    return finish(NAME, args, settings, rows, goals, command=command(args))


def command(args: Any) -> str:
    """What makes these rows again."""
    budgets, factors = (" ".join(map(str, values)) for values in (args.budgets, args.factors))
    return f"python benchmarks/capped_embedded.py --budgets {budgets} --factors {factors} --questions {args.questions}"


if __name__ == "__main__":
    raise SystemExit(main())
