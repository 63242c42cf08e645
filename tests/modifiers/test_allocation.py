"""Budgets and the strategies that spend them, on hand-made measurements."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from helpers.messages import naming
from spike_compressor.errors import InputError
from spike_compressor.modifiers import MSTSModifier
from spike_compressor.modifiers.allocation import Measured, apply_overrides, get_allocation
from spike_compressor.modifiers.allocation.budget import Costs, spend
from spike_compressor.modifiers.evolution import Curve, Evolution
from spike_compressor.runtime.plan import Override, TemporalScale, read_plan, temporal_scale, write_plan

LAYERS = 6


def table(error: Any, spikes: Any = lambda T: 0.4 * T * 10) -> Any:
    """Stands for what was measured of one slot: functions of T, with a single threshold ratio."""
    return SimpleNamespace(
        error=lambda T, ratio: error(T), spikes_per_row=lambda T, ratio: spikes(T), width=10, ratios=(1.0,), rows=20
    )


def measured(med: list[float] | None = None, **more: Any) -> Measured:
    """A tower layer, a projector and six decoder layers of two modules, 30 vision tokens to 20 text tokens."""
    names = ["tower", "projector"] + [f"layers.{n}.{kind}" for n in range(LAYERS) for kind in ("q", "down")]
    macs = {name: 400 if name.endswith("down") else 100 for name in names}
    rows = {}
    for name in names:
        if name.startswith("layers"):
            rows[name, "text"] = 20
        rows[name, "vision"] = 30
    curves = {}
    if med is not None:
        curves["vision"] = Curve((0.5,) * LAYERS, (0.0,) * LAYERS, 30, 3)
        curves["text"] = Curve(tuple(0.5 + value for value in med), (0.0,) * LAYERS, 20, 3)
    return Measured(
        modalities=("text", "vision"),
        macs=macs,
        rows=rows,
        tokens={"text": 20, "vision": 30},
        decoder_layer={name: int(name.split(".")[1]) for name in names if name.startswith("layers")},
        evolution=Evolution(tuple(f"layers.{n}" for n in range(LAYERS)), curves),
        **more,
    )


def plan(allocation: str, facts: Measured, **settings: Any) -> dict[str, dict[str, int]]:
    """T by module and modality."""
    modifier = MSTSModifier(allocation=allocation, **settings)
    chosen = get_allocation(allocation)(modifier).plan(list(facts.macs), facts)
    return {name: {m: temporal_scale(entry).timesteps for m, entry in row.items()} for name, row in chosen.items()}


def mean(facts: Measured, chosen: dict[str, dict[str, int]]) -> float:
    """Mean T weighted by rows x MACs, spelled out."""
    total = sum(facts.rows[slot] * facts.macs[slot[0]] for slot in facts.rows)
    return sum(facts.rows[n, m] * facts.macs[n] * chosen[n][m] for n, m in facts.rows) / total


# Budgets


@pytest.mark.parametrize("allocation", ["uniform", "med", "sensitivity"])
@pytest.mark.parametrize("budget", [1.0, 2.0, 2.5, 3.25, 6.9, 7.0])
def test_the_budget_is_kept_and_nearly_spent(allocation: str, budget: float) -> None:
    facts = measured(med=[0.1, 0.2, 0.3, -0.1, 0.0, 0.05])
    facts.errors = {slot: table(lambda T: 4.0**-T) for slot in facts.rows}
    chosen = plan(allocation, facts, budget={"mean_timesteps": budget})
    largest = max(facts.weight(slot) for slot in facts.rows) / sum(facts.weight(slot) for slot in facts.rows)
    assert budget - 2 * largest < mean(facts, chosen) <= budget + 1e-9
    assert facts.mean_timesteps(chosen) == pytest.approx(mean(facts, chosen))


@pytest.mark.parametrize("allocation", ["uniform", "med", "sensitivity"])
def test_a_budget_of_synaptic_operations_is_kept(allocation: str) -> None:
    facts = measured(med=[0.1] * LAYERS)
    # text rows fire twice as often
    facts.errors = {
        slot: table(lambda T: 4.0**-T, lambda T, rate=0.6 if slot[1] == "text" else 0.3: rate * T * 10)
        for slot in facts.rows
    }
    limit = 4_200.0
    chosen = plan(allocation, facts, budget={"sops_per_token": limit})
    # a spike of one of K inputs adds into N accumulators: spikes a row x N = spikes a neuron x K x N
    sops = sum(
        rows * facts.macs[n] * (0.6 if m == "text" else 0.3) * chosen[n][m] for (n, m), rows in facts.rows.items()
    )
    assert 0.9 * limit < sops / 50 <= limit
    assert facts.sops_per_token(chosen) == pytest.approx(sops / 50)
    # the same budget, told by input and not by token
    spikes_per_input = limit * 50 / sum(facts.weight(slot) for slot in facts.rows)
    assert plan(allocation, facts, budget={"spikes_per_input": spikes_per_input}) == chosen


@pytest.mark.parametrize("allocation", ["uniform", "med", "sensitivity"])
def test_bounds_and_overrides_hold_within_the_budget(allocation: str) -> None:
    facts = measured(med=[0.3, 0.2, 0.1, 0.0, -0.1, -0.3], pinned={("layers.2.down", "text"): Override(7)})
    facts.errors = {slot: table(lambda T: 4.0**-T) for slot in facts.rows}
    settings: dict[str, Any] = {"min_timesteps": {"vision": 2, "text": 3}, "max_timesteps": 4}
    chosen = plan(allocation, facts, budget={"mean_timesteps": 3.3}, **settings)
    for name, modality in facts.rows:
        T = chosen[name][modality]
        if (name, modality) == ("layers.2.down", "text"):
            assert T == 7
        else:
            assert (3 if modality == "text" else 2) <= T <= 4
    assert mean(facts, chosen) <= 3.3


@pytest.mark.parametrize("allocation", ["uniform", "med", "sensitivity"])
def test_a_budget_that_bounds_exceed_is_refused(allocation: str) -> None:
    facts = measured(med=[0.1] * LAYERS)
    facts.errors = {slot: table(lambda T: 4.0**-T) for slot in facts.rows}
    with pytest.raises(
        InputError, match=naming("MSTSModifier.budget", "mean_timesteps 2", "min_timesteps", "overrides", 3)
    ):
        plan(allocation, facts, budget={"mean_timesteps": 2}, min_timesteps=3)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"allocation": "med"}, ("'med'", "`budget`")),
        ({"allocation": "uniform", "budget": {}}, ("budget", "mean_timesteps", "sops_per_token", "spikes_per_input")),
        (
            {"allocation": "uniform", "budget": {"mean_timesteps": 3, "sops_per_token": 1}},
            ("budget", "mean_timesteps", "sops_per_token"),
        ),
        ({"allocation": "uniform", "budget": {"mean_timesteps": 9}}, ("budget.mean_timesteps", 7)),
        ({"allocation": "uniform", "budget": {"mean_steps": 3}}, ("budget.mean_steps",)),
        (
            {"allocation": "uniform", "budget": {"mean_timesteps": 3}, "min_timesteps": 5, "max_timesteps": 4},
            ("min_timesteps", "text", 5, 4),
        ),
        (
            {"allocation": "uniform", "budget": {"mean_timesteps": 3}, "min_timesteps": 0},
            ("MSTSModifier.min_timesteps", 1, 8, 0),
        ),
        (
            {"allocation": "uniform", "budget": {"mean_timesteps": 3}, "weighting": "output"},
            ("`weighting`", "'uniform'"),
        ),
        (
            {"allocation": "sensitivity", "budget": {"mean_timesteps": 3}, "weighting": "hessian"},
            ("weighting", "output", "gradient"),
        ),
        (
            {"allocation": "sensitivity", "budget": {"mean_timesteps": 3}, "med_gain": 1},
            ("`med_gain`", "'sensitivity'"),
        ),
        (
            {"allocation": "sensitivity", "budget": {"mean_timesteps": 3}, "weighting": "output", "samples": 8},
            ("`samples`", "output", "gradient"),
        ),
        ({"allocation": "uniform", "budget": {"mean_timesteps": 3}, "samples": 8}, ("`samples`", "'uniform'")),
        ({"allocation": "sensitivity", "budget": {"mean_timesteps": 3}, "samples": 0}, ("samples", 0, 1)),
        ({"allocation": "fixed", "timesteps": 3, "budget": {"mean_timesteps": 3}}, ("`budget`", "'fixed'")),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], names: tuple[object, ...]) -> None:
    with pytest.raises(InputError, match=naming("MSTSModifier", *names)):
        MSTSModifier(**settings)


# Strategies


def test_uniform_is_as_even_as_it_can_be() -> None:
    facts = measured()
    chosen = plan("uniform", facts, budget={"mean_timesteps": 3.5})
    assert {T for name, modality in facts.rows for T in [chosen[name][modality]]} == {3, 4}
    assert all(row["text"] == row["vision"] for row in chosen.values())
    raised = [n for n in range(LAYERS) if chosen[f"layers.{n}.down"]["text"] == 4]
    # half of the layers, not all of them at one end
    assert 2 <= len(raised) <= 4
    assert min(raised) < LAYERS // 2 <= max(raised)


def test_whole_uniform_budgets_need_no_data() -> None:
    modifier = MSTSModifier(allocation="uniform", budget={"mean_timesteps": 4})
    strategy = get_allocation("uniform")(modifier)
    assert not strategy.needs
    assert strategy.plan(["a", "b"], Measured(("text", "vision"))) == {name: {"text": 4, "vision": 4} for name in "ab"}


def test_med_is_monotone_in_the_discrepancy() -> None:
    med = [0.05, -0.2, 0.4, 0.1, 0.0, 0.25]
    for gain, budget in itertools.product((0.5, 1.0, 2.0, 4.0), (2.0, 2.5, 3.25, 4.0)):
        facts = measured(med)
        chosen = plan("med", facts, budget={"mean_timesteps": budget}, med_gain=gain)
        order = sorted(range(LAYERS), key=lambda n: med[n])
        for kind in ("q", "down"):
            text = [chosen[f"layers.{n}.{kind}"]["text"] for n in order]
            vision = [chosen[f"layers.{n}.{kind}"]["vision"] for n in order]
            assert text == sorted(text), (gain, budget)
            assert vision == sorted(vision, reverse=True), (gain, budget)


def test_med_gain_is_the_difference_at_the_greatest_discrepancy() -> None:
    facts = measured([0.0, 0.0, 0.4, 0.0, 0.0, -0.4])
    chosen = plan("med", facts, budget={"mean_timesteps": 4.0}, med_gain=2)
    for kind in ("q", "down"):
        assert chosen[f"layers.2.{kind}"]["text"] - chosen[f"layers.2.{kind}"]["vision"] == 2
        assert chosen[f"layers.5.{kind}"]["text"] - chosen[f"layers.5.{kind}"]["vision"] == -2
    assert plan("med", facts, budget={"mean_timesteps": 4.0}, med_gain=0) == {
        name: {"text": 4, "vision": 4} for name in facts.macs
    }


def test_sensitivity_spends_where_it_buys_most() -> None:
    facts = measured()
    # one kind of layer starves: its error falls as that of the others, from a hundred times as high
    facts.errors = {slot: table(lambda T, high=100 if "down" in slot[0] else 1: high * 4.0**-T) for slot in facts.rows}
    chosen = plan("sensitivity", facts, budget={"mean_timesteps": 4})
    down = [chosen[name][m] for name, m in facts.rows if "down" in name]
    other = [chosen[name][m] for name, m in facts.rows if "down" not in name]
    assert min(down) > max(other)


def test_spending_is_as_good_as_trying_every_plan() -> None:
    """At the cost that it spends, no plan has less error (the promise of the convex hull)."""
    T = [TemporalScale(T) for T in range(1, 5)]
    tables = {
        ("a", "text"): {one: 5.0 * one.timesteps for one in T},
        ("b", "text"): {one: 3.0 * one.timesteps for one in T},
        ("c", "vision"): {one: 2.0 * one.timesteps for one in T},
    }
    errors = {
        # not convex: the second step is worth nothing by itself
        ("a", "text"): dict(zip(T, (9.0, 8.5, 2.0, 1.0), strict=True)),
        ("b", "text"): dict(zip(T, (8.0, 4.0, 2.0, 1.0), strict=True)),
        ("c", "vision"): dict(zip(T, (3.0, 3.5, 0.5, 0.4), strict=True)),  # not even monotone
    }
    for limit in range(10, 41):
        costs = Costs(tables, float(limit))
        chosen = spend(costs, errors)
        spent, left = costs.total(chosen), sum(errors[slot][scale] for slot, scale in chosen.items())
        assert spent <= limit
        at_that_cost = min(
            sum(errors[slot][scale] for slot, scale in zip(tables, combination, strict=True))
            for combination in itertools.product(T, repeat=3)
            if sum(tables[slot][scale] for slot, scale in zip(tables, combination, strict=True)) <= spent
        )
        assert left <= at_that_cost * 1.35, limit
    # where the whole hull is affordable it is exactly the best
    assert spend(Costs(tables, 40.0), errors) == dict.fromkeys(tables, TemporalScale(4))
    assert spend(Costs(tables, 26.0), errors)[("a", "text")] == TemporalScale(3)


def random_options(seed: int, slots: int, ratios: int = 3) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Costs and errors of slots at three T and some ratios: dearer is mostly better, and sometimes is not."""
    draw = random.Random(seed)
    costs: dict[Any, Any] = {}
    errors: dict[Any, Any] = {}
    for index in range(slots):
        slot, weight, high = (f"layer {index}", "text"), draw.uniform(1, 9), draw.uniform(1, 50)
        costs[slot], errors[slot] = {}, {}
        for T, ratio in itertools.product((1, 2, 3), [round(0.2 * 1.5**n, 3) for n in range(ratios)]):
            fires = draw.uniform(0.7, 1.3) * T / ratio**0.5
            costs[slot][TemporalScale(T, ratio)] = weight * fires
            errors[slot][TemporalScale(T, ratio)] = high * draw.uniform(0.7, 1.3) * 4**-fires
    return costs, errors


