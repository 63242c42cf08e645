"""Several recipes under several spike budgets, side by side."""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from spike_compressor.checkpoint import open_model, open_processor
from spike_compressor.checkpoint.opening import open_config
from spike_compressor.comparison.budget import SpikeBudget
from spike_compressor.comparison.cells import Cells
from spike_compressor.comparison.recipe import SplitRecipe
from spike_compressor.comparison.workbench import Workbench
from spike_compressor.errors import InputError
from spike_compressor.evaluations.base import Evaluation, parse_evaluation
from spike_compressor.evaluations.disjoint import require_disjoint
from spike_compressor.fingerprint import versions
from spike_compressor.fingerprint_code import MODEL, digest_of_code
from spike_compressor.metrics import ENERGY_TABLES, SpikeRecord, estimate, recoded, record_fidelity, record_spikes
from spike_compressor.modality import Adapters, configured_adapters, use_adapters
from spike_compressor.runtime import spiking_state
from spike_compressor.runtime.memory import give_memory_back
from spike_compressor.runtime.reference import integer_activations, weights_only

SCHEMA = "spike-comparison"
SCHEMA_VERSION = 1

#: What a row of the table is: the float model; a recipe's weights without spikes; the same with integer activations; or
#: its spikes.
Kind = Literal["float", "weights", "integer", "spiking"]
#: What a row's numbers come from beside its model and evaluations.
_COMPUTING: dict[Kind, tuple[Callable[..., Any], ...]] = {
    "float": (),
    "weights": (weights_only,),
    "integer": (integer_activations,),
    "spiking": (record_spikes, record_fidelity, recoded, estimate),
}


@dataclass(frozen=True)
class Cell:
    """One row of the table: a model that is judged.

    Attributes:
        kind: what it is.
        recipe: label of the recipe; empty for the float model.
        budget: label of the budget; empty where nothing spikes.
        seed: of random rotations and of the calibration data.
    """

    kind: Kind
    recipe: str = ""
    budget: str = ""
    seed: int = 0

    @property
    def label(self) -> str:
        return ", ".join(filter(None, [self.recipe or "float", self.budget or self.kind, f"seed {self.seed}"]))


