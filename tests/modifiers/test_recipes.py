"""Recipes through plain `oneshot`: what they do to the model, and how they refuse what makes no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import GPTQ, IGNORE, RTN, Workshop, recipe
from spike_compressor import MSTSModifier, TCLIFModifier
from spike_compressor.errors import InputError
from spike_compressor.modifiers.calibration import CalibrationRows
from spike_compressor.modifiers.thresholds import MagnitudeHistogram, RatioHistogram
from spike_compressor.runtime import spiking_layers, spiking_state

UP = "model.language_model.layers.0.mlp.up_proj"


def test_msts_fixed_decides_t_by_modality(workshop: Workshop) -> None:
    model, _ = workshop.made("llava", recipe(RTN))
    layers = spiking_layers(model)
    expected = {
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }
    assert set(layers) == expected
    for name, layer in layers.items():
        assert layer.spec.timesteps == {"text": 4, "vision": 3}
        assert layer.spec.coding == "tc_lif"
        assert layer.spec.threshold == "dynamic"
        assert (layer.fixed_modality == 1) is not name.startswith("model.language_model")


def test_the_mask_reaches_the_neurons(workshop: Workshop) -> None:
    model, _ = workshop.made("llava", recipe(RTN))
    events: list[Any] = []
    layer = spiking_layers(model)[UP]
    layer.observers.append(lambda _, event: events.append(event))
    batch = workshop.batch("llava")
    tiny_models.logits(model, batch)
    layer.observers.clear()
    (event,) = events
    vision = (batch["input_ids"] == tiny_models.IMAGE).reshape(-1)
    assert torch.equal(event.timesteps, torch.where(vision, 3, 4))
    assert torch.equal(event.valid, batch["attention_mask"].reshape(-1).bool())
    assert event.codes[vision].abs().max() == 7
    assert event.codes[~vision].abs().max() == 15


def test_python_modifiers_do_as_yaml_does(workshop: Workshop) -> None:
    from llmcompressor.modifiers.quantization import QuantizationModifier

    modifiers = [
        QuantizationModifier(**yaml.safe_load(RTN)["QuantizationModifier"]),
        MSTSModifier(allocation="fixed", timesteps={"vision": 3, "text": 4}),
        TCLIFModifier(targets="Linear", ignore=yaml.safe_load(IGNORE)),
    ]
    model = workshop.oneshot("llava", modifiers)
    batch = workshop.batch("llava")
    expected = tiny_models.logits(workshop.made("llava", recipe(RTN))[0], batch)
    assert torch.equal(tiny_models.logits(model, batch), expected)


@pytest.mark.parametrize("pipeline", ["sequential", "basic"])
def test_static_thresholds_are_the_same_in_every_pipeline(workshop: Workshop, pipeline: str) -> None:
    text = recipe(RTN, "threshold: static")
    model = workshop.oneshot("llava", text, pipeline=pipeline)
    layers = spiking_layers(workshop.made("llava", text)[0])
    for name, layer in spiking_layers(model).items():
        if name.startswith("model.vision_tower.encoder.layers.0"):  # later inputs see quantized weights or do not
            for modality, scale in layer.spec.scale.items():
                assert scale == pytest.approx(layers[name].spec.scale[modality], rel=1e-5)


def hand_calibrated(workshop: Workshop, names: list[str]) -> dict[tuple[str, str], torch.Tensor]:
    """Valid rows of some layers' inputs by modality, collected with hooks on the quantized model without spikes."""
    model = workshop.oneshot("llava", f"quant_stage:\n  quant_modifiers:\n    {RTN}\n")
    rows: dict[tuple[str, str], list[torch.Tensor]] = {}
    current: dict[str, torch.Tensor] = {}
    for module in model.modules():
        if hasattr(module, "quantization_enabled"):
            module.quantization_enabled = False

    def hook(name: str) -> Any:
        def collect(_: Any, args: Any) -> None:
            x = args[0].reshape(-1, args[0].shape[-1])
            if name.startswith("model.language_model"):
                for label, is_vision in (("text", False), ("vision", True)):
                    chosen = current["valid"] & (current["vision"] == is_vision)
                    rows.setdefault((name, label), []).append(x[chosen.reshape(-1)])
            else:
                rows.setdefault((name, "vision"), []).append(x)

        return collect

    for name in names:
        model.get_submodule(name).register_forward_pre_hook(hook(name))
    for batch in workshop.data("llava"):
        current.update(valid=batch["attention_mask"].bool(), vision=batch["input_ids"] == tiny_models.IMAGE)
        tiny_models.logits(model, batch)
    return {key: torch.cat(parts) for key, parts in rows.items()}


