"""What a comparison computes: its cells, how the model of each is made, and what is measured on it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from spike_compressor.checkpoint import open_model, open_processor
from spike_compressor.coding import get_coding
from spike_compressor.comparison.budget import SpikeBudget
from spike_compressor.comparison.recipe import SplitRecipe
from spike_compressor.comparison.workbench import Workbench
from spike_compressor.evaluations.base import Evaluation
from spike_compressor.fingerprint_code import MODEL, digest_of_code
from spike_compressor.metrics import (
    ENERGY_TABLES,
    SpikeRecord,
    estimate,
    recoded,
    record_fidelity,
    record_planes,
    record_spikes,
)
from spike_compressor.modality import Adapters, configured_adapters
from spike_compressor.runtime import SpikingLinear, spiking_state
from spike_compressor.runtime.reference import integer_activations, weight_only

#: What a row of the table is: the float model; a recipe's weights without spikes; the same with integer activations; or
#: its spikes.
Kind = Literal["float", "weights", "integer", "spiking"]
#: What a row's numbers come from beside its model and evaluations.
_COMPUTING: dict[Kind, tuple[Callable[..., Any], ...]] = {
    "float": (),
    "weights": (weight_only,),
    "integer": (integer_activations,),
    "spiking": (record_spikes, record_planes, record_fidelity, recoded, estimate),
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
        kind = "" if self.kind == "spiking" else self.kind
        return ", ".join(filter(None, [self.recipe, self.budget, kind, f"seed {self.seed}"]))


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
            with weight_only(model):
                yield model
        else:
            model = bench.spiking(recipe)
            with integer_activations(model) if cell.kind == "integer" else contextlib.nullcontext():
                yield model

    def _spikes(self, model: Any, cell: Cell) -> dict[str, Any]:
        """Spikes, operations, planes, energy and fidelity on a sample of the first evaluation's items."""
        processor = self.bench(cell.seed).processor
        with record_spikes(model) as record, record_planes(model) as planes:
            self.evaluations[0].sample(model, processor)
        with record_fidelity(model) as fidelity:
            self.evaluations[0].sample(model, processor)
        state = spiking_state(model)
        bits = {name: layer.integer.bits for name, layer in state.layers.items()}
        own = {layer.coding for layer in record.layers.values()}
        return {
            "spikes": record.to_dict(),
            "layers": by_layer(record),
            "planes": planes.to_dict(),
            "coding": ", ".join(sorted(own)),
            "codings": {
                name: recoded(record, name).to_dict()
                for name in ("csd", "unary", "unary_unsigned")
                if all(get_coding(one).shares_codes(get_coding(name)) for one in own)
            },
            "energy": {
                name: {
                    "compute": estimate(record, name, bits).to_dict(),
                    "with memory": estimate(record, name, bits, memory=True).to_dict(),
                }
                for name in ENERGY_TABLES
            },
            "snr": fidelity.to_dict(),
            "plan": {name: dict(layer.spec.timesteps) for name, layer in state.layers.items()},
            "thresholds": thresholds_of(state.layers.values()),
            "budget_facts": state.facts.get("budget"),
            "architecture": str(getattr(model.config, "model_type", "")),
            "evolution": state.facts.get("evolution"),
        }


def thresholds_of(layers: Iterable[SpikingLinear]) -> dict[str, dict[str, list[float]]]:
    """Modality -> what thresholds are tied to, a statistic or `static` -> least and largest ratio, of static ones 1."""
    found: dict[str, dict[str, list[float]]] = {}
    for layer in layers:
        spec = layer.spec
        kind = "static" if spec.threshold == "static" else spec.statistic
        for modality in layer.modalities:
            ratio = spec.ratio[modality]
            ends = found.setdefault(modality, {}).setdefault(kind, [ratio, ratio])
            ends[:] = min(ends[0], ratio), max(ends[1], ratio)
    return found


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
