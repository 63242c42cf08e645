"""Recipes side by side: what is computed, what is kept, what is refused, and what the report shows."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import spike_compressor
from helpers.messages import naming
from spike_compressor.cli.models import calibration_of_seed
from spike_compressor.cli.program import run
from spike_compressor.comparison import (
    compare,
    make_engine,
    ranking,
    read_hardware,
    register_engine,
    report,
    sweep,
)
from spike_compressor.comparison.budget import SpikeBudget
from spike_compressor.comparison.engines import ENGINES
from spike_compressor.comparison.engines.local import LocalEngine
from spike_compressor.comparison.run import check_integers
from spike_compressor.comparison.tables import tables
from spike_compressor.demo import evaluations
from spike_compressor.errors import InputError
from spike_compressor.evaluations import Evaluation, Metric, register_evaluation
from spike_compressor.evaluations.base import EVALUATIONS
from spike_compressor.plot import style

RECIPES = Path(__file__).parents[2] / "recipes" / "compare"
RTN = RECIPES / "rtn_w4_g64.yaml"
CALIBRATION = partial(calibration_of_seed, "demo", 8, 4)


@pytest.fixture(scope="module")
def compared(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """One recipe at two budgets, and the folder that it was computed in."""
    folder = tmp_path_factory.mktemp("sweep")
    return compare(model, [RTN], ["2/3", "mean:2.5"], ["answers:1", "questions:1"], CALIBRATION, folder), folder


def rows(result: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [row for row in result["rows"] if row["kind"] == kind]


def test_every_recipe_and_budget_has_a_row_beside_its_references(compared: tuple[dict[str, Any], Path]) -> None:
    result, _ = compared
    kinds = [(row["kind"], row["budget"]) for row in result["rows"]]
    assert kinds == [
        ("float", ""),
        ("weights", ""),
        ("spiking", "2/3"),
        ("spiking", "mean:2.5:sensitivity"),
        ("integer", "2/3"),
    ]
    for row in result["rows"]:
        figure = row["figures"]["answers:1"]
        assert 1 < figure["low"] <= figure["value"] <= figure["high"]
        assert figure["count"] == 15
    values = {row["kind"]: row["figures"]["answers:1"]["value"] for row in result["rows"]}
    assert values["float"] != values["weights"] != values["spiking"]
    (fixed, planned) = rows(result, "spiking")
    assert fixed["figures"] == rows(result, "integer")[0]["figures"]
    assert {tuple(sorted(T.items())) for name, T in fixed["plan"].items() if "language_model" in name} == {
        (("text", 3), ("vision", 2))
    }
    assert planned["budget_facts"]["mean_timesteps_weighted"] <= 2.5
    assert planned["evolution"]["discrepancy"] is not None


def test_a_spiking_row_says_what_its_spikes_cost(compared: tuple[dict[str, Any], Path]) -> None:
    result, _ = compared
    row = rows(result, "spiking")[0]
    spikes, layers = row["spikes"], row["layers"]
    sops = sum(one["sops"] for by in layers.values() for one in by.values())
    assert ranking.total_sops(row) == pytest.approx(sops / sum(spikes["tokens"].values()))
    layer = layers["model.language_model.layers.0.mlp.down_proj"]
    assert [len(layer[name]["firing"]) for name in ("vision", "text")] == [2, 3]
    # the same codes in unary spikes fire |q| times, in tc_lif at most T times
    assert row["codings"]["unary"]["sops_per_token"]["text"] > spikes["sops_per_token"]["text"]
    assert row["codings"]["csd"]["steps"]["text"] == spikes["steps"]["text"] + 1
    for by_scope in row["energy"].values():
        assert by_scope["compute"]["label"] == "estimate"
        assert by_scope["with memory"]["spiking"] > by_scope["compute"]["spiking"]
    assert all(value > 0 for by in row["snr"].values() for value in by.values())
    assert row["thresholds"] == {modality: {"absmax": [1.0, 1.0]} for modality in ("text", "vision")}
    planes = row["planes"]
    assert 0 < planes["all"]["spikes_per_input"] < 3
    assert {"vision tower", "projector", "down"} < set(planes["by_kind"])
    assert len(planes["all"]["chunks_firing"]) == 3
    assert planes["all"]["imbalance"] >= 1


@pytest.mark.slow
def test_codings_with_codes_of_their_own_stand_alone(model: Path, tmp_path: Path) -> None:
    """No other coding would have fired for the same codes what a table of codings would say of it."""
    codings = ("tc_lif_rdoq", "group4")
    for coding in codings:
        own = f"TCLIFModifier:\n      coding: {coding}\n      threshold_statistic: rms\n      threshold_ratio: 0.4"
        (tmp_path / f"{coding}.yaml").write_text(RTN.read_text().replace("TCLIFModifier:", own))
    recipes = [tmp_path / f"{coding}.yaml" for coding in codings]
    result = compare(model, recipes, ["2/3"], ["answers:1"], CALIBRATION, tmp_path / "sweep")
    for coding, row in zip(codings, rows(result, "spiking"), strict=True):
        assert (row["coding"], row["codings"]) == (coding, {})
        assert row["figures"] == next(
            one["figures"] for one in rows(result, "integer") if one["recipe"] == row["recipe"]
        )
    (table,) = (one for one in tables(result) if one.title == "Codings")
    assert [line[1] for line in table.rows] == list(codings)


def test_finished_cells_are_kept(
    compared: tuple[dict[str, Any], Path], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is computed twice, and a budget more computes that budget only."""
    result, folder = compared
    computed: list[str] = []
    real = sweep.Sweep.run

    def watched(self: Any, cell: Any, *args: Any) -> Any:
        computed.append(cell.budget)
        return real(self, cell, *args)

    monkeypatch.setattr(sweep.Sweep, "run", watched)
    again = compare(model, [RTN], ["2/3", "mean:2.5"], ["answers:1", "questions:1"], CALIBRATION, folder)
    assert not computed
    assert again == result
    more = compare(model, [RTN], ["2/3", "4/4"], ["answers:1", "questions:1"], CALIBRATION, folder)
    assert computed == ["4/4"]
    assert rows(more, "spiking")[0] == rows(result, "spiking")[0]


