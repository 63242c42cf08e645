"""What is kept is found again as long as the code behind it computes the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers import edited
from helpers.workshop import RTN, recipe
from llmcompressor.modifiers import Modifier
from llmcompressor.modifiers.factory import ModifierFactory
from spike_compressor.cli.models import calibration_of_seed
from spike_compressor.coding.base import CODINGS, Coding, register_coding
from spike_compressor.comparison import SplitRecipe
from spike_compressor.comparison.budget import SpikeBudget
from spike_compressor.comparison.dependencies import adapter_settings, spiking_code, weights_code
from spike_compressor.comparison.sweep import Cell, Sweep
from spike_compressor.demo.model import MODEL_DIR
from spike_compressor.evaluations import parse_evaluation
from spike_compressor.fingerprint_code import modules_behind
from spike_compressor.modality import configure_adapter
from spike_compressor.modality.base import ADAPTERS

#: Of the cell that its budget belongs to.
CELLS = {
    "float": Cell("float"),
    "weights": Cell("weights", "rtn"),
    "spiking": Cell("spiking", "rtn", "2/3"),
    "integer": Cell("integer", "rtn", "2/3"),
}


@pytest.fixture
def directory(tmp_path: Path) -> Callable[[str], Path]:
    """A model's directory, as far as it is looked at here."""

    def made(model_type: str) -> Path:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
        return tmp_path

    return made


def behind(directory: Path, **fields: Any) -> set[str]:
    """Modules behind a recipe with these fields of the spiking modifiers, without the package's name."""
    msts = fields.pop("msts", None)
    split = SplitRecipe.read(recipe(RTN)).spiking(msts, **fields)
    return {name.removeprefix("spike_compressor.") for name in modules_behind(*spiking_code(split, directory))}


def test_a_recipe_depends_on_what_it_names(directory: Callable[[str], Path]) -> None:
    plain = behind(directory("llama"), timesteps=3)
    assert {"modifiers.tclif", "runtime.linear", "runtime.backends", "checkpoint.loading"} <= plain
    chosen = {name for name in plain if ".adapters." in name or ".strategies." in name or ".codings." in name}
    assert chosen == {"coding.codings.tc_lif", "modifiers.allocation.strategies.fixed"}
    assert "coding.codings.csd" in behind(directory("llama"), timesteps=3, coding="csd")
    assert "coding.codings.csd" in behind(directory("llama"), timesteps=3, attention={"timesteps": 3, "coding": "csd"})
    assert "modality.adapters.llava" in behind(directory("llava"), timesteps=3)
    spread = behind(directory("llama"), msts={"allocation": "uniform", "budget": {"mean_timesteps": 2}})
    assert "modifiers.allocation.strategies.uniform" in spread
    assert "modifiers.allocation.strategies.med" not in spread


def test_what_other_packages_bring_counts_with_its_own_module(
    directory: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with CODINGS.temporarily():

        @register_coding("borrowed")
        class Borrowed(type(CODINGS.get("csd"))):  # type: ignore[misc]
            pass

        assert issubclass(Borrowed, Coding)
        assert __name__ in behind(directory("llama"), timesteps=3, coding="borrowed")

    class OwnModifier(Modifier):  # type: ignore[misc]
        pass

    monkeypatch.setitem(ModifierFactory._registered_registry, "OwnModifier", OwnModifier)
    split = SplitRecipe.read(recipe("OwnModifier: {}\nGPTQModifier: {scheme: W4A16}\n"))
    assert weights_code(split) == [OwnModifier]


def rows(inputs: Any) -> Any:
    """A function that tells token rows apart."""
    return None


def test_a_configured_adapter_counts_with_its_settings_and_its_function(directory: Callable[[str], Path]) -> None:
    place = directory("own_architecture")
    with ADAPTERS.temporarily():
        assert adapter_settings(place) == {}
        configure_adapter("own_architecture", placeholder_ids=[7], vision_modules=["tower"])
        first = adapter_settings(place)
        assert first["adapter"]["placeholders"] == {"vision": (7,)}
        configure_adapter("own_architecture", placeholder_ids=[8], vision_modules=["tower"])
        assert adapter_settings(place) != first
        assert __name__ not in behind(place, timesteps=3)
        configure_adapter("own_architecture", token_rows=rows, vision_modules=["tower"])
        assert __name__ in behind(place, timesteps=3)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep that is asked for keys alone."""
    recipes = Path(__file__).parents[2] / "recipes" / "compare"
    return Sweep(
        MODEL_DIR,
        {"rtn": SplitRecipe.read(recipes / "rtn_w4_g64.yaml")},
        (SpikeBudget.parse("2/3"),),
        (parse_evaluation("answers:1"),),
        partial(calibration_of_seed, "demo", 2, 2),
        tmp_path_factory.mktemp("sweep"),
    )


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.undo()
    edited.forget()


@pytest.mark.parametrize(
    ("module", "old", "new", "changed"),
    [
        ("runtime.softmax", "import torch\n", "import torch\n\nANOTHER = 1\n", {"weights", "spiking", "integer"}),
        ("runtime.softmax", '    """', '    # as it is, also: ""\n    """', set()),
        ("runtime.reference", "import torch\n", "import torch\n\nANOTHER = 1\n", {"weights", "integer"}),
        ("metrics.energy", "addition: float", "addition: int", {"spiking"}),
        ("demo.evaluate", "batch_size: int = 64", "batch_size: int = 63", set(CELLS)),
        ("demo.run", "import time\n", "import sys\nimport time\n", set()),
        ("evaluations.docvqa", "THRESHOLD = 0.5", "THRESHOLD = 0.4", set()),
        ("coding.codings.unary", "import torch\n", "import torch\n\nANOTHER = 1\n", set()),
    ],
)
def test_only_the_cells_that_compute_otherwise_are_computed_anew(
    module: str, old: str, new: str, changed: set[str], sweep: Sweep, source: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = {kind: sweep.key(cell) for kind, cell in CELLS.items()}
    edited.edit(source, tmp_path, module, old, new)
    after = {kind: sweep.key(cell) for kind, cell in CELLS.items()}
    assert {kind for kind in CELLS if before[kind] != after[kind]} == changed