def every_plan(costs: Any, errors: Any) -> list[tuple[float, float]]:
    """(cost, error) of every combination."""
    tables = [[(costs[slot][scale], errors[slot][scale]) for scale in costs[slot]] for slot in costs]
    return [(sum(c for c, _ in plan), sum(e for _, e in plan)) for plan in itertools.product(*tables)]


@pytest.mark.parametrize("seed", range(3))
def test_pairs_of_t_and_ratio_are_spent_as_well_as_trying_every_plan(seed: int) -> None:
    """Never over budget; what is on the convex hull of all plans is found; between its points nothing gets worse."""
    tables, errors = random_options(seed, slots=3)
    plans = every_plan(tables, errors)
    cheapest, dearest = min(cost for cost, _ in plans), max(cost for cost, _ in plans)
    hull = lower_hull(plans)
    for limit in [cost for cost, _ in hull] + [cheapest + (dearest - cheapest) * n / 40 for n in range(41)]:
        costs = Costs(tables, limit)
        chosen = spend(costs, errors)
        left = sum(errors[slot][scale] for slot, scale in chosen.items())
        assert costs.total(chosen) <= limit * (1 + 1e-9)
        affordable = [error for cost, error in hull if cost <= limit * (1 + 1e-9)]
        # as good as the last point of the hull that is affordable, both of which fall as the budget rises
        assert min(error for cost, error in plans if cost <= limit * (1 + 1e-9)) <= left * (1 + 1e-9)
        assert left <= min(affordable) * (1 + 1e-9), limit


