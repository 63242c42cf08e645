"""MSTS through LLM Compressor's `oneshot`: what is measured, when, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import GPTQ, RTN, Workshop, recipe
from spike_compressor import load
from spike_compressor.checkpoint import read_config
from spike_compressor.errors import InputError
from spike_compressor.metrics import record_spikes
from spike_compressor.modality import adapter_for
from spike_compressor.modifiers.sensitivity import ROWS_PER_SAMPLE, ErrorTable
from spike_compressor.runtime import read_plan, spiking_layers, spiking_state

MED = "{allocation: med, budget: {mean_timesteps: 3.25}}"
SENSITIVITY = "{allocation: sensitivity, weighting: output, budget: {mean_timesteps: 3.25}}"
GRADIENT = "{allocation: sensitivity, budget: {mean_timesteps: 3.25}}"
SMOOTH = """SmoothQuantModifier:
  smoothing_strength: 0.5
  mappings: [[["re:.*language_model.*q_proj", "re:.*language_model.*k_proj", "re:.*language_model.*v_proj"],
              "re:.*language_model.*input_layernorm"]]
"""


def trials(slot: tuple[str, str], width: int) -> ErrorTable:
    """What errors of a layer's rows are collected in."""
    return ErrorTable(width, "tc_lif", (1.0,))


class Counted(torch.utils.data.DataLoader):
    """Counts the batches that are read."""

    read = 0

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            Counted.read += 1
            yield batch


def counted(**options: Any) -> Any:
    data = tiny_models.loader(**options)
    Counted.read = 0
    return Counted(data.dataset, batch_size=2, collate_fn=tiny_models.collate)


def curves_by_hand(model: Any, batches: Any) -> dict[str, list[float]]:
    """1 - cos between the inputs of successive decoder layers, from hidden states that are all kept."""
    layers = list(adapter_for(model).decoder_layers(model).values())
    seen: list[list[torch.Tensor]] = []
    sums = {"text": [0.0] * len(layers), "vision": [0.0] * len(layers)}
    counts = {"text": 0, "vision": 0}

    def keep(_: Any, args: Any, kwargs: Any, output: Any) -> None:
        seen.append([args[0] if args else kwargs["hidden_states"], output if torch.is_tensor(output) else output[0]])

    handles = [layer.register_forward_hook(keep, with_kwargs=True) for layer in layers]
    for batch in batches:
        seen.clear()
        with torch.no_grad():
            model(**batch)
        for row in range(batch["input_ids"].shape[0]):
            for place in range(batch["input_ids"].shape[1]):
                if not batch["attention_mask"][row, place]:
                    continue
                name = "vision" if batch["input_ids"][row, place] == tiny_models.IMAGE else "text"
                counts[name] += 1
                for index, (before, after) in enumerate(seen):
                    a, b = before[row, place].double(), after[row, place].double()
                    sums[name][index] += 1 - float(a @ b / (a.norm() * b.norm()))
    for handle in handles:
        handle.remove()
    return {name: [value / counts[name] for value in values] for name, values in sums.items()}


@pytest.mark.parametrize("pipeline", ["independent", "sequential", "basic"])
def test_med_curves_are_those_of_the_model(workshop: Workshop, pipeline: str) -> None:
    model = workshop.oneshot("llava", recipe(RTN, msts=MED), pipeline=pipeline)
    evolution = spiking_state(model).facts["evolution"]
    expected = curves_by_hand(workshop.model("llava"), workshop.data("llava"))
    layers = [f"model.language_model.layers.{n}" for n in range(2)]
    assert evolution["layers"] == layers
    for name in ("text", "vision"):
        assert evolution["modalities"][name]["mean"] == pytest.approx(expected[name], abs=1e-5)
        assert all(width > 0 for width in evolution["modalities"][name]["half_width"])
    tokens = {name: curve["tokens"] for name, curve in evolution["modalities"].items()}
    assert tokens == spiking_state(model).facts["calibration"]["tokens"]
    difference = [t - v for t, v in zip(expected["text"], expected["vision"], strict=True)]
    assert evolution["discrepancy"]["vision"] == pytest.approx(difference, abs=1e-5)


def test_med_reads_the_data_no_more_often_than_the_quantizer(workshop: Workshop) -> None:
    workshop.oneshot("llava", recipe(GPTQ), dataset=counted())  # fixed timesteps
    alone = Counted.read
    workshop.oneshot("llava", recipe(GPTQ, msts=MED), dataset=counted())
    assert Counted.read == alone > 0