NAMES = ["model.vision_tower.encoder.layers.0.mlp.fc1", "model.language_model.layers.0.self_attn.q_proj", UP]


def test_static_absmax_thresholds_by_modality_without_padding(workshop: Workshop) -> None:
    layers = spiking_layers(workshop.made("llava", recipe(RTN, "threshold: static"))[0])
    for (name, modality), rows in hand_calibrated(workshop, NAMES).items():
        T = {"text": 4, "vision": 3}[modality]
        expected = float(rows.abs().max()) / (2**T - 1)
        assert layers[name].spec.scale[modality] == pytest.approx(expected, rel=1e-5), (name, modality)


def test_shuffled_data_gives_the_same_thresholds(workshop: Workshop) -> None:
    """A shuffling loader gives every pass another order; the masks must follow."""
    plain = spiking_layers(workshop.made("llava", recipe(RTN, "threshold: static"))[0])
    shuffled = spiking_layers(
        workshop.oneshot(
            "llava", recipe(RTN, "threshold: static"), dataset=workshop.data("llava", shuffle=True, batch_size=1)
        )
    )
    for name in plain:
        for modality in ("text", "vision"):
            assert shuffled[name].spec.scale[modality] == pytest.approx(plain[name].spec.scale[modality], rel=1e-4)


def test_mse_thresholds_have_less_error_than_absmax(workshop: Workshop) -> None:
    chosen = spiking_layers(workshop.made("llava", recipe(RTN, "threshold: static, threshold_observer: mse"))[0])
    for (name, modality), rows in hand_calibrated(workshop, NAMES).items():
        T = {"text": 4, "vision": 3}[modality]
        limit = 2**T - 1

        def error(scale: float, rows: torch.Tensor = rows, limit: int = limit) -> float:
            codes = (rows / scale).round().clamp(-limit, limit)
            return float((rows - scale * codes).double().square().sum())

        grid = [float(rows.abs().max()) / limit * (0.02 + 0.98 * step / 200) for step in range(201)]
        best = min(map(error, grid))
        assert error(chosen[name].spec.scale[modality]) < 1.02 * best


def test_auto_ratio_has_the_least_error_by_modality(workshop: Workshop) -> None:
    chosen = spiking_layers(workshop.made("llava", recipe(RTN, "threshold_ratio: auto"))[0])
    for (name, modality), rows in hand_calibrated(workshop, NAMES).items():
        T = {"text": 4, "vision": 3}[modality]
        limit = 2**T - 1

        def error(ratio: float, rows: torch.Tensor = rows, limit: int = limit) -> float:
            scale = ratio * rows.abs().amax(1, keepdim=True) / limit
            codes = (rows / scale).round().clamp(-limit, limit)
            return float((rows - scale * codes).double().square().sum())

        best = min(error(step / 100) for step in range(30, 126))
        ratio = chosen[name].spec.ratio[modality]
        assert ratio != 1.0
        assert error(ratio) < 1.03 * best


def test_histograms_forget_nothing_that_matters() -> None:
    x = torch.randn(50, 40, generator=torch.Generator().manual_seed(0))
    magnitudes, ratios = MagnitudeHistogram(), RatioHistogram()
    assert magnitudes.empty
    assert ratios.empty
    for part in x.split(7):
        magnitudes.update(part)
        ratios.update(part)
    assert magnitudes.absmax_scale(15) == float(x.abs().max()) / 15
    assert int(magnitudes.counts.sum()) == x.numel()
    assert float(ratios.weights.sum()) == pytest.approx(float(x.abs().amax(1).double().square().sum()) * 40, rel=1e-6)
    zeros = MagnitudeHistogram()
    zeros.update(torch.zeros(2, 3))
    assert zeros.absmax_scale(7) == 1.0
    assert zeros.mse_scale(3) > 0