def lower_hull(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The vertices of the lower convex hull of (cost, error), as far as the error falls."""
    hull: list[tuple[float, float]] = []
    for cost, error in sorted(points):
        if hull and error >= hull[-1][1]:
            continue
        while len(hull) > 1 and (hull[-1][1] - hull[-2][1]) * (cost - hull[-2][0]) >= (error - hull[-2][1]) * (
            hull[-1][0] - hull[-2][0]
        ):
            hull.pop()
        hull.append((cost, error))
    return hull


def fitted(high: float = 1.0, clips: float = 0.0) -> Any:
    """Stands for a slot that was tried at four ratios: T is range, and the ratio decides what fires; what it reaches
    clips too much below `clips`."""
    ratios = (0.1, 0.2, 0.4, 0.8)

    def error(T: int, ratio: float | None) -> float:
        ratio = best(T) if ratio is None else ratio
        return high * (ratio**2 / 12 + max(0.0, 3 - ratio * 2**T) ** 2)

    def best(T: int) -> float:
        return min(ratios, key=lambda ratio: error(T, ratio))

    def spikes(T: int, ratio: float | None) -> float:
        ratio = best(T) if ratio is None else ratio
        return 10 * min(T, 0.3 / ratio)

    def overloaded(T: int, ratio: float | None) -> bool:
        return ratio is not None and ratio * 2**T < clips

    facts = {"error": error, "spikes_per_row": spikes, "ratio": best, "overloaded": overloaded}
    return SimpleNamespace(**facts, width=10, ratios=ratios, rows=20)


def test_a_budget_of_operations_chooses_ratios_by_layer_and_modality() -> None:
    facts = measured()
    facts.errors = {slot: fitted(50 if slot[1] == "text" else 1) for slot in facts.rows}
    strategy = get_allocation("sensitivity")(MSTSModifier(allocation="sensitivity", budget={"sops_per_token": 2500}))
    chosen = strategy.plan(list(facts.macs), facts)
    assert 0.9 * 2500 < facts.sops_per_token(chosen) <= 2500
    for name, modality in facts.rows:
        if modality == "text":  # rows of text are dearer to get wrong
            assert chosen[name]["text"].ratio <= chosen[name]["vision"].ratio
    assert len({entry.ratio for row in chosen.values() for entry in row.values()}) > 1


def test_a_budget_of_operations_takes_no_option_that_clips_unless_all_do() -> None:
    facts = measured()
    strategy = get_allocation("sensitivity")(MSTSModifier(allocation="sensitivity", budget={"sops_per_token": 2500}))
    reach: dict[float, list[float]] = {}
    for clips in (0.0, 6.0, 1000.0):
        facts.errors = {slot: fitted(clips=clips) for slot in facts.rows}
        chosen = strategy.plan(list(facts.macs), facts)
        scales = [chosen[name][modality] for name, modality in facts.rows]
        reach[clips] = [scale.ratio * 2**scale.timesteps for scale in scales]
    assert min(reach[0.0]) < 6 <= min(reach[6.0])
    assert reach[1000.0] == reach[0.0]


@pytest.mark.parametrize("allocation", ["uniform", "sensitivity"])
def test_a_budget_of_timesteps_takes_the_ratio_of_least_error(allocation: str) -> None:
    facts = measured()
    facts.errors = {slot: fitted() for slot in facts.rows}
    modifier = MSTSModifier(allocation=allocation, budget={"mean_timesteps": 3.5})
    chosen = get_allocation(allocation)(modifier).plan(list(facts.macs), facts)
    for name, modality in facts.rows:
        entry = temporal_scale(chosen[name][modality])
        # `uniform` looks at no error, so others fit the ratio
        assert entry.ratio == fitted().ratio(entry.timesteps)


@pytest.mark.parametrize("allocation", ["uniform", "med", "sensitivity"])
def test_operations_below_what_the_cheapest_take_are_refused_with_the_least(allocation: str) -> None:
    facts = measured(med=[0.1] * LAYERS)
    facts.errors = {slot: fitted() for slot in facts.rows}
    settings: dict[str, Any] = {"min_timesteps": 2}
    with pytest.raises(InputError, match=naming("MSTSModifier.budget", "sops_per_token 10", "min_timesteps")) as caught:
        plan(allocation, facts, budget={"sops_per_token": 10}, **settings)
    least = float(re.search(r"[\d.]+(?=; raise)", str(caught.value))[0])  # type: ignore[index]
    chosen = plan(allocation, facts, budget={"sops_per_token": least * 1.00001}, **settings)
    assert min(T for row in chosen.values() for T in row.values()) == 2


def test_overrides_fix_t_or_ratio_or_both() -> None:
    before = {
        "a.up": {"text": TemporalScale(4, 0.5), "vision": TemporalScale(3, 0.5)},
        "b.up": {"text": 4, "vision": 3},
    }
    overrides = {"re:.*up": {"ratio": 0.4}, "b.up": {"text": {"timesteps": 7, "ratio": 0.3}, "vision": 6}}
    assert apply_overrides(before, overrides, ("text", "vision")) == {
        "a.up": {"text": TemporalScale(4, 0.4), "vision": TemporalScale(3, 0.4)},
        "b.up": {"text": TemporalScale(7, 0.3), "vision": TemporalScale(6, 0.4)},
    }


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({"ratio": 3}, ("ratio", "(0, 2]", 3)),
        ({"text": {"ratio": 0}}, ("text", "ratio", "(0, 2]", 0)),
        ({"timesteps": 9, "ratio": 1}, ("timesteps", 8, 9)),
        ({"text": {"timestep": 4}}, ("text", "timesteps", "ratio", "timestep")),
        ({"visoin": {"ratio": 0.4}}, ("visoin", "vision")),
        ({"text": 4.5}, ("text", 8, 4.5)),
        ({}, ("T",)),
    ],
)
def test_overrides_that_cannot_be_are_refused(value: Any, names: tuple[object, ...]) -> None:
    with pytest.raises(InputError, match=naming("MSTSModifier.overrides['a']", *names)):
        apply_overrides({"a": {"text": 4, "vision": 3}}, {"a": value}, ("text", "vision"))


def test_a_module_that_sees_one_modality_has_one_t() -> None:
    facts = measured([0.4] * LAYERS)
    facts.errors = {slot: table(lambda T: 4.0**-T) for slot in facts.rows}
    for allocation in ("uniform", "med", "sensitivity"):
        chosen = plan(allocation, facts, budget={"mean_timesteps": 3.3})
        assert chosen["tower"]["text"] == chosen["tower"]["vision"]


# Plan files


def test_plans_round_trip_and_are_the_same_bytes(tmp_path: Path) -> None:
    chosen = {"model.layers.0.up": {"text": 4, "vision": 3}, "odd: name": {"text": 1, "vision": 7}}
    first = write_plan(chosen, tmp_path / "a.yaml", "two\nlines")
    second = write_plan(chosen, tmp_path / "b.yaml", "two\nlines")
    assert first.read_bytes() == second.read_bytes()
    assert first.read_text().startswith("# two\n# lines\nmodel.layers.0.up: {text: 4, vision: 3}\n")
    assert read_plan(first) == chosen
    assert list(tmp_path.iterdir()) == [first, second] or set(tmp_path.iterdir()) == {first, second}


def test_plans_with_ratios_round_trip(tmp_path: Path) -> None:
    chosen = {
        "up": {"text": TemporalScale(7, 0.1 + 0.2), "vision": 3},
        "down": {"text": TemporalScale(7, 0.41), "vision": 4},
    }
    path = write_plan(chosen, tmp_path / "plan.yaml")
    assert "down: {text: {timesteps: 7, ratio: 0.41}, vision: 4}\n" in path.read_text()
    assert read_plan(path, ["up", "down"], ("text", "vision")) == chosen
    path.write_text("up: {timesteps: 6, ratio: 0.5}\ndown: {text: 4, vision: {timesteps: 7, ratio: 1}}\n")
    assert read_plan(path, modalities=("text", "vision")) == {
        "up": dict.fromkeys(("text", "vision"), TemporalScale(6, 0.5)),
        "down": {"text": 4, "vision": TemporalScale(7, 1.0)},
    }
    path.write_text("up: {text: {ratio: 0.5}, vision: 4}\n")
    with pytest.raises(InputError, match=naming(path, "up", "text", "ratio")):
        read_plan(path)


def test_a_plan_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=naming(tmp_path / "file" / "plan.yaml")):
        write_plan({}, tmp_path / "file" / "plan.yaml")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=naming(tmp_path / "folder")):
        write_plan({}, tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_plan_files_of_each_form_are_kept_and_read(tmp_path: Path) -> None:
    """T alone, as the first release wrote it; ratios beside it; what people write by hand."""
    folder = Path(__file__).parent / "data"
    query, down = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj"
    assert read_plan(folder / "plan_timesteps.yaml") == {
        query: {"vision": 3, "text": 4},
        down: {"vision": 5, "text": 6},
    }
    ratios = {query: {"text": TemporalScale(7, 0.35)}, down: {"text": TemporalScale(6, 0.4000000059604645)}}
    assert read_plan(folder / "plan_ratios.yaml") == ratios
    by_hand = read_plan(folder / "plan_by_hand.yaml", [query, down], ("text", "vision", "audio"))
    assert by_hand == {
        query: dict.fromkeys(("text", "vision", "audio"), 3),
        down: {"text": 6, "vision": TemporalScale(7, 0.5), "audio": 2},
    }
    for name in ("plan_timesteps", "plan_ratios"):  # what is written of them today is the same
        kept = folder / f"{name}.yaml"
        written = write_plan(read_plan(kept), tmp_path / "plan.yaml")
        assert yaml.safe_load(kept.read_text()) == yaml.safe_load(written.read_text())