@pytest.mark.parametrize("msts", [MED, SENSITIVITY, GRADIENT], ids=["med", "sensitivity", "gradient"])
def test_two_runs_give_the_same_plan_file_which_runs_again(workshop: Workshop, tmp_path: Path, msts: str) -> None:
    files = [tmp_path / "first.yaml", tmp_path / "second.yaml"]
    for file in files:
        writing = msts.replace("{all", f"{{write_plan: {file}, all", 1)
        model = workshop.oneshot("llava", recipe(GPTQ, msts=writing), output_dir=str(tmp_path / "made"))
    assert files[0].read_bytes() == files[1].read_bytes()
    plan = read_plan(files[0])
    assert {name: dict(layer.spec.timesteps) for name, layer in spiking_layers(model).items()} == plan
    assert len({tuple(row.values()) for row in plan.values()}) > 1
    again = workshop.oneshot("llava", recipe(GPTQ, msts=f"{{allocation: file, plan: {files[0]}}}"))
    assert {name: dict(layer.spec.timesteps) for name, layer in spiking_layers(again).items()} == plan
    batch = workshop.batch("llava")
    assert torch.equal(tiny_models.logits(again, batch), tiny_models.logits(load(tmp_path / "made"), batch))
    # both means are reported, and come back with the checkpoint
    for budget in (read_config(tmp_path / "made").budget, spiking_state(again).facts["budget"]):
        weighted = budget["mean_timesteps_weighted"] if isinstance(budget, dict) else budget.mean_timesteps_weighted
        assert 3.0 < weighted <= 3.25


def test_the_budget_is_the_mean_that_running_shows(workshop: Workshop) -> None:
    """The weighted mean and the SOPs that were planned are those that the calibration data really take."""
    model = workshop.oneshot("llava", recipe(RTN, msts=SENSITIVITY), pipeline="basic")
    planned = spiking_state(model).facts["budget"]
    with record_spikes(model) as record, torch.no_grad():
        for batch in workshop.data("llava"):
            model(**batch)
    assert record.mean_timesteps() == pytest.approx(planned["mean_timesteps_weighted"], rel=1e-9)
    assert record.mean_timesteps(weighted=False) == pytest.approx(planned["mean_timesteps"], rel=1e-9)
    # activations of the spiking model differ a little from those of the one that was measured
    assert record.sops_per_token() == pytest.approx(planned["sops_per_token"], rel=0.05)


@pytest.mark.parametrize("pipeline", ["independent", "basic"])
def test_errors_are_those_of_the_quantized_layers(workshop: Workshop, pipeline: str) -> None:
    """Every T's error of one layer and modality, measured again from inputs that were kept."""
    from llmcompressor.core import active_session
    from spike_compressor.modifiers import MSTSModifier
    from spike_compressor.modifiers.recipe import modifiers_of_type

    name = "model.language_model.layers.1.mlp.down_proj"
    batches = [tiny_models.collate([tiny_models.sample(2 * n, 4), tiny_models.sample(2 * n + 1, 6)]) for n in range(3)]
    data = torch.utils.data.DataLoader(batches, batch_size=None)
    model = workshop.oneshot("llava", recipe(RTN, msts=SENSITIVITY), pipeline=pipeline, dataset=data)
    assert active_session() is not None
    (planner,) = modifiers_of_type(MSTSModifier)
    measured = planner._measured
    assert measured is not None
    original = workshop.model("llava")
    kept: list[torch.Tensor] = []
    original.get_submodule(name).register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    by_hand = {m: ErrorTable(128, "tc_lif", (1.0,)) for m in ("text", "vision")}
    for batch in batches:
        with torch.no_grad():
            original(**batch)
        x = kept.pop()
        for m, table in by_hand.items():
            mask = (batch["input_ids"] == tiny_models.IMAGE) == (m == "vision")
            mask &= batch["attention_mask"].bool()
            assert int(mask.sum(dim=1).max()) <= ROWS_PER_SAMPLE  # so all of them are looked at
            table.update(x[mask], original.get_submodule(name).weight)
    for m, table in by_hand.items():
        for T in range(1, 8):
            assert measured.errors[name, m].error(T) == pytest.approx(table.error(T), rel=1e-3)
            assert measured.errors[name, m].spikes_per_row(T) == pytest.approx(table.spikes_per_row(T), rel=1e-3)
    del model


def test_gradients_do_not_depend_on_the_pipeline(workshop: Workshop) -> None:
    """Pipelines forbid gradients and leave out the logits while they run."""
    plans = []
    for pipeline in ("independent", "sequential", "basic"):
        model = workshop.oneshot("llava", recipe(RTN, msts=GRADIENT), pipeline=pipeline)
        plans.append({name: dict(layer.spec.timesteps) for name, layer in spiking_layers(model).items()})
    assert plans[0] == plans[1] == plans[2]