def test_a_sweep_that_was_killed_goes_on(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sweep.Sweep.run

    def killed(self: Any, cell: Any, *args: Any) -> Any:
        if cell.kind == "spiking":
            raise KeyboardInterrupt
        return real(self, cell, *args)

    monkeypatch.setattr(sweep.Sweep, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        compare(model, [RTN], ["3/4"], ["answers:1"], CALIBRATION, tmp_path)
    computed: list[str] = []

    def watched(self: Any, cell: Any, *args: Any) -> Any:
        computed.append(cell.kind)
        return real(self, cell, *args)

    monkeypatch.setattr(sweep.Sweep, "run", watched)
    compare(model, [RTN], ["3/4"], ["answers:1"], CALIBRATION, tmp_path)
    assert computed == ["spiking", "integer"]


def test_processes_compute_what_one_process_computes(
    compared: tuple[dict[str, Any], Path], model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And say no more than that they are through with a cell."""
    result, _ = compared
    other = compare(model, [RTN], ["2/3", "mean:2.5"], ["answers:1", "questions:1"], CALIBRATION, tmp_path, jobs=2)
    for row, same in zip(result["rows"], other["rows"], strict=True):
        assert {**row, "seconds": 0} == {**same, "seconds": 0}
    out, err = capfd.readouterr()
    assert out == ""
    told = [line for line in err.splitlines() if line.strip()]
    assert sorted(line[0] for line in told if re.fullmatch(r"\d/5 .*: \d+\.\d s", line)) == list("12345")
    assert len(told) == 5 + 2  # the check before them, and the blind baseline behind


# Refusals


def test_calibration_data_are_not_evaluated_on(model: Path, tmp_path: Path) -> None:
    class Calibrated(evaluations.DemoAnswers):
        def questions(self, per_kind: int | None = None) -> list[Any]:
            from spike_compressor.demo.data import items

            return items("calibration", 1)

    with EVALUATIONS.temporarily():
        register_evaluation("calibrated")(Calibrated)
        with pytest.raises(InputError, match=naming(8, "pictures", "calibration")):
            compare(model, [RTN], ["3/4"], ["calibrated"], CALIBRATION, tmp_path)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"budgets": ["9/4"]}, ("'9/4'", "timesteps", 1, 7)),
        ({"budgets": ["many"]}, ("'many'", "3/4", "mean:3.25", "sops:2e6")),
        ({"budgets": ["mean:3:fixed"]}, ("'mean:3:fixed'", "'fixed'", "uniform")),
        ({"budgets": []}, ("compare", "budget")),
        ({"evaluations": ["iq"]}, ("'iq'", "answers", "docvqa", "lm_eval", "questions", "text")),
        ({"evaluations": ["questions:0"]}, ("--eval questions", "'0'", 1)),
        ({"evaluations": ["text:nowhere.txt"]}, ("--eval text", "'nowhere.txt'", "text:FILE")),
        ({"recipes": ["nowhere.yaml"]}, ("nowhere.yaml",)),
        ({"recipes": [RTN, RTN]}, ("labels",)),
        ({"model": "nowhere"}, ("nowhere", "config.json")),
        ({"jobs": 0}, ("jobs", 0, 1)),
        ({"engine": "rya"}, ("'rya'", "did you mean 'ray'", "local")),
        ({"engine": LocalEngine(2), "jobs": 2}, ("jobs", "engine")),
    ],
)
def test_bad_settings_are_refused(
    model: Path, tmp_path: Path, settings: dict[str, Any], names: tuple[object, ...]
) -> None:
    given: dict[str, Any] = {
        "model": model,
        "recipes": [RTN],
        "budgets": ["3/4"],
        "evaluations": ["answers:1"],
        "calibration": CALIBRATION,
        "folder": tmp_path,
        **settings,
    }
    with pytest.raises(InputError, match=naming(*names)):
        compare(**given)


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_a_cluster_without_ray_is_refused_before_anything_runs(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=naming("ray", "pip install", "spike-compressor[ray]")):
        compare(model, [RTN], ["3/4"], ["answers:1"], CALIBRATION, tmp_path, engine="ray")
    assert not list(tmp_path.iterdir())


def test_options_of_another_engine_are_refused() -> None:
    with pytest.raises(InputError, match=naming("'local'", "gpus", "jobs")):
        make_engine("local", gpus=1.0, cpus=None)
    assert make_engine("local", gpus=None, jobs=2) == LocalEngine(2)


def test_an_engine_of_one_s_own(model: Path, tmp_path: Path) -> None:
    """It gets what is not there yet, and what it finds is kept as anybody's."""
    asked: list[str] = []

    @dataclass(frozen=True)
    class Elsewhere(LocalEngine):
        def compute(self, sweep: Any, todo: Any, steps: Any) -> Any:
            for one in todo:
                asked.append(one.label)
                yield one.cell, {"figures": {}, "seconds": 1.5}

    with ENGINES.temporarily():
        register_engine("elsewhere")(Elsewhere)
        for _ in range(2):
            result = compare(model, [RTN], ["3/4"], ["answers:1"], CALIBRATION, tmp_path, engine="elsewhere")
            assert [row["seconds"] for row in result["rows"]] == [1.5] * 4
    assert [label.partition(" ")[0] for label in asked] == ["1/4", "2/4", "3/4", "4/4"]


def test_budgets_mean_what_they_say() -> None:
    assert SpikeBudget.parse("3/4").fields == {"allocation": "fixed", "timesteps": {"vision": 3, "text": 4}}
    assert SpikeBudget.parse("4").fields["timesteps"] == 4  # of whatever modalities the model has
    assert SpikeBudget.parse("mean:3.25", "med").fields == {"allocation": "med", "budget": {"mean_timesteps": 3.25}}
    assert SpikeBudget.parse("sops:2e6:uniform").fields["budget"] == {"sops_per_token": 2e6}
    assert SpikeBudget.parse("spikes:0.75").fields["budget"] == {"spikes_per_input": 0.75}


def test_spikes_that_lose_something_are_an_error() -> None:
    row = {"recipe": "r", "budget": "b", "seed": 0}
    spiking = {**row, "kind": "spiking", "figures": {"e": {"value": 1.0}}}
    integer = {**row, "kind": "integer", "figures": {"e": {"value": 1.5}}}
    with pytest.raises(RuntimeError, match=naming("r", "b")):
        check_integers({"rows": [spiking, integer]})
    check_integers({"rows": [spiking, {**integer, "figures": spiking["figures"]}]})


# Ranking


def made(recipe: str, sops: float, value: float, seed: int = 0, budget: str = "3/4") -> dict[str, Any]:
    spikes = {"tokens": {"text": 2}, "sops_per_token": {"text": sops}}
    figures = {"e": {"value": value}}
    return {"kind": "spiking", "recipe": recipe, "budget": budget, "seed": seed, "spikes": spikes, "figures": figures}


def test_the_pareto_front_by_hand() -> None:
    cloud = [made("a", 1, 50), made("b", 2, 40), made("c", 2, 60), made("d", 3, 60), made("e", 4, 61)]
    assert [row["recipe"] for row in ranking.pareto(cloud, "e", True)] == ["a", "c", "e"]
    assert [row["recipe"] for row in ranking.pareto(cloud, "e", False)] == ["a", "b"]


def test_an_order_is_stable_when_all_pairs_of_recipes_keep_theirs() -> None:
    def order(*figures: tuple[str, int, float], budget: str = "3/4", higher: bool = True) -> tuple[int, int] | None:
        rows = [made(recipe, 1, value, seed) for recipe, seed, value in figures]
        judged = [{"label": "e", "higher_is_better": higher}]
        return ranking.pairs_in_order({"rows": rows, "evaluations": judged, "seeds": [0, 1]}, "e", budget)

    same = [("a", 0, 96.0), ("b", 0, 95.0), ("a", 1, 97.0), ("b", 1, 97.0), ("c", 0, 90.0), ("c", 1, 91.0)]
    assert order(*same) == order(*same, higher=False) == (3, 3)  # a and b tie in one seed
    assert order(*same[:4], ("c", 0, 95.5), ("c", 1, 91.0)) == (2, 3)
    assert order(*same, budget="4/5") is None  # no rows
    assert order(*same[:2]) is None  # one seed
    assert order(same[0], same[2]) is None  # one recipe
    assert order(*same, ("c", 2, 91.0)) is None  # another seed


# Report


class Page(HTMLParser):
    """A report's tags in order, each with its attributes, and what stands in the title."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.title = ""
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within = tag
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "title":
            self.title += data

    def of(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag in tags]


def test_the_report_is_whole_and_self_contained(compared: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    result, _ = compared
    files = report.write(result, tmp_path / "report", "spike-compressor compare --some things")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == sorted(path.name for path in files)
    text = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.of("link", "script", "img", "iframe")
    links = [value for _, tag in page.tags for name, value in tag.items() if name in ("href", "src", "xlink:href")]
    assert {link[:1] for link in links if not link.startswith("data:image/png")} == {"#"}
    assert not re.search(r"url\((?!#)|@import", text)
    assert len(page.of("svg")) >= 6
    for title in ("Pareto", "Energy (estimate)", "Where spikes fire", "Modality evolution and plan", "--some things"):
        assert title in text
    markdown = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "| rtn_w4_g64 |" in markdown
    with (tmp_path / "report" / "cells.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["kind"] for row in table] == [row["kind"] for row in result["rows"]]
    assert json.loads((tmp_path / "report" / "comparison.json").read_text()) == result


def test_the_page_reads_on_any_screen(compared: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    """Contents that lead somewhere, tables and pictures in boxes that scroll, pictures in the page's colours."""
    result, _ = compared
    label = "<b>rtn & more</b>"
    renamed = [{**row, "recipe": label if row["recipe"] else ""} for row in result["rows"]]
    recipes = {label: next(iter(result["recipes"].values()))}
    report.write({**result, "model": "a & b", "recipes": recipes, "rows": renamed}, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.of("html") == [{"lang": "en"}]
    assert page.title == "a & b: recipes compared"
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.of("meta")
    assert not page.of("b")  # labels are text
    names = [tag["id"] for tag in page.of("h1", "h2", "section", "table", "figure", "g") if "id" in tag]
    assert len(names) == len(set(names))
    anchors = [tag["href"].removeprefix("#") for tag in page.of("a") if "xlink:href" not in tag]
    assert anchors == [tag["id"] for tag in page.of("h2")]
    tags = [tag for tag, _ in page.tags]
    before = [page.tags[index - 1] for index, tag in enumerate(tags) if tag in ("table", "svg")]
    assert {attributes.get("class") for _, attributes in before} == {"scroll"}
    assert {(tag["role"], bool(tag["aria-label"])) for tag in page.of("svg")} == {("img", True)}
    assert "prefers-color-scheme: dark" in text
    assert "currentColor" in text
    assert style.INK not in text.partition("</style>")[2]
    assert "fill: #ffffff" not in text.partition("</style>")[2].lower()  # no white page behind a picture


def test_the_command(compared: tuple[dict[str, Any], Path], model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the shell, on the cells that are there already."""
    _, folder = compared
    arguments = ["compare", "--model", str(model), "--data", "demo", "--samples", "8", "--batch-size", "4"]
    arguments += ["--recipes", str(RTN), "--budget", "2/3", "mean:2.5", "--eval", "answers:1", "questions:1"]
    assert run([*arguments, "--out", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "rtn_w4_g64 at 2/3" in shown
    assert (folder / "report.html").is_file()
    assert run([*arguments, "--budget", "0/9", "--out", str(folder)]) == 2
    assert re.search(naming("timesteps", 1, 7), capsys.readouterr().err)


def test_the_public_name_is_the_function() -> None:
    from spike_compressor import compare as public

    assert spike_compressor.compare is public is compare
    with pytest.raises(InputError, match=naming("compare", "recipe")):
        public("nowhere", [], [], [], CALIBRATION, "nowhere")


def test_an_evaluation_of_one_s_own(model: Path, tmp_path: Path) -> None:
    class Constant(Evaluation):
        name = "constant"
        unit = "points"
        higher_is_better = True

        def items(self, processor: Any) -> Iterator[bytes]:
            yield b"mine"

        def calibration_items(self, loader: Any) -> Iterator[bytes]:
            yield b"other"

        def run(self, model: Any, processor: Any, progress: Any = None) -> Metric:
            return Metric(7.0, 6.0, 8.0, 1, {})

        def sample(self, model: Any, processor: Any) -> None:
            evaluations.DemoQuestions("1").sample(model, processor)

    result = compare(model, {"mine": RTN}, ["4"], [Constant("")], CALIBRATION, tmp_path)
    assert {row["figures"]["constant"]["value"] for row in result["rows"]} == {7.0}
    assert list(result["recipes"]) == ["mine"]


def test_the_blind_baseline_stands_beside_accuracies(compared: tuple[dict[str, Any], Path]) -> None:
    from spike_compressor.checkpoint import open_model, open_processor
    from spike_compressor.evaluations import parse_evaluation

    result, folder = compared
    assert set(result["blind"]) == {"questions:1"}  # perplexities have none
    assert 0 <= result["blind"]["questions:1"] <= 100
    report.write(result, folder / "blind")
    assert f"pictures exchanged: {result['blind']['questions:1']:.2f}" in (folder / "blind" / "report.md").read_text()
    from spike_compressor.demo.model import MODEL_DIR

    evaluation = parse_evaluation("questions:2")
    seeing, processor = open_model(MODEL_DIR, "float32"), open_processor(MODEL_DIR)
    blind = evaluation.blind(seeing, processor)
    assert blind is not None
    assert blind < evaluation.run(seeing, processor).value - 30


def part(cycles: float | None = 100) -> dict[str, Any]:
    side = {"cycles": cycles, "macs_per_cycle": 12.5}
    figures = {"macs": 1250, "spikes_per_input": 1.1, "utilisation": 0.8, "spike": side, "dense": side}
    return {**figures, "throughput_per_area_ratio": 1.25, "energy_per_mac_ratio": None}


def test_hardware_is_shown_beside_the_rows(compared: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    result, _ = compared
    design = {"design": "spike_core", "cycles": "simulated"}
    bench = {"bundle": "somewhere/trace", "spike": design, "dense": {**design, "cycles": "model"}, "total": part()}
    groups = {"by_kind": {"q_proj": part()}, "by_modality": {"vision": part(None)}, "by_timesteps": {}}
    path = tmp_path / "rtl.json"
    path.write_text(json.dumps({**bench, **groups}), encoding="utf-8")
    report.write({**result, "hardware": read_hardware([path])}, tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "## Hardware (simulated)" in text
    assert "| trace: whole bundle | 1,250 | 1.10 | 100 | 100 | 12.5 | 12.5 | 80 | 1.25 | - |" in text
    assert "| trace: vision | 1,250 | 1.10 | - |" in text
    assert "Hardware" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    path.write_text(json.dumps(bench), encoding="utf-8")
    with pytest.raises(InputError, match=naming(path, "make rtl-bench", "by_kind")):
        read_hardware([path])
    with pytest.raises(InputError, match=naming("nowhere.json", "cannot be read")):
        read_hardware([tmp_path / "nowhere.json"])
