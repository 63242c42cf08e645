"""Budgets and the strategies that spend them, on hand-made measurements."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.messages import naming
from spike_compressor.errors import InputError
from spike_compressor.modifiers import MSTSModifier
from spike_compressor.modifiers.allocation import Measured, get_allocation
from spike_compressor.modifiers.allocation.budget import Costs, spend
from spike_compressor.modifiers.evolution import Curve, Evolution
from spike_compressor.runtime.plan import read_plan, write_plan

LAYERS = 6


def table(error: Any, spikes: Any = lambda T: 0.4 * T * 10) -> Any:
    """Stands for what was measured of one slot: functions of T."""
    return SimpleNamespace(error=error, spikes_per_row=spikes, width=10)


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
    modifier = MSTSModifier(allocation=allocation, **settings)
    return get_allocation(allocation)(modifier).plan(list(facts.macs), facts)


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


@pytest.mark.parametrize("allocation", ["uniform", "med", "sensitivity"])
def test_bounds_and_overrides_hold_within_the_budget(allocation: str) -> None:
    facts = measured(med=[0.3, 0.2, 0.1, 0.0, -0.1, -0.3], pinned={("layers.2.down", "text"): 7})
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
        ({"allocation": "uniform", "budget": {}}, ("budget", "mean_timesteps", "sops_per_token")),
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
            ("MSTSModifier.min_timesteps", 1, 7, 0),
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
    tables = {
        ("a", "text"): {T: 5.0 * T for T in range(1, 5)},
        ("b", "text"): {T: 3.0 * T for T in range(1, 5)},
        ("c", "vision"): {T: 2.0 * T for T in range(1, 5)},
    }
    errors = {
        ("a", "text"): {1: 9.0, 2: 8.5, 3: 2.0, 4: 1.0},  # not convex: the second step is worth nothing by itself
        ("b", "text"): {1: 8.0, 2: 4.0, 3: 2.0, 4: 1.0},
        ("c", "vision"): {1: 3.0, 2: 3.5, 3: 0.5, 4: 0.4},  # not even monotone
    }
    for limit in range(10, 41):
        costs = Costs(tables, float(limit))
        chosen = spend(costs, errors)
        spent, left = costs.total(chosen), sum(errors[slot][T] for slot, T in chosen.items())
        assert spent <= limit
        ties = (1, 2, 3, 4)
        at_that_cost = min(
            sum(errors[slot][T] for slot, T in zip(tables, combination, strict=True))
            for combination in itertools.product(ties, repeat=3)
            if sum(tables[slot][T] for slot, T in zip(tables, combination, strict=True)) <= spent
        )
        assert left <= at_that_cost * 1.35, limit
    # where the whole hull is affordable it is exactly the best
    assert spend(Costs(tables, 40.0), errors) == {("a", "text"): 4, ("b", "text"): 4, ("c", "vision"): 4}
    assert spend(Costs(tables, 26.0), errors)[("a", "text")] == 3


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


def test_a_plan_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=naming(tmp_path / "file" / "plan.yaml")):
        write_plan({}, tmp_path / "file" / "plan.yaml")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=naming(tmp_path / "folder")):
        write_plan({}, tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