def test_gradients_are_those_of_each_layer_alone(workshop: Workshop) -> None:
    """q, k and v read the same input: each one's gradient is its own, as a change of its input alone shows."""
    from spike_compressor.modifiers import MSTSModifier
    from spike_compressor.modifiers.allocation import Need
    from spike_compressor.modifiers.calibration import CalibrationRows
    from spike_compressor.modifiers.probe import Probe

    assert MSTSModifier is not None
    model = workshop.model("llava")
    name = "model.language_model.layers.0.self_attn.k_proj"
    other = "model.vision_tower.encoder.layers.0.mlp.fc1"
    modules = {n: model.get_submodule(n) for n in (name, other)}
    batch = tiny_models.collate([tiny_models.sample(3, 4)])
    data = torch.utils.data.DataLoader([batch], batch_size=None)
    rows = CalibrationRows(data, adapter_for(model), False)
    gradients: dict[str, list[torch.Tensor]] = {}

    class Watching(Probe):
        def _measure(self, name: str, module: Any, modality: str, x: Any, gradient: Any = None) -> None:
            gradients.setdefault(f"{name} {modality}", []).append(gradient)

    Watching(model, modules, rows, frozenset({Need.ERRORS}), trials).gradient_pass()
    rows.release()
    assert all(parameter.requires_grad for parameter in model.parameters())

    def loss(shift: tuple[str, int, int, float] | None) -> float:
        handle = None
        if shift is not None:
            target, row, column, amount = shift

            def move(_: Any, args: Any) -> Any:
                x = args[0].clone()
                x.view(-1, x.shape[-1])[row, column] += amount
                return (x,)

            handle = model.get_submodule(target).register_forward_pre_hook(move)
        with torch.no_grad():
            logits = model(**batch).logits[:, :-1].double()
        if handle is not None:
            handle.remove()
        ids = batch["input_ids"][:, 1:]
        text = ids != tiny_models.IMAGE
        return float(torch.nn.functional.cross_entropy(logits[text], ids[text], reduction="sum"))

    text_rows = [0, 5, 6, 7, 8, 9]  # bos, four placeholders, a word, text
    assert len(gradients[f"{name} text"][0]) == len(text_rows)
    for target, key, index, row in ((name, f"{name} text", 2, 6), (other, f"{other} vision", 1, 1)):
        for column in (0, 7):
            slope = (loss((target, row, column, 1e-2)) - loss((target, row, column, -1e-2))) / 2e-2
            assert float(gradients[key][0][index, column]) == pytest.approx(slope, rel=2e-2, abs=2e-4)


def test_nothing_of_a_batch_outlives_its_backward_pass(workshop: Workshop) -> None:
    """Curves that are collected beside gradients hold no graph, and layers with the same rows look at them once."""
    from spike_compressor.modifiers.allocation import Need
    from spike_compressor.modifiers.calibration import CalibrationRows
    from spike_compressor.modifiers.probe import Probe

    model = workshop.model("llava")
    modules = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "layers" in n}
    batches = [tiny_models.collate([tiny_models.sample(n, 4)]) for n in range(3)]
    data = torch.utils.data.DataLoader(batches, batch_size=None)
    rows = CalibrationRows(data, adapter_for(model), False)
    probe = Probe(model, modules, rows, frozenset({Need.ERRORS, Need.EVOLUTION}), trials)
    probe.gradient_pass()
    rows.release()
    assert not probe._evolution._sums.requires_grad
    assert len(probe._looked_at) == 2 < len(modules)  # the language model's and the tower's
    measured = probe.result({})
    assert all(measured.errors[slot].rows for slot in measured.rows if "vision_tower.encoder.layers.1" not in slot[0])


def test_ratios_are_chosen_in_the_same_pass(workshop: Workshop) -> None:
    plain = counted()
    workshop.oneshot("llava", recipe(RTN, msts=SENSITIVITY), dataset=plain)
    alone = Counted.read
    model = workshop.oneshot("llava", recipe(RTN, "threshold_ratio: auto", SENSITIVITY), dataset=counted())
    assert Counted.read == alone
    ratios = {ratio for layer in spiking_layers(model).values() for ratio in layer.spec.ratio.values()}
    assert len(ratios) > 2
    assert all(0.4 <= ratio <= 1.2 for ratio in ratios)


RMS = "threshold_statistic: rms"
OPERATIONS = "{allocation: sensitivity, budget: {sops_per_token: 80000}}"


