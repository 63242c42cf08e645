"""The comparison as one call: several recipes under several spike budgets, side by side."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from spike_compressor.checkpoint.opening import open_config
from spike_compressor.claims import claimed
from spike_compressor.comparison.budget import SpikeBudget
from spike_compressor.comparison.cells import Cells
from spike_compressor.comparison.engines import Engine, make_engine
from spike_compressor.comparison.recipe import SplitRecipe
from spike_compressor.comparison.sweep import Sweep
from spike_compressor.comparison.workbench import Workbench
from spike_compressor.comparison.workers import run_cells
from spike_compressor.errors import InputError
from spike_compressor.evaluations.base import Evaluation, parse_evaluation
from spike_compressor.evaluations.disjoint import require_disjoint
from spike_compressor.files import sweep as clear
from spike_compressor.files import writing
from spike_compressor.fingerprint import versions
from spike_compressor.progress import Steps
from spike_compressor.threads import use_threads

SCHEMA = "spike-comparison"
SCHEMA_VERSION = 1


def compare(
    model: str | os.PathLike[str],
    recipes: Sequence[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str] | SplitRecipe],
    budgets: Sequence[str | SpikeBudget],
    evaluations: Sequence[str | Evaluation],
    calibration: Callable[[Any, int], Any],
    folder: str | os.PathLike[str],
    *,
    allocation: str = "sensitivity",
    seeds: Sequence[int] = (0,),
    engine: str | Engine = "local",
    jobs: int | None = None,
    threads: int = 1,
    trust_remote_code: bool = False,
    steps: Steps | None = None,
) -> dict[str, Any]:
    """Run every recipe under every budget, judge all models, and put them side by side.

    Weights are quantized once a recipe and seed. Every finished cell is kept in `folder` under the hash of all that it
    depends on, model, recipe, data, code and package versions, so that a killed sweep goes on where it was and a
    changed one computes only what changed.

    Args:
        model: directory of a float model that transformers opens.
        recipes: recipe files, or label -> file or recipe; each ends in the spiking modifiers, whose timesteps budgets
            replace.
        budgets: `3/4` (T of vision / text), `mean:3.25`, `sops:2e6`, `spikes:0.75`, or `MSTSModifier`'s fields under a
            label.
        evaluations: `questions:200`, `answers`, `text:FILE`, ...: the first one's items count spikes.
        calibration: makes `oneshot`'s data of (processor, seed); a function of a module, or a partial of one.
        folder: for cells and weights.
        allocation: that spends `mean:` and `sops:` budgets.
        seeds: of random rotations and calibration data; more than one tells whether the order of recipes is stable.
        engine: where cells run: `local`, `ray`, or one of `spike_compressor.comparison.make_engine` with its options.
        jobs: cells side by side, at most: processes of this machine (1), or tasks of a cluster (as many as it has room
            for).
        threads: CPU threads of each.
        trust_remote_code: run code that the model brings, in every process.
        steps: shows how far it is; by default on standard error. Of cells in other processes, the libraries' own output
            is kept back unless these are verbose.

    Returns:
        Plain values, as docs/compare.md describes them; `spike_compressor.comparison.report.write` draws them.

    Raises:
        InputError: settings that make no sense, calibration data that are evaluated on, a folder that cannot be written
            or that another comparison is at; before anything runs.
        RuntimeError: the integer reference and the spikes disagree.
    """
    named = recipes if isinstance(recipes, Mapping) else {Path(path).stem: path for path in recipes}
    if not named or not budgets or not evaluations or not seeds:
        raise InputError("compare needs at least one recipe, one budget, one evaluation and one seed")
    if not isinstance(recipes, Mapping) and len(named) < len(recipes):
        raise InputError("two recipes have the same file name; give them labels")
    if isinstance(engine, Engine) and jobs is not None:
        raise InputError(f"jobs belongs to an engine by its name; this one has its own: {engine}")
    engine = engine if isinstance(engine, Engine) else make_engine(engine, jobs=jobs)
    engine.check()
    directory = Path(model)
    open_config(directory, trust_remote_code)  # refused now, not in the first cell
    sweep = Sweep(
        directory,
        {label: one if isinstance(one, SplitRecipe) else SplitRecipe.read(one) for label, one in named.items()},
        _distinct(one if isinstance(one, SpikeBudget) else SpikeBudget.parse(one, allocation) for one in budgets),
        tuple(one if isinstance(one, Evaluation) else parse_evaluation(one) for one in evaluations),
        calibration,
        Path(folder),
        tuple(seeds),
        threads,
        trust_remote_code,
    )
    steps = steps or Steps()
    with use_threads(threads), _alone(sweep):
        with steps.step("check that no calibration data are evaluated on"):
            _require_disjoint(sweep)
        rows = run_cells(sweep, engine, steps)
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
            "blind": _blind(sweep, steps),
        }
    check_integers(result)
    return result


@contextlib.contextmanager
def _alone(sweep: Sweep) -> Iterator[None]:
    """No two comparisons work in one folder at a time: one would compute what the other is computing."""
    cells = sweep.folder / "cells"
    with contextlib.ExitStack() as stack:
        with writing(cells):
            sweep.folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(claimed(cells))
        for part in (cells, sweep.folder / "weights"):
            clear(part)
        yield


def _require_disjoint(sweep: Sweep) -> None:
    for seed in sweep.seeds:
        processor = sweep.bench(seed).processor
        for evaluation in sweep.evaluations:
            require_disjoint(
                evaluation.calibration_items(sweep.calibration(processor, seed)),
                evaluation.items(processor),
                evaluation.items_are,
            )


def _blind(sweep: Sweep, steps: Steps) -> dict[str, float]:
    """What the float model reaches with the pictures exchanged, by evaluation that knows of pictures."""
    store, bench = Cells(sweep.folder / "cells"), sweep.bench(sweep.seeds[0])
    found = {}
    for evaluation in sweep.evaluations:
        if type(evaluation).blind is not Evaluation.blind:
            key = {"kind": "blind", "model": bench.parts(), "evaluation": evaluation.parts()}
            with steps.step(f"{evaluation.label} of the float model with the pictures exchanged"):
                found[evaluation.label] = float(store.cell(key, partial(_blinded, evaluation, bench)))
    return found


def _blinded(evaluation: Evaluation, bench: Workbench) -> float | None:
    return evaluation.blind(bench.open(), bench.processor)


def _distinct(budgets: Iterable[SpikeBudget]) -> tuple[SpikeBudget, ...]:
    """Each budget once: `3` and `3/3` are the same."""
    return tuple({budget.label: budget for budget in budgets}.values())


def check_integers(result: dict[str, Any]) -> None:
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