@dataclass(frozen=True)
class Sweep:
    """A comparison that is to be made; everything in it pickles, so that cells can run in processes of their own.

    Attributes:
        model: directory of the float model.
        recipes: by label.
        budgets: in the order of the columns.
        evaluations: what is judged.
        calibration: makes `oneshot`'s data of a processor and a seed, the same at every call.
        folder: for cells and quantized weights.
        seeds: of random rotations and calibration data.
        threads: CPU threads of each process.
        trust_remote_code: run code that the model brings.
        adapters: what `configure_adapter` described, which other processes do not know.
    """

    model: Path
    recipes: dict[str, SplitRecipe]
    budgets: tuple[SpikeBudget, ...]
    evaluations: tuple[Evaluation, ...]
    calibration: Callable[[Any, int], Any]
    folder: Path
    seeds: tuple[int, ...] = (0,)
    threads: int = 1
    trust_remote_code: bool = False
    adapters: Adapters = field(default_factory=configured_adapters)
    _benches: dict[int, Workbench] = field(default_factory=dict, compare=False, repr=False)

    def cells(self) -> list[Cell]:
        """All rows, references first."""
        rows = [Cell("float")]
        for seed in self.seeds:
            for recipe in self.recipes:
                rows.append(Cell("weights", recipe, seed=seed))
                rows += [Cell("spiking", recipe, budget.label, seed) for budget in self.budgets]
                rows.append(Cell("integer", recipe, self.budgets[0].label, seed))
        return rows

    def bench(self, seed: int) -> Workbench:
        """Where models of one seed are made."""
        if seed not in self._benches:
            processor = open_processor(self.model, self.trust_remote_code)
            self._benches[seed] = Workbench(
                self.model,
                partial(open_model, self.model, torch.float32, self.trust_remote_code),
                processor,
                partial(self.calibration, processor, seed),
                self.folder / "weights",
                seed,
                self.trust_remote_code,
            )
        return self._benches[seed]

    def recipe_of(self, cell: Cell) -> SplitRecipe | None:
        """The whole recipe of a cell."""
        if cell.kind == "float":
            return None
        recipe = self.recipes[cell.recipe]
        if cell.kind == "weights":
            return recipe.exact()
        (budget,) = (budget for budget in self.budgets if budget.label == cell.budget)
        return recipe.spiking(budget.fields)

    def key(self, cell: Cell) -> dict[str, Any]:
        """Everything that a cell's metrics depend on."""
        return {
            "kind": cell.kind,
            "model": self.bench(cell.seed).parts(self.recipe_of(cell)),
            "evaluations": [evaluation.parts() for evaluation in self.evaluations],
            "code": digest_of_code(type(self), beside=(*MODEL, "spike_compressor.metrics")),
            "computing": digest_of_code(*_COMPUTING[cell.kind]),
        }

    def run(self, cell: Cell, progress: Callable[[str, int, int], object] | None = None) -> dict[str, Any]:
        """Make the model of a cell and judge it; plain values."""
        started = time.monotonic()
        found: dict[str, Any] = {}
        with self._opened(cell) as model:
            metrics: dict[str, Any] = {}
            for evaluation in self.evaluations:
                shown = None if progress is None else partial(progress, evaluation.label)
                metric = evaluation.run(model, self.bench(cell.seed).processor, shown)
                metrics[evaluation.label] = metric.to_dict()
            if cell.kind == "spiking":
                found = self._spikes(model, cell)
        return {"figures": metrics, **found, "seconds": time.monotonic() - started}

    @contextlib.contextmanager
    def _opened(self, cell: Cell) -> Iterator[Any]:
        bench, recipe = self.bench(cell.seed), self.recipe_of(cell)
        if recipe is None:
            yield bench.open()
        elif cell.kind == "weights":
            model = bench.exact(recipe)
            with weights_only(model):
                yield model
        else:
            model = bench.spiking(recipe)
            with integer_activations(model) if cell.kind == "integer" else contextlib.nullcontext():
                yield model

    def _spikes(self, model: Any, cell: Cell) -> dict[str, Any]:
        """Spikes, operations, energy and fidelity on a sample of the first evaluation's items."""
        processor = self.bench(cell.seed).processor
        with record_spikes(model) as record:
            self.evaluations[0].sample(model, processor)
        with record_fidelity(model) as fidelity:
            self.evaluations[0].sample(model, processor)
        state = spiking_state(model)
        bits = {name: layer.integer.bits for name, layer in state.layers.items()}
        return {
            "spikes": record.to_dict(),
            "layers": by_layer(record),
            "codings": {coding: recoded(record, coding).to_dict() for coding in ("csd", "unary", "unary_unsigned")},
            "energy": {
                name: {
                    "compute": estimate(record, name, bits).to_dict(),
                    "with memory": estimate(record, name, bits, memory=True).to_dict(),
                }
                for name in ENERGY_TABLES
            },
            "snr": fidelity.to_dict(),
            "plan": {name: dict(layer.spec.timesteps) for name, layer in state.layers.items()},
            "budget_facts": state.facts.get("budget"),
            "architecture": str(getattr(model.config, "model_type", "")),
            "evolution": state.facts.get("evolution"),
        }


def by_layer(record: SpikeRecord) -> dict[str, dict[str, Any]]:
    """Firing rates by module name and modality: of each step, and the counts behind them."""
    table: dict[str, dict[str, Any]] = {}
    for (name, modality), layer in record.layers.items():
        if layer.rows:
            table.setdefault(name, {})[modality] = {
                "timesteps": layer.timesteps,
                "rows": layer.rows,
                "firing": [count / layer.neurons for count in layer.spikes_by_step()],
                "sops": layer.sops,
                "macs": layer.macs,
            }
    return table