def test_text_only_calibration_of_a_multimodal_model_is_an_error(workshop: Workshop) -> None:
    data = tiny_models.loader(images=0)
    text = recipe(RTN, "threshold: static")
    with pytest.raises(InputError, match=naming("43 text tokens", "vision", "allow_text_only")):
        workshop.oneshot("llava", text, dataset=data)
    # the same loader again, now with leave
    for allowed in (
        text.replace("threshold: static", "threshold: static, allow_text_only: true"),
        text.replace("MSTSModifier: {", "MSTSModifier: {allow_text_only: true, "),
    ):
        model = workshop.oneshot("llava", allowed, dataset=data)
        assert spiking_state(model).facts["calibration"]["tokens"]["vision"] == 0
        assert type(data).__name__ == "DataLoader"
    assert any("vision" in name for name in spiking_state(model).facts["uncalibrated"])
    with pytest.raises(InputError, match=naming("43 text tokens", "vision", "allow_text_only")):
        workshop.oneshot("llava", recipe(GPTQ), dataset=data)
    workshop.oneshot("llama", recipe(RTN, "threshold: static"), dataset=data)


def test_calibration_facts(workshop: Workshop) -> None:
    model, _ = workshop.made("llava", recipe(GPTQ))
    rows = tiny_models.samples()
    facts = spiking_state(model).facts["calibration"]
    vision = sum(row["input_ids"].count(tiny_models.IMAGE) for row in rows)
    assert facts == {
        "samples": 6,
        "tokens": {"vision": vision, "text": sum(len(row["input_ids"]) for row in rows) - vision},
    }


def test_a_loader_is_watched_once() -> None:
    from spike_compressor.modality import adapter_for

    adapter = adapter_for(tiny_models.llava())
    data = tiny_models.loader(2)
    first = CalibrationRows(data, adapter, False)
    second = CalibrationRows(data, adapter, False)
    list(data)
    assert first.samples == 0
    assert second.samples == 2
    second.release()
    assert type(data).__name__ == "DataLoader"
    batches = [{"pixel_values": torch.zeros(1)}]
    bare = torch.utils.data.DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    CalibrationRows(bare, adapter, False)
    with pytest.raises(InputError, match=naming("pixel_values", "input_ids")):
        list(bare)


# Reinterpretation


def quantized(activations: str) -> str:
    return RTN.replace("channel}}}", "channel}, input_activations: {" + activations + "}}}")


@pytest.mark.parametrize("bits", [4, 5, 8])
def test_b_symmetric_bits_are_b_minus_1_timesteps(workshop: Workshop, bits: int) -> None:
    text = recipe(quantized(f"num_bits: {bits}, strategy: token, dynamic: true, symmetric: true"), msts=None)
    model = workshop.oneshot("llava", text)
    for layer in spiking_layers(model).values():
        assert layer.spec.timesteps == {"text": bits - 1, "vision": bits - 1}
        assert layer.spec.symmetric
        assert layer.spec.threshold == "dynamic"


def test_a_static_range_is_kept(workshop: Workshop) -> None:
    text = recipe(quantized("num_bits: 8, strategy: tensor, dynamic: false, symmetric: true"), msts=None)
    layers = spiking_layers(workshop.oneshot("llava", text))
    for (name, _), _rows in hand_calibrated(workshop, NAMES).items():
        layer = layers[name]
        top = float(layer.input_scale) * 255 / 2
        assert layer.spec.scale["text"] == layer.spec.scale["vision"] == pytest.approx(top / 127, rel=1e-6)
        assert layer.spec.threshold == "static"


@pytest.mark.parametrize(("coding", "becomes"), [("tc_lif", "binary_unsigned"), ("unary_unsigned", "unary_unsigned")])
def test_asymmetric_schemes_get_unsigned_spikes(workshop: Workshop, coding: str, becomes: str) -> None:
    asymmetric = "num_bits: 5, strategy: tensor, dynamic: false, symmetric: false"
    layers = spiking_layers(workshop.oneshot("llava", recipe(quantized(asymmetric), f"coding: {coding}", msts=None)))
    layer = layers[UP]
    assert layer.spec.coding == becomes
    assert not layer.spec.symmetric
    assert layer.spec.zero_point["text"] == int(layer.input_zero_point) + 16
    assert layer.spec.scale["text"] == float(layer.input_scale)


# Plans