def encodings(model: Any) -> dict[str, tuple[dict[str, int], dict[str, float]]]:
    """T and ratio by modality of every layer."""
    layers = spiking_layers(model).items()
    return {name: (dict(layer.spec.timesteps), dict(layer.spec.ratio)) for name, layer in layers}


def test_a_budget_of_operations_moves_ratios(workshop: Workshop, tmp_path: Path) -> None:
    """Ratios differ by layer and modality, what running counts keeps the budget, and the plan file gives the same."""
    file = tmp_path / "plan.yaml"
    text = recipe(RTN, f"{RMS}, threshold_ratio: auto", OPERATIONS.replace("{all", f"{{write_plan: {file}, all", 1))
    model = workshop.oneshot("llava", text)
    found = encodings(model)
    assert {layer.spec.statistic for layer in spiking_layers(model).values()} == {"rms"}
    ratios = {tuple(ratio.values()) for _, ratio in found.values()}
    assert len(ratios) > 3
    assert any(ratio["text"] != ratio["vision"] for _, ratio in found.values())
    budget = spiking_state(model).facts["budget"]
    assert budget["requested"] == {"sops_per_token": 80000}
    assert 0.9 * 80000 < budget["sops_per_token"] <= 80000
    with record_spikes(model) as record, torch.no_grad():
        for batch in workshop.data("llava"):
            model(**batch)
    # rows are sampled, and activations of the spiking model differ a little from those that were measured
    assert record.sops_per_token() == pytest.approx(budget["sops_per_token"], rel=0.1)
    # with a ratio for every layer there is nothing to fit
    for spikes, data in ((RMS, None), (f"{RMS}, threshold_ratio: auto", workshop.data("llava"))):
        planned = recipe(RTN, spikes, f"{{allocation: file, plan: {file}}}")
        assert encodings(workshop.oneshot("llava", planned, dataset=data)) == found


def test_operations_that_nothing_can_keep_to_are_refused(workshop: Workshop) -> None:
    text = recipe(RTN, f"{RMS}, threshold_ratio: auto", OPERATIONS.replace("80000", "5"))
    with pytest.raises(InputError, match=naming("MSTSModifier.budget", "sops_per_token 5")):
        workshop.oneshot("llava", text)


def test_ratios_of_one_t_are_fitted_for_any_statistic(workshop: Workshop, tmp_path: Path) -> None:
    """Without errors by layer: the least squared error of the inputs. The plan that is written has them, too."""
    for statistic in ("rms", "mean_abs"):
        file, spikes = tmp_path / f"{statistic}.yaml", f"threshold_statistic: {statistic}"
        fixed = f"{{allocation: fixed, timesteps: {{vision: 3, text: 4}}, write_plan: {file}}}"
        found = encodings(workshop.oneshot("llava", recipe(RTN, f"{spikes}, threshold_ratio: auto", fixed)))
        again = recipe(RTN, spikes, f"{{allocation: file, plan: {file}}}")
        assert encodings(workshop.oneshot("llava", again, dataset=None)) == found
        assert len({ratio["text"] for _, ratio in found.values()}) > 3
        assert all(0.1 < ratio["text"] < 1 for _, ratio in found.values())  # T = 4