def compare(
    model: str | os.PathLike[str],
    recipes: Sequence[str | os.PathLike[str]] | dict[str, str | os.PathLike[str]],
    budgets: Sequence[str],
    evaluations: Sequence[str | Evaluation],
    calibration: Callable[[Any, int], Any],
    folder: str | os.PathLike[str],
    *,
    allocation: str = "sensitivity",
    seeds: Sequence[int] = (0,),
    jobs: int = 1,
    threads: int = 1,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Run every recipe under every budget, judge all models, and put them side by side.

    Weights are quantized once a recipe and seed. Every finished cell is kept in `folder` under the hash of all that it
    depends on, model, recipe, data, code and package versions, so that a killed sweep goes on where it was and a
    changed one computes only what changed.

    Args:
        model: directory of a float model that transformers opens.
        recipes: recipe files, or label -> file; each ends in the spiking modifiers, whose timesteps budgets replace.
        budgets: `3/4` (T of vision / text), `mean:3.25`, `sops:2e6`.
        evaluations: `questions:200`, `answers`, `text:FILE`, ...: the first one's items count spikes.
        calibration: makes `oneshot`'s data of (processor, seed); a function of a module, or a partial of one.
        folder: for cells and weights.
        allocation: that spends `mean:` and `sops:` budgets.
        seeds: of random rotations and calibration data; more than one tells whether the order of recipes is stable.
        jobs: processes that run cells.
        threads: CPU threads of each.
        trust_remote_code: run code that the model brings, in every process.

    Returns:
        Plain values, as docs/compare.md describes them; `spike_compressor.comparison.report.write` draws them.

    Raises:
        InputError: settings that make no sense, or calibration data that are evaluated on; before anything runs.
        RuntimeError: the integer reference and the spikes disagree.
    """
    named = recipes if isinstance(recipes, dict) else {Path(path).stem: path for path in recipes}
    if not named or not budgets or not evaluations or not seeds:
        raise InputError("compare needs at least one recipe, one budget, one evaluation and one seed")
    if not isinstance(recipes, dict) and len(named) < len(recipes):
        raise InputError("two recipes have the same file name; give them labels")
    directory = Path(model)
    open_config(directory, trust_remote_code)  # refused now, not in the first cell
    sweep = Sweep(
        directory,
        {label: SplitRecipe.read(path) for label, path in named.items()},
        _distinct(SpikeBudget.parse(text, allocation) for text in budgets),
        tuple(one if isinstance(one, Evaluation) else parse_evaluation(one) for one in evaluations),
        calibration,
        Path(folder),
        tuple(seeds),
        threads,
        trust_remote_code,
    )
    for seed in sweep.seeds:
        processor = sweep.bench(seed).processor
        for evaluation in sweep.evaluations:
            require_disjoint(
                evaluation.calibration_items(calibration(processor, seed)),
                evaluation.items(processor),
                evaluation.items_are,
            )
    rows = _run(sweep, jobs)
    result = {
        "format": SCHEMA,
        "version": SCHEMA_VERSION,
        "model": directory.name,
        "evaluations": [
            {"label": one.label, "unit": one.unit, "higher_is_better": one.higher_is_better}
            for one in sweep.evaluations
        ],
        "budgets": [{"label": budget.label, **budget.fields} for budget in sweep.budgets],
        "recipes": {label: recipe.text() for label, recipe in sweep.recipes.items()},
        "seeds": list(sweep.seeds),
        "versions": versions(),
        "rows": rows,
        "blind": _blind(sweep),
    }
    _check_integers(result)
    return result


def _blind(sweep: Sweep) -> dict[str, float]:
    """What the float model reaches with the pictures exchanged, by evaluation that knows of pictures."""
    store, bench = Cells(sweep.folder / "cells"), sweep.bench(sweep.seeds[0])
    found = {}
    for evaluation in sweep.evaluations:
        if type(evaluation).blind is not Evaluation.blind:
            key = {"kind": "blind", "model": bench.parts(), "evaluation": evaluation.parts()}
            found[evaluation.label] = float(store.cell(key, partial(_blinded, evaluation, bench)))
    return found


def _blinded(evaluation: Evaluation, bench: Workbench) -> float | None:
    return evaluation.blind(bench.open(), bench.processor)


def _distinct(budgets: Iterable[SpikeBudget]) -> tuple[SpikeBudget, ...]:
    """Each budget once: `3` and `3/3` are the same."""
    return tuple({budget.label: budget for budget in budgets}.values())


def _run(sweep: Sweep, jobs: int) -> list[dict[str, Any]]:
    """Every cell's row, in order: from the folder, or computed."""
    store = Cells(sweep.folder / "cells")
    cells = sweep.cells()
    keys = {cell: sweep.key(cell) for cell in cells}
    found = {cell: result for cell in cells if (result := store.get(keys[cell])) is not None}
    todo = [cell for cell in cells if cell not in found]
    with tqdm(total=len(cells), initial=len(found), desc="cells", unit="cell", dynamic_ncols=True) as bar:
        for cell, result in _computed(sweep, todo, jobs, bar):
            found[cell] = store.put(keys[cell], json.loads(json.dumps(result)))
            bar.update()
    return [
        {"kind": cell.kind, "recipe": cell.recipe, "budget": cell.budget, "seed": cell.seed, **found[cell]}
        for cell in cells
    ]


def _computed(sweep: Sweep, todo: list[Cell], jobs: int, bar: Any) -> Iterator[tuple[Cell, dict[str, Any]]]:
    if jobs < 1:
        raise InputError(f"jobs is {jobs}; it must be at least 1")
    if jobs == 1:
        for cell in todo:
            bar.set_postfix_str(cell.label)
            yield cell, _one(sweep, cell)
        return
    # threads and CUDA do not survive a fork
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        # one process quantizes a recipe's weights; then its cells are free
        waiting = {cell: cell for cell in todo}
        first: dict[tuple[str, int], Cell] = {}
        running: dict[Future[dict[str, Any]], Cell] = {}
        try:
            while waiting or running:
                for cell in list(waiting):
                    group = (cell.recipe, cell.seed)
                    if group not in first or first[group] not in {*waiting, *running.values()}:
                        running[pool.submit(_one, sweep, cell)] = waiting.pop(cell)
                        first.setdefault(group, cell)
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    cell = running.pop(future)
                    yield cell, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _one(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    give_memory_back()
    torch.set_num_threads(sweep.threads)
    use_adapters(sweep.adapters)
    return sweep.run(cell)


def _check_integers(result: dict[str, Any]) -> None:
    """Spikes carry what integers carry: both rows must show the very same metrics."""
    spiking = {(row["recipe"], row["budget"], row["seed"]): row for row in result["rows"] if row["kind"] == "spiking"}
    for row in result["rows"]:
        if row["kind"] != "integer":
            continue
        other = spiking[row["recipe"], row["budget"], row["seed"]]
        if row["figures"] != other["figures"]:
            raise RuntimeError(
                f"{row['recipe']} at {row['budget']}: integer activations and spikes give different metrics; please "
                "report this"
            )


def pareto(rows: Sequence[dict[str, Any]], evaluation: str, higher_is_better: bool) -> list[dict[str, Any]]:
    """The spiking rows that no other one beats in the metric at as few synaptic operations; cheapest first."""
    front: list[dict[str, Any]] = []
    best = -math.inf
    for row in sorted(rows, key=lambda row: (total_sops(row), -_score(row, evaluation, higher_is_better))):
        score = _score(row, evaluation, higher_is_better)
        if score > best:
            best = score
            front.append(row)
    return front


def total_sops(row: dict[str, Any]) -> float:
    """Synaptic operations for one token of the language model."""
    spikes = row["spikes"]
    tokens = sum(spikes["tokens"].values())
    return (
        sum(sops * spikes["tokens"][name] for name, sops in spikes["sops_per_token"].items()) / tokens
        if tokens
        else 0.0
    )


def _score(row: dict[str, Any], evaluation: str, higher_is_better: bool) -> float:
    value = float(row["figures"][evaluation]["value"])
    return value if higher_is_better else -value


def pairs_in_order(result: dict[str, Any], evaluation: str, budget: str) -> tuple[int, int] | None:
    """Pairs of recipes that all seeds put in one order at a budget, ties allowed, and all pairs.

    Seeds that have no row at this budget do not count. None if fewer than two seeds or recipes do, or if recipes had
    different seeds.
    """
    (higher,) = (one["higher_is_better"] for one in result["evaluations"] if one["label"] == evaluation)
    scores: dict[str, dict[int, float]] = {}
    for row in result["rows"]:
        if (row["kind"], row["budget"]) == ("spiking", budget):
            scores.setdefault(row["recipe"], {})[row["seed"]] = _score(row, evaluation, higher)
    by_recipe = list(scores.values())
    if len(by_recipe) < 2 or len({frozenset(one) for one in by_recipe}) != 1 or len(by_recipe[0]) < 2:
        return None
    pairs = [[a[seed] - b[seed] for seed in a] for a, b in combinations(by_recipe, 2)]
    kept = sum(all(d >= 0 for d in differences) or all(d <= 0 for d in differences) for differences in pairs)
    return kept, len(pairs)