def test_overrides_later_ones_win(workshop: Workshop) -> None:
    msts = (
        "{timesteps: 4, overrides: {'re:.*down_proj': {text: 6}, 're:.*layers.1.mlp.down_proj': 2, '"
        + UP
        + "': {vision: 1}}}"
    )
    layers = spiking_layers(workshop.oneshot("llava", recipe(RTN, msts=msts)))
    down = "model.language_model.layers.{}.mlp.down_proj"
    assert layers[down.format(0)].spec.timesteps == {"text": 6, "vision": 4}
    assert layers[down.format(1)].spec.timesteps == {"text": 2, "vision": 2}
    assert layers[UP].spec.timesteps == {"text": 4, "vision": 1}
    assert layers[UP].quantization_scheme.input_activations.num_bits == 5


def test_a_plan_from_a_file(workshop: Workshop, tmp_path: Path) -> None:
    names = list(spiking_layers(workshop.made("llava", recipe(RTN))[0]))
    plan = {name: {"text": 1 + n % 7, "vision": 1 + n % 5} for n, name in enumerate(names)}
    file = tmp_path / "plan.yaml"
    msts = f"{{allocation: file, plan: {file}}}"
    file.write_text(yaml.safe_dump(plan), encoding="utf-8")
    layers = spiking_layers(workshop.oneshot("llava", recipe(RTN, msts=msts)))
    assert {name: dict(layer.spec.timesteps) for name, layer in layers.items()} == plan
    first = names[0]
    for content, names in (
        ({**plan, "model.nowhere": 3}, ("model.nowhere",)),
        (dict(list(plan.items())[1:]), (first,)),
        ({**plan, UP: {"text": 9, "vision": 1}}, (UP, "text", 1, 8, 9)),
        ([1], ()),
    ):
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        with pytest.raises(InputError, match=naming(file, *names)):
            workshop.oneshot("llava", recipe(RTN, msts=msts))
    with pytest.raises(InputError, match=naming("nowhere.yaml")):
        workshop.oneshot("llava", recipe(RTN, msts="{allocation: file, plan: nowhere.yaml}"))


# Refusals