def test_ratios_by_modality_and_by_module(workshop: Workshop, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    overrides = 'overrides: {"re:.*down_proj": {text: {timesteps: 7, ratio: 0.4}}, "re:.*fc1": {ratio: 0.3}}'
    fields = f"{{allocation: fixed, timesteps: {{vision: 3, text: 4}}, write_plan: {file}, {overrides}}}"
    spikes = f"{RMS}, threshold_ratio: {{vision: 0.5, text: 0.7}}"
    found = encodings(workshop.oneshot("llava", recipe(RTN, spikes, fields), dataset=None))
    for name, encoding in found.items():
        if name.endswith("down_proj"):
            assert encoding == ({"text": 7, "vision": 3}, {"text": 0.4, "vision": 0.5})
        elif name.endswith("fc1"):
            assert encoding == ({"text": 4, "vision": 3}, {"text": 0.3, "vision": 0.3})
        else:
            assert encoding == ({"text": 4, "vision": 3}, {"text": 0.7, "vision": 0.5})
    # what the plan does not say is left to the recipe, before and after
    again = workshop.oneshot("llava", recipe(RTN, spikes, f"{{allocation: file, plan: {file}}}"), dataset=None)
    assert encodings(again) == found
    alone = recipe(RTN, "timesteps: 4, threshold_ratio: {vision: 0.5, text: 0.7}", None)
    assert {
        tuple(ratio.items()) for _, ratio in encodings(workshop.oneshot("llava", alone, dataset=None)).values()
    } == {(("text", 0.7), ("vision", 0.5))}


@pytest.mark.parametrize(
    ("spikes", "msts", "names"),
    [
        ("threshold_ratio: {text: 0.5}", "", ("TCLIFModifier.threshold_ratio", "ratio", "vision")),
        ("threshold_ratio: {text: 0.5, vison: 0.5}", "", ("TCLIFModifier.threshold_ratio", "vison", "vision")),
        ("threshold_ratio: {text: 0.5, vision: 3}", "", ("TCLIFModifier.threshold_ratio", "vision", "(0, 2]", 3)),
        ("threshold: static, threshold_ratio: {text: 1, vision: 1}", "", ("threshold_ratio", "threshold: static")),
        ("threshold: static", 'overrides: {"re:.*": {ratio: 0.5}}', ("MSTSModifier.overrides", "threshold: static")),
        ("", 'overrides: {"re:.*down_proj": 8}', ("MSTSModifier.overrides", "down_proj", "'tc_lif'", 7, 8)),
        ("", 'overrides: {"re:.*": {ratio: high}}', ("MSTSModifier.overrides", "ratio", "high")),
    ],
)
def test_ratios_that_cannot_be_are_refused(
    workshop: Workshop, spikes: str, msts: str, names: tuple[object, ...]
) -> None:
    fields = f"{{allocation: fixed, timesteps: 4, {msts}}}"
    with pytest.raises(InputError, match=naming(*names)):
        workshop.oneshot("llava", recipe(RTN, spikes, fields))


def test_text_only_models_are_planned_too(workshop: Workshop) -> None:
    for msts in (MED, SENSITIVITY, GRADIENT):
        model = workshop.oneshot("llama", recipe(RTN, msts=msts))
        facts = spiking_state(model).facts
        assert 2.9 < facts["budget"]["mean_timesteps_weighted"] <= 3.25
        if msts == MED:  # undefined with one modality: the curve is kept, the budget spent evenly
            assert facts["evolution"]["discrepancy"] is None
            assert list(facts["evolution"]["modalities"]) == ["text"]
            assert {T for layer in spiking_layers(model).values() for T in layer.spec.timesteps.values()} == {3, 4}


def test_fixed_plans_report_their_weighted_mean(workshop: Workshop) -> None:
    model = workshop.oneshot("llava", recipe(GPTQ))
    budget = spiking_state(model).facts["budget"]
    with record_spikes(model) as record, torch.no_grad():
        for batch in workshop.data("llava"):
            model(**batch)
    assert budget["mean_timesteps_weighted"] == pytest.approx(record.mean_timesteps(), rel=1e-9)
    assert "requested" not in budget


@pytest.mark.parametrize(
    ("msts", "quant", "options", "names"),
    [
        (MED, RTN, {"dataset": None}, ("'med'", "`dataset=`")),
        (SENSITIVITY, SMOOTH + GPTQ, {"pipeline": "sequential"}, ("SmoothQuantModifier", "pipeline='independent'")),
        (MED, RTN, {"pipeline": "datafree"}, ("'datafree'", "'independent'", "'sequential'")),
        (SENSITIVITY.replace("{all", "{max_timesteps: 8, all", 1), RTN, {}, ("max_timesteps", "'tc_lif'", 7, 8)),
        (
            SENSITIVITY.replace("3.25", "1.0").replace("{all", "{min_timesteps: 2, all", 1),
            RTN,
            {},
            ("mean_timesteps 1", 2),
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(
    workshop: Workshop, msts: str, quant: str, options: dict[str, Any], names: tuple[object, ...]
) -> None:
    with pytest.raises(InputError, match=naming("MSTSModifier", *names)):
        workshop.oneshot("llava", recipe(quant, msts=msts), **options)


def test_sensitivity_after_smoothing_sees_smoothed_inputs(workshop: Workshop) -> None:
    """In a pass of its own, errors are measured on what flows after SmoothQuant."""
    from spike_compressor.modifiers import MSTSModifier
    from spike_compressor.modifiers.recipe import modifiers_of_type

    spikes = []
    for quant in (GPTQ, SMOOTH + GPTQ):
        workshop.oneshot("llava", recipe(quant, msts=SENSITIVITY), pipeline="independent")
        (planner,) = modifiers_of_type(MSTSModifier)
        assert planner._measured is not None
        table = planner._measured.errors["model.language_model.layers.1.self_attn.q_proj", "text"]
        spikes.append(table.error(3))
    assert spikes[0] != pytest.approx(spikes[1], rel=0.01)