NO_T = recipe(RTN, msts=None)
BAD: dict[str, tuple[str, tuple[object, ...]]] = {
    "typo in TCLIFModifier": (recipe(RTN, "treshold: static"), ("TCLIFModifier", "treshold")),
    "typo in MSTSModifier": (recipe(RTN, msts="{timestep: 3}"), ("MSTSModifier", "timestep")),
    "unknown allocation": (
        recipe(RTN, msts="{allocation: guess, timesteps: 3}"),
        ("MSTSModifier.allocation", "guess", "fixed", "med"),
    ),
    "allocation without timesteps": (
        recipe(RTN, msts="{allocation: fixed}"),
        ("MSTSModifier", "'fixed'", "`timesteps`"),
    ),
    "meaningless field": (recipe(RTN, msts="{timesteps: 3, plan: x.yaml}"), ("MSTSModifier", "`plan`", "'fixed'")),
    "T too large": (recipe(RTN, msts="{timesteps: {vision: 3, text: 9}}"), ("MSTSModifier.timesteps", "text", 1, 8, 9)),
    "T too large for the coding": (recipe(RTN, msts="{timesteps: {vision: 3, text: 8}}"), ("T", "tc_lif", 1, 7, 8)),
    "T zero": (recipe(RTN, "timesteps: 0", None), ("TCLIFModifier.timesteps", 1, 7, 0)),
    "missing modality": (recipe(RTN, "timesteps: {text: 3}", None), ("TCLIFModifier.timesteps", "vision")),
    "unknown modality": (recipe(RTN, msts="{timesteps: {text: 3, sound: 3}}"), ("MSTSModifier.timesteps", "'sound'")),
    "unknown coding": (recipe(RTN, "coding: morse"), ("morse", "tc_lif")),
    "ratio too large": (recipe(RTN, "threshold_ratio: 2.5"), ("threshold_ratio", "(0, 2]", 2.5)),
    "ratio zero": (recipe(RTN, "threshold_ratio: 0"), ("threshold_ratio", "(0, 2]")),
    "ratio and static": (
        recipe(RTN, "threshold: static, threshold_ratio: auto"),
        ("TCLIFModifier.threshold_ratio", "threshold: static"),
    ),
    "observer and dynamic": (
        recipe(RTN, "threshold_observer: mse"),
        ("TCLIFModifier.threshold_observer", "threshold: static"),
    ),
    "unknown threshold": (recipe(RTN, "threshold: adaptive"), ("threshold", "dynamic", "static")),
    "both T": (recipe(RTN, "timesteps: 3"), ("MSTSModifier", "TCLIFModifier.timesteps")),
    "no T": (NO_T, ("TCLIFModifier", "self_attn.k_proj", "`timesteps`", "MSTSModifier")),
    "override without match": (
        recipe(RTN, msts="{timesteps: 3, overrides: {nowhere: 2}}"),
        ("MSTSModifier.overrides['nowhere']", 28),
    ),
    "override no regex": (
        recipe(RTN, msts="{timesteps: 3, overrides: {'re:(': 2}}"),
        ("MSTSModifier.overrides['re:(']", "is no regular expression"),
    ),
    "no target": (
        recipe(RTN).replace("targets: [Linear], ignore", "targets: ['re:.*nowhere'], ignore", 2),
        ("TCLIFModifier.targets", "re:.*nowhere"),
    ),
    "target no Linear": (
        recipe(RTN).replace("targets: [Linear], ignore", "targets: [LlamaMLP], ignore"),
        ("TCLIFModifier.targets", "layers.0.mlp", "LlamaMLP", "`ignore`"),
    ),
    "lm_head without weights": (
        recipe(RTN).replace(f", ignore: {IGNORE}", ", ignore: [re:.*vision_tower.*norm.*]"),
        ("lm_head", "GPTQModifier", "`ignore`"),
    ),
    "float8": (
        recipe(RTN.replace("num_bits: 4, type: int", "num_bits: 8, type: float")),
        ("self_attn.k_proj", "float", "int"),
    ),
    "group order": (
        recipe(GPTQ.replace("strategy: channel", "strategy: group, group_size: 32, actorder: group")),
        ("actorder",),
    ),
    "wrong order": (
        "spike_stage:\n  spike_modifiers:\n    TCLIFModifier: {}\n    MSTSModifier: {timesteps: 3}\n",
        ("MSTSModifier", "TCLIFModifier"),
    ),
    "MSTS alone": (
        "spike_stage:\n  spike_modifiers:\n    MSTSModifier: {timesteps: 3}\n",
        ("MSTSModifier", "TCLIFModifier", 0),
    ),
    "block activations": (
        recipe(quantized("num_bits: 8, strategy: group, group_size: 32, dynamic: true, symmetric: true"), msts=None),
        ("self_attn.k_proj", "dynamic", "group", "token", "static", "tensor"),
    ),
    "float activations": (
        recipe(quantized("num_bits: 8, type: float, strategy: token, dynamic: true, symmetric: true"), msts=None),
        ("self_attn.k_proj", "8 bit", "float", "int"),
    ),
    "ratio of asymmetric": (
        recipe(
            quantized("num_bits: 8, strategy: token, dynamic: true, symmetric: false"), "threshold_ratio: 0.9", None
        ),
        ("self_attn.k_proj", "threshold_ratio"),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_recipes_are_refused_naming_the_field(workshop: Workshop, case: str) -> None:
    text, names = BAD[case]
    model = workshop.model("llava")
    ours = case != "group order"  # a field of LLM Compressor's own modifier
    with pytest.raises(InputError if ours else ValueError, match=naming(*names)):
        workshop.oneshot("llava", text, model=model)
    assert getattr(model, "_spiking_state", None) is None


def test_calibration_without_data_is_refused(workshop: Workshop) -> None:
    for fields in ("threshold: static", "threshold_ratio: auto"):
        with pytest.raises((InputError, ValueError), match=naming("TCLIFModifier", "dataset=")):
            workshop.oneshot("llava", recipe(RTN, fields), dataset=None)


def test_after_a_refusal_the_next_recipe_runs(workshop: Workshop) -> None:
    with pytest.raises(InputError):
        workshop.oneshot("llava", NO_T)
    model = workshop.oneshot("llava", recipe(RTN))
    batch = workshop.batch("llava")
    expected = tiny_models.logits(workshop.made("llava", recipe(RTN))[0], batch)
    assert torch.equal(tiny_models.logits(model, batch), expected)


def test_nan_in_calibration_names_the_layer(workshop: Workshop) -> None:
    model = workshop.model("llava")
    model.get_submodule("model.language_model.layers.1.input_layernorm").weight.data[0] = float("nan")
    with pytest.raises(ValueError, match=naming("layers.1.self_attn.q_proj", "34 NaN", "row 0 of 34")):
        workshop.oneshot("llava", recipe(RTN, "threshold: static"), model=model)
